#include "mail/imap/write.h"

#include "mail/imap/lex.h"
#include "mail/imap/utf7.h"

#define QUOTED_BYTES_MAX 1000u

static void write_literal(struct buf *out, struct slice s)
{
	buf_addc(out, '{');
	buf_dec(out, s.len);
	buf_adds(out, "}\r\n");
	for (size_t i = 0; i < s.len; i++)
		buf_addc(out, s.ptr[i] == 0 ? '?' : s.ptr[i]);
}

static void write_quoted(struct buf *out, struct slice s)
{
	buf_addc(out, '"');
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] == '"' || s.ptr[i] == '\\')
			buf_addc(out, '\\');
		buf_addc(out, s.ptr[i]);
	}
	buf_addc(out, '"');
}

static bool can_quote(struct slice s, bool utf8)
{
	if (s.len > QUOTED_BYTES_MAX)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.ptr[i];

		if (c == 0 || c == '\r' || c == '\n' || (c >= 0x80 && !utf8))
			return false;
	}
	return true;
}

void imap_write_string(struct buf *out, struct slice s)
{
	if (can_quote(s, false))
		write_quoted(out, s);
	else
		write_literal(out, s);
}

static bool can_atom(struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (!lex_atom_char(s.ptr[i]))
			return false;
	}
	/* "NIL" would read as nothing; "~" and "{" start other things. */
	return s.len > 0 && !slice_eq_nocase(s, SLICE("NIL")) && s.ptr[0] != '~';
}

void imap_write_astring(struct buf *out, struct slice s)
{
	if (can_atom(s))
		buf_add(out, s);
	else
		imap_write_string(out, s);
}

void imap_write_mailbox(struct buf *out, struct slice name, bool utf8)
{
	struct buf encoded = BUF_INIT(64u * 1024u);

	if (utf8) {
		if (can_atom(name))
			buf_add(out, name);
		else if (can_quote(name, true))
			write_quoted(out, name);
		else
			write_literal(out, name);
		return;
	}
	utf7_encode(name, &encoded);
	imap_write_astring(out, buf_slice(&encoded));
	if (encoded.err != 0)
		out->err = encoded.err;
	buf_done(&encoded);
}

void imap_write_text(struct buf *out, struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		buf_addc(out, text.ptr[i] >= 0x20 && text.ptr[i] < 0x7f ? text.ptr[i] : '?');
}
