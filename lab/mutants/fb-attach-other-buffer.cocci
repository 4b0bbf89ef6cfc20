// FB_ATTACH names a buffer that does not exist.
@@
expression request, cookie;
@@
xen_drm_front_fb_attach(...)
{
<+...
request->op.fb_attach.dbuf_cookie =
- cookie
+ cookie + 8
;
...+>
}
