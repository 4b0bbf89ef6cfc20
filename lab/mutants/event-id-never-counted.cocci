// Only the first event has the id that the frontend expects.
@@
expression channel;
@@
evtchnl_interrupt_evt(...)
{
<+...
channel->evt_id
- ++
...+>
}
