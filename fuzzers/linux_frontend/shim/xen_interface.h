/* In the place of Linux's xen/interface/xen.h: the types that grant_table.h needs. */
#ifndef DISPLIF_CTS_SHIM_XEN_INTERFACE_H
#define DISPLIF_CTS_SHIM_XEN_INTERFACE_H

#include <stdint.h>

typedef uint16_t domid_t;
typedef uint64_t xen_pfn_t;
#define GUEST_HANDLE(type) shim_handle_##type
#define DEFINE_GUEST_HANDLE_STRUCT(type) typedef struct type* GUEST_HANDLE(type)
typedef xen_pfn_t* GUEST_HANDLE(xen_pfn_t);
typedef uint64_t* GUEST_HANDLE(uint64_t);

#endif
