/*
 * Answers of auth about recipients, kept for a few seconds: a busy mailbox gets many messages in
 * that time, and each question wakes another process.
 *
 * What bounds the damage of an old answer: auth says of each whether it is steady (no quota near),
 * tells us to forget all of them when the directory or a setting changes, and an answer serves
 * RCPT_AHEAD_BYTES at most, which auth has charged to its grants beforehand.
 */
#pragma once
#include "base/list.h"
#include "base/map.h"

#define RCPT_AHEAD_BYTES ((uint64_t)64 << 20)

struct rcpt_memory {
	struct map answers;
	struct list order;		/* oldest first */
	unsigned epoch;			/* counts rcpt_memory_forget: an answer to an older question is not kept */
};

void rcpt_memory_init(struct rcpt_memory *m);
/* An answer that is still good for a message of `size` bytes (0: not declared). Lives until the next call. */
bool rcpt_memory_find(struct rcpt_memory *m, struct slice address, uint64_t size, int64_t now_us,
		      struct slice *answer);
/* Keep copies. Without memory, or when it is large, nothing is kept. */
void rcpt_memory_keep(struct rcpt_memory *m, struct slice address, struct slice answer, int64_t now_us);
/* Forget all; also the end of it. */
void rcpt_memory_forget(struct rcpt_memory *m);
