/*
 * struct xlat: one packet on its way through the translator; and the order of the steps.
 *
 * The core never touches a packet. A home (XDP, tc, SYSCALL, native) copies the first bytes of the IP packet to `in`, calls
 * xlat_plan, and does what the verdict says. A translation is an *edit*: "replace the first `strip` bytes of the IP packet by
 * `head`", which holds everything that changes: IP headers, fragment header, transport header with its checksum, and for ICMP
 * errors the inner headers as well. So the three homes differ in a few lines, and the same bytes come out of all.
 *
 *	home: in, in_bytes, packet_bytes, family, ...
 *	xlat_plan(x)		parse.h -> stateless.h or state.h -> build.h; sets verdict, reason, edit
 *	home: finds the next hop of `to`
 *	xlat_fit(x, mtu)	does it fit? Else the verdict becomes ERROR (too big) or SLOW (fragment)
 *	home: applies the edit and sends
 *
 * In BPF this lives in a per-processor map, in SYSCALL programs it is the context: its layout is an interface between the
 * daemon and the programs (XLAT_STATE_ABI).
 */
#pragma once
#include "nat64/core/call.h"
#include "nat64/core/state.h"

#define XLAT_HEAD_BYTES 160		/* largest head: 40 + 8 + 8 + 40 + 8 + 20, rounded */
#define XLAT_SLACK	64		/* reads at a masked offset may pass the end so far */

enum xlat_flags {
	/* Said by the home. */
	XLAT_HOST = 1 << 0,		/* tc egress: the host's own traffic */
	XLAT_GSO = 1 << 1,		/* a large packet that the device cuts into gso_bytes of payload each */
	XLAT_DRY = 1 << 2,		/* explain: change no state, count nothing */
	XLAT_FROM_SLOW = 1 << 3,	/* the slow path asks: never answer SLOW */
	XLAT_TRIED = 1 << 5,		/* the home had the session refused already: refusals are counted */
	XLAT_WHOLE = 1 << 4,		/* with FROM_SLOW: the datagram was put together from fragments */
	XLAT_BUFFERS = 1 << 6,		/* it cannot take the slow path: better early than lost */
	/* Found by the parser or the plan. */
	XLAT_HAIRPINNED = 1 << 8,	/* 6 to 6 */
	XLAT_INNER = 1 << 9,		/* an ICMP error: `inner` is valid */
	XLAT_NEW_SESSION = 1 << 10,
	XLAT_ZERO_UDP = 1 << 11,	/* 4 to 6, UDP without checksum: the home sums the payload (csum_at) */
	XLAT_OURS = 1 << 12,		/* the destination is one of ours: from here on errors may be answered */
};

/* One IP header and what follows, as parsed from `in`. */
struct xlat_ip {
	__u8 family;			/* 4, 6 */
	__u8 protocol;			/* of the transport, as on the wire: ICMP is 1 or 58 */
	__u8 tos, ttl;
	__u16 at;			/* offset of the IP header in `in` */
	__u16 l4;			/* offset of the transport header; of the payload in later fragments */
	__u16 l4_bytes;			/* of the transport header that are in `in`, up to 20 */
	__u16 payload;			/* bytes of transport header and data in this packet, by the IP header */
	__u16 fragment_at;		/* offset of this fragment, bytes */
	__u8 more;			/* more fragments follow */
	__u8 dont_fragment;		/* IPv4's DF */
	__u8 has_fragment;		/* IPv6: a fragment header */
	__u8 icmp_type, icmp_code;
	__u8 query;			/* an ICMP echo request or reply */
	__u8 tcp_flags;
	__u8 spare;
	__u32 id;			/* of fragments */
	__u32 flow;			/* IPv6's flow label; 0 */
	__be32 src[4], dst[4];
	__be16 sport, dport;		/* ICMP query: both the identifier. Later fragments and others: 0 */
	__be32 rest;			/* ICMP: bytes 4 to 7 */
	__u16 csum;			/* of the transport, as stored, in host order */
	__u16 spare2;
};

/* The addresses and ports that a header gets. */
struct xlat_ends {
	__be32 src[4], dst[4];
	__be16 sport, dport;
	__u8 family;
	__u8 spare[3];
};

/*
 * explain: what was looked at, in order. Rows of steps.def: STEP(NAME, "sentence with %1 (value) "); written only
 * when `trail_max` is not 0.
 */
struct xlat_step { __u16 step; __u16 spare; __u32 value; };
#define XLAT_TRAIL_MAX 16

/*
 * Stateful: the session that is looked for or made, and what is held for it meanwhile. It is here and not on
 * the stack, since functions that are verified alone get nothing but x.
 */
struct xlat_flow {
	struct xlat_session_key key;
	__u32 bib, slot, subscriber;	/* numbers; 0: none held */
	__be32 addr4;			/* the mapping's */
	__be16 port4;
	__u8 tcp_flags;
	__u8 inbound;			/* the packet came from IPv4, or comes back by hairpinning */
	__u32 pool_slot, row;
	__u16 port_first, port_last;	/* where a port is looked for */
	__u32 block;			/* that the port was taken in: its number + 1 */
	__u32 own;			/* hairpinning: the mapping of the sender */
	__u32 state;			/* of the session to be made */
	__u32 bib_flags, bib_expires;	/* of the mapping to be made: STATIC, ALG */
	__u32 fixed;			/* its address is given */
};

