#include "nat64/slow/error.h"

#include <errno.h>

#include "nat64/slow/apply.h"

#define ICMP_HEAD 8u
#define ORIGINAL_MIN 128u	/* RFC 4884 4: the datagram inside is padded to 128 bytes when extensions follow */

/* Extensions: version 2, a checksum that is right or absent, at least one object's header (RFC 4884 7). */
static bool extensions_fine(struct slice e)
{
	return e.len >= 8 && e.ptr[0] >> 4 == 2 && (get16(e.ptr + 2) == 0 || slow_sum_end(slow_sum(e)) == 0);
}

/* Types whose second or first spare byte is the length (RFC 4884 4.1 to 4.6): without one there is no room to say where they begin. */
static bool may_extend(unsigned family, uint8_t type)
{
	return family == 4 ? type == 3 || type == 11 || type == 12 : type == 1 || type == 3;
}

/* What `in` has behind its ICMP header: the packet inside, and the extensions, which may be empty. */
static void take_apart(const struct xlat *x, struct slice in, struct slice *original, struct slice *extensions)
{
	struct slice body = slice_from(in, x->ip.l4 + ICMP_HEAD);
	const uint8_t *icmp = in.ptr + x->ip.l4;
	size_t length = x->ip.family == 4 ? icmp[5] * 4u : icmp[4] * 8u;
	size_t inside = (size_t)(x->inner.l4 - x->inner.at) + x->inner.payload;

	*original = body;
	*extensions = (struct slice){ 0 };
	if (may_extend(x->ip.family, icmp[0]) && length >= ORIGINAL_MIN && length < body.len && extensions_fine(slice_from(body, length))) {
		*original = slice_head(body, length);
		*extensions = slice_from(body, length);
	}
	*original = slice_head(*original, inside);
}

static void finish(uint8_t *ip, size_t bytes)
{
	if (ip[0] >> 4 == 4) {
		put16(ip + 2, (uint32_t)bytes);
		packet_sum4(ip);
	} else {
		put16(ip + 4, (uint32_t)bytes - IP6_BYTES);
	}
	packet_sum(ip, bytes);
}

int slow_error_translate(const struct xlat *x, struct slice in, struct buf *out)
{
	unsigned family = x->to.family;
	uint32_t head = family == 4 ? IP4_BYTES : IP6_BYTES, unit = family == 4 ? 4 : 8;
	uint32_t max = family == 4 ? ICMP4_ERROR_BYTES_MAX : ICMP6_ERROR_BYTES_MAX;

	if ((x->flags & XLAT_INNER) == 0 || x->head_bytes > XLAT_HEAD_BYTES || x->head_bytes < head + ICMP_HEAD ||
	    x->strip < x->ip.l4 + ICMP_HEAD || in.len < x->strip || in.len < x->ip.l4 + ICMP_HEAD)
		return -EBADMSG;
	struct slice original, extensions;

	take_apart(x, in, &original, &extensions);
	uint32_t done = x->strip - x->ip.l4 - ICMP_HEAD;	/* of original: in the edit already */
	size_t room = max - head - ICMP_HEAD;
	bool extend = extensions.len != 0 && extensions.len + ORIGINAL_MIN <= room && may_extend(family, x->head[head]);

	if (extend)
		room = (room - extensions.len) & ~(size_t)(unit - 1);
	buf_reset(out);
	buf_add(out, slice_of(x->head, x->head_bytes));
	buf_add(out, slice_from(original, done));
	if (out->err == 0 && out->len - head - ICMP_HEAD > room)
		buf_truncate(out, head + ICMP_HEAD + room);
	if (extend) {
		size_t have = out->len - head - ICMP_HEAD;
		size_t want = have < ORIGINAL_MIN ? ORIGINAL_MIN : (have + unit - 1) & ~(size_t)(unit - 1);

		buf_fill(out, 0, want - have);
		buf_add(out, extensions);
		if (out->err == 0)
			out->ptr[head + (family == 4 ? 5 : 4)] = (uint8_t)(want / unit);
	} else if (out->err == 0 && may_extend(family, out->ptr[head])) {
		out->ptr[head + (family == 4 ? 5 : 4)] = 0;
	}
	if (out->err != 0)
		return out->err;
	finish(out->ptr, out->len);
	return 0;
}

static bool one_host(unsigned family, const uint8_t *a)
{
	static const uint8_t zero[16];

	if (family == 4)
		return a[0] != 0 && a[0] != 127 && a[0] < 224;
	return a[0] != 0xff && memcmp(a, zero, 15) != 0;
}

static bool may_answer(const struct packet *p)
{
	if (p->offset != 0 || !one_host(p->family, p->src) || !one_host(p->family, p->dst))
		return false;
	if (p->protocol != XLAT_ICMP && p->protocol != XLAT_ICMP6)
		return true;
	if (p->bytes.len <= p->l4)
		return false;
	uint8_t type = p->bytes.ptr[p->l4];

	return p->protocol == XLAT_ICMP6 ? type >= 128 && type != 137 : type != 3 && type != 4 && type != 5 && type != 11 && type != 12;
}

bool slow_error_make(const struct slow_error *e, struct slice packet, struct buf *out)
{
	struct packet p;

	buf_reset(out);
	if (packet_read(packet, &p) != XLAT_R_NONE || !may_answer(&p))
		return false;
	bool four = p.family == 4;
	size_t head = four ? IP4_BYTES : IP6_BYTES;
	struct slice inside = slice_head(p.bytes, (four ? ICMP4_ERROR_BYTES_MAX : ICMP6_ERROR_BYTES_MAX) - head - ICMP_HEAD);

	buf_fill(out, 0, head + ICMP_HEAD);
	buf_add(out, inside);
	if (out->err != 0)
		return false;
	uint8_t *ip = out->ptr, *icmp = ip + head;

	if (four) {
		ip[0] = 0x45;
		ip[1] = 0xc0;		/* internetwork control (RFC 1812 4.3.2.5) */
		ip[8] = 64;
		ip[9] = XLAT_ICMP;
		memcpy(ip + 12, e->from, 4);
		memcpy(ip + 16, p.src, 4);
	} else {
		ip[0] = 0x60;
		ip[6] = XLAT_ICMP6;
		ip[7] = 64;
		memcpy(ip + 8, e->from, 16);
		memcpy(ip + 24, p.src, 16);
	}
	icmp[0] = e->type;
	icmp[1] = e->code;
	put32(icmp + 4, e->rest);
	finish(ip, out->len);
	return true;
}
