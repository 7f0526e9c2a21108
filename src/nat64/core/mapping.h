/*
 * Mappings (BIB entries, RFC 6146 3.1): finding, making and ending them.
 *
 * `refs` counts sessions, and 1 for a static or ALG mapping. It leaves 0 once, when the mapping is published, and goes back to
 * 0 once: whoever takes it there ends the mapping. While it is 0 nobody uses the entry, whatever the tables say: the port table
 * names it a little earlier, and bib6 a little longer.
 */
#pragma once
#include "nat64/core/subscriber.h"

/* Port and flags are one word, for compare and swap. */
union xlat_bib_word {
	__u32 word;
	struct { __be16 port4; __u16 flags; } part;
};

XLAT_INLINE __u32 *bib_word(struct xlat_bib *b)
{
	return (__u32 *)(void *)&b->port4;
}

XLAT_INLINE void bib_flags(struct xlat_bib *b, __u16 set)
{
	union xlat_bib_word w = { .part = { .flags = set } };

	__sync_fetch_and_or(bib_word(b), w.word);
}

XLAT_INLINE bool bib_is(const struct xlat_bib *b, const struct xlat_session_key *key)
{
	return addr_eq(b->key.addr6, key->src6) && b->key.port6 == key->sport && b->key.protocol == key->protocol;
}

/* The mapping as the flow's: addr4, port4, bib. */
XLAT_INLINE void bib_found(struct xlat *x, const struct xlat_bib *b, __u32 number)
{
	x->flow.addr4 = b->addr4;
	x->flow.port4 = b->port4;
	x->flow.bib = number;
	x->bib = number;
	xlat_step(x, XLAT_S_BIB, number);
}

XLAT_INLINE void bib_event(struct xlat *x, const struct xlat_bib *b, enum xlat_event_kind kind)
{
	const struct xlat_config *c = env_config(x);
	struct xlat_event *e;

	if (c == NULL || (c->flags & XLAT_LOG_MAPPINGS) == 0)
		return;
	e = env_event(x);
	if (e == NULL)
		return;
	e->kind = (__u16)kind;
	e->protocol = b->key.protocol;
	for (int i = 0; i < 4; i++)
		e->addr6[i] = b->key.addr6[i];
	e->port6 = b->key.port6;
	e->addr4 = b->addr4;
	e->port4 = b->port4;
	env_event_send(x, e);
}

/* Take one use off mapping `number`; with the last one the mapping ends. */
XLAT_PART int xlat_bib_let_go(struct xlat *x, __u32 number)
{
	union xlat_bib_word dead = { .part = { .flags = XLAT_BIB_DEAD } };
	struct xlat_bib6_key key;
	struct xlat_subscriber *s;
	struct xlat_stats *stats;
	struct xlat_bib *b;
	bool rest;

	if (x == NULL)
		return 0;
	b = env_bib(x, number);
	if (number == 0 || b == NULL || __sync_fetch_and_add(&b->refs, -1u) != 1)
		return 0;
	key = b->key;
	env_bib6_delete(x, &key);
	bib_event(x, b, XLAT_EVENT_MAPPING_ENDED);
	/* RFC 6888 REQ-8. In a flood of unanswered mappings, rest would shut out those who come after it: nothing outside knows these ports. */
	rest = (b->flags & XLAT_BIB_ANSWERED) != 0 || !(slab_presses(x, XLAT_SLAB_SESSION) || slab_presses(x, XLAT_SLAB_BIB));
	port_let_go(x, b->slot, b->key.protocol, b->port4, rest);
	if (b->block != 0)
		block_leave(x, b->slot, b->block - 1);
	s = env_subscriber(x, b->subscriber);
	if (b->subscriber != 0 && s != NULL)
		xlat_less(&s->mappings, 1);
	stats = env_stats(x);
	if (stats != NULL)
		stats->mappings_ended++;
	b->expires = x->now;
	XLAT_WRITE(*bib_word(b), dead.word);
	return 0;
}

/*
 * Hold the mapping of flow.key: flow.bib, addr4, port4. COME_OK, NEW: there is none; AGAIN: it is just ending. XLAT_DRY holds nothing.
 */
