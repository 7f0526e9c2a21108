/*
 * `prickle policy learn`: the rules that a log of decisions needs. And what `explain` says of a policy about one decision.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/policy.h"
#include "policy/analysis/explain.h"
#include "policy/analysis/learn.h"
#include "policy/analysis/words.h"

#define OUTPUT_BYTES (64u << 20)
#define LOG_LINE_BYTES 65536u

/* ---- reading decisions ---- */

struct learning {
	struct arena *arena;
	const struct policy *p;
	const struct analysis *a;
	const char *subject;		/* only this one; NULL: all */
	struct analysis_observation *seen;
	size_t count, room;
	struct buf uses;		/* lines that the policy does not have, each once and with its line end */
	bool failed;
};

/* ---- what extensions were linked with ---- */

/* A refusal of what is no permission on an object: its text says what (spine/refusals.c). */
bool policy_cli_is_use(const struct policy_record *r)
{
	return r->permission == 0 && (r->result == POLICY_RESULT_DENIED || r->result == POLICY_RESULT_TRIAL);
}

static bool cut_use(struct slice what, enum policy_use *use, struct slice *name)
{
	struct slice kind;

	slice_cut(what, ' ', &kind, name);
	/* A stranger's object chose it, and the line goes into a policy. */
	for (size_t i = 0; i < name->len; i++)
		if (!ascii_alpha(name->ptr[i]) && !ascii_digit(name->ptr[i]) && name->ptr[i] != '_' && name->ptr[i] != '-')
			return false;
	for (int u = 0; u < POLICY_USE_COUNT; u++) {
		*use = (enum policy_use)u;
		if (name->len != 0 && slice_eq(kind, slice_str(policy_use_name(*use))))
			return true;
	}
	return false;
}

bool policy_cli_use_line(struct buf *out, const char *before, const char *subject, const char *what)
{
	enum policy_use use;
	struct slice name;

	if (*subject == '\0' || !cut_use(slice_str(what), &use, &name))
		return false;
	buf_printf(out, "%sallow %s use %s %.*s", before, subject, policy_use_name(use), SLICE_FMT(name));
	return true;
}

static void take_use(struct learning *l, const char *subject, const char *what)
{
	uint16_t s = policy_subject_find(l->p, slice_str(subject));
	AUTO_BUF struct buf line = BUF_INIT(LOG_LINE_BYTES);
	const char *const *names;
	enum policy_use use;
	struct slice name;

	if (s == 0 || (l->subject != NULL && policy_subject_find(l->p, slice_str(l->subject)) != s) || !cut_use(slice_str(what), &use, &name))
		return;
	for (size_t i = analysis_uses(l->a, s, use, &names); i > 0; i--)
		if (slice_eq(slice_str(names[i - 1]), name))
			return;
	if (policy_cli_use_line(&line, "", subject, what))
		buf_addc(&line, '\n');
	if (slice_find(buf_slice(&l->uses), buf_slice(&line)) == SLICE_NPOS)
		buf_add(&l->uses, buf_slice(&line));
}

static void observe(struct learning *l, const struct analysis_observation *o)
{
	/* The log repeats itself: the last one is the likely place. */
	if (l->count > 0 && l->seen[l->count - 1].subject == o->subject && l->seen[l->count - 1].object == o->object &&
	    l->seen[l->count - 1].permission == o->permission && l->seen[l->count - 1].holds == o->holds) {
		l->seen[l->count - 1].count += o->count;
		return;
	}
	if (l->count == l->room) {
		size_t room = l->room == 0 ? 256 : 2 * l->room;
		struct analysis_observation *grown = reallocarray(l->seen, room, sizeof(*grown));
		if (grown == NULL) {
			l->failed = true;
			return;
		}
		l->seen = grown;
		l->room = room;
	}
	l->seen[l->count++] = *o;
}

/* Is what it was done on ("bob@example.org INBOX") theirs who did it? As records of mail name both. */
static bool owns(const char *who, const char *what)
{
	size_t n = strlen(who);

	return n > 0 && strncmp(who, what, n) == 0 && (what[n] == '\0' || what[n] == ' ' || what[n] == '/');
}

