/*
 * Rights from a resolved policy. One pass over its rules; nothing is kept between two questions.
 */
#include "spine/rights.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/analysis/analysis.h"

struct find {
	struct arena *arena;
	const struct policy *policy;
	const char *device, *name;
	uint16_t subject;
	struct spine_rights *out;
	const char **kfuncs;
	size_t kfunc_count;
	struct errmsg *why;
};

/* ---- who ---- */

/* How exactly a domain names an object; 0: it does not. As policy_subject_ebpf: sha256, name and signer, name, signer, any. */
static int fits(const struct policy_subject *s, const char *name, const uint8_t *signer, const uint8_t *sha256)
{
	if (s->kind != POLICY_EBPF || (s->text != NULL && strcmp(s->text, name) != 0) ||
	    (s->signer != NULL && (signer == NULL || memcmp(s->signer, signer, 32) != 0)) ||
	    (s->sha256 != NULL && (sha256 == NULL || memcmp(s->sha256, sha256, 32) != 0)))
		return 0;
	return 1 + (s->signer != NULL ? 1 : 0) + (s->text != NULL ? 2 : 0) + (s->sha256 != NULL ? 4 : 0);
}

static uint16_t subject_of(const struct policy *p, const char *name, const uint8_t *signer, const uint8_t *sha256)
{
	int best = 0;
	uint16_t found = 0;

	for (size_t i = 1; i < p->subject_count; i++) {
		int fit = fits(&p->subjects[i], name, signer, sha256);

		if (fit > best) {
			best = fit;
			found = (uint16_t)i;
		}
	}
	return found;
}

static bool among(const uint16_t *list, size_t count, uint16_t one)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == one)
			return true;
	return false;
}

/* All that the subject may do unconditionally with an object. */
static uint32_t bits_of(const struct policy *p, uint16_t subject, uint16_t object)
{
	uint32_t bits = 0;

	for (size_t i = 0; i < p->allow_count && subject != 0 && object != 0; i++) {
		const struct policy_rule *r = &p->allows[i];

		if (r->class == p->objects[object].class && r->predicates == 0 && among(r->subjects, r->subject_count, subject) &&
		    among(r->objects, r->object_count, object))
			bits |= r->permissions;
	}
	return bits;
}

/* ---- ports ---- */

static uint16_t port_label(const struct policy *p, const char *device)
{
	return analysis_lookup(p, &(struct policy_object){ .kind = POLICY_NIC, .class = POLICY_PORT, .text = device });
}

/* How a rule in the subject's module names an object: "lan" there, "net.lan" elsewhere. */
static const char *word_of(const struct find *f, uint16_t object)
{
	const struct policy_object *o = &f->policy->objects[object];
	const char *dot = strrchr(o->name, '.');

	return dot != NULL && o->module == f->policy->subjects[f->subject].module ? dot + 1 : o->name;
}

static void read_verdicts(struct find *f)
{
	static const struct { uint32_t permission, verdict; } rows[] = {
		{ POLICY_PORT_PASS, SPINE_PASS }, { POLICY_PORT_DROP, SPINE_DROP }, { POLICY_PORT_REFLECT, SPINE_TX },
		{ POLICY_PORT_REDIRECT, SPINE_REDIRECT },
	};
	uint16_t label = port_label(f->policy, f->device);
	uint32_t bits = bits_of(f->policy, f->subject, label);

	f->out->label = label == 0 ? "port" : word_of(f, label);
	f->out->attach = (bits & POLICY_PORT_ATTACH) != 0;
	f->out->verdicts = SPINE_ABORTED;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if ((bits & rows[i].permission) != 0)
			f->out->verdicts |= rows[i].verdict;
}

static int read_ports(struct find *f)
{
	const struct policy *p = f->policy;
	const char **labelled = arena_array(f->arena, p->object_count + 1, sizeof(*labelled));
	size_t count = 0;

	if (labelled == NULL)
		return errmsg_set(f->why, -ENOMEM, "look up the ports of '%s'", f->name);
	for (size_t i = 1; i < p->object_count; i++) {
		const struct policy_object *o = &p->objects[i];
		bool forward = o->kind == POLICY_NIC && (bits_of(p, f->subject, (uint16_t)i) & POLICY_PORT_FORWARD) != 0;

		if (o->kind == POLICY_NIC && o->text != NULL)
			labelled[count++] = o->text;
		if (!forward)
			continue;
		if (o->text == NULL) {
			f->out->ports_any = true;
		} else if (f->out->port_count == RIGHTS_PORTS_MAX) {
			return errmsg_say(f->why, -E2BIG, "%s may forward to more than %d ports", f->out->subject, RIGHTS_PORTS_MAX);
		} else if (strlen(o->text) < IFNAMSIZ) {
			memcpy(f->out->ports[f->out->port_count++], o->text, strlen(o->text) + 1);
		}
	}
	labelled[count] = NULL;
	f->out->labelled = labelled;
	return 0;
}

/* ---- handlers ---- */

