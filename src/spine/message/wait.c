/*
 * From the extension: reading its rings, and sleeping until the doorbell rings.
 *
 * Who goes to sleep says so in every ring and then looks once more; the extension publishes and then
 * looks whether somebody sleeps. Both put a full barrier between, so one of the two sees the other.
 */
#include <errno.h>
#include <poll.h>

#include "spine/message/channel.h"

int spine_take(struct spine_channel *c, struct spine_message *m, void *medium)
{
	for (uint32_t i = 0; i < c->part_count; i++) {
		struct outbox_part *p = &c->part[c->part_next];

		if (outbox_take(&p->reader, p->ring, m, medium)) {
			c->counts.taken++;
			return 1;
		}
		c->part_next = c->part_next + 1 < c->part_count ? c->part_next + 1 : 0;
	}
	return 0;
}

static bool waiting(const struct spine_channel *c)
{
	for (uint32_t i = 0; i < c->part_count; i++)
		if (outbox_waiting(&c->part[i].reader, c->part[i].ring))
			return true;
	return false;
}

static void set_asleep(struct spine_channel *c, uint32_t asleep)
{
	for (uint32_t i = 0; i < c->part_count; i++)
		__atomic_store_n(&c->part[i].ring->asleep, asleep, __ATOMIC_SEQ_CST);
}

/* Forget what was rung before. */
static void quiet(struct spine_channel *c)
{
	uint64_t rung = __atomic_load_n(c->bell.producer, __ATOMIC_ACQUIRE);

	__atomic_store_n(c->bell.consumer, rung, __ATOMIC_RELEASE);
}

int spine_fd(const struct spine_channel *c)
{
	return c->part_count > 0 && c->bell.producer != NULL ? c->fd.doorbell : -ENOTSUP;
}

int spine_sleep(struct spine_channel *c)
{
	if (spine_fd(c) < 0)
		return -ENOTSUP;
	if (waiting(c))
		return 1;
	quiet(c);
	set_asleep(c, 1);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!waiting(c))
		return 0;
	set_asleep(c, 0);
	return 1;
}

void spine_awake(struct spine_channel *c)
{
	if (c->part_count > 0)
		set_asleep(c, 0);
	if (c->bell.producer != NULL && c->bell.consumer != NULL)
		quiet(c);
}

int spine_wait(struct spine_channel *c, int timeout_ms)
{
	struct pollfd bell = { .fd = c->fd.doorbell, .events = POLLIN };
	int rc = spine_sleep(c);

	if (rc != 0)
		return rc;
	rc = poll(&bell, 1, timeout_ms);
	if (rc < 0)
		rc = -errno;
	else if (rc > 0)
		c->counts.wakeups++;
	spine_awake(c);
	if (rc < 0)
		return rc;
	return rc > 0 || waiting(c) ? 1 : 0;
}

void spine_channel_counts(const struct spine_channel *c, struct spine_channel_counts *out)
{
	*out = c->counts;
	for (uint32_t i = 0; i < c->part_count; i++) {
		out->lost += __atomic_load_n(&c->part[i].ring->lost, __ATOMIC_RELAXED);
		out->malformed += c->part[i].reader.malformed;
		out->resets += c->part[i].reader.resets;
	}
}
