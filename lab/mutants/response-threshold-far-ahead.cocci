// The threshold asks to be told of a response that nobody will send.
@@
expression ring;
identifier i;
@@
evtchnl_interrupt_ctrl(...)
{
<+...
 ring.sring->rsp_event = i +
- 1
+ 64
;
...+>
}
