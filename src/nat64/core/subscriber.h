/*
 * Subscribers: who the limits, the pool address and the port blocks belong to (RFC 6888 REQ-4, REQ-1; RFC 6431).
 *
 * `sessions` holds an entry: whoever adds to it may use the entry until taking it off again. The walk ends a subscriber that has
 * neither sessions nor mappings nor blocks, by XLAT_SUBSCRIBER_DEAD in `sessions`.
 *
 * The rate is a token bucket: a tick adds 10 parts for each session a second, a session costs 596 (a second has 59.6 ticks).
 * Tokens and their tick are one word for compare and swap.
 *
 * A block (struct xlat_block) changes hands as one word of owner and uses: {0, 0} -> {subscriber, 0}, uses counted up only
 * while the owner is the same, {subscriber, 0} -> rest. So a block is never freed under a port of it. A subscriber's list of
 * blocks is changed under `busy`. A block goes when no port of it was in use for XLAT_BLOCK_IDLE, so that the log does not
 * flutter with bursts.
 */
#pragma once
#include "nat64/core/port.h"

#define XLAT_TOKEN_TICK	 10u
#define XLAT_TOKEN_COST	 596u
#define XLAT_BLOCK_IDLE	 XLAT_TICKS(60000)
#define XLAT_BLOCK_TRIES 32

XLAT_INLINE void subscriber_refuse(struct xlat *x, struct xlat_subscriber *s, enum xlat_reason reason)
{
	if (!xlat_dry(x) && (x->flags & XLAT_TRIED) == 0)
		xlat_more(&s->refused, 1);
	xlat_answer(x, reason, x->ip.family == 6 ? 1 : 3, x->ip.family == 6 ? 3 : 1, 0);
}

/* Take a token. */
XLAT_INLINE bool subscriber_rate(struct xlat *x, struct xlat_subscriber *s, const struct xlat_config *c)
{
	__u64 *at = (__u64 *)(void *)&s->tokens;
	__u64 most = (__u64)c->burst * XLAT_TOKEN_COST;

	if (c->rate == 0)
		return true;
	if (most < XLAT_TOKEN_COST)
		most = XLAT_TOKEN_COST;
	for (int i = 0; i < XLAT_TRIES; i++) {
		__u64 old = XLAT_READ(*at), have = (__u32)old;
		__u32 passed = x->now - (__u32)(old >> 32);

		/* A processor whose clock is a little behind adds nothing. */
		if ((__s32)passed < 0)
			passed = 0;
		have += (__u64)passed * c->rate * XLAT_TOKEN_TICK;
		if (have > most)
			have = most;
		if (have < XLAT_TOKEN_COST)
			return false;
		have -= XLAT_TOKEN_COST;
		if (xlat_dry(x) || xlat_swap(at, old, (__u32)have | (__u64)(passed == 0 ? (__u32)(old >> 32) : x->now) << 32))
			return true;
	}
	return false;
}

/*
 * Count a session of subscriber `number` and so hold the entry. COME_OK, AGAIN (it is ending), or SAID: as many as it may. What the outside
 * begins gets three quarters of them: else a stranger who knows one port could keep the subscriber from beginning any.
 */
XLAT_INLINE int subscriber_join(struct xlat *x, const struct xlat_config *c, __u32 number)
{
	struct xlat_subscriber *s = env_subscriber(x, number);
	__u32 most = c->sessions_max - (x->flow.inbound != 0 ? c->sessions_max / 4 : 0);

	if (s == NULL)
		return XLAT_CAME_AGAIN;
	for (int i = 0; i < XLAT_TRIES; i++) {
		__u32 n = XLAT_READ(s->sessions);

		if ((n & XLAT_SUBSCRIBER_DEAD) != 0 || XLAT_READ(s->state) != 1)
			return XLAT_CAME_AGAIN;
		if (most != 0 && n >= most) {
			subscriber_refuse(x, s, XLAT_R_SUBSCRIBER_SESSIONS);
			return XLAT_CAME_SAID;
		}
		if (xlat_dry(x))
			return XLAT_CAME_OK;
		if (xlat_swap(&s->sessions, n, n + 1)) {
			x->flow.subscriber = number;
			return XLAT_CAME_OK;
		}
	}
	return XLAT_CAME_AGAIN;
}

