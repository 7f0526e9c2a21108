/*
 * POP3 sessions (RFC 1939, 2449, 2595, 5034, 6856).
 *
 * A session shows the inbox as it was at login: numbers never change, and a message that an IMAP
 * session expunges meanwhile answers -ERR. POP3 sessions lock out each other by a lease, IMAP never.
 * DELE takes effect at QUIT in one commit (RFC 1939 §6), and not at all when the connection breaks.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/base64.h"
#include "base/event.h"
#include "base/hex.h"
#include "base/metrics.h"
#include "mail/mailbox/mailbox.h"
#include "mail/pop3/command.h"
#include "mail/pop3/limits.h"
#include "mail/session/authc.h"
#include "mail/session/session.h"
#include "sys/fiber.h"
#include "sys/tls.h"

#define IDLE_US		((int64_t)600 * 1000000)	/* RFC 1939 §3: at least 10 minutes */
#define LEASE_US	((int64_t)30 * 1000000)
#define LEASE_RENEWALS	3	/* in the time of a lease */
#define READ_BYTES	(64u * 1024u)
#define OWNER_BYTES	16u

static const char *const served[] = { "retr", "top", "deleted" };
METRIC_COUNTER_BY(messages_served, "prickle_pop3_messages", "Messages sent or deleted", "how", served);
enum { SERVED_RETR, SERVED_TOP, SERVED_DELETED };

struct pop3 {
	struct session s;		/* first */
	char *user;			/* of USER, until PASS */
	int64_t last_us;		/* of the last command */
	bool utf8;
	/* After login: */
	struct authc_login *login;
	struct account *account;
	struct mailbox *box;
	uint32_t count;			/* messages at login */
	uint64_t *deleted;		/* bitmap by number - 1; NULL before the first DELE */
	char owner[2 * OWNER_BYTES + 1];	/* of the lease; "" when there is none */
	struct timer renew;
	struct fiber_mutex lease;	/* one call about the lease at a time */
	bool renewing;
	bool lost;			/* another session has taken the maildrop over */
};

static struct pop3 *of(struct session *s)
{
	return container_of(s, struct pop3, s);
}

static void say(struct pop3 *p, const char *line)
{
	stream_write(&p->s.stream, slice_str(line));
	stream_write(&p->s.stream, SLICE("\r\n"));
}

static enum session_next bad(struct pop3 *p, const char *line)
{
	if (++p->s.bad_commands > POP3_BAD_COMMANDS) {
		say(p, "-ERR Too many errors, closing the connection");
		return SESSION_CLOSE;
	}
	say(p, line);
	return SESSION_GO_ON;
}

/* ---- the lock against other POP3 sessions (RFC 1939 §4) ---- */

static struct slice lease_name(const struct pop3 *p, char text[64])
{
	int n = snprintf(text, 64, "a.%s.pop3", p->login->account);

	return slice_of(text, (size_t)n);
}

static int64_t lease_us(const struct pop3 *p)
{
	int64_t set = p->s.sv->set.pop3_lease_us;

	return set > 0 ? set : LEASE_US;
}

static enum engine_result lock(struct pop3 *p)
{
	char name[64];

	return engine_lease(session_engine(&p->s, p->login->grant), lease_name(p, name),
			    slice_str(p->owner), lease_us(p));
}

static void unlock(struct pop3 *p)
{
	char name[64];

	loop_timer_cancel(p->s.sv->loop, &p->renew);
	/* A renewal that is under way is waited for: it uses this session. */
	fiber_lock(&p->lease);
	fiber_unlock(&p->lease);
	if (p->owner[0] != '\0' &&
	    engine_unlease(session_engine(&p->s, p->login->grant), lease_name(p, name),
			   slice_str(p->owner)) != ENGINE_OK)
		event_debug(p->s.ev, "could not give up the lock of the maildrop, it will expire");
	p->owner[0] = '\0';
}

static void renew_lease(void *arg)
{
	struct pop3 *p = arg;

	fiber_lock(&p->lease);
	/* Lost: it ran out while the store was away, and another session has it now. */
	if (p->owner[0] != '\0' && lock(p) == ENGINE_GUARD) {
		p->owner[0] = '\0';
		p->lost = true;
		session_wake(&p->s);
	}
	p->renewing = false;
	fiber_unlock(&p->lease);
}

