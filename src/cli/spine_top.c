/*
 * `prickle spine top`: what each extension of a device does and costs, live.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/spine.h"
#include "spine/totals.h"

struct look {
	struct spine_totals slot[SPINE_SLOTS_MAX];
	uint64_t packets, unmatched;
	double at_s;
};

static void look(const struct spine_device *d, struct look *out)
{
	const struct spine_record *const *records;
	uint32_t cpus;
	const struct spine_cpu_stats *stats = spine_device_stats(d, &cpus);
	size_t count = spine_device_records(d, &records);

	*out = (struct look){ .at_s = cli_now_s() };
	for (uint32_t i = 0; i < cpus; i++) {
		out->packets += *(const volatile uint64_t *)&stats[i].packets;
		out->unmatched += *(const volatile uint64_t *)&stats[i].unmatched;
	}
	for (size_t i = 0; i < count; i++)
		spine_totals(stats, cpus, records[i]->slot, &out->slot[records[i]->slot]);
}

/* 1234567 -> "1.23M" */
static void add_rate(struct buf *out, double rate, int width)
{
	static const struct { double from; const char *unit; } steps[] = { { 1e9, "G" }, { 1e6, "M" }, { 1e3, "k" } };
	char text[32];

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (rate >= steps[i].from) {
			(void)!snprintf(text, sizeof(text), "%.3g%s", rate / steps[i].from, steps[i].unit);
			buf_printf(out, "%*s", width, text);
			return;
		}
	(void)!snprintf(text, sizeof(text), "%.3g", rate);
	buf_printf(out, "%*s", width, text);
}

static void text_row(struct buf *out, const struct spine_device *d, const struct spine_record *r,
		     const struct spine_totals *t, double seconds)
{
	const char *reason, *state = spine_device_state(d, r, &reason);
	double ns = spine_totals_ns(t);

	buf_printf(out, "%-20.20s %-11s", r->name, state);
	add_rate(out, (double)t->packets / seconds, 9);
	if (r->terminal)
		buf_adds(out, "        -      -");
	else
		buf_printf(out, " %8.0f %5.1f%%", ns, ns * (double)t->packets / seconds / 1e7);
	for (size_t v = 0; v < 5; v++) {
		static const size_t order[] = { 2, 1, 3, 4, 0 };	/* pass, drop, tx, redirect, aborted */

		if (r->terminal)
			buf_adds(out, "        -");
		else
			add_rate(out, (double)t->verdict[order[v]] / seconds, 9);
	}
	add_rate(out, (double)spine_totals_faults(t) / seconds, 9);
	buf_printf(out, " %7.0fK", (double)r->memory_bytes / 1024);
	if (reason[0] != '\0')
		buf_printf(out, "  %s", reason);
	buf_addc(out, '\n');
}

static void text(struct buf *out, const struct spine_device *d, const struct look *a, const struct look *b)
{
	const struct spine_record *const *records;
	size_t count = spine_device_records(d, &records);
	double seconds = b->at_s - a->at_s;

	buf_printf(out, "%s: ", spine_device_name(d));
	add_rate(out, (double)(b->packets - a->packets) / seconds, 0);
	buf_adds(out, " packets/s, ");
	add_rate(out, (double)(b->unmatched - a->unmatched) / seconds, 0);
	buf_adds(out, "/s match nothing and go to the host\n");
	buf_printf(out, "%-20s %-11s%9s %8s %6s%9s%9s%9s%9s%9s%9s %8s\n", "EXTENSION", "STATE", "PKT/S", "NS/PKT",
		   "CPU", "PASS/S", "DROP/S", "TX/S", "REDIR/S", "ABORT/S", "FAULT/S", "MEMORY");
	for (size_t i = 0; i < count; i++) {
		struct spine_totals t = spine_totals_since(&a->slot[records[i]->slot], &b->slot[records[i]->slot]);

		text_row(out, d, records[i], &t, seconds);
	}
	if (count == 0)
		buf_adds(out, "no extensions\n");
}

