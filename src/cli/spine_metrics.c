/*
 * `prickle spine metrics`: the numbers of all devices and extensions as OpenMetrics text, for a node exporter's
 * textfile collector or a scrape by hand. SPINE has no daemon that could be scraped: the numbers live in
 * shared memory, and whoever asks reads them.
 *
 * Only counters and gauges, so that the older text format's parsers (textfile collectors use one) read it, too. The
 * values of labels come from extensions' authors in part (versions, names of counters): they are escaped, and
 * their number is bounded.
 */
#include <errno.h>
#include <string.h>

#include "cli/spine.h"
#include "spine/holdings.h"
#include "spine/totals.h"

#define FAMILY_BYTES (8u << 20)
#define COUNTERS_BYTES (1u << 20)
#define LABELS_BYTES 1024u

enum family {
	DEVICE_PACKETS, DEVICE_UNMATCHED, DEVICE_TRACE_LOST, DEVICE_RUNNING, IDENTITY, STATE, PACKETS, SKIPPED, VERDICTS, FAULTS,
	SAMPLES, SAMPLED_SECONDS, PACKET_SECONDS, MEMORY, COST, REPLACED, REFUSED, COUNTS, FAMILIES
};

static const struct {
	const char *name, *help;
	bool counter;
} families[FAMILIES] = {
	[DEVICE_PACKETS] = { "prickle_spine_device_packets", "Packets that the dispatcher of an interface saw", true },
	[DEVICE_UNMATCHED] = { "prickle_spine_device_unmatched_packets", "Packets that no extension wanted", true },
	[DEVICE_TRACE_LOST] = { "prickle_spine_device_trace_lost", "Samples that the ring of traces had no room for", true },
	[DEVICE_RUNNING] = { "prickle_spine_device_running", "1 when our dispatcher is attached and the interface is up", false },
	[IDENTITY] = { "prickle_spine_extension_identity", "Always 1: version, tier and place of an extension", false },
	[STATE] = { "prickle_spine_extension_state", "1 for the state that an extension is in", false },
	[PACKETS] = { "prickle_spine_extension_packets", "Packets that were given to an extension", true },
	[SKIPPED] = { "prickle_spine_extension_skipped_packets", "Packets of an extension while it was off", true },
	[VERDICTS] = { "prickle_spine_extension_verdicts", "Verdicts that an extension returned, not counted for terminal ones", true },
	[FAULTS] = { "prickle_spine_extension_faults", "Faults of an extension", true },
	[SAMPLES] = { "prickle_spine_extension_samples", "Packets whose time was measured", true },
	[SAMPLED_SECONDS] = { "prickle_spine_extension_sampled_seconds", "Time of the packets that were measured", true },
	[PACKET_SECONDS] = { "prickle_spine_extension_packet_seconds", "Mean time of a packet since the extension came", false },
	[MEMORY] = { "prickle_spine_extension_memory_bytes", "Memory of maps and programs", false },
	[COST] = { "prickle_spine_extension_cost_instructions", "Bound of the longest path of a packet; absent: none is known", false },
	[REPLACED] = { "prickle_spine_extension_replaced", "How often an extension was replaced by a new version", true },
	[REFUSED] = { "prickle_spine_extension_refused_calls", "Calls and redirects of an extension that the policy refused, or let through on trial", true },
	[COUNTS] = { "prickle_spine_extension_counts", "Counters that an extension keeps itself, by their names", true },
};

struct metrics {
	struct cli *cli;
	struct buf text[FAMILIES];
	char labels[LABELS_BYTES];	/* of the device or extension in hand */
};

/* Label values: backslash, quote and line feed escaped (OpenMetrics 1.0, ABNF), what is not ASCII replaced. */
static void add_escaped(struct buf *out, const char *text)
{
	for (; *text != '\0'; text++) {
		uint8_t c = (uint8_t)*text;

		if (c == '\\' || c == '"')
			buf_addc(out, '\\');
		buf_addc(out, c >= 0x20 && c < 0x7f ? c : '?');
	}
}

