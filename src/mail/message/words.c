#include "mail/message/words.h"

#include "mail/message/charset.h"
#include "mail/message/transfer.h"

bool words_needed(struct slice value)
{
	for (size_t i = 0; i < value.len; i++)
		if (value.ptr[i] >= 0x80 || (value.ptr[i] == '=' && i + 1 < value.len && value.ptr[i + 1] == '?'))
			return true;
	return false;
}

static bool only_blanks(struct slice s)
{
	return slice_trim(s).len == 0;
}

/*
 * An encoded-word behind its "=?": charset ["*" language] "?" encoding "?" text "?=". Returns the bytes that it
 * takes, 0 when it is none. `text` gets the raw decoded bytes, not yet converted.
 */
static size_t encoded_word(struct slice s, const struct charset **charset, struct buf *text)
{
	/* RFC 2047 §2 says 75 bytes; longer ones are common. No part may hold "?". */
	size_t q1 = slice_find_byte(s, '?');
	if (q1 == SLICE_NPOS || s.len - q1 < 5 || s.ptr[q1 + 2] != '?')
		return 0;
	struct slice rest = slice_from(s, q1 + 3);
	size_t q3 = slice_find_byte(rest, '?');
	if (q3 == SLICE_NPOS || q3 + 1 >= rest.len || rest.ptr[q3 + 1] != '=')
		return 0;
	struct slice name = slice_head(s, q1), language;
	(void)slice_cut(name, '*', &name, &language);	/* RFC 2231 §5 */
	buf_reset(text);
	switch (s.ptr[q1 + 1] | 0x20) {
	case 'q':
		transfer_q_word(text, slice_head(rest, q3));
		break;
	case 'b':
		transfer_base64(text, slice_head(rest, q3));
		break;
	default:
		return 0;
	}
	*charset = charset_find(name);
	return q1 + 3 + q3 + 2;
}

/*
 * The look for "?" in encoded_word could make hostile text ("=?=?=?...") quadratic; each look stops at the next
 * "?", which is at most two bytes behind the next "=?", so it is not.
 */
void words_decode(struct buf *out, struct slice value)
{
	static const struct charset *const utf8 = NULL;	/* unknown charset: valid UTF-8 stays */
	AUTO_BUF struct buf text = BUF_INIT(value.len + 64);
	struct charset_conv conv = { 0 };
	bool open = false;			/* conv has text of an encoded-word */
	size_t start = 0, at = 0;

	while (at + 1 < value.len) {
		if (value.ptr[at] != '=' || value.ptr[at + 1] != '?') {
			at++;
			continue;
		}
		const struct charset *charset = NULL;
		size_t len = encoded_word(slice_from(value, at + 2), &charset, &text);
		struct slice before = slice_sub(value, start, at);
		if (len == 0) {
			at += 2;
			continue;
		}
		/* Blanks between two encoded-words are not shown (RFC 2047 §6.2). */
		bool adjacent = open && only_blanks(before);
		if (open && (!adjacent || conv.cs != charset)) {
			charset_end(&conv, out);
			open = false;
		}
		if (!adjacent)
			charset_to_utf8(utf8, out, before);
		if (!open)
			conv = charset_conv(charset);
		/* A character may be cut between two words of one charset: against the RFC, but seen. */
		charset_feed(&conv, out, buf_slice(&text));
		open = true;
		at += 2 + len;
		start = at;
	}
	if (open)
		charset_end(&conv, out);
	charset_to_utf8(utf8, out, slice_from(value, start));
}

static int hex_of(uint8_t c)
{
	if (ascii_digit(c))
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void words_decode_2231(struct buf *out, struct slice value)
{
	struct slice charset, rest, language, text;

	if (!slice_cut(value, '\'', &charset, &rest) || !slice_cut(rest, '\'', &language, &text)) {
		charset_to_utf8(NULL, out, value);
		return;
	}
	AUTO_BUF struct buf raw = BUF_INIT(text.len + 1);
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] == '%' && text.len - i > 2 && hex_of(text.ptr[i + 1]) >= 0 &&
		    hex_of(text.ptr[i + 2]) >= 0) {
			buf_addc(&raw, (uint8_t)(hex_of(text.ptr[i + 1]) << 4 | hex_of(text.ptr[i + 2])));
			i += 2;
		} else {
			buf_addc(&raw, text.ptr[i]);
		}
	}
	charset_to_utf8(charset_find(charset), out, buf_slice(&raw));
}
