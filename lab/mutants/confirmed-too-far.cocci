// Confirmations run one ahead of the events.
@@
expression page;
identifier cons;
@@
evtchnl_interrupt_evt(...)
{
<+...
page->in_cons =
- cons
+ cons + 1
;
...+>
}