XLAT_INLINE void subscriber_leave(struct xlat *x, __u32 number)
{
	struct xlat_subscriber *s = env_subscriber(x, number);

	if (number != 0 && s != NULL)
		xlat_less(&s->sessions, 1);
}

/* A new subscriber with one session. COME_OK, AGAIN: another processor made it; SAID: the table is full. */
XLAT_INLINE int subscriber_make(struct xlat *x, const struct xlat_config *c, const struct xlat_subscriber_key *key)
{
	struct xlat_subscriber *s;
	__u32 number;
	int err;

	if (xlat_dry(x))
		return XLAT_CAME_OK;
	number = slab_take(x, XLAT_SLAB_SUBSCRIBER);
	s = env_subscriber(x, number);
	if (number == 0 || s == NULL) {
		xlat_answer(x, XLAT_R_SUBSCRIBERS_FULL, 1, 3, 0);
		return XLAT_CAME_SAID;
	}
	for (int i = 0; i < 4; i++)
		s->addr[i] = key->addr[i];
	s->mappings = 0;
	s->address = 0;
	s->row = 0;
	s->tokens = (c->burst != 0 ? c->burst : 1) * XLAT_TOKEN_COST;
	s->token_tick = x->now;
	s->refused = 0;
	s->created = x->now;
	s->busy = 0;
	XLAT_WRITE(s->state, 1);
	/* Held from the start: what the walk finds has a session. */
	XLAT_WRITE(s->sessions, 1);
	err = env_subscriber6_add(x, key, number);
	if (err != 0) {
		s->state = 0;
		s->sessions = 0;
		slab_give(x, XLAT_SLAB_SUBSCRIBER, number);
		if (err == -XLAT_EEXIST)
			return XLAT_CAME_AGAIN;
		xlat_answer(x, XLAT_R_SUBSCRIBERS_FULL, 1, 3, 0);
		return XLAT_CAME_SAID;
	}
	x->flow.subscriber = number;
	if (c->rate != 0)
		subscriber_rate(x, s, c);
	return XLAT_CAME_OK;
}

/*
 * Find or make the subscriber of flow.key.src6, within its limits, and hold it as flow.subscriber. With `rated` a token is taken: a packet from
 * inside asks for a new session.
 */
XLAT_PART int xlat_subscriber_hold(struct xlat *x, __u32 rated)
{
	const struct xlat_config *c;
	struct xlat_subscriber *s;
	struct xlat_subscriber_key key;
	__u32 number;
	int came;

	if (x == NULL)
		return XLAT_CAME_SAID;
	c = env_config(x);
	if (c == NULL)
		return XLAT_CAME_SAID;
	for (int i = 0; i < 4; i++)
		key.addr[i] = x->flow.key.src6[i] & c->subscriber_mask[i];
	for (int i = 0; i < 3; i++) {
		number = env_subscriber6(x, &key);
		if (number == 0) {
			came = subscriber_make(x, c, &key);
			if (came == XLAT_CAME_AGAIN)
				continue;
			return came;
		}
		s = env_subscriber(x, number);
		if (s == NULL)
			return XLAT_CAME_AGAIN;
		came = subscriber_join(x, c, number);
		if (came == XLAT_CAME_SAID)
			return came;
		if (came == XLAT_CAME_AGAIN)
			continue;
		/* Held now; is it still who we looked for? */
		if (!addr_eq(s->addr, key.addr)) {
			subscriber_leave(x, x->flow.subscriber);
			x->flow.subscriber = 0;
			continue;
		}
		if (rated != 0 && !subscriber_rate(x, s, c)) {
			subscriber_refuse(x, s, XLAT_R_SUBSCRIBER_RATE);
			subscriber_leave(x, x->flow.subscriber);
			x->flow.subscriber = 0;
			return XLAT_CAME_SAID;
		}
		xlat_step(x, XLAT_S_SUBSCRIBER, number);
		if (xlat_dry(x))
			x->flow.subscriber = number;
		return XLAT_CAME_OK;
	}
	return XLAT_CAME_AGAIN;
}

