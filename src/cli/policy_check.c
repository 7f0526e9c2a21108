/*
 * `prickle policy check` and `prickle policy test`: what is wrong with a policy's files, before anything applies them.
 */
#include <errno.h>

#include "cli/policy.h"
#include "policy/service.h"

#define PROBLEMS_BYTES (1u << 20)

/* Is this the first line of a problem? Source lines and carets begin with a blank. */
static bool begins_problem(struct slice line, const char **kind, size_t *at)
{
	static const char *const kinds[] = { "error", "warning", "note" };

	if (line.len == 0 || line.ptr[0] == ' ')
		return false;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		char mark[16];

		(void)snprintf(mark, sizeof(mark), ": %s: ", kinds[i]);
		*at = slice_find(line, slice_str(mark));
		*kind = kinds[i];
		if (*at != SLICE_NPOS)
			return true;
	}
	return false;
}

/* {"place": "f:1:2", "kind": "error", "text": ..., "source": ...} for each problem of a text for people. */
static void add_problems(json_t *list, struct slice text)
{
	json_t *last = NULL;
	struct slice line;

	for (; text.len > 0;) {
		struct slice rest = { 0 };
		const char *kind;
		size_t at;

		if (!slice_cut(text, '\n', &line, &rest))
			line = text;
		text = rest;
		if (begins_problem(line, &kind, &at)) {
			struct slice sentence = slice_from(line, at + strlen(kind) + 4);

			last = json_object();
			json_object_set_new(last, "place", json_stringn_nocheck((const char *)line.ptr, at));
			json_object_set_new(last, "kind", json_string(kind));
			json_object_set_new(last, "text", json_stringn_nocheck((const char *)sentence.ptr, sentence.len));
			json_array_append_new(list, last);
		} else if (last != NULL) {
			const char *had = json_string_value(json_object_get(last, "source"));
			AUTO_BUF struct buf source = BUF_INIT(PROBLEMS_BYTES);

			buf_printf(&source, "%s%.*s\n", had == NULL ? "" : had, SLICE_FMT(line));
			json_object_set_new(last, "source", json_stringn_nocheck(buf_cstr(&source), source.len));
		}
	}
}

/* Read and check one file. CLI_OK; CLI_FAILED: *errors says what is wrong. */
static int check_file(struct cli *cli, const char *path, struct arena *arena, const struct policy **policy, struct buf *errors, struct buf *warnings)
{
	const struct analysis *analysis;
	struct errmsg why = { 0 };
	int err = policy_load_file(arena, path, policy, errors, &why);

	if (err == -EINVAL || (err != 0 && errors->len > 0))
		return CLI_FAILED;
	if (err != 0)
		return cli_fail(cli, err == -ENOENT ? CLI_NOT_FOUND : CLI_FAILED, "%s", why.text);
	if (analysis_new(arena, *policy, &analysis) != 0)
		return cli_fail(cli, CLI_TEMPORARY, "'%s' does not fit in memory", path);
	policy_service_warn(analysis, warnings);
	return analysis_check(analysis, errors, warnings) == 0 ? CLI_OK : CLI_FAILED;
}

static int print_json(struct cli *cli, bool ok, struct buf *errors, struct buf *warnings)
{
	json_t *problems = json_array();

	add_problems(problems, buf_slice(errors));
	add_problems(problems, buf_slice(warnings));
	return policy_cli_json(cli, json_pack("{s:b, s:o}", "ok", (int)ok, "problems", problems));
}

static int check(struct cli *cli)
{
	AUTO_BUF struct buf errors = BUF_INIT(PROBLEMS_BYTES), warnings = BUF_INIT(PROBLEMS_BYTES), out = BUF_INIT(PROBLEMS_BYTES);
	int code = CLI_OK;

	for (size_t i = 0; i < cli_arg_count(cli); i++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
		const struct policy *p;
		int one = check_file(cli, cli_arg(cli, i), &arena, &p, &errors, &warnings);

		if (one == CLI_OK)
			buf_printf(&out, "%s is fine: %zu domains and roles, %zu objects, %zu rules, %zu nevers and %zu expectations hold\n",
				   cli_arg(cli, i), p->subject_count - 1, p->object_count - 1, p->allow_count + p->use_count,
				   p->never_count, p->expect_count);
		else if (one != CLI_FAILED || errors.len == 0)
			return one;	/* it was told */
		code = MAX(code, one);
	}
	if (cli_json(cli)) {
		int printed = print_json(cli, code == CLI_OK, &errors, &warnings);
		return printed != CLI_OK ? printed : code;
	}
	fprintf(stderr, "%s%s", buf_cstr(&errors), buf_cstr(&warnings));
	return MAX(code, cli_print(cli, &out));
}

/* ---- test ---- */

struct tap {
	struct buf out;
	size_t number, failed;
};

static void tap_line(struct tap *t, bool ok, struct slice what, struct slice why)
{
	struct slice line, rest;

	t->failed += !ok;
	buf_printf(&t->out, "%sok %zu - %.*s\n", ok ? "" : "not ", ++t->number, SLICE_FMT(what));
	for (; why.len > 0; why = rest) {
		if (!slice_cut(why, '\n', &line, &rest)) {
			line = why;
			rest = (struct slice){ 0 };
		}
		buf_printf(&t->out, "# %.*s\n", SLICE_FMT(line));
	}
}

