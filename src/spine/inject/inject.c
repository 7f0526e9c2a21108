/*
 * The plan of an injection: which calls are guarded, what stack is free, and whether the object has its row.
 */
#include "spine/inject/inject.h"

#include <errno.h>
#include <stdlib.h>

#include <prickle/spine_policy.h>

#include "base/buf.h"
#include "spine/inject/inject_internal.h"
#include "spine/inspect/inspect_limits.h"

#define STACK_BYTES 512

_Static_assert(OBJECT_INSNS_MAX <= 1 << SPINE_POLICY_INSN_BITS, "records name each instruction");
_Static_assert(OBJECT_PROGRAMS_MAX <= 1 << (32 - SPINE_POLICY_INSN_BITS), "and each function");

/* As the inspector says what is code (object.c): we see only objects that it could read. */
static bool is_code(const struct elf_section *s)
{
	return s->type == SHT_PROGBITS && (s->flags & SHF_EXECINSTR) && s->size > 0 && strcmp(s->name, ".maps") != 0;
}

static int read_code(struct injection *in, size_t index, uint64_t *total)
{
	struct inject_section *s = &in->sections[index];
	const struct elf_section *from = &in->elf.sections[index];

	*total += from->bytes.len / INJECT_INSN_BYTES;
	if (*total > OBJECT_INSNS_MAX)
		return errmsg_say(in->why, -E2BIG, "the object has more than %d instructions", OBJECT_INSNS_MAX);
	s->count = (uint32_t)(from->bytes.len / INJECT_INSN_BYTES);
	struct bpf_insn *insns = arena_array(in->arena, s->count, sizeof(*insns));
	s->start = arena_array(in->arena, (size_t)s->count + 1, sizeof(*s->start));
	s->self = arena_array(in->arena, (size_t)s->count + 1, sizeof(*s->self));
	if (insns == NULL || s->start == NULL || s->self == NULL)
		return inject_short_of_memory(in);
	memcpy(insns, from->bytes.ptr, from->bytes.len);
	s->before = insns;
	return elf_relocations(in->arena, &in->elf, index, &s->relocations, &s->relocation_count, in->why);
}

static int by_place(const void *a, const void *b)
{
	const struct inject_function *x = a, *y = b;

	if (x->section != y->section)
		return x->section < y->section ? -1 : 1;
	return x->first < y->first ? -1 : x->first > y->first;
}

static int read_functions(struct injection *in, size_t most)
{
	in->functions = arena_array(in->arena, most, sizeof(*in->functions));
	if (in->functions == NULL)
		return inject_short_of_memory(in);
	for (size_t i = 1; i < in->elf.symbol_count; i++) {
		const struct elf_symbol *s = &in->elf.symbols[i];
		if (s->type != STT_FUNC || s->section >= in->elf.section_count || in->sections[s->section].before == NULL)
			continue;
		if (in->function_count == most)
			return errmsg_say(in->why, -EINVAL, "the object has other functions than its inspector saw");
		in->functions[in->function_count++] = (struct inject_function){
			.name = s->name, .section = s->section,
			.first = (uint32_t)(s->value / INJECT_INSN_BYTES),
			.end = (uint32_t)((s->value + s->size) / INJECT_INSN_BYTES),
		};
	}
	qsort(in->functions, in->function_count, sizeof(*in->functions), by_place);
	for (size_t i = 0; i < in->function_count; i++) {
		struct inject_function *f = &in->functions[i];
		struct inject_section *s = &in->sections[f->section];
		f->number = (uint32_t)i;
		if (s->function_count++ == 0)
			s->functions = f;
	}
	return 0;
}

const struct inject_function *inject_function_at(const struct inject_section *s, uint64_t insn)
{
	size_t low = 0, high = s->function_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (s->functions[middle].first <= insn)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 && insn < s->functions[low - 1].end ? &s->functions[low - 1] : NULL;
}

/* ---- Which calls ---- */

static bool has_bit(const struct inject_spec *spec, int32_t helper)
{
	return helper > 0 && helper < 64 * INSPECT_HELPER_WORDS && (spec->helpers[helper / 64] >> (helper % 64) & 1);
}

