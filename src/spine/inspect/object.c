#include "spine/inspect/object.h"

#include <errno.h>
#include <stdlib.h>

#include "spine/inspect/inspect_limits.h"
#include "spine/inspect/little.h"
#include "spine/inspect/object_internal.h"

#define INSN_BYTES  8u
#define CODE_LDDW   (BPF_LD | BPF_IMM | BPF_DW)
#define CODE_CALL   (BPF_JMP | BPF_CALL)
#define TEXT	    ".text"
/* Relocations of code, as LLVM's BPF target numbers them (llvm.org, "ELF relocations"). */
#define RELOC_LDDW  1u
#define RELOC_CALL  10u

int parse_section(struct parse *p, const char *name, size_t *out)
{
	bool twice = false;

	*out = elf_find(&p->elf, name, &twice);
	if (twice)
		return errmsg_say(p->why, -EINVAL, "the object has two sections '%s'", name);
	return 0;
}

/* ".data" and ".data.x" are; ".database" is not. */
static bool data_name(const char *name)
{
	static const char *const roots[] = { ".data", ".rodata", ".bss" };

	for (size_t i = 0; i < ARRAY_LEN(roots); i++) {
		size_t n = strlen(roots[i]);
		if (strncmp(name, roots[i], n) == 0 && (name[n] == '\0' || name[n] == '.'))
			return true;
	}
	return false;
}

static int classify_sections(struct parse *p)
{
	size_t n = p->elf.section_count;

	p->use = arena_array(p->arena, n, 1);
	p->data_map = arena_array(p->arena, n, sizeof(*p->data_map));
	if (p->use == NULL || p->data_map == NULL)
		return errmsg_set(p->why, -ENOMEM, "sections of an object");
	for (size_t i = 1; i < n; i++) {
		const struct elf_section *s = &p->elf.sections[i];
		if (strcmp(s->name, "maps") == 0 && s->size > 0)
			return errmsg_say(p->why, -EINVAL, "section 'maps' has map definitions without types; "
				"define them in section '.maps'");
		if (strcmp(s->name, ".maps") == 0 && s->type == SHT_PROGBITS)
			p->use[i] = SECTION_MAPS;
		else if (s->type == SHT_PROGBITS && (s->flags & SHF_EXECINSTR) && s->size > 0)
			p->use[i] = SECTION_CODE;
		else if ((s->type == SHT_PROGBITS || s->type == SHT_NOBITS) && s->size > 0 && data_name(s->name))
			p->use[i] = SECTION_DATA;
		if (p->use[i] == SECTION_CODE && s->bytes.len % INSN_BYTES != 0)
			return errmsg_say(p->why, -EINVAL,
					  "section '%s' is not made of whole instructions", s->name);
	}
	return 0;
}

static bool is_function(const struct parse *p, const struct elf_symbol *s)
{
	return s->type == STT_FUNC && s->section < p->elf.section_count && p->use[s->section] == SECTION_CODE;
}

/* The names of libbpf 1.1; a name behind "xdp/" must be devmap or cpumap there, too. */
static void set_type(struct object_program *o)
{
	static const struct {
		const char *section;
		uint32_t type;
		bool frags;
	} known[] = {
		{ "xdp", BPF_PROG_TYPE_XDP, false },	     { "xdp.frags", BPF_PROG_TYPE_XDP, true },
		{ "xdp/devmap", BPF_PROG_TYPE_XDP, false },  { "xdp.frags/devmap", BPF_PROG_TYPE_XDP, true },
		{ "xdp/cpumap", BPF_PROG_TYPE_XDP, false },  { "xdp.frags/cpumap", BPF_PROG_TYPE_XDP, true },
		{ "syscall", BPF_PROG_TYPE_SYSCALL, false },
	};

	o->entry = strcmp(o->section, TEXT) != 0;
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (strcmp(o->section, known[i].section) == 0) {
			o->type = known[i].type;
			o->frags = known[i].frags;
		}
	}
}

