#include "spine/trace.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spine/pins.h"

#define LOCK_NAME "tracer"

struct spine_trace {
	struct spine_device *device;
	struct ring_buffer *ring;
	int map, lock;
	uint32_t mask_before;
	uint64_t lost_before;
	spine_trace_each *each;		/* of the read that goes on */
	void *arg;
};

static uint64_t lost(const struct spine_device *d)
{
	uint32_t cpus;
	const struct spine_cpu_stats *stats = spine_device_stats(d, &cpus);
	uint64_t sum = 0;

	for (uint32_t i = 0; i < cpus; i++)
		sum += *(const volatile uint64_t *)&stats[i].trace_lost;
	return sum;
}

/* A record of the ring: ours if the dispatcher wrote it, but its lengths are checked like anybody's. */
static int on_record(void *arg, void *data, size_t bytes)
{
	struct spine_trace *t = arg;
	struct spine_trace_record record;
	size_t captured;

	if (bytes < sizeof(record))
		return 0;
	memcpy(&record, data, sizeof(record));
	captured = bytes - sizeof(record);
	if (captured > record.captured)
		captured = record.captured;
	return t->each(t->arg, &record, slice_of((const uint8_t *)data + sizeof(record), captured));
}

/* A directory of its own in bpffs, locked: locks of descriptors of maps would be everybody's. */
static int take_lock(struct spine_device *d, struct errmsg *why)
{
	int dir = spine_device_dir(d);

	if (mkdirat(dir, LOCK_NAME, 0700) != 0 && errno != EEXIST)
		return errmsg_set(why, -errno, "trace '%s'", spine_device_name(d));
	AUTO_FD int fd = openat(dir, LOCK_NAME, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errmsg_set(why, -errno, "trace '%s'", spine_device_name(d));
	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		return errmsg_say(why, -EBUSY, "'%s' is being traced by another command; wait for its end",
				  spine_device_name(d));
	return TAKE_FD(fd);
}

int spine_trace_open(struct spine_device *d, uint32_t every, struct spine_trace **out, struct errmsg *why)
{
	struct spine_control *control = spine_device_control(d);
	struct spine_trace *t;

	AUTO_FD int lock = take_lock(d, why);
	if (lock < 0)
		return lock;
	AUTO_FD int map = pin_get(spine_device_dir(d), "trace");
	if (map < 0)
		return errmsg_set(why, map, "open the trace ring of '%s'", spine_device_name(d));
	t = calloc(1, sizeof(*t));
	if (t == NULL)
		return errmsg_set(why, -ENOMEM, "trace '%s'", spine_device_name(d));
	t->ring = ring_buffer__new(map, on_record, t, NULL);
	if (t->ring == NULL) {
		free(t);
		return errmsg_set(why, -errno, "map the trace ring of '%s'", spine_device_name(d));
	}
	t->device = d;
	t->map = TAKE_FD(map);
	t->lock = TAKE_FD(lock);
	t->lost_before = lost(d);
	t->mask_before = SPINE_SAMPLE_MASK;
	__atomic_store_n(&control->sample_mask, every - 1, __ATOMIC_RELAXED);
	__atomic_store_n(&control->trace, 1, __ATOMIC_RELAXED);
	*out = t;
	return 0;
}

void spine_trace_close(struct spine_trace *t)
{
	struct spine_control *control;

	if (t == NULL)
		return;
	control = spine_device_control(t->device);
	__atomic_store_n(&control->trace, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&control->sample_mask, t->mask_before, __ATOMIC_RELAXED);
	ring_buffer__free(t->ring);
	close(t->map);
	close(t->lock);
	free(t);
}

int spine_trace_read(struct spine_trace *t, int timeout_ms, spine_trace_each *each, void *arg)
{
	t->each = each;
	t->arg = arg;
	return ring_buffer__poll(t->ring, timeout_ms);
}

uint64_t spine_trace_lost(const struct spine_trace *t)
{
	return lost(t->device) - t->lost_before;
}
