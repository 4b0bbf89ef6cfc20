// A response completes the request that waits, whatever its id is.
@@
expression resp, channel;
@@
evtchnl_interrupt_ctrl(...)
{
<+...
 resp->id !=
- channel->evt_id
+ resp->id
...+>
}
