/*
 * What packets look at is one of two banks: configuration, explicit mappings, and the text that they were made from. A change fills
 * the other bank and then says so by one store. State (ports, mappings, sessions) is shared by both, so the slots of pool
 * addresses are the same in both.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/must.h"
#include "nat64/core/address.h"
#include "nat64/instance_private.h"
#include "spine/attach.h"
#include "spine/pins.h"

/* A call of XLAT_CALL_DRAIN looks at thousands of entries: more calls than a full table needs. */
#define DRAIN_CALLS_MAX 1000000u
#define READ_TURNS	16

/* The text of the file, and its path behind it: other files are named relative to it. */
struct text_value {
	uint64_t len, path_len;
	uint8_t bytes[];
};

/* --- reading -------------------------------------------------------------------------------------- */

static int read_config(struct nat64 *n, struct errmsg *why)
{
	int fd = nat64_map(n, "config");

	for (int turn = 0; turn < READ_TURNS; turn++) {
		uint32_t generation = __atomic_load_n(&n->control->generation, __ATOMIC_ACQUIRE);
		uint32_t bank = __atomic_load_n(&n->control->bank, __ATOMIC_ACQUIRE) & 1;

		if (n->config_bank == bank && n->config_generation == generation)
			return 0;
		if (fd < 0 || bpf_map_lookup_elem(fd, &bank, &n->config) != 0)
			return errmsg_set(why, fd < 0 ? -EPROTO : -errno, "read the configuration of translator '%s'", n->name);
		n->config_bank = bank;
		n->config_generation = generation;
	}
	return errmsg_say(why, -EAGAIN, "translator '%s' is being changed all the time; try again", n->name);
}

static int read_text(struct nat64 *n, struct errmsg *why)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info), key = 0;
	char name[16];

	(void)snprintf(name, sizeof(name), "settings-%u", n->config_bank);
	AUTO_FD int fd = pin_get(n->dir, name);
	if (fd < 0 || !pin_is_map(fd))
		return errmsg_set(why, fd < 0 ? fd : -EPROTO, "read the settings of translator '%s'", n->name);
	if (bpf_obj_get_info_by_fd(fd, &info, &size) != 0 || info.value_size < sizeof(struct text_value) ||
	    info.value_size > NAT64_FILE_BYTES_MAX + sizeof(struct text_value) + PATH_MAX)
		return errmsg_say(why, -EPROTO, "the settings of translator '%s' are damaged", n->name);
	AUTO_FREE struct text_value *value = calloc(1, info.value_size + 8u);
	if (value == NULL)
		return errmsg_set(why, -ENOMEM, "read the settings of translator '%s'", n->name);
	if (bpf_map_lookup_elem(fd, &key, value) != 0 || value->len > info.value_size - sizeof(*value) ||
	    value->path_len > info.value_size - sizeof(*value) - value->len || value->path_len >= sizeof(n->path))
		return errmsg_say(why, -EPROTO, "the settings of translator '%s' are damaged", n->name);
	buf_reset(&n->text);
	buf_add(&n->text, slice_of(value->bytes, value->len));
	memcpy(n->path, value->bytes + value->len, value->path_len);
	n->path[value->path_len] = '\0';
	return n->text.err;
}

int bank_read(struct nat64 *n, struct errmsg *why)
{
	int err = read_config(n, why);

	if (err != 0 || (n->text_bank == n->config_bank && n->text_generation == n->config_generation))
		return err;
	/* Nothing was ever in force: its first change was cut short. */
	buf_reset(&n->text);
	err = n->config.serial == 0 ? 0 : read_text(n, why);
	if (err == 0) {
		n->text_bank = n->config_bank;
		n->text_generation = n->config_generation;
	}
	return err;
}

const struct nat64_settings *bank_settings(struct nat64 *n, struct arena *arena)
{
	AUTO_BUF struct buf errors = BUF_INIT(65536);
	struct nat64_settings *settings;
	struct errmsg why;

	if (bank_read(n, &why) != 0 || n->config.serial == 0 || nat64_settings_parse(arena, buf_slice(&n->text), n->path, &settings, &errors) != 0)
		return NULL;
	return settings;
}

/* --- slots of pool addresses -------------------------------------------------------------------------- */

