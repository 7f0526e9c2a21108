/*
 * .BTF.ext: functions, lines and CO-RE records move with their instructions; each refusal gets a line record of its own,
 * a copy of the one that its call is under, so that the verifier's log does not show the last line of the function for it.
 *
 * .rel.BTF.ext says for linkers where instructions are counted; its places move with the records.
 */
#include <errno.h>
#include <stdlib.h>

#include "spine/inject/inject_internal.h"
#include "spine/inspect/inspect_limits.h"
#include "spine/inspect/little.h"
#include "spine/inspect/types.h"

#define HEAD_BYTES	 24u		/* up to the line records */
#define HEAD_CORE_BYTES	 32u		/* and CO-RE records */
#define RECORD_BYTES_MAX 256u

enum part { FUNCTIONS, LINES, CORE, PARTS };

/* What stood at `before` stands at `after`, with all up to the next move. Both count in the section. */
struct move {
	uint32_t before, after;
};
/* A record that was not there: a copy of one. */
struct copy {
	uint32_t of, at;		/* before, after */
};

struct ext {
	struct injection *in;
	struct types types;
	size_t section;
	struct slice parts[PARTS];
	uint32_t parts_at[PARTS];	/* before */
	uint8_t *out;
	uint32_t length;		/* of out */
	struct move *moves;
	size_t move_count;
	struct copy *copies;
	size_t copy_count;
	uint8_t *seen;			/* by section: it had its lines */
	uint32_t record_bytes;
};

static int malformed(const struct ext *x, const char *what)
{
	return errmsg_say(x->in->why, -EINVAL, "the object's BTF.ext is malformed: %s", what);
}

static void put(struct ext *x, const uint8_t *bytes, size_t n)
{
	if (n > 0)
		memcpy(x->out + x->length, bytes, n);
	x->length += (uint32_t)n;
}

static void moved(struct ext *x, uint32_t before)
{
	x->moves[x->move_count++] = (struct move){ .before = before, .after = x->length };
}

/* The records of one section in one part. */
struct block {
	enum part part;
	const uint8_t *records;
	uint32_t count, at;		/* at: place of the first in the section, before */
	uint8_t *count_out;		/* where their number is written */
	uint32_t added;
	struct inject_section *section;	/* NULL: not code */
};

static uint32_t insn_of(const struct ext *x, const struct block *b, uint32_t record)
{
	return little32(b->records + (size_t)record * x->record_bytes) / INJECT_INSN_BYTES;
}

/* Behind the lines first..end-1 of a function: those of its refusals. */
static void add_refusals(struct ext *x, struct block *b, const struct inject_function *f, uint32_t first, uint32_t end)
{
	uint32_t line = first;

	if (f == NULL || first == end)
		return;
	for (uint32_t i = 0; i < f->guard_count; i++) {
		const struct inject_guard *g = &f->guards[i];
		while (line + 1 < end && insn_of(x, b, line + 1) <= g->insn)
			line++;
		if (insn_of(x, b, line) > g->insn)
			continue;
		for (int check = INJECT_BIT; check <= INJECT_PORT; check++) {
			if (!g->checks[check])
				continue;
			x->copies[x->copy_count++] = (struct copy){ .of = b->at + line * x->record_bytes, .at = x->length };
			put(x, b->records + (size_t)line * x->record_bytes, x->record_bytes);
			inject_put32(x->out + x->length - x->record_bytes, g->refusal[check] * INJECT_INSN_BYTES);
			b->added++;
		}
	}
}

static int write_records(struct ext *x, struct block *b)
{
	const struct inject_function *function = NULL;
	uint32_t first = 0, before = 0;

	for (uint32_t i = 0; i < b->count; i++) {
		const uint8_t *record = b->records + (size_t)i * x->record_bytes;
		uint32_t offset = little32(record), insn = offset / INJECT_INSN_BYTES;
		if (b->section != NULL && (offset % INJECT_INSN_BYTES != 0 || insn > b->section->count))
			return malformed(x, "a record is for no instruction");
		if (b->section != NULL && b->part == LINES) {
			const struct inject_function *f = inject_function_at(b->section, insn);
			if (insn < before)
				return malformed(x, "line records are not in order");
			if (f != function) {
				add_refusals(x, b, function, first, i);
				function = f;
				first = i;
			}
			before = insn;
		}
		moved(x, b->at + i * x->record_bytes);
		put(x, record, x->record_bytes);
		if (b->section != NULL) {
			const uint32_t *to = b->part == CORE ? b->section->self : b->section->start;
			inject_put32(x->out + x->length - x->record_bytes, to[insn] * INJECT_INSN_BYTES);
		}
	}
	if (b->section != NULL && b->part == LINES)
		add_refusals(x, b, function, first, b->count);
	inject_put32(b->count_out, b->count + b->added);
	return 0;
}

static int write_block(struct ext *x, enum part part, struct reader *r)
{
	const uint8_t *begin = r->at;
	const char *name = types_text(&x->types, rd_little32(r));
	struct block b = { .part = part, .count = rd_little32(r) };
	bool twice = false;
	size_t section = elf_find(&x->in->elf, name, &twice);

	if (r->bad || b.count > rd_left(r) / x->record_bytes)
		return malformed(x, "a list is cut off");
	if (section != 0 && x->in->sections[section].before != NULL) {
		b.section = &x->in->sections[section];
		if (twice || (part == LINES && x->seen[section]++ > 0))
			return malformed(x, "a section has its records in two places");
	}
	put(x, begin, 8);
	b.count_out = x->out + x->length - 4;
	b.records = r->at;
	b.at = x->parts_at[part] + (uint32_t)(r->at - x->parts[part].ptr);
	rd_bytes(r, (size_t)b.count * x->record_bytes);
	return write_records(x, &b);
}

