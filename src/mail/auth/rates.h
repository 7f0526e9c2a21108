/*
 * How much one client may do: messages and recipients a minute, connections at a time.
 *
 * Buckets of tokens in a bounded table: when it is full, the clients that have been quiet
 * longest are forgotten, which only ever helps them. mx counts for itself; what the front processes
 * share is counted by auth (authc_open, authc_take).
 */
#pragma once
#include "base/slice.h"

struct rates;
struct sockaddr_storage;

enum rate_kind {
	RATE_CONNECTIONS = 1,
	RATE_MESSAGES,
	RATE_RECIPIENTS,
};

/* At most max_clients are remembered, about 100 bytes each. 0 or -ENOMEM. */
MUST_USE int rates_new(size_t max_clients, struct rates **out);
void rates_free(struct rates *r);

/*
 * Take n from the client's bucket, which holds per_minute and fills at that rate. False, and nothing
 * taken, when it has fewer. per_minute 0: always true. now_us only goes forward. O(1).
 */
bool rates_take(struct rates *r, enum rate_kind kind, struct slice client, unsigned per_minute,
		unsigned n, int64_t now_us);
/* One more connection of the client, unless there are `max` (0: no limit) already. */
bool rates_open(struct rates *r, struct slice client, unsigned max);
/* One of them is gone. False: none was counted. */
bool rates_close(struct rates *r, struct slice client);
/* All connections counted in `these` are gone, from both. O(these). */
void rates_close_all(struct rates *r, struct rates *these);
/* fn for each client that has connections open. */
void rates_each_open(const struct rates *r, void (*fn)(void *arg, struct slice client, unsigned open),
		     void *arg);

#define RATE_CLIENT_BYTES 16u
/*
 * The bytes that stand for a peer: an IPv4 address, or the first 64 bits of an IPv6 address,
 * since a host there can take any of the others. Unix sockets: one client.
 */
struct slice rate_client(const struct sockaddr_storage *peer, uint8_t bytes[RATE_CLIENT_BYTES]);
