/*
 * Programs that others loaded: adopted when their owner asks, taken over when they sit where we want to be.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spine/attach.h"
#include "spine/code/rule.h"
#include "spine/confine.h"
#include "spine/device_private.h"
#include "spine/ksyms.h"
#include "spine/load.h"
#include "spine/pins.h"
#include "spine/spine_limits.h"

#define RULE_BYTES (8u << 20)

/* What the kernel tells about a loaded program. */
struct loaded_program {
	struct bpf_prog_info info;
	struct bpf_insn *insns;		/* NULL: it does not say */
	uint32_t insn_count;
	struct inspect_loaded_map maps[ADOPT_MAPS_MAX];
	size_t map_count;
	uint64_t memory_bytes;
	struct ksyms calls;
};

/* --- asking the kernel ---------------------------------------------------------------------------- */

struct ours {
	struct loaded_program *p;
	unsigned depth;
};

static int look_for(void *arg, int dir, const char *name, bool is_dir)
{
	struct ours *o = arg;
	uint32_t id;
	int err = 0;

	if (is_dir) {
		AUTO_FD int below = o->depth < PIN_DEPTH_MAX ? pin_dir(dir, name, false) : -ELOOP;

		if (below < 0)
			return below == -ENOENT ? 0 : below;
		o->depth++;
		err = pin_each(below, look_for, o);
		o->depth--;
		return err;
	}
	AUTO_FD int fd = pin_get(dir, name);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	id = pin_map_id(fd);
	for (size_t i = 0; i < o->p->map_count; i++)
		o->p->maps[i].foreign |= id != 0 && o->p->maps[i].id == id;
	return 0;
}

/* What cannot be looked at is an error: it might be the map that the program must not have. */
static int read_maps(struct spine_device *d, const uint32_t *ids, uint32_t count, struct loaded_program *p,
		     struct errmsg *why)
{
	struct ours ours = { .p = p };
	int err;

	for (uint32_t i = 0; i < count; i++) {
		struct bpf_map_info info = { 0 };
		uint32_t size = sizeof(info);
		AUTO_FD int fd = bpf_map_get_fd_by_id(ids[i]);

		if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) != 0)
			return errmsg_set(why, -errno, "look at map %u of the program", ids[i]);
		p->maps[p->map_count++] = (struct inspect_loaded_map){ .id = ids[i], .type = info.type };
		p->memory_bytes += (uint64_t)info.max_entries * (info.key_size + info.value_size);
	}
	err = pin_each(d->root, look_for, &ours);
	return err == 0 ? 0 : errmsg_set(why, err, "look whether the program's maps belong to other extensions");
}

static int read_program(struct spine_device *d, int prog_fd, struct arena *arena, struct loaded_program *p,
			struct errmsg *why)
{
	struct bpf_prog_info ask = { 0 };
	uint32_t size = sizeof(p->info), ids[ADOPT_MAPS_MAX];

	if (!pin_is_prog(prog_fd))	/* the kernel would describe a map or a link instead, in other words */
		return errmsg_say(why, -EPERM, "what is to be adopted is no program: `bpftool prog show pinned PATH` tells");
	if (bpf_obj_get_info_by_fd(prog_fd, &p->info, &size) != 0)
		return errmsg_set(why, -errno, "look at the program");
	if (p->info.type != BPF_PROG_TYPE_XDP)
		return errmsg_say(why, -EPERM, "program %u ('%.15s') is no XDP program", p->info.id, p->info.name);
	if (p->info.nr_map_ids > ADOPT_MAPS_MAX || p->info.xlated_prog_len / sizeof(struct bpf_insn) > ADOPT_INSNS_MAX)
		return errmsg_say(why, -E2BIG, "program %u is too large to be inspected", p->info.id);
	ask.nr_map_ids = p->info.nr_map_ids;
	ask.map_ids = (uint64_t)(uintptr_t)ids;
	if (p->info.xlated_prog_len > 0) {
		p->insns = arena_alloc(arena, p->info.xlated_prog_len);
		if (p->insns == NULL)
			return errmsg_set(why, -ENOMEM, "look at the program");
		ask.xlated_prog_len = p->info.xlated_prog_len;
		ask.xlated_prog_insns = (uint64_t)(uintptr_t)p->insns;
	}
	size = sizeof(ask);
	if (bpf_obj_get_info_by_fd(prog_fd, &ask, &size) != 0)
		return errmsg_set(why, -errno, "look at the program");
	/* The kernel keeps instructions to itself by writing 0 over the pointer. */
	if (ask.xlated_prog_insns == 0 || ask.xlated_prog_len > p->info.xlated_prog_len)
		p->insns = NULL;
	p->insn_count = p->insns == NULL ? 0 : ask.xlated_prog_len / (uint32_t)sizeof(struct bpf_insn);
	/* Now, since reading addresses needs rights that are given up before they are used. */
	if (ksyms_read(arena, &p->calls) != 0)
		return errmsg_set(why, -ENOMEM, "look at the program's calls");
	return read_maps(d, ids, ask.nr_map_ids < ADOPT_MAPS_MAX ? ask.nr_map_ids : ADOPT_MAPS_MAX, p, why);
}

