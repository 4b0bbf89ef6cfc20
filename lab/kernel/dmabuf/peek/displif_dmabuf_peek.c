// SPDX-License-Identifier: GPL-2.0
// Copyright (c) 2026 displif-cts contributors
//
// Reads, writes and holds the pages of a dma-buf for a program, as a display device's driver would for a device, and exports pages
// of its own as a dma-buf. For the tests of zero-copy only.

#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "displif_dmabuf_peek.h"

#define MOST_PAGES 65536

static struct miscdevice peek_device;

// --- a buffer of somebody else's

struct peek {
	struct mutex lock;
	struct dma_buf *buffer; // NULL: none
	struct dma_buf_attachment *attachment;
	struct sg_table *table;
};

static void let_go(struct peek *peek)
{
	if (!peek->buffer)
		return;
	dma_buf_unmap_attachment_unlocked(peek->attachment, peek->table, DMA_BIDIRECTIONAL);
	dma_buf_detach(peek->buffer, peek->attachment);
	dma_buf_put(peek->buffer);
	peek->buffer = NULL;
}

static long take(struct peek *peek, struct displif_peek_import __user *user)
{
	struct displif_peek_import op;
	struct dma_buf *buffer;
	long error;

	if (copy_from_user(&op, user, sizeof(op)))
		return -EFAULT;
	if (peek->buffer)
		return -EBUSY;
	buffer = dma_buf_get(op.fd);
	if (IS_ERR(buffer))
		return PTR_ERR(buffer);
	peek->attachment = dma_buf_attach(buffer, peek_device.this_device);
	if (IS_ERR(peek->attachment)) {
		error = PTR_ERR(peek->attachment);
		goto put;
	}
	peek->table = dma_buf_map_attachment_unlocked(peek->attachment, DMA_BIDIRECTIONAL);
	if (IS_ERR(peek->table)) {
		error = PTR_ERR(peek->table);
		goto detach;
	}
	peek->buffer = buffer;
	op.pages = buffer->size >> PAGE_SHIFT;
	return copy_to_user(user, &op, sizeof(op)) ? -EFAULT : 0;
detach:
	dma_buf_detach(buffer, peek->attachment);
put:
	dma_buf_put(buffer);
	return error;
}

static long copy_within(struct page *page, const struct displif_peek_copy *op, u64 done, size_t from, size_t size)
{
	void __user *user = u64_to_user_ptr(op->user + done);
	char *mapped = kmap(page);
	unsigned long left = op->write ? copy_from_user(mapped + from, user, size) : copy_to_user(user, mapped + from, size);

	kunmap(page);
	return left ? -EFAULT : 0;
}

static long copy(struct peek *peek, struct displif_peek_copy __user *user)
{
	struct displif_peek_copy op;
	struct sg_page_iter at;
	u64 page_start = 0, done = 0;

	if (copy_from_user(&op, user, sizeof(op)))
		return -EFAULT;
	if (!peek->buffer)
		return -ENOENT;
	if (op.pad || op.offset > peek->buffer->size || op.size > peek->buffer->size - op.offset)
		return -EINVAL;
	for_each_sgtable_page(peek->table, &at, 0) {
		if (done < op.size && op.offset + done < page_start + PAGE_SIZE) {
			size_t from = op.offset + done - page_start;
			size_t size = min_t(u64, PAGE_SIZE - from, op.size - done);
			long error = copy_within(sg_page_iter_page(&at), &op, done, from, size);

			if (error)
				return error;
			done += size;
		}
		page_start += PAGE_SIZE;
	}
	return done == op.size ? 0 : -EIO;
}

// --- a buffer of our own

struct own_buffer {
	struct page **pages;
	unsigned int count; // one more than the buffer has where it begins inside a page
	unsigned int offset;
	size_t size;
};

static void free_own(struct own_buffer *own)
{
	unsigned int i;

	for (i = 0; own->pages && i < own->count; ++i)
		if (own->pages[i])
			__free_page(own->pages[i]);
	kvfree(own->pages);
	kfree(own);
}

static struct sg_table *own_map(struct dma_buf_attachment *attachment, enum dma_data_direction direction)
{
	struct own_buffer *own = attachment->dmabuf->priv;
	struct sg_table *table = kzalloc(sizeof(*table), GFP_KERNEL);
	int error;

