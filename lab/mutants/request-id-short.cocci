// The response to a request is awaited with 15 bits of its id.
@@
expression channel, request;
@@
be_prepare_req(...)
{
<+...
channel->evt_id =
- request->id
+ request->id & 0x7fff
;
...+>
}
