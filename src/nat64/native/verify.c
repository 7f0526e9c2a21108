/*
 * Whether the tables agree with each other: what must hold whenever no packet is on its way. Tests and the fuzzer ask after each
 * series of packets.
 */
#include <errno.h>
#include <stdlib.h>

#include "nat64/native/private.h"
#include "nat64/core/session.h"

struct counts {
	uint32_t *refs;			/* of each mapping, by sessions */
	uint32_t *sessions, *mappings;	/* of each subscriber */
	uint32_t slots, permits, permitted;
	uint64_t ports;			/* entries that name a mapping */
	uint64_t used;			/* uses of blocks */
};

static int check_sessions(struct xlat_tables *t, struct counts *n, struct errmsg *why)
{
	const uint32_t sessions = t->control.slab[XLAT_SLAB_SESSION].count, bibs = t->control.slab[XLAT_SLAB_BIB].count;
	uint32_t bucket = 0, entry = 0;
	const uint8_t *at;

	while ((at = xlat_hash_each(&t->session, &bucket, &entry)) != NULL) {
		struct xlat_session_key key;
		struct xlat_session s;
		memcpy(&key, at, sizeof(key));
		memcpy(&s, at + sizeof(key), sizeof(s));
		if ((key.protocol & XLAT_PERMIT) != 0) {
			n->permits += s.expires;
			continue;
		}
		n->permitted += (s.flags & XLAT_SESSION_PERMITS) != 0;
		if (s.expires == 0)
			return errmsg_say(why, -EBADMSG, "a session is left as being ended");
		if (s.bib == 0 || s.bib >= bibs || s.slot == 0 || s.slot >= sessions)
			return errmsg_say(why, -EBADMSG, "a session has mapping %u and slot %u", s.bib, s.slot);
		if (s.tag != session_tag(&key))
			return errmsg_say(why, -EBADMSG, "session %u has the tag of another", s.slot);
		const struct xlat_bib *b = &t->bib[s.bib];
		const struct xlat_slot *slot = &t->slot[s.slot];
		if (!bib_is(b, &key) || b->addr4 != s.addr4 || b->port4 != s.port4 || b->subscriber != s.subscriber)
			return errmsg_say(why, -EBADMSG, "session %u and its mapping %u differ", s.slot, s.bib);
		if (slot->bib != s.bib || slot->dst4 != key.dst4 || slot->dport != key.dport || slot->protocol != key.protocol ||
		    slot->prefix != key.prefix)
			return errmsg_say(why, -EBADMSG, "session %u and its slot differ", s.slot);
		if (key.protocol == XLAT_TCP ? s.state == XLAT_CLOSED || s.state >= XLAT_TCP_STATES : s.state != 0)
			return errmsg_say(why, -EBADMSG, "session %u of protocol %u has state %u", s.slot, key.protocol, s.state);
		n->refs[s.bib]++;
		n->sessions[s.subscriber]++;
		n->slots++;
	}
	if (n->permits != n->permitted)
		return errmsg_say(why, -EBADMSG, "%u sessions count in permissions, which count %u", n->permitted, n->permits);
	return 0;
}

/* A free list: no number twice; returns how many, or -1. */
static int64_t check_free(struct xlat_tables *t, enum xlat_slab_id id, uint8_t *seen)
{
	const struct xlat_slab *s = &t->control.slab[id];
	int64_t count = 0;

	for (uint32_t number = (uint32_t)s->free; number != 0; count++) {
		if (number >= s->count || number >= s->fresh || seen[number]++ != 0)
			return -1;
		number = id == XLAT_SLAB_SESSION ? t->slot[number].next : id == XLAT_SLAB_BIB ? t->bib[number].next : t->subscriber[number].next;
	}
	return count;
}

