// DBUF_CREATE is filled in further when it was pushed already.
@@
expression channel, request;
identifier status;
@@
xen_drm_front_dbuf_create(...)
{
<+...
 status = be_stream_do_io(channel, request);
+ mdelay(20);
+ request->op.dbuf_create.bpp = 0;
...+>
}
