// A response that says PG_FLIP is taken for that of an unknown operation.
@@
symbol evtchnl;
identifier resp;
@@
evtchnl_interrupt_ctrl(...)
{
<+...
if (unlikely(resp->id != evtchnl->evt_id))
	continue;
+ if (resp->operation == XENDISPL_OP_PG_FLIP)
+	continue;
...+>
}
