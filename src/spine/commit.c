/*
 * From records to a running dispatcher, and what is left over afterwards.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spine/attach.h"
#include "spine/code/dispatch.h"
#include "spine/device_private.h"
#include "spine/pins.h"
#include "spine/sets.h"

#define RULES_BYTES (64u << 20)

/* --- which generation is in force ----------------------------------------------------------- */

static uint64_t generation_of(const char *name)
{
	uint64_t n;

	return strncmp(name, "gen-", 4) == 0 && slice_u64(slice_str(name + 4), UINT64_MAX, &n) ? n : 0;
}

static int match_generation(void *arg, int dir, const char *name, bool is_dir)
{
	struct spine_device *d = arg;
	char path[64];
	uint64_t g = generation_of(name);

	if (!is_dir || g == 0 || snprintf(path, sizeof(path), "%s/prog", name) >= (int)sizeof(path))
		return 0;
	AUTO_FD int fd = pin_get(dir, path);
	if (fd < 0 && fd != -ENOENT)
		return fd;
	if (fd >= 0 && pin_prog_id(fd) == d->attached.prog_id) {
		d->generation = g;
		d->ours = true;
		return 1;
	}
	return 0;
}

/* --- which records are ------------------------------------------------------------------------ */

static bool in_force(const struct spine_device *d, const struct spine_record *r)
{
	return r->generation <= d->generation &&
	       (r->removed_generation == 0 || r->removed_generation > d->generation);
}

/* Of two versions of one extension: `next` is the one that runs. `now` NULL: there is no other. */
static bool next_wins(const struct spine_device *d, const struct spine_record *now, const struct spine_record *next)
{
	if (!in_force(d, next))
		return false;
	if (now == NULL || !in_force(d, now))
		return true;
	if (now->slot != next->slot)
		return next->generation > now->generation;
	return now->prog_id != next->prog_id && device_slot_prog(d, next->slot) == next->prog_id;
}

