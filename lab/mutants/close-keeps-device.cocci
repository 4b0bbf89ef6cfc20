// The backend's close leaves the device to the guest's programs.
@@
expression info;
@@
displback_disconnect(...)
{
...
- xen_drm_drv_fini(info);
}
