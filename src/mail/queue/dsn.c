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

/* "rfc822; ann@example.org", or "utf-8; ..." (RFC 6533 §3). */
static void add_address(struct buf *out, struct slice address)
{
	buf_adds(out, is_ascii(address) ? "rfc822; " : "utf-8; ");
	buf_add(out, address);
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
		if (it->orcpt.len > 0) {
			struct slice type, address;
			slice_cut(it->orcpt, ';', &type, &address);
			buf_adds(out, "Original-Recipient: ");
			buf_add(out, type);
			buf_adds(out, "; ");
			buf_add(out, address);
			buf_adds(out, "\r\n");
		}
		buf_adds(out, "Final-Recipient: ");
		add_address(out, it->address);
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

	buf_printf(out, "Content-Type: %s\r\n", full ? "message/rfc822" : "text/rfc822-headers");
	if (!is_seven_bit(text))
		buf_adds(out, "Content-Transfer-Encoding: 8bit\r\n");
	buf_adds(out, "\r\n");
	if (full)
		buf_add(out, d->entry->trace);
	buf_add(out, text);
	if (!slice_ends(text, SLICE("\r\n")))
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
		   "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%s\"\r\n\r\n",
		   boundary, d->hostname, boundary);

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

	buf_printf(out, "\r\n--%s\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; %s\r\n",
		   boundary, d->hostname);
	if (d->entry->envid.len > 0) {
		buf_adds(out, "Original-Envelope-Id: ");
		buf_add(out, d->entry->envid);
		buf_adds(out, "\r\n");
	}
	buf_adds(out, "Arrival-Date: ");
	date_rfc5322(out, d->entry->created_us / 1000000);
	buf_adds(out, "\r\n");
	add_recipients(out, d, action);

	buf_printf(out, "\r\n--%s\r\n", boundary);
	add_original(out, d, action);
	buf_printf(out, "\r\n--%s--\r\n", boundary);
}
