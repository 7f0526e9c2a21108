/*
 * Questions to a policy, in force or in a file: `prickle policy who-can`, `diff` and `export cil`.
 */
#include <errno.h>
#include <stdlib.h>

#include "cli/policy.h"
#include "policy/analysis/cil.h"
#include "policy/analysis/words.h"

#define OUTPUT_BYTES (64u << 20)

/* ---- which policy ---- */

static int shipped(struct cli *cli, struct arena *arena, const struct policy **out)
{
	AUTO_BUF struct buf errors = BUF_INIT(1u << 16);

	if (policy_parse(arena, "default", policy_default_text(), NULL, NULL, out, &errors) != 0)
		return cli_fail(cli, CLI_TEMPORARY, "the shipped policy: %s", buf_cstr(&errors));
	return CLI_OK;
}

static int of_file(struct cli *cli, struct arena *arena, const char *path, const struct policy **out)
{
	AUTO_BUF struct buf errors = BUF_INIT(1u << 20);
	struct errmsg why = { 0 };
	int err = policy_load_file(arena, path, out, &errors, &why);

	if (err == 0)
		return CLI_OK;
	if (errors.len == 0)
		return policy_cli_fail(cli, err, &why);
	fprintf(stderr, "%s", buf_cstr(&errors));
	if (err == -ENOENT)
		return cli_fail(cli, CLI_NOT_FOUND, "a policy is a file, the number of an epoch, 'current' or 'shipped'");
	return cli_fail(cli, CLI_FAILED, "'%s' has mistakes; 'prickle policy check' tells them, too", path);
}

static int of_store(struct cli *cli, struct arena *arena, uint64_t epoch, const struct policy **out)
{
	struct policy_store *store;
	struct errmsg why = { 0 };
	char directory[POLICY_DIRECTORY_BYTES];
	int code = policy_cli_directory(cli, directory), err;

	if (code != CLI_OK)
		return code;
	err = policy_store_open(directory, 0, &store, &why);
	if (err == -ENOENT && epoch == 0 && cli_value(cli, "policy") == NULL) {
		fprintf(stderr, "no policy was applied here: this is about the one that ships\n");
		return shipped(cli, arena, out);
	}
	if (err != 0)
		return policy_cli_fail(cli, err, &why);
	err = policy_store_policy(store, arena, epoch, out, &why);
	policy_store_close(store);
	return err == 0 ? CLI_OK : policy_cli_fail(cli, err, &why);
}

int policy_cli_source(struct cli *cli, struct arena *arena, const char *source, const struct analysis **out)
{
	const struct policy *p;
	uint64_t epoch;
	int code;

	if (source == NULL || strcmp(source, "current") == 0)
		code = of_store(cli, arena, 0, &p);
	else if (strcmp(source, "shipped") == 0)
		code = shipped(cli, arena, &p);
	else if (slice_u64(slice_str(source), UINT64_MAX, &epoch))
		code = epoch == 0 ? shipped(cli, arena, &p) : of_store(cli, arena, epoch, &p);
	else
		code = of_file(cli, arena, source, &p);
	if (code == CLI_OK && analysis_new(arena, p, out) != 0)
		return cli_fail(cli, CLI_TEMPORARY, "out of memory");
	return code;
}

/* ---- who-can ---- */

struct question {
	bool ever;
	const char *permission;
	struct buf object;		/* its words */
	enum policy_class class;
	uint32_t bit;
};

static int read_question(struct cli *cli, struct question *q)
{
	size_t i = 0, count = cli_arg_count(cli);

	if (i < count && strcmp(cli_arg(cli, i), "ever") == 0) {
		q->ever = true;
		i++;
	}
	if (i < count)
		q->permission = cli_arg(cli, i++);
	if (i < count && strcmp(cli_arg(cli, i), "on") == 0)
		i++;
	for (; i < count; i++)
		buf_printf(&q->object, "%s%s", q->object.len == 0 ? "" : " ", cli_arg(cli, i));
	return q->permission != NULL && q->object.len > 0 ?
		       CLI_OK :
		       cli_fail(cli, CLI_USAGE, "ask for a permission on an object, such as 'who-can ever read on mailbox'");
}

/*
 * The objects that the words mean: a label, all of a class, or whatever label a typed name has. The class is one that has the permission, since
 * several have "read". How many; 0 with a sentence.
 */