XLAT_PART int xlat_bib_hold(struct xlat *x)
{
	struct xlat_bib6_key key;
	struct xlat_bib *b;
	__u32 number, refs;

	if (x == NULL)
		return XLAT_CAME_AGAIN;
	for (int i = 0; i < 4; i++)
		key.addr6[i] = x->flow.key.src6[i];
	key.port6 = x->flow.key.sport;
	key.protocol = x->flow.key.protocol;
	key.zero = 0;
	for (int i = 0; i < XLAT_TRIES; i++) {
		number = env_bib6(x, &key);
		if (number == 0)
			return XLAT_CAME_NEW;
		b = env_bib(x, number);
		if (b == NULL)
			return XLAT_CAME_AGAIN;
		refs = XLAT_READ(b->refs);
		if (refs == 0 || (b->flags & XLAT_BIB_ENDS) != 0)
			continue;
		if (!xlat_dry(x) && !xlat_swap(&b->refs, refs, refs + 1))
			continue;
		if (bib_is(b, &x->flow.key)) {
			bib_found(x, b, number);
			return XLAT_CAME_OK;
		}
		if (!xlat_dry(x))
			xlat_bib_let_go(x, number);
	}
	return XLAT_CAME_AGAIN;
}

/* The address and port of flow.key's mapping, if there is one, without holding it. */
XLAT_PART int xlat_bib_look(struct xlat *x)
{
	__u32 flags, came;

	if (x == NULL)
		return XLAT_CAME_NEW;
	flags = x->flags;
	x->flags |= XLAT_DRY;
	came = (__u32)xlat_bib_hold(x);
	x->flags = flags;
	return (int)came;
}

/* Hold mapping flow.bib, that the port table named, and its subscriber. COME_OK; AGAIN: it is ending; SAID: as many sessions as it may. */
XLAT_PART int xlat_bib_join(struct xlat *x)
{
	const struct xlat_config *c;
	struct xlat_bib *b;
	__u32 refs;

	if (x == NULL)
		return XLAT_CAME_AGAIN;
	c = env_config(x);
	b = env_bib(x, x->flow.bib);
	if (b != NULL && c != NULL) {
		for (int i = 0; i < XLAT_TRIES; i++) {
			refs = XLAT_READ(b->refs);
			if (refs == 0 || (b->flags & XLAT_BIB_ENDS) != 0)
				break;
			if (!xlat_dry(x) && !xlat_swap(&b->refs, refs, refs + 1))
				continue;
			if (bib_is(b, &x->flow.key) && b->addr4 == x->flow.addr4 && b->port4 == x->flow.port4)
				return b->subscriber != 0 ? subscriber_join(x, c, b->subscriber) : XLAT_CAME_OK;
			if (!xlat_dry(x))
				xlat_bib_let_go(x, x->flow.bib);
			break;
		}
	}
	x->flow.bib = 0;
	return XLAT_CAME_AGAIN;
}

/* Give back what a mapping that was not published took. */
XLAT_PART int xlat_bib_undo(struct xlat *x, __u32 port)
{
	struct xlat_subscriber *s;
	struct xlat_bib *b;
	__u32 *entry;

	if (x == NULL)
		return 0;
	s = env_subscriber(x, x->flow.subscriber);
	b = env_bib(x, x->flow.bib);
	if (b == NULL)
		return 0;
	if (port != 0) {
		entry = port_entry(x, x->flow.pool_slot, x->flow.key.protocol, bpf_ntohs(x->flow.port4));
		if (entry != NULL)
			XLAT_WRITE(*entry, 0);
		if (x->flow.block != 0)
			block_leave(x, x->flow.pool_slot, x->flow.block - 1);
	}
	if (b->subscriber != 0 && s != NULL)
		xlat_less(&s->mappings, 1);
	/* If that fails, the walk finds it among the dead. */
	b->flags = 0;
	b->port4 = 0;
	if (!slab_give(x, XLAT_SLAB_BIB, x->flow.bib))
		bib_flags(b, XLAT_BIB_DEAD);
	x->flow.bib = 0;
	return 0;
}

/* A port at the flow's address and port, if they are given (static mappings), else as for a packet. COME_OK, NEW, AGAIN, SAID. */
XLAT_INLINE int bib_port(struct xlat *x)
{
	int came = XLAT_CAME_NEW;

	if (x->flow.fixed != 0)
		return xlat_port_find(x);
	for (__u32 turn = 0; turn < 4; turn++) {
		came = xlat_address_pick(x, turn);
		if (came != XLAT_CAME_OK)
			return came;
		came = xlat_port_find(x);
		if (came == XLAT_CAME_OK || came == XLAT_CAME_AGAIN)
			return came;
	}
	xlat_answer(x, XLAT_R_PORTS_EXHAUSTED, 1, 3, 0);
	return XLAT_CAME_SAID;
}

