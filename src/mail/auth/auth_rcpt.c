/*
 * Recipients, senders and the grants that deliveries run on.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/hex.h"
#include "base/metrics.h"
#include "mail/auth/auth_private.h"
#include "sys/world.h"

#define RCPT_ARENA_BYTES (1024u * 1024u)
#define FIRST_DOMAIN_S	 60
#define FIRST_DOMAIN_AMONG 1000u
#define ROOMS_MAX	 20000u
#define ROOM_FRESH_S	 5		/* how long a reading of the usage counts as new */
#define STEADY_ROOM_BYTES ((uint64_t)1 << 30)	/* far from full: the next messages fit as well */

static const char *const rcpt_names[] = {
	[AUTH_RCPT_OK] = "ok",
	[AUTH_RCPT_NOT_LOCAL] = "not_local",
	[AUTH_RCPT_NO_USER] = "no_user",
	[AUTH_RCPT_BAD_ADDRESS] = "bad_address",
	[AUTH_RCPT_DISABLED] = "disabled",
	[AUTH_RCPT_OVER_QUOTA] = "over_quota",
	[AUTH_RCPT_ALIAS_LOOP] = "alias_loop",
	[AUTH_RCPT_TEMPORARY] = "temporary",
};
METRIC_COUNTER_BY(recipients, "prickle_auth_recipients", "Recipients asked for, by the answer",
		  "result", rcpt_names);

/*
 * How full an account is: what its owner had merged when we last looked, and what was
 * delivered since the reading changed.
 */
struct room {
	struct map_node node;
	struct list order;
	char account[GRANT_ACCOUNT_CHARS + 1];
	int64_t read_s;
	bool read;
	uint64_t bytes, messages;
	uint64_t since_bytes, since_messages;
};

static void room_del(struct auth *a, struct room *r)
{
	map_del(&a->rooms, &r->node);
	list_del(&r->order);
	free(r);
}

void auth_rooms_done(struct auth *a)
{
	list_for_each(it, &a->room_order)
		room_del(a, list_entry(it, struct room, order));
	map_done(&a->rooms);
}

static struct room *room_find(struct auth *a, const char *account)
{
	uint64_t hash = map_hash(slice_str(account));

	for (struct map_node *n = map_first(&a->rooms, hash); n != NULL; n = map_next(n, hash)) {
		struct room *r = container_of(n, struct room, node);

		if (strcmp(r->account, account) == 0)
			return r;
	}
	return NULL;
}

static struct room *room_get(struct auth *a, const char *account)
{
	struct room *r = room_find(a, account);

	if (r != NULL) {
		list_del(&r->order);
		list_push_front(&a->room_order, &r->order);
		return r;
	}
	while (a->rooms.count >= ROOMS_MAX)
		room_del(a, list_entry(a->room_order.prev, struct room, order));
	r = calloc(1, sizeof(*r));
	if (r == NULL)
		return NULL;
	memcpy(r->account, account, sizeof(r->account));
	if (map_add(&a->rooms, &r->node, map_hash(slice_str(r->account))) < 0) {
		free(r);
		return NULL;
	}
	list_push_front(&a->room_order, &r->order);
	return r;
}

void auth_delivered(struct auth *a, const char *account, uint64_t bytes)
{
	struct room *r = room_find(a, account);

	/* Nobody has asked for its room: it has no quota, or was not delivered to lately. */
	if (r == NULL)
		return;
	r->since_bytes += bytes;
	r->since_messages++;
}

static uint64_t left_of(uint64_t limit, uint64_t used, uint64_t since)
{
	if (limit == 0)
		return UINT64_MAX;
	used = used > UINT64_MAX - since ? UINT64_MAX : used + since;
	return used >= limit ? 0 : limit - used;
}

