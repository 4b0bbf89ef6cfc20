// FB_ATTACH carries XRGB1555, whatever the format is.
@@
expression request;
symbol pixel_format;
@@
xen_drm_front_fb_attach(...)
{
<+...
request->op.fb_attach.pixel_format =
- pixel_format
+ 0x35315258
;
...+>
}
