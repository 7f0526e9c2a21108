/*
 * The engine's face: callers, threads, watches, leases.
 *
 * Callers queue a `struct call` that lives on their stack. The writer takes all that wait as one batch;
 * those that come while it syncs make the next one. Fibers are woken through an eventfd in their loop.
 */
#include "engine/embedded/embedded.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/must.h"
#include "engine/embedded/store.h"
#include "sys/fiber.h"
#include "sys/loop.h"

#define SEGMENT_BYTES_DEFAULT	(64u << 20)
#define SEGMENT_BYTES_MIN	(4u << 10)
#define BLOCK_BYTES_DEFAULT	(32u << 10)
#define FLUSH_BYTES_DEFAULT	(256u << 20)
#define DEAD_PERCENT_DEFAULT	50u
#define COMPACT_BUDGET_BYTES	(256u << 10)
#define READERS_DEFAULT		2u
#define BACKOFF_MS		200
#define INDEX_ROOM_BYTES	(16u << 20)
#define INDEX_ROOM_BYTES_MAX	(128u << 20)

enum call_kind { CALL_APPLY, CALL_STAT, CALL_READ, CALL_KEYS, CALL_LIST, CALL_COMPACT, CALL_CHECK };

struct call {
	struct call *next;
	enum call_kind kind;
	enum engine_result result;
	struct fiber *fiber;		/* NULL: a thread waits for `done` */
	bool done;
	const struct engine_op *op;
	struct slice object, from, to;
	uint64_t at;
	size_t n, max_bytes;
	struct buf *out;
	struct arena *arena;
	struct engine_stat *stat;
	struct engine_kv **kv;
	struct slice **names;
	size_t *count;
	bool *more;
	bool all;
	struct embedded_report *report;
	void (*found)(void *arg, const struct embedded_damage *d);
	void *arg;
};

/* Finished calls on their way back. */
struct completions {
	pthread_mutex_t lock;
	pthread_cond_t done;		/* for threads */
	struct call *first, *last;	/* for fibers */
	struct loop *loop;
	struct io_watch watch;
};

struct watch_entry {
	struct watch_entry *next;
	struct store *s;
	uint64_t id;
	void (*fn)(void *arg);
	void *arg;
	struct task task;
	size_t name_bytes;
	uint8_t name[ENGINE_NAME_BYTES_MAX];
};

struct lease {
	struct map_node node;
	int64_t until_us;
	size_t name_bytes, owner_bytes;
	uint8_t name[ENGINE_NAME_BYTES_MAX];
	uint8_t owner[ENGINE_NAME_BYTES_MAX];
};

/* ---- telling ---- */

void store_event(struct store *s, bool warning, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	if (s->opt.on_event == NULL)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	s->opt.on_event(s->opt.arg, warning, text);
}

void store_damage(struct store *s, const struct embedded_damage *d)
{
	count(&s->stats.damage, 1);
	if (s->opt.on_damage != NULL)
		s->opt.on_damage(s->opt.arg, d);
}

/* ---- completions ---- */

static void completions_drain(struct io_watch *w, uint32_t events)
{
	struct completions *c = container_of(w, struct completions, watch);
	uint64_t n;
	ssize_t got = read(w->fd, &n, sizeof(n));

	(void)got;
	pthread_mutex_lock(&c->lock);
	struct call *call = c->first;
	c->first = c->last = NULL;
	pthread_mutex_unlock(&c->lock);
	while (call != NULL) {
		struct call *next = call->next;

		fiber_resume(call->fiber);
		call = next;
	}
}

static int completions_new(struct loop *loop, struct completions **out)
{
	struct completions *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return -ENOMEM;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->done, NULL);
	c->loop = loop;
	c->watch.fd = -1;
	if (loop != NULL) {
		c->watch = (struct io_watch){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
					      .events = EPOLLIN,
					      .fn = completions_drain };
		int err = c->watch.fd < 0 ? -errno : loop_add(loop, &c->watch);

		if (err != 0) {
			if (c->watch.fd >= 0)
				close(c->watch.fd);
			free(c);
			return err;
		}
	}
	*out = c;
	return 0;
}

