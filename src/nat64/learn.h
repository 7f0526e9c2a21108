/*
 * The learner of translation prefixes: sockets and timers around pref64.h.
 *
 * Router advertisements are heard twice: from the kernel (RTM_NEWNDUSEROPT), and by a socket of our own, since the kernel only tells
 * where it configures itself by advertisements (accept_ra), and network managers switch that off. At the start routers
 * are asked. DNS (RFC 7050) is asked when no router tells, with a new socket, port and number for each question.
 */
#pragma once
#include <sys/socket.h>

#include "base/errmsg.h"
#include "nat64/settings.h"
#include "sys/loop.h"

struct learn;				/* opaque */

struct learn_settings {
	enum nat64_pref64_source source;	/* RA, DNS or AUTO */
	const char *uplink;		/* heed only this interface's routers; "": all */
	const char *dns_server;		/* address, or "[address]:port"; "": those of /etc/resolv.conf */
};

/*
 * Begin. `learnt` is called when another prefix is to be used, from the loop: bits 0 when there is none any more. It is not called
 * with "none" before it is known that there is none, so that a prefix of an earlier run stays until then. The strings are
 * borrowed during the call. 0 or negative errno.
 */
MUST_USE int learn_new(struct loop *loop, const struct learn_settings *settings, void (*learnt)(void *arg, const struct xlat_prefix *prefix),
		       void *arg, struct learn **out, struct errmsg *why);
void learn_free(struct learn *l);

/* Addresses of the `nameserver` lines of a resolv.conf, at most `max`; returns how many. Pure. */
size_t learn_servers(struct slice text, struct sockaddr_storage *out, size_t max);
