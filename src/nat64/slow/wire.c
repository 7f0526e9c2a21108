#include "nat64/slow/wire.h"

#include <arpa/inet.h>

#include "base/must.h"

static void address(struct buf *out, const char *text)
{
	uint8_t bytes[16];
	bool six = strchr(text, ':') != NULL;

	must(inet_pton(six ? AF_INET6 : AF_INET, text, bytes) == 1);
	buf_add(out, slice_of(bytes, six ? 16 : 4));
}

/* RFC 1071, two bytes at a time, end-around carry at once. */
static uint32_t add(uint32_t sum, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		sum += i % 2 == 0 ? (uint32_t)p[i] * 256 : p[i];
		if (sum > 0xffff)
			sum -= 0xffff;
	}
	return sum;
}

static uint32_t pseudo(const uint8_t *ip, uint8_t protocol, size_t n)
{
	bool six = ip[0] >> 4 == 6;
	uint8_t tail[4] = { 0, protocol, (uint8_t)(n >> 8), (uint8_t)n };
	uint32_t sum = six ? add(0, ip + 8, 32) : add(0, ip + 12, 8);

	return add(sum, tail, 4);
}

void wire_ip(struct buf *out, const struct wire *w, struct slice payload)
{
	size_t at = out->len;

	if (strchr(w->src, ':') == NULL) {
		const uint8_t head[12] = { 0x45, 0, (uint8_t)((payload.len + 20) >> 8), (uint8_t)(payload.len + 20),
					   (uint8_t)(w->id >> 8), (uint8_t)w->id,
					   (uint8_t)((w->df ? 0x40 : 0) | (w->more ? 0x20 : 0) | w->offset / 8 >> 8),
					   (uint8_t)(w->offset / 8), w->ttl ? w->ttl : 64, w->protocol, 0, 0 };
		buf_add(out, slice_of(head, sizeof(head)));
		address(out, w->src);
		address(out, w->dst);
		must(out->err == 0);
		uint32_t sum = add(0, out->ptr + at, 20) ^ 0xffff;

		out->ptr[at + 10] = (uint8_t)(sum >> 8);
		out->ptr[at + 11] = (uint8_t)sum;
	} else {
		size_t n = payload.len + w->extension_bytes + (w->fragment ? 8 : 0);
		uint8_t next = w->fragment ? 44 : w->extension_bytes != 0 ? w->extension_type : w->protocol;
		const uint8_t head[8] = { 0x60, 0, 0, 0, (uint8_t)(n >> 8), (uint8_t)n, next, w->ttl ? w->ttl : 64 };

		buf_add(out, slice_of(head, sizeof(head)));
		address(out, w->src);
		address(out, w->dst);
		if (w->fragment) {
			const uint8_t part[8] = { w->extension_bytes != 0 ? w->extension_type : w->protocol, 0,
						  (uint8_t)(w->offset >> 8), (uint8_t)((w->offset & 0xf8) | w->more),
						  (uint8_t)(w->id >> 24), (uint8_t)(w->id >> 16), (uint8_t)(w->id >> 8), (uint8_t)w->id };
			buf_add(out, slice_of(part, sizeof(part)));
		}
		buf_add(out, slice_of(w->extension, w->extension_bytes));
	}
	buf_add(out, payload);
	must(out->err == 0);
}

static void finish(struct buf *out, const struct wire *w, struct buf *payload, size_t field, bool none)
{
	struct buf whole = BUF_INIT(1 << 17);
	uint32_t sum = 0;

	must(payload->err == 0);
	wire_ip(&whole, w, (struct slice){ 0 });
	if (w->protocol != 1)
		sum = pseudo(whole.ptr, w->protocol, payload->len);
	sum = add(sum, payload->ptr, payload->len) ^ 0xffff;
	if (sum == 0 && w->protocol == 17)
		sum = 0xffff;
	if (!none) {
		payload->ptr[field] = (uint8_t)(sum >> 8);
		payload->ptr[field + 1] = (uint8_t)sum;
	}
	buf_done(&whole);
	buf_reset(out);
	wire_ip(out, w, buf_slice(payload));
	buf_done(payload);
}

void wire_udp(struct buf *out, const struct wire *w, uint16_t sport, uint16_t dport, struct slice data, bool none)
{
	struct buf b = BUF_INIT(1 << 17);
	struct wire mine = *w;

	mine.protocol = 17;
	buf_be16(&b, sport);
	buf_be16(&b, dport);
	buf_be16(&b, (uint16_t)(data.len + 8));
	buf_be16(&b, 0);
	buf_add(&b, data);
	finish(out, &mine, &b, 6, none);
}

