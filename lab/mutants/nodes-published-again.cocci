// The transport nodes are written again with each configuration.
@@
expression lock;
identifier info;
@@
xen_drm_front_mode_set(...)
{
...
info = ...;
<+...
 mutex_unlock(lock);
+ xen_drm_front_evtchnl_publish_all(info);
...+>
}
