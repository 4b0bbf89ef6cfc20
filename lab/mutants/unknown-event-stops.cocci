// An event of an unknown type is never passed over.
@@
identifier event;
expression channel;
@@
evtchnl_interrupt_evt(...)
{
<+...
if (unlikely(event->id != channel->evt_id++))
	continue;
+ if (event->type != XENDISPL_EVT_PG_FLIP)
+	goto out;
...+>
}
