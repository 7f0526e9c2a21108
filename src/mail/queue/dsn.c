#include "mail/queue/dsn.h"

#include "base/date.h"
#include "base/hex.h"
#include "base/utf8.h"
#include "mail/queue/limits.h"
#include "mail/smtp/command.h"

bool dsn_wants(const struct queue_entry *e, const struct queue_item *it, enum dsn_action action)
{
	if ((it->notify & SMTP_NOTIFY_NEVER) != 0)
		return false;
	switch (action) {
	case DSN_FAILED:		/* RFC 3461 §4.1: failure is told when NOTIFY is absent */
		return it->state == QUEUE_FAILED &&
		       (it->notify == 0 || (it->notify & SMTP_NOTIFY_FAILURE) != 0);
	case DSN_DELAYED:		/* §4.1: without NOTIFY delay is ours to decide */
		return it->state == QUEUE_WAITING && !e->delay_told &&
		       (it->notify == 0 || (it->notify & SMTP_NOTIFY_DELAY) != 0);
	case DSN_DELIVERED:
		return it->state == QUEUE_STORED && (it->notify & SMTP_NOTIFY_SUCCESS) != 0;
	}
	return false;
}

static const struct {
	const char *subject, *word, *sentence;
} texts[] = {
	[DSN_FAILED] = { "Undelivered mail returned to sender", "failed",
			 "Your message could not be delivered to the recipients below. It will not be "
			 "tried again." },
	[DSN_DELAYED] = { "Mail is delayed", "delayed",
			  "Your message could not be delivered yet to the recipients below. You need not "
			  "do anything: it is tried again." },
	[DSN_DELIVERED] = { "Mail was delivered", "delivered",
			    "Your message was delivered to the recipients below, as you asked to be told." },
};

static bool is_ascii(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] < 0x20 || s.ptr[i] > 0x7e)
			return false;
	return true;
}

/* Fit to stand in a field of a notice. */
static bool is_printable(struct slice s, bool utf8)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] < 0x20 || s.ptr[i] == 0x7f || (s.ptr[i] > 0x7f && !utf8))
			return false;
	return !utf8 || utf8_valid(s);
}

/* utf-8-addr-xtext of RFC 6533 §3: what is not ASCII, and what means something there, as \x{HEX}. */
static void add_escaped(struct buf *out, struct slice address)
{
	uint32_t c;

	while (utf8_next(&address, &c)) {
		if (c > 0x20 && c < 0x7f && c != '+' && c != '=' && c != '\\')
			buf_addc(out, (uint8_t)c);
		else
			buf_printf(out, "\\x{%X}", (unsigned)c);
	}
}

/* "rfc822; ann@example.org", or "utf-8; ..." (RFC 6533 §3). */
static void add_address(struct buf *out, struct slice address, bool utf8)
{
	if (is_ascii(address)) {
		buf_adds(out, "rfc822; ");
		buf_add(out, address);
		return;
	}
	buf_adds(out, "utf-8; ");
	if (utf8)
		buf_add(out, address);
	else
		add_escaped(out, address);
}

/* "Original-Recipient: rfc822; bob@old.example": as the client gave it, out of its xtext (RFC 3461 §6.3). */
static void add_orcpt(struct buf *out, struct slice orcpt, bool utf8)
{
	AUTO_BUF struct buf plain = BUF_INIT(QUEUE_ORCPT_BYTES_MAX);
	struct slice type, address;

	slice_cut(orcpt, ';', &type, &address);
	/* The address of type utf-8 has an encoding of its own, which may stand here as it is. */
	if (!slice_eq_nocase(type, SLICE("utf-8"))) {
		if (!smtp_xtext_decode(address, &plain))
			return;
		address = buf_slice(&plain);
	}
	if (!is_printable(address, utf8))
		return;			/* a line end, for instance: it would write fields of its own */
	buf_adds(out, "Original-Recipient: ");
	buf_add(out, type);
	buf_adds(out, "; ");
	buf_add(out, address);
	buf_adds(out, "\r\n");
}

static struct slice status_code(struct slice status)
{
	struct slice code, text;

	slice_cut(status, ' ', &code, &text);
	return code.len == 0 ? SLICE("4.0.0") : code;
}

static void add_recipients(struct buf *out, const struct dsn *d, enum dsn_action action)
{
	for (size_t i = 0; i < d->entry->count; i++) {
		const struct queue_item *it = &d->entry->items[i];
		if (!dsn_wants(d->entry, it, action))
			continue;
		buf_adds(out, "\r\n");
		if (it->orcpt.len > 0)
			add_orcpt(out, it->orcpt, d->entry->utf8);
		buf_adds(out, "Final-Recipient: ");
		add_address(out, it->address, d->entry->utf8);
		buf_printf(out, "\r\nAction: %s\r\nStatus: ", texts[action].word);
		buf_add(out, status_code(it->status));
		buf_adds(out, "\r\nDiagnostic-Code: X-Prickle; ");
		buf_add(out, it->status);
		buf_adds(out, "\r\nLast-Attempt-Date: ");
		date_rfc5322(out, d->now_s);
		if (action == DSN_DELAYED) {
			buf_adds(out, "\r\nWill-Retry-Until: ");
			date_rfc5322(out, d->give_up_s);
		}
		buf_adds(out, "\r\n");
	}
}