/* What quota leaves for one message more, in bytes; 0 when it is full. Negative errno: unknown now. */
static int room_left(struct auth *a, const struct dir_target *t, uint64_t *left)
{
	uint64_t quota_bytes = auth_quota(a, t->user.own_quota, t->quota_bytes);
	uint64_t bytes = 0, messages = 0;
	int64_t now_s = auth_now_s(a);
	struct room *r;
	int err;

	*left = UINT64_MAX;
	if ((quota_bytes == 0 && t->quota_messages == 0) || a->store.usage == NULL)
		return 0;
	r = room_get(a, t->user.account);
	if (r == NULL)
		return -ENOMEM;
	if (!r->read || now_s - r->read_s >= ROOM_FRESH_S) {
		err = a->store.usage(a->store.arg, t->user.account, &bytes, &messages);
		if (err < 0)
			return err;
		r = room_get(a, t->user.account);	/* we waited: it may be another */
		if (r == NULL)
			return -ENOMEM;
		/* The owner has merged (or expunged): what came before is in the numbers now. */
		if (!r->read || r->bytes != bytes || r->messages != messages)
			r->since_bytes = r->since_messages = 0;
		r->read = true;
		r->read_s = now_s;
		r->bytes = bytes;
		r->messages = messages;
	}
	*left = left_of(t->quota_messages, r->messages, r->since_messages) == 0 ?
			0 :
			left_of(quota_bytes, r->bytes, r->since_bytes);
	return 0;
}

static struct live_grant *give(struct auth_client *c, const char *account, const char *by, uint32_t rights, uint32_t lifetime_s,
			       uint64_t append_bytes)
{
	struct auth *a = c->auth;
	uint8_t ids[1][GRANT_ID_BYTES];
	struct live_grant *l;
	struct grant g = {
		.rights = rights,
		.role = c->role,
		.instance = c->instance,
		.lifetime_s = lifetime_s,
		.append_bytes_max = append_bytes,
	};

	world_random(a->world, g.id, sizeof(g.id));
	memcpy(g.account, account, sizeof(g.account));
	memcpy(ids[0], g.id, sizeof(g.id));
	l = grant_table_add(&a->grants, &g, auth_now_s(a), &c->grants);
	if (l == NULL || rights == 0)
		return l;
	memcpy(l->by, by, strlen(by) + 1);
	/* In the table first: a revocation that comes while we wait must find it. */
	l->at_store = true;
	if (a->store.add(a->store.arg, &g, 1) == 0)
		return grant_table_find(&a->grants, g.id);
	l = grant_table_find(&a->grants, g.id);
	if (l != NULL)
		grant_table_del(&a->grants, l);
	/* The answer may have been lost, not the message. */
	a->store.revoke(a->store.arg, ids, 1);
	return NULL;
}

struct live_grant *auth_give(struct auth_client *c, const char *account, uint32_t rights, uint32_t lifetime_s, uint64_t append_bytes)
{
	return give(c, account, "", rights, lifetime_s, append_bytes);
}

struct live_grant *auth_give_shared(struct auth_client *c, const char *account, const char *by, uint32_t lifetime_s)
{
	uint32_t rights = auth_shared_rights(c->auth);

	return rights == 0 ? NULL : give(c, account, by, rights | GRANT_SHARED, lifetime_s, 0);
}

void auth_grant_back(struct auth_client *c, const uint8_t id[GRANT_ID_BYTES])
{
	uint8_t ids[1][GRANT_ID_BYTES];
	struct live_grant *l;
	bool at_store;

	memcpy(ids[0], id, GRANT_ID_BYTES);
	l = grant_table_find(&c->auth->grants, ids[0]);
	/* One process cannot end another's sessions. */
	if (l == NULL || l->g.role != c->role || l->g.instance != c->instance)
		return;
	at_store = l->at_store;
	grant_table_del(&c->auth->grants, l);
	if (at_store)
		c->auth->store.revoke(c->auth->store.arg, ids, 1);
}

/* What the account's user has of others' mailboxes. A walk over all grants: for changes of users. */
static void revoke_given_by_lists(struct auth *a, const char *account)
{
	uint8_t ids[100][GRANT_ID_BYTES];
	size_t n;

	do {
		struct map_node *next;

		n = 0;
		for (struct map_node *it = map_iter(&a->grants.by_id, NULL); it != NULL && n < ARRAY_LEN(ids); it = next) {
			struct live_grant *l = container_of(it, struct live_grant, by_id);

			next = map_iter(&a->grants.by_id, it);
			if (strcmp(l->by, account) != 0)
				continue;
			memcpy(ids[n++], l->g.id, GRANT_ID_BYTES);
			grant_table_del(&a->grants, l);
		}
		if (n > 0)
			a->store.revoke(a->store.arg, ids, n);
	} while (n == ARRAY_LEN(ids));
}