static bool is_guarded(const struct injection *in, const struct bpf_insn *i)
{
	return i->code == INJECT_CALL && i->src_reg == 0 && (i->imm == BPF_FUNC_redirect || has_bit(in->spec, i->imm));
}

static int refuse(const struct injection *in, const struct inject_function *f, uint32_t insn, const char *what)
{
	return errmsg_say(in->why, -EINVAL, "instruction %u of '%s' %s", insn - f->first, f->name, what);
}

static int add_guard(const struct injection *in, struct inject_function *f, uint32_t insn, int32_t helper)
{
	struct inject_guard g = { .insn = insn, .helper = helper };
	int32_t answer;

	g.checks[INJECT_BIT] = has_bit(in->spec, helper);
	g.checks[INJECT_PORT] = helper == BPF_FUNC_redirect;
	if (!inject_helper_refusal(helper, &answer)) {
		const char *name = inspect_helper_name(helper);
		return errmsg_say(in->why, -EINVAL, "instruction %u of '%s' calls helper %s, which cannot be checked at run time; "
				  "take 'revocable' from its rule", insn - f->first, f->name, name == NULL ? "?" : name);
	}
	if (insn + 1 == f->end)
		return refuse(in, f, insn, "is a call behind which nothing follows");
	f->guards[f->guard_count++] = g;
	return 0;
}

static uint32_t depth_of(const struct bpf_insn *i, bool *copied)
{
	uint8_t class = BPF_CLASS(i->code);
	int32_t at = 0;

	if (class == BPF_LDX && i->src_reg == BPF_REG_10)
		at = i->off;
	else if ((class == BPF_ST || class == BPF_STX) && i->dst_reg == BPF_REG_10)
		at = i->off;
	else if (i->code == (BPF_ALU64 | BPF_MOV | BPF_X) && i->src_reg == BPF_REG_10)
		*copied = true;
	else if (*copied && i->code == (BPF_ALU64 | BPF_ADD | BPF_K))
		at = i->imm;
	return at < 0 && at >= -STACK_BYTES ? (uint32_t)-at : 0;
}

/*
 * What the function uses of its stack: the deepest place that it names. An address that it computes in
 * another way than compilers do may lie below; then a refusal overwrites what the function wrote there, and
 * nobody else is hurt.
 */
static int measure_stack(const struct injection *in, struct inject_function *f)
{
	const struct bpf_insn *insns = in->sections[f->section].before;
	uint32_t used = 0, needed = 0;
	bool copied = false;

	for (int round = 0; round < 2; round++) {	/* a copy may stand behind its use: loops */
		for (uint32_t i = f->first; i < f->end; i++) {
			uint32_t depth = depth_of(&insns[i], &copied);
			used = depth > used ? depth : used;
			i += insns[i].code == INJECT_LDDW;
		}
	}
	for (uint32_t i = 0; i < f->guard_count; i++) {
		uint32_t bytes = inject_stack(&f->guards[i], in->spec->trial);
		needed = bytes > needed ? bytes : needed;
	}
	f->stack = (used + 7) / 8 * 8;
	if (needed > 0 && f->stack + needed > STACK_BYTES)
		return errmsg_say(in->why, -EINVAL, "function '%s' uses %u bytes of stack; a check in it needs %u, and there "
				  "are %u: make its variables smaller", f->name, f->stack, needed, STACK_BYTES);
	return 0;
}

static int find_guards(struct injection *in, struct inject_function *f)
{
	struct inject_section *s = &in->sections[f->section];
	uint32_t n = 0;

	for (uint32_t i = f->first; i < f->end; i++) {
		n += is_guarded(in, &s->before[i]);
		i += s->before[i].code == INJECT_LDDW;
	}
	if (n == 0)
		return 0;
	f->guards = arena_array(in->arena, n, sizeof(*f->guards));
	if (f->guards == NULL)
		return inject_short_of_memory(in);
	for (uint32_t i = f->first; i < f->end; i++) {
		if (is_guarded(in, &s->before[i])) {
			int err = add_guard(in, f, i, s->before[i].imm);
			if (err != 0)
				return err;
		}
		i += s->before[i].code == INJECT_LDDW;
	}
	s->guarded = true;
	in->calls += n;
	return measure_stack(in, f);
}