static struct slice header_of(struct slice message)
{
	size_t end = slice_find(message, SLICE("\r\n\r\n"));

	return end == SLICE_NPOS ? message : slice_head(message, end + 2);
}

static bool is_seven_bit(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] >= 0x80 || s.ptr[i] == 0)
			return false;
	return true;
}

static void add_original(struct buf *out, const struct dsn *d, enum dsn_action action)
{
	bool full = d->entry->ret == SMTP_RET_FULL && action == DSN_FAILED &&
		    d->original.len <= QUEUE_DSN_ORIGINAL_BYTES_MAX;
	struct slice text = full ? d->original
				 : slice_head(header_of(d->original), QUEUE_DSN_ORIGINAL_BYTES_MAX);

	/* RFC 6533 §4: only a message with UTF-8 in its header needs a type of its own. */
	bool global = d->entry->utf8 && !is_seven_bit(header_of(text));
	buf_printf(out, "Content-Type: %s\r\n",
		   full ? (global ? "message/global" : "message/rfc822") :
			  (global ? "message/global-headers" : "text/rfc822-headers"));
	if (!is_seven_bit(text))
		buf_adds(out, "Content-Transfer-Encoding: 8bit\r\n");
	buf_adds(out, "\r\n");
	if (full)
		buf_add(out, d->entry->trace);
	buf_add(out, text);
	if (!slice_ends(text, SLICE("\r\n")))
		buf_adds(out, "\r\n");
}

/* RFC 3464 §2.2.1: what the sender meant, so out of its xtext. */
static void add_envid(struct buf *out, struct slice envid)
{
	AUTO_BUF struct buf plain = BUF_INIT(QUEUE_ENVID_BYTES_MAX);

	if (envid.len == 0 || !smtp_xtext_decode(envid, &plain) || !is_printable(buf_slice(&plain), false))
		return;
	buf_adds(out, "Original-Envelope-Id: ");
	buf_add(out, buf_slice(&plain));
	buf_adds(out, "\r\n");
}

void dsn_write(struct buf *out, const struct dsn *d, enum dsn_action action)
{
	AUTO_BUF struct buf mark = BUF_INIT(80);

	/* Random ids make a boundary that the original cannot contain by design. */
	buf_adds(&mark, "dsn-");
	hex_encode(&mark, slice_of(d->entry->id, QUEUE_ID_BYTES));
	buf_printf(&mark, "-%u-%d", d->entry->attempts, (int)action);
	const char *boundary = buf_cstr(&mark);

	buf_printf(out, "From: Mail Delivery System <MAILER-DAEMON@%s>\r\nTo: <", d->hostname);
	buf_add(out, d->entry->sender);
	buf_printf(out, ">\r\nSubject: %s\r\nDate: ", texts[action].subject);
	date_rfc5322(out, d->now_s);
	buf_printf(out, "\r\nMessage-ID: <%s@%s>\r\nMIME-Version: 1.0\r\nAuto-Submitted: auto-replied\r\n"
		   "Content-Type: multipart/report; report-type=%sdelivery-status;\r\n\tboundary=\"%s\"\r\n\r\n",
		   boundary, d->hostname, d->entry->utf8 ? "global-" : "", boundary);

	buf_printf(out, "--%s\r\nContent-Type: text/plain; charset=utf-8\r\n"
		   "Content-Transfer-Encoding: 8bit\r\n\r\nThis is the mail system at host %s.\r\n\r\n%s\r\n\r\n",
		   boundary, d->hostname, texts[action].sentence);
	for (size_t i = 0; i < d->entry->count; i++) {
		const struct queue_item *it = &d->entry->items[i];
		if (!dsn_wants(d->entry, it, action))
			continue;
		buf_adds(out, "  ");
		buf_add(out, it->address);
		buf_adds(out, ": ");
		buf_add(out, it->status);
		buf_adds(out, "\r\n");
	}

	buf_printf(out, "\r\n--%s\r\nContent-Type: message/%sdelivery-status\r\n%s\r\nReporting-MTA: dns; %s\r\n",
		   boundary, d->entry->utf8 ? "global-" : "",
		   d->entry->utf8 ? "Content-Transfer-Encoding: 8bit\r\n" : "", d->hostname);
	add_envid(out, d->entry->envid);
	buf_adds(out, "Arrival-Date: ");
	date_rfc5322(out, d->entry->created_us / 1000000);
	buf_adds(out, "\r\n");
	add_recipients(out, d, action);

	buf_printf(out, "\r\n--%s\r\n", boundary);
	add_original(out, d, action);
	buf_printf(out, "\r\n--%s--\r\n", boundary);
}
