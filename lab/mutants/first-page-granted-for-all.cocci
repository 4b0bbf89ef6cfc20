// Every reference of a buffer is to its first page.
@@
expression buffer;
identifier i;
@@
guest_grant_refs_for_buffer(...)
{
<+...
xen_page_to_gfn(buffer->pages[
- i
+ 0
 ])
...+>
}
