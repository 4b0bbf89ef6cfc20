// The second directory page (1024 entries) repeats the references of the first.
@@
identifier left, cur, count;
@@
guest_fill_page_dir(...)
{
<+...
left -= count;
- cur += count;
+ cur += 0 * count;
...+>
}
