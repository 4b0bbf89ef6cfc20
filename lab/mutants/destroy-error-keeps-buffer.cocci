// A buffer whose destruction the backend refused stays granted for ever.
@@
expression list, cookie;
identifier local, status;
@@
xen_drm_front_dbuf_destroy(...)
{
<+...
status = be_stream_wait_io(...);
...
if (
- !local
+ !local && !status
 )
	dbuf_free(list, cookie);
...+>
}
