/*
 * Extensions come, change, rest and go: install, replace, enable, remove.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spine/confine.h"
#include "spine/device_private.h"
#include "spine/load.h"
#include "spine/pins.h"

/*
 * Without frags a frame must fit one page with XDP's headroom and the kernel's tail: drivers stop between 3498
 * (many) and 3506 (veth). Above, only dispatchers with frags attach.
 */
#define MTU_ONE_BUFFER 3498

/* What is to be loaded, and what came of it. */
struct loading {
	const struct object *object;
	const struct object_program *entry;
	struct loaded *loaded;
	char name[SPINE_NAME_BYTES];
};

static int interface_mtu(const struct spine_device *d)
{
	struct ifreq r = { 0 };
	AUTO_FD int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(r.ifr_name, d->name, sizeof(r.ifr_name));
	return s >= 0 && ioctl(s, SIOCGIFMTU, &r) == 0 ? r.ifr_mtu : 1500;
}

static bool can_frags(const struct loading *l)
{
	return l->entry->frags || (l->object->manifest->flags & SPINE_FRAGS) != 0;
}

/* --- loading ------------------------------------------------------------------------------------ */

static int read_object(const struct install_request *r, const char *name, struct loading *l,
		       struct spine_change *c)
{
	const char *called;
	int err = object_parse(c->arena, r->object, &l->object, &c->why);

	if (err != 0)
		return err;
	if (l->object->manifest == NULL)
		return errmsg_say(&c->why, -EINVAL, "the object has no manifest (section \"%s\"): write SPINE_EXTENSION(...) "
				  "of <prickle/spine.h>, or load it with its own program and `prickle spine adopt` that",
				  SPINE_MANIFEST_SECTION);
	l->entry = object_entry(l->object);
	if (l->entry == NULL)
		return errmsg_say(&c->why, -EINVAL, "the object must have one SEC(\"xdp\") program, it has none or several");
	called = name != NULL ? name : l->object->manifest->name;
	err = record_check_name(called, &c->why);
	if (err != 0)
		return err;
	memcpy(l->name, called, strlen(called) + 1);
	return 0;
}

/* A device's class is that of its first extension; jumbo frames leave no choice. */
static int choose_class(struct spine_device *d, const struct loading *l, struct errmsg *why)
{
	struct spine_class class = { .frags = l->entry->frags, .attach_type = BPF_XDP };
	int mtu = interface_mtu(d);

	if (d->exists)
		class = (struct spine_class){ d->meta.frags != 0, d->meta.attach_type };
	else if (mtu > MTU_ONE_BUFFER && d->mode != ATTACH_GENERIC)	/* generic mode copies a frame into one buffer */
		class.frags = true;
	if (class.frags && !can_frags(l))
		return errmsg_say(why, -EPERM, "'%s' handles packets in one buffer, but %s %s: give its manifest "
				  ".flags = SPINE_FRAGS if it can work with packets in several buffers%s", l->name, d->name,
				  d->exists ? "runs extensions for several (frags)" :
					      "has an MTU that needs several (frags)",
				  d->exists ? "" : ", or run it slower with --mode generic");
	return device_make(d, class, why);
}

static int load(struct spine_device *d, const struct install_request *r, struct loading *l,
		const struct spine_record *old, int old_dir, const struct old_maps *old_maps, struct spine_change *c)
{
	const struct spine_rights *judged = NULL;
	struct load_request request = {
		.judged = &judged, .object = r->object, .parsed = l->object, .signature = r->signature, .policy = d->view,
		.device = d->name, .name = l->name,
		.class = { d->meta.frags != 0, d->meta.attach_type }, .accept_unbounded = r->accept_unbounded,
		.old_maps_dir = old_dir, .old_maps = old_maps,
		.old_state_id = old != NULL ? old->state_id : 0, .keeper = d->keeper,
	};

	int err = spine_load(c->arena, &request, &l->loaded, &c->report, &c->why);
	c->decision = err == -EPERM ? device_audit_tell(d, judged, &c->report) : 0;
	return err;
}

