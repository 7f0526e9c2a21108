/*
 * The same packets through the native home and through the programs in the kernel, with the same clock, the same random
 * numbers and the same tables: verdict, reason and bytes have to be equal.
 *
 * What runs in the kernel is what users run: the XDP programs by BPF_PROG_TEST_RUN, which read and write frames by themselves (so
 * their short ways are compared as well), and plans by the SYSCALL program. Sequences are stateful: answers to what was translated, ICMP
 * errors about it, fragments, time that passes, the walk.
 *
 * The kernel verifies all programs for each configuration, which is most of the time; NAT64_FULL=1 tries all lengths of prefixes and
 * more packets.
 */
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "base/test.h"
#include "nat64/bpf/rig_test.h"
#include "nat64/core/address.h"
#include "nat64/native/native.h"

#define FRAME_MAX	9100u
#define HISTORY		256u
#define MTU		1400u		/* of all routes: packets of both families are above and below */
#define START_NS	1000000000000ull

static bool everything(void)
{
	return getenv("NAT64_FULL") != NULL;
}

struct packet {
	uint8_t bytes[FRAME_MAX];
	uint32_t len, family;
};

struct lab {
	struct rig rig;
	struct xlat_native *native;
	struct xlat_config config;
	__u64 random;			/* of the generator */
	uint64_t clock_ns;
	uint32_t cpu, cpus;
	struct packet in, want, got;
	struct packet past[HISTORY];	/* what came out */
	uint32_t past_count;
	void *scratch;			/* struct xlat of all processors */
	uint64_t count, fast, by_verdict[XLAT_VERDICTS];
	bool reason_seen[XLAT_REASONS];
	char what[160];
};

static uint32_t any(struct lab *l)
{
	return xlat_random_step(&l->random);
}

/* 0 .. n - 1 */
static uint32_t below(struct lab *l, uint32_t n)
{
	return (uint32_t)((uint64_t)any(l) * n >> 32);
}

static bool one_in(struct lab *l, uint32_t n)
{
	return below(l, n) == 0;
}

/* --- packets ----------------------------------------------------------------------------------------------------- */

