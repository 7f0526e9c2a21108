/*
 * `prickle dvm explain`: a decision that a hardened JDK made, and the lines of policy that would have allowed it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/policy.h"
#include "dvm/image/harden.h"

#define EXPLAIN_BYTES (1u << 20)

/* Where the records are: --audit, or what the image of --jdk (or JAVA_HOME) says. */
static int audit_of(struct cli *cli, struct harden_facts *facts, const char **out)
{
	const char *jdk = cli_value(cli, "jdk");
	struct errmsg why = { 0 };

	*out = cli_value(cli, "audit");
	if (*out != NULL)
		return CLI_OK;
	jdk = jdk != NULL ? jdk : getenv("JAVA_HOME");
	if (jdk == NULL)
		return cli_fail(cli, CLI_USAGE, "name the records (--audit FILE) or the hardened JDK that made them (--jdk DIRECTORY)");
	if (harden_facts(jdk, facts, &why) != 0)
		return cli_fail(cli, CLI_NOT_FOUND, "%s", why.text);
	if (*facts->audit == '\0')
		return cli_fail(cli, CLI_NOT_FOUND, "'%s' records nothing: harden it again with --audit FILE", jdk);
	*out = facts->audit;
	return CLI_OK;
}

/* The newest record of a decision, or NULL: numbers of processes come again. Machines append lines of their own; one that is not sound is passed over. */
static json_t *find(FILE *f, const char *id)
{
	char *line = NULL;
	size_t room = 0;
	json_t *found = NULL;

	while (getline(&line, &room, f) > 0) {
		json_t *record = strstr(line, id) == NULL ? NULL : json_loads(line, JSON_REJECT_DUPLICATES, NULL);
		const char *decision = json_string_value(json_object_get(record, "decision"));

		if (decision != NULL && strcmp(decision, id) == 0) {
			json_decref(found);
			found = json_incref(record);
		}
		json_decref(record);
	}
	free(line);
	return found;
}

static const char *text_of(const json_t *record, const char *key)
{
	return json_string_value(json_object_get(record, key));
}

/* A line of somebody's, without what a terminal would act on. */
static void add_plain(struct buf *out, const char *value)
{
	for (; *value != '\0'; value++)
		buf_addc(out, (unsigned char)*value < ' ' || *value == 0x7f ? '?' : (uint8_t)*value);
	buf_addc(out, '\n');
}

/* A text of somebody's as a policy writes it; false when no policy can. */
static bool quoted(struct buf *out, const char *text)
{
	for (const char *at = text; *at != '\0'; at++)
		if ((unsigned char)*at < ' ' || *at == '"' || *at == '\\')
			return false;
	buf_printf(out, "\"%s\"", text);
	return true;
}

/* The last word of "demo.app", as a name of its module. */
static const char *last_word(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot == NULL ? name : dot + 1;
}

/* The label that is missing: a file's tree is its directory. */
static bool missing_label(struct buf *out, const char *class, const char *what)
{
	if (strcmp(class, "file") == 0) {
		buf_adds(out, "  label file NAME = file ");
		return quoted(out, what) && (buf_addc(out, '\n'), true);
	}
	const char *colon = strrchr(what, ':');
	uint64_t port = 0;

	if (colon == NULL || !slice_u64(slice_str(colon + 1), 65535, &port))
		return false;
	AUTO_BUF struct buf host = BUF_INIT(1024);
	buf_add(&host, slice_of(what, (size_t)(colon - what)));
	buf_adds(out, "  label endpoint NAME = host ");
	if (!quoted(out, buf_cstr(&host)))
		return false;
	buf_printf(out, " port %u\n", (unsigned)port);
	return true;
}