static void completions_free(struct completions *c)
{
	if (c == NULL)
		return;
	if (c->loop != NULL) {
		loop_del(c->loop, &c->watch);
		close(c->watch.fd);
	}
	pthread_cond_destroy(&c->done);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* Give a chain of finished calls back. They may be gone when this returns. */
static void complete(struct store *s, struct call *call)
{
	struct completions *c = s->completions;
	bool threads = false, wake = false;

	if (c == NULL)
		return;			/* synchronous: the caller looks by itself */
	pthread_mutex_lock(&c->lock);
	while (call != NULL) {
		struct call *next = call->next;

		if (call->fiber == NULL) {
			call->done = true;
			threads = true;
		} else {
			call->next = NULL;
			wake |= c->first == NULL;
			if (c->last != NULL)
				c->last->next = call;
			else
				c->first = call;
			c->last = call;
		}
		call = next;
	}
	if (threads)
		pthread_cond_broadcast(&c->done);
	pthread_mutex_unlock(&c->lock);
	if (wake) {
		uint64_t one = 1;
		ssize_t put = write(c->watch.fd, &one, sizeof(one));

		(void)put;
	}
}

/* ---- the writer ---- */

/* Finished calls up to (not with) `stop` go back. */
static struct call *batch_finish(struct store *s, struct call *first, struct call *stop, int err)
{
	struct call *last = NULL;

	for (struct call *c = first; c != stop; c = c->next) {
		if (c->kind == CALL_APPLY) {
			/* A guard may have failed on account of an effect that now will not be. */
			if (err != 0 && (c->result == ENGINE_OK || c->result == ENGINE_GUARD))
				c->result = ENGINE_UNAVAILABLE;
			if (c->result == ENGINE_OK)
				count(&s->stats.ops, 1);
			else if (c->result == ENGINE_GUARD)
				count(&s->stats.guard_failures, 1);
			else if (c->result == ENGINE_FULL)
				count(&s->stats.full, 1);
		}
		last = c;
	}
	if (last == NULL)
		return stop;
	last->next = NULL;
	complete(s, first);
	return stop;
}

static enum engine_result compact_all(struct store *s, bool all)
{
	int did;

	s->compact_limit = s->last_generation;
	while ((did = compact_step(s, COMPACT_BUDGET_BYTES, all)) == 1)
		continue;
	s->compact_limit = 0;
	if (did < 0)
		return did == -ENOSPC ? ENGINE_FULL : ENGINE_UNAVAILABLE;
	flush_start(s, true);
	did = log_switch(s);
	return did == 0 ? ENGINE_OK : did == -ENOSPC ? ENGINE_FULL : ENGINE_UNAVAILABLE;
}

static void run_special(struct store *s, struct call *c)
{
	if (s->opt.read_only && c->kind == CALL_COMPACT)
		c->result = ENGINE_DENIED;
	else if (s->dead)
		c->result = ENGINE_UNAVAILABLE;
	else if (c->kind == CALL_COMPACT)
		c->result = compact_all(s, c->all);
	else
		c->result = check_all(s, c->report, c->found, c->arg);
}

/* All waiting operations: guards, records, one write, one sync, index, answers. */
static void run_batch(struct store *s, struct call *first)
{
	struct call *pending = first;

	for (struct call *c = first; c != NULL;) {
		struct call *next = c->next;

		if (c->kind != CALL_APPLY) {
			pending = batch_finish(s, pending, c, log_commit(s));
			run_special(s, c);
		} else if (s->dead) {
			c->result = ENGINE_UNAVAILABLE;
		} else if (plan_op(s, c->op, &c->result) == PLAN_CUT) {
			pending = batch_finish(s, pending, c, log_commit(s));
			continue;	/* c again, alone in front */
		}
		c = next;
	}
	batch_finish(s, pending, NULL, log_commit(s));
}

static void writer_wait(struct store *s, int ms)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_nsec += (long)ms * 1000000;
	ts.tv_sec += ts.tv_nsec / 1000000000;
	ts.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&s->wake_writer, &s->lock_queue, &ts);
}

/* One piece of work that nobody waits for. True: there may be more. */
static bool housekeeping(struct store *s, size_t budget)
{
	if (s->verify)
		log_verify(s);
	if (s->opt.no_compaction && !s->tight)
		return false;
	return compact_due(s, false) && compact_step(s, budget, false) == 1;
}

