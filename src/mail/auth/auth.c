#include "mail/auth/auth_private.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

#include "base/metrics.h"
#include "base/must.h"
#include "base/reader.h"
#include "mail/auth/saslprep.h"
#include "sys/fiber.h"
#include "sys/world.h"

#define LOGIN_ARENA_BYTES (256u * 1024u)
#define TURN_WAIT_US	  25000000
#define SOURCE_BYTES_MAX  64u
#define SESSIONS_MAX	  1000000u	/* of one process, as front.sessions_max */
#define CLIENTS_MAX	  100000u	/* remembered by the rates, about 100 bytes each */

static const char *const result_names[] = {
	[AUTH_OK] = "ok",
	[AUTH_MORE] = "more",
	[AUTH_REJECTED] = "rejected",
	[AUTH_DISABLED] = "disabled",
	[AUTH_SLOW_DOWN] = "slow_down",
	[AUTH_MALFORMED] = "malformed",
	[AUTH_NO_MECHANISM] = "no_mechanism",
	[AUTH_NEEDS_TLS] = "needs_tls",
	[AUTH_TEMPORARY] = "temporary",
	[AUTH_SESSIONS] = "sessions",
};
METRIC_COUNTER_BY(logins, "prickle_auth_logins", "Logins by their result", "result", result_names);
METRIC_COUNTER(remembered_hits, "prickle_auth_remembered",
	       "Logins whose password was right shortly before, so that nothing was hashed");
METRIC_COUNTER(hashes, "prickle_auth_hashes", "Password hashes computed");

/* A SASL exchange between two messages. */
struct exchange {
	struct map_node node;
	struct list order;
	struct auth_client *client;
	uint32_t id;
	int64_t until_s;
	bool busy;			/* a fiber works on it */
	bool dropped;			/* free it when the fiber is done */
	enum auth_service service;
	bool secure;
	char source[48];
	struct sasl sasl;
};

/* The connection that a message speaks of. */
struct peer {
	enum auth_service service;
	bool secure;
	bool exempt;
	char source_text[48];
	struct slice source;		/* source_key() */
	struct slice exporter, end_point;
};

int64_t auth_now_s(struct auth *a)
{
	return world_mono_us(a->world) / 1000000;
}

uint64_t auth_quota(const struct auth *a, bool own, uint64_t bytes)
{
	return own || bytes > 0 ? bytes : a->set.quota_bytes;
}

static int set_domain(struct auth *a, const struct auth_settings *set)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(4096);
	struct slice domain;

	a->set = *set;
	a->set.default_domain = a->domain;
	a->domain[0] = '\0';
	/* A default domain that is none is as good as no default: the options are checked elsewhere. */
	if (mail_address_domain(&arena, slice_str(set->default_domain), &domain) &&
	    !slice_to_str(domain, a->domain, sizeof(a->domain)))
		a->domain[0] = '\0';
	a->turns.max = MAX(set->hashes_at_once, 1u);
	a->failures.source_per_minute = set->login_failures_per_minute;
	return 0;
}

int auth_configure(struct auth *a, const struct auth_settings *set)
{
	uint8_t random[48];

	directory_set_separator(a->dir, set->separator);
	world_random(a->world, random, sizeof(random));
	password_dummy(set->cost, random, a->dummy_hash);
	return set_domain(a, set);
}

int auth_new(struct engine *e, struct world *w, const struct auth_settings *set,
	     const struct auth_store *store, struct event *ev, struct auth **out)
{
	struct auth *a;
	uint8_t key[32];
	int err;

	if (sodium_init() < 0)
		return -ENOMEM;
	a = calloc(1, sizeof(*a));
	if (a == NULL)
		return -ENOMEM;
	a->world = w;
	a->ev = ev;
	a->store = *store;
	list_init(&a->clients);
	list_init(&a->exchange_order);
	list_init(&a->room_order);
	list_init(&a->removals);
	list_init(&a->tickets);
	turns_init(&a->turns, set->hashes_at_once);
	turns_init(&a->share_turn, 1);
	failures_init(&a->failures);
	world_random(w, key, sizeof(key));
	remembered_init(&a->remembered, key);
	err = directory_new(e, set->separator, &a->dir);
	if (err == 0)
		err = rates_new(CLIENTS_MAX, &a->rates);
	if (err == 0)
		err = auth_configure(a, set);
	if (err < 0) {
		auth_free(a);
		return err;
	}
	*out = a;
	return 0;
}

static void exchange_free(struct auth *a, struct exchange *x)
{
	map_del(&a->exchanges, &x->node);
	list_del(&x->order);
	if (x->busy) {
		x->dropped = true;
		return;
	}
	sasl_done(&x->sasl);
	free(x);
}

void auth_free(struct auth *a)
{
	if (a == NULL)
		return;
	list_for_each(it, &a->exchange_order)
		exchange_free(a, list_entry(it, struct exchange, order));
	map_done(&a->exchanges);
	grant_table_done(&a->grants);
	list_for_each(cit, &a->clients) {
		list_del(cit);
		rates_free(list_entry(cit, struct auth_client, link)->open);
		free(list_entry(cit, struct auth_client, link)->live);
		free(list_entry(cit, struct auth_client, link));
	}
	rates_free(a->rates);
	auth_rooms_done(a);
	auth_removals_done(a);
	auth_tickets_done(a);
	turns_done(&a->turns);
	turns_done(&a->share_turn);
	failures_done(&a->failures);
	remembered_done(&a->remembered);
	directory_free(a->dir);
	sodium_memzero(a->secret, sizeof(a->secret));
	free(a);
}

