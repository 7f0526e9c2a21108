/*
 * Stateful translation (RFC 6146): which session a packet belongs to, which it begins, and how sessions end.
 *
 * xlat_stateful is what plan.h calls for a parsed packet of a NAT64; xlat_walk_step is the walk; xlat_call_run and
 * xlat_call_visit do what core/call.h describes.
 *
 * A session ends at the tick `expires`: look-ups take it as gone from then on, exactly; the walk takes it out of the tables
 * later. An established TCP session is the exception of RFC 6146 3.5.2.2: it goes on as TRANS for that timer's time, and the walk asks
 * the daemon for a probe. A mapping lives until the walk has ended its last session.
 *
 * `expires` is also the lock of a session: 0 says that a processor ends or renews it, so whoever swaps a value for 0 owns it. It
 * is written only when it moves by more than 100 ms. Fields of a found session are taken as true only if `expires` is the same
 * after reading as before, and `tag` is that of the key: a freed entry of the hash is used again at once, also between the look-up and
 * the first read, and its new owner must not get this packet.
 *
 * Under pressure - more than 3/4 of the sessions, mappings or subscribers are in use - the walk also ends sessions that were never
 * answered: older than 4 s at 3/4, falling to 1 s at 7/8, whatever their timer says; numbers of mappings rest for a second, so
 * that must begin well before the end. A packet that finds no free number ends such sessions itself, 4 random ones at
 * most. So a flood, from one source or from a million, fills the last quarter only, and those whom somebody answers
 * stay. (RFC 6888 REQ-11 forbids to end mappings to make room; one without an answer carries no communication, and without
 * this rule the first flood ends all service.) One-way UDP gets a new mapping in that case.
 */
#pragma once
#include "nat64/core/fragment.h"
#include "nat64/core/mapping.h"
#include "nat64/core/tcp.h"

/* 100 ms */
#define XLAT_MOVES XLAT_TICKS(100)

/*
 * In: x->ip, and x->inner of an ICMP error (XLAT_INNER); xlat_ours found it ours, x->prefix is the destination's. Out: x->to,
 * x->inner_to, x->session_slot, x->bib and flags HAIRPINNED, NEW_SESSION with TRANSLATE (the edit is xlat_build's); else verdict and
 * reason. Returns the verdict. Later fragments follow their first one (fragment.h).
 */
XLAT_PART int xlat_stateful(struct xlat *x);

/*
 * One step of the walk: visit the entries of all slabs that have the number under the cursor, which moves on. Sessions that expired end, and
 * so do mappings, blocks and subscribers that nothing uses. Returns 1 when the walk began again, else 0.
 */
XLAT_PART int xlat_walk_step(struct xlat *x);

/*
 * What x->call asks, but for PLAN and TIMER, which are the home's. Returns how many times the home has to call
 * xlat_call_visit, with 0, 1, 2, ... (a loop of the home's kind: bpf_loop); x->call.result is valid after that.
 */
XLAT_PART int xlat_call_run(struct xlat *x);
XLAT_PART int xlat_call_visit(struct xlat *x, __u32 turn);

/* Numbers that one DRAIN call looks at. */
#define XLAT_DRAIN_PART 65536u

/* protocol of a free slot that the free list did not take: the walk tries again. */
#define XLAT_SLOT_LOST 0xffu

/* Port, state and flags are one word, for compare and swap. */
union xlat_session_word {
	__u32 word;
	struct { __be16 port4; __u8 state, flags; } part;
};

/* What an entry says of its key, which cannot be read where a value is found. Not keyed: it is compared with entries of other sessions by accident alone. */
XLAT_INLINE __u32 session_tag(const struct xlat_session_key *key)
{
	__u64 tag = ((__u64)key->src6[0] << 32 | key->src6[1]) * 0x9e3779b97f4a7c15u;

	tag = (tag ^ ((__u64)key->src6[2] << 32 | key->src6[3])) * 0xbf58476d1ce4e5b9u;
	tag = (tag ^ ((__u64)key->dst4 << 32 | (__u32)key->sport << 16 | key->dport)) * 0x94d049bb133111ebu;
	return (__u32)(tag >> 32) ^ ((__u32)key->protocol << 8 | key->prefix);
}

XLAT_INLINE __u32 *session_word(struct xlat_session *s)
{
	return (__u32 *)(void *)&s->port4;
}

/* ICMP, TCP or UDP, whichever family the packet has; 0: none of them. */
XLAT_INLINE __u8 session_protocol(__u8 protocol)
{
	if (protocol == XLAT_ICMP6)
		return XLAT_ICMP;
	return protocol == XLAT_TCP || protocol == XLAT_UDP || protocol == XLAT_ICMP ? protocol : 0;
}

XLAT_INLINE enum xlat_timer session_timer(const struct xlat_session_key *key)
{
	if (key->protocol == XLAT_UDP)
		return key->dport == bpf_htons(53) ? XLAT_T_UDP_DNS : XLAT_T_UDP;
	return key->protocol == XLAT_ICMP ? XLAT_T_ICMP : XLAT_T_TCP_TRANSITORY;
}

/* It is over, by the tick alone. */
XLAT_INLINE bool session_over(const struct xlat *x, const struct xlat_config *c, const struct xlat_session_key *key, __u32 expires, __u8 state)
{
	if (!xlat_passed(x->now, expires))
		return false;
	return key->protocol != XLAT_TCP || state != XLAT_ESTABLISHED ||
	       xlat_passed(x->now, expires + c->timeout[XLAT_T_TCP_TRANSITORY]);
}

XLAT_INLINE void session_event(struct xlat *x, const struct xlat_session_key *key, const struct xlat_session *s, enum xlat_event_kind kind)
{
	const struct xlat_config *c = env_config(x);
	struct xlat_event *e;

	if (c == NULL || (kind != XLAT_EVENT_PROBE && (c->flags & XLAT_LOG_SESSIONS) == 0))
		return;
	e = env_event(x);
	if (e == NULL)
		return;
	e->kind = (__u16)kind;
	e->protocol = key->protocol;
	e->prefix = key->prefix;
	for (int i = 0; i < 4; i++)
		e->addr6[i] = key->src6[i];
	e->port6 = key->sport;
	e->addr4 = s->addr4;
	e->port4 = s->port4;
	e->remote4 = key->dst4;
	e->remote_port = key->dport;
	env_event_send(x, e);
}

/* Both ends of an ICMP query have its identifier. */
XLAT_INLINE void session_ends4(struct xlat *x)
{
	addr_set4(x->to.src, x->flow.addr4);
	addr_set4(x->to.dst, x->flow.key.dst4);
	x->to.sport = x->flow.port4;
	x->to.dport = x->flow.key.protocol == XLAT_ICMP ? x->flow.port4 : x->flow.key.dport;
	x->to.family = 4;
}

XLAT_INLINE void session_ends6(struct xlat *x)
{
	const struct xlat_config *c = env_config(x);

	if (c != NULL)
		prefix_embed(&c->prefix[x->flow.key.prefix & (XLAT_PREFIXES_MAX - 1)], x->flow.key.dst4, x->to.src);
	addr_set(x->to.dst, x->flow.key.src6);
	x->to.dport = x->flow.key.sport;
	x->to.sport = x->flow.key.protocol == XLAT_ICMP ? x->flow.key.sport : x->flow.key.dport;
	x->to.family = 6;
	x->prefix = x->flow.key.prefix;
}

