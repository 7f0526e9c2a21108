#include "mail/message/charset.h"

#include <errno.h>
#include <iconv.h>

#include "mail/message/limits.h"

enum kind { KIND_UTF8, KIND_LATIN1, KIND_ICONV };

struct charset {
	const char *name;		/* for iconv */
	enum kind kind;
	const char *const *aliases;	/* lower case, NULL at the end; the first is the name itself */
};

#define ALIASES(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* Names as in the IANA registry, plus what mail programs write. ASCII counts as UTF-8: it is a part of it. */
static const struct charset charsets[] = {
	{ "UTF-8", KIND_UTF8, ALIASES("utf-8", "utf8", "unicode-1-1-utf-8", "us-ascii", "ascii", "ansi_x3.4-1968",
				      "iso646-us", "us", "ansi_x3.110-1983", "646") },
	{ "ISO-8859-1", KIND_LATIN1, ALIASES("iso-8859-1", "iso8859-1", "iso_8859-1", "latin1", "l1", "cp819",
					     "iso88591", "8859_1") },
	{ "WINDOWS-1252", KIND_ICONV, ALIASES("windows-1252", "cp1252", "cp-1252", "ms-ansi", "win-1252") },
	{ "WINDOWS-1250", KIND_ICONV, ALIASES("windows-1250", "cp1250") },
	{ "WINDOWS-1251", KIND_ICONV, ALIASES("windows-1251", "cp1251", "cp-1251", "win-1251") },
	{ "WINDOWS-1253", KIND_ICONV, ALIASES("windows-1253", "cp1253") },
	{ "WINDOWS-1254", KIND_ICONV, ALIASES("windows-1254", "cp1254") },
	{ "WINDOWS-1255", KIND_ICONV, ALIASES("windows-1255", "cp1255") },
	{ "WINDOWS-1256", KIND_ICONV, ALIASES("windows-1256", "cp1256") },
	{ "WINDOWS-1257", KIND_ICONV, ALIASES("windows-1257", "cp1257") },
	{ "WINDOWS-1258", KIND_ICONV, ALIASES("windows-1258", "cp1258") },
	{ "WINDOWS-874", KIND_ICONV, ALIASES("windows-874", "cp874") },
	{ "ISO-8859-2", KIND_ICONV, ALIASES("iso-8859-2", "iso8859-2", "iso_8859-2", "latin2", "l2") },
	{ "ISO-8859-3", KIND_ICONV, ALIASES("iso-8859-3", "iso8859-3", "latin3") },
	{ "ISO-8859-4", KIND_ICONV, ALIASES("iso-8859-4", "iso8859-4", "latin4") },
	{ "ISO-8859-5", KIND_ICONV, ALIASES("iso-8859-5", "iso8859-5", "cyrillic") },
	{ "ISO-8859-6", KIND_ICONV, ALIASES("iso-8859-6", "iso8859-6", "iso-8859-6-i", "arabic") },
	{ "ISO-8859-7", KIND_ICONV, ALIASES("iso-8859-7", "iso8859-7", "greek") },
	{ "ISO-8859-8", KIND_ICONV, ALIASES("iso-8859-8", "iso8859-8", "iso-8859-8-i", "iso-8859-8-e", "hebrew") },
	{ "ISO-8859-9", KIND_ICONV, ALIASES("iso-8859-9", "iso8859-9", "latin5") },
	{ "ISO-8859-10", KIND_ICONV, ALIASES("iso-8859-10", "iso8859-10", "latin6") },
	{ "ISO-8859-11", KIND_ICONV, ALIASES("iso-8859-11", "tis-620", "iso8859-11") },
	{ "ISO-8859-13", KIND_ICONV, ALIASES("iso-8859-13", "iso8859-13") },
	{ "ISO-8859-14", KIND_ICONV, ALIASES("iso-8859-14", "iso8859-14") },
	{ "ISO-8859-15", KIND_ICONV, ALIASES("iso-8859-15", "iso8859-15", "iso_8859-15", "latin-9", "latin9") },
	{ "ISO-8859-16", KIND_ICONV, ALIASES("iso-8859-16", "iso8859-16") },
	{ "KOI8-R", KIND_ICONV, ALIASES("koi8-r", "koi8r", "cskoi8r") },
	{ "KOI8-U", KIND_ICONV, ALIASES("koi8-u", "koi8u") },
	{ "IBM850", KIND_ICONV, ALIASES("ibm850", "cp850", "850") },
	{ "IBM437", KIND_ICONV, ALIASES("ibm437", "cp437", "437") },
	{ "IBM852", KIND_ICONV, ALIASES("ibm852", "cp852", "852") },
	{ "IBM866", KIND_ICONV, ALIASES("ibm866", "cp866", "866") },
	{ "MACINTOSH", KIND_ICONV, ALIASES("macintosh", "mac", "x-mac-roman") },
	{ "ISO-2022-JP", KIND_ICONV, ALIASES("iso-2022-jp") },
	{ "ISO-2022-JP-2", KIND_ICONV, ALIASES("iso-2022-jp-2") },
	{ "ISO-2022-KR", KIND_ICONV, ALIASES("iso-2022-kr") },
	{ "EUC-JP", KIND_ICONV, ALIASES("euc-jp", "eucjp", "x-euc-jp") },
	{ "EUC-KR", KIND_ICONV, ALIASES("euc-kr", "euckr", "ks_c_5601-1987", "ksc5601", "ks_c_5601") },
	{ "UHC", KIND_ICONV, ALIASES("uhc", "cp949", "windows-949") },
	{ "CP932", KIND_ICONV, ALIASES("shift_jis", "shift-jis", "sjis", "x-sjis", "cp932", "windows-31j", "ms_kanji") },
	{ "GBK", KIND_ICONV, ALIASES("gbk", "cp936", "gb2312", "gb_2312-80", "x-gbk", "windows-936", "euc-cn") },
	{ "GB18030", KIND_ICONV, ALIASES("gb18030") },
	{ "BIG5-HKSCS", KIND_ICONV, ALIASES("big5", "big-5", "big5-hkscs", "cp950", "x-big5", "cn-big5") },
	{ "VISCII", KIND_ICONV, ALIASES("viscii") },
	{ "UTF-7", KIND_ICONV, ALIASES("utf-7", "unicode-1-1-utf-7", "utf7") },
	{ "UTF-16", KIND_ICONV, ALIASES("utf-16", "utf16") },
	{ "UTF-16BE", KIND_ICONV, ALIASES("utf-16be") },
	{ "UTF-16LE", KIND_ICONV, ALIASES("utf-16le") },
	{ "UTF-32", KIND_ICONV, ALIASES("utf-32") },
};