/* A refusal or what a trial let through. */
static void take(struct learning *l, const char *subject, const char *object, enum policy_class class, uint32_t permission, uint32_t failed,
		 const char *who, const char *what)
{
	struct analysis_observation o = { policy_subject_find(l->p, slice_str(subject)), policy_object_find(l->p, slice_str(object)), permission, 0, 1 };

	if (permission == 0 || class == POLICY_CLASS_NONE)
		return;
	if (l->subject != NULL && (o.subject == 0 || policy_subject_find(l->p, slice_str(l->subject)) != o.subject))
		return;
	/* The label may have become another thing since. */
	if (o.object != 0 && l->p->objects[o.object].class != class)
		o.object = 0;
	if ((class == POLICY_MAILBOX || class == POLICY_ACCOUNT) && owns(who, what))
		o.holds = POLICY_OWNER_IS_SUBJECT & ~failed;
	observe(l, &o);
}

static bool take_record(void *arg, const struct policy_seen *seen)
{
	const struct policy_record *r = seen->record;
	struct policy_record_texts t = policy_record_texts(r);
	struct learning *l = arg;

	if (policy_cli_is_use(r))
		take_use(l, seen->entry->subject, t.what);
	else if (r->result == POLICY_RESULT_DENIED || r->result == POLICY_RESULT_TRIAL)
		take(l, seen->entry->subject, seen->entry->object, (enum policy_class)r->class, r->permission, r->predicates, t.who, t.what);
	return !l->failed;
}

static const char *member(const json_t *o, const char *name)
{
	const char *text = json_string_value(json_object_get(o, name));

	return text == NULL ? "" : text;
}

/* A line of `policy audit --json`. */
static bool take_line(struct learning *l, const char *line)
{
	json_t *o = json_loads(line, 0, NULL);

	if (!json_is_object(o)) {
		json_decref(o);
		return false;
	}
	enum policy_class class = policy_class_find(slice_str(member(o, "class")));
	bool refused = strcmp(member(o, "result"), "denied") == 0 || strcmp(member(o, "result"), "trial") == 0;
	if (refused && class == POLICY_PORT && *member(o, "object") == '\0')
		take_use(l, member(o, "subject"), member(o, "what"));
	else if (refused)
		take(l, member(o, "subject"), member(o, "object"), class, policy_permission_find(class, slice_str(member(o, "permission"))), 0,
		     member(o, "who"), member(o, "what"));
	json_decref(o);
	return true;
}

static int read_lines(struct cli *cli, struct learning *l, const char *path)
{
	FILE *f = fopen(path, "re");
	AUTO_FREE char *line = malloc(LOG_LINE_BYTES);
	int code = CLI_OK;

	if (f == NULL)
		return cli_fail(cli, errno == ENOENT ? CLI_NOT_FOUND : CLI_FAILED, "%s: %s", path, strerrordesc_np(errno));
	for (unsigned number = 1; code == CLI_OK && line != NULL && fgets(line, LOG_LINE_BYTES, f) != NULL; number++)
		if (line[0] != '\n' && !take_line(l, line))
			code = cli_fail(cli, CLI_USAGE, "%s:%u: no line of 'prickle policy audit --json'", path, number);
	if (code == CLI_OK && (line == NULL || ferror(f)))
		code = cli_fail(cli, CLI_FAILED, "%s cannot be read", path);
	fclose(f);
	return code;
}

static int read_store(struct cli *cli, struct learning *l)
{
	struct policy_store *store;
	struct errmsg why = { 0 };
	int64_t since_us = INT64_MIN;
	int code = CLI_OK, err;

	if (cli_has(cli, "since"))
		code = policy_cli_since(cli, cli_value(cli, "since"), &since_us);
	if (code == CLI_OK)
		code = policy_cli_open(cli, 0, &store);
	if (code != CLI_OK)
		return code;
	err = policy_store_records(store, since_us, false, take_record, l, &why);
	policy_store_close(store);
	return err == 0 ? CLI_OK : policy_cli_fail(cli, err, &why);
}

/* ---- telling what was learnt ---- */

static void refused_text(struct buf *out, const struct policy *p, const struct analysis_refused *r)
{
	const struct analysis_observation *o = &r->seen;

	buf_printf(out, "# not allowed: %s %s %s, by the never at ", p->subjects[o->subject].name,
		   policy_permission_name(p->objects[o->object].class, o->permission), p->objects[o->object].name);
	policy_span_text(out, p, r->never->span);
	if (r->never->because != NULL)
		buf_printf(out, ": \"%s\"", r->never->because);
	buf_addc(out, '\n');
}

