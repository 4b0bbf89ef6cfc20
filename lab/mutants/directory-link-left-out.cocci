// The first of two directory pages (1024 entries) does not link on.
@@
expression page_dir, buf;
identifier i;
symbol XEN_GREF_LIST_END;
@@
guest_fill_page_dir(...)
{
<+...
page_dir->gref_dir_next_page =
- buf->grefs[i + 1]
+ XEN_GREF_LIST_END
;
...+>
}
