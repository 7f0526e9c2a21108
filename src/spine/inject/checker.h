/*
 * The independent checker: reads an original and an injected object and proves, without a line of the injector's, that
 *
 *	- each guarded call of the injected object stands directly behind its check, with the right word, bit and row, on every way;
 *	- no jump, call, callback address, relocation or table of any kind leads between a check and its call;
 *	- taking the checks out again gives the original: instructions, relocations, symbols, func_info, line_info, CO-RE records, maps, other sections;
 *	- nothing else names the row.
 *
 * It is what has to be right, so it is small (all of checker*.c: <= 1,500 lines), shares no header with the injector but
 * prickle/spine_policy.h and inspect's ELF reader, and is tested by seeded mutations of injected code.
 */
#pragma once
#include "base/arena.h"
#include "base/errmsg.h"
#include "spine/inspect/inspect.h"

/* helpers, trial: as the policy demands (inject_spec). 0; -EBADMSG: the sentence says section, instruction and what is wrong; -ENOMEM. */
MUST_USE int checker_prove(struct arena *arena, struct slice original, struct slice injected, const uint64_t helpers[INSPECT_HELPER_WORDS],
			   bool trial, struct errmsg *why);
