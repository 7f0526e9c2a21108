// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The L4 load balancer: TCP and UDP services on virtual addresses (VIPs), over IPv4 and IPv6, spread
 * over back ends that answer the clients themselves.
 *
 * A flow's back end: the one that the table of connections has for it; else the entry of the service's
 * Maglev table (maglev.h) at the hash of the flow. For TCP a SYN makes the connection, FIN or RST marks
 * it as closing, so that the next SYN may go elsewhere; packets of connections that we never saw begin
 * (another balancer had them, or the LRU forgot them) follow the table, which is the same everywhere.
 * UDP flows are made by any packet and forgotten after UDP_IDLE_NS.
 *
 * Fragments: the first one has the ports, finds the back end as any packet does, and leaves it for
 * those that follow it; a later fragment that comes before its first one is dropped and counted.
 *
 * ICMP errors to a VIP are about packets that a back end sent: the inner header, turned round, is the
 * flow, and the error goes to its back end. Everything else to a VIP's address, echo requests too, and
 * frames with VLAN tags go on to the host.
 *
 * A packet that does not fit its path (with the outer header) is answered with "fragmentation needed"
 * or "packet too big" from the VIP, as far as ANSWERS_PER_SECOND allows: XDP cannot fragment.
 *
 * What lies behind headers of variable length is read by bpf_xdp_load_bytes: without CAP_PERFMON the kernel
 * refuses variable offsets into packets, and this must load in the untrusted tier.
 *
 * Where to: bpf_fib_lookup for the back end's address; needs forwarding switched on for the device
 * (net.ipv4.conf.DEV.forwarding). Back out of the port it came from is TX; other ports must be granted.
 */
#include <prickle/spine.h>

#include "spine/extensions/balancer.h"
#include "spine/extensions/frame.bpf.h"

SPINE_EXTENSION(
	.name = "balancer", .version = "1",
	.match = "ip or ip6",
	.verdicts = SPINE_PASS | SPINE_DROP | SPINE_TX | SPINE_REDIRECT,
	.flags = SPINE_FRAGS,
	.state_id = 1);

SPINE_PORTS;

#define AF_INET4	   2
#define AF_INET6	   10
#define UDP_IDLE_NS	   60000000000ull
#define CLOSED_IDLE_NS	   120000000000ull	/* 2 x the maximum segment lifetime: late packets are over */
#define FRAGMENT_NS	   30000000000ull	/* the receiver's patience, too (ipfrag_time) */
#define SECOND_NS	   1000000000ull
#define PROBES		   4u
#define ANSWERS_PER_SECOND 1000u	/* on each processor */
#define EXTENSIONS_MAX	   4		/* IPv6 extension headers that are looked through */
#define IP_IN_IP	   4
#define IP6_IN_IP	   41
#define ANSWER4_BYTES	   92u		/* of the packet in an ICMP error: constant, a too big packet has them */
#define ANSWER6_BYTES	   160u

#define ARRAY_MAP(map, kind, value_type, count)					\
	struct {								\
		__uint(type, kind);						\
		__uint(max_entries, count);					\
		__type(key, __u32);						\
		__type(value, value_type);					\
	} map SEC(".maps")

ARRAY_MAP(services, BPF_MAP_TYPE_ARRAY, struct balancer_service, BALANCER_SERVICES_MAX);
ARRAY_MAP(backends, BPF_MAP_TYPE_ARRAY, struct balancer_backend, BALANCER_BACKENDS_MAX);
ARRAY_MAP(health, BPF_MAP_TYPE_ARRAY, __u32, BALANCER_BACKENDS_MAX);
ARRAY_MAP(tables, BPF_MAP_TYPE_ARRAY, struct balancer_table, BALANCER_SERVICES_MAX * 2);
ARRAY_MAP(service_counts, BPF_MAP_TYPE_PERCPU_ARRAY, struct balancer_count, BALANCER_SERVICES_MAX);
ARRAY_MAP(backend_counts, BPF_MAP_TYPE_PERCPU_ARRAY, struct balancer_count, BALANCER_BACKENDS_MAX);
ARRAY_MAP(events, BPF_MAP_TYPE_PERCPU_ARRAY, __u64, BALANCER_EVENTS);