/* The kernel's own functions were its owner's to use, as helpers are; there is no list of all of them to allow. */
static int without_kfuncs(struct arena *arena, struct inspect_report *r, struct errmsg *why)
{
	struct inspect_finding *kept = arena_array(arena, r->finding_count, sizeof(*kept));
	size_t n = 0;

	if (kept == NULL)
		return errmsg_set(why, -ENOMEM, "inspect the program");
	for (size_t i = 0; i < r->finding_count; i++)
		if (!slice_starts(slice_str(r->findings[i].rule), SLICE("kfunc ")))
			kept[n++] = r->findings[i];
	r->findings = kept;
	r->finding_count = n;
	return 0;
}

static int inspect(struct arena *arena, struct loaded_program *p, bool unbounded, struct inspect_report *out,
		   struct errmsg *why)
{
	/* Its owner loaded it with rights of his own: helpers and maps are not ours to grant. */
	static const uint64_t every_helper[INSPECT_HELPER_WORDS] = { UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX };
	struct inspect_rights rights = {
		.verdicts = SPINE_VERDICTS_ALL, .helpers = every_helper, .map_types = UINT64_MAX,
		.instructions_max = INSPECT_COST_MAX, .memory_bytes_max = UINT64_MAX, .tail_calls = true,
		.unbounded = unbounded, .call_name = ksyms_name, .call_arg = &p->calls,
	};

	int err = inspect_loaded(arena, p->insns, p->insn_count, p->maps, p->map_count, &rights, out, why);
	return err != 0 ? err : without_kfuncs(arena, out, why);
}

/* --- pinning ------------------------------------------------------------------------------------------ */

/* The program, then the record; then the slot. */
static int place(struct spine_device *d, const struct spine_record *r, int prog_fd, struct errmsg *why)
{
	int err = -1;
	AUTO_FD int ext = pin_dir(d->dir, "ext", true);
	AUTO_FD int dir = ext < 0 || (err = pin_remove(ext, r->name)) != 0 ? -EIO : pin_dir(ext, r->name, true);

	if (dir < 0)
		return errmsg_set(why, ext < 0 ? ext : err != 0 ? err : dir, "pin '%s'", r->name);
	err = pin_set(dir, "prog", prog_fd);
	if (err != 0)
		return errmsg_set(why, err, "pin the program of '%s'", r->name);
	err = record_write(dir, r, why);
	if (err != 0)
		return err;
	device_step(d, "record is written");
	return device_fill_slot(d, r, prog_fd, why);
}

/* "xdp_filter" -> "xdp-filter"; a number behind it when the device has that name. */
static void name_of_program(const struct spine_device *d, const char *program, char out[SPINE_NAME_BYTES])
{
	char base[SPINE_NAME_BYTES - 4] = "";
	size_t n = 0;

	for (const char *c = program; *c != '\0' && n + 1 < sizeof(base); c++) {
		uint8_t low = ascii_lower((uint8_t)*c);

		if (ascii_alpha(low) || ascii_digit(low))
			base[n++] = (char)low;
		else if (n > 0)
			base[n++] = '-';
	}
	base[n] = '\0';
	(void)snprintf(out, SPINE_NAME_BYTES, "%s", n == 0 ? "earlier" : base);
	for (unsigned i = 2; spine_device_find(d, out) != NULL && i < 1000; i++)
		(void)snprintf(out, SPINE_NAME_BYTES, "%s-%u", n == 0 ? "earlier" : base, i);
}

