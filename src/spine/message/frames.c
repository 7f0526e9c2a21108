/*
 * Frames by AF_XDP into the application's memory. The socket is made by who may (the runtime, or we as
 * root); registering memory, rings and binding need no privilege once there is a socket. Of libxdp we
 * take the inline functions on rings; its set-up would load programs of its own.
 */
#include <errno.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <xdp/xsk.h>

#include "base/cleanup.h"
#include "spine/message/bpf.h"
#include "spine/message/channel.h"
#include "spine/message/handoff.h"

#ifndef SOL_XDP
#define SOL_XDP 283
#endif
#ifndef AF_XDP
#define AF_XDP 44
#endif

#define COMPLETION_SLOTS 64u		/* we send nothing, but the kernel wants the ring */

struct mapped {
	void *at;
	size_t bytes;
};

struct spine_frames {
	int fd;
	uint8_t *memory;
	uint32_t frame_bytes, frame_count;
	struct xsk_ring_prod fill;
	struct xsk_ring_cons rx;
	struct mapped fill_map, rx_map;
};

/* ---- the socket ---- */

static int ask(struct spine_channel *c, uint16_t kind, uint32_t queue, struct handoff *h, int *fd)
{
	struct handoff question = { .kind = kind, .queue = queue };
	int fds[HANDOFF_FDS], err;
	size_t count;

	err = handoff_send(c->connection, &question, NULL, 0);
	if (err == 0)
		err = handoff_receive(c->connection, h, fds, &count);
	if (err < 0)
		return err;
	err = h->status < 0 ? h->status : h->kind != kind || count != (fd != NULL) ? -EPROTO : 0;
	if (err == 0 && fd != NULL)
		*fd = fds[0];
	else
		while (count > 0)
			close(fds[--count]);
	return err;
}

static int get_socket(struct spine_channel *c, const char *device, uint32_t queue, uint32_t *ifindex,
		      struct spine_error *why)
{
	struct handoff h;
	int fd, err;

	if (c->connection >= 0) {
		err = ask(c, HANDOFF_SOCKET, queue, &h, &fd);
		if (err < 0)
			return spine_fail(why, err, "the runtime makes no socket for queue %u", queue);
		*ifindex = h.ifindex;
		return fd;
	}
	if (c->fd.sockets < 0)
		return spine_fail(why, -ENOTSUP, "the extension has no SPINE_SOCKETS");
	*ifindex = device != NULL ? if_nametoindex(device) : 0;
	if (*ifindex == 0)
		return spine_fail(why, -ENODEV, "there is no interface '%s' here", device != NULL ? device : "");
	fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return spine_fail(why, -errno, "an AF_XDP socket");
	return fd;
}

/* From now on the extension may redirect to it. */
static int announce(struct spine_channel *c, int fd, uint32_t queue)
{
	struct handoff h;

	if (c->connection >= 0)
		return ask(c, HANDOFF_READY, queue, &h, NULL);
	return bpf_map_store(c->fd.sockets, &queue, &fd);
}

/* ---- rings ---- */

static int map_ring(int fd, const struct xdp_ring_offset *off, uint32_t slots, size_t slot_bytes, off_t where,
		    struct mapped *out)
{
	out->bytes = off->desc + slots * slot_bytes;
	out->at = mmap(NULL, out->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, where);
	if (out->at == MAP_FAILED) {
		out->at = NULL;
		return -errno;
	}
	return 0;
}

static uint32_t *at_offset(const struct mapped *m, uint64_t offset)
{
	return (uint32_t *)(void *)((uint8_t *)m->at + offset);
}

static int map_rings(struct spine_frames *f)
{
	struct xdp_mmap_offsets off;
	socklen_t bytes = sizeof(off);
	int err;

	if (getsockopt(f->fd, SOL_XDP, XDP_MMAP_OFFSETS, &off, &bytes) < 0)
		return -errno;
	if (bytes != sizeof(off))
		return -EOPNOTSUPP;
	err = map_ring(f->fd, &off.fr, f->frame_count, sizeof(uint64_t), (off_t)XDP_UMEM_PGOFF_FILL_RING,
		       &f->fill_map);
	if (err == 0)
		err = map_ring(f->fd, &off.rx, f->frame_count, sizeof(struct xdp_desc), XDP_PGOFF_RX_RING,
			       &f->rx_map);
	if (err < 0)
		return err;
	f->fill = (struct xsk_ring_prod){
		.cached_cons = f->frame_count, .mask = f->frame_count - 1, .size = f->frame_count,
		.producer = at_offset(&f->fill_map, off.fr.producer),
		.consumer = at_offset(&f->fill_map, off.fr.consumer),
		.ring = at_offset(&f->fill_map, off.fr.desc), .flags = at_offset(&f->fill_map, off.fr.flags),
	};
	f->rx = (struct xsk_ring_cons){
		.mask = f->frame_count - 1, .size = f->frame_count,
		.producer = at_offset(&f->rx_map, off.rx.producer),
		.consumer = at_offset(&f->rx_map, off.rx.consumer),
		.ring = at_offset(&f->rx_map, off.rx.desc), .flags = at_offset(&f->rx_map, off.rx.flags),
	};
	return 0;
}

static int set(int fd, int option, uint32_t slots)
{
	return setsockopt(fd, SOL_XDP, option, &slots, sizeof(slots)) < 0 ? -errno : 0;
}