static void lesson_text(struct buf *out, const struct policy *p, const struct analysis_lesson *l, struct slice uses)
{
	buf_add(out, uses);
	for (size_t i = 0; i < l->rule_count; i++) {
		buf_printf(out, "%s\n  # %llu decision%s\n", l->rules[i].line, (unsigned long long)l->rules[i].covers, l->rules[i].covers == 1 ? "" : "s");
		for (size_t k = 0; k < l->rules[i].opens.count; k++)
			buf_printf(out, "  # opens: %s\n", l->rules[i].opens.lines[k]);
	}
	for (size_t i = 0; i < l->refused_count; i++)
		refused_text(out, p, &l->refused[i]);
	if (l->already > 0)
		buf_printf(out, "# %llu decisions would be allowed now\n", (unsigned long long)l->already);
	if (l->unlabelled > 0)
		buf_printf(out, "# %llu decisions are about what has no label: define a domain, role or label first\n", (unsigned long long)l->unlabelled);
	if (!l->smallest)
		buf_adds(out, "# the log is large: maybe fewer lines would do\n");
	if (l->rule_count == 0 && uses.len == 0)
		buf_adds(out, "# nothing to add\n");
}

static json_t *texts_json(const struct analysis_texts *t)
{
	json_t *list = json_array();

	for (size_t i = 0; i < t->count; i++)
		json_array_append_new(list, json_string(t->lines[i]));
	return list;
}

static json_t *lesson_json(const struct policy *p, const struct analysis_lesson *l, struct slice uses)
{
	json_t *rules = json_array(), *refused = json_array(), *use_lines = json_array();
	struct slice line;

	while (uses.len != 0) {
		slice_cut(uses, '\n', &line, &uses);
		json_array_append_new(use_lines, json_stringn((const char *)line.ptr, line.len) ?: json_null());
	}

	for (size_t i = 0; i < l->rule_count; i++)
		json_array_append_new(rules, json_pack("{s:s, s:I, s:o}", "line", l->rules[i].line, "decisions", (json_int_t)l->rules[i].covers, "opens",
						       texts_json(&l->rules[i].opens)));
	for (size_t i = 0; i < l->refused_count; i++) {
		const struct analysis_observation *o = &l->refused[i].seen;
		AUTO_BUF struct buf place = BUF_INIT(4096);
		policy_span_text(&place, p, l->refused[i].never->span);
		json_array_append_new(refused, json_pack("{s:s, s:s, s:s, s:s}", "subject", p->subjects[o->subject].name, "permission",
							 policy_permission_name(p->objects[o->object].class, o->permission), "object",
							 p->objects[o->object].name, "never", buf_cstr(&place)));
	}
	return json_pack("{s:o, s:o, s:o, s:I, s:I, s:b}", "rules", rules, "uses", use_lines, "refused", refused, "already", (json_int_t)l->already, "unlabelled",
			 (json_int_t)l->unlabelled, "smallest", (int)l->smallest);
}

static int learn(struct cli *cli)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(2u * POLICY_ARENA_BYTES);
	AUTO_BUF struct buf out = BUF_INIT(OUTPUT_BYTES);
	struct learning l = { .arena = &arena, .subject = cli_value(cli, "subject") };
	const struct analysis *a;
	struct analysis_lesson lesson;
	int code = policy_cli_source(cli, &arena, cli_value(cli, "in"), &a), err = 0;

	if (code != CLI_OK)
		return code;
	l.p = analysis_policy(a);
	l.a = a;
	buf_init(&l.uses, OUTPUT_BYTES);
	if (l.subject != NULL && policy_subject_find(l.p, slice_str(l.subject)) == 0)
		return cli_fail(cli, CLI_NOT_FOUND, "the policy has no domain or role '%s'", l.subject);
	code = cli_arg(cli, 0) != NULL ? read_lines(cli, &l, cli_arg(cli, 0)) : read_store(cli, &l);
	if (code == CLI_OK)
		err = l.failed ? -ENOMEM : analysis_learn(&arena, a, l.seen, l.count, &lesson);
	free(l.seen);
	AUTO_BUF struct buf uses = l.uses;
	if (code != CLI_OK)
		return code;
	if (err != 0)
		return cli_fail(cli, CLI_TEMPORARY, err == -E2BIG ? "the log has too many different decisions: take a part of it with --since or --subject" :
								    "out of memory");
	if (cli_json(cli))
		return policy_cli_json(cli, lesson_json(l.p, &lesson, buf_slice(&uses)));
	lesson_text(&out, l.p, &lesson, buf_slice(&uses));
	return cli_print(cli, &out);
}

