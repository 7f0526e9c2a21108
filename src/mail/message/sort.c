#include "mail/message/sort.h"

#include <stdlib.h>

#include "mail/message/casemap.h"
#include "mail/message/date.h"
#include "mail/message/subject.h"

int64_t sort_sent_date(const struct envelope *env, int64_t arrival_s)
{
	int64_t date;
	int zone;

	if (env != NULL && env->date.ptr != NULL && date_parse(env->date, &date, &zone))
		return date;
	return arrival_s;
}

/* Mailbox of the first address (RFC 5256 §3, CC, FROM, TO), as key. */
static bool first_mailbox(struct arena *arena, const struct address *list, struct slice *out)
{
	*out = SLICE("");
	if (list == NULL || list->mailbox.len == 0)
		return true;
	AUTO_BUF struct buf key = BUF_INIT(list->mailbox.len * 20 + 64);
	casemap_key(&key, list->mailbox);
	*out = arena_dup(arena, buf_slice(&key));
	return out->ptr != NULL && key.err == 0;
}

bool sort_item_fill(struct arena *arena, struct sort_item *item, const uint8_t *program, const struct envelope *env)
{
	static const struct envelope none;
	bool ok = true, is_reply;

	if (env == NULL)
		env = &none;
	for (size_t i = 0; i < SORT_KEYS_MAX && program[i] != SORT_END && ok; i++) {
		switch (program[i] & ~SORT_REVERSE) {
		case SORT_CC:
			ok = first_mailbox(arena, env->cc, &item->cc);
			break;
		case SORT_FROM:
			ok = first_mailbox(arena, env->from, &item->from);
			break;
		case SORT_TO:
			ok = first_mailbox(arena, env->to, &item->to);
			break;
		case SORT_DATE:
			item->date_s = sort_sent_date(env, item->arrival_s);
			break;
		case SORT_SUBJECT: {
			AUTO_BUF struct buf key = BUF_INIT(env->subject.len * 20 + 64);
			if (env->subject.ptr != NULL)
				subject_base(&key, env->subject, &is_reply);
			item->subject = arena_dup(arena, buf_slice(&key));
			ok = item->subject.ptr != NULL && key.err == 0;
			break;
		}
		default:
			break;
		}
	}
	return ok;
}

static int by_number(int64_t a, int64_t b)
{
	return a < b ? -1 : a > b;
}

static int compare(const void *va, const void *vb, void *program)
{
	const struct sort_item *a = va, *b = vb;
	const uint8_t *keys = program;

	for (size_t i = 0; i < SORT_KEYS_MAX && keys[i] != SORT_END; i++) {
		int c = 0;
		switch (keys[i] & ~SORT_REVERSE) {
		case SORT_ARRIVAL:
			c = by_number(a->arrival_s, b->arrival_s);
			break;
		case SORT_DATE:
			c = by_number(a->date_s, b->date_s);
			break;
		case SORT_SIZE:
			c = a->size < b->size ? -1 : a->size > b->size;
			break;
		case SORT_CC:
			c = slice_cmp(a->cc, b->cc);
			break;
		case SORT_FROM:
			c = slice_cmp(a->from, b->from);
			break;
		case SORT_TO:
			c = slice_cmp(a->to, b->to);
			break;
		case SORT_SUBJECT:
			c = slice_cmp(a->subject, b->subject);
			break;
		default:
			break;
		}
		if (c != 0)
			return keys[i] & SORT_REVERSE ? -c : c;
	}
	return by_number(a->number, b->number);
}

void sort_items(struct sort_item *items, size_t count, const uint8_t *program)
{
	uint8_t keys[SORT_KEYS_MAX] = { 0 };

	for (size_t i = 0; i < SORT_KEYS_MAX && program[i] != SORT_END; i++)
		keys[i] = program[i];
	if (count > 1)
		qsort_r(items, count, sizeof(*items), compare, keys);
}
