#include "nat64/ring.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <bpf/bpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"

/*
 * The kernel's layout (kernel/bpf/ringbuf.c): a page that begins with the consumer's position, which may be mapped writable; a page
 * with the producer's; then the data, mapped twice in a row so that no record is broken. A record is 8 bytes of header,
 * length and flags, then its bytes, rounded up to 8.
 */
struct nat64_ring {
	size_t page, size;
	uint64_t *consumer;
	uint8_t *map;			/* producer's page and data, read only */
	uint64_t at, missed;
};

static uint64_t producer(const struct nat64_ring *r)
{
	return __atomic_load_n((const uint64_t *)(const void *)r->map, __ATOMIC_ACQUIRE);
}

int nat64_ring_open(struct nat64 *n, struct nat64_ring **out, struct errmsg *why)
{
	struct bpf_map_info info = { 0 };
	uint32_t bytes = sizeof(info);
	int fd = nat64_map(n, "events");
	AUTO_FREE struct nat64_ring *r = calloc(1, sizeof(*r));
	void *p;

	if (r == NULL)
		return errmsg_set(why, -ENOMEM, "look at events");
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &bytes) != 0)
		return errmsg_say(why, -EPROTO, "this translator has no ring of events: start it again");
	r->page = (size_t)sysconf(_SC_PAGESIZE);
	r->size = info.max_entries;
	p = mmap(NULL, r->page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return errmsg_set(why, -errno, "map the ring of events");
	r->consumer = p;
	p = mmap(NULL, r->page + 2 * r->size, PROT_READ, MAP_SHARED, fd, (off_t)r->page);
	if (p == MAP_FAILED) {
		int err = errmsg_set(why, -errno, "map the ring of events");
		munmap(r->consumer, r->page);
		return err;
	}
	r->map = p;
	r->at = producer(r);
	*out = TAKE_PTR(r);
	return 0;
}

void nat64_ring_close(struct nat64_ring *r)
{
	if (r == NULL)
		return;
	munmap(r->consumer, r->page);
	munmap(r->map, r->page + 2 * r->size);
	free(r);
}

int nat64_ring_look(struct nat64_ring *r, int (*each)(void *arg, const struct xlat_event *e), void *arg)
{
	uint64_t end;
	int stop = 0;

	while (stop == 0 && r->at < (end = producer(r))) {
		/* The daemon took them out and new ones stand there. */
		if (end - r->at > r->size) {
			r->missed++;
			r->at = end;
			break;
		}
		const uint8_t *record = r->map + r->page + (r->at & (r->size - 1));
		uint32_t head = __atomic_load_n((const uint32_t *)(const void *)record, __ATOMIC_ACQUIRE);
		uint32_t length = head & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
		struct xlat_event e;
		if ((head & BPF_RINGBUF_BUSY_BIT) != 0)
			break;		/* it is still being written */
		if (length > r->size) {
			r->at = end;
			break;
		}
		bool whole = (head & BPF_RINGBUF_DISCARD_BIT) == 0 && length == sizeof(e);
		if (whole)
			memcpy(&e, record + BPF_RINGBUF_HDR_SZ, sizeof(e));
		r->at += (length + BPF_RINGBUF_HDR_SZ + 7) & ~UINT64_C(7);
		/* Was it overwritten while it was copied? */
		if (producer(r) - r->at > r->size)
			r->missed++;
		else if (whole)
			stop = each(arg, &e);
	}
	return stop;
}

uint64_t nat64_ring_missed(const struct nat64_ring *r)
{
	return r->missed;
}

void nat64_ring_make_room(struct nat64_ring *r)
{
	uint64_t from = __atomic_load_n(r->consumer, __ATOMIC_ACQUIRE);

	if (r->at > from && producer(r) - from > r->size / 2)
		__atomic_store_n(r->consumer, r->at, __ATOMIC_RELEASE);
}
