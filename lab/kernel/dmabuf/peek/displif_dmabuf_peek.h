/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/* Copyright (c) 2026 displif-cts contributors */
/*
 * /dev/displif-dmabuf-peek: looks into a dma-buf that user space cannot map. An open file holds at most one imported
 * buffer: attached, its pages mapped for a device, until it is released or the file is closed.
 */
#ifndef DISPLIF_DMABUF_PEEK_H
#define DISPLIF_DMABUF_PEEK_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define DISPLIF_PEEK_DEVICE "/dev/displif-dmabuf-peek"

struct displif_peek_import {
	__s32 fd; /* of the dma-buf */
	__u32 pages; /* out */
};

struct displif_peek_copy {
	__u64 offset; /* into the buffer */
	__u64 size;
	__u64 user; /* address of the caller's octets */
	__u32 write; /* 1: from the caller into the buffer */
	__u32 pad; /* 0 */
};

/* A dma-buf of this module's own pages, whose contents begin `offset` octets into the first of them. */
struct displif_peek_export {
	__u32 pages;
	__u32 offset;
	__s32 fd; /* out */
};

#define DISPLIF_PEEK_IMPORT _IOWR('d', 0x40, struct displif_peek_import)
#define DISPLIF_PEEK_COPY _IOW('d', 0x41, struct displif_peek_copy)
#define DISPLIF_PEEK_RELEASE _IO('d', 0x42)
#define DISPLIF_PEEK_EXPORT _IOWR('d', 0x43, struct displif_peek_export)

#endif
