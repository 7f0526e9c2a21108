/*
 * The queue's work: tries again what could not be delivered at once, and tells senders what
 * became of it. One a node, in the queue role; needs the fibers, the client of auth and
 * deliveries, so it lives beside the sessions.
 *
 * An entry that is worked on is untouched in the store until its outcome is written, in one
 * operation guarded by its old value: a crash repeats the try with the same delivery ids, which the
 * mailbox layer recognises, and loses nothing.
 */
#pragma once
#include "base/buf.h"
#include "engine/remote.h"

struct authc;
struct event;
struct queue_runner;
struct world;

struct queue_runner_options {
	struct loop *loop;
	struct world *world;
	struct engine *engine;		/* the queue's own objects */
	struct remote *remote;		/* for deliveries by grant; NULL in tests: engine does */
	struct authc *authc;
	struct event *ev;
	const char *hostname;
	int64_t lifetime_us;		/* then the sender gets it back, RFC 5321 §4.5.4.1 */
	const int64_t *retry_us;	/* waiting times between tries; the last one repeats */
	size_t retry_count;		/* > 0 */
	int64_t delay_notice_us;	/* tell the sender once after this time; 0: never */
};

/* Options are copied, but for what they point to. Starts its fiber. 0 or negative errno. */
MUST_USE int queue_runner_new(const struct queue_runner_options *o, struct queue_runner **out);
/* New times after a reload (from the options; the rest is ignored). */
void queue_runner_settings(struct queue_runner *q, const struct queue_runner_options *o);
/* Begin no new work; `done` is called (from a fiber) when what is under way has ended. */
void queue_runner_stop(struct queue_runner *q, void (*done)(void *arg), void *arg);
/* After `done`. */
void queue_runner_free(struct queue_runner *q);

/*
 * For `prickle queue`: append a JSON object {"entries": [...], "next": "..."} of entries after the place
 * `after` (a "next" of before; empty: from the start), in order of shards and due times; one entry when
 * `only`, an id, is not empty. Fiber only. 0, -ENOENT, -EINVAL: `after` is no such place, or -EAGAIN
 * when the store is away.
 */
MUST_USE int queue_runner_list(struct queue_runner *q, struct slice only, struct slice after,
			       struct buf *json);
/* Make an entry (hex id), or all with an empty id, due now. *count tells how many. */
MUST_USE int queue_runner_retry(struct queue_runner *q, struct slice id, unsigned *count);
/* Give an entry up without telling its sender. 0, -ENOENT, -EAGAIN, -EBUSY: it is being tried now. */
MUST_USE int queue_runner_drop(struct queue_runner *q, struct slice id);

struct queue_counts {
	uint64_t tried, delivered, failed, notices, collected;
	uint64_t waiting;		/* entries seen in the last pass */
};
void queue_runner_counts(const struct queue_runner *q, struct queue_counts *out);
