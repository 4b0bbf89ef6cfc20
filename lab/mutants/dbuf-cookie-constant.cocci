// Every buffer has the same cookie.
@@
expression request, cookie;
@@
xen_drm_front_dbuf_create(...)
{
<+...
request->op.dbuf_create.dbuf_cookie =
- cookie
+ 0x1000
;
...+>
}
