// Events are looked for in the slot of the index modulo 64.
@@
expression page;
identifier cons;
@@
evtchnl_interrupt_evt(...)
{
<+...
XENDISPL_IN_RING_REF(page,
- cons
+ cons & 63
 )
...+>
}
