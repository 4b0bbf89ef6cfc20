// The frontend goes on when the backend's state reads Closed.
@@
symbol XenbusStateClosed;
expression info, device;
@@
displback_changed(...)
{
<+...
if (device->state == XenbusStateClosed)
	break;
- displback_disconnect(info);
...+>
}
