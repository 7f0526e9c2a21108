/*
 * The client of the auth role: what mx, front and queue ask about people and addresses.
 *
 * One struct authc a process, over the channel to auth. Sessions never see a password hash,
 * a SCRAM key or a directory record: they hand over what the client sent and get an answer
 * with a grant (the 16 random bytes that the store wants to see with every engine call).
 *
 * Auth may die and come back: calls then answer "temporary", until authc_set_channel brings the
 * new channel; grants given before stay valid. All calls block the calling fiber, with a
 * deadline; none may be made outside of a fiber, except where said.
 *
 * Base64 belongs to the session: everything here is decoded bytes.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "mail/auth/rates.h"
#include "mail/session/session_limits.h"

struct authc;
struct authc_sasl;
struct loop;
struct tls_context;

#define AUTHC_GRANT_BYTES	16u
#define AUTHC_ACCOUNT_CHARS	16u

enum authc_service {
	AUTHC_IMAP = 1,			/* the grant reads and writes the mailbox */
	AUTHC_POP3,			/* the same */
	AUTHC_SUBMISSION,		/* the grant opens nothing; it names the user in authc_sender_allowed */
};

/* What auth must know of the connection. Slices are borrowed during the call. */
struct authc_peer {
	enum authc_service service;
	struct slice source;		/* the client's address as text: "192.0.2.7", "2001:db8::1" */
	bool secure;			/* fit for clear passwords: TLS is on, or configuration exempts this peer */
	/* Channel bindings of this TLS session for SCRAM-SHA-256-PLUS; empty without TLS. */
	struct slice tls_exporter;	/* RFC 9266: 32 bytes, TLS 1.3 only */
	struct slice tls_end_point;	/* RFC 5929 §4.1: hash of our certificate */
};

enum authc_result {
	AUTHC_OK,
	AUTHC_MORE,			/* SASL: send the challenge, then authc_sasl_step with what comes back */
	AUTHC_REJECTED,			/* 535 5.7.8, NO [AUTHENTICATIONFAILED], -ERR [AUTH]; never say why */
	AUTHC_DISABLED,			/* right password, locked account: 535 5.7.13, NO [AUTHORIZATIONFAILED] */
	AUTHC_SLOW_DOWN,		/* too many failures or logins at once: 454 4.7.0, NO [LIMIT], -ERR [SYS/TEMP] */
	AUTHC_MALFORMED,		/* not a message of this mechanism: 501 5.5.2, BAD, -ERR */
	AUTHC_NO_MECHANISM,		/* unknown or switched off: 504 5.5.4, NO [CANNOT], -ERR */
	AUTHC_NEEDS_TLS,		/* clear password on an open line: 538 5.7.11, NO [PRIVACYREQUIRED] */
	AUTHC_TEMPORARY,		/* auth or store is away: 454 4.7.0, NO [UNAVAILABLE], -ERR [SYS/TEMP] */
	AUTHC_SESSIONS,			/* this user has too many: 454 4.7.0, NO [LIMIT], -ERR [IN-USE] */
};

/* What a login gives. Written on AUTHC_OK only. */
struct authc_login {
	uint8_t grant[AUTHC_GRANT_BYTES];
	char account[AUTHC_ACCOUNT_CHARS + 1];
	char address[AUTHC_ADDRESS_BYTES_MAX + 1];	/* canonical: "ann@example.org" */
	char name[AUTHC_NAME_BYTES_MAX + 1];		/* display name, may be "" */
	uint64_t quota_bytes;		/* 0: no limit */
	uint64_t quota_messages;	/* 0: no limit */
	/* A login by ticket (`prickle policy ticket`): the account is another user's. */
	struct {
		bool given;
		uint16_t from, to;	/* labels of who gave it, and that it opens */
		int64_t until_us;	/* since 1970 */
		char who[96];		/* for records */
	} ticket;
};

/* 0 or -ENOMEM. No channel yet: calls answer "temporary" until authc_set_channel. */
MUST_USE int authc_new(struct loop *l, struct authc **out);
/* No call may be running. Closes the channel. NULL is fine. */
void authc_free(struct authc *a);
/*
 * The role's channel callback for peer auth: takes fd, replaces an older channel. Running calls on
 * the older one fail as temporary. 0 or negative errno (fd is closed). Not from a fiber.
 */
MUST_USE int authc_set_channel(struct authc *a, int fd);

/*
 * Check a user name and password that came in the protocol's own login command (IMAP LOGIN,
 * POP3 USER/PASS). Takes up to 30 s when many hash at once; microseconds when this password was
 * right within the last 10 minutes. Failures of the same source and user are answered later and
 * later: the wait happens inside this call.
 *
 * MALFORMED cannot happen; NEEDS_TLS when peer->secure is false.
 */
enum authc_result authc_login_password(struct authc *a, const struct authc_peer *peer,
				       struct slice user, struct slice password,
				       struct authc_login *out);

/*
 * Names of the SASL mechanisms to offer on such a connection, separated by blanks, best first,
 * for "AUTH" and "AUTH=" lines; may be empty. Looks at peer->secure and the channel bindings.
 * Never blocks.
 */
void authc_mechanisms(const struct authc *a, const struct authc_peer *peer, struct buf *out);

/*
 * Begin a SASL exchange (RFC 4422 §3).
 *
 * mechanism  as the client wrote it; case does not matter
 * initial    the initial response, NULL when the client sent none ("=" is an empty one)
 * challenge  on AUTHC_MORE: the bytes to send are appended (may be none: an empty challenge)
 * out        written on AUTHC_OK
 * exchange   set on AUTHC_MORE only, else NULL
 *
 * peer's slices need to live during this call only. On each result but MORE the exchange is over.
 */