/* "FILE:LINE:COL: expect deny mailadm read mailbox" */
static void expectation_text(struct buf *out, const struct policy *p, const struct policy_expect *e)
{
	static const char *const what[] = { [POLICY_EXPECT_ALLOW] = "allow", [POLICY_EXPECT_DENY] = "deny", [POLICY_EXPECT_STATIC] = "static" };

	policy_span_text(out, p, e->span);
	buf_printf(out, ": expect %s %s ", what[e->what], policy_subject_text(p, e->subject));
	if (e->class == POLICY_CLASS_NONE) {
		buf_printf(out, "use %s %s", policy_use_name(e->use), e->use_name);
		return;
	}
	buf_adds(out, policy_permission_name(e->class, e->permission));
	if (e->target.kind == POLICY_HOST_PORT)
		buf_printf(out, " %s:%u", e->target.text == NULL ? "any" : e->target.text, e->target.port);
	else if (e->target.kind != POLICY_OBJECT_NONE)
		buf_printf(out, " %s", e->target.text == NULL ? "any" : e->target.text);
	else if (e->object != 0)
		buf_printf(out, " %s", policy_object_text(p, e->object));
	else
		buf_printf(out, " %s", policy_class_name(e->class));
}

/* One line for all nevers, one for each expectation. The analysis is made once and asked about one expectation after the other. */
static int test_policy(struct arena *arena, const struct policy *p, struct tap *t)
{
	AUTO_BUF struct buf errors = BUF_INIT(PROBLEMS_BYTES), ignored = BUF_INIT(PROBLEMS_BYTES), what = BUF_INIT(4096);
	struct policy one = *p;
	const struct analysis *a;
	size_t broken;

	if (analysis_new(arena, &one, &a) != 0)
		return -ENOMEM;
	one.expect_count = 0;
	broken = analysis_check(a, &errors, &ignored);
	buf_printf(&what, "%s: every never holds", p->sources[0].name);
	tap_line(t, broken == 0, buf_slice(&what), buf_slice(&errors));
	one.never_count = 0;
	buf_reset(&errors);
	broken = analysis_check(a, &errors, &ignored);	/* nevers of uses, which stand among the uses */
	for (size_t i = 0; i < p->expect_count; i++) {
		size_t before;

		buf_reset(&errors);
		buf_reset(&ignored);
		buf_reset(&what);
		one.expects = &p->expects[i];
		one.expect_count = 1;
		before = analysis_check(a, &errors, &ignored);
		expectation_text(&what, p, &p->expects[i]);
		tap_line(t, before == broken, buf_slice(&what), before == broken ? (struct slice){ 0 } : buf_slice(&errors));
	}
	return 0;
}

static int test(struct cli *cli)
{
	struct tap t = { .out = BUF_INIT(64u << 20) };
	AUTO_BUF struct buf errors = BUF_INIT(PROBLEMS_BYTES);
	int code = CLI_OK;

	for (size_t i = 0; i < cli_arg_count(cli) && code == CLI_OK; i++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
		const struct policy *p;
		struct errmsg why = { 0 };
		int err = policy_load_file(&arena, cli_arg(cli, i), &p, &errors, &why);

		if (errors.len > 0) {
			tap_line(&t, false, slice_str(cli_arg(cli, i)), buf_slice(&errors));
			buf_reset(&errors);
		} else if (err != 0) {
			code = cli_fail(cli, err == -ENOENT ? CLI_NOT_FOUND : CLI_FAILED, "%s", why.text);
		} else if (test_policy(&arena, p, &t) != 0) {
			code = cli_fail(cli, CLI_TEMPORARY, "'%s' does not fit in memory", cli_arg(cli, i));
		}
	}
	if (code == CLI_OK) {
		buf_printf(&t.out, "1..%zu\n", t.number);
		code = cli_print(cli, &t.out);
	}
	buf_done(&t.out);
	return code != CLI_OK ? code : t.failed > 0 ? CLI_FAILED : CLI_OK;
}

static const struct cli_arg files[] = { { "FILE", "the policy; imports are read from its directory", .many = true, .complete = CLI_FILE }, { 0 } };

const struct cli_command cmd_policy_check = {
	.words = "policy check",
	.summary = "tell everything that is wrong with a policy",
	.description = "Reads a policy with all that it imports and prints every mistake with its place, the line and what was probably meant; then each "
		       "allow that breaks a never, and each expectation that does not hold. Nothing is changed. Each FILE is a policy of its own.",
	.args = files,
	.json = true,
	.examples = (const char *const[]){ "prickle policy check site.policy", "prickle policy check --json *.policy", NULL },
	.run = check,
};

const struct cli_command cmd_policy_test = {
	.words = "policy test",
	.summary = "run the expectations of a policy, a line for each",
	.description = "Prints TAP (Test Anything Protocol): one line for all nevers and one for each thing that an expect says. The exit code is 1 when "
		       "one does not hold.",
	.args = files,
	.examples = (const char *const[]){ "prickle policy test site.policy", NULL },
	.run = test,
};