void auth_revoke_account(struct auth *a, const char *account)
{
	uint8_t ids[100][GRANT_ID_BYTES];
	struct live_grant *l = grant_table_of(&a->grants, account, NULL);

	while (l != NULL) {
		size_t n = 0;

		for (; l != NULL && n < ARRAY_LEN(ids);
		     l = grant_table_of(&a->grants, account, NULL)) {
			if (l->at_store)
				memcpy(ids[n++], l->g.id, GRANT_ID_BYTES);
			grant_table_del(&a->grants, l);
		}
		if (n > 0)
			a->store.revoke(a->store.arg, ids, n);
		l = grant_table_of(&a->grants, account, NULL);
	}
	revoke_given_by_lists(a, account);
}

/* A grant to append `charge` bytes: one that this process has already, or a new one. */
static struct live_grant *append_grant(struct auth_client *c, const char *account, uint64_t charge)
{
	struct auth *a = c->auth;
	int64_t now_s = auth_now_s(a);
	struct live_grant *l;

	if (!auth_may_deliver(c, account))
		return NULL;
	for (l = grant_table_of(&a->grants, account, NULL); l != NULL;
	     l = grant_table_of(&a->grants, account, l)) {
		if (l->ended || l->g.role != c->role || l->g.instance != c->instance ||
		    l->g.rights != GRANT_APPEND ||
		    l->until_s - now_s < AUTH_APPEND_GRANT_LEFT_S ||
		    l->g.append_bytes_max - l->charged_bytes < charge)
			continue;
		l->charged_bytes += charge;
		return l;
	}
	if (charge > AUTH_APPEND_GRANT_BYTES)
		return NULL;
	l = auth_give(c, account, GRANT_APPEND, AUTH_APPEND_GRANT_S, AUTH_APPEND_GRANT_BYTES);
	if (l != NULL)
		l->charged_bytes = charge;
	return l;
}

/* What became of the targets of one recipient. */
struct tally {
	size_t good, full, disabled;
	bool fickle;			/* the same question may soon have another answer */
};

/* One target's part of the reply. False: the store is away. */
static bool answer_target(struct auth_client *c, const struct dir_target *t, uint64_t size,
			  uint64_t ahead, struct buf *out, struct tally *tally)
{
	struct auth *a = c->auth;
	uint64_t charge = size > 0 ? size : a->set.message_bytes_max, left;
	struct live_grant *l;
	bool full;

	if (t->user.disabled) {
		tally->disabled++;
		return true;
	}
	if (room_left(a, t, &left) < 0)
		return false;
	full = left == 0 || size > left;
	tally->fickle = tally->fickle || left < STEADY_ROOM_BYTES || t->quota_messages != 0;
	l = append_grant(c, t->user.account, ahead > AUTH_APPEND_GRANT_BYTES - charge ? charge : charge + ahead);
	if (l == NULL)
		return false;
	if (full)
		tally->full++;
	else
		tally->good++;
	buf_add(out, slice_str(t->user.account));
	buf_add(out, slice_of(l->g.id, GRANT_ID_BYTES));
	buf_blob(out, t->address);
	buf_blob(out, t->detail);
	buf_be64(out, left);
	buf_addc(out, full);
	return true;
}

static enum auth_rcpt_result rcpt_of(enum dir_result r)
{
	switch (r) {
	case DIR_OK:
		return AUTH_RCPT_OK;
	case DIR_ABSENT:
		return AUTH_RCPT_NO_USER;
	case DIR_NOT_LOCAL:
		return AUTH_RCPT_NOT_LOCAL;
	case DIR_LOOP:
	case DIR_TOO_BIG:
		return AUTH_RCPT_ALIAS_LOOP;
	default:
		return AUTH_RCPT_TEMPORARY;
	}
}

/* The oldest of our domains, found by a walk over the directory, so it is remembered for a minute. */
static void find_first_domain(struct auth *a)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(RCPT_ARENA_BYTES);
	struct slice *names = arena_array(&arena, FIRST_DOMAIN_AMONG, sizeof(*names));
	struct dir_cursor cursor = { 0 };
	struct domain_record d;
	uint64_t oldest = UINT64_MAX;
	size_t count = 0;
	bool more = false;

	if (names == NULL || directory_list(a->dir, &arena, DIR_DOMAIN, (struct slice){ 0 }, &cursor,
					    FIRST_DOMAIN_AMONG, names, &count, &more) != DIR_OK)
		return;
	a->first_domain[0] = '\0';
	a->first_domain_until_s = auth_now_s(a) + FIRST_DOMAIN_S;
	for (size_t i = 0; i < count; i++) {
		if (directory_domain(a->dir, &arena, names[i], &d) != DIR_OK)
			continue;
		if (d.created_s > oldest ||
		    (d.created_s == oldest && slice_cmp(names[i], slice_str(a->first_domain)) > 0))
			continue;
		oldest = d.created_s;
		if (!slice_to_str(names[i], a->first_domain, sizeof(a->first_domain)))
			a->first_domain[0] = '\0';
	}
}