/* A number for a mapping of flow.key, counted for its subscriber: flow.bib. COME_OK, SAID. */
XLAT_PART int xlat_bib_begin(struct xlat *x)
{
	const struct xlat_config *c;
	struct xlat_subscriber *s;
	struct xlat_bib *b;

	if (x == NULL)
		return XLAT_CAME_SAID;
	c = env_config(x);
	if (c == NULL)
		return XLAT_CAME_SAID;
	x->flow.bib = slab_take(x, XLAT_SLAB_BIB);
	b = env_bib(x, x->flow.bib);
	if (x->flow.bib == 0 || b == NULL) {
		x->flow.bib = 0;
		xlat_answer(x, XLAT_R_MAPPINGS_FULL, 1, 3, 0);
		return XLAT_CAME_SAID;
	}
	for (int i = 0; i < 4; i++)
		b->key.addr6[i] = x->flow.key.src6[i];
	b->key.port6 = x->flow.key.sport;
	b->key.protocol = x->flow.key.protocol;
	b->key.zero = 0;
	b->prefix = x->flow.key.prefix;
	b->created = x->now;
	b->expires = x->flow.bib_expires;
	b->subscriber = x->flow.subscriber;
	s = env_subscriber(x, x->flow.subscriber);
	if (x->flow.subscriber == 0 || s == NULL)
		return XLAT_CAME_OK;
	if (__sync_fetch_and_add(&s->mappings, 1) < c->ports_max || c->ports_max == 0)
		return XLAT_CAME_OK;
	xlat_bib_undo(x, 0);
	subscriber_refuse(x, s, XLAT_R_SUBSCRIBER_PORTS);
	return XLAT_CAME_SAID;
}

/* The port that the flow asks for. COME_OK, NEW: it is in use. */
XLAT_INLINE int bib_port_given(struct xlat *x)
{
	__u32 *entry = port_entry(x, x->flow.pool_slot, x->flow.key.protocol, bpf_ntohs(x->flow.port4));
	__u32 old;

	if (entry == NULL)
		return XLAT_CAME_NEW;
	old = XLAT_READ(*entry);
	if (old != 0 && (old & XLAT_PORT_RESTS) == 0)
		return XLAT_CAME_NEW;
	return xlat_swap(entry, old, x->flow.bib) ? XLAT_CAME_OK : XLAT_CAME_NEW;
}

/* Mapping flow.bib has its port: let others find it. COME_OK; AGAIN: another processor made one for the same inside address and port; SAID. */
XLAT_PART int xlat_bib_publish(struct xlat *x)
{
	union xlat_bib_word w;
	struct xlat_bib6_key key;
	struct xlat_subscriber *s;
	struct xlat_stats *stats;
	struct xlat_bib *b;
	int err;

	if (x == NULL)
		return XLAT_CAME_SAID;
	b = env_bib(x, x->flow.bib);
	if (b == NULL)
		return XLAT_CAME_SAID;
	key = b->key;
	w.part.port4 = x->flow.port4;
	w.part.flags = (__u16)x->flow.bib_flags;
	b->addr4 = x->flow.addr4;
	b->slot = x->flow.pool_slot;
	b->block = x->flow.block;
	XLAT_WRITE(*bib_word(b), w.word);
	err = env_bib6_add(x, &key, x->flow.bib);
	if (err != 0) {
		xlat_bib_undo(x, 1);
		if (err == -XLAT_EEXIST)
			return XLAT_CAME_AGAIN;
		xlat_answer(x, XLAT_R_MAPPINGS_FULL, 1, 3, 0);
		return XLAT_CAME_SAID;
	}
	XLAT_WRITE(b->refs, 1);
	s = env_subscriber(x, x->flow.subscriber);
	if (x->flow.subscriber != 0 && s != NULL && XLAT_READ(s->address) != x->flow.pool_slot + 1) {
		s->row = x->flow.row;
		XLAT_WRITE(s->address, x->flow.pool_slot + 1);
	}
	stats = env_stats(x);
	if (stats != NULL)
		stats->mappings_made++;
	bib_event(x, b, XLAT_EVENT_MAPPING_MADE);
	x->bib = x->flow.bib;
	return XLAT_CAME_OK;
}

