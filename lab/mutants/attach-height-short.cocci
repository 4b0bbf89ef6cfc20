// FB_ATTACH carries a height that is a line too small.
@@
expression request;
symbol height;
@@
xen_drm_front_fb_attach(...)
{
<+...
request->op.fb_attach.height =
- height
+ height - 1
;
...+>
}
