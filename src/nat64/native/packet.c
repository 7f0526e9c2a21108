/* See packet.h. Everything here works on single bytes: nothing is shared with what it judges. */
#include "nat64/native/packet.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"

void packet_address(const char *text, __be32 out[4])
{
	memset(out, 0, 16);
	must(inet_pton(strchr(text, ':') != NULL ? AF_INET6 : AF_INET, text, out) == 1);
}

uint32_t packet_get(struct slice packet, size_t at, unsigned bytes)
{
	uint32_t v = 0;

	must(at + bytes <= packet.len);
	for (unsigned i = 0; i < bytes; i++)
		v = v << 8 | packet.ptr[at + i];
	return v;
}

static void put(uint8_t *to, uint32_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		to[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
}

static uint64_t sum_bytes(struct slice s)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < s.len; i++)
		sum += i % 2 == 0 ? (uint64_t)s.ptr[i] << 8 : s.ptr[i];
	return sum;
}

static uint16_t fold(uint64_t sum)
{
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

void packet_ip(struct buf *out, const struct packet_ip *ip, struct slice payload)
{
	uint8_t h[48] = { 0 };
	__be32 src[4], dst[4];
	bool six = strchr(ip->src, ':') != NULL;
	uint32_t ttl = ip->ttl == 0 ? 64 : ip->ttl;
	uint32_t bytes = ip->total != 0 ? ip->total : (uint32_t)payload.len;

	packet_address(ip->src, src);
	packet_address(ip->dst, dst);
	if (!six) {
		struct buf head = BUF_INIT(64);
		h[0] = (uint8_t)(0x45 + ip->extra.len / 4);
		h[1] = ip->tos;
		put(h + 2, 20 + (uint32_t)ip->extra.len + bytes, 2);
		put(h + 4, ip->id, 2);
		put(h + 6, (ip->df ? 0x4000u : 0) | (ip->more ? 0x2000u : 0) | ip->at / 8u, 2);
		put(h + 8, ttl << 8 | ip->protocol, 2);
		memcpy(h + 12, src, 4);
		memcpy(h + 16, dst, 4);
		put(h + 10, (uint16_t)~fold(sum_bytes(slice_of(h, 20)) + sum_bytes(ip->extra)), 2);
		buf_add(&head, slice_of(h, 20));
		buf_add(&head, ip->extra);
		buf_add(out, buf_slice(&head));
		buf_add(out, payload);
		buf_done(&head);
		return;
	}
	put(h, 6u << 28 | (uint32_t)ip->tos << 20 | ip->flow, 4);
	put(h + 4, (uint32_t)ip->extra.len + (ip->fragment ? 8 : 0) + bytes, 2);
	h[6] = ip->extra.len != 0 ? ip->extra_type : ip->fragment ? 44 : ip->protocol;
	h[7] = (uint8_t)ttl;
	memcpy(h + 8, src, 16);
	memcpy(h + 24, dst, 16);
	h[40] = ip->protocol;
	put(h + 42, ip->at | (ip->more ? 1u : 0), 2);
	put(h + 44, ip->id, 4);
	buf_add(out, slice_of(h, 40));
	buf_add(out, ip->extra);
	if (ip->fragment)
		buf_add(out, slice_of(h + 40, 8));
	buf_add(out, payload);
}

static uint64_t pseudo(const struct packet_ip *ip, size_t bytes)
{
	__be32 src[4], dst[4];

	packet_address(ip->src, src);
	packet_address(ip->dst, dst);
	return sum_bytes(slice_of(src, 16)) + sum_bytes(slice_of(dst, 16)) + bytes + ip->protocol;
}

static void finish(struct buf *out, struct packet_ip ip, uint8_t protocol, struct slice head, size_t csum_at, struct slice data, bool bare)
{
	struct buf all = BUF_INIT(70000);

	ip.protocol = protocol;
	buf_add(&all, head);
	buf_add(&all, data);
	uint16_t sum = (uint16_t)~fold((bare ? 0 : pseudo(&ip, all.len)) + sum_bytes(buf_slice(&all)));
	put(all.ptr + csum_at, sum == 0 && protocol == 17 ? 0xffff : sum, 2);
	packet_ip(out, &ip, buf_slice(&all));
	buf_done(&all);
}

void packet_udp(struct buf *out, const struct packet_ip *ip, uint16_t sport, uint16_t dport, struct slice data)
{
	uint8_t h[8] = { 0 };

	put(h, sport, 2);
	put(h + 2, dport, 2);
	put(h + 4, 8 + (uint32_t)data.len, 2);
	finish(out, *ip, 17, slice_of(h, 8), 6, data, false);
}

void packet_tcp(struct buf *out, const struct packet_ip *ip, uint16_t sport, uint16_t dport, struct slice data)
{
	uint8_t h[20] = { [4] = 1, [8] = 2, [12] = 0x50, [13] = 0x10, [14] = 0xff };

	put(h, sport, 2);
	put(h + 2, dport, 2);
	finish(out, *ip, 6, slice_of(h, 20), 16, data, false);
}

void packet_icmp(struct buf *out, const struct packet_ip *ip, uint8_t type, uint8_t code, uint32_t rest, struct slice data)
{
	uint8_t h[8] = { type, code };
	bool six = strchr(ip->src, ':') != NULL;

	put(h + 4, rest, 4);
	finish(out, *ip, six ? 58 : 1, slice_of(h, 8), 2, data, !six);
}

void packet_apply(const struct xlat *x, struct slice packet, struct buf *out)
{
	must(x->strip <= packet.len);
	must(x->head_bytes <= XLAT_HEAD_BYTES);
	buf_add(out, slice_of(x->head, x->head_bytes));
	buf_add(out, slice_from(packet, x->strip));
	must(out->err == 0);
	must(out->len >= x->out_bytes);
	must(x->out_bytes >= x->head_bytes);
	out->len = x->out_bytes;
	if (!x->csum_payload)
		return;
	must(x->csum_at != 0);
	uint8_t *field = out->ptr + x->csum_at;
	uint16_t sum = (uint16_t)~fold(((uint32_t)field[0] << 8 | field[1]) + sum_bytes(slice_from(buf_slice(out), x->head_bytes)));
	put(field, sum == 0 && x->flags & XLAT_ZERO_UDP ? 0xffff : sum, 2);
}

/* A header as the judge sees it. */
struct seen { bool six, fragment, whole; uint8_t protocol; size_t l4; uint64_t pseudo; size_t claimed; };

/* Where things are, or what is wrong with the headers. */
static const char *see(struct slice p, bool inner, struct seen *s)
{
	size_t header, total;

	memset(s, 0, sizeof(*s));
	if (p.len < 20)
		return "shorter than an IP header";
	s->six = p.ptr[0] >> 4 == 6;
	if (!s->six) {
		if (p.ptr[0] >> 4 != 4)
			return "no IP version";
		header = (p.ptr[0] & 15u) * 4u;
		total = packet_get(p, 2, 2);
		if (header < 20 || header > p.len || total < header)
			return "IPv4 header length";
		if (fold(sum_bytes(slice_of(p.ptr, header))) != 0xffff)
			return "IPv4 header checksum";
		s->protocol = p.ptr[9];
		s->fragment = (packet_get(p, 6, 2) & 0x3fff) != 0;
		s->pseudo = sum_bytes(slice_of(p.ptr + 12, 8));
	} else {
		if (p.len < 40)
			return "shorter than an IPv6 header";
		header = 40;
		total = 40 + packet_get(p, 4, 2);
		s->protocol = p.ptr[6];
		s->pseudo = sum_bytes(slice_of(p.ptr + 8, 32));
		if (s->protocol == 44) {
			if (p.len < 48 || total < 48)
				return "shorter than its fragment header";
			s->protocol = p.ptr[40];
			s->fragment = (packet_get(p, 42, 2) & 0xfff9) != 0;
			if (!s->fragment)
				return "an atomic fragment";
			if (p.ptr[41] != 0 || (p.ptr[43] & 6) != 0)
				return "reserved bits of the fragment header";
			header = 48;
		}
		/* Behind these there is more than is looked at here. */
		if (s->protocol == 0 || s->protocol == 43 || s->protocol == 44 || s->protocol == 60)
			return "extension headers";
	}
	if (inner ? false : total != p.len)
		return "IP length";
	s->l4 = header;
	s->claimed = total - header;
	s->whole = total <= p.len;
	return NULL;
}

/* The sum of TCP, UDP, DCCP, UDP-Lite or ICMP over all of `l4`, 0xffff if its checksum is right; 0 for others. */
static uint16_t transport_sum(const struct seen *s, struct slice l4)
{
	bool icmp = s->protocol == (s->six ? 58 : 1);

	if (!icmp && s->protocol != 6 && s->protocol != 17 && s->protocol != 33 && s->protocol != 136)
		return 0;
	return fold(sum_bytes(l4) + (icmp && !s->six ? 0 : s->pseudo + l4.len + s->protocol));
}

static bool is_error(const struct seen *s, struct slice l4)
{
	if (s->protocol != (s->six ? 58 : 1) || s->fragment || l4.len < 8)
		return false;
	return s->six ? l4.ptr[0] < 128 : l4.ptr[0] == 3 || l4.ptr[0] == 11 || l4.ptr[0] == 12;
}

static const char *judge(struct slice p, bool inner, bool deep)
{
	struct seen s;
	const char *wrong = see(p, inner, &s);
	struct slice l4;

	if (wrong != NULL)
		return wrong;
	l4 = slice_of(p.ptr + s.l4, MIN(p.len - s.l4, s.claimed));
	if (s.six ? s.protocol == 1 : s.protocol == 58)
		return "ICMP of the other family";
	if (s.fragment)
		return s.protocol == (s.six ? 58 : 1) && !inner ? "a fragment of ICMP" : NULL;
	if (s.whole) {
		bool none = s.protocol == 17 && l4.len >= 8 && l4.ptr[6] == 0 && l4.ptr[7] == 0;
		uint16_t sum = transport_sum(&s, l4);
		if (none ? s.six && !inner : sum != 0xffff && sum != 0)
			return inner ? "checksum of the inner transport" : none ? "UDP over IPv6 without a checksum" : "checksum of the transport";
	}
	if (!is_error(&s, l4))
		return NULL;
	if (inner)
		return "an error in an error";
	return deep ? judge(slice_from(l4, 8), true, true) : NULL;
}

const char *packet_judge(struct slice packet)
{
	return judge(packet, false, true);
}

const char *packet_judge_outer(struct slice packet)
{
	return judge(packet, false, false);
}

/* Version, length and IPv4's checksum. */
static void seal_header(uint8_t *p, size_t bytes, bool inner)
{
	bool six = p[0] >> 4 == 6;
	size_t header = (p[0] & 15u) * 4u;

	if (six) {
		if (!inner && bytes >= 40)
			put(p + 4, (uint32_t)MIN(bytes - 40, 65535u), 2);
		return;
	}
	if (header < 20 || header > bytes)
		p[0] = (uint8_t)((p[0] & 0xf0) | 5);
	header = (p[0] & 15u) * 4u;
	if (!inner || packet_get(slice_of(p, bytes), 2, 2) < header)
		put(p + 2, (uint32_t)MIN(bytes, 65535u), 2);
	put(p + 10, 0, 2);
	put(p + 10, (uint16_t)~fold(sum_bytes(slice_of(p, header))), 2);
}

static void seal(uint8_t *p, size_t bytes, bool inner)
{
	struct seen s;

	if (bytes < 20)
		return;
	seal_header(p, bytes, inner);
	if (see(slice_of(p, bytes), inner, &s) != NULL || s.fragment || !s.whole)
		return;
	struct slice l4 = slice_of(p + s.l4, MIN(bytes - s.l4, s.claimed));
	if (!inner && is_error(&s, l4))
		seal(p + s.l4 + 8, l4.len - 8, true);
	size_t at = s.protocol == 6 ? 16 : s.protocol == 1 || s.protocol == 58 ? 2 : 6;
	if (l4.len < at + 2 || transport_sum(&s, l4) == 0 || (s.protocol == 17 && p[s.l4 + 6] == 0 && p[s.l4 + 7] == 0))
		return;
	put(p + s.l4 + at, 0, 2);
	uint16_t sum = (uint16_t)~transport_sum(&s, l4);
	put(p + s.l4 + at, sum == 0 && s.protocol == 17 ? 0xffff : sum, 2);
}

void packet_seal(uint8_t *packet, size_t bytes)
{
	seal(packet, bytes, false);
}

void world_prefix(struct xlat_config *c, unsigned index, const char *address, uint8_t bits, bool global_only)
{
	packet_address(address, c->prefix[index].addr);
	c->prefix[index].bits = bits;
	c->prefix[index].global_only = global_only;
	c->prefix_count = index + 1;
}

void world_config(struct xlat_config *c)
{
	__be32 own4[4];

	*c = (struct xlat_config){ .abi = XLAT_CONFIG_ABI, .bytes = sizeof(*c), .mode = XLAT_SIIT,
				   .flags = XLAT_TOS_COPY | XLAT_ICMP_ERRORS | XLAT_EAM, .lowest_mtu6 = 1280 };
	world_prefix(c, 0, "64:ff9b:1::", 96, false);
	c->pool[0] = (struct xlat_pool){ .first = 0xc6336400, .count = 256 };
	c->pool_count = 1;
	packet_address("192.0.2.254", own4);
	c->own4 = own4[0];
	packet_address("2001:db8:ffff::1", c->own6);
	c->timeout[XLAT_T_FRAGMENT] = XLAT_TICKS(2000);
}

void world_eam(struct world *w, const char *addr6, uint8_t bits6, const char *addr4, uint8_t bits4, uint32_t row)
{
	struct xlat_eam e = { .bits6 = bits6, .bits4 = bits4, .row = row };
	__be32 four[4];

	packet_address(addr6, e.addr6);
	packet_address(addr4, four);
	e.addr4 = four[0];
	must(xlat_native_eam(w->n, &e) == 0);
}

void world_open(struct world *w, const struct xlat_config *c)
{
	const struct xlat_native_sizes sizes = { .sessions = 64, .bibs = 64, .subscribers = 16, .fragments = 16 };

	*w = (struct world){ .in = BUF_INIT(80000), .out = BUF_INIT(80000) };
	must(xlat_native_new(c, &sizes, &w->n) == 0);
	if (c->flags & XLAT_EAM)
		world_eam(w, "2001:db8:1::", 120, "192.0.2.0", 24, 7);
}

void world_close(struct world *w)
{
	xlat_native_free(w->n);
	buf_done(&w->in);
	buf_done(&w->out);
}

int world_send(struct world *w, uint32_t flags, uint32_t mtu)
{
	struct slice packet = buf_slice(&w->in);
	bool right = packet_judge(packet) == NULL;

	xlat_native_begin(w->n, &w->x, packet);
	w->x.flags = flags;
	w->x.trail_max = XLAT_TRAIL_MAX;
	int verdict = xlat_native_plan(w->n, &w->x);
	if (verdict == XLAT_TRANSLATE && mtu != 0)
		verdict = xlat_native_fit(w->n, &w->x, mtu);
	buf_reset(&w->out);
	if (verdict != XLAT_TRANSLATE && verdict != XLAT_ERROR)
		return verdict;
	packet_apply(&w->x, packet, &w->out);
	/* In an error of our own is what arrived, of whatever kind. */
	const char *wrong = verdict == XLAT_ERROR ? packet_judge_outer(buf_slice(&w->out)) : packet_judge(buf_slice(&w->out));
	if (wrong != NULL && (right || verdict == XLAT_ERROR)) {
		fprintf(stderr, "after the translation: %s\n", wrong);
		abort();
	}
	return verdict;
}
