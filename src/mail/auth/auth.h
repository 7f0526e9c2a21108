/*
 * Authentication as the auth role does it: logins, SASL exchanges, recipients, grants.
 *
 * The role (roles/auth.c) owns channels and keys; here is everything that can be tested without
 * processes. Outside effects come in as functions: time and randomness by struct world, the
 * directory by struct engine, the store's grant table by struct auth_store.
 *
 * All functions that may wait say so; they must run in fibers then. Many may run at once.
 */
#pragma once
#include "mail/auth/grant.h"
#include "mail/auth/password.h"
#include "mail/auth/wire.h"
#include "mail/directory/directory.h"

struct auth;
struct auth_client;			/* one mx, front or queue process */
struct event;
struct world;

struct auth_settings {
	const char *default_domain;	/* for logins without "@", and "postmaster"; "": none. Copied. */
	char separator;			/* of sub-addresses; 0: none */
	bool scram;			/* keep and offer SCRAM keys */
	uint32_t scram_iterations;	/* SCRAM_ITERATIONS_MIN.. */
	struct password_cost cost;
	unsigned hashes_at_once;
	bool loopback_exempt;		/* no delays or limits for 127/8, ::1: the demo */
	/* 0: no limit, for each of them. They hold for all front processes together. */
	unsigned login_failures_per_minute;	/* of one source */
	unsigned client_connections_max, client_connections_per_minute;
	unsigned user_sessions_max;
	unsigned user_messages_per_minute, user_recipients_per_minute;
	uint64_t quota_bytes;		/* of users and domains without their own; 0: no limit */
	uint64_t message_bytes_max;	/* charged to a grant when a recipient comes without SIZE */
};

/* What auth needs of the store. All may wait. */
struct auth_store {
	/* The store knows these grants when it returns 0. Negative errno: it may or may not. */
	int (*add)(void *arg, const struct grant *grants, size_t count);
	int (*revoke)(void *arg, const uint8_t (*ids)[GRANT_ID_BYTES], size_t count);
	/*
	 * Mail in the account as its owner last merged it: 0, or a negative errno (unknown now). NULL:
	 * quota is not checked at RCPT.
	 */
	int (*usage)(void *arg, const char *account, uint64_t *bytes, uint64_t *messages);
	/*
	 * Remove all mail of an account that has no user any more. 0: there was none left. It may take
	 * minutes; -errno: try again. NULL: nobody can.
	 */
	int (*remove)(void *arg, const char *account);
	void *arg;
};

/* engine, world, ev are borrowed; store is copied. 0 or -ENOMEM. */
MUST_USE int auth_new(struct engine *e, struct world *w, const struct auth_settings *set,
		      const struct auth_store *store, struct event *ev, struct auth **out);
/* No call may be running. */
void auth_free(struct auth *a);
/* The policy in force (borrowed), which says who may log in and what grants open. Without one nobody may. */
struct authority;
void auth_set_authority(struct auth *a, struct authority *authority);
/* New settings hold from the next call on. 0 or -ENOMEM (nothing changed). */
MUST_USE int auth_configure(struct auth *a, const struct auth_settings *set);
struct directory *auth_directory(struct auth *a);
/* Seconds since 1970, for records. */
uint64_t auth_clock_s(struct auth *a);

/*
 * The process (role, instance) is there. The same struct is given again after a restart of
 * that process or of ours; it lives as long as auth. NULL when memory is short.
 */
struct auth_client *auth_client(struct auth *a, uint8_t role, uint16_t instance);
/*
 * Its channel is open: its grants are renewed from now on. service: the role's name in the policy ("mx", static), whose word it is whether it
 * may deliver.
 */
void auth_client_attached(struct auth_client *c, const char *service);
/*
 * Its process is gone: forgets its exchanges and sets its grants aside, so that those of a
 * successor, which may be there at once, are not among them. Never waits.
 */
void auth_client_detach(struct auth_client *c);
/* Revokes the grants of processes that are gone (waits for the store). */
void auth_client_gone(struct auth_client *c);

/*
 * Serve one message of a client, of enum auth_message: what clients send, but AUTH_SIGN. Appends the
 * reply. May wait for long (hashes, delays). False when the message is malformed or of
 * another type: end the channel.
 */