static json_t *json_row(const struct spine_device *d, const struct spine_record *r, const struct spine_totals *t,
			double seconds)
{
	const char *reason, *state = spine_device_state(d, r, &reason);
	double ns = spine_totals_ns(t);
	json_t *row = json_pack("{s:s, s:s, s:s, s:f, s:f, s:f, s:I}", "name", r->name, "state", state, "reason", reason,
				"packets_per_s", (double)t->packets / seconds, "ns_per_packet", ns,
				"cpu_percent", ns * (double)t->packets / seconds / 1e7, "memory_bytes", (json_int_t)r->memory_bytes);
	json_t *verdicts = json_object(), *faults = json_object();

	for (uint32_t v = 0; v < 5; v++)
		json_object_set_new(verdicts, spine_verdict_name(v), json_real((double)t->verdict[v] / seconds));
	for (uint32_t f = SPINE_FAULT_NONE + 1; f < SPINE_FAULT_COUNT; f++)
		if (t->faults[f] != 0)
			json_object_set_new(faults, spine_fault_name(f), json_real((double)t->faults[f] / seconds));
	json_object_set_new(row, "verdicts_per_s", verdicts);
	json_object_set_new(row, "faults_per_s", faults);
	return row;
}

static void json(struct buf *out, const struct spine_device *d, const struct look *a, const struct look *b)
{
	const struct spine_record *const *records;
	size_t count = spine_device_records(d, &records);
	double seconds = b->at_s - a->at_s;
	json_t *rows = json_array(), *all;
	char *line;

	for (size_t i = 0; i < count; i++) {
		struct spine_totals t = spine_totals_since(&a->slot[records[i]->slot], &b->slot[records[i]->slot]);

		json_array_append_new(rows, json_row(d, records[i], &t, seconds));
	}
	all = json_pack("{s:s, s:f, s:f, s:f, s:o}", "device", spine_device_name(d), "seconds", seconds,
			"packets_per_s", (double)(b->packets - a->packets) / seconds,
			"unmatched_per_s", (double)(b->unmatched - a->unmatched) / seconds, "extensions", rows);
	line = json_dumps(all, JSON_COMPACT);
	buf_adds(out, line != NULL ? line : "{}");
	buf_addc(out, '\n');
	free(line);
	json_decref(all);
}

/*
 * Between two looks the device is opened anew: an extension may have come or gone. Counters of a slot
 * that changed hands start at 0 again, which spine_totals_since takes as nothing.
 */
static int top(struct cli *cli)
{
	uint64_t interval_ms, times;
	struct look *looks = NULL;
	int code;

	code = cli_number(cli, "interval", 100, 3600000, 1000, &interval_ms);
	if (code == CLI_OK)
		code = cli_number(cli, "count", 0, UINT32_MAX, 0, &times);
	if (code != CLI_OK)
		return code;
	looks = calloc(2, sizeof(*looks));
	if (looks == NULL)
		return cli_fail(cli, CLI_FAILED, "no memory");
	for (uint64_t i = 0; code == CLI_OK && (times == 0 || i <= times); i++) {
		AUTO_BUF struct buf out = BUF_INIT(1u << 20);
		struct spine_device *d;

		code = spine_cli_open(cli, SPINE_LOOK, &d);
		if (code != CLI_OK)
			break;
		look(d, &looks[i % 2]);
		if (i > 0 && cli_json(cli))
			json(&out, d, &looks[(i + 1) % 2], &looks[i % 2]);
		else if (i > 0) {
			if (isatty(STDOUT_FILENO))
				buf_adds(&out, "\033[H\033[J");
			text(&out, d, &looks[(i + 1) % 2], &looks[i % 2]);
		}
		spine_device_close(d);
		code = cli_print(cli, &out);
		if (times == 0 || i < times)
			(void)!poll(NULL, 0, (int)interval_ms);
	}
	free(looks);
	return code;
}

const struct cli_command cmd_spine_top = {
	.words = "spine top",
	.summary = "show live what each extension of an interface does and costs",
	.description = "Packets, time, verdicts, faults and memory of each extension, by the second. Time is measured on one "
		       "packet in 64; CPU is the share of one processor. Terminal extensions are not timed.",
	.options = (const struct cli_option[]){
		CLI_OPTION_DEV, CLI_OPTION_NETNS,
		{ "interval", 'i', "MS", "milliseconds between two looks; 1000 without it" },
		{ "count", 'c', "N", "end after N looks; 0, the default: never" }, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle spine top --dev eth0", "prickle spine top --dev eth0 --count 1 --json", NULL },
	.run = top,
};