/* "postmaster" alone is for this node (RFC 5321 §4.5.1): at the login domain, else at our first one. */
static bool parse_recipient(struct auth *a, struct arena *arena, struct slice text,
			    struct address *out)
{
	AUTO_BUF struct buf whole = BUF_INIT(2 * ADDRESS_BYTES_MAX);
	struct domain_record d;

	if (!slice_eq_nocase(text, SLICE("postmaster")))
		return mail_address_parse(arena, text, out);
	buf_adds(&whole, "postmaster@");
	if (a->domain[0] != '\0' && directory_domain(a->dir, arena, slice_str(a->domain), &d) == DIR_OK) {
		buf_adds(&whole, a->domain);
	} else {
		if (auth_now_s(a) >= a->first_domain_until_s)
			find_first_domain(a);
		buf_adds(&whole, a->first_domain);
	}
	return whole.err == 0 && mail_address_parse(arena, buf_slice(&whole), out);
}

static enum auth_rcpt_result find_targets(struct auth_client *c, struct slice text, uint64_t size,
					  uint64_t ahead, struct buf *out, struct tally *tally)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(RCPT_ARENA_BYTES);
	struct dir_target *targets = NULL;
	struct address address;
	enum dir_result r;
	size_t count = 0;

	if (!parse_recipient(c->auth, &arena, text, &address))
		return AUTH_RCPT_BAD_ADDRESS;
	r = directory_resolve(c->auth->dir, &arena, &address, &targets, &count);
	if (r != DIR_OK)
		return rcpt_of(r);
	for (size_t i = 0; i < count; i++)
		if (!answer_target(c, &targets[i], size, ahead, out, tally))
			return AUTH_RCPT_TEMPORARY;
	if (tally->good > 0)
		return AUTH_RCPT_OK;
	return tally->full > 0 ? AUTH_RCPT_OVER_QUOTA : AUTH_RCPT_DISABLED;
}

void auth_serve_rcpt(struct auth_client *c, struct slice address, uint64_t size, uint64_t ahead,
		     struct buf *reply)
{
	/* 100 targets of 64 + two addresses. */
	AUTO_BUF struct buf out = BUF_INIT(96u * 1024u);
	struct tally tally = { 0 };
	enum auth_rcpt_result r = find_targets(c, address, size, ahead, &out, &tally);

	if (out.err != 0)
		r = AUTH_RCPT_TEMPORARY;
	metric_add(&recipients, r, 1);
	buf_addc(reply, (uint8_t)r);
	if (r != AUTH_RCPT_OK)
		return;
	buf_addc(reply, !tally.fickle && tally.disabled == 0);
	buf_varint(reply, tally.good + tally.full);
	buf_add(reply, buf_slice(&out));
}

/*
 * May `user` (canonical, who has logged in) send as `text`? When mail to that address reaches the
 * user: the own address with any detail, and aliases.
 */
enum auth_result auth_sender(struct auth *a, struct slice user, struct slice text)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(RCPT_ARENA_BYTES);
	struct dir_target *targets = NULL;
	struct user_record record;
	struct address address;
	size_t count = 0;

	switch (directory_user(a->dir, &arena, user, &record)) {
	case DIR_OK:
		break;
	case DIR_ABSENT:
		return AUTH_REJECTED;
	default:
		return AUTH_TEMPORARY;
	}
	if (record.disabled)
		return AUTH_REJECTED;
	if (text.len == 0)
		return AUTH_OK;
	if (!mail_address_parse(&arena, text, &address))
		return AUTH_REJECTED;
	switch (directory_resolve(a->dir, &arena, &address, &targets, &count)) {
	case DIR_OK:
		break;
	case DIR_UNAVAILABLE:
	case DIR_DAMAGED:
	case DIR_CHANGED:
	case DIR_FULL:
		return AUTH_TEMPORARY;
	default:
		return AUTH_REJECTED;
	}
	for (size_t i = 0; i < count; i++)
		if (slice_eq(targets[i].address, user))
			return AUTH_OK;
	return AUTH_REJECTED;
}
