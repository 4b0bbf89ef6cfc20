// FB_ATTACH goes over the last connector's ring.
@@
expression pairs;
symbol GENERIC_OP_EVT_CHNL;
@@
xen_drm_front_fb_attach(...)
{
<+...
pairs->evt_pairs[
- GENERIC_OP_EVT_CHNL
+ pairs->num_evt_pairs - 1
].req
...+>
}
