// PG_FLIP carries a cookie of no framebuffer.
@@
expression request;
symbol fb_cookie;
@@
xen_drm_front_page_flip(...)
{
<+...
request->op.pg_flip.fb_cookie =
- fb_cookie
+ fb_cookie + 1
;
...+>
}
