/*
 * For tests of the stateful translator: packets of a few words, and what became of them. Clock and seed are the test's.
 *
 * Inside hosts are 2001:db8:H::1 (host H), the prefix is 2001:db8:64::/96 unless the configuration says otherwise.
 */
#pragma once
#include <arpa/inet.h>
#include <netinet/in.h>

#include "base/test.h"
#include "nat64/native/native.h"
#include "nat64/core/session.h"

#define POOL4	0xcb007100u		/* 203.0.113.0 */
#define REMOTE4 0xc6336401u		/* 198.51.100.1 */
enum { FIN = XLAT_TCP_FIN, SYN = XLAT_TCP_SYN, RST = XLAT_TCP_RST, ACK = XLAT_TCP_ACK };

struct rig {
	struct xlat_native *n;
	struct xlat_config config;
	struct xlat x;			/* of the last packet */
	uint64_t ns;
};

static inline void rig_prefix6(__be32 out[4], uint32_t net)
{
	out[0] = htobe32(0x20010db8);
	out[1] = htobe32(net << 16);
	out[2] = 0;
	out[3] = 0;
}

/* What `prickle nat64 check` would make of a file that says little. */
static inline struct xlat_config rig_config(uint32_t addresses)
{
	struct xlat_config c = { .abi = XLAT_CONFIG_ABI, .bytes = sizeof(c), .mode = XLAT_NAT64 };

	c.flags = XLAT_TOS_COPY | XLAT_HAIRPIN | XLAT_ICMP_ERRORS;
	c.prefix_count = 1;
	rig_prefix6(c.prefix[0].addr, 0x64);
	c.prefix[0].bits = 96;
	c.pool_count = 1;
	c.pool[0] = (struct xlat_pool){ .first = POOL4, .count = addresses, .port_first = 1, .port_last = 65535 };
	c.own4 = htobe32(0xc0000201);
	rig_prefix6(c.own6, 1);
	c.own6[3] = htobe32(0xff);
	c.lowest_mtu6 = 1280;
	c.timeout[XLAT_T_UDP] = XLAT_TICKS(300000);
	c.timeout[XLAT_T_UDP_DNS] = XLAT_TICKS(120000);
	c.timeout[XLAT_T_ICMP] = XLAT_TICKS(60000);
	c.timeout[XLAT_T_TCP_ESTABLISHED] = XLAT_TICKS(7440000);
	c.timeout[XLAT_T_TCP_TRANSITORY] = XLAT_TICKS(240000);
	c.timeout[XLAT_T_TCP_INCOMING_SYN] = XLAT_TICKS(6000);
	c.timeout[XLAT_T_FRAGMENT] = XLAT_TICKS(2000);
	c.subscriber_bits = 64;
	c.subscriber_mask[0] = c.subscriber_mask[1] = 0xffffffff;
	c.quarantine = XLAT_TICKS(120000);
	c.errors_rate = 1000000;
	c.block_ports = 256;
	c.blocks_max = 4;
	c.key[0] = 0x0123456789abcdef;
	c.key[1] = 0xfedcba9876543210;
	return c;
}

static inline void rig_init_sized(struct rig *r, const struct xlat_config *c, uint32_t sessions, uint32_t subscribers)
{
	struct xlat_native_sizes sizes = { .sessions = sessions, .bibs = sessions, .subscribers = subscribers, .fragments = 64 };

	*r = (struct rig){ .config = *c, .ns = 1000000000000 };
	ck_assert_int_eq(xlat_native_new(c, &sizes, &r->n), 0);
	xlat_native_clock(r->n, r->ns);
	xlat_native_seed(r->n, 42);
}

static inline void rig_init(struct rig *r, const struct xlat_config *c)
{
	rig_init_sized(r, c, 1000, 100);
}

static inline void rig_done(struct rig *r)
{
	struct errmsg why = { 0 };

	ck_assert_msg(xlat_native_verify(r->n, &why) == 0, "%s", why.text);
	xlat_native_free(r->n);
}

static inline void rig_apply(struct rig *r)
{
	ck_assert_int_eq(xlat_native_configure(r->n, &r->config), 0);
}

static inline void rig_turn(struct rig *r, uint64_t ms)
{
	r->ns += ms * 1000000;
	xlat_native_clock(r->n, r->ns);
}

/* Time passes, and the walk goes round in it. */
static inline void rig_walk(struct rig *r, uint64_t ms)
{
	rig_turn(r, ms);
	xlat_native_walk(r->n);
}

/* And further, so that the numbers of what ended are free again. */
static inline void rig_settle(struct rig *r)
{
	rig_walk(r, 0);
	rig_walk(r, 2100);
	rig_walk(r, 2100);
}

