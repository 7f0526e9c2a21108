/*
 * What all sessions of clients have in common: a stream, a peer, a protocol, an end.
 *
 * A session is a parked struct while its client is silent; when bytes come it gets a fiber,
 * serves every command that is there, and parks again. Protocols (IMAP, POP3, submission)
 * embed `struct session` as their first member and give a table of functions; the
 * accept loop (roles/front.c) and the graceful stop know only this header.
 *
 * Nothing here parses. All functions are for the loop's own thread.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/attr.h"
#include "base/list.h"
#include "base/slice.h"
#include "engine/remote.h"
#include "mail/session/rights.h"
#include "sys/stream.h"

struct accounts;
struct authc;
struct config;
struct engine;
struct event;
struct session;
struct smtp_service;
struct tls_context;
struct world;

#define SESSION_PEER_TEXT_BYTES 48u	/* an IPv6 address in brackets-free text, with its NUL */

/* What protocols need to know from the configuration; filled by the role. */
struct session_settings {
	const char *hostname;		/* what greetings call this node */
	const char *domain;		/* added to logins without '@'; NULL: none */
	int64_t idle_timeout_us;	/* silence between commands (IMAP: RFC 9051 §5.4, >= 30 min) */
	int64_t pop3_timeout_us;	/* the same for POP3 (RFC 1939 §3, >= 10 min) */
	int64_t pop3_lease_us;		/* how long the lock of a maildrop lasts unless it is renewed; 0: 30 s */
	int64_t login_timeout_us;	/* the same before login */
	int64_t tls_timeout_us;		/* for a handshake */
	int64_t command_timeout_us;	/* silence inside a command */
	uint64_t min_rate_bytes_s;	/* inside a command; 0: none */
	uint64_t message_bytes_max;	/* APPEND and DATA */
	unsigned bad_commands_max;	/* malformed commands before the session is ended */
	unsigned failed_logins_max;
	bool plain_without_tls;		/* PLAIN/LOGIN on plain text, for peers on loopback (demo) */
};

/* What sessions stand on; one a process, owned by the role. */
struct imap_session;
#define IMAP_READERS 16u		/* sessions that keep what FETCH read ahead: 256 KiB each */

struct session_services {
	struct loop *loop;
	struct world *world;		/* time and randomness */
	struct remote *remote;		/* the store; NULL in tests, where `engine` does */
	struct engine *engine;
	struct accounts *accounts;	/* open accounts, shared by their sessions */
	struct authc *authc;
	struct smtp_service *smtp;	/* for SMTP, LMTP and submission (mail/session/smtp.h) */
	struct authority *authority;	/* the policy in force; NULL: nobody may do anything */
	struct tls_context *tls;	/* instead of authc's, for tests */
	const struct config *config;
	struct event *ev;
	struct session_settings set;
	struct list sessions;		/* struct session.link */
	unsigned session_count;
	bool count_clients;		/* connections of a client are counted in auth (authc_open) */
	uint64_t next_id;
	struct imap_session *imap_readers[IMAP_READERS];
	unsigned next_reader;
	bool stopping;
};

enum session_next {
	SESSION_GO_ON,			/* look for the next command */
	SESSION_CLOSE,			/* flush and close */
};

/* A protocol. All but `done` run in a fiber of the session and may block; one at a time. */
struct session_ops {
	const char *name;		/* "imap", in events and metrics */
	size_t struct_bytes;		/* of the protocol's struct, zeroed before greet */
	const char *refusal;		/* line for a client that has too many connections; NULL: none */
	/* After implicit TLS: write the greeting. */
	enum session_next (*greet)(struct session *s);
	/* Read one command, serve it. Called only while input is there. */
	enum session_next (*command)(struct session *s);
	/* session_wake was called while parked or busy (IDLE: something changed); may be NULL. */
	enum session_next (*wake)(struct session *s);
	/* The time given by idle_us passed without input. May write a last line; NULL: just close. */
	enum session_next (*timeout)(struct session *s);
	/* The server stops: write a last line. May be NULL. */
	void (*stopping)(struct session *s);
	/* How long to park before `timeout`; NULL: login_timeout_us. */
	int64_t (*idle_us)(struct session *s);
	/* Give back buffers that an idle session does not need; may be NULL. */
	void (*parked)(struct session *s);
	/* Free what the protocol has (not the struct). Runs in a fiber as well: it may release grants. */
	void (*done)(struct session *s);
};

struct session {
	struct list link;
	struct stream stream;
	struct session_services *sv;
	const struct session_ops *ops;
	struct event *ev;		/* child of sv->ev with session and peer; children for commands */
	uint64_t id;			/* unique in this process */
	struct sockaddr_storage peer;
	char peer_text[SESSION_PEER_TEXT_BYTES];
	struct remote_handle store;	/* see session_engine */
	bool implicit_tls;		/* handshake before the greeting */
	bool busy;			/* a fiber serves it */
	bool parked;
	bool wake_wanted;
	bool stop_wanted;
	bool greeted;
	bool timed_out;
	bool input;			/* the stream said that there is something to read */
	struct timer retry;		/* no fiber could be had: try again */
	struct session_rights rights;	/* of who is logged in */
	unsigned bad_commands;
	unsigned failed_logins;
	int64_t started_us;
	bool counted;			/* in auth, as a connection of its client */
	/* Told when the session is gone, to give back what the accept loop counted. May be NULL. */
	void (*on_end)(void *arg, struct session *s);
	void *on_end_arg;
};

/*
 * Start a session on an accepted socket. Takes fd in every case. The greeting (after the TLS
 * handshake when implicit_tls) is sent from a fiber of its own. 0; -ENOMEM: fd is closed,
 * on_end is not called.
 */
MUST_USE int session_start(struct session_services *sv, const struct session_ops *ops, int fd,
			   const struct sockaddr_storage *peer, bool implicit_tls,
			   void (*on_end)(void *arg, struct session *s), void *on_end_arg);

/* The protocols. */
extern const struct session_ops imap_session, pop3_session, submission_session;

/* Have ops->wake run soon, once for any number of calls. From the loop or any fiber. */
void session_wake(struct session *s);

/* The channel is protected: TLS, or plain text where the settings allow it. */
bool session_plain_allowed(const struct session *s);

/* What is left of the time that a client has to log in; 0 at least. */
int64_t session_login_left_us(const struct session *s);

/* The TLS context to use now; NULL: do not offer TLS. Borrowed until the fiber waits. */
struct tls_context *session_tls(const struct session *s);

/* The engine as this grant may use it (16 bytes, from the login); lives as long as the session. */
struct engine *session_engine(struct session *s, const uint8_t *grant);

/*
 * STARTTLS and STLS, after the positive answer was written: flushes it and shakes hands.
 * -EPROTO when the client sent bytes behind the command, before the handshake: the session must
 * end (RFC 3501 §11.1 attack by injection). 0 or negative errno.
 */
MUST_USE int session_start_tls(struct session *s);

/* No new commands: parked sessions say good-bye now, busy ones after their command. */
void sessions_stop(struct session_services *sv);
