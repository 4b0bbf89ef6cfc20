// Every request has the id 7.
@@
expression req, channel;
@@
be_prepare_req(...)
{
<+...
req->id =
- channel->evt_next_id++
+ 7
;
...+>
}