XLAT_INLINE void block_event(struct xlat *x, const struct xlat_subscriber *s, enum xlat_event_kind kind, __be32 addr4, __u32 block, __u32 ports)
{
	struct xlat_event *e = env_event(x);

	if (e == NULL)
		return;
	e->kind = (__u16)kind;
	for (int i = 0; i < 4; i++)
		e->addr6[i] = s->addr[i];
	e->addr4 = addr4;
	e->port4 = bpf_htons((__u16)(block * 64));
	e->ports = (__u16)ports;
	env_event_send(x, e);
}

/* Count a use of the block, if it is still this subscriber's. */
XLAT_INLINE bool block_use(struct xlat_block *b, __u32 owner)
{
	__u64 *at = (__u64 *)(void *)b;

	for (int i = 0; i < XLAT_TRIES; i++) {
		__u64 old = XLAT_READ(*at);

		if ((__u32)old != owner)
			return false;
		if (xlat_swap(at, old, old + ((__u64)1 << 32)))
			return true;
	}
	return false;
}

XLAT_INLINE void block_leave(struct xlat *x, __u32 slot, __u32 block)
{
	struct xlat_block *b = port_block(x, slot, block);

	if (b != NULL)
		xlat_less(&b->used, 1);
}

/* Take one of `count` blocks from the `first` on, in units of block_ports, for flow.subscriber, and use it once. Its number + 1, or 0. */
XLAT_PART int xlat_block_search(struct xlat *x, __u32 first, __u32 count)
{
	const struct xlat_config *c;
	__u32 n, stride, random, units;

	if (x == NULL || count == 0)
		return 0;
	c = env_config(x);
	if (c == NULL)
		return 0;
	units = c->block_ports / 64;
	random = env_random(x);
	n = (random & 0xffff) % count;
	stride = count <= XLAT_BLOCK_TRIES ? 1 : 1 + (random >> 20) % (count - 1);
	for (__u32 i = 0; i < XLAT_BLOCK_TRIES; i++) {
		__u32 block = ((first + n) * units) & (XLAT_BLOCKS_ADDRESS - 1);
		struct xlat_block *b = port_block(x, x->flow.pool_slot, block);
		__u64 old;

		if (i >= count || b == NULL)
			return 0;
		old = XLAT_READ(*(__u64 *)(void *)b);
		if (old >> 32 == 0 && port_free((__u32)old, x->now, c->quarantine) &&
		    xlat_swap((__u64 *)(void *)b, old, x->flow.subscriber | (__u64)1 << 32))
			return (int)block + 1;
		n = (n + stride) % count;
	}
	return 0;
}

/* Where subscriber `number` has room for one more block; XLAT_BLOCKS_MAX: nowhere. */
XLAT_PART int xlat_block_room(struct xlat *x, __u32 number, __u32 most)
{
	const struct xlat_subscriber *s;

	if (x == NULL)
		return XLAT_BLOCKS_MAX;
	s = env_subscriber(x, number);
	if (s == NULL)
		return XLAT_BLOCKS_MAX;
	for (__u32 i = 0; i < XLAT_BLOCKS_MAX; i++) {
		if (i < most && XLAT_READ(s->block[i]) == 0)
			return (int)i;
	}
	return XLAT_BLOCKS_MAX;
}

/*
 * Make one more block of the address in the flow the subscriber's, and use it once: flow.block and the flow's range. COME_OK, NEW: it has
 * as many as it may, or none is free, AGAIN: another processor takes one for it.
 */
