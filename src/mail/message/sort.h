/*
 * SORT (RFC 5256): one key record a message, made from its summary, then an ordinary sort.
 */
#pragma once
#include "base/arena.h"
#include "mail/message/mime.h"

enum sort_key {
	SORT_END, SORT_ARRIVAL, SORT_CC, SORT_DATE, SORT_FROM, SORT_SIZE, SORT_SUBJECT, SORT_TO,
	SORT_REVERSE = 0x80,		/* or'ed to a key */
};
#define SORT_KEYS_MAX 16u

struct sort_item {
	uint32_t number;		/* sequence number: the last criterion (RFC 5256 §3) */
	uint32_t uid;
	int64_t arrival_s, date_s;	/* INTERNALDATE; sent date in UTC, INTERNALDATE when there is none */
	uint64_t size;
	struct slice cc, from, to, subject;	/* casemap keys; only those that the program uses */
};

/*
 * Fill the item's keys that `program` (ended by SORT_END) needs. env may be NULL. number, uid, arrival_s and size are set by the
 * caller before. Strings go to the arena; false when it is full.
 */
MUST_USE bool sort_item_fill(struct arena *arena, struct sort_item *item, const uint8_t *program,
			     const struct envelope *env);
/* Sort in place. O(n log n) comparisons, stable by number. */
void sort_items(struct sort_item *items, size_t count, const uint8_t *program);
/* Sent date of a message: its Date, else arrival (RFC 5256 §2.2). */
int64_t sort_sent_date(const struct envelope *env, int64_t arrival_s);
