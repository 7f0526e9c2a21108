/*
 * Intrusive circular doubly linked list. A head and a member are the same struct; an
 * unlinked member points to itself, so list_del is safe to call twice.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"

struct list {
	struct list *next, *prev;
};

#define LIST_INIT(name) { &(name), &(name) }

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_insert(struct list *after, struct list *item)
{
	item->next = after->next;
	item->prev = after;
	after->next->prev = item;
	after->next = item;
}

static inline void list_push_front(struct list *head, struct list *item)
{
	list_insert(head, item);
}

static inline void list_push_back(struct list *head, struct list *item)
{
	list_insert(head->prev, item);
}

static inline void list_del(struct list *item)
{
	item->prev->next = item->next;
	item->next->prev = item->prev;
	list_init(item);
}

static inline struct list *list_pop_front(struct list *head)
{
	struct list *item = head->next;

	if (item == head)
		return NULL;
	list_del(item);
	return item;
}

#define list_entry(item, type, member) container_of(item, type, member)
/* Safe against removal of `it` itself inside the loop. */
#define list_for_each(it, head)                                                                    \
	for (struct list *it = (head)->next, *it##_next = it->next; it != (head);                  \
	     it = it##_next, it##_next = it->next)
