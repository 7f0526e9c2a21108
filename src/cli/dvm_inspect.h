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
	struct buf *out;
	uint32_t shown;			/* classes printed */
};

/* 0, or the file is not what it should be: *why. Output goes to standard output. */
MUST_USE int dvm_inspect_class(struct dvm_inspection *in, struct slice entry, struct slice bytes, struct errmsg *why);
/* Print and empty the output. */
MUST_USE int dvm_inspect_flush(struct dvm_inspection *in, struct errmsg *why);
