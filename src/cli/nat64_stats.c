/*
 * `prickle nat64 stats`: every packet by what became of it and why; with --explain each reason's sentence.
 */
#include <stdlib.h>

#include "cli/nat64.h"
#include "nat64/reason.h"

struct watch {
	struct cli *cli;
	struct xlat_stats last;
	double last_s;
	bool have_last;
};

/* In the order in which people ask. */
static const unsigned verdict_order[] = { XLAT_TRANSLATE, XLAT_SLOW, XLAT_ERROR, XLAT_DROP, XLAT_PASS };

static const char *verdict_sentence(unsigned verdict)
{
	static const char *const sentences[] = {
		[XLAT_PASS] = "not ours: to the host, untouched",
		[XLAT_DROP] = "dropped without an answer",
		[XLAT_TRANSLATE] = "translated and sent",
		[XLAT_ERROR] = "dropped and answered with an ICMP error",
		[XLAT_SLOW] = "given to the slow path",
	};

	return sentences[verdict];
}

static void rate_text(struct buf *out, const struct watch *w, uint64_t now, uint64_t before, double seconds)
{
	if (w->have_last && seconds > 0)
		buf_printf(out, " %12.0f/s", (double)(now - before) / seconds);
}

static void sentence_text(struct buf *out, unsigned reason)
{
	const char *source = nat64_reason_source(reason);

	buf_printf(out, "      %s%s%s%s\n", nat64_reason_sentence(reason), source[0] == '\0' ? "" : " (", source, source[0] == '\0' ? "" : ")");
}

static void reasons_text(struct buf *out, const struct watch *w, const struct xlat_stats *s, double seconds)
{
	bool explain = cli_has(w->cli, "explain");

	for (size_t i = 0; i < ARRAY_LEN(verdict_order); i++) {
		unsigned v = verdict_order[i];
		uint64_t all = 0, before = 0;
		for (unsigned r = 0; r < XLAT_REASONS; r++) {
			all += s->reason[v][r];
			before += w->last.reason[v][r];
		}
		if (all == 0 && !explain)
			continue;
		buf_printf(out, "%-28s %14llu", nat64_verdict_name(v), (unsigned long long)all);
		rate_text(out, w, all, before, seconds);
		buf_printf(out, "  %s\n", verdict_sentence(v));
		for (unsigned r = 0; r < XLAT_REASONS; r++) {
			if (s->reason[v][r] == 0 || (r == XLAT_R_NONE && all == s->reason[v][r]))
				continue;
			buf_printf(out, "  %-26s %14llu", nat64_reason_name(r), (unsigned long long)s->reason[v][r]);
			rate_text(out, w, s->reason[v][r], w->last.reason[v][r], seconds);
			buf_addc(out, '\n');
			if (explain)
				sentence_text(out, r);
		}
	}
}

#define COUNTERS(s) { \
	{ "packets-6to4", "IPv6 packets that became IPv4", (s)->packets[0] }, { "packets-4to6", "IPv4 packets that became IPv6", (s)->packets[1] }, \
	{ "bytes-6to4", "IP bytes of them as they arrived", (s)->bytes[0] }, { "bytes-4to6", "IP bytes of them as they arrived", (s)->bytes[1] }, \
	{ "hairpins", "packets between two hosts inside", (s)->hairpins }, { "errors-sent", "ICMP errors made here", (s)->errors_sent }, \
	{ "sessions-made", "sessions that began", (s)->sessions_made }, { "sessions-ended", "sessions that ended", (s)->sessions_ended }, \
	{ "mappings-made", "mappings (BIB entries) that began", (s)->mappings_made }, \
	{ "mappings-ended", "mappings that ended", (s)->mappings_ended }, { "blocks-taken", "port blocks given out", (s)->blocks_taken }, \
	{ "blocks-freed", "port blocks that came back", (s)->blocks_freed }, \
	{ "port-tries", "entries looked at to find free ports", (s)->port_tries }, \
	{ "events-lost", "lines for the log that were lost", (s)->events_lost }, \
	{ "nexthop-hits", "packets whose next hop was remembered", (s)->nexthop_hits }, \
	{ "nexthop-misses", "packets for which the kernel was asked", (s)->nexthop_misses } }

struct counter { const char *name, *help; uint64_t value; };