static void *writer_main(void *arg)
{
	struct store *s = arg;
	uint64_t written = 0;
	bool more = true;

	pthread_mutex_lock(&s->lock_queue);
	while (!s->stopping || s->ops_first != NULL) {
		struct call *calls = s->ops_first;

		if (calls == NULL && !more) {
			if (s->tight || s->compact_scan != NULL)
				writer_wait(s, BACKOFF_MS);
			else
				pthread_cond_wait(&s->wake_writer, &s->lock_queue);
			more = true;
			continue;
		}
		s->ops_first = s->ops_last = NULL;
		pthread_mutex_unlock(&s->lock_queue);
		if (calls != NULL)
			run_batch(s, calls);
		/* Under load compaction gets its share by what was written, else all idle time. */
		if (calls == NULL || s->stats.log_bytes - written > COMPACT_BUDGET_BYTES) {
			more = housekeeping(s, COMPACT_BUDGET_BYTES);
			written = s->stats.log_bytes;
		}
		pthread_mutex_lock(&s->lock_queue);
	}
	pthread_mutex_unlock(&s->lock_queue);
	return NULL;
}

static void *flusher_main(void *arg)
{
	struct store *s = arg;

	pthread_mutex_lock(&s->lock_queue);
	for (;;) {
		while (!s->flush_asked && !s->stopping)
			pthread_cond_wait(&s->wake_flusher, &s->lock_queue);
		if (s->stopping)
			break;
		uint64_t lsn = s->flush_lsn;

		s->flush_asked = false;
		pthread_mutex_unlock(&s->lock_queue);
		if (state_flush(s) == 0) {
			__atomic_store_n(&s->flushed_lsn, lsn, __ATOMIC_RELEASE);
			count(&s->stats.index_flushes, 1);
		} else {
			store_event(s, true, "flushing the index failed: the next start replays it");
		}
		pthread_mutex_lock(&s->lock_queue);
		pthread_cond_signal(&s->wake_writer);
	}
	pthread_mutex_unlock(&s->lock_queue);
	return NULL;
}

/* ---- readers ---- */

static void run_read(struct store *s, struct call *c)
{
	count(&s->stats.reads, 1);
	switch (c->kind) {
	case CALL_STAT:
		c->result = read_stat(s, c->object, c->stat, NULL);
		break;
	case CALL_READ:
		c->result = read_bytes(s, c->object, c->at, c->n, c->out);
		break;
	case CALL_KEYS:
		c->result = read_keys(s, c->object, c->from, c->to, c->n, c->max_bytes, c->arena,
				      c->kv, c->count, c->more, NULL);
		break;
	default:
		c->result = read_list(s, c->object, c->from, c->n, c->arena, c->names, c->count);
		break;
	}
}

/*
 * A small read that the index can answer from memory is carried out by the caller at once: handing it
 * to a thread and back takes several times as long. True: done.
 */
static bool run_read_now(struct store *s, struct call *c)
{
	bool later = false;

	if (s->ix->vt->get_now == NULL)
		return false;
	if (c->kind == CALL_STAT)
		c->result = read_stat(s, c->object, c->stat, &later);
	else if (c->kind == CALL_KEYS)
		c->result = read_keys(s, c->object, c->from, c->to, c->n, c->max_bytes, c->arena, c->kv,
				      c->count, c->more, &later);
	else
		return false;
	if (!later)
		count(&s->stats.reads, 1);
	return !later;
}

struct reader_start {
	struct store *s;
	unsigned number;
};

static void *reader_main(void *arg)
{
	struct reader_start start = *(struct reader_start *)arg;
	struct store *s = start.s;
	_Atomic uint64_t *mine = &s->reader_epoch[start.number];

	free(arg);
	pthread_mutex_lock(&s->lock_queue);
	for (;;) {
		struct call *c = s->reads_first;

		if (c == NULL) {
			if (s->stopping)
				break;
			pthread_cond_wait(&s->wake_reader, &s->lock_queue);
			continue;
		}
		s->reads_first = c->next;
		if (s->reads_first == NULL)
			s->reads_last = NULL;
		pthread_mutex_unlock(&s->lock_queue);
		c->next = NULL;
		/* Publish the epoch, and look again: the writer may have moved on in between. */
		uint64_t epoch;
		do {
			epoch = atomic_load(&s->epoch);
			atomic_store(mine, epoch);
		} while (atomic_load(&s->epoch) != epoch);
		run_read(s, c);
		atomic_store(mine, 0);
		complete(s, c);
		pthread_mutex_lock(&s->lock_queue);
	}
	pthread_mutex_unlock(&s->lock_queue);
	return NULL;
}

