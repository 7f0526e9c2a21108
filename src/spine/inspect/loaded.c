/*
 * Programs that their owners loaded: the kernel's translated instructions, made into an object that the inspector
 * can walk.
 *
 * What the kernel shows (bpf_insn_prepare_dump, jit_subprogs): functions stand one behind the other; a call's
 * distance is in `off`, 16 bits of it; maps are named by their ids; helpers by their distance from __bpf_call_base, or
 * 0 when addresses are hidden from us. Register 11 is the kernel's own.
 */
#include <errno.h>
#include <stdio.h>

#include "spine/inspect/inspect_internal.h"

#define CODE_LDDW (BPF_LD | BPF_IMM | BPF_DW)
#define CODE_CALL (BPF_JMP | BPF_CALL)
#define HELPER_UNKNOWN (-1)		/* no helper at all, such as a map's own function, is 0 */
#define NEAR_MAX  32767u		/* a longer program may have calls whose distance is cut off */

struct translated {
	struct arena *arena;
	const struct inspect_rights *rights;
	struct bpf_insn *insns;
	uint32_t count;
	const struct inspect_loaded_map *maps;
	size_t map_count;
	uint32_t *function_of;		/* by instruction: 1 + function that begins there, or 0 */
	uint32_t function_count;
	struct object o;
	struct object_program *programs;
	struct object_ref *refs;
};

/* Where a call or the address of a function leads; false for other instructions. */
static bool leads_to(const struct translated *t, uint32_t at, int64_t *to)
{
	const struct bpf_insn *i = &t->insns[at];

	if (i->code == CODE_CALL && i->src_reg == BPF_PSEUDO_CALL)
		*to = (int64_t)at + i->off + 1;
	else if (i->code == CODE_LDDW && i->src_reg == BPF_PSEUDO_FUNC)
		*to = (int64_t)at + i->imm + 1;
	else
		return false;
	return true;
}

/* Mark where functions begin. False: the kernel's words do not fit together. */
static bool find_functions(struct translated *t)
{
	int64_t to;

	t->function_of[0] = 1;
	for (uint32_t i = 0; i < t->count; i++) {
		if (leads_to(t, i, &to)) {
			if (to < 0 || to >= t->count)
				return false;
			t->function_of[to] = 1;
		}
		if (t->insns[i].code == CODE_LDDW && ++i == t->count)
			return false;
	}
	for (uint32_t i = 0; i < t->count; i++) {
		if (t->function_of[i] != 0)
			t->function_of[i] = ++t->function_count;
	}
	return t->function_count <= OBJECT_PROGRAMS_MAX;
}

/*
 * "bpf_xdp_redirect_map" and "bpf_redirect_map" are helper 51; 0: unknown. Where the verifier knows the map, it puts the
 * map's own function in the helper's place: dev_map_redirect, dev_hash_map_redirect, cpu_map_redirect, xsk_map_redirect.
 */
static int helper_of(const char *symbol)
{
	struct slice name = slice_str(symbol);

	if (slice_ends(name, SLICE("map_redirect")))
		return BPF_FUNC_redirect_map;
	if (!slice_starts(name, SLICE("bpf_")))
		return 0;
	name = slice_from(name, 4);
	int id = inspect_helper_id(name);
	if (id < 0 && slice_starts(name, SLICE("xdp_")))
		id = inspect_helper_id(slice_from(name, 4));
	return id < 0 ? 0 : id;
}

static const char *symbol_of(const struct translated *t, const struct bpf_insn *i)
{
	return t->rights->call_name == NULL || i->imm == 0 ? NULL
							    : t->rights->call_name(t->rights->call_arg, i->imm);
}

/* Number the helpers again; *ref is set for kernel functions whose names are known. */
static int resolve_call(struct translated *t, uint32_t at, struct object_ref *ref)
{
	struct bpf_insn *i = &t->insns[at];
	const char *symbol = symbol_of(t, i);

	if (i->src_reg == 0) {
		if (i->imm != BPF_FUNC_tail_call)	/* the kernel names it again, being no function */
			i->imm = symbol == NULL ? HELPER_UNKNOWN : helper_of(symbol);
		return 0;
	}
	if (symbol == NULL)
		return 0;
	const char *name = arena_str(t->arena, slice_head(slice_str(symbol), OBJECT_NAME_BYTES_MAX));
	*ref = (struct object_ref){ .kind = REF_EXTERN, .name = name };
	return name == NULL ? -ENOMEM : 0;
}