static int read_below(int dir, const char *parent, const char *name, struct spine_record *out)
{
	char path[64 + SPINE_NAME_BYTES];

	if (snprintf(path, sizeof(path), "%s/%s", parent, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	AUTO_FD int fd = pin_dir(dir, path, false);
	return fd < 0 ? fd : record_read(fd, out);
}

struct listing {
	struct spine_device *d;
	const char *parent, *other;
};

static int list_one(void *arg, int dir, const char *name, bool is_dir)
{
	struct listing *l = arg;
	struct spine_device *d = l->d;
	struct spine_record a, b;
	bool has_b, next = strcmp(l->parent, "next") == 0;
	int err;

	(void)dir;
	if (!is_dir || d->count == SPINE_SLOTS_MAX)
		return 0;
	err = read_below(d->dir, l->parent, name, &a);
	d->damaged += err == -EBADMSG;
	/* None yet, or none any more. Not to be able to look is no reason to take it for gone. */
	if (err != 0)
		return err == -ENOENT || err == -EBADMSG ? 0 : err;
	err = read_below(d->dir, l->other, name, &b);
	if (err != 0 && err != -ENOENT && err != -EBADMSG)
		return err;
	has_b = err == 0;
	if (next ? !next_wins(d, has_b ? &b : NULL, &a) : !in_force(d, &a) || (has_b && next_wins(d, &a, &b)))
		return 0;
	d->records_store[d->count] = a;
	d->records[d->count] = &d->records_store[d->count];
	d->count++;
	return 0;
}

static int by_order(const void *left, const void *right)
{
	const struct spine_record *a = *(const struct spine_record *const *)left,
				  *b = *(const struct spine_record *const *)right;

	if (a->order != b->order)
		return a->order < b->order ? -1 : 1;
	return a->sequence < b->sequence ? -1 : a->sequence > b->sequence;
}

int device_refresh(struct spine_device *d, struct errmsg *why)
{
	uint32_t key = 0;
	int err = attach_query(d->ifindex, false, &d->attached, why);

	if (err != 0)
		return err;
	d->ours = false;
	d->generation = 0;
	if (!d->exists)
		return 0;
	if (bpf_map_lookup_elem(d->meta_fd, &key, &d->meta) != 0)
		return errmsg_set(why, -errno, "read the state of %s", d->name);
	if (d->attached.kind != ATTACH_NONE)
		err = pin_each(d->dir, match_generation, d);
	if (err < 0)
		return errmsg_set(why, err, "look at the dispatchers of %s", d->name);
	/* Detached by somebody, or another program took our place: what was last known holds. */
	if (!d->ours)
		d->generation = d->meta.generation;
	d->count = d->damaged = 0;
	for (int next = 0; next < 2; next++) {
		AUTO_FD int dir = pin_dir(d->dir, next ? "next" : "ext", false);
		struct listing l = { d, next ? "next" : "ext", next ? "ext" : "next" };

		err = dir < 0 ? dir : pin_each(dir, list_one, &l);
		if (err != 0 && err != -ENOENT)
			return errmsg_set(why, err, "look at the extensions of %s", d->name);
	}
	qsort(d->records, d->count, sizeof(d->records[0]), by_order);
	return 0;
}

/* --- what is left over ------------------------------------------------------------------------- */

static int drop_generation(void *arg, int dir, const char *name, bool is_dir)
{
	struct spine_device *d = arg;
	uint64_t g = generation_of(name);

	if (is_dir && g != 0 && g != d->generation)
		(void)pin_remove(dir, name);
	return 0;
}

/* A version that is in force and not yet in its place takes it; the names change in one step. */
static int settle_next(void *arg, int dir, const char *name, bool is_dir)
{
	struct spine_device *d = arg;
	struct spine_record now, next;
	int err = read_below(d->dir, "ext", name, &now);
	bool has_now = err == 0;

	(void)is_dir;
	if (err != 0 && err != -ENOENT)
		return err;
	if (read_below(d->dir, "next", name, &next) != 0 || !next_wins(d, has_now ? &now : NULL, &next))
		return 0;
	AUTO_FD int ext = pin_dir(d->dir, "ext", true);
	if (ext >= 0 && renameat2(dir, name, ext, name, RENAME_EXCHANGE) != 0 && errno == ENOENT)
		(void)!renameat(dir, name, ext, name);
	return 0;
}

static int drop_one(void *arg, int dir, const char *name, bool is_dir)
{
	(void)arg;
	(void)is_dir;
	(void)pin_remove(dir, name);
	return 0;
}

static int drop_dead(void *arg, int dir, const char *name, bool is_dir)
{
	struct spine_device *d = arg;
	struct spine_record r;
	struct errmsg why;
	int err = read_below(d->dir, "ext", name, &r);

	(void)is_dir;
	if (err != 0 && err != -ENOENT)
		return 0;	/* another version's, or not to be read now: not ours to judge */
	if (err != 0 || !in_force(d, &r)) {
		(void)pin_remove(dir, name);
	} else if (r.removed_generation != 0) {
		AUTO_FD int fd = pin_dir(dir, name, false);

		r.removed_generation = 0;	/* a removal that did not come to pass */
		if (fd >= 0)
			(void)!record_write(fd, &r, &why);
	}
	return 0;
}

/* Slots whose program nobody in force owns. */
static void empty_slots(struct spine_device *d, const bool *owned)
{
	for (uint32_t i = 0; i < SPINE_SLOTS_MAX; i++) {
		if (owned[i] || (d->control->slot[i].state == SPINE_SLOT_FREE && device_slot_prog(d, i) == 0))
			continue;
		(void)bpf_map_delete_elem(d->slots_fd, &i);
		d->control->slot[i] = (struct spine_slot_control){ .state = SPINE_SLOT_FREE };
	}
}

void device_collect(struct spine_device *d, bool keep_next)
{
	bool owned[SPINE_SLOTS_MAX] = { 0 };
	struct errmsg why;

	if (!d->exists || device_refresh(d, &why) != 0)
		return;
	if (d->ours && d->meta.generation != d->generation) {
		d->meta.generation = d->generation;
		(void)!device_write_meta(d, &why);
	}
	(void)pin_each(d->dir, drop_generation, d);
	AUTO_FD int next = pin_dir(d->dir, "next", false);
	if (next >= 0 && pin_each(next, settle_next, d) != 0)
		return;
	if (next >= 0 && !keep_next) {
		(void)pin_each(next, drop_one, NULL);
		(void)unlinkat(d->dir, "next", AT_REMOVEDIR);
	}
	AUTO_FD int ext = pin_dir(d->dir, "ext", false);
	if (ext >= 0)
		(void)pin_each(ext, drop_dead, d);
	if (device_refresh(d, &why) != 0 || d->damaged > 0)
		return;
	for (size_t i = 0; i < d->count; i++)
		owned[d->records[i]->slot] = true;
	if (d->kept_slot >= 0 && keep_next)
		owned[d->kept_slot] = true;
	empty_slots(d, owned);
}

/* --- the dispatcher ------------------------------------------------------------------------------ */

/* Nothing comes after it: a tail call, or no verdict goes on. */
static bool final(const struct spine_record *r)
{
	return r->terminal != 0 || r->continues == 0;
}

static int check_shadows(const struct spine_record **records, const struct rule *const *rules, size_t count,
			 struct errmsg *why)
{
	for (size_t i = 0; i < count; i++)
		for (size_t j = i + 1; final(records[i]) && j < count; j++)
			if (rule_covers(rules[i], rules[j]))
				return errmsg_say(why, -EPERM, "'%s' is terminal and its rule '%.120s' takes every packet of "
						  "'%s' (rule '%.120s'), which would never run: give '%s' a lower --order, "
						  "or a rule of its own", records[i]->name,
						  *records[i]->match == '\0' ? "all" : records[i]->match, records[j]->name,
						  *records[j]->match == '\0' ? "all" : records[j]->match, records[j]->name);
	return 0;
}

/* The instructions name the sets by descriptors, so these stay open until they are loaded. */
static int build(struct spine_device *d, const struct spine_record **records, size_t count, struct sets_open *sets,
		 struct program **out, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(RULES_BYTES);
	const struct rule *rules[SPINE_SLOTS_MAX];
	struct dispatch_slot slots[SPINE_SLOTS_MAX];
	struct dispatch_spec spec = {
		.slots = slots, .count = count, .control_fd = d->control_fd, .stats_fd = d->stats_fd,
		.slots_fd = d->slots_fd, .trace_fd = d->trace_fd, .cpus = d->cpus, .hz = d->control->hz,
		.sets = { sets_fd, sets },
	};
	int err = 0;

	for (size_t i = 0; err == 0 && i < count; i++) {
		struct errmsg what;

		err = rule_parse(&arena, slice_str(records[i]->match), &rules[i], &what);
		if (err != 0)
			return errmsg_say(why, err, "rule of '%s': %s", records[i]->name, what.text);
		slots[i] = (struct dispatch_slot){
			.slot = (uint16_t)records[i]->slot, .rule = rules[i], .terminal = records[i]->terminal != 0,
			.redirects = records[i]->redirects != 0, .tail_calls = records[i]->tail_calls != 0,
		};
	}
	err = check_shadows(records, rules, count, why);
	if (err == 0)
		err = dispatch_build(&spec, out, why);
	return err;
}

static int pin_generation(struct spine_device *d, uint64_t generation, int prog_fd, struct errmsg *why)
{
	char name[32];
	int err;

	(void)snprintf(name, sizeof(name), "gen-%llu", (unsigned long long)generation);
	AUTO_FD int dir = pin_dir(d->dir, name, true);
	err = dir < 0 ? dir : pin_set(dir, "prog", prog_fd);
	return err == 0 ? 0 : errmsg_set(why, err, "pin the dispatcher of %s", d->name);
}

static int old_dispatcher(const struct spine_device *d)
{
	char name[48];

	(void)snprintf(name, sizeof(name), "gen-%llu/prog", (unsigned long long)d->generation);
	return pin_get(d->dir, name);
}

/* Nothing is attached: a link of ours. What was pinned as `link` belongs to an attachment that has ended. */
static int attach_fresh(struct spine_device *d, int prog_fd, struct errmsg *why)
{
	enum attach_mode used;
	int err = pin_remove(d->dir, "link");

	if (err != 0)
		return errmsg_set(why, err, "remove the old link of %s", d->name);
	d->meta.kind = ATTACH_LINK;
	d->meta.mode = d->mode;
	d->meta.foreign_link = 0;
	err = device_write_meta(d, why);
	if (err != 0)
		return err;
	AUTO_FD int link = attach_link(d->ifindex, prog_fd, d->mode, &used, why);
	if (link < 0)
		return link;
	device_step(d, "attached");
	err = pin_set(d->dir, "link", link);
	if (err != 0)
		return errmsg_set(why, err, "pin the link of %s", d->name);
	d->meta.mode = used;
	if (used == ATTACH_GENERIC && d->mode == ATTACH_AUTO)
		(void)errmsg_say(&d->notice, 0, "the driver of %s has no native XDP: attached in generic mode, which is slower "
				 "and sees packets after the kernel has made buffers for them", d->name);
	return 0;
}

/* Put the new dispatcher where the old program is: the atomic step. */
static int attach(struct spine_device *d, int prog_fd, int before_fd, struct errmsg *why)
{
	int err;

	if (d->attached.kind == ATTACH_NONE)
		return attach_fresh(d, prog_fd, why);
	if (d->mode != ATTACH_AUTO && d->mode != (enum attach_mode)d->meta.mode && d->notice.text[0] == '\0')
		(void)errmsg_say(&d->notice, 0, "%s is attached in another mode than --mode says, and stays so until its last "
				 "extension is removed", d->name);
	AUTO_FD int old = before_fd >= 0 ? fcntl(before_fd, F_DUPFD_CLOEXEC, 3) : old_dispatcher(d);
	if (old < 0)
		return errmsg_set(why, old, "open the program that %s runs", d->name);
	if (d->meta.kind == ATTACH_NETLINK)
		return attach_netlink(d->ifindex, prog_fd, old, (enum attach_mode)d->meta.mode, why);
	AUTO_FD int link = pin_get(d->dir, "link");
	if (link < 0)
		return errmsg_set(why, link, "open the link of %s", d->name);
	err = attach_link_update(link, prog_fd, old, why);
	return err;
}

static int load_dispatcher(struct spine_device *d, const struct spine_record **records, size_t count, struct errmsg *why)
{
	struct sets_open sets = { .dir = d->dir };
	struct program *program = NULL;
	char name[BPF_OBJ_NAME_LEN];
	int fd = build(d, records, count, &sets, &program, why);

	(void)snprintf(name, sizeof(name), "spine_%.9s", d->name);
	for (char *c = name; *c != '\0'; c++)
		*c = ascii_alpha((uint8_t)*c) || ascii_digit((uint8_t)*c) ? *c : '_';
	if (fd == 0)
		fd = dispatch_load(program, name, d->meta.frags != 0, (enum bpf_attach_type)d->meta.attach_type, why);
	sets_close(&sets);
	program_free(program);
	return fd;
}

int device_commit(struct spine_device *d, const struct spine_record **records, size_t count, int before_fd,
		  struct errmsg *why)
{
	uint64_t generation = d->generation + 1;
	int err;

	qsort(records, count, sizeof(records[0]), by_order);
	AUTO_FD int fd = load_dispatcher(d, records, count, why);
	if (fd < 0)
		return fd;
	device_step(d, "dispatcher is loaded");
	err = pin_generation(d, generation, fd, why);
	if (err != 0)
		return err;
	device_step(d, "dispatcher is pinned");
	err = attach(d, fd, before_fd, why);
	if (err != 0)
		return err;
	device_step(d, "committed");
	d->generation = d->meta.generation = generation;
	err = device_write_meta(d, why);
	/* Packets under way may still be in the old dispatcher, which calls slots that are emptied next. */
	attach_settle();
	device_step(d, "settled");
	return err;
}

/* --- the end ---------------------------------------------------------------------------------------- */

static bool gives_back(const struct spine_device *d)
{
	for (size_t i = 0; i < d->count; i++)
		if (d->records[i]->source == SOURCE_TAKEN_OVER)
			return true;
	return d->meta.foreign_link != 0;	/* a link always has a program */
}

static int give_back(struct spine_device *d, struct errmsg *why)
{
	AUTO_FD int before = gives_back(d) ? pin_get(d->dir, "before") : -1;
	AUTO_FD int old = old_dispatcher(d);
	AUTO_FD int link = pin_get(d->dir, "link");

	if (gives_back(d) && before < 0)
		return errmsg_set(why, before, "open the program that %s ran before", d->name);
	if (old < 0)
		return errmsg_set(why, old, "open the dispatcher of %s", d->name);
	if (d->meta.kind == ATTACH_NETLINK)
		return attach_netlink(d->ifindex, before, old, (enum attach_mode)d->meta.mode, why);
	if (link < 0)
		return errmsg_set(why, link, "open the link of %s", d->name);
	if (d->meta.foreign_link != 0)
		return attach_link_update(link, before, old, why);
	/* Ours, the last reference ends it. */
	return bpf_link_detach(link) == 0 ? 0 : errmsg_set(why, -errno, "detach from %s", d->name);
}

int device_restore(struct spine_device *d, struct errmsg *why)
{
	int err;

	/* With no generation, records are leftovers as soon as our dispatcher is not attached any more. */
	d->meta.generation = 0;
	err = device_write_meta(d, why);
	device_step(d, "the end is written");
	if (err == 0 && d->ours)
		err = give_back(d, why);
	if (err != 0)
		return err;
	device_step(d, "given back");
	attach_settle();
	err = device_wipe(d);
	if (err != 0)
		return errmsg_set(why, err, "remove the state of %s", d->name);
	d->ours = false;
	return 0;
}