_Static_assert(ARRAY_LEN(charsets) <= CHARSET_OPEN_MAX, "every charset has a slot in `pins`");

/*
 * One open descriptor a charset, set by charset_init before the sandbox and only compared with NULL
 * afterwards: while it is open, iconv_open of the same pair finds all it needs in memory.
 */
static iconv_t pins[CHARSET_OPEN_MAX];

unsigned int charset_init(void)
{
	unsigned int works = 0;

	for (size_t i = 0; i < ARRAY_LEN(charsets); i++) {
		if (charsets[i].kind == KIND_ICONV && pins[i] == NULL) {
			iconv_t cd = iconv_open("UTF-8", charsets[i].name);
			pins[i] = cd == (iconv_t)-1 ? NULL : cd;
		}
		works += charsets[i].kind != KIND_ICONV || pins[i] != NULL;
	}
	return works;
}

void charset_done(void)
{
	for (size_t i = 0; i < ARRAY_LEN(charsets); i++) {
		if (pins[i] != NULL)
			iconv_close(pins[i]);
		pins[i] = NULL;
	}
}

const struct charset *charset_find(struct slice name)
{
	if (name.len == 0 || name.len > CHARSET_NAME_MAX)
		return NULL;
	for (size_t i = 0; i < ARRAY_LEN(charsets); i++) {
		if (charsets[i].kind == KIND_ICONV && pins[i] == NULL)
			continue;
		for (const char *const *alias = charsets[i].aliases; *alias != NULL; alias++)
			if (slice_eq_nocase(name, slice_str(*alias)))
				return &charsets[i];
	}
	return NULL;
}

bool charset_is_utf8(const struct charset *cs)
{
	return cs != NULL && cs->kind == KIND_UTF8;
}

static void replace(struct charset_conv *conv, struct buf *out)
{
	if (!conv->replaced)
		buf_add(out, SLICE("\xef\xbf\xbd"));
	conv->replaced = true;
}

/*
 * Length of the UTF-8 sequence at s (RFC 3629: no overlong forms, no surrogates): 1..4; 0 malformed; -1 the text ends
 * inside it.
 */
static int utf8_len(struct slice s)
{
	uint8_t c = s.ptr[0], lo = 0x80, hi = 0xbf;
	int n = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;

	if (c == 0xe0)
		lo = 0xa0;
	else if (c == 0xed)
		hi = 0x9f;
	else if (c == 0xf0)
		lo = 0x90;
	else if (c == 0xf4)
		hi = 0x8f;
	for (int i = 1; i < n; i++) {
		if ((size_t)i == s.len)
			return -1;
		if (s.ptr[i] < lo || s.ptr[i] > hi)
			return 0;
		lo = 0x80;
		hi = 0xbf;
	}
	return n;
}