/* ---- The row ---- */

static bool empty_row(struct slice bytes)
{
	struct spine_policy_row none = { .abi = SPINE_POLICY_ABI };

	return bytes.len == sizeof(none) && memcmp(bytes.ptr, &none, sizeof(none)) == 0;
}

static int find_row(struct injection *in)
{
	bool twice = false;
	size_t section = elf_find(&in->elf, SPINE_POLICY_SECTION, &twice);

	if (section == 0)
		return errmsg_say(in->why, -EINVAL, "the object has calls that are checked at run time and no row of policy (section '%s'); "
				  "compile the extension with SPINE_EXTENSION of this release's headers", SPINE_POLICY_SECTION);
	for (size_t i = 1; i < in->elf.symbol_count; i++) {
		const struct elf_symbol *s = &in->elf.symbols[i];
		if (s->section != section || strcmp(s->name, SPINE_POLICY_SYMBOL) != 0)
			continue;
		twice |= in->row != 0 || s->type != STT_OBJECT || s->bind == STB_LOCAL || s->value != 0 ||
			 s->size != sizeof(struct spine_policy_row);
		in->row = (uint32_t)i;
	}
	if (twice || in->row == 0 || in->elf.sections[section].type != SHT_PROGBITS || in->sections[section].before != NULL ||
	    !empty_row(in->elf.sections[section].bytes))
		return errmsg_say(in->why, -EINVAL, "section '%s' is not one empty row of policy of this release; compile the extension "
				  "with SPINE_EXTENSION of its headers", SPINE_POLICY_SECTION);
	return 0;
}

/* ---- All of it ---- */

static int plan(struct injection *in, const struct object *o)
{
	size_t n = in->elf.section_count;
	uint64_t total = 0;
	int err = 0;

	in->sections = arena_array(in->arena, n, sizeof(*in->sections));
	in->content = arena_array(in->arena, n, sizeof(*in->content));
	if (in->sections == NULL || in->content == NULL)
		return inject_short_of_memory(in);
	for (size_t i = 1; i < n && err == 0; i++) {
		in->content[i] = in->elf.sections[i].bytes;
		if (is_code(&in->elf.sections[i]))
			err = read_code(in, i, &total);
	}
	if (err == 0)
		err = read_functions(in, o->program_count);
	for (size_t i = 0; i < in->function_count && err == 0; i++)
		err = find_guards(in, &in->functions[i]);
	return err;
}

static void count_insns(const struct injection *in, struct inject_report *report)
{
	for (size_t i = 1; i < in->elf.section_count; i++) {
		report->insns_before += in->sections[i].count;
		report->insns_after += in->calls > 0 ? in->sections[i].after_count : in->sections[i].count;
	}
}

int inject_checks(struct arena *arena, struct slice object, const struct inject_spec *spec, struct buf *out,
		  struct inject_report *report, struct errmsg *why)
{
	struct injection in = { .arena = arena, .why = why, .spec = spec, .bytes = object };
	const struct object *o;
	int err = object_parse(arena, object, &o, why);

	if (err == 0)
		err = elf_parse(arena, object, &in.elf, why);
	if (err == 0)
		err = plan(&in, o);
	if (err == 0 && in.calls > 0)
		err = find_row(&in);
	if (err == 0 && in.calls > 0)
		err = inject_move(&in);
	if (err == 0 && in.calls > 0)
		err = inject_lines(&in);
	if (err == 0 && in.calls > 0)
		err = inject_write(&in, out);
	if (err != 0)
		return err;
	if (in.calls == 0)
		buf_add(out, object);
	if (out->err != 0)
		return errmsg_set(why, out->err == -ENOMEM ? -ENOMEM : -E2BIG, "an object with checks");
	*report = (struct inject_report){ .calls = in.calls, .changed = in.calls > 0 };
	count_insns(&in, report);
	return 0;
}