/* --- taking over ---------------------------------------------------------------------------------------- */

/* Keep what we need to attach in its place and to give back: the program, and the link if there is one. */
static int keep_attachment(struct spine_device *d, const struct attachment *a, int before_fd, struct errmsg *why)
{
	int err = pin_remove(d->dir, "before");

	if (err == 0)
		err = pin_set(d->dir, "before", before_fd);
	if (err == 0)
		err = pin_remove(d->dir, "link");
	if (err != 0)
		return errmsg_set(why, err, "pin the program that %s runs", d->name);
	if (a->kind == ATTACH_LINK) {
		AUTO_FD int link = attach_link_by_id(a->link_id, why);

		if (link < 0)
			return link;
		err = pin_set(d->dir, "link", link);
		if (err != 0)
			return errmsg_set(why, err, "pin the link of %s", d->name);
	}
	d->meta.kind = a->kind;
	d->meta.mode = a->mode;
	d->meta.foreign_link = a->kind == ATTACH_LINK;
	return 0;
}

static int same_class(const struct spine_device *d, struct spine_class class, struct errmsg *why)
{
	struct spine_class now = { d->meta.frags != 0, d->meta.attach_type };

	if (!d->exists || (now.frags == class.frags && now.attach_type == class.attach_type))
		return 0;
	return errmsg_say(why, -EBUSY, "another program took the place of our dispatcher on %s, and it cannot run beside "
			  "the extensions: they have the class \"%s\", it has \"%s\"; detach it first", d->name,
			  class_text(now), class_text(class));
}

int device_take_over(struct spine_device *d, struct spine_record *record, bool *taken, int *before_fd,
		     struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(64u << 20);
	struct loaded_program p = { 0 };
	struct inspect_report report = { 0 };
	struct spine_class class;
	struct attachment a;
	int err, slot;

	*taken = false;
	if (d->ours || d->attached.kind == ATTACH_NONE)
		return 0;
	err = attach_query(d->ifindex, true, &a, why);
	if (err != 0)
		return err;
	if (a.kind == ATTACH_NONE) {
		d->attached = a;
		return 0;
	}
	AUTO_FD int before = attach_prog_by_id(a.prog_id, why);
	if (before < 0)
		return before;
	err = class_of_program(before, &class, why);
	if (err == 0)
		err = same_class(d, class, why);
	if (err == 0)
		err = device_make(d, class, why);
	if (err == 0)
		err = keep_attachment(d, &a, before, why);
	if (err == 0)
		err = read_program(d, before, &arena, &p, why);
	/* It runs already: the inspector only tells what it is. */
	if (err == 0)
		err = inspect(&arena, &p, true, &report, why);
	if (err != 0)
		return err;
	slot = device_free_slot(d, -1, why);
	if (slot < 0)
		return slot;
	*record = (struct spine_record){
		.abi = SPINE_RECORD_ABI, .slot = (uint32_t)slot, .source = SOURCE_TAKEN_OVER, .tier = TIER_ADOPTED,
		.order = 0, .redirects = report.redirects, .tail_calls = report.tail_calls, .sequence = ++d->meta.sequence,
		.verdicts = SPINE_VERDICTS_ALL, .continues = SPINE_PASS, .prog_id = a.prog_id,
		.generation = d->generation + 1, .cost = report.cost, .memory_bytes = p.memory_bytes,
		.installed_at_s = record_now_s(),
	};
	name_of_program(d, p.info.name, record->name);
	err = device_write_meta(d, why);
	if (err == 0)
		err = place(d, record, before, why);
	if (err != 0)
		return err;
	(void)errmsg_say(&d->notice, 0, "the program that %s ran already ('%.15s', id %u, attached by %s) is its first "
			 "extension now, '%s'; it returns when the last other one is removed", d->name, p.info.name,
			 p.info.id, a.kind == ATTACH_LINK ? "a BPF link" : "netlink", record->name);
	d->attached = a;
	*before_fd = TAKE_FD(before);
	*taken = true;
	return 0;
}

/* --- adopting -------------------------------------------------------------------------------------------- */

