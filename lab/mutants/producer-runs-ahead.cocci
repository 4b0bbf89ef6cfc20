// Each request moves the producer by forty.
@@
expression channel;
@@
xen_drm_front_evtchnl_flush(...)
{
<+...
- channel->u.req.ring.req_prod_pvt++;
+ channel->u.req.ring.req_prod_pvt += 40;
...+>
}
