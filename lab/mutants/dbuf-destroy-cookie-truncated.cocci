// Only the lower half of the cookie arrives.
@@
typedef u32;
expression request, cookie;
@@
xen_drm_front_dbuf_destroy(...)
{
<+...
request->op.dbuf_destroy.dbuf_cookie =
- cookie
+ (u32)cookie
...+>
}
