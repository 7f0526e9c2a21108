/* Tables, clock and seed of the native home, and its events. Plans and calls: plan.c. Consistency: verify.c. */
#include <errno.h>
#include <stdlib.h>

#include "nat64/native/private.h"

/* Tables of pool addresses are made when a row first names them; they are never taken away, as in the kernel. */
static int pools_make(struct xlat_tables *t, const struct xlat_config *c)
{
	/* Without state, rows are only destinations: any number of addresses. */
	if (c->mode != XLAT_NAT64)
		return 0;
	for (uint32_t row = 0; row < c->pool_count && row < XLAT_POOLS_MAX; row++) {
		for (uint32_t k = 0; k < c->pool[row].count; k++) {
			uint32_t slot = c->pool[row].slot + k;
			if (slot >= XLAT_POOL_ADDRESSES_MAX || t->pool[slot] != NULL)
				continue;
			t->pool[slot] = calloc(XLAT_POOL_GROUPS, sizeof(*t->pool[slot]));
			if (t->pool[slot] == NULL)
				return -ENOMEM;
		}
	}
	return 0;
}

static int tables_make(struct xlat_tables *t, const struct xlat_native_sizes *sizes)
{
	uint32_t counts[XLAT_SLABS] = { sizes->sessions + 1, sizes->bibs + 1, sizes->subscribers + 1 };

	t->control.abi = XLAT_STATE_ABI;
	t->control.clock_fixed = 1;
	t->control.random_fixed = 1;
	t->control.clock_ns = 1000000000;
	for (uint32_t i = 0; i < XLAT_SLABS; i++) {
		t->control.slab[i].count = counts[i];
		t->control.slab[i].fresh = 1;
	}
	t->slot = calloc(counts[XLAT_SLAB_SESSION], sizeof(*t->slot));
	t->bib = calloc(counts[XLAT_SLAB_BIB], sizeof(*t->bib));
	t->subscriber = calloc(counts[XLAT_SLAB_SUBSCRIBER], sizeof(*t->subscriber));
	if (t->slot == NULL || t->bib == NULL || t->subscriber == NULL)
		return -ENOMEM;
	int err = xlat_hash_init(&t->session, sizeof(struct xlat_session_key), sizeof(struct xlat_session), 2 * counts[XLAT_SLAB_SESSION], false);
	if (err == 0)
		err = xlat_hash_init(&t->bib6, sizeof(struct xlat_bib6_key), sizeof(uint32_t), counts[XLAT_SLAB_BIB], false);
	if (err == 0)
		err = xlat_hash_init(&t->subscriber6, sizeof(struct xlat_subscriber_key), sizeof(uint32_t), counts[XLAT_SLAB_SUBSCRIBER], false);
	if (err == 0)
		err = xlat_hash_init(&t->fragment, sizeof(struct xlat_fragment_key), sizeof(struct xlat_fragment), sizes->fragments + 1, true);
	if (err == 0)
		err = xlat_hash_init(&t->slow, sizeof(struct xlat_slow_key), sizeof(uint32_t), sizes->fragments + 1, true);
	return err;
}

static void tables_free(struct xlat_tables *t)
{
	if (t == NULL)
		return;
	xlat_hash_done(&t->session);
	xlat_hash_done(&t->bib6);
	xlat_hash_done(&t->subscriber6);
	xlat_hash_done(&t->fragment);
	xlat_hash_done(&t->slow);
	free(t->slot);
	free(t->bib);
	free(t->subscriber);
	free(t->eam);
	for (uint32_t i = 0; i < XLAT_POOL_ADDRESSES_MAX; i++)
		free(t->pool[i]);
	free(t);
}