void wire_tcp(struct buf *out, const struct wire *w, const struct wire_tcp *t)
{
	struct buf b = BUF_INIT(1 << 17);
	struct wire mine = *w;

	mine.protocol = 6;
	buf_be16(&b, t->sport);
	buf_be16(&b, t->dport);
	buf_be32(&b, t->seq);
	buf_be32(&b, t->ack);
	buf_addc(&b, (uint8_t)((20 + t->options.len) / 4 << 4));
	buf_addc(&b, t->flags);
	buf_be16(&b, 8192);
	buf_be32(&b, 0);
	buf_add(&b, t->options);
	buf_add(&b, t->data);
	finish(out, &mine, &b, 16, false);
}

void wire_icmp(struct buf *out, const struct wire *w, uint8_t type, uint8_t code, uint32_t rest, struct slice data)
{
	struct buf b = BUF_INIT(1 << 17);
	struct wire mine = *w;

	mine.protocol = strchr(w->src, ':') == NULL ? 1 : 58;
	buf_addc(&b, type);
	buf_addc(&b, code);
	buf_be16(&b, 0);
	buf_be32(&b, rest);
	buf_add(&b, data);
	finish(out, &mine, &b, 2, false);
}

static const char *judge_transport(const uint8_t *ip, uint8_t protocol, struct slice l4)
{
	switch (protocol) {
	case 6:
		if (l4.len < 20 || (size_t)(l4.ptr[12] >> 4) * 4 > l4.len || l4.ptr[12] >> 4 < 5)
			return "TCP header length";
		return add(pseudo(ip, 6, l4.len), l4.ptr, l4.len) == 0xffff ? NULL : "TCP checksum";
	case 17:
		if (l4.len < 8 || (size_t)(l4.ptr[4] << 8 | l4.ptr[5]) != l4.len)
			return "UDP length";
		if (l4.ptr[6] == 0 && l4.ptr[7] == 0)
			return ip[0] >> 4 == 4 ? NULL : "UDP without a checksum over IPv6";
		return add(pseudo(ip, 17, l4.len), l4.ptr, l4.len) == 0xffff ? NULL : "UDP checksum";
	case 1:
		if (ip[0] >> 4 != 4)
			return "ICMP over IPv6";
		return l4.len >= 8 && add(0, l4.ptr, l4.len) == 0xffff ? NULL : "ICMP checksum";
	case 58:
		if (ip[0] >> 4 != 6)
			return "ICMPv6 over IPv4";
		return l4.len >= 8 && add(pseudo(ip, 58, l4.len), l4.ptr, l4.len) == 0xffff ? NULL : "ICMPv6 checksum";
	default:
		return NULL;
	}
}

const char *wire_judge(struct slice packet)
{
	const uint8_t *ip = packet.ptr;

	if (packet.len >= 20 && ip[0] == 0x45) {
		if ((size_t)(ip[2] << 8 | ip[3]) != packet.len)
			return "IPv4 total length";
		if (add(0, ip, 20) != 0xffff)
			return "IPv4 header checksum";
		if (ip[8] == 0)
			return "IPv4 time to live";
		if ((ip[6] & 0x3f) != 0 || ip[7] != 0)
			return (ip[6] & 0x20) && packet.len % 8 != 4 ? "IPv4 fragment not of a multiple of 8" : NULL;
		return judge_transport(ip, ip[9], slice_from(packet, 20));
	}
	if (packet.len >= 40 && ip[0] >> 4 == 6) {
		if ((size_t)(ip[4] << 8 | ip[5]) + 40 != packet.len)
			return "IPv6 payload length";
		if (ip[7] == 0)
			return "IPv6 hop limit";
		if (ip[6] != 44)
			return judge_transport(ip, ip[6], slice_from(packet, 40));
		if (packet.len < 48)
			return "IPv6 fragment header";
		if (ip[42] == 0 && (ip[43] & 0xf9) == 0)
			return "IPv6 atomic fragment (RFC 8021)";
		return (ip[43] & 1) && packet.len % 8 != 0 ? "IPv6 fragment not of a multiple of 8" : NULL;
	}
	return "version or header length";
}

void wire_fill(struct buf *out, size_t n, uint32_t seed)
{
	for (size_t i = 0; i < n; i++) {
		seed = seed * 1664525u + 1013904223u;
		buf_addc(out, (uint8_t)(seed >> 24));
	}
}
