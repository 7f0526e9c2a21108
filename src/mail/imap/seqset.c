#include "mail/imap/seqset.h"

#include <stdlib.h>

#include "base/must.h"
#include "mail/imap/limits.h"

static bool parse_number(struct slice text, size_t *at, uint32_t star, uint32_t *out)
{
	uint64_t n = 0;
	size_t i = *at;

	if (i < text.len && text.ptr[i] == '*') {
		if (star == 0)
			return false;
		*out = star;
		*at = i + 1;
		return true;
	}
	if (i >= text.len || text.ptr[i] < '1' || text.ptr[i] > '9')
		return false;
	for (; i < text.len && ascii_digit(text.ptr[i]); i++) {
		n = n * 10 + (text.ptr[i] - '0');
		if (n > UINT32_MAX)
			return false;
	}
	*out = (uint32_t)n;
	*at = i;
	return true;
}

static int compare_ranges(const void *a, const void *b)
{
	const struct seqset_range *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

static void normalize(struct seqset *set)
{
	size_t kept = 0;

	for (size_t i = 1; i < set->count; i++) {
		if (set->ranges[i].first < set->ranges[i - 1].first) {
			qsort(set->ranges, set->count, sizeof(*set->ranges), compare_ranges);
			break;
		}
	}
	for (size_t i = 0; i < set->count; i++) {
		struct seqset_range r = set->ranges[i];
		struct seqset_range *last = &set->ranges[kept == 0 ? 0 : kept - 1];

		if (kept > 0 && (last->last == UINT32_MAX || r.first <= last->last + 1))
			last->last = MAX(last->last, r.last);
		else
			set->ranges[kept++] = r;
	}
	set->count = kept;
}

enum seqset_result seqset_parse(struct arena *arena, struct slice text, uint32_t star,
				struct seqset *out, size_t *bad_at)
{
	struct seqset set = { 0 };
	size_t commas = 0, at = 0;

	if (slice_eq(text, SLICE("$"))) {
		*out = (struct seqset){ .saved = true };
		return SEQSET_OK;
	}
	for (size_t i = 0; i < text.len; i++)
		commas += text.ptr[i] == ',';
	if (commas + 1 > IMAP_SEQSET_RANGES_MAX)
		return SEQSET_TOO_BIG;
	set.star = slice_find_byte(text, '*') != SLICE_NPOS;
	set.ranges = arena_array(arena, commas + 1, sizeof(*set.ranges));
	if (set.ranges == NULL)
		return SEQSET_TOO_BIG;
	for (;;) {
		struct seqset_range r;

		if (!parse_number(text, &at, star, &r.first))
			goto bad;
		r.last = r.first;
		if (at < text.len && text.ptr[at] == ':') {
			at++;
			if (!parse_number(text, &at, star, &r.last))
				goto bad;
		}
		/* "4:2" is 2:4 (RFC 9051 §9, seq-range). */
		if (r.first > r.last)
			r = (struct seqset_range){ r.last, r.first };
		set.ranges[set.count++] = r;
		if (at == text.len)
			break;
		if (text.ptr[at] != ',')
			goto bad;
		at++;
	}
	normalize(&set);
	*out = set;
	return SEQSET_OK;
bad:
	*bad_at = at;
	return SEQSET_BAD_SYNTAX;
}

bool seqset_has(const struct seqset *set, uint32_t number)
{
	size_t low = 0, high = set->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (number > set->ranges[mid].last)
			low = mid + 1;
		else if (number < set->ranges[mid].first)
			high = mid;
		else
			return true;
	}
	return false;
}

static void write_pending(struct seqset_writer *w)
{
	if (w->first == 0)
		return;
	if (w->any)
		buf_addc(w->out, ',');
	w->any = true;
	buf_dec(w->out, w->first);
	if (w->last != w->first) {
		buf_addc(w->out, ':');
		buf_dec(w->out, w->last);
	}
}

void seqset_writer_add_range(struct seqset_writer *w, uint32_t first, uint32_t last)
{
	must(first > w->last && last >= first);
	if (w->first != 0 && first == w->last + 1) {
		w->last = last;
		return;
	}
	write_pending(w);
	w->first = first;
	w->last = last;
}

void seqset_writer_add(struct seqset_writer *w, uint32_t number)
{
	seqset_writer_add_range(w, number, number);
}

void seqset_writer_end(struct seqset_writer *w)
{
	write_pending(w);
	w->first = w->last = 0;
}
