/*
 * POP3 command lines (RFC 1939, 2449, 2595, 5034, 6856) and the bytes of multi-line answers.
 *
 * Syntax only: states, and which messages there are, belong to the session.
 */
#pragma once
#include "base/buf.h"

enum pop3_verb {
	POP3_USER = 1,
	POP3_PASS,
	POP3_AUTH,
	POP3_CAPA,
	POP3_STLS,
	POP3_UTF8,
	POP3_QUIT,
	POP3_NOOP,
	POP3_STAT,
	POP3_LIST,
	POP3_UIDL,
	POP3_RETR,
	POP3_TOP,
	POP3_DELE,
	POP3_RSET,
};

enum pop3_verdict {
	POP3_PARSED,
	POP3_UNKNOWN_COMMAND,		/* -ERR, counted as bad */
	POP3_BAD_ARGUMENTS,		/* -ERR, counted as bad */
};

struct pop3_command {
	enum pop3_verb verb;
	struct slice text;		/* USER: name; PASS: all that follows; AUTH: mechanism, empty: list them */
	struct slice initial;		/* AUTH: initial response in base64; {NULL, 0}: none */
	bool has_message;		/* LIST, UIDL: with a number */
	uint32_t message;		/* 1..; LIST, UIDL, RETR, TOP, DELE */
	uint32_t lines;			/* TOP */
};

/* Parse a line without its CRLF. Slices point into it. out is set on POP3_PARSED only. O(line). */
MUST_USE enum pop3_verdict pop3_command_parse(struct slice line, struct pop3_command *out);

/*
 * Writes a message as a multi-line answer: dots stuffed (RFC 1939 §3), and for TOP cut after so
 * many lines of the body. A bare LF, which APPEND of IMAP may bring, becomes CRLF: some clients take
 * it for a line end and others do not, so that stuffing it or not would be wrong for one of them.
 */
struct pop3_writer {
	bool line_start;
	bool line_empty;		/* nothing but perhaps CR in this line so far */
	bool in_body;
	bool cut;			/* TOP */
	bool done;			/* TOP: no more is wanted */
	bool any;			/* a byte was written */
	uint8_t last;			/* as it came */
	uint64_t lines_left;
};

void pop3_writer_init(struct pop3_writer *w);
void pop3_writer_top(struct pop3_writer *w, uint32_t body_lines);
/* Append the answer's form of the next bytes. O(bytes). */
void pop3_writer_add(struct pop3_writer *w, struct slice bytes, struct buf *out);
/* The final CRLF if the message lacks it, and the line with the dot. */
void pop3_writer_end(struct pop3_writer *w, struct buf *out);
