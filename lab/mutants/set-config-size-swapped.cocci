// The area's width is sent in place of its height.
@@
symbol width, height;
expression request;
@@
xen_drm_front_mode_set(...)
{
<+...
request->op.set_config.height =
- height
+ width
...+>
}
