#include "spine/code/rule_fields.h"

#include <arpa/inet.h>

_Static_assert(RULE_AT_END <= RULE_KEY_AT + (int)sizeof(((struct spine_cpu_stats *)NULL)->key), "the scratch has room");
_Static_assert(sizeof(struct spine_set_key) == 20, "between RULE_AT_SRC_SET and RULE_AT_DST_SET");

const int16_t rule_field_at[FIELD_COUNT] = {
	[FIELD_TYPE] = RULE_AT_TYPE, [FIELD_L4] = RULE_AT_L4, [FIELD_DPORT] = RULE_AT_DPORT, [FIELD_SPORT] = RULE_AT_SPORT,
	[FIELD_DST4] = RULE_AT_DST4, [FIELD_SRC4] = RULE_AT_SRC4, [FIELD_DST6] = RULE_AT_DST6, [FIELD_SRC6] = RULE_AT_SRC6,
};

/* Offsets in frames. */
enum { NET = 14, IP4_END = NET + 20, IP6_END = NET + 40, ARP_END = NET + 28 };

enum { DATA = BPF_REG_2, END = BPF_REG_3, CTX = BPF_REG_6, CPU = BPF_REG_7 };

/* What the terms ask of a family: fields by bit, and addresses as keys of sets. */
struct needs {
	unsigned fields;
	bool src_set, dst_set;
};

static struct needs needs_of(const struct tree_term *terms, size_t count, uint32_t type)
{
	struct needs n = { 0 };

	for (size_t i = 0; i < count; i++) {
		const struct term *t = &terms[i].term;

		if (t->field[FIELD_TYPE] != NULL && !ranges_has(t->field[FIELD_TYPE], type))
			continue;
		for (unsigned f = FIELD_L4; f < FIELD_COUNT; f++)
			n.fields |= t->field[f] == NULL ? 0 : 1u << f;
		n.src_set |= (t->in & 0x5555555555555555u) != 0;
		n.dst_set |= (t->in & 0xaaaaaaaaaaaaaaaau) != 0;
	}
	return n;
}

static bool needs_any(const struct needs *n)
{
	return n->fields != 0 || n->src_set || n->dst_set;
}

static bool needs_field(const struct needs *n, enum rule_field f)
{
	return (n->fields >> f & 1) != 0;
}

static void to_host(struct program *p, uint8_t reg, int32_t bits)
{
	p_insn(p, BPF_ALU | BPF_END | BPF_TO_BE, reg, 0, 0, bits);
}

static void beyond(struct program *p, int32_t bytes, program_label label)
{
	p_mov(p, 4, DATA);
	p_alu_imm(p, BPF_ADD, 4, bytes);
	p_jump(p, BPF_JGT, true, 4, END, label);
}

static void address4(struct program *p, const struct needs *n, enum rule_field f, bool in_set, int16_t offset)
{
	int16_t key = f == FIELD_SRC4 ? RULE_AT_SRC_SET : RULE_AT_DST_SET;

	if (!needs_field(n, f) && !in_set)
		return;
	p_load(p, BPF_W, 4, DATA, offset);
	if (in_set) {
		/* ::ffff:a.b.c.d */
		p_store_imm(p, BPF_W, CPU, key, 128);
		p_store_imm(p, BPF_W, CPU, (int16_t)(key + 4), 0);
		p_store_imm(p, BPF_W, CPU, (int16_t)(key + 8), 0);
		p_store_imm(p, BPF_W, CPU, (int16_t)(key + 12), (int32_t)htonl(0xffff));
		p_store(p, BPF_W, CPU, (int16_t)(key + 16), 4);
	}
	if (needs_field(n, f)) {
		to_host(p, 4, 32);
		p_store(p, BPF_W, CPU, rule_field_at[f], 4);
	}
}

static void address6(struct program *p, const struct needs *n, enum rule_field f, bool in_set, int16_t offset)
{
	int16_t key = f == FIELD_SRC6 ? RULE_AT_SRC_SET : RULE_AT_DST_SET;

	if (in_set) {
		p_store_imm(p, BPF_W, CPU, key, 128);
		for (int16_t i = 0; i < 16; i = (int16_t)(i + 4)) {
			p_load(p, BPF_W, 4, DATA, (int16_t)(offset + i));
			p_store(p, BPF_W, CPU, (int16_t)(key + 4 + i), 4);
		}
	}
	if (!needs_field(n, f))
		return;
	for (int16_t i = 0; i < 16; i = (int16_t)(i + 8)) {
		p_load(p, BPF_DW, 4, DATA, (int16_t)(offset + i));
		to_host(p, 4, 64);
		p_store(p, BPF_DW, CPU, (int16_t)(rule_field_at[f] + i), 4);
	}
}