/*
 * From the loop. The renewal blocks, and the session's own fiber may be busy for long, with a large
 * message for a slow client: so it has a fiber of its own.
 */
static void renew_soon(struct timer *t)
{
	struct pop3 *p = container_of(t, struct pop3, renew);

	loop_timer_set(p->s.sv->loop, &p->renew, lease_us(p) / LEASE_RENEWALS);
	if (p->renewing)
		return;
	p->renewing = true;
	if (fiber_start(p->s.sv->loop, renew_lease, p) < 0)
		p->renewing = false;
}

static enum session_next pop3_wake(struct session *session)
{
	struct pop3 *p = of(session);

	if (!p->lost)
		return SESSION_GO_ON;
	say(p, "-ERR [IN-USE] Another session has taken over the maildrop");
	return SESSION_CLOSE;
}

/* ---- login ---- */

static void close_maildrop(struct pop3 *p)
{
	if (p->login == NULL)
		return;
	if (p->box != NULL)
		mailbox_close(p->box);
	account_close(p->account);
	session_rights_end(&p->s);
	p->box = NULL;
	p->account = NULL;
	unlock(p);
	authc_logout(p->s.sv->authc, p->login->grant);
	free(p->deleted);
	p->deleted = NULL;
	free(p->login);
	p->login = NULL;
}

static void make_owner(struct pop3 *p)
{
	AUTO_BUF struct buf hex = BUF_INIT(2 * OWNER_BYTES + 1);
	uint8_t raw[OWNER_BYTES];

	world_random(p->s.sv->world, raw, sizeof(raw));
	hex_encode(&hex, slice_of(raw, sizeof(raw)));
	memcpy(p->owner, buf_cstr(&hex), hex.len);
}

/* After the password was right: lock, merge, count. The answer, a literal. */
static const char *open_maildrop(struct pop3 *p, struct authc_login *login)
{
	struct session_services *sv = p->s.sv;

	p->login = login;
	session_rights_begin(&p->s, login);
	make_owner(p);
	switch (lock(p)) {
	case ENGINE_OK:
		break;
	case ENGINE_GUARD:
		p->owner[0] = '\0';
		return "-ERR [IN-USE] Another POP3 session has the maildrop";
	default:
		p->owner[0] = '\0';
		return "-ERR [SYS/TEMP] The store is not available";
	}
	loop_timer_set(sv->loop, &p->renew, lease_us(p) / LEASE_RENEWALS);
	struct quota quota = { login->quota_bytes, login->quota_messages };
	if (account_open(sv->accounts, session_engine(&p->s, login->grant),
			 slice_of(login->account, ACCOUNT_ID_BYTES), quota,
			 &p->account) != MAILBOX_OK ||
	    mailbox_open(p->account, SLICE("INBOX"), false, &p->box) != MAILBOX_OK)
		return "-ERR [SYS/TEMP] The maildrop is not available";
	p->count = mailbox_count(p->box);
	return NULL;
}

static enum session_next logged_in(struct pop3 *p, enum authc_result r, struct authc_login *login)
{
	static const char *const failures[] = {
		[AUTHC_REJECTED] = "-ERR [AUTH] Authentication failed",
		[AUTHC_DISABLED] = "-ERR [AUTH] The account is disabled",
		[AUTHC_SLOW_DOWN] = "-ERR [SYS/TEMP] Too many attempts, try later",
		[AUTHC_MALFORMED] = "-ERR Malformed authentication exchange",
		[AUTHC_NO_MECHANISM] = "-ERR Mechanism not available",
		[AUTHC_NEEDS_TLS] = "-ERR Use STLS first",
		[AUTHC_TEMPORARY] = "-ERR [SYS/TEMP] Authentication is not available now",
		[AUTHC_SESSIONS] = "-ERR [SYS/TEMP] This user has too many sessions",
	};
	const char *failure;