/*
 * The packet belongs to session `s`: its state and timer (3.5). COME_OK: flow.addr4, port4, bib and slot are set; NEW: the session is over;
 * AGAIN: it changes just now; SAID: it takes the slow path.
 */
XLAT_INLINE int session_use(struct xlat *x, const struct xlat_config *c, struct xlat_session *s)
{
	bool from4 = x->flow.inbound != 0;
	union xlat_session_word w, n;
	__u32 expires = XLAT_READ(s->expires), timer, next, until;
	struct xlat_bib *b;
	bool late;			/* established, its timer ran out, and the walk has not said so yet */

	if (expires == 0)
		return XLAT_CAME_AGAIN;
	w.word = XLAT_READ(*session_word(s));
	x->flow.addr4 = XLAT_READ(s->addr4);
	x->flow.port4 = w.part.port4;
	x->flow.bib = XLAT_READ(s->bib);
	x->flow.slot = XLAT_READ(s->slot);
	if (XLAT_READ(s->tag) != session_tag(&x->flow.key) || XLAT_READ(s->expires) != expires)
		return XLAT_CAME_AGAIN;
	if (unlikely(session_over(x, c, &x->flow.key, expires, w.part.state)))
		return XLAT_CAME_NEW;
	late = xlat_passed(x->now, expires);
	x->bib = x->flow.bib;
	x->session_slot = x->flow.slot;
	xlat_step(x, XLAT_S_SESSION, x->flow.slot);
	if (unlikely((w.part.flags & XLAT_SESSION_ALG) != 0) && (x->flags & XLAT_FROM_SLOW) == 0) {
		xlat_say(x, XLAT_SLOW, XLAT_R_ALG);
		return XLAT_CAME_SAID;
	}
	if (xlat_dry(x))
		return XLAT_CAME_OK;
	timer = session_timer(&x->flow.key);
	for (int i = 0; i < 4; i++) {
		n = w;
		if (x->flow.key.protocol == XLAT_TCP) {
			next = tcp_next(late ? XLAT_TRANS : w.part.state, tcp_event(x->flow.tcp_flags), from4);
			n.part.state = (__u8)next;
			timer = next >> 8;
		}
		if (from4 == ((w.part.flags & XLAT_SESSION_INBOUND) == 0))
			n.part.flags = (__u8)(w.part.flags | XLAT_SESSION_ANSWERED);
		if (likely(n.word == w.word) || xlat_swap(session_word(s), w.word, n.word))
			break;
		w.word = XLAT_READ(*session_word(s));
		n.word = ~w.word;
	}
	if (unlikely(((n.part.flags ^ w.part.flags) & XLAT_SESSION_ANSWERED) != 0)) {
		b = env_bib(x, x->flow.bib);
		if (b != NULL)
			bib_flags(b, XLAT_BIB_ANSWERED);
	}
	if (timer == XLAT_TIMER_RUNS_ON) {
		if (late)
			xlat_swap(&s->expires, expires, xlat_tick(expires + c->timeout[XLAT_T_TCP_TRANSITORY]));
		return XLAT_CAME_OK;
	}
	until = xlat_tick(x->now + c->timeout[timer < XLAT_T_COUNT ? timer : 0]);
	for (int i = 0; i < 4; i++) {
		if (n.part.state == w.part.state && until - expires + XLAT_MOVES <= 2 * XLAT_MOVES)
			break;
		if (expires == 0 || xlat_swap(&s->expires, expires, until))
			break;
		expires = XLAT_READ(s->expires);
	}
	return XLAT_CAME_OK;
}

/* The permission of flow.key.src6 and sport for the address dst4 (address-dependent filtering). */
XLAT_INLINE void permit_key(const struct xlat_session_key *key, struct xlat_session_key *permit)
{
	*permit = *key;
	permit->dport = 0;
	permit->prefix = 0;
	permit->protocol |= XLAT_PERMIT;
}

/* Count the session of flow.key in it; 0: no room. */
XLAT_PART int xlat_permit_join(struct xlat *x)
{
	struct xlat_session value = { 0 };
	struct xlat_session_key permit;
	struct xlat_session *p;

	if (x == NULL)
		return 0;
	permit_key(&x->flow.key, &permit);
	value.expires = 1;
	for (int i = 0; i < XLAT_TRIES; i++) {
		__u32 n;
		int err;

		p = env_session(x, &permit);
		if (p == NULL) {
			err = env_session_add(x, &permit, &value);
			if (err == 0)
				return 1;
			if (err != -XLAT_EEXIST)
				return 0;
			continue;
		}
		n = XLAT_READ(p->expires);
		if (n != 0 && xlat_swap(&p->expires, n, n + 1))
			return 1;
	}
	return 0;
}

/* The session x->ending counts no more. */
XLAT_PART int xlat_permit_leave(struct xlat *x)
{
	struct xlat_session_key permit;
	struct xlat_session *p;

	if (x == NULL)
		return 0;
	permit_key(&x->ending, &permit);
	p = env_session(x, &permit);
	if (p != NULL && __sync_fetch_and_add(&p->expires, -1u) == 1)
		env_session_delete(x, &permit);
	return 0;
}

/* What is outside may send to this mapping from flow.key.dst4 (3.5.1.2, 3.5.2.2, 3.5.3). */
XLAT_PART int xlat_permitted(struct xlat *x)
{
	const struct xlat_config *c;
	struct xlat_session_key permit;
	struct xlat_bib *b;

	if (x == NULL)
		return 0;
	c = env_config(x);
	if (c == NULL || c->filtering != XLAT_ADDRESS_DEPENDENT)
		return c != NULL;
	/* Made for a call that the inside host asked for (RFC 6384 7). */
	b = env_bib(x, x->flow.bib);
	if (b != NULL && (XLAT_READ(b->flags) & XLAT_BIB_ALG) != 0)
		return 1;
	permit_key(&x->flow.key, &permit);
	if (env_session(x, &permit) == NULL)
		return 0;
	xlat_step(x, XLAT_S_PERMITTED, 0);
	return 1;
}

/* Ticks that a session may go unanswered: see above; XLAT_PATIENT: for ever. */
#define XLAT_PATIENT 0x7fffffffu
XLAT_PART int xlat_patience(struct xlat *x)
{
	const struct xlat_control *c;
	__u32 least = XLAT_PATIENT;

	if (x == NULL)
		return 0;
	c = env_control(x);
	for (int i = 0; i < XLAT_SLABS && c != NULL; i++) {
		__u32 used = XLAT_READ(c->slab[i].used), eighth = c->slab[i].count / 8, over, ticks;

		if (used <= 6 * eighth)
			continue;
		over = used - 6 * eighth < eighth ? used - 6 * eighth : eighth;
		ticks = XLAT_TICKS(4000) - (__u32)((__u64)XLAT_TICKS(3000) * over / (eighth + 1));
		if (ticks < least)
			least = ticks;
	}
	return (int)least;
}

/*
 * End the session of x->ending if it is number `number`, and what `forced` says: 0: if its time is over, 1: or nobody answered it and there is
 * pressure, 2: in any case. Returns 1 if it did. An established session of TCP whose time is over goes to TRANS instead.
 */
