/*
 * BTF.ext: which source line an instruction comes from, and which instructions CO-RE rewrites.
 *
 * The kernel wants line records in the order of instructions; so do we, since a list in another order was
 * made by hand.
 */
#include <errno.h>
#include <stdlib.h>

#include "spine/inspect/inspect_limits.h"
#include "spine/inspect/little.h"
#include "spine/inspect/object_internal.h"

#define EXT_MAGIC	  0xeb9fu
#define LINE_BYTES	  16u
#define CORE_BYTES	  16u
#define RECORD_BYTES_MAX  256u
#define LINE_TEXT_MAX	  200u
#define CORE_KIND_MAX	  12u		/* BPF_CORE_TYPE_MATCHES is the last that libbpf knows */

static int malformed(const struct parse *p, const char *what)
{
	return errmsg_say(p->why, -EINVAL, "the object's BTF.ext is malformed: %s", what);
}

/* A record's handler: p, function that holds the instruction, instruction within it, record. */
typedef int (*record_fn)(struct parse *p, const struct parse_function *f, uint32_t insn, const uint8_t *record);

static int each_in_section(struct parse *p, struct reader *r, uint32_t record_bytes, size_t *total,
			   record_fn fn)
{
	const char *name = types_text(&p->types, rd_little32(r));
	uint32_t n = rd_little32(r);
	bool twice = false;
	size_t section = elf_find(&p->elf, name, &twice);

	if (r->bad || n == 0 || n > OBJECT_LINES_MAX || (*total += n) > OBJECT_LINES_MAX)
		return malformed(p, "a list is empty, cut off or too long");
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *record = rd_bytes(r, record_bytes).ptr;
		if (record == NULL)
			return malformed(p, "a record is cut off");
		uint32_t offset = little32(record);
		/* Sections that we do not load may be described as well. */
		if (section == 0 || p->use[section] != SECTION_CODE)
			continue;
		const struct parse_function *f = parse_function_at(p, section, offset / 8);
		if (offset % 8 != 0 || f == NULL || twice)
			return malformed(p, "a record is for no instruction");
		int err = fn(p, f, offset / 8 - f->first, record);
		if (err != 0)
			return err;
	}
	return 0;
}

static int each_record(struct parse *p, struct slice part, uint32_t least, record_fn fn)
{
	struct reader r = reader_of(part);
	size_t total = 0;

	if (part.len == 0)
		return 0;
	uint32_t record_bytes = rd_little32(&r);
	if (r.bad || record_bytes < least || record_bytes > RECORD_BYTES_MAX || record_bytes % 4 != 0)
		return malformed(p, "its records have no sensible size");
	while (rd_left(&r) > 0) {
		int err = each_in_section(p, &r, record_bytes, &total, fn);
		if (err != 0)
			return err;
	}
	return 0;
}

static int count_line(struct parse *p, const struct parse_function *f, uint32_t insn, const uint8_t *record)
{
	(void)p, (void)insn, (void)record;
	f->program->line_count++;
	return 0;
}

/* The text as terminals may see it: cut at a length, without control bytes. NULL: no memory. */
static const char *clean_text(struct arena *arena, const char *text)
{
	size_t n = strnlen(text, LINE_TEXT_MAX), skip = 0;

	while (skip < n && (text[skip] == ' ' || text[skip] == '\t'))
		skip++;
	char *copy = arena_str(arena, slice_of(text + skip, n - skip));
	for (char *c = copy; c != NULL && *c != '\0'; c++) {
		if ((uint8_t)*c < ' ' || *c == 0x7f)
			*c = *c == '\t' ? ' ' : '?';
	}
	return copy;
}

static int fill_line(struct parse *p, const struct parse_function *f, uint32_t insn, const uint8_t *record)
{
	struct object_program *o = f->program;
	/* Ours until now: parse_lines made it for this. */
	struct object_line *lines = (struct object_line *)(uintptr_t)o->lines;
	uint32_t at = little32(record + 12);

	if (o->line_count > 0 && lines[o->line_count - 1].insn >= insn)
		return malformed(p, "line records are not in order");
	const char *file = types_text(&p->types, little32(record + 4));
	const char *text = types_text(&p->types, little32(record + 8));
	struct object_line *l = &lines[o->line_count];
	const struct object_line *before = o->line_count > 0 ? l - 1 : NULL;
	*l = (struct object_line){ .insn = insn, .line = at >> 10, .column = at & 0x3ff };
	/* A file's name and a line's text come many times in a row. */
	l->file = before != NULL && strcmp(before->file, file) == 0 ? before->file : clean_text(p->arena, file);
	l->text = clean_text(p->arena, text);
	if (l->file == NULL || l->text == NULL)
		return errmsg_set(p->why, -ENOMEM, "lines of '%s'", o->name);
	o->line_count++;
	return 0;
}

