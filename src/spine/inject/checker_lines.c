/*
 * .BTF.ext and its relocations: made anew from the original and the places of instructions, then compared byte by byte. Records of functions and
 * lines follow what leads to an instruction, those of CO-RE the instruction itself; a refusal has its call's line.
 */
#include <errno.h>

#include "spine/inject/checker_internal.h"
#include "spine/inspect/inspect_limits.h"
#include "spine/inspect/little.h"

#define HEAD_BYTES	 24u		/* without CO-RE; with it 32 */
#define HEAD_CORE_BYTES	 32u
#define LINE_BYTES_MIN	 16u
#define BTF_HEAD_BYTES	 24u

enum kind { FUNCTIONS, LINES, CORE };

struct remake {
	struct checker *c;
	struct slice old, strings;	/* .BTF.ext; the strings of .BTF */
	struct slice rel;		/* of .BTF.ext */
	size_t rel_at;
	struct buf out, out_rel;
};

static int broken(struct checker *c, const char *what)
{
	return errmsg_say(c->why, -EBADMSG, "injected checks are not proven: %s", what);
}

static void add32(struct buf *b, uint32_t v)
{
	uint8_t bytes[4] = { (uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24) };

	buf_add(b, slice_of(bytes, sizeof(bytes)));
}

static void put32(struct buf *b, size_t at, uint32_t v)
{
	for (size_t i = 0; i < 4 && at + i < b->len; i++)
		b->ptr[at + i] = (uint8_t)(v >> 8 * i);
}

/* A record with its first word changed, and the relocation of that word. false: the original's relocations are in no order that we know. */
static void add_record(struct remake *m, size_t from, size_t size, uint32_t offset, struct slice rel)
{
	size_t at = m->out.len;

	if (rel.len > 0) {
		add32(&m->out_rel, (uint32_t)at);
		add32(&m->out_rel, 0);
		buf_add(&m->out_rel, slice_from(rel, 8));
	}
	add32(&m->out, offset);
	buf_add(&m->out, slice_sub(m->old, from + 4, from + size));
}

/* The relocation of the word at `from`, or none. */
static struct slice take_rel(struct remake *m, size_t from)
{
	struct slice r = slice_sub(m->rel, m->rel_at, m->rel_at + 16);

	if (r.len < 16 || little64(r.ptr) != from)
		return (struct slice){ 0 };
	m->rel_at += 16;
	return r;
}

static const struct checker_code *code_of(const struct remake *m, uint32_t name)
{
	struct slice rest = slice_from(m->strings, name);
	size_t end = slice_find_byte(rest, 0);
	const struct checker *c = m->c;
	const struct checker_code *found = NULL;

	if (end == SLICE_NPOS)
		return NULL;
	for (size_t i = 1; i < c->old.section_count; i++) {
		if (c->code[i].count == 0 || !slice_eq(slice_head(rest, end), slice_str(c->old.sections[i].name)))
			continue;
		if (found != NULL)
			return NULL;
		found = &c->code[i];
	}
	return found;
}

/* The lines of a function's refusals: each the line of its call. Returns how many. */
static uint32_t add_refusals(struct remake *m, const struct checker_code *s, size_t function, size_t first, uint32_t count, size_t size,
			     const struct slice *rels)
{
	uint32_t added = 0;

	for (size_t g = 0; g < s->guard_count; g++) {
		const struct checker_guard *x = &s->guards[g];
		uint32_t best = UINT32_MAX;
		if (x->function != function)
			continue;
		for (uint32_t i = 0; i < count; i++) {
			uint32_t insn = little32(m->old.ptr + first + i * size) / 8;
			if (insn >= s->functions[function].start && insn <= x->call)
				best = i;
		}
		if (best == UINT32_MAX)
			continue;
		add_record(m, first + best * size, size, 8 * x->refusal, rels[best]);
		added++;
	}
	return added;
}

/* Records of one section. */
static int remake_records(struct remake *m, enum kind kind, const struct checker_code *s, size_t at, uint32_t count, size_t size)
{
	struct slice *rels = arena_array(m->c->arena, count, sizeof(*rels));
	size_t count_at = m->out.len - 4, function = 0;
	uint32_t added = 0, last = 0;

	if (rels == NULL)
		return errmsg_set(m->c->why, -ENOMEM, "proof of checks");
	for (uint32_t i = 0; i < count; i++) {
		uint32_t offset = little32(m->old.ptr + at + i * size), insn = offset / 8;
		rels[i] = take_rel(m, at + i * size);
		if (offset % 8 != 0 || insn >= s->count || (kind == LINES && insn < last))
			return broken(m->c, "a record of .BTF.ext names no instruction, or out of order");
		last = insn;
		while (kind == LINES && insn >= s->functions[function].end)
			added += add_refusals(m, s, function++, at, i, size, rels);
		add_record(m, at + i * size, size, 8 * (kind == CORE ? s->self[insn] : s->first[insn]), rels[i]);
	}
	while (kind == LINES && function < s->function_count)
		added += add_refusals(m, s, function++, at, count, size, rels);
	put32(&m->out, count_at, count + added);
	return 0;
}

