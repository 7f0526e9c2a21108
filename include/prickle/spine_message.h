/*
 * Active Messages between host programs, extensions and the network: one 64-byte slot everywhere, in
 * rings, in calls and on the wire. Shared by extensions (prickle/spine.h) and hosts (prickle/libspine.h).
 */
#pragma once
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#ifdef __cplusplus
#define SPINE_STATIC_ASSERT static_assert
#else
#define SPINE_STATIC_ASSERT _Static_assert
#endif

enum spine_message_kind {
	SPINE_MESSAGE_CALL = 1,		/* wants a reply in place */
	SPINE_MESSAGE_POST = 2,		/* wants none */
	SPINE_MESSAGE_REPLY = 3,
	SPINE_MESSAGE_ERROR = 4,	/* args begin with a negative errno, __s32 */
	SPINE_MESSAGE_MEDIUM = 5,	/* args begin with a struct spine_medium */
	SPINE_MESSAGE_BULK = 6,		/* args begin with a struct spine_bulk */
};

#define SPINE_ARGS_BYTES 48

/*
 * Labels of senders. The runtime writes a channel's label when it hands the channel out; whoever sends over
 * the network gets one with this bit, made from its source address, which anybody can forge.
 */
#define SPINE_SENDER_NETWORK (1ull << 63)

/* Between devices, a frame of this type holds an Ethernet header and one slot (IEEE 802, local experiments). */
#define SPINE_ETHERTYPE 0x88b5

/*
 * A slot. On the wire its numbers are little-endian; those in args are what sender and handler agreed
 * on. A message with MEDIUM or BULK counts as a call or as a post by the way on which it came.
 */
struct spine_message {
	__u16 handler;
	__u8 kind;			/* enum spine_message_kind */
	__u8 length;			/* of args that count */
	__u32 seq;			/* of the sender; a reply has that of its call */
	__u64 sender;			/* label; set by the receiver's channel, never believed from the message */
	__u8 args[SPINE_ARGS_BYTES];
};
SPINE_STATIC_ASSERT(sizeof(struct spine_message) == 64, "slots are cache lines");

/* Bytes in one of the channel's medium buffers. */
#define SPINE_MEDIUM_BYTES 2048
struct spine_medium {
	__u32 buffer, length;
};

/* Bytes in a region that both sides know. */
struct spine_bulk {
	__u32 region, length;
	__u64 offset;
};
