/*
 * `prickle status`: problems first, each with the command to run next.
 */
#include <jansson.h>
#include <stdlib.h>

#include "cli/cli.h"
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
	buf_adds(out, "role      #       pid      uptime  restarts  sessions\n");
	json_array_foreach(json_object_get(all, "roles"), i, item)
		add_role(out, item);
}

static int status(struct cli *cli)
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
	if (cli_json(cli)) {
		char *text = json_dumps(all, JSON_INDENT(2));
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

const struct cli_command cmd_status = {
	.words = "status",
	.summary = "tell how the node is, problems first",
	.description = "Each problem comes with the command to run next. Exits with 3 when there is one, with 75 "
		       "when the node does not run.",
	.options = (const struct cli_option[]){ CLI_OPTION_CONFIG, CLI_OPTION_SOCKET, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle status", "prickle status --json", NULL },
	.run = status,
};
