/* The messages of one folder in memory: a sorted array, and the journal's changes to it. */
#include <stdlib.h>

#include "mail/mailbox/internal.h"

uint32_t table_lower(const struct table *t, uint32_t uid)
{
	uint32_t low = 0, high = t->count;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (t->rows[mid].uid < uid)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct message_info *table_find(const struct table *t, uint32_t uid)
{
	uint32_t i = table_lower(t, uid);

	return i < t->count && t->rows[i].uid == uid ? &t->rows[i] : NULL;
}

bool table_put(struct table *t, const struct message_info *m)
{
	uint32_t i = t->count == 0 || t->rows[t->count - 1].uid < m->uid ? t->count :
									   table_lower(t, m->uid);

	if (i < t->count && t->rows[i].uid == m->uid) {
		t->rows[i] = *m;
		return true;
	}
	if (t->count == t->cap) {
		uint32_t cap = t->cap == 0 ? 32 : t->cap + t->cap / 2;
		struct message_info *rows = reallocarray(t->rows, cap, sizeof(*rows));

		if (rows == NULL)
			return false;
		t->rows = rows;
		t->cap = cap;
	}
	memmove(t->rows + i + 1, t->rows + i, (t->count - i) * sizeof(*t->rows));
	t->rows[i] = *m;
	t->count++;
	return true;
}

static bool apply_flags(struct table *t, struct change *c, uint64_t modseq)
{
	struct uid_range range;

	while (change_range(c, &range)) {
		for (uint32_t i = table_lower(t, range.first);
		     i < t->count && t->rows[i].uid <= range.last; i++) {
			struct message_info *m = &t->rows[i];

			if (c->mode == STORE_ADD) {
				m->flags |= c->flags;
				m->keywords |= c->keywords;
			} else if (c->mode == STORE_REMOVE) {
				m->flags &= (uint8_t)~c->flags;
				m->keywords &= ~c->keywords;
			} else {
				m->flags = c->flags;
				m->keywords = c->keywords;
			}
			m->modseq = modseq;
		}
	}
	return !c->list.bad;
}

/* The UIDs ascend, so one pass over the rows takes out any number. */
static bool apply_expunge(struct table *t, struct change *c)
{
	struct change_item item;
	bool have = change_item(c, &item);
	uint32_t from = have ? table_lower(t, item.uid) : t->count, to = from;

	for (; from < t->count; from++) {
		while (have && item.uid < t->rows[from].uid)
			have = change_item(c, &item);
		if (have && item.uid == t->rows[from].uid)
			continue;
		t->rows[to++] = t->rows[from];
	}
	t->count = to;
	return !c->list.bad;
}

static bool apply_place(struct table *t, struct change *c)
{
	struct change_item item;

	while (change_item(c, &item)) {
		struct message_info *m = table_find(t, item.uid);

		if (m == NULL)
			continue;
		m->bucket = item.bucket;
		m->fragment = item.fragment;
		m->offset = item.offset;
	}
	return !c->list.bad;
}

bool table_apply(struct table *t, struct change c, uint64_t modseq)
{
	switch (c.kind) {
	case CHANGE_ADD:
		return table_put(t, &c.message);
	case CHANGE_FLAGS:
		return apply_flags(t, &c, modseq);
	case CHANGE_EXPUNGE:
		return apply_expunge(t, &c);
	case CHANGE_PLACE:
		return apply_place(t, &c);
	}
	return false;
}

void table_free(struct table *t)
{
	if (t == NULL)
		return;
	list_del(&t->link);
	free(t->rows);
	free(t);
}