XLAT_PART int xlat_session_end(struct xlat *x, __u32 number, __u32 forced)
{
	const struct xlat_config *c;
	struct xlat_session_key key;
	struct xlat_session *s;
	union xlat_session_word w, n;
	struct xlat_stats *stats;
	struct xlat_slot *slot;
	__u32 expires, bib, subscriber;

	if (x == NULL)
		return 0;
	c = env_config(x);
	key = x->ending;
	s = env_session(x, &key);
	if (c == NULL || s == NULL || XLAT_READ(s->slot) != number || XLAT_READ(s->tag) != session_tag(&key))
		return 0;
	expires = XLAT_READ(s->expires);
	w.word = XLAT_READ(*session_word(s));
	if (expires == 0)
		return 0;
	if (forced != 2 && !session_over(x, c, &key, expires, w.part.state)) {
		if (xlat_passed(x->now, expires)) {
			/* RFC 6146 3.5.2.2, ESTABLISHED: the lifetime is over. */
			n = w;
			n.part.state = XLAT_TRANS;
			n.part.flags |= XLAT_SESSION_PROBED;
			if (xlat_swap(&s->expires, expires, xlat_tick(expires + c->timeout[XLAT_T_TCP_TRANSITORY])) &&
			    xlat_swap(session_word(s), w.word, n.word))
				session_event(x, &key, s, XLAT_EVENT_PROBE);
			return 0;
		}
		if (forced != 1 || (w.part.flags & XLAT_SESSION_ANSWERED) != 0)
			return 0;
		/* With a sign: a session may be younger than the walk's clock, which is taken once for many. */
		if ((__s32)(x->now - s->created) < xlat_patience(x))
			return 0;
	}
	if (!xlat_swap(&s->expires, expires, 0))
		return 0;
	/* Ours alone now. Nothing of it may be used after the delete. */
	session_event(x, &key, s, XLAT_EVENT_SESSION_ENDED);
	bib = s->bib;
	subscriber = s->subscriber;
	if ((XLAT_READ(s->flags) & XLAT_SESSION_PERMITS) != 0)
		xlat_permit_leave(x);
	env_session_delete(x, &key);
	slot = env_slot(x, number);
	if (slot != NULL) {
		XLAT_WRITE(slot->bib, 0);
		if (!slab_give(x, XLAT_SLAB_SESSION, number))
			slot->protocol = XLAT_SLOT_LOST;
	}
	xlat_bib_let_go(x, bib);
	subscriber_leave(x, subscriber);
	stats = env_stats(x);
	if (stats != NULL)
		stats->sessions_ended++;
	return 1;
}

/*
 * The session of flow.key is over but still in the tables: begin it anew in its place, with `flags`. COME_OK, NEW: it is gone; AGAIN: it is
 * alive or another processor has it; SAID: the subscriber begins too many.
 */
XLAT_PART int xlat_session_renew(struct xlat *x)
{
	const struct xlat_config *c;
	struct xlat_session_key key;
	union xlat_session_word w;
	struct xlat_subscriber *sub;
	struct xlat_session *s;
	struct xlat_stats *stats;
	struct xlat_bib *b;
	__u32 expires;

	if (x == NULL)
		return XLAT_CAME_AGAIN;
	c = env_config(x);
	key = x->flow.key;
	s = env_session(x, &key);
	if (c == NULL || s == NULL)
		return XLAT_CAME_NEW;
	expires = XLAT_READ(s->expires);
	w.word = XLAT_READ(*session_word(s));
	if (expires == 0 || XLAT_READ(s->tag) != session_tag(&key) || !session_over(x, c, &key, expires, w.part.state))
		return XLAT_CAME_AGAIN;
	b = env_bib(x, s->bib);
	if (b == NULL || (b->flags & XLAT_BIB_ENDS) != 0)
		return XLAT_CAME_AGAIN;
	sub = env_subscriber(x, s->subscriber);
	if (x->flow.inbound == 0 && s->subscriber != 0 && sub != NULL && !subscriber_rate(x, sub, c)) {
		subscriber_refuse(x, sub, XLAT_R_SUBSCRIBER_RATE);
		return XLAT_CAME_SAID;
	}
	if (!xlat_dry(x)) {
		if (!xlat_swap(&s->expires, expires, 0))
			return XLAT_CAME_AGAIN;
		session_event(x, &key, s, XLAT_EVENT_SESSION_ENDED);
		w.part.state = (__u8)x->flow.state;
		w.part.flags = (__u8)((w.part.flags & (XLAT_SESSION_PERMITS | XLAT_SESSION_ALG)) | (x->flow.inbound != 0 ? XLAT_SESSION_INBOUND : 0));
		XLAT_WRITE(*session_word(s), w.word);
		s->created = x->now;
		session_event(x, &key, s, XLAT_EVENT_SESSION_MADE);
	}
	x->flow.addr4 = s->addr4;
	x->flow.port4 = w.part.port4;
	x->bib = x->flow.bib = s->bib;
	x->session_slot = x->flow.slot = s->slot;
	x->flags |= XLAT_NEW_SESSION;
	xlat_step(x, XLAT_S_SESSION_MAKES, 0);
	if (!xlat_dry(x)) {
		/* Last: from here on it belongs to all again. */
		XLAT_WRITE(s->expires, xlat_tick(x->now + c->timeout[session_timer(&key)]));
		stats = env_stats(x);
		if (stats != NULL) {
			stats->sessions_ended++;
			stats->sessions_made++;
		}
	}
	return XLAT_CAME_OK;
}

/* The walk, at a slot; `forced` as xlat_session_end says. Returns 1 if a session ended. */
XLAT_PART int xlat_expire_session(struct xlat *x, __u32 number, __u32 forced)
{
	struct xlat_slot *slot;
	struct xlat_bib *b;
	__u32 bib;

	if (x == NULL)
		return 0;
	slot = env_slot(x, number);
	if (slot == NULL)
		return 0;
	bib = XLAT_READ(slot->bib);
	if (bib == 0) {
		if (unlikely(slot->protocol == XLAT_SLOT_LOST)) {
			slot->protocol = 0;
			if (!slab_give(x, XLAT_SLAB_SESSION, number))
				slot->protocol = XLAT_SLOT_LOST;
		}
		return 0;
	}
	b = env_bib(x, bib);
	if (b == NULL)
		return 0;
	for (int i = 0; i < 4; i++)
		x->ending.src6[i] = b->key.addr6[i];
	x->ending.sport = b->key.port6;
	x->ending.dst4 = slot->dst4;
	x->ending.dport = slot->dport;
	x->ending.protocol = slot->protocol;
	x->ending.prefix = slot->prefix;
	x->ending.zero = 0;
	return xlat_session_end(x, number, forced);
}

/*
 * Make the session of flow.key on mapping flow.bib, which is held, as is flow.subscriber. COME_OK: both belong to the session now; AGAIN: there is
 * such a session by now; FULL: the table is.
 */
