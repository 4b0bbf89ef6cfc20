// The directory lists its own page as the buffer's first.
@@
identifier left, cur, pages;
expression buffer;
@@
guest_fill_page_dir(...)
{
<+...
cur =
- pages
+ pages - 1
;
left = buffer->num_pages;
...+>
}
