#include "base/metrics.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/crc32c.h"
#include "base/reader.h"

/* Made by the linker when the program has at least one metric: this file has one of its own. */
extern struct metric *const __start_prickle_metrics[] __attribute__((visibility("hidden")));
extern struct metric *const __stop_prickle_metrics[] __attribute__((visibility("hidden")));

METRIC_COUNTER_SCALED(cpu_seconds, "prickle_process_cpu_seconds", "Processor time used", 1e-6);
METRIC_GAUGE(heap_bytes, "prickle_process_heap_bytes", "Memory that is allocated now");
METRIC_GAUGE(resident_max_bytes, "prickle_process_resident_max_bytes", "The most memory that was ever resident");

static size_t metric_count(void)
{
	return (size_t)(__stop_prickle_metrics - __start_prickle_metrics);
}

/* A family may be declared by one source file only, so names tell programs apart. */
static uint32_t fingerprint(void)
{
	uint32_t crc = 0;

	for (size_t i = 0; i < metric_count(); i++) {
		const struct metric *m = __start_prickle_metrics[i];
		crc = crc32c(crc, slice_str(m->name));
		crc = crc32c(crc, slice_of(&m->cell_count, sizeof(m->cell_count)));
	}
	return crc;
}

uint64_t metric_get(const struct metric *m, uint32_t cell)
{
	return cell < m->cell_count ? __atomic_load_n(&m->cells[cell], __ATOMIC_RELAXED) : 0;
}

void metric_observe(struct metric *m, uint64_t value)
{
	uint32_t bucket = 0, last = m->cell_count - 2;
	double shown = (double)value * m->scale;

	while (bucket < last && shown > m->bounds[bucket])
		bucket++;
	metric_add(m, bucket, 1);
	metric_add(m, m->cell_count - 1, value);
}

static void look_at_process(void)
{
	struct mallinfo2 heap = mallinfo2();
	struct rusage usage;
	struct timespec t;

	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0)
		metric_set(&cpu_seconds, 0, (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000);
	if (getrusage(RUSAGE_SELF, &usage) == 0)
		metric_set(&resident_max_bytes, 0, (uint64_t)usage.ru_maxrss * 1024);
	metric_set(&heap_bytes, 0, heap.uordblks + heap.hblkhd);
}

void metrics_snapshot(struct buf *out)
{
	look_at_process();
	buf_be32(out, fingerprint());
	for (size_t i = 0; i < metric_count(); i++) {
		const struct metric *m = __start_prickle_metrics[i];
		for (uint32_t cell = 0; cell < m->cell_count; cell++)
			buf_varint(out, metric_get(m, cell));
	}
}

static void add_sample(struct buf *out, const char *name, const char *suffix, struct slice labels,
		       const char *key, const char *value)
{
	buf_adds(out, name);
	buf_adds(out, suffix);
	if (labels.len > 0 || key != NULL) {
		buf_addc(out, '{');
		buf_add(out, labels);
		if (key != NULL)
			buf_printf(out, "%s%s=\"%s\"", labels.len > 0 ? "," : "", key, value);
		buf_addc(out, '}');
	}
	buf_addc(out, ' ');
}

static void add_histogram(struct buf *out, const struct metric *m, struct slice labels,
			  struct reader *r)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i + 1 < m->cell_count; i++) {
		char bound[32] = "+Inf";
		if (i + 2 < m->cell_count)
			snprintf(bound, sizeof(bound), "%g", m->bounds[i]);
		total += rd_varint(r);
		add_sample(out, m->name, "_bucket", labels, "le", bound);
		buf_printf(out, "%llu\n", (unsigned long long)total);
	}
	add_sample(out, m->name, "_sum", labels, NULL, NULL);
	buf_printf(out, "%.9g\n", (double)rd_varint(r) * m->scale);
	add_sample(out, m->name, "_count", labels, NULL, NULL);
	buf_printf(out, "%llu\n", (unsigned long long)total);
}

/* One family of one source; r stands at its cells and moves behind them. */
static void add_family(struct buf *out, const struct metric *m, struct slice labels, struct reader *r)
{
	if (m->kind == METRIC_HISTOGRAM_KIND) {
		add_histogram(out, m, labels, r);
		return;
	}
	for (uint32_t i = 0; i < m->cell_count; i++) {
		uint64_t v = rd_varint(r);
		add_sample(out, m->name, m->kind == METRIC_COUNTER_KIND ? "_total" : "", labels,
			   m->label, m->label == NULL ? NULL : m->label_values[i]);
		/* Gauges of different events may dip below zero for a moment. */
		if (m->scale != 0)
			buf_printf(out, "%.9g\n", (double)v * m->scale);
		else if (m->kind == METRIC_GAUGE_KIND)
			buf_printf(out, "%lld\n", (long long)v);
		else
			buf_printf(out, "%llu\n", (unsigned long long)v);
	}
}

static bool usable(struct slice snapshot)
{
	struct reader r = reader_of(snapshot);

	if (rd_be32(&r) != fingerprint())
		return false;
	for (size_t i = 0; i < metric_count(); i++) {
		for (uint32_t cell = 0; cell < __start_prickle_metrics[i]->cell_count; cell++)
			rd_varint(&r);
	}
	return rd_end(&r);
}

/* The source's reader, moved to the cells of metric number `index`. */
static struct reader at_metric(struct slice snapshot, size_t index)
{
	struct reader r = reader_of(snapshot);

	rd_be32(&r);
	for (size_t i = 0; i < index; i++) {
		for (uint32_t cell = 0; cell < __start_prickle_metrics[i]->cell_count; cell++)
			rd_varint(&r);
	}
	return r;
}

/* Is name "prickle_GROUP_..." or "GROUP_..." for one of the groups? */
static bool in_groups(const char *name, const char *const *groups)
{
	const char *group = strncmp(name, "prickle_", 8) == 0 ? name + 8 : name;
	size_t len = strcspn(group, "_");

	if (groups == NULL || (len == 7 && memcmp(group, "process", 7) == 0))
		return true;
	for (; *groups != NULL; groups++)
		if (strlen(*groups) == len && memcmp(*groups, group, len) == 0)
			return true;
	return false;
}

size_t metrics_text(struct buf *out, const struct metrics_source *sources, size_t count)
{
	static const char *const kinds[] = { "counter", "gauge", "histogram" };
	size_t unusable = 0;

	for (size_t s = 0; s < count; s++)
		unusable += !usable(sources[s].snapshot);
	for (size_t i = 0; i < metric_count(); i++) {
		const struct metric *m = __start_prickle_metrics[i];
		bool headed = false;
		for (size_t s = 0; s < count; s++) {
			if (!in_groups(m->name, sources[s].groups) || !usable(sources[s].snapshot))
				continue;
			if (!headed)
				buf_printf(out, "# TYPE %s %s\n# HELP %s %s\n", m->name, kinds[m->kind],
					   m->name, m->help);
			headed = true;
			struct reader r = at_metric(sources[s].snapshot, i);
			add_family(out, m, sources[s].labels, &r);
		}
	}
	buf_adds(out, "# EOF\n");
	return unusable;
}