const struct cli_command cmd_policy_learn = {
	.words = "policy learn",
	.summary = "find the fewest rules that a log of decisions needs",
	.description = "Takes what was refused, or let through by a trial, and prints the fewest allow lines that would have allowed it, ready for a policy, each with "
		       "all that it would open besides. They allow no other pair of labels, and never what a never forbids: that is told instead. "
		       "A line that opens too much wants labels that are narrower.",
	.args = (const struct cli_arg[]){ { "AUDIT", "output of 'prickle policy audit --json'; without it the log of the node", .optional = true, .complete = CLI_FILE }, { 0 } },
	.options = (const struct cli_option[]){
		{ "since", 's', "TIME", "only of the last 90s, 30m, 12h, 7d..." },
		{ "subject", '\0', "NAME", "only of this domain or role" },
		{ "in", 'i', "SOURCE", "what this policy lacks instead: a file, the number of an epoch, or 'shipped'", CLI_FILE },
		CLI_OPTION_POLICY, CLI_OPTION_CONFIG, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle policy learn --since 1d", "prickle policy audit --json > log && prickle policy learn log --in site.policy", NULL },
	.run = learn,
};

/* ---- explain ---- */

/* The policy of that epoch, and what it says; false: not kept any more, or nothing that it could explain. */
static bool explanation(struct cli *cli, struct arena *arena, const struct policy_entry *entry, const struct analysis **a, struct analysis_explanation *e)
{
	const struct policy_record *r = &entry->record;
	char epoch[24];

	if (r->permission == 0 || r->class == POLICY_CLASS_NONE)
		return false;
	(void)snprintf(epoch, sizeof(epoch), "%llu", (unsigned long long)r->epoch);
	if (policy_cli_source(cli, arena, epoch, a) != CLI_OK)
		return false;
	const struct policy *p = analysis_policy(*a);
	uint16_t object = policy_object_find(p, slice_str(entry->object));
	return analysis_explain(arena, *a, policy_subject_find(p, slice_str(entry->subject)), (enum policy_class)r->class,
				object != 0 && p->objects[object].class == r->class ? object : 0, r->permission, e) == 0;
}

void policy_cli_explain_text(struct cli *cli, struct buf *out, const struct policy_entry *entry)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	const struct analysis *a;
	struct analysis_explanation e;

	if (explanation(cli, &arena, entry, &a, &e))
		analysis_explain_text(out, a, &e);
}

static json_t *rule_json(const struct policy *p, const struct policy_rule *r)
{
	AUTO_BUF struct buf place = BUF_INIT(4096);

	if (r == NULL)
		return json_null();
	policy_span_text(&place, p, r->span);
	return json_pack("{s:s, s:s?}", "place", buf_cstr(&place), "because", r->because);
}

json_t *policy_cli_explain_json(struct cli *cli, const struct policy_entry *entry)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	const struct analysis *a;
	struct analysis_explanation e;
	json_t *way = json_array();

	if (!explanation(cli, &arena, entry, &a, &e)) {
		json_decref(way);
		return json_null();
	}
	const struct policy *p = analysis_policy(a);
	for (size_t i = 0; i < MIN(e.path_count, ARRAY_LEN(e.path)); i++)
		json_array_append_new(way, json_string(p->subjects[e.path[i]].name));
	return json_pack("{s:o, s:o, s:s?, s:o, s:o, s:o, s:b}", "rule", rule_json(p, e.rule), "nearest", rule_json(p, e.nearest), "line", e.line, "never",
			 rule_json(p, e.never), "opens", texts_json(&e.opens), "way", way, "ticket", (int)e.ticket);
}