int xlat_native_new(const struct xlat_config *config, const struct xlat_native_sizes *sizes, struct xlat_native **out)
{
	struct xlat_native *n = calloc(1, sizeof(*n));

	if (n == NULL)
		return -ENOMEM;
	n->env.t = calloc(1, sizeof(*n->env.t));
	n->env.events = calloc(XLAT_NATIVE_EVENTS, sizeof(*n->env.events));
	n->owner = true;
	int err = n->env.t != NULL && n->env.events != NULL ? tables_make(n->env.t, sizes) : -ENOMEM;
	if (err == 0)
		err = xlat_native_configure(n, config);
	if (err != 0) {
		xlat_native_free(n);
		return err;
	}
	*out = n;
	return 0;
}

int xlat_native_processor(struct xlat_native *of, uint64_t seed, struct xlat_native **out)
{
	struct xlat_native *n = calloc(1, sizeof(*n));

	if (n == NULL)
		return -ENOMEM;
	n->env.t = of->env.t;
	n->env.random = seed;
	*out = n;
	return 0;
}

void xlat_native_free(struct xlat_native *n)
{
	if (n == NULL)
		return;
	if (n->owner)
		tables_free(n->env.t);
	free(n->env.events);
	free(n);
}

int xlat_native_configure(struct xlat_native *n, const struct xlat_config *config)
{
	struct xlat_tables *t = n->env.t;
	uint32_t bank = !t->control.bank;

	t->config[bank] = *config;
	int err = pools_make(t, config);
	if (err == 0) {
		t->control.generation++;
		__atomic_store_n(&t->control.bank, bank, __ATOMIC_RELEASE);
	}
	return err;
}

int xlat_native_eam(struct xlat_native *n, const struct xlat_eam *eam)
{
	struct xlat_tables *t = n->env.t;

	for (uint32_t i = 0; i < t->eam_count; i++) {
		const struct xlat_eam *e = &t->eam[i];
		if (e->bits6 == eam->bits6 && env_matches(e->addr6, eam->addr6, e->bits6))
			return -EEXIST;
		if (e->bits4 == eam->bits4 && env_matches(&e->addr4, &eam->addr4, e->bits4))
			return -EEXIST;
	}
	if (t->eam_count == t->eam_room) {
		uint32_t room = t->eam_room * 2 + 16;
		struct xlat_eam *more = reallocarray(t->eam, room, sizeof(*more));
		if (more == NULL)
			return -ENOMEM;
		t->eam = more;
		t->eam_room = room;
	}
	t->eam[t->eam_count++] = *eam;
	return 0;
}

void xlat_native_clock(struct xlat_native *n, uint64_t ns)
{
	n->env.t->control.clock_ns = ns;
}

void xlat_native_seed(struct xlat_native *n, uint64_t seed)
{
	n->env.t->control.random = seed;
}

struct xlat_control *xlat_native_control(struct xlat_native *n)
{
	return &n->env.t->control;
}

const struct xlat_stats *xlat_native_stats(const struct xlat_native *n)
{
	return &n->env.stats;
}

void xlat_native_enter(struct xlat_native *n, struct xlat *x)
{
	x->env = (uintptr_t)&n->env;
	x->now = (uint32_t)(n->env.t->control.clock_ns >> XLAT_TICK_SHIFT);
	x->bank = __atomic_load_n(&n->env.t->control.bank, __ATOMIC_ACQUIRE);
}

void xlat_native_begin(struct xlat_native *n, struct xlat *x, struct slice packet)
{
	memset(x, 0, sizeof(*x));
	xlat_native_enter(n, x);
	x->packet_bytes = (uint32_t)packet.len;
	x->in_bytes = packet.len < XLAT_BYTES ? (uint32_t)packet.len : XLAT_BYTES;
	if (x->in_bytes != 0) {
		memcpy(x->in, packet.ptr, x->in_bytes);
		x->family = packet.ptr[0] >> 4;
	}
}

bool xlat_native_event(struct xlat_native *n, struct xlat_event *out)
{
	struct xlat_env *e = &n->env;

	if (e->event_count == 0)
		return false;
	*out = e->events[e->event_first];
	e->event_first = (e->event_first + 1) % XLAT_NATIVE_EVENTS;
	e->event_count--;
	return true;
}