struct slots {
	uint32_t count;			/* of the table `pool` */
	uint32_t *address;		/* by slot */
	bool *used;
};

static int slots_new(struct slots *s, uint32_t count)
{
	s->count = count;
	s->address = calloc(count, sizeof(*s->address));
	s->used = calloc(count, sizeof(*s->used));
	return s->address != NULL && s->used != NULL ? 0 : -ENOMEM;
}

static void slots_free(struct slots *s)
{
	free(s->address);
	free(s->used);
}

static void slots_of_config(struct slots *s, const struct xlat_config *c)
{
	for (uint32_t i = 0; i < c->pool_count && i < XLAT_POOLS_MAX; i++)
		for (uint32_t k = 0; k < c->pool[i].count && c->pool[i].slot + k < s->count; k++) {
			s->used[c->pool[i].slot + k] = true;
			s->address[c->pool[i].slot + k] = c->pool[i].first + k;
		}
}

static int slot_of(const struct slots *s, uint32_t address)
{
	for (uint32_t i = 0; i < s->count; i++)
		if (s->used[i] && s->address[i] == address)
			return (int)i;
	return -1;
}

/* Room for `want` neighbours if there is, else any. -1: full. */
static int slot_free(const struct slots *s, uint32_t want)
{
	int any = -1;

	for (uint32_t i = 0, run = 0; i < s->count; i++) {
		run = s->used[i] ? 0 : run + 1;
		if (!s->used[i] && any < 0)
			any = (int)i;
		if (run == want)
			return (int)(i + 1 - want);
	}
	return any;
}

static bool continues(const struct xlat_pool *row, const struct xlat_pool *last, uint32_t address, uint32_t slot)
{
	return last != NULL && last->count > 0 && last->first + last->count == address && last->slot + last->count == slot &&
	       last->port_first == row->port_first && last->port_last == row->port_last && last->flags == row->flags &&
	       last->mark == row->mark;
}

static int add_address(struct xlat_config *c, const struct xlat_pool *row, bool first, uint32_t address, uint32_t slot)
{
	struct xlat_pool *last = first || c->pool_count == 0 ? NULL : &c->pool[c->pool_count - 1];

	if (continues(row, last, address, slot)) {
		last->count++;
		return 0;
	}
	if (c->pool_count == XLAT_POOLS_MAX)
		return -E2BIG;
	c->pool[c->pool_count] = *row;
	c->pool[c->pool_count].first = address;
	c->pool[c->pool_count].count = 1;
	c->pool[c->pool_count++].slot = slot;
	return 0;
}

static bool in_rows(const struct xlat_config *c, uint32_t address)
{
	for (uint32_t i = 0; i < c->pool_count; i++)
		if (address - c->pool[i].first < c->pool[i].count)
			return true;
	return false;
}

/* The rows of the settings with slots; a row whose addresses have slots apart becomes several. */
static int place_rows(const char *name, struct xlat_config *c, const struct xlat_config *wanted, struct slots *s,
		      struct errmsg *why)
{
	c->pool_count = 0;
	for (uint32_t i = 0; i < wanted->pool_count; i++) {
		const struct xlat_pool *row = &wanted->pool[i];

		for (uint32_t k = 0; k < row->count; k++) {
			int slot = slot_of(s, row->first + k);

			if (slot < 0)
				slot = slot_free(s, row->count - k);
			if (slot < 0)
				return errmsg_say(why, -EINVAL, "pool4 has more addresses than this instance has room for (%u, those "
						  "that go included); `prickle nat64 remove %s` and start it again to change that",
						  s->count, name);
			s->used[slot] = true;
			s->address[slot] = row->first + k;
			if (add_address(c, row, k == 0, row->first + k, (uint32_t)slot) != 0)
				return errmsg_say(why, -EINVAL, "pool4 has more parts than %u; change it in smaller steps, so that old rows "
						  "are gone before new ones come", XLAT_POOLS_MAX);
		}
	}
	return 0;
}