uint64_t auth_clock_s(struct auth *a)
{
	return (uint64_t)(world_real_us(a->world) / 1000000);
}

void auth_set_authority(struct auth *a, struct authority *authority)
{
	a->authority = authority;
}

struct directory *auth_directory(struct auth *a)
{
	return a->dir;
}

struct auth_client *auth_client(struct auth *a, uint8_t role, uint16_t instance)
{
	struct auth_client *c;

	list_for_each(it, &a->clients) {
		c = list_entry(it, struct auth_client, link);
		if (c->role == role && c->instance == instance)
			return c;
	}
	c = calloc(1, sizeof(*c));
	if (c == NULL || rates_new(CLIENTS_MAX, &c->open) < 0) {
		free(c);
		return NULL;
	}
	c->auth = a;
	c->role = role;
	c->instance = instance;
	list_init(&c->grants);
	list_init(&c->ended);
	list_push_back(&a->clients, &c->link);
	return c;
}

void auth_client_attached(struct auth_client *c, const char *service)
{
	c->service = service;
	c->attached = true;
}

void auth_client_detach(struct auth_client *c)
{
	struct auth *a = c->auth;
	struct list *it;

	c->attached = c->live_known = c->live_failed = false;
	c->live_count = 0;
	rates_close_all(a->rates, c->open);
	list_for_each(x_it, &a->exchange_order) {
		struct exchange *x = list_entry(x_it, struct exchange, order);

		if (x->client == c)
			exchange_free(a, x);
	}
	while ((it = list_pop_front(&c->grants)) != NULL) {
		list_entry(it, struct live_grant, of_client)->ended = true;
		list_push_back(&c->ended, it);
	}
}

void auth_client_gone(struct auth_client *c)
{
	struct auth *a = c->auth;

	while (!list_empty(&c->ended)) {
		uint8_t ids[1000][GRANT_ID_BYTES];
		size_t n = 0;

		while (n < ARRAY_LEN(ids) && !list_empty(&c->ended)) {
			struct live_grant *l =
				list_entry(c->ended.next, struct live_grant, of_client);

			if (l->at_store)
				memcpy(ids[n++], l->g.id, GRANT_ID_BYTES);
			grant_table_del(&a->grants, l);
		}
		if (n > 0)
			a->store.revoke(a->store.arg, ids, n);
	}
}

/* ---- Who wants to log in ---- */

struct login {
	struct auth *auth;
	struct auth_client *client;
	const struct peer *peer;
	struct arena *arena;
	struct slice name;		/* canonical address, or what was written when it is none */
	bool known;			/* `user` is set */
	struct user_record user;
};

bool auth_canonical_name(struct arena *arena, struct slice written, struct slice domain, struct slice *out)
{
	AUTO_BUF struct buf text = BUF_INIT(4096);
	struct address address;

	*out = slice_head(written, AUTH_USER_BYTES_MAX);
	if (written.len == 0 || written.len > AUTH_USER_BYTES_MAX)
		return false;
	if (saslprep(written, &text) != SASLPREP_OK)
		return false;
	if (slice_find_byte(buf_slice(&text), '@') == SLICE_NPOS && domain.len > 0) {
		buf_addc(&text, '@');
		buf_add(&text, domain);
	}
	if (text.err != 0 || !mail_address_parse(arena, buf_slice(&text), &address))
		return false;
	*out = address.text;
	return true;
}

static enum auth_result find_user(struct login *l, struct slice written)
{
	l->known = false;
	if (!auth_canonical_name(l->arena, written, slice_str(l->auth->domain), &l->name))
		return AUTH_OK;
	switch (directory_user(l->auth->dir, l->arena, l->name, &l->user)) {
	case DIR_OK:
		l->known = true;
		return AUTH_OK;
	case DIR_ABSENT:
		return AUTH_OK;
	default:
		return AUTH_TEMPORARY;
	}
}

static bool slow_down(struct login *l)
{
	struct auth *a = l->auth;

	return !l->peer->exempt &&
	       !failures_allow(&a->failures, l->peer->source, l->name, auth_now_s(a));
}

/* Log, count and delay a failure. */
static enum auth_result failed(struct login *l, const char *mechanism)
{
	struct auth *a = l->auth;
	struct event *ev = event_child(a->ev, "auth.login");
	unsigned delay_ms = 0;

	event_slice(ev, "user", l->name);
	event_slice(ev, "source", l->peer->source);
	event_str(ev, "mechanism", mechanism);
	event_warn(ev, "login failed: wrong user or password");
	event_free(ev);
	if (!l->peer->exempt)
		delay_ms = failures_add(&a->failures, l->peer->source, l->name, auth_now_s(a));
	if (delay_ms > 0 && fiber_self() != NULL)
		fiber_sleep((int64_t)delay_ms * 1000);
	return AUTH_REJECTED;
}

void auth_write_login(struct buf *reply, struct auth *a, const struct live_grant *g, struct slice name,
		      const struct user_record *user, const struct domain_record *home)
{
	uint64_t quota_bytes = auth_quota(a, user->own_quota, user->own_quota ? user->quota_bytes :
										home->quota_bytes);

	buf_add(reply, slice_of(g->g.id, GRANT_ID_BYTES));
	buf_add(reply, slice_of(g->g.account, GRANT_ACCOUNT_CHARS));
	buf_blob(reply, name);
	buf_blob(reply, user->name);
	buf_be64(reply, quota_bytes);
	buf_be64(reply, user->own_quota ? user->quota_messages : home->quota_messages);
}

