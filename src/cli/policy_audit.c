/*
 * `prickle policy audit` and `prickle policy explain`: what was decided, and why.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/date.h"
#include "cli/policy.h"

#define LINE_BYTES 65536u

struct printing {
	struct cli *cli;
	const char *result, *subject;	/* filters; NULL: all */
	uint64_t shown, lost;
	int code;
};

/* What a stranger wrote stays on its line, or it would look like records of ours. */
static void stranger_text(struct buf *out, const char *before, const char *text)
{
	if (*text == '\0')
		return;
	buf_adds(out, before);
	for (; *text != '\0'; text++)
		buf_addc(out, *text == '\n' || *text == '\t' ? ' ' : (uint8_t)*text);
}

static void entry_line(struct buf *out, const struct policy_entry *e)
{
	const struct policy_record *r = &e->record;
	struct policy_record_texts t = policy_record_texts(r);
	char id[24];

	policy_decision_text(e->id, id);
	date_rfc3339_ms(out, (int64_t)r->time_us);
	buf_printf(out, " %-7s %s", policy_result_name(r->result), id);
	if (policy_cli_is_use(r)) {
		buf_printf(out, " %s links", *e->subject == '\0' ? "(no label)" : e->subject);
	} else if (r->result == POLICY_RESULT_APPLIED) {
		buf_printf(out, " epoch %llu", (unsigned long long)r->epoch);
	} else {
		buf_printf(out, " %s", *e->subject == '\0' ? "(no label)" : e->subject);
		for (size_t i = r->chain_count; i-- > 0;)
			buf_printf(out, " < %s", e->chain[i]);
		buf_printf(out, " %s %s", r->permission == 0 ? "->" : policy_permission_name((enum policy_class)r->class, r->permission),
			   *e->object != '\0' ? e->object : r->class == POLICY_CLASS_NONE ? "(no label)" : policy_class_name((enum policy_class)r->class));
	}
	stranger_text(out, " by ", t.who);
	stranger_text(out, " on ", t.what);
	stranger_text(out, " in ", t.how);
	stranger_text(out, " [", e->ring);
	buf_adds(out, "]\n");
}

static json_t *entry_json(const struct policy_entry *e)
{
	const struct policy_record *r = &e->record;
	struct policy_record_texts t = policy_record_texts(r);
	AUTO_BUF struct buf when = BUF_INIT(64);
	json_t *chain = json_array(), *o;
	char id[24];

	policy_decision_text(e->id, id);
	date_rfc3339_ms(&when, (int64_t)r->time_us);
	for (size_t i = 0; i < r->chain_count; i++)
		json_array_append_new(chain, json_string(e->chain[i]));
	o = json_pack("{s:s, s:s, s:s, s:I, s:s, s:o, s:s, s:s, s:s}", "decision", id, "time", buf_cstr(&when), "result", policy_result_name(r->result),
		      "epoch", (json_int_t)r->epoch, "subject", e->subject, "chain", chain, "class", policy_class_name((enum policy_class)r->class),
		      "permission", policy_permission_name((enum policy_class)r->class, r->permission), "object", e->object);
	/* Strangers' bytes: what is not UTF-8 becomes null. */
	json_object_set_new(o, "who", json_string(t.who) ?: json_null());
	json_object_set_new(o, "what", json_string(t.what) ?: json_null());
	json_object_set_new(o, "how", json_string(t.how) ?: json_null());
	json_object_set_new(o, "process", json_string(e->ring) ?: json_null());
	json_object_set_new(o, "lost_before", json_integer((json_int_t)e->lost));
	if (r->class == POLICY_PORT || r->class == POLICY_HANDLER)
		json_object_set_new(o, "instruction", json_integer(r->insn));
	return o;
}

static int print_entry(struct cli *cli, const struct policy_entry *e)
{
	AUTO_BUF struct buf out = BUF_INIT(LINE_BYTES);
	json_t *o;
	char *text;

	if (!cli_json(cli)) {
		if (e->lost != 0)
			buf_printf(&out, "... %llu records of %s were overwritten before they were read\n", (unsigned long long)e->lost, e->ring);
		entry_line(&out, e);
		return cli_print(cli, &out);
	}
	o = entry_json(e);
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	if (text == NULL)
		return cli_fail(cli, CLI_TEMPORARY, "out of memory");
	buf_printf(&out, "%s\n", text);
	free(text);
	return cli_print(cli, &out);
}

