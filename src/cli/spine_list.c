/*
 * `prickle spine list`: the extensions of an interface, or of all interfaces of the host.
 */
#include <string.h>

#include "cli/spine.h"
#include "spine/totals.h"

#define LIST_BYTES (8u << 20)

struct listing {
	struct buf problems, rows;	/* text; problems come first */
	json_t *list;			/* or NULL */
	bool degraded;
};

/* What a person should do something about; one that a person switched off is none. */
static void add_problem(struct listing *l, const struct spine_where *where, const struct spine_record *r,
			const char *state, const char *reason, bool by_policy)
{
	bool trouble = strcmp(state, "ejected") == 0 || strcmp(state, "not-running") == 0 || by_policy;

	l->degraded |= trouble;
	if (!trouble)
		return;
	buf_printf(&l->problems, "! %s on %s is %s: %s\n    next: ", r->name, where->device, state, reason);
	spine_cli_next(&l->problems, where->netns, where->device, r->name, state, by_policy);
	buf_addc(&l->problems, '\n');
}

static void add_row(struct buf *out, const struct spine_device *d, const struct spine_record *r)
{
	struct spine_totals t;
	const char *reason, *state = spine_device_state(d, r, &reason);
	uint32_t cpus;
	const struct spine_cpu_stats *stats = spine_device_stats(d, &cpus);

	spine_totals(stats, cpus, r->slot, &t);
	buf_printf(out, "%-12s %-20s %8u  %-9s %-11s %12llu %8llu", spine_device_name(d), r->name, r->prog_id,
		   spine_tier_name((enum spine_tier)r->tier), state, (unsigned long long)t.packets,
		   (unsigned long long)spine_totals_faults(&t));
	if (t.samples > 0)
		buf_printf(out, " %7.0f", spine_totals_ns(&t));
	else
		buf_adds(out, "       -");
	buf_printf(out, "  %s%s", *r->match == '\0' ? "all" : r->match, r->terminal ? " (terminal)" : "");
	if (*reason != '\0')
		buf_printf(out, "\n%12s   %s: %s", "", state, reason);
	if (r->cost == INSPECT_UNBOUNDED)
		buf_printf(out, "\n%12s   no bound of its time is known", "");
	buf_adds(out, "\n");
}

/* The header, or, when there is nothing below it, a sentence. */
static void add_head(struct buf *out, const struct buf *rows, const char *device)
{
	if (rows->len == 0 && device != NULL)
		buf_printf(out, "no extensions on %s; `prickle spine install` puts one there\n", device);
	else if (rows->len == 0)
		buf_adds(out, "no extensions on any interface; `prickle spine install` puts one there\n");
	else
		buf_printf(out, "%-12s %-20s %8s  %-9s %-11s %12s %8s %7s  %s\n", "interface", "name", "id", "tier", "state", "packets",
			   "faults", "ns", "match");
}

static json_t *record_json(const struct spine_device *d, const struct spine_where *where, const struct spine_record *r,
			   const char *state)
{
	AUTO_BUF struct buf next = BUF_INIT(1024);
	json_t *o = spine_cli_record_json(d, r);

	if (o != NULL && where->netns != NULL)
		json_object_set_new(o, "netns", json_string(where->netns));
	spine_cli_next(&next, where->netns, where->device, r->name, state, spine_device_by_policy(d, r));
	if (o != NULL && next.len > 0)
		json_object_set_new(o, "next", json_string(buf_cstr(&next)));
	return o;
}

static int add_device(void *arg, const struct spine_where *where, const struct spine_device *d)
{
	const struct spine_record *const *records;
	size_t count = spine_device_records(d, &records);
	struct listing *l = arg;
	const char *state, *reason;

	for (size_t i = 0; i < count; i++) {
		state = spine_device_state(d, records[i], &reason);
		add_problem(l, where, records[i], state, reason, spine_device_by_policy(d, records[i]));
		if (l->list != NULL) {
			json_array_append_new(l->list, record_json(d, where, records[i], state));
		} else {
			if (where->netns != NULL && i == 0)
				buf_printf(&l->rows, "network namespace %s\n", where->netns);
			add_row(&l->rows, d, records[i]);
		}
	}
	return CLI_OK;
}

static void add_nameless(void *arg, const struct spine_found *f)
{
	struct listing *l = arg;

	if (l->list == NULL)
		buf_printf(&l->rows, "interface %u of a network namespace without a name (cookie %llu): run this inside it\n",
			   f->ifindex, (unsigned long long)f->netns_cookie);
}

static int run_list(struct cli *cli)
{
	struct listing l = { .problems = BUF_INIT(LIST_BYTES), .rows = BUF_INIT(LIST_BYTES) };
	int code;

	if (cli_json(cli))
		l.list = json_array();
	code = spine_cli_each(cli, add_device, add_nameless, &l);
	if (code == CLI_OK && l.list != NULL) {
		code = spine_cli_json(cli, l.list);
	} else if (code == CLI_OK) {
		if (l.problems.len > 0)
			buf_addc(&l.problems, '\n');
		add_head(&l.problems, &l.rows, cli_value(cli, "dev"));
		buf_add(&l.problems, buf_slice(&l.rows));
		code = cli_print(cli, &l.problems);
	} else {
		json_decref(l.list);
	}
	buf_done(&l.problems);
	buf_done(&l.rows);
	return code == CLI_OK && l.degraded && cli_has(cli, "check") ? CLI_DEGRADED : code;
}

const struct cli_command cmd_spine_list = {
	.words = "spine list",
	.summary = "show the extensions of an interface, or of all",
	.description = "In the order in which they run, with their packets, faults and nanoseconds a packet (sampled). Extensions "
		       "that were ejected or do not run stay listed and come first once more, each with the reason and the command "
		       "to run next. Tier adopted: its owner loaded it, so limits of memory and helpers do not apply.\n\n"
		       "A list that could be made exits with 0 whatever is in it. For monitoring, --check exits with 3, as "
		       "`prickle status` does, when an extension was ejected or does not run; one that a person switched off "
		       "is no problem.",
	.options = (const struct cli_option[]){ CLI_OPTION_DEV, CLI_OPTION_NETNS,
						{ "check", '\0', NULL, "exit with 3 when an extension is ejected or does not run" }, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle spine list --dev eth0", "prickle spine list --json", NULL },
	.run = run_list,
};
