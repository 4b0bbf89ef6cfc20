// A buffer's grants end before the backend is asked to let go of it, not after it did.
@@
identifier local;
expression info;
@@
xen_drm_front_dbuf_destroy(...)
{
<+...
local =
- info->cfg.be_alloc
+ !info->cfg.be_alloc
;
...+>
}