/* One of the three parts, at its place in the original. */
static int remake_part(struct remake *m, enum kind kind, size_t at, size_t bytes)
{
	size_t end = at + bytes;

	if (bytes == 0)
		return 0;
	if (end > m->old.len || bytes < 4)
		return broken(m->c, "the original's .BTF.ext is cut off");
	size_t size = little32(m->old.ptr + at);
	if (size < 8 || size % 4 != 0 || size > 4096 || (kind == LINES && size < LINE_BYTES_MIN))
		return broken(m->c, "the original's .BTF.ext has records of another size");
	buf_add(&m->out, slice_sub(m->old, at, at + 4));
	for (at += 4; at < end;) {
		if (end - at < 8)
			return broken(m->c, "the original's .BTF.ext is cut off");
		uint32_t name = little32(m->old.ptr + at), count = little32(m->old.ptr + at + 4);
		const struct checker_code *s = code_of(m, name);
		buf_add(&m->out, slice_sub(m->old, at, at + 8));
		at += 8;
		if (s == NULL || count > (end - at) / size)
			return broken(m->c, "the original's .BTF.ext has records of no code section, or too many");
		int err = remake_records(m, kind, s, at, count, size);
		if (err != 0)
			return err;
		at += count * size;
	}
	return 0;
}

static int remake_all(struct remake *m)
{
	struct slice b = m->old;
	bool core = b.len >= HEAD_CORE_BYTES && little32(b.ptr + 4) == HEAD_CORE_BYTES;
	size_t head = core ? HEAD_CORE_BYTES : HEAD_BYTES;

	if (b.len < HEAD_BYTES || little16(b.ptr) != 0xeb9f || little32(b.ptr + 4) != head)
		return broken(m->c, "the original's .BTF.ext has another header");
	uint64_t at[3] = { little32(b.ptr + 8), little32(b.ptr + 16), core ? little32(b.ptr + 24) : 0 };
	uint64_t bytes[3] = { little32(b.ptr + 12), little32(b.ptr + 20), core ? little32(b.ptr + 28) : 0 };
	uint64_t next = 0;
	buf_add(&m->out, slice_head(b, head));
	for (int i = 0; i < 3; i++) {
		if (bytes[i] > b.len || (i == CORE && !core ? false : at[i] != next))
			return broken(m->c, "the original's .BTF.ext has its parts in another order");
		next += bytes[i];
		size_t begin = m->out.len;
		int err = remake_part(m, (enum kind)i, head + at[i], bytes[i]);
		if (err != 0)
			return err;
		if (i == CORE && !core)
			break;
		put32(&m->out, 8 + 8 * (size_t)i, (uint32_t)(begin - head));
		put32(&m->out, 12 + 8 * (size_t)i, (uint32_t)(m->out.len - begin));
	}
	if (head + next != b.len || m->rel_at != m->rel.len)
		return broken(m->c, "the original's .BTF.ext has more than we know, or relocations of nothing");
	return 0;
}

static int compare(struct checker *c, struct remake *m, size_t ext, size_t rel)
{
	int err = remake_all(m);

	if (err != 0)
		return err;
	if (m->out.err != 0 || m->out_rel.err != 0)
		return errmsg_set(c->why, -ENOMEM, "proof of checks");
	if (!slice_eq(buf_slice(&m->out), c->new.sections[ext].bytes))
		return broken(c, "functions, lines or CO-RE records (.BTF.ext) are not what they must be");
	if (rel != 0 && !slice_eq(buf_slice(&m->out_rel), c->new.sections[rel].bytes))
		return broken(c, "relocations of .BTF.ext are not what they must be");
	return 0;
}

static bool find_strings(struct checker *c, struct slice *out)
{
	bool twice = false;
	struct slice b = c->old.sections[elf_find(&c->old, ".BTF", &twice)].bytes;

	if (twice || b.len < BTF_HEAD_BYTES)
		return false;
	uint64_t at = (uint64_t)little32(b.ptr + 4) + little32(b.ptr + 16), n = little32(b.ptr + 20);
	if (at > b.len || n > b.len - at)
		return false;
	*out = slice_sub(b, at, at + n);
	return true;
}

int checker_lines_prove(struct checker *c)
{
	bool twice = false;
	size_t ext = elf_find(&c->old, ".BTF.ext", &twice), rel = 0;
	struct remake m = { .c = c };

	for (size_t i = 1; ext != 0 && i < c->old.section_count; i++) {
		if (c->old.sections[i].type != SHT_REL || c->old.sections[i].info != ext)
			continue;
		twice |= rel != 0;
		rel = i;
	}
	if (twice)
		return broken(c, "the original has .BTF.ext or its relocations twice");
	if (ext == 0)
		return 0;
	if (!find_strings(c, &m.strings))
		return broken(c, "the original has .BTF.ext without names in .BTF");
	m.old = c->old.sections[ext].bytes;
	m.rel = rel == 0 ? m.rel : c->old.sections[rel].bytes;
	buf_init(&m.out, 2 * OBJECT_BYTES_MAX);
	buf_init(&m.out_rel, 2 * OBJECT_BYTES_MAX);
	int err = compare(c, &m, ext, rel);
	buf_done(&m.out);
	buf_done(&m.out_rel);
	return err;
}
