// A response to nobody fails the request that waits.
@@
symbol evtchnl;
identifier resp;
@@
evtchnl_interrupt_ctrl(...)
{
<+...
if (unlikely(resp->id != evtchnl->evt_id))
- continue;
+ {
+	evtchnl->u.req.resp_status = -EIO;
+	complete(&evtchnl->u.req.completion);
+	continue;
+ }
...+>
}