static void load_port(struct program *p, int16_t offset, int16_t at)
{
	p_load(p, BPF_H, 4, DATA, offset);
	to_host(p, 4, 16);
	p_store(p, BPF_W, CPU, at, 4);
}

static bool needs_ports(const struct needs *n)
{
	return needs_field(n, FIELD_SPORT) || needs_field(n, FIELD_DPORT);
}

static void no_ports(struct program *p, const struct needs *n)
{
	if (needs_field(n, FIELD_SPORT))
		p_store_imm(p, BPF_W, CPU, RULE_AT_SPORT, RULE_NO_PORT);
	if (needs_field(n, FIELD_DPORT))
		p_store_imm(p, BPF_W, CPU, RULE_AT_DPORT, RULE_NO_PORT);
}

/* The ports from DATA + offset on, then to `done`; frames that jump to *none (if not NULL) have no ports. */
static void ports(struct program *p, const struct needs *n, int16_t offset, const program_label *none,
		  program_label done)
{
	program_label cut = p_label(p);

	if (needs_ports(n))
		beyond(p, offset + 4, cut);
	if (needs_field(n, FIELD_SPORT))
		load_port(p, offset, RULE_AT_SPORT);
	if (needs_field(n, FIELD_DPORT))
		load_port(p, (int16_t)(offset + 2), RULE_AT_DPORT);
	p_goto(p, done);
	if (!needs_ports(n))
		return;
	p_set(p, cut);
	no_ports(p, n);
	if (needs_field(n, FIELD_SPORT)) {
		beyond(p, offset + 2, done);
		load_port(p, offset, RULE_AT_SPORT);
	}
	p_goto(p, done);
	if (none == NULL)
		return;
	p_set(p, *none);
	no_ports(p, n);
	p_goto(p, done);
}

static void fields_ip4(struct program *p, const struct needs *n, program_label cut, program_label done, bool known)
{
	program_label none = p_label(p);

	beyond(p, IP4_END, cut);
	if (!known)
		p_store_imm(p, BPF_W, CPU, RULE_AT_TYPE, RULE_IP4);
	if (needs_field(n, FIELD_L4)) {
		p_load(p, BPF_B, 4, DATA, NET + 9);
		p_store(p, BPF_W, CPU, RULE_AT_L4, 4);
	}
	address4(p, n, FIELD_SRC4, n->src_set, NET + 12);
	address4(p, n, FIELD_DST4, n->dst_set, NET + 16);
	if (needs_ports(n)) {
		p_load(p, BPF_H, 4, DATA, NET + 6);
		p_alu_imm(p, BPF_AND, 4, htons(0x1fff));
		p_jump_imm(p, BPF_JNE, true, 4, 0, none);
		p_load(p, BPF_B, 4, DATA, NET);
		p_alu_imm(p, BPF_AND, 4, 15);
		p_alu_imm(p, BPF_LSH, 4, 2);
		p_alu(p, BPF_ADD, DATA, 4);
	}
	ports(p, n, NET, &none, done);
}

/* Most frames: IPv4 without options, no fragment, and long enough for ports. All others: label `unusual`. */
static void fields_usual(struct program *p, const struct needs *n, program_label unusual, program_label done, bool known)
{
	beyond(p, IP4_END + 4, unusual);
	p_load(p, BPF_H, 1, DATA, 12);
	p_jump_imm(p, BPF_JNE, false, 1, htons(0x0800), unusual);
	p_load(p, BPF_B, 4, DATA, NET);
	p_jump_imm(p, BPF_JNE, false, 4, 0x45, unusual);
	p_load(p, BPF_H, 4, DATA, NET + 6);
	p_jump_imm(p, BPF_JSET, false, 4, htons(0x1fff), unusual);
	if (!known)
		p_store_imm(p, BPF_W, CPU, RULE_AT_TYPE, RULE_IP4);
	if (needs_field(n, FIELD_L4)) {
		p_load(p, BPF_B, 4, DATA, NET + 9);
		p_store(p, BPF_W, CPU, RULE_AT_L4, 4);
	}
	address4(p, n, FIELD_SRC4, n->src_set, NET + 12);
	address4(p, n, FIELD_DST4, n->dst_set, NET + 16);
	if (needs_field(n, FIELD_SPORT))
		load_port(p, IP4_END, RULE_AT_SPORT);
	if (needs_field(n, FIELD_DPORT))
		load_port(p, IP4_END + 2, RULE_AT_DPORT);
	p_goto(p, done);
}

