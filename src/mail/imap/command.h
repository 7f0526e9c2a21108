/*
 * IMAP commands: from bytes to structs (RFC 9051 §6 and §9, RFC 3501 and the extensions that
 * capability.c lists).
 *
 * Two steps. imap_assembly puts a command's lines and literals together into one text,
 * "a1 LOGIN {3}\r\nann {2}\r\npw", and says when a literal is to be read and whether the
 * client waits for "+". imap_parse then reads the whole text at once. APPEND is the
 * exception: its messages are never in memory; imap_parse_append reads what stands before
 * each of them.
 */
#pragma once
#include "mail/imap/fetch.h"
#include "mail/imap/limits.h"
#include "mail/imap/rights.h"
#include "mail/imap/search.h"

/* ---- assembly ---- */

struct imap_literal {
	uint64_t bytes;
	bool waits;			/* synchronizing: send "+ ..." first (RFC 9051 §4.3) */
	bool binary;			/* literal8, "~{" (RFC 3516 §4.2) */
};

enum imap_assembled {
	IMAP_COMPLETE,			/* parse the text */
	IMAP_LITERAL,			/* *literal bytes follow; then the next line */
	IMAP_APPEND_LITERAL,		/* the same, but it is a message of APPEND: leave it out of the text */
	IMAP_LITERAL_TOO_BIG,		/* over the limits: BAD, and what RFC 7888 §4 says */
	IMAP_COMMAND_TOO_BIG,		/* BAD [TOOBIG] */
};

/*
 * Add a line without its CRLF. text holds what was assembled so far (empty at the start); the caller
 * appends the literal's bytes to it. max: bytes of the whole command. The text up to an
 * IMAP_APPEND_LITERAL ends with the literal's "{n}".
 */
enum imap_assembled imap_assemble(struct buf *text, struct slice line, size_t max,
				  struct imap_literal *literal);

/* ---- commands ---- */

enum imap_name {
	IMAP_CAPABILITY = 1, IMAP_NOOP, IMAP_LOGOUT,
	IMAP_STARTTLS, IMAP_AUTHENTICATE, IMAP_LOGIN,
	IMAP_ENABLE, IMAP_SELECT, IMAP_EXAMINE, IMAP_CREATE, IMAP_DELETE, IMAP_RENAME,
	IMAP_SUBSCRIBE, IMAP_UNSUBSCRIBE, IMAP_LIST, IMAP_LSUB, IMAP_NAMESPACE, IMAP_STATUS,
	IMAP_APPEND, IMAP_IDLE, IMAP_ID, IMAP_GETQUOTA, IMAP_GETQUOTAROOT, IMAP_SETQUOTA,
	IMAP_SETACL, IMAP_DELETEACL, IMAP_GETACL, IMAP_LISTRIGHTS, IMAP_MYRIGHTS,
	IMAP_CHECK, IMAP_CLOSE, IMAP_UNSELECT, IMAP_EXPUNGE, IMAP_SEARCH, IMAP_SORT, IMAP_THREAD,
	IMAP_FETCH, IMAP_STORE, IMAP_COPY, IMAP_MOVE,
};
#define IMAP_COMMANDS (IMAP_MOVE + 1)

/* In which states a command is allowed (RFC 9051 §3), as bits. */
enum imap_state {
	IMAP_NOT_AUTHENTICATED = 1,
	IMAP_AUTHENTICATED = 2,
	IMAP_SELECTED = 4,
};

enum list_select {			/* RFC 5258 §3.1, RFC 6154 §3 */
	LIST_SUBSCRIBED = 1, LIST_REMOTE = 2, LIST_RECURSIVEMATCH = 4, LIST_SPECIAL_USE = 8,
};
enum list_return {			/* RFC 5258 §3.2, RFC 5819, RFC 6154 */
	LIST_RETURN_SUBSCRIBED = 1, LIST_RETURN_CHILDREN = 2, LIST_RETURN_SPECIAL_USE = 4,
	LIST_RETURN_STATUS = 8,
};
enum status_item {
	STATUS_MESSAGES = 1, STATUS_RECENT = 2, STATUS_UIDNEXT = 4, STATUS_UIDVALIDITY = 8,
	STATUS_UNSEEN = 16, STATUS_DELETED = 32, STATUS_SIZE = 64, STATUS_HIGHESTMODSEQ = 128,
	STATUS_MAILBOXID = 256, STATUS_APPENDLIMIT = 512, STATUS_DELETED_STORAGE = 1024,
};

struct flag_list {
	struct slice *flags;		/* as written, "\\Seen" or "$Junk" */
	size_t count;
};

