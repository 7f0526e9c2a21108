/*
 * What the files of struct auth share: auth.c (messages, logins), auth_rcpt.c (recipients and
 * grants), auth_admin.c (changes). For nobody else.
 */
#pragma once
#include "base/event.h"
#include "base/reader.h"
#include "mail/auth/auth.h"
#include "mail/auth/grant_table.h"
#include "mail/auth/guard.h"
#include "mail/auth/rates.h"
#include "mail/auth/sasl.h"
#include "policy/authority.h"

struct auth {
	struct world *world;
	struct event *ev;
	struct authority *authority;	/* NULL: nobody may log in */
	uint64_t generation;		/* of its table, when grants were last compared with it */
	struct list tickets;		/* struct live_ticket, in auth_ticket.c */
	struct directory *dir;
	struct auth_settings set;	/* default_domain points to `domain` */
	char domain[ADDRESS_DOMAIN_BYTES_MAX + 1];
	/* Ours that was made first, for "postmaster" without a domain; looked for again after a while. */
	char first_domain[ADDRESS_DOMAIN_BYTES_MAX + 1];
	int64_t first_domain_until_s;
	struct auth_store store;
	struct list clients;
	struct grant_table grants;
	struct turns turns;
	struct failures failures;
	struct remembered remembered;
	struct map exchanges;
	struct list exchange_order;	/* oldest first */
	uint32_t next_exchange;
	struct rates *rates;		/* connections of clients, and what users send */
	struct map rooms;		/* struct room by account: what we know of usage */
	struct list room_order;		/* least recently used last */
	struct turns share_turn;	/* lists of rights are changed one after the other */
	uint64_t share_changes;		/* grows when a change of lists begins, and when it has ended */
	struct list removals;		/* struct removal, in auth_admin.c */
	uint32_t removals_from;		/* object of the directory where the walk for them goes on */
	bool removals_left;		/* the walk passed some by: once more, when these are done */
	bool removing;			/* a fiber works them off */
	char dummy_hash[PASSWORD_HASH_BYTES_MAX];
	bool secret_known;
	uint8_t secret[32];		/* of fake salts; the same for the life of the directory */
};

struct auth_client {
	struct list link;
	struct auth *auth;
	uint8_t role;
	uint16_t instance;
	const char *service;		/* the role's name; NULL: never attached */
	bool attached;
	struct list grants;		/* struct live_grant.of_client */
	struct list ended;		/* the same, of earlier processes: to be revoked */
	/* The sessions that it told of, for grants that we adopt; known when all were told, sorted then. */
	uint8_t (*live)[GRANT_ID_BYTES];
	size_t live_count;
	bool live_known, live_failed;
	struct rates *open;		/* connections that this process counted in auth.rates */
};

int64_t auth_now_s(struct auth *a);
/* A user's limit in bytes: the own one, else the domain's, else the configured one. */
uint64_t auth_quota(const struct auth *a, bool own, uint64_t bytes);

/*
 * Make a grant, tell the store, wait for its answer. The entry stays the table's; NULL when that
 * failed or when it was revoked meanwhile. rights 0 needs no store.
 */
struct live_grant *auth_give(struct auth_client *c, const char *account, uint32_t rights,
			     uint32_t lifetime_s, uint64_t append_bytes);
/* The same for somebody else than the account's owner, `by` the account of the first. */
struct live_grant *auth_give_shared(struct auth_client *c, const char *account, const char *by, uint32_t lifetime_s);
/* One of the client's grants is not needed any more; others are left alone. Waits for the store. */
void auth_grant_back(struct auth_client *c, const uint8_t id[GRANT_ID_BYTES]);
/* All grants of an account, or only those that sessions hold. Waits for the store. */
void auth_revoke_account(struct auth *a, const char *account);

void auth_serve_rcpt(struct auth_client *c, struct slice address, uint64_t size, uint64_t ahead,
		     struct buf *reply);
void auth_delivered(struct auth *a, const char *account, uint64_t bytes);
enum auth_result auth_sender(struct auth *a, struct slice user, struct slice address);
void auth_rooms_done(struct auth *a);

/* ---- what the policy says (auth_policy.c) ---- */
/* May this user log in by this service? Then *rights are those that a grant may have; 0 but for submission is no. */
bool auth_may_login(struct auth *a, struct slice name, enum auth_service service, uint32_t *rights);
/* What a grant may have for mailboxes of others, as far as lists give it. */
uint32_t auth_shared_rights(struct auth *a);
/* May somebody whose list says so (or who is the owner) change lists of rights? */
bool auth_may_administer(struct auth *a, struct slice name, bool owner);
/* After an apply: grants that open more than the policy does are narrowed or revoked. Waits for the store. */
void auth_policy_follow(struct auth *a);

/* ---- shared mailboxes (auth_shares.c) ---- */
/* One of AUTH_SHARED ... AUTH_ACL_FOLDER. False: malformed. */
bool auth_serve_share(struct auth_client *c, uint8_t type, struct reader *r, struct buf *reply);
/* A user is about to go: off all lists. Between begin (false: try later) and end no list changes. */
bool auth_shares_begin(struct auth *a);
enum dir_result auth_shares_forget(struct auth *a, struct slice address);
void auth_shares_end(struct auth *a);

/* "Ann" -> "ann@example.org" (RFC 4013 first, then as for mail), at `domain` when none is written. False: no address; *out is then a piece of it. */
bool auth_canonical_name(struct arena *arena, struct slice written, struct slice domain, struct slice *out);

/* May this process add mail to the account, as a delivery? Asked for each recipient. */
bool auth_may_deliver(const struct auth_client *c, const char *account);

/* ---- tickets (auth_ticket.c) ---- */
struct live_ticket;
/* Of a login name as written: "ticket-0123abcd", with any domain behind it. NULL: no such ticket. */
struct live_ticket *auth_ticket_named(struct auth *a, struct slice written);
enum auth_result auth_ticket_login(struct auth_client *c, struct live_ticket *t, struct slice secret, struct arena *arena, struct buf *login);
/* Forget those whose time is over or whose edge is gone, with their grants. Waits for the store. */
void auth_tickets_tick(struct auth *a);
void auth_tickets_done(struct auth *a);
/* The login's record, without what follows about tickets. */
void auth_write_login(struct buf *reply, struct auth *a, const struct live_grant *g, struct slice name, const struct user_record *user,
		      const struct domain_record *home);

/* Remove the mail of removed users, as far as is due. Waits for the store. */
void auth_removals_work(struct auth *a);
void auth_removals_done(struct auth *a);

/* Fill in hash and SCRAM keys of a new password, on a helper thread. Slices are in the arena. */
enum auth_admin_result auth_make_keys(struct auth *a, struct arena *arena, struct slice password,
				      struct user_record *r);
