/*
 * This program's object in the kernel. Maps are made once, with the sizes that the settings ask for, and pinned by name; programs
 * are loaded with these maps whenever the object of a newer prickle differs, or an interface needs one that was not loaded
 * yet: verifying takes tenths of a second, so only what is used is loaded.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "nat64/bpf/object.h"
#include "nat64/instance_private.h"
#include "spine/pins.h"

#ifndef BPF_F_XDP_HAS_FRAGS
#define BPF_F_XDP_HAS_FRAGS (1U << 5)
#endif

#define LOG_BYTES (1u << 20)

const char *const nat64_program_pins[NAT64_PROGRAMS] = { "call", "xdp", "xdp-frags", "tc-in", "tc-out" };

static const char *const functions[NAT64_PROGRAMS] = {
	"nat64_call", "nat64_xdp", "nat64_xdp_frags", "nat64_tc_in", "nat64_tc_out",
};

void objects_digest(uint8_t out[16])
{
	struct slice object = nat64_object();

	(void)crypto_generichash(out, 16, object.ptr, object.len, NULL, 0);
}

static void close_object(struct bpf_object **o)
{
	bpf_object__close(*o);
}
#define AUTO_OBJECT __attribute__((cleanup(close_object)))

static int open_object(struct bpf_object **out, struct errmsg *why)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = "nat64");
	struct slice bytes = nat64_object();

	if (bytes.len == 0)
		return errmsg_say(why, -EOPNOTSUPP, "this prickle was built without clang, so it carries no programs for the kernel; "
				  "install clang 16 or 19 and build it again");
	libbpf_set_print(NULL);
	*out = bpf_object__open_mem(bytes.ptr, bytes.len, &opts);
	return *out != NULL ? 0 : errmsg_set(why, -errno, "open the translator's programs");
}

/* Sections' data (.rodata, .bss) belong to a program and not to the state. */
static bool is_state(const struct bpf_map *map)
{
	return strchr(bpf_map__name(map), '.') == NULL && bpf_map__type(map) != BPF_MAP_TYPE_UNSPEC;
}

static uint32_t power_of_two(uint32_t n)
{
	uint32_t p = 4096;

	while (p < n && p < 1u << 30)
		p *= 2;
	return p;
}

static int set_sizes(struct bpf_object *o, const struct nat64_settings *settings, struct errmsg *why)
{
	const struct nat64_sizes *s = &settings->sizes;
	/* Address-dependent filtering keeps permissions in the same table: at most one for each session. */
	uint32_t permits = settings->config.filtering == XLAT_ADDRESS_DEPENDENT ? s->sessions : 0;
	const struct { const char *map; uint32_t entries; } rows[] = {
		{ "session", s->sessions + permits }, { "slot", s->sessions + 1 },
		{ "bib6", s->mappings }, { "bib", s->mappings + 1 },
		{ "subscriber6", s->subscribers }, { "subscriber", s->subscribers + 1 },
		{ "fragment", s->fragments }, { "slow", s->fragments }, { "nexthop", s->nexthops },
		{ "pool", s->pool_addresses == 0 ? 1 : s->pool_addresses },
		/* 160 bytes an event: a burst of a sixteenth of all sessions waits for its reader. */
		{ "events", power_of_two(s->sessions / 16 * 160 < 1u << 24 ? s->sessions / 16 * 160 : 1u << 24) },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(o, rows[i].map);
		int err = map == NULL ? -ENOENT : bpf_map__set_max_entries(map, rows[i].entries);

		if (err != 0)
			return errmsg_set(why, err, "size the table '%s'", rows[i].map);
	}
	return 0;
}

/* The last lines of the verifier's log say what it refused. */
static int say_load(struct errmsg *why, int err, const char *log)
{
	size_t len = strlen(log), at;

	if (err == -ENOMEM || err == -E2BIG)
		return errmsg_set(why, err, "make the translator's tables; smaller ones are set by 'tables' in the settings");
	while (len > 0 && log[len - 1] == '\n')
		len--;
	at = len > 300 ? len - 300 : 0;
	return errmsg_say(why, err, "the kernel refused the translator's programs: %s%s%.*s", strerrordesc_np(-err),
			  len > 0 ? ": ..." : "", (int)(len - at), log + at);
}

static void choose(struct bpf_object *o, uint32_t programs)
{
	struct bpf_program *p;

	bpf_object__for_each_program(p, o) {
		bool wanted = false;

		for (size_t i = 0; i < NAT64_PROGRAMS; i++)
			wanted |= (programs >> i & 1) != 0 && strcmp(bpf_program__name(p), functions[i]) == 0;
		(void)!bpf_program__set_autoload(p, wanted);
	}
}

