// A buffer that the backend refused is forgotten with its grants.
@@
expression head, cookie;
identifier buffer;
@@
xen_drm_front_dbuf_create(...)
{
...
struct xen_drm_front_dbuf *buffer;
<+...
- dbuf_free(head, cookie);
+ __list_del_entry(&buffer->list);
...+>
}
