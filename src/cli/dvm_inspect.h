/*
 * What `prickle dvm inspect` shows of one file. All of this runs in a confined process: the bytes are a stranger's.
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/errmsg.h"

#define INSPECT_OUT_BYTES   (256u << 20)	/* text of one class or of a container's list */
#define INSPECT_ARENA_BYTES (1ull << 30)

struct cli;

struct dvm_inspection {
	struct cli *cli;
	const char *path;
	struct slice bytes;
	unsigned flags;			/* CLASS_PRINT_... */
	const char *wanted;		/* --class: a pattern of internal names, or NULL */
	struct buf *out;
	uint32_t shown;			/* classes printed */
	bool begun, listing;		/* the head is printed; its list is open */
};

/* 0, or the file is not what it should be: *why. Output goes to standard output. */
MUST_USE int dvm_inspect_class(struct dvm_inspection *in, struct slice entry, struct slice bytes, struct errmsg *why);
MUST_USE int dvm_inspect_jar(struct dvm_inspection *in, struct errmsg *why);
MUST_USE int dvm_inspect_image(struct dvm_inspection *in, struct errmsg *why);
/* The name (a class's, without ".class") is wanted. */
bool dvm_inspect_wanted(const struct dvm_inspection *in, struct slice name);
/* Print and empty the output. */
MUST_USE int dvm_inspect_flush(struct dvm_inspection *in, struct errmsg *why);

/* Of both: the head's counts and one more fact, then a list: dvm_inspect_class() or dvm_inspect_list_entry() for each item. */
void dvm_inspect_counts(struct dvm_inspection *in, uint32_t entries, uint32_t classes, const char *more, struct slice value);
MUST_USE int dvm_inspect_list_begin(struct dvm_inspection *in, struct errmsg *why);
MUST_USE int dvm_inspect_list_entry(struct dvm_inspection *in, struct slice name, uint64_t bytes, uint64_t packed, bool first, struct errmsg *why);
MUST_USE int dvm_inspect_list_end(struct dvm_inspection *in, struct errmsg *why);
/* An entry failed: the sentence that names it. Returns err. */
int dvm_inspect_in_entry(struct errmsg *why, int err, struct slice name);
