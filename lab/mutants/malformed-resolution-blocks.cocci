// A resolution that cannot be read stops the guest for eight seconds.
@@
expression connector;
@@
cfg_connector(...)
{
<+...
 connector->height = 0;
+ mdelay(8000);
...+>
}
