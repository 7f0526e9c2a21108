/*
 * `prickle policy ticket ...`: one login to another's mailbox, for reading and for a while. The node decides.
 */
#include <jansson.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/names.h"

#define OUT_BYTES (1u << 20)

static const struct cli_option give_options[] = {
	{ "for", 'f', "ADDRESS", "whose mailbox" },
	{ "because", 'b', "TEXT", "the reason, for the audit" },
	CLI_OPTION_CONFIG, CLI_OPTION_SOCKET, { 0 }
};
static const struct cli_option plain_options[] = { CLI_OPTION_CONFIG, CLI_OPTION_SOCKET, { 0 } };

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text == NULL ? "?" : text;
}

static void add_until(struct buf *out, const json_t *ticket)
{
	time_t until = (time_t)json_integer_value(json_object_get(ticket, "until_s"));
	char date[40] = "?";
	struct tm tm;

	if (gmtime_r(&until, &tm) != NULL)
		(void)!strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S UTC", &tm);
	buf_adds(out, date);
}

static int ticket_give(struct cli *cli)
{
	AUTO_BUF struct buf out = BUF_INIT(OUT_BYTES);
	const char *who = cli_value(cli, "for"), *because = cli_value(cli, "because");
	struct names_request r;
	json_t *all;
	int code;

	if (who == NULL || because == NULL || *because == '\0')
		return cli_fail(cli, CLI_USAGE, "a ticket needs --for ADDRESS and --because TEXT, which the audit keeps");
	if (strlen(who) > 320 || strlen(because) > 256)
		return cli_fail(cli, CLI_USAGE, "--because has at most 256 bytes");
	names_begin(&r, "ticket", "give");
	names_set(&r, "label", cli_arg(cli, 0));
	names_set(&r, "for", who);
	names_set(&r, "because", because);
	code = names_ask(cli, &r, &all);
	names_end(&r);
	if (all == NULL)
		return code;
	buf_printf(&out, "One login by IMAP to the mailbox of %s, as %s, until ", text_of(all, "user"), text_of(all, "label"));
	add_until(&out, all);
	buf_printf(&out, ":\n  user      %s\n  password  %s\nThe password is shown this once. 'prickle policy ticket revoke %s' ends it.\n",
		   text_of(all, "login"), text_of(all, "secret"), text_of(all, "ticket"));
	json_decref(all);
	return cli_print(cli, &out);
}

static int ticket_list(struct cli *cli)
{
	AUTO_BUF struct buf out = BUF_INIT(OUT_BYTES);
	struct names_request r;
	json_t *all, *ticket;
	size_t i;
	int code;

	names_begin(&r, "ticket", "list");
	code = names_ask(cli, &r, &all);
	names_end(&r);
	if (all == NULL)
		return code;
	json_array_foreach(json_object_get(all, "tickets"), i, ticket) {
		buf_printf(&out, "%s  %s  ", text_of(ticket, "ticket"), json_is_true(json_object_get(ticket, "used")) ? "used  " : "unused");
		add_until(&out, ticket);
		buf_printf(&out, "  %s for %s, by %s: %s\n", text_of(ticket, "label"), text_of(ticket, "user"), text_of(ticket, "by"),
			   text_of(ticket, "because"));
	}
	json_decref(all);
	return cli_print(cli, &out);
}

static int ticket_revoke(struct cli *cli)
{
	struct names_request r;
	int code;

	names_begin(&r, "ticket", "revoke");
	names_arg(&r, cli_arg(cli, 0));
	code = names_run(cli, &r);
	names_end(&r);
	return code;
}

const struct cli_command cmd_policy_ticket = {
	.words = "policy ticket", .summary = "give one login to a user's mailbox, for reading and for a while",
	.description = "For whom the policy says 'enter YOURS -> LABEL with ticket'. The login is by IMAP, once, under LABEL, to that mailbox "
		       "alone, and ends with the edge's time. Who gave it, for whom and why is in the audit ('prickle policy audit').",
	.args = (const struct cli_arg[]){ { "LABEL", "the role to be entered, such as recovery" }, { 0 } },
	.options = give_options, .json = true, .run = ticket_give,
	.examples = (const char *const[]){ "prickle policy ticket recovery --for bob@example.org --because 'bob asks for a lost message'", NULL },
};
const struct cli_command cmd_policy_ticket_list = {
	.words = "policy ticket list", .summary = "list tickets that last: yours, or all for who may review the policy's audit",
	.options = plain_options, .json = true, .run = ticket_list,
	.examples = (const char *const[]){ "prickle policy ticket list", NULL },
};
const struct cli_command cmd_policy_ticket_revoke = {
	.words = "policy ticket revoke", .summary = "end a ticket and the session that it began",
	.args = (const struct cli_arg[]){ { "ID", "of the ticket, as the list shows it" }, { 0 } },
	.options = plain_options, .json = true, .run = ticket_revoke,
	.examples = (const char *const[]){ "prickle policy ticket revoke 3f2a91c0", NULL },
};