/* message NULL: those that no label names. */
static bool may_offer(const struct find *f, const char *message)
{
	struct policy_object target = { .kind = POLICY_MESSAGE, .class = POLICY_HANDLER, .text = message, .of = f->name };

	return (bits_of(f->policy, f->subject, analysis_lookup(f->policy, &target)) & POLICY_HANDLER_OFFER) != 0;
}

static bool is_named(const struct policy_object *o, const char *extension)
{
	return o->kind == POLICY_MESSAGE && o->text != NULL && (o->of == NULL || strcmp(o->of, extension) == 0);
}

static int read_handlers(struct find *f)
{
	const struct policy *p = f->policy;
	const char **yes = arena_array(f->arena, p->object_count + 2, sizeof(*yes)),
		   **no = arena_array(f->arena, p->object_count + 1, sizeof(*no));
	size_t yes_count = 0, no_count = 0;

	if (yes == NULL || no == NULL)
		return errmsg_set(f->why, -ENOMEM, "look up the handlers of '%s'", f->name);
	if (may_offer(f, NULL))
		yes[yes_count++] = "*";
	for (size_t i = 1; i < p->object_count; i++) {
		const struct policy_object *o = &p->objects[i];

		if (!is_named(o, f->name))
			continue;
		if (!may_offer(f, o->text))
			no[no_count++] = o->text;
		else if (yes_count == 0 || strcmp(yes[0], "*") != 0)
			yes[yes_count++] = o->text;
	}
	yes[yes_count] = no[no_count] = NULL;
	f->out->handlers = yes;
	f->out->handlers_not = no;
	return 0;
}

static bool listed(const char *const *list, const char *name)
{
	for (; *list != NULL; list++)
		if (strcmp(*list, name) == 0)
			return true;
	return false;
}

bool spine_rights_offers(const struct spine_rights *r, const char *handler)
{
	return listed(r->handlers, handler) || (listed(r->handlers, "*") && !listed(r->handlers_not, handler));
}

/* ---- link-time sets ---- */

/* All that a word of a rule stands for. */
static void add_helpers(uint64_t words[INSPECT_HELPER_WORDS], const char *word)
{
	for (int id = 1; id < (int)(64 * INSPECT_HELPER_WORDS); id++)
		if (inspect_helper_name(id) != NULL && policy_use_covers(POLICY_USE_HELPER, word, inspect_helper_name(id)))
			words[id / 64] |= UINT64_C(1) << id % 64;
}

static uint64_t map_type_bits(const char *word)
{
	uint64_t bits = 0;

	for (uint32_t type = 1; type < 64; type++)
		if (inspect_map_type_name(type) != NULL && policy_use_covers(POLICY_USE_MAP_TYPE, word, inspect_map_type_name(type)))
			bits |= UINT64_C(1) << type;
	return bits;
}

static void read_use(struct find *f, const struct policy_use_rule *r, const char *name)
{
	struct spine_rights *out = f->out;

	switch (r->kind) {
	case POLICY_USE_HELPER:
		add_helpers(out->helpers, name);
		out->redirect |= strcmp(name, "redirect") == 0;
		if (r->revocable)
			add_helpers(out->revocable, name);
		break;
	case POLICY_USE_KFUNC:
		f->kfuncs[f->kfunc_count++] = name;
		break;
	case POLICY_USE_MAP_TYPE:
		out->map_types |= map_type_bits(name);
		break;
	case POLICY_USE_PROGRAM_TYPE:
		out->xdp |= strcmp(name, "xdp") == 0;
		out->syscall |= strcmp(name, "syscall") == 0;
		break;
	default:
		break;
	}
}

static int read_uses(struct find *f)
{
	const struct policy *p = f->policy;
	size_t names = 1;

	for (size_t i = 0; i < p->use_count; i++)
		names += p->uses[i].name_count;
	f->kfuncs = arena_array(f->arena, names, sizeof(*f->kfuncs));
	if (f->kfuncs == NULL)
		return errmsg_set(f->why, -ENOMEM, "look up what '%s' may use", f->name);
	for (size_t i = 0; i < p->use_count && f->subject != 0; i++) {
		const struct policy_use_rule *r = &p->uses[i];

		if (r->never || !among(r->subjects, r->subject_count, f->subject))
			continue;
		for (size_t k = 0; k < r->name_count; k++)
			read_use(f, r, r->names[k]);
	}
	f->kfuncs[f->kfunc_count] = NULL;
	f->out->kfuncs = f->kfuncs;
	return 0;
}

/* ---- limits, and where they stand ---- */

static void read_limits(struct spine_rights *out, const struct policy_subject *s)
{
	out->instructions_max = s->instructions_max != 0 ? s->instructions_max : RIGHTS_DEFAULT_INSTRUCTIONS;
	out->cpu_permille = s->cpu_permille;
	out->memory_bytes_max = s->memory_bytes_max != 0 ? s->memory_bytes_max : RIGHTS_DEFAULT_MEMORY_BYTES;
	out->unbounded = s->unbounded;
	out->terminal = s->terminal;
	out->tail_calls = s->tail_calls;
	out->trial_until = s->trial_until;
	out->own = s->text != NULL;
}

