/*
 * What all of the mailbox layer talks about: identifiers, flags, results, messages.
 *
 * A message is its email id (16 random-looking bytes, RFC 8474 EMAILID): copies and moves
 * inside an account share it, the bytes are stored once. A folder is its number, which is
 * never used again in the account; its name is only an attribute.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/slice.h"

#define ACCOUNT_ID_BYTES	16u	/* lowercase hex digits, without NUL */
#define EMAIL_ID_BYTES		16u
#define FOLDER_INBOX		1u	/* number of the folder that every account has */
#define FOLDER_NONE		0u

#define LIMITS_FILE "mail/mailbox/limits.def"
#include "base/limits.h"

/* Flags that RFC 9051 §2.3.2 defines. \Recent is not stored: see mailbox_recent. */
enum message_flag {
	FLAG_SEEN = 1 << 0,
	FLAG_ANSWERED = 1 << 1,
	FLAG_FLAGGED = 1 << 2,
	FLAG_DELETED = 1 << 3,
	FLAG_DRAFT = 1 << 4,
};
#define FLAGS_ALL 0x1fu

/* RFC 6154 §2, one bit each. */
enum special_use {
	USE_ALL = 1 << 0,
	USE_ARCHIVE = 1 << 1,
	USE_DRAFTS = 1 << 2,
	USE_FLAGGED = 1 << 3,
	USE_JUNK = 1 << 4,
	USE_SENT = 1 << 5,
	USE_TRASH = 1 << 6,
	USE_IMPORTANT = 1 << 7,	/* RFC 8457 */
};

enum mailbox_result {
	MAILBOX_OK,
	MAILBOX_NO_FOLDER,	/* NO [NONEXISTENT], for APPEND/COPY/MOVE [TRYCREATE] */
	MAILBOX_EXISTS,		/* NO [ALREADYEXISTS] */
	MAILBOX_CANNOT,		/* NO [CANNOT]: INBOX deleted, a name that is not allowed */
	MAILBOX_USE_TAKEN,	/* NO [USEATTR]: another folder has this special use */
	MAILBOX_OVERQUOTA,	/* NO [OVERQUOTA] */
	MAILBOX_LIMIT,		/* NO [LIMIT]: one of the maxima above */
	MAILBOX_EXPUNGED,	/* this message is gone: NO [EXPUNGEISSUED] */
	MAILBOX_READ_ONLY,	/* the folder was examined: NO [READ-ONLY] */
	MAILBOX_FULL,		/* the disk has no room: 452, NO [UNAVAILABLE] */
	MAILBOX_UNAVAILABLE,	/* store away: 451, NO [UNAVAILABLE]; the change may have been made */
	MAILBOX_DAMAGED,	/* stored bytes fail their checksum: NO [SERVERBUG], fsck names them */
	MAILBOX_DENIED,		/* the grant does not allow it, or ended */
	MAILBOX_MEMORY,		/* out of memory, or above the arena's limit: NO [LIMIT] */
	MAILBOX_RACE,		/* inside the layer only: another commit was first */
};

/* "no-folder", ... for logs. */
const char *mailbox_result_name(enum mailbox_result r);

/*
 * What a FETCH without the body needs; also the row of a folder's table in memory, hence the
 * order of the fields: 64 bytes. fragment, offset and bucket say where the bytes are; only
 * this layer looks at them. Bodies above 1 MiB are streams.
 */
struct message_info {
	uint32_t uid;
	uint32_t size;			/* RFC822.SIZE, bytes */
	uint64_t modseq;
	uint64_t keywords;		/* bits: see account_keywords */
	int64_t internaldate_s;		/* seconds since 1970, UTC */
	uint8_t email_id[EMAIL_ID_BYTES];
	uint32_t fragment;
	uint32_t offset;		/* the highest bit says stream: the fragment holds a marker */
	uint32_t savedate_s;		/* RFC 8514; whole seconds since 1970 */
	int16_t tz_minutes;		/* zone that INTERNALDATE is shown in, east positive */
	uint8_t flags;			/* enum message_flag */
	uint8_t bucket;
};
_Static_assert(sizeof(struct message_info) == 64, "ten thousand messages stay in a cache");

/* Sorted, disjoint, non-adjacent ranges of UIDs, as in VANISHED answers and UID sets. */
struct uid_range {
	uint32_t first, last;
};
struct uid_ranges {
	const struct uid_range *ranges;
	size_t count;
};
