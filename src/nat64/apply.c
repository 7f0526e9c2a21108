/*
 * The order of a change. Each step leaves something that the next command understands:
 *
 *	a new instance	  maps, programs, device; then the record says that it is complete; bank, flip, attachments
 *	one that runs	  bank; new attachments; flip; static mappings; pool addresses that go; old attachments
 *
 * What fails before the flip changes nothing; a new instance that fails is taken away again.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "nat64/host.h"
#include "nat64/instance_private.h"
#include "nat64/run_private.h"
#include "nat64/tc.h"
#include "spine/pins.h"

#define WALK_PERIOD_MS	10u
#define WALK_ROUND_MS	10000u		/* the whole slab once in this time, if the batch allows it */
#define WALK_BATCH_MIN	256u
/*
 * The timer holds up packets of its processor: with cold caches an entry takes up to 1 us. Larger tables are walked in more
 * time.
 */
#define WALK_BATCH_MAX	1024u
#define SETTINGS_BYTES	(64u << 20)

/* --- what the settings leave to the host ------------------------------------------------------------- */

/* A prefix that is still to be learnt: the one that was learnt now, else the one that is in force stays until then. */
static void keep_prefix(const struct xlat_config *old, const struct xlat_prefix *learnt, struct nat64_settings *s)
{
	if (s->config.mode != XLAT_CLAT || s->pref64_source == NAT64_PREF64_FIXED)
		return;
	if (learnt != NULL) {
		s->config.prefix[0] = *learnt;
		s->config.prefix_count = learnt->bits != 0 ? 1 : 0;
		return;
	}
	if (s->config.prefix_count != 0 || old->serial == 0)
		return;
	memcpy(s->config.prefix, old->prefix, sizeof(s->config.prefix));
	s->config.prefix_count = old->prefix_count;
}

/* The pair of the host's own CLAT address, as an explicit mapping. */
static int add_own_mapping(struct arena *arena, struct nat64_settings *s)
{
	struct xlat_eam *list;

	for (size_t i = 0; i < s->eam_count; i++)
		if (s->eams[i].bits4 == 32 && s->eams[i].addr4 == s->clat4)
			return 0;
	list = arena_array(arena, s->eam_count + 1, sizeof(*list));
	if (list == NULL)
		return -ENOMEM;
	if (s->eam_count > 0)
		memcpy(list, s->eams, s->eam_count * sizeof(*list));
	list[s->eam_count] = (struct xlat_eam){ .addr4 = s->clat4, .bits4 = 32, .bits6 = 128 };
	memcpy(list[s->eam_count].addr6, s->clat6, sizeof(s->clat6));
	s->eams = list;
	s->eam_count++;
	return 0;
}

static int complete_clat(struct nat64 *n, struct arena *arena, struct nat64_settings *s, struct errmsg *why)
{
	struct nat64_uplink uplink;
	int err;

	if (s->config.mode != XLAT_CLAT || !s->host_traffic || s->clat4 == 0)
		return 0;
	if (nat64_is_zero6(s->clat6) && s->clat6_from_uplink && s->config.prefix_count > 0) {
		err = nat64_uplink_look(s->uplink, &uplink, why);
		if (err != 0)
			return err;
		if (uplink.has_prefix)
			nat64_clat6(uplink.prefix, &s->config.prefix[0], s->clat4, n->config.key, uplink.refused ? 1 : 0, s->clat6);
	}
	/* Without an address yet nothing of the host's is translated; the daemon applies again when the uplink has one. */
	if (nat64_is_zero6(s->clat6))
		return 0;
	return add_own_mapping(arena, s) == 0 ? 0 : errmsg_set(why, -ENOMEM, "apply the settings");
}

static int complete(struct nat64 *n, struct arena *arena, const struct nat64_settings *settings, const struct xlat_prefix *learnt,
		    struct nat64_settings *out, struct errmsg *why)
{
	int err = n->exists ? bank_read(n, why) : 0;

	*out = *settings;
	if (err != 0)
		return err;
	keep_prefix(&n->config, learnt, out);
	return complete_clat(n, arena, out, why);
}

