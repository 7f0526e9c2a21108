#include "spine/totals.h"

#include <string.h>

#include "base/attr.h"
#include "base/must.h"

void spine_totals(const struct spine_cpu_stats *stats, uint32_t cpus, uint32_t slot, struct spine_totals *out)
{
	must(slot < SPINE_SLOTS_MAX);
	memset(out, 0, sizeof(*out));
	for (uint32_t cpu = 0; cpu < cpus; cpu++) {
		const volatile struct spine_slot_stats *s = &stats[cpu].slot[slot];

		out->packets += s->packets;
		for (size_t i = 0; i < ARRAY_LEN(out->verdict); i++)
			out->verdict[i] += s->verdict[i];
		for (size_t i = 0; i < ARRAY_LEN(out->faults); i++)
			out->faults[i] += s->faults[i];
		out->skipped += s->skipped;
		out->samples += s->samples;
		out->sampled_ns += s->sampled_ns;
	}
}

static uint64_t grown(uint64_t before, uint64_t now)
{
	return now > before ? now - before : 0;
}

struct spine_totals spine_totals_since(const struct spine_totals *before, const struct spine_totals *now)
{
	struct spine_totals d = {
		.packets = grown(before->packets, now->packets),
		.skipped = grown(before->skipped, now->skipped),
		.samples = grown(before->samples, now->samples),
		.sampled_ns = grown(before->sampled_ns, now->sampled_ns),
	};

	for (size_t i = 0; i < ARRAY_LEN(d.verdict); i++)
		d.verdict[i] = grown(before->verdict[i], now->verdict[i]);
	for (size_t i = 0; i < ARRAY_LEN(d.faults); i++)
		d.faults[i] = grown(before->faults[i], now->faults[i]);
	return d;
}

uint64_t spine_totals_faults(const struct spine_totals *t)
{
	uint64_t sum = 0;

	for (size_t i = SPINE_FAULT_NONE + 1; i < SPINE_FAULT_COUNT; i++)
		if (i != SPINE_FAULT_ABORTED && i != SPINE_FAULT_OPERATOR)
			sum += t->faults[i];
	return sum;
}

double spine_totals_ns(const struct spine_totals *t)
{
	return t->samples == 0 ? 0 : (double)t->sampled_ns / (double)t->samples;
}

const char *spine_fault_name(enum spine_fault fault)
{
	static const char *const names[SPINE_FAULT_COUNT] = {
		[SPINE_FAULT_NONE] = "none", [SPINE_FAULT_NOT_RUN] = "not-run", [SPINE_FAULT_STALL] = "stall",
		[SPINE_FAULT_BUDGET] = "over-budget", [SPINE_FAULT_VERDICT] = "verdict",
		[SPINE_FAULT_ABORTED] = "aborted", [SPINE_FAULT_GREED] = "tail-calls",
		[SPINE_FAULT_OPERATOR] = "operator",
	};

	return (size_t)fault < SPINE_FAULT_COUNT ? names[fault] : "unknown";
}

const char *spine_verdict_name(uint32_t verdict)
{
	static const char *const names[] = { "aborted", "drop", "pass", "tx", "redirect" };

	return verdict < ARRAY_LEN(names) ? names[verdict] : "verdict";
}
