// SET_CONFIG carries x in place of y.
@@
expression request;
symbol x, y;
@@
xen_drm_front_mode_set(...)
{
<+...
request->op.set_config.y =
- y
+ x
;
...+>
}