	if (r != AUTHC_OK) {
		free(login);
		if (r == AUTHC_REJECTED || r == AUTHC_MALFORMED)
			p->s.failed_logins++;
		say(p, failures[r]);
		return p->s.failed_logins > p->s.sv->set.failed_logins_max ? SESSION_CLOSE :
									     SESSION_GO_ON;
	}
	event_str(p->s.ev, "user", login->address);
	failure = open_maildrop(p, login);
	if (failure != NULL) {
		close_maildrop(p);
		say(p, failure);
		return SESSION_GO_ON;
	}
	stream_printf(&p->s.stream, "+OK Maildrop ready, %u messages\r\n", p->count);
	return SESSION_GO_ON;
}

/* What auth must know of this connection; slices point into the buffers. */
static struct authc_peer describe_peer(struct pop3 *p, struct buf *exporter, struct buf *end_point)
{
	if (p->s.stream.tls != NULL) {
		if (tls_channel_binding(p->s.stream.tls, TLS_BINDING_EXPORTER, exporter) != 0)
			buf_reset(exporter);
		if (tls_channel_binding(p->s.stream.tls, TLS_BINDING_END_POINT, end_point) != 0)
			buf_reset(end_point);
	}
	return (struct authc_peer){
		.service = AUTHC_POP3,
		.source = slice_str(p->s.peer_text),
		.secure = session_plain_allowed(&p->s),
		.tls_exporter = buf_slice(exporter),
		.tls_end_point = buf_slice(end_point),
	};
}

static enum session_next do_user(struct pop3 *p, struct slice name)
{
	AUTO_BUF struct buf whole = BUF_INIT(POP3_COMMAND_LINE + 512);
	const char *domain = p->s.sv->set.domain;

	if (!session_plain_allowed(&p->s)) {
		say(p, "-ERR Use STLS first");
		return SESSION_GO_ON;
	}
	buf_add(&whole, name);
	if (domain != NULL && slice_find_byte(name, '@') == SLICE_NPOS) {
		buf_addc(&whole, '@');
		buf_adds(&whole, domain);
	}
	free(p->user);
	p->user = slice_strdup(buf_slice(&whole));
	/* RFC 1939 §7: nothing is said about whether the user exists. */
	say(p, p->user != NULL ? "+OK Now the password" : "-ERR [SYS/TEMP] Out of memory");
	return SESSION_GO_ON;
}

static enum session_next do_pass(struct pop3 *p, struct slice password)
{
	AUTO_BUF struct buf exporter = BUF_INIT(256), end_point = BUF_INIT(256);

	if (p->user == NULL)
		return bad(p, "-ERR Send USER first");
	struct authc_login *login = calloc(1, sizeof(*login));
	if (login == NULL) {
		say(p, "-ERR [SYS/TEMP] Out of memory");
		return SESSION_GO_ON;
	}
	struct authc_peer peer = describe_peer(p, &exporter, &end_point);
	enum authc_result r = authc_login_password(p->s.sv->authc, &peer, slice_str(p->user),
						   password, login);
	free(p->user);
	p->user = NULL;
	return logged_in(p, r, login);
}

static void write_mechanisms(struct pop3 *p, struct buf *names)
{
	AUTO_BUF struct buf exporter = BUF_INIT(256), end_point = BUF_INIT(256);
	struct authc_peer peer = describe_peer(p, &exporter, &end_point);

	authc_mechanisms(p->s.sv->authc, &peer, names);
}

/* Send a challenge and read the response. 1; 0: cancelled or not base64; -1: the client is gone. */
static int exchange(struct pop3 *p, struct slice challenge, struct buf *response)
{
	AUTO_BUF struct buf out = BUF_INIT(32768);
	struct slice line;

	buf_adds(&out, "+ ");
	base64_encode(&out, challenge);
	buf_adds(&out, "\r\n");
	stream_write(&p->s.stream, buf_slice(&out));
	int rc = stream_line(&p->s.stream, POP3_AUTH_LINE, true, &line);
	if (rc == -EMSGSIZE || rc == -EBADMSG)
		return 0;
	if (rc <= 0)
		return -1;
	buf_reset(response);
	return base64_decode(response, line);
}