/* "mail.user" or its last word. */
static bool names(const char *qualified, const char *wanted)
{
	const char *dot = strrchr(qualified, '.');

	return strcmp(qualified, wanted) == 0 || (dot != NULL && strcmp(dot + 1, wanted) == 0);
}

static bool print_seen(void *arg, const struct policy_seen *seen)
{
	struct printing *p = arg;

	p->lost += seen->lost;
	if ((p->result != NULL && strcmp(p->result, policy_result_name(seen->record->result)) != 0) ||
	    (p->subject != NULL && !names(seen->entry->subject, p->subject)))
		return true;
	p->code = print_entry(p->cli, seen->entry);
	if (fflush(stdout) != 0)
		p->code = CLI_FAILED;
	p->shown++;
	return p->code == CLI_OK;
}

/* "90s", "30m", "12h", "7d": that long ago. */
int policy_cli_since(struct cli *cli, const char *text, int64_t *us)
{
	static const struct { char unit; uint64_t seconds; } units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
	struct slice all = slice_str(text);
	struct timespec now;
	uint64_t n;

	if (all.len < 2 || !slice_u64(slice_head(all, all.len - 1), 1000000, &n))
		return cli_fail(cli, CLI_USAGE, "'%s' is no length of time such as 90s, 30m, 12h or 7d", text);
	clock_gettime(CLOCK_REALTIME, &now);
	for (size_t i = 0; i < ARRAY_LEN(units); i++)
		if (all.ptr[all.len - 1] == (uint8_t)units[i].unit) {
			*us = ((int64_t)now.tv_sec - (int64_t)(n * units[i].seconds)) * 1000000;
			return CLI_OK;
		}
	return cli_fail(cli, CLI_USAGE, "'%s' is no length of time such as 90s, 30m, 12h or 7d", text);
}

static bool is_result(const char *text)
{
	for (uint8_t i = 1; i < POLICY_RESULT_COUNT; i++)
		if (strcmp(text, policy_result_name(i)) == 0)
			return true;
	return false;
}

static int audit(struct cli *cli)
{
	struct printing p = { .cli = cli, .result = cli_value(cli, "result"), .subject = cli_value(cli, "subject"), .code = CLI_OK };
	struct policy_store *store;
	struct errmsg why = { 0 };
	int64_t since_us = INT64_MIN;
	int code, err;

	code = cli_has(cli, "since") ? policy_cli_since(cli, cli_value(cli, "since"), &since_us) : CLI_OK;
	if (code != CLI_OK)
		return code;
	if (p.result != NULL && !is_result(p.result))
		return cli_fail(cli, CLI_USAGE, "'%s' is none of denied, allowed, trial, entered, left, ticket and applied", p.result);
	code = policy_cli_open(cli, 0, &store);
	if (code != CLI_OK)
		return code;
	err = policy_store_records(store, since_us, cli_has(cli, "follow"), print_seen, &p, &why);
	policy_store_close(store);
	if (err != 0)
		return policy_cli_fail(cli, err, &why);
	if (p.shown == 0 && p.code == CLI_OK && !cli_json(cli))
		fprintf(stderr, "no records\n");
	return p.code;
}

