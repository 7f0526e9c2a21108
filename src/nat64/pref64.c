/* Pure part of learning prefixes: pref64.h. */
#include "nat64/pref64.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/must.h"
#include "base/reader.h"

static bool length_is_known(unsigned bits)
{
	return bits == 32 || bits == 40 || bits == 48 || bits == 56 || bits == 64 || bits == 96;
}

bool pref64_prefix_make(const uint8_t addr[16], unsigned bits, struct xlat_prefix *out)
{
	static const uint8_t well_known[12] = { 0x00, 0x64, 0xff, 0x9b };
	static const uint8_t low[8] = { 0 };	/* ::/64: unspecified, loopback, mapped and compatible addresses */
	struct xlat_prefix p = { .bits = (uint8_t)bits };

	if (!length_is_known(bits))
		return false;
	if (addr[0] == 0xff || (addr[0] == 0xfe && addr[1] >= 0x80))	/* multicast; link-local and site-local */
		return false;
	memcpy(p.addr, addr, bits / 8);
	/* Bits 64 to 71 of a /96 are the u-octet (RFC 6052 2.2). */
	if (bits == 96 && addr[8] != 0)
		return false;
	if (memcmp(p.addr, low, bits < 64 ? bits / 8 : 8) == 0)
		return false;
	p.global_only = bits == 96 && memcmp(p.addr, well_known, sizeof(well_known)) == 0;
	*out = p;
	return true;
}

/* RFC 8781 4, prefix length codes. */
static const uint8_t code_bits[] = { 96, 64, 56, 48, 40, 32 };

enum pref64_result pref64_option_read(struct slice option, struct xlat_prefix *out, uint32_t *lifetime_s)
{
	struct reader r = reader_of(option);
	uint8_t addr[16] = { 0 };
	uint8_t type = rd_u8(&r), length = rd_u8(&r);

	if (r.bad || (size_t)length * 8 != option.len)
		return PREF64_BAD_LENGTH;
	if (type != PREF64_OPTION_TYPE)
		return PREF64_OTHER;
	uint16_t scaled = rd_be16(&r);
	struct slice prefix = rd_bytes(&r, 12);

	if (r.bad || option.len != PREF64_OPTION_BYTES)
		return PREF64_BAD_LENGTH;
	if ((scaled & 7) >= sizeof(code_bits))
		return PREF64_BAD_CODE;
	memcpy(addr, prefix.ptr, prefix.len);
	if (!pref64_prefix_make(addr, code_bits[scaled & 7], out))
		return PREF64_BAD_PREFIX;
	*lifetime_s = scaled & 0xfff8u;
	return PREF64_OK;
}

void pref64_option_write(struct buf *out, const struct xlat_prefix *prefix, uint32_t lifetime_s)
{
	uint16_t code = 0;

	while (code < sizeof(code_bits) && code_bits[code] != prefix->bits)
		code++;
	must(code < sizeof(code_bits));
	lifetime_s = MIN(lifetime_s, PREF64_LIFETIME_MAX);
	buf_addc(out, PREF64_OPTION_TYPE);
	buf_addc(out, PREF64_OPTION_BYTES / 8);
	buf_be16(out, (uint16_t)(((lifetime_s + 7) & ~7u) | code));
	buf_add(out, slice_of(prefix->addr, 12));
}

static void list_add(struct pref64_list *list, const struct pref64_said *said)
{
	for (size_t i = 0; i < list->count; i++)
		if (memcmp(&list->said[i].prefix, &said->prefix, sizeof(said->prefix)) == 0) {
			list->said[i].lifetime_s = said->lifetime_s;
			return;
		}
	if (list->count == PREF64_OPTIONS_MAX)
		list->ignored++;
	else
		list->said[list->count++] = *said;
}

/* Options one after the other: type, length in units of 8 bytes. A length of 0 ends all (RFC 4861 4.6). */
static enum pref64_result options_read(struct slice options, const struct pref64_said *from, struct pref64_list *list)
{
	enum pref64_result first_bad = PREF64_OTHER;

	while (options.len >= 2) {
		size_t bytes = (size_t)options.ptr[1] * 8;
		struct pref64_said said = *from;

		if (bytes == 0 || bytes > options.len)
			return PREF64_BAD_LENGTH;
		enum pref64_result result = pref64_option_read(slice_head(options, bytes), &said.prefix, &said.lifetime_s);

		if (result == PREF64_OK) {
			list_add(list, &said);
		} else if (result != PREF64_OTHER) {
			list->ignored++;
			first_bad = first_bad == PREF64_OTHER ? result : first_bad;
		}
		options = slice_from(options, bytes);
	}
	if (options.len != 0)
		return PREF64_BAD_LENGTH;
	return list->count > 0 ? PREF64_OK : first_bad;
}

/* Native byte order, as netlink writes it. */
static uint16_t rd_host16(struct reader *r)
{
	struct slice s = rd_bytes(r, 2);
	uint16_t v = 0;

	if (s.len == 2)
		memcpy(&v, s.ptr, 2);
	return v;
}