struct answer_window {
	__u64 begin_ns;
	__u64 count;
};
ARRAY_MAP(answers, BPF_MAP_TYPE_PERCPU_ARRAY, struct answer_window, 1);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BALANCER_VIPS_MAX);
	__type(key, struct balancer_vip);
	__type(value, __u32);
} vips SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, BALANCER_CONNECTIONS_MAX);
	__type(key, struct balancer_flow);
	__type(value, struct balancer_connection);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct balancer_fragment);
	__type(value, struct balancer_connection);
} fragments SEC(".maps");

/* A packet as far as we need it. */
struct packet {
	struct balancer_flow flow;
	__u32 fragment_id;
	__u32 bytes;			/* of the IP packet */
	__u16 l4;			/* offset of what follows the IP headers */
	__u8 six;
	__u8 flags;			/* of TCP */
	__u8 first_fragment, later_fragment;
	__u8 error;			/* an ICMP error; flow is that of the packet inside */
};

INLINE void count_event(__u32 event)
{
	__u64 *n = bpf_map_lookup_elem(&events, &event);

	if (n != NULL)
		(*n)++;
}

INLINE int drop(__u32 event)
{
	count_event(event);
	return XDP_DROP;
}

INLINE void map_v4(__u32 out[4], __be32 address)
{
	out[0] = 0;
	out[1] = 0;
	out[2] = bpf_htonl(0xffff);
	out[3] = address;
}

INLINE void copy16(__u32 out[4], const __be32 in[4])
{
	out[0] = in[0];
	out[1] = in[1];
	out[2] = in[2];
	out[3] = in[3];
}

INLINE bool is_v4(const __u32 a[4])
{
	return a[0] == 0 && a[1] == 0 && a[2] == bpf_htonl(0xffff);
}

/* --- reading -------------------------------------------------------------------------------------- */

/* Look through extension headers; false: cut short, or more than we look through. */
INLINE bool skip_extensions(struct xdp_md *ctx, struct packet *p, __u32 *at, __u8 *next)
{
	struct frame_fragment6 f = {};

#pragma unroll
	for (int i = 0; i < EXTENSIONS_MAX; i++) {
		if (*next != FRAME_HOP_BY_HOP && *next != FRAME_OPTIONS && *next != FRAME_ROUTING &&
		    *next != FRAME_FRAGMENT)
			return true;
		if (bpf_xdp_load_bytes(ctx, *at & 0x3fff, &f, sizeof(f)) != 0)
			return false;
		*at += 8;
		if (*next == FRAME_FRAGMENT) {
			p->fragment_id = f.id;
			p->later_fragment = (bpf_ntohs(f.offset) & 0xfff8) != 0;
			p->first_fragment = bpf_ntohs(f.offset) == 1;
		} else {
			*at += f.spare * 8u;	/* there, the length */
		}
		*next = f.next;
	}
	return *next != FRAME_HOP_BY_HOP && *next != FRAME_OPTIONS && *next != FRAME_ROUTING &&
	       *next != FRAME_FRAGMENT;
}

