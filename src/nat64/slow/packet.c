#include "nat64/slow/packet.h"

#include "nat64/slow/apply.h"

static enum xlat_reason read4(struct slice bytes, struct packet *p)
{
	if (bytes.len < IP4_BYTES)
		return XLAT_R_TRUNCATED;
	uint32_t head = (uint32_t)(bytes.ptr[0] & 15) * 4, total = get16(bytes.ptr + 2);

	if (head < IP4_BYTES || total < head)
		return XLAT_R_BAD_LENGTH;
	if (total > bytes.len)
		return XLAT_R_TRUNCATED;
	uint32_t field = get16(bytes.ptr + 6);

	*p = (struct packet){ .family = 4, .bytes = slice_head(bytes, total), .src = bytes.ptr + 12, .dst = bytes.ptr + 16,
			      .l4 = head, .protocol = bytes.ptr[9], .hops = bytes.ptr[8], .more = (field & IP4_MF) != 0,
			      .dont_fragment = (field & IP4_DF) != 0, .offset = (field & IP4_OFFSET) * 8,
			      .id = get16(bytes.ptr + 4) };
	p->fragment = p->more || p->offset != 0;
	return XLAT_R_NONE;
}

/* Headers that stand between: hop-by-hop, destination options, routing, authentication is not one of them (RFC 7915 5.1). */
static bool passed_over(uint8_t next)
{
	return next == 0 || next == 43 || next == 60;
}

static enum xlat_reason read6(struct slice bytes, struct packet *p)
{
	if (bytes.len < IP6_BYTES)
		return XLAT_R_TRUNCATED;
	uint32_t total = IP6_BYTES + get16(bytes.ptr + 4);

	if (total > bytes.len)
		return XLAT_R_TRUNCATED;
	*p = (struct packet){ .family = 6, .bytes = slice_head(bytes, total), .src = bytes.ptr + 8, .dst = bytes.ptr + 24,
			      .l4 = IP6_BYTES, .protocol = bytes.ptr[6], .hops = bytes.ptr[7], .next_at = 6 };
	for (unsigned i = 0; i < XLAT_EXTENSIONS_MAX; i++) {
		const uint8_t *head = p->bytes.ptr + p->l4;
		uint32_t left = total - p->l4, size = FRAGMENT_BYTES;

		if (p->protocol == FRAGMENT_HEADER) {
			if (left < FRAGMENT_BYTES)
				return XLAT_R_TRUNCATED;
			if (p->fragment_at != 0)	/* twice: nothing sends that */
				return XLAT_R_BAD_FRAGMENT;
			p->fragment_at = p->l4;
			p->offset = get16(head + 2) & 0xfff8u;
			p->more = (head[3] & 1) != 0;
			p->id = get32(head + 4);
			p->fragment = p->more || p->offset != 0;
			if (p->fragment) {
				p->protocol = head[0];
				p->l4 += FRAGMENT_BYTES;
				return XLAT_R_NONE;
			}
		} else if (passed_over(p->protocol)) {
			if (left < 8 || (size = (head[1] + 1u) * 8) > left)
				return XLAT_R_TRUNCATED;
		} else {
			return XLAT_R_NONE;
		}
		p->next_at = p->l4;
		p->protocol = head[0];
		p->l4 += size;
	}
	return passed_over(p->protocol) || p->protocol == FRAGMENT_HEADER ? XLAT_R_HEADERS_TOO_LONG : XLAT_R_NONE;
}

enum xlat_reason packet_read(struct slice bytes, struct packet *out)
{
	if (bytes.len == 0)
		return XLAT_R_TRUNCATED;
	switch (bytes.ptr[0] >> 4) {
	case 4:
		return read4(bytes, out);
	case 6:
		return read6(bytes, out);
	default:
		return XLAT_R_BAD_VERSION;
	}
}

void packet_sum4(uint8_t *ip)
{
	put16(ip + 10, 0);
	put16(ip + 10, slow_sum_end(slow_sum(slice_of(ip, (ip[0] & 15u) * 4))));
}

bool packet_sum(uint8_t *ip, size_t bytes)
{
	bool six = ip[0] >> 4 == 6;
	size_t head = six ? IP6_BYTES : (ip[0] & 15u) * 4;
	uint8_t protocol = six ? ip[6] : ip[9];
	uint32_t at, sum = 0;

	switch (protocol) {
	case XLAT_TCP:
		at = 16;
		break;
	case XLAT_UDP:
		at = 6;
		break;
	case XLAT_ICMP:
	case XLAT_ICMP6:
		at = 2;
		break;
	default:
		return false;
	}
	if (bytes < head + at + 2)
		return false;
	if (protocol != XLAT_ICMP)
		sum = slow_sum_pseudo(six ? 6 : 4, ip + (six ? 8 : 12), ip + (six ? 24 : 16), protocol, (uint32_t)(bytes - head));
	put16(ip + head + at, 0);
	uint16_t end = slow_sum_end(sum + slow_sum(slice_of(ip + head, bytes - head)));

	put16(ip + head + at, protocol == XLAT_UDP && end == 0 ? 0xffff : end);
	return true;
}
