// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The way out of the key-value cache: what the server sends is seen before it leaves (tc, egress). Values fill the
 * buckets under the counts that their requests noted; acknowledgements of writes move counts. See kv.h.
 *
 * Not an extension of its own: `prickle spine kv start` loads it with the maps of kv.bpf.c. It changes no packet
 * and lets every one go on.
 */
#include "spine/extensions/kv_maps.bpf.h"

#define GO_ON	-1			/* TC_ACT_UNSPEC, TCX_NEXT: the next program decides */
#define TAGS_MAX 2

struct reply {
	__u32 client[4], server[4];
	__u32 l4, end;
	__u8 protocol;
	__u8 opaque;			/* an extension header: its ports are not looked for */
};

INLINE bool read_ip4(struct __sk_buff *skb, __u32 at, struct reply *p)
{
	struct frame_ip4 ip;

	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) != 0)
		return false;
	if ((ip.fragment & bpf_htons(FRAME_OFFSET)) != 0)
		return false;		/* the first fragment had the header */
	kv_map_v4(p->server, ip.from);
	kv_map_v4(p->client, ip.to);
	p->protocol = ip.protocol;
	p->l4 = at + (ip.version_words & 15) * 4u;
	return true;
}

INLINE bool read_ip6(struct __sk_buff *skb, __u32 at, struct reply *p)
{
	struct frame_ip6 ip;

	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) != 0)
		return false;
	kv_copy16(p->server, ip.from);
	kv_copy16(p->client, ip.to);
	p->protocol = ip.next;
	p->opaque = ip.next == FRAME_HOP_BY_HOP || ip.next == FRAME_ROUTING || ip.next == FRAME_FRAGMENT ||
		    ip.next == FRAME_OPTIONS;
	p->l4 = at + sizeof(ip);
	return true;
}

INLINE bool read_ip(struct __sk_buff *skb, struct reply *p)
{
	__u32 at = 12;
	__be16 type;

	if (bpf_skb_load_bytes(skb, at, &type, sizeof(type)) != 0)
		return false;
#pragma unroll
	for (int i = 0; i < TAGS_MAX; i++) {
		if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD))
			break;
		at += 4;
		if (bpf_skb_load_bytes(skb, at, &type, sizeof(type)) != 0)
			return false;
	}
	p->end = skb->len;
	if (type == bpf_htons(ETH_P_IP))
		return read_ip4(skb, at + 2, p);
	return type == bpf_htons(ETH_P_IPV6) && read_ip6(skb, at + 2, p);
}

/* --- UDP ------------------------------------------------------------------------------------------- */

/* "VALUE KEY FLAGS BYTES\r\n...\r\nEND\r\n" in one datagram, short enough? */
INLINE bool is_value(struct __sk_buff *skb, __u32 at, __u32 length)
{
	char first[6], last[5];

	if (length < 16 || length > KV_REPLY_BYTES || bpf_skb_load_bytes(skb, at, first, sizeof(first)) != 0 ||
	    bpf_skb_load_bytes(skb, at + length - sizeof(last), last, sizeof(last)) != 0)
		return false;
	return __builtin_memcmp(first, "VALUE ", 6) == 0 && __builtin_memcmp(last, "END\r\n", 5) == 0;
}

INLINE void fill(struct __sk_buff *skb, const struct kv_lease *l, __u32 at, __u32 length)
{
	struct kv_bucket *b = kv_bucket(l->hash);
	__u32 zero = 0;
	struct kv_settings *now = bpf_map_lookup_elem(&settings, &zero);
	__u64 turn, sum = 0, *e = kv_epoch();

	if (b == NULL || e == NULL || now == NULL)
		return;
	turn = b->turn;
	if (length < 1 || length > KV_REPLY_BYTES || l->writes != b->writes || l->epoch != *e || (turn & 1) ||
	    __sync_val_compare_and_swap(&b->turn, turn, turn + 1) != turn) {
		kv_counted(KV_NOT_FILLED);
		return;
	}
	for (int i = 0; i < KV_REPLY_BYTES / 8; i++)
		((__u64 *)b->reply)[i] = 0;
	b->length = bpf_skb_load_bytes(skb, at, b->reply, length) == 0 ? length : 0;
	for (int i = 0; i < KV_REPLY_BYTES / 4; i++)
		sum += ((__u32 *)b->reply)[i];
	b->sum = (__u16)~frame_sum(sum);
	b->entry_writes = l->writes;
	b->entry_epoch = l->epoch;
	b->expires_ns = l->begun_ns + now->ttl_ns;
	__sync_fetch_and_add(&b->turn, 1);
	kv_counted(KV_FILLS);
}

