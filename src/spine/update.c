/*
 * A new policy reaches the extensions that run. What is read while they run (rows, ports, verdicts, shares of the processor) is written where they
 * read it; what they were linked and loaded with is judged again, as at installation, and who lost some of it is switched off.
 *
 * The second call of an apply (widen) does all of that for itself, taking before it gives: after a crash, or an upgrade of the shipped policy, there
 * was no first (policy_store_tell).
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spine/confine.h"
#include "spine/device_private.h"
#include "spine/host.h"
#include "spine/load_private.h"
#include "spine/pins.h"
#include "spine/row.h"
#include "spine/totals.h"

#define UPDATE_ARENA_BYTES (64u << 20)
#define JUDGE_ARENA_BYTES  (512u << 20)
#define OBJECT_BYTES_MAX   (64u << 20)

struct update {
	struct spine_policy_copy *copy;
	struct spine_policy_view view;
	bool widen;
	const struct spine_found *found;
	bool *seen;			/* of found */
	size_t count;
	struct errmsg *why;
};

/* One extension of one device. */
struct subject {
	struct update *update;
	struct spine_device *device;
	const struct spine_record *record;
	struct spine_place place;
	const struct spine_rights *rights;
	int dir, maps;			/* in bpffs */
};

static bool same_directory(const char *a, const char *b)
{
	AUTO_FREE char *x = realpath(a == NULL || *a == '\0' ? POLICY_STORE_DEFAULT : a, NULL);
	AUTO_FREE char *y = realpath(b == NULL || *b == '\0' ? POLICY_STORE_DEFAULT : b, NULL);

	return x != NULL && y != NULL && strcmp(x, y) == 0;
}

/* ---- what it was loaded with ---- */

/* Nothing masks what a terminal extension returns. */
static int judge_terminal(const struct subject *s, struct errmsg *why)
{
	uint32_t lost = s->record->verdicts & ~s->rights->verdicts;
	uint32_t v = 0;

	if (s->record->terminal == 0 || lost == 0)
		return 0;
	while ((lost >> v & 1) == 0)
		v++;
	return errmsg_say(why, -EPERM, "it is terminal, so its verdicts are its own, and %s (%s) may not '%s' on %s any more", s->rights->subject,
			  s->rights->from, spine_verdict_name(v), spine_device_name(s->device));
}

/* In a process of its own: the object was made by a stranger. */
static int judge(const struct subject *s, struct slice object, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(JUDGE_ARENA_BYTES);
	struct spine_rights asked = *s->rights;
	struct inspect_report report;
	struct load_request r = {
		.object = object, .name = s->record->name, .device = spine_device_name(s->device),
		.class = { s->device->meta.frags != 0, s->device->meta.attach_type },
		.accept_unbounded = (s->record->by_operator & OPERATOR_UNBOUNDED) != 0,
	};
	int err = spine_confine(why);

	/* What is checked or masked while it runs is no reason to end it. */
	asked.verdicts = SPINE_VERDICTS_ALL;
	asked.redirect |= (s->place.guarded[BPF_FUNC_redirect / 64] >> BPF_FUNC_redirect % 64 & 1) != 0;
	for (size_t i = 0; i < INSPECT_HELPER_WORDS; i++)
		asked.helpers[i] |= s->place.guarded[i];
	if (err == 0)
		err = object_parse(&arena, object, &r.parsed, why);
	if (err == 0)
		err = load_judge(&arena, &r, &asked, asked.vetted ? TIER_VETTED : TIER_UNTRUSTED, &report, why);
	if (err == -EPERM && report.finding_count > 0)
		(void)errmsg_say(why, err, "%s", report.findings[0].sentence);
	return err;
}

