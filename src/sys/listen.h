/*
 * Listening sockets. The supervisor makes them and hands them to roles, so that a role
 * which dies refuses no connection: they queue in the kernel until its successor accepts.
 */
#pragma once
#include <sys/socket.h>
#include <sys/types.h>

#include "base/errmsg.h"
#include "base/slice.h"

#define LISTEN_BACKLOG 4096		/* net.core.somaxconn of Debian 12 clips it */

/*
 * "192.0.2.1:25", "[2001:db8::1]:25", "*:25" (IPv6 and IPv4), "[::]:25" (IPv6 alone), or a
 * path beginning with "/". Non-blocking; an IPv6 socket takes no IPv4 unless "*". A unix
 * socket replaces a dead one of the same path, gets `mode` and, when owner is not -1, that
 * owner. *out is the descriptor. 0; -EINVAL address; -EADDRINUSE; other negative errno.
 */
MUST_USE int listen_open(const char *address, mode_t mode, uid_t owner, int *out, struct errmsg *why);

/*
 * The same for a unix socket of packets (SOCK_SEQPACKET), which channels speak (sys/ipc.h). `path` begins
 * with "/".
 */
MUST_USE int listen_open_packets(const char *path, mode_t mode, uid_t owner, int *out, struct errmsg *why);

/*
 * Look among the descriptors [3, end) that the service manager passed for one that is bound to
 * this address; -1 when there is none. The caller then owns it.
 */
int listen_inherited(const char *address, int end);

/* Parse as listen_open does. False when it is no address. *both: IPv4 as well ("*"). */
MUST_USE bool listen_parse(const char *address, struct sockaddr_storage *out, socklen_t *len, bool *both);