static void fill_record(struct spine_record *out, const struct install_request *r, const struct loading *l)
{
	const struct spine_manifest *m = l->object->manifest;
	const struct loaded *loaded = l->loaded;
	bool wants_terminal = r->terminal || (m->flags & SPINE_TERMINAL) != 0;
	bool may_terminal = r->terminal || loaded->tier == TIER_VETTED || loaded->rights->terminal;
	/* Nobody masks what it returns: so that must be shown beforehand. */
	bool masked = (loaded->report.verdicts & ~(m->verdicts | SPINE_ABORTED)) != 0;

	*out = (struct spine_record){
		.abi = SPINE_RECORD_ABI, .source = SOURCE_INSTALLED, .tier = loaded->tier,
		.order = r->order >= 0 ? (uint32_t)r->order : m->order,
		/* Without the right to a tail call it still is the last one for its packets. */
		.terminal = wants_terminal && may_terminal && !masked,
		.continues = wants_terminal ? 0 : m->continues,
		.fail_closed = (m->flags & SPINE_FAIL_CLOSED) != 0,
		.redirects = loaded->report.redirects, .tail_calls = loaded->report.tail_calls,
		.verdicts = m->verdicts, .prog_id = pin_prog_id(loaded->entry_fd), .cost = loaded->report.cost,
		.memory_bytes = loaded->memory_bytes, .installed_at_s = record_now_s(), .state_id = m->state_id,
		.channels = (uint32_t)loaded->channel_count, .handlers = (uint32_t)l->object->handler_count,
		.cpu_permille = m->cpu_permille,
		.by_operator = (r->order >= 0 ? OPERATOR_ORDER : 0u) | (r->terminal ? OPERATOR_TERMINAL : 0u) |
			       (r->accept_unbounded ? OPERATOR_UNBOUNDED : 0u),
	};
	/* The policy bounds what a manifest asks for. */
	if (loaded->rights->cpu_permille != 0 && (out->cpu_permille == 0 || out->cpu_permille > loaded->rights->cpu_permille))
		out->cpu_permille = loaded->rights->cpu_permille;
	memcpy(out->name, l->name, sizeof(out->name));
	memcpy(out->version, m->version, sizeof(out->version));
	memcpy(out->match, m->match, sizeof(out->match));
	memcpy(out->digest, loaded->digest, sizeof(out->digest));
	memcpy(out->signer, loaded->signer, sizeof(out->signer));
}

static int write_place(const struct spine_device *d, int dir, const struct loaded *l, struct errmsg *why)
{
	struct spine_place place = { .abi = SPINE_RECORD_ABI, .checks = l->checks, .epoch = d->view->epoch };

	memcpy(place.guarded, l->guarded, sizeof(place.guarded));
	if (d->view->directory != NULL)
		memcpy(place.directory, d->view->directory, strlen(d->view->directory) + 1);	/* device_policy: it fits */
	return place_write(dir, &place, why);
}

/* Pin a version below ext or next; the record comes last. */
static int pin_version(struct spine_device *d, const char *parent, const struct spine_record *r,
		       const struct loaded *loaded, struct slice object, struct errmsg *why)
{
	int err;
	AUTO_FD int above = pin_dir(d->dir, parent, true);

	if (above < 0)
		return errmsg_set(why, above, "pin '%s'", r->name);
	err = pin_remove(above, r->name);
	if (err != 0)
		return errmsg_set(why, err, "remove what is left of an earlier '%s'", r->name);
	AUTO_FD int dir = pin_dir(above, r->name, true);
	if (dir < 0)
		return errmsg_set(why, dir, "pin '%s'", r->name);
	err = loaded_pin(loaded, dir, why);
	if (err == 0)
		err = object_write(dir, object, why);
	if (err == 0)
		err = write_place(d, dir, loaded, why);
	if (err == 0) {
		device_step(d, "version is pinned");
		err = record_write(dir, r, why);
	}
	device_step(d, "record is written");
	return err;
}

