/*
 * mbox files, in the form "mboxrd": each message behind a line "From <sender> <date>", lines of the
 * message that look like it quoted by one more ">", a blank line at its end. Read and written as
 * streams; a message is never held.
 *
 * Reading takes what others write: "mboxo" (where unquoting is a guess), CRLF, no blank line at the
 * end of the file. Only a line after a blank one (or the first), with a date in it, starts a message.
 * Content-Length is not believed: half of the world's files have wrong ones.
 *
 * Flags stand in header fields as Dovecot, mutt and others write them: Status (R seen), X-Status (A answered,
 * F flagged, T draft, D deleted), X-Keywords, X-UID, X-IMAPbase. They are taken out of the message. We write
 * them in front of its own header, as X-UID, Status, X-Status, X-Keywords in this order; behind such a
 * block nothing else is taken out, so a message that has a field Status of its own keeps it.
 */
#pragma once
#include "base/buf.h"
#include "mail/formats/flags.h"
#include "mail/formats/limits.h"
#include "mail/formats/lineends.h"

enum mbox_event {
	MBOX_MORE,			/* give more bytes */
	MBOX_BEGIN,			/* a message begins at message_at; time_s is known */
	MBOX_BYTES,			/* some of its bytes */
	MBOX_END,			/* it is over: flags, keywords, uid are known */
	MBOX_DONE,			/* the file is over */
};

struct mbox_reader {
	/* Of the message that began last. */
	uint64_t message_at;		/* offset of its From_ line in the file */
	bool has_time;
	int64_t time_s;
	unsigned flags;			/* enum format_flag */
	uint32_t uid, uidvalidity;	/* X-UID, X-IMAPbase (of the file, in the first message); 0: not said */
	bool internal;			/* a pseudo message that a server keeps its notes in: to be passed over */
	char keywords[MBOX_KEYWORDS_BYTES_MAX + 1];	/* of X-Keywords, parted by blanks */
	size_t keywords_len;
	uint64_t garbage_bytes;		/* before the first message: this is no mbox */

	/* Inside. */
	uint64_t offset, line_at;
	uint64_t next_at;		/* what the From_ line said that ended the message before */
	int64_t next_time_s;
	uint8_t line[MBOX_LINE_BYTES_MAX];
	size_t len;
	bool whole;			/* `line` is judged and to be given out */
	bool inside;			/* of a line that is longer than `line` */
	bool dropping;			/* of a field that is taken out */
	bool in_message, begin_next, header, ours, after_blank, not_first;
	uint8_t order;			/* how many fields of our own block have come */
	bool has_blank, blank_cr;	/* a blank line is held back */
};

void mbox_reader_init(struct mbox_reader *r);
/* As if the file began at this offset, with a From_ line: to read a message again. */
void mbox_reader_init_at(struct mbox_reader *r, uint64_t offset);
/*
 * Take bytes from *in (which moves on) until something is to be told. last: nothing comes behind *in.
 * MBOX_BYTES sets *bytes: valid until the next call. O(bytes).
 */
MUST_USE enum mbox_event mbox_next(struct mbox_reader *r, struct slice *in, bool last, struct slice *bytes);

struct mbox_meta {
	int64_t time_s;
	unsigned flags;			/* FORMAT_FORWARDED does not count: it is a keyword */
	uint32_t uid;
	uint32_t uidvalidity, uidnext;	/* 0: not the file's first message */
	struct slice keywords;		/* names parted by blanks */
};

struct mbox_writer {
	struct line_ends ends;
	size_t matched;			/* of "From ", held back */
	bool line_start, ended;		/* line_start: only ">" since then */
};

/* The From_ line and the fields. */
void mbox_write_begin(struct mbox_writer *w, const struct mbox_meta *meta, struct buf *out);
void mbox_write(struct mbox_writer *w, struct slice bytes, struct buf *out);
void mbox_write_end(struct mbox_writer *w, struct buf *out);