/* Returns how many bytes wait for the next piece. */
static size_t utf8_feed(struct charset_conv *conv, struct buf *out, struct slice in)
{
	size_t good = 0;

	for (size_t i = 0; i < in.len;) {
		if (in.ptr[i] < 0x80) {
			i++;
			continue;
		}
		int n = utf8_len(slice_from(in, i));
		if (n > 0) {
			i += (size_t)n;
			continue;
		}
		if (i > good) {
			buf_add(out, slice_sub(in, good, i));
			conv->replaced = false;
		}
		if (n < 0)
			return in.len - i;
		replace(conv, out);
		good = ++i;
	}
	if (in.len > good) {
		buf_add(out, slice_from(in, good));
		conv->replaced = false;
	}
	return 0;
}

static void latin1_feed(struct buf *out, struct slice in)
{
	size_t run = 0;

	for (size_t i = 0; i < in.len; i++) {
		if (in.ptr[i] < 0x80)
			continue;
		buf_add(out, slice_sub(in, run, i));
		buf_addc(out, (uint8_t)(0xc0 | in.ptr[i] >> 6));
		buf_addc(out, (uint8_t)(0x80 | (in.ptr[i] & 0x3f)));
		run = i + 1;
	}
	buf_add(out, slice_from(in, run));
}

static size_t iconv_feed(struct charset_conv *conv, struct buf *out, struct slice in)
{
	/* iconv(3) does not write to its input, though its prototype lets it. */
	char *from = (char *)(uintptr_t)in.ptr;
	size_t from_len = in.len;

	while (from_len > 0) {
		uint8_t *room = buf_room(out, from_len + 64);
		if (room == NULL)
			return 0;
		char *to = (char *)room;
		size_t to_len = from_len + 64, before = to_len;
		size_t r = iconv(conv->cd, &from, &from_len, &to, &to_len);
		int err = errno;
		buf_commit(out, before - to_len);
		if (before != to_len)
			conv->replaced = false;
		if (r != (size_t)-1 || err == E2BIG)
			continue;
		if (err == EINVAL && from_len < sizeof(conv->carry))
			return from_len;
		replace(conv, out);
		from++;
		from_len--;
	}
	return 0;
}

static size_t feed(struct charset_conv *conv, struct buf *out, struct slice in)
{
	if (conv->cs != NULL && conv->cs->kind == KIND_ICONV && !conv->opened) {
		iconv_t cd = iconv_open("UTF-8", conv->cs->name);
		conv->opened = true;
		if (cd != (iconv_t)-1)
			conv->cd = cd;
		else
			conv->cs = NULL;
	}
	if (conv->cs == NULL || conv->cs->kind == KIND_UTF8)
		return utf8_feed(conv, out, in);
	if (conv->cs->kind == KIND_ICONV)
		return iconv_feed(conv, out, in);
	latin1_feed(out, in);
	return 0;
}

void charset_feed(struct charset_conv *conv, struct buf *out, struct slice in)
{
	if (in.len == 0)
		return;
	while (conv->carry_len > 0 && in.len > 0) {
		/* Finish the character that the last piece cut, a byte at a time. */
		uint8_t bytes[sizeof(conv->carry)];
		size_t n = conv->carry_len;
		memcpy(bytes, conv->carry, n);
		bytes[n++] = in.ptr[0];
		in = slice_from(in, 1);
		size_t left = feed(conv, out, slice_of(bytes, n));
		if (left == sizeof(conv->carry)) {
			replace(conv, out);
			left = 0;
		}
		memcpy(conv->carry, bytes + n - left, left);
		conv->carry_len = left;
	}
	if (in.len == 0)
		return;
	size_t left = feed(conv, out, in);
	if (left > 0)
		memcpy(conv->carry, in.ptr + in.len - left, left);
	conv->carry_len = left;
}

void charset_end(struct charset_conv *conv, struct buf *out)
{
	if (conv->carry_len > 0)
		replace(conv, out);
	conv->carry_len = 0;
	if (conv->cd != NULL)
		iconv_close(conv->cd);
	conv->cd = NULL;
	conv->opened = false;
}

void charset_to_utf8(const struct charset *cs, struct buf *out, struct slice in)
{
	struct charset_conv conv = charset_conv(cs);

	charset_feed(&conv, out, in);
	charset_end(&conv, out);
}
