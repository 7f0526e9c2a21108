#include "sys/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/must.h"

#define RING_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define RING_BYTES_MAX (256u << 20)

static int map_ring(struct ring *r, int fd, uint32_t size, bool writable)
{
	void *map = mmap(NULL, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);

	if (map == MAP_FAILED)
		return -errno;
	*r = (struct ring){ .fd = fd, .map = map, .size = size, .writable = writable };
	return 0;
}

int ring_create(struct ring *r, uint32_t size)
{
	must(size > 0 && size % RING_UNIT_BYTES == 0);
	int fd = memfd_create("prickle-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	int rc = 0;
	if (ftruncate(fd, size) != 0)
		rc = -errno;
	if (rc == 0)
		rc = map_ring(r, fd, size, true);
	/* The seals come after the mapping: FUTURE_WRITE leaves this one writable and no other. */
	if (rc == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | RING_SEALS) != 0) {
		rc = -errno;
		munmap(r->map, size);
	}
	if (rc != 0)
		close(fd);
	return rc;
}

int ring_map(struct ring *r, int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	/* Without the seals the peer could shrink it under us: SIGBUS at its choice. */
	if (seals < 0 || (seals & RING_SEALS) != RING_SEALS)
		return -EPERM;
	off_t size = lseek(fd, 0, SEEK_END);	/* fstat is not for processes without files */
	if (size < 0)
		return -errno;
	if (size == 0 || size > (off_t)RING_BYTES_MAX || size % RING_UNIT_BYTES != 0)
		return -EINVAL;
	return map_ring(r, fd, (uint32_t)size, false);
}

void ring_done(struct ring *r)
{
	if (r->map != NULL) {
		munmap(r->map, r->size);
		close(r->fd);
	}
	free(r->busy);
	*r = (struct ring){ .fd = -1 };
}

int ring_own_allocation(struct ring *r)
{
	uint32_t units = r->size / RING_UNIT_BYTES;

	r->busy = calloc((units + 63) / 64, sizeof(*r->busy));
	if (r->busy == NULL)
		return -ENOMEM;
	r->free_units = units;
	r->next_unit = 0;
	return 0;
}

static bool unit_busy(const struct ring *r, uint32_t unit)
{
	return (r->busy[unit / 64] >> (unit % 64) & 1) != 0;
}

static void mark(struct ring *r, uint32_t first, uint32_t count, bool busy)
{
	for (uint32_t u = first; u < first + count; u++) {
		must(unit_busy(r, u) != busy);
		r->busy[u / 64] ^= (uint64_t)1 << (u % 64);
	}
	r->free_units = busy ? r->free_units - count : r->free_units + count;
}

/* First-fit in [from, to); the unit, or `to` when there is none. */
static uint32_t find_run(const struct ring *r, uint32_t from, uint32_t to, uint32_t count)
{
	uint32_t run = 0;

	for (uint32_t u = from; u < to; u++) {
		run = unit_busy(r, u) ? 0 : run + 1;
		if (run == count)
			return u + 1 - count;
	}
	return to;
}

bool ring_alloc(struct ring *r, uint32_t n, uint32_t *offset)
{
	uint32_t units = r->size / RING_UNIT_BYTES;
	uint32_t count = n == 0 ? 1 : (n - 1) / RING_UNIT_BYTES + 1;

	must(r->busy != NULL);
	if (count > r->free_units)
		return false;
	uint32_t at = find_run(r, r->next_unit, units, count);
	if (at == units)
		at = find_run(r, 0, units, count);
	if (at == units)
		return false;
	mark(r, at, count, true);
	r->next_unit = at + count == units ? 0 : at + count;
	*offset = at * RING_UNIT_BYTES;
	return true;
}

void ring_release(struct ring *r, uint32_t offset, uint32_t n)
{
	uint32_t count = n == 0 ? 1 : (n - 1) / RING_UNIT_BYTES + 1;

	must(offset % RING_UNIT_BYTES == 0 && offset / RING_UNIT_BYTES + count <= r->size / RING_UNIT_BYTES);
	mark(r, offset / RING_UNIT_BYTES, count, false);
}

struct slice ring_at(const struct ring *r, uint32_t offset, uint32_t n)
{
	if (offset > r->size || n > r->size - offset)
		return (struct slice){ 0 };
	return slice_of(r->map + offset, n);
}
