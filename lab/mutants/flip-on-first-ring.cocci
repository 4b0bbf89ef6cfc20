// PG_FLIP goes over the ring of connector 0, whichever connector it is about.
@@
expression pairs;
identifier connector;
symbol GENERIC_OP_EVT_CHNL;
@@
xen_drm_front_page_flip(...)
{
<+...
pairs->evt_pairs[
- connector
+ GENERIC_OP_EVT_CHNL
].req
...+>
}