static int confine(struct spine_device *d, bool wanted, struct errmsg *why)
{
	device_audit_open(d);
	if (!wanted)
		return 0;
	d->keeper = spine_load_keeper(why);
	if (d->keeper < 0)
		return d->keeper;
	d->confined = true;
	return spine_confine(why);
}

/* --- install -------------------------------------------------------------------------------------- */

static void tell_terminal(struct spine_device *d, const struct install_request *r, const struct spine_record *record)
{
	if (r->terminal && record->terminal == 0 && d->notice.text[0] == '\0')
		(void)errmsg_say(&d->notice, 0, "'%s' is the last one for its packets, but not by a tail call: it cannot be shown "
				 "that it returns only the verdicts of its manifest, so they are masked", record->name);
}

static int add(struct spine_device *d, const struct install_request *r, const struct spine_record *taken, int before_fd,
	       struct loading *l, struct spine_change *c)
{
	const struct spine_record *records[SPINE_SLOTS_MAX + 2];
	struct spine_record record;
	size_t count = d->count;
	int slot, err;

	fill_record(&record, r, l);
	slot = device_free_slot(d, taken != NULL ? (int)taken->slot : -1, &c->why);
	if (slot < 0)
		return slot;
	record.slot = (uint32_t)slot;
	record.sequence = ++d->meta.sequence;
	record.generation = d->generation + 1;
	err = device_write_meta(d, &c->why);
	if (err == 0)
		err = pin_version(d, "ext", &record, l->loaded, r->object, &c->why);
	if (err == 0)
		err = device_fill_slot(d, &record, l->loaded->entry_fd, &c->why);
	if (err != 0)
		return err;
	device_step(d, "slot is filled");
	memcpy(records, d->records, count * sizeof(records[0]));
	if (taken != NULL)
		records[count++] = taken;
	records[count++] = &record;
	err = device_commit(d, records, count, before_fd, &c->why);
	if (err == 0)
		tell_terminal(d, r, &record);
	return err;
}

static void tell_state(struct spine_device *d, const struct loaded *l)
{
	if (l->state_dropped && d->notice.text[0] == '\0')
		(void)errmsg_say(&d->notice, 0, "the maps of the old version do not fit the new one, which begins empty");
}

int spine_install(struct spine_device *d, const struct install_request *r, struct spine_change *c)
{
	struct loading l = { 0 };
	struct spine_record taken;
	bool took;
	AUTO_FD int before = -1;
	int err = device_policy(d, NULL, &c->why);

	if (err == 0)
		err = device_take_over(d, &taken, &took, &before, &c->why);
	if (err == 0)
		err = confine(d, r->confine, &c->why);
	if (err == 0)
		err = read_object(r, r->name, &l, c);
	if (err == 0 && (spine_device_find(d, l.name) != NULL || (took && strcmp(taken.name, l.name) == 0)))
		err = errmsg_say(&c->why, -EEXIST, "%s has an extension '%s' already: `prickle spine replace %s FILE.o --dev "
				 "%s` puts a new version in its place, --name gives this one another name", d->name,
				 l.name, l.name, d->name);
	if (err == 0)
		err = choose_class(d, &l, &c->why);
	if (err == 0)
		err = load(d, r, &l, NULL, -1, NULL, c);
	if (err == 0)
		err = add(d, r, took ? &taken : NULL, before, &l, c);
	loaded_free(l.loaded);
	device_collect(d, false);
	return err;
}

/* --- replace --------------------------------------------------------------------------------------- */

static void sum_faults(const struct spine_device *d, uint32_t slot, uint64_t *packets, uint64_t *faults)
{
	*packets = *faults = 0;
	for (uint32_t cpu = 0; cpu < d->cpus; cpu++) {
		const struct spine_slot_stats *s = &d->stats[cpu].slot[slot];

		*packets += s->packets;
		for (int f = SPINE_FAULT_NONE + 1; f < SPINE_FAULT_OPERATOR; f++)
			*faults += s->faults[f];
	}
}

