#include "spine/extensions/filter_maps.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

/* As filter.bpf.c declares them. */
static const struct {
	const char *name;
	uint32_t key_bytes, value_bytes;
} maps[FILTER_MAPS] = {
	[FILTER_MAP_STATE] = { "state", 4, sizeof(struct filter_state) },
	[FILTER_MAP_BANKS] = { "banks", 4, sizeof(struct filter_bank) },
	[FILTER_MAP_PROTOCOLS] = { "protocols", 4, 4 },
	[FILTER_MAP_SETS] = { "sets", 4, sizeof(struct filter_set) },
	[FILTER_MAP_PORTS] = { "ports", 4, 8 },
	[FILTER_MAP_RULES] = { "rules", 4, sizeof(struct filter_rule) },
	[FILTER_MAP_PREFIXES4] = { "prefixes4", sizeof(struct filter_key4), 4 },
	[FILTER_MAP_PREFIXES6] = { "prefixes6", sizeof(struct filter_key6), 4 },
	[FILTER_MAP_HITS] = { "hits", 4, sizeof(struct filter_hits) },
	[FILTER_MAP_COUNTERS] = { "counters", 4, sizeof(struct filter_counters) },
};

static int open_map(const char *directory, struct filter_maps *m, enum filter_map which, struct errmsg *why)
{
	struct bpf_map_info info = { 0 };
	uint32_t bytes = sizeof(info);
	char path[512];
	int n = snprintf(path, sizeof(path), "%s/%s", directory, maps[which].name);

	if (n < 0 || (size_t)n >= sizeof(path))
		return errmsg_set(why, -ENAMETOOLONG, "directory of maps");
	m->fd[which] = bpf_obj_get(path);
	if (m->fd[which] < 0)
		return errmsg_set(why, -errno, "the filter's map '%s'", maps[which].name);
	if (bpf_obj_get_info_by_fd(m->fd[which], &info, &bytes) != 0)
		return errmsg_set(why, -errno, "the filter's map '%s'", maps[which].name);
	if (info.key_size != maps[which].key_bytes || info.value_size != maps[which].value_bytes)
		return errmsg_set(why, -EPROTO, "the map '%s' has another shape: the extension is another version of the "
				  "filter, or not the filter", maps[which].name);
	return 0;
}

int filter_maps_open(const char *directory, struct filter_maps *out, struct errmsg *why)
{
	int cpus = libbpf_num_possible_cpus(), rc = 0;

	for (unsigned i = 0; i < FILTER_MAPS; i++)
		out->fd[i] = -1;
	if (cpus <= 0)
		return errmsg_set(why, cpus < 0 ? cpus : -EIO, "count processors");
	out->cpus = (uint32_t)cpus;
	for (unsigned i = 0; i < FILTER_MAPS && rc == 0; i++)
		rc = open_map(directory, out, i, why);
	return rc;
}

void filter_maps_close(struct filter_maps *m)
{
	for (unsigned i = 0; i < FILTER_MAPS; i++)
		if (m->fd[i] >= 0)
			close(m->fd[i]);
}

