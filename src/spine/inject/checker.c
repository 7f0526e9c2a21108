/* Where everything has to stand, from the original object alone. */
#include "spine/inject/checker_internal.h"

#include <errno.h>
#include <stdlib.h>

#include <prickle/spine_policy.h>

#define HELPER_CHECK_INSNS 5u
#define PORT_CHECK_INSNS   11u

static int broken(struct checker *c, const char *what)
{
	return errmsg_say(c->why, -EBADMSG, "injected checks are not proven: %s", what);
}

/* Known to the kernel as returning pointers or verdicts: 0 is what their callers must expect; else -EPERM. */
bool checker_helper(int helper, int32_t *answer, uint32_t *args)
{
	static const struct { int16_t helper; uint8_t args; bool zero; } known[] = {
		{ BPF_FUNC_map_lookup_elem, 2, true }, { BPF_FUNC_map_update_elem, 4, false }, { BPF_FUNC_map_delete_elem, 2, false },
		{ BPF_FUNC_map_push_elem, 3, false }, { BPF_FUNC_map_lookup_percpu_elem, 3, true }, { BPF_FUNC_for_each_map_elem, 4, false },
		{ BPF_FUNC_loop, 4, false }, { BPF_FUNC_tail_call, 3, false }, { BPF_FUNC_redirect, 2, true },
		{ BPF_FUNC_redirect_map, 3, true }, { BPF_FUNC_xdp_adjust_head, 2, false }, { BPF_FUNC_xdp_adjust_meta, 2, false },
		{ BPF_FUNC_xdp_adjust_tail, 2, false }, { BPF_FUNC_xdp_store_bytes, 4, false }, { BPF_FUNC_fib_lookup, 4, false },
		{ BPF_FUNC_csum_diff, 5, false }, { BPF_FUNC_perf_event_output, 5, false }, { BPF_FUNC_ringbuf_output, 4, false },
		{ BPF_FUNC_ringbuf_reserve, 3, true }, { BPF_FUNC_user_ringbuf_drain, 4, false }, { BPF_FUNC_sk_lookup_tcp, 5, true },
		{ BPF_FUNC_sk_lookup_udp, 5, true }, { BPF_FUNC_skc_lookup_tcp, 5, true }, { BPF_FUNC_tcp_gen_syncookie, 5, false },
		{ BPF_FUNC_tcp_check_syncookie, 5, false }, { BPF_FUNC_tcp_raw_gen_syncookie_ipv4, 3, false },
		{ BPF_FUNC_tcp_raw_gen_syncookie_ipv6, 3, false }, { BPF_FUNC_tcp_raw_check_syncookie_ipv4, 2, false },
		{ BPF_FUNC_tcp_raw_check_syncookie_ipv6, 2, false }, { BPF_FUNC_timer_init, 3, false },
		{ BPF_FUNC_timer_set_callback, 2, false }, { BPF_FUNC_timer_start, 3, false }, { BPF_FUNC_timer_cancel, 1, false },
	};

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (known[i].helper != helper)
			continue;
		*answer = known[i].zero ? 0 : -EPERM;
		*args = known[i].args;
		return true;
	}
	return false;
}

