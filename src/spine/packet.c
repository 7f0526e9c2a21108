#include "spine/packet.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "base/reader.h"

#define ETHERTYPE_VLAN	 0x8100
#define ETHERTYPE_QINQ	 0x88a8
#define VLAN_TAGS_MAX	 2u
#define EXTENSIONS_MAX	 8u

static const struct { uint16_t type; const char *name; } ethertypes[] = {
	{ 0x0806, "ARP" }, { 0x88cc, "LLDP" }, { 0x8863, "PPPoE" }, { 0x8864, "PPPoE" }, { 0x8847, "MPLS" },
};

static void add_address(struct buf *out, int family, struct slice addr, bool has_port, uint16_t port)
{
	char text[INET6_ADDRSTRLEN];

	if (inet_ntop(family, addr.ptr, text, sizeof(text)) != NULL)
		buf_adds(out, text);
	if (has_port)
		buf_printf(out, ".%u", port);
}

static void add_flags(struct buf *out, uint8_t flags)
{
	static const char letters[] = "FSRP.UEW";

	buf_adds(out, "TCP [");
	for (unsigned i = 0; i < 8; i++)
		if ((flags >> i & 1) != 0)
			buf_addc(out, (uint8_t)letters[i]);
	buf_adds(out, "]");
}

/* The line behind the colon, from a reader at the transport header. */
static void add_transport(struct buf *out, struct reader *r, uint8_t protocol, size_t payload)
{
	uint8_t type, code;

	switch (protocol) {
	case IPPROTO_UDP:
		(void)rd_bytes(r, 8);
		buf_printf(out, "UDP, length %zu", payload >= 8 ? payload - 8 : 0);
		break;
	case IPPROTO_TCP:
		(void)rd_bytes(r, 12);
		code = rd_u8(r);
		add_flags(out, rd_u8(r));
		buf_printf(out, ", length %zu", payload >= (size_t)(code >> 4) * 4 ? payload - (size_t)(code >> 4) * 4 : 0);
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		type = rd_u8(r);
		code = rd_u8(r);
		buf_printf(out, "%s type %u code %u, length %zu", protocol == IPPROTO_ICMP ? "ICMP" : "ICMP6", type,
			   code, payload);
		break;
	default:
		buf_printf(out, "protocol %u, length %zu", protocol, payload);
	}
	if (r->bad)
		buf_adds(out, " [truncated]");
}

static void add_flow(struct buf *out, int family, struct slice from, struct slice to, struct reader *r,
		     uint8_t protocol, bool first, size_t payload)
{
	bool ports = first && (protocol == IPPROTO_UDP || protocol == IPPROTO_TCP);
	struct reader ahead = *r;
	uint16_t source = rd_be16(&ahead), destination = rd_be16(&ahead);

	ports = ports && !ahead.bad;
	buf_adds(out, family == AF_INET ? "IP " : "IP6 ");
	add_address(out, family, from, ports, source);
	buf_adds(out, " > ");
	add_address(out, family, to, ports, destination);
	buf_adds(out, ": ");
	if (first)
		add_transport(out, r, protocol, payload);
	else
		buf_printf(out, "fragment of protocol %u, length %zu", protocol, payload);
}

static void add_ip4(struct buf *out, struct reader r)
{
	uint8_t version = rd_u8(&r), protocol;
	size_t header = (size_t)(version & 15) * 4, total;
	uint16_t fragment;
	struct slice from, to;

	(void)rd_u8(&r);
	total = rd_be16(&r);
	(void)rd_be16(&r);
	fragment = rd_be16(&r);
	(void)rd_u8(&r);
	protocol = rd_u8(&r);
	(void)rd_be16(&r);
	from = rd_bytes(&r, 4);
	to = rd_bytes(&r, 4);
	if (r.bad || header < 20 || total < header) {
		buf_adds(out, "IP [truncated]");
		return;
	}
	(void)rd_bytes(&r, header - 20);
	add_flow(out, AF_INET, from, to, &r, protocol, (fragment & 0x1fff) == 0, total - header);
}

static void add_ip6(struct buf *out, struct reader r)
{
	struct slice from, to;
	size_t payload;
	uint8_t next;
	bool first = true;

	(void)rd_be32(&r);
	payload = rd_be16(&r);
	next = rd_u8(&r);
	(void)rd_u8(&r);
	from = rd_bytes(&r, 16);
	to = rd_bytes(&r, 16);
	if (r.bad) {
		buf_adds(out, "IP6 [truncated]");
		return;
	}
	for (unsigned i = 0; i < EXTENSIONS_MAX && first; i++) {
		bool fragment = next == IPPROTO_FRAGMENT;
		struct reader ahead = r;
		uint8_t after, length;
		size_t bytes;

		if (!fragment && next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS)
			break;
		after = rd_u8(&ahead);
		length = rd_u8(&ahead);
		first = !fragment || (rd_be16(&ahead) & 0xfff8) == 0;
		bytes = fragment ? 8 : ((size_t)length + 1) * 8;
		(void)rd_bytes(&r, bytes);
		next = after;
		payload -= bytes < payload ? bytes : payload;
	}
	add_flow(out, AF_INET6, from, to, &r, next, first, payload);
}

void packet_summary(struct buf *out, struct slice frame)
{
	struct reader r = reader_of(frame);
	uint16_t type;

	(void)rd_bytes(&r, 12);
	type = rd_be16(&r);
	for (unsigned i = 0; i < VLAN_TAGS_MAX && (type == ETHERTYPE_VLAN || type == ETHERTYPE_QINQ); i++) {
		buf_printf(out, "vlan %u, ", rd_be16(&r) & 0xfff);
		type = rd_be16(&r);
	}
	if (r.bad) {
		buf_printf(out, "frame of %zu bytes [truncated]", frame.len);
		return;
	}
	if (type == 0x0800) {
		add_ip4(out, r);
		return;
	}
	if (type == 0x86dd) {
		add_ip6(out, r);
		return;
	}
	for (size_t i = 0; i < sizeof(ethertypes) / sizeof(ethertypes[0]); i++)
		if (ethertypes[i].type == type) {
			buf_printf(out, "%s, length %zu", ethertypes[i].name, frame.len);
			return;
		}
	buf_printf(out, "ethertype 0x%04x, length %zu", type, frame.len);
}
