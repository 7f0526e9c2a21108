// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * A cache in front of a memcached server on this host: "get KEY" over UDP is answered here, by XDP_TX; everything else
 * passes to the server. See kv.h for what is promised and how; kv_reply.bpf.c, on the way out, fills it.
 *
 * Why replies are watched by a tc program and not fetched by a daemon: an acknowledgement has to be seen before it
 * leaves, or the promise cannot be kept; and a cache without a process of ours cannot be killed into wrong answers.
 *
 * Requests that are not plain - several keys, several datagrams, other commands, IP options or fragments, VLAN tags - pass.
 * A request's UDP checksum is not verified: a sum that the sender's device would have completed is not there
 * yet on virtual devices. The reply names its key, so that a client sees what was asked.
 */
#include <prickle/spine.h>

#include "spine/extensions/kv_maps.bpf.h"

SPINE_EXTENSION(
	.name = "kv", .version = "1",
	.match = "udp dst port 11211 or tcp dst port 11211",
	.verdicts = SPINE_PASS | SPINE_DROP | SPINE_TX,
	.instructions_max = 60000,
	.state_id = 1);

struct kv_scratch {
	struct kv_request request;
	__u32 sum;			/* of reply */
	__u32 spare;
	__u8 headers[56];		/* of the frame, up to the UDP header */
	__u8 reply[KV_REPLY_BYTES];
	/*
	 * Last, and no longer than needed: where the verifier follows a loop beyond its end, as if the processor guessed
	 * wrong, the end of memory is what stops it.
	 */
	__u8 head[KV_HEAD_BYTES];
	__u8 after[8];			/* a pointer that walked to the end still points into the map */
};

KV_MAP(scratch, BPF_MAP_TYPE_PERCPU_ARRAY, 1, __u32, struct kv_scratch);

struct segment {
	__u32 client[4], server[4];
	__u32 l4, end;			/* offsets of the transport header and of the packet's end */
	__u8 protocol, six, plain;	/* plain: the header has its ordinary length, and it is no fragment */
};

INLINE struct kv_scratch *get_scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratch, &zero);
}

INLINE bool read_ip(struct xdp_md *ctx, struct segment *s)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct frame_eth *eth = data;

	if ((void *)(eth + 1) > end)
		return false;
	if (eth->type == bpf_htons(ETH_P_IP)) {
		struct frame_ip4 *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end || (ip->version_words >> 4) != 4 || (ip->version_words & 15) < 5)
			return false;
		kv_map_v4(s->client, ip->from);
		kv_map_v4(s->server, ip->to);
		s->protocol = ip->protocol;
		s->l4 = sizeof(*eth) + (ip->version_words & 15) * 4u;
		s->end = sizeof(*eth) + bpf_ntohs(ip->total);
		s->plain = (ip->version_words & 15) == 5 && (ip->fragment & bpf_htons(FRAME_MF | FRAME_OFFSET)) == 0;
	} else if (eth->type == bpf_htons(ETH_P_IPV6)) {
		struct frame_ip6 *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end)
			return false;
		kv_copy16(s->client, ip->from);
		kv_copy16(s->server, ip->to);
		s->protocol = ip->next;
		s->six = 1;
		s->plain = 1;
		s->l4 = sizeof(*eth) + sizeof(*ip);
		s->end = s->l4 + bpf_ntohs(ip->payload);
	} else {
		return false;
	}
	return s->end <= bpf_xdp_get_buff_len(ctx);
}

/* The part of scratch.head from byte `at` on; a global function, so that the verifier looks at it once. */
__attribute__((noinline)) int kv_read_part(__u32 at, __u32 length)
{
	struct kv_scratch *t = get_scratch();

	if (t == NULL || at > KV_HEAD_BYTES - KV_PART_BYTES)
		return 1;
	kv_part(t->head + at, at, length, &t->request);
	return t->request.ended;
}

/* The request's beginning into scratch.request. False: there is none. */
INLINE bool read_request(struct xdp_md *ctx, struct kv_scratch *t, __u32 at, __u32 end)
{
	__u32 n = end - at;

	if (end <= at)
		return false;
	if (n > KV_HEAD_BYTES)
		n = KV_HEAD_BYTES;
	asm volatile("" : "+r"(n));	/* the compiler knows that it is not 0, the verifier does not */
	if (n < 1 || n > KV_HEAD_BYTES || bpf_xdp_load_bytes(ctx, at, t->head, n) != 0)
		return false;
	kv_begin(&t->request);
#pragma unroll
	for (__u32 i = 0; i < KV_HEAD_BYTES; i += KV_PART_BYTES)
		if (kv_read_part(i, n) != 0)
			break;
	kv_end(&t->request);
	return true;
}

