/* Making and ending a channel: descriptors are checked for what they are, then mapped. */
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/cleanup.h"
#include "spine/message/bpf.h"
#include "spine/message/channel.h"

#define CHANNEL_FDS 7			/* fields of struct spine_channel_fds */
_Static_assert(sizeof(struct spine_channel_fds) == CHANNEL_FDS * sizeof(int), "it is an array, too");

static int *fd_array(struct spine_channel_fds *fds)
{
	return &fds->call;
}

/* Map all of an array map whose entries have this size (0: any). */
static int map_array(int fd, const char *what, uint32_t value_bytes, void **out, size_t *bytes, uint32_t *entries,
		     struct spine_error *why)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct bpf_map_shape shape;
	size_t total;
	void *at;

	if (bpf_map_shape(fd, &shape) < 0 || shape.type != BPF_MAP_TYPE_ARRAY ||
	    !(shape.flags & BPF_F_MMAPABLE) || shape.entries == 0 ||
	    (value_bytes != 0 && shape.value_bytes != value_bytes))
		return spine_fail(why, -EINVAL,
				  "descriptor %d is not an extension's %s of this version", fd, what);
	total = ((size_t)shape.value_bytes + 7) / 8 * 8 * shape.entries;
	total = (total + page - 1) / page * page;
	at = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return spine_fail(why, -errno, "cannot map the %s", what);
	*out = at;
	*bytes = value_bytes != 0 ? total : shape.value_bytes;
	if (entries != NULL)
		*entries = shape.entries;
	return 0;
}

static int map_inbox(struct spine_channel *c, struct spine_error *why)
{
	void *at;
	int err = map_array(c->fd.inbox, "inbox", sizeof(struct spine_inbox), &at, &c->inbox_bytes, NULL, why);

	if (err < 0)
		return err;
	c->inbox = at;
	inbox_begin(&c->writer, c->inbox);
	return 0;
}

static int map_outbox(struct spine_channel *c, struct spine_error *why)
{
	void *at;
	uint32_t count;
	int err = map_array(c->fd.outbox, "outbox", sizeof(struct spine_outbox), &at, &c->outbox_bytes, &count,
			    why);

	if (err < 0)
		return err;
	c->outbox = at;
	c->part = calloc(count, sizeof(*c->part));
	if (c->part == NULL)
		return spine_fail(why, -ENOMEM, "outbox of %u rings", count);
	for (; c->part_count < count; c->part_count++) {
		struct outbox_part *p = &c->part[c->part_count];

		p->ring = (struct spine_outbox *)(void *)c->outbox + c->part_count;
		outbox_begin(&p->reader, p->ring);
	}
	return 0;
}

/* First page: our counter, writable; second page: theirs. The data behind them are of no interest. */
static int map_doorbell(struct spine_channel *c, struct spine_error *why)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct bpf_map_shape shape;
	void *ours, *theirs;

	if (bpf_map_shape(c->fd.doorbell, &shape) < 0 || shape.type != BPF_MAP_TYPE_RINGBUF)
		return spine_fail(why, -EINVAL, "descriptor %d is not an extension's doorbell",
				  c->fd.doorbell);
	ours = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd.doorbell, 0);
	if (ours == MAP_FAILED)
		return spine_fail(why, -errno, "cannot map the doorbell");
	c->bell.consumer = ours;
	theirs = mmap(NULL, page, PROT_READ, MAP_SHARED, c->fd.doorbell, (off_t)page);
	if (theirs == MAP_FAILED)
		return spine_fail(why, -errno, "cannot map the doorbell");
	c->bell.producer = theirs;
	return 0;
}

static int check_programs(struct spine_channel *c, struct spine_error *why)
{
	if (c->fd.call < 0 && c->fd.outbox < 0)
		return spine_fail(why, -EINVAL, "a channel needs a program to call or an outbox");
	if (c->fd.call >= 0 && bpf_is_program(c->fd.call, BPF_PROG_TYPE_SYSCALL) < 0)
		return spine_fail(why, -EINVAL, "descriptor %d is not an extension's call program",
				  c->fd.call);
	if (c->fd.drain >= 0 && bpf_is_program(c->fd.drain, BPF_PROG_TYPE_SYSCALL) < 0)
		return spine_fail(why, -EINVAL, "descriptor %d is not an extension's drain program",
				  c->fd.drain);
	return 0;
}