/* ---- callers ---- */

static void call_wait(struct store *s, struct call *c, bool write)
{
	struct completions *done = s->completions;

	if (done == NULL) {
		if (write) {
			run_batch(s, c);
			(void)housekeeping(s, MIN(COMPACT_BUDGET_BYTES, s->opt.segment_bytes / 4));
		} else {
			run_read(s, c);
		}
		return;
	}
	if (!write && run_read_now(s, c))
		return;
	c->fiber = done->loop != NULL ? fiber_self() : NULL;
	pthread_mutex_lock(&s->lock_queue);
	struct call **first = write ? &s->ops_first : &s->reads_first;
	struct call **last = write ? &s->ops_last : &s->reads_last;
	if (*last != NULL)
		(*last)->next = c;
	else
		*first = c;
	*last = c;
	pthread_cond_signal(write ? &s->wake_writer : &s->wake_reader);
	pthread_mutex_unlock(&s->lock_queue);
	if (c->fiber != NULL) {
		fiber_suspend();
		return;
	}
	pthread_mutex_lock(&done->lock);
	while (!c->done)
		pthread_cond_wait(&done->done, &done->lock);
	pthread_mutex_unlock(&done->lock);
}

/* ---- watches ---- */

static void watch_run(struct task *t)
{
	struct watch_entry *w = container_of(t, struct watch_entry, task);

	w->fn(w->arg);
}

/* A watch function may take watches away: look from the start again, newest first. */
static void watch_tell(struct store *s, struct slice name)
{
	uint64_t below = UINT64_MAX;

	for (struct watch_entry *w = s->watches; w != NULL;) {
		if (w->id >= below || !slice_eq(slice_of(w->name, w->name_bytes), name)) {
			w = w->next;
			continue;
		}
		below = w->id;
		if (s->opt.loop != NULL) {
			loop_defer(s->opt.loop, &w->task);
			w = w->next;
		} else {
			w->fn(w->arg);
			w = s->watches;
		}
	}
}

static int store_watch(struct engine *e, struct slice object, void (*fn)(void *arg), void *arg,
		       uint64_t *id)
{
	struct store *s = store_of(e);
	struct watch_entry *w;

	if (object.len == 0 || object.len > ENGINE_NAME_BYTES_MAX)
		return -EINVAL;
	w = calloc(1, sizeof(*w));
	if (w == NULL)
		return -ENOMEM;
	w->s = s;
	w->id = ++s->next_watch;
	w->fn = fn;
	w->arg = arg;
	task_init(&w->task, watch_run);
	memcpy(w->name, object.ptr, object.len);
	w->name_bytes = object.len;
	w->next = s->watches;
	s->watches = w;
	*id = w->id;
	return 0;
}

static void store_unwatch(struct engine *e, uint64_t id)
{
	for (struct watch_entry **at = &store_of(e)->watches; *at != NULL; at = &(*at)->next) {
		struct watch_entry *w = *at;

		if (w->id != id)
			continue;
		*at = w->next;
		list_del(&w->task.link);
		free(w);
		return;
	}
}

/* ---- leases ---- */

static struct lease *lease_find(struct store *s, struct slice name)
{
	uint64_t hash = map_hash(name);

	for (struct map_node *n = map_first(&s->leases, hash); n != NULL; n = map_next(n, hash)) {
		struct lease *l = container_of(n, struct lease, node);

		if (slice_eq(slice_of(l->name, l->name_bytes), name))
			return l;
	}
	return NULL;
}

static enum engine_result store_lease(struct engine *e, struct slice name, struct slice owner,
				      int64_t duration_us)
{
	struct store *s = store_of(e);
	int64_t now = world_mono_us(s->w);

	if (name.len == 0 || name.len > ENGINE_NAME_BYTES_MAX || owner.len > ENGINE_NAME_BYTES_MAX ||
	    duration_us < 0)
		return ENGINE_INVALID;
	struct lease *l = lease_find(s, name);

	if (l == NULL) {
		l = calloc(1, sizeof(*l));
		if (l == NULL)
			return ENGINE_UNAVAILABLE;
		memcpy(l->name, name.ptr, name.len);
		l->name_bytes = name.len;
		if (map_add(&s->leases, &l->node, map_hash(name)) != 0) {
			free(l);
			return ENGINE_UNAVAILABLE;
		}
	} else if (l->until_us > now && !slice_eq(slice_of(l->owner, l->owner_bytes), owner)) {
		return ENGINE_GUARD;
	}
	if (owner.len > 0)
		memcpy(l->owner, owner.ptr, owner.len);
	l->owner_bytes = owner.len;
	l->until_us = now + duration_us;
	return ENGINE_OK;
}