static uint32_t rd_host32(struct reader *r)
{
	struct slice s = rd_bytes(r, 4);
	uint32_t v = 0;

	if (s.len == 4)
		memcpy(&v, s.ptr, 4);
	return v;
}

/* The attribute with the router's address, NDUSEROPT_SRCADDR, when there is one. */
static void nduseropt_router(struct reader *r, uint8_t router[16])
{
	while (rd_left(r) >= 4) {
		uint16_t bytes = rd_host16(r), type = rd_host16(r);
		struct slice value = rd_bytes(r, bytes < 4 ? SIZE_MAX : bytes - 4u);

		if (r->bad)
			return;
		(void)rd_bytes(r, MIN((4 - bytes % 4u) % 4, rd_left(r)));
		if (type == 1 && value.len == 16)
			memcpy(router, value.ptr, 16);
	}
}

enum pref64_result pref64_nduseropt_read(struct slice body, struct pref64_list *out)
{
	/* struct nduseroptmsg: family, pad, opts_len, ifindex, icmp type, icmp code, pad: 16 bytes. */
	struct pref64_said from = { 0 };
	struct reader r = reader_of(body);
	uint8_t family = rd_u8(&r);

	*out = (struct pref64_list){ 0 };
	(void)rd_u8(&r);
	uint16_t options_bytes = rd_host16(&r);
	from.ifindex = rd_host32(&r);
	uint8_t type = rd_u8(&r), code = rd_u8(&r);
	(void)rd_bytes(&r, 6);
	struct slice options = rd_bytes(&r, options_bytes);

	if (r.bad)
		return PREF64_BAD_LENGTH;
	if (family != AF_INET6 || type != 134 || code != 0)
		return PREF64_OTHER;
	(void)rd_bytes(&r, MIN((4 - options_bytes % 4u) % 4, rd_left(&r)));
	nduseropt_router(&r, from.router);
	return options_read(options, &from, out);
}

enum pref64_result pref64_advertisement_read(struct slice message, const uint8_t source[16], unsigned hop_limit, uint32_t ifindex,
					     struct pref64_list *out)
{
	struct pref64_said from = { .ifindex = ifindex };

	*out = (struct pref64_list){ 0 };
	memcpy(from.router, source, 16);
	if (message.len < 16)
		return PREF64_BAD_LENGTH;
	if (message.ptr[0] != 134)
		return PREF64_OTHER;
	if (hop_limit != 255 || message.ptr[1] != 0 || source[0] != 0xfe || (source[1] & 0xc0) != 0x80)
		return PREF64_BAD_SOURCE;
	return options_read(slice_from(message, 16), &from, out);
}

#define DNS_AAAA 28u
#define DNS_IN	 1u
static const uint8_t question_name[] = "\x08ipv4only\x04" "arpa";	/* its NUL is the root label */

void pref64_question_write(struct buf *out, uint16_t id)
{
	buf_be16(out, id);
	buf_be16(out, 0x0100);			/* RD; CD is 0 */
	buf_be16(out, 1);
	buf_fill(out, 0, 6);
	buf_add(out, slice_of(question_name, sizeof(question_name)));
	buf_be16(out, DNS_AAAA);
	buf_be16(out, DNS_IN);
}

/* Pass over a name. Where it leads does not matter, so a pointer is never followed: no loop can be made. */
static void skip_name(struct reader *r)
{
	while (!r->bad) {
		uint8_t label = rd_u8(r);

		if (label == 0)
			return;
		if ((label & 0xc0) == 0xc0) {
			(void)rd_u8(r);
			return;
		}
		if (label > 63)
			r->bad = true;
		(void)rd_bytes(r, label);
	}
}

static bool question_is_ours(struct reader *r)
{
	struct slice name = rd_bytes(r, sizeof(question_name));
	uint16_t type = rd_be16(r), class = rd_be16(r);

	/* Labels' lengths are below the letters that nocase folds. */
	return !r->bad && slice_eq_nocase(name, slice_of(question_name, sizeof(question_name))) && type == DNS_AAAA && class == DNS_IN;
}

/* Where RFC 6052 2.2 puts the four octets of an IPv4 address, by prefix length. */
static const struct { uint8_t bits, at[4]; } places[] = {
	{ 96, { 12, 13, 14, 15 } }, { 64, { 9, 10, 11, 12 } }, { 56, { 7, 9, 10, 11 } },
	{ 48, { 6, 7, 9, 10 } },    { 40, { 5, 6, 7, 9 } },    { 32, { 4, 5, 6, 7 } },
};

/* The length of the prefix before this IPv4 address; 0 when it stands nowhere or more than once (7050 3). */
static unsigned find_length(const uint8_t a[16], const uint8_t v4[4])
{
	unsigned found = 0, bits = 0;

	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		const uint8_t *at = places[i].at;

		if (a[at[0]] == v4[0] && a[at[1]] == v4[1] && a[at[2]] == v4[2] && a[at[3]] == v4[3] && (i == 0 || a[8] == 0)) {
			found++;
			bits = places[i].bits;
		}
	}
	/* On other octet boundaries as well: /32, /64 and /96 are the ones that are looked at above. */
	for (unsigned at = 0; at <= 12; at++)
		if (at != 4 && at != 9 && at != 12 && memcmp(a + at, v4, 4) == 0)
			found++;
	return found == 1 ? bits : 0;
}

