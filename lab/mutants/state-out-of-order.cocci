// The frontend goes to Initialised when the backend is lost.
@@
symbol XenbusStateReconfiguring, XenbusStateReconfigured;
expression dev;
@@
displback_disconnect(...)
{
<+...
 xenbus_switch_state(dev,
- XenbusStateReconfiguring
+ XenbusStateReconfigured
 )
...+>
}
