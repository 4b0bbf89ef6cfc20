// DBUF_CREATE carries 32 as bpp, whatever the guest asked for.
@@
expression request;
symbol bpp;
@@
xen_drm_front_dbuf_create(...)
{
<+...
request->op.dbuf_create.bpp =
- bpp
+ 32
;
...+>
}