static enum engine_result store_unlease(struct engine *e, struct slice name, struct slice owner)
{
	struct store *s = store_of(e);
	struct lease *l = lease_find(s, name);

	if (l == NULL)
		return ENGINE_OK;
	if (!slice_eq(slice_of(l->owner, l->owner_bytes), owner))
		return l->until_us > world_mono_us(s->w) ? ENGINE_GUARD : ENGINE_OK;
	map_del(&s->leases, &l->node);
	free(l);
	return ENGINE_OK;
}

/* ---- the engine's calls ---- */

static enum engine_result store_apply(struct engine *e, const struct engine_op *op)
{
	struct store *s = store_of(e);
	struct call c = { .kind = CALL_APPLY, .op = op };

	if (!op_valid(op))
		return ENGINE_INVALID;
	if (s->opt.read_only)
		return ENGINE_DENIED;
	call_wait(s, &c, true);
	if (c.result == ENGINE_OK && op->notify.len > 0)
		watch_tell(s, op->notify);
	return c.result;
}

static enum engine_result store_stat(struct engine *e, struct slice object, struct engine_stat *out)
{
	struct call c = { .kind = CALL_STAT, .object = object, .stat = out };

	call_wait(store_of(e), &c, false);
	return c.result;
}

static enum engine_result store_read(struct engine *e, struct slice object, uint64_t at, size_t n,
				     struct buf *out)
{
	struct call c = { .kind = CALL_READ, .object = object, .at = at, .n = n, .out = out };

	call_wait(store_of(e), &c, false);
	return c.result;
}

static enum engine_result store_keys(struct engine *e, struct slice object, struct slice from,
				     struct slice to, size_t max_count, size_t max_bytes,
				     struct arena *arena, struct engine_kv **out, size_t *n,
				     bool *more)
{
	struct call c = {
		.kind = CALL_KEYS,
		.object = object,
		.from = from,
		.to = to,
		.n = max_count,
		.max_bytes = max_bytes,
		.arena = arena,
		.kv = out,
		.count = n,
		.more = more,
	};

	call_wait(store_of(e), &c, false);
	return c.result;
}

static enum engine_result store_list(struct engine *e, struct slice prefix, struct slice after,
				     size_t max_count, struct arena *arena, struct slice **names,
				     size_t *n)
{
	struct call c = {
		.kind = CALL_LIST,
		.object = prefix,
		.from = after,
		.n = max_count,
		.arena = arena,
		.names = names,
		.count = n,
	};

	call_wait(store_of(e), &c, false);
	return c.result;
}

enum engine_result embedded_compact(struct engine *e, bool all)
{
	struct call c = { .kind = CALL_COMPACT, .all = all };

	call_wait(store_of(e), &c, true);
	return c.result;
}

enum engine_result embedded_check(struct engine *e, struct embedded_report *report,
				  void (*found)(void *arg, const struct embedded_damage *damage),
				  void *arg)
{
	struct call c = { .kind = CALL_CHECK, .report = report, .found = found, .arg = arg };

	call_wait(store_of(e), &c, true);
	return c.result;
}

void embedded_stats(struct engine *e, struct embedded_stats *out)
{
	struct store *s = store_of(e);

	/* Threads count meanwhile: each number is right, together they are near. */
	const uint64_t *from = (const uint64_t *)&s->stats;
	uint64_t *to = (uint64_t *)out;

	*out = (struct embedded_stats){ .replayed_records = s->stats.replayed_records, .rebuilt = s->stats.rebuilt };
	for (size_t i = 0; i < offsetof(struct embedded_stats, segments) / sizeof(uint64_t); i++)
		to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
	out->stopped = __atomic_load_n(&s->stats.stopped, __ATOMIC_RELAXED) ||
		       __atomic_load_n(&s->dead, __ATOMIC_RELAXED);
	pthread_mutex_lock(&s->lock_segments);
	for (uint32_t i = 0; i < s->seg_count; i++) {
		const struct segment *g = &s->segs[i];

		out->segments_free += g->state == SEG_FREE;
		if (g->state < SEG_ACTIVE)
			continue;
		out->segments++;
		out->live_bytes += (uint64_t)MAX(g->live_bytes, 0);
		out->stored_bytes += g->end;
	}
	pthread_mutex_unlock(&s->lock_segments);
}

