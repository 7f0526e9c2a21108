#include "mail/imap/rights.h"

/* RFC 4314 §2.1.1. */
static const struct { char letter; const char *stands_for; } obsolete[] = { { 'c', "kx" }, { 'd', "te" } };

static uint32_t right_of(uint8_t letter)
{
	size_t at = slice_find_byte(SLICE(IMAP_RIGHTS), letter);

	return at == SLICE_NPOS ? 0 : 1u << at;
}

static uint32_t obsolete_rights(size_t i)
{
	return right_of((uint8_t)obsolete[i].stands_for[0]) | right_of((uint8_t)obsolete[i].stands_for[1]);
}

bool imap_rights_parse(struct slice text, uint32_t *out)
{
	uint32_t rights = 0;

	for (size_t i = 0; i < text.len; i++) {
		uint32_t right = right_of(text.ptr[i]);

		for (size_t j = 0; j < ARRAY_LEN(obsolete); j++)
			if (text.ptr[i] == obsolete[j].letter)
				right = obsolete_rights(j);
		if (right == 0)
			return false;
		rights |= right;
	}
	*out = rights;
	return true;
}

bool imap_rights_change_parse(struct slice text, struct imap_rights_change *out)
{
	struct imap_rights_change c = { .how = IMAP_RIGHTS_REPLACE };

	if (text.len > 0 && (text.ptr[0] == '+' || text.ptr[0] == '-')) {
		c.how = text.ptr[0] == '+' ? IMAP_RIGHTS_ADD : IMAP_RIGHTS_REMOVE;
		text = slice_from(text, 1);
	}
	if (!imap_rights_parse(text, &c.rights))
		return false;
	*out = c;
	return true;
}

uint32_t imap_rights_changed(uint32_t old, const struct imap_rights_change *c)
{
	switch (c->how) {
	case IMAP_RIGHTS_REPLACE: return c->rights;
	case IMAP_RIGHTS_ADD: return old | c->rights;
	case IMAP_RIGHTS_REMOVE: return old & ~c->rights;
	}
	return old;
}

void imap_rights_write(struct buf *out, uint32_t rights)
{
	for (size_t i = 0; i < sizeof(IMAP_RIGHTS) - 1; i++)
		if ((rights & 1u << i) != 0)
			buf_addc(out, (uint8_t)IMAP_RIGHTS[i]);
	for (size_t i = 0; i < ARRAY_LEN(obsolete); i++)
		if ((rights & obsolete_rights(i)) != 0)
			buf_addc(out, (uint8_t)obsolete[i].letter);
}
