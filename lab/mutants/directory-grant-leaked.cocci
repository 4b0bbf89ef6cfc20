// The first grant of every buffer, that of its directory, is never ended.
@@
expression buffer;
identifier i;
statement S;
@@
xen_front_pgdir_shbuf_free(...)
{
<+...
for (i =
- 0
+ 1
 ; i < buffer->num_grefs; i++) S
...+>
}