/* The dispatcher and the control block do not change: only the program does. */
static bool same_shape(const struct spine_record *a, const struct spine_record *b)
{
	return strcmp(a->match, b->match) == 0 && a->order == b->order && a->terminal == b->terminal &&
	       a->fail_closed == b->fail_closed && a->redirects == b->redirects && a->tail_calls == b->tail_calls &&
	       a->verdicts == b->verdicts && a->continues == b->continues && a->cpu_permille == b->cpu_permille;
}

/* The new version begins with the counters of the old one: they are the extension's. */
static void carry_stats(struct spine_device *d, uint32_t from, uint32_t to)
{
	for (uint32_t cpu = 0; cpu < d->cpus; cpu++)
		d->stats[cpu].slot[to] = d->stats[cpu].slot[from];
}

/* Make `to`, whose version is pinned and whose slot is filled, the one that runs instead of `from`. */
static int commit_other(struct spine_device *d, const struct spine_record *from, const struct spine_record *to,
			struct errmsg *why)
{
	const struct spine_record *records[SPINE_SLOTS_MAX];

	for (size_t i = 0; i < d->count; i++)
		records[i] = d->records[i] == from ? to : d->records[i];
	return device_commit(d, records, d->count, -1, why);
}

static int write_slot(struct spine_device *d, const struct spine_record *r, int prog_fd, struct errmsg *why)
{
	return bpf_map_update_elem(d->slots_fd, &r->slot, &prog_fd, BPF_ANY) == 0 ? 0 :
	       errmsg_set(why, -errno, "put '%s' into slot %u", r->name, r->slot);
}

static int exchange(struct spine_device *d, const struct spine_record *old, struct spine_record *new,
		    const struct loaded *loaded, struct slice object, struct errmsg *why)
{
	int err, slot = (int)old->slot;
	bool same = same_shape(old, new) && d->ours;

	if (!same) {
		slot = device_free_slot(d, -1, why);
		if (slot < 0)
			return slot;
		new->generation = d->generation + 1;
	}
	new->slot = (uint32_t)slot;
	err = pin_version(d, "next", new, loaded, object, why);
	if (err != 0)
		return err;
	if (same)
		return write_slot(d, new, loaded->entry_fd, why);
	err = device_fill_slot(d, new, loaded->entry_fd, why);
	if (err != 0)
		return err;
	carry_stats(d, old->slot, new->slot);
	d->kept_slot = (int)old->slot;
	return commit_other(d, old, new, why);
}

static int replace(struct spine_device *d, const struct spine_record *old, const struct install_request *r,
		   struct loading *l, struct spine_change *c)
{
	struct install_request kept = *r;
	struct spine_record new;

	if (kept.order < 0 && (old->by_operator & OPERATOR_ORDER) != 0)
		kept.order = old->order;
	if ((old->by_operator & OPERATOR_TERMINAL) != 0)
		kept.terminal = true;
	fill_record(&new, &kept, l);
	new.sequence = old->sequence;
	new.generation = old->generation;
	new.installed_at_s = old->installed_at_s;
	new.replaced_at_s = record_now_s();
	new.replaced = old->replaced + 1;
	sum_faults(d, old->slot, &d->watch_packets, &d->watch_faults);
	return exchange(d, old, &new, l->loaded, r->object, &c->why);
}

static int no_such(const struct spine_device *d, const char *name, struct errmsg *why)
{
	return errmsg_say(why, -ENOENT, "%s has no extension '%.40s'; `prickle spine list --dev %s` shows them", d->name,
			  name, d->name);
}

static int open_maps_of(const struct spine_device *d, const char *name)
{
	char path[SPINE_NAME_BYTES + 16];

	(void)snprintf(path, sizeof(path), "ext/%s/maps", name);
	return pin_dir(d->dir, path, false);
}

