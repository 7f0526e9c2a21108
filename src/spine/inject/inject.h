/*
 * Put checks of policy into an extension's object file, before libbpf opens it.
 *
 * Guarded are calls of helpers that the policy says may be revoked, and bpf_redirect(), whose port is checked by its interface index. A check is inline: it
 * reads one word of the object's own struct spine_policy_row (prickle/spine_policy.h), jumps to the call when the bit is set, else makes a record and
 * goes on behind the call with the helper's answer for refusal (-EPERM, NULL, XDP_ABORTED). A call of a BPF function would cost 9 ns, a look-up inline 1.
 *
 * The checks, in front of the call (function end: the place behind the last instruction that the function had):
 *
 *	helper (a bit of spec.helpers)			port (every bpf_redirect, behind the former if there are both)
 *	r0 = &row.helpers[H / 32] ll			r3 = &row.ports ll
 *	r0 = *(u32 *)(r0 + 0)				w4 = w1
 *	if w0 & 1 << H % 32 goto call			w4 &= 1023
 *	goto refusal					r4 <<= 3
 *							r3 += r4
 *							r3 = *(u64 *)(r3 + 0)
 *							if w3 != w1 goto the line before the call
 *							r3 >>= 32
 *							if w3 & 1 goto call
 *							goto refusal
 *
 * `goto refusal` leads to the function's end (as a 32-bit jump when it is far): there a record is made; then the helper's answer
 * for refusal is put into r0 and the way goes on behind the call. On trial, when the trial's mask and end allow it,
 * it goes on to the instruction that the check guards instead. Whatever led to the call (jumps, the
 * beginning of a function) now leads to its first check. The ways of a refusal use r0-r5 and stack below
 * what the function uses, no more than they need.
 *
 * Growing code moves everything that counts instructions: jumps, pc-relative calls, relocations, symbols, func_info, line_info and CO-RE records
 * (.BTF.ext, .rel.BTF.ext) are shifted together, so the verifier's log, `inspect` and BTF stay right; a refusal has a line record of its own, with
 * the line of the call. Section and symbol indices stay; a code section without relocations gets a section .relNAME, last of all,
 * and its name at the end of the table of names. DWARF (.debug_*) stays as it was: nothing that loads programs reads it.
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
	uint32_t calls;			/* guarded ones */
	uint32_t insns_before, insns_after;
	bool changed;			/* false: *out is the object as it was */
};

/* The answer for refusal (a negative errno, or 0 for NULL and XDP_ABORTED); false: this helper cannot be checked at run time (its output would stay unwritten), so it cannot be `revocable`. */
bool inject_helper_refusal(int helper, int32_t *answer);

/*
 * 0: *out has the object (ELF) and *report; -EINVAL: something in it that we do not know how to move, with a sentence; -E2BIG; -ENOMEM.
 * An object without guarded calls is copied bit by bit. Deterministic. O(bytes).
 */
MUST_USE int inject_checks(struct arena *arena, struct slice object, const struct inject_spec *spec, struct buf *out, struct inject_report *report,
			   struct errmsg *why);
