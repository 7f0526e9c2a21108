/*
 * `prickle spine filter ...`: rules of the packet filter, spine/extensions/filter_rules.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/spine_maps.h"
#include "spine/extensions/filter_maps.h"

#define OUTPUT_BYTES (4u << 20)
#define ARENA_BYTES  (64u << 20)

static const struct cli_option show_options[] = { SPINE_MAPS_OPTIONS("filter"), { 0 } };
static const struct cli_arg file_args[] = {
	{ "FILE", "rules, one a line", .complete = CLI_FILE }, { 0 }
};

/* The whole file, up to one byte more than the parser accepts. 0 or negative errno. */
static int read_file(const char *path, struct buf *out)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	for (;;) {
		uint8_t *room = buf_room(out, 1 << 16);
		ssize_t n = room != NULL ? read(fd, room, 1 << 16) : 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return out->err == -EMSGSIZE ? 0 : out->err;
		buf_commit(out, (size_t)n);
	}
}

/* From the file of the first argument to tables in the arena, or what is wrong is said and its code returned. */
static int compile(struct cli *cli, struct arena *arena, const struct filter_rules **rules, struct filter_tables **tables)
{
	AUTO_BUF struct buf text = BUF_INIT(FILTER_FILE_BYTES_MAX + (1u << 16)), errors = BUF_INIT(1u << 18);
	const char *path = cli_arg(cli, 0);
	struct errmsg why = { 0 };
	int rc = read_file(path, &text);

	if (rc != 0) {
		errmsg_set(&why, rc, "read '%s'", path);
		return cli_fail(cli, rc == -ENOENT ? CLI_NOT_FOUND : CLI_FAILED, "%s", why.text);
	}
	struct slice kept = arena_dup(arena, buf_slice(&text));
	rc = arena->err != 0 ? arena->err : filter_parse(arena, kept, path, rules, &errors);
	if (rc == -EINVAL) {
		buf_truncate(&errors, errors.len > 0 ? errors.len - 1 : 0);
		return cli_fail(cli, CLI_USAGE, "no rules were changed:\n%s", buf_cstr(&errors));
	}
	if (rc == 0)
		rc = filter_compile(arena, *rules, tables, &why);
	if (rc == -ENOMEM)
		return cli_fail(cli, CLI_TEMPORARY, "not enough memory");
	return rc == 0 ? CLI_OK : cli_fail(cli, CLI_USAGE, "%s: no rules were changed: %s", path, why.text);
}

/* Rules as people count them: entries of one line are one. */
static uint32_t lines(const struct filter_rules *rules)
{
	uint32_t n = 0;

	for (size_t i = 0; i < rules->count; i++)
		n += i == 0 || rules->entries[i].line != rules->entries[i - 1].line;
	return n;
}

static int say_rules(struct cli *cli, const struct filter_rules *rules, const struct filter_tables *t, const char *done)
{
	AUTO_BUF struct buf out = BUF_INIT(OUTPUT_BYTES);
	const char *otherwise = rules->default_verdict == XDP_PASS ? "pass" : "drop";

	if (cli_json(cli))
		buf_printf(&out, "{\"rules\": %u, \"entries\": %zu, \"sets\": %u, \"default\": \"%s\"}\n", lines(rules),
			   rules->count, t->set_count, otherwise);
	else
		buf_printf(&out, "%u rule%s %s; other IP packets: %s\n", lines(rules), lines(rules) == 1 ? "" : "s", done,
			   otherwise);
	return cli_print(cli, &out);
}

static int check(struct cli *cli)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	const struct filter_rules *rules = NULL;
	struct filter_tables *tables = NULL;
	int code = compile(cli, &arena, &rules, &tables);

	return code == CLI_OK ? say_rules(cli, rules, tables, "would be in force") : code;
}

static int load(struct cli *cli)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	const struct filter_rules *rules = NULL;
	struct filter_tables *tables = NULL;
	struct spine_maps place;
	struct filter_maps maps;
	struct errmsg why = { 0 };
	int code = compile(cli, &arena, &rules, &tables);

	if (code != CLI_OK)
		return code;
	code = spine_maps_open(cli, "filter", true, &place);
	if (code != CLI_OK)
		return code;
	int rc = filter_maps_open(place.directory, &maps, &why);
	if (rc == 0)
		rc = filter_put(&maps, tables, (uint64_t)time(NULL), &why);
	filter_maps_close(&maps);
	spine_maps_close(&place);
	if (rc != 0)
		return cli_fail(cli, spine_exit(rc), "the rules before stay in force: %s", why.text);
	return say_rules(cli, rules, tables, "in force");
}

static const char *verdict_name(uint32_t verdict)
{
	return verdict == XDP_PASS ? "pass" : "drop";
}

