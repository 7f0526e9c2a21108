/*
 * A grant: "this process may do this to that account until then".
 *
 * Auth makes grants and tells the store; mx, front and queue quote the 16-byte id with each engine
 * call. The id is random, so it cannot be guessed, and it is good on one channel only, so a stolen
 * one is worth nothing elsewhere. The messages are in roles/grants.h.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define GRANT_ID_BYTES	    16u
#define GRANT_ACCOUNT_CHARS 16u		/* lower-case hexadecimal digits */

/* What it opens. A grant may have several bits. */
enum grant_rights {
	GRANT_READ = 1u << 0,		/* read a.<account>, i., f. and b. objects of the account; watch its head */
	GRANT_WRITE = 1u << 1,		/* change them; lease names that begin with them */
	/*
	 * Deliver: read head keys that start with "frag", stat and append to f. and b. objects of the
	 * account, notify its head; at most append_bytes_max bytes written in all.
	 */
	GRANT_APPEND = 1u << 2,
	GRANT_DIRECTORY = 1u << 3,	/* u.*; and key "h" of any head, read only. Auth's own channel has it. */
	GRANT_QUEUE = 1u << 4,		/* q.* and b.*. The queue's own channel has it. */
	/*
	 * Given because of a list of rights (RFC 4314) to somebody else than the owner. It opens nothing by itself: it tells which grants end when
	 * a list changes.
	 */
	GRANT_SHARED = 1u << 5,
	GRANT_RIGHTS_ALL = (1u << 6) - 1,
};

struct grant {
	uint8_t id[GRANT_ID_BYTES];
	char account[GRANT_ACCOUNT_CHARS + 1];
	uint32_t rights;		/* of enum grant_rights */
	uint8_t role;			/* enum role_id of the process that may quote it */
	uint16_t instance;		/* and its instance */
	uint32_t lifetime_s;		/* from the moment the message is read; never 0 */
	uint64_t append_bytes_max;	/* GRANT_APPEND: bytes in all; else 0 */
};
