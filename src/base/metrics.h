/*
 * Counters, gauges and histograms of one process, and their text (OpenMetrics 1.0).
 *
 * A metric is a static variable next to the code that moves it; the linker collects all of
 * a program, so nobody keeps a list:
 *
 *	static const char *const verdicts[] = { "accepted", "refused" };
 *	METRIC_COUNTER_BY(messages, "prickle_smtp_messages", "Messages that ended in DATA or BDAT",
 *			  "verdict", verdicts);
 *	...
 *	metric_add(&messages, SMTP_ACCEPTED, 1);
 *
 * The values of a label are a fixed table: a stranger must not be able to make series. All
 * roles run the same program, so a role hands its numbers over as a snapshot (a list of
 * numbers), and the control role writes the text with one label more a source. The second word
 * of a name ("smtp") is its group: a source shows the groups that it has a part in.
 *
 * Adding is one atomic instruction without ordering, a few nanoseconds; safe in threads.
 */
#pragma once
#include "base/buf.h"

enum metric_kind {
	METRIC_COUNTER_KIND,
	METRIC_GAUGE_KIND,
	METRIC_HISTOGRAM_KIND,
};

struct metric {
	const char *name;		/* without _total; with its unit at the end (_seconds, _bytes) */
	const char *help;
	enum metric_kind kind;
	const char *label;		/* NULL: one cell */
	const char *const *label_values;
	const double *bounds;		/* histogram: upper bounds, ascending, without +Inf */
	double scale;			/* the text shows cells * scale; 0: cells as they are */
	uint32_t cell_count;		/* label values, or bounds + 2: the last is the sum */
	uint64_t *cells;
};

#define METRIC_COLLECT_(var)                                                                       \
	static struct metric *const var##_collected_                                               \
		__attribute__((used, section("prickle_metrics"))) = &(var)
#define METRIC_ONE_(var, n, h, k)                                                                  \
	static uint64_t var##_cells_[1];                                                           \
	static struct metric var = { .name = (n), .help = (h), .kind = (k), .cell_count = 1,       \
				     .cells = var##_cells_ };                                      \
	METRIC_COLLECT_(var)
#define METRIC_MANY_(var, n, h, k, l, values)                                                      \
	static uint64_t var##_cells_[ARRAY_LEN(values)];                                           \
	static struct metric var = { .name = (n), .help = (h), .kind = (k), .label = (l),          \
				     .label_values = (values), .cell_count = ARRAY_LEN(values),    \
				     .cells = var##_cells_ };                                      \
	METRIC_COLLECT_(var)

#define METRIC_COUNTER(var, name, help) METRIC_ONE_(var, name, help, METRIC_COUNTER_KIND)
#define METRIC_COUNTER_BY(var, name, help, label, values)                                          \
	METRIC_MANY_(var, name, help, METRIC_COUNTER_KIND, label, values)
/* In steps of `unit`: 1e-6 when microseconds are added and seconds shown. */
#define METRIC_COUNTER_SCALED(var, n, h, unit)                                                     \
	static uint64_t var##_cells_[1];                                                           \
	static struct metric var = { .name = (n), .help = (h), .kind = METRIC_COUNTER_KIND,        \
				     .scale = (unit), .cell_count = 1, .cells = var##_cells_ };    \
	METRIC_COLLECT_(var)
#define METRIC_GAUGE(var, name, help) METRIC_ONE_(var, name, help, METRIC_GAUGE_KIND)
#define METRIC_GAUGE_BY(var, name, help, label, values)                                            \
	METRIC_MANY_(var, name, help, METRIC_GAUGE_KIND, label, values)
/*
 * upper: a static const double array of bounds in the text's unit; unit: what one step of
 * metric_observe's value is in it (1e-6 for microseconds shown as seconds).
 */
#define METRIC_HISTOGRAM(var, n, h, upper, unit)                                                   \
	static uint64_t var##_cells_[ARRAY_LEN(upper) + 2];                                        \
	static struct metric var = { .name = (n), .help = (h), .kind = METRIC_HISTOGRAM_KIND,      \
				     .bounds = (upper), .scale = (unit),                           \
				     .cell_count = ARRAY_LEN(upper) + 2, .cells = var##_cells_ };  \
	METRIC_COLLECT_(var)

/* Counter or gauge: cell is the index of the label's value, 0 without a label. */
static inline void metric_add(struct metric *m, uint32_t cell, uint64_t n)
{
	if (cell < m->cell_count)
		__atomic_fetch_add(&m->cells[cell], n, __ATOMIC_RELAXED);
}

/* Gauge: take n off. */
static inline void metric_sub(struct metric *m, uint32_t cell, uint64_t n)
{
	metric_add(m, cell, 0 - n);
}

/* Gauge: the value now (not negative). Counter that is kept elsewhere: what it is there. */
static inline void metric_set(struct metric *m, uint32_t cell, uint64_t value)
{
	if (cell < m->cell_count)
		__atomic_store_n(&m->cells[cell], value, __ATOMIC_RELAXED);
}

uint64_t metric_get(const struct metric *m, uint32_t cell);
/* Histogram: note one value, in steps of the metric's unit. O(bounds). */
void metric_observe(struct metric *m, uint64_t value);

/* All numbers of this process, for metrics_text in another one; processor time and memory are looked up. */
void metrics_snapshot(struct buf *out);

struct metrics_source {
	struct slice labels;		/* ours: `role="front",instance="0"`; empty: none */
	struct slice snapshot;		/* from metrics_snapshot of the same program; another role's bytes */
	const char *const *groups;	/* NULL at the end; "process" always belongs to it; NULL: all */
};

/*
 * The text of all sources, family by family, ending in "# EOF". A snapshot that is malformed
 * or of another program is left out; returns how many were.
 */
size_t metrics_text(struct buf *out, const struct metrics_source *sources, size_t count);
