/*
 * Put checks of policy into an extension's object file, before libbpf opens it.
 *
 * Guarded are calls of helpers that the policy says may be revoked, and bpf_redirect(), whose port is checked by its interface index. A check is inline: it
 * reads one word of the object's own struct spine_policy_row (prickle/spine_policy.h), jumps to the call when the bit is set, else makes a record and
 * goes on behind the call with the helper's answer for refusal (-EPERM, NULL, XDP_ABORTED). A call of a BPF function would cost 9 ns, a look-up inline 1.
 *
 * Growing code moves everything that counts instructions: jumps, pc-relative calls, relocations, symbols, func_info, line_info and CO-RE records
 * (.BTF.ext) are shifted together, so the verifier's log, `inspect` and BTF stay right.
 *
 * Whoever injects is not trusted: inject/checker.h proves the result again from the bytes, with no code of this file.
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/errmsg.h"
#include "spine/inspect/inspect.h"

struct inject_spec {
	uint64_t helpers[INSPECT_HELPER_WORDS];	/* calls of these are checked; others are left alone */
	bool trial;			/* the domain is on trial: refusals look at the trial's masks and end, too */
};

struct inject_report {
	uint32_t calls;			/* checks that were put in */
	uint32_t insns_before, insns_after;
	bool changed;			/* false: *out is the object as it was */
};

/* The answer for refusal; false: this helper cannot be checked at run time (its output would stay unwritten), so it cannot be `revocable`. */
bool inject_helper_refusal(int helper, int32_t *answer);

/*
 * 0: *out has the object (ELF) and *report; -EINVAL: something in it that we do not know how to move, with a sentence; -E2BIG; -ENOMEM.
 * An object without guarded calls is copied bit by bit. Deterministic. O(bytes).
 */
MUST_USE int inject_checks(struct arena *arena, struct slice object, const struct inject_spec *spec, struct buf *out, struct inject_report *report,
			   struct errmsg *why);
