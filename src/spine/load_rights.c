/*
 * Wishes against grants: the manifest asks, the grants file allows, the inspector looks whether the
 * object keeps to it. All reasons to refuse come at once, each with the line that would allow it.
 */
#include <errno.h>
#include <stdio.h>

#include "spine/load_private.h"

#define OWN_FINDINGS_MAX 16u

struct judge {
	struct arena *arena;
	const struct load_request *request;
	const struct spine_manifest *manifest;
	const struct grant *grant;
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
		if ((j->manifest->verdicts & rows[i].bit) != 0 && (j->grant->verdicts & rows[i].bit) == 0)
			refuse(j, rows[i].rule, "the manifest asks for the verdict '%s'", rows[i].rule + 8);
	}
}

static void judge_manifest(struct judge *j)
{
	const struct object_program *entry = object_entry(j->request->parsed);
	const struct spine_manifest *m = j->manifest;

	judge_verdicts(j);
	if (m->instructions_max > j->grant->instructions_max && !j->request->accept_unbounded)
		refuse(j, "cost", "the manifest asks for %u instructions a packet, %u are granted", m->instructions_max,
		       j->grant->instructions_max);
	if (m->memory_bytes_max > j->grant->memory_bytes_max)
		refuse(j, "memory", "the manifest asks for %llu bytes of memory, %llu are granted",
		       (unsigned long long)m->memory_bytes_max, (unsigned long long)j->grant->memory_bytes_max);
	if (entry == NULL)
		refuse(j, "program", "the object needs exactly one program in SEC(\"xdp\") or SEC(\"xdp.frags\")");
	else if (j->request->class.frags && !entry->frags && (m->flags & SPINE_FRAGS) == 0)
		refuse(j, "class", "programs of this device get packets in several buffers, and '%s' does not say that it "
				   "can: SEC(\"xdp.frags\") or SPINE_FRAGS in the manifest", entry->name);
}

/* ---- what would allow it ---- */

/* The line for the grants file: "helpers: [x]". False: none helps. */
static bool grant_line(const struct judge *j, const char *rule, struct buf *out)
{
	static const struct {
		const char *rule, *key;
	} lists[] = {
		{ "helper", "helpers" }, { "kfunc", "kfuncs" }, { "map-type", "map-types" }, { "verdict", "verdicts" },
	};
	struct slice first, rest;

	slice_cut(slice_str(rule), ' ', &first, &rest);
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		if (!slice_eq(first, slice_str(lists[i].rule)) || rest.len == 0)
			continue;
		/* Helpers, kfuncs and map types add to the default; verdicts are the whole set. */
		buf_printf(out, "%s: [%s%.*s]", lists[i].key, i == 3 ? "..., " : "", SLICE_FMT(rest));
		return true;
	}
	if (slice_eq(first, SLICE("cost"))) {
		buf_printf(out, "instructions: %u", MAX(j->manifest->instructions_max, j->grant->instructions_max));
		return j->manifest->instructions_max > j->grant->instructions_max;
	}
	if (slice_eq(first, SLICE("memory"))) {
		buf_printf(out, "memory: %llu KiB", (unsigned long long)(j->manifest->memory_bytes_max + 1023) / 1024);
		return j->manifest->memory_bytes_max > j->grant->memory_bytes_max;
	}
	if (slice_eq(first, SLICE("tail-calls")) || slice_eq(first, SLICE("tail-call"))) {
		buf_adds(out, "tail-calls: true");
		return true;
	}
	return false;
}

static bool has_hint(const char *sentence)
{
	return slice_ends(slice_str(sentence), SLICE(" in the grants file allows it"));
}

/* Some calls are refused whatever the grants say: then a line for the grants file would be a wrong promise. */
static bool never_granted(const struct inspect_finding *f)
{
	struct slice rule = slice_str(f->rule);

	return (slice_starts(rule, SLICE("helper ")) || slice_starts(rule, SLICE("kfunc "))) && !has_hint(f->sentence);
}

/* The inspector knows no file: "...; 'helpers: [x]' in the grants file allows it". Ours says which, so that goes. */
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
	AUTO_BUF struct buf line = BUF_INIT(256);
	AUTO_BUF struct buf text = BUF_INIT(2048);
	bool by_default = strcmp(j->grant->from, "defaults") == 0;

	if (never_granted(f) || !grant_line(j, f->rule, &line))
		return;
	buf_printf(&text, "%.*s. '%s' under 'extensions: %s:' in %s would allow it", SLICE_FMT(without_hint(f->sentence)), buf_cstr(&line),
		   j->request->name, by_default ? grants_file(j->request->grants) : j->grant->from);
	if (slice_starts(buf_slice(&line), SLICE("tail-calls")) && j->tier == TIER_UNTRUSTED)
		buf_printf(&text, ", for a signed object");
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

int load_judge(struct arena *arena, const struct load_request *r, enum spine_tier tier, struct inspect_report *report,
	       struct errmsg *why)
{
	struct judge j = { .arena = arena, .request = r, .manifest = r->parsed->manifest, .tier = tier };

	memset(report, 0, sizeof(*report));
	if (j.manifest == NULL)
		return errmsg_say(why, -EINVAL, "'%s' has no manifest: add SPINE_EXTENSION(...) of <prickle/spine.h>, or "
				  "load it yourself and use 'prickle spine adopt'", r->name);
	j.grant = grant_find(r->grants, r->name);
	judge_manifest(&j);
	struct inspect_rights rights = {
		.verdicts = (j.manifest->verdicts & j.grant->verdicts) | SPINE_ABORTED,
		.helpers = j.grant->helpers,
		.kfuncs = j.grant->kfuncs,
		.map_types = j.grant->map_types,
		.instructions_max = MIN(j.manifest->instructions_max, j.grant->instructions_max),
		.memory_bytes_max = MIN(j.manifest->memory_bytes_max, j.grant->memory_bytes_max),
		.tail_calls = j.grant->tail_calls && tier == TIER_VETTED,
		.unbounded = r->accept_unbounded || (j.grant->unbounded && tier == TIER_VETTED),
		.syscall_programs = true,
	};
	int err = inspect_object(arena, r->parsed, &rights, report, why);
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
