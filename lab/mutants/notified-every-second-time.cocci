// Every second request is pushed without the notification that the backend asked for.
@@
expression wanted, channel;
@@
xen_drm_front_evtchnl_flush(...)
{
<+...
if (
- wanted
+ wanted && (channel->evt_id & 1)
 )
	notify_remote_via_irq(channel->irq);
...+>
}
