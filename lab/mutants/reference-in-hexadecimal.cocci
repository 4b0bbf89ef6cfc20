// References are published in hexadecimal.
@@
expression t, path, node, channel;
@@
evtchnl_publish(...)
{
<+...
xenbus_printf(t, path, node,
- "%u"
+ "0x%x"
 , channel->gref)
...+>
}
