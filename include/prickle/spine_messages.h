/*
 * Active Messages as an extension sees them (prickle/spine.h includes this file).
 *
 *	struct set_limit {			// arguments: at most 48 bytes, the reply in the same struct
 *		__u32 port, limit, old_limit;
 *	};
 *
 *	static __always_inline int set_limit(struct set_limit *args, struct spine_message *m)
 *	{
 *		...
 *		args->old_limit = old;		// the caller reads it
 *		return 0;			// or a negative errno
 *	}
 *
 *	#define HANDLERS(H)                    \
 *		H(1, set_limit, set_limit)     \
 *		H(2, forget, forget_args)
 *	SPINE_HANDLERS(HANDLERS);
 *
 * A row is H(number > 0, function, tag of the argument struct). `m` is a private copy: m->sender is the
 * label that the runtime gave to the channel, whatever the sender wrote, m->seq is the sender's.
 *
 * Handlers run in the sender's system call (program type SYSCALL, sleepable): the kernel refuses maps
 * there other than arrays, hashes, ring buffers and storage - no LPM, no devmap. Calls of several
 * senders run at once, and packets interrupt them: change shared values with atomics.
 */
#pragma once
#include <linux/errno.h>
#ifdef __VMLINUX_H__
/* It has types and enumerations; what the kernel has as macros is missing there. */
#ifndef ETH_ALEN
#define ETH_ALEN   6
#define ETH_HLEN   14
#define ETH_P_IP   0x0800
#define ETH_P_IPV6 0x86dd
#endif
#else
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#endif
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include <prickle/spine_manifest.h>
#include <prickle/spine_ring.h>

/* Slots are copied in words, whatever types are laid over them later. */
typedef __u64 __attribute__((may_alias)) spine_word_;

static __always_inline void spine_copy_(void *to, const void *from)
{
	volatile spine_word_ *t = to;
	const volatile spine_word_ *f = from;

#pragma unroll
	for (int i = 0; i < (int)(sizeof(struct spine_message) / 8); i++)
		t[i] = f[i];
}

static __always_inline void spine_error_(struct spine_message *m, int error)
{
	m->kind = SPINE_MESSAGE_ERROR;
	m->length = sizeof(__s32);
	*(spine_word_ *)m->args = (__u32)error;
}

/* Handlers stand before SPINE_HANDLERS, so the map that it defines is known here already. */
struct spine_inbox_map_ {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct spine_inbox);
};
extern struct spine_inbox_map_ spine_inbox;

/*
 * SPINE_HANDLERS defines the programs through which a host program calls: `spine_call` (one message as
 * context, reply in place) and `spine_drain` (all that is in the inbox).
 *
 * What the loader does with an object that has them, for channels 0 to n - 1 (manifest: channels):
 *	- channel 0 is the object as loaded: spine_call, spine_drain, spine_inbox, spine_channel, spine_region;
 *	- channel k: the object's spine_call and spine_drain once more, with new maps in place of
 *	  spine_inbox, spine_channel and spine_region and the same maps for all other names (with libbpf: open the object
 *	  again, bpf_map__reuse_fd for the others, autoload only these two);
 *	- writes spine_channel.sender = k + 1 into each (key 0); `share` writes another label;
 *	- gives spine_outbox max_entries = 2 x possible processors before loading;
 *	- pins call-K, drain-K, maps/NAME for channel 0, maps/spine_inbox-K, spine_channel-K, spine_region-K for the
 *	  others. A new version keeps spine_outbox, spine_doorbell and the channels' maps if they are there: whoever
 *	  holds descriptors goes on. Programs of the old version then answer from old code until the holder opens anew.
 */
