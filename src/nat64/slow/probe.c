#include "nat64/slow/probe.h"

#include "nat64/core/address.h"
#include "nat64/slow/packet.h"

bool slow_probe(const struct xlat_event *e, const struct xlat_config *config, struct buf *out)
{
	__be32 from[4];

	buf_reset(out);
	if (e->kind != XLAT_EVENT_PROBE || e->protocol != XLAT_TCP || e->prefix >= config->prefix_count || e->prefix >= XLAT_PREFIXES_MAX)
		return false;
	prefix_embed(&config->prefix[e->prefix], e->remote4, from);
	buf_fill(out, 0, IP6_BYTES + 20);
	if (out->err != 0)
		return false;
	uint8_t *ip = out->ptr, *tcp = ip + IP6_BYTES;

	ip[0] = 0x60;
	put16(ip + 4, 20);
	ip[6] = XLAT_TCP;
	ip[7] = 64;
	memcpy(ip + 8, from, 16);
	memcpy(ip + 24, e->addr6, 16);
	memcpy(tcp, &e->remote_port, 2);
	memcpy(tcp + 2, &e->port6, 2);
	tcp[12] = 5 << 4;
	tcp[13] = 0x10;
	return packet_sum(ip, out->len);
}
