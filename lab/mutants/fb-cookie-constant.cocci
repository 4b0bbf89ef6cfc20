// Every framebuffer has the same cookie.
@@
expression request, cookie;
@@
xen_drm_front_fb_attach(...)
{
<+...
request->op.fb_attach.fb_cookie =
- cookie
+ 0x1000
;
...+>
}
