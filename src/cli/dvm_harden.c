/*
 * `prickle dvm harden` and `dvm status`: a JDK that asks the node's policy, and what such JDKs say of themselves.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/policy.h"
#include "dvm/image/harden.h"

#define STATUS_BYTES (1u << 20)

static int harden_fail(struct cli *cli, int err, const struct errmsg *why)
{
	return cli_fail(cli, err == -ENOENT ? CLI_NOT_FOUND : err == -EACCES || err == -EPERM ? CLI_REFUSED : CLI_FAILED, "%s", why->text);
}

/* A line of progress when somebody looks. */
static void step(void *context, const char *what)
{
	struct cli *cli = context;

	if (!cli_json(cli) && isatty(STDERR_FILENO))
		fprintf(stderr, "%s ...\n", what);
}

static int mode_of(struct cli *cli, enum harden_mode *out)
{
	const char *name = cli_value(cli, "mode");

	for (enum harden_mode m = HARDEN_LEARN; m <= HARDEN_ENFORCE; m++)
		if (name == NULL || strcmp(name, harden_mode_name(m)) == 0) {
			*out = m;
			return CLI_OK;
		}
	return cli_fail(cli, CLI_USAGE, "--mode is learn, report or enforce, not '%s'", name);
}

/* The directory of the JDK: --jdk, or what JAVA_HOME says. */
static const char *jdk_of(struct cli *cli)
{
	const char *jdk = cli_value(cli, "jdk");

	return jdk != NULL ? jdk : getenv("JAVA_HOME");
}

static int harden(struct cli *cli)
{
	AUTO_BUF struct buf text = BUF_INIT(STATUS_BYTES);
	char directory[POLICY_DIRECTORY_BYTES], run[POLICY_DIRECTORY_BYTES], table[POLICY_DIRECTORY_BYTES + 8];
	struct harden_options o = { .jdk = jdk_of(cli), .out = cli_value(cli, "out"), .table = table, .audit = cli_value(cli, "audit"), .step = step, .context = cli };
	struct harden_report r;
	struct errmsg why = { 0 };
	int code = mode_of(cli, &o.mode), err;

	if (code != CLI_OK)
		return code;
	if (o.jdk == NULL || o.out == NULL)
		return cli_fail(cli, CLI_USAGE, "name the JDK and where its copy goes: prickle dvm harden --jdk /usr/lib/jvm/java-17-openjdk-amd64 --out /opt/jdk-17-hardened");
	if (o.audit != NULL && o.audit[0] != '/')
		return cli_fail(cli, CLI_USAGE, "--audit is an absolute path: virtual machines start anywhere");
	code = policy_cli_directory(cli, directory);
	if (code != CLI_OK)
		return code;
	if (policy_store_run(directory, run) != 0)
		return cli_fail(cli, CLI_USAGE, "the path of the policy is too long");
	(void)snprintf(table, sizeof(table), "%s/table", run);
	err = harden_run(&o, &r, &why);
	if (err != 0)
		return harden_fail(cli, err, &why);
	if (cli_json(cli))
		return policy_cli_json(cli, json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:b, s:s}", "jdk", o.out, "version", r.version, "mode", harden_mode_name(o.mode), "table",
						      table, "classes", (int)r.classes, "sinks", (int)r.sinks, "files", (int)r.files, "archive", r.archive, "source_sha256",
						      r.source_sha256));
	buf_printf(&text, "%s: JDK %s, %s, asks %s\n", o.out, r.version, harden_mode_name(o.mode), table);
	buf_printf(&text, "  %u places in %u classes ask the guard; %sthe self-test was denied what it tried\n", r.sinks, r.classes,
		   r.archive ? "a new class-data archive was dumped; " : "");
	if (access(table, R_OK) != 0)
		buf_printf(&text, "  there is no policy at %s yet: 'prickle policy apply' makes it\n", table);
	if (o.audit == NULL && o.mode != HARDEN_ENFORCE)
		buf_adds(&text, "  nothing is recorded: --audit FILE names where\n");
	return cli_print(cli, &text);
}