/* ---- open and close ---- */

static void store_free(struct store *s)
{
	struct map_node *n;

	compact_abort(s);
	completions_free(s->completions);
	if (s->ix != NULL && s->own_ix)
		s->ix->vt->close(s->ix);
	files_free(s);
	if (s->lock != NULL)
		s->w->ops->close(s->w, s->lock);
	while (s->watches != NULL)
		store_unwatch(&s->base, s->watches->id);
	while ((n = map_any(&s->leases)) != NULL) {
		map_del(&s->leases, n);
		free(container_of(n, struct lease, node));
	}
	map_done(&s->leases);
	map_done(&s->overlay);
	arena_done(&s->arena);
	buf_done(&s->wb);
	buf_done(&s->record);
	buf_done(&s->footer);
	buf_done(&s->footer_object);
	buf_done(&s->value);
	buf_done(&s->move);
	free(s->deltas);
	free(s->segs);
	free(s->index_dir);
	pthread_cond_destroy(&s->wake_writer);
	pthread_cond_destroy(&s->wake_reader);
	pthread_cond_destroy(&s->wake_flusher);
	pthread_mutex_destroy(&s->lock_queue);
	pthread_mutex_destroy(&s->lock_segments);
	free(s);
}

static void threads_stop(struct store *s)
{
	pthread_mutex_lock(&s->lock_queue);
	s->stopping = true;
	pthread_cond_broadcast(&s->wake_writer);
	pthread_cond_broadcast(&s->wake_reader);
	pthread_cond_broadcast(&s->wake_flusher);
	pthread_mutex_unlock(&s->lock_queue);
	if (s->writer_on)
		pthread_join(s->writer, NULL);
	for (unsigned i = 0; i < s->reader_count; i++)
		pthread_join(s->readers[i], NULL);
	if (s->flusher_on)
		pthread_join(s->flusher, NULL);
	s->writer_on = s->flusher_on = false;
	s->reader_count = 0;
}

static void store_close(struct engine *e)
{
	struct store *s = store_of(e);

	threads_stop(s);
	if (!s->opt.read_only && !s->dead) {
		compact_abort(s);
		log_close(s);
		/* Positions of footers are part of what the index covers. */
		if (state_commit(s, s->durable_lsn) != 0 || state_flush(s) != 0)
			store_event(s, true, "the index was not flushed: the next start replays");
	}
	store_free(s);
}

void embedded_kill(struct engine *e)
{
	if (e == NULL)
		return;
	threads_stop(store_of(e));
	store_free(store_of(e));
}

static const struct engine_vtable store_vtable = {
	.apply = store_apply,
	.stat = store_stat,
	.read = store_read,
	.keys = store_keys,
	.list = store_list,
	.watch = store_watch,
	.unwatch = store_unwatch,
	.lease = store_lease,
	.unlease = store_unlease,
	.close = store_close,
};

static int threads_start(struct store *s)
{
	int err = completions_new(s->opt.loop, &s->completions);

	if (err != 0)
		return err;
	err = pthread_create(&s->writer, NULL, writer_main, s);
	if (err != 0)
		return -err;
	s->writer_on = true;
	err = pthread_create(&s->flusher, NULL, flusher_main, s);
	if (err != 0)
		return -err;
	s->flusher_on = true;
	unsigned want = s->opt.reader_threads;

	for (unsigned i = 0; i < want; i++) {
		struct reader_start *start = malloc(sizeof(*start));

		if (start == NULL)
			return -ENOMEM;
		*start = (struct reader_start){ s, i };
		err = pthread_create(&s->readers[i], NULL, reader_main, start);
		if (err != 0) {
			free(start);
			return -err;
		}
		s->reader_count = i + 1;
	}
	return 0;
}

