/*
 * The lines of a policy that speak of an extension: for those who ask why it may do something.
 */
#include "spine/rights.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct lines {
	const struct policy *policy;
	struct policy_span *spans;
	size_t count;
};

static void add(struct lines *l, const uint16_t *subjects, size_t count, uint16_t subject, struct policy_span span)
{
	for (size_t i = 0; i < count; i++) {
		if (subjects[i] != subject)
			continue;
		l->spans[l->count++] = span;
		return;
	}
}

static int by_place(const void *left, const void *right)
{
	const struct policy_span *a = left, *b = right;

	return a->source != b->source ? (a->source < b->source ? -1 : 1) :
	       a->line != b->line     ? (a->line < b->line ? -1 : 1) :
					(a->column > b->column) - (a->column < b->column);
}

/* From the statement's keyword to the end of its line, without a comment. */
static struct slice text_of(const struct policy *p, struct policy_span span)
{
	struct slice rest = span.source < p->source_count ? p->sources[span.source].text : (struct slice){ 0 }, line = { 0 };
	bool quoted = false;

	for (uint32_t i = 0; i < span.line; i++)
		(void)slice_cut(rest, '\n', &line, &rest);
	line = slice_from(line, MIN(line.len, (size_t)(span.column > 0 ? span.column - 1 : 0)));
	for (size_t i = 0; i < line.len; i++) {
		quoted ^= line.ptr[i] == '"';
		if (line.ptr[i] == '#' && !quoted)
			line.len = i;
	}
	return slice_trim(line);
}

static int write_line(struct arena *arena, const struct policy *p, struct policy_span span, struct spine_rights_line *out)
{
	AUTO_BUF struct buf place = BUF_INIT(4096);

	policy_span_text(&place, p, span);
	out->place = arena_str(arena, buf_slice(&place));
	out->text = arena_str(arena, text_of(p, span));
	return out->place == NULL || out->text == NULL ? -ENOMEM : 0;
}

int spine_rights_lines(struct arena *arena, const struct spine_policy_view *view, const struct spine_rights *r,
		       const struct spine_rights_line **out, size_t *count, struct errmsg *why)
{
	const struct policy *p = view->policy;
	struct lines l = { .policy = p, .spans = arena_array(arena, p->allow_count + p->use_count + 1, sizeof(*l.spans)) };
	struct spine_rights_line *list = arena_array(arena, p->allow_count + p->use_count + 1, sizeof(*list));
	int err = l.spans == NULL || list == NULL ? -ENOMEM : 0;
	size_t n = 0;

	for (size_t i = 0; i < p->allow_count && err == 0 && r->index != 0; i++)
		if (p->allows[i].class == POLICY_PORT || p->allows[i].class == POLICY_HANDLER)
			add(&l, p->allows[i].subjects, p->allows[i].subject_count, r->index, p->allows[i].span);
	for (size_t i = 0; i < p->use_count && err == 0 && r->index != 0; i++)
		if (!p->uses[i].never)
			add(&l, p->uses[i].subjects, p->uses[i].subject_count, r->index, p->uses[i].span);
	if (l.count > 0)
		qsort(l.spans, l.count, sizeof(*l.spans), by_place);
	for (size_t i = 0; i < l.count && err == 0; i++)
		if (i == 0 || by_place(&l.spans[i - 1], &l.spans[i]) != 0)
			err = write_line(arena, p, l.spans[i], &list[n++]);
	*out = list;
	*count = n;
	return err == 0 ? 0 : errmsg_set(why, err, "list the rules of '%s'", r->name);
}
