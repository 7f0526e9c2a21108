/*
 * Active Messages between host programs, extensions and the network: one 64-byte slot everywhere, in
 * rings, in calls and on the wire. Shared by extensions (prickle/spine.h) and hosts (prickle/libspine.h).
 */
#pragma once
#include <linux/types.h>

enum spine_message_kind {
	SPINE_MESSAGE_CALL = 1,		/* wants a reply in place */
	SPINE_MESSAGE_POST = 2,		/* wants none */
	SPINE_MESSAGE_REPLY = 3,
	SPINE_MESSAGE_ERROR = 4,	/* args begin with a negative errno, __s32 */
	SPINE_MESSAGE_MEDIUM = 5,	/* args name bytes in the channel's medium buffers, up to 2 KiB */
	SPINE_MESSAGE_BULK = 6,		/* args are a struct spine_bulk */
};

#define SPINE_ARGS_BYTES 48

struct spine_message {
	__u16 handler;
	__u8 kind;			/* enum spine_message_kind */
	__u8 length;			/* of args that count */
	__u32 seq;			/* of the sender; a reply has that of its call */
	__u64 sender;			/* label; set by the receiver's channel, never believed from the message */
	__u8 args[SPINE_ARGS_BYTES];
};
_Static_assert(sizeof(struct spine_message) == 64, "slots are cache lines");

/* Bytes in a region that both sides know. */
struct spine_bulk {
	__u32 region, length;
	__u64 offset;
};