/* One session more of this user than there may be, in all processes together? */
static bool has_too_many_sessions(const struct login *l)
{
	struct auth *a = l->auth;
	unsigned count = 0;

	if (a->set.user_sessions_max == 0 || l->peer->exempt)
		return false;
	/* A session's grant lives as long as it does; deliveries, and those with whom the mailbox is shared, have grants of their own. */
	for (struct live_grant *g = grant_table_of(&a->grants, l->user.account, NULL); g != NULL;
	     g = grant_table_of(&a->grants, l->user.account, g))
		count += g->g.rights != GRANT_APPEND && (g->g.rights & GRANT_SHARED) == 0 && !g->ended;
	return count >= a->set.user_sessions_max;
}

/* The password was right: a grant, and the login's record in the reply. */
static enum auth_result succeed(struct login *l, struct buf *login)
{
	struct domain_record home = { 0 };
	size_t at = slice_rfind_byte(l->name, '@');
	struct live_grant *g;
	enum dir_result r;
	uint32_t rights;

	if (l->user.disabled)
		return AUTH_DISABLED;
	if (!auth_may_login(l->auth, l->name, l->peer->service, &rights))
		return AUTH_DISABLED;
	r = directory_domain(l->auth->dir, l->arena, slice_from(l->name, at + 1), &home);
	if (r != DIR_OK && r != DIR_ABSENT)
		return AUTH_TEMPORARY;
	failures_forgive(&l->auth->failures, l->peer->source, l->name);
	/* No waiting from here until the grant is in the table. */
	if (has_too_many_sessions(l))
		return AUTH_SESSIONS;
	g = auth_give(l->client, l->user.account, rights, AUTH_LOGIN_GRANT_S, 0);
	if (g == NULL)
		return AUTH_TEMPORARY;
	auth_write_login(login, l->auth, g, l->name, &l->user, &home);
	buf_addc(login, 0);
	return AUTH_OK;
}

/* ---- Passwords ---- */

/* What a helper thread does for a login; touches nothing else. */
struct hash_job {
	char hash[PASSWORD_HASH_BYTES_MAX];
	struct slice prepared, raw;
	enum password_verdict verdict;
	struct password_cost cost;
	bool upgrade;			/* may replace an outdated hash */
	bool replaced;
	char new_hash[PASSWORD_HASH_BYTES_MAX];
	bool derive;			/* make SCRAM keys as well */
	bool derived;
	uint32_t iterations;
	uint8_t salt[SCRAM_SALT_BYTES];
	uint8_t stored_key[SCRAM_KEY_BYTES], server_key[SCRAM_KEY_BYTES];
};

static void hash_job_run(void *arg)
{
	struct hash_job *j = arg;

	if (j->hash[0] != '\0') {
		j->verdict = password_check(j->hash, j->prepared, j->raw);
		if (j->verdict != PASSWORD_RIGHT)
			return;
		if (j->upgrade && password_outdated(j->hash, j->cost))
			j->replaced = password_hash(j->prepared, j->cost, j->new_hash);
	} else {
		j->replaced = password_hash(j->prepared, j->cost, j->new_hash);
	}
	if (j->derive)
		j->derived = scram_derive(j->prepared, slice_of(j->salt, sizeof(j->salt)),
					  j->iterations, j->stored_key, j->server_key);
}

struct upgrade {
	const struct hash_job *job;
	bool done;
};

static bool upgrade_user(void *arg, struct user_record *r)
{
	struct upgrade *u = arg;
	const struct hash_job *j = u->job;

	/* Somebody set another password meanwhile. */
	if (!slice_eq(r->hash, slice_str(j->hash)))
		return false;
	if (j->replaced)
		r->hash = slice_str(j->new_hash);
	if (j->derived) {
		r->scram.iterations = j->iterations;
		r->scram.salt = slice_of(j->salt, sizeof(j->salt));
		memcpy(r->scram.stored_key, j->stored_key, SCRAM_KEY_BYTES);
		memcpy(r->scram.server_key, j->server_key, SCRAM_KEY_BYTES);
	}
	return true;
}

static struct slice prepare_password(struct buf *to, struct slice password)
{
	/* What RFC 4013 does not take (another character set) is compared as it came. */
	return saslprep(password, to) == SASLPREP_OK ? buf_slice(to) : password;
}

static void job_fill(struct auth *a, struct hash_job *j)
{
	j->cost = a->set.cost;
	j->iterations = a->set.scram_iterations;
	world_random(a->world, j->salt, sizeof(j->salt));
}

/* Hash on a helper thread, when it is this source's turn. */
static bool run_job(struct auth *a, struct hash_job *j, struct slice source)
{
	if (!turns_enter(&a->turns, source, TURN_WAIT_US))
		return false;
	metric_add(&hashes, 0, 1);
	fiber_on_thread(hash_job_run, j);
	turns_leave(&a->turns);
	return true;
}

/*
 * Is it the password of l->user (or of nobody, when there is no such user)? For an unknown user a
 * hash of the same cost is computed, so that time does not tell who exists.
 */
static enum auth_result check_password(struct login *l, struct slice password)
{
	AUTO_BUF struct buf prepared = BUF_INIT(4 * AUTH_PASSWORD_BYTES_MAX + 64);
	struct auth *a = l->auth;
	bool usable = l->known && l->user.hash.len > 0;
	enum auth_result result = AUTH_REJECTED;
	struct hash_job *j;

