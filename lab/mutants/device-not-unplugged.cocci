// The device of a lost backend stays open to new clients.
@@
expression dev;
@@
xen_drm_drv_fini(...)
{
<+...
- drm_dev_unplug(dev);
...+>
}
