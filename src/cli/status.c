/*
 * `prickle status`: problems first, each with the command to run next.
 */
#include <jansson.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/date.h"
#include "cli/cli.h"
#include "cli/nat64.h"
#include "cli/node.h"

static void add_uptime(struct buf *out, json_int_t s)
{
	if (s >= 86400)
		buf_printf(out, "%5lldd %2lldh", (long long)s / 86400, (long long)s % 86400 / 3600);
	else if (s >= 3600)
		buf_printf(out, "%5lldh %2lldm", (long long)s / 3600, (long long)s % 3600 / 60);
	else
		buf_printf(out, "%5lldm %2llds", (long long)s / 60, (long long)s % 60);
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text == NULL ? "" : text;
}

static json_int_t number_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

#define WATCH_MS 2000

static void add_size(struct buf *out, json_int_t bytes)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB" };
	uint64_t tenths = bytes > 0 ? (uint64_t)bytes * 10 / 1024 : 0;
	size_t unit = 0;

	for (; tenths >= 10240 && unit + 1 < ARRAY_LEN(units); unit++)
		tenths /= 1024;
	buf_printf(out, "%llu.%llu %s", (unsigned long long)tenths / 10, (unsigned long long)tenths % 10,
		   units[unit]);
}

/* The numbers of a role that say most about it. */
static void add_numbers(struct buf *out, const json_t *status)
{
	static const struct {
		const char *key, *what;
	} counts[] = {
		{ "grants", "grants" },	       { "waiting", "messages wait" }, { "failed", "given up" },
		{ "denied", "calls refused" }, { "damage", "damaged records" },
	};
	const char *between = "";

	if (json_object_get(status, "live_bytes") != NULL) {
		add_size(out, number_of(status, "live_bytes"));
		buf_adds(out, " live of ");
		add_size(out, number_of(status, "stored_bytes"));
		between = ", ";
	}
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		json_int_t n = number_of(status, counts[i].key);
		bool trouble = i >= 2;

		if (json_object_get(status, counts[i].key) == NULL || (trouble && n == 0))
			continue;
		buf_printf(out, "%s%lld %s", between, (long long)n, counts[i].what);
		between = ", ";
	}
	if (number_of(status, "certificate_ends_s") > 0) {
		buf_printf(out, "%scertificate until ", between);
		date_rfc3339(out, number_of(status, "certificate_ends_s"));
	}
}

static void add_role(struct buf *out, const json_t *role)
{
	const json_t *sessions = json_object_get(json_object_get(role, "status"), "sessions");

	buf_printf(out, "%-8s %2lld  ", text_of(role, "name"), (long long)number_of(role, "instance"));
	if (json_is_true(json_object_get(role, "ready")))
		buf_printf(out, "%8lld", (long long)number_of(role, "pid"));
	else
		buf_printf(out, "%8s", number_of(role, "pid") == 0 ? "down" : "starting");
	buf_adds(out, "  ");
	add_uptime(out, number_of(role, "uptime_s"));
	buf_printf(out, "  %8lld", (long long)number_of(role, "restarts"));
	if (json_is_integer(sessions))
		buf_printf(out, "  %8lld", (long long)json_integer_value(sessions));
	else
		buf_adds(out, "         -");
	AUTO_BUF struct buf numbers = BUF_INIT(1024);
	add_numbers(&numbers, json_object_get(role, "status"));
	if (numbers.len > 0 && numbers.err == 0) {
		buf_adds(out, "  ");
		buf_add(out, buf_slice(&numbers));
	}
	buf_adds(out, "\n");
}

static void add_translator(struct buf *out, const json_t *t)
{
	const json_t *item;
	size_t i;

	buf_printf(out, "%-16s %-6s %10lld  %-6s", text_of(t, "name"), text_of(t, "mode"), (long long)number_of(t, "sessions"),
		   json_is_true(json_object_get(t, "daemon")) ? "runs" : "down");
	json_array_foreach(json_object_get(t, "interfaces"), i, item)
		buf_printf(out, "%s%s %s", i == 0 ? "  " : ", ", text_of(item, "interface"),
			   json_is_true(json_object_get(item, "running")) ? text_of(item, "home") : "down");
	buf_adds(out, "\n");
}