XLAT_PART int xlat_session_make(struct xlat *x)
{
	struct xlat_session value = { 0 };
	const struct xlat_config *c;
	struct xlat_session_key key;
	struct xlat_stats *stats;
	struct xlat_slot *slot;
	__u32 number;
	int err;

	if (x == NULL)
		return XLAT_CAME_SAID;
	c = env_config(x);
	if (c == NULL)
		return XLAT_CAME_SAID;
	xlat_step(x, XLAT_S_SESSION_MAKES, 0);
	x->flags |= XLAT_NEW_SESSION;
	if (xlat_dry(x))
		return XLAT_CAME_OK;
	key = x->flow.key;
	number = slab_take(x, XLAT_SLAB_SESSION);
	slot = env_slot(x, number);
	if (number == 0 || slot == NULL)
		return XLAT_CAME_FULL;
	value.bib = x->flow.bib;
	value.slot = number;
	value.addr4 = x->flow.addr4;
	value.port4 = x->flow.port4;
	value.state = (__u8)x->flow.state;
	value.flags = x->flow.inbound != 0 ? XLAT_SESSION_INBOUND : 0;
	value.subscriber = x->flow.subscriber;
	value.created = x->now;
	value.tag = session_tag(&key);
	value.expires = xlat_tick(x->now + c->timeout[session_timer(&key)]);
	slot->dst4 = key.dst4;
	slot->dport = key.dport;
	slot->protocol = key.protocol;
	slot->prefix = key.prefix;
	if (c->filtering == XLAT_ADDRESS_DEPENDENT && xlat_permit_join(x) != 0)
		value.flags |= XLAT_SESSION_PERMITS;
	/* Before the session is there, so that the walk finds it from its first moment. */
	XLAT_WRITE(slot->bib, value.bib);
	err = env_session_add(x, &key, &value);
	if (err != 0) {
		x->ending = key;
		if ((value.flags & XLAT_SESSION_PERMITS) != 0)
			xlat_permit_leave(x);
		XLAT_WRITE(slot->bib, 0);
		if (!slab_give(x, XLAT_SLAB_SESSION, number))
			slot->protocol = XLAT_SLOT_LOST;
		return err == -XLAT_EEXIST ? XLAT_CAME_AGAIN : XLAT_CAME_FULL;
	}
	x->session_slot = x->flow.slot = number;
	session_event(x, &key, &value, XLAT_EVENT_SESSION_MADE);
	stats = env_stats(x);
	if (stats != NULL)
		stats->sessions_made++;
	return XLAT_CAME_OK;
}

/* Give back what is held for a session that did not come to be. */
XLAT_PART int xlat_let_go(struct xlat *x)
{
	if (x == NULL || xlat_dry(x))
		return 0;
	if (x->flow.bib != 0)
		xlat_bib_let_go(x, x->flow.bib);
	if (x->flow.subscriber != 0)
		subscriber_leave(x, x->flow.subscriber);
	x->flow.bib = 0;
	x->flow.subscriber = 0;
	return 0;
}

/* Look the session flow.key up. As session_use; NEW also when there is none, and then flow.slot is 0. */
XLAT_PART int xlat_find(struct xlat *x)
{
	const struct xlat_config *c;
	struct xlat_session_key key;
	struct xlat_session *s;

	if (x == NULL)
		return XLAT_CAME_SAID;
	c = env_config(x);
	key = x->flow.key;
	x->flow.slot = 0;
	s = env_session(x, &key);
	return c == NULL || s == NULL ? XLAT_CAME_NEW : session_use(x, c, s);
}

/* No number for a session is free: end some that nobody answered, found at random. 1: there is room now. */
XLAT_PART int xlat_make_room(struct xlat *x)
{
	const struct xlat_slab *s;

	if (x == NULL)
		return 0;
	s = slab_of(x, XLAT_SLAB_SESSION);
	for (int i = 0; i < 4; i++) {
		if (s == NULL || s->count == 0)
			break;
		if (xlat_expire_session(x, env_random(x) % s->count, 1) != 0)
			return 1;
	}
	return 0;
}

/* Begin the session of flow.key, from inside. */
XLAT_INLINE int open_out(struct xlat *x)
{
	int came;

	x->flow.bib = 0;
	x->flow.subscriber = 0;
	x->flow.port4 = 0;
	x->flow.bib_flags = 0;
	x->flow.fixed = 0;
	came = xlat_subscriber_hold(x, 1);
	if (came != XLAT_CAME_OK)
		return came;
	came = xlat_bib_hold(x);
	if (came == XLAT_CAME_NEW)
		came = xlat_bib_make(x);
	if (came == XLAT_CAME_OK)
		came = xlat_session_make(x);
	if (came == XLAT_CAME_FULL && xlat_make_room(x) != 0)
		came = xlat_session_make(x);
	if (came != XLAT_CAME_OK)
		xlat_let_go(x);
	return came;
}

/* What the outside sends to an address of the pool where no mapping is. */
XLAT_INLINE int find_nothing(struct xlat *x, const struct xlat_config *c, __u32 row)
{
	if ((c->pool[row & (XLAT_POOLS_MAX - 1)].flags & XLAT_POOL_SHARED) != 0 && x->ip.family == 4) {
		xlat_say(x, XLAT_PASS, XLAT_R_POOL_SHARED);
		return XLAT_CAME_SAID;
	}
	if (x->flow.key.protocol != XLAT_TCP)
		xlat_answer(x, XLAT_R_NO_MAPPING, x->ip.family == 6 ? 1 : 3, x->ip.family == 6 ? 3 : 1, 0);
	else if (!tcp_begins(x->flow.tcp_flags) || x->ip.family == 6)
		xlat_drop(x, XLAT_R_NO_MAPPING);
	else if ((x->flags & XLAT_FROM_SLOW) != 0)
		xlat_answer(x, XLAT_R_STORED_SYN, 3, 3, 0);
	else
		xlat_say(x, XLAT_SLOW, XLAT_R_STORED_SYN);
	return XLAT_CAME_SAID;
}

/*
 * The mapping of an address and port of the pool: flow.bib, addr4, port4, and flow.key but for the remote port. 0, or -1: there is none;
 * *row: that has the address.
 */
XLAT_INLINE int find_mapping(struct xlat *x, const struct xlat_config *c, __be32 local, __be16 port, __be32 remote, __u8 protocol, __u32 *row)
{
	int found = xlat_row_of(x, local, bpf_ntohs(port));
	const struct xlat_pool *pool;
	struct xlat_bib *b;
	__u32 *entry, number;

	*row = 0;
	x->flow.key.protocol = protocol;
	if (found < 0)
		return -1;
	*row = (__u32)found;
	pool = &c->pool[found & (XLAT_POOLS_MAX - 1)];
	entry = port_entry(x, pool->slot + (bpf_ntohl(local) - pool->first), protocol, bpf_ntohs(port));
	if (entry == NULL)
		return -1;
	number = XLAT_READ(*entry);
	if (number == 0 || (number & XLAT_PORT_RESTS) != 0)
		return -1;
	b = env_bib(x, number);
	if (b == NULL || XLAT_READ(b->refs) == 0)
		return -1;
	for (int i = 0; i < 4; i++)
		x->flow.key.src6[i] = XLAT_READ(b->key.addr6[i]);
	x->flow.key.sport = XLAT_READ(b->key.port6);
	x->flow.key.dst4 = remote;
	x->flow.key.zero = 0;
	x->flow.key.prefix = (__u8)(b->prefix < c->prefix_count ? b->prefix : 0);
	x->flow.addr4 = local;
	x->flow.port4 = port;
	x->flow.bib = number;
	/* A number is given out again only a while after its mapping ended (XLAT_GRACE); the port's entry changed before that. */
	if (b->addr4 != local || b->port4 != port || b->key.protocol != protocol || (b->flags & XLAT_BIB_ENDS) != 0 || XLAT_READ(*entry) != number)
		return -1;
	return 0;
}

/* The next prefix, by which the outside may be known to the inside host. */
XLAT_INLINE void next_prefix(struct xlat *x, const struct xlat_config *c)
{
	x->flow.key.prefix = (__u8)(x->flow.key.prefix + 1u < c->prefix_count ? x->flow.key.prefix + 1u : 0);
}

