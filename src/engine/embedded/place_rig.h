/*
 * A directory of its own for a test of the embedded engine on the real disk.
 */
#pragma once
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/test.h"
#include "sys/world.h"

struct place {
	char dir[64], index[80];
	int fd;
	struct world *world;
	uint64_t damage;		/* told so far; the last one in words */
	char what[300];
};

static inline void place_make(struct place *p)
{
	*p = (struct place){ 0 };
	snprintf(p->dir, sizeof(p->dir), "/tmp/engine-test.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(p->dir));
	snprintf(p->index, sizeof(p->index), "%s/index", p->dir);
	p->fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(p->fd, 0);
	p->world = world_real_new(p->fd);
	ck_assert_ptr_nonnull(p->world);
}

static inline int place_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static inline void place_drop(struct place *p)
{
	world_free(p->world);
	close(p->fd);
	nftw(p->dir, place_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