/* 0; -EPERM: it lost a right that it cannot run without, and *why says which; other errno: it cannot be told. */
static int judge_apart(const struct subject *s, struct slice object, struct errmsg *why)
{
	struct errmsg said = { .code = -EIO };
	int pipe_fds[2], status;
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC) != 0)
		return errmsg_set(why, -errno, "judge '%s' again", s->record->name);
	pid = fork();
	if (pid == 0) {
		struct errmsg mine = { 0 };

		mine.code = judge(s, object, &mine);
		_exit(write(pipe_fds[1], &mine, sizeof(mine)) == (ssize_t)sizeof(mine) ? 0 : 1);
	}
	close(pipe_fds[1]);
	if (pid > 0) {
		if (read(pipe_fds[0], &said, sizeof(said)) != (ssize_t)sizeof(said))
			(void)errmsg_say(&said, -EIO, "the process that judges '%s' again has died", s->record->name);
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	close(pipe_fds[0]);
	if (pid < 0)
		return errmsg_set(why, -errno, "start a process");
	said.text[sizeof(said.text) - 1] = '\0';
	return said.code == 0 ? 0 : errmsg_say(why, said.code, "%s", said.text);
}

static int lost(const struct subject *s, struct errmsg *why)
{
	AUTO_BUF struct buf object = BUF_INIT(OBJECT_BYTES_MAX);
	int err = judge_terminal(s, why);

	if (err == 0 && s->record->tier == TIER_VETTED && !s->rights->vetted)
		err = errmsg_say(why, -EPERM, "it was loaded as a signed object, and its domain (%s) does not name its key any more",
				 s->rights->from);
	if (err == 0)
		err = spine_device_object(s->device, s->record->name, &object, why);
	return err != 0 ? err : judge_apart(s, buf_slice(&object), why);
}

static int switch_off(struct subject *s, const struct errmsg *reason)
{
	struct errmsg *why = s->update->why;
	bool new = s->place.reason[0] == '\0';

	(void)snprintf(s->place.reason, sizeof(s->place.reason), "switched off by the policy: %.470s", reason->text);
	int err = place_write(s->dir, &s->place, why);
	/* A person's switch stays a person's. */
	if (err == 0 && s->device->control->slot[s->record->slot].state != SPINE_SLOT_DISABLED)
		device_set_state(s->device, s->record, SPINE_SLOT_DISABLED, SPINE_DISABLED_BY_POLICY);
	s->update->copy->disabled += new;
	return err;
}

static int switch_on(struct subject *s)
{
	const struct spine_slot_control *c = &s->device->control->slot[s->record->slot];

	s->place.reason[0] = '\0';
	if (c->state == SPINE_SLOT_DISABLED && c->reason == SPINE_DISABLED_BY_POLICY)
		device_set_state(s->device, s->record, SPINE_SLOT_ACTIVE, SPINE_FAULT_NONE);
	return 0;
}

/* ---- what it reads while it runs ---- */

static bool in_list(const uint32_t *list, size_t count, uint32_t one)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == one)
			return true;
	return false;
}

static int take_ports(int map, const uint32_t *ports, size_t count, uint32_t *taken)
{
	uint32_t key, next;
	bool more = bpf_map_get_next_key(map, NULL, &next) == 0;

	while (more) {
		key = next;
		more = bpf_map_get_next_key(map, &key, &next) == 0;
		if (in_list(ports, count, key))
			continue;
		if (bpf_map_delete_elem(map, &key) != 0 && errno != ENOENT)
			return -errno;
		(*taken)++;
	}
	return 0;
}

static int give_ports(int map, int egress, const uint32_t *ports, size_t count, uint32_t *given)
{
	for (size_t i = 0; i < count; i++) {
		struct bpf_devmap_val value = { 0 };

		if (bpf_map_lookup_elem(map, &ports[i], &value) == 0)
			continue;
		value = (struct bpf_devmap_val){ .ifindex = ports[i], .bpf_prog.fd = egress };
		if (bpf_map_update_elem(map, &ports[i], &value, BPF_ANY) != 0)
			return -errno;
		(*given)++;
	}
	return 0;
}

static int update_ports(struct subject *s, uint32_t *changed)
{
	struct errmsg *why = s->update->why;
	uint32_t ports[RIGHTS_PORTS_MAX];
	size_t count;
	AUTO_FD int map = pin_get(s->maps, "spine_ports");
	AUTO_FD int egress = pin_get(s->dir, "egress");
	int err = map < 0 ? (map == -ENOENT ? 0 : map) : spine_rights_ports(s->rights, ports, &count, why);

	if (err != 0 || map < 0)
		return err;
	err = take_ports(map, ports, count, changed);
	if (err == 0 && s->update->widen)
		err = give_ports(map, MAX(egress, -1), ports, count, changed);
	return err == 0 ? 0 : errmsg_set(why, err, "change the ports of '%s'", s->record->name);
}