INLINE void udp(struct __sk_buff *skb, const struct reply *p)
{
	struct kv_lease_key key = {};
	struct kv_lease *found, l;
	struct kv_datagram h;
	__u32 at = p->l4 + sizeof(h);

	if (bpf_skb_load_bytes(skb, p->l4, &h, sizeof(h)) != 0) {
		kv_flush();
		return;
	}
	if (h.sequence != 0)
		return;			/* the first one of the reply has told */
	kv_copy16(key.client, p->client);
	kv_copy16(key.server, p->server);
	key.port = h.udp.to;
	key.request = h.request;
	found = bpf_map_lookup_elem(&leases, &key);
	if (found == NULL) {
		kv_flush();
		return;
	}
	l = *found;
	if (!l.shared)
		bpf_map_delete_elem(&leases, &key);
	if (l.kind == KV_LEASE_WRITE) {
		kv_written(l.hash);
	} else if (l.kind == KV_LEASE_ANY) {
		kv_flush();
	} else if (l.kind == KV_LEASE_READ) {
		if (h.total == bpf_htons(1) && p->end == p->l4 + bpf_ntohs(h.udp.length) && p->end > at &&
		    is_value(skb, at, p->end - at))
			fill(skb, &l, at, p->end - at);
		else
			kv_counted(KV_NOT_FILLED);
	}
}

/* --- TCP ------------------------------------------------------------------------------------------- */

/* One of the replies that end a write, and nothing else. */
INLINE bool is_acknowledgement(struct __sk_buff *skb, __u32 at, __u32 bytes)
{
	char word[8];

	if (bytes < 8 || bytes > 12 || bpf_skb_load_bytes(skb, at, word, sizeof(word)) != 0)
		return false;
	return (bytes == 8 && __builtin_memcmp(word, "STORED\r\n", 8) == 0) ||
	       (bytes == 8 && __builtin_memcmp(word, "EXISTS\r\n", 8) == 0) ||
	       (bytes == 9 && __builtin_memcmp(word, "DELETED\r", 8) == 0) ||
	       (bytes == 9 && __builtin_memcmp(word, "TOUCHED\r", 8) == 0) ||
	       (bytes == 11 && __builtin_memcmp(word, "NOT_FOUND", 8) == 0) ||
	       (bytes == 12 && __builtin_memcmp(word, "NOT_STORED", 8) == 0);
}

INLINE void tcp(struct __sk_buff *skb, const struct reply *p)
{
	struct kv_connection_key key = {};
	struct kv_connection *n;
	struct frame_tcp h;
	__u32 at, bytes, seq;

	if (bpf_skb_load_bytes(skb, p->l4, &h, sizeof(h)) != 0) {
		kv_flush();
		return;
	}
	at = p->l4 + (h.words >> 4) * 4u;
	if (at >= p->end)
		return;
	bytes = p->end - at;
	seq = bpf_ntohl(h.seq);
	kv_copy16(key.client, p->client);
	kv_copy16(key.server, p->server);
	key.port = h.to;
	n = bpf_map_lookup_elem(&connections, &key);
	if (n == NULL || n->kind == KV_CONNECTION_LOST) {
		kv_flush();
		return;
	}
	if (n->kind == KV_CONNECTION_READER)
		return;
	if (n->out_known && (__s32)(seq + bytes - n->out_next) <= 0)
		return;			/* sent again */
	n->out_next = seq + bytes;
	n->out_known = 1;
	if (n->waits && n->body == 0 && is_acknowledgement(skb, at, bytes)) {
		kv_written(n->hash);
		n->waits = 0;		/* last: until then a new request makes the connection lost */
		return;
	}
	kv_lose(n);
	kv_flush();
}

SEC("tc")
int kv_reply(struct __sk_buff *skb)
{
	struct reply p = {};
	struct kv_address server;
	__be16 port;

	if (!read_ip(skb, &p))
		return GO_ON;
	kv_copy16(server.word, p.server);
	if (bpf_map_lookup_elem(&servers, &server) == NULL)
		return GO_ON;
	if (p.opaque) {
		kv_flush();
		return GO_ON;
	}
	if ((p.protocol != IPPROTO_UDP && p.protocol != IPPROTO_TCP) ||
	    bpf_skb_load_bytes(skb, p.l4, &port, sizeof(port)) != 0 || port != bpf_htons(KV_PORT))
		return GO_ON;
	if (p.protocol == IPPROTO_UDP)
		udp(skb, &p);
	else
		tcp(skb, &p);
	return GO_ON;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
