/*
 * `prickle nat64 run`, `apply` and `remove`: instances begin, change and end.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/nat64.h"
#include "nat64/run.h"
#include "nat64/words.h"

#define TEXT_BYTES (1u << 20)

/* The file: an argument or --config. */
static int load(struct cli *cli, struct arena *arena, const char *argument, struct nat64_settings **out)
{
	const char *path = argument != NULL ? argument : cli_value(cli, "config");

	if (path == NULL)
		return cli_fail(cli, CLI_USAGE, "which file? Say --config FILE; `prickle nat64 check --help` shows how one begins");
	return nat64_cli_load(cli, arena, path, out);
}

static void add_prefixes(struct buf *out, const struct xlat_config *c)
{
	const char *between = "";

	for (uint32_t i = 0; i < c->prefix_count && i < XLAT_PREFIXES_MAX; i++) {
		if (xlat_prefix_none(&c->prefix[i]))
			continue;
		buf_adds(out, between);
		between = ", ";
		words_address_text(out, 6, c->prefix[i].addr);
		buf_printf(out, "/%u", c->prefix[i].bits);
	}
}

static void add_pool(struct buf *out, const struct xlat_config *c)
{
	uint32_t addresses = 0;

	for (uint32_t i = 0; i < c->pool_count && i < XLAT_POOLS_MAX; i++)
		addresses += c->pool[i].count;
	if (addresses == 0)
		return;
	__be32 first[4] = { htobe32(c->pool[0].first) };
	buf_adds(out, c->mode == XLAT_NAT64 ? " to " : " from ");
	words_address_text(out, 4, first);
	if (addresses > 1)
		buf_printf(out, " and %u more", addresses - 1);
}

/* What it does, where, and a line to try. */
static void describe(struct nat64 *n, const char *name, struct buf *out)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(TEXT_BYTES);
	const struct xlat_config *c = nat64_config(n);
	struct nat64_attachment *list;
	struct errmsg why;
	size_t count;

	buf_printf(out, "translator '%s': %s, ", name,
		   c->mode == XLAT_SIIT ? "stateless (SIIT)" : c->mode == XLAT_NAT64 ? "stateful (NAT64)" : "customer side (CLAT)");
	if (c->prefix_count > 0)
		add_prefixes(out, c);
	else
		buf_adds(out, "no translation prefix known yet");
	add_pool(out, c);
	buf_adds(out, "\n");
	if (nat64_attachments(n, &arena, &list, &count, &why) != 0)
		count = 0;
	for (size_t i = 0; i < count; i++)
		buf_printf(out, "  %s by %s%s%s\n", list[i].interface, list[i].home, list[i].running ? "" : ", which does not run: ",
			   list[i].running ? "" : list[i].why_not);
	if (c->mode == XLAT_NAT64 && c->prefix_count > 0) {
		struct xlat_prefix p = c->prefix[xlat_prefix_none(&c->prefix[0]) ? c->prefix_count - 1 : 0];

		/* 198.51.100.1 written into the prefix is easy to read for the usual length alone. */
		if (p.bits == 96) {
			p.addr[3] = htobe32(0xc6336401);
			buf_adds(out, "  try from an IPv6 host that routes here:  ping ");
			words_address_text(out, 6, p.addr);
			buf_adds(out, "  (198.51.100.1)\n");
		}
	}
	buf_printf(out, "  then:  prickle nat64 show --name %s;  prickle nat64 stats --explain --name %s\n", name, name);
}

static int ask_file(struct cli *cli, struct arena *arena, const char *argument, struct nat64 **out, char name[NAT64_NAME_BYTES],
		    struct nat64_settings **settings)
{
	AUTO_BUF struct buf notice = BUF_INIT(TEXT_BYTES);
	struct nat64_where where;
	struct errmsg why = { 0 };
	int code = load(cli, arena, argument, settings), err;

	if (code != CLI_OK)
		return code;
	nat64_cli_where(cli, &where);
	where.name = (*settings)->name;
	err = nat64_apply(&where, *settings, out, &notice, &why);
	if (err != 0)
		return nat64_cli_fail(cli, err, &why);
	memcpy(name, (*settings)->name, NAT64_NAME_BYTES);
	if (notice.len > 0)
		fprintf(stderr, "%s", buf_cstr(&notice));
	return CLI_OK;
}

/* --- run -------------------------------------------------------------------------------------------------- */

static int print_ready(struct cli *cli, struct nat64 *n, const char *name)
{
	AUTO_BUF struct buf text = BUF_INIT(TEXT_BYTES);

	if (cli_json(cli))
		return CLI_OK;
	describe(n, name, &text);
	return cli_print(cli, &text);
}