/* Rows that go: they keep their mappings until these are ended. */
static int keep_rows(struct xlat_config *c, const struct xlat_config *wanted, const struct xlat_config *old, struct errmsg *why)
{
	for (uint32_t i = 0; i < old->pool_count && i < XLAT_POOLS_MAX; i++) {
		struct xlat_pool row = old->pool[i];
		bool first = true;

		row.flags |= XLAT_POOL_DRAIN;
		for (uint32_t k = 0; k < old->pool[i].count; k++) {
			if (in_rows(wanted, row.first + k))
				continue;
			if (add_address(c, &row, first, old->pool[i].first + k, old->pool[i].slot + k) != 0)
				return errmsg_say(why, -EINVAL, "pool4's old and new rows have more parts than %u; change it in smaller "
						  "steps", XLAT_POOLS_MAX);
			first = false;
		}
	}
	return 0;
}

/* --- places of translation prefixes ------------------------------------------------------------------- */

static int place_of(const struct xlat_config *c, const struct xlat_prefix *p)
{
	for (uint32_t i = 0; i < c->prefix_count && i < XLAT_PREFIXES_MAX; i++)
		if (c->prefix[i].bits == p->bits && memcmp(c->prefix[i].addr, p->addr, sizeof(p->addr)) == 0)
			return (int)i;
	return -1;
}

/*
 * Prefixes that stay keep their places, new ones get the first that are free. A new one in the place of one that goes inherits its
 * sessions: the same hosts inside and outside, by another name; what is over on the inside ends as on a host that restarted.
 */
static void place_prefixes(struct xlat_config *c, const struct xlat_config *wanted, const struct xlat_config *old)
{
	bool used[XLAT_PREFIXES_MAX] = { false };

	c->prefix_count = 0;
	for (uint32_t i = 0; i < XLAT_PREFIXES_MAX; i++) {
		memset(&c->prefix[i], 0xff, sizeof(c->prefix[i].addr));
		c->prefix[i].bits = 96;
		c->prefix[i].global_only = 0;
	}
	for (uint32_t turn = 0; turn < 2; turn++)
		for (uint32_t i = 0; i < wanted->prefix_count; i++) {
			int place = place_of(old, &wanted->prefix[i]);

			if ((place >= 0) != (turn == 0))
				continue;
			for (uint32_t k = 0; place < 0 && k < XLAT_PREFIXES_MAX; k++)
				if (!used[k])
					place = (int)k;
			must(place >= 0);
			used[place] = true;
			c->prefix[place] = wanted->prefix[i];
			c->prefix_count = MAX(c->prefix_count, (uint32_t)place + 1);
		}
}

/* --- writing ---------------------------------------------------------------------------------------- */

/* A slot's tables are made when it is first used: 800 kB each. */
static int make_pools(struct nat64 *n, const struct xlat_config *c, struct errmsg *why)
{
	int outer = nat64_map(n, "pool");

	for (uint32_t i = 0; i < c->pool_count; i++)
		for (uint32_t k = 0; k < c->pool[i].count; k++) {
			uint32_t slot = c->pool[i].slot + k, id;

			if (bpf_map_lookup_elem(outer, &slot, &id) == 0 && id != 0)
				continue;
			AUTO_FD int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "nat64_ports", 4, sizeof(struct xlat_port_group),
							XLAT_POOL_GROUPS, NULL);
			if (fd < 0 || bpf_map_update_elem(outer, &slot, &fd, BPF_ANY) != 0)
				return errmsg_set(why, -errno, "make the ports of pool address %u", slot);
		}
	return 0;
}

static int make_trie(const char *name, uint32_t key_bytes, size_t count, int *out)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC);
	int fd = bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, name, key_bytes, sizeof(struct xlat_eam), count == 0 ? 1 : (uint32_t)count,
				&opts);

	*out = fd;
	return fd >= 0 ? 0 : -errno;
}