static void add_text(struct buf *out, const json_t *all)
{
	const json_t *item, *problems = json_object_get(all, "problems");
	size_t i;

	json_array_foreach(problems, i, item) {
		buf_printf(out, "! %s\n", text_of(item, "what"));
		if (*text_of(item, "run") != '\0')
			buf_printf(out, "    next: %s\n", text_of(item, "run"));
	}
	if (json_array_size(problems) == 0)
		buf_adds(out, "no problems\n");
	buf_printf(out, "\nprickle %s on %s\n\n", text_of(all, "version"), text_of(all, "hostname"));
	if (number_of(all, "policy_epoch") != 0)
		buf_printf(out, "policy epoch %lld, see 'prickle policy epochs'\n\n", (long long)number_of(all, "policy_epoch"));
	else
		buf_adds(out, "policy as shipped, see 'prickle policy epochs'\n\n");
	buf_adds(out, "role      #       pid      uptime  restarts  sessions\n");
	json_array_foreach(json_object_get(all, "roles"), i, item)
		add_role(out, item);
	if (json_array_size(json_object_get(all, "translators")) > 0)
		buf_adds(out, "\ntranslator       mode     sessions  daemon  interfaces\n");
	json_array_foreach(json_object_get(all, "translators"), i, item)
		add_translator(out, item);
}

/* What the node cannot tell, since its roles see no translators. Returns whether something is wrong with one. */
static bool add_translators(json_t *all)
{
	json_t *translators = json_array(), *problems = json_object_get(all, "problems");
	size_t before = json_array_size(problems);

	nat64_cli_status(translators, problems);
	json_object_set_new(all, "translators", translators);
	if (json_array_size(problems) == before)
		return false;
	json_object_set_new(all, "state", json_string("degraded"));
	return true;
}

static int show(struct cli *cli)
{
	AUTO_BUF struct buf storage = BUF_INIT(ADMIN_JSON_BYTES + 64), out = BUF_INIT(1u << 20);
	struct admin_request req = { .object = SLICE("node"), .verb = SLICE("status") };
	struct admin_reply reply;
	json_t *all;
	int code = node_ask(cli, &req, &storage, &reply);

	if (code != CLI_OK)
		return code;
	if (reply.exit_code != ADMIN_OK && reply.exit_code != ADMIN_DEGRADED)
		return node_fail(cli, &reply);
	all = json_loadb((const char *)reply.json.ptr, reply.json.len, 0, NULL);
	if (all == NULL)
		return cli_fail(cli, CLI_FAILED, "the node's answer is malformed");
	if (add_translators(all))
		reply.exit_code = ADMIN_DEGRADED;
	if (cli_json(cli)) {
		/* Watched: one line a look, for programs. */
		char *text = json_dumps(all, cli_has(cli, "watch") ? JSON_COMPACT : JSON_INDENT(2));
		buf_adds(&out, text != NULL ? text : "{}");
		buf_adds(&out, "\n");
		free(text);
	} else {
		add_text(&out, all);
	}
	json_decref(all);
	code = cli_print(cli, &out);
	return code != CLI_OK ? code : reply.exit_code;
}

/* Until the user or the reader of our output ends it. A node that goes away meanwhile is waited for. */
static int watch(struct cli *cli)
{
	bool screen = isatty(STDOUT_FILENO) == 1 && !cli_json(cli);
	bool first = true;
	int code;

	for (;; first = false) {
		/* Not by cli_print, which lets no control characters through: home, and clear what is below. */
		if (screen && fputs("\033[H\033[J", stdout) < 0)
			return CLI_FAILED;
		code = show(cli);
		if (fflush(stdout) != 0 || (code != CLI_OK && code != CLI_DEGRADED && code != CLI_TEMPORARY))
			return code;
		if (first && code == CLI_TEMPORARY)
			return code;
		if (poll(NULL, 0, WATCH_MS) < 0)
			return CLI_OK;
	}
}

static int status(struct cli *cli)
{
	return cli_has(cli, "watch") ? watch(cli) : show(cli);
}

const struct cli_command cmd_status = {
	.words = "status",
	.summary = "tell how the node is, problems first",
	.description = "Each problem comes with the command to run next. Exits with 3 when there is one, with 75 "
		       "when the node does not run. Root sees the translators of this network namespace as well ('prickle nat64 list': of all).",
	.options = (const struct cli_option[]){
		{ "watch", 'w', NULL, "look again every 2 seconds; with --json one line each" },
		CLI_OPTION_CONFIG, CLI_OPTION_SOCKET, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle status", "prickle status --watch", "prickle status --json", NULL },
	.run = status,
};
