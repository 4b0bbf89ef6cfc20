// DBUF_CREATE for an imported buffer carries a size that is a page too small.
@@
expression f, cookie, offset, pages;
symbol size;
@@
xen_drm_front_gem_import_sg_table(...)
{
<+...
xen_drm_front_dbuf_create(f, cookie, 0, 0, 0,
- size
+ size - PAGE_SIZE
, offset, pages)
...+>
}