static int read_lines(struct parse *p, struct slice part)
{
	int err = each_record(p, part, LINE_BYTES, count_line);

	for (size_t i = 0; err == 0 && i < p->function_count; i++) {
		struct object_program *o = p->functions[i].program;
		o->lines = arena_array(p->arena, o->line_count, sizeof(*o->lines));
		o->line_count = 0;
		if (o->lines == NULL)
			return errmsg_set(p->why, -ENOMEM, "lines of '%s'", o->name);
	}
	return err == 0 ? each_record(p, part, LINE_BYTES, fill_line) : err;
}

static int count_core(struct parse *p, const struct parse_function *f, uint32_t insn, const uint8_t *record)
{
	(void)insn;
	if (types_get(&p->types, little32(record + 4)) == NULL || little32(record + 12) > CORE_KIND_MAX)
		return malformed(p, "a CO-RE relocation is for no type, or of a kind that we do not know");
	f->program->ref_count++;
	return 0;
}

static int fill_core(struct parse *p, const struct parse_function *f, uint32_t insn, const uint8_t *record)
{
	struct object_program *o = f->program;
	struct object_ref *refs = (struct object_ref *)(uintptr_t)o->refs;

	(void)p, (void)record;
	refs[o->ref_count++] = (struct object_ref){ .insn = insn, .kind = REF_CORE };
	return 0;
}

static int by_insn(const void *a, const void *b)
{
	const struct object_ref *x = a, *y = b;

	return x->insn < y->insn ? -1 : x->insn > y->insn;
}

static int read_core(struct parse *p, struct slice part)
{
	int err = each_record(p, part, CORE_BYTES, count_core);

	for (size_t i = 0; err == 0 && i < p->function_count; i++) {
		struct object_program *o = p->functions[i].program;
		o->refs = arena_array(p->arena, o->ref_count, sizeof(*o->refs));
		o->ref_count = 0;
		if (o->refs == NULL)
			return errmsg_set(p->why, -ENOMEM, "relocations of '%s'", o->name);
	}
	if (err == 0)
		err = each_record(p, part, CORE_BYTES, fill_core);
	for (size_t i = 0; err == 0 && i < p->function_count; i++) {
		struct object_program *o = p->functions[i].program;
		struct object_ref *refs = (struct object_ref *)(uintptr_t)o->refs;
		qsort(refs, o->ref_count, sizeof(*refs), by_insn);
		for (size_t k = 1; k < o->ref_count; k++) {
			if (refs[k].insn == refs[k - 1].insn)
				return malformed(p, "two CO-RE relocations for one instruction");
		}
	}
	return err;
}

static bool part_of(struct slice body, uint32_t at, uint32_t bytes, struct slice *out)
{
	if (at > body.len || bytes > body.len - at)
		return false;
	*out = slice_sub(body, at, (size_t)at + bytes);
	return true;
}

int parse_lines(struct parse *p)
{
	size_t at;
	int err = parse_section(p, ".BTF.ext", &at);

	if (err != 0 || at == 0)
		return err;
	if (!p->has_types)
		return malformed(p, "there is no BTF that it belongs to");
	struct slice bytes = p->elf.sections[at].bytes, functions, lines, core = { 0 };
	struct reader r = reader_of(bytes);
	uint16_t magic = rd_little16(&r);
	uint8_t version = rd_u8(&r);
	rd_u8(&r);
	uint32_t head = rd_little32(&r);
	uint32_t functions_at = rd_little32(&r), functions_bytes = rd_little32(&r);
	uint32_t lines_at = rd_little32(&r), lines_bytes = rd_little32(&r);
	uint32_t core_at = head >= 32 ? rd_little32(&r) : 0, core_bytes = head >= 32 ? rd_little32(&r) : 0;
	if (r.bad || magic != EXT_MAGIC || version != BTF_VERSION || head < 24 || head > bytes.len)
		return malformed(p, "its header is not one");
	struct slice body = slice_from(bytes, head);
	if (!part_of(body, functions_at, functions_bytes, &functions) ||
	    !part_of(body, lines_at, lines_bytes, &lines) || !part_of(body, core_at, core_bytes, &core))
		return malformed(p, "its parts lie outside of the section");
	err = read_lines(p, lines);
	return err == 0 ? read_core(p, core) : err;
}
