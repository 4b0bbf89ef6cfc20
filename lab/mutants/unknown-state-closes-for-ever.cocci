// A backend state that cannot be read closes the frontend for ever.
@@
symbol XenbusStateUnknown, XenbusStateClosed;
identifier device, state;
identifier info, status;
@@
displback_changed(struct xenbus_device *device, enum xenbus_state state)
{
struct xen_drm_front_info *info = ...;
int status;
+ if (state == XenbusStateUnknown) {
+	xenbus_switch_state(device, XenbusStateClosed);
+	return;
+ }
...
}
