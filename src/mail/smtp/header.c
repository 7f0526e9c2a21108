#include "mail/smtp/header.h"

#include "base/date.h"

const char *smtp_with_keyword(const struct smtp_trace *t)
{
	/* [utf8][lmtp][tls][auth]; RFC 3848 and RFC 6531 §4.3 register exactly these. */
	static const char *const words[2][2][2][2] = {
		{ { { "ESMTP", "ESMTPA" }, { "ESMTPS", "ESMTPSA" } },
		  { { "LMTP", "LMTPA" }, { "LMTPS", "LMTPSA" } } },
		{ { { "UTF8SMTP", "UTF8SMTPA" }, { "UTF8SMTPS", "UTF8SMTPSA" } },
		  { { "UTF8LMTP", "UTF8LMTPA" }, { "UTF8LMTPS", "UTF8LMTPSA" } } },
	};

	if (!t->esmtp && !t->lmtp)
		return "SMTP";
	return words[t->utf8][t->lmtp][t->tls.len > 0][t->authenticated];
}

/*
 * The client chose these bytes. What could end the field, open a comment or look like another
 * clause is replaced, so that a client cannot write a Received field of somebody else.
 */
static void add_atom(struct buf *out, struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.ptr[i];
		buf_addc(out, c <= ' ' || c == 0x7f || strchr("()<>;\"\\,", c) != NULL ? '?' : c);
	}
}

void smtp_received_write(struct buf *out, const struct smtp_trace *t)
{
	buf_adds(out, "Received: from ");
	add_atom(out, t->helo.len > 0 ? t->helo : SLICE("unknown"));
	if (t->address.len > 0) {
		buf_adds(out, slice_find_byte(t->address, ':') == SLICE_NPOS ? " ([" : " ([IPv6:");
		add_atom(out, t->address);
		buf_adds(out, "])");
	}
	buf_adds(out, "\r\n\tby ");
	buf_add(out, t->host);
	buf_adds(out, " with ");
	buf_adds(out, smtp_with_keyword(t));
	buf_adds(out, " id ");
	buf_add(out, t->id);
	if (t->recipient.len > 0) {
		buf_adds(out, "\r\n\tfor <");
		buf_add(out, t->recipient);
		buf_addc(out, '>');
	}
	if (t->tls.len > 0) {
		buf_adds(out, "\r\n\ttls ");
		add_atom(out, t->tls);
	}
	buf_adds(out, ";\r\n\t");
	date_rfc5322(out, t->when_s);
	buf_adds(out, "\r\n");
}

bool smtp_header_end(struct slice message, size_t from, size_t *end)
{
	size_t at = from < 3 ? 0 : from - 3;

	if (slice_starts(message, SLICE("\r\n"))) {
		*end = 2;
		return true;
	}
	for (;;) {
		const uint8_t *lf = at >= message.len ?
			NULL : memchr(message.ptr + at, '\n', message.len - at);
		if (lf == NULL)
			return false;
		at = (size_t)(lf - message.ptr) + 1;
		if (message.len - at < 2)
			return false;
		if (message.ptr[at] == '\r' && message.ptr[at + 1] == '\n') {
			*end = at + 2;
			return true;
		}
	}
}

/* Length of the first line with its LF, or of all. */
static size_t line_len(struct slice s)
{
	size_t lf = slice_find_byte(s, '\n');

	return lf == SLICE_NPOS ? s.len : lf + 1;
}

bool smtp_field_next(struct slice *header, struct smtp_field *field)
{
	struct slice s = *header;
	size_t colon = 0, n;

	/* RFC 5322 §2.2: printable ASCII but the colon; blanks before the colon are obsolete (§4.5). */
	while (colon < s.len && s.ptr[colon] > ' ' && s.ptr[colon] != ':' && s.ptr[colon] < 0x7f)
		colon++;
	size_t name_len = colon;
	while (colon < s.len && (s.ptr[colon] == ' ' || s.ptr[colon] == '\t'))
		colon++;
	if (name_len == 0 || colon == s.len || s.ptr[colon] != ':')
		return false;
	n = line_len(s);
	while (n < s.len && (s.ptr[n] == ' ' || s.ptr[n] == '\t'))
		n += line_len(slice_from(s, n));
	field->name = slice_head(s, name_len);
	field->value = slice_sub(s, colon + 1, n);
	field->whole = slice_head(s, n);
	*header = slice_from(s, n);
	return true;
}

bool smtp_header_starts(struct slice message)
{
	struct smtp_field f;

	return message.len == 0 || slice_starts(message, SLICE("\r\n")) ||
	       slice_starts(message, SLICE("From ")) || slice_starts(message, SLICE(">From ")) ||
	       smtp_field_next(&message, &f);
}

void smtp_header_look(struct slice header, struct smtp_header_facts *out)
{
	struct smtp_field f;

	*out = (struct smtp_header_facts){ 0 };
	while (smtp_field_next(&header, &f)) {
		out->received += slice_eq_nocase(f.name, SLICE("Received"));
		out->date |= slice_eq_nocase(f.name, SLICE("Date"));
		out->message_id |= slice_eq_nocase(f.name, SLICE("Message-ID"));
		out->delivered_to |= slice_eq_nocase(f.name, SLICE("Delivered-To"));
		out->from |= slice_eq_nocase(f.name, SLICE("From"));
	}
}

bool smtp_header_delivered_to(struct slice header, struct slice address)
{
	struct smtp_field f;

	while (smtp_field_next(&header, &f))
		if (slice_eq_nocase(f.name, SLICE("Delivered-To")) &&
		    slice_eq_nocase(slice_trim(f.value), address))
			return true;
	return false;
}

void smtp_header_complete(struct slice header, int64_t when_s, struct slice id, struct slice host,
			  struct buf *out)
{
	struct smtp_header_facts facts;
	struct smtp_field f;

	smtp_header_look(header, &facts);
	/* New fields go to the top: a header that ends in the middle of a line must not swallow them. */
	if (!facts.date) {
		buf_adds(out, "Date: ");
		date_rfc5322(out, when_s);
		buf_adds(out, "\r\n");
	}
	if (!facts.message_id) {
		buf_adds(out, "Message-ID: <");
		buf_add(out, id);
		buf_addc(out, '@');
		buf_add(out, host);
		buf_adds(out, ">\r\n");
	}
	while (smtp_field_next(&header, &f))
		if (!slice_eq_nocase(f.name, SLICE("Bcc")) &&
		    !slice_eq_nocase(f.name, SLICE("Resent-Bcc")))
			buf_add(out, f.whole);
	/* A message without any field needs the empty line that ends the new ones. */
	if (header.len > 0 && !slice_starts(header, SLICE("\r\n")))
		buf_adds(out, "\r\n");
	buf_add(out, header);
}