static void add_label(struct buf *out, const char *name, const char *value)
{
	buf_printf(out, "%s%s=\"", out->len > 0 ? "," : "", name);
	add_escaped(out, value);
	buf_addc(out, '"');
}

/* The head of a sample, with one label more when `label` is not NULL. */
static struct buf *sample(struct metrics *m, enum family f, const char *label, const char *value)
{
	struct buf *out = &m->text[f];

	buf_printf(out, "%s%s{%s", families[f].name, families[f].counter ? "_total" : "", m->labels);
	if (label != NULL) {
		buf_printf(out, ",%s=\"", label);
		add_escaped(out, value);
		buf_addc(out, '"');
	}
	buf_adds(out, "} ");
	return out;
}

static void add_number(struct metrics *m, enum family f, const char *label, const char *value, uint64_t n)
{
	buf_printf(sample(m, f, label, value), "%llu\n", (unsigned long long)n);
}

static void add_seconds(struct metrics *m, enum family f, double seconds)
{
	buf_printf(sample(m, f, NULL, NULL), "%.9g\n", seconds);
}

static void set_labels(struct metrics *m, const struct spine_where *where, const struct spine_record *r)
{
	AUTO_BUF struct buf text = BUF_INIT(LABELS_BYTES - 1);

	add_label(&text, "device", where->device);
	if (where->netns != NULL)
		add_label(&text, "netns", where->netns);
	if (r != NULL)
		add_label(&text, "extension", r->name);
	(void)snprintf(m->labels, sizeof(m->labels), "%s", buf_cstr(&text));
}

static void add_counters(struct metrics *m, const struct spine_device *d, const struct spine_record *r)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(COUNTERS_BYTES);
	const struct held_counter *counters;
	struct errmsg why;
	size_t count;

	/* It may just go away: the next look will not see it. */
	if (held_counters(d, r->name, &arena, &counters, &count, &why) != 0)
		return;
	for (size_t i = 0; i < count; i++)
		if (!counters[i].is_signed)	/* what can fall is no counter */
			add_number(m, COUNTS, "counter", counters[i].name, counters[i].value);
}

static void add_refused(struct metrics *m, const struct spine_device *d, const struct spine_record *r)
{
	struct row_refusal refusals[SPINE_POLICY_RECORDS];
	uint64_t ever;
	size_t count;

	if (spine_device_refusals(d, r->name, refusals, &count, &ever) == 0)
		add_number(m, REFUSED, NULL, NULL, ever);
}

static void add_identity(struct metrics *m, const struct spine_record *r)
{
	struct buf *out = sample(m, IDENTITY, "version", r->version);

	buf_truncate(out, out->len - 2);
	add_label(out, "tier", spine_tier_name((enum spine_tier)r->tier));
	add_label(out, "terminal", r->terminal ? "true" : "false");
	buf_printf(out, ",slot=\"%u\",order=\"%u\"} 1\n", r->slot, r->order);
}

static void add_extension(struct metrics *m, const struct spine_device *d, const struct spine_record *r)
{
	static const char *const states[] = { "active", "disabled", "ejected", "not-running" };
	const char *reason, *state = spine_device_state(d, r, &reason);
	struct spine_totals t;
	uint32_t cpus;
	const struct spine_cpu_stats *stats = spine_device_stats(d, &cpus);

	spine_totals(stats, cpus, r->slot, &t);
	add_identity(m, r);
	for (size_t i = 0; i < ARRAY_LEN(states); i++)
		add_number(m, STATE, "state", states[i], strcmp(states[i], state) == 0);
	add_number(m, PACKETS, NULL, NULL, t.packets);
	add_number(m, SKIPPED, NULL, NULL, t.skipped);
	for (uint32_t v = 0; v < 5 && !r->terminal; v++)
		add_number(m, VERDICTS, "verdict", spine_verdict_name(v), t.verdict[v]);
	for (int f = SPINE_FAULT_NONE + 1; f < SPINE_FAULT_OPERATOR; f++)
		add_number(m, FAULTS, "fault", spine_fault_name((enum spine_fault)f), t.faults[f]);
	if (!r->terminal) {
		add_number(m, SAMPLES, NULL, NULL, t.samples);
		add_seconds(m, SAMPLED_SECONDS, (double)t.sampled_ns / 1e9);
	}
	if (t.samples > 0)
		add_seconds(m, PACKET_SECONDS, spine_totals_ns(&t) / 1e9);
	add_number(m, MEMORY, NULL, NULL, r->memory_bytes);
	if (r->cost != INSPECT_UNBOUNDED)
		add_number(m, COST, NULL, NULL, r->cost);
	add_number(m, REPLACED, NULL, NULL, r->replaced);
	add_refused(m, d, r);
	add_counters(m, d, r);
}

