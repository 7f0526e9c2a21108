/*
 * Code with checks: where each instruction goes, and everything that counts instructions: jumps, calls, relocations, symbols.
 */
#include <errno.h>
#include <stdlib.h>

#include "spine/inject/inject_internal.h"
#include "spine/inspect/inspect_limits.h"
#include "spine/inspect/little.h"

static int refuse(const struct injection *in, const struct inject_function *f, uint32_t insn, const char *what)
{
	return errmsg_say(in->why, -EINVAL, "no checks can be put into the object: instruction %u of '%s' %s", insn - f->first, f->name, what);
}

/* ---- Places ---- */

static uint32_t check_length(const struct inject_guard *g, int check)
{
	struct inject_emit e = { 0 };

	if (g->checks[check])
		inject_emit_check(&e, g, check);
	return e.at;
}

static uint32_t refusal_length(const struct injection *in, const struct inject_function *f, const struct inject_guard *g, int check)
{
	struct inject_emit e = { 0 };

	if (g->checks[check])
		inject_emit_refusal(&e, f, g, check, in->spec->trial, 0, 0);
	return e.at;
}

static uint32_t place_function(const struct injection *in, struct inject_section *s, const struct inject_function *f, uint32_t at)
{
	uint32_t next = 0;

	for (uint32_t i = f->first; i < f->end; i++) {
		s->start[i] = at;
		if (next < f->guard_count && f->guards[next].insn == i) {
			const struct inject_guard *g = &f->guards[next++];
			at += check_length(g, INJECT_BIT) + check_length(g, INJECT_PORT);
		}
		s->self[i] = at++;
	}
	for (uint32_t i = 0; i < f->guard_count; i++) {
		for (int check = INJECT_BIT; check <= INJECT_PORT; check++) {
			f->guards[i].refusal[check] = at;
			at += refusal_length(in, f, &f->guards[i], check);
		}
	}
	return at;
}

/* What stands between functions is never loaded, and stays as it is. */
static int place_section(struct injection *in, struct inject_section *s)
{
	uint32_t at = 0, i = 0;

	for (size_t n = 0; n < s->function_count; n++) {
		const struct inject_function *f = &s->functions[n];
		for (; i < f->first; i++)
			s->start[i] = s->self[i] = at++;
		at = place_function(in, s, f, at);
		if (at > OBJECT_INSNS_MAX)
			return errmsg_say(in->why, -E2BIG, "the object has more than %d instructions with its checks", OBJECT_INSNS_MAX);
		i = f->end;
	}
	for (; i < s->count; i++)
		s->start[i] = s->self[i] = at++;
	s->start[s->count] = s->self[s->count] = at;
	s->after_count = at;
	return 0;
}

/* ---- Instructions ---- */

static bool is_jump(const struct bpf_insn *i)
{
	uint8_t class = BPF_CLASS(i->code), op = BPF_OP(i->code);

	return (class == BPF_JMP || class == BPF_JMP32) && op != BPF_CALL && op != BPF_EXIT;
}

static int move_jump(const struct injection *in, const struct inject_section *s, const struct inject_function *f, uint32_t insn,
		     struct bpf_insn *out)
{
	bool far = out->code == (BPF_JMP32 | BPF_JA), always = out->code == (BPF_JMP | BPF_JA);
	int64_t to = (int64_t)insn + 1 + (far ? out->imm : out->off);

	if (out->code == (BPF_JMP | BPF_JA | BPF_X))
		return refuse(in, f, insn, "jumps to an address that it computes");
	if (to < f->first || to >= f->end)
		return refuse(in, f, insn, "jumps out of its function");
	int64_t by = (int64_t)s->start[to] - (int64_t)s->self[insn] - 1;
	if (far) {
		out->imm = (int32_t)by;
	} else if (by >= INT16_MIN && by <= INT16_MAX) {
		out->off = (int16_t)by;
	} else if (always) {
		*out = (struct bpf_insn){ .code = BPF_JMP32 | BPF_JA, .imm = (int32_t)by };
	} else {
		return refuse(in, f, insn, "jumps too far when checks stand in between; make the function smaller");
	}
	return 0;
}