static void fields_ip6(struct program *p, const struct needs *n, program_label cut, program_label done, bool known)
{
	program_label none = p_label(p);
	bool fragments = needs_field(n, FIELD_L4);

	beyond(p, IP6_END, cut);
	if (!known)
		p_store_imm(p, BPF_W, CPU, RULE_AT_TYPE, RULE_IP6);
	address6(p, n, FIELD_SRC6, n->src_set, NET + 8);
	address6(p, n, FIELD_DST6, n->dst_set, NET + 24);
	if (fragments) {
		program_label plain = p_label(p);

		p_load(p, BPF_B, 5, DATA, NET + 6);
		p_store(p, BPF_W, CPU, RULE_AT_L4, 5);
		p_jump_imm(p, BPF_JNE, true, 5, 44, plain);
		p_store_imm(p, BPF_W, CPU, RULE_AT_L4, RULE_FRAGMENT_CUT);
		beyond(p, IP6_END + 1, needs_ports(n) ? none : done);
		p_load(p, BPF_B, 5, DATA, IP6_END);
		p_alu_imm(p, BPF_OR, 5, RULE_FRAGMENT);
		p_store(p, BPF_W, CPU, RULE_AT_L4, 5);
		p_set(p, plain);
	}
	ports(p, n, IP6_END, fragments ? &none : NULL, done);
}

/* The type is in R1. */
static void fields_arp(struct program *p, const struct needs *n, program_label cut)
{
	beyond(p, ARP_END, cut);
	p_alu_imm(p, BPF_OR, 1, RULE_HEADER);
	address4(p, n, FIELD_SRC4, n->src_set, NET + 14);
	address4(p, n, FIELD_DST4, n->dst_set, NET + 24);
}

void rule_fields_emit(struct program *p, const struct tree_term *terms, size_t count, const struct rule_types *types)
{
	struct needs ip4 = needs_of(terms, count, RULE_IP4), ip6 = needs_of(terms, count, RULE_IP6);
	struct needs arp = needs_of(terms, count, RULE_ARP), rarp = needs_of(terms, count, RULE_RARP);
	program_label done = p_label(p), to_ip4 = p_label(p), to_ip6 = p_label(p), to_arp = p_label(p);
	program_label other = p_label(p);

	arp.fields |= rarp.fields;
	arp.src_set |= rarp.src_set;
	arp.dst_set |= rarp.dst_set;
	p_load(p, BPF_W, DATA, CTX, offsetof(struct xdp_md, data));
	p_load(p, BPF_W, END, CTX, offsetof(struct xdp_md, data_end));
	if (needs_ports(&ip4)) {
		program_label unusual = p_label(p);

		fields_usual(p, &ip4, unusual, types->known ? types->ip4 : done, types->known);
		p_set(p, unusual);
	}
	p_mov_imm(p, 1, RULE_NO_TYPE);
	beyond(p, NET, other);
	p_load(p, BPF_H, 1, DATA, 12);
	to_host(p, 1, 16);
	if (needs_any(&ip4))
		p_jump_imm(p, BPF_JEQ, false, 1, 0x0800, to_ip4);
	if (needs_any(&ip6))
		p_jump_imm(p, BPF_JEQ, false, 1, 0x86dd, to_ip6);
	if (needs_any(&arp)) {
		p_jump_imm(p, BPF_JEQ, false, 1, 0x0806, to_arp);
		p_jump_imm(p, BPF_JEQ, false, 1, 0x8035, to_arp);
	}
	p_goto(p, other);
	p_set(p, to_ip4);
	if (needs_any(&ip4))
		fields_ip4(p, &ip4, other, types->known ? types->ip4 : done, types->known);
	p_set(p, to_ip6);
	if (needs_any(&ip6))
		fields_ip6(p, &ip6, other, types->known ? types->ip6 : done, types->known);
	p_set(p, to_arp);
	if (needs_any(&arp))
		fields_arp(p, &arp, other);
	p_set(p, other);
	p_store(p, BPF_W, CPU, RULE_AT_TYPE, 1);
	p_set(p, done);
}