static int update_row(struct subject *s)
{
	AUTO_FD int map = pin_get(s->maps, "section-data-policy");

	if (map < 0)
		return map == -ENOENT ? 0 : errmsg_set(s->update->why, map, "change the rights of '%s'", s->record->name);
	int err = spine_row_write(map, s->rights, s->update->view.epoch, ROW_NARROW, s->update->why);
	return err == 0 && s->update->widen ? spine_row_write(map, s->rights, s->update->view.epoch, ROW_WIDEN, s->update->why) : err;
}

/* The first 8 bytes of a control block change at once (spine/code/layout.h), and the dispatcher may eject meanwhile. */
static void update_verdicts(struct subject *s, uint32_t *changed)
{
	struct spine_slot_control *c = &s->device->control->slot[s->record->slot], head;
	uint64_t *word = (uint64_t *)(void *)c, before = __atomic_load_n(word, __ATOMIC_ACQUIRE), after;
	uint8_t want = (uint8_t)(s->record->verdicts & s->rights->verdicts);

	do {
		memcpy(&head, &before, sizeof(before));
		if (head.verdicts == (s->update->widen ? want : head.verdicts & want))
			return;
		head.verdicts = s->update->widen ? want : head.verdicts & want;
		memcpy(&after, &head, sizeof(after));
	} while (!__atomic_compare_exchange_n(word, &before, after, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
	(*changed)++;
}

static void update_share(struct subject *s)
{
	uint64_t *budget = &s->device->control->slot[s->record->slot].budget_ns;
	uint64_t asked = (uint64_t)s->record->cpu_permille * 1000 * 1000, most = (uint64_t)s->rights->cpu_permille * 1000 * 1000;
	uint64_t want = most != 0 && (asked == 0 || asked > most) ? most : asked, now = __atomic_load_n(budget, __ATOMIC_RELAXED);

	if (s->update->widen || (want != 0 && (now == 0 || want < now)))
		__atomic_store_n(budget, want, __ATOMIC_RELAXED);
}

static int update_one(struct subject *s)
{
	struct update *u = s->update;
	struct errmsg reason = { 0 };
	uint32_t changed = 0;
	int err = lost(s, &reason);

	/* Who cannot be judged does not run on under rights that it may not have any more. */
	if (err != 0)
		err = switch_off(s, &reason);
	else if (u->widen)
		err = switch_on(s);
	if (err == 0)
		err = update_ports(s, &changed);
	if (err == 0)
		err = update_row(s);
	if (err != 0)
		return err;
	update_verdicts(s, &changed);
	update_share(s);
	if (u->widen) {
		s->place.epoch = u->view.epoch;
		err = place_write(s->dir, &s->place, u->why);
	}
	*(u->widen ? &u->copy->widened : &u->copy->narrowed) += changed != 0;
	return err;
}

/* ---- all of them ---- */

static int update_record(struct update *u, struct spine_device *d, const struct spine_record *r)
{
	static const uint8_t nobody[32];
	AUTO_ARENA struct arena arena = ARENA_INIT(UPDATE_ARENA_BYTES);
	struct subject s = { .update = u, .device = d, .record = r };
	char path[SPINE_NAME_BYTES + 16];
	int err;

	(void)snprintf(path, sizeof(path), "ext/%s", r->name);
	AUTO_FD int dir = pin_dir(d->dir, path, false);
	AUTO_FD int maps = dir < 0 ? dir : pin_dir(dir, "maps", false);
	err = dir < 0 ? dir : place_read(dir, &s.place);
	if (err != 0)
		return errmsg_set(u->why, err, "read which policy '%s' on %s belongs to", r->name, spine_device_name(d));
	if (!same_directory(s.place.directory, u->copy->directory))
		return 0;
	s.dir = dir;
	s.maps = maps;
	err = spine_rights_find(&arena, &u->view, spine_device_name(d), r->name, memcmp(r->signer, nobody, 32) == 0 ? NULL : r->signer,
				r->digest, &s.rights, u->why);
	return err != 0 ? err : update_one(&s);
}

static int update_device(struct update *u, const struct spine_found *f)
{
	struct spine_where where = { .device = f->name };
	const struct spine_record *const *records;
	struct spine_device *d;
	int err = spine_device_open(&where, SPINE_CHANGE, &d, u->why);

	if (err != 0)
		return err == -ENODEV || err == -ENOENT ? 0 : err;
	size_t count = spine_device_records(d, &records);
	for (size_t i = 0; i < count && err == 0; i++)
		if (records[i]->source == SOURCE_INSTALLED)
			err = update_record(u, d, records[i]);
	spine_device_close(d);
	return err;
}

/* From inside each namespace. */
static int update_namespace(void *arg, int netns_fd, uint64_t cookie, const char *name)
{
	struct update *u = arg;
	int err = 0;

	(void)netns_fd;
	(void)name;
	for (size_t i = 0; i < u->count && err == 0; i++) {
		if (u->seen[i] || u->found[i].netns_cookie != cookie)
			continue;
		u->seen[i] = true;
		if (u->found[i].name[0] != '\0')
			err = update_device(u, &u->found[i]);
	}
	return err;
}

static int place_is_ours(void *arg, int dir, const char *name, bool is_dir)
{
	const struct update *u = arg;
	struct spine_place place;
	AUTO_FD int one = is_dir ? pin_dir(dir, name, false) : -1;
	int err = one < 0 ? -ENOENT : place_read(one, &place);

	/* One that says nothing that we understand is told of by who visits it. */
	return err == -EBADMSG || (err == 0 && same_directory(place.directory, u->copy->directory)) ? 1 : 0;
}

/* Devices without an extension of ours need no visit. How many do. */
static size_t pass_over(struct update *u)
{
	struct errmsg nothing;
	size_t left = 0;
	char path[64];
	AUTO_FD int root = host_bpffs(false, &nothing);

	for (size_t i = 0; i < u->count && root >= 0; i++) {
		const struct spine_found *f = &u->found[i];

		(void)snprintf(path, sizeof(path), "%llu/%u/ext", (unsigned long long)f->netns_cookie, f->ifindex);
		AUTO_FD int ext = pin_dir(root, path, false);
		u->seen[i] = ext < 0 || pin_each(ext, place_is_ours, u) != 1;
		left += !u->seen[i];
	}
	return left;
}

/* A namespace that cannot be entered from here. */
static int tell_unseen(struct update *u)
{
	for (size_t i = 0; i < u->count; i++) {
		const struct spine_found *f = &u->found[i];

		if (!u->seen[i])
			return errmsg_say(u->why, -ENOENT, "the interface with index %u runs extensions in a network namespace that "
					  "cannot be entered from here (cookie %llu): run this command where it can", f->ifindex,
					  (unsigned long long)f->netns_cookie);
	}
	return 0;
}

int spine_policy_update(void *arg, const struct policy *p, const struct policy_table *t, bool widen, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(UPDATE_ARENA_BYTES);
	struct spine_policy_copy *copy = arg;
	struct errmsg mine;
	struct update u = { .copy = copy, .view = { p, t, 0, copy->directory }, .widen = widen, .why = why != NULL ? why : &mine };
	struct spine_found *found;
	int err;

	/* Extensions are installed under directories that root alone can write to (device_policy). */
	if (geteuid() != 0)
		return 0;
	err = spine_device_scan(&arena, &found, &u.count, u.why);
	/* Where the kernel has no bpffs nothing ever ran. */
	if (err != 0)
		return err == -EOPNOTSUPP ? 0 : err;
	if (t != NULL)
		u.view.epoch = t->bank[POLICY_BANK(atomic_load_explicit(&t->head->generation, memory_order_acquire))]->epoch;
	u.found = found;
	u.seen = arena_array(&arena, u.count + 1, sizeof(*u.seen));
	if (u.seen == NULL)
		return errmsg_set(u.why, -ENOMEM, "tell the extensions of the new policy");
	if (pass_over(&u) == 0)
		return 0;
	err = host_netns_each(update_namespace, &u, u.why);
	return err != 0 ? err : tell_unseen(&u);
}