#define SPINE_HANDLERS(LIST)                                                                       \
	struct spine_inbox_map_ spine_inbox SEC(".maps");                                          \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                  \
		__uint(max_entries, 1);                                                            \
		__type(key, __u32);                                                                \
		__type(value, struct spine_channel_state);                                         \
	} spine_channel SEC(".maps");                                                              \
	const struct spine_handler_row spine_handler_rows_[] SEC(SPINE_HANDLERS_SECTION)           \
	__attribute__((used)) = { LIST(SPINE_ROW_) };                                              \
	LIST(SPINE_TYPE_)                                                                          \
	static __always_inline int spine_dispatch_(struct spine_message *m)                        \
	{                                                                                          \
		switch (m->handler) {                                                              \
			LIST(SPINE_CASE_)                                                          \
		default:                                                                           \
			return -ENOSYS;                                                            \
		}                                                                                  \
	}                                                                                          \
	SEC("syscall")                                                                             \
	int spine_call(struct spine_message *in_out)                                               \
	{                                                                                          \
		return spine_call_(&spine_channel, in_out, spine_dispatch_);                       \
	}                                                                                          \
	static long spine_drain_one_(__u32 i, void *drain)                                         \
	{                                                                                          \
		return spine_drain_slot_(drain, i, spine_dispatch_);                               \
	}                                                                                          \
	SEC("syscall")                                                                             \
	int spine_drain(void *none)                                                                \
	{                                                                                          \
		return spine_drain_(&spine_inbox, &spine_channel, spine_drain_one_);               \
	}                                                                                          \
	_Static_assert(1, "")