static int read_insns(struct parse *p, struct slice bytes, struct object_program *o)
{
	struct bpf_insn *insns = arena_array(p->arena, bytes.len / INSN_BYTES, sizeof(*insns));

	if (insns == NULL)
		return errmsg_set(p->why, -ENOMEM, "instructions of '%s'", o->name);
	_Static_assert(sizeof(*insns) == INSN_BYTES, "as in the file");
	memcpy(insns, bytes.ptr, bytes.len);
	o->insns = insns;
	o->insn_count = (uint32_t)(bytes.len / INSN_BYTES);
	return 0;
}

static int add_function(struct parse *p, const struct elf_symbol *s, struct parse_function *f)
{
	const struct elf_section *section = &p->elf.sections[s->section];

	if (s->name[0] == '\0')
		return errmsg_say(p->why, -EINVAL, "a function of section '%s' has no name", section->name);
	if (s->size == 0 || s->value % INSN_BYTES != 0 || s->size % INSN_BYTES != 0 ||
	    s->value > section->bytes.len || s->size > section->bytes.len - s->value)
		return errmsg_say(p->why, -EINVAL, "function '%s' lies outside of section '%s'", s->name,
				  section->name);
	if (s->bind == STB_LOCAL && strcmp(section->name, TEXT) != 0)
		return errmsg_say(p->why, -EINVAL, "'%s' in section '%s' is static; a program is global, a "
				  "static function has no SEC()", s->name, section->name);
	f->section = s->section;
	f->first = (uint32_t)(s->value / INSN_BYTES);
	f->program = arena_alloc(p->arena, sizeof(*f->program));
	if (f->program == NULL)
		return errmsg_set(p->why, -ENOMEM, "function '%s'", s->name);
	f->program->name = s->name;
	f->program->section = section->name;
	set_type(f->program);
	return read_insns(p, slice_sub(section->bytes, (size_t)s->value, (size_t)(s->value + s->size)),
			  f->program);
}

static int by_place(const void *a, const void *b)
{
	const struct parse_function *x = a, *y = b;

	if (x->section != y->section)
		return x->section < y->section ? -1 : 1;
	return x->first < y->first ? -1 : x->first > y->first;
}

/* Sorted, apart from each other, and the programs in one array in that order. */
static int order_functions(struct parse *p)
{
	size_t n = p->function_count;
	struct object_program *programs = arena_array(p->arena, n, sizeof(*programs));

	if (programs == NULL)
		return errmsg_set(p->why, -ENOMEM, "functions of an object");
	qsort(p->functions, n, sizeof(*p->functions), by_place);
	for (size_t i = 0; i < n; i++) {
		struct parse_function *f = &p->functions[i];
		if (i > 0 && f[-1].section == f->section &&
		    f[-1].first + f[-1].program->insn_count > f->first)
			return errmsg_say(p->why, -EINVAL, "functions '%s' and '%s' overlap",
					  f[-1].program->name, f->program->name);
		programs[i] = *f->program;
		f->program = &programs[i];
	}
	p->programs = programs;
	return 0;
}

static int read_functions(struct parse *p)
{
	size_t n = 0;
	uint64_t insns = 0;

	for (size_t i = 1; i < p->elf.symbol_count; i++) {
		if (!is_function(p, &p->elf.symbols[i]))
			continue;
		n++;
		insns += p->elf.symbols[i].size / INSN_BYTES;
		if (n > OBJECT_PROGRAMS_MAX || insns > OBJECT_INSNS_MAX)
			return errmsg_say(p->why, -E2BIG,
					  "the object has more than %d functions or %d instructions",
					  OBJECT_PROGRAMS_MAX, OBJECT_INSNS_MAX);
	}
	if (n == 0)
		return errmsg_say(p->why, -EINVAL, "the object has no program");
	p->functions = arena_array(p->arena, n, sizeof(*p->functions));
	if (p->functions == NULL)
		return errmsg_set(p->why, -ENOMEM, "functions of an object");
	for (size_t i = 1; i < p->elf.symbol_count; i++) {
		if (!is_function(p, &p->elf.symbols[i]))
			continue;
		int err = add_function(p, &p->elf.symbols[i], &p->functions[p->function_count++]);
		if (err != 0)
			return err;
	}
	return order_functions(p);
}

