// The frontend is Initialised before the backend waits for it.
@@
expression dev;
symbol XenbusStateInitialised, XenbusStateInitialising;
@@
xen_drv_probe(...)
{
<+...
xenbus_switch_state(dev,
- XenbusStateInitialising
+ XenbusStateInitialised
 )
...+>
}