XLAT_PART int xlat_block_take(struct xlat *x)
{
	const struct xlat_config *c;
	struct xlat_subscriber *s;
	struct xlat_stats *stats;
	__u32 room, first, count, block = 0;

	if (x == NULL)
		return XLAT_CAME_NEW;
	c = env_config(x);
	s = env_subscriber(x, x->flow.subscriber);
	if (c == NULL || s == NULL || c->block_ports < 64)
		return XLAT_CAME_NEW;
	/* Blocks that lie wholly in the row's range. */
	first = (x->flow.port_first + c->block_ports - 1u) / c->block_ports;
	count = (x->flow.port_last + 1u) / c->block_ports;
	if (count <= first)
		return XLAT_CAME_NEW;
	if (!xlat_swap(&s->busy, 0, 1))
		return XLAT_CAME_AGAIN;
	room = (__u32)xlat_block_room(x, x->flow.subscriber, c->blocks_max);
	if (room < XLAT_BLOCKS_MAX)
		block = (__u32)xlat_block_search(x, first, count - first);
	if (block != 0) {
		s->block_slot[room & (XLAT_BLOCKS_MAX - 1)] = (__u16)x->flow.pool_slot;
		s->block_idle[room & (XLAT_BLOCKS_MAX - 1)] = 0;
		XLAT_WRITE(s->block[room & (XLAT_BLOCKS_MAX - 1)], (__u16)block);
	}
	XLAT_WRITE(s->busy, 0);
	if (block == 0)
		return XLAT_CAME_NEW;
	x->flow.block = block;
	x->flow.port_first = (__u16)((block - 1) * 64);
	x->flow.port_last = (__u16)((block - 1) * 64 + c->block_ports - 1);
	stats = env_stats(x);
	if (stats != NULL)
		stats->blocks_taken++;
	block_event(x, s, XLAT_EVENT_BLOCK_TAKEN, x->flow.addr4, block - 1, c->block_ports);
	return XLAT_CAME_OK;
}

/*
 * Take a port for mapping flow.bib at the address in the flow: from the subscriber's blocks, from one more block, or from the row's range. Sets
 * flow.port4, and flow.block. COME_OK, NEW: this address has none for it; AGAIN.
 */
XLAT_PART int xlat_port_find(struct xlat *x)
{
	const struct xlat_config *c;
	struct xlat_subscriber *s;
	__u16 first, last;
	int came;

	if (x == NULL)
		return XLAT_CAME_NEW;
	x->flow.block = 0;
	c = env_config(x);
	s = env_subscriber(x, x->flow.subscriber);
	if (c == NULL)
		return XLAT_CAME_NEW;
	if (c->ports != XLAT_PORTS_BLOCKS || x->flow.subscriber == 0 || s == NULL || (x->flow.bib_flags & XLAT_BIB_STATIC) != 0)
		return port_pick(x);
	first = x->flow.port_first;
	last = x->flow.port_last;
	for (__u32 i = 0; i < XLAT_BLOCKS_MAX; i++) {
		__u32 block = XLAT_READ(s->block[i]);
		struct xlat_block *b;

		if (block == 0 || s->block_slot[i] != x->flow.pool_slot)
			continue;
		b = port_block(x, x->flow.pool_slot, block - 1);
		if (b == NULL || (!xlat_dry(x) && !block_use(b, x->flow.subscriber)))
			continue;
		x->flow.port_first = (__u16)((block - 1) * 64);
		x->flow.port_last = (__u16)((block - 1) * 64 + c->block_ports - 1);
		came = port_pick(x);
		x->flow.port_first = first;
		x->flow.port_last = last;
		if (came == XLAT_CAME_OK) {
			x->flow.block = block;
			return XLAT_CAME_OK;
		}
		if (!xlat_dry(x))
			block_leave(x, x->flow.pool_slot, block - 1);
	}
	if (xlat_dry(x))
		return port_pick(x);
	came = xlat_block_take(x);
	if (came != XLAT_CAME_OK)
		return came;
	came = port_pick(x);
	x->flow.port_first = first;
	x->flow.port_last = last;
	if (came != XLAT_CAME_OK) {
		block_leave(x, x->flow.pool_slot, x->flow.block - 1);
		x->flow.block = 0;
	}
	return came;
}

