/*
 * The structure of a message (RFC 5322, 2045-2047, 2183, 2231, 6532), parsed once, in one
 * pass, while it arrives.
 *
 * The parser keeps offsets and what header fields say, never bodies, so a message of 50 MiB costs the
 * memory of its structure. It never fails on bytes: over a limit, or where the structure is ambiguous, a
 * part stays one opaque piece and is flagged. Boundaries match by prefix, longest first (RFC 2046
 * §5.1.1). The line end before a boundary belongs to the boundary. Lines end at LF, with or without CR.
 */
#pragma once
#include "base/arena.h"
#include "mail/message/envelope.h"
#include "mail/message/limits.h"

enum mime_kind {
	MIME_LEAF,
	MIME_MULTIPART,			/* children are its parts; none when no boundary was found */
	MIME_MESSAGE,			/* message/rfc822 or message/global: exactly one child */
};

enum mime_flag {
	MIME_TEXT = 1,			/* text/..., given or by default */
	MIME_DIGEST = 2,		/* multipart/digest: parts without type are messages */
	MIME_TRUNCATED = 4,		/* structure below was not parsed: a limit */
	MIME_HEADER_CUT = 8,		/* part of the header was over MIME_HEADER_BYTES_MAX and ignored */
	MIME_GLOBAL = 16,		/* message/global (RFC 6532) */
};

enum mime_encoding {
	MIME_7BIT, MIME_8BIT, MIME_BINARY, MIME_QUOTED_PRINTABLE, MIME_BASE64,
	MIME_UNKNOWN_ENCODING,		/* BINARY answers NO [UNKNOWN-CTE] */
};

struct mime_param {
	struct slice name, value;	/* RFC 2231 pieces are joined; "name*" when the value is encoded */
};

/* All slices point into the tree's arena; ptr NULL means that the field is absent. */
struct mime_part {
	struct mime_part *parent, *children, *next;
	uint64_t header_at, header_bytes;	/* offsets in the message; the blank line is included */
	uint64_t body_at, body_bytes;
	uint32_t header_lines, body_lines;	/* count of LF inside */
	uint8_t kind;			/* enum mime_kind */
	uint8_t encoding_kind;		/* enum mime_encoding */
	uint16_t flags;			/* enum mime_flag */
	uint32_t type_param_count, disposition_param_count, language_count;
	struct slice type, subtype;	/* as written; absent means text/plain (or message/rfc822 in a digest) */
	struct slice encoding, disposition, id, description, md5, location;
	const struct mime_param *type_params, *disposition_params;
	const struct slice *languages;
	const struct envelope *envelope;	/* of the root and of each MIME_MESSAGE's child; else NULL */
};

struct mime {
	struct mime_part *root;		/* never NULL */
	uint64_t size;			/* bytes of the message */
	uint32_t part_count;
	bool truncated;			/* some part has MIME_TRUNCATED or MIME_HEADER_CUT */
};

/* How much of an arena one tree may take, and a parser beside it. */
#define MIME_ARENA_BYTES ((size_t)MIME_KEPT_BYTES_MAX + (1u << 20))

struct mime_stream;
/*
 * Parse while the message arrives: new, feed any number of times, end. All memory is in the arena, which
 * should have MIME_ARENA_BYTES of room; NULL when it has none at all. About 1 ns per body byte.
 */
MUST_USE struct mime_stream *mime_stream_new(struct arena *arena);
void mime_stream_feed(struct mime_stream *s, struct slice chunk);
/* The tree; s is done. The tree lives as long as the arena. */
const struct mime *mime_stream_end(struct mime_stream *s);

/* The whole message at once. NULL only when the arena has no room for an empty tree. */
const struct mime *mime_parse(struct arena *arena, struct slice message);

/* Value of a Content-Type parameter, or {NULL, 0}. name in lower case; "name*" is found as "name*". */
struct slice mime_type_param(const struct mime_part *part, const char *name);
/* The part is type/subtype (defaults applied). */
bool mime_is(const struct mime_part *part, const char *type, const char *subtype);
/* The part after this one in the order of the message, within root; NULL at the end. Root: start. */
const struct mime_part *mime_walk(const struct mime_part *root, const struct mime_part *at);