	if (usable && remembered_has(&a->remembered, l->name, l->user.hash, password,
				     auth_now_s(a))) {
		metric_add(&remembered_hits, 0, 1);
		return AUTH_OK;
	}
	j = calloc(1, sizeof(*j));
	if (j == NULL)
		return AUTH_TEMPORARY;
	job_fill(a, j);
	j->raw = password;
	j->prepared = prepare_password(&prepared, password);
	j->upgrade = true;
	j->derive = a->set.scram && usable && l->user.scram.iterations != a->set.scram_iterations;
	if (!slice_to_str(usable ? l->user.hash : slice_str(a->dummy_hash), j->hash,
			  sizeof(j->hash))) {
		result = AUTH_TEMPORARY;
	} else if (!run_job(a, j, l->peer->source)) {
		result = AUTH_SLOW_DOWN;
	} else if (usable && j->verdict == PASSWORD_RIGHT) {
		result = AUTH_OK;
		if (j->replaced || j->derived)
			/* Best effort: the next login tries again. */
			directory_user_change(a->dir, l->name, upgrade_user,
					      &(struct upgrade){ .job = j });
	}
	if (usable && j->verdict == PASSWORD_UNKNOWN_HASH)
		event_warn(a->ev, "a stored password hash cannot be checked: set a new password");
	if (prepared.len > 0)
		sodium_memzero(prepared.ptr, prepared.len);
	if (result == AUTH_OK && j->replaced)
		remembered_add(&a->remembered, l->name, slice_str(j->new_hash), password,
			       auth_now_s(a));
	else if (result == AUTH_OK)
		remembered_add(&a->remembered, l->name, l->user.hash, password, auth_now_s(a));
	sodium_memzero(j, sizeof(*j));
	free(j);
	return result;
}

enum auth_admin_result auth_make_keys(struct auth *a, struct arena *arena, struct slice password,
				      struct user_record *r)
{
	AUTO_BUF struct buf prepared = BUF_INIT(4 * AUTH_PASSWORD_BYTES_MAX + 64);
	enum auth_admin_result result = AUTH_ADMIN_OK;
	struct hash_job *j;

	if (password.len == 0 || password.len > AUTH_PASSWORD_BYTES_MAX ||
	    saslprep(password, &prepared) != SASLPREP_OK || prepared.len == 0)
		return AUTH_ADMIN_BAD_PASSWORD;
	j = calloc(1, sizeof(*j));
	if (j == NULL)
		return AUTH_ADMIN_FAILED;
	job_fill(a, j);
	j->raw = password;
	j->prepared = buf_slice(&prepared);
	j->derive = a->set.scram;
	if (!run_job(a, j, SLICE("admin")) || !j->replaced)
		result = AUTH_ADMIN_TEMPORARY;
	r->hash = arena_dup(arena, slice_str(j->new_hash));
	r->scram = (struct scram_keys){ 0 };
	if (j->derived) {
		r->scram.iterations = j->iterations;
		r->scram.salt = arena_dup(arena, slice_of(j->salt, sizeof(j->salt)));
		memcpy(r->scram.stored_key, j->stored_key, SCRAM_KEY_BYTES);
		memcpy(r->scram.server_key, j->server_key, SCRAM_KEY_BYTES);
	}
	if (prepared.len > 0)
		sodium_memzero(prepared.ptr, prepared.len);
	sodium_memzero(j, sizeof(*j));
	free(j);
	return arena->err != 0 ? AUTH_ADMIN_FAILED : result;
}

/*
 * An authorization identity (RFC 4616 §2) may only name the user itself: nobody acts for
 * others here.
 */
static bool authzid_good(struct login *l, struct slice authzid)
{
	struct slice name;

	return authzid.len == 0 ||
	       (auth_canonical_name(l->arena, authzid, slice_str(l->auth->domain), &name) && slice_eq(name, l->name));
}

static enum auth_result login_password(struct auth_client *c, const struct peer *peer,
				       struct slice authzid, struct slice user,
				       struct slice password, const char *mechanism,
				       struct buf *login)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(LOGIN_ARENA_BYTES);
	struct login l = { .auth = c->auth, .client = c, .peer = peer, .arena = &arena };
	struct live_ticket *t;
	enum auth_result r;
	struct slice hash;
	char account[RECORD_ACCOUNT_CHARS + 1];

	if (!peer->secure)
		return AUTH_NEEDS_TLS;
	t = peer->service == AUTH_IMAP ? auth_ticket_named(c->auth, user) : NULL;
	if (t != NULL) {
		l.name = slice_head(user, AUTH_USER_BYTES_MAX);
		if (slow_down(&l))
			return AUTH_SLOW_DOWN;
		r = authzid.len > 0 ? AUTH_REJECTED : auth_ticket_login(c, t, password, &arena, login);
		return r == AUTH_REJECTED ? failed(&l, "ticket") : r;
	}
	r = find_user(&l, user);
	if (r != AUTH_OK)
		return r;
	if (slow_down(&l))
		return AUTH_SLOW_DOWN;
	if (password.len == 0 || password.len > AUTH_PASSWORD_BYTES_MAX)
		return failed(&l, mechanism);
	hash = l.user.hash;
	memcpy(account, l.user.account, sizeof(account));
	r = check_password(&l, password);
	if (r == AUTH_REJECTED || (r == AUTH_OK && !authzid_good(&l, authzid)))
		return failed(&l, mechanism);
	if (r != AUTH_OK)
		return r;
	/* While we hashed, the user may have been changed, removed, or made anew. */
	r = find_user(&l, user);
	if (r != AUTH_OK)
		return r;
	if (!l.known || strcmp(account, l.user.account) != 0)
		return failed(&l, mechanism);
	if (!slice_eq(hash, l.user.hash) &&
	    !remembered_has(&l.auth->remembered, l.name, l.user.hash, password,
			    auth_now_s(l.auth)))
		return AUTH_TEMPORARY;
	return succeed(&l, login);
}

