// FB_DETACH is sent with a code that is not defined.
@@
expression channel;
@@
xen_drm_front_fb_detach(...)
{
<+...
be_prepare_req(channel,
- XENDISPL_OP_FB_DETACH
+ 0x20
 )
...+>
}