static int by_start(const void *a, const void *b)
{
	const struct checker_function *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static int find_functions(struct checker *c, struct checker_code *s, uint32_t *number)
{
	size_t n = 0;

	s->functions = arena_array(c->arena, c->old.symbol_count, sizeof(*s->functions));
	if (s->functions == NULL)
		return errmsg_set(c->why, -ENOMEM, "proof of checks");
	for (size_t i = 0; i < c->old.symbol_count; i++) {
		const struct elf_symbol *y = &c->old.symbols[i];
		if (y->section != s->section || y->type != STT_FUNC)
			continue;
		if (y->value % 8 != 0 || y->value / 8 >= s->count)
			return broken(c, "a function stands outside of its section");
		s->functions[n++].start = (uint32_t)(y->value / 8);
	}
	qsort(s->functions, n, sizeof(*s->functions), by_start);
	if (n == 0 || s->functions[0].start != 0)
		return broken(c, "code belongs to no function");
	for (size_t i = 0; i < n; i++) {
		struct checker_function *f = &s->functions[i];
		f->end = i + 1 < n ? s->functions[i + 1].start : s->count;
		f->number = (*number)++;
		if (f->end == f->start)
			return broken(c, "two functions stand at one place");
	}
	s->function_count = n;
	return 0;
}

/* The deepest place that the function names from r10: by accesses, and by numbers added to registers that r10 was copied to. */
static int32_t stack_of(struct slice code, const struct checker_function *f)
{
	int32_t deepest = 0;
	bool copied[16] = { [10] = true };

	for (uint32_t i = f->start; i < f->end; i++) {
		struct bpf_insn x = checker_insn(code, i);
		if (x.code == (BPF_ALU64 | BPF_MOV | BPF_X) && x.src_reg == BPF_REG_10)
			copied[x.dst_reg] = true;
	}
	for (uint32_t i = f->start; i < f->end; i++) {
		struct bpf_insn x = checker_insn(code, i);
		uint8_t class = BPF_CLASS(x.code);
		int32_t at = 0;
		if (class == BPF_LDX)
			at = x.src_reg == BPF_REG_10 ? x.off : 0;
		else if (class == BPF_ST || class == BPF_STX)
			at = x.dst_reg == BPF_REG_10 ? x.off : 0;
		else if (x.code == (BPF_ALU64 | BPF_ADD | BPF_K) && copied[x.dst_reg] && x.imm >= -512)
			at = x.imm;
		deepest = MIN(deepest, at);
		i += x.code == (BPF_LD | BPF_IMM | BPF_DW);
	}
	return (deepest - 7) / 8 * 8;
}

static bool guarded(const struct checker *c, struct bpf_insn x)
{
	return x.code == (BPF_JMP | BPF_CALL) && x.src_reg == 0 && x.imm >= 0 && x.imm < 64 * INSPECT_HELPER_WORDS &&
	       (c->helpers[x.imm / 64] >> x.imm % 64 & 1) != 0;
}

static int add_guard(struct checker *c, struct checker_code *s, uint32_t call, size_t function, int helper, bool port, uint32_t *at)
{
	struct checker_guard *g = &s->guards[s->guard_count++];
	int32_t answer;
	uint32_t args;

	if (!checker_helper(helper, &answer, &args))
		return errmsg_say(c->why, -EBADMSG, "injected checks are not proven: no check of helper %d is known", helper);
	*g = (struct checker_guard){ .call = call, .function = (uint32_t)function, .check = *at, .helper = helper, .port = port };
	*at += port ? PORT_CHECK_INSNS : HELPER_CHECK_INSNS;
	g->next = *at;
	c->guard_count++;
	return 0;
}

static int lay_out_function(struct checker *c, struct checker_code *s, size_t index, uint32_t *at)
{
	struct slice code = c->old.sections[s->section].bytes;
	struct checker_function *f = &s->functions[index];
	size_t from = s->guard_count;

	f->stack = stack_of(code, f);
	for (uint32_t i = f->start; i < f->end; i++) {
		struct bpf_insn x = checker_insn(code, i);
		int err = 0;

		s->first[i] = *at;
		if (guarded(c, x))
			err = add_guard(c, s, i, index, x.imm, false, at);
		if (err == 0 && x.code == (BPF_JMP | BPF_CALL) && x.src_reg == 0 && x.imm == BPF_FUNC_redirect)
			err = add_guard(c, s, i, index, x.imm, true, at);
		if (err != 0)
			return err;
		s->self[i] = (*at)++;
		if (x.code != (BPF_LD | BPF_IMM | BPF_DW))
			continue;
		if (++i >= f->end)
			return broken(c, "a function ends within an instruction");
		s->first[i] = s->self[i] = (*at)++;
	}
	for (size_t i = from; i < s->guard_count; i++) {
		s->guards[i].refusal = *at;
		*at += checker_refusal_insns(c, &s->guards[i]);
	}
	return 0;
}

static int lay_out(struct checker *c, struct checker_code *s, uint32_t *number)
{
	size_t n = s->count + 1u;
	uint32_t at = 0;

	s->first = arena_array(c->arena, n, sizeof(*s->first));
	s->self = arena_array(c->arena, n, sizeof(*s->self));
	s->guards = arena_array(c->arena, 2 * n, sizeof(*s->guards));
	if (s->first == NULL || s->self == NULL || s->guards == NULL)
		return errmsg_set(c->why, -ENOMEM, "proof of checks");
	int err = find_functions(c, s, number);
	for (size_t i = 0; err == 0 && i < s->function_count; i++)
		err = lay_out_function(c, s, i, &at);
	s->first[s->count] = s->self[s->count] = s->new_count = at;
	return err;
}

static int read_code(struct checker *c)
{
	uint32_t number = 0;
	int err = 0;

	c->code = arena_array(c->arena, c->old.section_count, sizeof(*c->code));
	if (c->code == NULL)
		return errmsg_set(c->why, -ENOMEM, "proof of checks");
	for (size_t i = 1; err == 0 && i < c->old.section_count; i++) {
		const struct elf_section *x = &c->old.sections[i];
		struct checker_code *s = &c->code[i];
		if (x->type != SHT_PROGBITS || (x->flags & SHF_EXECINSTR) == 0 || x->bytes.len == 0)
			continue;
		if (x->bytes.len % 8 != 0)
			return broken(c, "a section of code ends within an instruction");
		s->section = i;
		s->count = (uint32_t)(x->bytes.len / 8);
		err = lay_out(c, s, &number);
	}
	return err;
}

static int find_row(struct checker *c)
{
	bool twice = false;

	c->row_section = elf_find(&c->old, SPINE_POLICY_SECTION, &twice);
	for (size_t i = 1; i < c->old.symbol_count; i++) {
		const struct elf_symbol *y = &c->old.symbols[i];
		if (strcmp(y->name, SPINE_POLICY_SYMBOL) != 0)
			continue;
		twice |= c->row_symbol != 0;
		c->row_symbol = i;
	}
	const struct elf_symbol *y = &c->old.symbols[c->row_symbol];
	if (twice || c->row_section == 0 || c->row_symbol == 0 || y->section != c->row_section || y->value != 0 || y->type != STT_OBJECT ||
	    y->size != sizeof(struct spine_policy_row) || c->old.sections[c->row_section].size != y->size)
		return broken(c, "the object has no row of its own, or more than one");
	return 0;
}

static int relocations_of_code(struct checker *c, struct checker_code *s)
{
	struct elf_relocation *before = NULL, *after = NULL;

	for (size_t i = 1; i < c->old.section_count; i++) {
		if (c->old.sections[i].type == SHT_REL && c->old.sections[i].info == s->section)
			s->rel_section = i;
	}
	int err = elf_relocations(c->arena, &c->old, s->section, &before, &s->old_rel_count, c->why);
	if (err == 0)
		err = elf_relocations(c->arena, &c->new, s->section, &after, &s->new_rel_count, c->why);
	s->old_rel = before;
	s->new_rel = after;
	return err;
}

static int prove(struct checker *c)
{
	int err = elf_parse(c->arena, c->old_bytes, &c->old, c->why);

	if (err == 0)
		err = read_code(c);
	if (err != 0)
		return err;
	if (c->guard_count == 0)
		return slice_eq(c->old_bytes, c->new_bytes) ? 0 : broken(c, "there is nothing to check, and yet the object changed");
	err = elf_parse(c->arena, c->new_bytes, &c->new, c->why);
	if (err == 0)
		err = find_row(c);
	/* Tables first: they prove that sections and symbols of both have the same indices. */
	if (err == 0)
		err = checker_tables_prove(c);
	for (size_t i = 1; err == 0 && i < c->old.section_count; i++) {
		struct checker_code *s = &c->code[i];
		if (s->count == 0)
			continue;
		err = relocations_of_code(c, s);
		if (err == 0)
			err = checker_code_prove(c, s);
	}
	return err == 0 ? checker_lines_prove(c) : err;
}

int checker_prove(struct arena *arena, struct slice original, struct slice injected, const uint64_t helpers[INSPECT_HELPER_WORDS], bool trial,
		  struct errmsg *why)
{
	struct checker c = { .arena = arena, .old_bytes = original, .new_bytes = injected, .helpers = helpers, .trial = trial, .why = why };
	int err = prove(&c);

	/* Whatever the ELF reader dislikes, the sentence is its own; for callers the answer is one. */
	if (err == 0 || err == -ENOMEM)
		return err;
	if (why != NULL)
		why->code = -EBADMSG;
	return -EBADMSG;
}
