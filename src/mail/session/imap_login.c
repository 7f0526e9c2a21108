#include <errno.h>
#include <stdlib.h>

#include "base/base64.h"
#include "base/event.h"
#include "mail/session/imap_shared.h"
#include "sys/tls.h"

/* What the peer and its channel look like to auth; the bindings live in `memory`. */
static void describe_peer(struct imap_session *s, struct authc_peer *peer, struct buf *exporter,
			  struct buf *end_point)
{
	struct tls *tls = s->base.stream.tls;

	*peer = (struct authc_peer){
		.service = AUTHC_IMAP,
		.source = slice_str(s->base.peer_text),
		.secure = session_plain_allowed(&s->base),
	};
	if (tls == NULL)
		return;
	if (tls_channel_binding(tls, TLS_BINDING_EXPORTER, exporter) == 0)
		peer->tls_exporter = buf_slice(exporter);
	if (tls_channel_binding(tls, TLS_BINDING_END_POINT, end_point) == 0)
		peer->tls_end_point = buf_slice(end_point);
}

static void write_mechanisms(struct imap_session *s, struct buf *out)
{
	AUTO_BUF struct buf exporter = BUF_INIT(256), end_point = BUF_INIT(256), names = BUF_INIT(512);
	struct authc_peer peer;
	struct slice rest, word;

	if (s->base.sv->authc == NULL)
		return;
	describe_peer(s, &peer, &exporter, &end_point);
	authc_mechanisms(s->base.sv->authc, &peer, &names);
	rest = buf_slice(&names);
	while (rest.len > 0) {
		slice_cut(rest, ' ', &word, &rest);
		buf_adds(out, " AUTH=");
		buf_add(out, word);
	}
}

void imap_write_capabilities(struct imap_session *s, struct buf *out)
{
	buf_adds(out, "CAPABILITY IMAP4rev2 IMAP4rev1 LITERAL+ SASL-IR ID ENABLE");
	if (s->state == IMAP_NOT_AUTHENTICATED) {
		if (s->base.stream.tls == NULL && session_tls(&s->base) != NULL)
			buf_adds(out, " STARTTLS");
		if (!session_plain_allowed(&s->base))
			buf_adds(out, " LOGINDISABLED");
		write_mechanisms(s, out);
		return;
	}
	buf_adds(out, " IDLE NAMESPACE UNSELECT CHILDREN UIDPLUS MOVE MULTIAPPEND SPECIAL-USE"
		      " CREATE-SPECIAL-USE LIST-EXTENDED LIST-STATUS STATUS=SIZE ESEARCH SEARCHRES"
		      " SORT THREAD=REFERENCES THREAD=ORDEREDSUBJECT CONDSTORE QRESYNC BINARY"
		      " OBJECTID QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE UTF8=ACCEPT WITHIN");
	/* RFC 4314 §5.1.1; whoever comes by ticket has nothing to share. */
	if (!s->base.rights.ticket)
		buf_adds(out, " ACL RIGHTS=texk");
	buf_printf(out, " APPENDLIMIT=%llu", (unsigned long long)s->base.sv->set.message_bytes_max);
}

static void logged_in(struct imap_run *r, const struct authc_login *login)
{
	struct imap_session *s = r->s;
	struct quota quota = { login->quota_bytes, login->quota_messages };
	enum mailbox_result result;

	result = account_open(s->base.sv->accounts, session_engine(&s->base, login->grant),
			      slice_str(login->account), quota, &s->account);
	if (result != MAILBOX_OK) {
		if (s->base.sv->authc != NULL)
			authc_logout(s->base.sv->authc, login->grant);
		imap_result(r, result, false, NULL);
		return;
	}
	memcpy(s->grant, login->grant, sizeof(s->grant));
	s->has_login = true;
	s->state = IMAP_AUTHENTICATED;
	s->address = slice_strdup(slice_str(login->address));
	session_rights_begin(&s->base, login);
	if (login->ticket.given)
		event_str(s->base.ev, "by", login->ticket.who);
	event_str(s->base.ev, "user", login->address);
	event_info(s->base.ev, "logged in");
	imap_ok(r, "Logged in");
	/* RFC 9051 §6.2.2: saves the client a CAPABILITY. */
	imap_write_capabilities(s, &r->code);
}

/* Codes of RFC 5530; the reason of a refusal is never told. */
static void refused(struct imap_run *r, enum authc_result result)
{
	struct session *base = &r->s->base;

	switch (result) {
	case AUTHC_OK: case AUTHC_MORE:
		break;
	case AUTHC_REJECTED:
		base->failed_logins++;
		event_info(base->ev, "login refused");
		imap_no(r, "AUTHENTICATIONFAILED", "Wrong user name or password");
		break;
	case AUTHC_DISABLED:
		base->failed_logins++;
		imap_no(r, "AUTHORIZATIONFAILED", "This account is locked");
		break;
	case AUTHC_SLOW_DOWN:
		base->failed_logins++;
		imap_no(r, "LIMIT", "Too many logins at once, try again later");
		break;
	case AUTHC_MALFORMED:
		imap_bad(r, "Not a message of this mechanism");
		break;
	case AUTHC_NO_MECHANISM:
		imap_no(r, "CANNOT", "No such mechanism");
		break;
	case AUTHC_NEEDS_TLS:
		imap_no(r, "PRIVACYREQUIRED", "Use STARTTLS first");
		break;
	case AUTHC_SESSIONS:
		imap_no(r, "LIMIT", "This user has too many sessions");
		break;
	case AUTHC_TEMPORARY:
		imap_no(r, "UNAVAILABLE", "Logins are not possible now, try again");
		break;
	}
	if (base->failed_logins >= base->sv->set.failed_logins_max &&
	    base->sv->set.failed_logins_max > 0) {
		imap_finish(r);
		buf_adds(&r->out, "* BYE Too many failed logins\r\n");
		imap_send(r);
		r->status = NULL;
		r->close = true;
	}
}