/* ---- SASL exchanges ---- */

static struct exchange *exchange_new(struct auth_client *c, const struct peer *peer,
				     enum sasl_mechanism m)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint8_t nonce[SCRAM_NONCE_BYTES];
	struct auth *a = c->auth;
	struct exchange *x;

	while (a->exchanges.count >= AUTH_EXCHANGES_MAX)
		exchange_free(a, list_entry(a->exchange_order.next, struct exchange, order));
	x = calloc(1, sizeof(*x));
	if (x == NULL)
		return NULL;
	world_random(a->world, nonce, sizeof(nonce));
	for (size_t i = 0; i < sizeof(nonce); i++)
		nonce[i] = (uint8_t)alphabet[nonce[i] % 64];
	x->id = ++a->next_exchange;
	if (sasl_init(&x->sasl, m, peer->exporter, peer->end_point,
		      slice_of(nonce, sizeof(nonce))) < 0 ||
	    map_add(&a->exchanges, &x->node, map_hash(slice_of(&x->id, sizeof(x->id)))) < 0) {
		sasl_done(&x->sasl);
		free(x);
		return NULL;
	}
	list_push_back(&a->exchange_order, &x->order);
	x->client = c;
	x->until_s = auth_now_s(a) + AUTH_EXCHANGE_S;
	x->service = peer->service;
	x->secure = peer->secure;
	memcpy(x->source, peer->source_text, sizeof(x->source));
	return x;
}

static struct exchange *exchange_find(struct auth_client *c, uint32_t id)
{
	struct auth *a = c->auth;
	uint64_t hash = map_hash(slice_of(&id, sizeof(id)));

	for (struct map_node *n = map_first(&a->exchanges, hash); n != NULL;
	     n = map_next(n, hash)) {
		struct exchange *x = container_of(n, struct exchange, node);

		if (x->id == id && x->client == c)
			return x;
	}
	return NULL;
}

/*
 * Salt and keys for SCRAM. Who does not exist or has no keys gets a salt that is always the
 * same for this name, as real ones are, and keys that fit no password.
 */
static enum sasl_verdict give_keys(struct login *l, struct sasl *s, struct buf *challenge,
				   enum auth_result *why)
{
	struct auth *a = l->auth;
	uint8_t salt[32], keys[2][SCRAM_KEY_BYTES];

	if (l->known && l->user.scram.iterations > 0)
		return sasl_give_keys(s, l->user.scram.salt, l->user.scram.iterations,
				      l->user.scram.stored_key, l->user.scram.server_key, false,
				      challenge);
	if (!a->secret_known) {
		uint8_t fresh[32];

		world_random(a->world, fresh, sizeof(fresh));
		if (directory_secret(a->dir, fresh, a->secret) != DIR_OK) {
			*why = AUTH_TEMPORARY;
			return SASL_REJECTED;
		}
		a->secret_known = true;
	}
	crypto_auth_hmacsha256(salt, l->name.ptr, l->name.len, a->secret);
	world_random(a->world, keys, sizeof(keys));
	return sasl_give_keys(s, slice_of(salt, SCRAM_SALT_BYTES), a->set.scram_iterations, keys[0],
			      keys[1], true, challenge);
}

/* SCRAM's proof was right. The keys may have changed since we gave them. */
static enum auth_result scram_proven(struct login *l, const struct sasl *s, struct buf *login)
{
	if (!l->known || l->user.scram.iterations == 0 ||
	    sodium_memcmp(l->user.scram.stored_key, s->stored_key, SCRAM_KEY_BYTES) != 0 ||
	    !authzid_good(l, s->authzid))
		return failed(l, sasl_mechanism_name(s->mechanism));
	return succeed(l, login);
}

static enum auth_result exchange_go_on(struct auth_client *c, struct exchange *x,
				       const struct peer *peer, const struct slice *response,
				       struct buf *challenge, struct buf *login)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(LOGIN_ARENA_BYTES);
	struct login l = { .auth = c->auth, .client = c, .peer = peer, .arena = &arena };
	struct sasl *s = &x->sasl;
	enum sasl_verdict v = sasl_step(s, response, challenge);
	enum auth_result r = AUTH_REJECTED;

	if (v == SASL_CONTINUE)
		return AUTH_MORE;
	if (v == SASL_MALFORMED)
		return AUTH_MALFORMED;
	if (v == SASL_ASK_PASSWORD)
		return login_password(c, peer, s->authzid, s->user, s->password,
				      sasl_mechanism_name(s->mechanism), login);
	r = find_user(&l, s->user);
	if (r != AUTH_OK)
		return r;
	if (slow_down(&l))
		return AUTH_SLOW_DOWN;
	if (v == SASL_PROVEN)
		return scram_proven(&l, s, login);
	if (v == SASL_ASK_KEYS) {
		r = AUTH_MALFORMED;
		v = give_keys(&l, s, challenge, &r);
		return v == SASL_CONTINUE ? AUTH_MORE : r;
	}
	return failed(&l, sasl_mechanism_name(s->mechanism));
}