static bool is_shipped(const struct policy *p, const struct policy_subject *s)
{
	return s->span.source < p->source_count && strcmp(p->sources[s->span.source].name, "default") == 0;
}

static int read_place(struct find *f, const struct spine_policy_view *view)
{
	AUTO_BUF struct buf from = BUF_INIT(2048);
	AUTO_BUF struct buf file = BUF_INIT(4096);
	const struct policy_subject *s = &f->policy->subjects[f->subject];
	const char *d = view->directory;

	if (f->subject == 0)
		buf_adds(&from, "no domain of the policy");
	else if (is_shipped(f->policy, s))
		buf_adds(&from, "shipped policy");
	else
		policy_span_text(&from, f->policy, s->span);
	if (f->subject != 0 && s->text != NULL && s->module < f->policy->module_count)
		buf_printf(&file, "module %s (%s)", f->policy->modules[s->module], buf_cstr(&from));
	else
		buf_printf(&file, "a policy with `import default` and `domain %s = ebpf object` (now %s%s)", f->name,
			   f->subject == 0 ? "" : "its rights are those of every other: ", buf_cstr(&from));
	buf_printf(&file, " would allow it, once it is in force by `prickle policy apply %s%s%sFILE`", d != NULL ? "--policy " : "",
		   d != NULL ? d : "", d != NULL ? " " : "");
	f->out->from = arena_str(f->arena, buf_slice(&from));
	f->out->file = arena_str(f->arena, buf_slice(&file));
	return f->out->from == NULL || f->out->file == NULL ? errmsg_set(f->why, -ENOMEM, "look up the rights of '%s'", f->name) : 0;
}

void spine_rights_hint(struct buf *out, const struct spine_rights *r, const char *statement, const char *fmt, ...)
{
	const char *dot = strrchr(r->subject, '.');
	va_list ap;

	buf_printf(out, ". `%s %s ", statement, !r->own ? r->name : dot == NULL ? r->subject : dot + 1);
	va_start(ap, fmt);
	buf_vprintf(out, fmt, ap);
	va_end(ap);
	buf_printf(out, "` in %s", r->file);
}

/* ---- doors ---- */

int spine_rights_find(struct arena *arena, const struct spine_policy_view *view, const char *device, const char *name,
		      const uint8_t signer[32], const uint8_t sha256[32], const struct spine_rights **out, struct errmsg *why)
{
	const struct policy *p = view->policy;
	struct find f = { .arena = arena, .policy = p, .device = device, .why = why, .out = ARENA_NEW(arena, struct spine_rights) };
	int err;

	f.name = arena_str(arena, slice_str(name));
	if (f.out == NULL || f.name == NULL)
		return errmsg_set(why, -ENOMEM, "look up the rights of '%s'", name);
	f.subject = subject_of(p, name, signer, sha256);
	f.out->name = f.name;
	f.out->index = f.subject;
	f.out->subject = f.subject == 0 ? "" : p->subjects[f.subject].name;
	f.out->vetted = p->subjects[f.subject].signer != NULL;
	if (view->table != NULL && f.subject != 0)
		f.out->number = policy_subject_named(view->table, slice_str(f.out->subject));
	read_limits(f.out, &p->subjects[f.subject]);
	read_verdicts(&f);
	err = read_ports(&f);
	if (err == 0)
		err = read_handlers(&f);
	if (err == 0)
		err = read_uses(&f);
	if (err == 0)
		err = read_place(&f, view);
	if (err == 0)
		*out = f.out;
	return err;
}

int spine_policy_view_load(struct arena *arena, struct policy_store *store, const char *directory, const struct spine_policy_view **out,
			   struct errmsg *why)
{
	struct spine_policy_view *v = ARENA_NEW(arena, struct spine_policy_view);
	int err;

	if (v == NULL)
		return errmsg_set(why, -ENOMEM, "read the policy in force");
	err = policy_store_policy(store, arena, 0, &v->policy, why);
	if (err != 0)
		return err;
	v->table = policy_store_table(store);
	v->epoch = policy_store_epoch(store);
	v->directory = directory;
	*out = v;
	return 0;
}

int spine_rights_ports(const struct spine_rights *r, uint32_t *ifindex, size_t *count, struct errmsg *why)
{
	size_t n = 0;
	int err = 0;

	for (size_t i = 0; i < r->port_count; i++) {
		uint32_t index = if_nametoindex(r->ports[i]);

		if (index != 0)
			ifindex[n++] = index;
	}
	if (r->ports_any) {
		struct if_nameindex *all = if_nameindex();

		for (const struct if_nameindex *i = all; i != NULL && i->if_index != 0 && err == 0; i++) {
			if (listed(r->labelled, i->if_name))
				continue;
			if (n == RIGHTS_PORTS_MAX)
				err = errmsg_say(why, -E2BIG, "%s may forward to every interface, and there are more than %d", r->subject,
						 RIGHTS_PORTS_MAX);
			else
				ifindex[n++] = i->if_index;
		}
		if (all == NULL)
			err = errmsg_set(why, -errno, "list the interfaces that '%s' may forward to", r->name);
		if_freenameindex(all);
	}
	*count = n;
	return err;
}