static void counters_text(struct buf *out, const struct watch *w, const struct xlat_stats *s, double seconds)
{
	const struct counter now[] = COUNTERS(s), before[] = COUNTERS(&w->last);
	bool explain = cli_has(w->cli, "explain");

	buf_addc(out, '\n');
	for (size_t i = 0; i < ARRAY_LEN(now); i++) {
		if (now[i].value == 0 && !explain)
			continue;
		buf_printf(out, "%-28s %14llu", now[i].name, (unsigned long long)now[i].value);
		rate_text(out, w, now[i].value, before[i].value, seconds);
		buf_printf(out, "%s%s\n", explain ? "  " : "", explain ? now[i].help : "");
	}
}

static void as_json(struct buf *out, const struct watch *w, const struct xlat_stats *s, double seconds)
{
	const struct counter now[] = COUNTERS(s), before[] = COUNTERS(&w->last);
	json_t *reasons = json_array(), *counters = json_object(), *rates = json_object();

	for (size_t i = 0; i < ARRAY_LEN(verdict_order); i++) {
		unsigned v = verdict_order[i];
		for (unsigned r = 0; r < XLAT_REASONS; r++) {
			if (s->reason[v][r] == 0)
				continue;
			json_t *o = json_pack("{s:s, s:s, s:I, s:s, s:s}", "verdict", nat64_verdict_name(v), "reason", nat64_reason_name(r), "packets",
					      (json_int_t)s->reason[v][r], "sentence", nat64_reason_sentence(r), "source", nat64_reason_source(r));
			if (w->have_last)
				json_object_set_new(o, "packets_per_s", json_real((double)(s->reason[v][r] - w->last.reason[v][r]) / seconds));
			json_array_append_new(reasons, o);
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(now); i++) {
		json_object_set_new(counters, now[i].name, json_integer((json_int_t)now[i].value));
		if (w->have_last)
			json_object_set_new(rates, now[i].name, json_real((double)(now[i].value - before[i].value) / seconds));
	}
	json_t *all = json_pack("{s:o, s:o}", "reasons", reasons, "counters", counters);
	if (w->have_last)
		json_object_set_new(all, "per_second", rates);
	else
		json_decref(rates);
	char *text = all == NULL ? NULL : json_dumps(all, JSON_COMPACT);
	json_decref(all);
	buf_printf(out, "%s\n", text == NULL ? "{}" : text);
	free(text);
}

static int look(void *arg, struct nat64 *n, uint64_t number, struct buf *out)
{
	struct watch *w = arg;
	struct xlat_stats stats;
	struct errmsg why = { 0 };
	int err = nat64_stats(n, &stats, &why);
	double at_s = cli_now_s(), seconds = at_s - w->last_s;

	if (err != 0)
		return nat64_cli_fail(w->cli, err, &why);
	if (number > 0 && !cli_json(w->cli))
		buf_addc(out, '\n');
	if (cli_json(w->cli)) {
		as_json(out, w, &stats, seconds);
	} else {
		reasons_text(out, w, &stats, seconds);
		counters_text(out, w, &stats, seconds);
	}
	w->last = stats;
	w->last_s = at_s;
	w->have_last = true;
	return CLI_OK;
}

/* Every reason there is, whether it was met or not. */
static int all_reasons(struct cli *cli)
{
	AUTO_BUF struct buf out = BUF_INIT(1u << 20);
	json_t *list = json_array();

	for (unsigned r = 0; r < XLAT_REASONS; r++) {
		json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "reason", nat64_reason_name(r), "sentence", nat64_reason_sentence(r),
						      "source", nat64_reason_source(r)));
		buf_printf(&out, "%s\n", nat64_reason_name(r));
		sentence_text(&out, r);
	}
	if (cli_json(cli))
		return spine_cli_json(cli, list);
	json_decref(list);
	return cli_print(cli, &out);
}

static int stats(struct cli *cli)
{
	struct watch w = { .cli = cli };

	return cli_has(cli, "reasons") ? all_reasons(cli) : nat64_cli_watch(cli, look, &w);
}

const struct cli_command cmd_nat64_stats = {
	.words = "nat64 stats",
	.summary = "count packets by what became of them and why",
	.description = "Each packet that a program of the translator saw is counted once, by verdict and reason. --explain adds the sentence of "
		       "each reason and the section of the RFC that it comes from. With --watch the second look and those after it "
		       "show what came in between by the second.",
	.options = (const struct cli_option[]){
		CLI_OPTION_TRANSLATOR, CLI_OPTION_NAT64_NETNS, { "explain", 'e', NULL, "say what each reason means" },
		{ "reasons", 'r', NULL, "explain all reasons that there are, and look at no translator" },
		CLI_OPTION_WATCH, CLI_OPTION_INTERVAL, CLI_OPTION_COUNT, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle nat64 stats --explain", "prickle nat64 stats --watch", "prickle nat64 stats --json", NULL },
	.run = stats,
};