/* RFC 5034 §4. */
static enum session_next do_auth(struct pop3 *p, const struct pop3_command *c)
{
	AUTO_BUF struct buf exporter = BUF_INIT(256), end_point = BUF_INIT(256);
	AUTO_BUF struct buf challenge = BUF_INIT(AUTHC_RESPONSE_BYTES_MAX);
	AUTO_BUF struct buf response = BUF_INIT(POP3_AUTH_LINE);
	struct authc_sasl *sasl = NULL;

	if (c->initial.ptr != NULL && !slice_eq(c->initial, SLICE("=")) &&
	    !base64_decode(&response, c->initial))
		return bad(p, "-ERR Cannot decode the initial response");
	struct slice initial = buf_slice(&response);
	struct authc_login *login = calloc(1, sizeof(*login));
	if (login == NULL) {
		say(p, "-ERR [SYS/TEMP] Out of memory");
		return SESSION_GO_ON;
	}
	struct authc_peer peer = describe_peer(p, &exporter, &end_point);
	enum authc_result r = authc_sasl_start(p->s.sv->authc, &peer, c->text,
					       c->initial.ptr != NULL ? &initial : NULL, &challenge,
					       login, &sasl);
	while (r == AUTHC_MORE) {
		int rc = exchange(p, buf_slice(&challenge), &response);
		if (rc <= 0) {
			authc_sasl_cancel(&sasl);
			free(login);
			if (rc < 0)
				return SESSION_CLOSE;
			return bad(p, "-ERR Authentication cancelled");
		}
		buf_reset(&challenge);
		r = authc_sasl_step(&sasl, buf_slice(&response), &challenge, login);
	}
	if (response.ptr != NULL)
		explicit_bzero(response.ptr, response.cap);
	return logged_in(p, r, login);
}

static enum session_next list_mechanisms(struct pop3 *p)
{
	AUTO_BUF struct buf names = BUF_INIT(512);
	struct slice rest, name;
	bool more;

	write_mechanisms(p, &names);
	say(p, "+OK");
	rest = buf_slice(&names);
	do {
		more = slice_cut(rest, ' ', &name, &rest);
		if (name.len > 0) {
			stream_write(&p->s.stream, name);
			say(p, "");
		}
	} while (more);
	say(p, ".");
	return SESSION_GO_ON;
}

static enum session_next do_stls(struct pop3 *p)
{
	if (p->s.stream.tls != NULL)
		return bad(p, "-ERR TLS is on already");
	if (session_tls(&p->s) == NULL)
		return bad(p, "-ERR TLS is not available");
	if (stream_pending(&p->s.stream)) {
		say(p, "-ERR Commands behind STLS, closing the connection");
		return SESSION_CLOSE;
	}
	say(p, "+OK Begin TLS");
	if (session_start_tls(&p->s) < 0) {
		buf_reset(&p->s.stream.out);
		return SESSION_CLOSE;
	}
	free(p->user);
	p->user = NULL;
	p->utf8 = false;
	return SESSION_GO_ON;
}

static enum session_next do_capa(struct pop3 *p)
{
	AUTO_BUF struct buf names = BUF_INIT(512);

	say(p, "+OK\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\n"
	       "EXPIRE NEVER\r\nUTF8 USER\r\nIMPLEMENTATION Prickle");
	if (p->s.stream.tls == NULL && session_tls(&p->s) != NULL && p->login == NULL)
		say(p, "STLS");
	if (session_plain_allowed(&p->s))
		say(p, "USER");
	write_mechanisms(p, &names);
	if (names.len > 0)
		stream_printf(&p->s.stream, "SASL %.*s\r\n", SLICE_FMT(buf_slice(&names)));
	say(p, ".");
	return SESSION_GO_ON;
}

/* ---- the maildrop ---- */

static bool is_deleted(const struct pop3 *p, uint32_t n)
{
	return p->deleted != NULL && (p->deleted[(n - 1) / 64] >> (n - 1) % 64 & 1) != 0;
}

/* A message that is still there for this session. */
static bool message(struct pop3 *p, uint32_t n, struct message_info *out)
{
	return n >= 1 && n <= p->count && !is_deleted(p, n) &&
	       mailbox_message(p->box, mailbox_uid(p->box, n), out);
}