static void address_read(const uint8_t a[16], uint32_t ttl_s, struct pref64_list *out)
{
	static const uint8_t known[2][4] = { { 192, 0, 0, 170 }, { 192, 0, 0, 171 } };

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		unsigned bits = find_length(a, known[i]);
		struct pref64_said said = { .lifetime_s = ttl_s };

		if (bits == 0)
			continue;
		if (pref64_prefix_make(a, bits, &said.prefix))
			list_add(out, &said);
		else
			out->ignored++;
		return;
	}
}

static enum pref64_result answers_read(struct reader *r, unsigned count, struct pref64_list *out)
{
	for (unsigned i = 0; i < MIN(count, (unsigned)PREF64_RECORDS_MAX); i++) {
		skip_name(r);
		uint16_t type = rd_be16(r), class = rd_be16(r);
		uint32_t ttl_s = rd_be32(r);
		struct slice data = rd_bytes(r, rd_be16(r));

		if (r->bad)
			return PREF64_BAD_LENGTH;
		/* A TTL with its high bit set counts as 0 (RFC 2181 8). */
		if (type == DNS_AAAA && class == DNS_IN && data.len == 16)
			address_read(data.ptr, ttl_s > INT32_MAX ? 0 : ttl_s, out);
	}
	return out->count > 0 ? PREF64_OK : PREF64_NO_PREFIX;
}

enum pref64_result pref64_answer_read(struct slice message, uint16_t id, struct pref64_list *out)
{
	struct reader r = reader_of(message);
	uint16_t got = rd_be16(&r), flags = rd_be16(&r), questions = rd_be16(&r), answers = rd_be16(&r);

	*out = (struct pref64_list){ 0 };
	(void)rd_bytes(&r, 4);
	if (r.bad)
		return PREF64_BAD_LENGTH;
	/* QR, and opcode 0 */
	if (got != id || (flags & 0xf800) != 0x8000)
		return PREF64_NOT_OURS;
	/* Servers that cannot read a question may leave it out of their refusal. */
	if (questions == 0 && (flags & 15) != 0)
		return (flags & 15) == 3 ? PREF64_NO_PREFIX : PREF64_SERVER_FAILED;
	if (questions != 1 || !question_is_ours(&r))
		return PREF64_NOT_OURS;
	if ((flags & 15) == 3)
		return PREF64_NO_PREFIX;
	if ((flags & 15) != 0)
		return PREF64_SERVER_FAILED;
	return answers_read(&r, answers, out);
}

static bool same_row(const struct pref64_row *row, const struct pref64_said *said, enum pref64_origin origin)
{
	return row->origin == origin && row->said.ifindex == said->ifindex &&
	       memcmp(row->said.router, said->router, sizeof(said->router)) == 0 &&
	       memcmp(&row->said.prefix, &said->prefix, sizeof(said->prefix)) == 0;
}

static void row_remove(struct pref64_table *t, size_t i)
{
	/* Order is age, so rows behind move up. */
	memmove(&t->row[i], &t->row[i + 1], (t->count - i - 1) * sizeof(t->row[0]));
	t->count--;
}

void pref64_table_put(struct pref64_table *t, const struct pref64_said *said, enum pref64_origin origin, int64_t now_ms)
{
	size_t i = 0;

	while (i < t->count && !same_row(&t->row[i], said, origin))
		i++;
	if (said->lifetime_s == 0) {
		if (i < t->count)
			row_remove(t, i);
		return;
	}
	if (i == PREF64_ROWS_MAX) {
		t->refused++;
		return;
	}
	if (i == t->count)
		t->row[t->count++] = (struct pref64_row){ .said = *said, .origin = origin };
	t->row[i].said.lifetime_s = said->lifetime_s;
	t->row[i].until_ms = now_ms + (int64_t)said->lifetime_s * 1000;
}

void pref64_table_forget(struct pref64_table *t, enum pref64_origin origin, uint32_t ifindex)
{
	for (size_t i = t->count; i-- > 0;)
		if (t->row[i].origin == origin && (ifindex == 0 || t->row[i].said.ifindex == ifindex))
			row_remove(t, i);
}

int64_t pref64_table_expire(struct pref64_table *t, int64_t now_ms)
{
	int64_t next = -1;

	for (size_t i = t->count; i-- > 0;) {
		int64_t left = t->row[i].until_ms - now_ms;

		if (left <= 0)
			row_remove(t, i);
		else if (next < 0 || left < next)
			next = left;
	}
	return next;
}

bool pref64_table_best(const struct pref64_table *t, struct xlat_prefix *out)
{
	const struct pref64_row *best = NULL;

	for (size_t i = 0; i < t->count; i++)
		if (best == NULL || t->row[i].origin < best->origin)
			best = &t->row[i];
	if (best == NULL)
		return false;
	*out = best->said.prefix;
	return true;
}