/* One step, and the reply to it. */
static void exchange_step(struct auth_client *c, struct exchange *x, const struct peer *peer,
			  const struct slice *response, struct buf *reply)
{
	AUTO_BUF struct buf challenge = BUF_INIT(AUTH_CHALLENGE_BYTES_MAX);
	AUTO_BUF struct buf login = BUF_INIT(4096);
	enum auth_result r;

	x->busy = true;
	r = exchange_go_on(c, x, peer, response, &challenge, &login);
	x->busy = false;
	if (r == AUTH_MORE && x->dropped)
		r = AUTH_TEMPORARY;
	if (challenge.err != 0)
		r = AUTH_MALFORMED;
	buf_addc(reply, (uint8_t)r);
	if (r == AUTH_MORE) {
		buf_be32(reply, x->id);
		buf_blob(reply, buf_slice(&challenge));
		return;
	}
	metric_add(&logins, r, 1);
	if (r == AUTH_OK)
		buf_add(reply, buf_slice(&login));
	if (x->dropped) {	/* already out of the tables */
		sasl_done(&x->sasl);
		free(x);
	} else {
		exchange_free(c->auth, x);
	}
}

/* ---- Messages ---- */

static bool loopback(struct slice source)
{
	return slice_starts(source, SLICE("127.")) || slice_eq(source, SLICE("::1")) ||
	       slice_eq(source, SLICE("local"));
}

static bool read_peer(struct auth *a, struct reader *r, struct peer *p)
{
	uint8_t service = rd_u8(r);
	struct slice source;

	*p = (struct peer){ 0 };
	p->secure = rd_u8(r) == 1;
	source = rd_blob(r);
	p->exporter = rd_blob(r);
	p->end_point = rd_blob(r);
	if (r->bad || service < AUTH_IMAP || service > AUTH_SUBMISSION ||
	    source.len > SOURCE_BYTES_MAX || p->exporter.len > AUTH_BINDING_BYTES_MAX ||
	    p->end_point.len > AUTH_BINDING_BYTES_MAX)
		return false;
	p->service = (enum auth_service)service;
	p->exempt = a->set.loopback_exempt && loopback(source);
	p->source = source_key(source, p->source_text);
	return true;
}

static bool serve_login(struct auth_client *c, struct reader *r, struct buf *reply)
{
	AUTO_BUF struct buf login = BUF_INIT(4096);
	struct slice user, password;
	enum auth_result result;
	struct peer peer;

	if (!read_peer(c->auth, r, &peer))
		return false;
	user = rd_blob(r);
	password = rd_blob(r);
	if (!rd_end(r))
		return false;
	result = login_password(c, &peer, (struct slice){ 0 }, user, password, "login", &login);
	metric_add(&logins, result, 1);
	buf_addc(reply, (uint8_t)result);
	if (result == AUTH_OK)
		buf_add(reply, buf_slice(&login));
	return true;
}

static enum auth_result mechanism_allowed(struct auth *a, enum sasl_mechanism m,
					  const struct peer *peer)
{
	if (m == SASL_UNKNOWN || (!sasl_shows_password(m) && !a->set.scram))
		return AUTH_NO_MECHANISM;
	if (sasl_shows_password(m) && !peer->secure)
		return AUTH_NEEDS_TLS;
	if (m == SASL_SCRAM_SHA_256_PLUS && peer->exporter.len == 0 && peer->end_point.len == 0)
		return AUTH_NO_MECHANISM;
	return AUTH_OK;
}

static bool serve_start(struct auth_client *c, struct reader *r, struct buf *reply)
{
	struct slice name, initial;
	enum sasl_mechanism m;
	enum auth_result result;
	struct exchange *x;
	struct peer peer;
	bool has_initial;

	if (!read_peer(c->auth, r, &peer))
		return false;
	name = rd_blob(r);
	has_initial = rd_u8(r) == 1;
	initial = rd_blob(r);
	if (!rd_end(r))
		return false;
	m = sasl_mechanism(name);
	result = mechanism_allowed(c->auth, m, &peer);
	if (result != AUTH_OK) {
		buf_addc(reply, (uint8_t)result);
		return true;
	}
	x = exchange_new(c, &peer, m);
	if (x == NULL) {
		buf_addc(reply, AUTH_TEMPORARY);
		return true;
	}
	exchange_step(c, x, &peer, has_initial ? &initial : NULL, reply);
	return true;
}

static bool serve_step(struct auth_client *c, struct reader *r, struct buf *reply)
{
	uint32_t id = rd_be32(r);
	struct slice response = rd_blob(r);
	struct exchange *x;
	struct peer peer = { 0 };

	if (!rd_end(r))
		return false;
	x = exchange_find(c, id);
	if (x == NULL || x->busy) {	/* forgotten: too old, too many, or we restarted */
		buf_addc(reply, AUTH_TEMPORARY);
		return true;
	}
	peer.service = x->service;
	peer.secure = x->secure;
	memcpy(peer.source_text, x->source, sizeof(peer.source_text));
	peer.source = slice_str(peer.source_text);
	peer.exempt = c->auth->set.loopback_exempt && loopback(peer.source);
	exchange_step(c, x, &peer, &response, reply);
	return true;
}

static bool serve_logout(struct auth_client *c, struct reader *r)
{
	struct slice id = rd_bytes(r, GRANT_ID_BYTES);

	if (!rd_end(r))
		return false;
	auth_grant_back(c, id.ptr);
	return true;
}

static bool serve_delivered(struct auth_client *c, struct reader *r)
{
	struct slice account = rd_bytes(r, GRANT_ACCOUNT_CHARS);
	uint64_t bytes = rd_varint(r);
	char text[GRANT_ACCOUNT_CHARS + 1];

	if (!rd_end(r) || !record_account_good(account) ||
	    !slice_to_str(account, text, sizeof(text)))
		return false;
	auth_delivered(c->auth, text, bytes);
	return true;
}

