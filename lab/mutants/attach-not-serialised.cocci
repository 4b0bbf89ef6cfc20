// Framebuffers are attached without waiting for their turn on the ring.
@@
expression lock;
@@
xen_drm_front_fb_attach(...)
{
<+...
(
- mutex_lock(lock);
|
- mutex_unlock(lock);
)
...+>
}
