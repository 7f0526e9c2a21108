/*
 * Guards: match rules that the decision tree cannot hold. libpcap compiles them on a dead handle
 * (classic BPF; no device, no socket) and we translate that to eBPF.
 *
 * libpcap's header and the kernel's both define struct bpf_insn, so that only guard_pcap.c sees the one
 * and only guard_emit.c the other.
 */
#pragma once
#include "base/arena.h"
#include "base/errmsg.h"
#include "base/slice.h"

/* A classic instruction, as pcap/bpf.h defines it. */
struct guard_insn {
	uint16_t code;
	uint8_t yes, no;		/* how far to jump */
	uint32_t k;
};

/*
 * Compile with libpcap for DLT_EN10MB. The text holds no names of hosts or networks (rule_lex.h): libpcap
 * would ask DNS. 0; -EINVAL with libpcap's sentence, or what we refuse (backward jumps, loads that only a
 * live socket has); -E2BIG: over RULE_GUARD_INSNS_MAX; -ENOMEM. *out lives in the arena and is checked:
 * jumps go forward and stay inside, scratch words exist, the last instruction returns.
 */
MUST_USE int guard_compile(struct arena *arena, const char *text, const struct guard_insn **out, size_t *count,
			   struct errmsg *why);
/* A port by its name in /etc/services; *l4 is 0 when several protocols have it. False: unknown. */
MUST_USE bool guard_port(const char *name, uint32_t *port, uint32_t *l4);

struct program;
/* Does it compare the frame's length? */
bool guard_needs_length(const struct guard_insn *insns, size_t count);
/*
 * Append code that stores the length of the frame in R6 (all its buffers) as 32 bits at R7 + length_at; loses R0-R5.
 * A helper call costs 10 ns, so this is done once for all guards.
 */
void guard_emit_length(struct program *p, int16_t length_at);
/*
 * Append the translation: falls through at the end, with R8 = 1 when the frame matches and 0 when not.
 * R6 is the context, R7 + length_at the frame's length; loses R0-R5, R8 and R9; uses 64 bytes of stack. A load beyond
 * the frame gives 0 for the whole rule, as libpcap does.
 */
void guard_emit(struct program *p, const struct guard_insn *insns, size_t count, int16_t length_at);
