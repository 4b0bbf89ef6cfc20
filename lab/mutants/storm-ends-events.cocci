// After a notification that announces nothing the event channel is deaf.
@@
expression page, first;
identifier channel;
@@
evtchnl_interrupt_evt(...)
{
<+...
- if (first == page->in_cons)
+ if (first == page->in_cons) {
+	channel->state = EVTCHNL_STATE_DISCONNECTED;
 	goto out;
+ }
...
for (...; ...; ...) { ... channel->evt_id++ ... }
...+>
}