/* --- a new one -------------------------------------------------------------------------------------------- */

static int make_alive(struct nat64 *n, struct errmsg *why)
{
	uint32_t key = n->record.tap_ifindex, value = key;
	AUTO_FD int fd = bpf_map_create(BPF_MAP_TYPE_DEVMAP_HASH, "nat64_alive", 4, 4, 1, NULL);
	int err = fd < 0 || bpf_map_update_elem(fd, &key, &value, BPF_ANY) != 0 ? -errno : pin_remove(n->dir, "alive");

	if (err == 0)
		err = pin_set(n->dir, "alive", fd);
	return err == 0 ? 0 : errmsg_set(why, err, "note the device of translator '%s'", n->name);
}

static void init_slab(struct xlat_slab *slab, uint32_t entries)
{
	*slab = (struct xlat_slab){ .fresh = 1, .count = entries + 1 };
}

static void init_control(struct nat64 *n, const struct nat64_sizes *sizes)
{
	struct xlat_control *c = n->control;
	uint32_t batch = (uint32_t)((uint64_t)sizes->sessions * WALK_PERIOD_MS / WALK_ROUND_MS);

	c->abi = XLAT_STATE_ABI;
	c->walk_period_ms = WALK_PERIOD_MS;
	c->walk_batch = MIN(MAX(batch, WALK_BATCH_MIN), WALK_BATCH_MAX);
	init_slab(&c->slab[XLAT_SLAB_SESSION], sizes->sessions);
	init_slab(&c->slab[XLAT_SLAB_BIB], sizes->mappings);
	init_slab(&c->slab[XLAT_SLAB_SUBSCRIBER], sizes->subscribers);
}

/* The device may have been removed by hand. */
static int set_device(struct nat64 *n, struct errmsg *why)
{
	uint32_t ifindex;
	int err = device_make_tap(n->name, &ifindex, why);

	if (err != 0)
		return err;
	if (n->record.tap_ifindex != ifindex || n->control->slow_ifindex != ifindex) {
		n->record.tap_ifindex = ifindex;
		err = make_alive(n, why);
		if (err == 0 && n->exists)
			err = instance_write_record(n, why);
	}
	n->control->slow_ifindex = ifindex;
	n->control->lookup_ifindex = ifindex;
	return err;
}

static int start_timer(struct nat64 *n, struct errmsg *why)
{
	struct xlat_call call = { .op = XLAT_CALL_TIMER, .desk = XLAT_DESK_COMMAND };
	int err = nat64_call(n, &call, why);

	if (err == 0 && call.result < 0)
		err = errmsg_set(why, call.result, "start the timer of translator '%s'", n->name);
	return err;
}

static int make_new(struct nat64 *n, const struct nat64_settings *s, struct errmsg *why)
{
	int err = instance_wipe(n, why);

	nat64_step(n, "wiped");
	if (err == 0)
		err = objects_make(n, s, why);
	if (err == 0)
		err = instance_map(n, why);
	if (err != 0)
		return err;
	init_control(n, &s->sizes);
	n->record = (struct nat64_record){ .abi = NAT64_RECORD_ABI, .state_abi = XLAT_STATE_ABI, .sizes = s->sizes };
	objects_digest(n->record.object);
	err = set_device(n, why);
	nat64_step(n, "device is made");
	if (err == 0)
		err = instance_write_record(n, why);
	n->exists = err == 0;
	nat64_step(n, "record is written");
	return err;
}

static void unmake(struct nat64 *n)
{
	struct errmsg why;

	(void)!attach_end(n, NULL, &why);
	(void)!device_remove_tap(n->name, &why);
	(void)!instance_wipe(n, &why);
	instance_leave_nothing(n);
}

/* --- one that runs -------------------------------------------------------------------------------------------- */

