// The frontend goes to Connected when it should be Initialised.
@@
expression dev;
symbol XenbusStateInitialised, XenbusStateConnected;
@@
displback_changed(...)
{
<+...
xenbus_switch_state(dev,
- XenbusStateInitialised
+ XenbusStateConnected
 )
...+>
}
