// The grant of each buffer's last page is never ended.
@@
expression buffer;
identifier i;
statement S;
@@
xen_front_pgdir_shbuf_free(...)
{
<+...
for (i = 0; i <
- buffer->num_grefs
+ buffer->num_grefs - 1
 ; i++) S
...+>
}
