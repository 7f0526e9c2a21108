#include "roles/access.h"

#include <errno.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/must.h"
#include "base/reader.h"
#include "roles/grants.h"

/* What a channel may do at most, whatever grants it quotes, and what it may do without one. */
static const struct row {
	uint32_t with_grant;		/* enum grant_rights */
	uint32_t without;
	bool enqueue;			/* add to the queue, without reading it */
} rows[ROLE_COUNT] = {
	[ROLE_MX] = { .with_grant = GRANT_APPEND, .enqueue = true },
	[ROLE_FRONT] = { .with_grant = GRANT_READ | GRANT_WRITE | GRANT_APPEND, .enqueue = true },
	[ROLE_AUTH] = { .without = GRANT_DIRECTORY },
	[ROLE_QUEUE] = { .with_grant = GRANT_APPEND, .without = GRANT_QUEUE },
};

enum object_class {
	CLASS_NONE,
	CLASS_HEAD,			/* a.<account> */
	CLASS_RANGE,			/* i.<account>.… */
	CLASS_FRAGMENT,			/* f.<account>.… */
	CLASS_STREAM,			/* b.<account>.… */
	CLASS_DIRECTORY,		/* u.… */
	CLASS_QUEUE,			/* q.… and the queued bodies b.queue.… */
};

struct object {
	enum object_class class;
	struct slice account;		/* of the first four classes */
	bool whole;			/* the name goes on after the account, or is a head's */
};

static bool is_account(struct slice s)
{
	if (s.len != GRANT_ACCOUNT_CHARS)
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (!ascii_digit(s.ptr[i]) && (s.ptr[i] < 'a' || s.ptr[i] > 'f'))
			return false;
	return true;
}

static struct object object_of(struct slice name)
{
	struct slice class, rest, account, tail;

	if (!slice_cut(name, '.', &class, &rest) || class.len != 1)
		return (struct object){ 0 };
	if (class.ptr[0] == 'u')
		return (struct object){ .class = CLASS_DIRECTORY };
	if (class.ptr[0] == 'q' || slice_starts(name, SLICE("b.queue.")))
		return (struct object){ .class = CLASS_QUEUE };
	bool more = slice_cut(rest, '.', &account, &tail);
	if (!is_account(account))
		return (struct object){ 0 };
	struct object o = { .account = account, .whole = more };
	switch (class.ptr[0]) {
	case 'a':
		o.class = CLASS_HEAD;
		o.whole = !more;
		break;
	case 'i':
		o.class = CLASS_RANGE;
		break;
	case 'f':
		o.class = CLASS_FRAGMENT;
		break;
	case 'b':
		o.class = CLASS_STREAM;
		break;
	default:
		o.class = CLASS_NONE;
	}
	return o;
}

/* ---- grants ---- */

struct entry {
	struct map_node node;
	struct grant grant;
	int64_t until_us;
	uint64_t written;
	uint64_t number;		/* for the cursor of grants_list */
};

struct grants {
	struct map map;
	bool synced;
	uint64_t next_number;
	int64_t swept_us;
};

#define SWEEP_US (60 * 1000000ll)

int grants_new(struct grants **out)
{
	struct grants *g = calloc(1, sizeof(*g));

	if (g == NULL)
		return -ENOMEM;
	*out = g;
	return 0;
}

static void drop(struct grants *g, struct entry *e)
{
	map_del(&g->map, &e->node);
	free(e);
}

void grants_free(struct grants *g)
{
	struct map_node *n;

	if (g == NULL)
		return;
	while ((n = map_any(&g->map)) != NULL)
		drop(g, container_of(n, struct entry, node));
	map_done(&g->map);
	free(g);
}

static struct entry *find(struct grants *g, const uint8_t id[GRANT_ID_BYTES])
{
	uint64_t hash = map_hash(slice_of(id, GRANT_ID_BYTES));

	for (struct map_node *n = map_first(&g->map, hash); n != NULL; n = map_next(n, hash)) {
		struct entry *e = container_of(n, struct entry, node);
		if (memcmp(e->grant.id, id, GRANT_ID_BYTES) == 0)
			return e;
	}
	return NULL;
}