static size_t find_objects(const struct policy *p, struct arena *arena, struct question *q, uint16_t *list, struct errmsg *why)
{
	struct slice text = buf_slice(&q->object);
	enum policy_class whole = policy_class_find(text);
	struct policy_object target;
	bool known = false, named = whole != POLICY_CLASS_NONE;
	size_t count = 0;

	for (unsigned c = POLICY_CLASS_NONE + 1; c < POLICY_CLASS_COUNT && count == 0; c++) {
		uint16_t index = 0;
		q->class = (enum policy_class)c;
		q->bit = policy_permission_find(q->class, slice_str(q->permission));
		known |= q->bit != 0;
		if (q->bit == 0)
			continue;
		if (whole == q->class) {
			for (uint16_t i = 1; i < p->object_count; i++)
				if (p->objects[i].class == whole)
					list[count++] = i;
		} else if (whole == POLICY_CLASS_NONE && policy_target_parse(arena, p, q->class, text, &index, &target, why)) {
			named = true;
			if (target.kind != POLICY_OBJECT_NONE)
				index = analysis_lookup(p, &target);
			if (index != 0 && p->objects[index].class == q->class)
				list[count++] = index;
		}
	}
	if (!known)
		errmsg_say(why, -EINVAL, "no class has the permission '%s'; docs/policy.md lists them", q->permission);
	else if (count == 0 && (named || why->text[0] == '\0'))
		errmsg_say(why, -ENOENT, "nothing that can be allowed '%s' has the name '%s': so nobody can", q->permission, buf_cstr(&q->object));
	return count;
}

static void who_text(struct buf *out, const struct policy *p, const struct question *q, uint16_t object, const struct analysis_who *w)
{
	const char *between = "";

	for (size_t i = 0; i < w->path_count; i++, between = " -> ") {
		if (i == ARRAY_LEN(w->path) - 1 && w->path_count > ARRAY_LEN(w->path))
			buf_adds(out, " -> ...");
		buf_printf(out, "%s%s", between, policy_subject_text(p, w->path[MIN(i, ARRAY_LEN(w->path) - 1)]));
		if (i >= ARRAY_LEN(w->path) - 1)
			break;
	}
	buf_printf(out, "%s: %s %s", w->ticket ? " (with ticket)" : "", q->permission, policy_object_text(p, object));
	if (w->predicates != 0) {
		buf_adds(out, " where ");
		words_predicates(out, w->predicates);
	}
	buf_adds(out, ", by ");
	policy_span_text(out, p, w->rule->span);
	if (p->subjects[w->subject].trial_until != 0)
		buf_adds(out, "; on trial");
	buf_addc(out, '\n');
}

static json_t *who_json(const struct policy *p, const struct question *q, uint16_t object, const struct analysis_who *w)
{
	AUTO_BUF struct buf place = BUF_INIT(4096);
	json_t *path = json_array(), *predicates = json_array();

	policy_span_text(&place, p, w->rule->span);
	for (size_t i = 0; i < MIN(w->path_count, ARRAY_LEN(w->path)); i++)
		json_array_append_new(path, json_string(p->subjects[w->path[i]].name));
	for (uint32_t left = w->predicates; left != 0; left &= left - 1)
		json_array_append_new(predicates, json_string(policy_predicate_name(left & -left)));
	return json_pack("{s:s, s:s, s:s, s:o, s:I, s:o, s:b, s:s}", "subject", p->subjects[w->subject].name, "permission", q->permission, "object",
			 p->objects[object].name, "path", path, "path_length", (json_int_t)w->path_count, "where", predicates, "ticket", (int)w->ticket,
			 "rule", buf_cstr(&place));
}

static int answer(struct cli *cli, struct arena *arena, const struct analysis *a, const struct policy *p, struct question *q)
{
	AUTO_BUF struct buf out = BUF_INIT(OUTPUT_BYTES);
	uint16_t *objects = arena_array(arena, p->object_count, sizeof(*objects));
	struct errmsg why = { 0 };
	json_t *list = json_array();
	size_t found = 0, count = objects == NULL ? 0 : find_objects(p, arena, q, objects, &why);

	for (size_t i = 0; i < count; i++) {
		struct analysis_who *who;
		size_t can = analysis_who_can(a, arena, q->ever, q->bit, objects[i], &who);
		for (size_t k = 0; k < can; k++) {
			who_text(&out, p, q, objects[i], &who[k]);
			json_array_append_new(list, who_json(p, q, objects[i], &who[k]));
		}
		found += can;
	}
	if (arena->err != 0 || count == 0) {
		json_decref(list);
		return arena->err != 0 ? cli_fail(cli, CLI_TEMPORARY, "out of memory") :
					 cli_fail(cli, why.code == -ENOENT ? CLI_NOT_FOUND : CLI_USAGE, "%s", why.text);
	}
	if (cli_json(cli))
		return policy_cli_json(cli, list);
	json_decref(list);
	if (found == 0)
		buf_printf(&out, "nobody can %s%s %s\n", q->ever ? "ever " : "", q->permission, buf_cstr(&q->object));
	return cli_print(cli, &out);
}

