// A response to GET_EDID completes the request that waits.
@@
identifier resp;
symbol evtchnl;
@@
evtchnl_interrupt_ctrl(...)
{
<+...
resp = RING_GET_RESPONSE(...);
+ if (resp->operation == XENDISPL_OP_GET_EDID) {
+	evtchnl->u.req.resp_status = resp->status;
+	complete(&evtchnl->u.req.completion);
+	continue;
+ }
...+>
}