/* --- answers --------------------------------------------------------------------------------------- */

/*
 * The entry of the key in scratch ("get KEY": it begins at 4) into scratch.reply: its length, or 0. The turn tells
 * whether it was written while we copied; a fetch-and-add orders the loads around it.
 */
__attribute__((noinline)) __u32 kv_look_up(__u32 hash, __u32 key_length)
{
	struct kv_scratch *t = get_scratch();
	struct kv_bucket *b = kv_bucket(hash);
	__u64 *e = kv_epoch(), turn, *from, *to;
	const __u8 *has, *wants;
	__u32 length, i;
	__u8 differ = 0;

	if (t == NULL || b == NULL || e == NULL || key_length < 1 || key_length > KV_KEY_BYTES)
		return 0;
	turn = __sync_fetch_and_add(&b->turn, 0);
	length = b->length;
	if ((turn & 1) || length < 6 || length > KV_REPLY_BYTES || b->entry_writes != b->writes ||
	    b->entry_epoch != *e || b->expires_ns < bpf_ktime_get_coarse_ns())
		return 0;
	t->sum = b->sum;
	from = (__u64 *)b->reply;
	to = (__u64 *)t->reply;
	for (i = 0; i < KV_REPLY_BYTES / 8; i++) {
		if (i * 8 >= length)
			break;
		*to++ = *from++;
		KV_WALK(from);
		KV_WALK(to);
	}
	if (__sync_fetch_and_add(&b->turn, 0) != turn || b->entry_writes != b->writes || b->entry_epoch != *e)
		return 0;
	has = t->reply + 6;
	wants = t->head + 4;
	/* "VALUE KEY ": hashes may collide, keys may not. */
	for (i = 0; i < KV_KEY_BYTES; i++) {
		if (i >= key_length)
			break;
		differ |= *has++ ^ *wants++;
		KV_WALK(has);
		KV_WALK(wants);
	}
	if (differ != 0 || *has != ' ')
		return 0;
	return length;
}

INLINE __u64 add4(__u64 sum, const __u32 *words)
{
	return sum + words[0] + words[1] + words[2] + words[3];
}

/* Turn the IP header round; the pseudo-header's addresses summed, 0 when it cannot be. */
INLINE __u64 turn_ip(struct frame_eth *eth, void *end, const struct segment *s, __u32 udp_bytes)
{
	if (s->six) {
		struct frame_ip6 *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end)
			return 0;
		ip->payload = bpf_htons((__u16)udp_bytes);
		ip->hops = 64;
		kv_copy16(ip->from, s->server);
		kv_copy16(ip->to, s->client);
		return add4(add4(0, s->server), s->client);
	} else {
		struct frame_ip4 *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end)
			return 0;
		ip->total = bpf_htons((__u16)(20 + udp_bytes));
		ip->ttl = 64;
		ip->from = s->server[3];
		ip->to = s->client[3];
		ip->sum = frame_ip4_sum(ip);
		return (__u64)s->server[3] + s->client[3];
	}
}

INLINE void turn_datagram(struct kv_datagram *h, __u32 udp_bytes, __u64 sum)
{
	__be16 port = h->udp.from;

	h->udp.from = h->udp.to;
	h->udp.to = port;
	h->udp.length = bpf_htons((__u16)udp_bytes);
	h->sequence = 0;
	h->total = bpf_htons(1);
	h->reserved = 0;
	sum += bpf_htonl(udp_bytes) + bpf_htonl(IPPROTO_UDP);
	sum += (__u64)h->udp.from + h->udp.to + h->udp.length + h->request + h->total;
	h->udp.sum = frame_sum(sum);
	if (h->udp.sum == 0)
		h->udp.sum = 0xffff;
}

/*
 * Make the frame longer or shorter: at its end, or, where a driver has no room there (veth, whose frames are small
 * socket buffers), at its beginning, where the headers go then. False: it is as it was.
 */