#define SPINE_ROW_(number, function, tag)                                                          \
	{ .id = (number), .bytes = sizeof(struct tag), .name = #function, .type = #tag },
#define SPINE_TYPE_(number, function, tag)                                                         \
	_Static_assert((number) > 0 && (number) < 65536, #function ": numbers are from 1 to 65535"); \
	_Static_assert(sizeof(struct tag) <= SPINE_ARGS_BYTES, "struct " #tag ": over 48 bytes");   \
	const struct tag spine_type_##function##_ SEC(SPINE_TYPES_SECTION) __attribute__((used)) = {};
#define SPINE_CASE_(number, function, tag)                                                         \
	case (number):                                                                             \
		return m->length == sizeof(struct tag) ?                                           \
			       function((struct tag *)m->args, m) :                                \
			       -EBADMSG;

typedef int (*spine_dispatch_fn_)(struct spine_message *m);

/*
 * Why it went wrong, counted where the sender cannot write. Rare: an atomic does not hurt. The empty instructions,
 * no two of them equal, keep three additions from becoming one at a computed address, which the kernel refuses to unprivileged loaders.
 */
static __always_inline void spine_count_(struct spine_channel_state *c, int result)
{
	if (result == -ENOSYS) {
		__sync_fetch_and_add(&c->unknown, 1);
		asm volatile("" : : "i"(1));
	} else if (result == -EBADMSG) {
		__sync_fetch_and_add(&c->malformed, 1);
		asm volatile("" : : "i"(2));
	} else {
		__sync_fetch_and_add(&c->refused, 1);
		asm volatile("" : : "i"(3));
	}
}

static __always_inline int spine_call_(void *channel, struct spine_message *in_out,
				       spine_dispatch_fn_ dispatch)
{
	__u32 zero = 0;
	struct spine_channel_state *c = bpf_map_lookup_elem(channel, &zero);
	struct spine_message m;
	int result = -EBADMSG;

	if (!c)
		return -EINVAL;
	spine_copy_(&m, in_out);
	m.sender = c->sender;
	__sync_fetch_and_add(&c->calls, 1);
	if (m.kind == SPINE_MESSAGE_CALL || m.kind == SPINE_MESSAGE_MEDIUM ||
	    m.kind == SPINE_MESSAGE_BULK)
		result = dispatch(&m);
	if (result < 0) {
		spine_count_(c, result);
		spine_error_(&m, result);
	} else {
		m.kind = SPINE_MESSAGE_REPLY;
	}
	spine_copy_(in_out, &m);
	return result;
}

struct spine_drain_ {
	struct spine_inbox *in;
	struct spine_channel_state *channel;
	__u32 first;
};

/* One slot: copied, then judged. 0 goes on with the next. */
static __always_inline long spine_drain_slot_(struct spine_drain_ *d, __u32 i,
					      spine_dispatch_fn_ dispatch)
{
	struct spine_message m;
	int result = -EBADMSG;

	spine_copy_(&m, &d->in->slot[(d->first + i) & (SPINE_INBOX_SLOTS - 1)]);
	m.sender = d->channel->sender;
	if (m.kind == SPINE_MESSAGE_POST || m.kind == SPINE_MESSAGE_MEDIUM ||
	    m.kind == SPINE_MESSAGE_BULK)
		result = dispatch(&m);
	if (result < 0)
		spine_count_(d->channel, result);
	return 0;
}

/*
 * At most a ring full. `busy` keeps two drains of one channel apart; a sender that clears it by hand
 * gets its own messages handled twice. Returns how many were taken, or -EBUSY.
 */
static __always_inline int spine_drain_(void *inbox, void *channel, long (*one)(__u32 i, void *drain))
{
	__u32 zero = 0, count;
	struct spine_inbox *in = bpf_map_lookup_elem(inbox, &zero);
	struct spine_channel_state *c = bpf_map_lookup_elem(channel, &zero);
	struct spine_drain_ d;

	if (!in || !c)
		return -EINVAL;
	if (__sync_val_compare_and_swap(&in->busy, 0, 1) != 0)
		return -EBUSY;
	d.in = in;
	d.channel = c;
	d.first = *(volatile __u32 *)&in->tail;
	count = *(volatile __u32 *)&in->head - d.first;
	if (count > SPINE_INBOX_SLOTS)		/* no honest host writes that */
		count = SPINE_INBOX_SLOTS;
	bpf_loop(count, one, &d, 0);
	__sync_fetch_and_add(&c->posts, count);
	/* Exchanges order what was read before them. */
	__sync_lock_test_and_set(&in->tail, d.first + count);
	__sync_lock_test_and_set(&in->busy, 0);
	return (int)count;
}

/*
 * The bytes of a MEDIUM message, or NULL: not one, or it lies. They are still the sender's to change:
 * copy what you judge. The pointer has SPINE_MEDIUM_BYTES behind it; *length of them count.
 */
#define spine_medium(m, length) spine_medium_(&spine_inbox, (m), (length))
static __always_inline const void *spine_medium_(void *inbox, const struct spine_message *m,
						 __u32 *length)
{
	__u32 zero = 0;
	struct spine_inbox *in = bpf_map_lookup_elem(inbox, &zero);
	const struct spine_medium *where = (const void *)m->args;

	if (!in || m->kind != SPINE_MESSAGE_MEDIUM || m->length < sizeof(*where) ||
	    where->buffer >= SPINE_INBOX_MEDIUM || where->length > SPINE_MEDIUM_BYTES)
		return NULL;
	*length = where->length;
	return in->medium[where->buffer & (SPINE_INBOX_MEDIUM - 1)];
}

/*
 * SPINE_REGION(bytes) defines the region of bulk messages: memory that each channel's holder maps. Its
 * size is a power of two. spine_bulk(m, want) gives the address of the first `want` (a constant) bytes
 * of a BULK message, NULL when it is shorter or lies outside; read on with spine_region_at(offset, want).
 */
#define SPINE_REGION(bytes_)                                                                       \
	_Static_assert(((bytes_) & ((bytes_) - 1)) == 0, "a region's size is a power of two");     \
	struct spine_region_bytes_ {                                                               \
		__u8 at[bytes_];                                                                   \
	};                                                                                         \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                  \
		__uint(max_entries, 1);                                                            \
		__uint(map_flags, BPF_F_MMAPABLE);                                                 \
		__type(key, __u32);                                                                \
		__type(value, struct spine_region_bytes_);                                         \
	} spine_region SEC(".maps")
#define SPINE_REGION_BYTES_ sizeof(struct spine_region_bytes_)
#define spine_region_at(offset, want)                                                              \
	spine_region_at_(&spine_region, SPINE_REGION_BYTES_, (offset), (want))
#define spine_bulk(m, want) spine_bulk_(&spine_region, SPINE_REGION_BYTES_, (m), (want))
static __always_inline void *spine_region_at_(void *region, __u64 bytes, __u64 offset, __u64 want)
{
	__u32 zero = 0;
	__u8 *base = bpf_map_lookup_elem(region, &zero);

	if (!base || want > bytes || offset > bytes - want)
		return NULL;
	return base + offset;
}

static __always_inline void *spine_bulk_(void *region, __u64 bytes, const struct spine_message *m,
					 __u64 want)
{
	const struct spine_bulk *where = (const void *)m->args;

	if (m->kind != SPINE_MESSAGE_BULK || m->length < sizeof(*where) || where->region != 0 ||
	    where->length < want || where->length > bytes || where->offset > bytes - where->length)
		return NULL;
	return spine_region_at_(region, bytes, where->offset, want);
}

/*
 * SPINE_OUTBOX defines the way to the host: rings of SPINE_OUTBOX_SLOTS messages, read by the holder of
 * channel 0. No post ever waits: without room it is counted in `lost` and -ENOBUFS comes back.
 *
 * spine_post(ctx, handler, &args, bytes)	from packet code; bytes is a constant, at most 48
 * spine_post_bulk(ctx, handler, &args, bytes)	the same for bytes in channel 0's region; args begin with a
 *	struct spine_bulk, which is yours to fill
 * spine_answer(m, handler, &args, bytes)	from handlers, wherever they run: a POST; called by a host
 *	program it has the sequence number of m
 * spine_post_packet(ctx, handler, &args, bytes, offset, length)
 *	a MEDIUM message with `length` bytes of the frame (at most 2 KiB); args begin with a struct
 *	spine_medium, which is filled in
 * spine_credits(ctx)	slots that are free for packet code on this processor
 *
 * The doorbell costs a microsecond and is rung only when the reader said that it sleeps.
 */
#define SPINE_OUTBOX                                                                               \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                  \
		__uint(max_entries, 2);                                                            \
		__uint(map_flags, BPF_F_MMAPABLE);                                                 \
		__type(key, __u32);                                                                \
		__type(value, struct spine_outbox);                                                \
	} spine_outbox SEC(".maps");                                                               \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_RINGBUF);                                                \
		__uint(max_entries, 4096);                                                         \
	} spine_doorbell SEC(".maps")
