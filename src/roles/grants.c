#include "roles/grants.h"

#include "base/must.h"
#include "base/reader.h"

void grants_encode(struct buf *out, const struct grant *g)
{
	must(strlen(g->account) == GRANT_ACCOUNT_CHARS);
	buf_add(out, slice_of(g->id, GRANT_ID_BYTES));
	buf_add(out, slice_of(g->account, GRANT_ACCOUNT_CHARS));
	buf_be32(out, g->rights);
	buf_addc(out, g->role);
	buf_be16(out, g->instance);
	buf_be32(out, g->lifetime_s);
	buf_be64(out, g->append_bytes_max);
}

static bool account_good(struct slice account)
{
	for (size_t i = 0; i < account.len; i++) {
		uint8_t c = account.ptr[i];

		if (!ascii_digit(c) && !(c >= 'a' && c <= 'f'))
			return false;
	}
	return account.len == GRANT_ACCOUNT_CHARS;
}

enum grants_decode grants_decode(struct reader *r, struct grant *out)
{
	struct slice id, account;
	struct grant g = { 0 };

	if (rd_end(r))
		return GRANTS_END;
	id = rd_bytes(r, GRANT_ID_BYTES);
	account = rd_bytes(r, GRANT_ACCOUNT_CHARS);
	g.rights = rd_be32(r);
	g.role = rd_u8(r);
	g.instance = rd_be16(r);
	g.lifetime_s = rd_be32(r);
	g.append_bytes_max = rd_be64(r);
	if (r->bad || !account_good(account) || (g.rights & ~(uint32_t)GRANT_RIGHTS_ALL) != 0 ||
	    g.rights == 0 || g.lifetime_s == 0)
		return GRANTS_BAD;
	memcpy(g.id, id.ptr, sizeof(g.id));
	memcpy(g.account, account.ptr, GRANT_ACCOUNT_CHARS);
	*out = g;
	return GRANTS_DECODED;
}
