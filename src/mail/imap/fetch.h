/*
 * What a FETCH asks for (RFC 9051 §6.4.5; RFC 3501 for RFC822*; RFC 3516 BINARY; RFC 7162
 * MODSEQ; RFC 8474 EMAILID and THREADID).
 */
#pragma once
#include "mail/imap/lex.h"
#include "mail/message/section.h"

enum fetch_kind {
	FETCH_UID = 1,
	FETCH_FLAGS,
	FETCH_INTERNALDATE,
	FETCH_RFC822_SIZE,
	FETCH_ENVELOPE,
	FETCH_BODY,			/* BODY without brackets: no extension data */
	FETCH_BODYSTRUCTURE,
	FETCH_SECTION,			/* BODY[...] and BODY.PEEK[...] */
	FETCH_RFC822,			/* as BODY[], named RFC822 in the answer */
	FETCH_RFC822_HEADER,		/* as BODY.PEEK[HEADER] */
	FETCH_RFC822_TEXT,		/* as BODY[TEXT] */
	FETCH_BINARY,
	FETCH_BINARY_SIZE,
	FETCH_MODSEQ,
	FETCH_EMAILID,
	FETCH_THREADID,
};

struct fetch_item {
	enum fetch_kind kind;
	bool peek;			/* does not set \Seen */
	struct section section;
	bool partial;
	uint64_t offset, length;	/* length >= 1 when partial */
};

struct fetch_program {
	struct fetch_item *items;
	size_t count;
	bool sets_seen;			/* some item is a body without PEEK */
	bool needs_body;		/* some item wants more than summary, flags and dates */
	bool changedsince;		/* RFC 7162 §3.1.4 */
	bool vanished;			/* RFC 7162 §3.2.6 */
	uint64_t since;
};

/* fetch-att, a macro, or a list, then the modifiers in parentheses; up to the end of the text. */
void fetch_parse(struct imap_lex *l, struct fetch_program *out);
/* The item's name in an answer: "BODY[1.HEADER.FIELDS (Subject)]<0>". */
void fetch_write_name(const struct fetch_item *item, struct buf *out);
/* Is there an item of this kind? */
bool fetch_wants(const struct fetch_program *p, enum fetch_kind kind);