/* `count` values from index `first` on. */
static int put_array(const struct filter_maps *m, enum filter_map which, uint32_t first, uint32_t count,
		     const void *values, struct errmsg *why)
{
	AUTO_FREE uint32_t *keys = calloc(count + 1, sizeof(*keys));
	uint32_t done = count;

	if (keys == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		keys[i] = first + i;
	if (count > 0 && bpf_map_update_batch(m->fd[which], keys, values, &done, NULL) != 0)
		return errmsg_set(why, -errno, "write the filter's map '%s'", maps[which].name);
	return 0;
}

/* Table numbers are the second word of both keys. */
struct any_key {
	uint32_t bits, table;
	uint8_t address[16];
};

/* Take the prefixes of a bank out. Keys that go while we walk make the kernel begin again: bounded by entries. */
static int clear_prefixes(const struct filter_maps *m, enum filter_map which, uint32_t bank, struct errmsg *why)
{
	struct any_key *keys = NULL, next;
	size_t n = 0, room = FILTER_BANKS * FILTER_SIDES * (size_t)FILTER_PREFIXES_MAX;
	AUTO_FREE void *memory = keys = calloc(room, sizeof(*keys));
	const struct any_key *at = NULL;

	if (memory == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < room && bpf_map_get_next_key(m->fd[which], at, &next) == 0; i++) {
		keys[n] = next;
		at = &keys[n];
		n++;
	}
	for (size_t i = 0; i < n; i++)
		if (ntohl(keys[i].table) / FILTER_SIDES == bank && bpf_map_delete_elem(m->fd[which], &keys[i]) != 0)
			return errmsg_set(why, -errno, "empty the filter's map '%s'", maps[which].name);
	return 0;
}

static int put_prefixes(const struct filter_maps *m, const struct filter_tables *t, uint32_t bank,
			enum filter_side side, enum filter_family family, struct errmsg *why)
{
	enum filter_map which = family == FILTER_IP4 ? FILTER_MAP_PREFIXES4 : FILTER_MAP_PREFIXES6;

	for (size_t i = 0; i < t->row_count[side][family]; i++) {
		const struct filter_row *row = &t->rows[side][family][i];
		struct any_key key = { .bits = 32u + row->prefix.bits, .table = htonl(bank * FILTER_SIDES + side) };

		memcpy(key.address, row->prefix.address, sizeof(key.address));
		if (bpf_map_update_elem(m->fd[which], &key, &row->class, BPF_ANY) != 0)
			return errmsg_set(why, -errno, "write the filter's map '%s'", maps[which].name);
	}
	return 0;
}

static int clear_hits(const struct filter_maps *m, uint32_t bank, uint32_t count, struct errmsg *why)
{
	AUTO_FREE struct filter_hits *zero = calloc(m->cpus, sizeof(*zero));

	if (zero == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t key = bank * FILTER_RULES_MAX + i;

		if (bpf_map_update_elem(m->fd[FILTER_MAP_HITS], &key, zero, BPF_ANY) != 0)
			return errmsg_set(why, -errno, "clear the filter's counters");
	}
	return 0;
}

static int put_bank(const struct filter_maps *m, const struct filter_tables *t, uint32_t bank, struct errmsg *why)
{
	int rc = clear_prefixes(m, FILTER_MAP_PREFIXES4, bank, why);

	if (rc == 0)
		rc = clear_prefixes(m, FILTER_MAP_PREFIXES6, bank, why);
	for (unsigned side = 0; side < FILTER_SIDES && rc == 0; side++) {
		rc = put_array(m, FILTER_MAP_PORTS, (bank * FILTER_SIDES + side) * FILTER_PORT_WORDS,
			       FILTER_PORT_WORDS, t->ports[side], why);
		for (unsigned family = 0; family < FILTER_FAMILIES && rc == 0; family++)
			rc = put_prefixes(m, t, bank, side, family, why);
	}
	if (rc == 0)
		rc = put_array(m, FILTER_MAP_SETS, bank * FILTER_SETS_MAX, t->set_count, t->sets, why);
	if (rc == 0)
		rc = put_array(m, FILTER_MAP_PROTOCOLS, bank * FILTER_PROTOCOLS, FILTER_PROTOCOLS, t->protocols, why);
	if (rc == 0)
		rc = put_array(m, FILTER_MAP_RULES, bank * FILTER_RULES_MAX, t->bank.rules, t->rules, why);
	if (rc == 0)
		rc = clear_hits(m, bank, t->bank.rules, why);
	if (rc == 0)
		rc = put_array(m, FILTER_MAP_BANKS, bank, 1, &t->bank, why);
	return rc;
}

int filter_put(struct filter_maps *m, const struct filter_tables *t, uint64_t now_s, struct errmsg *why)
{
	struct filter_state state;
	uint32_t zero = 0;
	int rc;

	if (bpf_map_lookup_elem(m->fd[FILTER_MAP_STATE], &zero, &state) != 0)
		return errmsg_set(why, -errno, "read the filter's state");
	uint32_t bank = state.abi == FILTER_ABI ? (state.bank + 1) % FILTER_BANKS : 0;
	rc = put_bank(m, t, bank, why);
	if (rc != 0)
		return rc;
	/* The kernel copies words of 8 bytes: abi and bank change together. */
	state = (struct filter_state){ .abi = FILTER_ABI, .bank = bank, .loaded_at_s = now_s };
	if (bpf_map_update_elem(m->fd[FILTER_MAP_STATE], &zero, &state, BPF_ANY) != 0)
		return errmsg_set(why, -errno, "switch the filter's rules");
	/*
	 * A packet that began before may still be in the old bank, which the next call writes to. This waits
	 * for all of them (RCU); where the kernel does not offer it, a packet's time is waited for instead.
	 */
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) != 0)
		nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
	return 0;
}

