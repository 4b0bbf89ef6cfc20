// Buffers are created without waiting for their turn on the ring.
@@
expression lock;
@@
xen_drm_front_dbuf_create(...)
{
<+...
(
- mutex_lock(lock);
|
- mutex_unlock(lock);
)
...+>
}
