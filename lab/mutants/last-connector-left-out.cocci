// The last connector has no pipeline.
@@
expression info;
identifier i;
statement S;
@@
xen_drm_front_kms_init(...)
{
<+...
for (i = 0; i <
- info->front_info->cfg.num_connectors
+ info->front_info->cfg.num_connectors - 1
 ; i++) S
...+>
}