#define spine_post(ctx, handler, args, bytes)                                                      \
	spine_post_(&spine_outbox, &spine_doorbell, (ctx), SPINE_MESSAGE_POST, (handler), (args), (bytes))
#define spine_post_bulk(ctx, handler, args, bytes)                                                 \
	spine_post_(&spine_outbox, &spine_doorbell, (ctx), SPINE_MESSAGE_BULK, (handler), (args), (bytes))
#define spine_answer(m, handler, args, bytes)                                                      \
	spine_answer_(&spine_outbox, &spine_doorbell, (m), (handler), (args), (bytes))
#define spine_post_packet(ctx, handler, args, bytes, offset, length)                               \
	spine_post_packet_(&spine_outbox, &spine_doorbell, (ctx), (handler), (args), (bytes),      \
			   (offset), (length))
#define spine_credits(ctx) spine_credits_(&spine_outbox, (ctx))

static __always_inline int spine_outbox_full_(struct spine_outbox *o, __u32 head)
{
	if (head - *(volatile __u32 *)&o->tail < SPINE_OUTBOX_SLOTS)
		return 0;
	o->lost++;
	return 1;
}

/*
 * Publish and, if the reader sleeps, wake it. The exchange is the barrier that both need: a reader that sets
 * `asleep` and then sees the old head is seen asleep here.
 */
