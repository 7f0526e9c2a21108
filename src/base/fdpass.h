/*
 * Descriptors that go with a few bytes over a unix socket (SCM_RIGHTS), blocking, for helper processes
 * that ask and answer one thing at a time. Channels between roles have sys/ipc.h.
 *
 * Needs the C library alone, so that it can be linked into other people's processes.
 */
#pragma once
#include <stddef.h>
#include <sys/types.h>

#include "base/attr.h"

#define FDPASS_MAX 32u			/* descriptors of a message */

/* Send bytes (at least one) and borrowed descriptors as one message. 0 or a negative errno. */
MUST_USE int fdpass_send(int sock, const void *bytes, size_t count, const int *fds, size_t fd_count);

/*
 * Receive one message: up to bytes_max bytes and fds_max descriptors, close-on-exec, now the caller's.
 * The number of bytes, 0 when the peer is gone, or a negative errno: -EMSGSIZE when the message or its
 * descriptors were more than that (those that came are closed).
 */
MUST_USE ssize_t fdpass_receive(int sock, void *bytes, size_t bytes_max, int *fds, size_t fds_max,
				size_t *fd_count);