INLINE bool read_ip(struct xdp_md *ctx, struct packet *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct frame_eth *eth = data;
	__u32 at = sizeof(*eth);

	if ((void *)(eth + 1) > end)
		return false;
	if (eth->type == bpf_htons(ETH_P_IP)) {
		struct frame_ip4 *ip = data + at;

		if ((void *)(ip + 1) > end || (ip->version_words >> 4) != 4 || (ip->version_words & 15) < 5)
			return false;
		map_v4(p->flow.client, ip->from);
		map_v4(p->flow.vip, ip->to);
		p->flow.protocol = ip->protocol;
		p->bytes = bpf_ntohs(ip->total);
		p->fragment_id = ip->id;
		p->later_fragment = (bpf_ntohs(ip->fragment) & FRAME_OFFSET) != 0;
		p->first_fragment = !p->later_fragment && (bpf_ntohs(ip->fragment) & FRAME_MF) != 0;
		at += (ip->version_words & 15) * 4u;
	} else if (eth->type == bpf_htons(ETH_P_IPV6)) {
		struct frame_ip6 *ip = data + at;
		__u8 next;

		if ((void *)(ip + 1) > end)
			return false;
		p->six = 1;
		copy16(p->flow.client, ip->from);
		copy16(p->flow.vip, ip->to);
		p->bytes = bpf_ntohs(ip->payload) + (__u32)sizeof(*ip);
		next = ip->next;
		at += sizeof(*ip);
		if (!skip_extensions(ctx, p, &at, &next))
			return false;
		p->flow.protocol = next;
	} else {
		return false;
	}
	p->l4 = (__u16)(at & 0x3fff);
	return true;
}

/* Ports of TCP and UDP; flags of TCP. */
INLINE bool read_ports(struct xdp_md *ctx, struct packet *p)
{
	struct frame_tcp tcp = {};

	if (p->flow.protocol == IPPROTO_TCP) {
		if (bpf_xdp_load_bytes(ctx, p->l4, &tcp, sizeof(tcp)) != 0)
			return false;
	} else if (bpf_xdp_load_bytes(ctx, p->l4, &tcp, sizeof(struct frame_udp)) != 0) {
		return false;
	}
	p->flow.client_port = tcp.from;
	p->flow.vip_port = tcp.to;
	p->flags = tcp.flags;
	return true;
}

INLINE bool is_error(__u8 six, __u8 type)
{
	if (six)
		return type >= 1 && type <= 4;		/* RFC 4443 §2.1 */
	return type == 3 || type == 11 || type == 12;	/* unreachable, time exceeded, parameter problem */
}

/* The flow of an ICMP error is that of the packet inside, seen from the other side. */
INLINE bool read_error(struct xdp_md *ctx, struct packet *p)
{
	struct frame_icmp icmp;
	struct frame_ip4 in4;
	struct frame_ip6 in6;
	__be16 ports[2];
	__u32 at = p->l4;

	if (bpf_xdp_load_bytes(ctx, at, &icmp, sizeof(icmp)) != 0 || !is_error(p->six, icmp.type))
		return false;
	at += sizeof(icmp);
	if (p->six) {
		if (bpf_xdp_load_bytes(ctx, at, &in6, sizeof(in6)) != 0 || in6.from[0] != p->flow.vip[0] ||
		    in6.from[1] != p->flow.vip[1] || in6.from[2] != p->flow.vip[2] || in6.from[3] != p->flow.vip[3])
			return false;
		copy16(p->flow.client, in6.to);
		p->flow.protocol = in6.next;
		at += sizeof(in6);
	} else {
		if (bpf_xdp_load_bytes(ctx, at, &in4, sizeof(in4)) != 0 || in4.from != p->flow.vip[3] ||
		    (in4.version_words & 15) < 5 || (bpf_ntohs(in4.fragment) & FRAME_OFFSET) != 0)
			return false;
		map_v4(p->flow.client, in4.to);
		p->flow.protocol = in4.protocol;
		at += (in4.version_words & 15) * 4u;
	}
	if (p->flow.protocol != IPPROTO_TCP && p->flow.protocol != IPPROTO_UDP)
		return false;
	if (bpf_xdp_load_bytes(ctx, at, ports, sizeof(ports)) != 0)
		return false;
	p->flow.vip_port = ports[0];
	p->flow.client_port = ports[1];
	p->error = 1;
	return true;
}

/* --- choosing ------------------------------------------------------------------------------------- */