static void put16(uint8_t *at, uint32_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

static uint32_t get16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

static uint32_t sum_of(const uint8_t *at, uint32_t bytes, uint32_t sum)
{
	for (uint32_t i = 0; i < bytes; i++)
		sum += i % 2 == 0 ? (uint32_t)at[i] << 8 : at[i];
	return sum;
}

static uint32_t folded(uint32_t sum)
{
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static uint32_t pseudo_sum(const uint8_t *ip, uint32_t family, uint32_t bytes, uint32_t protocol)
{
	return family == 6 ? sum_of(ip + 8, 32, bytes + protocol) : sum_of(ip + 12, 8, bytes + protocol);
}

static uint32_t checksum_at(uint32_t protocol)
{
	return protocol == XLAT_TCP ? 16 : protocol == XLAT_ICMP || protocol == XLAT_ICMP6 ? 2 : 6;
}

/* The transport at l4, whole, gets its checksum. */
static void seal(uint8_t *ip, uint32_t family, uint32_t l4, uint32_t bytes, uint32_t protocol)
{
	uint32_t at = checksum_at(protocol), sum = protocol == XLAT_ICMP ? 0 : pseudo_sum(ip, family, bytes, protocol);

	if (bytes < at + 2 || (protocol != XLAT_TCP && protocol != XLAT_UDP && protocol != XLAT_ICMP && protocol != XLAT_ICMP6))
		return;
	put16(ip + l4 + at, 0);
	sum = folded(sum_of(ip + l4, bytes, sum)) ^ 0xffff;
	put16(ip + l4 + at, protocol == XLAT_UDP && sum == 0 ? 0xffff : sum);
}

static void seal4(uint8_t *ip, uint32_t header)
{
	put16(ip + 10, 0);
	put16(ip + 10, folded(sum_of(ip, header, 0)) ^ 0xffff);
}

/* Inside hosts, some of them with a suffix that EAMs name; the odd one from nowhere. */
static void address6(struct lab *l, uint8_t out[16])
{
	static const uint8_t net[16] = { 0x20, 0x01, 0x0d, 0xb8, 0, 1 };

	memcpy(out, net, 16);
	out[7] = (uint8_t)below(l, 8);
	out[15] = (uint8_t)below(l, 32);
	if (one_in(l, 16))
		for (int i = 0; i < 16; i++)
			out[i] = (uint8_t)any(l);
	if (one_in(l, 32))
		memcpy(out, l->config.prefix[0].addr, 16);
	if (one_in(l, 64))
		memset(out, one_in(l, 2) ? 0xff : 0, 15);
}

static void address4(struct lab *l, uint8_t out[4])
{
	static const uint8_t nets[][4] = { { 198, 18, 0, 0 }, { 8, 8, 8, 0 }, { 203, 0, 113, 0 }, { 192, 0, 2, 0 }, { 10, 1, 1, 0 } };

	memcpy(out, nets[below(l, sizeof(nets) / 4)], 4);
	out[3] = (uint8_t)below(l, 24);
	if (one_in(l, 24))
		for (int i = 0; i < 4; i++)
			out[i] = (uint8_t)any(l);
}

/* An IPv4 address in a prefix, RFC 6052 2.2. */
static void embed(const struct xlat_prefix *p, const uint8_t four[4], uint8_t out[16])
{
	uint32_t at = p->bits / 8u;

	memcpy(out, p->addr, 16);
	for (uint32_t i = 0; i < 4; i++, at++) {
		at += at == 8;
		out[at] = four[i];
	}
}

/* Transport and payload at `at`; returns their length. The checksum is left to seal(). */
static uint32_t transport(struct lab *l, uint8_t *at, uint32_t protocol, uint32_t room)
{
	uint32_t header = protocol == XLAT_TCP ? 20 : 8, payload = one_in(l, 8) ? below(l, 1700) : below(l, 80);
	static const uint8_t flags[] = { 0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x14, 0x01, 0x00 };

	if (header + payload > room)
		payload = room - header;
	for (uint32_t i = 0; i < header + payload; i++)
		at[i] = (uint8_t)any(l);
	put16(at, 1000 + below(l, 24));
	put16(at + 2, one_in(l, 8) ? 21 : one_in(l, 4) ? 53 : 2000 + below(l, 24));
	if (protocol == XLAT_TCP) {
		at[12] = 0x50;
		at[13] = flags[below(l, sizeof(flags))];
	} else if (protocol == XLAT_UDP) {
		put16(at + 4, header + payload);
	} else if (protocol == XLAT_ICMP || protocol == XLAT_ICMP6) {
		bool reply = one_in(l, 3);
		at[0] = protocol == XLAT_ICMP ? (reply ? 0 : 8) : (reply ? 129 : 128);
		at[1] = 0;
		put16(at + 4, 3000 + below(l, 24));
		if (one_in(l, 12))
			at[0] = (uint8_t)any(l);
		if (one_in(l, 24))
			at[1] = (uint8_t)below(l, 18);
	}
	return header + payload;
}

static uint32_t some_protocol(struct lab *l, uint32_t family)
{
	static const uint8_t known[] = { XLAT_TCP, XLAT_UDP, XLAT_TCP, XLAT_UDP, XLAT_ICMP, XLAT_DCCP, XLAT_SCTP, 47, 50, 136 };
	uint32_t p = one_in(l, 40) ? any(l) & 0xff : known[one_in(l, 4) ? below(l, sizeof(known)) : below(l, 5)];

	return p == XLAT_ICMP && family == 6 ? XLAT_ICMP6 : p;
}

/* Extension headers between IPv6 header and transport; returns their length. */
static uint32_t extensions(struct lab *l, struct packet *p, uint32_t *next_at)
{
	static const uint8_t kinds[] = { 0, 43, 60, 44, 51 };
	uint32_t at = 40;

	for (uint32_t n = below(l, one_in(l, 8) ? 12 : 3); n > 0; n--) {
		uint32_t kind = kinds[below(l, one_in(l, 4) ? 5 : 3)], bytes = kind == 44 ? 8 : 8 + 8 * below(l, one_in(l, 8) ? 20 : 2);
		memset(p->bytes + at, 0, bytes);
		p->bytes[*next_at] = (uint8_t)kind;
		p->bytes[at + 1] = (uint8_t)(kind == 44 ? 0 : bytes / 8 - 1);
		if (kind == 43 && one_in(l, 3))
			p->bytes[at + 3] = 1;
		*next_at = at;
		at += bytes;
	}
	return at - 40;
}

static void make6(struct lab *l, struct packet *p)
{
	uint32_t protocol = some_protocol(l, 6), next_at = 6, l4, bytes;
	uint8_t four[4];

	p->family = 6;
	memset(p->bytes, 0, 48);
	p->bytes[0] = 0x60;
	if (one_in(l, 4))
		put16(p->bytes, 0x6000 | (any(l) & 0xfff));
	p->bytes[7] = one_in(l, 16) ? (uint8_t)below(l, 3) : 64;
	address6(l, p->bytes + 8);
	address4(l, four);
	if (l->config.mode == XLAT_SIIT && !one_in(l, 4))
		embed(&l->config.prefix[0], four, p->bytes + 8);
	address4(l, four);
	embed(&l->config.prefix[below(l, l->config.prefix_count)], four, p->bytes + 24);
	if (one_in(l, 12))
		address6(l, p->bytes + 24);
	l4 = 40 + (one_in(l, 8) ? extensions(l, p, &next_at) : 0);
	p->bytes[next_at] = (uint8_t)protocol;
	if (one_in(l, 8)) {		/* a fragment */
		uint8_t *f = p->bytes + l4;
		memset(f, 0, 8);
		p->bytes[next_at] = 44;
		f[0] = (uint8_t)protocol;
		put16(f + 2, (one_in(l, 2) ? 0 : below(l, 100) * 8) | below(l, 2));
		f[7] = (uint8_t)below(l, 8);
		l4 += 8;
	}
	bytes = transport(l, p->bytes + l4, protocol, 1900);
	if ((p->bytes[next_at] == 44) && one_in(l, 2))
		bytes &= ~7u;
	p->len = l4 + bytes;
	put16(p->bytes + 4, p->len - 40);
	seal(p->bytes, 6, l4, bytes, protocol);
}

static void make4(struct lab *l, struct packet *p)
{
	uint32_t protocol = some_protocol(l, 4), l4 = 20, bytes;

	p->family = 4;
	memset(p->bytes, 0, 60);
	address4(l, p->bytes + 12);
	address4(l, p->bytes + 16);
	if (one_in(l, 12)) {
		l4 += 4 * below(l, 11);
		for (uint32_t i = 20; i < l4; i++)
			p->bytes[i] = one_in(l, 2) ? 1 : (uint8_t)any(l);
		if (l4 > 24 && one_in(l, 2)) {
			p->bytes[20] = one_in(l, 2) ? 131 : 137;
			p->bytes[21] = 7;
			p->bytes[22] = one_in(l, 2) ? 4 : 8;
		}
	}
	p->bytes[0] = (uint8_t)(0x40 | l4 / 4);
	p->bytes[1] = one_in(l, 4) ? (uint8_t)any(l) : 0;
	put16(p->bytes + 4, below(l, 8));
	put16(p->bytes + 6, one_in(l, 8) ? (below(l, 2) << 13) | (one_in(l, 2) ? 0 : below(l, 100)) : one_in(l, 2) ? 0x4000 : 0);
	p->bytes[8] = one_in(l, 16) ? (uint8_t)below(l, 3) : 64;
	p->bytes[9] = (uint8_t)protocol;
	bytes = transport(l, p->bytes + l4, protocol, 1900);
	p->len = l4 + bytes;
	put16(p->bytes + 2, p->len);
	seal(p->bytes, 4, l4, bytes, protocol);
	if (protocol == XLAT_UDP && one_in(l, 10))
		put16(p->bytes + l4 + 6, 0);
	seal4(p->bytes, l4);
}

/* The other end answers what we sent. False: nothing fits. */
static bool make_answer(struct lab *l, struct packet *p)
{
	const struct packet *o = &l->past[below(l, HISTORY)];
	uint8_t swap[16], *b = p->bytes;
	uint32_t l4, protocol;

	if (l->past_count == 0 || o->len == 0)
		return false;
	*p = *o;
	l4 = p->family == 6 ? 40 : 20;
	protocol = p->family == 6 ? b[6] : b[9];
	if (p->len < l4 + 20)
		return false;
	if (p->family == 6) {
		memcpy(swap, b + 8, 16);
		memcpy(b + 8, b + 24, 16);
		memcpy(b + 24, swap, 16);
		b[7] = 64;
	} else {
		memcpy(swap, b + 12, 4);
		memcpy(b + 12, b + 16, 4);
		memcpy(b + 16, swap, 4);
		b[8] = 64;
	}
	if (protocol == XLAT_TCP || protocol == XLAT_UDP) {
		memcpy(swap, b + l4, 2);
		memcpy(b + l4, b + l4 + 2, 2);
		memcpy(b + l4 + 2, swap, 2);
	} else if (protocol == XLAT_ICMP || protocol == XLAT_ICMP6) {
		b[l4] = protocol == XLAT_ICMP ? 0 : 129;
	}
	if (protocol == XLAT_TCP)
		b[l4 + 13] = one_in(l, 4) ? 0x12 : one_in(l, 6) ? 0x11 : one_in(l, 8) ? 0x04 : 0x10;
	seal(b, p->family, l4, p->len - l4, protocol);
	if (p->family == 4)
		seal4(b, 20);
	return true;
}

/* An ICMP error about what we sent, from a router or its destination. */
static bool make_error(struct lab *l, struct packet *p)
{
	static const uint8_t types4[] = { 3, 3, 3, 11, 12, 4, 5 }, types6[] = { 1, 2, 3, 4, 137 };
	const struct packet *o = &l->past[below(l, HISTORY)];
	uint32_t head, quoted;
	uint8_t *b = p->bytes;

	if (l->past_count == 0 || o->len == 0)
		return false;
	p->family = o->family;
	head = p->family == 6 ? 40 : 20;
	quoted = one_in(l, 2) ? 28 + below(l, 30) : below(l, 600);
	if (quoted > o->len)
		quoted = o->len;
	memset(b, 0, 48);
	memcpy(b + head + 8, o->bytes, quoted);
	p->len = head + 8 + quoted;
	if (p->family == 6) {
		b[0] = 0x60;
		put16(b + 4, p->len - 40);
		b[6] = XLAT_ICMP6;
		b[7] = 60;
		if (one_in(l, 2))
			address6(l, b + 8);
		else
			memcpy(b + 8, o->bytes + 24, 16);
		memcpy(b + 24, o->bytes + 8, 16);
	} else {
		b[0] = 0x45;
		put16(b + 2, p->len);
		b[8] = 60;
		b[9] = XLAT_ICMP;
		if (one_in(l, 2))
			address4(l, b + 12);
		else
			memcpy(b + 12, o->bytes + 16, 4);
		memcpy(b + 16, o->bytes + 12, 4);
		seal4(b, 20);
	}
	b[head] = p->family == 6 ? types6[below(l, sizeof(types6))] : types4[below(l, sizeof(types4))];
	b[head + 1] = (uint8_t)below(l, b[head] == 3 && p->family == 4 ? 16 : 4);
	put16(b + head + 6, one_in(l, 2) ? 1280 + below(l, 300) : below(l, 100));
	if (one_in(l, 8))		/* RFC 4884 */
		b[head + (p->family == 6 ? 4 : 5)] = (uint8_t)(quoted / (p->family == 6 ? 8 : 4));
	seal(b, p->family, head, p->len - head, p->family == 6 ? XLAT_ICMP6 : XLAT_ICMP);
	return true;
}

/* Lies, and ends that come too early. */
static void spoil(struct lab *l, struct packet *p)
{
	for (uint32_t n = below(l, 3); n > 0; n--)
		p->bytes[below(l, p->len < 100 ? p->len : 100)] = (uint8_t)any(l);
	if (one_in(l, 2))
		p->len = 1 + below(l, p->len < 120 ? p->len : 120);
	if (p->family == 4 && p->len >= 20 && one_in(l, 2))
		seal4(p->bytes, 20);
	if (one_in(l, 3) && p->len < 64) {	/* padding of the frame */
		memset(p->bytes + p->len, 0x55, 64 - p->len);
		p->len = 64;
	}
}

static void make(struct lab *l, struct packet *p)
{
	uint32_t kind = below(l, 16);

	if (!((kind < 5 && make_answer(l, p)) || (kind >= 5 && kind < 8 && make_error(l, p)))) {
		if (one_in(l, 2))
			make6(l, p);
		else
			make4(l, p);
	}
	if (one_in(l, 10))
		spoil(l, p);
}

/* --- the native side -------------------------------------------------------------------------------------------- */

/* What every home does with the edit, in the plainest way. */
static void apply(const struct xlat *x, const struct packet *in, struct packet *out, bool complete)
{
	uint32_t rest = x->out_bytes - x->head_bytes;

	ck_assert_uint_le(x->head_bytes, x->out_bytes);
	ck_assert_uint_le(x->strip + rest, in->len);
	memcpy(out->bytes, x->head, x->head_bytes);
	memcpy(out->bytes + x->head_bytes, in->bytes + x->strip, rest);
	out->len = x->out_bytes;
	out->family = out->bytes[0] >> 4;
	if (x->csum_payload != 0) {
		uint32_t sum = get16(out->bytes + x->csum_at);
		sum = folded(sum_of(out->bytes + x->head_bytes, rest, sum)) ^ 0xffff;
		put16(out->bytes + x->csum_at, (x->flags & XLAT_ZERO_UDP) != 0 && sum == 0 ? 0xffff : sum);
	} else if (complete && x->verdict == XLAT_TRANSLATE && x->csum_at != 0 && (x->ip.protocol == XLAT_TCP || x->ip.protocol == XLAT_UDP) &&
		   folded(pseudo_sum(in->bytes, x->ip.family, x->ip.payload, x->ip.protocol)) == x->ip.csum) {
		uint32_t l4 = x->csum_at - checksum_at(x->ip.protocol);
		seal(out->bytes, out->family, l4, x->ip.payload, x->ip.protocol);
	}
}

/* --- comparing ---------------------------------------------------------------------------------------------------- */

static const char *const verdict_names[] = { "pass", "drop", "translate", "error", "slow" };
static const char *const reason_names[] = {
#define REASON(name, text, ...) text,
#include "nat64/core/reasons.def"
#undef REASON
};

static void say(struct lab *l, const char *how, const struct xlat *x)
{
	snprintf(l->what, sizeof(l->what), "packet %llu by %s: family %u, %u bytes, protocol %u, native says %s (%s)", (unsigned long long)l->count,
		 how, l->in.family, l->in.len, x->ip.protocol, x->verdict < XLAT_VERDICTS ? verdict_names[x->verdict] : "?",
		 x->reason < XLAT_REASONS ? reason_names[x->reason] : "?");
}

static void dump(const char *what, const struct packet *p)
{
	printf("# %s:", what);
	for (uint32_t i = 0; i < p->len && i < 160; i++)
		printf("%s%02x", i % 4 == 0 ? " " : "", p->bytes[i]);
	puts("");
}

static void same_plan(struct lab *l, const struct xlat *want, const struct xlat *got)
{
	if (got->verdict != want->verdict || got->reason != want->reason)
		dump("in", &l->in);
	ck_assert_msg(got->verdict == want->verdict && got->reason == want->reason, "%s; the program %s (%s)", l->what,
		      got->verdict < XLAT_VERDICTS ? verdict_names[got->verdict] : "?", got->reason < XLAT_REASONS ? reason_names[got->reason] : "?");
	if (want->verdict != XLAT_TRANSLATE && want->verdict != XLAT_ERROR)
		return;
	ck_assert_msg(got->head_bytes == want->head_bytes && got->strip == want->strip && got->out_bytes == want->out_bytes,
		      "%s; head %u, strip %u, out %u; the program: %u, %u, %u", l->what, want->head_bytes, want->strip, want->out_bytes,
		      got->head_bytes, got->strip, got->out_bytes);
	ck_assert_msg(got->csum_at == want->csum_at && got->csum_payload == want->csum_payload && got->csum_pseudo == want->csum_pseudo &&
		      got->csum_rest == want->csum_rest, "%s: sums differ", l->what);
	ck_assert_msg(got->session_slot == want->session_slot && got->bib == want->bib && got->prefix == want->prefix, "%s: entries differ", l->what);
}

static void by_call(struct lab *l, struct xlat *want)
{
	struct xlat_call call = { .op = XLAT_CALL_PLAN, .desk = XLAT_DESK_COMMAND };
	struct xlat *x = &l->rig.desk[XLAT_DESK_COMMAND];

	(void)xlat_native_plan(l->native, want);
	say(l, "nat64_call", want);
	memset(x, 0, sizeof(*x));
	x->packet_bytes = l->in.len;
	x->in_bytes = l->in.len < XLAT_BYTES ? l->in.len : XLAT_BYTES;
	memcpy(x->in, l->in.bytes, x->in_bytes);
	x->family = l->in.family;
	x->flags = want->flags & (XLAT_HOST | XLAT_FROM_SLOW);
	ck_assert_int_ge(rig_call(&l->rig, &call), -1);
	same_plan(l, want, x);
	if (want->verdict == XLAT_TRANSLATE || want->verdict == XLAT_ERROR) {
		ck_assert_msg(memcmp(x->head, want->head, want->head_bytes) == 0, "%s: heads differ", l->what);
		apply(want, &l->in, &l->want, false);
	}
}

static void by_xdp(struct lab *l, struct xlat *want, bool frags)
{
	static uint8_t frame[FRAME_MAX + 64], back[FRAME_MAX + 256];
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = RIG_LINK_BYTES + l->in.len, .data_out = back,
		    .data_size_out = sizeof(back), .repeat = 1);
	static const uint8_t macs[12] = { 2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8 };
	static const uint32_t returns[] = { 2 /* PASS */, 1 /* DROP */, 3 /* TX */, 3, 4 /* REDIRECT */ };
	uint32_t at = 0;
	const struct xlat *x = (const struct xlat *)(const void *)((const uint8_t *)l->scratch + l->cpu * ((sizeof(*x) + 7) / 8 * 8));

	(void)xlat_native_plan(l->native, want);
	if (want->verdict == XLAT_TRANSLATE) {
		rig_nexthop(&l->rig, want->to.family, want->to.dst, 1, MTU);
		(void)xlat_native_fit(l->native, want, MTU);
	}
	say(l, frags ? "nat64_xdp_frags" : "nat64_xdp", want);
	memcpy(frame, macs, 12);
	put16(frame + 12, l->in.family == 6 ? 0x86dd : 0x0800);
	memcpy(frame + RIG_LINK_BYTES, l->in.bytes, l->in.len);
	ck_assert_msg(bpf_prog_test_run_opts(frags ? l->rig.frags : l->rig.xdp, &run) == 0, "%s: %s", l->what, strerrorname_np(errno));
	ck_assert_int_eq(bpf_map_lookup_elem(rig_map(&l->rig, "scratch"), &at, l->scratch), 0);
	if (x->in_bytes == 0) {		/* the short way */
		ck_assert_msg(want->verdict == XLAT_TRANSLATE && want->reason == XLAT_R_NONE, "%s; the program took the short way", l->what);
		l->fast++;
	} else {
		same_plan(l, want, x);
	}
	ck_assert_msg(run.retval == returns[want->verdict], "%s: the program returns %u", l->what, run.retval);
	if (want->verdict != XLAT_TRANSLATE && want->verdict != XLAT_ERROR) {
		/* The sender's link address becomes the mark, which is 0. */
		if (want->verdict == XLAT_SLOW)
			memset(frame + 6, 0, 6);
		ck_assert_msg(run.data_size_out == RIG_LINK_BYTES + l->in.len && memcmp(back, frame, run.data_size_out) == 0,
			      "%s: the frame was changed", l->what);
		return;
	}
	apply(want, &l->in, &l->want, true);
	l->got.len = run.data_size_out - RIG_LINK_BYTES;
	memcpy(l->got.bytes, back + RIG_LINK_BYTES, l->got.len);
	if (l->got.len != l->want.len || memcmp(l->got.bytes, l->want.bytes, l->want.len) != 0) {
		dump("in", &l->in);
		dump("native", &l->want);
		dump("program", &l->got);
	}
	ck_assert_msg(l->got.len == l->want.len && memcmp(l->got.bytes, l->want.bytes, l->want.len) == 0, "%s: bytes differ", l->what);
	ck_assert_msg(get16(back + 12) == (l->want.family == 6 ? 0x86dd : 0x0800), "%s: type of the frame", l->what);
	if (want->verdict == XLAT_ERROR)
		ck_assert_msg(memcmp(back, macs + 6, 6) == 0 && memcmp(back + 6, macs, 6) == 0, "%s: not to the sender", l->what);
	else
		ck_assert_msg(back[5] == 1 && back[11] == 2, "%s: not to the next hop", l->what);
}

static void clock_set(struct lab *l, uint64_t ns)
{
	l->clock_ns = ns;
	l->rig.control->clock_ns = ns;
	l->rig.control->slow_beat = (uint32_t)(ns >> XLAT_TICK_SHIFT);
	xlat_native_clock(l->native, ns);
}

static void walk(struct lab *l, uint32_t count)
{
	struct xlat_call mine = { .op = XLAT_CALL_WALK, .count = count, .desk = XLAT_DESK_COMMAND }, theirs = mine;
	static struct xlat desk;

	memset(&desk, 0, sizeof(desk));
	(void)xlat_native_call(l->native, &mine, &desk);
	(void)rig_call(&l->rig, &theirs);
	ck_assert_int_eq(theirs.result, mine.result);
}

static void one(struct lab *l)
{
	static struct xlat want;
	uint32_t how = below(l, 4);

	make(l, &l->in);
	if (l->in.len == 0)
		return;
	l->want.len = 0;
	xlat_native_begin(l->native, &want, (struct slice){ l->in.bytes, l->in.len });
	want.family = l->in.family;
	if (how == 0 && one_in(l, 4))
		want.flags |= XLAT_FROM_SLOW;
	if (how == 0)
		by_call(l, &want);
	else
		by_xdp(l, &want, how == 1);
	l->count++;
	l->by_verdict[want.verdict]++;
	l->reason_seen[want.reason] = true;
	if (want.verdict == XLAT_TRANSLATE && l->want.len != 0) {
		l->past[l->past_count % HISTORY] = l->want;
		l->past_count++;
	}
	if (one_in(l, 8))
		clock_set(l, l->clock_ns + (uint64_t)any(l) % 200000000);
	if (one_in(l, 400))
		clock_set(l, l->clock_ns + (uint64_t)below(l, 300) * 1000000000);
	if (one_in(l, 50))
		walk(l, below(l, 300));
	ck_assert_uint_eq(l->rig.control->random, xlat_native_control(l->native)->random);
}

/* Counters of the core are the same; those of the XDP home alone are left out. */
static void same_tables(struct lab *l)
{
	struct xlat_stats theirs;
	const struct xlat_stats *mine = xlat_native_stats(l->native);
	const struct xlat_control *c = xlat_native_control(l->native);

	rig_stats(&l->rig, &theirs);
	for (uint32_t v = 0; v < XLAT_VERDICTS; v++) {
		for (uint32_t r = 0; r < XLAT_REASONS; r++) {
			if (r != XLAT_R_PARTIAL_CHECKSUM)
				ck_assert_msg(theirs.reason[v][r] == mine->reason[v][r], "counter %s of %s: %llu and %llu", reason_names[r],
					      verdict_names[v], (unsigned long long)theirs.reason[v][r], (unsigned long long)mine->reason[v][r]);
		}
	}
	ck_assert_uint_eq(theirs.sessions_made, mine->sessions_made);
	ck_assert_uint_eq(theirs.sessions_ended, mine->sessions_ended);
	ck_assert_uint_eq(theirs.mappings_made, mine->mappings_made);
	ck_assert_uint_eq(theirs.mappings_ended, mine->mappings_ended);
	ck_assert_uint_eq(theirs.port_tries, mine->port_tries);
	for (uint32_t i = 0; i < XLAT_SLABS; i++) {
		ck_assert_uint_eq(l->rig.control->slab[i].used, c->slab[i].used);
		ck_assert_uint_eq(l->rig.control->slab[i].fresh, c->slab[i].fresh);
		ck_assert_uint_eq(l->rig.control->slab[i].free, c->slab[i].free);
	}
}

/* --- configurations ----------------------------------------------------------------------------------------------- */

static __be32 four(uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
	return bpf_htonl(a << 24 | b << 16 | c << 8 | d);
}

static void basics(struct xlat_config *c, uint32_t mode, uint32_t bits)
{
	*c = (struct xlat_config){ .abi = XLAT_CONFIG_ABI, .bytes = sizeof(*c), .serial = 1, .mode = mode,
		.flags = XLAT_TOS_COPY | XLAT_HAIRPIN | XLAT_NEXTHOP_CACHE | XLAT_ICMP_ERRORS | XLAT_FTP, .prefix_count = 1,
		.own4 = four(192, 0, 2, 1), .own6 = { bpf_htonl(0x20010db8), 0, 0, bpf_htonl(1) }, .lowest_mtu6 = 1280,
		.subscriber_bits = 64, .subscriber_mask = { 0xffffffff, 0xffffffff }, .block_ports = 256, .blocks_max = 4,
		.errors_rate = 0, .key = { 0x0123456789abcdef, 0xfedcba9876543210 }, .quarantine = XLAT_TICKS(120000) };
	static const uint32_t seconds[XLAT_T_COUNT] = { 300, 60, 7440, 240, 6, 2, 17 };

	for (uint32_t i = 0; i < XLAT_T_COUNT; i++)
		c->timeout[i] = XLAT_TICKS(seconds[i] * 1000);
	c->prefix[0] = (struct xlat_prefix){ .addr = { bpf_htonl(0x20010db8), bits > 32 ? bpf_htonl(0x00640000) : 0 }, .bits = (uint8_t)bits };
}

static void with_errors(struct xlat_config *c)
{
	c->flags |= XLAT_ADMIN_PROHIBITED;
	c->error_count = 1;
	c->error_pool[0] = (struct xlat_net4){ .addr = four(198, 51, 100, 0), .mask = four(255, 255, 255, 0) };
}

/* IPv4 destinations that a stateless translator takes. */
static void with_nets(struct xlat_config *c)
{
	c->pool_count = 3;
	c->pool[0] = (struct xlat_pool){ .first = 0xc6120000, .count = 256 };
	c->pool[1] = (struct xlat_pool){ .first = 0x08080800, .count = 256 };
	c->pool[2] = (struct xlat_pool){ .first = 0xc0000200, .count = 16 };
}

static void with_pool(struct xlat_config *c, uint32_t ports)
{
	c->pool_count = 2;
	c->pool[0] = (struct xlat_pool){ .first = 0xcb007100, .count = 4, .port_first = 1024, .port_last = 65535 };
	c->pool[1] = (struct xlat_pool){ .first = 0xcb007110, .count = 2, .port_first = 3000, .port_last = 3999, .slot = 4, .flags = XLAT_POOL_SHARED };
	c->ports = ports;
	c->sessions_max = 400;
	c->ports_max = 200;
}

static size_t make_eams(struct xlat_config *c, struct xlat_eam *out)
{
	/* Host to host, unequal suffixes both ways, a net in a net. */
	out[0] = (struct xlat_eam){ .addr6 = { bpf_htonl(0x20010db8), bpf_htonl(0x00010000), 0, bpf_htonl(7) }, .addr4 = four(192, 0, 2, 7), .bits6 = 128, .bits4 = 32, .row = 1 };
	out[1] = (struct xlat_eam){ .addr6 = { bpf_htonl(0x20010db8), bpf_htonl(0x00010001) }, .addr4 = four(192, 0, 2, 16), .bits6 = 64, .bits4 = 28, .row = 2 };
	out[2] = (struct xlat_eam){ .addr6 = { bpf_htonl(0x20010db8), bpf_htonl(0x00010002), 0, 0 }, .addr4 = four(10, 1, 1, 0), .bits6 = 120, .bits4 = 24, .row = 3 };
	out[3] = (struct xlat_eam){ .addr6 = { bpf_htonl(0x20010db8), bpf_htonl(0x00010003) }, .addr4 = four(198, 18, 0, 0), .bits6 = 112, .bits4 = 24, .row = 4 };
	c->flags |= XLAT_EAM;
	c->hairpin_eam = 1;
	for (int i = 0; i < 4; i++)
		eam_span_join(c, &out[i], i == 0);
	return 4;
}

static void run(const char *name, struct xlat_config *config, const struct xlat_eam *eams, size_t eam_count, uint64_t seed, uint32_t packets)
{
	static struct lab lab;
	struct lab *l = &lab;
	static const struct rig_sizes sizes = { 3000, 2000, 200, 20000 };
	struct xlat_native_sizes native_sizes = { sizes.sessions, sizes.bibs, sizes.subscribers, sizes.fragments };
	struct timespec from, to;
	uint32_t reasons = 0;
	struct errmsg why;
	cpu_set_t one_cpu;

	memset(l, 0, sizeof(*l));
	l->random = seed;
	l->config = *config;
	l->cpu = (uint32_t)sched_getcpu();
	l->cpus = (uint32_t)libbpf_num_possible_cpus();
	CPU_ZERO(&one_cpu);
	CPU_SET(l->cpu, &one_cpu);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(one_cpu), &one_cpu), 0);
	l->scratch = calloc(l->cpus, sizeof(struct xlat) + 8);
	ck_assert_ptr_nonnull(l->scratch);
	ck_assert_int_eq(rig_init(&l->rig, &sizes), 0);
	/* The native home looks every address up: what programs leave out by the spans must make no difference. */
	struct xlat_config all = *config;
	memset(&all.eam_span6, 0, sizeof(all.eam_span6));
	memset(&all.eam_span4, 0, sizeof(all.eam_span4));
	ck_assert_int_eq(xlat_native_new(&all, &native_sizes, &l->native), 0);
	rig_configure(&l->rig, config, eams, eam_count);
	for (size_t i = 0; i < eam_count; i++)
		ck_assert_int_eq(xlat_native_eam(l->native, &eams[i]), 0);
	l->rig.control->clock_fixed = 1;
	l->rig.control->random_fixed = 1;
	l->rig.control->random = seed;
	l->rig.control->slow_ifindex = 1;
	xlat_native_control(l->native)->slow_ifindex = 1;
	xlat_native_seed(l->native, seed);
	clock_set(l, START_NS);
	clock_gettime(CLOCK_MONOTONIC, &from);
	while (l->count < packets)
		one(l);
	clock_gettime(CLOCK_MONOTONIC, &to);
	same_tables(l);
	ck_assert_msg(xlat_native_verify(l->native, &why) == 0, "%s: %s", name, why.text);
	for (uint32_t i = 0; i < XLAT_REASONS; i++)
		reasons += l->reason_seen[i];
	printf("# %s: %llu packets alike in %.1f s: %llu passed, %llu dropped, %llu translated (%llu by the short way), %llu answered, %llu to the slow path; %u reasons\n",
	       name, (unsigned long long)l->count, (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9,
	       (unsigned long long)l->by_verdict[XLAT_PASS], (unsigned long long)l->by_verdict[XLAT_DROP],
	       (unsigned long long)l->by_verdict[XLAT_TRANSLATE], (unsigned long long)l->fast, (unsigned long long)l->by_verdict[XLAT_ERROR],
	       (unsigned long long)l->by_verdict[XLAT_SLOW], reasons);
	ck_assert_uint_gt(l->by_verdict[XLAT_TRANSLATE], packets / 10);
	ck_assert_uint_gt(reasons, 12);
	xlat_native_free(l->native);
	rig_done(&l->rig);
	free(l->scratch);
}