static uint64_t moved_value(const struct inject_section *s, uint64_t value)
{
	return (uint64_t)s->start[value / INJECT_INSN_BYTES] * INJECT_INSN_BYTES;
}

/* A call within the section, without relocation: object_parse found a function at its target. */
static void move_call(const struct inject_section *s, uint32_t insn, struct bpf_insn *out)
{
	int64_t to = (int64_t)insn + 1 + out->imm;

	if (to >= 0 && to < s->count)
		out->imm = (int32_t)((int64_t)s->start[to] - (int64_t)s->self[insn] - 1);
}

static const struct elf_relocation *relocation_at(const struct inject_section *s, uint32_t insn)
{
	size_t low = 0, high = s->relocation_count;
	uint64_t offset = (uint64_t)insn * INJECT_INSN_BYTES;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (s->relocations[middle].offset < offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low < s->relocation_count && s->relocations[low].offset == offset ? &s->relocations[low] : NULL;
}

/* The constant that a relocation adds to: to a function, from a symbol that may be the whole section's. */
static void move_addend(const struct injection *in, const struct elf_relocation *r, struct bpf_insn *out)
{
	const struct elf_symbol *symbol = &in->elf.symbols[r->symbol];

	if (symbol->section >= in->elf.section_count || in->sections[symbol->section].before == NULL)
		return;
	const struct inject_section *to = &in->sections[symbol->section];
	int64_t value = (int64_t)symbol->value, target;
	if (out->code == INJECT_CALL)
		target = value + ((int64_t)out->imm + 1) * INJECT_INSN_BYTES;
	else
		target = value + out->imm;
	if (target < 0 || value < 0 || target / INJECT_INSN_BYTES > to->count || value / INJECT_INSN_BYTES > to->count)
		return;
	int64_t by = (int64_t)moved_value(to, (uint64_t)target) - (int64_t)moved_value(to, (uint64_t)value);
	out->imm = (int32_t)(out->code == INJECT_CALL ? by / INJECT_INSN_BYTES - 1 : by);
}

static int move_insn(const struct injection *in, struct inject_section *s, const struct inject_function *f, uint32_t insn)
{
	struct bpf_insn *out = &s->after[s->self[insn]];
	const struct elf_relocation *r = relocation_at(s, insn);

	*out = s->before[insn];
	if (is_jump(out))
		return move_jump(in, s, f, insn, out);
	if (out->code == (BPF_JMP | BPF_CALL | BPF_X))
		return refuse(in, f, insn, "calls an address that it computes");
	if (r != NULL && (out->code == INJECT_CALL || out->code == INJECT_LDDW))
		move_addend(in, r, out);
	else if (out->code == INJECT_CALL && out->src_reg == BPF_PSEUDO_CALL)
		move_call(s, insn, out);
	return 0;
}

static void write_guards(const struct injection *in, struct inject_section *s, const struct inject_function *f, struct inject_emit *e)
{
	for (uint32_t i = 0; i < f->guard_count; i++) {
		const struct inject_guard *g = &f->guards[i];
		e->at = s->start[g->insn];
		for (int check = INJECT_BIT; check <= INJECT_PORT; check++) {
			if (g->checks[check])
				inject_emit_check(e, g, check);
		}
	}
	for (uint32_t i = 0; i < f->guard_count; i++) {
		const struct inject_guard *g = &f->guards[i];
		uint32_t port = s->self[g->insn] - check_length(g, INJECT_PORT);
		for (int check = INJECT_BIT; check <= INJECT_PORT; check++) {
			e->at = g->refusal[check];
			if (g->checks[check])
				inject_emit_refusal(e, f, g, check, in->spec->trial, check == INJECT_BIT ? port : s->self[g->insn],
						    s->start[g->insn + 1]);
		}
	}
}

static int write_section(struct injection *in, struct inject_section *s)
{
	struct inject_emit e = { .row = in->row };
	size_t most = 0;

	for (size_t n = 0; n < s->function_count; n++)
		most += (size_t)s->functions[n].guard_count * INJECT_RELOCATIONS_MAX;
	s->after = arena_array(in->arena, s->after_count, sizeof(*s->after));
	e.relocations = arena_array(in->arena, most, sizeof(*e.relocations));
	if (s->after == NULL || e.relocations == NULL)
		return inject_short_of_memory(in);
	e.out = s->after;
	for (uint32_t i = 0; i < s->count; i++)
		s->after[s->self[i]] = s->before[i];
	for (size_t n = 0; n < s->function_count; n++) {
		const struct inject_function *f = &s->functions[n];
		for (uint32_t i = f->first; i < f->end; i++) {
			int err = move_insn(in, s, f, i);
			if (err != 0)
				return err;
			i += s->before[i].code == INJECT_LDDW;
		}
		write_guards(in, s, f, &e);
	}
	s->added = e.relocations;
	s->added_count = e.relocation_count;
	return 0;
}

/* ---- Relocations ---- */

size_t inject_relocations_of(const struct elf *e, size_t section)
{
	for (size_t i = 1; i < e->section_count; i++) {
		if (e->sections[i].type == SHT_REL && e->sections[i].info == section)
			return i;
	}
	return 0;
}

static int by_offset(const void *a, const void *b)
{
	const struct elf_relocation *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

struct slice inject_relocation_bytes(struct arena *arena, struct elf_relocation *list, size_t count)
{
	uint8_t *bytes = arena_array(arena, count, sizeof(Elf64_Rel));

	qsort(list, count, sizeof(*list), by_offset);
	for (size_t i = 0; bytes != NULL && i < count; i++) {
		inject_put64(bytes + i * sizeof(Elf64_Rel), list[i].offset);
		inject_put64(bytes + i * sizeof(Elf64_Rel) + 8, ELF64_R_INFO((uint64_t)list[i].symbol, list[i].type));
	}
	return slice_of(bytes, count * sizeof(Elf64_Rel));
}

static int write_relocations(struct injection *in, size_t index)
{
	struct inject_section *s = &in->sections[index];
	size_t at = inject_relocations_of(&in->elf, index), n = s->relocation_count;
	struct elf_relocation *all = arena_array(in->arena, n + s->added_count, sizeof(*all));

	if (all == NULL)
		return inject_short_of_memory(in);
	if (n + s->added_count > OBJECT_RELOCATIONS_MAX)
		return errmsg_say(in->why, -E2BIG, "section '%s' has more than %d relocations with its checks", in->elf.sections[index].name,
				  OBJECT_RELOCATIONS_MAX);
	for (size_t i = 0; i < n; i++) {
		all[i] = s->relocations[i];
		if (all[i].offset / INJECT_INSN_BYTES >= s->count)
			return errmsg_say(in->why, -EINVAL, "a relocation lies outside of section '%s'", in->elf.sections[index].name);
		all[i].offset = (uint64_t)s->self[all[i].offset / INJECT_INSN_BYTES] * INJECT_INSN_BYTES + all[i].offset % INJECT_INSN_BYTES;
	}
	for (size_t i = 0; i < s->added_count; i++)
		all[n + i] = s->added[i];
	struct slice bytes = inject_relocation_bytes(in->arena, all, n + s->added_count);
	if (bytes.ptr == NULL)
		return inject_short_of_memory(in);
	if (at != 0)
		in->content[at] = bytes;
	else
		s->own_relocations = bytes;
	return 0;
}

/* Sections that nothing of a loader reads: debuggers' and tools'. .BTF.ext is ours. */
static bool for_tools(const char *name)
{
	static const char *const roots[] = { ".debug_", ".BTF", ".eh_frame", ".llvm" };

	for (size_t i = 0; i < ARRAY_LEN(roots); i++) {
		if (strncmp(name, roots[i], strlen(roots[i])) == 0)
			return true;
	}
	return false;
}

/* A relocation of data to code moves with its symbol if it names a function's, with nothing added. */
static bool moves_alone(const struct injection *in, struct slice data, const uint8_t *entry)
{
	uint64_t offset = little64(entry), info = little64(entry + 8);
	size_t symbol = ELF64_R_SYM(info);

	if (symbol >= in->elf.symbol_count)
		return false;
	const struct elf_symbol *s = &in->elf.symbols[symbol];
	if (s->section >= in->elf.section_count || in->sections[s->section].before == NULL)
		return true;
	return s->type == STT_FUNC && offset <= data.len && data.len - offset >= 8 && little64(data.ptr + offset) == 0;
}

static int check_data_relocations(const struct injection *in)
{
	for (size_t i = 1; i < in->elf.section_count; i++) {
		const struct elf_section *s = &in->elf.sections[i];
		if ((s->type != SHT_REL && s->type != SHT_RELA) || s->info >= in->elf.section_count ||
		    in->sections[s->info].before != NULL || for_tools(in->elf.sections[s->info].name))
			continue;
		bool known = s->type == SHT_REL && s->bytes.len % sizeof(Elf64_Rel) == 0;
		for (size_t at = 0; known && at < s->bytes.len; at += sizeof(Elf64_Rel))
			known = moves_alone(in, in->elf.sections[s->info].bytes, s->bytes.ptr + at);
		if (!known)
			return errmsg_say(in->why, -EINVAL, "no checks can be put into the object: section '%s' refers to the middle of code",
					  in->elf.sections[s->info].name);
	}
	return 0;
}

/* ---- Symbols ---- */

static int move_symbol(const struct injection *in, const struct elf_symbol *s, uint8_t *entry)
{
	const struct inject_section *to = &in->sections[s->section];
	uint64_t bytes = (uint64_t)to->count * INJECT_INSN_BYTES;

	if (s->value > bytes || s->size > bytes - s->value || s->value % INJECT_INSN_BYTES != 0 || s->size % INJECT_INSN_BYTES != 0)
		return errmsg_say(in->why, -EINVAL, "no checks can be put into the object: symbol '%s' is not at whole instructions of its section",
				  s->name);
	inject_put64(entry + offsetof(Elf64_Sym, st_value), moved_value(to, s->value));
	inject_put64(entry + offsetof(Elf64_Sym, st_size), moved_value(to, s->value + s->size) - moved_value(to, s->value));
	return 0;
}

static int move_symbols(struct injection *in)
{
	size_t table = 0;

	for (size_t i = 1; i < in->elf.section_count; i++)
		table = in->elf.sections[i].type == SHT_SYMTAB ? i : table;
	struct slice bytes = arena_dup(in->arena, in->elf.sections[table].bytes);
	if (bytes.ptr == NULL)
		return inject_short_of_memory(in);
	for (size_t i = 1; i < in->elf.symbol_count; i++) {
		const struct elf_symbol *s = &in->elf.symbols[i];
		if (s->section >= in->elf.section_count || in->sections[s->section].before == NULL)
			continue;
		int err = move_symbol(in, s, (uint8_t *)(uintptr_t)bytes.ptr + i * sizeof(Elf64_Sym));
		if (err != 0)
			return err;
	}
	in->content[table] = bytes;
	return 0;
}

int inject_move(struct injection *in)
{
	size_t n = in->elf.section_count;
	int err = check_data_relocations(in);

	/* All places first: calls and callbacks lead from one section to another. */
	for (size_t i = 1; i < n && err == 0; i++) {
		if (in->sections[i].before != NULL)
			err = place_section(in, &in->sections[i]);
	}
	for (size_t i = 1; i < n && err == 0; i++) {
		if (in->sections[i].before != NULL)
			err = write_section(in, &in->sections[i]);
	}
	for (size_t i = 1; i < n && err == 0; i++) {
		struct inject_section *s = &in->sections[i];
		if (s->before == NULL)
			continue;
		err = write_relocations(in, i);
		in->content[i] = slice_of(s->after, (size_t)s->after_count * INJECT_INSN_BYTES);
	}
	return err == 0 ? move_symbols(in) : err;
}