INLINE __u32 mix(__u64 h)
{
	h ^= h >> 32;
	h *= 0x9e3779b97f4a7c15ull;
	h ^= h >> 29;
	h *= 0xbf58476d1ce4e5b9ull;
	return (__u32)(h >> 32);
}

INLINE __u32 hash_flow(const struct balancer_flow *f, bool by_client)
{
	const __u64 k = 0x9e3779b97f4a7c15ull;
	__u64 h = f->protocol;

#pragma unroll
	for (int i = 0; i < 4; i++)
		h = (h ^ f->client[i]) * k + (h >> 29);
	if (by_client)
		return mix(h);
#pragma unroll
	for (int i = 0; i < 4; i++)
		h = (h ^ f->vip[i]) * k + (h >> 29);
	h = (h ^ ((__u32)f->client_port << 16 | f->vip_port)) * k + (h >> 29);
	return mix(h);
}

/* The back end, when it is one of the service in that state (BALANCER_UP: takes new flows, else: is not down). */
INLINE struct balancer_backend *usable(__u32 index, __u32 service, bool new_flow)
{
	struct balancer_backend *b;
	__u32 *state;

	if (index == 0)
		return NULL;
	b = bpf_map_lookup_elem(&backends, &index);
	state = bpf_map_lookup_elem(&health, &index);
	if (b == NULL || state == NULL || !b->used || b->service != service)
		return NULL;
	if (*state == BALANCER_DOWN || (new_flow && *state != BALANCER_UP))
		return NULL;
	return b;
}

/*
 * The back end of a flow that has none yet: index, or 0. A global function, so that the verifier
 * looks at it once; the table's entries first, then every member.
 */
__attribute__((noinline)) __u32 balancer_choose(__u32 service, __u32 buffer, __u32 hash)
{
	__u32 key = (service * 2 + (buffer & 1)) & (BALANCER_SERVICES_MAX * 2 - 1);
	struct balancer_table *t = bpf_map_lookup_elem(&tables, &key);
	__u32 h = hash, i;

	if (t == NULL)
		return 0;
	for (i = 0; i < PROBES; i++) {
		/* The high bits choose; unlike %, the verifier can bound it. */
		__u32 index = t->entry[((__u64)h * BALANCER_TABLE_ENTRIES) >> 32];

		if (usable(index, service, true) != NULL)
			return index;
		h = mix(((__u64)h << 32) + i + 1);
	}
	for (i = 0; i < BALANCER_MEMBERS_MAX; i++) {
		__u32 index = t->member[(h + i) & (BALANCER_MEMBERS_MAX - 1)];

		if (usable(index, service, true) != NULL)
			return index;
	}
	return 0;
}

/* What the table of connections says: the back end's index, or 0. A stale entry is deleted. */
INLINE __u32 known(const struct packet *p, __u32 service, __u64 now)
{
	struct balancer_connection *c = bpf_map_lookup_elem(&connections, &p->flow);
	struct balancer_backend *b;
	bool tcp = p->flow.protocol == IPPROTO_TCP, syn;
	__u32 index;

	if (c == NULL)
		return 0;
	syn = tcp && (p->flags & (FRAME_SYN | FRAME_ACK)) == FRAME_SYN;
	index = c->backend;
	b = usable(index, service, false);
	if (b == NULL || b->serial != c->serial)
		count_event(BALANCER_MOVED);
	else if (!(syn && c->closing) && !(c->closing && now - c->seen_ns > CLOSED_IDLE_NS) &&
		 (tcp || now - c->seen_ns <= UDP_IDLE_NS)) {
		if (!p->error && now - c->seen_ns > SECOND_NS)
			c->seen_ns = now;
		if (!p->error && (p->flags & (FRAME_FIN | FRAME_RST)) && !c->closing)
			c->closing = 1;
		return index;
	}
	bpf_map_delete_elem(&connections, &p->flow);
	return 0;
}

