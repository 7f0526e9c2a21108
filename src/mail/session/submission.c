/*
 * Submission (RFC 6409, RFC 4954): who the client is, and in whose name it may send.
 */
#include <stdlib.h>

#include "base/base64.h"
#include "mail/session/smtp_private.h"
#include "sys/tls.h"

/* What auth must know of this connection; the channel bindings are copied to `bindings`. */
static void describe_peer(struct smtp_session *s, struct buf *exporter, struct buf *end_point,
			  struct authc_peer *out)
{
	if (s->s.stream.tls != NULL) {
		if (tls_channel_binding(s->s.stream.tls, TLS_BINDING_EXPORTER, exporter) != 0)
			buf_reset(exporter);
		if (tls_channel_binding(s->s.stream.tls, TLS_BINDING_END_POINT, end_point) != 0)
			buf_reset(end_point);
	}
	*out = (struct authc_peer){
		.service = AUTHC_SUBMISSION,
		.source = slice_str(s->s.peer_text),
		.secure = session_plain_allowed(&s->s),
		.tls_exporter = buf_slice(exporter),
		.tls_end_point = buf_slice(end_point),
	};
}

void submission_capability(struct smtp_session *s, struct buf *out)
{
	AUTO_BUF struct buf exporter = BUF_INIT(256), end_point = BUF_INIT(256),
			    names = BUF_INIT(512);
	struct authc_peer peer;

	describe_peer(s, &exporter, &end_point, &peer);
	authc_mechanisms(s->s.sv->authc, &peer, &names);
	if (names.len == 0 || names.err != 0)
		return;
	buf_adds(out, "\nAUTH ");
	buf_add(out, buf_slice(&names));
}

static enum session_next answer(struct smtp_session *s, enum authc_result r)
{
	static const struct {
		unsigned code;
		const char *enhanced, *text;
	} answers[] = {
		[AUTHC_OK] = { 235, "2.7.0", "Authentication succeeded" },
		[AUTHC_REJECTED] = { 535, "5.7.8", "Authentication credentials invalid" },
		[AUTHC_DISABLED] = { 535, "5.7.13", "User account is disabled" },
		[AUTHC_SLOW_DOWN] = { 454, "4.7.0", "Too many attempts, try later" },
		[AUTHC_MALFORMED] = { 501, "5.5.2", "Malformed authentication exchange" },
		[AUTHC_NO_MECHANISM] = { 504, "5.5.4", "Mechanism not available" },
		[AUTHC_NEEDS_TLS] = { 538, "5.7.11", "Encryption required for this mechanism" },
		[AUTHC_SESSIONS] = { 454, "4.7.0", "This user has too many sessions" },
		[AUTHC_TEMPORARY] = { 454, "4.7.0", "Authentication is not available now" },
	};

	if (r == AUTHC_REJECTED || r == AUTHC_MALFORMED)
		s->s.failed_logins++;
	if (s->s.failed_logins > s->s.sv->set.failed_logins_max) {
		smtp_reply(s, 421, "4.7.0", "Too many failed logins, closing the connection");
		return SESSION_CLOSE;
	}
	smtp_reply(s, answers[r].code, answers[r].enhanced, answers[r].text);
	return SESSION_GO_ON;
}

enum exchanged { EXCHANGED, EXCHANGE_GONE, EXCHANGE_CANCELLED, EXCHANGE_NOT_BASE64, EXCHANGE_TOO_LONG };

/* Send a challenge and read the response. */
static enum exchanged exchange(struct smtp_session *s, struct slice challenge, struct buf *response)
{
	AUTO_BUF struct buf out = BUF_INIT(32768);
	struct slice line;

	buf_adds(&out, "334 ");
	base64_encode(&out, challenge);
	buf_adds(&out, "\r\n");
	stream_write(&s->s.stream, buf_slice(&out));
	int rc = stream_line(&s->s.stream, SMTP_AUTH_LINE, false, &line);
	if (rc == -EMSGSIZE)
		return EXCHANGE_TOO_LONG;
	if (rc == -EBADMSG)
		return EXCHANGE_NOT_BASE64;
	if (rc <= 0)
		return EXCHANGE_GONE;
	if (slice_eq(line, SLICE("*")))
		return EXCHANGE_CANCELLED;
	buf_reset(response);
	return base64_decode(response, line) ? EXCHANGED : EXCHANGE_NOT_BASE64;
}