INLINE bool resize(struct xdp_md *ctx, struct kv_scratch *t, __u32 headers, int more)
{
	if (bpf_xdp_adjust_tail(ctx, more) == 0)
		return true;
	if (headers < 34 || headers > sizeof(t->headers) || more <= 0 || bpf_xdp_load_bytes(ctx, 0, t->headers, headers) != 0 ||
	    bpf_xdp_adjust_head(ctx, -more) != 0)
		return false;
	(void)bpf_xdp_store_bytes(ctx, 0, t->headers, headers);
	return true;
}

/*
 * Turn the request round and put the reply where its text was; -1: there is no room. The caller knows that the
 * headers are plain.
 */
INLINE int answer(struct xdp_md *ctx, const struct segment *s, struct kv_datagram h, struct kv_scratch *t, __u32 length)
{
	__u32 text = s->l4 + sizeof(h);
	__u32 udp_bytes = sizeof(struct kv_datagram) + length;
	void *data, *end;
	struct frame_eth *eth;
	__u8 mac[6];

	if (length < 1 || length > KV_REPLY_BYTES ||
	    !resize(ctx, t, s->l4, (int)(text + length) - (int)bpf_xdp_get_buff_len(ctx)))
		return -1;
	/* From here on the request is gone: what fails is dropped, and the client asks again. */
	asm volatile("" : "+r"(length));
	if (length < 1 || length > KV_REPLY_BYTES || bpf_xdp_store_bytes(ctx, text, t->reply, length) != 0)
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	eth = data;
	if ((void *)(eth + 1) > end)
		return XDP_DROP;
	__builtin_memcpy(mac, eth->to, 6);
	__builtin_memcpy(eth->to, eth->from, 6);
	__builtin_memcpy(eth->from, mac, 6);
	turn_datagram(&h, udp_bytes, turn_ip(eth, end, s, udp_bytes) + t->sum);
	if (bpf_xdp_store_bytes(ctx, s->l4, &h, sizeof(h)) != 0)
		return XDP_DROP;
	return XDP_TX;
}

/* --- UDP ------------------------------------------------------------------------------------------- */

/* Note a request that passes, for its reply. */
INLINE void lease(const struct segment *s, __u16 port, __u16 request, __u32 kind, __u32 hash)
{
	struct kv_lease_key key = { .port = port, .request = request };
	struct kv_lease value = { .kind = kind, .hash = hash, .begun_ns = bpf_ktime_get_coarse_ns() }, *old;
	struct kv_bucket *b = kv_bucket(hash);
	__u64 *e = kv_epoch();

	if (b == NULL || e == NULL)
		return;
	kv_copy16(key.client, s->client);
	kv_copy16(key.server, s->server);
	value.writes = b->writes;
	value.epoch = *e;
	/* Two requests under one number cannot be told apart by their replies. */
	old = bpf_map_lookup_elem(&leases, &key);
	if (old != NULL && value.begun_ns - old->begun_ns < KV_LEASE_NS) {
		value.shared = 1;
		value.kind = kind >= KV_LEASE_WRITE || old->kind >= KV_LEASE_WRITE ? KV_LEASE_ANY : KV_LEASE_NOTHING;
	}
	bpf_map_update_elem(&leases, &key, &value, BPF_ANY);
}

INLINE int udp(struct xdp_md *ctx, const struct segment *s, struct kv_scratch *t)
{
	const struct kv_request *r = &t->request;
	struct kv_datagram h;
	__u32 bytes, length, at = s->l4 + sizeof(h);
	int verdict;

	if (bpf_xdp_load_bytes(ctx, s->l4, &h, sizeof(h)) != 0 || s->end < at)
		return XDP_PASS;
	bytes = s->end - at;
	if (!read_request(ctx, t, at, s->end) || h.sequence != 0 || h.total != bpf_htons(1) || !s->plain ||
	    bpf_ntohs(h.udp.length) != s->end - s->l4 || r->kind == KV_OTHER || kv_whole(r) != bytes) {
		kv_counted(KV_OTHERS);
		lease(s, h.udp.from, h.request, KV_LEASE_ANY, 0);
		return XDP_PASS;
	}
	switch (r->kind) {
	case KV_GET:
		length = kv_look_up(r->hash, r->key_length);
		if (length != 0) {
			verdict = answer(ctx, s, h, t, length);
			if (verdict >= 0) {
				kv_counted(KV_HITS);
				return verdict;
			}
			kv_counted(KV_NO_ROOM);
		}
		kv_counted(KV_MISSES);
		lease(s, h.udp.from, h.request, KV_LEASE_READ, r->hash);
		break;
	case KV_READ:
		kv_counted(KV_OTHERS);
		lease(s, h.udp.from, h.request, KV_LEASE_NOTHING, 0);
		break;
	default:
		kv_written(r->hash);
		kv_counted(KV_WRITES);
		lease(s, h.udp.from, h.request, KV_LEASE_WRITE, r->hash);
	}
	return XDP_PASS;
}