static int status_of(struct cli *cli, const char *jdk, struct buf *text, json_t *list, bool *degraded)
{
	struct harden_facts f;
	struct errmsg why = { 0 };
	bool stale = false;
	int err = harden_facts(jdk, &f, &why);

	if (err != 0)
		return harden_fail(cli, err, &why);
	const char *problem = NULL;
	if (harden_is_stale(&f, &stale, &why) != 0)
		problem = why.text;
	else if (stale)
		problem = "its source is another now: harden it again";
	else if (access(f.table, R_OK) != 0)
		problem = "its policy is not there: 'prickle policy apply'";
	*degraded |= problem != NULL;
	if (list != NULL)
		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:s?}", "jdk", jdk, "version", f.version, "mode", f.mode, "table", f.table, "audit",
						      f.audit, "source", f.source, "source_sha256", f.source_sha256, "stale", stale, "problem", problem));
	buf_printf(text, "%s%s: JDK %s of %s, %s, asks %s%s%s\n", problem != NULL ? "! " : "", jdk, f.version, f.source, f.mode, f.table, problem != NULL ? "\n  " : "",
		   problem != NULL ? problem : "");
	return CLI_OK;
}

static int status(struct cli *cli)
{
	AUTO_BUF struct buf text = BUF_INIT(STATUS_BYTES);
	json_t *list = cli_json(cli) ? json_array() : NULL;
	bool degraded = false;
	int code = CLI_OK;

	for (size_t i = 0; code == CLI_OK && i < cli_arg_count(cli); i++)
		code = status_of(cli, cli_arg(cli, i), &text, list, &degraded);
	if (code != CLI_OK) {
		json_decref(list);
		return code;
	}
	code = list != NULL ? policy_cli_json(cli, list) : cli_print(cli, &text);
	return code == CLI_OK && degraded ? CLI_DEGRADED : code;
}

const struct cli_command cmd_dvm_harden = {
	.words = "dvm harden",
	.summary = "make a copy of a JDK that asks the policy",
	.description = "The copy's own methods ask the node's policy before they read, write or remove files, connect, listen or send, start programs, load native code, "
		       "define classes, reach what is not public, start threads, read the environment or properties, or end the machine. Jars stay as they are. "
		       "Who asks is the jar of the calling code: 'domain NAME = jvm code \"/path/to.jar\"'.\n\n"
		       "In mode learn everything is allowed and each thing that would be denied is recorded once; in report each time; in enforce it is denied, and "
		       "nothing starts without a policy. A new policy acts at once, in running machines too.\n\n"
		       "The copy is tested under a policy that allows nothing before it gets its name.",
	.options = (const struct cli_option[]){
		{ "jdk", '\0', "DIRECTORY", "the JDK or Java run-time (17 or newer); without it JAVA_HOME says", CLI_DIRECTORY },
		{ "out", '\0', "DIRECTORY", "where its copy goes; must not be there", CLI_DIRECTORY },
		{ "mode", '\0', "MODE", "learn (without it), report or enforce" },
		{ "audit", '\0', "FILE", "where machines append what they recorded, a line of JSON each", CLI_FILE },
		CLI_OPTION_POLICY, CLI_OPTION_CONFIG, { 0 } },
	.json = true,
	.examples = (const char *const[]){
		"prickle dvm harden --jdk /usr/lib/jvm/java-17-openjdk-amd64 --out /opt/jdk-17-learn --audit /var/log/jvm.jsonl",
		"prickle dvm harden --jdk /usr/lib/jvm/java-17-openjdk-amd64 --out /opt/jdk-17 --mode enforce", NULL },
	.run = harden,
};

const struct cli_command cmd_dvm_status = {
	.words = "dvm status",
	.summary = "show what hardened JDKs are, and whether they are still right",
	.description = "Exit code 3 when one is stale (its source JDK changed since) or its policy is missing.",
	.args = (const struct cli_arg[]){ { "DIRECTORY", "a hardened JDK", .many = true, .complete = CLI_DIRECTORY }, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle dvm status /opt/jdk-17", NULL },
	.run = status,
};
