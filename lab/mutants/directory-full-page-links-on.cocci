// A directory page that is just full (1023 entries) links on, though nothing follows.
@@
expression left;
symbol XEN_NUM_GREFS_PER_PAGE;
statement S1, S2;
@@
guest_fill_page_dir(...)
{
<+...
if (left
- <=
+ <
 XEN_NUM_GREFS_PER_PAGE) S1 else S2
...+>
}