const struct parse_function *parse_function_at(const struct parse *p, size_t section, uint64_t insn)
{
	size_t low = 0, high = p->function_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct parse_function *f = &p->functions[middle];
		if (f->section < section || (f->section == section && f->first <= insn))
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return NULL;
	const struct parse_function *f = &p->functions[low - 1];
	return f->section == section && insn - f->first < f->program->insn_count ? f : NULL;
}

static int bad_ref(const struct parse *p, const struct parse_function *f, uint32_t insn, const char *what)
{
	const struct object_line *line = object_line_at(f->program, insn);

	if (line == NULL)
		return errmsg_say(p->why, -EINVAL, "instruction %u of '%s' %s", insn, f->program->name, what);
	return errmsg_say(p->why, -EINVAL, "%s:%u: instruction %u of '%s' %s", line->file, line->line, insn,
			  f->program->name, what);
}

/* A subprogram that begins exactly there. Only .text has those: libbpf copies no others behind a program. */
static int function_ref(const struct parse *p, const struct parse_function *from, uint32_t insn, size_t section,
			int64_t target, enum object_ref_kind kind, struct object_ref *out)
{
	const struct parse_function *to =
		target < 0 ? NULL : parse_function_at(p, section, (uint64_t)target);

	if (to == NULL || to->first != target || strcmp(to->program->section, TEXT) != 0)
		return bad_ref(p, from, insn, "refers to no beginning of a subprogram");
	*out = (struct object_ref){ .insn = insn, .kind = kind, .index = (uint32_t)(to - p->functions) };
	return 0;
}

static int map_ref(const struct parse *p, const struct parse_function *f, uint32_t insn, uint64_t offset,
		   struct object_ref *out)
{
	for (size_t i = 0; i < p->map_count; i++) {
		if (p->maps[i].internal || p->map_at[i] != offset)
			continue;
		*out = (struct object_ref){ .insn = insn, .kind = REF_MAP, .index = (uint32_t)i };
		return 0;
	}
	return bad_ref(p, f, insn, "refers to section '.maps' where no map begins");
}

static int relocated_lddw(const struct parse *p, const struct parse_function *f, uint32_t insn,
			  const struct elf_symbol *s, struct object_ref *out)
{
	int32_t addend = f->program->insns[insn].imm;

	if (s->section == SHN_UNDEF) {
		*out = (struct object_ref){ .insn = insn, .kind = REF_EXTERN, .name = s->name };
		return 0;
	}
	if (s->section >= p->elf.section_count)
		return bad_ref(p, f, insn, "refers to a symbol outside of all sections");
	switch (p->use[s->section]) {
	case SECTION_MAPS:
		if (addend != 0)
			return bad_ref(p, f, insn, "refers to the middle of a map's definition");
		return map_ref(p, f, insn, s->value, out);
	case SECTION_DATA:
		*out = (struct object_ref){ .insn = insn, .kind = REF_MAP_VALUE,
					    .index = p->data_map[s->section],
					    .offset = (uint32_t)s->value + (uint32_t)addend };
		return 0;
	case SECTION_CODE:
		if (s->value > OBJECT_BYTES_MAX || ((int64_t)s->value + addend) % INSN_BYTES != 0)
			return bad_ref(p, f, insn, "refers to the middle of an instruction");
		return function_ref(p, f, insn, s->section, ((int64_t)s->value + addend) / INSN_BYTES,
				    REF_FUNCTION, out);
	default:
		return bad_ref(p, f, insn, "refers to a section that is neither maps nor data nor code");
	}
}