/* What a policy would have to say. Nothing when no policy can name it. */
static void remedy(struct buf *out, const json_t *record)
{
	const char *subject = text_of(record, "subject"), *source = text_of(record, "source"), *permission = text_of(record, "permission");
	const char *object = text_of(record, "object"), *what = text_of(record, "what");
	AUTO_BUF struct buf lines = BUF_INIT(EXPLAIN_BYTES);
	const char *class = permission == NULL ? NULL : strrchr(permission, ' ');
	bool labelled;

	if (class == NULL)
		return;
	class++;
	labelled = strcmp(class, "file") == 0 || strcmp(class, "endpoint") == 0;
	if (subject == NULL) {
		buf_adds(&lines, "  domain NAME = jvm code ");
		if (source == NULL || source[0] != '/' || !quoted(&lines, source))
			return;
		buf_addc(&lines, '\n');
	}
	if (labelled && object == NULL && (what == NULL || !missing_label(&lines, class, what)))
		return;
	/* "connect to endpoint", "read file", "exit code": the first word is the permission. */
	buf_printf(&lines, "  allow %s %.*s %s\n", subject == NULL ? "NAME" : last_word(subject), (int)strcspn(permission, " "), permission,
		   !labelled ? class : object == NULL ? "NAME" : last_word(object));
	buf_adds(out, "\nlines of a policy that would allow it:\n");
	buf_add(out, buf_slice(&lines));
	if (labelled && object != NULL)
		buf_printf(out, "that opens all of '%s', not this %s alone\n", object, class);
}

static int explain(struct cli *cli)
{
	AUTO_BUF struct buf text = BUF_INIT(EXPLAIN_BYTES);
	struct harden_facts facts;
	const char *path, *id = cli_arg(cli, 0);
	int code = audit_of(cli, &facts, &path);

	if (code != CLI_OK)
		return code;
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return cli_fail(cli, errno == EACCES ? CLI_REFUSED : CLI_NOT_FOUND, "open the records '%s': %s", path, strerrordesc_np(errno));
	json_t *record = find(f, id);
	fclose(f);
	if (record == NULL)
		return cli_fail(cli, CLI_NOT_FOUND, "'%s' has no decision '%s'", path, id);
	if (cli_json(cli))
		return policy_cli_json(cli, record);
	static const struct {
		const char *title, *key, *otherwise;
	} rows[] = {
		{ "result", "result", "?" },	  { "asked", "permission", "?" }, { "of what", "what", "-" },
		{ "domain", "subject", "none: no domain of the policy names this code" },
		{ "code", "source", "?" },	  { "label", "object", "none" },  { "method", "method", "?" },
	};
	const char *result = text_of(record, "result");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *value = text_of(record, rows[i].key);

		buf_printf(&text, "%-8s ", rows[i].title);
		add_plain(&text, value == NULL ? rows[i].otherwise : value);
	}
	buf_printf(&text, "epoch    %llu\n", (unsigned long long)json_integer_value(json_object_get(record, "epoch")));
	if (result != NULL && strcmp(result, "allowed") != 0)
		remedy(&text, record);
	json_decref(record);
	return cli_print(cli, &text);
}

const struct cli_command cmd_dvm_explain = {
	.words = "dvm explain",
	.summary = "tell a decision of a hardened JDK, and what would allow it",
	.description = "Denials name their decision: 'prickle: demo.app may not read file ... (decision 4353-2)'. The records are those that 'prickle dvm harden --audit FILE' "
		       "named; without --audit the JDK of --jdk, or of JAVA_HOME, says where they are.",
	.args = (const struct cli_arg[]){ { "ID", "the decision" }, { 0 } },
	.options = (const struct cli_option[]){
		{ "audit", '\0', "FILE", "the records", CLI_FILE },
		{ "jdk", '\0', "DIRECTORY", "the hardened JDK that made them", CLI_DIRECTORY }, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle dvm explain 4353-2 --jdk /opt/jdk-17", "prickle dvm explain 4353-2 --audit /var/log/jvm.jsonl --json", NULL },
	.run = explain,
};
