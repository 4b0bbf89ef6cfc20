// The event page of a connector and its channel are never given back.
@@
identifier page, channel;
symbol EVTCHNL_TYPE_EVT;
@@
evtchnl_free(..., struct xen_drm_front_evtchnl *channel)
{
<+...
if (
- !page
+ !page || channel->type == EVTCHNL_TYPE_EVT
 )
	return;
...+>
}