static int relocated_call(const struct parse *p, const struct parse_function *f, uint32_t insn,
			  const struct elf_symbol *s, struct object_ref *out)
{
	const struct bpf_insn *i = &f->program->insns[insn];

	if (i->src_reg != BPF_PSEUDO_CALL)
		return bad_ref(p, f, insn, "is a relocated call of another kind than we know");
	if (s->section == SHN_UNDEF) {
		*out = (struct object_ref){ .insn = insn, .kind = REF_EXTERN, .name = s->name };
		return 0;
	}
	if (s->section >= p->elf.section_count || s->value > OBJECT_BYTES_MAX || s->value % INSN_BYTES != 0)
		return bad_ref(p, f, insn, "calls what is no function");
	return function_ref(p, f, insn, s->section, (int64_t)(s->value / INSN_BYTES) + i->imm + 1, REF_CALL,
			    out);
}

/* An instruction without relocation: what is left to say must stand in the section itself. */
static int plain_ref(const struct parse *p, const struct parse_function *f, uint32_t insn, struct object_ref *out)
{
	const struct bpf_insn *i = &f->program->insns[insn];

	if (i->code == CODE_LDDW && i->src_reg != 0)
		return bad_ref(p, f, insn, "names a map or function by a number of the loader's machine");
	if (i->code != CODE_CALL || i->src_reg == 0)
		return 0;
	if (i->src_reg != BPF_PSEUDO_CALL)
		return bad_ref(p, f, insn, "calls a kernel function by a number of the loader's machine");
	return function_ref(p, f, insn, f->section, (int64_t)f->first + insn + i->imm + 1, REF_CALL, out);
}

struct reloc_list {
	const struct elf_relocation *list;
	size_t count, next;
};

static int one_ref(const struct parse *p, const struct parse_function *f, uint32_t insn, struct reloc_list *relocs,
		   struct object_ref *out)
{
	uint64_t at = ((uint64_t)f->first + insn) * INSN_BYTES;
	uint8_t code = f->program->insns[insn].code;

	*out = (struct object_ref){ 0 };
	if (relocs->next >= relocs->count || relocs->list[relocs->next].offset != at)
		return plain_ref(p, f, insn, out);
	const struct elf_relocation *r = &relocs->list[relocs->next++];
	if (code == CODE_LDDW && r->type == RELOC_LDDW)
		return relocated_lddw(p, f, insn, &p->elf.symbols[r->symbol], out);
	if (code == CODE_CALL && r->type == RELOC_CALL)
		return relocated_call(p, f, insn, &p->elf.symbols[r->symbol], out);
	return bad_ref(p, f, insn, "has a relocation of a kind that we do not know");
}

/* refs of the program: from relocations, calls, and REF_CORE of parse_lines, which are there already. */
static int read_refs(struct parse *p, struct parse_function *f, struct reloc_list *relocs)
{
	struct object_program *o = f->program;
	const struct object_ref *core = o->refs;
	size_t core_count = o->ref_count, next_core = 0, n = 0;
	struct object_ref *refs = arena_array(p->arena, o->insn_count, sizeof(*refs));

	if (refs == NULL)
		return errmsg_set(p->why, -ENOMEM, "references of '%s'", o->name);
	for (uint32_t i = 0; i < o->insn_count; i++) {
		bool two = o->insns[i].code == CODE_LDDW;
		if (two && (i + 1 == o->insn_count || o->insns[i + 1].code != 0))
			return bad_ref(p, f, i, "is the first half of a pair without the second");
		int err = one_ref(p, f, i, relocs, &refs[n]);
		if (err != 0)
			return err;
		if (next_core < core_count && core[next_core].insn == i) {
			if (refs[n].kind != REF_NONE)
				return bad_ref(p, f, i, "is changed by a relocation and by CO-RE");
			refs[n] = core[next_core++];
		}
		if (refs[n].kind != REF_NONE)
			n++;
		i += two ? 1 : 0;
	}
	if (next_core < core_count)
		return errmsg_say(p->why, -EINVAL, "CO-RE changes the second half of a pair in '%s'", o->name);
	o->refs = refs;
	o->ref_count = n;
	return 0;
}

