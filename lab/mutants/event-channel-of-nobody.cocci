// The published port is one above the one that was allocated.
@@
expression t, path, node, channel;
@@
evtchnl_publish(...)
{
<+...
xenbus_printf(t, path, node, "%u",
- channel->port
+ channel->port + 1000
 )
...+>
}
