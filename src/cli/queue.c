/*
 * `prickle queue ...`: the messages that could not be delivered at once.
 *
 * The filters work here, on what the node lists: the queue is short where all is well, and an
 * operator's "all of that domain" is no question that the queue role should have to parse.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/node.h"

#define OUTPUT_BYTES (64u << 20)

static const struct cli_arg one_id[] = { { "ID", "of the message, as 'prickle queue list' names it" }, { 0 } };
static const struct cli_arg many_ids[] = {
	{ "ID", "of messages, as 'prickle queue list' names them", .optional = true, .many = true }, { 0 }
};

#define FILTER_OPTIONS									\
	{ "recipient", 'r', "TEXT", "only messages that wait for a recipient whose address holds this" },	\
	{ "sender", 's', "TEXT", "only messages whose sender's address holds this; '<>': notices" }

static const struct cli_option plain_options[] = { CLI_OPTION_CONFIG, CLI_OPTION_SOCKET, { 0 } };
static const struct cli_option list_options[] = {
	FILTER_OPTIONS, CLI_OPTION_CONFIG, CLI_OPTION_SOCKET, { 0 }
};
static const struct cli_option change_options[] = {
	{ "all", 'a', NULL, "all messages" },
	FILTER_OPTIONS, CLI_OPTION_CONFIG, CLI_OPTION_SOCKET, { 0 }
};

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text == NULL ? "" : text;
}

/* One request; on CLI_OK *out is the answer's object, the caller's. `a` and `b` may be NULL. */
static int ask(struct cli *cli, const char *verb, const char *a, const char *b, json_t **out)
{
	AUTO_BUF struct buf storage = BUF_INIT(ADMIN_JSON_BYTES + 64);
	struct admin_request req = { .object = SLICE("queue"), .verb = slice_str(verb) };
	struct admin_reply reply;
	int code;

	if (a != NULL)
		req.args[req.arg_count++] = slice_str(a);
	if (b != NULL)
		req.args[req.arg_count++] = slice_str(b);
	code = node_ask(cli, &req, &storage, &reply);
	if (code != CLI_OK)
		return code;
	if (reply.exit_code != ADMIN_OK)
		return node_fail(cli, &reply);
	*out = json_loadb((const char *)reply.json.ptr, reply.json.len, 0, NULL);
	return *out != NULL ? CLI_OK : cli_fail(cli, CLI_FAILED, "the node's answer is malformed");
}

/* --- filters ------------------------------------------------------------------------------------- */

static bool holds(const char *text, const char *part)
{
	size_t n = strlen(part);

	for (; strlen(text) >= n; text++)
		if (slice_eq_nocase(slice_of(text, n), slice_of(part, n)))
			return true;
	return false;
}

static bool sender_passes(struct cli *cli, const json_t *entry)
{
	const char *want = cli_value(cli, "sender"), *sender = text_of(entry, "sender");

	if (want == NULL)
		return true;
	return strcmp(want, "<>") == 0 ? *sender == '\0' : holds(sender, want);
}

static bool passes(struct cli *cli, const json_t *entry)
{
	const char *want = cli_value(cli, "recipient");
	const json_t *item;
	size_t i;

	if (!sender_passes(cli, entry))
		return false;
	if (want == NULL)
		return true;
	json_array_foreach(json_object_get(entry, "recipients"), i, item)
		if (holds(text_of(item, "address"), want))
			return true;
	return false;
}

/* All entries that pass the filters, as a JSON array of the caller's. */
static int fetch(struct cli *cli, json_t **out)
{
	char *after = NULL;
	int code = CLI_OK;

	*out = json_array();
	if (*out == NULL)
		return cli_fail(cli, CLI_FAILED, "out of memory");
	do {
		json_t *page = NULL, *entry;
		const char *next;
		size_t i;

		code = ask(cli, "list", after, NULL, &page);
		free(after);
		after = NULL;
		if (code != CLI_OK)
			break;
		json_array_foreach(json_object_get(page, "entries"), i, entry)
			if (passes(cli, entry))
				json_array_append(*out, entry);
		next = json_string_value(json_object_get(page, "next"));
		if (next != NULL && asprintf(&after, "after=%s", next) < 0)
			code = cli_fail(cli, CLI_FAILED, "out of memory");
		json_decref(page);
	} while (code == CLI_OK && after != NULL);
	free(after);
	if (code != CLI_OK)
		json_decref(*out);
	return code;
}

/* --- list and show --------------------------------------------------------------------------------- */

static void add_entry(struct buf *out, const json_t *entry)
{
	const json_t *item;
	size_t i;

	buf_printf(out, "%s  %lld bytes  since %s  tries %lld  next %s\n", text_of(entry, "id"),
		   (long long)json_integer_value(json_object_get(entry, "bytes")), text_of(entry, "created"),
		   (long long)json_integer_value(json_object_get(entry, "attempts")), text_of(entry, "due"));
	buf_printf(out, "    from <%s>\n", text_of(entry, "sender"));
	json_array_foreach(json_object_get(entry, "recipients"), i, item) {
		buf_printf(out, "    to   <%s>  %s", text_of(item, "address"), text_of(item, "state"));
		if (*text_of(item, "status") != '\0')
			buf_printf(out, ": %s", text_of(item, "status"));
		buf_addc(out, '\n');
	}
}