/*
 * Look the session up from outside: of x->to, which is the packet as IPv4 has it. COME_OK, NEW: a mapping is there (flow.bib, not held) but no
 * session, and the packet may pass the filter; AGAIN, SAID.
 */
XLAT_PART int xlat_find_in(struct xlat *x, __u32 protocol)
{
	const struct xlat_config *c;
	__be16 rport;
	__u32 row;
	int came;

	if (x == NULL)
		return XLAT_CAME_SAID;
	c = env_config(x);
	if (c == NULL)
		return XLAT_CAME_SAID;
	rport = x->to.sport;
	x->flow.slot = 0;
	if (find_mapping(x, c, x->to.dst[0], x->to.dport, x->to.src[0], (__u8)protocol, &row) != 0)
		return find_nothing(x, c, row);
	x->flow.key.dport = protocol == XLAT_ICMP ? 0 : rport;
	if (x->flow.own != 0 && x->flow.own == x->flow.bib) {
		xlat_drop(x, XLAT_R_HAIRPIN_LOOP);
		return XLAT_CAME_SAID;
	}
	xlat_step(x, XLAT_S_BIB, x->flow.bib);
	if (c->prefix[x->flow.key.prefix & (XLAT_PREFIXES_MAX - 1)].global_only && !addr_global4(x->flow.key.dst4)) {
		xlat_drop(x, XLAT_R_WELL_KNOWN_PREFIX);
		return XLAT_CAME_SAID;
	}
	/* The prefix of the mapping first; after the last one it is that again. */
	for (__u32 i = 0; i < XLAT_PREFIXES_MAX; i++) {
		if (i >= c->prefix_count)
			break;
		came = xlat_find(x);
		if (came != XLAT_CAME_NEW)
			return came;
		if (x->flow.slot != 0)
			break;
		next_prefix(x, c);
	}
	if (xlat_permitted(x) != 0)
		return XLAT_CAME_NEW;
	if (protocol != XLAT_TCP)
		xlat_answer(x, XLAT_R_FILTERED, x->ip.family == 6 ? 1 : 3, x->ip.family == 6 ? 1 : 13, 0);
	else if (!tcp_begins(x->flow.tcp_flags))
		xlat_drop(x, XLAT_R_FILTERED);
	else if (x->ip.family == 6 || (x->flags & XLAT_FROM_SLOW) != 0)
		xlat_answer(x, XLAT_R_STORED_SYN, x->ip.family == 6 ? 1 : 3, x->ip.family == 6 ? 4 : 3, 0);
	else
		xlat_say(x, XLAT_SLOW, XLAT_R_STORED_SYN);
	return XLAT_CAME_SAID;
}

/* Begin the session of flow.key on mapping flow.bib, from outside. */
XLAT_INLINE int open_in(struct xlat *x)
{
	int came;

	x->flow.subscriber = 0;
	came = xlat_bib_join(x);
	if (came == XLAT_CAME_OK)
		came = xlat_session_make(x);
	if (came == XLAT_CAME_FULL && xlat_make_room(x) != 0)
		came = xlat_session_make(x);
	if (came != XLAT_CAME_OK)
		xlat_let_go(x);
	return came;
}

XLAT_INLINE bool flow_ftp(struct xlat *x)
{
	const struct xlat_config *c = env_config(x);

	return c != NULL && (c->flags & XLAT_FTP) != 0;
}

/*
 * The packet of flow.key, from inside, to x->to in IPv4: by its session, by a new one, or - TCP that begins nothing - by the mapping alone (3.5.2.2,
 * CLOSED: "SHOULD be translated and forwarded if the security policy allows doing so").
 */
XLAT_PART int xlat_pass_out(struct xlat *x)
{
	int came = XLAT_CAME_AGAIN;

	if (x == NULL)
		return XLAT_CAME_SAID;
	for (int i = 0; i < 3; i++) {
		came = xlat_find(x);
		if (likely(came == XLAT_CAME_OK) || came == XLAT_CAME_SAID)
			break;
		if (came == XLAT_CAME_AGAIN)
			continue;
		x->flow.state = 0;
		if (x->flow.key.protocol == XLAT_TCP) {
			if (!tcp_begins(x->flow.tcp_flags)) {
				came = xlat_bib_look(x);
				if (came == XLAT_CAME_OK)
					break;
				xlat_drop(x, XLAT_R_NO_SESSION);
				return XLAT_CAME_SAID;
			}
			if (x->flow.key.dport == bpf_htons(21) && (x->flags & XLAT_FROM_SLOW) == 0 && flow_ftp(x)) {
				xlat_say(x, XLAT_SLOW, XLAT_R_ALG);
				return XLAT_CAME_SAID;
			}
			x->flow.state = XLAT_V6_INIT;
		}
		came = x->flow.slot != 0 ? xlat_session_renew(x) : XLAT_CAME_NEW;
		if (came == XLAT_CAME_NEW)
			came = open_out(x);
		if (came != XLAT_CAME_AGAIN)
			break;
	}
	if (came == XLAT_CAME_OK)
		session_ends4(x);
	return came;
}

/* The packet of x->to, as IPv4 has it, to x->to in IPv6. */
XLAT_PART int xlat_pass_in(struct xlat *x, __u32 protocol)
{
	int came = XLAT_CAME_AGAIN;

	if (x == NULL)
		return XLAT_CAME_SAID;
	x->flow.inbound = 1;
	for (int i = 0; i < 3; i++) {
		came = xlat_find_in(x, protocol);
		if (likely(came == XLAT_CAME_OK) || came == XLAT_CAME_SAID)
			break;
		if (came == XLAT_CAME_AGAIN)
			continue;
		x->flow.state = 0;
		if (protocol == XLAT_TCP) {
			if (!tcp_begins(x->flow.tcp_flags)) {
				came = XLAT_CAME_OK;
				break;
			}
			x->flow.state = XLAT_V4_INIT;
		}
		came = x->flow.slot != 0 ? xlat_session_renew(x) : XLAT_CAME_NEW;
		/* From outside nobody has an address of the pool but who forges it; answers to it would come back as hairpins. */
		if (came == XLAT_CAME_NEW && x->ip.family == 4 && xlat_row_of(x, x->ip.src[0], 0) >= 0) {
			xlat_drop(x, XLAT_R_HAIRPIN_LOOP);
			return XLAT_CAME_SAID;
		}
		if (came == XLAT_CAME_NEW)
			came = open_in(x);
		if (came != XLAT_CAME_AGAIN)
			break;
	}
	if (came == XLAT_CAME_OK)
		session_ends6(x);
	return came;
}

XLAT_INLINE int stateful_said(struct xlat *x, int came)
{
	if (came == XLAT_CAME_SAID)
		return (int)x->verdict;
	if (came == XLAT_CAME_FULL)
		return xlat_answer(x, XLAT_R_SESSIONS_FULL, x->ip.family == 6 ? 1 : 3, x->ip.family == 6 ? 3 : 1, 0);
	return came == XLAT_CAME_OK ? xlat_say(x, XLAT_TRANSLATE, XLAT_R_NONE) : xlat_drop(x, XLAT_R_CONTENTION);
}

