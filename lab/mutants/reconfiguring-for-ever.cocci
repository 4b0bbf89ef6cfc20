// After the backend's failure the device is removed, and the frontend stays in Reconfiguring all the same.
@@
symbol XenbusStateInitialising, XenbusStateReconfiguring;
expression device;
@@
xen_drm_drv_fini(...)
{
<+...
xenbus_switch_state(device,
- XenbusStateInitialising
+ XenbusStateReconfiguring
 )
...+>
}