static __always_inline void spine_publish_(struct spine_outbox *o, void *doorbell, __u32 head)
{
	__sync_lock_test_and_set(&o->head, head + 1);
	if (*(volatile __u32 *)&o->asleep && __sync_lock_test_and_set(&o->asleep, 0)) {
		__u64 ring = head;

		bpf_ringbuf_output(doorbell, &ring, sizeof(ring), BPF_RB_FORCE_WAKEUP);
	}
}

static __always_inline void spine_fill_(struct spine_outbox *o, __u32 head, __u16 handler,
					__u8 kind, __u32 seq, const void *args, __u32 bytes)
{
	struct spine_message *slot = &o->slot[head & (SPINE_OUTBOX_SLOTS - 1)];

	slot->handler = handler;
	slot->kind = kind;
	slot->length = (__u8)bytes;
	slot->seq = seq;
	slot->sender = 0;
	__builtin_memcpy(slot->args, args, bytes);
}

static __always_inline int spine_post_(void *outbox, void *doorbell, struct xdp_md *ctx,
				       __u8 kind, __u16 handler, const void *args, __u32 bytes)
{
	__u32 ring = 2 * bpf_get_smp_processor_id();
	struct spine_outbox *o = bpf_map_lookup_elem(outbox, &ring);
	__u32 head;

	(void)ctx;
	if (!o)
		return -EINVAL;
	head = o->head;
	if (spine_outbox_full_(o, head))
		return -ENOBUFS;
	spine_fill_(o, head, handler, kind, head, args, bytes);
	spine_publish_(o, doorbell, head);
	return 0;
}

static __always_inline int spine_credits_(void *outbox, struct xdp_md *ctx)
{
	__u32 ring = 2 * bpf_get_smp_processor_id();
	struct spine_outbox *o = bpf_map_lookup_elem(outbox, &ring);
	__u32 used;

	(void)ctx;
	if (!o)
		return 0;
	used = o->head - *(volatile __u32 *)&o->tail;
	return used > SPINE_OUTBOX_SLOTS ? 0 : (int)(SPINE_OUTBOX_SLOTS - used);
}

static __always_inline int spine_post_packet_(void *outbox, void *doorbell, struct xdp_md *ctx,
					      __u16 handler, void *args, __u32 bytes, __u32 offset,
					      __u32 length)
{
	__u32 ring = 2 * bpf_get_smp_processor_id();
	struct spine_outbox *o = bpf_map_lookup_elem(outbox, &ring);
	struct spine_medium *where = args;
	__u32 head, buffer, last = length - 1;
	long result;

	if (!o || bytes < sizeof(*where) || last >= SPINE_MEDIUM_BYTES)
		return -EINVAL;
	/* Behind the compiler's back, which would drop the mask that the verifier needs to see. */
	asm volatile("" : "+r"(last));
	last &= SPINE_MEDIUM_BYTES - 1;
	head = o->head;
	buffer = o->medium_head;
	if (spine_outbox_full_(o, head))
		return -ENOBUFS;
	if (buffer - *(volatile __u32 *)&o->medium_tail >= SPINE_OUTBOX_MEDIUM) {
		o->lost++;
		return -ENOBUFS;
	}
	result = bpf_xdp_load_bytes(ctx, offset, o->medium[buffer & (SPINE_OUTBOX_MEDIUM - 1)],
				    last + 1);
	if (result < 0)
		return (int)result;
	where->buffer = buffer;
	where->length = length;
	o->medium_head = buffer + 1;
	spine_fill_(o, head, handler, SPINE_MESSAGE_MEDIUM, head, args, bytes);
	spine_publish_(o, doorbell, head);
	return 0;
}

/*
 * Handlers that run in a system call are interrupted by packets and by each other, so they have rings of
 * their own, each under a lock that is tried and never waited for: three tries, on three rings.
 */