static int check_rule(const char *match, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(RULE_BYTES);
	const struct rule *rule;

	if (strlen(match) >= SPINE_MATCH_BYTES)
		return errmsg_say(why, -EINVAL, "the rule is longer than %d bytes; use `set NAME` for long lists",
				  SPINE_MATCH_BYTES - 1);
	return rule_parse(&arena, slice_str(match), &rule, why);
}

static int check_class(struct spine_device *d, const struct adopt_request *r, struct errmsg *why)
{
	struct spine_class now = { d->meta.frags != 0, d->meta.attach_type }, class;
	int err = class_of_program(r->prog_fd, &class, why);

	if (err != 0)
		return err;
	if (!d->exists)
		return device_make(d, class, why);
	if (now.frags == class.frags && now.attach_type == class.attach_type)
		return 0;
	return errmsg_say(why, -EPERM, "the program does not fit %s: its extensions have the class \"%s\", it has \"%s\", "
			  "and the kernel lets only programs of one class call each other; load it again%s", d->name,
			  class_text(now), class_text(class),
			  now.frags != class.frags ? (now.frags ? " as \"xdp.frags\"" : " without \"xdp.frags\"") :
						     " with the other expected_attach_type");
}

static int add(struct spine_device *d, const struct adopt_request *r, const struct loaded_program *p,
	       const struct inspect_report *report, const struct spine_record *taken, int before_fd, struct errmsg *why)
{
	const struct spine_record *records[SPINE_SLOTS_MAX + 2];
	struct spine_record record = {
		.abi = SPINE_RECORD_ABI, .source = SOURCE_ADOPTED, .tier = TIER_ADOPTED,
		.order = r->order >= 0 ? (uint32_t)r->order : 1000, .terminal = r->terminal,
		.fail_closed = r->fail_closed, .redirects = report->redirects, .tail_calls = report->tail_calls,
		.verdicts = r->verdicts != 0 ? r->verdicts : SPINE_PASS | SPINE_DROP | SPINE_ABORTED,
		.continues = r->terminal ? 0 : r->continues != 0 ? r->continues : SPINE_PASS,
		.prog_id = p->info.id, .generation = d->generation + 1, .cost = report->cost,
		.memory_bytes = p->memory_bytes, .installed_at_s = record_now_s(), .cpu_permille = r->cpu_permille,
		.patient = r->patient, .by_operator = (r->order >= 0 ? OPERATOR_ORDER : 0u) | (r->terminal ? OPERATOR_TERMINAL : 0u),
	};
	size_t count = d->count;
	int err, slot = device_free_slot(d, taken != NULL ? (int)taken->slot : -1, why);

	if (slot < 0)
		return slot;
	if (r->redirect)
		record.verdicts |= SPINE_REDIRECT;
	/* A bare XDP_REDIRECT would go where an earlier extension pointed. */
	if ((record.verdicts & SPINE_REDIRECT) != 0 && !report->redirects && p->calls.base != 0)
		return errmsg_say(why, -EPERM, "program %u calls no redirect helper, so it may not return XDP_REDIRECT: leave out "
				  "--redirect", p->info.id);
	record.slot = (uint32_t)slot;
	record.sequence = ++d->meta.sequence;
	memcpy(record.name, r->name, strlen(r->name));
	memcpy(record.match, r->match, strlen(r->match));
	err = device_write_meta(d, why);
	if (err == 0)
		err = place(d, &record, r->prog_fd, why);
	if (err != 0)
		return err;
	device_step(d, "slot is filled");
	memcpy(records, d->records, count * sizeof(records[0]));
	if (taken != NULL)
		records[count++] = taken;
	records[count++] = &record;
	return device_commit(d, records, count, before_fd, why);
}

static int check_request(const struct spine_device *d, const struct adopt_request *r, struct errmsg *why)
{
	int err = record_check_name(r->name, why);

	if (err == 0)
		err = check_rule(r->match, why);
	if (err == 0 && spine_device_find(d, r->name) != NULL)
		err = errmsg_say(why, -EEXIST, "%s has an extension '%s' already; give this one another --name", d->name,
				 r->name);
	return err;
}