INLINE void count_packet(void *map, __u32 index, __u32 bytes, bool flow)
{
	struct balancer_count *n = bpf_map_lookup_elem(map, &index);

	if (n == NULL)
		return;
	n->packets++;
	n->bytes += bytes;
	if (flow)
		n->flows++;
}

INLINE __u32 choose(const struct packet *p, const struct balancer_service *s, __u32 service)
{
	__u64 now = bpf_ktime_get_coarse_ns();
	__u32 index = known(p, service, now);
	struct balancer_connection c = { .seen_ns = now };
	struct balancer_backend *b;
	bool make;

	make = !p->error && (p->flow.protocol == IPPROTO_UDP ||
			     (p->flags & (FRAME_SYN | FRAME_ACK | FRAME_RST)) == FRAME_SYN);
	if (index == 0) {
		index = balancer_choose(service, s->buffer,
					hash_flow(&p->flow, (s->flags & BALANCER_BY_CLIENT) != 0));
		b = usable(index, service, true);
		if (b == NULL)
			return 0;
		if (make) {
			c.backend = index;
			c.serial = b->serial;
			bpf_map_update_elem(&connections, &p->flow, &c, BPF_ANY);
		}
		count_packet(&service_counts, service, p->bytes, make);
		count_packet(&backend_counts, index, p->bytes, make);
	} else {
		count_packet(&service_counts, service, p->bytes, false);
		count_packet(&backend_counts, index, p->bytes, false);
	}
	if (p->first_fragment && !p->error) {
		struct balancer_fragment f = { .id = p->fragment_id, .protocol = p->flow.protocol };

		b = usable(index, service, false);
		if (b == NULL)
			return 0;
		copy16(f.client, p->flow.client);
		copy16(f.vip, p->flow.vip);
		c.backend = index;
		c.serial = b->serial;
		bpf_map_update_elem(&fragments, &f, &c, BPF_ANY);
	}
	return index;
}

/* --- sending -------------------------------------------------------------------------------------- */

INLINE bool may_answer(void)
{
	__u64 now = bpf_ktime_get_coarse_ns();
	__u32 zero = 0;
	struct answer_window *w = bpf_map_lookup_elem(&answers, &zero);

	if (w == NULL)
		return false;
	if (now - w->begin_ns > SECOND_NS) {
		w->begin_ns = now;
		w->count = 0;
	}
	return w->count++ < ANSWERS_PER_SECOND;
}

INLINE void turn_eth(struct frame_eth *out, const __u8 to[6], const __u8 from[6], __u16 type)
{
	__builtin_memcpy(out->to, to, 6);
	__builtin_memcpy(out->from, from, 6);
	out->type = type;
}

/* RFC 1191: destination unreachable, fragmentation needed, from the VIP. */
INLINE int answer4(struct xdp_md *ctx, __u32 mtu)
{
	const int more = sizeof(struct frame_ip4) + sizeof(struct frame_icmp);
	void *data, *end;
	struct frame_eth *eth, old;
	struct frame_ip4 *ip, *in;
	struct frame_icmp *icmp;
	int over = (int)bpf_xdp_get_buff_len(ctx) - (int)(sizeof(*eth) + ANSWER4_BYTES);

	if (over < 0 || bpf_xdp_adjust_tail(ctx, -over) != 0 || bpf_xdp_adjust_head(ctx, -more) != 0)
		return drop(BALANCER_FAULT);
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + more + sizeof(*eth) + ANSWER4_BYTES > end)
		return drop(BALANCER_FAULT);
	__builtin_memcpy(&old, data + more, sizeof(old));
	eth = data;
	turn_eth(eth, old.from, old.to, bpf_htons(ETH_P_IP));
	ip = (void *)(eth + 1);
	icmp = (void *)(ip + 1);
	in = (void *)(icmp + 1);
	*ip = (struct frame_ip4){ .version_words = 0x45, .ttl = 64, .protocol = IPPROTO_ICMP,
				  .total = bpf_htons((__u16)(more + ANSWER4_BYTES)),
				  .from = in->to, .to = in->from };
	ip->sum = frame_ip4_sum(ip);
	*icmp = (struct frame_icmp){ .type = 3, .code = 4, .rest = bpf_htonl(mtu & 0xffff) };
	icmp->sum = frame_sum((__u64)bpf_csum_diff(NULL, 0, (void *)icmp, sizeof(*icmp) + ANSWER4_BYTES, 0));
	count_event(BALANCER_TOO_BIG);
	return XDP_TX;
}