/* Calls fn's verdict on every entry; true drops it. O(table). */
static void drop_where(struct grants *g, bool (*fn)(const struct entry *e, const void *arg),
		       const void *arg)
{
	for (struct map_node *n = map_iter(&g->map, NULL); n != NULL;) {
		struct entry *e = container_of(n, struct entry, node);
		n = map_iter(&g->map, n);
		if (fn(e, arg))
			drop(g, e);
	}
}

static bool is_over(const struct entry *e, const void *now_us)
{
	return e->until_us <= *(const int64_t *)now_us;
}

int grants_add(struct grants *g, const struct grant *grant, int64_t now_us)
{
	struct entry *e = find(g, grant->id);

	if (now_us - g->swept_us > SWEEP_US || g->map.count >= GRANTS_MAX) {
		drop_where(g, is_over, &now_us);
		g->swept_us = now_us;
		e = find(g, grant->id);
	}
	if (e == NULL) {
		if (g->map.count >= GRANTS_MAX)
			return -ENOSPC;
		e = calloc(1, sizeof(*e));
		if (e == NULL)
			return -ENOMEM;
		int rc = map_add(&g->map, &e->node, map_hash(slice_of(grant->id, GRANT_ID_BYTES)));
		if (rc != 0) {
			free(e);
			return rc;
		}
		e->number = ++g->next_number;
	}
	e->grant = *grant;
	e->until_us = now_us + (int64_t)grant->lifetime_s * 1000000;
	return 0;
}

void grants_revoke(struct grants *g, const uint8_t id[GRANT_ID_BYTES])
{
	struct entry *e = find(g, id);

	if (e != NULL)
		drop(g, e);
}

struct process {
	enum role_id role;
	unsigned instance;
};

static bool is_of(const struct entry *e, const void *arg)
{
	const struct process *p = arg;

	return e->grant.role == p->role && e->grant.instance == p->instance;
}

void grants_drop_process(struct grants *g, enum role_id role, unsigned instance)
{
	struct process p = { role, instance };

	drop_where(g, is_of, &p);
}

static bool is_to(const struct entry *e, const void *account)
{
	return memcmp(e->grant.account, account, GRANT_ACCOUNT_CHARS) == 0;
}

void grants_drop_account(struct grants *g, const char account[GRANT_ACCOUNT_CHARS])
{
	drop_where(g, is_to, account);
}

void grants_synced(struct grants *g)
{
	g->synced = true;
}

size_t grants_count(const struct grants *g)
{
	return g->map.count;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = ((const struct entry *)a)->number, y = ((const struct entry *)b)->number;

	return x < y ? -1 : x > y;
}

/*
 * Entries are numbered as they come, and the answer goes by number: what is added while the
 * walk runs comes later, and nothing is skipped. O(table) a call, which happens when auth restarts.
 */
size_t grants_list(struct grants *g, uint64_t *cursor, int64_t now_us, struct grant *out, size_t max)
{
	struct entry *picked = calloc(g->map.count == 0 ? 1 : g->map.count, sizeof(*picked));
	size_t count = 0;

	if (picked == NULL) {
		*cursor = 0;
		return 0;
	}
	for (struct map_node *n = map_iter(&g->map, NULL); n != NULL; n = map_iter(&g->map, n)) {
		struct entry *e = container_of(n, struct entry, node);
		if (e->number > *cursor && e->until_us > now_us)
			picked[count++] = *e;
	}
	qsort(picked, count, sizeof(*picked), by_number);
	size_t n = MIN(count, max);
	for (size_t i = 0; i < n; i++) {
		out[i] = picked[i].grant;
		out[i].lifetime_s = (uint32_t)((picked[i].until_us - now_us + 999999) / 1000000);
	}
	*cursor = n < count ? picked[n - 1].number : 0;
	free(picked);
	return n;
}

/* ---- decisions ---- */