/* ---- what all front processes count together ---- */

static bool serve_open(struct auth_client *c, struct reader *r, struct buf *reply)
{
	struct auth *a = c->auth;
	struct slice client = rd_blob(r);
	enum auth_open_result result = AUTH_OPEN_OK;

	if (!rd_end(r) || client.len > RATE_CLIENT_BYTES)
		return false;
	if (!rates_take(a->rates, RATE_CONNECTIONS, client, a->set.client_connections_per_minute, 1,
			world_mono_us(a->world)))
		result = AUTH_OPEN_TOO_FAST;
	else if (!rates_open(a->rates, client, a->set.client_connections_max))
		result = AUTH_OPEN_TOO_MANY;
	else
		(void)rates_open(c->open, client, 0);
	buf_addc(reply, (uint8_t)result);
	return true;
}

static bool serve_opened(struct auth_client *c, struct reader *r)
{
	struct slice client = rd_blob(r);
	uint64_t count = rd_varint_max(r, SESSIONS_MAX);

	if (!rd_end(r) || client.len > RATE_CLIENT_BYTES)
		return false;
	for (; count > 0; count--) {
		(void)rates_open(c->auth->rates, client, 0);
		(void)rates_open(c->open, client, 0);
	}
	return true;
}

static bool serve_closed(struct auth_client *c, struct reader *r)
{
	struct slice client = rd_blob(r);

	if (!rd_end(r) || client.len > RATE_CLIENT_BYTES)
		return false;
	/* Only what this process had opened: it cannot make room for others' clients. */
	if (rates_close(c->open, client))
		(void)rates_close(c->auth->rates, client);
	return true;
}

static int order_ids(const void *a, const void *b)
{
	return memcmp(a, b, GRANT_ID_BYTES);
}

static bool serve_live(struct auth_client *c, struct reader *r)
{
	uint8_t last = rd_u8(r);
	struct slice ids = rd_rest(r);
	size_t n = ids.len / GRANT_ID_BYTES;

	if (r->bad || last > 1 || ids.len % GRANT_ID_BYTES != 0 || c->live_count + n > SESSIONS_MAX)
		return false;
	if (n > 0) {
		void *p = reallocarray(c->live, c->live_count + n, GRANT_ID_BYTES);

		if (p == NULL) {
			c->live_failed = true;	/* what is left over ends when the store starts again */
			return true;
		}
		c->live = p;
		memcpy(c->live[c->live_count], ids.ptr, ids.len);
		c->live_count += n;
	}
	c->live_known = last == 1 && !c->live_failed;
	if (c->live_known && c->live_count > 0)
		qsort(c->live, c->live_count, GRANT_ID_BYTES, order_ids);
	return true;
}

/*
 * Adopted grants whose sessions ended while there was no auth to hear of it, or whose process
 * died together with auth. Nobody would end them: we renew what we have.
 */
static void end_lost_sessions(struct auth_client *c)
{
	uint8_t ids[100][GRANT_ID_BYTES];
	size_t n = 0;

	if (!c->attached || !c->live_known)
		return;
	list_for_each(it, &c->grants) {
		struct live_grant *l = list_entry(it, struct live_grant, of_client);

		if (!l->adopted || l->g.rights == GRANT_APPEND || n == ARRAY_LEN(ids))
			continue;
		l->adopted = false;
		if (c->live_count > 0 &&
		    bsearch(l->g.id, c->live, c->live_count, GRANT_ID_BYTES, order_ids) != NULL)
			continue;
		memcpy(ids[n++], l->g.id, GRANT_ID_BYTES);
		grant_table_del(&c->auth->grants, l);
	}
	if (n > 0)
		c->auth->store.revoke(c->auth->store.arg, ids, n);
}

static bool serve_take(struct auth_client *c, struct reader *r, struct buf *reply)
{
	struct auth *a = c->auth;
	struct slice account = rd_bytes(r, GRANT_ACCOUNT_CHARS);
	uint8_t kind = rd_u8(r);

	if (!rd_end(r) || !record_account_good(account) ||
	    (kind != RATE_MESSAGES && kind != RATE_RECIPIENTS))
		return false;
	buf_addc(reply, rates_take(a->rates, (enum rate_kind)kind, account,
				   kind == RATE_MESSAGES ? a->set.user_messages_per_minute :
							   a->set.user_recipients_per_minute,
				   1, world_mono_us(a->world)));
	return true;
}

bool auth_serve(struct auth_client *c, uint8_t type, struct slice payload, struct buf *reply)
{
	struct reader r = reader_of(payload);
	struct slice one, two;
	struct exchange *x;
	uint64_t size, ahead;
	uint32_t id;

	switch (type) {
	case AUTH_LOGIN:
		return serve_login(c, &r, reply);
	case AUTH_START:
		return serve_start(c, &r, reply);
	case AUTH_STEP:
		return serve_step(c, &r, reply);
	case AUTH_CANCEL:
		id = rd_be32(&r);
		if (!rd_end(&r))
			return false;
		x = exchange_find(c, id);
		if (x != NULL)
			exchange_free(c->auth, x);
		return true;
	case AUTH_LOGOUT:
		return serve_logout(c, &r);
	case AUTH_RCPT:
		one = rd_blob(&r);
		size = rd_varint(&r);
		ahead = rd_varint(&r);
		if (!rd_end(&r))
			return false;
		auth_serve_rcpt(c, one, size, ahead, reply);
		return true;
	case AUTH_DELIVERED:
		return serve_delivered(c, &r);
	case AUTH_OPEN:
		return serve_open(c, &r, reply);
	case AUTH_OPENED:
		return serve_opened(c, &r);
	case AUTH_CLOSED:
		return serve_closed(c, &r);
	case AUTH_TAKE:
		return serve_take(c, &r, reply);
	case AUTH_LIVE:
		return serve_live(c, &r);
	case AUTH_SHARED: case AUTH_SHARERS: case AUTH_ACL_GET: case AUTH_ACL_SET: case AUTH_ACL_FOLDER:
		return auth_serve_share(c, type, &r, reply);
	case AUTH_SENDER:
		one = rd_blob(&r);
		two = rd_blob(&r);
		if (!rd_end(&r))
			return false;
		buf_addc(reply, (uint8_t)auth_sender(c->auth, one, two));
		return true;
	default:
		return false;
	}
}