static int check_fixed(struct nat64 *n, const struct nat64_settings *s, struct errmsg *why)
{
	const struct nat64_sizes *was = &n->record.sizes, *is = &s->sizes;
	const struct xlat_config *c = &n->config, *w = &s->config;
	const struct { const char *key; uint64_t was, is; } rows[] = {
		{ "mode", c->mode, w->mode },
		{ "tables.sessions", was->sessions, is->sessions },
		{ "tables.mappings", was->mappings, is->mappings },
		{ "tables.subscribers", was->subscribers, is->subscribers },
		{ "tables.fragments", was->fragments, is->fragments },
		{ "tables.nexthops", was->nexthops, is->nexthops },
		{ "tables.pool-addresses", was->pool_addresses, MAX(is->pool_addresses, was->pool_addresses) },
		{ "subscribers.bits", c->subscriber_bits, w->subscriber_bits },
		{ "subscribers.blocks.size", c->block_ports, w->block_ports },
		{ "subscribers.deterministic.ports", c->det_ports, w->det_ports },
	};

	if (c->serial == 0)
		return 0;		/* nothing was ever in force */
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].was != rows[i].is)
			return errmsg_say(why, -EINVAL, "'%s' of translator '%s' was %llu and would be %llu, which needs a new instance: "
					  "`prickle nat64 remove %s`, then start it again (its sessions end)", rows[i].key, n->name,
					  (unsigned long long)rows[i].was, (unsigned long long)rows[i].is, n->name);
	return 0;
}

/* Programs of this prickle in place of older ones; the maps and what is in them stay. */
static int upgrade(struct nat64 *n, bool *upgraded, struct errmsg *why)
{
	uint8_t digest[sizeof(n->record.object)];
	uint32_t programs = 0;
	int err;

	objects_digest(digest);
	*upgraded = memcmp(digest, n->record.object, sizeof(digest)) != 0;
	if (!*upgraded)
		return 0;
	for (uint32_t i = 0; i < NAT64_PROGRAMS; i++) {
		AUTO_FD int fd = pin_get(n->dir, nat64_program_pins[i]);

		programs |= fd >= 0 || i == NAT64_PROGRAM_CALL ? 1u << i : 0;
	}
	err = objects_load(n, programs, why);
	nat64_step(n, "programs are loaded");
	return err;
}

static int finish_upgrade(struct nat64 *n, struct buf *notice, struct errmsg *why)
{
	int err = attach_upgrade(n, notice, why);

	if (err != 0)
		return err;
	objects_digest(n->record.object);
	err = instance_write_record(n, why);
	if (err == 0)
		buf_printf(notice, "the programs of this prickle took the place of an older one's; sessions stay\n");
	return err;
}

/* What holds, but not as in an instance that is begun with these settings. */
static void say_limits(struct nat64 *n, const struct nat64_settings *s, struct buf *notice)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);
	int fd = nat64_map(n, "session");

	if (s->config.mode == XLAT_NAT64 && s->config.filtering == XLAT_ADDRESS_DEPENDENT && fd >= 0 &&
	    bpf_obj_get_info_by_fd(fd, &info, &size) == 0 && info.max_entries < 2 * n->record.sizes.sessions)
		buf_printf(notice, "filtering by address keeps a permission for each peer of a mapping, and the table of %u sessions was made without "
			   "room for them: sessions and permissions share it; `prickle nat64 remove %s` and start it again to change that\n",
			   n->record.sizes.sessions, n->name);
}

/* --- apply -------------------------------------------------------------------------------------------------------- */

