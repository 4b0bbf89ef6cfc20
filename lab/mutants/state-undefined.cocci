// The frontend publishes a state that xenbus.h does not define when the backend is lost.
@@
symbol XenbusStateReconfiguring;
expression dev;
@@
displback_disconnect(...)
{
<+...
 xenbus_switch_state(dev, XenbusStateReconfiguring);
+ xenbus_switch_state(dev, 9);
...+>
}
