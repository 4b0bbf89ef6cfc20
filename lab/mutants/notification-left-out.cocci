// A request is pushed, and the backend never told.
@@
symbol false;
expression wanted, irq;
@@
xen_drm_front_evtchnl_flush(...)
{
<+...
if (
- wanted
+ wanted && false
 )
	notify_remote_via_irq(irq);
...+>
}
