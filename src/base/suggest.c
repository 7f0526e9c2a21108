#include "base/suggest.h"

/* Optimal string alignment distance; three rows of the table suffice. */
unsigned suggest_distance(struct slice a, struct slice b)
{
	unsigned rows[3][SUGGEST_BYTES_MAX + 1];

	if (a.len > SUGGEST_BYTES_MAX || b.len > SUGGEST_BYTES_MAX)
		return SUGGEST_BYTES_MAX;
	for (unsigned j = 0; j <= b.len; j++)
		rows[0][j] = j;
	for (unsigned i = 1; i <= a.len; i++) {
		unsigned *row = rows[i % 3], *above = rows[(i - 1) % 3], *above2 = rows[(i + 1) % 3];
		row[0] = i;
		for (unsigned j = 1; j <= b.len; j++) {
			uint8_t x = ascii_lower(a.ptr[i - 1]), y = ascii_lower(b.ptr[j - 1]);
			unsigned d = above[j - 1] + (x != y);
			d = MIN(d, above[j] + 1);
			d = MIN(d, row[j - 1] + 1);
			if (i > 1 && j > 1 && x == ascii_lower(b.ptr[j - 2]) &&
			    y == ascii_lower(a.ptr[i - 2]))
				d = MIN(d, above2[j - 2] + 1);
			row[j] = d;
		}
	}
	return rows[a.len % 3][b.len];
}

void suggest_try(struct suggestion *s, const char *candidate)
{
	struct slice c = slice_str(candidate);
	/* More than a third of the letters wrong is another word, not a typing error. */
	unsigned most = (unsigned)MAX((size_t)1, MAX(s->word.len, c.len) / 3);
	unsigned d = suggest_distance(s->word, c);

	if (d > most || (s->best != NULL && d >= s->best_distance))
		return;
	s->best = candidate;
	s->best_distance = d;
}
