// After a response of an operation that is not known the ring is deaf.
@@
symbol evtchnl;
expression list told;
@@
evtchnl_interrupt_ctrl(...)
{
<+...
+	evtchnl->state = EVTCHNL_STATE_DISCONNECTED;
	DRM_ERROR(told);
...+>
}
