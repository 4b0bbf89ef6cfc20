// The guest's call succeeds although the backend refused the framebuffer.
@@
identifier status;
@@
fb_create(...)
{
<+...
 if (
- status < 0
+ status > 0
 ) { ... goto fail; }
...+>
}