enum authc_result authc_sasl_start(struct authc *a, const struct authc_peer *peer,
				   struct slice mechanism, const struct slice *initial,
				   struct buf *challenge, struct authc_login *out,
				   struct authc_sasl **exchange);
/*
 * Go on with the client's response. On each result but MORE the exchange is freed, and *exchange
 * is NULL. SCRAM ends with one more MORE (the server's signature), which clients answer with an
 * empty response: pass it on.
 */
enum authc_result authc_sasl_step(struct authc_sasl **exchange, struct slice response,
				  struct buf *challenge, struct authc_login *out);
/* The client cancelled ("*") or went away. Frees; NULL inside is fine. Does not block. */
void authc_sasl_cancel(struct authc_sasl **exchange);

/* The session is over: revoke its grant. Never blocks; safe outside of fibers. */
void authc_logout(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES]);

enum authc_open_result {
	AUTHC_OPEN_OK,
	AUTHC_OPEN_TOO_MANY,		/* connections of this client at a time */
	AUTHC_OPEN_TOO_FAST,		/* new ones a minute */
};
/*
 * One more connection of a client (rates.h, rate_client), counted in auth over all front processes. On
 * OK, authc_close it at its end. While auth is away everybody is let in, and auth is told when it
 * is back. One message to auth and back; fiber only.
 */
MUST_USE enum authc_open_result authc_open(struct authc *a, struct slice client);
/* Never blocks. */
void authc_close(struct authc *a, struct slice client);

/*
 * One more message or recipient of the user who is logged in with this grant: within the rates of
 * one user? Counted in auth over all processes. True while auth is away. Fiber only.
 */
MUST_USE bool authc_take(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES], enum rate_kind kind);

/* Whether mail to an address is taken. Each value names the reply to RCPT. */
enum authc_rcpt_result {
	AUTHC_RCPT_OK,
	AUTHC_RCPT_NOT_LOCAL,		/* another domain's: 550 5.7.1 (no relay) */
	AUTHC_RCPT_NO_USER,		/* our domain, nobody there: 550 5.1.1 */
	AUTHC_RCPT_BAD_ADDRESS,		/* 553 5.1.3 */
	AUTHC_RCPT_DISABLED,		/* all targets are locked: 550 5.2.1 */
	AUTHC_RCPT_OVER_QUOTA,		/* all targets are full: 452 4.2.2 */
	AUTHC_RCPT_ALIAS_LOOP,		/* an alias that never ends or fans out too far: 550 5.4.6 */
	AUTHC_RCPT_TEMPORARY,		/* 451 4.3.0 */
};

/* One account that the message goes to. */
struct authc_target {
	char account[AUTHC_ACCOUNT_CHARS + 1];
	uint8_t grant[AUTHC_GRANT_BYTES];	/* append only, for this process, with a byte limit */
	struct slice address;		/* canonical address of the account; in the arena */
	struct slice detail;		/* "lists" of ann+lists@...; empty when none; in the arena */
	uint64_t room_bytes;		/* what quota leaves for this message; UINT64_MAX: no limit */
	/* Full now, while others behind the same alias are not: leave it to the queue, which reports it. */
	bool over_quota;
};

/*
 * Whom a recipient address stands for, with grants to append to their mailboxes.
 *
 * address    the envelope address without brackets, "local@domain"; quoted local parts and
 *            UTF-8 are understood; "postmaster" alone is postmaster at the first domain (RFC 5321 §4.5.1)
 * size       what the client declared with SIZE=, 0 when it did not
 * targets    set on AUTHC_RCPT_OK: 1..AUTHC_TARGETS_MAX accounts, each once; in the arena
 *
 * One message to auth and back; every 10 minutes or so and account one more from auth to store.
 * A grant is good for 10 minutes at least after this call; the store then answers ENGINE_DENIED:
 * ask again. mx, queue and front (submission) all use it.
 */
enum authc_rcpt_result authc_rcpt(struct authc *a, struct slice address, uint64_t size,
				  struct arena *arena, struct authc_target **targets, size_t *count);

/*
 * From now on authc_rcpt may answer by itself for a few seconds what auth has answered before, until
 * auth tells of a change (rcpt_memory.h). For roles that serve strangers' clients.
 */
void authc_remember_rcpts(struct authc *a);
/* A grant was refused by the store: ask auth again. */
void authc_forget_rcpts(struct authc *a);

/*
 * A message of so many bytes was stored for this account (after the end of DATA): lets quota
 * checks know of mail that the account's owner has not merged yet. Never blocks.
 */
void authc_delivered(struct authc *a, const char *account, uint64_t bytes);

/*
 * May the logged-in user of this grant send as `address` (MAIL FROM in submission)? Yes for
 * "" (the null sender), the own address with any detail, and aliases that reach the user.
 * AUTHC_OK; AUTHC_REJECTED: 550 5.7.1; AUTHC_TEMPORARY (also when auth forgot the login).
 */
enum authc_result authc_sender_allowed(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES],
				       struct slice address);

/*
 * The TLS context to greet with: NULL until auth has sent a certificate (then TLS is not offered).
 * Borrowed until the loop's next round: a renewed certificate replaces it (running TLS sessions
 * keep theirs). Its signatures are made by auth, in the calling fiber's handshake.
 */
struct tls_context *authc_tls(struct authc *a);