static enum session_next no_message(struct pop3 *p)
{
	say(p, "-ERR No such message");
	return SESSION_GO_ON;
}

static enum session_next do_stat(struct pop3 *p)
{
	struct message_info info;
	uint64_t bytes = 0;
	uint32_t count = 0;

	for (uint32_t n = 1; n <= p->count; n++)
		if (message(p, n, &info)) {
			count++;
			bytes += info.size;
		}
	stream_printf(&p->s.stream, "+OK %u %llu\r\n", count, (unsigned long long)bytes);
	return SESSION_GO_ON;
}

static void write_scan_line(struct pop3 *p, enum pop3_verb verb, uint32_t n,
			    const struct message_info *info, const char *before)
{
	AUTO_BUF struct buf line = BUF_INIT(256);

	buf_adds(&line, before);
	buf_dec(&line, n);
	buf_addc(&line, ' ');
	if (verb == POP3_UIDL)
		message_emailid(info->email_id, &line);
	else
		buf_dec(&line, info->size);
	buf_adds(&line, "\r\n");
	stream_write(&p->s.stream, buf_slice(&line));
}

static enum session_next do_list(struct pop3 *p, const struct pop3_command *c)
{
	struct message_info info;

	if (c->has_message) {
		if (!message(p, c->message, &info))
			return no_message(p);
		write_scan_line(p, c->verb, c->message, &info, "+OK ");
		return SESSION_GO_ON;
	}
	say(p, "+OK");
	for (uint32_t n = 1; n <= p->count; n++)
		if (message(p, n, &info))
			write_scan_line(p, c->verb, n, &info, "");
	say(p, ".");
	return SESSION_GO_ON;
}

/* RETR and TOP: the first piece is read before "+OK", so that a loss can still be told. */
static enum session_next do_retr(struct pop3 *p, const struct pop3_command *c)
{
	AUTO_BUF struct buf piece = BUF_INIT(READ_BYTES), out = BUF_INIT(2 * READ_BYTES + 16);
	struct pop3_writer w;
	struct message_info info;
	uint64_t at = 0;

	if (!message(p, c->message, &info))
		return no_message(p);
	if (c->verb == POP3_TOP)
		pop3_writer_top(&w, c->lines);
	else
		pop3_writer_init(&w);
	do {
		size_t n = c->verb == POP3_TOP ? READ_BYTES / 4 : READ_BYTES;
		buf_reset(&piece);
		buf_reset(&out);
		enum mailbox_result r = mailbox_read(p->box, &info, at, n, &piece);
		if (r == MAILBOX_OK && piece.len == 0 && at < info.size)
			r = MAILBOX_DAMAGED;
		if (r != MAILBOX_OK && at > 0)
			return SESSION_CLOSE;	/* in the middle: the client must see that it broke */
		if (r == MAILBOX_EXPUNGED)
			return no_message(p);
		if (r != MAILBOX_OK) {
			say(p, r == MAILBOX_DAMAGED ? "-ERR [SYS/PERM] The message is damaged" :
						      "-ERR [SYS/TEMP] The store is not available");
			return SESSION_GO_ON;
		}
		if (at == 0)
			stream_printf(&p->s.stream, "+OK %u octets\r\n", info.size);
		pop3_writer_add(&w, buf_slice(&piece), &out);
		stream_write(&p->s.stream, buf_slice(&out));
		at += piece.len;
	} while (at < info.size && !w.done && p->s.stream.err == 0 && out.err == 0);
	buf_reset(&out);
	pop3_writer_end(&w, &out);
	stream_write(&p->s.stream, buf_slice(&out));
	metric_add(&messages_served, c->verb == POP3_TOP ? SERVED_TOP : SERVED_RETR, 1);
	return SESSION_GO_ON;
}

static enum session_next do_dele(struct pop3 *p, uint32_t n)
{
	struct message_info info;

	if (!message(p, n, &info))
		return no_message(p);
	if (p->deleted == NULL)
		p->deleted = calloc(((size_t)p->count + 63) / 64, sizeof(*p->deleted));
	if (p->deleted == NULL) {
		say(p, "-ERR [SYS/TEMP] Out of memory");
		return SESSION_GO_ON;
	}
	p->deleted[(n - 1) / 64] |= (uint64_t)1 << (n - 1) % 64;
	say(p, "+OK Marked for deletion");
	return SESSION_GO_ON;
}

