// DBUF_CREATE carries the size in pages in place of octets.
@@
expression request;
symbol size, PAGE_SIZE;
@@
xen_drm_front_dbuf_create(...)
{
<+...
request->op.dbuf_create.buffer_sz =
- size
+ size / PAGE_SIZE
;
...+>
}