MUST_USE bool auth_serve(struct auth_client *c, uint8_t type, struct slice payload,
			 struct buf *reply);

/*
 * Run now and then (each minute): renews grants of sessions, forgets what is over, goes on removing the
 * mail of removed users. May wait.
 */
void auth_tick(struct auth *a);
/* The store has restarted: send it all live grants. 0 or a negative errno. May wait. */
MUST_USE int auth_resend(struct auth *a);
/* We have restarted: take over a grant that the store still has. */
void auth_adopt(struct auth *a, const struct grant *g);

/*
 * Changes for the command line. `set` comes from a stranger's keyboard: everything is checked.
 * All wait for the directory; those that revoke wait for the store as well.
 */
enum auth_admin_result {
	AUTH_ADMIN_OK,
	AUTH_ADMIN_ABSENT,		/* no such user, alias or domain */
	AUTH_ADMIN_EXISTS,		/* the name is taken */
	AUTH_ADMIN_NO_DOMAIN,		/* add the domain first */
	AUTH_ADMIN_BAD_NAME,		/* not an address or domain that we can take */
	AUTH_ADMIN_BAD_PASSWORD,	/* empty, too long, or with characters that RFC 4013 prohibits */
	AUTH_ADMIN_BAD_VALUE,		/* a field is not of its form */
	AUTH_ADMIN_IN_USE,		/* the domain still has users or aliases */
	AUTH_ADMIN_UID_TAKEN,		/* another user has this user of the system */
	AUTH_ADMIN_TEMPORARY,		/* the store is away */
	AUTH_ADMIN_FAILED,
};
struct auth_user_change {
	const struct slice *password;	/* NULL: as it is (add: none, nobody can log in) */
	const struct slice *hash;	/* an imported hash instead */
	const struct slice *name;
	const bool *disabled;
	const uint64_t *quota_bytes;	/* 0: no limit */
	const uint64_t *quota_messages;
	bool domain_quota;		/* drop the user's own */
	const struct slice *groups;	/* "a,b"; empty: none */
	const uint32_t *system_user;	/* uid; 0: none */
};
enum auth_admin_result auth_user_add(struct auth *a, struct slice address,
				     const struct auth_user_change *set);
/* A new password or `disabled` ends the user's sessions: their grants are revoked. */
enum auth_admin_result auth_user_change(struct auth *a, struct slice address,
					const struct auth_user_change *set);
enum auth_admin_result auth_user_remove(struct auth *a, struct slice address);
/*
 * Tickets: one login by IMAP as "ticket-ID" to the mailbox of one user, for reading, under the label that the policy's edge opens. Who may
 * give one has been decided (roles/caller.h). They live in memory: a restart ends those that were not used.
 */
#define AUTH_TICKET_ID_CHARS	  8u
#define AUTH_TICKET_SECRET_CHARS 24u
struct auth_ticket {
	char id[AUTH_TICKET_ID_CHARS + 1];
	char address[ADDRESS_BYTES_MAX + 1];	/* whose mailbox */
	char label[160];		/* "mail.recovery" */
	char who[96];			/* who gave it */
	char because[AUTH_BECAUSE_BYTES_MAX + 1];
	uint16_t from, to;		/* labels of the policy */
	int64_t until_us;		/* since 1970 */
	bool used;
};
/*
 * t: address (any spelling), label, who, because, from, to are given; the rest is written on OK. ABSENT: no such user; TEMPORARY also when there are
 * AUTH_TICKETS_MAX.
 */
enum auth_admin_result auth_ticket_give(struct auth *a, struct auth_ticket *t, uint32_t seconds, char secret[AUTH_TICKET_SECRET_CHARS + 1]);
/* The n-th that still lasts, of `who` or of all (NULL); false at the end. */
bool auth_ticket_at(struct auth *a, const char *who, size_t n, struct auth_ticket *out);
/* ABSENT: none of this id (of `who`, when not NULL). A session that it began loses the store. */
enum auth_admin_result auth_ticket_revoke(struct auth *a, struct slice id, const char *who);

/* From a result of the directory. */
enum auth_admin_result auth_admin_of(enum dir_result r);

/* Live grants, for metrics and tests. */
size_t auth_grants(const struct auth *a);
