/*
 * Sequences of packets, calls and turns of the clock for the stateful translator; afterwards all tables agree.
 *
 * The input is a byte of configuration, then steps: a byte that says what, and what it needs. Packets are made
 * of small numbers, so that they meet; or they are bytes as they stand.
 */
#include <stdlib.h>

#include "base/must.h"
#include "base/reader.h"
#include "nat64/core/session.h"
#include "nat64/native/native.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { POOL4 = 0xc0000200, REMOTE4 = 0xc6336400 };

static const uint8_t ports[] = { XLAT_PORTS_SHARED, XLAT_PORTS_BLOCKS, XLAT_PORTS_DETERMINISTIC, XLAT_PORTS_SHARED };

static struct xlat_config configuration(uint8_t how)
{
	struct xlat_config c = { .abi = XLAT_CONFIG_ABI, .bytes = sizeof(c), .mode = XLAT_NAT64, .prefix_count = 1, .pool_count = 1 };

	c.flags = XLAT_HAIRPIN | XLAT_ICMP_ERRORS | XLAT_LOG_SESSIONS | XLAT_LOG_MAPPINGS | (how & 1 ? XLAT_FTP | XLAT_ADMIN_PROHIBITED : 0);
	c.prefix[0].addr[0] = htobe32(0x20010db8);
	c.prefix[0].addr[1] = htobe32(0x640000);
	c.prefix[0].bits = 96;
	c.pool[0] = (struct xlat_pool){ .first = POOL4, .count = 1, .port_first = 960, .port_last = 1151, .flags = how & 2 ? XLAT_POOL_SHARED : 0 };
	for (unsigned i = 0; i < XLAT_T_COUNT; i++)
		c.timeout[i] = XLAT_TICKS(4000u << i);
	c.filtering = how & 4 ? XLAT_ADDRESS_DEPENDENT : XLAT_ENDPOINT_INDEPENDENT;
	c.ports = ports[how >> 3 & 3];
	c.block_ports = 64;
	c.blocks_max = 2;
	c.det_prefix_bits = 32;
	c.det_subscriber_bits = 48;
	c.det_ports = 32;
	c.subscriber_mask[0] = c.subscriber_mask[1] = 0xffffffff;
	c.sessions_max = how & 32 ? 6 : 0;
	c.ports_max = how & 32 ? 4 : 0;
	c.rate = how & 64 ? 2 : 0;
	c.burst = 3;
	c.quarantine = how & 128 ? 0 : XLAT_TICKS(2000);
	c.lowest_mtu6 = 1280;
	c.errors_rate = 1000;
	return c;
}

static void put16(uint8_t *at, uint32_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

static void checksum(uint8_t *at)
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < 20; i += 2)
		sum += (uint32_t)at[i] << 8 | at[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	put16(at + 10, ~sum);
}

static void host(uint8_t *at, uint32_t n)
{
	memcpy(at, (const uint8_t[]){ 0x20, 0x01, 0x0d, 0xb8 }, 4);
	put16(at + 4, n);
	at[15] = 1;
}

static void embed(uint8_t *at, uint32_t addr4)
{
	uint32_t v = htobe32(addr4);

	memcpy(at, (const uint8_t[]){ 0x20, 0x01, 0x0d, 0xb8, 0, 0x64 }, 6);
	memcpy(at + 12, &v, 4);
}

/* A transport header of `kind`: TCP, UDP, echo request, echo reply. Returns its length. */
static size_t transport(uint8_t *at, bool six, uint8_t kind, uint32_t sport, uint32_t dport, uint8_t flags)
{
	if (kind >= 2) {
		at[0] = (uint8_t)(six ? 128 + (kind & 1) : kind & 1 ? 0 : 8);
		put16(at + 4, six ? sport : dport);
		return 8;
	}
	put16(at, sport);
	put16(at + 2, dport);
	put16(at + 4, 8);
	put16(at + 6, 1);
	if (kind == 1)
		return 8;
	at[12] = 0x50;
	at[13] = flags;
	return 20;
}

static const uint8_t numbers[2][4] = { { XLAT_TCP, XLAT_UDP, XLAT_ICMP, XLAT_ICMP }, { XLAT_TCP, XLAT_UDP, XLAT_ICMP6, XLAT_ICMP6 } };

static size_t packet6(uint8_t *p, uint8_t kind, uint32_t h, uint32_t sport, uint32_t to, uint32_t dport, uint8_t flags)
{
	size_t n = transport(p + 40, true, kind, sport, dport, flags);

	p[0] = 0x60;
	put16(p + 4, (uint32_t)n);
	p[6] = numbers[1][kind];
	p[7] = 9;
	host(p + 8, h);
	embed(p + 24, to);
	return 40 + n;
}

static size_t packet4(uint8_t *p, uint8_t kind, uint32_t from, uint32_t sport, uint32_t dport, uint8_t flags)
{
	size_t n = transport(p + 20, false, kind, sport, dport, flags);
	uint32_t v = htobe32(from);

	p[0] = 0x45;
	put16(p + 2, 20 + (uint32_t)n);
	p[8] = 9;
	p[9] = numbers[0][kind];
	memcpy(p + 12, &v, 4);
	v = htobe32(POOL4);
	memcpy(p + 16, &v, 4);
	checksum(p);
	return 20 + n;
}