const struct cli_command cmd_policy_audit = {
	.words = "policy audit", .summary = "show what was decided",
	.description = "Refusals, what rules say to audit, what a trial let through, transfers between domains, tickets and changes of the policy: oldest "
		       "first, from the log and from memory. 'prickle policy explain ID' tells more of one. With --json one object a line.",
	.options = (const struct cli_option[]){
		{ "since", 's', "TIME", "only of the last 90s, 30m, 12h, 7d..." },
		{ "result", 'r', "WORD", "only denied, allowed, trial, entered, left, ticket or applied" },
		{ "subject", '\0', "NAME", "only of this subject" },
		{ "follow", 'f', NULL, "go on with what comes" },
		CLI_OPTION_POLICY, CLI_OPTION_CONFIG, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle policy audit --since 1h --result denied", "prickle policy audit --follow", NULL },
	.run = audit,
};

/* --- explain -------------------------------------------------------------------------------- */

static void explain_text(struct cli *cli, struct buf *out, const struct policy_entry *e)
{
	const struct policy_record *r = &e->record;
	struct policy_record_texts t = policy_record_texts(r);

	entry_line(out, e);
	buf_printf(out, "  subject   %s\n", *e->subject == '\0' ? "none: whoever it was has no label, and so no rights" : e->subject);
	if (r->chain_count != 0) {
		buf_adds(out, "  entered   ");
		for (size_t i = 0; i < r->chain_count; i++)
			buf_printf(out, "%s -> ", e->chain[i]);
		buf_printf(out, "%s\n", e->subject);
	}
	stranger_text(out, "  who       ", t.who);
	buf_adds(out, *t.who == '\0' ? "" : "\n");
	if (r->permission != 0)
		buf_printf(out, "  asked     %s %s: %s\n", policy_permission_name((enum policy_class)r->class, r->permission),
			   *e->object == '\0' ? "(no label)" : e->object, policy_permission_what((enum policy_class)r->class, r->permission));
	stranger_text(out, "  on        ", t.what);
	buf_adds(out, *t.what == '\0' ? "" : "\n");
	stranger_text(out, "  in        ", t.how);
	buf_adds(out, *t.how == '\0' ? "" : "\n");
	for (uint32_t left = r->predicates; left != 0; left &= left - 1)
		buf_printf(out, "  not true  %s\n", policy_predicate_name(left & -left));
	buf_printf(out, "  epoch     %llu\n", (unsigned long long)r->epoch);
	policy_cli_explain_text(cli, out, e);
	if (policy_cli_is_use(r) && policy_cli_use_line(out, "  line      ", e->subject, t.what))
		buf_addc(out, '\n');
	if (*e->subject == '\0' && r->permission != 0)
		buf_adds(out, "  label     comes from a 'role' or 'domain' line of the policy; on the admin socket 'prickle user set --system-user N --groups G' "
			      "makes a user of the system a member of a role's group\n");
}

static int explain(struct cli *cli)
{
	AUTO_BUF struct buf out = BUF_INIT(LINE_BYTES);
	struct policy_store *store;
	struct policy_entry *e;
	struct errmsg why = { 0 };
	uint64_t id;
	int code, err;

	if (!policy_decision_parse(slice_str(cli_arg(cli, 0)), &id))
		return cli_fail(cli, CLI_USAGE, "'%s' is no id of a decision, such as 3-5ed0a1f20c4", cli_arg(cli, 0));
	code = policy_cli_open(cli, 0, &store);
	if (code != CLI_OK)
		return code;
	e = calloc(1, sizeof(*e));
	err = e == NULL ? errmsg_set(&why, -ENOMEM, "explain") : policy_store_record(store, id, e, &why);
	if (err == 0) {
		if (cli_json(cli)) {
			json_t *o = entry_json(e);
			AUTO_BUF struct buf line = BUF_INIT(LINE_BYTES);
			json_object_set_new(o, "explanation", policy_cli_explain_json(cli, e));
			if (policy_cli_is_use(&e->record) && policy_cli_use_line(&line, "", e->subject, policy_record_texts(&e->record).what))
				json_object_set_new(o, "explanation", json_pack("{s:s}", "line", buf_cstr(&line)));
			code = policy_cli_json(cli, o);
		} else {
			explain_text(cli, &out, e);
			code = cli_print(cli, &out);
		}
	}
	free(e);
	policy_store_close(store);
	return err != 0 ? policy_cli_fail(cli, err, &why) : code;
}

const struct cli_command cmd_policy_explain = {
	.words = "policy explain", .summary = "tell why something was refused or recorded",
	.description = "Says who asked for what by which label, through which transfers, and what the policy of that moment says about it.",
	.args = (const struct cli_arg[]){ { "ID", "of the decision: refusals and 'prickle policy audit' tell it" }, { 0 } },
	.options = (const struct cli_option[]){ CLI_OPTION_POLICY, CLI_OPTION_CONFIG, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle policy explain 3-5ed0a1f20c4", NULL },
	.run = explain,
};
