// FB_ATTACH carries XRGB8888, whatever the format is.
@@
expression request;
symbol pixel_format, DRM_FORMAT_XRGB8888;
@@
xen_drm_front_fb_attach(...)
{
<+...
request->op.fb_attach.pixel_format =
- pixel_format
+ DRM_FORMAT_XRGB8888
;
...+>
}
