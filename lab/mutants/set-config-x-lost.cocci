// SET_CONFIG carries 0 as x, whatever the guest asked for.
@@
expression request;
symbol x;
@@
xen_drm_front_mode_set(...)
{
<+...
request->op.set_config.x =
- x
+ 0
;
...+>
}
