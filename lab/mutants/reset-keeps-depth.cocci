// A reset carries a depth of 32 bits.
@@
expression pipe, cookie;
@@
display_disable(...)
{
<+...
xen_drm_front_mode_set(pipe, 0, 0, 0, 0,
- 0
+ 32
 , cookie)
...+>
}