/* The UPDATE state: all at once. */
static bool expunge(struct pop3 *p)
{
	size_t count = 0;

	if (p->deleted == NULL)
		return true;
	struct uid_range *ranges = calloc(p->count, sizeof(*ranges));
	if (ranges == NULL)
		return false;
	for (uint32_t n = 1; n <= p->count; n++) {
		if (!is_deleted(p, n))
			continue;
		uint32_t uid = mailbox_uid(p->box, n);
		if (count > 0 && ranges[count - 1].last + 1 == uid)
			ranges[count - 1].last = uid;
		else
			ranges[count++] = (struct uid_range){ uid, uid };
	}
	struct uid_ranges set = { ranges, count }, gone = { 0 };
	uint64_t modseq;
	bool ok = count == 0 || mailbox_expunge(p->box, &set, true, NULL, &gone, &modseq) == MAILBOX_OK;
	if (ok)
		metric_add(&messages_served, SERVED_DELETED, 1);
	free(ranges);
	return ok;
}

/* What each command asks of the policy; all are about the inbox. A command without a row is refused. */
static const struct {
	bool listed;
	uint32_t permissions;
} rights[] = {
	[POP3_STAT] = { true, POLICY_MAILBOX_READ },
	[POP3_LIST] = { true, POLICY_MAILBOX_READ },
	[POP3_UIDL] = { true, POLICY_MAILBOX_READ },
	[POP3_RETR] = { true, POLICY_MAILBOX_READ },
	[POP3_TOP] = { true, POLICY_MAILBOX_READ },
	[POP3_DELE] = { true, POLICY_MAILBOX_DELETE | POLICY_MAILBOX_EXPUNGE },
	[POP3_RSET] = { true, 0 },
	[POP3_NOOP] = { true, 0 },
	[POP3_CAPA] = { true, 0 },
	[POP3_QUIT] = { true, 0 },	/* expunges if it may */
	/* Before login alone: answered as such. */
	[POP3_USER] = { true, 0 },
	[POP3_PASS] = { true, 0 },
	[POP3_AUTH] = { true, 0 },
	[POP3_STLS] = { true, 0 },
	[POP3_UTF8] = { true, 0 },
};

/* True, or -ERR was said. */
static bool may(struct pop3 *p, uint32_t permissions, const char *how)
{
	struct session_object o = { .owner = slice_str(p->login->address), .name = SLICE("INBOX"), .own = true };
	struct policy_denial why;

	for (uint32_t left = permissions; left != 0; left &= left - 1)
		if (!session_may(&p->s, left & -left, &o, how, &why)) {
			stream_printf(&p->s.stream, "-ERR [SYS/PERM] %s\r\n", why.text);
			return false;
		}
	return true;
}

static enum session_next do_quit(struct pop3 *p)
{
	/* Rights may have gone since DELE: then nothing is removed, and the client hears of it. */
	if (p->login != NULL && p->deleted != NULL && !may(p, POLICY_MAILBOX_EXPUNGE, "POP3 QUIT")) {
		close_maildrop(p);
		return SESSION_CLOSE;
	}
	bool ok = p->login == NULL || expunge(p);

	/* The lock goes before the answer: the client's next session may start at once. */
	close_maildrop(p);
	say(p, ok ? "+OK Bye" : "-ERR [SYS/TEMP] Some deleted messages are not removed");
	return SESSION_CLOSE;
}

static enum session_next do_rset(struct pop3 *p)
{
	free(p->deleted);
	p->deleted = NULL;
	say(p, "+OK");
	return SESSION_GO_ON;
}

