// A backend that comes back is not accepted.
@@
identifier info, config, status;
@@
displback_initwait(struct xen_drm_front_info *info)
{
struct xen_drm_front_cfg *config = ...;
int status;
+ if (info->num_evt_pairs)
+	return -EEXIST;
...
}
