// Event ids are expected to begin again after 32,767.
@@
expression event, channel;
@@
evtchnl_interrupt_evt(...)
{
<+...
event->id !=
- channel->evt_id++
+ (channel->evt_id++ & 0x7fff)
...+>
}
