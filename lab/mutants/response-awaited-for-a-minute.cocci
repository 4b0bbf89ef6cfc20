// A request that is not answered blocks its caller for a minute.
@@
symbol XEN_DRM_FRONT_WAIT_BACK_MS;
@@
be_stream_wait_io(...)
{
<+...
msecs_to_jiffies(
- XEN_DRM_FRONT_WAIT_BACK_MS
+ 20 * XEN_DRM_FRONT_WAIT_BACK_MS
 )
...+>
}