static int sum_hits(const struct filter_maps *m, uint32_t key, struct filter_hits *parts, struct filter_hits *sum)
{
	if (bpf_map_lookup_elem(m->fd[FILTER_MAP_HITS], &key, parts) != 0)
		return -errno;
	for (uint32_t i = 0; i < m->cpus; i++) {
		sum->packets += parts[i].packets;
		sum->bytes += parts[i].bytes;
	}
	return 0;
}

static int view_counters(const struct filter_maps *m, struct filter_counters *out)
{
	AUTO_FREE struct filter_counters *parts = calloc(m->cpus, sizeof(*parts));
	uint32_t zero = 0;

	if (parts == NULL)
		return -ENOMEM;
	if (bpf_map_lookup_elem(m->fd[FILTER_MAP_COUNTERS], &zero, parts) != 0)
		return -errno;
	for (uint32_t i = 0; i < m->cpus; i++) {
		out->passed += parts[i].passed;
		out->dropped += parts[i].dropped;
		out->default_packets += parts[i].default_packets;
		out->malformed += parts[i].malformed;
		out->no_rules += parts[i].no_rules;
	}
	return 0;
}

int filter_view(struct arena *arena, const struct filter_maps *m, struct filter_view *out, struct errmsg *why)
{
	AUTO_FREE struct filter_hits *parts = calloc(m->cpus, sizeof(*parts));
	struct filter_state state;
	struct filter_bank bank;
	uint32_t zero = 0;

	*out = (struct filter_view){ .default_verdict = XDP_PASS };
	if (parts == NULL)
		return -ENOMEM;
	if (bpf_map_lookup_elem(m->fd[FILTER_MAP_STATE], &zero, &state) != 0 || view_counters(m, &out->counters) != 0)
		return errmsg_set(why, -EIO, "read the filter's state");
	if (state.abi != FILTER_ABI)
		return 0;
	if (bpf_map_lookup_elem(m->fd[FILTER_MAP_BANKS], &state.bank, &bank) != 0)
		return errmsg_set(why, -errno, "read the filter's rules");
	out->loaded_at_s = state.loaded_at_s;
	out->default_verdict = bank.default_verdict;
	uint32_t count = bank.rules < FILTER_RULES_MAX ? bank.rules : FILTER_RULES_MAX;
	out->lines = arena_array(arena, count + 1u, sizeof(*out->lines));
	if (out->lines == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t key = (state.bank & 1) * FILTER_RULES_MAX + i;
		struct filter_rule rule;

		if (bpf_map_lookup_elem(m->fd[FILTER_MAP_RULES], &key, &rule) != 0)
			return errmsg_set(why, -errno, "read the filter's rules");
		/* Entries of one line are one rule. */
		if (out->count == 0 || out->lines[out->count - 1].line != rule.line)
			out->lines[out->count++] = (struct filter_line){
				.line = rule.line, .verdict = rule.verdict,
				.text = arena_str(arena, slice_of(rule.text, strnlen(rule.text, sizeof(rule.text)))) };
		if (sum_hits(m, key, parts, &out->lines[out->count - 1].hits) != 0)
			return errmsg_set(why, -EIO, "read the filter's counters");
	}
	return arena->err;
}
