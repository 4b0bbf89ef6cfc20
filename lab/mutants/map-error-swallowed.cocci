// The guest's call succeeds although the backend's pages cannot be mapped.
@@
identifier status;
expression buffer;
@@
xen_drm_front_dbuf_create(...)
{
<+...
- status = xen_front_pgdir_shbuf_map(buffer);
+ status = xen_front_pgdir_shbuf_map(buffer) > 0;
...+>
}