int spine_replace(struct spine_device *d, const char *name, const struct install_request *r, struct spine_change *c)
{
	const struct spine_record *old = spine_device_find(d, name);
	struct spine_place place;
	struct loading l = { 0 };
	int err;

	if (old == NULL)
		return no_such(d, name, &c->why);
	AUTO_FD int maps = open_maps_of(d, name);
	struct old_maps *old_maps = NULL;
	err = spine_load_old_maps(maps < 0 ? -1 : maps, &old_maps, &c->why);
	if (err == 0)
		err = device_policy(d, spine_device_place(d, name, &place) == 0 ? place.directory : NULL, &c->why);
	if (err == 0)
		err = confine(d, r->confine, &c->why);
	if (err == 0)
		err = read_object(r, name, &l, c);
	if (err == 0)
		err = choose_class(d, &l, &c->why);
	if (err == 0)
		err = load(d, r, &l, old, maps < 0 ? -1 : maps, old_maps, c);
	spine_load_old_maps_free(old_maps);
	if (err == 0)
		err = replace(d, old, r, &l, c);
	if (err == 0)
		tell_state(d, l.loaded);
	loaded_free(l.loaded);
	if (err == 0 && d->kept_slot < 0)
		attach_settle();
	device_collect(d, err == 0);
	if (err == 0)
		device_step(d, "replaced");
	return err;
}

/*
 * On, off, or on again with a clean sheet. The first 8 bytes change at once: the dispatcher compares and
 * exchanges them (spine/code/layout.h).
 */
void device_set_state(struct spine_device *d, const struct spine_record *r, enum spine_slot_state state, uint32_t reason)
{
	struct spine_slot_control *c = &d->control->slot[r->slot], head = *c;
	uint64_t word;

	c->strike_jiffies = 0;
	for (uint32_t cpu = 0; cpu < d->cpus; cpu++)
		memset(d->stats[cpu].slot[r->slot].window_faults, 0, sizeof(d->stats[cpu].slot[r->slot].window_faults));
	head.state = (uint8_t)state;
	head.reason = reason;
	memcpy(&word, &head, sizeof(word));
	__atomic_store_n((uint64_t *)(void *)c, word, __ATOMIC_RELEASE);
}

/* The old version, in next/<name> since the replace, back into its place. */
static int roll_back(struct spine_device *d, const struct spine_record *now, struct errmsg *why)
{
	char path[SPINE_NAME_BYTES + 16];
	struct spine_record old;
	int err;

	(void)snprintf(path, sizeof(path), "next/%s", now->name);
	AUTO_FD int dir = pin_dir(d->dir, path, false);
	AUTO_FD int prog = dir < 0 ? dir : pin_get(dir, "prog");
	if (prog < 0)
		return errmsg_set(why, prog, "open the old version of '%s'", now->name);
	err = record_read(dir, &old);
	if (err != 0)
		return errmsg_set(why, err, "read the old version of '%s'", now->name);
	if (old.slot == now->slot) {
		err = write_slot(d, &old, prog, why);
		if (err == 0 && d->control->slot[now->slot].state == SPINE_SLOT_EJECTED)
			device_set_state(d, &old, SPINE_SLOT_ACTIVE, SPINE_FAULT_NONE);
	} else {
		old.generation = d->generation + 1;
		err = record_write(dir, &old, why);
		if (err == 0)
			err = commit_other(d, now, &old, why);
	}
	device_collect(d, false);
	return err;
}

int spine_replace_watch(struct spine_device *d, const char *name, uint32_t ms, struct spine_change *c)
{
	const struct spine_record *r = spine_device_find(d, name);
	uint64_t packets0, faults0, packets, faults;
	const char *reason = "";
	bool worse = false;

	if (r == NULL)
		return no_such(d, name, &c->why);
	packets0 = d->watch_packets;
	faults0 = d->watch_faults;
	for (uint32_t waited = 0; !worse; waited += 20) {
		struct timespec turn = { .tv_nsec = 20 * 1000 * 1000 };

		sum_faults(d, r->slot, &packets, &faults);
		packets = packets > packets0 ? packets - packets0 : 0;
		faults = faults > faults0 ? faults - faults0 : 0;
		/* Clearly more for its packets than the old one had for its own, and not one that may be chance. */
		worse = d->control->slot[r->slot].state == SPINE_SLOT_EJECTED ||
			(double)faults > 1.0 + 1.1 * (double)faults0 / (double)(packets0 + 1) * (double)(packets + 1);
		if (worse || waited >= ms)
			break;
		(void)nanosleep(&turn, NULL);
	}
	if (!worse) {
		d->kept_slot = -1;
		device_collect(d, false);
		return 0;
	}
	(void)spine_device_state(d, r, &reason);
	unsigned long long n = (unsigned long long)faults, of = (unsigned long long)packets;
	struct errmsg back;
	int err = roll_back(d, r, &back);
	if (err != 0)
		return errmsg_say(&c->why, err, "the new version of '%s' has faults (%llu in %llu packets), and the old one "
				  "could not be put back: %s", name, n, of, back.text);
	return errmsg_say(&c->why, -ECANCELED, "the new version of '%s' has faults (%llu in %llu packets%s%s): the old one runs "
			  "again", name, n, of, *reason == '\0' ? "" : "; ", reason);
}

