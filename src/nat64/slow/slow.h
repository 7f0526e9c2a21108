/*
 * The slow path: packets that programs in the kernel cannot finish. Pure: packets in, packets out, the clock injected; the
 * daemon (run.c) reads them from the TAP and sends what comes out, tests call it by hand.
 *
 *	reassemble.c	datagrams from fragments, in any order, within limits (RFC 5722: overlap drops all)
 *	apply.c		an edit on whole packets: tails, checksums over the payload, fragments (RFC 7915 4, 4.1)
 *	fragment.c	whole packets cut into fragments of either family
 *	error.c		ICMP errors with RFC 4884 extensions, cut to 576 and 1280
 *	syn.c, probe.c	stored SYNs and TCP probes (RFC 6146 3.5.2.2)
 *	ftp.c		the FTP ALG (RFC 6384), called for control connections
 *
 * Where plans come from is the caller's: the programs in the kernel (core/call.h), or the native home in tests.
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/errmsg.h"
#include "nat64/core/call.h"
#include "nat64/core/xlat.h"

struct slow;				/* opaque */

/* How the slow path reaches its surroundings. `arg` is handed back. */
struct slow_ops {
	/* Plan the packet on x (filled up to flags, XLAT_FROM_SLOW among them). Returns the verdict, or negative errno. */
	int (*plan)(void *arg, struct xlat *x);
	int (*call)(void *arg, struct xlat_call *call);
	/* Send an IP packet of this family; the system finds the way. 0, -EMSGSIZE with *mtu, or another negative errno. Borrowed bytes. */
	int (*send)(void *arg, unsigned family, struct slice packet, uint32_t mark, uint32_t *mtu);
	/* MTU of the way to an address; 0: not known. */
	uint32_t (*mtu)(void *arg, unsigned family, const __be32 addr[4]);
	/* Count an outcome that the programs do not see. */
	void (*count)(void *arg, enum xlat_verdict verdict, enum xlat_reason reason);
	/* Whether another ICMP error may be sent now. too_big: it tells of a smaller MTU; those are counted on their own. */
	bool (*error_allowed)(void *arg, bool too_big);
	/*
	 * The map `ftp` (core/state.h). load: 0, -ENOENT. save: 0, -E2BIG; NULL deletes. next: the key that follows `key` in any order (NULL: the
	 * first), -ENOENT at the end. All three may be NULL: no ALG.
	 */
	int (*ftp_load)(void *arg, const struct xlat_session_key *key, struct xlat_ftp *out);
	int (*ftp_save)(void *arg, const struct xlat_session_key *key, const struct xlat_ftp *value);
	int (*ftp_next)(void *arg, const struct xlat_session_key *key, struct xlat_session_key *out);
};

struct slow_settings {
	uint32_t datagrams_max;		/* that wait for fragments */
	uint64_t bytes_max;		/* of all of them */
	uint32_t fragment_ms;		/* FRAGMENT_MIN is 2 s (RFC 6146 4) */
	uint32_t syns_max, syn_ms;	/* stored SYNs: TCP_INCOMING_SYN, 6 s */
};

MUST_USE int slow_new(const struct slow_settings *settings, const struct slow_ops *ops, void *arg, struct slow **out);
void slow_free(struct slow *s);
/* The settings and the configuration that hold from now on; the configuration is borrowed until the next call. */
void slow_configure(struct slow *s, const struct slow_settings *settings, const struct xlat_config *config);
/* An IP packet as it arrived (without Ethernet header, padding cut or not). now_ms: any clock that does not go back. */
void slow_packet(struct slow *s, struct slice packet, uint32_t mark, int64_t now_ms);
/* An event of the ring: XLAT_EVENT_PROBE sends a TCP probe to the inside host (RFC 6146 3.5.2.2); others are not ours. */
void slow_event(struct slow *s, const struct xlat_event *event, int64_t now_ms);
/* Time passes: datagrams and SYNs that waited too long. Returns ms until it wants to be called again, -1: not before a packet. */
int64_t slow_tick(struct slow *s, int64_t now_ms);
