// The frontend sets the event producer back to 0.
@@
expression page;
identifier cons;
@@
evtchnl_interrupt_evt(...)
{
<+...
page->in_cons = cons;
+ page->in_prod = 0;
...+>
}