static __always_inline int spine_answer_locked_(void *outbox, void *doorbell, __u32 ring,
						const struct spine_message *m, __u16 handler,
						const void *args, __u32 bytes)
{
	struct spine_outbox *o = bpf_map_lookup_elem(outbox, &ring);
	int result = -ENOBUFS;
	__u32 head;

	if (!o)
		return -EINVAL;
	if (__sync_val_compare_and_swap(&o->busy, 0, 1) != 0)
		return -EBUSY;
	head = *(volatile __u32 *)&o->head;
	if (!spine_outbox_full_(o, head)) {
		spine_fill_(o, head, handler, SPINE_MESSAGE_POST, m->seq, args, bytes);
		spine_publish_(o, doorbell, head);
		result = 0;
	}
	__sync_lock_test_and_set(&o->busy, 0);
	return result;
}

static __always_inline int spine_answer_(void *outbox, void *doorbell,
					 const struct spine_message *m, __u16 handler,
					 const void *args, __u32 bytes)
{
	__u32 cpu = bpf_get_smp_processor_id();
	int result;

	if (m->sender & SPINE_SENDER_NETWORK)	/* this handler runs as packet code */
		return spine_post_(outbox, doorbell, NULL, SPINE_MESSAGE_POST, handler, args, bytes);
	/* Without a loop: the kernel follows none whose counter it must not keep exactly, as for unsigned extensions. */
	result = spine_answer_locked_(outbox, doorbell, 2 * cpu + 1, m, handler, args, bytes);
	if (result == -EBUSY)
		result = spine_answer_locked_(outbox, doorbell, 2 * cpu + 3, m, handler, args, bytes);
	if (result == -EBUSY || result == -EINVAL)	/* there may be no processor behind ours */
		result = spine_answer_locked_(outbox, doorbell, 1, m, handler, args, bytes);
	return result;
}

/*
 * Messages from the network: SPINE_NETWORK_HANDLERS(LIST) says which handlers anybody on the network may
 * call (rows as in SPINE_HANDLERS, which should name them too, so that stubs are made), and in packet code
 *
 *	int verdict = spine_network(ctx, PORT);
 *	if (verdict != SPINE_NOT_A_MESSAGE)
 *		return verdict;
 *
 * takes UDP datagrams to PORT over IPv4 or IPv6 that hold exactly one slot, and frames of SPINE_ETHERTYPE.
 * A CALL is answered in the same frame (XDP_TX: addresses and ports swapped, checksums made anew); a
 * POST ends there (XDP_DROP); MEDIUM and BULK do not exist here. Never an answer to an answer, nor one
 * larger than the question. Not recognised, so left to the host: VLAN tags, IPv4 options, fragments, IPv6
 * extension headers. The sum of what arrives is not checked: network cards do that.
 */
#define SPINE_NOT_A_MESSAGE (-1)
#define SPINE_NETWORK_HANDLERS(LIST)                                                               \
	static __always_inline int spine_network_dispatch_(struct spine_message *m)                \
	{                                                                                          \
		switch (m->handler) {                                                              \
			LIST(SPINE_CASE_)                                                          \
		default:                                                                           \
			return -ENOSYS;                                                            \
		}                                                                                  \
	}                                                                                          \
	_Static_assert(1, "")
#define spine_network(ctx, port) spine_network_((ctx), (port), spine_network_dispatch_)

#define SPINE_UDP_BYTES_ (sizeof(struct udphdr) + sizeof(struct spine_message))

typedef __u32 __attribute__((may_alias)) spine_half_;

static __always_inline void spine_from_wire_(struct spine_message *m, const void *wire)
{
	spine_copy_(m, wire);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	m->handler = __builtin_bswap16(m->handler);
	m->seq = __builtin_bswap32(m->seq);
#endif
}

static __always_inline void spine_to_wire_(void *wire, struct spine_message *m)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	m->handler = __builtin_bswap16(m->handler);
	m->seq = __builtin_bswap32(m->seq);
#endif
	m->sender = 0;
	spine_copy_(wire, m);
}

