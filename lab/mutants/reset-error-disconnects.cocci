// After a refused reset the connector stays disconnected.
@@
expression pipe;
symbol true, ret;
@@
display_disable(...)
{
<+...
pipe->conn_connected =
- true
+ !ret
;
...+>
}