static inline uint16_t rig_sum(const uint8_t *at, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)at[i] << 8 | at[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static inline void rig_put16(uint8_t *at, uint32_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

/* The transport: TCP (20 bytes), UDP or an echo (8). Returns its length. ICMP: sport is the identifier; `reply` by tcp_flags 1. */
static inline size_t rig_transport(uint8_t *at, unsigned family, unsigned protocol, unsigned sport, unsigned dport, unsigned tcp_flags)
{
	if (protocol == XLAT_ICMP) {
		at[0] = (uint8_t)(family == 6 ? 128 + (tcp_flags & 1) : tcp_flags & 1 ? 0 : 8);
		rig_put16(at + 4, sport);
		rig_put16(at + 2, 0x1234);
		return 8;
	}
	rig_put16(at, sport);
	rig_put16(at + 2, dport);
	if (protocol == XLAT_UDP) {
		rig_put16(at + 4, 8);
		rig_put16(at + 6, 0x1234);
		return 8;
	}
	at[12] = 0x50;
	at[13] = (uint8_t)tcp_flags;
	rig_put16(at + 16, 0x1234);
	return 20;
}

static inline void rig_head6(uint8_t *at, const __be32 src[4], const __be32 dst[4], unsigned protocol, size_t payload)
{
	at[0] = 0x60;
	rig_put16(at + 4, (uint32_t)payload);
	at[6] = (uint8_t)(protocol == XLAT_ICMP ? XLAT_ICMP6 : protocol);
	at[7] = 64;
	memcpy(at + 8, src, 16);
	memcpy(at + 24, dst, 16);
}

static inline void rig_head4(uint8_t *at, uint32_t src, uint32_t dst, unsigned protocol, size_t payload)
{
	at[0] = 0x45;
	rig_put16(at + 2, 20 + (uint32_t)payload);
	rig_put16(at + 6, 0x4000);
	at[8] = 64;
	at[9] = (uint8_t)protocol;
	uint32_t s = htobe32(src), d = htobe32(dst);
	memcpy(at + 12, &s, 4);
	memcpy(at + 16, &d, 4);
	rig_put16(at + 10, rig_sum(at, 20));
}

static inline void rig_host(__be32 out[4], uint32_t host)
{
	rig_prefix6(out, host);
	out[3] = htobe32(1);
}

static inline void rig_embed(const struct rig *r, __be32 out[4], uint32_t addr4)
{
	memcpy(out, r->config.prefix[0].addr, 16);
	out[3] = htobe32(addr4);
}

static inline int rig_plan(struct rig *r, const uint8_t *packet, size_t len, uint32_t flags)
{
	uint32_t mark = r->x.mark;

	xlat_native_begin(r->n, &r->x, slice_of(packet, len));
	r->x.flags = flags;
	r->x.mark = mark;
	return xlat_native_plan(r->n, &r->x);
}

/* From host `host` to addr4; returns the verdict, x.to says the rest. */
static inline int rig_out_flags(struct rig *r, unsigned protocol, uint32_t host, unsigned sport, uint32_t addr4, unsigned dport, unsigned tcp_flags,
				uint32_t flags)
{
	uint8_t p[80] = { 0 };
	__be32 src[4], dst[4];

	rig_host(src, host);
	rig_embed(r, dst, addr4);
	size_t n = rig_transport(p + 40, 6, protocol, sport, dport, tcp_flags);
	rig_head6(p, src, dst, protocol, n);
	return rig_plan(r, p, 40 + n, flags);
}

static inline int rig_out(struct rig *r, unsigned protocol, uint32_t host, unsigned sport, uint32_t addr4, unsigned dport, unsigned tcp_flags)
{
	return rig_out_flags(r, protocol, host, sport, addr4, dport, tcp_flags, 0);
}

static inline int rig_in_flags(struct rig *r, unsigned protocol, uint32_t src, unsigned sport, uint32_t dst, unsigned dport, unsigned tcp_flags,
			       uint32_t flags)
{
	uint8_t p[80] = { 0 };
	size_t n = rig_transport(p + 20, 4, protocol, protocol == XLAT_ICMP ? dport : sport, dport, tcp_flags);

	rig_head4(p, src, dst, protocol, n);
	return rig_plan(r, p, 20 + n, flags);
}

static inline int rig_in(struct rig *r, unsigned protocol, uint32_t src, unsigned sport, uint32_t dst, unsigned dport, unsigned tcp_flags)
{
	return rig_in_flags(r, protocol, src, sport, dst, dport, tcp_flags, 0);
}

/* After a packet from inside: the pool address and port that it left with. */
static inline uint32_t rig_addr(const struct rig *r)
{
	return be32toh(r->x.to.src[0]);
}

static inline unsigned rig_port(const struct rig *r)
{
	return be16toh(r->x.to.sport);
}

static inline uint32_t rig_used(const struct rig *r, enum xlat_slab_id id)
{
	return xlat_native_control(r->n)->slab[id].used;
}

/* The session of a flow from inside, or NULL. */
static inline struct xlat_session_key rig_key(unsigned protocol, uint32_t host, unsigned sport, uint32_t addr4, unsigned dport)
{
	struct xlat_session_key key = { .dst4 = htobe32(addr4), .sport = htobe16((uint16_t)sport),
					.dport = htobe16((uint16_t)(protocol == XLAT_ICMP ? 0 : dport)), .protocol = (uint8_t)protocol };

	rig_host(key.src6, host);
	return key;
}

static inline struct xlat_session *rig_session(struct rig *r, unsigned protocol, uint32_t host, unsigned sport, uint32_t addr4, unsigned dport)
{
	struct xlat_session_key key = rig_key(protocol, host, sport, addr4, dport);

	return env_session(&r->x, &key);
}

#define ck_assert_verdict(r, got, want)                                                                                                \
	do {                                                                                                                           \
		int got_ = (got);                                                                                                      \
		ck_assert_msg(got_ == (want), "verdict %d, reason %u; want verdict %d", got_, (r)->x.reason, (int)(want));             \
	} while (0)
#define ck_assert_reason(r, got, want, why)                                                                                            \
	do {                                                                                                                           \
		ck_assert_verdict(r, got, want);                                                                                       \
		ck_assert_msg((r)->x.reason == (why), "reason %u, want %d", (r)->x.reason, (int)(why));                                \
	} while (0)
