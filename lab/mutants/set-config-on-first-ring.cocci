// Configuration goes over connector 0's ring, whichever connector it is about.
@@
symbol GENERIC_OP_EVT_CHNL;
expression pairs, pipe;
@@
xen_drm_front_mode_set(...)
{
<+...
pairs->evt_pairs[
- pipe->index
+ GENERIC_OP_EVT_CHNL
 ].req
...+>
}