static int add_device(void *arg, const struct spine_where *where, const struct spine_device *d)
{
	uint64_t packets = 0, unmatched = 0, lost = 0;
	const struct spine_record *const *records;
	size_t count = spine_device_records(d, &records);
	struct metrics *m = arg;
	const char *reason;
	uint32_t cpus;
	const struct spine_cpu_stats *stats = spine_device_stats(d, &cpus);

	for (uint32_t i = 0; i < cpus; i++) {
		packets += *(const volatile uint64_t *)&stats[i].packets;
		unmatched += *(const volatile uint64_t *)&stats[i].unmatched;
		lost += *(const volatile uint64_t *)&stats[i].trace_lost;
	}
	set_labels(m, where, NULL);
	add_number(m, DEVICE_PACKETS, NULL, NULL, packets);
	add_number(m, DEVICE_UNMATCHED, NULL, NULL, unmatched);
	add_number(m, DEVICE_TRACE_LOST, NULL, NULL, lost);
	add_number(m, DEVICE_RUNNING, NULL, NULL, spine_device_running(d, &reason));
	for (size_t i = 0; i < count; i++) {
		set_labels(m, where, records[i]);
		add_extension(m, d, records[i]);
	}
	return CLI_OK;
}

static int run_metrics(struct cli *cli)
{
	AUTO_BUF struct buf out = BUF_INIT(FAMILIES * FAMILY_BYTES);
	struct metrics m = { .cli = cli };
	int code;

	for (size_t f = 0; f < FAMILIES; f++)
		buf_init(&m.text[f], FAMILY_BYTES);
	code = spine_cli_each(cli, add_device, NULL, &m);
	for (size_t f = 0; f < FAMILIES; f++) {
		if (m.text[f].err != 0)
			out.err = m.text[f].err;
		if (m.text[f].len > 0)
			buf_printf(&out, "# TYPE %s %s\n# HELP %s %s.\n", families[f].name, families[f].counter ? "counter" : "gauge",
				   families[f].name, families[f].help);
		buf_add(&out, buf_slice(&m.text[f]));
		buf_done(&m.text[f]);
	}
	buf_adds(&out, "# EOF\n");
	if (code != CLI_OK)
		return code;
	return out.err == 0 ? cli_print(cli, &out) : cli_fail(cli, CLI_FAILED, "the metrics are too many: %s", strerrordesc_np(-out.err));
}

const struct cli_command cmd_spine_metrics = {
	.words = "spine metrics",
	.summary = "write counters of interfaces and extensions as OpenMetrics text",
	.description = "Everything that `list` and `show` count, of all interfaces with extensions or of one, with the counters that "
		       "extensions keep in a map `counters`. For a node exporter write it beside the file that its textfile collector reads "
		       "and rename it there (`prickle spine metrics >spine.tmp && mv spine.tmp spine.prom`), by a timer; Prometheus gets "
		       "nanoseconds a packet as rate(prickle_spine_extension_sampled_seconds_total) / "
		       "rate(prickle_spine_extension_samples_total).",
	.options = (const struct cli_option[]){ CLI_OPTION_DEV, CLI_OPTION_NETNS, { 0 } },
	.examples = (const char *const[]){ "prickle spine metrics", "prickle spine metrics --dev eth0", NULL },
	.run = run_metrics,
};