static int print_json(struct cli *cli, const json_t *value)
{
	AUTO_BUF struct buf out = BUF_INIT(OUTPUT_BYTES);
	char *text = json_dumps(value, JSON_COMPACT);

	if (text == NULL)
		return cli_fail(cli, CLI_FAILED, "out of memory");
	buf_adds(&out, text);
	buf_addc(&out, '\n');
	free(text);
	return cli_print(cli, &out);
}

static int queue_list(struct cli *cli)
{
	AUTO_BUF struct buf out = BUF_INIT(OUTPUT_BYTES);
	json_t *entries, *entry, *all;
	size_t i;
	int code = fetch(cli, &entries);

	if (code != CLI_OK)
		return code;
	if (cli_json(cli)) {
		all = json_pack("{s:O}", "entries", entries);
		code = print_json(cli, all);
		json_decref(all);
	} else {
		json_array_foreach(entries, i, entry)
			add_entry(&out, entry);
		if (json_array_size(entries) == 0)
			buf_adds(&out, "nothing waits\n");
		code = cli_print(cli, &out);
	}
	json_decref(entries);
	return code;
}

static int queue_show(struct cli *cli)
{
	AUTO_BUF struct buf out = BUF_INIT(OUTPUT_BYTES);
	json_t *page = NULL, *entry;
	int code = ask(cli, "show", cli_arg(cli, 0), NULL, &page);

	if (code != CLI_OK)
		return code;
	entry = json_array_get(json_object_get(page, "entries"), 0);
	if (entry == NULL)
		code = cli_fail(cli, CLI_NOT_FOUND, "no such message in the queue; 'prickle queue list' names them");
	else if (cli_json(cli))
		code = print_json(cli, entry);
	else
		add_entry(&out, entry);
	if (code == CLI_OK && out.len > 0)
		code = cli_print(cli, &out);
	json_decref(page);
	return code;
}

/* --- retry and drop ---------------------------------------------------------------------------------- */

static bool filtered(const struct cli *cli)
{
	return cli_has(cli, "recipient") || cli_has(cli, "sender");
}

/* The ids that are meant: of the arguments, or of all that pass. A JSON array of texts, the caller's. */
static int chosen(struct cli *cli, json_t **out)
{
	size_t given = cli_arg_count(cli);
	json_t *entries, *entry, *ids;
	size_t i;
	int code;

	if ((given > 0) + (cli_has(cli, "all") || filtered(cli)) != 1)
		return cli_fail(cli, CLI_USAGE, "name messages by ID, or give --recipient, --sender or --all");
	ids = json_array();
	for (size_t k = 0; k < given; k++)
		json_array_append_new(ids, json_string(cli_arg(cli, k)));
	if (given == 0) {
		code = fetch(cli, &entries);
		if (code != CLI_OK) {
			json_decref(ids);
			return code;
		}
		json_array_foreach(entries, i, entry)
			json_array_append_new(ids, json_string(text_of(entry, "id")));
		json_decref(entries);
	}
	*out = ids;
	return CLI_OK;
}

/* Each by itself: what one says does not keep the others. The worst exit code wins. */
static int change(struct cli *cli, const char *verb, const char *done)
{
	AUTO_BUF struct buf out = BUF_INIT(OUTPUT_BYTES);
	json_t *ids, *id;
	unsigned count = 0;
	size_t i;
	int code = chosen(cli, &ids), worst = CLI_OK;

	if (code != CLI_OK)
		return code;
	json_array_foreach(ids, i, id) {
		json_t *answer = NULL;

		code = ask(cli, verb, json_string_value(id), NULL, &answer);
		count += code == CLI_OK;
		if (code != CLI_OK)
			worst = code;
		json_decref(answer);
		if (code == CLI_TEMPORARY && cli_json(cli))
			break;
	}
	json_decref(ids);
	if (worst != CLI_OK && cli_json(cli))
		return worst;		/* the error object is the answer */
	if (cli_json(cli))
		buf_printf(&out, "{\"%s\":%u}\n", done, count);
	else
		buf_printf(&out, "%s: %u\n", done, count);
	code = cli_print(cli, &out);
	return worst != CLI_OK ? worst : code;
}

static int queue_retry(struct cli *cli)
{
	return change(cli, "retry", "retried");
}

static int queue_drop(struct cli *cli)
{
	return change(cli, "drop", "dropped");
}

const struct cli_command cmd_queue_list = {
	.words = "queue list", .summary = "list the messages that wait in the queue",
	.description = "Each with its id, size, age, when it is tried next, its sender, and for each recipient what the "
		       "last try said.",
	.options = list_options, .json = true, .run = queue_list,
	.examples = (const char *const[]){ "prickle queue list", "prickle queue list --recipient @example.org", NULL },
};
const struct cli_command cmd_queue_show = {
	.words = "queue show", .summary = "show one message of the queue", .args = one_id,
	.options = plain_options, .json = true, .run = queue_show,
	.examples = (const char *const[]){ "prickle queue show 00b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5", NULL },
};
const struct cli_command cmd_queue_retry = {
	.words = "queue retry", .summary = "try messages of the queue now", .args = many_ids,
	.options = change_options, .json = true, .run = queue_retry,
	.examples = (const char *const[]){ "prickle queue retry --all",
					   "prickle queue retry --recipient ann@example.org", NULL },
};
const struct cli_command cmd_queue_drop = {
	.words = "queue drop", .summary = "give up messages of the queue",
	.description = "Their senders are not told. What was delivered to other recipients stays.",
	.args = many_ids, .options = change_options, .json = true, .run = queue_drop,
	.examples = (const char *const[]){ "prickle queue drop 00b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5",
					   "prickle queue drop --sender '<>'", NULL },
};
