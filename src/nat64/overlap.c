/*
 * Two translators of one network namespace that want the same packets: on an interface that both have, the one that was attached first
 * gets them. That may be meant (one takes over from the other), so it is said, not refused.
 */
#include <string.h>

#include "base/cleanup.h"
#include "nat64/instance_private.h"
#include "nat64/words.h"

#define SCAN_BYTES (1u << 20)

static bool pools_meet(const struct xlat_config *a, const struct xlat_config *b, struct buf *what)
{
	for (uint32_t i = 0; i < a->pool_count && i < XLAT_POOLS_MAX; i++) {
		for (uint32_t j = 0; j < b->pool_count && j < XLAT_POOLS_MAX; j++) {
			const struct xlat_pool *p = &a->pool[i], *q = &b->pool[j];
			if (p->first > q->first + (q->count - 1) || q->first > p->first + (p->count - 1) ||
			    p->port_first > q->port_last || q->port_first > p->port_last)
				continue;
			words_pool_text(what, p, true);
			return true;
		}
	}
	return false;
}

/* *what gets the first thing that both have, as a file would say it. */
static bool meet(const struct xlat_config *a, const struct xlat_config *b, struct buf *what)
{
	if (a->mode == XLAT_CLAT || b->mode == XLAT_CLAT)
		return false;		/* a CLAT takes what has a mapping; its prefix is the provider's, whom both may have */
	for (uint32_t i = 0; i < a->prefix_count && i < XLAT_PREFIXES_MAX; i++) {
		for (uint32_t j = 0; j < b->prefix_count && j < XLAT_PREFIXES_MAX; j++) {
			const struct xlat_prefix *p = &a->prefix[i], *q = &b->prefix[j];
			if (xlat_prefix_none(p) || xlat_prefix_none(q) || !words_nets_overlap(p->addr, p->bits, q->addr, q->bits))
				continue;
			words_prefix_text(what, p);
			return true;
		}
	}
	return pools_meet(a, b, what);
}

void overlap_say(struct nat64 *n, struct buf *notice)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(SCAN_BYTES);
	const struct xlat_config *own = nat64_config(n);
	struct nat64_found *found;
	size_t count;

	if (own == NULL || nat64_scan(&arena, false, &found, &count, NULL) != 0)
		return;
	for (size_t i = 0; i < count; i++) {
		struct nat64_where where = { .name = found[i].name };
		AUTO_BUF struct buf what = BUF_INIT(256);
		struct nat64 *other;
		if (strcmp(found[i].name, n->name) == 0 || nat64_open(&where, NAT64_LOOK, &other, NULL) != 0)
			continue;
		const struct xlat_config *its = nat64_config(other);
		if (its != NULL && meet(own, its, &what))
			buf_printf(notice, "translator '%s' has %s as well: on an interface of both, the one that was attached first gets the "
				   "packets; `prickle nat64 list` shows both\n", found[i].name, buf_cstr(&what));
		nat64_close(other);
	}
}
