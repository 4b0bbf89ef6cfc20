// A flip whose event was lost is never released.
@@
expression pipe;
@@
pflip_to_worker(...)
{
<+...
- send_pending_event(pipe);
...+>
}