static int make_eams(struct nat64 *n, uint32_t bank, const struct nat64_settings *s, struct errmsg *why)
{
	int outer6 = nat64_map(n, "eam6"), outer4 = nat64_map(n, "eam4"), err;
	AUTO_FD int six = -1;
	AUTO_FD int four = -1;

	err = make_trie("nat64_eam6", sizeof(struct xlat_eam6_key), s->eam_count, &six);
	if (err == 0)
		err = make_trie("nat64_eam4", sizeof(struct xlat_eam4_key), s->eam_count, &four);
	for (size_t i = 0; i < s->eam_count && err == 0; i++) {
		const struct xlat_eam *e = &s->eams[i];
		struct xlat_eam6_key key6 = { .bits = e->bits6 };
		struct xlat_eam4_key key4 = { .bits = e->bits4, .addr = e->addr4 };

		memcpy(key6.addr, e->addr6, sizeof(key6.addr));
		if (bpf_map_update_elem(six, &key6, e, BPF_ANY) != 0 || bpf_map_update_elem(four, &key4, e, BPF_ANY) != 0)
			err = -errno;
	}
	if (err == 0 && (bpf_map_update_elem(outer6, &bank, &six, BPF_ANY) != 0 ||
			 bpf_map_update_elem(outer4, &bank, &four, BPF_ANY) != 0))
		err = -errno;
	return err == 0 ? 0 : errmsg_set(why, err, "make the tables of %zu explicit mappings", s->eam_count);
}

static int write_text(struct nat64 *n, uint32_t bank, const struct nat64_settings *s, struct errmsg *why)
{
	struct slice text = s->text;
	AUTO_FREE char *real = s->path != NULL ? realpath(s->path, NULL) : NULL;
	struct slice path = slice_str(real != NULL ? real : s->path != NULL ? s->path : "settings");
	size_t bytes = (sizeof(struct text_value) + text.len + path.len + 7) / 8 * 8;
	AUTO_FREE struct text_value *value = calloc(1, bytes);
	char name[16], temporary[24];
	uint32_t key = 0;
	int err;

	if (text.len > NAT64_FILE_BYTES_MAX || path.len >= PATH_MAX)
		return errmsg_say(why, -EINVAL, "the settings are longer than %d bytes", NAT64_FILE_BYTES_MAX);
	if (value == NULL)
		return errmsg_set(why, -ENOMEM, "keep the settings");
	value->len = text.len;
	if (text.len > 0)
		memcpy(value->bytes, text.ptr, text.len);
	value->path_len = path.len;
	memcpy(value->bytes + text.len, path.ptr, path.len);
	(void)snprintf(name, sizeof(name), "settings-%u", bank);
	(void)snprintf(temporary, sizeof(temporary), "settings-%u-new", bank);
	AUTO_FD int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "nat64_settings", 4, (uint32_t)bytes, 1, NULL);
	err = fd < 0 || bpf_map_update_elem(fd, &key, value, BPF_ANY) != 0 ? -errno : pin_remove(n->dir, temporary);
	if (err == 0)
		err = pin_set(n->dir, temporary, fd);
	if (err == 0 && renameat(n->dir, temporary, n->dir, name) != 0)
		err = -errno;
	return err == 0 ? 0 : errmsg_set(why, err, "keep the settings");
}

/* Of keyed hashes; as it was, so that what was chosen by them is found again. */
static int make_key(struct xlat_config *c, const struct xlat_config *old, struct errmsg *why)
{
	memcpy(c->key, old->key, sizeof(c->key));
	if ((c->key[0] | c->key[1]) == 0 && getrandom(c->key, sizeof(c->key), 0) != (ssize_t)sizeof(c->key))
		return errmsg_set(why, -errno, "make a key");
	return 0;
}

static int fill(struct nat64 *n, const struct nat64_settings *settings, bool keep, struct nat64_bank *b, struct errmsg *why)
{
	struct slots slots = { 0 };
	const struct xlat_config *old = &n->config;
	int err;

	b->config = settings->config;
	b->config.abi = XLAT_CONFIG_ABI;
	b->config.bytes = sizeof(b->config);
	b->config.serial = old->serial + 1;
	if (settings->eam_count > 0)
		b->config.flags |= XLAT_EAM;
	for (size_t i = 0; i < settings->eam_count; i++)
		eam_span_join(&b->config, &settings->eams[i], i == 0);
	err = make_key(&b->config, old, why);
	if (err == 0)
		err = host_complete(settings, &b->config, why);
	if (err != 0 || settings->config.mode != XLAT_NAT64)
		return err;
	struct xlat_config wanted = b->config;
	place_prefixes(&b->config, &wanted, old);
	if (slots_new(&slots, n->record.sizes.pool_addresses) != 0) {
		err = errmsg_set(why, -ENOMEM, "place the pool");
	} else {
		slots_of_config(&slots, old);
		err = place_rows(n->name, &b->config, &wanted, &slots, why);
	}
	if (err == 0 && keep)
		err = keep_rows(&b->config, &wanted, old, why);
	slots_free(&slots);
	return err == 0 ? make_pools(n, &b->config, why) : err;
}