#define PACKETS (everything() ? 100000u : 10000u)

START_TEST(siit_with_prefixes_of_all_lengths)
{
	static const uint32_t bits[] = { 32, 40, 48, 56, 64, 96 };
	struct xlat_config c;

	for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
		/* The one that goes around the 64th bit, the one that ends before it with errors, and the usual one. */
		if (!everything() && bits[i] != 40 && bits[i] != 64 && bits[i] != 96)
			continue;
		char name[32];
		basics(&c, XLAT_SIIT, bits[i]);
		if (i % 2 == 0)
			with_errors(&c);
		with_nets(&c);
		snprintf(name, sizeof(name), "SIIT, /%u", bits[i]);
		run(name, &c, NULL, 0, 100 + i, PACKETS / 2);
	}
}
END_TEST

START_TEST(siit_with_explicit_mappings)
{
	struct xlat_config c;
	struct xlat_eam eams[4];

	basics(&c, XLAT_SIIT, 96);
	with_errors(&c);
	with_nets(&c);
	run("SIIT, mappings", &c, eams, make_eams(&c, eams), 2, PACKETS);
	c.hairpin_eam = 2;
	c.flags &= ~(uint32_t)XLAT_TOS_COPY;
	c.tos = 0x28;
	run("SIIT, mappings, intrinsic hairpinning", &c, eams, make_eams(&c, eams), 3, PACKETS);
}
END_TEST