/* A part's header in .BTF.ext, at `field`, gets its new place and length; `head`: bytes of that header. */
static int write_part(struct ext *x, enum part part, uint32_t head, uint32_t field)
{
	static const uint32_t least[PARTS] = { 8, 16, 16 };
	struct reader r = reader_of(x->parts[part]);
	uint32_t begin = x->length;

	moved(x, x->parts_at[part]);
	if (x->parts[part].len > 0) {
		x->record_bytes = rd_little32(&r);
		if (r.bad || x->record_bytes < least[part] || x->record_bytes > RECORD_BYTES_MAX || x->record_bytes % 4 != 0)
			return malformed(x, "its records have no sensible size");
		put(x, x->parts[part].ptr, 4);
	}
	while (rd_left(&r) > 0) {
		int err = write_block(x, part, &r);
		if (err != 0)
			return err;
	}
	inject_put32(x->out + field, begin - head);
	inject_put32(x->out + field + 4, x->length - begin);
	return 0;
}

static int read_head(struct ext *x, struct slice bytes, uint32_t *head)
{
	struct reader r = reader_of(bytes);

	rd_bytes(&r, 4);
	*head = rd_little32(&r);
	if (r.bad || *head < HEAD_BYTES || *head > bytes.len)
		return malformed(x, "its header is not one");
	for (int part = 0; part < PARTS; part++) {
		bool there = part != CORE || *head >= HEAD_CORE_BYTES;
		uint32_t at = there ? rd_little32(&r) : 0, n = there ? rd_little32(&r) : 0;
		if (r.bad || at > bytes.len - *head || n > bytes.len - *head - at)
			return malformed(x, "its parts lie outside of the section");
		x->parts_at[part] = *head + at;
		x->parts[part] = slice_sub(bytes, x->parts_at[part], (size_t)x->parts_at[part] + n);
	}
	return 0;
}

/* Room for the worst: each part copied once, each refusal with the longest record there is. */
static int make_room(struct ext *x, uint32_t head)
{
	size_t refusals = 2 * (size_t)x->in->calls, bytes = head + refusals * RECORD_BYTES_MAX, records = PARTS + 1;

	for (int part = 0; part < PARTS; part++) {
		bytes += x->parts[part].len;
		records += x->parts[part].len / 8;
	}
	x->out = arena_array(x->in->arena, bytes, 1);
	x->moves = arena_array(x->in->arena, records, sizeof(*x->moves));
	x->copies = arena_array(x->in->arena, refusals, sizeof(*x->copies));
	x->seen = arena_array(x->in->arena, x->in->elf.section_count, 1);
	if (x->out == NULL || x->moves == NULL || x->copies == NULL || x->seen == NULL)
		return inject_short_of_memory(x->in);
	return 0;
}

/* ---- .rel.BTF.ext ---- */

static int by_before(const void *a, const void *b)
{
	const struct move *x = a, *y = b;

	return x->before < y->before ? -1 : x->before > y->before;
}

static uint64_t place_after(const struct ext *x, uint64_t before)
{
	size_t low = 0, high = x->move_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (x->moves[middle].before <= before)
			low = middle + 1;
		else
			high = middle;
	}
	return low == 0 ? before : x->moves[low - 1].after + (before - x->moves[low - 1].before);
}

static const struct elf_relocation *find(const struct elf_relocation *list, size_t n, uint64_t offset)
{
	size_t low = 0, high = n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (list[middle].offset < offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low < n && list[low].offset == offset ? &list[low] : NULL;
}

static int move_relocations(struct ext *x)
{
	struct injection *in = x->in;
	size_t at = inject_relocations_of(&in->elf, x->section), n = 0, all = 0;
	struct elf_relocation *before, *after;

	if (at == 0)
		return 0;
	int err = elf_relocations(in->arena, &in->elf, x->section, &before, &n, in->why);
	if (err != 0)
		return err;
	after = arena_array(in->arena, n + x->copy_count, sizeof(*after));
	if (after == NULL)
		return inject_short_of_memory(in);
	qsort(x->moves, x->move_count, sizeof(*x->moves), by_before);
	for (; all < n; all++) {
		after[all] = before[all];
		after[all].offset = place_after(x, before[all].offset);
	}
	for (size_t i = 0; i < x->copy_count; i++) {
		const struct elf_relocation *r = find(before, n, x->copies[i].of);
		if (r == NULL)
			continue;
		after[all] = *r;
		after[all++].offset = x->copies[i].at;
	}
	in->content[at] = inject_relocation_bytes(in->arena, after, all);
	return in->content[at].ptr == NULL ? inject_short_of_memory(in) : 0;
}

int inject_lines(struct injection *in)
{
	struct ext x = { .in = in };
	bool twice = false;
	size_t types = elf_find(&in->elf, ".BTF", &twice);
	uint32_t head;

	x.section = elf_find(&in->elf, ".BTF.ext", &twice);
	if (x.section == 0)
		return 0;
	if (types == 0 || twice)
		return malformed(&x, "there is no BTF that it belongs to");
	int err = types_read(in->arena, in->elf.sections[types].bytes, &x.types, in->why);
	if (err == 0)
		err = read_head(&x, in->elf.sections[x.section].bytes, &head);
	if (err == 0)
		err = make_room(&x, head);
	if (err != 0)
		return err;
	moved(&x, 0);
	put(&x, in->elf.sections[x.section].bytes.ptr, head);
	for (int part = 0; part < PARTS && err == 0; part++) {
		if (part != CORE || head >= HEAD_CORE_BYTES)
			err = write_part(&x, (enum part)part, head, 8 + 8 * (uint32_t)part);
	}
	in->content[x.section] = slice_of(x.out, x.length);
	return err == 0 ? move_relocations(&x) : err;
}