static json_t *view_json(const struct filter_view *v)
{
	json_t *rules = json_array();

	for (size_t i = 0; i < v->count; i++) {
		const struct filter_line *l = &v->lines[i];

		json_array_append_new(rules, json_pack("{s:I, s:s, s:s, s:I, s:I}", "line", (json_int_t)l->line,
			"rule", l->text != NULL ? l->text : "", "verdict", verdict_name(l->verdict),
			"packets", (json_int_t)l->hits.packets, "bytes", (json_int_t)l->hits.bytes));
	}
	return json_pack("{s:I, s:s, s:o, s:I, s:I, s:I, s:I, s:I}", "loaded_at", (json_int_t)v->loaded_at_s,
			 "default", verdict_name(v->default_verdict), "rules", rules,
			 "passed", (json_int_t)v->counters.passed, "dropped", (json_int_t)v->counters.dropped,
			 "default_packets", (json_int_t)v->counters.default_packets,
			 "malformed", (json_int_t)v->counters.malformed, "no_rules", (json_int_t)v->counters.no_rules);
}

static void view_text(struct buf *out, const struct filter_view *v)
{
	if (v->loaded_at_s == 0) {
		buf_adds(out, "no rules yet, everything passes; `prickle spine filter load FILE` brings some\n");
		return;
	}
	buf_printf(out, "%12s %15s  rule\n", "packets", "bytes");
	for (size_t i = 0; i < v->count; i++)
		buf_printf(out, "%12llu %15llu  %s\n", (unsigned long long)v->lines[i].hits.packets,
			   (unsigned long long)v->lines[i].hits.bytes, v->lines[i].text != NULL ? v->lines[i].text : "");
	/* It counts since the installation, the rules since they were loaded. */
	buf_printf(out, "%12llu %15s  default %s (since the installation)\n",
		   (unsigned long long)v->counters.default_packets, "", verdict_name(v->default_verdict));
	buf_printf(out, "%12llu %15s  malformed, dropped\n", (unsigned long long)v->counters.malformed, "");
}

static int show(struct cli *cli)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	AUTO_BUF struct buf out = BUF_INIT(OUTPUT_BYTES);
	struct spine_maps place;
	struct filter_maps maps;
	struct filter_view view;
	struct errmsg why = { 0 };
	int code = spine_maps_open(cli, "filter", false, &place);

	if (code != CLI_OK)
		return code;
	int rc = filter_maps_open(place.directory, &maps, &why);
	if (rc == 0)
		rc = filter_view(&arena, &maps, &view, &why);
	filter_maps_close(&maps);
	spine_maps_close(&place);
	if (rc != 0)
		return cli_fail(cli, spine_exit(rc), "%s", why.text);
	if (cli_json(cli)) {
		json_t *all = view_json(&view);
		char *text = json_dumps(all, JSON_INDENT(2));

		buf_adds(&out, text != NULL ? text : "null");
		buf_addc(&out, '\n');
		free(text);
		json_decref(all);
	} else {
		view_text(&out, &view);
	}
	return cli_print(cli, &out);
}

#define LANGUAGE \
	"A line is `pass` or `drop` and conditions that must all hold, or `default pass|drop`; `#` begins a comment. " \
	"The first rule that fits decides. Conditions: ip, ip6, tcp, udp, icmp, icmp6 and other protocols by name; " \
	"proto NUMBERS; [src|dst] [host|net] PREFIXES; [src|dst] port PORTS; fragment. Lists are joined by commas, " \
	"ranges of ports by a hyphen. ARP and other frames pass unless a rule says arp or other. IPv6 needs icmp6: " \
	"with `default drop`, begin with `pass icmp6`."

const struct cli_command cmd_spine_filter_load = {
	.words = "spine filter load",
	.summary = "put rules of a file in force, all at once",
	.description = LANGUAGE "\n\nThe old rules stay in force until all new ones are written, and when there is an error.",
	.args = file_args,
	.options = show_options,
	.json = true,
	.examples = (const char *const[]){ "prickle spine filter load --dev eth0 rules.txt", NULL },
	.run = load,
};

const struct cli_command cmd_spine_filter_check = {
	.words = "spine filter check",
	.summary = "read a file of rules and say what is wrong with it",
	.description = LANGUAGE,
	.args = file_args,
	.json = true,
	.examples = (const char *const[]){ "prickle spine filter check rules.txt", NULL },
	.run = check,
};

const struct cli_command cmd_spine_filter_show = {
	.words = "spine filter show",
	.summary = "list the rules in force with their packets and bytes",
	.options = show_options,
	.json = true,
	.examples = (const char *const[]){ "prickle spine filter show --dev eth0 --json", NULL },
	.run = show,
};
