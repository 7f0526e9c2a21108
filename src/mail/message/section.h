/*
 * IMAP sections: "", "HEADER", "TEXT", "1.2", "1.2.MIME", "HEADER.FIELDS (A B)" (RFC 9051 §6.4.5) to the byte
 * ranges of the message that they name.
 */
#pragma once
#include "base/arena.h"
#include "mail/message/mime.h"

enum section_kind {
	SECTION_ALL,			/* BODY[] */
	SECTION_PART,			/* BODY[1.2] */
	SECTION_HEADER, SECTION_TEXT, SECTION_MIME,
	SECTION_FIELDS,			/* HEADER.FIELDS (names) */
	SECTION_FIELDS_NOT,
};

struct section {
	enum section_kind kind;
	uint32_t depth;			/* count of numbers */
	uint32_t *numbers;		/* each >= 1 */
	struct slice *names;		/* SECTION_FIELDS*: unquoted */
	size_t name_count;
};

enum section_result {
	SECTION_OK,
	SECTION_BAD_SYNTAX,		/* the session answers BAD */
	SECTION_NO_SUCH_PART,		/* FETCH shows "" for BODY[..], NIL for BINARY[..] */
	SECTION_UNKNOWN_ENCODING,	/* BINARY: NO [UNKNOWN-CTE] (RFC 9051 §7.1) */
	SECTION_FULL,			/* the arena is full: NO */
};

struct section_range {
	uint64_t at, bytes;		/* in the message */
	const struct mime_part *part;	/* what it belongs to */
};

/* Parse the text between the brackets, quoted names included (literals: use the fields of struct section). */
MUST_USE enum section_result section_parse(struct arena *arena, struct slice text, struct section *out);
/*
 * The range of a section. For SECTION_FIELDS* it is the whole header: fetch it, then header_select. part "1" of a
 * message that is no multipart is its body. O(depth + siblings).
 */
MUST_USE enum section_result section_find(const struct mime *mime, const struct section *section,
					  struct section_range *out);
/*
 * BINARY[part] (RFC 3516, RFC 9051 §6.4.5): the range and how to decode it (transfer.h); SECTION_UNKNOWN_ENCODING when we
 * cannot. Only SECTION_ALL and SECTION_PART. Decoded size: feed the range through transfer.h and count.
 */
MUST_USE enum section_result section_binary(const struct mime *mime, const struct section *section,
					    struct section_range *out, enum mime_encoding *encoding);
