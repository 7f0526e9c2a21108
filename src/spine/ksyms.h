/*
 * Names of the kernel functions that loaded programs call. The kernel gives a program's instructions with
 * helpers as distances from __bpf_call_base; /proc/kallsyms turns these into names again, for root.
 */
#pragma once
#include "base/arena.h"

struct ksym {
	uint64_t address;
	const char *name;
};

struct ksyms {
	struct ksym *list;		/* sorted by address; functions that programs may call alone */
	size_t count;
	uint64_t base;			/* __bpf_call_base; 0: addresses are hidden, nothing resolves */
};

/* From the text of /proc/kallsyms; names live in the arena. 0 or -ENOMEM. Lines that it cannot read are left out. */
MUST_USE int ksyms_parse(struct arena *arena, struct slice text, struct ksyms *out);
/* Read the real one; when that fails, nothing resolves. 0 or -ENOMEM. Some 50 ms. */
MUST_USE int ksyms_read(struct arena *arena, struct ksyms *out);
/* For inspect_rights.call_name: arg is a struct ksyms. NULL: no function begins there. */
const char *ksyms_name(void *arg, int32_t relative);
