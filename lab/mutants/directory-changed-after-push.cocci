// The page directory is written while the backend may read it.
@@
expression channel, request;
identifier status, buffer;
@@
xen_drm_front_dbuf_create(...)
{
...
struct xen_drm_front_dbuf *buffer;
<+...
 status = be_stream_do_io(channel, request);
+ mdelay(20);
+ memset(buffer->shbuf.directory + 8, 0, 4);
...+>
}