static int write_bank(struct nat64 *n, const struct nat64_settings *settings, bool keep, struct nat64_bank *out,
		      struct errmsg *why)
{
	int err, fd = nat64_map(n, "config");

	err = read_config(n, why);
	if (err != 0)
		return err;
	out->bank = (n->config_bank & 1) ^ 1;
	err = fill(n, settings, keep, out, why);
	nat64_step(n, "pool is made");
	if (err == 0)
		err = make_eams(n, out->bank, settings, why);
	nat64_step(n, "mappings are made");
	if (err == 0)
		err = write_text(n, out->bank, settings, why);
	nat64_step(n, "text is kept");
	if (err == 0 && (fd < 0 || bpf_map_update_elem(fd, &out->bank, &out->config, BPF_ANY) != 0))
		err = errmsg_set(why, fd < 0 ? -EPROTO : -errno, "write the configuration");
	nat64_step(n, "configuration is written");
	return err;
}

int bank_write(struct nat64 *n, const struct nat64_settings *settings, struct nat64_bank *out, struct errmsg *why)
{
	return write_bank(n, settings, true, out, why);
}

void bank_flip(struct nat64 *n, const struct nat64_bank *bank)
{
	__atomic_store_n(&n->control->bank, bank->bank, __ATOMIC_RELEASE);
	__atomic_add_fetch(&n->control->generation, 1, __ATOMIC_RELEASE);
	__atomic_add_fetch(&n->control->nexthop_generation, 1, __ATOMIC_RELEASE);
	nat64_step(n, "committed");
	attach_settle();
}

/* --- after a flip -------------------------------------------------------------------------------------- */

static int drain_slot(struct nat64 *n, uint32_t slot, struct errmsg *why)
{
	for (uint32_t i = 0; i < DRAIN_CALLS_MAX; i++) {
		struct xlat_call call = { .op = XLAT_CALL_DRAIN, .desk = XLAT_DESK_COMMAND, .slot = slot };
		int err = nat64_call(n, &call, why);

		if (err != 0)
			return err;
		if (call.result < 0)
			return errmsg_set(why, call.result, "end the mappings of a pool address that goes");
		if (call.result == 0)
			return 0;
	}
	return errmsg_say(why, -EBUSY, "the mappings of a pool address that goes do not end");
}

int bank_drain(struct nat64 *n, const struct nat64_settings *settings, struct errmsg *why)
{
	struct nat64_bank bank;
	struct xlat_config full;
	bool any = false;
	int err = read_config(n, why), outer = nat64_map(n, "pool");

	if (err != 0 || n->config.mode != XLAT_NAT64)
		return err;
	full = n->config;
	for (uint32_t i = 0; i < full.pool_count; i++)
		for (uint32_t k = 0; k < full.pool[i].count; k++) {
			if (in_rows(&settings->config, full.pool[i].first + k))
				continue;
			any = true;
			err = drain_slot(n, full.pool[i].slot + k, why);
			if (err != 0)
				return err;
		}
	if (!any)
		return 0;
	nat64_step(n, "drained");
	err = write_bank(n, settings, false, &bank, why);
	if (err != 0)
		return err;
	bank_flip(n, &bank);
	for (uint32_t i = 0; i < full.pool_count; i++)
		for (uint32_t k = 0; k < full.pool[i].count; k++) {
			uint32_t slot = full.pool[i].slot + k;

			if (!in_rows(&settings->config, full.pool[i].first + k))
				(void)bpf_map_delete_elem(outer, &slot);
		}
	return 0;
}

/* The session of slot `number`; false: none. */
static bool session_of(struct nat64 *n, uint32_t number, struct xlat_session_key *key)
{
	struct xlat_slot slot;
	struct xlat_bib bib;

	if (bpf_map_lookup_elem(nat64_map(n, "slot"), &number, &slot) != 0 || slot.bib == 0 ||
	    bpf_map_lookup_elem(nat64_map(n, "bib"), &slot.bib, &bib) != 0)
		return false;
	*key = (struct xlat_session_key){ .dst4 = slot.dst4, .sport = bib.key.port6, .dport = slot.dport, .protocol = slot.protocol,
					  .prefix = slot.prefix };
	memcpy(key->src6, bib.key.addr6, sizeof(key->src6));
	return true;
}

