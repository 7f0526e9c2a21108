#include "mail/directory/address.h"

#include <idn2.h>
#include <stdlib.h>
#include <uninorm.h>

#include "base/utf8.h"

/* RFC 5322 §3.2.3 specials, and the blank: not in a local part without quotes. */
static bool local_plain_byte(uint8_t c)
{
	return c > ' ' && c != 0x7f && strchr("()<>[]:;@\\,\"", c) == NULL;
}

/*
 * The bytes of a quoted local part without quotes and backslashes (RFC 5321 §4.1.2
 * Quoted-string). False unless it is one quoted string from end to end.
 */
static bool unquote(struct slice in, uint8_t *out, size_t *out_len)
{
	size_t n = 0;

	if (in.len < 2 || in.ptr[0] != '"' || in.ptr[in.len - 1] != '"')
		return false;
	for (size_t i = 1; i < in.len - 1; i++) {
		uint8_t c = in.ptr[i];

		if (c == '\\') {
			if (++i >= in.len - 1)
				return false;
			c = in.ptr[i];
		} else if (c == '"') {
			return false;
		}
		if (c < ' ' || c == 0x7f)
			return false;
		out[n++] = c;
	}
	*out_len = n;
	return true;
}

/* UTF-8 to NFC in the arena; ASCII is copied. */
static bool to_nfc(struct arena *arena, struct slice in, struct slice *out)
{
	size_t len = 0;
	uint8_t *nfc;

	if (utf8_is_ascii(in)) {
		*out = arena_dup(arena, in);
		return out->ptr != NULL;
	}
	if (!utf8_valid(in))
		return false;
	nfc = u8_normalize(UNINORM_NFC, in.ptr, in.len, NULL, &len);
	if (nfc == NULL)
		return false;
	*out = arena_dup(arena, slice_of(nfc, len));
	free(nfc);
	return out->ptr != NULL;
}

static struct slice fold(struct arena *arena, struct slice in)
{
	uint8_t *to = arena_alloc(arena, in.len);

	if (to == NULL)
		return (struct slice){ 0 };
	for (size_t i = 0; i < in.len; i++)
		to[i] = ascii_lower(in.ptr[i]);
	return slice_of(to, in.len);
}

/* Letters, digits, inner hyphens, and "_", which is seen in the wild. Length of each label. */
static bool labels_good(struct slice domain)
{
	size_t label = 0;
	uint8_t before = '.';

	if (domain.len == 0 || domain.len > ADDRESS_DOMAIN_BYTES_MAX)
		return false;
	for (size_t i = 0; i < domain.len; i++) {
		uint8_t c = domain.ptr[i];

		if (c == '.') {
			if (label == 0 || before == '-')
				return false;
			label = 0;
		} else {
			if (!ascii_alpha(c) && !ascii_digit(c) && c != '-' && c != '_')
				return false;
			if ((c == '-' && label == 0) || ++label > ADDRESS_LABEL_BYTES_MAX)
				return false;
		}
		before = c;
	}
	return label > 0 && before != '-';
}

bool mail_address_domain(struct arena *arena, struct slice text, struct slice *out)
{
	char in[ADDRESS_DOMAIN_BYTES_MAX + 1];
	uint8_t *ascii = NULL;
	struct slice done;

	if (text.len == 0 || !slice_to_str(text, in, sizeof(in)))
		return false;
	if (utf8_is_ascii(text)) {
		done = fold(arena, text);
	} else {
		if (!utf8_valid(text))
			return false;
		/* UTS #46 without the transitional mappings folds case, too. */
		if (idn2_lookup_u8((const uint8_t *)in, &ascii,
				   IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK)
			return false;
		done = fold(arena, slice_str((const char *)ascii));
		idn2_free(ascii);
	}
	if (done.ptr == NULL || !labels_good(done))
		return false;
	*out = done;
	return true;
}

/* "[192.0.2.1]", "[IPv6:2001:db8::1]": kept as text, since none of them is ever ours. */
static bool literal(struct arena *arena, struct slice text, struct slice *out)
{
	if (text.len < 3 || text.len > ADDRESS_DOMAIN_BYTES_MAX || text.ptr[0] != '[' ||
	    text.ptr[text.len - 1] != ']')
		return false;
	for (size_t i = 1; i < text.len - 1; i++) {
		uint8_t c = text.ptr[i];

		if (!ascii_alpha(c) && !ascii_digit(c) && c != ':' && c != '.' && c != '-')
			return false;
	}
	*out = fold(arena, text);
	return out->ptr != NULL;
}

static bool parse_local(struct arena *arena, struct slice text, struct address *out)
{
	/* Quotes and one backslash a byte may stand around 64 bytes. */
	uint8_t raw[2 * ADDRESS_LOCAL_BYTES_MAX + 2];
	size_t len = 0;

	if (text.len == 0 || text.len > sizeof(raw))
		return false;
	if (text.ptr[0] == '"') {
		if (!unquote(text, raw, &len))
			return false;
	} else {
		for (size_t i = 0; i < text.len; i++)
			if (!local_plain_byte(text.ptr[i]))
				return false;
		memcpy(raw, text.ptr, text.len);
		len = text.len;
	}
	if (len == 0 || len > ADDRESS_LOCAL_BYTES_MAX)
		return false;
	if (!to_nfc(arena, slice_of(raw, len), &out->local_as_written))
		return false;
	/* NFC may be longer than what came (U+0958 and the like). */
	if (out->local_as_written.len > ADDRESS_LOCAL_BYTES_MAX)
		return false;
	out->local = fold(arena, out->local_as_written);
	return out->local.ptr != NULL;
}

bool mail_address_parse(struct arena *arena, struct slice text, struct address *out)
{
	/* The last one: a quoted local part may hold others, a domain never does. */
	size_t at = slice_rfind_byte(text, '@');
	struct address a = { 0 };
	struct slice domain;
	uint8_t *whole;

	if (at == SLICE_NPOS || at == 0)
		return false;
	domain = slice_from(text, at + 1);
	if (!parse_local(arena, slice_head(text, at), &a))
		return false;
	if (!literal(arena, domain, &a.domain) && !mail_address_domain(arena, domain, &a.domain))
		return false;
	whole = arena_alloc(arena, a.local.len + 1 + a.domain.len);
	if (whole == NULL)
		return false;
	memcpy(whole, a.local.ptr, a.local.len);
	whole[a.local.len] = '@';
	memcpy(whole + a.local.len + 1, a.domain.ptr, a.domain.len);
	a.text = slice_of(whole, a.local.len + 1 + a.domain.len);
	*out = a;
	return true;
}

bool mail_address_detail(const struct address *a, char separator, struct slice *user, struct slice *detail)
{
	size_t at;

	if (separator == 0)
		return false;
	at = slice_find_byte(a->local, (uint8_t)separator);
	if (at == SLICE_NPOS || at == 0)
		return false;
	*user = slice_head(a->local, at);
	*detail = slice_from(a->local_as_written, at + 1);
	return true;
}