static int read_all_refs(struct parse *p)
{
	struct reloc_list relocs = { 0 };
	size_t section = 0;

	for (size_t i = 0; i < p->function_count; i++) {
		struct parse_function *f = &p->functions[i];
		struct elf_relocation *list;
		if (f->section != section) {
			section = f->section;
			int err = elf_relocations(p->arena, &p->elf, section, &list, &relocs.count, p->why);
			if (err != 0)
				return err;
			relocs.list = list;
			relocs.next = 0;
		}
		int err = read_refs(p, f, &relocs);
		if (err != 0)
			return err;
		/* What stands between functions, or within an instruction, would stop the list here. */
		uint64_t end = ((uint64_t)f->first + f->program->insn_count) * INSN_BYTES;
		if (relocs.next < relocs.count && relocs.list[relocs.next].offset < end)
			return errmsg_say(p->why, -EINVAL, "a relocation of section '%s' is at no instruction",
					  f->program->section);
	}
	return 0;
}

static int read_licence(struct parse *p)
{
	size_t at;
	int err = parse_section(p, "license", &at);

	p->out.licence = "";
	if (err != 0 || at == 0)
		return err;
	struct slice text = p->elf.sections[at].bytes;
	size_t end = slice_find_byte(text, 0);
	if (end == SLICE_NPOS || end > OBJECT_NAME_BYTES_MAX)
		return errmsg_say(p->why, -EINVAL, "section 'license' does not end in NUL");
	for (size_t i = 0; i < end; i++) {
		if (text.ptr[i] < ' ' || text.ptr[i] > '~')
			return errmsg_say(p->why, -EINVAL, "section 'license' is not printable text");
	}
	p->out.licence = (const char *)text.ptr;
	return 0;
}

static int read_types(struct parse *p)
{
	size_t at;
	int err = parse_section(p, ".BTF", &at);

	if (err != 0 || at == 0)
		return err;
	p->has_types = true;
	return types_read(p->arena, p->elf.sections[at].bytes, &p->types, p->why);
}

int object_parse(struct arena *arena, struct slice bytes, const struct object **out, struct errmsg *why)
{
	struct parse p = { .arena = arena, .why = why };
	struct object *o;
	int err = elf_parse(arena, bytes, &p.elf, why);

	if (err == 0)
		err = classify_sections(&p);
	if (err == 0)
		err = read_functions(&p);
	if (err == 0)
		err = read_types(&p);
	if (err == 0)
		err = parse_maps(&p);
	if (err == 0)
		err = parse_lines(&p);
	if (err == 0)
		err = read_all_refs(&p);
	if (err == 0)
		err = read_licence(&p);
	if (err == 0)
		err = parse_spine(&p);
	if (err != 0)
		return err;
	o = ARENA_NEW(arena, struct object);
	if (o == NULL)
		return errmsg_set(why, -ENOMEM, "an object");
	p.out.programs = p.programs;
	p.out.program_count = p.function_count;
	p.out.maps = p.maps;
	p.out.map_count = p.map_count;
	p.out.has_btf = p.has_types;
	*o = p.out;
	*out = o;
	return 0;
}

const struct object_line *object_line_at(const struct object_program *o, uint32_t insn)
{
	size_t low = 0, high = o->line_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (o->lines[middle].insn <= insn)
			low = middle + 1;
		else
			high = middle;
	}
	return low == 0 ? NULL : &o->lines[low - 1];
}

const struct object_program *object_entry(const struct object *o)
{
	const struct object_program *found = NULL;

	for (size_t i = 0; i < o->program_count; i++) {
		const struct object_program *p = &o->programs[i];
		if (p->type != BPF_PROG_TYPE_XDP || strchr(p->section, '/') != NULL)
			continue;
		if (found != NULL)
			return NULL;
		found = p;
	}
	return found;
}

bool object_is_egress(const struct object_program *p)
{
	return strcmp(p->name, "spine_egress") == 0 && strcmp(p->section, "xdp/devmap") == 0;
}
