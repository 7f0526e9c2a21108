#include <errno.h>

#include "policy/table/compile.h"
#include "policy/table/layout.h"

/* Predicates of a conditional permission, asked for in the order of the rows. */
struct cursor {
	const struct policy_predicate_row *at, *end;
};

static uint32_t predicates_at(struct cursor *c, uint32_t subject, uint32_t object, uint32_t permission)
{
	while (c->at < c->end && (c->at->subject < subject || (c->at->subject == subject &&
								(c->at->object < object || (c->at->object == object && c->at->permission < permission)))))
		c->at++;
	if (c->at < c->end && c->at->subject == subject && c->at->object == object && c->at->permission == permission)
		return c->at->predicates;
	return POLICY_PREDICATES_ALL;	/* unconditional there: what the other one says */
}

/* See compile.h for the rules. Conditions are added to rows. */
static struct policy_cell cell(const struct policy_cell *older, const struct policy_cell *newer, uint32_t subject, uint32_t object,
			       struct cursor *old_rows, struct cursor *new_rows, struct buf *rows)
{
	struct policy_cell out = { .allow = older->allow & newer->allow };
	uint32_t both = (older->allow | older->conditional) & (newer->allow | newer->conditional) & ~out.allow;

	for (uint32_t left = both; left != 0; left &= left - 1) {
		struct policy_predicate_row row = { .subject = (uint16_t)subject, .object = (uint16_t)object, .permission = left & -left };
		row.predicates = predicates_at(old_rows, subject, object, row.permission) & predicates_at(new_rows, subject, object, row.permission);
		/* Two policies that fit may have an intersection that does not: what is too much is denied until the new one is in force. */
		if (row.predicates == 0 || rows->max - rows->len < sizeof(row))
			continue;
		out.conditional |= row.permission;
		buf_add(rows, slice_of(&row, sizeof(row)));
	}
	out.trial = (older->trial | older->allow) & (newer->trial | newer->allow) & ~out.allow;
	out.audit = (older->audit | newer->audit) & (out.allow | out.conditional);
	return out;
}

static uint32_t shorter(uint32_t a, uint32_t b)
{
	return a == 0 ? b : b == 0 ? a : MIN(a, b);
}

static void edges(struct slice older, struct slice newer, struct buf *out)
{
	const struct policy_edge *a = bank_enters(older), *a_end = a + bank_of(older)->enter_count;
	const struct policy_edge *b = bank_enters(newer), *b_end = b + bank_of(newer)->enter_count;

	while (a < a_end && b < b_end) {
		uint32_t x = (uint32_t)a->from << 16 | a->to, y = (uint32_t)b->from << 16 | b->to;
		if (x == y) {
			struct policy_edge e = { .from = a->from, .to = a->to, .seconds = shorter(a->seconds, b->seconds),
						 .ticket = a->ticket | b->ticket, .audit = a->audit | b->audit };
			buf_add(out, slice_of(&e, sizeof(e)));
		}
		a += x <= y;
		b += y <= x;
	}
}

static int intersect(struct slice older, struct slice newer, struct buf *rows, struct buf *kept, struct buf *out)
{
	const struct policy_bank *o = bank_of(older), *n = bank_of(newer);
	uint64_t cells = (uint64_t)n->subjects << n->shift;
	struct layout l = layout_of(cells, n->subjects, n->objects, 0, 0);
	struct cursor old_rows = { bank_predicates(older), bank_predicates(older) + o->predicate_count };
	struct cursor new_rows = { bank_predicates(newer), bank_predicates(newer) + n->predicate_count };

	buf_fill(out, 0, l.subject_rows);
	if (out->err != 0)
		return out->err;
	struct policy_cell *to = (void *)(out->ptr + POLICY_CELLS_OFFSET);
	for (uint32_t s = 1; s < o->subjects; s++)
		for (uint32_t c = 1; c < o->objects; c++) {
			size_t at = bank_cell(newer, s, c);
			const struct policy_cell *was = &bank_cells(older)[bank_cell(older, s, c)], *is = &bank_cells(newer)[at];
			/* Most pairs have no right in one of them, and so none in both. */
			if ((was->allow | was->conditional | was->trial) == 0 || (is->allow | is->conditional | is->trial) == 0)
				continue;
			to[at] = cell(was, is, s, c, &old_rows, &new_rows, rows);
		}
	edges(older, newer, kept);
	buf_add(out, slice_of(bank_subjects(newer), n->subjects * sizeof(struct policy_label)));
	buf_add(out, slice_of(bank_objects(newer), n->objects * sizeof(struct policy_label)));
	buf_add(out, buf_slice(rows));
	buf_add(out, buf_slice(kept));
	buf_add(out, slice_of(bank_text(newer, 0), n->names_bytes));
	if (rows->err != 0 || kept->err != 0 || out->err != 0)
		return rows->err != 0 ? rows->err : kept->err != 0 ? kept->err : out->err;

	uint32_t predicate_count = (uint32_t)(rows->len / sizeof(struct policy_predicate_row)), enter_count = (uint32_t)(kept->len / sizeof(struct policy_edge));
	l = layout_of(cells, n->subjects, n->objects, predicate_count, enter_count);
	*(struct policy_bank *)(void *)out->ptr = (struct policy_bank){
		.epoch = n->epoch, .previous = o->epoch, .bytes = (uint32_t)out->len, .subjects = n->subjects, .objects = n->objects,
		.cells = POLICY_CELLS_OFFSET, .subject_rows = (uint32_t)l.subject_rows, .object_rows = (uint32_t)l.object_rows,
		.predicates = (uint32_t)l.predicates, .predicate_count = predicate_count, .enters = (uint32_t)l.enters, .enter_count = enter_count,
		.names = (uint32_t)l.names, .names_bytes = n->names_bytes, .shift = n->shift,
	};
	/* A trial that is in both ends with the earlier one. */
	struct policy_label *subjects = (void *)(out->ptr + l.subject_rows);
	for (uint32_t s = 1; s < o->subjects; s++) {
		int64_t a = bank_subjects(older)[s].trial_until, b = subjects[s].trial_until;
		if (subjects[s].kind != 0)
			subjects[s].trial_until = a == 0 ? b : b == 0 ? a : MIN(a, b);
	}
	return 0;
}

int policy_intersect(const struct policy_head *head, struct slice older, struct slice newer, struct buf *out, struct errmsg *why)
{
	AUTO_BUF struct buf rows = BUF_INIT(0), kept = BUF_INIT(POLICY_REST_BYTES_MAX);
	const char *text;

	if (!policy_bank_valid(head, older, &text) || !policy_bank_valid(head, newer, &text))
		return errmsg_say(why, -EBADMSG, "a policy is damaged: %s", text);
	if (bank_of(newer)->subjects < bank_of(older)->subjects || bank_of(newer)->objects < bank_of(older)->objects)
		return errmsg_say(why, -EBADMSG, "the new policy was not compiled after the old one: it has fewer numbers");
	/* newer fits, so the difference is not below 0. */
	rows.max = head->rest_bytes_max - bank_of(newer)->names_bytes - bank_of(newer)->enter_count * (uint32_t)sizeof(struct policy_edge);
	int err = intersect(older, newer, &rows, &kept, out);
	if (err != 0)
		return errmsg_set(why, err, "the intersection of two policies");
	return 0;
}
