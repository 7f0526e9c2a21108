/*
 * Locals that clean up after themselves; success takes the value out with TAKE_FD/TAKE_PTR.
 */
#pragma once
#include <stdlib.h>
#include <unistd.h>

/* Close it if it is open; then it is -1. */
static inline void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static inline void cleanup_free(void *ptr)
{
	free(*(void **)ptr);
}

#define AUTO_FD	     __attribute__((cleanup(fd_close)))
#define AUTO_FREE    __attribute__((cleanup(cleanup_free)))
#define TAKE_FD(fd)  ({ int taken_ = (fd); (fd) = -1; taken_; })
#define TAKE_PTR(p)  ({ __typeof__(p) taken_ = (p); (p) = NULL; taken_; })