int spine_adopt(struct spine_device *d, const struct adopt_request *r, struct spine_change *c)
{
	struct loaded_program p = { 0 };
	struct spine_record taken;
	AUTO_FD int before = -1;
	bool took = false;
	int err = check_request(d, r, &c->why);

	if (err == 0)
		err = read_program(d, r->prog_fd, c->arena, &p, &c->why);
	if (err == 0)
		err = device_take_over(d, &taken, &took, &before, &c->why);
	if (err == 0 && took && taken.prog_id == p.info.id)
		err = errmsg_say(&c->why, -EEXIST, "program %u is what %s runs already: it becomes an extension by itself when "
				 "another one is installed", p.info.id, d->name);
	if (err == 0 && took && strcmp(taken.name, r->name) == 0)
		err = errmsg_say(&c->why, -EEXIST, "'%s' is the name that the program which %s runs already gets as an extension; "
				 "give this one another --name", r->name, d->name);
	if (err == 0 && r->confine) {
		d->confined = true;
		err = spine_confine(&c->why);
	}
	if (err == 0)
		err = inspect(c->arena, &p, r->accept_unbounded, &c->report, &c->why);
	if (err == 0 && c->report.finding_count > 0)
		err = errmsg_say(&c->why, -EPERM, "program %u ('%.15s') is refused: %s", p.info.id, p.info.name,
				 c->report.findings[0].sentence);
	if (err == 0)
		err = check_class(d, r, &c->why);
	if (err == 0)
		err = add(d, r, &p, &c->report, took ? &taken : NULL, before, &c->why);
	device_collect(d, false);
	return err;
}

/* In next/<name>, and then into the slot: what the slot holds is in force. */
static int exchange(struct spine_device *d, const struct spine_record *new, int prog_fd, struct errmsg *why)
{
	int err;
	AUTO_FD int above = pin_dir(d->dir, "next", true);

	err = above < 0 ? above : pin_remove(above, new->name);
	AUTO_FD int dir = err != 0 ? -1 : pin_dir(above, new->name, true);
	if (dir < 0)
		return errmsg_set(why, err != 0 ? err : dir, "pin '%s'", new->name);
	err = pin_set(dir, "prog", prog_fd);
	if (err != 0)
		return errmsg_set(why, err, "pin the program of '%s'", new->name);
	err = record_write(dir, new, why);
	if (err != 0)
		return err;
	device_step(d, "record is written");
	return bpf_map_update_elem(d->slots_fd, &new->slot, &prog_fd, BPF_ANY) == 0 ? 0 :
	       errmsg_set(why, -errno, "put '%s' into slot %u", new->name, new->slot);
}

int spine_readopt(struct spine_device *d, const char *name, int prog_fd, bool accept_unbounded,
		  struct spine_change *c)
{
	const struct spine_record *old = spine_device_find(d, name);
	struct adopt_request as_adopt = { .prog_fd = prog_fd };
	struct loaded_program p = { 0 };
	struct spine_record new;
	int err;

	if (old == NULL || old->source != SOURCE_ADOPTED)
		return errmsg_say(&c->why, -ENOENT, "%s has no adopted program '%.40s'", d->name, name);
	err = read_program(d, prog_fd, c->arena, &p, &c->why);
	if (err == 0)
		err = inspect(c->arena, &p, accept_unbounded, &c->report, &c->why);
	if (err == 0 && c->report.finding_count > 0)
		err = errmsg_say(&c->why, -EPERM, "program %u ('%.15s') is refused: %s", p.info.id, p.info.name,
				 c->report.findings[0].sentence);
	if (err == 0)
		err = check_class(d, &as_adopt, &c->why);
	if (err == 0 && (old->redirects != c->report.redirects || old->tail_calls != c->report.tail_calls))
		err = errmsg_say(&c->why, -EXDEV, "program %u ('%.15s') redirects or makes tail calls and the one it replaces does "
				 "not, or the reverse: remove '%.40s' and adopt the new one", p.info.id, p.info.name, name);
	if (err != 0)
		return err;
	new = *old;
	new.prog_id = p.info.id;
	new.cost = c->report.cost;
	new.memory_bytes = p.memory_bytes;
	new.replaced_at_s = record_now_s();
	new.replaced++;
	err = exchange(d, &new, prog_fd, &c->why);
	device_collect(d, false);
	return err;
}
