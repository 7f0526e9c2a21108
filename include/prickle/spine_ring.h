/*
 * The memory that an extension and a host program share: rings of 64-byte slots in memory-mapped array
 * maps. Included by extensions (prickle/spine.h) and by libprickle-spine; applications do not need it.
 *
 * Why array maps and no arena or ring buffer: both sides store directly, which costs nothing but the store, and every
 * kernel since 5.5 has them. The price is that nobody stands between the two, so
 *
 *	- neither believes the other: counters are masked or compared before they become an index, a slot is
 *	  copied before it is looked at, and a nonsense counter costs messages, never more;
 *	- a ring has one writer and one reader. Hence an inbox for each channel, an outbox ring for each
 *	  processor, and a second one for each processor for the code that packets may interrupt.
 *
 * Counters run freely and wrap at 2^32; a slot's place is counter modulo slots. A line written by
 * one side holds nothing that the other writes.
 *
 * Maps of these names in an object are known to the loader (what it must do is told at SPINE_HANDLERS):
 */
#pragma once
#include <prickle/spine_message.h>

#define SPINE_MAP_INBOX	   "spine_inbox"	/* array, mapped, 1 x struct spine_inbox; each channel its own */
#define SPINE_MAP_CHANNEL  "spine_channel"	/* array, 1 x struct spine_channel_state; each channel its own, never handed out */
#define SPINE_MAP_REGION   "spine_region"	/* array, mapped, 1 x bytes; each channel its own */
#define SPINE_MAP_OUTBOX   "spine_outbox"	/* array, mapped, 2 x possible processors x struct spine_outbox; channel 0's */
#define SPINE_MAP_DOORBELL "spine_doorbell"	/* ring buffer, one page; channel 0's */
#define SPINE_MAP_SOCKETS  "spine_sockets"	/* xskmap by receive queue */

#define SPINE_INBOX_SLOTS   256u	/* powers of two, all */
#define SPINE_INBOX_MEDIUM  16u
#define SPINE_OUTBOX_SLOTS  256u
#define SPINE_OUTBOX_MEDIUM 8u

/* Host to extension. */
struct spine_inbox {
	__u32 head;			/* of the host: slots filled */
	__u32 host_spare[15];
	__u32 tail;			/* of the extension: slots taken */
	__u32 busy;			/* a drain is at work */
	__u32 extension_spare[14];
	struct spine_message slot[SPINE_INBOX_SLOTS];
	__u8 medium[SPINE_INBOX_MEDIUM][SPINE_MEDIUM_BYTES];
};
SPINE_STATIC_ASSERT(sizeof(struct spine_inbox) == 128 + 256 * 64 + 16 * 2048, "both sides map it");

/* Extension to host. Ring 2 x cpu is written by packet code, ring 2 x cpu + 1 by handlers. */
struct spine_outbox {
	__u32 head;			/* of the extension: slots filled */
	__u32 medium_head;
	__u64 lost;			/* posts that found no room */
	__u32 busy;			/* second kind of ring: a handler is writing */
	__u32 extension_spare[11];
	__u32 tail;			/* of the host: slots taken */
	__u32 medium_tail;
	__u32 asleep;			/* the host waits for the doorbell; whoever rings it clears this */
	__u32 host_spare[13];
	struct spine_message slot[SPINE_OUTBOX_SLOTS];
	__u8 medium[SPINE_OUTBOX_MEDIUM][SPINE_MEDIUM_BYTES];
};
SPINE_STATIC_ASSERT(sizeof(struct spine_outbox) == 128 + 256 * 64 + 8 * 2048, "both sides map it");

/* What the runtime says about a channel, and what went over it. Not mapped by applications. */
struct spine_channel_state {
	__u64 sender;			/* label: channel number + 1 unless the runtime sets another */
	__u64 calls, posts;
	__u64 unknown;			/* no handler of that number */
	__u64 malformed;		/* wrong kind or length */
	__u64 refused;			/* the handler returned an error */
	__u64 spare[2];
};
SPINE_STATIC_ASSERT(sizeof(struct spine_channel_state) == 64, "the runtime writes it");
