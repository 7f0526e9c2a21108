/*
 * Wishes against rights: the manifest asks, the policy allows, the inspector looks whether the
 * object keeps to it. All reasons to refuse come at once, each with the line that would allow it.
 */
#include <errno.h>
#include <stdio.h>

#include "spine/load_private.h"

#define OWN_FINDINGS_MAX 32u

struct judge {
	struct arena *arena;
	const struct load_request *request;
	const struct spine_manifest *manifest;
	const struct spine_rights *rights;
	enum spine_tier tier;
	struct inspect_finding own[OWN_FINDINGS_MAX];
	size_t own_count;
	bool out_of_memory;
};

static const char *keep(struct judge *j, struct buf *text)
{
	const char *kept = arena_str(j->arena, slice_str(buf_cstr(text)));

	if (kept == NULL)
		j->out_of_memory = true;
	return kept == NULL ? "" : kept;
}

static void refuse(struct judge *j, const char *rule, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void refuse(struct judge *j, const char *rule, const char *fmt, ...)
{
	AUTO_BUF struct buf text = BUF_INIT(1024);
	va_list ap;

	if (j->own_count == OWN_FINDINGS_MAX)
		return;
	va_start(ap, fmt);
	buf_vprintf(&text, fmt, ap);
	va_end(ap);
	j->own[j->own_count++] = (struct inspect_finding){
		.rule = rule, .program = "", .sentence = keep(j, &text),
	};
}

/* ---- what the manifest asks for ---- */

static void judge_verdicts(struct judge *j)
{
	static const struct {
		uint32_t bit;
		const char *rule;
	} rows[] = {
		{ SPINE_DROP, "verdict drop" }, { SPINE_PASS, "verdict pass" }, { SPINE_TX, "verdict tx" },
		{ SPINE_REDIRECT, "verdict redirect" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if ((j->manifest->verdicts & rows[i].bit) != 0 && (j->rights->verdicts & rows[i].bit) == 0)
			refuse(j, rows[i].rule, "the manifest asks for the verdict '%s' on %s", rows[i].rule + 8, j->request->device);
	}
}

static void judge_handlers(struct judge *j)
{
	const struct object *o = j->request->parsed;

	for (size_t i = 0; i < o->handler_count; i++) {
		AUTO_BUF struct buf rule = BUF_INIT(256);

		if (spine_rights_offers(j->rights, o->handlers[i].name))
			continue;
		buf_printf(&rule, "handler %.200s", o->handlers[i].name);
		refuse(j, keep(j, &rule), "it has the message handler '%.80s'", o->handlers[i].name);
	}
	if (o->handler_count > 0 && !j->rights->syscall)
		refuse(j, "program-type syscall", "it has programs of type syscall: its message handlers");
}

static void judge_manifest(struct judge *j)
{
	const struct object_program *entry = object_entry(j->request->parsed);
	const struct spine_manifest *m = j->manifest;

	if (!j->rights->attach)
		refuse(j, "attach", "it may not be on %s", j->request->device);
	if (!j->rights->xdp)
		refuse(j, "program-type xdp", "it is a program of type xdp");
	judge_verdicts(j);
	judge_handlers(j);
	if (m->instructions_max > j->rights->instructions_max && !j->request->accept_unbounded)
		refuse(j, "cost", "the manifest asks for %u instructions a packet, %u are allowed", m->instructions_max,
		       j->rights->instructions_max);
	if (m->memory_bytes_max > j->rights->memory_bytes_max)
		refuse(j, "memory", "the manifest asks for %llu bytes of memory, %llu are allowed",
		       (unsigned long long)m->memory_bytes_max, (unsigned long long)j->rights->memory_bytes_max);
	if (entry == NULL)
		refuse(j, "program", "the object needs exactly one program in SEC(\"xdp\") or SEC(\"xdp.frags\")");
	else if (j->request->class.frags && !entry->frags && (m->flags & SPINE_FRAGS) == 0)
		refuse(j, "class", "programs of this device get packets in several buffers, and '%s' does not say that it "
				   "can: SEC(\"xdp.frags\") or SPINE_FRAGS in the manifest", entry->name);
}

/* ---- what would allow it ---- */

static const char *verdict_permission(struct slice verdict)
{
	return slice_eq(verdict, SLICE("tx")) ? "reflect" : slice_eq(verdict, SLICE("pass")) ? "pass" :
	       slice_eq(verdict, SLICE("drop")) ? "drop" : "redirect";
}

static uint32_t verdict_bit(struct slice verdict)
{
	return slice_eq(verdict, SLICE("tx"))	? SPINE_TX :
	       slice_eq(verdict, SLICE("pass")) ? SPINE_PASS :
	       slice_eq(verdict, SLICE("drop")) ? SPINE_DROP : SPINE_REDIRECT;
}

/* The line of the policy: "`allow router use helper x` in ...". False: none helps. */
static bool policy_line(const struct judge *j, const char *rule, struct buf *out)
{
	static const char *const sets[] = { "helper", "kfunc", "map-type", "program-type" };
	const struct spine_rights *r = j->rights;
	struct slice first, rest;

	slice_cut(slice_str(rule), ' ', &first, &rest);
	for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
		if (!slice_eq(first, slice_str(sets[i])) || rest.len == 0)
			continue;
		spine_rights_hint(out, r, "allow", "use %s %.*s", sets[i], SLICE_FMT(rest));
		return true;
	}
	if (slice_eq(first, SLICE("verdict")) && (r->verdicts & verdict_bit(rest)) == 0)
		spine_rights_hint(out, r, "allow", "%s %s", verdict_permission(rest), r->label);
	else if (slice_eq(first, SLICE("attach")))
		spine_rights_hint(out, r, "allow", "attach %s", r->label);
	else if (slice_eq(first, SLICE("handler")))
		spine_rights_hint(out, r, "allow", "offer LABEL` with `label handler LABEL = message \"%.*s\" of %s", SLICE_FMT(rest),
				  j->request->name);
	else if (slice_eq(first, SLICE("cost")) && j->manifest->instructions_max > r->instructions_max)
		spine_rights_hint(out, r, "limit", "instructions %u", j->manifest->instructions_max);
	else if (slice_eq(first, SLICE("memory")) && j->manifest->memory_bytes_max > r->memory_bytes_max)
		spine_rights_hint(out, r, "limit", "memory %llu KiB", (unsigned long long)(j->manifest->memory_bytes_max + 1023) / 1024);
	else if (slice_eq(first, SLICE("tail-calls")) || slice_eq(first, SLICE("tail-call")))
		spine_rights_hint(out, r, "limit", "tail-calls");
	else
		return false;
	return true;
}

static bool has_hint(const char *sentence)
{
	return slice_ends(slice_str(sentence), SLICE(" in the policy allows it"));
}

/* Some calls are refused whatever the policy says: then a line for it would be a wrong promise. */
static bool never_allowed(const struct inspect_finding *f)
{
	struct slice rule = slice_str(f->rule);

	return (slice_starts(rule, SLICE("helper ")) || slice_starts(rule, SLICE("kfunc "))) && !has_hint(f->sentence);
}

/* The inspector knows no policy: "...; 'use helper x' in the policy allows it". Ours says where, so that goes. */
static struct slice without_hint(const char *sentence)
{
	struct slice text = slice_str(sentence);
	const char *hint = NULL;

	if (has_hint(sentence))
		for (const char *at = sentence; (at = strstr(at, "; '")) != NULL; at++)
			hint = at;
	return hint == NULL ? text : slice_head(text, (size_t)(hint - sentence));
}

static void complete(struct judge *j, struct inspect_finding *f)
{
	AUTO_BUF struct buf line = BUF_INIT(4096);
	AUTO_BUF struct buf text = BUF_INIT(8192);

	if (never_allowed(f) || !policy_line(j, f->rule, &line))
		return;
	buf_printf(&text, "%.*s%s", SLICE_FMT(without_hint(f->sentence)), buf_cstr(&line));
	if (slice_starts(slice_str(f->rule), SLICE("tail-call")) && j->tier == TIER_UNTRUSTED)
		buf_adds(&text, ", for an object that is signed by a key that its domain names (`signed-by`)");
	f->sentence = keep(j, &text);
}

/* The inspector, too, compares the manifest's verdicts with the rights: once is enough. */
static bool said(const struct judge *j, const struct inspect_finding *f)
{
	for (size_t i = 0; i < j->own_count; i++) {
		if (slice_starts(slice_str(f->rule), SLICE("verdict ")) && strcmp(j->own[i].rule, f->rule) == 0)
			return true;
	}
	return false;
}

static int join(struct judge *j, struct inspect_report *report)
{
	size_t count = j->own_count;
	struct inspect_finding *all = arena_array(j->arena, count + report->finding_count, sizeof(*all));

	if (all == NULL)
		return -ENOMEM;
	memcpy(all, j->own, j->own_count * sizeof(*all));
	for (size_t i = 0; i < report->finding_count; i++) {
		if (!said(j, &report->findings[i]))
			all[count++] = report->findings[i];
	}
	for (size_t i = 0; i < count; i++)
		complete(j, &all[i]);
	report->findings = all;
	report->finding_count = count;
	return j->out_of_memory ? -ENOMEM : 0;
}

int load_judge(struct arena *arena, const struct load_request *r, const struct spine_rights *rights, enum spine_tier tier,
	       struct inspect_report *report, struct errmsg *why)
{
	struct judge j = { .arena = arena, .request = r, .manifest = r->parsed->manifest, .rights = rights, .tier = tier };

	memset(report, 0, sizeof(*report));
	if (j.manifest == NULL)
		return errmsg_say(why, -EINVAL, "'%s' has no manifest: add SPINE_EXTENSION(...) of <prickle/spine.h>, or "
				  "load it yourself and use 'prickle spine adopt'", r->name);
	judge_manifest(&j);
	struct inspect_rights allowed = {
		.verdicts = (j.manifest->verdicts & rights->verdicts) | SPINE_ABORTED,
		.helpers = rights->helpers,
		.kfuncs = rights->kfuncs,
		.map_types = rights->map_types,
		.instructions_max = MIN(j.manifest->instructions_max, rights->instructions_max),
		.memory_bytes_max = MIN(j.manifest->memory_bytes_max, rights->memory_bytes_max),
		.tail_calls = rights->tail_calls && tier == TIER_VETTED,
		.unbounded = r->accept_unbounded || (rights->unbounded && tier == TIER_VETTED),
		.syscall_programs = true,	/* judge_handlers says it with the line */
		.redirect_checked = rights->redirect,
	};
	int err = inspect_object(arena, r->parsed, &allowed, report, why);
	if (err != 0)
		return err;
	err = join(&j, report);
	if (err != 0)
		return errmsg_set(why, err, "inspect '%s'", r->name);
	if (report->finding_count == 0)
		return 0;
	return errmsg_say(why, -EPERM, "'%s' is refused for %zu reason%s; %s%s", r->name, report->finding_count,
			  report->finding_count == 1 ? "" : "s", report->finding_count == 1 ? "" : "the first: ",
			  report->findings[0].sentence);
}