START_TEST(clat)
{
	struct xlat_config c;
	struct xlat_eam eam = { .addr6 = { bpf_htonl(0x20010db8), bpf_htonl(0x00010002), 0, 0 }, .addr4 = four(10, 1, 1, 0), .bits6 = 120, .bits4 = 24, .row = 1 };

	basics(&c, XLAT_CLAT, 96);
	c.flags |= XLAT_EAM;
	run("CLAT", &c, &eam, 1, 4, PACKETS);
}
END_TEST

START_TEST(nat64_with_shared_ports)
{
	struct xlat_config c;

	basics(&c, XLAT_NAT64, 96);
	with_pool(&c, XLAT_PORTS_SHARED);
	run("NAT64", &c, NULL, 0, 5, 2 * PACKETS);
	with_errors(&c);
	c.filtering = XLAT_ADDRESS_DEPENDENT;
	c.zero_checksum = XLAT_ZERO_DROP;
	c.flags |= XLAT_LOG_SESSIONS | XLAT_LOG_MAPPINGS;
	run("NAT64, address-dependent filtering", &c, NULL, 0, 6, 2 * PACKETS);
}
END_TEST

START_TEST(nat64_with_blocks_of_ports_and_limits)
{
	struct xlat_config c;

	basics(&c, XLAT_NAT64, 64);
	with_pool(&c, XLAT_PORTS_BLOCKS);
	c.block_ports = 64;
	c.rate = 20;
	c.burst = 40;
	c.sessions_max = 30;
	run("NAT64, blocks", &c, NULL, 0, 7, 2 * PACKETS);
}
END_TEST

int main(void)
{
	const char *why;

	if (TEST_SANITIZED) {
		puts("1..0 # SKIP the sanitizers do not look into the kernel, and the native home has tests of its own");
		return 0;
	}
	if (!rig_possible(&why)) {
		printf("1..0 # SKIP %s\n", why);
		return 0;
	}
	Suite *suite = suite_create("nat64/differential");
	TCase *tcase = tcase_create("differential");
	const TTest *const tests[] = {
		siit_with_prefixes_of_all_lengths, siit_with_explicit_mappings, clat, nat64_with_shared_ports,
		nat64_with_blocks_of_ports_and_limits,
	};

	tcase_set_timeout(tcase, everything() ? 600 : 60);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "/dev/stdout");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