/* The last packet as the quotation of an error from the other side. */
static size_t error_about(uint8_t *p, const struct xlat *x)
{
	const struct xlat_ends *to = &x->to;

	if (x->verdict != XLAT_TRANSLATE || to->family != 4)
		return 0;
	p[0] = 0x45;
	put16(p + 2, 56);
	p[8] = 9;
	p[9] = XLAT_ICMP;
	memcpy(p + 12, &to->dst[0], 4);
	memcpy(p + 16, &to->src[0], 4);
	checksum(p);
	p[20] = 3;
	p[21] = 1;
	p[28] = 0x45;
	put16(p + 30, 28);
	p[36] = 9;
	p[37] = (uint8_t)(x->ip.protocol == XLAT_ICMP6 ? XLAT_ICMP : x->ip.protocol);
	memcpy(p + 40, &to->src[0], 4);
	memcpy(p + 44, &to->dst[0], 4);
	checksum(p + 28);
	memcpy(p + 48, &to->sport, 2);
	memcpy(p + 50, &to->dport, 2);
	if (p[37] == XLAT_ICMP) {
		put16(p + 48, 0x800);
		memcpy(p + 52, &to->sport, 2);
	}
	return 56;
}

static void plan(struct xlat_native *n, struct xlat *x, const uint8_t *p, size_t len, uint32_t flags)
{
	if (len == 0)
		return;
	xlat_native_begin(n, x, slice_of(p, len));
	x->flags = flags;
	int verdict = xlat_native_plan(n, x);
	must(verdict >= 0 && verdict < XLAT_VERDICTS);
	must(x->reason < XLAT_REASONS);
	must(x->head_bytes <= XLAT_HEAD_BYTES);
}

static void call(struct xlat_native *n, uint8_t op, uint8_t h, uint8_t more, uint32_t now)
{
	struct xlat_call c = { .op = op % (XLAT_CALL_ALG + 1), .slot = h & 1, .count = more };

	if (c.op == XLAT_CALL_PLAN || c.op == XLAT_CALL_SLOW || c.op == XLAT_CALL_TIMER)
		return;
	host((uint8_t *)c.bib.key.addr6, h & 7);
	c.bib.key.port6 = htobe16((uint16_t)(1000 + (h >> 3)));
	c.bib.key.protocol = numbers[0][more & 3];
	c.bib.flags = more & 4 ? XLAT_BIB_STATIC : XLAT_BIB_ALG;
	c.bib.addr4 = more & 8 ? htobe32(POOL4) : 0;
	c.bib.port4 = more & 16 ? htobe16((uint16_t)(960 + more)) : 0;
	c.bib.expires = now + XLAT_TICKS(5000);
	c.session.dst4 = htobe32(REMOTE4 + (more >> 5));
	c.session.sport = c.bib.key.port6;
	c.session.dport = c.bib.key.protocol == XLAT_ICMP ? 0 : htobe16(20);
	c.session.protocol = c.bib.key.protocol;
	memcpy(c.session.src6, c.bib.key.addr6, sizeof(c.session.src6));
	(void)xlat_native_call(n, &c, NULL);
}

/* One step. Returns false at the end of the input. */
static bool step(struct xlat_native *n, struct xlat *x, struct reader *r, uint64_t *ns)
{
	uint8_t what = rd_u8(r), a = rd_u8(r), b = rd_u8(r);
	uint32_t port = 1000 + (a >> 3), remote = (what >> 3 & 1 ? POOL4 : REMOTE4) + (b & 3);
	uint8_t p[128] = { 0 };

	if (r->bad)
		return false;
	switch (what & 7) {
	case 0: case 1: case 2:
		plan(n, x, p, packet6(p, what >> 4 & 3, a & 7, port, remote, what & 8 ? 960 + b : 20 + (b >> 2 & 1), b >> 3), what & 128 ? XLAT_DRY : 0);
		break;
	case 3: case 4:
		/* To the port that the last packet left with, or to any. */
		port = what & 8 ? 960 + a % 192u : be16toh(x->to.sport);
		plan(n, x, p, packet4(p, what >> 4 & 3, REMOTE4 + (b & 3), 20 + (b >> 2 & 1), port, b >> 3), what & 128 ? XLAT_FROM_SLOW : 0);
		break;
	case 5:
		*ns += (uint64_t)(a + 1) * 1000000 << (b & 15);
		xlat_native_clock(n, *ns);
		break;
	case 6:
		if (what & 8)
			plan(n, x, p, error_about(p, x), 0);
		else
			call(n, a, b, what >> 3, (uint32_t)(*ns >> XLAT_TICK_SHIFT));
		break;
	default:
		if (what & 8) {
			struct slice raw = rd_bytes(r, a);
			if (!r->bad)
				plan(n, x, raw.ptr, raw.len, 0);
		} else {
			xlat_native_walk(n);
		}
	}
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct xlat_native_sizes sizes = { .sessions = 24, .bibs = 20, .subscribers = 6, .fragments = 4 };
	struct reader r = { .at = data, .end = data + size };
	struct xlat_config c = configuration(rd_u8(&r));
	struct xlat_native *n = NULL;
	struct errmsg why = { 0 };
	struct xlat x = { 0 };
	uint64_t ns = 1000000000000;

	if (size > 2000 || xlat_native_new(&c, &sizes, &n) != 0)
		return 0;
	xlat_native_clock(n, ns);
	while (step(n, &x, &r, &ns))
		;
	must(xlat_native_verify(n, &why) == 0);
	/* And when all is over, nothing is left but what somebody put there by hand. */
	for (unsigned i = 0; i < 4; i++) {
		xlat_native_clock(n, ns += 3600000000000);
		xlat_native_walk(n);
	}
	must(xlat_native_verify(n, &why) == 0);
	must(xlat_native_control(n)->slab[XLAT_SLAB_SESSION].used == 0);
	xlat_native_free(n);
	return 0;
}
