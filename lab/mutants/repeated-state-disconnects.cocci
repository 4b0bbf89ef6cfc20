// A state that is written once more while connected ends the connection.
@@
expression device;
symbol front_info;
@@
displback_changed(...)
{
<+...
if (device->state != XenbusStateInitialised)
- break;
+ {
+ if (device->state == XenbusStateConnected)
+ displback_disconnect(front_info);
+ break;
+ }
...+>
}