/* Only guards, writes at the end and new keys: adding, never changing what is there. */
static bool only_adds(const struct engine_op *op, uint64_t *bytes)
{
	*bytes = 0;
	for (size_t i = 0; i < op->count; i++) {
		switch (op->steps[i].kind) {
		case GUARD_EXISTS:
		case GUARD_ABSENT:
		case GUARD_KEY_EQUALS:
		case GUARD_KEY_ABSENT:
		case GUARD_LENGTH:
			break;
		case STEP_WRITE:
		case STEP_SET:
			*bytes += op->steps[i].key.len + op->steps[i].value.len;
			break;
		case STEP_DELETE:
		case STEP_REMOVE:
			return false;
		}
	}
	return true;
}

/*
 * A deliverer that may append must not overwrite: each key that it sets is guarded to be new, or
 * is a fragment's record ("m" and the offset) or summary ("s") at the very length that GUARD_LENGTH
 * demands. A stream's "t" tells its age, which only an unfinished delivery needs.
 */
static bool is_new_key(const struct engine_op *op, size_t set)
{
	struct slice key = op->steps[set].key;

	for (size_t i = 0; i < set; i++) {
		const struct engine_step *guard = &op->steps[i];
		if (guard->kind == GUARD_KEY_ABSENT && slice_eq(guard->key, key))
			return true;
		if (guard->kind == GUARD_LENGTH && key.len == 5 &&
		    (key.ptr[0] == 'm' || key.ptr[0] == 's')) {
			struct reader rd = reader_of(slice_from(key, 1));
			if (rd_be32(&rd) == guard->at)
				return true;
		}
	}
	return false;
}

static bool sets_new_keys_only(const struct engine_op *op)
{
	bool stream = slice_starts(op->object, SLICE("b."));

	for (size_t i = 0; i < op->count; i++)
		if (op->steps[i].kind == STEP_SET && !is_new_key(op, i) &&
		    !(stream && slice_eq(op->steps[i].key, SLICE("t"))))
			return false;
	return true;
}

static bool range_within(const struct remote_access *a, struct slice prefix)
{
	/* [from, to) within the keys that start with prefix: both begin with it, or `to` is its end. */
	if (!slice_starts(a->from, prefix) || a->to.len == 0)
		return false;
	if (slice_starts(a->to, prefix))
		return true;
	return a->to.len == prefix.len && a->to.ptr[prefix.len - 1] == prefix.ptr[prefix.len - 1] + 1 &&
	       slice_starts(a->to, slice_head(prefix, prefix.len - 1));
}

static bool notify_fits(const struct engine_op *op, struct slice account)
{
	struct object o;

	if (op->notify.len == 0)
		return true;
	o = object_of(op->notify);
	return o.class == CLASS_HEAD && o.whole && slice_eq(o.account, account);
}

static bool enqueue_allowed(const struct remote_access *a, struct object o)
{
	uint64_t bytes;

	if (o.class != CLASS_QUEUE)
		return false;
	if (a->call == REMOTE_STAT)
		return true;
	return a->call == REMOTE_APPLY && only_adds(a->op, &bytes) && sets_new_keys_only(a->op) &&
	       (a->op->notify.len == 0 || object_of(a->op->notify).class == CLASS_QUEUE);
}

static bool allowed_without_grant(const struct row *row, const struct remote_access *a)
{
	struct object o = object_of(a->object);

	if (row->enqueue && enqueue_allowed(a, o))
		return true;
	if ((row->without & GRANT_DIRECTORY) != 0) {
		if (o.class == CLASS_DIRECTORY)
			return a->op == NULL || a->op->notify.len == 0 ||
			       object_of(a->op->notify).class == CLASS_DIRECTORY;
		/* Usage, for quota. */
		if (o.class == CLASS_HEAD && o.whole && a->call == REMOTE_KEYS)
			return range_within(a, SLICE("h"));
	}
	if ((row->without & GRANT_QUEUE) != 0 && o.class == CLASS_QUEUE)
		return a->op == NULL || a->op->notify.len == 0 ||
		       object_of(a->op->notify).class == CLASS_QUEUE;
	return false;
}

