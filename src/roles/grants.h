/*
 * The grant messages between auth and store, on their own channel.
 *
 * Auth is the client. Its engine calls (engine/remote.h) run over the same channel, so the types
 * here stand at the top of the range. The store:
 *  - keeps a table of grants by id, at most GRANTS_MAX, and forgets each when its lifetime ends;
 *  - obeys these types on the channel to auth only; elsewhere they end the channel;
 *  - keeps the grants of a front or mx instance when its channel closes: auth sees that too and
 *    revokes them by id (a new instance may have new ones before the store sees its channel);
 *  - keeps all grants when auth restarts: the new auth asks for them with GRANTS_MSG_LIST, so that
 *    sessions go on and revocation still works;
 *  - has none after its own restart: auth sends all live ones on the new channel. Until they came,
 *    other channels get ENGINE_UNAVAILABLE rather than ENGINE_DENIED for an unknown id (auth sends
 *    GRANTS_MSG_SYNCED after the last one).
 */
#pragma once
#include "base/buf.h"
#include "mail/auth/grant.h"

#define GRANTS_MAX	    200000u	/* 100,000 sessions and as many open deliveries; about 20 MB */
#define GRANTS_PER_MESSAGE  1000u	/* of a list or a batch: about 51 KB */

enum grants_message {
	/*
	 * Request. Payload: 1..GRANTS_PER_MESSAGE grants, one after the other. The store adds each, or
	 * replaces the one with the same id (renewed lifetime; bytes written so far stay counted).
	 * Reply: u8 enum grants_status.
	 */
	GRANTS_MSG_ADD = 0xe0,
	/*
	 * Request. Payload: ids, 16 bytes each. Unknown ones are fine. After the reply no operation
	 * that quotes them begins. Reply: u8 enum grants_status.
	 */
	GRANTS_MSG_REVOKE = 0xe1,
	/*
	 * Request. Payload: be64 cursor, 0 at first. Reply: be64 next cursor (0: that was all), then up to
	 * GRANTS_PER_MESSAGE grants with their remaining lifetimes. Grants that end meanwhile may be missing.
	 */
	GRANTS_MSG_LIST = 0xe2,
	/* Request, no payload: all live grants were sent. Reply: u8 enum grants_status. */
	GRANTS_MSG_SYNCED = 0xe3,
	/*
	 * Request. Payload: an account, 16 characters, which has no user any more. Its grants are void and all
	 * its objects are removed. The reply may take minutes: u8 enum grants_status; GRANTS_AGAIN: some
	 * are left, ask again.
	 */
	GRANTS_MSG_REMOVE = 0xe4,
};

enum grants_status {
	GRANTS_OK,
	GRANTS_FULL,			/* the table has GRANTS_MAX; none of this message was taken */
	GRANTS_MALFORMED,		/* none of this message was taken */
	GRANTS_AGAIN,			/* not finished */
};

/* Append one grant: 51 bytes. Look at out->err. */
void grants_encode(struct buf *out, const struct grant *g);

enum grants_decode {
	GRANTS_DECODED,
	GRANTS_END,			/* nothing is left */
	GRANTS_BAD,			/* too short, unknown rights, no account id: refuse the message */
};
struct reader;
/* Take the next grant from r; *out is written on GRANTS_DECODED only. */
enum grants_decode grants_decode(struct reader *r, struct grant *out);
