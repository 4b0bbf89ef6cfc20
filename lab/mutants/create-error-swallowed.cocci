// The backend refuses a buffer, and the guest's call succeeds.
@@
identifier status;
expression channel;
@@
xen_drm_front_dbuf_create(...)
{
<+...
- status =
 be_stream_wait_io(channel);
...+>
}
