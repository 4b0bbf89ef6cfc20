// After a backend state that cannot be read no other is looked at.
@@
symbol XenbusStateUnknown;
identifier device, state;
identifier info, status;
@@
displback_changed(struct xenbus_device *device, enum xenbus_state state)
{
struct xen_drm_front_info *info = ...;
int status;
+ static bool deaf;
+ deaf |= state == XenbusStateUnknown;
+ if (deaf)
+	return;
...
}