/* A session that exists and lives, found for the packet in an ICMP error: state and timers stay (RFC 6146 3.5, RFC 5508 REQ-6). */
XLAT_PART int xlat_error_find(struct xlat *x)
{
	const struct xlat_config *c;
	struct xlat_session_key key;
	struct xlat_session *s;
	union xlat_session_word w;
	__u32 expires;

	if (x == NULL)
		return 0;
	c = env_config(x);
	key = x->flow.key;
	s = env_session(x, &key);
	if (c == NULL || s == NULL)
		return 0;
	expires = XLAT_READ(s->expires);
	w.word = XLAT_READ(*session_word(s));
	x->flow.addr4 = XLAT_READ(s->addr4);
	x->flow.port4 = w.part.port4;
	x->bib = XLAT_READ(s->bib);
	x->session_slot = XLAT_READ(s->slot);
	if (expires == 0 || XLAT_READ(s->tag) != session_tag(&key) || XLAT_READ(s->expires) != expires ||
	    session_over(x, c, &x->flow.key, expires, w.part.state))
		return 0;
	xlat_step(x, XLAT_S_SESSION, x->session_slot);
	return 1;
}

/* An ICMPv6 error from inside: x->inner came from outside, by a session of its destination. To x->to and x->inner_to in IPv4. */
XLAT_PART int xlat_error_out(struct xlat *x)
{
	const struct xlat_config *c;
	struct xlat_session_key key;
	__u8 protocol;
	__be32 to = 0;

	if (x == NULL)
		return XLAT_CAME_SAID;
	c = env_config(x);
	protocol = session_protocol(x->inner.protocol);
	if (c == NULL || protocol == 0 || x->inner.fragment_at != 0 || prefix_find(c, x->inner.src) != (int)x->prefix ||
	    !prefix_extract(&c->prefix[x->prefix & (XLAT_PREFIXES_MAX - 1)], x->inner.src, &key.dst4) ||
	    !prefix_extract(&c->prefix[x->prefix & (XLAT_PREFIXES_MAX - 1)], x->ip.dst, &to) || to != key.dst4) {
		xlat_drop(x, XLAT_R_ICMP_INNER);
		return XLAT_CAME_SAID;
	}
	addr_set(key.src6, x->inner.dst);
	key.sport = x->inner.dport;
	key.dport = protocol == XLAT_ICMP ? 0 : x->inner.sport;
	key.protocol = protocol;
	key.prefix = (__u8)x->prefix;
	key.zero = 0;
	x->flow.key = key;
	if (xlat_error_find(x) == 0) {
		xlat_drop(x, XLAT_R_ICMP_NO_SESSION);
		return XLAT_CAME_SAID;
	}
	addr_set4(x->to.src, x->flow.addr4);
	addr_set4(x->to.dst, to);
	x->to.sport = x->to.dport = 0;
	x->to.family = 4;
	addr_set4(x->inner_to.src, to);
	addr_set4(x->inner_to.dst, x->flow.addr4);
	x->inner_to.dport = x->flow.port4;
	x->inner_to.sport = protocol == XLAT_ICMP ? x->flow.port4 : x->inner.sport;
	x->inner_to.family = 4;
	xlat_step(x, XLAT_S_ICMP_INNER, 0);
	return XLAT_CAME_OK;
}

/* An ICMPv4 error from outside, x->to about x->inner_to: that one was sent by a session of its source. To the same in IPv6. */
XLAT_PART int xlat_error_in(struct xlat *x, __u32 protocol)
{
	const struct xlat_config *c;
	__be32 router;
	__u32 row;
	int found = 0;

	if (x == NULL)
		return XLAT_CAME_SAID;
	c = env_config(x);
	if (c == NULL || x->to.dst[0] != x->inner_to.src[0]) {
		xlat_drop(x, XLAT_R_ICMP_INNER);
		return XLAT_CAME_SAID;
	}
	if (find_mapping(x, c, x->inner_to.src[0], x->inner_to.sport, x->inner_to.dst[0], (__u8)protocol, &row) != 0) {
		if ((c->pool[row & (XLAT_POOLS_MAX - 1)].flags & XLAT_POOL_SHARED) != 0 && x->ip.family == 4)
			xlat_say(x, XLAT_PASS, XLAT_R_POOL_SHARED);
		else
			xlat_drop(x, XLAT_R_ICMP_NO_SESSION);
		return XLAT_CAME_SAID;
	}
	x->flow.key.dport = protocol == XLAT_ICMP ? 0 : x->inner_to.dport;
	for (__u32 i = 0; i < XLAT_PREFIXES_MAX; i++) {
		if (i >= c->prefix_count)
			break;
		found = xlat_error_find(x);
		if (found != 0)
			break;
		next_prefix(x, c);
	}
	if (found == 0) {
		xlat_drop(x, XLAT_R_ICMP_NO_SESSION);
		return XLAT_CAME_SAID;
	}
	router = x->to.src[0];
	x->prefix = x->flow.key.prefix;
	/* Any router may tell, also one with an address that the well-known prefix must not have otherwise: traces need it (RFC 7915 4.1). */
	prefix_embed(&c->prefix[x->prefix & (XLAT_PREFIXES_MAX - 1)], router, x->to.src);
	addr_set(x->to.dst, x->flow.key.src6);
	x->to.family = 6;
	prefix_embed(&c->prefix[x->prefix & (XLAT_PREFIXES_MAX - 1)], x->flow.key.dst4, x->inner_to.dst);
	addr_set(x->inner_to.src, x->flow.key.src6);
	x->inner_to.sport = x->flow.key.sport;
	if (protocol == XLAT_ICMP)
		x->inner_to.dport = x->flow.key.sport;
	x->inner_to.family = 6;
	xlat_step(x, XLAT_S_ICMP_INNER, 0);
	return XLAT_CAME_OK;
}

/* The pool has the address. */
XLAT_INLINE bool pool_has(struct xlat *x, __be32 address)
{
	return xlat_row_of(x, address, 0) >= 0;
}

/* What goes to an address of the pool from inside comes back (3.8). */
XLAT_INLINE bool hairpins(struct xlat *x)
{
	if (!pool_has(x, x->to.dst[0]))
		return false;
	xlat_step(x, XLAT_S_HAIRPIN, 0);
	x->flags |= XLAT_HAIRPINNED;
	return true;
}

/* The source may use this translator; 0: the verdict is set. */
XLAT_PART int xlat_source_allowed(struct xlat *x)
{
	const struct xlat_config *c;

	if (x == NULL)
		return 0;
	c = env_config(x);
	if (c == NULL)
		return 0;
	if (prefix_find(c, x->ip.src) >= 0) {
		xlat_drop(x, XLAT_R_SOURCE_IN_PREFIX);
		return 0;
	}
	if (addr_special6(x->ip.src)) {
		xlat_drop(x, XLAT_R_SPECIAL_ADDRESS);
		return 0;
	}
	if (c->subscriber_count != 0 && (x->flags & XLAT_INNER) == 0 &&
	    net6_find(c->subscriber, c->subscriber_count, XLAT_SUBSCRIBER_PREFIXES_MAX, x->ip.src) == 0) {
		if ((c->flags & XLAT_ADMIN_PROHIBITED) != 0)
			xlat_answer(x, XLAT_R_SOURCE_FORBIDDEN, 1, 1, 0);
		else
			xlat_drop(x, XLAT_R_SOURCE_FORBIDDEN);
		return 0;
	}
	return 1;
}

