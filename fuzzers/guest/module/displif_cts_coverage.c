// SPDX-License-Identifier: GPL-2.0
/*
 * Counts what a driver executes that was compiled with -fsanitize-coverage=trace-pc, where the
 * kernel itself has no KCOV: the compiler calls __sanitizer_cov_trace_pc() in each basic block.
 * KCOV counts for one task only; here hard interrupts count as everything else does.
 *
 * The table is an open-addressing hash of 8 octets an entry: the low half of the block's address,
 * then how often it was executed. Its pages are granted to domain 0, read-only; the references are
 * written to data/displif-cts-coverage in the domain's part of XenStore, blanks between.
 *
 * Entries are claimed atomically; counts are not, so that they may lag behind on several
 * processors.
 */
#include <linux/gfp.h>
#include <linux/hash.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <xen/grant_table.h>
#include <xen/page.h>
#include <xen/xenbus.h>

#define ORDER 4
#define PAGES (1 << ORDER)
#define BITS 13 /* PAGES * PAGE_SIZE / sizeof(struct entry) entries */
#define PROBES 64

struct entry {
	u32 place;
	u32 count;
};

static struct entry *table;
static int refs[PAGES];

void notrace __sanitizer_cov_trace_pc(void);
void notrace __sanitizer_cov_trace_pc(void)
{
	u32 place = (u32)(unsigned long)__builtin_return_address(0);
	u32 at = hash_32(place, BITS);
	int probe;

	for (probe = 0; probe < PROBES; probe++) {
		struct entry *entry = &table[(at + probe) & ((1 << BITS) - 1)];
		u32 seen = READ_ONCE(entry->place);

		if (seen == 0)
			seen = cmpxchg(&entry->place, 0, place);
		if (seen == 0 || seen == place) {
			WRITE_ONCE(entry->count, entry->count + 1);
			return;
		}
	}
}
EXPORT_SYMBOL_GPL(__sanitizer_cov_trace_pc);

static int __init coverage_init(void)
{
	char text[PAGES * 12] = "";
	int i, length = 0, ret;

	BUILD_BUG_ON((PAGES << PAGE_SHIFT) != sizeof(struct entry) << BITS);
	table = (struct entry *)__get_free_pages(GFP_KERNEL | __GFP_ZERO, ORDER);
	if (!table)
		return -ENOMEM;
	for (i = 0; i < PAGES; i++) {
		void *page = (char *)table + i * PAGE_SIZE;

		refs[i] = gnttab_grant_foreign_access(0, xen_page_to_gfn(virt_to_page(page)), 1);
		if (refs[i] < 0)
			return refs[i]; /* the machine is made for this: nothing to undo it for */
		length += scnprintf(text + length, sizeof(text) - length, "%s%d",
				    i ? " " : "", refs[i]);
	}
	ret = xenbus_write(XBT_NIL, "data", "displif-cts-coverage", text);
	return ret;
}
module_init(coverage_init);

MODULE_DESCRIPTION("Counts what instrumented drivers execute");
MODULE_LICENSE("GPL");