static enum session_next before_login(struct pop3 *p, const struct pop3_command *c)
{
	switch (c->verb) {
	case POP3_USER:
		return do_user(p, c->text);
	case POP3_PASS:
		return do_pass(p, c->text);
	case POP3_AUTH:
		return c->text.len == 0 ? list_mechanisms(p) : do_auth(p, c);
	case POP3_STLS:
		return do_stls(p);
	case POP3_UTF8:
		p->utf8 = true;
		say(p, "+OK UTF-8 mode");
		return SESSION_GO_ON;
	case POP3_CAPA:
		return do_capa(p);
	case POP3_QUIT:
		return do_quit(p);
	default:
		return bad(p, "-ERR Log in first");
	}
}

static enum session_next after_login(struct pop3 *p, const struct pop3_command *c)
{
	if ((size_t)c->verb >= ARRAY_LEN(rights) || !rights[c->verb].listed)
		return bad(p, "-ERR [SYS/PERM] This command has no permission in the policy");
	if (!may(p, rights[c->verb].permissions, c->verb == POP3_DELE ? "POP3 DELE" : "POP3"))
		return SESSION_GO_ON;
	switch (c->verb) {
	case POP3_STAT:
		return do_stat(p);
	case POP3_LIST:
	case POP3_UIDL:
		return do_list(p, c);
	case POP3_RETR:
	case POP3_TOP:
		return do_retr(p, c);
	case POP3_DELE:
		return do_dele(p, c->message);
	case POP3_RSET:
		return do_rset(p);
	case POP3_NOOP:
		say(p, "+OK");
		return SESSION_GO_ON;
	case POP3_CAPA:
		return do_capa(p);
	case POP3_QUIT:
		return do_quit(p);
	default:
		return bad(p, "-ERR Not after login");
	}
}

static enum session_next pop3_command(struct session *session)
{
	struct pop3 *p = of(session);
	struct pop3_command c;
	struct slice line;
	int rc = stream_line(&session->stream, p->login == NULL ? POP3_AUTH_LINE : POP3_COMMAND_LINE,
			     true, &line);

	p->last_us = loop_now_us(session->sv->loop);
	if (rc == -EMSGSIZE || rc == -EBADMSG)
		return bad(p, "-ERR Line is too long or has a bare CR");
	if (rc <= 0)
		return SESSION_CLOSE;
	switch (pop3_command_parse(line, &c)) {
	case POP3_PARSED:
		break;
	case POP3_UNKNOWN_COMMAND:
		return bad(p, "-ERR Unknown command");
	case POP3_BAD_ARGUMENTS:
		return bad(p, "-ERR Bad arguments");
	}
	return p->login == NULL ? before_login(p, &c) : after_login(p, &c);
}

static enum session_next pop3_greet(struct session *session)
{
	struct pop3 *p = of(session);

	p->renew.fn = renew_soon;
	p->last_us = loop_now_us(session->sv->loop);
	stream_printf(&session->stream, "+OK %s POP3 Prickle\r\n", session->sv->set.hostname);
	return SESSION_GO_ON;
}

static enum session_next pop3_timeout(struct session *session)
{
	/* RFC 1939 §3: the server closes without removing anything and without an answer. */
	return SESSION_CLOSE;
}

static void pop3_stopping(struct session *session)
{
	say(of(session), "-ERR [SYS/TEMP] Service is stopping, try again");
}

/* Renewals of the lease wake the session, and must not keep it alive: count from the last command. */
static int64_t pop3_idle_us(struct session *session)
{
	struct pop3 *p = of(session);
	const struct session_settings *set = &session->sv->set;
	int64_t all = p->login == NULL		 ? set->login_timeout_us
		      : set->pop3_timeout_us > 0 ? set->pop3_timeout_us
						 : IDLE_US;
	int64_t left = p->last_us + all - loop_now_us(session->sv->loop);

	return left > 0 ? left : 0;
}

static void pop3_done(struct session *session)
{
	struct pop3 *p = of(session);

	close_maildrop(p);
	free(p->user);
}

const struct session_ops pop3_session = {
	.name = "pop3",
	.struct_bytes = sizeof(struct pop3),
	.refusal = "-ERR [SYS/TEMP] Too many connections, try again later\r\n",
	.greet = pop3_greet,
	.command = pop3_command,
	.wake = pop3_wake,
	.timeout = pop3_timeout,
	.stopping = pop3_stopping,
	.idle_us = pop3_idle_us,
	.done = pop3_done,
};
