// SPDX-License-Identifier: GPL-2.0
// Copyright (c) 2026 displif-cts contributors
//
// What gntdev asks the kernel for when it is built with CONFIG_XEN_GRANT_DMA_ALLOC, and a kernel without that option has not: pages
// that are write-combining or coherent (GNTDEV_DMA_FLAG_WC, _COHERENT). A program that wants such gets an error.

#include <linux/errno.h>
#include <xen/grant_table.h>

int gnttab_dma_alloc_pages(struct gnttab_dma_alloc_args *args)
{
	return -EOPNOTSUPP;
}

int gnttab_dma_free_pages(struct gnttab_dma_alloc_args *args)
{
	return -EOPNOTSUPP;
}
