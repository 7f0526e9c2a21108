/*
 * Search programs of SEARCH, SORT and THREAD (RFC 9051 §6.4.4, RFC 3501 §6.4.4, RFC 5032
 * WITHIN, RFC 7162 MODSEQ, RFC 8474 EMAILID/THREADID) as a tree.
 *
 * Not here: looking at messages. Depth and number of keys are bounded, because the evaluation
 * walks the tree for each message, recursively.
 */
#pragma once
#include "mail/imap/lex.h"

enum search_op {
	SEARCH_ALL = 1,
	SEARCH_AND,			/* children */
	SEARCH_OR,			/* two children */
	SEARCH_NOT,			/* one child */
	SEARCH_SEQ,			/* set: message numbers */
	SEARCH_UID,			/* set */
	SEARCH_FLAG,			/* number: the bit of message_flag order: see search_flag */
	SEARCH_KEYWORD,			/* text */
	SEARCH_RECENT,
	SEARCH_BEFORE, SEARCH_ON, SEARCH_SINCE,			/* value: days since 1970 */
	SEARCH_SENTBEFORE, SEARCH_SENTON, SEARCH_SENTSINCE,
	SEARCH_OLDER, SEARCH_YOUNGER,	/* value: seconds */
	SEARCH_LARGER, SEARCH_SMALLER,	/* value: bytes */
	SEARCH_HEADER,			/* name, text */
	SEARCH_ADDRESS,			/* name ("from", "to", "cc", "bcc"), text */
	SEARCH_SUBJECT,			/* text */
	SEARCH_BODY, SEARCH_TEXT,	/* text */
	SEARCH_MODSEQ,			/* value */
	SEARCH_EMAILID, SEARCH_THREADID,	/* text */
};

/* Bits as in RFC 9051 §2.3.2's order; the session maps them to its own. */
enum search_flag {
	SEARCH_SEEN, SEARCH_ANSWERED, SEARCH_FLAGGED, SEARCH_DELETED, SEARCH_DRAFT,
};

struct search_key {
	enum search_op op;
	enum search_flag flag;
	struct search_key *children, *next;
	struct seqset set;
	struct slice name, text;	/* text in the client's charset until the session converts it */
	int64_t value;
	size_t index;			/* number of this key, 0 .. program.key_count-1 */
};

enum search_return {
	RETURN_MIN = 1, RETURN_MAX = 2, RETURN_ALL = 4, RETURN_COUNT = 8, RETURN_SAVE = 16,
};

struct search_program {
	struct search_key *root;	/* SEARCH_AND of the keys */
	size_t key_count;
	bool extended;			/* RETURN was there: answer with ESEARCH */
	uint8_t returns;		/* enum search_return; "RETURN ()" is RETURN_ALL */
	struct slice charset;		/* empty: none was given */
	bool modseq;			/* MODSEQ is used: answers carry the highest (RFC 7162 §3.1.5) */
	bool needs_envelope;		/* reads headers */
	bool needs_body;
};

/* What message sets mean in the selected mailbox. */
struct search_stars {
	uint32_t seq, uid;
};

/* [RETURN (...) SP] of SEARCH. */
void search_parse_return(struct imap_lex *l, struct search_program *p);
/* [CHARSET astring SP] search-key *(SP search-key), up to the end of the text. */
void search_parse(struct imap_lex *l, struct search_stars stars, bool charset_in_front,
		  struct search_program *p);
