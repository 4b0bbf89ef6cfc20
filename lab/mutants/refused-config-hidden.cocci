// The backend refuses a configuration, and nothing in the guest shows it.
@@
symbol false, true;
expression pipe;
@@
display_enable(...)
{
<+...
pipe->conn_connected =
- false
+ true
...+>
}
