#include "spine/code/guard.h"

#include <errno.h>
#include <pcap/pcap.h>
/* needs pcap.h before it */
#include <pcap/namedb.h>

#include "spine/code/code_limits.h"

#define SNAPLEN	      262144
#define SCRATCH_WORDS 16		/* of classic BPF */

/* Every load that the translation knows; others need a live socket (SKF_AD_...) or do not exist. */
static bool load_known(const struct bpf_insn *i)
{
	bool index = BPF_CLASS(i->code) == BPF_LDX;

	switch (BPF_MODE(i->code)) {
	case BPF_IMM:
	case BPF_LEN:
		return BPF_SIZE(i->code) == BPF_W;
	case BPF_MEM:
		return BPF_SIZE(i->code) == BPF_W && i->k < SCRATCH_WORDS;
	case BPF_MSH:
		return index && BPF_SIZE(i->code) == BPF_B && i->k <= INT32_MAX;
	case BPF_ABS:
	case BPF_IND:
		return !index && i->k <= INT32_MAX;
	default:
		return false;
	}
}

static bool alu_known(const struct bpf_insn *i)
{
	switch (BPF_OP(i->code)) {
	case BPF_ADD: case BPF_SUB: case BPF_MUL: case BPF_DIV: case BPF_OR: case BPF_AND:
	case BPF_LSH: case BPF_RSH: case BPF_NEG: case BPF_MOD: case BPF_XOR:
		return true;
	default:
		return false;
	}
}

/* NULL when the translation can take it, else why not. */
static const char *insn_wrong(const struct bpf_program *f, unsigned at)
{
	const struct bpf_insn *i = &f->bf_insns[at];
	unsigned left = f->bf_len - at - 1;

	switch (BPF_CLASS(i->code)) {
	case BPF_LD:
	case BPF_LDX:
		return load_known(i) ? NULL : "it needs what only a live capture has";
	case BPF_ST:
	case BPF_STX:
		return i->k < SCRATCH_WORDS ? NULL : "its code is not as expected";
	case BPF_ALU:
		return alu_known(i) ? NULL : "its code is not as expected";
	case BPF_JMP:
		if (BPF_OP(i->code) == BPF_JA)
			return i->k < left ? NULL : "it jumps backward, as `protochain` does, so nothing bounds its time";
		return i->jt < left && i->jf < left ? NULL : "its code is not as expected";
	default:
		return NULL;		/* RET, MISC */
	}
}

static int copy_checked(struct arena *arena, const struct bpf_program *f, const struct guard_insn **out, size_t *count,
			struct errmsg *why)
{
	struct guard_insn *copy;

	if (f->bf_len == 0 || f->bf_len > RULE_GUARD_INSNS_MAX)
		return errmsg_say(why, -E2BIG, "the match rule becomes %u instructions; at most %d are possible", f->bf_len,
				  RULE_GUARD_INSNS_MAX);
	if (BPF_CLASS(f->bf_insns[f->bf_len - 1].code) != BPF_RET)
		return errmsg_say(why, -EINVAL, "the match rule cannot be used: its code does not end");
	copy = arena_array(arena, f->bf_len, sizeof(*copy));
	if (copy == NULL)
		return errmsg_say(why, -ENOMEM, "no memory for the match rule");
	for (unsigned n = 0; n < f->bf_len; n++) {
		const struct bpf_insn *i = &f->bf_insns[n];
		const char *wrong = insn_wrong(f, n);

		if (wrong != NULL)
			return errmsg_say(why, -EINVAL, "the match rule cannot be used: %s", wrong);
		copy[n] = (struct guard_insn){ .code = i->code, .yes = i->jt, .no = i->jf, .k = i->k };
	}
	*out = copy;
	*count = f->bf_len;
	return 0;
}

int guard_compile(struct arena *arena, const char *text, const struct guard_insn **out, size_t *count,
		  struct errmsg *why)
{
	pcap_t *handle = pcap_open_dead(DLT_EN10MB, SNAPLEN);
	struct bpf_program f;
	int err;

	if (handle == NULL)
		return errmsg_say(why, -ENOMEM, "no memory for the match rule");
	if (pcap_compile(handle, &f, text, 1, PCAP_NETMASK_UNKNOWN) != 0) {
		err = errmsg_say(why, -EINVAL, "match rule '%.200s': libpcap says: %.200s", text, pcap_geterr(handle));
	} else {
		err = copy_checked(arena, &f, out, count, why);
		pcap_freecode(&f);
	}
	pcap_close(handle);
	return err;
}

bool guard_port(const char *name, uint32_t *port, uint32_t *l4)
{
	int number, proto;

	if (pcap_nametoport(name, &number, &proto) == 0 || number < 0 || number > 65535)
		return false;
	*port = (uint32_t)number;
	*l4 = proto == PROTO_UNDEF ? 0 : (uint32_t)proto;
	return true;
}