/* RFC 4443 §3.2: packet too big, from the VIP. */
INLINE int answer6(struct xdp_md *ctx, __u32 mtu)
{
	const int more = sizeof(struct frame_ip6) + sizeof(struct frame_icmp);
	void *data, *end;
	struct frame_eth *eth, old;
	struct frame_ip6 *ip, *in;
	struct frame_icmp *icmp;
	int over = (int)bpf_xdp_get_buff_len(ctx) - (int)(sizeof(*eth) + ANSWER6_BYTES);
	__s64 sum;

	if (over < 0 || bpf_xdp_adjust_tail(ctx, -over) != 0 || bpf_xdp_adjust_head(ctx, -more) != 0)
		return drop(BALANCER_FAULT);
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + more + sizeof(*eth) + ANSWER6_BYTES > end)
		return drop(BALANCER_FAULT);
	__builtin_memcpy(&old, data + more, sizeof(old));
	eth = data;
	turn_eth(eth, old.from, old.to, bpf_htons(ETH_P_IPV6));
	ip = (void *)(eth + 1);
	icmp = (void *)(ip + 1);
	in = (void *)(icmp + 1);
	ip->flow = bpf_htonl(6u << 28);
	ip->payload = bpf_htons(sizeof(*icmp) + ANSWER6_BYTES);
	ip->next = FRAME_ICMP6;
	ip->hops = 64;
	__builtin_memcpy(ip->from, in->to, 16);
	__builtin_memcpy(ip->to, in->from, 16);
	*icmp = (struct frame_icmp){ .type = 2, .rest = bpf_htonl(mtu) };
	/* The pseudo header: both addresses as they stand, length and protocol (RFC 8200 §8.1). */
	sum = bpf_csum_diff(NULL, 0, (void *)ip->from, 32 + sizeof(*icmp) + ANSWER6_BYTES, 0);
	icmp->sum = frame_sum((__u64)sum + bpf_htonl(sizeof(*icmp) + ANSWER6_BYTES) + bpf_htonl(FRAME_ICMP6));
	count_event(BALANCER_TOO_BIG);
	return XDP_TX;
}

INLINE int answer_too_big(struct xdp_md *ctx, const struct packet *p, __u32 path_mtu, __u32 overhead)
{
	__u32 mtu = path_mtu - overhead;

	/* No errors about errors, nor about fragments but the first (RFC 1122 §3.2.2, RFC 4443 §2.4). */
	if (p->error || p->later_fragment || path_mtu < overhead || !may_answer())
		return drop(BALANCER_TOO_BIG_QUIET);
	if (!p->six)
		return answer4(ctx, mtu);
	return answer6(ctx, mtu < 1280 ? 1280 : mtu);
}