static bool append_allowed(const struct remote_access *a, struct object o, struct entry *e)
{
	uint64_t bytes;

	if (o.class == CLASS_HEAD)
		return a->call == REMOTE_KEYS && range_within(a, SLICE("frag"));
	if (o.class != CLASS_FRAGMENT && o.class != CLASS_STREAM)
		return false;
	if (a->call == REMOTE_STAT)
		return true;
	if (a->call != REMOTE_APPLY || !only_adds(a->op, &bytes) || !sets_new_keys_only(a->op) ||
	    !notify_fits(a->op, o.account))
		return false;
	if (bytes > e->grant.append_bytes_max - MIN(e->written, e->grant.append_bytes_max))
		return false;
	e->written += bytes;
	return true;
}

static bool allowed_with_grant(uint32_t rights, const struct remote_access *a, struct entry *e)
{
	struct object o = object_of(a->object);
	bool lease = a->call == REMOTE_LEASE || a->call == REMOTE_UNLEASE;

	/* A lease's name only begins with the head's: "a.<account>.pop3". */
	if (o.class < CLASS_HEAD || o.class > CLASS_STREAM || (!o.whole && !lease) ||
	    !slice_eq(o.account, slice_of(e->grant.account, GRANT_ACCOUNT_CHARS)))
		return false;
	switch (a->call) {
	case REMOTE_STAT:
	case REMOTE_READ:
	case REMOTE_KEYS:
	case REMOTE_LIST:
	case REMOTE_WATCH:
		if ((rights & GRANT_READ) != 0)
			return true;
		break;
	case REMOTE_APPLY:
		if ((rights & GRANT_WRITE) != 0)
			return notify_fits(a->op, o.account);
		break;
	case REMOTE_LEASE:
	case REMOTE_UNLEASE:
		return (rights & GRANT_WRITE) != 0;
	case REMOTE_HELLO:
	case REMOTE_UNWATCH:
	case REMOTE_NOTIFY:
		return false;
	}
	return (rights & GRANT_APPEND) != 0 && append_allowed(a, o, e);
}

enum remote_verdict access_check(struct grants *g, enum role_id role, unsigned instance,
				 const struct remote_access *access, int64_t now_us)
{
	must(role < ROLE_COUNT);
	const struct row *row = &rows[role];

	if (access->grant == NULL)
		return allowed_without_grant(row, access) ? REMOTE_ALLOW : REMOTE_DENY;
	struct entry *e = find(g, access->grant);
	if (e == NULL)
		return g->synced ? REMOTE_DENY : REMOTE_NOT_YET;
	if (e->until_us <= now_us || e->grant.role != role || e->grant.instance != instance)
		return REMOTE_DENY;
	return allowed_with_grant(e->grant.rights & row->with_grant, access, e) ? REMOTE_ALLOW
										 : REMOTE_DENY;
}

/* "a.", "f.<account>." and so on: names of mail or of the queue alone. */
static bool operator_may_list(struct slice prefix)
{
	return prefix.len >= 2 && prefix.ptr[1] == '.' && memchr("aifbq", prefix.ptr[0], 5) != NULL;
}

enum remote_verdict access_check_operator(const struct remote_access *a)
{
	struct object o = object_of(a->object);
	bool mail = o.class >= CLASS_HEAD && o.class <= CLASS_STREAM && o.whole;
	bool may = false;

	if (a->grant != NULL)
		return REMOTE_DENY;
	switch (a->call) {
	case REMOTE_STAT:
	case REMOTE_READ:
	case REMOTE_KEYS:
		may = mail || o.class == CLASS_QUEUE;
		break;
	case REMOTE_LIST:
		may = operator_may_list(a->object);
		break;
	case REMOTE_APPLY:
		may = mail && notify_fits(a->op, o.account);
		break;
	case REMOTE_HELLO:
	case REMOTE_LEASE:
	case REMOTE_UNLEASE:
	case REMOTE_WATCH:
	case REMOTE_UNWATCH:
	case REMOTE_NOTIFY:
		break;
	}
	return may ? REMOTE_ALLOW : REMOTE_DENY;
}