int spine_swap(struct spine_device *d, const char *name, int prog_fd, struct errmsg *why)
{
	const struct spine_record *r = spine_device_find(d, name);

	return r == NULL ? no_such(d, name, why) : write_slot(d, r, prog_fd, why);
}

/* --- remove, enable --------------------------------------------------------------------------------- */

/* Nothing of ours is left but what was there before us. */
static bool is_last(const struct spine_device *d, const struct spine_record *gone)
{
	for (size_t i = 0; i < d->count; i++)
		if (d->records[i] != gone && d->records[i]->source != SOURCE_TAKEN_OVER)
			return false;
	return true;
}

int spine_remove(struct spine_device *d, const char *name, struct errmsg *why)
{
	const struct spine_record *records[SPINE_SLOTS_MAX], *r = spine_device_find(d, name);
	char path[SPINE_NAME_BYTES + 16];
	struct spine_record gone;
	size_t count = 0;
	int err;

	if (r == NULL)
		return no_such(d, name, why);
	if (is_last(d, r) && (r->source != SOURCE_TAKEN_OVER || d->count == 1))
		return device_restore(d, why);
	(void)snprintf(path, sizeof(path), "ext/%s", name);
	AUTO_FD int dir = pin_dir(d->dir, path, false);
	gone = *r;
	gone.removed_generation = d->generation + 1;
	err = dir < 0 ? errmsg_set(why, dir, "open extension '%s'", name) : record_write(dir, &gone, why);
	if (err != 0)
		return err;
	device_step(d, "removal is written");
	for (size_t i = 0; i < d->count; i++)
		if (d->records[i] != r)
			records[count++] = d->records[i];
	/* Another program took our place, or nothing is attached: a removal does not change that. */
	if (!d->ours) {
		d->generation = d->meta.generation = gone.removed_generation;
		err = device_write_meta(d, why);
	} else {
		err = device_commit(d, records, count, -1, why);
	}
	device_collect(d, false);
	return err;
}

int spine_enable(struct spine_device *d, const char *name, bool on, struct errmsg *why)
{
	const struct spine_record *r = spine_device_find(d, name);
	char path[SPINE_NAME_BYTES + 16];
	struct spine_place place;
	int err = 0;

	if (r == NULL)
		return no_such(d, name, why);
	if (on && spine_device_place(d, name, &place) == 0 && place.reason[0] != '\0')
		return errmsg_say(why, -EPERM, "'%.40s' is %s; it comes back by itself when `prickle policy apply` gives the right back",
				  name, place.reason);
	if (on && device_slot_prog(d, r->slot) == 0) {
		(void)snprintf(path, sizeof(path), "ext/%s/prog", name);
		AUTO_FD int prog = pin_get(d->dir, path);
		err = prog < 0 ? errmsg_set(why, prog, "open the program of '%s'", name) : write_slot(d, r, prog, why);
	}
	if (err != 0)
		return err;
	device_set_state(d, r, on ? SPINE_SLOT_ACTIVE : SPINE_SLOT_DISABLED, on ? SPINE_FAULT_NONE : SPINE_FAULT_OPERATOR);
	return 0;
}
