/*
 * The daemon is two processes. The *keeper* has the rights to change things: it applies settings, reads them again at SIGHUP, and
 * starts the *worker* again when it dies. The worker reads bytes of strangers - packets, advertisements, DNS answers, HTTP - and may
 * only use what is open: the maps, the TAP, raw sockets. It tells the keeper in messages of a fixed size what it saw.
 *
 *	run.c	   keeper
 *	worker.c   worker: loop, TAP, timers, events
 *	raw.c	   sending IP packets, MTU of a way
 *	prefixes.c learning and announcing translation prefixes
 *	watch.c	   rtnetlink: what changes outdates next hops, addresses and devices
 *	serve.c	   metrics over HTTP
 */
#pragma once
#include "nat64/instance_private.h"
#include "nat64/run.h"
#include "sys/loop.h"

enum tell_kind {
	TELL_READY = 1,			/* packets of the slow path are read */
	TELL_ADDRESSES,			/* the host's addresses changed */
	TELL_LINKS,			/* interfaces came, went or changed */
	TELL_PREFIX,			/* CLAT: the prefix to use; bits 0: none */
	TELL_GONE,			/* the instance was removed */
};
struct tell {
	uint32_t kind;
	struct xlat_prefix prefix;
};
_Static_assert(sizeof(struct tell) == 24, "what a subverted worker can say");

/* The tick of the programs' clock now. */
uint32_t run_tick(void);
/* Nobody reads the slow path any more: programs hear of it at once, and flows that were kept on it are free to go. */
void run_slow_ends(struct nat64 *n);

struct worker;

/* Exit status: settings hold that one can only begin with. */
#define WORKER_AGAIN 64
/* The worker's life, in a child process; returns its exit status. again: not the first one. */
int worker_main(struct nat64 *n, const struct nat64_settings *settings, int keeper_fd, bool drop_privileges, bool again);
void worker_tell(struct worker *w, const struct tell *t);

/* --- raw.c --- */

struct raw { int fd4, fd6, ways4, ways6; };	/* ways: never sent from, they ask for routes */
#define RAW_CLOSED ((struct raw){ -1, -1, -1, -1 })
MUST_USE int raw_open(struct raw *r, struct errmsg *why);
void raw_close(struct raw *r);
/* As slow_ops.send. */
MUST_USE int raw_send(struct raw *r, unsigned family, struct slice packet, uint32_t mark, uint32_t *mtu);
/* MTU of the way to an address, 0: not known. Three system calls. */
uint32_t raw_mtu(struct raw *r, unsigned family, const __be32 addr[4]);

/* --- prefixes.c --- */

/* Who learns the prefix (learn.h) and who announces it (announce.h), as the settings in force say. */
struct prefixes;			/* opaque */
/* `learnt`: as learn_new. */
MUST_USE int prefixes_new(struct loop *loop, void (*learnt)(void *arg, const struct xlat_prefix *prefix), void *arg, struct prefixes **out);
/* Begin, go on, begin anew or end what these settings change; they are borrowed during the call. */
MUST_USE int prefixes_configure(struct prefixes *p, const struct nat64_settings *s, struct errmsg *why);
/* removed: the translator is gone, and hosts are told so. NULL is fine. */
void prefixes_free(struct prefixes *p, bool removed);
/* For a translator that ends without its daemon: tell hosts that the prefixes of these settings are over. Best effort. */
void prefixes_farewell(const struct nat64_settings *s);

/* --- watch.c --- */

enum watch_seen { WATCH_ROUTES = 1 << 0, WATCH_ADDRESSES = 1 << 1, WATCH_LINKS = 1 << 2 };
/* A socket that hears of routes, neighbours, addresses and links. */
MUST_USE int watch_open(struct errmsg *why);
/* What changed: bits of enum watch_seen. Messages were lost: all of them. */
unsigned watch_read(int fd);
/* Ask the kernel to check neighbours that programs send to and that its own stack has not heard of for a while. */
void watch_keep_neighbours(struct nat64 *n);

/* --- serve.c --- */

struct serve;				/* opaque */
/* Listen; before rights are dropped. `text` writes what /metrics answers. */
MUST_USE int serve_new(struct loop *loop, const struct config_listen *listen, void (*text)(void *arg, struct buf *out), void *arg,
		       struct serve **out, struct errmsg *why);