/* The walk, at one block of a subscriber. */
XLAT_INLINE void block_visit(struct xlat *x, const struct xlat_config *c, struct xlat_subscriber *s, __u32 number, __u32 i)
{
	__u32 block = XLAT_READ(s->block[i]), slot = s->block_slot[i], idle;
	struct xlat_stats *stats;
	struct xlat_block *b;
	__be32 addr4 = 0;

	if (block == 0)
		return;
	b = port_block(x, slot, block - 1);
	if (b == NULL)
		return;
	if (XLAT_READ(b->used) != 0) {
		s->block_idle[i] = 0;
		return;
	}
	idle = s->block_idle[i];
	if (idle == 0) {
		s->block_idle[i] = xlat_tick(x->now);
		return;
	}
	if (!xlat_passed(x->now, idle + XLAT_BLOCK_IDLE) || !xlat_swap(&s->busy, 0, 1))
		return;
	if (xlat_swap((__u64 *)(void *)b, (__u64)number, (__u64)port_rest(x->now + c->quarantine))) {
		XLAT_WRITE(s->block[i], 0);
		for (__u32 row = 0; row < XLAT_POOLS_MAX; row++) {
			if (row >= c->pool_count)
				break;
			if (slot - c->pool[row].slot < c->pool[row].count)
				addr4 = bpf_htonl(c->pool[row].first + (slot - c->pool[row].slot));
		}
		stats = env_stats(x);
		if (stats != NULL)
			stats->blocks_freed++;
		block_event(x, s, XLAT_EVENT_BLOCK_FREED, addr4, block - 1, c->block_ports);
	}
	XLAT_WRITE(s->busy, 0);
}

/* The walk, at a subscriber. */
XLAT_PART int xlat_expire_subscriber(struct xlat *x, __u32 number)
{
	const struct xlat_config *c;
	struct xlat_subscriber *s;
	struct xlat_subscriber_key key;
	__u32 state, blocks = 0;

	if (x == NULL)
		return 0;
	c = env_config(x);
	s = env_subscriber(x, number);
	if (c == NULL || s == NULL)
		return 0;
	state = XLAT_READ(s->state);
	if (state == 2) {
		if (xlat_passed(x->now, s->token_tick + XLAT_GRACE) && xlat_swap(&s->state, 2, 0))
			if (!slab_give(x, XLAT_SLAB_SUBSCRIBER, number))
				XLAT_WRITE(s->state, 2);
		return 0;
	}
	if (state != 1)
		return 0;
	for (__u32 i = 0; i < XLAT_BLOCKS_MAX; i++) {
		block_visit(x, c, s, number, i);
		blocks |= XLAT_READ(s->block[i]);
	}
	if (blocks != 0 || XLAT_READ(s->mappings) != 0 || !xlat_swap(&s->sessions, 0, XLAT_SUBSCRIBER_DEAD))
		return 0;
	/* Nobody comes in any more; whoever came before is seen now. */
	for (__u32 i = 0; i < XLAT_BLOCKS_MAX; i++)
		blocks |= XLAT_READ(s->block[i]);
	if (blocks != 0 || XLAT_READ(s->mappings) != 0) {
		__sync_fetch_and_and(&s->sessions, ~XLAT_SUBSCRIBER_DEAD);
		return 0;
	}
	for (int i = 0; i < 4; i++)
		key.addr[i] = s->addr[i];
	env_subscriber6_delete(x, &key);
	s->token_tick = x->now;
	XLAT_WRITE(s->state, 2);
	return 0;
}
