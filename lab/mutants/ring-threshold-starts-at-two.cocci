// A new ring starts with a response threshold of 2.
@@
expression channel, shared;
symbol XEN_PAGE_SIZE;
@@
evtchnl_alloc(...)
{
<+...
XEN_FRONT_RING_INIT(&channel->u.req.ring, shared, XEN_PAGE_SIZE);
+ channel->u.req.ring.sring->rsp_event = 2;
...+>
}