static int resolve(struct translated *t, uint32_t at, struct object_ref *ref)
{
	const struct bpf_insn *i = &t->insns[at];
	int64_t to;

	*ref = (struct object_ref){ 0 };
	if (leads_to(t, at, &to)) {
		ref->kind = i->code == CODE_CALL ? REF_CALL : REF_FUNCTION;
		ref->index = t->function_of[to] - 1;
		return 0;
	}
	if (i->code == CODE_CALL)
		return resolve_call(t, at, ref);
	if (i->code != CODE_LDDW || i->src_reg == 0)
		return 0;
	/* An address of the kernel, or a map's, which may be one that we were not told of. */
	ref->kind = REF_CORE;
	for (size_t m = 0; m < t->map_count && i->src_reg == BPF_PSEUDO_MAP_FD; m++) {
		if (t->maps[m].id == (uint32_t)i->imm) {
			ref->kind = REF_MAP;
			ref->index = (uint32_t)m;
		}
	}
	return 0;
}

static int make_functions(struct translated *t)
{
	struct object_program *p = NULL;
	size_t n = 0;

	t->programs = arena_array(t->arena, t->function_count, sizeof(*t->programs));
	t->refs = arena_array(t->arena, t->count, sizeof(*t->refs));
	if (t->programs == NULL || t->refs == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->count; i++) {
		if (t->function_of[i] != 0) {
			char name[32];
			uint32_t index = t->function_of[i] - 1;
			snprintf(name, sizeof(name), "function %u", index);
			p = &t->programs[index];
			*p = (struct object_program){ .section = "xdp", .insns = &t->insns[i], .entry = index == 0,
						      .type = index == 0 ? BPF_PROG_TYPE_XDP : 0,
						      .refs = &t->refs[n] };
			p->name = index == 0 ? "main" : arena_str(t->arena, slice_str(name));
			if (p->name == NULL)
				return -ENOMEM;
		}
		struct object_ref *ref = &t->refs[n];
		int err = resolve(t, i, ref);
		if (err != 0)
			return err;
		ref->insn = p->insn_count++;
		if (ref->kind != REF_NONE) {
			p->ref_count++;
			n++;
		}
		if (t->insns[i].code == CODE_LDDW) {
			p->insn_count++;
			i++;
		}
	}
	return 0;
}

static int make_maps(struct translated *t)
{
	struct object_map *maps = arena_array(t->arena, t->map_count, sizeof(*maps));

	if (maps == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < t->map_count; i++)
		maps[i].type = t->maps[i].type;
	t->o.maps = maps;
	t->o.map_count = t->map_count;
	return 0;
}

/* False in *known: there is nothing to walk. */
static int make_object(struct translated *t, const struct bpf_insn *insns, bool *known)
{
	*known = false;
	if (insns == NULL || t->count == 0)
		return 0;
	t->insns = arena_array(t->arena, t->count, sizeof(*t->insns));
	t->function_of = arena_array(t->arena, t->count, sizeof(*t->function_of));
	if (t->insns == NULL || t->function_of == NULL)
		return -ENOMEM;
	memcpy(t->insns, insns, t->count * sizeof(*insns));
	if (!find_functions(t) || (t->count > NEAR_MAX && t->function_count > 1))
		return 0;
	int err = make_functions(t);
	t->o.programs = t->programs;
	t->o.program_count = t->function_count;
	*known = true;
	return err;
}

int inspect_loaded(struct arena *arena, const struct bpf_insn *insns, uint32_t insn_count,
		   const struct inspect_loaded_map *maps, size_t map_count, const struct inspect_rights *rights,
		   struct inspect_report *out, struct errmsg *why)
{
	struct translated t = { .arena = arena, .rights = rights, .count = insn_count, .maps = maps,
				.map_count = map_count };
	bool known = false;

	if (insn_count > OBJECT_INSNS_MAX || map_count > OBJECT_MAPS_MAX)
		return errmsg_say(why, -E2BIG, "the program has more than %d instructions or %d maps",
				  OBJECT_INSNS_MAX, OBJECT_MAPS_MAX);
	int err = make_object(&t, insns, &known);
	if (err == 0)
		err = make_maps(&t);
	if (err != 0)
		return errmsg_set(why, err, "inspecting a loaded program");
	return inspect_translated(arena, &t.o, known, maps, rights, out, why);
}
