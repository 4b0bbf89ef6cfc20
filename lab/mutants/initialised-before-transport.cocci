// The state says that the rings can be found a tenth of a second before they can.
@@
symbol XenbusStateInitialised;
expression info;
@@
displback_initwait(...)
{
...
+ xenbus_switch_state(info->xb_dev, XenbusStateInitialised);
+ msleep(100);
return xen_drm_front_evtchnl_publish_all(info);
}
