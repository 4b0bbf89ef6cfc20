// FB_DETACH carries the lower half of the cookie only.
@@
expression request;
symbol fb_cookie;
typedef u32;
@@
xen_drm_front_fb_detach(...)
{
<+...
request->op.fb_detach.fb_cookie =
- fb_cookie
+ (u32)fb_cookie
;
...+>
}
