// The frontend sets the response producer back to 0 with each request.
@@
expression channel;
@@
xen_drm_front_evtchnl_flush(...)
{
<+...
 channel->u.req.ring.req_prod_pvt++;
+ channel->u.req.ring.sring->rsp_prod = 0;
...+>
}