static int run(struct cli *cli)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(NAT64_CLI_ARENA_BYTES);
	struct nat64_run_options options = { .ready_fd = STDOUT_FILENO, .ready_text = "ready\n", .drop_privileges = true };
	char name[NAT64_NAME_BYTES];
	struct nat64_settings *settings;
	struct errmsg why = { 0 };
	struct nat64 *n;
	int err, code = ask_file(cli, &arena, NULL, &n, name, &settings);

	if (code != CLI_OK)
		return code;
	code = print_ready(cli, n, name);
	if (code != CLI_OK) {
		nat64_close(n);
		return code;
	}
	err = nat64_run(n, settings, &options, &why);
	nat64_close(n);
	if (err != 0)
		return nat64_cli_fail(cli, err, &why);
	if (cli_has(cli, "remove")) {
		struct nat64_where where;

		nat64_cli_where(cli, &where);
		where.name = name;
		err = nat64_remove(&where, &why);
		return err == 0 ? CLI_OK : nat64_cli_fail(cli, err, &why);
	}
	fprintf(stderr, "prickle nat64: translator '%s' goes on without its slow path; `prickle nat64 remove %s` ends it\n", name, name);
	return CLI_OK;
}

const struct cli_command cmd_nat64_run = {
	.words = "nat64 run",
	.summary = "run a translator in the foreground",
	.description =
		"Starts the translator that the file describes, or takes over the one of its name that runs already, with all its sessions. "
		"Packets are translated in the kernel and need this process only for what programs there cannot do: fragments, FTP, "
		"TCP probes, logs, learning and announcing prefixes, metrics.\n\n"
		"SIGHUP reads the file again: a file with a mistake changes nothing. SIGTERM and Ctrl-C end this process and leave the "
		"translator running, as does its sudden death; --remove takes the translator away at the end.\n\n"
		"Prints what it does, and 'ready' when all of it runs.",
	.options = (const struct cli_option[]){
		{ "config", 'c', "FILE", "the translator's file", CLI_FILE }, CLI_OPTION_NAT64_NETNS,
		{ "remove", '\0', NULL, "take the translator away at the end" }, { 0 } },
	.examples = (const char *const[]){ "prickle nat64 run --config /etc/prickle/nat64.yaml",
					   "prickle nat64 run --config nat64.yaml --remove", NULL },
	.run = run,
};

/* --- apply ---------------------------------------------------------------------------------------------------- */

static int apply(struct cli *cli)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(NAT64_CLI_ARENA_BYTES);
	AUTO_BUF struct buf text = BUF_INIT(TEXT_BYTES);
	char name[NAT64_NAME_BYTES];
	struct nat64_settings *settings;
	struct nat64 *n;
	int code = ask_file(cli, &arena, cli_arg(cli, 0), &n, name, &settings);

	if (code != CLI_OK)
		return code;
	if (cli_json(cli))
		buf_printf(&text, "{\"ok\": true, \"name\": \"%s\", \"serial\": %llu}\n", name, (unsigned long long)nat64_serial(n));
	else
		describe(n, name, &text);
	nat64_close(n);
	return cli_print(cli, &text);
}

const struct cli_command cmd_nat64_apply = {
	.words = "nat64 apply",
	.summary = "make a translator what its file says now",
	.description =
		"Starts it or changes it: packets see the old settings or the new ones, never a mixture, and sessions stay. Only sessions of "
		"pool addresses that are gone end. A file with a mistake changes nothing. What cannot change while it runs (its mode, the "
		"sizes of its tables) is told and refused.\n\n"
		"A 'prickle nat64 run' of the same translator follows at once.",
	.args = (const struct cli_arg[]){ { "FILE", "the translator's file", true, false, CLI_FILE }, { 0 } },
	.options = (const struct cli_option[]){
		{ "config", 'c', "FILE", "the translator's file", CLI_FILE }, CLI_OPTION_NAT64_NETNS, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle nat64 apply /etc/prickle/nat64.yaml", NULL },
	.run = apply,
};

/* --- remove ----------------------------------------------------------------------------------------------------- */

static int remove_it(struct cli *cli)
{
	struct nat64_where where;
	struct errmsg why = { 0 };
	int err;

	nat64_cli_where(cli, &where);
	if (cli_arg(cli, 0) != NULL)
		where.name = cli_arg(cli, 0);
	err = nat64_remove(&where, &why);
	if (err != 0)
		return nat64_cli_fail(cli, err, &why);
	if (cli_json(cli))
		puts("{\"ok\": true}");
	return CLI_OK;
}

const struct cli_command cmd_nat64_remove = {
	.words = "nat64 remove",
	.summary = "end a translator and all its sessions",
	.description = "Takes its programs from the interfaces, then its tables and its device. Interfaces are left as they were found.",
	.args = (const struct cli_arg[]){ { "NAME", "the translator; needed where several run", true }, { 0 } },
	.options = (const struct cli_option[]){ CLI_OPTION_TRANSLATOR, CLI_OPTION_NAT64_NETNS, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle nat64 remove isp", NULL },
	.run = remove_it,
};