static int load(struct bpf_object *o, uint32_t programs, struct errmsg *why)
{
	AUTO_FREE char *log = calloc(1, LOG_BYTES);
	struct bpf_program *p;
	int err;

	if (log == NULL)
		return errmsg_set(why, -ENOMEM, "load the translator's programs");
	choose(o, programs);
	err = bpf_object__load(o);
	if (err == 0)
		return 0;
	/* Again for the words, at the price of time, which no longer matters. */
	AUTO_OBJECT struct bpf_object *again = NULL;
	struct errmsg nothing;
	if (err != -ENOMEM && err != -E2BIG && open_object(&again, &nothing) == 0) {
		choose(again, programs);
		bpf_object__for_each_program(p, again) {
			(void)!bpf_program__set_log_buf(p, log, LOG_BYTES);
			(void)!bpf_program__set_log_level(p, 1);
		}
		(void)!bpf_object__load(again);
	}
	return say_load(why, err, log);
}

/* Maps of the instance that are there are used again; the object's sizes are then those of the maps. */
static int reuse_maps(struct nat64 *n, struct bpf_object *o, struct errmsg *why)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, o) {
		if (!is_state(map))
			continue;
		AUTO_FD int fd = pin_get(n->dir, bpf_map__name(map));
		if (fd == -ENOENT)
			continue;
		int err = fd < 0 ? fd : bpf_map__reuse_fd(map, fd);
		if (err != 0)
			return errmsg_set(why, err, "use the table '%s' of translator '%s' again", bpf_map__name(map), n->name);
	}
	return 0;
}

static int pin_maps(struct nat64 *n, struct bpf_object *o, struct errmsg *why)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, o) {
		int err = is_state(map) ? pin_set(n->dir, bpf_map__name(map), bpf_map__fd(map)) : 0;

		if (err != 0 && err != -EEXIST)
			return errmsg_set(why, err, "pin the table '%s' of translator '%s'", bpf_map__name(map), n->name);
	}
	return 0;
}

/* In place of what has the name, by one step. */
static int pin_over(int dir, const char *name, int fd)
{
	char temporary[32];
	int err;

	(void)snprintf(temporary, sizeof(temporary), "%s-new", name);
	err = pin_remove(dir, temporary);
	if (err == 0)
		err = pin_set(dir, temporary, fd);
	if (err == 0 && renameat(dir, temporary, dir, name) != 0)
		err = -errno;
	return err;
}

static int pin_programs(struct nat64 *n, struct bpf_object *o, uint32_t programs, struct errmsg *why)
{
	for (size_t i = 0; i < NAT64_PROGRAMS; i++) {
		struct bpf_program *p = bpf_object__find_program_by_name(o, functions[i]);
		int err;

		if ((programs >> i & 1) == 0)
			continue;
		if (p == NULL)
			return errmsg_say(why, -EOPNOTSUPP, "this prickle carries no program '%s'", nat64_program_pins[i]);
		err = pin_over(n->dir, nat64_program_pins[i], bpf_program__fd(p));
		if (err != 0)
			return errmsg_set(why, err, "pin the program '%s' of translator '%s'", nat64_program_pins[i], n->name);
		nat64_step(n, "a program is pinned");
	}
	return 0;
}

int objects_make(struct nat64 *n, const struct nat64_settings *settings, struct errmsg *why)
{
	AUTO_OBJECT struct bpf_object *o = NULL;
	int err = open_object(&o, why);

	if (err == 0)
		err = set_sizes(o, settings, why);
	if (err == 0)
		err = load(o, 1u << NAT64_PROGRAM_CALL, why);
	if (err == 0)
		err = pin_maps(n, o, why);
	nat64_step(n, "maps are pinned");
	return err != 0 ? err : pin_programs(n, o, 1u << NAT64_PROGRAM_CALL, why);
}

int objects_make_slow_stats(struct nat64 *n, struct errmsg *why)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);
	int err;

	if (nat64_map(n, NAT64_SLOW_STATS) >= 0)
		return 0;
	AUTO_FD int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "nat64_slow", 4, sizeof(struct xlat_stats), 1, &opts);
	err = fd < 0 ? -errno : pin_set(n->dir, NAT64_SLOW_STATS, fd);
	return err == 0 ? 0 : errmsg_set(why, err, "make the counters of the slow path");
}

int objects_load(struct nat64 *n, uint32_t programs, struct errmsg *why)
{
	AUTO_OBJECT struct bpf_object *o = NULL;
	int err = open_object(&o, why);

	if (err == 0)
		err = reuse_maps(n, o, why);
	if (err == 0)
		err = load(o, programs, why);
	/* Maps that the older object did not have. */
	if (err == 0)
		err = pin_maps(n, o, why);
	if (err == 0)
		err = pin_programs(n, o, programs, why);
	if (err == 0 && n->call_fd >= 0 && (programs & 1u << NAT64_PROGRAM_CALL) != 0) {
		close(n->call_fd);
		n->call_fd = -1;
	}
	return err;
}

int objects_program(struct nat64 *n, enum nat64_program program, struct errmsg *why)
{
	int fd = pin_get(n->dir, nat64_program_pins[program]);

	if (fd == -ENOENT) {
		int err = objects_load(n, 1u << program, why);
		if (err != 0)
			return err;
		fd = pin_get(n->dir, nat64_program_pins[program]);
	}
	return fd >= 0 ? fd : errmsg_set(why, fd, "open the program '%s' of translator '%s'", nat64_program_pins[program], n->name);
}