void imap_do_login(struct imap_run *r)
{
	AUTO_BUF struct buf exporter = BUF_INIT(256), end_point = BUF_INIT(256), user = BUF_INIT(1024);
	struct session *base = &r->s->base;
	struct authc_peer peer;
	struct authc_login login;
	enum authc_result result;

	/* RFC 9051 §6.2.3: LOGINDISABLED was advertised; do not even look at the password. */
	if (!session_plain_allowed(base)) {
		refused(r, AUTHC_NEEDS_TLS);
		return;
	}
	if (base->sv->authc == NULL) {
		refused(r, AUTHC_TEMPORARY);
		return;
	}
	describe_peer(r->s, &peer, &exporter, &end_point);
	buf_add(&user, r->c.login.user);
	if (base->sv->set.domain != NULL && slice_find_byte(r->c.login.user, '@') == SLICE_NPOS) {
		buf_addc(&user, '@');
		buf_adds(&user, base->sv->set.domain);
	}
	if (user.err != 0 || r->c.login.password.len > AUTHC_PASSWORD_BYTES_MAX) {
		refused(r, AUTHC_REJECTED);
		return;
	}
	result = authc_login_password(base->sv->authc, &peer, buf_slice(&user),
				      r->c.login.password, &login);
	if (result == AUTHC_OK)
		logged_in(r, &login);
	else
		refused(r, result);
}

/* One line of the client's; false: cancelled or gone, the answer is set. */
static bool read_response(struct imap_run *r, struct buf *response)
{
	struct slice line;
	int err = stream_line(&r->s->base.stream, IMAP_LINE_PREAUTH_BYTES_MAX * 2, true, &line);

	buf_reset(response);
	if (err == -EMSGSIZE || err == -EBADMSG) {
		imap_bad(r, "The response is too long or malformed");
		return false;
	}
	if (err <= 0) {
		r->close = true;
		imap_bad(r, "");
		return false;
	}
	/* RFC 9051 §6.2.2: "*" cancels. */
	if (slice_eq(line, SLICE("*"))) {
		imap_bad(r, "Cancelled");
		return false;
	}
	if (!base64_decode(response, line)) {
		imap_bad(r, "The response is not base64");
		return false;
	}
	return true;
}

void imap_do_authenticate(struct imap_run *r)
{
	AUTO_BUF struct buf exporter = BUF_INIT(256), end_point = BUF_INIT(256);
	AUTO_BUF struct buf response = BUF_INIT(AUTHC_RESPONSE_BYTES_MAX * 2);
	AUTO_BUF struct buf challenge = BUF_INIT(AUTHC_RESPONSE_BYTES_MAX * 2);
	struct session *base = &r->s->base;
	struct authc_sasl *exchange = NULL;
	struct authc_peer peer;
	struct authc_login login;
	enum authc_result result;
	struct slice initial = { 0 };

	if (base->sv->authc == NULL) {
		refused(r, AUTHC_TEMPORARY);
		return;
	}
	if (r->c.authenticate.has_initial) {
		if (!slice_eq(r->c.authenticate.initial, SLICE("=")) &&
		    !base64_decode(&response, r->c.authenticate.initial)) {
			imap_bad(r, "The initial response is not base64");
			return;
		}
		initial = buf_slice(&response);
	}
	describe_peer(r->s, &peer, &exporter, &end_point);
	result = authc_sasl_start(base->sv->authc, &peer, r->c.authenticate.mechanism,
				  r->c.authenticate.has_initial ? &initial : NULL, &challenge,
				  &login, &exchange);
	while (result == AUTHC_MORE) {
		buf_adds(&r->out, "+ ");
		base64_encode(&r->out, buf_slice(&challenge));
		buf_adds(&r->out, "\r\n");
		imap_send(r);
		stream_flush(&base->stream);
		if (!read_response(r, &response)) {
			authc_sasl_cancel(&exchange);
			return;
		}
		buf_reset(&challenge);
		result = authc_sasl_step(&exchange, buf_slice(&response), &challenge, &login);
	}
	if (result == AUTHC_OK)
		logged_in(r, &login);
	else
		refused(r, result);
}

void imap_logout(struct imap_session *s)
{
	imap_deselect(s);
	imap_window_drop(s);
	if (s->watching) {
		account_unwatch(s->account, s->watch_id);
		s->watching = false;
	}
	imap_shared_done(s);
	account_close(s->account);
	s->account = NULL;
	session_rights_end(&s->base);
	if (s->has_login && s->base.sv->authc != NULL)
		authc_logout(s->base.sv->authc, s->grant);
	s->has_login = false;
	free(s->address);
	s->address = NULL;
}
