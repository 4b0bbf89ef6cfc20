// A backend that is in InitWait again ends no connection.
@@
expression device, info;
@@
displback_changed(...)
{
<+...
- displback_disconnect(info);
if (device->state != XenbusStateInitialising)
break;
...+>
}
