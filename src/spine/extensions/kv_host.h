/*
 * The host side of the key-value cache: settings and counters in the maps of kv.bpf.c, and kv_reply.bpf.c on the
 * device's way out. All state is pinned, so there is nothing to restore after a restart of ours.
 * One writer at a time: callers hold the device's lock.
 */
#pragma once
#include <stdbool.h>

#include "base/attr.h"
#include "base/errmsg.h"
#include "base/slice.h"
#include "spine/extensions/kv.h"

struct kv_host {
	int settings, epoch, servers, counts;
	int cpus;
	uint32_t ifindex;
	char directory[256];		/* of the maps */
	char link[272];			/* where the tcx link is pinned */
};

/*
 * Open the maps in a directory of bpffs; the calling thread is in the namespace of interface `ifindex`.
 * link: the link's pin. 0 or negative errno with a sentence; kv_host_close in any case.
 */
MUST_USE int kv_host_open(const char *directory, const char *link, uint32_t ifindex, struct kv_host *out,
			  struct errmsg *why);
void kv_host_close(struct kv_host *h);

/* "10.0.0.1" or "fd00::1" -> 16 bytes as in kv.h; false when it is none. */
MUST_USE bool kv_host_address(const char *text, uint32_t out[4]);

/*
 * Follow the server's replies from now on, unless that is so already, then switch on. Entries of earlier times are void.
 *
 * object	path of kv_reply.o
 * classic	by a filter of the clsact qdisc, even where the kernel has tcx
 */
MUST_USE int kv_host_start(const struct kv_host *h, const char *object, uint32_t ttl_ms, bool classic,
			   struct errmsg *why);
/* One more address of the server; -E2BIG: all KV_SERVERS are in use. */
MUST_USE int kv_host_add_server(const struct kv_host *h, const uint32_t address[4], struct errmsg *why);
/* Switch off, forget the server, leave the interface as it was found. Stopping what is stopped is fine. */
MUST_USE int kv_host_stop(const struct kv_host *h, struct errmsg *why);

/* The server's addresses, up to KV_SERVERS; how many. */
size_t kv_host_servers(const struct kv_host *h, uint32_t out[KV_SERVERS][4]);
void kv_host_settings(const struct kv_host *h, struct kv_settings *out);
/* The program on the way out is there: "tcx", "clsact", or NULL. */
const char *kv_host_follows(const struct kv_host *h);
uint64_t kv_host_count(const struct kv_host *h, enum kv_count what);