static int who_can(struct cli *cli)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	struct question q = { .object = BUF_INIT(4096) };
	const struct analysis *a;
	int code = read_question(cli, &q);

	if (code == CLI_OK)
		code = policy_cli_source(cli, &arena, cli_value(cli, "in"), &a);
	if (code == CLI_OK)
		code = answer(cli, &arena, a, analysis_policy(a), &q);
	buf_done(&q.object);
	return code;
}

#define OPTION_IN { "in", 'i', "SOURCE", "ask this policy instead: a file, the number of an epoch, or 'shipped'", CLI_FILE }

const struct cli_command cmd_policy_who_can = {
	.words = "policy who-can",
	.summary = "tell who may do something, or ever could",
	.description = "Lists the subjects that have a permission on an object, with the rule that gives it. With 'ever' also those that can become such a "
		       "subject through 'enter', with the way. The object is a label, a class (all of its labels), or a name that is looked up as it "
		       "would be at run time: a path, host:port, an interface. A condition counts as true: there is an object for which it is.",
	.args = (const struct cli_arg[]){ { "WORDS", "[ever] PERMISSION [on] OBJECT", .many = true }, { 0 } },
	.options = (const struct cli_option[]){ OPTION_IN, CLI_OPTION_POLICY, CLI_OPTION_CONFIG, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle policy who-can ever read on mailbox", "prickle policy who-can write on /etc/passwd",
					   "prickle policy who-can read on mailbox --in site.policy", NULL },
	.run = who_can,
};

/* ---- diff ---- */

static int diff(struct cli *cli)
{
	AUTO_ARENA struct arena before_arena = ARENA_INIT(POLICY_ARENA_BYTES), after_arena = ARENA_INIT(POLICY_ARENA_BYTES);
	AUTO_BUF struct buf out = BUF_INIT(OUTPUT_BYTES);
	const struct analysis *before, *after;
	struct analysis_change *changes;
	size_t count;
	int code = policy_cli_source(cli, &before_arena, cli_arg(cli, 0), &before);

	if (code == CLI_OK)
		code = policy_cli_source(cli, &after_arena, cli_arg(cli, 1), &after);
	if (code != CLI_OK)
		return code;
	if (analysis_diff(&after_arena, before, after, &changes, &count) != 0)
		return cli_fail(cli, CLI_TEMPORARY, "out of memory");
	if (cli_json(cli))
		return policy_cli_json(cli, policy_cli_changes_json(changes, count));
	policy_cli_changes(&out, changes, count);
	if (count == 0)
		buf_adds(&out, "no decision differs\n");
	return cli_print(cli, &out);
}

const struct cli_command cmd_policy_diff = {
	.words = "policy diff",
	.summary = "tell what two policies decide differently",
	.description = "Compares decisions, not text: a policy that says the same in other words does not differ. '+' is allowed by the second alone, '-' by the "
		       "first alone, '~' another change: a label that means something else, a transfer, a limit, what is recorded. Labels are the same "
		       "when their names are.",
	.args = (const struct cli_arg[]){ { "A", "a file, the number of an epoch, 'current' or 'shipped'", .complete = CLI_FILE },
					  { "B", "the other", .complete = CLI_FILE }, { 0 } },
	.options = (const struct cli_option[]){ CLI_OPTION_POLICY, CLI_OPTION_CONFIG, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle policy diff current site.policy", "prickle policy diff 3 4", "prickle policy diff shipped current", NULL },
	.run = diff,
};

/* ---- export cil ---- */

static int export_cil(struct cli *cli)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	AUTO_BUF struct buf out = BUF_INIT(OUTPUT_BYTES);
	const struct analysis *a;
	int code = policy_cli_source(cli, &arena, cli_arg(cli, 0), &a);

	if (code != CLI_OK)
		return code;
	analysis_cil(&out, a);
	if (out.err != 0)
		return cli_fail(cli, CLI_TEMPORARY, "out of memory");
	return cli_print(cli, &out);
}

const struct cli_command cmd_policy_export_cil = {
	.words = "policy export cil",
	.summary = "print a policy in SELinux's language CIL",
	.description = "For tools that know SELinux: secilc compiles it, sesearch and apol search it. A never becomes a neverallow, which secilc checks; conditions "
		       "count as true, since CIL has none.",
	.args = (const struct cli_arg[]){
		{ "SOURCE", "a file, the number of an epoch, 'shipped' or 'current', which is asked without it", .optional = true, .complete = CLI_FILE }, { 0 } },
	.options = (const struct cli_option[]){ CLI_OPTION_POLICY, CLI_OPTION_CONFIG, { 0 } },
	.examples = (const char *const[]){ "prickle policy export cil > policy.cil && secilc -o policy.bin -f /dev/null policy.cil",
					   "prickle policy export cil site.policy", NULL },
	.run = export_cil,
};