static int check_slab(struct xlat_tables *t, enum xlat_slab_id id, uint32_t live, struct errmsg *why)
{
	static const char *const names[] = { "sessions", "mappings", "subscribers" };
	const struct xlat_slab *s = &t->control.slab[id];
	uint32_t fresh = s->fresh < s->count ? s->fresh : s->count;
	uint8_t *seen = calloc(s->count, 1);

	if (seen == NULL)
		return errmsg_set(why, -ENOMEM, "looking at %s", names[id]);
	int64_t list = check_free(t, id, seen);
	free(seen);
	if (list < 0)
		return errmsg_say(why, -EBADMSG, "the free list of %s has a number twice, or one that never was", names[id]);
	if (s->used != live)
		return errmsg_say(why, -EBADMSG, "%u %s are counted, %u there", s->used, names[id], live);
	if ((uint64_t)list + live != fresh - 1)
		return errmsg_say(why, -EBADMSG, "of %u %s %lld are free and %u in use", fresh - 1, names[id], (long long)list, live);
	return 0;
}

static int check_bib(struct xlat_tables *t, const struct xlat_bib *b, uint32_t number, struct counts *n, struct errmsg *why)
{
	uint32_t held = n->refs[number] + ((b->flags & (XLAT_BIB_STATIC | XLAT_BIB_ALG)) != 0 ? 1 : 0);

	if (b->refs != held)
		return errmsg_say(why, -EBADMSG, "mapping %u is held %u times, %u is right", number, b->refs, held);
	const uint32_t *six = xlat_hash_find(&t->bib6, &b->key);
	if (six == NULL || *six != number)
		return errmsg_say(why, -EBADMSG, "mapping %u is not found by its inside address", number);
	if (b->slot >= XLAT_POOL_ADDRESSES_MAX || t->pool[b->slot] == NULL)
		return errmsg_say(why, -EBADMSG, "mapping %u has pool slot %u", number, b->slot);
	uint32_t at = port_class(b->key.protocol) * 65536u + be16toh(b->port4);
	if (t->pool[b->slot][at / XLAT_GROUP_PORTS].port[at % XLAT_GROUP_PORTS] != number)
		return errmsg_say(why, -EBADMSG, "the port of mapping %u names another", number);
	n->used += b->block != 0;
	n->mappings[b->subscriber]++;
	return 0;
}

static int check_bibs(struct xlat_tables *t, struct counts *n, struct errmsg *why)
{
	const struct xlat_slab *s = &t->control.slab[XLAT_SLAB_BIB];
	uint32_t live = 0, waiting = 0;
	int err;

	for (uint32_t number = 1; number < s->count; number++) {
		const struct xlat_bib *b = &t->bib[number];
		if (b->refs == 0) {
			if (n->refs[number] != 0)
				return errmsg_say(why, -EBADMSG, "dead mapping %u has sessions", number);
			waiting += (b->flags & XLAT_BIB_DEAD) != 0;
			continue;
		}
		live++;
		err = check_bib(t, b, number, n, why);
		if (err != 0)
			return err;
	}
	if (t->bib6.used != live)
		return errmsg_say(why, -EBADMSG, "%u mappings, %u inside addresses", live, t->bib6.used);
	n->ports = live;
	return check_slab(t, XLAT_SLAB_BIB, live + waiting, why);
}

/* Nearly all groups were never touched, and looking at each port of them would be most of the time of a fuzzer. */
static uint32_t ports_taken(const struct xlat_port_group *g)
{
	static const struct xlat_port_group zero;
	uint32_t n = 0;

	if (memcmp(g, &zero, sizeof(zero)) == 0)
		return 0;
	for (uint32_t i = 0; i < XLAT_GROUP_PORTS; i++)
		n += g->port[i] != 0 && (g->port[i] & XLAT_PORT_RESTS) == 0;
	return n;
}