static void drop_old_exchanges(struct auth *a)
{
	int64_t now_s = auth_now_s(a);

	list_for_each(it, &a->exchange_order) {
		struct exchange *x = list_entry(it, struct exchange, order);

		if (x->until_s <= now_s)
			exchange_free(a, x);
	}
}

/* A session's grant that is past half of its life. Append grants end by themselves. */
static bool wants_renewal(const struct live_grant *l, int64_t now_s)
{
	return (l->g.rights & GRANT_APPEND) == 0 && !l->fixed && !l->revoking && l->until_s - now_s <= AUTH_LOGIN_GRANT_S / 2;
}

static void forget_over(struct auth *a, struct list *grants)
{
	int64_t now_s = auth_now_s(a);

	list_for_each(it, grants) {
		struct live_grant *l = list_entry(it, struct live_grant, of_client);

		if (l->until_s <= now_s)
			grant_table_del(&a->grants, l);
	}
}

/* Forget what is over; renew the next ones. How many went to the store: the list may have changed then. */
static size_t renew_some(struct auth *a, struct auth_client *c, struct grant *batch, size_t max)
{
	int64_t now_s = auth_now_s(a);
	size_t n = 0;

	list_for_each(it, &c->grants) {
		struct live_grant *l = list_entry(it, struct live_grant, of_client);

		if (l->until_s <= now_s) {
			grant_table_del(&a->grants, l);
			continue;
		}
		if (!c->attached || !wants_renewal(l, now_s))
			continue;
		if (n == max)
			break;
		l->until_s = now_s + AUTH_LOGIN_GRANT_S;
		l->g.lifetime_s = AUTH_LOGIN_GRANT_S;
		if (l->at_store)
			batch[n++] = l->g;
	}
	if (n > 0 && a->store.add(a->store.arg, batch, n) < 0)
		return 0;	/* the store is away: it gets all of them when it is back */
	return n;
}

#define BATCH 1000u

void auth_tick(struct auth *a)
{
	struct grant *batch = calloc(BATCH, sizeof(*batch));

	if (batch == NULL)
		return;		/* the next tick comes long before the grants end */
	drop_old_exchanges(a);
	auth_tickets_tick(a);
	auth_policy_follow(a);
	list_for_each(it, &a->clients) {
		struct auth_client *c = list_entry(it, struct auth_client, link);

		forget_over(a, &c->ended);
		end_lost_sessions(c);
		while (renew_some(a, c, batch, BATCH) == BATCH)
			;
	}
	free(batch);
	auth_removals_work(a);
}

/* All grants that the store should have, copied: the table changes while we wait for the store. */
static struct grant *copy_grants(struct auth *a, size_t *count)
{
	struct grant *all = calloc(a->grants.by_id.count + 1, sizeof(*all));
	int64_t now_s = auth_now_s(a);

	*count = 0;
	for (struct map_node *n = map_iter(&a->grants.by_id, NULL); n != NULL && all != NULL;
	     n = map_iter(&a->grants.by_id, n)) {
		struct live_grant *l = container_of(n, struct live_grant, by_id);

		if (!l->at_store || l->revoking || l->until_s <= now_s)
			continue;
		all[*count] = l->g;
		all[(*count)++].lifetime_s = (uint32_t)(l->until_s - now_s);
	}
	return all;
}

int auth_resend(struct auth *a)
{
	size_t count;
	struct grant *all = copy_grants(a, &count);
	int err = all == NULL ? -ENOMEM : 0;

	for (size_t at = 0; at < count && err == 0;) {
		size_t n = 0;

		/* Without those that were revoked while we waited. */
		for (; at < count && n < BATCH; at++)
			if (grant_table_find(&a->grants, all[at].id) != NULL)
				all[n++] = all[at];
		if (n > 0)
			err = a->store.add(a->store.arg, all, n);
	}
	free(all);
	return err;
}

void auth_adopt(struct auth *a, const struct grant *g)
{
	struct auth_client *c = auth_client(a, g->role, g->instance);
	struct live_grant *l;

	if (c == NULL || g->lifetime_s == 0 || grant_table_find(&a->grants, g->id) != NULL)
		return;
	l = grant_table_add(&a->grants, g, auth_now_s(a), &c->grants);
	if (l == NULL)
		return;
	l->at_store = l->adopted = true;
	/* It may be a ticket's, whose end we forgot. */
	l->fixed = g->rights == GRANT_READ;
	/* What was charged before is not known: count it as spent, the store counts the truth. */
	l->charged_bytes = g->append_bytes_max;
}

size_t auth_grants(const struct auth *a)
{
	return a->grants.by_id.count;
}
