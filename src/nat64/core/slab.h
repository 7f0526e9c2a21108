/*
 * Numbers of sessions, mappings and subscribers: free lists that several processors use at a time; and small things that all files of
 * the state share.
 *
 * A list's head has a count of changes beside the number, so that a head that is back at an old number is not mistaken
 * for an unchanged one. A number is pushed only when nobody can hold it any more: mappings and subscribers that ended wait for
 * XLAT_GRACE, and it is the walk that finds them again; a slot's number is read by the walk alone, which checks what
 * it finds against the session.
 *
 * How one entry changes hands: a session by compare-and-swap of `expires` (0: taken), a mapping by its `refs` (0: dead, and never
 * revived), a port or block by its table entry, a subscriber by XLAT_SUBSCRIBER_DEAD in `sessions`. Whoever
 * makes the change does what follows from it, and nobody else does.
 */
#pragma once
#include "nat64/core/env.h"

/* How often a lost compare-and-swap is tried again before the packet is given up (CONTENTION). */
#define XLAT_TRIES 8
/* No program that looked at an entry is still running after this. */
#define XLAT_GRACE XLAT_TICKS(1000)

/* What a step of session.h tells the next one. */
enum xlat_came { XLAT_CAME_OK, XLAT_CAME_SAID /* verdict and reason are set */, XLAT_CAME_NEW, XLAT_CAME_AGAIN, XLAT_CAME_FULL };

/* Errors of calls; BPF has no errno.h. */
enum { XLAT_ENOENT = 2, XLAT_EAGAIN = 11, XLAT_EEXIST = 17, XLAT_EINVAL = 22, XLAT_ENOSPC = 28, XLAT_EADDRINUSE = 98, XLAT_EADDRNOTAVAIL = 99 };

#define xlat_swap(at, old, new) __sync_bool_compare_and_swap(at, old, new)
#define xlat_more(at, n)	((void)__sync_fetch_and_add(at, n))
#define xlat_less(at, n)	((void)__sync_fetch_and_sub(at, n))

XLAT_INLINE bool xlat_dry(const struct xlat *x)
{
	return (x->flags & XLAT_DRY) != 0;
}

/* A tick that is never 0, since 0 means none. */
XLAT_INLINE __u32 xlat_tick(__u32 tick)
{
	return tick != 0 ? tick : 1;
}

XLAT_INLINE struct xlat_slab *slab_of(struct xlat *x, enum xlat_slab_id id)
{
	struct xlat_control *c = env_control(x);

	return c != NULL ? &c->slab[id] : NULL;
}

XLAT_INLINE __u32 *slab_next(struct xlat *x, enum xlat_slab_id id, __u32 number)
{
	struct xlat_slot *slot;
	struct xlat_bib *bib;
	struct xlat_subscriber *subscriber;

	switch (id) {
	case XLAT_SLAB_SESSION:
		slot = env_slot(x, number);
		return slot != NULL ? &slot->next : NULL;
	case XLAT_SLAB_BIB:
		bib = env_bib(x, number);
		return bib != NULL ? &bib->next : NULL;
	default:
		subscriber = env_subscriber(x, number);
		return subscriber != NULL ? &subscriber->next : NULL;
	}
}

/* A free number, or 0: there is none, or others were always faster. */
XLAT_INLINE __u32 slab_take(struct xlat *x, enum xlat_slab_id id)
{
	struct xlat_slab *s = slab_of(x, id);
	__u32 *next, number;
	__u64 head;

	if (s == NULL)
		return 0;
	for (int i = 0; i < XLAT_TRIES; i++) {
		head = XLAT_READ(s->free);
		number = (__u32)head;
		if (number == 0)
			break;
		next = slab_next(x, id, number);
		if (next == NULL)
			return 0;
		if (xlat_swap(&s->free, head, XLAT_READ(*next) | ((head >> 32) + 1) << 32)) {
			xlat_more(&s->used, 1);
			return number;
		}
	}
	/* Numbers that nobody had yet. Read first, so that the mark stays within a few of the end. */
	if (XLAT_READ(s->fresh) >= s->count)
		return 0;
	number = __sync_fetch_and_add(&s->fresh, 1);
	if (number >= s->count)
		return 0;
	xlat_more(&s->used, 1);
	return number;
}

/* Give a number back. False: others were always faster, and the number is for the walk to give back (bib, subscriber) or lost. */
XLAT_INLINE bool slab_give(struct xlat *x, enum xlat_slab_id id, __u32 number)
{
	struct xlat_slab *s = slab_of(x, id);
	__u32 *next = slab_next(x, id, number);
	__u64 head;

	if (s == NULL || next == NULL)
		return false;
	for (int i = 0; i < 4 * XLAT_TRIES; i++) {
		head = XLAT_READ(s->free);
		XLAT_WRITE(*next, (__u32)head);
		if (xlat_swap(&s->free, head, number | ((head >> 32) + 1) << 32)) {
			xlat_less(&s->used, 1);
			return true;
		}
	}
	return false;
}

/* More than three quarters of the numbers are in use: session.h says what follows. */
XLAT_INLINE bool slab_presses(struct xlat *x, enum xlat_slab_id id)
{
	const struct xlat_slab *s = slab_of(x, id);

	return s != NULL && XLAT_READ(s->used) > s->count / 4 * 3;
}

/* Class of a protocol in the port tables. */
XLAT_INLINE __u32 port_class(__u8 protocol)
{
	return protocol == XLAT_TCP ? 0 : protocol == XLAT_UDP ? 1 : 2;
}

XLAT_INLINE __u32 *port_entry(struct xlat *x, __u32 slot, __u8 protocol, __u32 port)
{
	__u32 at = port_class(protocol) * 65536u + (port & 0xffff);
	struct xlat_port_group *g = env_pool_group(x, slot, at / XLAT_GROUP_PORTS);

	return g != NULL ? &g->port[at & (XLAT_GROUP_PORTS - 1)] : NULL;
}

/* The block that a port lies in, of `size` ports each; it is found by its first port in units of 64. */
XLAT_INLINE struct xlat_block *port_block(struct xlat *x, __u32 slot, __u32 block)
{
	struct xlat_port_group *g = env_pool_group(x, slot, XLAT_GROUPS + (block & (XLAT_BLOCKS_ADDRESS - 1)) / XLAT_GROUP_BLOCKS);

	return g != NULL ? &g->block[block & (XLAT_GROUP_BLOCKS - 1)] : NULL;
}

/* What a freed port or block holds while it rests: until when. Ticks of 31 bits without their lowest. */
XLAT_INLINE __u32 port_rest(__u32 until)
{
	return XLAT_PORT_RESTS | until >> 1;
}

/* It may be given out. An end that is farther away than any rest lasts is one of long ago: the clock went round. */
XLAT_INLINE bool port_free(__u32 entry, __u32 now, __u32 quarantine)
{
	__u32 left;

	if (entry == 0)
		return true;
	if ((entry & XLAT_PORT_RESTS) == 0)
		return false;
	left = ((entry << 1) - now) & ~1u;
	return left == 0 || left > quarantine + 2;
}