static int check_pools(struct xlat_tables *t, const struct counts *n, struct errmsg *why)
{
	uint64_t ports = 0, used = 0;

	for (uint32_t slot = 0; slot < XLAT_POOL_ADDRESSES_MAX; slot++) {
		if (t->pool[slot] == NULL)
			continue;
		for (uint32_t i = 0; i < XLAT_GROUPS; i++)
			ports += ports_taken(&t->pool[slot][i]);
		for (uint32_t i = 0; i < XLAT_BLOCKS_ADDRESS; i++) {
			const struct xlat_block *b = &t->pool[slot][XLAT_GROUPS + i / XLAT_GROUP_BLOCKS].block[i % XLAT_GROUP_BLOCKS];
			used += b->used;
			if (b->used != 0 && (b->owner == 0 || (b->owner & XLAT_PORT_RESTS) != 0))
				return errmsg_say(why, -EBADMSG, "block %u of slot %u is in use and nobody's", i, slot);
			if (b->owner == 0 || (b->owner & XLAT_PORT_RESTS) != 0)
				continue;
			const struct xlat_subscriber *s = &t->subscriber[b->owner];
			bool listed = false;
			for (uint32_t k = 0; k < XLAT_BLOCKS_MAX; k++)
				listed = listed || (s->block[k] == i + 1 && s->block_slot[k] == slot);
			if (s->state != 1 || !listed)
				return errmsg_say(why, -EBADMSG, "block %u of slot %u is not on the list of subscriber %u", i, slot, b->owner);
		}
	}
	if (ports != n->ports)
		return errmsg_say(why, -EBADMSG, "%llu ports are in use by %llu mappings", (unsigned long long)ports, (unsigned long long)n->ports);
	if (used != n->used)
		return errmsg_say(why, -EBADMSG, "blocks count %llu ports, mappings %llu", (unsigned long long)used, (unsigned long long)n->used);
	return 0;
}

static int check_subscribers(struct xlat_tables *t, const struct counts *n, struct errmsg *why)
{
	const struct xlat_slab *slab = &t->control.slab[XLAT_SLAB_SUBSCRIBER];
	uint32_t live = 0, waiting = 0;

	for (uint32_t number = 1; number < slab->count; number++) {
		const struct xlat_subscriber *s = &t->subscriber[number];
		if (s->busy != 0)
			return errmsg_say(why, -EBADMSG, "subscriber %u is left busy", number);
		if (s->state != 1) {
			if (n->sessions[number] != 0 || n->mappings[number] != 0)
				return errmsg_say(why, -EBADMSG, "subscriber %u ended and has sessions", number);
			waiting += s->state == 2;
			continue;
		}
		live++;
		if (s->sessions != n->sessions[number] || s->mappings != n->mappings[number])
			return errmsg_say(why, -EBADMSG, "subscriber %u counts %u sessions and %u mappings, it has %u and %u", number, s->sessions,
					  s->mappings, n->sessions[number], n->mappings[number]);
		struct xlat_subscriber_key key;
		memcpy(key.addr, s->addr, sizeof(key.addr));
		const uint32_t *found = xlat_hash_find(&t->subscriber6, &key);
		if (found == NULL || *found != number)
			return errmsg_say(why, -EBADMSG, "subscriber %u is not found by its address", number);
	}
	if (t->subscriber6.used != live)
		return errmsg_say(why, -EBADMSG, "%u subscribers, %u addresses", live, t->subscriber6.used);
	return check_slab(t, XLAT_SLAB_SUBSCRIBER, live + waiting, why);
}

int xlat_native_verify(struct xlat_native *native, struct errmsg *why)
{
	struct xlat_tables *t = native->env.t;
	struct counts n = { 0 };
	int err = -ENOMEM;

	n.refs = calloc(t->control.slab[XLAT_SLAB_BIB].count, sizeof(*n.refs));
	n.sessions = calloc(t->control.slab[XLAT_SLAB_SUBSCRIBER].count, sizeof(*n.sessions));
	n.mappings = calloc(t->control.slab[XLAT_SLAB_SUBSCRIBER].count, sizeof(*n.mappings));
	if (n.refs != NULL && n.sessions != NULL && n.mappings != NULL) {
		err = check_sessions(t, &n, why);
		if (err == 0)
			err = check_slab(t, XLAT_SLAB_SESSION, n.slots, why);
		if (err == 0)
			err = check_bibs(t, &n, why);
		if (err == 0)
			err = check_pools(t, &n, why);
		if (err == 0)
			err = check_subscribers(t, &n, why);
	}
	free(n.refs);
	free(n.sessions);
	free(n.mappings);
	return err;
}