static int set_up(struct spine_frames *f, size_t bytes, uint32_t ifindex, uint32_t queue)
{
	struct xdp_umem_reg reg = { .addr = (uint64_t)(uintptr_t)f->memory, .len = bytes,
				    .chunk_size = f->frame_bytes };
	struct sockaddr_xdp address = { .sxdp_family = AF_XDP, .sxdp_flags = XDP_USE_NEED_WAKEUP,
					.sxdp_ifindex = ifindex, .sxdp_queue_id = queue };
	uint32_t first;
	int err;

	if (setsockopt(f->fd, SOL_XDP, XDP_UMEM_REG, &reg, sizeof(reg)) < 0)
		return -errno;
	err = set(f->fd, XDP_UMEM_FILL_RING, f->frame_count);
	if (err == 0)
		err = set(f->fd, XDP_UMEM_COMPLETION_RING, COMPLETION_SLOTS);
	if (err == 0)
		err = set(f->fd, XDP_RX_RING, f->frame_count);
	if (err == 0)
		err = map_rings(f);
	if (err < 0)
		return err;
	if (xsk_ring_prod__reserve(&f->fill, f->frame_count, &first) != f->frame_count)
		return -EPROTO;
	for (uint32_t i = 0; i < f->frame_count; i++)
		*xsk_ring_prod__fill_addr(&f->fill, first + i) = (uint64_t)i * f->frame_bytes;
	xsk_ring_prod__submit(&f->fill, f->frame_count);
	return bind(f->fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
}

/* ---- the public part ---- */

static bool shape_is_good(const void *memory, size_t bytes, uint32_t frame_bytes)
{
	size_t count;

	if (memory == NULL || (uintptr_t)memory % (size_t)sysconf(_SC_PAGESIZE) != 0)
		return false;
	if (frame_bytes != 2048 && frame_bytes != 4096)
		return false;
	count = bytes / frame_bytes;
	return bytes % frame_bytes == 0 && count > 0 && count <= FRAMES_MAX && (count & (count - 1)) == 0;
}

int spine_frames_open(struct spine_channel *c, const char *device, uint32_t queue, void *memory, size_t bytes,
		      uint32_t frame_bytes, struct spine_frames **out, struct spine_error *why)
{
	uint32_t ifindex = 0;
	struct spine_frames *f;
	int err;

	if (!shape_is_good(memory, bytes, frame_bytes) || queue >= HANDOFF_QUEUES)
		return spine_fail(why, -EINVAL, "memory for frames begins at a page and holds 2^n buffers of 2048 or "
				  "4096 bytes, and queues are below %u", HANDOFF_QUEUES);
	f = calloc(1, sizeof(*f));
	if (f == NULL)
		return spine_fail(why, -ENOMEM, "frames");
	f->memory = memory;
	f->frame_bytes = frame_bytes;
	f->frame_count = (uint32_t)(bytes / frame_bytes);
	f->fd = get_socket(c, device, queue, &ifindex, why);
	if (f->fd < 0) {
		err = f->fd;
		spine_frames_close(f);
		return err;
	}
	err = set_up(f, bytes, ifindex, queue);
	if (err < 0)
		spine_fail(why, err, "cannot register %zu bytes for queue %u (see 'ulimit -l')", bytes, queue);
	else if ((err = announce(c, f->fd, queue)) < 0)
		spine_fail(why, err, "the extension's map of sockets takes none for queue %u", queue);
	if (err < 0) {
		spine_frames_close(f);
		return err;
	}
	*out = f;
	return 0;
}

size_t spine_frames_take(struct spine_frames *f, struct spine_frame *out, size_t count)
{
	uint32_t want = count < f->frame_count ? (uint32_t)count : f->frame_count, first, got;

	got = xsk_ring_cons__peek(&f->rx, want, &first);
	for (uint32_t i = 0; i < got; i++) {
		const struct xdp_desc *d = xsk_ring_cons__rx_desc(&f->rx, first + i);

		out[i].number = (uint32_t)(d->addr / f->frame_bytes);
		out[i].data = f->memory + d->addr;
		out[i].length = d->len;
	}
	if (got > 0)
		xsk_ring_cons__release(&f->rx, got);
	else if (xsk_ring_prod__needs_wakeup(&f->fill))
		(void)recvfrom(f->fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
	return got;
}

void spine_frames_return(struct spine_frames *f, const struct spine_frame *frames, size_t count)
{
	uint32_t first;

	for (size_t i = 0; i < count; i++) {
		/* All buffers fit into the ring, so that only one that was not taken finds it full. */
		if (frames[i].number >= f->frame_count || xsk_ring_prod__reserve(&f->fill, 1, &first) != 1)
			continue;
		*xsk_ring_prod__fill_addr(&f->fill, first) = (uint64_t)frames[i].number * f->frame_bytes;
		xsk_ring_prod__submit(&f->fill, 1);
	}
}

int spine_frames_fd(const struct spine_frames *f)
{
	return f->fd;
}

void spine_frames_close(struct spine_frames *f)
{
	if (f == NULL)
		return;
	if (f->fill_map.at != NULL)
		munmap(f->fill_map.at, f->fill_map.bytes);
	if (f->rx_map.at != NULL)
		munmap(f->rx_map.at, f->rx_map.bytes);
	if (f->fd >= 0)
		close(f->fd);
	free(f);
}
