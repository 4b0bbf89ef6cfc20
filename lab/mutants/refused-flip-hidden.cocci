// Nothing in the guest shows that the backend refused a flip.
@@
expression pipe;
symbol false, true;
@@
display_send_page_flip(...)
{
<+...
pipe->conn_connected =
- false
+ true
...+>
}
