#include "mail/auth/saslprep.h"

#include <errno.h>
#include <stdlib.h>
#include <unictype.h>
#include <uninorm.h>

#include "base/utf8.h"

struct range {
	uint32_t first, last;
};

static bool in_table(const struct range *table, size_t count, uint32_t c)
{
	for (size_t i = 0; i < count; i++)
		if (c >= table[i].first && c <= table[i].last)
			return true;
	return false;
}

/* RFC 3454 C.1.2, non-ASCII space characters: mapped to a space (RFC 4013 §2.1). */
static const struct range spaces[] = {
	{ 0x00a0, 0x00a0 }, { 0x1680, 0x1680 }, { 0x2000, 0x200b }, { 0x202f, 0x202f },
	{ 0x205f, 0x205f }, { 0x3000, 0x3000 },
};

/* RFC 3454 B.1, commonly mapped to nothing. */
static const struct range nothing[] = {
	{ 0x00ad, 0x00ad }, { 0x034f, 0x034f }, { 0x1806, 0x1806 }, { 0x180b, 0x180d },
	{ 0x200b, 0x200d }, { 0x2060, 0x2060 }, { 0xfe00, 0xfe0f }, { 0xfeff, 0xfeff },
};

/* RFC 3454 C.1.2, C.2.1, C.2.2 and C.3 to C.9 (RFC 4013 §2.3). */
static const struct range prohibited[] = {
	/* C.1.2: normalising may bring back none, but they are on the list */
	{ 0x00a0, 0x00a0 }, { 0x1680, 0x1680 }, { 0x2000, 0x200b }, { 0x202f, 0x202f },
	{ 0x205f, 0x205f }, { 0x3000, 0x3000 },
	/* C.2.1, C.2.2: control characters */
	{ 0x0000, 0x001f }, { 0x007f, 0x009f }, { 0x06dd, 0x06dd }, { 0x070f, 0x070f },
	{ 0x180e, 0x180e }, { 0x200c, 0x200d }, { 0x2028, 0x2029 }, { 0x2060, 0x2063 },
	{ 0x206a, 0x206f }, { 0xfeff, 0xfeff }, { 0xfff9, 0xfffc }, { 0x1d173, 0x1d17a },
	/* C.3: private use */
	{ 0xe000, 0xf8ff }, { 0xf0000, 0xffffd }, { 0x100000, 0x10fffd },
	/* C.4: non-characters */
	{ 0xfdd0, 0xfdef }, { 0xfffe, 0xffff }, { 0x1fffe, 0x1ffff }, { 0x2fffe, 0x2ffff },
	{ 0x3fffe, 0x3ffff }, { 0x4fffe, 0x4ffff }, { 0x5fffe, 0x5ffff }, { 0x6fffe, 0x6ffff },
	{ 0x7fffe, 0x7ffff }, { 0x8fffe, 0x8ffff }, { 0x9fffe, 0x9ffff }, { 0xafffe, 0xaffff },
	{ 0xbfffe, 0xbffff }, { 0xcfffe, 0xcffff }, { 0xdfffe, 0xdffff }, { 0xefffe, 0xeffff },
	{ 0xffffe, 0xfffff }, { 0x10fffe, 0x10ffff },
	/* C.5: surrogates */
	{ 0xd800, 0xdfff },
	/* C.6, C.7: inappropriate for plain text or canonical representation */
	{ 0xfffd, 0xfffd }, { 0x2ff0, 0x2ffb },
	/* C.8: change display properties or deprecated */
	{ 0x0340, 0x0341 }, { 0x200e, 0x200f }, { 0x202a, 0x202e },
	/* C.9: tagging */
	{ 0xe0001, 0xe0001 }, { 0xe0020, 0xe007f },
};

/* RFC 3454 §6: R and AL characters may not meet L ones, and must stand at both ends. */
struct bidi {
	bool any, any_rtl, any_ltr, first_rtl, last_rtl;
};

static void bidi_see(struct bidi *b, uint32_t c)
{
	int category = uc_bidi_category(c);
	bool rtl = category == UC_BIDI_R || category == UC_BIDI_AL;

	if (!b->any)
		b->first_rtl = rtl;
	b->any = true;
	b->any_rtl = b->any_rtl || rtl;
	b->any_ltr = b->any_ltr || category == UC_BIDI_L;
	b->last_rtl = rtl;
}

static enum saslprep_result judge(struct slice text)
{
	struct bidi b = { 0 };
	uint32_t c;

	while (utf8_next(&text, &c)) {
		if (in_table(prohibited, ARRAY_LEN(prohibited), c))
			return SASLPREP_PROHIBITED;
		bidi_see(&b, c);
	}
	if (b.any_rtl && (b.any_ltr || !b.first_rtl || !b.last_rtl))
		return SASLPREP_BIDI;
	return SASLPREP_OK;
}

enum saslprep_result saslprep(struct slice in, struct buf *out)
{
	AUTO_BUF struct buf mapped = BUF_INIT(out->max);
	enum saslprep_result r;
	uint8_t *nfkc;
	size_t len = 0;
	uint32_t c;

	if (!utf8_valid(in))
		return SASLPREP_NOT_UTF8;
	while (utf8_next(&in, &c)) {
		/* U+200B is in both tables; mapping to nothing wins, as in libidn and the IETF's list. */
		if (in_table(nothing, ARRAY_LEN(nothing), c))
			continue;
		if (in_table(spaces, ARRAY_LEN(spaces), c))
			c = ' ';
		utf8_add(&mapped, c);
	}
	if (mapped.err != 0) {
		out->err = mapped.err;
		return SASLPREP_TOO_BIG;
	}
	if (mapped.len == 0)
		return SASLPREP_OK;
	nfkc = u8_normalize(UNINORM_NFKC, mapped.ptr, mapped.len, NULL, &len);
	if (nfkc == NULL) {
		out->err = -ENOMEM;
		return SASLPREP_TOO_BIG;
	}
	r = judge(slice_of(nfkc, len));
	if (r == SASLPREP_OK)
		buf_add(out, slice_of(nfkc, len));
	free(nfkc);
	return r == SASLPREP_OK && out->err != 0 ? SASLPREP_TOO_BIG : r;
}
