/*
 * What stands between strangers and our password hashes: who may hash now, who failed too
 * often, and which passwords were right a moment ago.
 *
 * Three bounded tables without I/O; the time comes from the caller (seconds or milliseconds of
 * a clock that only goes forward).
 */
#pragma once
#include <stdbool.h>

#include "base/list.h"
#include "base/map.h"
#include "mail/auth/limits.h"

/*
 * Turns. At most `max` hashes run at once (each takes 64 MiB and a core); those who wait are served
 * one source after the other, so that one host with a thousand guesses does not keep the others out.
 */
struct turns {
	unsigned max, running, waiting;
	struct map sources;
	struct list order;		/* sources with waiters; the next one to serve is first */
};
void turns_init(struct turns *t, unsigned max);
/* Nobody may wait. */
void turns_done(struct turns *t);
/*
 * Wait for a turn (fiber). False: too many wait already, or timeout_us passed; then do not call
 * turns_leave. Outside of fibers it never waits.
 */
MUST_USE bool turns_enter(struct turns *t, struct slice source, int64_t timeout_us);
void turns_leave(struct turns *t);

/*
 * Failures of a source, and of a source at a user. The oldest are forgotten when the table is full.
 * source_per_minute: of one source within a minute; 0: only AUTH_FAILURES_SOURCE_MAX holds.
 */
struct failures {
	unsigned source_per_minute;
	struct map map;
	struct list lru;		/* oldest failure last */
};
void failures_init(struct failures *f);
void failures_done(struct failures *f);
/* False: too many; refuse without looking at the password. */
bool failures_allow(struct failures *f, struct slice source, struct slice user, int64_t now_s);
/* Count one; how long to wait before the answer goes out, in milliseconds. */
unsigned failures_add(struct failures *f, struct slice source, struct slice user, int64_t now_s);
/* A login that was right ends the count of this source at this user. */
void failures_forgive(struct failures *f, struct slice source, struct slice user);

/*
 * Passwords that were right within AUTH_REMEMBER_S: a keyed hash with a key of this process, so the
 * memory of a process that died tells nothing. The stored hash goes into it: after a change of
 * the password nothing is remembered.
 */
struct remembered {
	uint8_t key[32];
	struct map map;
	struct list lru;
};
void remembered_init(struct remembered *m, const uint8_t key[32]);
void remembered_done(struct remembered *m);
bool remembered_has(struct remembered *m, struct slice user, struct slice hash,
		    struct slice password, int64_t now_s);
void remembered_add(struct remembered *m, struct slice user, struct slice hash,
		    struct slice password, int64_t now_s);
void remembered_drop(struct remembered *m, struct slice user);

/*
 * The part of a client's address that counts as one source: an IPv4 address, the /64 of an
 * IPv6 one (who has one address there has them all); other text as it is, cut.
 */
struct slice source_key(struct slice address, char out[48]);
