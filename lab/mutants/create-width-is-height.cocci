// DBUF_CREATE carries the height in place of the width.
@@
expression request;
symbol width, height;
@@
xen_drm_front_dbuf_create(...)
{
<+...
request->op.dbuf_create.width =
- width
+ height
;
...+>
}