int bank_end_prefixes(struct nat64 *n, const struct xlat_config *before, struct errmsg *why)
{
	const struct xlat_slab *slab = &n->control->slab[XLAT_SLAB_SESSION];
	struct xlat_session_key key;
	uint32_t gone = 0, end;
	int err = read_config(n, why);

	if (err != 0 || n->config.mode != XLAT_NAT64 || before->serial == 0)
		return err;
	for (uint32_t i = 0; i < before->prefix_count && i < XLAT_PREFIXES_MAX; i++)
		if (!xlat_prefix_none(&before->prefix[i]) && (i >= n->config.prefix_count || xlat_prefix_none(&n->config.prefix[i])))
			gone |= 1u << i;
	end = gone == 0 ? 0 : MIN(XLAT_READ(slab->fresh), slab->count);
	for (uint32_t number = 1; number < end; number++) {
		struct xlat_call call = { .op = XLAT_CALL_SESSION_END, .desk = XLAT_DESK_COMMAND };

		if (!session_of(n, number, &key) || (gone >> (key.prefix & 31) & 1) == 0)
			continue;
		call.session = key;
		err = nat64_call(n, &call, why);
		if (err != 0)
			return err;
	}
	return 0;
}

static bool same_bib(const struct xlat_bib *a, const struct xlat_bib *b)
{
	return memcmp(&a->key, &b->key, sizeof(a->key)) == 0 && a->addr4 == b->addr4 && a->port4 == b->port4;
}

static bool has_bib(const struct nat64_settings *s, const struct xlat_bib *bib)
{
	for (size_t i = 0; s != NULL && i < s->bib_count; i++)
		if (same_bib(&s->bibs[i], bib))
			return true;
	return false;
}

/* It is there already, from before a restart. */
static bool bib_exists(struct nat64 *n, const struct xlat_bib *bib)
{
	int six = nat64_map(n, "bib6"), table = nat64_map(n, "bib");
	struct xlat_bib now;
	uint32_t number;

	return six >= 0 && table >= 0 && bpf_map_lookup_elem(six, &bib->key, &number) == 0 &&
	       bpf_map_lookup_elem(table, &number, &now) == 0 && same_bib(&now, bib) && (now.flags & XLAT_BIB_STATIC) != 0;
}

static int call_bib(struct nat64 *n, uint32_t op, const struct xlat_bib *bib, struct errmsg *why)
{
	struct xlat_call call = { .op = op, .desk = XLAT_DESK_COMMAND, .bib = *bib };
	int err;

	call.bib.flags |= XLAT_BIB_STATIC;
	err = nat64_call(n, &call, why);
	return err != 0 ? err : call.result;
}

int bank_bibs(struct nat64 *n, const struct nat64_settings *before, const struct nat64_settings *now, struct buf *notice,
	      struct errmsg *why)
{
	size_t refused = 0;
	int err, reason = 0;

	for (size_t i = 0; before != NULL && i < before->bib_count; i++) {
		if (has_bib(now, &before->bibs[i]))
			continue;
		err = call_bib(n, XLAT_CALL_BIB_REMOVE, &before->bibs[i], why);
		if (err != 0 && err != -ENOENT)
			return errmsg_set(why, err, "remove a static mapping");
	}
	for (size_t i = 0; i < now->bib_count; i++) {
		if (bib_exists(n, &now->bibs[i]))
			continue;
		err = call_bib(n, XLAT_CALL_BIB_ADD, &now->bibs[i], why);
		/* A host that has talked already has another mapping of that port: the static one wins. */
		if (err == -EEXIST && call_bib(n, XLAT_CALL_BIB_REMOVE, &now->bibs[i], why) == 0)
			err = call_bib(n, XLAT_CALL_BIB_ADD, &now->bibs[i], why);
		if (err != 0) {
			reason = err;
			refused++;
		}
	}
	if (refused > 0)
		buf_printf(notice, "%zu of %zu static mappings could not be made: %s; `prickle nat64 bib` shows who has their ports\n",
			   refused, now->bib_count, strerrordesc_np(-reason));
	return 0;
}