/* Put the outer header before the packet; the Ethernet header is written by the caller. */
INLINE bool encapsulate(struct xdp_md *ctx, const struct packet *p, const struct balancer_backend *b, __u32 overhead)
{
	__u8 inner = p->six ? IP6_IN_IP : IP_IN_IP;
	void *data, *end;

	if (bpf_xdp_adjust_head(ctx, -(int)overhead) != 0)
		return false;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (is_v4(b->address)) {
		struct frame_ip4 *ip = data + sizeof(struct frame_eth);

		if ((void *)(ip + 1) > end)
			return false;
		*ip = (struct frame_ip4){ .version_words = 0x45, .ttl = 64, .protocol = inner,
					  .fragment = bpf_htons(FRAME_DF),
					  .total = bpf_htons((__u16)(p->bytes + sizeof(*ip))),
					  .from = b->source[3], .to = b->address[3] };
		ip->sum = frame_ip4_sum(ip);
	} else {
		struct frame_ip6 *ip = data + sizeof(struct frame_eth);

		if ((void *)(ip + 1) > end)
			return false;
		ip->flow = bpf_htonl(6u << 28);
		ip->payload = bpf_htons((__u16)p->bytes);
		ip->next = inner;
		ip->hops = 64;
		copy16(ip->from, b->source);
		copy16(ip->to, b->address);
	}
	return true;
}

