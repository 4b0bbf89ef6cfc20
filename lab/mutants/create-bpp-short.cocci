// DBUF_CREATE carries eight bits a pixel too few.
@@
expression request;
symbol bpp;
@@
xen_drm_front_dbuf_create(...)
{
<+...
request->op.dbuf_create.bpp =
- bpp
+ bpp - 8
;
...+>
}