static int map_all(struct spine_channel *c, struct spine_error *why)
{
	int err = check_programs(c, why);

	if (err == 0 && c->fd.inbox >= 0)
		err = map_inbox(c, why);
	if (err == 0 && c->fd.region >= 0)
		err = map_array(c->fd.region, "region", 0, &c->region, &c->region_bytes, NULL, why);
	if (err == 0 && c->fd.outbox >= 0)
		err = map_outbox(c, why);
	if (err == 0 && c->fd.doorbell >= 0)
		err = map_doorbell(c, why);
	return err;
}

int spine_channel_from_fds(const struct spine_channel_fds *fds, struct spine_channel **out,
			   struct spine_error *why)
{
	struct spine_channel *c = calloc(1, sizeof(*c));
	int err;

	if (c == NULL)
		return spine_fail(why, -ENOMEM, "a channel");
	c->connection = -1;
	c->fd = *fds;
	err = map_all(c, why);
	if (err < 0) {
		/* The caller keeps them. */
		for (size_t i = 0; i < CHANNEL_FDS; i++)
			fd_array(&c->fd)[i] = -1;
		spine_channel_close(c);
		return err;
	}
	*out = c;
	return 0;
}

void spine_channel_fds(const struct spine_channel *c, struct spine_channel_fds *out)
{
	*out = c->fd;
}

static void unmap(void *at, size_t bytes)
{
	if (at != NULL)
		munmap(at, bytes);
}

void spine_channel_close(struct spine_channel *c)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (c == NULL)
		return;
	/* Nobody waits any more: spare the extension the doorbell. */
	spine_awake(c);
	unmap(c->inbox, c->inbox_bytes);
	unmap(c->region, c->region_bytes);
	unmap(c->outbox, c->outbox_bytes);
	unmap(c->bell.consumer, page);
	if (c->bell.producer != NULL)
		munmap((void *)(uintptr_t)c->bell.producer, page);
	for (size_t i = 0; i < CHANNEL_FDS; i++)
		if (fd_array(&c->fd)[i] >= 0)
			close(fd_array(&c->fd)[i]);
	if (c->connection >= 0)
		close(c->connection);
	free(c->part);
	free(c);
}

void *spine_region(const struct spine_channel *c, size_t *bytes)
{
	*bytes = c->region_bytes;
	return c->region;
}

/* ---- from pins ---- */

static int pinned(int directory, const char *name, unsigned number)
{
	char path[128];

	if (number == 0)
		snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", directory, name);
	else
		snprintf(path, sizeof(path), "/proc/self/fd/%d/%s-%u", directory, name, number);
	return bpf_pinned(path);
}

int spine_channel_open_at(int directory, unsigned number, struct spine_channel **out,
			  struct spine_error *why)
{
	struct spine_channel_fds fds;
	char name[32];
	int err;

	snprintf(name, sizeof(name), "call-%u", number);
	fds.call = pinned(directory, name, 0);
	snprintf(name, sizeof(name), "drain-%u", number);
	fds.drain = pinned(directory, name, 0);
	fds.inbox = pinned(directory, "maps/" SPINE_MAP_INBOX, number);
	fds.region = pinned(directory, "maps/" SPINE_MAP_REGION, number);
	/* The way back has one reader: the first channel. */
	fds.outbox = number == 0 ? pinned(directory, "maps/" SPINE_MAP_OUTBOX, 0) : -1;
	fds.doorbell = number == 0 ? pinned(directory, "maps/" SPINE_MAP_DOORBELL, 0) : -1;
	fds.sockets = number == 0 ? pinned(directory, "maps/" SPINE_MAP_SOCKETS, 0) : -1;
	if (fds.call < 0 && fds.outbox < 0)
		err = spine_fail(why, fds.call, "the extension has no channel %u that could be opened", number);
	else
		err = spine_channel_from_fds(&fds, out, why);
	for (size_t i = 0; err < 0 && i < CHANNEL_FDS; i++)
		if (fd_array(&fds)[i] >= 0)
			close(fd_array(&fds)[i]);
	return err;
}

int spine_channel_open(const char *device, const char *extension, unsigned number,
		       struct spine_channel **out, struct spine_error *why)
{
	AUTO_FD int directory = channel_directory(device, extension, why);

	if (directory < 0)
		return directory;
	return spine_channel_open_at(directory, number, out, why);
}