/* The next hop to a back end into b->hop_*; 0, or a verdict of its own as a positive number. */
INLINE int find_hop(struct xdp_md *ctx, const struct packet *p, struct balancer_backend *b, __u32 overhead)
{
	struct bpf_fib_lookup fib = {};
	long rc;

	fib.family = AF_INET4;
	fib.ifindex = ctx->ingress_ifindex;
	fib.tot_len = (__u16)(p->bytes + overhead);
	if (is_v4(b->address)) {
		fib.ipv4_dst = b->address[3];
	} else {
		fib.family = AF_INET6;
		copy16(fib.ipv6_dst, b->address);
	}
	rc = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	if (rc == BPF_FIB_LKUP_RET_SUCCESS) {
		/* Written when it changes only, so that the processors do not fight for the line. */
		if (!b->hops_known || b->hop_ifindex != fib.ifindex ||
		    __builtin_memcmp(b->hop_to, fib.dmac, 6) != 0 ||
		    __builtin_memcmp(b->hop_from, fib.smac, 6) != 0) {
			__builtin_memcpy(b->hop_to, fib.dmac, 6);
			__builtin_memcpy(b->hop_from, fib.smac, 6);
			b->hop_ifindex = fib.ifindex;
			b->hops_known = 1;
		}
		return 0;
	}
	if (rc == BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return 1 + answer_too_big(ctx, p, fib.mtu_result, overhead);
	if (rc == BPF_FIB_LKUP_RET_NO_NEIGH)
		return b->hops_known ? 0 : 1 + drop(BALANCER_NO_NEIGHBOUR);
	return 1 + drop(BALANCER_NO_ROUTE);
}

INLINE int send(struct xdp_md *ctx, const struct packet *p, __u32 service, __u32 index)
{
	struct balancer_service *s = bpf_map_lookup_elem(&services, &service);
	struct balancer_backend *b = bpf_map_lookup_elem(&backends, &index);
	__u32 overhead = 0;
	struct frame_eth *eth;
	__u16 type = bpf_htons(p->six ? ETH_P_IPV6 : ETH_P_IP);
	int done;

	if (s == NULL || b == NULL)
		return drop(BALANCER_FAULT);
	if (s->method == BALANCER_TUNNEL)
		overhead = is_v4(b->address) ? sizeof(struct frame_ip4) : sizeof(struct frame_ip6);
	if (p->bytes + overhead > 0xffff)
		return drop(BALANCER_TOO_BIG_QUIET);
	done = find_hop(ctx, p, b, overhead);
	if (done != 0)
		return done - 1;
	if (overhead != 0) {
		if (!encapsulate(ctx, p, b, overhead))
			return drop(BALANCER_FAULT);
		type = bpf_htons(is_v4(b->address) ? ETH_P_IP : ETH_P_IPV6);
	}
	eth = (void *)(long)ctx->data;
	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return drop(BALANCER_FAULT);
	turn_eth(eth, b->hop_to, b->hop_from, type);
	if (b->hop_ifindex == ctx->ingress_ifindex)
		return XDP_TX;
	if (bpf_map_lookup_elem(&spine_ports, &b->hop_ifindex) == NULL)
		return drop(BALANCER_NO_PORT);
	return spine_redirect(b->hop_ifindex);
}

/* A later fragment has no ports: it follows its first one. */
INLINE int send_later(struct xdp_md *ctx, const struct packet *p)
{
	struct balancer_fragment f = { .id = p->fragment_id, .protocol = p->flow.protocol };
	struct balancer_connection *c;
	struct balancer_backend *b;
	__u32 index, service;

	copy16(f.client, p->flow.client);
	copy16(f.vip, p->flow.vip);
	c = bpf_map_lookup_elem(&fragments, &f);
	if (c == NULL || bpf_ktime_get_coarse_ns() - c->seen_ns > FRAGMENT_NS)
		return -1;
	index = c->backend;
	b = bpf_map_lookup_elem(&backends, &index);
	if (b == NULL || !b->used || b->serial != c->serial)
		return -1;
	service = b->service;
	count_packet(&service_counts, service, p->bytes, false);
	count_packet(&backend_counts, index, p->bytes, false);
	return send(ctx, p, service, index);
}

/* Some service has this address: only then a fragment without ports is ours to drop. */
INLINE bool is_vip(const struct packet *p)
{
	struct balancer_vip key = { .protocol = p->flow.protocol };

	copy16(key.address, p->flow.vip);
	return bpf_map_lookup_elem(&vips, &key) != NULL;	/* port 0: the address alone, for this question */
}

SEC("xdp")
int balancer(struct xdp_md *ctx)
{
	struct packet p = {};
	struct balancer_vip key = {};
	struct balancer_service *s;
	__u32 *found, service, index;

	if (!read_ip(ctx, &p))
		return XDP_PASS;
	if (p.later_fragment) {
		int verdict = send_later(ctx, &p);

		if (verdict >= 0)
			return verdict;
		return is_vip(&p) ? drop(BALANCER_LOST_FRAGMENT) : XDP_PASS;
	}
	if (p.flow.protocol == IPPROTO_TCP || p.flow.protocol == IPPROTO_UDP) {
		if (!read_ports(ctx, &p))
			return XDP_PASS;
	} else if (p.flow.protocol == (p.six ? FRAME_ICMP6 : IPPROTO_ICMP)) {
		if (!read_error(ctx, &p))
			return XDP_PASS;
	} else {
		return XDP_PASS;
	}
	copy16(key.address, p.flow.vip);
	key.port = p.flow.vip_port;
	key.protocol = p.flow.protocol;
	found = key.port != 0 ? bpf_map_lookup_elem(&vips, &key) : NULL;
	if (found == NULL)
		return XDP_PASS;
	service = *found & (BALANCER_SERVICES_MAX - 1);
	s = bpf_map_lookup_elem(&services, &service);
	if (s == NULL || !s->used)
		return XDP_PASS;
	index = choose(&p, s, service);
	if (index == 0)
		return drop(BALANCER_NO_BACKEND);
	if (p.error)
		count_event(BALANCER_ICMP_ERRORS);
	return send(ctx, &p, service, index);
}

/* Health by message: whoever watches the back ends needs no access to maps. */
static int set_health(struct balancer_set_health *args, struct spine_message *m __attribute__((unused)))
{
	__u32 index = args->backend;
	struct balancer_backend *b = bpf_map_lookup_elem(&backends, &index);
	__u32 *state = bpf_map_lookup_elem(&health, &index);

	if (index == 0 || b == NULL || state == NULL || !b->used || (args->serial != 0 && args->serial != b->serial))
		return -ENOENT;
	if (args->health > BALANCER_DRAIN)
		return -EINVAL;
	*state = args->health;
	return 0;
}

#define HANDLERS(X) X(1, set_health, balancer_set_health)
SPINE_HANDLERS(HANDLERS);

char LICENSE[] SEC("license") = "Dual MIT/GPL";