static int change(struct nat64 *n, const struct nat64_settings *s, const struct nat64_settings *before, struct nat64_wanted *want,
		  bool fresh, struct buf *notice, struct errmsg *why)
{
	struct nat64_bank bank;
	struct xlat_config was = n->config;
	bool upgraded = false;
	int err = fresh ? 0 : check_fixed(n, s, why);

	if (err == 0 && !fresh)
		err = set_device(n, why);
	if (err == 0 && !fresh)
		err = upgrade(n, &upgraded, why);
	if (err == 0)
		err = objects_make_slow_stats(n, why);
	if (err == 0)
		err = bank_write(n, s, &bank, why);
	if (err == 0)
		err = start_timer(n, why);
	nat64_step(n, "timer runs");
	if (err == 0 && fresh)
		bank_flip(n, &bank);
	if (err == 0 && upgraded)
		err = finish_upgrade(n, notice, why);
	if (err == 0)
		err = attach_new(n, s, want, notice, why);
	if (err != 0)
		return err;
	if (!fresh)
		bank_flip(n, &bank);
	n->control->home = attach_homes(&n->record);
	say_limits(n, s, notice);
	overlap_say(n, notice);
	err = bank_bibs(n, before, s, notice, why);
	nat64_step(n, "static mappings are made");
	if (err == 0 && !fresh)
		err = bank_end_prefixes(n, &was, why);
	if (err == 0)
		err = bank_drain(n, s, why);
	if (err == 0)
		err = attach_end(n, want, why);
	n->control->home = attach_homes(&n->record);
	return err != 0 ? err : device_fill_map(n, why);
}

int instance_apply(const struct nat64_where *where, const struct nat64_settings *settings, const struct xlat_prefix *learnt,
		   struct nat64 **out, struct buf *notice, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(SETTINGS_BYTES);
	const struct nat64_settings *before = NULL;
	struct nat64_settings s;
	struct nat64_wanted want;
	struct nat64 *n;
	bool fresh;
	int err = instance_open(where, settings->name, INSTANCE_MAKE | INSTANCE_LOCK, &n, why);

	if (err != 0)
		return err;
	fresh = !n->exists;
	err = complete(n, &arena, settings, learnt, &s, why);
	if (err == 0)
		err = attach_plan(&s, &want, why);
	if (err == 0 && fresh) {
		nat64_sweep();
		err = make_new(n, &s, why);
	} else if (err == 0) {
		before = bank_settings(n, &arena);
	}
	if (err == 0)
		err = change(n, &s, before, &want, fresh, notice, why);
	if (err != 0) {
		if (fresh)
			unmake(n);
		nat64_close(n);
		return err;
	}
	instance_unlock(n);
	*out = n;
	return 0;
}

int nat64_apply(const struct nat64_where *where, const struct nat64_settings *settings, struct nat64 **out, struct buf *notice,
		struct errmsg *why)
{
	return instance_apply(where, settings, NULL, out, notice, why);
}

/* --- removal --------------------------------------------------------------------------------------------------------- */

/* The record cannot be read: what carries our name on any interface goes. */
static int sweep_interfaces(struct nat64 *n, struct errmsg *why)
{
	struct if_nameindex *all = if_nameindex();
	int err = all == NULL ? errmsg_set(why, -errno, "list interfaces") : 0;

	for (size_t i = 0; err == 0 && all[i].if_index != 0; i++) {
		err = attach_xdp_end(n, all[i].if_name, why);
		if (err == 0)
			err = nat64_tc_detach(n->name, all[i].if_index, NAT64_TC_IN, why);
		if (err == -ENODEV)
			err = 0;
	}
	if (all != NULL)
		if_freenameindex(all);
	return err != 0 ? err : nat64_host_remove(n->name, why);
}

/* Hosts that were told of the prefix by advertisements would send to it until its lifetime ends. */
static void say_farewell(struct nat64 *n)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(64u << 20);
	const struct nat64_settings *s = bank_settings(n, &arena);

	if (s != NULL)
		prefixes_farewell(s);
}

int nat64_remove(const struct nat64_where *where, struct errmsg *why)
{
	struct nat64 *n;
	int err = instance_open(where, where->name, INSTANCE_LOCK | INSTANCE_ANY, &n, why);

	if (err != 0)
		return err;
	err = device_free(n->name, why);
	if (err == 0 && n->exists)
		say_farewell(n);
	if (err == 0)
		err = n->exists ? attach_end(n, NULL, why) : sweep_interfaces(n, why);
	nat64_step(n, "detached");
	if (err == 0)
		err = device_remove_tap(n->name, why);
	nat64_step(n, "device is gone");
	if (err == 0)
		err = instance_wipe(n, why);
	if (err == 0)
		instance_leave_nothing(n);
	nat64_close(n);
	return err;
}
