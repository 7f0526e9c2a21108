/*
 * The maps of the key-value cache, defined by the extension (kv.bpf.c) and used again by the program on the way out
 * (kv_reply.bpf.c), and what both do with them.
 */
#pragma once
#include "spine/extensions/frame.bpf.h"
#include "spine/extensions/kv_text.h"

#define KV_MAP(name, kind, count, key_type, value_type)					\
	struct {									\
		__uint(type, kind);							\
		__uint(max_entries, count);						\
		__type(key, key_type);							\
		__type(value, value_type);						\
	} name SEC(".maps")

struct kv_address {
	__u32 word[4];
};

KV_MAP(buckets, BPF_MAP_TYPE_ARRAY, KV_BUCKETS, __u32, struct kv_bucket);
KV_MAP(settings, BPF_MAP_TYPE_ARRAY, 1, __u32, struct kv_settings);
KV_MAP(epoch, BPF_MAP_TYPE_ARRAY, 1, __u32, __u64);
KV_MAP(servers, BPF_MAP_TYPE_HASH, KV_SERVERS, struct kv_address, __u32);
KV_MAP(leases, BPF_MAP_TYPE_LRU_HASH, KV_LEASES, struct kv_lease_key, struct kv_lease);
KV_MAP(connections, BPF_MAP_TYPE_LRU_HASH, KV_CONNECTIONS, struct kv_connection_key, struct kv_connection);
KV_MAP(counts, BPF_MAP_TYPE_PERCPU_ARRAY, KV_COUNTS, __u32, __u64);

INLINE void kv_counted(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&counts, &what);

	if (n != NULL)
		(*n)++;
}

INLINE struct kv_bucket *kv_bucket(__u32 hash)
{
	__u32 index = (__u32)((__u64)hash * KV_BUCKETS >> 32);

	return bpf_map_lookup_elem(&buckets, &index);
}

INLINE __u64 *kv_epoch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&epoch, &zero);
}

/* Entries of this key's bucket, and fills on their way, are void from now on. */
INLINE void kv_written(__u32 hash)
{
	struct kv_bucket *b = kv_bucket(hash);

	if (b != NULL)
		__sync_fetch_and_add(&b->writes, 1);
}

/* All are. */
INLINE void kv_flush(void)
{
	__u64 *e = kv_epoch();

	if (e != NULL)
		__sync_fetch_and_add(e, 1);
	kv_counted(KV_FLUSHES);
}

INLINE void kv_lose(struct kv_connection *n)
{
	if (n->kind != KV_CONNECTION_LOST)
		kv_counted(KV_LOST_CONNECTIONS);
	n->kind = KV_CONNECTION_LOST;
}

INLINE void kv_map_v4(__u32 out[4], __be32 address)
{
	out[0] = 0;
	out[1] = 0;
	out[2] = bpf_htonl(0xffff);
	out[3] = address;
}

INLINE void kv_copy16(__u32 out[4], const __be32 in[4])
{
	out[0] = in[0];
	out[1] = in[1];
	out[2] = in[2];
	out[3] = in[3];
}

/* The frame header of memcached's datagrams: protocol.txt, "UDP protocol". */
struct kv_datagram {
	struct frame_udp udp;
	__be16 request, sequence, total, reserved;
};