static void options_default(struct embedded_options *o)
{
	if (o->segment_bytes == 0)
		o->segment_bytes = SEGMENT_BYTES_DEFAULT;
	if (o->block_bytes == 0)
		o->block_bytes = BLOCK_BYTES_DEFAULT;
	if (o->flush_bytes == 0)
		o->flush_bytes = FLUSH_BYTES_DEFAULT;
	if (o->reserve_bytes == 0)
		o->reserve_bytes = 2 * (uint64_t)o->segment_bytes;
	if (o->index == EMBEDDED_MEMORY || o->index_given != NULL)
		o->index_room_bytes = 0;
	else if (o->index_room_bytes == 0)
		o->index_room_bytes = MIN(INDEX_ROOM_BYTES + 2 * (uint64_t)o->segment_bytes,
					  (uint64_t)INDEX_ROOM_BYTES_MAX);
	if (o->compact_dead_percent == 0)
		o->compact_dead_percent = DEAD_PERCENT_DEFAULT;
	if (o->reader_threads == 0)
		o->reader_threads = READERS_DEFAULT;
	o->reader_threads = MIN(o->reader_threads, READERS_MAX);
}

static int options_check(const struct embedded_options *o, struct errmsg *why)
{
	uint32_t b = o->block_bytes;
	bool threads = o->threads || o->loop != NULL;

	if (b < 512 || b > 32768 || (b & (b - 1)) != 0 || o->segment_bytes % b != 0 ||
	    o->segment_bytes < SEGMENT_BYTES_MIN)
		return errmsg_say(why, -EINVAL, "segments of %u bytes in blocks of %u",
				  o->segment_bytes, b);
	if (threads && (o->index == EMBEDDED_MEMORY || o->read_only || o->index_given != NULL))
		return errmsg_say(why, -EINVAL, "the index in memory serves one thread only");
	if (o->index == EMBEDDED_ROCKSDB && !o->read_only && o->index_given == NULL &&
	    o->index_dir == NULL)
		return errmsg_say(why, -EINVAL, "no directory for the index");
	return 0;
}

static struct store *store_new(struct world *world, const struct embedded_options *options)
{
	struct store *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->base.vt = &store_vtable;
	s->w = world;
	s->opt = *options;
	s->active = NO_SEGMENT;
	s->footer_lost = true;
	atomic_store(&s->epoch, 1);
	buf_init(&s->wb, 2 * (size_t)BATCH_BYTES_MAX + 2 * RECORD_BODY_BYTES_MAX);
	buf_init(&s->record, RECORD_HEADER_BYTES + (size_t)RECORD_BODY_BYTES_MAX);
	buf_init(&s->footer, s->opt.segment_bytes);
	buf_init(&s->footer_object, ENGINE_NAME_BYTES_MAX);
	buf_init(&s->value, RECORD_BODY_BYTES_MAX + 4096u);
	buf_init(&s->move, RECORD_BODY_BYTES_MAX);
	arena_init(&s->arena, 256u << 20);
	pthread_mutex_init(&s->lock_queue, NULL);
	pthread_mutex_init(&s->lock_segments, NULL);
	pthread_cond_init(&s->wake_writer, NULL);
	pthread_cond_init(&s->wake_reader, NULL);
	pthread_cond_init(&s->wake_flusher, NULL);
	s->reserve_segments = (uint32_t)((s->opt.reserve_bytes + s->opt.segment_bytes - 1) /
					 s->opt.segment_bytes) + KEY_SEGMENTS;
	if (options->index_dir != NULL)
		s->index_dir = strdup(options->index_dir);
	if (files_new(&s->files) != 0 || (options->index_dir != NULL && s->index_dir == NULL)) {
		store_free(s);
		return NULL;
	}
	return s;
}

int embedded_open(struct world *world, const struct embedded_options *options, struct engine **out,
		  struct errmsg *why)
{
	struct embedded_options opt = *options;

	options_default(&opt);
	int err = options_check(&opt, why);
	if (err != 0)
		return err;
	struct store *s = store_new(world, &opt);
	if (s == NULL)
		return errmsg_set(why, -ENOMEM, "opening the store");
	err = recover(s, why);
	if (err == 0 && (opt.threads || opt.loop != NULL)) {
		err = threads_start(s);
		if (err != 0) {
			errmsg_set(why, err, "starting the store's threads");
			threads_stop(s);
		}
	}
	if (err != 0) {
		store_free(s);
		return err;
	}
	*out = &s->base;
	return 0;
}

int embedded_drop_index(const char *index_dir, struct errmsg *why)
{
	return index_rocksdb_destroy(index_dir, why);
}
