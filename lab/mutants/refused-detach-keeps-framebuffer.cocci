// A framebuffer that the backend did not detach is never freed.
@@
expression info, cookie, fb;
@@
fb_destroy(...)
{
<+...
- xen_drm_front_fb_detach(info, cookie);
+ if (xen_drm_front_fb_detach(info, cookie)) {
+	drm_dev_exit(idx);
+	return;
+ }
...+>
}