/* --- TCP ------------------------------------------------------------------------------------------- */

/* A request that begins with this segment, of a connection that is in order. */
INLINE void follow(struct kv_connection *n, const struct kv_request *r, __u32 bytes)
{
	__u32 whole = kv_whole(r);

	if ((r->kind == KV_GET || r->kind == KV_READ) && whole == bytes && n->kind != KV_CONNECTION_WRITER) {
		n->kind = KV_CONNECTION_READER;
		return;
	}
	/* One write after the other: each reply is then the acknowledgement of the only request that waits. */
	if ((r->kind != KV_STORE && r->kind != KV_CHANGE) || n->kind == KV_CONNECTION_READER || n->waits ||
	    whole < bytes || (r->kind == KV_CHANGE && whole != bytes)) {
		kv_lose(n);
		return;
	}
	n->kind = KV_CONNECTION_WRITER;
	n->body = whole - bytes;
	n->hash = r->hash;
	n->waits = 1;
	kv_written(r->hash);
	kv_counted(KV_WRITES);
}

INLINE int tcp(struct xdp_md *ctx, const struct segment *s, struct kv_scratch *t)
{
	struct kv_connection_key key = {};
	struct kv_connection *n, fresh = {};
	struct frame_tcp h;
	__u32 at, seq, bytes;

	if (bpf_xdp_load_bytes(ctx, s->l4, &h, sizeof(h)) != 0)
		return XDP_PASS;
	kv_copy16(key.client, s->client);
	kv_copy16(key.server, s->server);
	key.port = h.from;
	seq = bpf_ntohl(h.seq);
	at = s->l4 + (h.words >> 4) * 4u;
	if (h.flags & FRAME_SYN) {
		fresh.next = seq + 1;
		if (at != s->end)	/* data already, RFC 7413 */
			fresh.kind = KV_CONNECTION_LOST;
		bpf_map_update_elem(&connections, &key, &fresh, BPF_ANY);
		return XDP_PASS;
	}
	if (at >= s->end)
		return XDP_PASS;
	bytes = s->end - at;
	n = bpf_map_lookup_elem(&connections, &key);
	if (n == NULL || n->kind == KV_CONNECTION_LOST || (__s32)(seq + bytes - n->next) <= 0)
		return XDP_PASS;	/* the last: sent again */
	if (seq != n->next || !s->plain) {
		kv_lose(n);
		return XDP_PASS;
	}
	n->next = seq + bytes;
	if (n->body != 0) {
		if (bytes > n->body)
			kv_lose(n);
		else
			n->body -= bytes;
	} else if (!read_request(ctx, t, at, s->end)) {
		kv_lose(n);
	} else {
		follow(n, &t->request, bytes);
	}
	return XDP_PASS;
}

SEC("xdp")
int kv(struct xdp_md *ctx)
{
	struct segment s = {};
	struct kv_address server;
	struct kv_scratch *t = get_scratch();
	__u32 zero = 0;
	struct kv_settings *now = bpf_map_lookup_elem(&settings, &zero);
	__be16 ports[2];

	if (now == NULL || t == NULL || now->ttl_ns == 0 || !read_ip(ctx, &s))
		return XDP_PASS;
	kv_copy16(server.word, s.server);
	if (bpf_map_lookup_elem(&servers, &server) == NULL || bpf_xdp_load_bytes(ctx, s.l4, ports, 4) != 0 ||
	    ports[1] != bpf_htons(KV_PORT))
		return XDP_PASS;
	if (s.protocol == IPPROTO_UDP)
		return udp(ctx, &s, t);
	if (s.protocol == IPPROTO_TCP)
		return tcp(ctx, &s, t);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