XLAT_INLINE int stateful6(struct xlat *x, const struct xlat_config *c)
{
	const struct xlat_prefix *p = &c->prefix[x->prefix & (XLAT_PREFIXES_MAX - 1)];
	__u8 protocol = session_protocol(x->ip.protocol);
	int came;

	if (xlat_source_allowed(x) == 0)
		return (int)x->verdict;
	if ((x->flags & XLAT_INNER) != 0) {
		came = xlat_error_out(x);
		if (came == XLAT_CAME_OK && hairpins(x)) {
			x->flow.inbound = 1;
			came = xlat_error_in(x, x->flow.key.protocol);
		}
		return stateful_said(x, came);
	}
	/* 3.4: other transports; SCTP and DCCP are for stateless translation. */
	if (protocol == 0)
		return xlat_answer(x, XLAT_R_PROTOCOL, 1, 4, 0);
	if (protocol == XLAT_ICMP && !x->ip.query)
		return xlat_drop(x, XLAT_R_ICMP_UNKNOWN);
	if (!prefix_extract(p, x->ip.dst, &x->flow.key.dst4))
		return xlat_drop(x, XLAT_R_U_OCTET);
	if (addr_special4(x->flow.key.dst4))
		return xlat_drop(x, XLAT_R_SPECIAL_ADDRESS);
	if (p->global_only && !addr_global4(x->flow.key.dst4))
		return xlat_drop(x, XLAT_R_WELL_KNOWN_PREFIX);
	addr_set(x->flow.key.src6, x->ip.src);
	x->flow.key.sport = x->ip.sport;
	x->flow.key.dport = protocol == XLAT_ICMP ? 0 : x->ip.dport;
	x->flow.key.protocol = protocol;
	x->flow.key.prefix = (__u8)x->prefix;
	x->flow.key.zero = 0;
	x->flow.inbound = 0;
	x->flow.own = 0;
	x->flow.tcp_flags = x->ip.tcp_flags;
	if (unlikely(pool_has(x, x->flow.key.dst4)) && (c->flags & XLAT_HAIRPIN) == 0)
		return xlat_drop(x, XLAT_R_DESTINATION_UNTRANSLATABLE);
	came = xlat_pass_out(x);
	if (came == XLAT_CAME_OK && unlikely(hairpins(x))) {
		x->flow.own = x->bib;
		came = xlat_pass_in(x, protocol);
	}
	return stateful_said(x, came);
}

XLAT_INLINE int stateful4(struct xlat *x, const struct xlat_config *c)
{
	__u8 protocol;

	x->flow.own = 0;
	x->flow.inbound = 1;
	addr_set4(x->to.src, x->ip.src[0]);
	addr_set4(x->to.dst, x->ip.dst[0]);
	x->to.sport = x->ip.sport;
	x->to.dport = x->ip.dport;
	x->to.family = 4;
	if ((x->flags & XLAT_INNER) != 0) {
		protocol = session_protocol(x->inner.protocol);
		if (protocol == 0 || x->inner.fragment_at != 0)
			return xlat_drop(x, XLAT_R_ICMP_INNER);
		addr_set4(x->inner_to.src, x->inner.src[0]);
		addr_set4(x->inner_to.dst, x->inner.dst[0]);
		x->inner_to.sport = x->inner.sport;
		x->inner_to.dport = x->inner.dport;
		return stateful_said(x, xlat_error_in(x, protocol));
	}
	protocol = session_protocol(x->ip.protocol);
	if (protocol == 0) {
		if ((c->pool[xlat_row_of(x, x->ip.dst[0], 0) & (XLAT_POOLS_MAX - 1)].flags & XLAT_POOL_SHARED) != 0)
			return xlat_say(x, XLAT_PASS, XLAT_R_POOL_SHARED);
		return xlat_answer(x, XLAT_R_PROTOCOL, 3, 2, 0);
	}
	if (protocol == XLAT_ICMP && !x->ip.query)
		return xlat_drop(x, XLAT_R_ICMP_UNKNOWN);
	if (addr_special4(x->ip.src[0]))
		return xlat_drop(x, XLAT_R_SPECIAL_ADDRESS);
	x->flow.tcp_flags = x->ip.tcp_flags;
	return stateful_said(x, xlat_pass_in(x, protocol));
}

/* Fragments of a datagram, apart: their keys are the largest things on the stack here. */
XLAT_PART int xlat_fragment(struct xlat *x)
{
	const struct xlat_config *c;

	if (x == NULL)
		return XLAT_DROP;
	c = env_config(x);
	if (c == NULL)
		return xlat_drop(x, XLAT_R_FRAGMENT_UNKNOWN);
	if (x->ip.fragment_at == 0)
		fragment_lead(x, c, x->verdict == XLAT_TRANSLATE ? XLAT_R_NONE : (enum xlat_reason)x->reason);
	else if (fragment_follow(x) == 0)
		xlat_say(x, XLAT_TRANSLATE, XLAT_R_NONE);
	return (int)x->verdict;
}

XLAT_PART int xlat_stateful(struct xlat *x)
{
	const struct xlat_config *c;

	if (x == NULL)
		return XLAT_DROP;
	c = env_config(x);
	if (c == NULL || c->prefix_count == 0)
		return xlat_drop(x, XLAT_R_NO_SESSION);
	if (x->ip.fragment_at != 0)
		return xlat_fragment(x);
	if (x->ip.family == 6)
		stateful6(x, c);
	else
		stateful4(x, c);
	if (unlikely(x->ip.more) && x->verdict != XLAT_SLOW && x->verdict != XLAT_PASS)
		xlat_fragment(x);
	return (int)x->verdict;
}

/* Numbers below this were given out at some time. */
XLAT_INLINE __u32 walk_end(const struct xlat_control *c)
{
	__u32 end = 1;

	for (int i = 0; i < XLAT_SLABS; i++) {
		__u32 fresh = XLAT_READ(c->slab[i].fresh);

		if (fresh > c->slab[i].count)
			fresh = c->slab[i].count;
		if (fresh > end)
			end = fresh;
	}
	return end;
}

XLAT_PART int xlat_walk_step(struct xlat *x)
{
	struct xlat_control *c;
	__u32 at;

	if (x == NULL)
		return 1;
	c = env_control(x);
	if (c == NULL)
		return 1;
	at = __sync_fetch_and_add(&c->slab[XLAT_SLAB_SESSION].cursor, 1);
	if (at >= walk_end(c)) {
		XLAT_WRITE(c->slab[XLAT_SLAB_SESSION].cursor, 1);
		return 1;
	}
	xlat_expire_session(x, at, 1);
	xlat_expire_bib(x, at);
	xlat_expire_subscriber(x, at);
	return 0;
}