struct imap_command {
	struct slice tag;
	enum imap_name name;
	bool uid;			/* "UID FETCH" and so on */
	struct slice mailbox;		/* UTF-8; INBOX in capitals */
	union {
		struct { struct slice user, password; } login;
		struct { struct slice mechanism, initial; bool has_initial; } authenticate;
		struct { struct slice *names; size_t count; } enable;
		struct {
			bool condstore;
			bool qresync;	/* RFC 7162 §3.2.5 */
			uint32_t uidvalidity;
			uint64_t modseq;
			bool has_known;
			struct seqset known_uids, match_seqs, match_uids;
		} select;
		struct { struct slice use; uint8_t uses; bool has_use; } create;
		struct { struct slice to; } rename;
		struct { struct slice identifier; struct imap_rights_change rights; } acl;	/* as written; SETACL has rights */
		struct {
			bool extended;		/* options or several patterns: RFC 5258 rules */
			struct slice reference;
			struct slice *patterns;
			size_t pattern_count;
			uint8_t select;		/* enum list_select */
			uint8_t returns;	/* enum list_return */
			uint16_t status;	/* enum status_item */
		} list;
		struct { uint16_t items; } status;
		struct { struct slice *pairs; size_t count; } id;	/* name, value, name, ... */
		struct { struct seqset set; struct fetch_program program; } fetch;
		struct {
			struct seqset set;
			int mode;		/* 0, '+', '-' */
			bool silent;
			bool has_unchangedsince;
			uint64_t unchangedsince;
			struct flag_list flags;
		} store;
		struct { struct seqset set; } copy;	/* COPY, MOVE, UID EXPUNGE */
		struct {
			struct search_program program;
			uint8_t sort[IMAP_SORT_KEYS_MAX + 1];	/* SORT: enum sort_key, ended by 0 */
			bool references;	/* THREAD: REFERENCES, else ORDEREDSUBJECT */
		} search;
	};
};

/* What a parse depends on. */
struct imap_parse_context {
	struct search_stars stars;	/* of the selected mailbox; 0 when it is empty */
	bool utf8;			/* names and quoted strings are UTF-8 (rev2, UTF8=ACCEPT) */
	unsigned state;			/* enum imap_state */
};

enum imap_parsed {
	IMAP_PARSED,
	IMAP_NO_TAG,			/* "* BAD": what came has no tag */
	IMAP_UNKNOWN,			/* tagged BAD */
	IMAP_WRONG_STATE,		/* tagged BAD */
	IMAP_BAD_SYNTAX,		/* tagged BAD, *why */
	IMAP_TOO_MUCH,			/* NO [LIMIT], *why: a limit of limits.def */
	IMAP_BAD_NAME,			/* NO [CANNOT]: the mailbox name is not modified UTF-7 or UTF-8 */
	IMAP_BAD_MAILBOX_USE,		/* NO [USEATTR] (RFC 6154 §3): unknown special use */
};

/*
 * Parse an assembled command. Everything in *out borrows from text and arena. out->tag is
 * set for each result but IMAP_NO_TAG; *why (a fixed text) unless IMAP_PARSED. O(bytes),
 * sets O(n log n).
 */
MUST_USE enum imap_parsed imap_parse(struct arena *arena, struct slice text,
				     const struct imap_parse_context *context,
				     struct imap_command *out, const char **why);

/* Tag and name alone, from a first line: to answer before a literal is asked for. */
MUST_USE enum imap_parsed imap_parse_head(struct slice text, unsigned state, struct slice *tag,
					  enum imap_name *name, const char **why);

struct imap_append_part {
	struct flag_list flags;
	bool has_date;
	int64_t date_s;
	int16_t zone_minutes;
	bool utf8;			/* "UTF8 (~{n}" (RFC 6855 §4): ")" follows the literal */
};

/*
 * What stands before a message: for the first one the whole text from the tag on (out->tag and
 * mailbox are set), for further ones (out NULL) the text that starts with the space behind the
 * message before (RFC 3502). text ends with the literal's "{n}".
 */
MUST_USE enum imap_parsed imap_parse_append(struct arena *arena, struct slice text,
					    const struct imap_parse_context *context,
					    struct imap_command *out, struct imap_append_part *part,
					    const char **why);

/* Checks a mailbox name and brings it to its inner form; false when it is malformed. */
bool imap_mailbox_name(struct arena *arena, struct slice raw, bool utf8, struct slice *out);
/* The words, by enum imap_name; "?" for 0, which is none. */
extern const char *const imap_command_names[IMAP_COMMANDS];