struct xlat {
	__u64 env;			/* native: a struct xlat_env *; unused in BPF */
	/* The packet, from the home. */
	__u8 in[XLAT_BYTES + XLAT_SLACK];
	__u32 in_bytes;			/* min(packet_bytes, XLAT_BYTES) */
	__u32 packet_bytes;		/* of IP, as they arrived (padding of the frame included) */
	__u32 family;			/* by the frame: 4, 6 */
	__u32 flags;			/* enum xlat_flags */
	__u32 gso_bytes;
	__u32 mark, ifindex;
	__u32 now;			/* tick; set by the home from env_clock */
	__u32 bank;			/* of the configuration; set by xlat_plan from control */
	/* Found. */
	struct xlat_ip ip, inner;
	struct xlat_ends to, inner_to;	/* what the header and the inner header become */
	__u32 prefix;			/* index of the translation prefix */
	__u32 session_slot, bib;	/* numbers, for explain and trace; 0: none */
	/* Result. */
	__u32 verdict, reason;		/* enum xlat_verdict, xlat_reason */
	__u32 strip, head_bytes;	/* the edit */
	__u32 out_bytes;		/* of the IP packet after the edit; shorter than strip and head say: cut the tail */
	__u32 csum_at;			/* offset in head of the transport's checksum; 0: there is none (later fragments, SCTP) */
	/*
	 * In head the checksum is right already, for a packet whose checksum was. A home whose packets may have it partly (tc) writes the
	 * old one and adds these: ones' complement sums, host order, unfolded: of the pseudo headers, and of the rest.
	 */
	__u32 csum_pseudo, csum_rest;
	__u32 csum_payload;		/* 1: the home must add the sum of what follows head (ZERO_UDP, ERROR): then csum_at holds its start, not yet inverted */
	/* An error to be answered: ICMP of the family as it arrived. */
	__u8 error_type, error_code;
	__u16 spare;
	__u32 error_value;		/* MTU or pointer */
	__u8 head[XLAT_HEAD_BYTES];
	__u32 trail_max, trail_count;
	struct xlat_step trail[XLAT_TRAIL_MAX];
	struct xlat_flow flow;
	struct xlat_session_key ending;	/* the session to be ended */
	struct xlat_call call;		/* what xlat_call_run is asked */
	__u32 blur, spare3;
};
/* What the kernel's homes bound lengths and offsets by, so that the verifier sees it. */
_Static_assert(sizeof(struct xlat) >= offsetof(struct xlat, head) + 256, "a bound of 256 stays within the structure");

/*
 * The verifier follows the values of what a loop carries from turn to turn, and two ways through each turn are 2^n ways through the
 * loop. What comes out of memory it does not know: so all turns look alike, and it stops at the second.
 */
#ifdef __bpf__
#define XLAT_BLUR(x, v) (XLAT_WRITE((x)->blur, v), (v) = XLAT_READ((x)->blur))
#else
#define XLAT_BLUR(x, v) ((void)0)
#endif

/* Random numbers of a test (control.random_fixed): the same in all homes. splitmix64, the upper half. */
XLAT_INLINE __u32 xlat_random_step(__u64 *state)
{
	__u64 v = *state += 0x9e3779b97f4a7c15u;

	v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9u;
	v = (v ^ v >> 27) * 0x94d049bb133111ebu;
	return (__u32)(v >> 32);
}

enum xlat_step_id {
#define STEP(name, ...) XLAT_S_##name,
#include "nat64/core/steps.def"
#undef STEP
	XLAT_STEPS
};

XLAT_INLINE void xlat_step(struct xlat *x, enum xlat_step_id step, __u32 value)
{
	__u32 n = x->trail_count;

	if (likely(x->trail_max == 0) || n >= XLAT_TRAIL_MAX)
		return;
	x->trail[n & (XLAT_TRAIL_MAX - 1)] = (struct xlat_step){ .step = (__u16)step, .value = value };
	x->trail_count = n + 1;
}

/* All verdicts are set here, so that `return xlat_drop(x, XLAT_R_...)` reads well. Returns the verdict. */
XLAT_INLINE int xlat_say(struct xlat *x, enum xlat_verdict verdict, enum xlat_reason reason)
{
	x->verdict = verdict;
	x->reason = reason;
	return (int)verdict;
}

XLAT_INLINE int xlat_drop(struct xlat *x, enum xlat_reason reason)
{
	return xlat_say(x, XLAT_DROP, reason);
}

/* Not ours: to the host. Returns not 0 (the verdict PASS is): `return xlat_pass(x, ...)` ends a step as the others do. */
XLAT_INLINE int xlat_pass(struct xlat *x, enum xlat_reason reason)
{
	x->verdict = XLAT_PASS;
	x->reason = reason;
	return -1;
}

/* Drop and answer; build.h makes the edit. Whether an answer is allowed at all (never about ICMP errors, ...) is judged there. */
XLAT_INLINE int xlat_answer(struct xlat *x, enum xlat_reason reason, __u8 type, __u8 code, __u32 value)
{
	x->error_type = type;
	x->error_code = code;
	x->error_value = value;
	return xlat_say(x, XLAT_ERROR, reason);
}