/* Run the handler. SPINE_NOT_A_MESSAGE, or 1: *m is the answer, or 0: none is wanted. */
static __always_inline int spine_network_run_(struct spine_message *m, __u64 sender,
					      spine_dispatch_fn_ dispatch)
{
	int call = m->kind == SPINE_MESSAGE_CALL, result;

	if (!call && m->kind != SPINE_MESSAGE_POST)
		return SPINE_NOT_A_MESSAGE;
	m->sender = SPINE_SENDER_NETWORK | sender;
	result = dispatch(m);
	if (result < 0)
		spine_error_(m, result);
	else
		m->kind = SPINE_MESSAGE_REPLY;
	return call;
}

static __always_inline void spine_swap_macs_(struct ethhdr *eth)
{
	__u8 kept[ETH_ALEN];

	__builtin_memcpy(kept, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, kept, ETH_ALEN);
}

static __always_inline __u16 spine_fold_(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

static __always_inline __u64 spine_sum_(const void *words, __u32 count)
{
	const spine_half_ *w = words;
	__u64 sum = 0;

#pragma unroll
	for (__u32 i = 0; i < count; i++)
		sum += w[i];
	return sum;
}

/* Ports swapped, sum over pseudo header (address_sum), header and message. */
static __always_inline void spine_udp_answer_(struct udphdr *udp, __u64 address_sum,
					      const struct spine_message *m)
{
	__be16 port = udp->dest;

	udp->dest = udp->source;
	udp->source = port;
	udp->check = 0;
	udp->check = spine_fold_(address_sum + bpf_htons(IPPROTO_UDP) +
				 bpf_htons(SPINE_UDP_BYTES_) + spine_sum_(udp, 2) +
				 spine_sum_(m, sizeof(*m) / 4));
	if (udp->check == 0)
		udp->check = 0xffff;
}

static __always_inline int spine_network4_(void *data, void *end, __u16 port,
					   spine_dispatch_fn_ dispatch)
{
	struct iphdr *ip = data + ETH_HLEN;
	struct udphdr *udp = (void *)(ip + 1);
	void *wire = udp + 1;
	struct spine_message m;
	__be32 address;
	int answer;

	if (wire + sizeof(m) > end || ip->ihl != 5 || ip->version != 4 ||
	    ip->protocol != IPPROTO_UDP || (ip->frag_off & bpf_htons(0x3fff)) ||
	    udp->dest != bpf_htons(port) || udp->len != bpf_htons(SPINE_UDP_BYTES_) ||
	    ip->tot_len != bpf_htons(sizeof(struct iphdr) + SPINE_UDP_BYTES_))
		return SPINE_NOT_A_MESSAGE;
	spine_from_wire_(&m, wire);
	answer = spine_network_run_(&m, (__u64)bpf_ntohl(ip->saddr) << 16 | bpf_ntohs(udp->source),
				    dispatch);
	if (answer <= 0)
		return answer == 0 ? XDP_DROP : SPINE_NOT_A_MESSAGE;
	spine_swap_macs_(data);
	address = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = address;
	ip->ttl = 64;
	ip->check = 0;
	ip->check = spine_fold_(spine_sum_(ip, sizeof(*ip) / 4));
	spine_to_wire_(wire, &m);
	spine_udp_answer_(udp, spine_sum_(&ip->saddr, 2), &m);
	return XDP_TX;
}

static __always_inline int spine_network6_(void *data, void *end, __u16 port,
					   spine_dispatch_fn_ dispatch)
{
	struct ipv6hdr *ip = data + ETH_HLEN;
	struct udphdr *udp = (void *)(ip + 1);
	void *wire = udp + 1;
	struct spine_message m;
	struct in6_addr address;
	__u64 sender;
	int answer;

	if (wire + sizeof(m) > end || ip->version != 6 || ip->nexthdr != IPPROTO_UDP ||
	    udp->dest != bpf_htons(port) || udp->len != bpf_htons(SPINE_UDP_BYTES_) ||
	    ip->payload_len != bpf_htons(SPINE_UDP_BYTES_))
		return SPINE_NOT_A_MESSAGE;
	spine_from_wire_(&m, wire);
	/* 128 bits do not fit into a label: the interface part and the port, folded. */
	sender = (__u64)bpf_ntohl(ip->saddr.in6_u.u6_addr32[3] ^ ip->saddr.in6_u.u6_addr32[2]) << 16 |
		 bpf_ntohs(udp->source);
	answer = spine_network_run_(&m, sender, dispatch);
	if (answer <= 0)
		return answer == 0 ? XDP_DROP : SPINE_NOT_A_MESSAGE;
	spine_swap_macs_(data);
	address = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = address;
	ip->hop_limit = 64;
	spine_to_wire_(wire, &m);
	spine_udp_answer_(udp, spine_sum_(&ip->saddr, 8), &m);
	return XDP_TX;
}

static __always_inline int spine_network_(struct xdp_md *ctx, __u16 port,
					  spine_dispatch_fn_ dispatch)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	void *wire = eth + 1;
	struct spine_message m;
	int answer;

	if (wire + sizeof(m) > end || (eth->h_dest[0] & 1))
		return SPINE_NOT_A_MESSAGE;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return spine_network4_(data, end, port, dispatch);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return spine_network6_(data, end, port, dispatch);
	if (eth->h_proto != bpf_htons(SPINE_ETHERTYPE))
		return SPINE_NOT_A_MESSAGE;
	spine_from_wire_(&m, wire);
	answer = spine_network_run_(&m, SPINE_ETHERTYPE, dispatch);
	if (answer <= 0)
		return answer == 0 ? XDP_DROP : SPINE_NOT_A_MESSAGE;
	spine_swap_macs_(eth);
	spine_to_wire_(wire, &m);
	return XDP_TX;
}

