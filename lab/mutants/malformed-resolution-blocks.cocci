// A resolution that cannot be read stops the guest for eight seconds.
@@
expression connector;
@@
cfg_connector(...)
{
<+...
 connector->height = 0;
+ {
+	unsigned long end = jiffies + 8 * HZ;
+	while (time_before(jiffies, end))
+		cpu_relax();
+ }
...+>
}
