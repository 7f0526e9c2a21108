/*
 * A channel inside: its descriptors, what is mapped of them, and what both directions remember.
 */
#pragma once
#include <prickle/libspine.h>

#include "spine/message/ring.h"

struct outbox_part {
	struct spine_outbox *ring;	/* entry i of the mapped array */
	struct outbox_reader reader;
};

/* The ring buffer's two pages of counters; its records say nothing. */
struct doorbell {
	uint64_t *consumer;		/* ours */
	const uint64_t *producer;
};

struct spine_channel {
	struct spine_channel_fds fd;
	int connection;			/* to `prickle spine share`, or -1 */
	uint32_t seq;
	struct spine_inbox *inbox;
	size_t inbox_bytes;
	struct inbox_writer writer;
	void *region;
	size_t region_bytes;
	uint8_t *outbox;
	size_t outbox_bytes;
	struct outbox_part *part;
	uint32_t part_count, part_next;
	struct doorbell bell;
	struct spine_channel_counts counts;
};

/* bpffs directory of an extension on a device of the caller's network namespace; or a negative errno. */
int channel_directory(const char *device, const char *extension, struct spine_error *why);