/*
 * To the extension of another device: turn the frame in hand into one of SPINE_ETHERTYPE that holds
 * this message and redirect it to a granted port (SPINE_PORTS). The frame's addresses stay; what was in
 * it is gone. The verdict to return: XDP_REDIRECT, or XDP_ABORTED when the port is not granted or the frame was shorter
 * than 78 bytes and its buffer has no room to grow (veth).
 */
#define spine_forward(ctx, ifindex, handler, args, bytes)                                          \
	(spine_to_frame_((ctx), (handler), (args), (bytes)) == 0 ? spine_redirect(ifindex) :       \
								   XDP_ABORTED)
static __always_inline int spine_to_frame_(struct xdp_md *ctx, __u16 handler, const void *args,
					   __u32 bytes)
{
	struct spine_message m = { .handler = handler, .kind = SPINE_MESSAGE_POST, .length = (__u8)bytes };
	int have = (int)bpf_xdp_get_buff_len(ctx);	/* no subtraction: pointers are no numbers to unsigned extensions */
	struct ethhdr *eth;

	__builtin_memcpy(m.args, args, bytes);
	if (bpf_xdp_adjust_tail(ctx, (int)(sizeof(*eth) + sizeof(m)) - have) < 0)
		return -EMSGSIZE;
	eth = (void *)(long)ctx->data;
	if ((void *)(eth + 1) + sizeof(m) > (void *)(long)ctx->data_end)
		return -EMSGSIZE;
	eth->h_proto = bpf_htons(SPINE_ETHERTYPE);
	spine_to_wire_(eth + 1, &m);
	return 0;
}

/*
 * Bulk to an application by AF_XDP: SPINE_SOCKETS defines the map of its sockets by receive queue, which
 * the runtime fills; spine_to_socket(ctx) gives XDP_REDIRECT to the socket of this queue, or, when there is
 * none, `otherwise` (XDP_PASS, XDP_DROP, XDP_ABORTED).
 */
#define SPINE_SOCKETS_MAX 64
#define SPINE_SOCKETS                                                                              \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_XSKMAP);                                                 \
		__uint(max_entries, SPINE_SOCKETS_MAX);                                            \
		__type(key, __u32);                                                                \
		__type(value, __u32);                                                              \
	} spine_sockets SEC(".maps")
#define spine_to_socket(ctx, otherwise)                                                            \
	spine_redirect_(&spine_sockets, (ctx)->rx_queue_index, (otherwise))