/* RFC 4954 §4: the answers to what ends an exchange before its result. */
static enum session_next broken_off(struct smtp_session *s, enum exchanged why)
{
	switch (why) {
	case EXCHANGED:
	case EXCHANGE_GONE:
		return SESSION_CLOSE;
	case EXCHANGE_CANCELLED:
		smtp_reply(s, 501, "5.7.0", "Authentication cancelled");
		break;
	case EXCHANGE_NOT_BASE64:
		smtp_reply(s, 501, "5.5.2", "Cannot decode the response");
		break;
	case EXCHANGE_TOO_LONG:
		smtp_reply(s, 500, "5.5.6", "Authentication exchange line is too long");
		break;
	}
	return SESSION_GO_ON;
}

static enum session_next run_exchange(struct smtp_session *s, const struct smtp_command *c,
				      const struct slice *initial, struct authc_login *login)
{
	AUTO_BUF struct buf exporter = BUF_INIT(256), end_point = BUF_INIT(256);
	AUTO_BUF struct buf challenge = BUF_INIT(AUTHC_RESPONSE_BYTES_MAX);
	AUTO_BUF struct buf response = BUF_INIT(SMTP_AUTH_LINE);
	struct authc_sasl *sasl = NULL;
	struct authc_peer peer;

	describe_peer(s, &exporter, &end_point, &peer);
	enum authc_result r = authc_sasl_start(s->s.sv->authc, &peer, c->arg, initial, &challenge,
					       login, &sasl);
	while (r == AUTHC_MORE) {
		enum exchanged e = exchange(s, buf_slice(&challenge), &response);
		if (e != EXCHANGED) {
			authc_sasl_cancel(&sasl);
			return broken_off(s, e);
		}
		buf_reset(&challenge);
		r = authc_sasl_step(&sasl, buf_slice(&response), &challenge, login);
	}
	if (response.ptr != NULL)
		explicit_bzero(response.ptr, response.cap);
	if (r == AUTHC_OK) {
		event_str(s->s.ev, "user", login->address);
		s->login = login;
		session_rights_begin(&s->s, login);
	}
	return answer(s, r);
}

enum session_next submission_auth(struct smtp_session *s, const struct smtp_command *c)
{
	AUTO_BUF struct buf initial = BUF_INIT(SMTP_AUTH_LINE);
	struct slice text;

	if (s->helo == NULL || !s->esmtp || s->login != NULL || s->in_mail) {
		smtp_reply(s, 503, "5.5.1",
			   s->login != NULL ? "Authenticated already" : "AUTH is not allowed now");
		return SESSION_GO_ON;
	}
	/* RFC 4954 §4: "=" is an empty initial response. */
	if (c->initial.ptr != NULL && !slice_eq(c->initial, SLICE("=")) &&
	    !base64_decode(&initial, c->initial)) {
		smtp_reply(s, 501, "5.5.2", "Cannot decode the initial response");
		return SESSION_GO_ON;
	}
	struct authc_login *login = calloc(1, sizeof(*login));
	if (login == NULL) {
		smtp_reply(s, 454, "4.7.0", "Out of memory, try later");
		return SESSION_GO_ON;
	}
	text = buf_slice(&initial);
	enum session_next next = run_exchange(s, c, c->initial.ptr == NULL ? NULL : &text, login);
	if (s->login == NULL)
		free(login);
	return next;
}

/* True, or the answer was given. */
static bool may_post(struct smtp_session *s)
{
	struct session_object o = { .owner = slice_str(s->login->address), .own = true };
	struct policy_denial why;

	if (session_may(&s->s, POLICY_MAILBOX_POST, &o, "submission", &why))
		return true;
	smtp_reply(s, 550, "5.7.1", why.text);
	return false;
}

bool submission_sender_ok(struct smtp_session *s, const struct smtp_mail *mail)
{
	if (s->login == NULL) {
		if (s->s.stream.tls == NULL && !session_plain_allowed(&s->s))
			smtp_reply(s, 530, "5.7.0", "Must issue a STARTTLS command first");
		else
			smtp_reply(s, 530, "5.7.0", "Authentication required");
		return false;
	}
	switch (authc_sender_allowed(s->s.sv->authc, s->login->grant, mail->from.text)) {
	case AUTHC_OK:
		return may_post(s);
	case AUTHC_REJECTED:
		smtp_reply(s, 553, "5.7.1", "This sender address is not yours");
		return false;
	default:
		smtp_reply(s, 451, "4.3.0", "Directory is not available, try later");
		return false;
	}
}