	if (!table)
		return ERR_PTR(-ENOMEM);
	error = sg_alloc_table_from_pages(table, own->pages, own->count, own->offset, own->size, GFP_KERNEL);
	if (error)
		goto free;
	error = dma_map_sgtable(attachment->dev, table, direction, DMA_ATTR_SKIP_CPU_SYNC);
	if (!error)
		return table;
	sg_free_table(table);
free:
	kfree(table);
	return ERR_PTR(error);
}

static void own_unmap(struct dma_buf_attachment *attachment, struct sg_table *table, enum dma_data_direction direction)
{
	dma_unmap_sgtable(attachment->dev, table, direction, DMA_ATTR_SKIP_CPU_SYNC);
	sg_free_table(table);
	kfree(table);
}

static void own_release(struct dma_buf *buffer)
{
	free_own(buffer->priv);
}

static const struct dma_buf_ops own_operations = {
	.map_dma_buf = own_map,
	.unmap_dma_buf = own_unmap,
	.release = own_release,
};

static struct own_buffer *make_own(u32 pages, u32 offset)
{
	struct own_buffer *own = kzalloc(sizeof(*own), GFP_KERNEL);
	unsigned int i;

	if (!own)
		return NULL;
	own->offset = offset;
	own->size = (size_t)pages << PAGE_SHIFT;
	own->count = pages + (offset ? 1 : 0);
	own->pages = kvcalloc(own->count, sizeof(*own->pages), GFP_KERNEL);
	for (i = 0; own->pages && i < own->count; ++i) {
		own->pages[i] = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (!own->pages[i])
			break;
	}
	if (own->pages && i == own->count)
		return own;
	free_own(own);
	return NULL;
}

static long give(struct displif_peek_export __user *user)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct displif_peek_export op;
	struct own_buffer *own;
	struct dma_buf *buffer;

	if (copy_from_user(&op, user, sizeof(op)))
		return -EFAULT;
	if (op.pages == 0 || op.pages > MOST_PAGES || op.offset >= PAGE_SIZE)
		return -EINVAL;
	own = make_own(op.pages, op.offset);
	if (!own)
		return -ENOMEM;
	info.ops = &own_operations;
	info.size = own->size;
	info.flags = O_RDWR;
	info.priv = own;
	buffer = dma_buf_export(&info);
	if (IS_ERR(buffer)) {
		free_own(own);
		return PTR_ERR(buffer);
	}
	op.fd = dma_buf_fd(buffer, O_CLOEXEC);
	if (op.fd < 0) {
		dma_buf_put(buffer);
		return op.fd;
	}
	return copy_to_user(user, &op, sizeof(op)) ? -EFAULT : 0;
}

// --- the device

static long peek_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct peek *peek = file->private_data;
	void __user *user = (void __user *)argument;
	long result = 0;

	mutex_lock(&peek->lock);
	switch (command) {
	case DISPLIF_PEEK_IMPORT:
		result = take(peek, user);
		break;
	case DISPLIF_PEEK_COPY:
		result = copy(peek, user);
		break;
	case DISPLIF_PEEK_RELEASE:
		if (!peek->buffer)
			result = -ENOENT;
		let_go(peek);
		break;
	case DISPLIF_PEEK_EXPORT:
		result = give(user);
		break;
	default:
		result = -ENOTTY;
	}
	mutex_unlock(&peek->lock);
	return result;
}

static int peek_open(struct inode *inode, struct file *file)
{
	struct peek *peek = kzalloc(sizeof(*peek), GFP_KERNEL);

	if (!peek)
		return -ENOMEM;
	mutex_init(&peek->lock);
	file->private_data = peek;
	return 0;
}

static int peek_close(struct inode *inode, struct file *file)
{
	struct peek *peek = file->private_data;

	let_go(peek);
	kfree(peek);
	return 0;
}

static const struct file_operations peek_operations = {
	.owner = THIS_MODULE,
	.open = peek_open,
	.release = peek_close,
	.unlocked_ioctl = peek_ioctl,
};

static struct miscdevice peek_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "displif-dmabuf-peek",
	.fops = &peek_operations,
	.mode = 0600,
};

static int __init peek_init(void)
{
	int error = misc_register(&peek_device);

	if (error)
		return error;
	return dma_coerce_mask_and_coherent(peek_device.this_device, DMA_BIT_MASK(64));
}

static void __exit peek_exit(void)
{
	misc_deregister(&peek_device);
}

module_init(peek_init);
module_exit(peek_exit);
MODULE_DESCRIPTION("Looks into dma-bufs, for displif-cts's tests of zero-copy");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS(DMA_BUF);