/*
 * Make a mapping for flow.key and hold it: flow.bib, addr4, port4; flow.subscriber is held by the caller, or 0. With flow.port4 set (static mappings)
 * that port of flow.pool_slot is taken. COME_OK, AGAIN: there is one by now; NEW: the port or address that was asked for has no room; SAID.
 */
XLAT_PART int xlat_bib_make(struct xlat *x)
{
	int came;

	if (x == NULL)
		return XLAT_CAME_SAID;
	xlat_step(x, XLAT_S_BIB_MAKES, 0);
	x->flow.bib = 0;
	x->flow.block = 0;
	if (xlat_dry(x))
		return bib_port(x);
	came = xlat_bib_begin(x);
	if (came != XLAT_CAME_OK)
		return came;
	came = x->flow.port4 != 0 ? bib_port_given(x) : bib_port(x);
	if (came == XLAT_CAME_OK)
		return xlat_bib_publish(x);
	xlat_bib_undo(x, 0);
	return came;
}

/* The mapping in the flow, which is held, is the ALG's from now on; the hold stays with it. */
XLAT_INLINE int bib_keep(struct xlat *x)
{
	struct xlat_bib *b = env_bib(x, x->flow.bib);
	union xlat_bib_word w, n;

	if (b == NULL)
		return XLAT_CAME_AGAIN;
	if ((x->flow.fixed != 0 && b->addr4 != x->call.bib.addr4) || (x->call.bib.port4 != 0 && b->port4 != x->call.bib.port4)) {
		xlat_bib_let_go(x, x->flow.bib);
		return XLAT_CAME_NEW;
	}
	XLAT_WRITE(b->expires, x->flow.bib_expires);
	for (int i = 0; i < XLAT_TRIES; i++) {
		w.word = XLAT_READ(*bib_word(b));
		n = w;
		n.part.flags |= XLAT_BIB_ALG;
		if ((w.part.flags & (XLAT_BIB_ALG | XLAT_BIB_STATIC)) != 0)
			break;
		if (xlat_swap(bib_word(b), w.word, n.word))
			return XLAT_CAME_OK;
	}
	/* It stays without us. */
	xlat_bib_let_go(x, x->flow.bib);
	return XLAT_CAME_OK;
}

/* End a mapping by hand: no new sessions; it goes with its last one. */
XLAT_PART int xlat_bib_end(struct xlat *x, __u32 number)
{
	union xlat_bib_word w, n;
	struct xlat_bib *b;

	if (x == NULL)
		return 0;
	b = env_bib(x, number);
	if (b == NULL)
		return 0;
	for (int i = 0; i < XLAT_TRIES; i++) {
		w.word = XLAT_READ(*bib_word(b));
		if ((w.part.flags & XLAT_BIB_DEAD) != 0)
			return 0;
		n = w;
		n.part.flags = (__u16)((w.part.flags & ~(XLAT_BIB_STATIC | XLAT_BIB_ALG)) | XLAT_BIB_ENDS);
		if (!xlat_swap(bib_word(b), w.word, n.word))
			continue;
		if ((w.part.flags & (XLAT_BIB_STATIC | XLAT_BIB_ALG)) != 0)
			xlat_bib_let_go(x, number);
		return 0;
	}
	return 0;
}

/* The walk, at a mapping: those of the ALG that nothing used in time, and numbers of dead ones. */
XLAT_PART int xlat_expire_bib(struct xlat *x, __u32 number)
{
	union xlat_bib_word w, n;
	struct xlat_bib *b;

	if (x == NULL)
		return 0;
	b = env_bib(x, number);
	if (b == NULL)
		return 0;
	w.word = XLAT_READ(*bib_word(b));
	n = w;
	if ((w.part.flags & XLAT_BIB_DEAD) != 0) {
		n.part.flags = 0;
		n.part.port4 = 0;
		if (xlat_passed(x->now, b->expires + XLAT_GRACE) && xlat_swap(bib_word(b), w.word, n.word))
			if (!slab_give(x, XLAT_SLAB_BIB, number))
				bib_flags(b, XLAT_BIB_DEAD);
	} else if ((w.part.flags & XLAT_BIB_ALG) != 0 && XLAT_READ(b->refs) != 0 && xlat_passed(x->now, b->expires)) {
		n.part.flags = (__u16)(w.part.flags & ~XLAT_BIB_ALG);
		if (xlat_swap(bib_word(b), w.word, n.word))
			xlat_bib_let_go(x, number);
	}
	return 0;
}