/* A mapping by hand or by the ALG, core/call.h. */
XLAT_INLINE int call_bib_add(struct xlat *x, const struct xlat_config *c)
{
	const struct xlat_bib *want = &x->call.bib;
	__u16 kind = want->flags & (XLAT_BIB_STATIC | XLAT_BIB_ALG);
	const struct xlat_pool *row;
	struct xlat_bib *b;
	int found, came;

	if ((kind != XLAT_BIB_STATIC && kind != XLAT_BIB_ALG) || session_protocol(want->key.protocol) != want->key.protocol ||
	    want->key.protocol == 0 || want->key.port6 == 0 || (want->addr4 == 0 && want->port4 != 0))
		return -XLAT_EINVAL;
	xlat_zero(&x->flow, sizeof(x->flow));
	addr_set(x->flow.key.src6, want->key.addr6);
	x->flow.key.sport = want->key.port6;
	x->flow.key.protocol = want->key.protocol;
	x->flow.bib_flags = kind;
	x->flow.bib_expires = kind == XLAT_BIB_ALG ? xlat_tick(want->expires) : 0;
	if (xlat_bib_look(x) == XLAT_CAME_OK && kind == XLAT_BIB_STATIC)
		return -XLAT_EEXIST;
	x->flow.bib = 0;
	x->flow.port4 = want->port4;
	if (want->addr4 != 0) {
		found = xlat_row_of(x, want->addr4, bpf_ntohs(want->port4));
		if (found < 0)
			return -XLAT_EADDRNOTAVAIL;
		row = &c->pool[found & (XLAT_POOLS_MAX - 1)];
		/* Ports outside the rows are the host's own, or nobody's; identifiers are not divided. */
		if (want->port4 != 0 && want->key.protocol != XLAT_ICMP &&
		    (bpf_ntohs(want->port4) < row->port_first || bpf_ntohs(want->port4) > row->port_last))
			return -XLAT_EADDRNOTAVAIL;
		x->flow.addr4 = want->addr4;
		x->flow.pool_slot = row->slot + (bpf_ntohl(want->addr4) - row->first);
		x->flow.port_first = row->port_first;
		x->flow.port_last = row->port_last;
		x->flow.fixed = 1;
	}
	if (kind == XLAT_BIB_ALG) {
		came = xlat_subscriber_hold(x, 0);
		if (came != XLAT_CAME_OK)
			return came == XLAT_CAME_SAID ? -XLAT_ENOSPC : -XLAT_EAGAIN;
		/* Endpoint-independent: what is there serves the ALG as well, if it is where it asks for. */
		came = xlat_bib_hold(x);
		if (came == XLAT_CAME_NEW)
			came = xlat_bib_make(x);
		else if (came == XLAT_CAME_OK)
			came = bib_keep(x);
		subscriber_leave(x, x->flow.subscriber);
	} else {
		came = xlat_bib_make(x);
	}
	if (came != XLAT_CAME_OK)
		return came == XLAT_CAME_NEW ? -XLAT_EADDRINUSE : came == XLAT_CAME_SAID ? -XLAT_ENOSPC : -XLAT_EAGAIN;
	b = env_bib(x, x->flow.bib);
	if (b == NULL)
		return -XLAT_EAGAIN;
	xlat_copy(&x->call.bib, b, sizeof(*b));
	return 0;
}

XLAT_INLINE int call_bib_remove(struct xlat *x)
{
	int came;

	xlat_zero(&x->flow, sizeof(x->flow));
	addr_set(x->flow.key.src6, x->call.bib.key.addr6);
	x->flow.key.sport = x->call.bib.key.port6;
	x->flow.key.protocol = x->call.bib.key.protocol;
	came = xlat_bib_look(x);
	if (came != XLAT_CAME_OK)
		return came == XLAT_CAME_NEW ? -XLAT_ENOENT : -XLAT_EAGAIN;
	xlat_bib_end(x, x->flow.bib);
	return 0;
}

XLAT_INLINE int call_session(struct xlat *x)
{
	struct xlat_session_key key = x->call.session;
	union xlat_session_word w, n;
	struct xlat_session *s;
	__u32 number;

	key.zero = 0;
	s = env_session(x, &key);
	if ((key.protocol & XLAT_PERMIT) != 0 || s == NULL)
		return -XLAT_ENOENT;
	x->call.session_expires = XLAT_READ(s->expires);
	number = XLAT_READ(s->slot);
	if (x->call.op == XLAT_CALL_SESSION_END) {
		x->ending = key;
		return xlat_session_end(x, number, 2) != 0 ? 0 : -XLAT_ENOENT;
	}
	for (int i = 0; i < XLAT_TRIES; i++) {
		w.word = XLAT_READ(*session_word(s));
		n = w;
		n.part.flags = (__u8)(x->call.count != 0 ? w.part.flags | XLAT_SESSION_ALG : w.part.flags & ~XLAT_SESSION_ALG);
		if (xlat_swap(session_word(s), w.word, n.word))
			return 0;
	}
	return -XLAT_EAGAIN;
}

XLAT_PART int xlat_call_run(struct xlat *x)
{
	const struct xlat_config *c;
	const struct xlat_control *control;
	struct xlat_slow_key slow;
	__u32 end, turns;

	if (x == NULL)
		return 0;
	c = env_config(x);
	control = env_control(x);
	if (c == NULL || control == NULL)
		return 0;
	end = walk_end(control);
	/* What an earlier plan on this desk left: XLAT_DRY would make changes void, and a mark choose another pool. The ALG's is its packet's. */
	if (x->call.op != XLAT_CALL_SLOW)
		x->flags = 0;
	if (x->call.op == XLAT_CALL_BIB_ADD && (x->call.bib.flags & XLAT_BIB_STATIC) != 0)
		x->mark = 0;
	switch (x->call.op) {
	case XLAT_CALL_BIB_ADD:
		x->call.result = call_bib_add(x, c);
		return 0;
	case XLAT_CALL_BIB_REMOVE:
		x->call.result = call_bib_remove(x);
		x->call.count = 0;
		return x->call.result == 0 ? (int)end : 0;
	case XLAT_CALL_SESSION_END:
	case XLAT_CALL_ALG:
		x->call.result = call_session(x);
		return 0;
	case XLAT_CALL_DRAIN:
		if (x->call.count >= end) {
			x->call.result = 0;
			return 0;
		}
		turns = end - x->call.count < XLAT_DRAIN_PART ? end - x->call.count : XLAT_DRAIN_PART;
		x->flow.own = x->call.count;
		x->call.count += turns;
		x->call.result = (__s32)(end - x->call.count);
		return (int)turns;
	case XLAT_CALL_WALK:
		x->call.result = 0;
		return (int)(x->call.count & 0x7fffff);
	case XLAT_CALL_SLOW:
		addr_set(slow.src, x->ip.src);
		addr_set(slow.dst, x->ip.dst);
		slow.family = x->ip.family;
		slow.protocol = x->ip.protocol;
		slow.zero[0] = slow.zero[1] = 0;
		env_slow_put(x, &slow, x->now + x->call.count);
		x->call.result = 0;
		return 0;
	default:
		x->call.result = -XLAT_EINVAL;
		return 0;
	}
}

XLAT_PART int xlat_call_visit(struct xlat *x, __u32 turn)
{
	struct xlat_slot *slot;
	struct xlat_bib *b;
	__u32 number, bib;

	if (x == NULL)
		return 0;
	if (x->call.op == XLAT_CALL_WALK)
		return xlat_walk_step(x);
	number = x->call.op == XLAT_CALL_DRAIN ? x->flow.own + turn : turn;
	slot = env_slot(x, number);
	bib = slot != NULL ? XLAT_READ(slot->bib) : 0;
	if (x->call.op == XLAT_CALL_BIB_REMOVE)
		return bib != 0 && bib == x->flow.bib ? xlat_expire_session(x, number, 2) : 0;
	if (x->call.op != XLAT_CALL_DRAIN)
		return 0;
	b = env_bib(x, bib);
	if (bib != 0 && b != NULL && b->slot == x->call.slot)
		xlat_expire_session(x, number, 2);
	b = env_bib(x, number);
	if (number != 0 && b != NULL && XLAT_READ(b->refs) != 0 && b->slot == x->call.slot)
		xlat_bib_end(x, number);
	return 0;
}
