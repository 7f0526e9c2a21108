/*
 * Maildir++ as Dovecot and others keep it: names of files and directories, and the small files beside.
 *
 * A message is a file "<unique>,S=<bytes>:2,<flags>" in cur/ (or without ":2," in new/). The flags
 * are D, F, P, R, S, T, and a to z for keywords, whose names stand in "dovecot-keywords". A
 * folder is a directory ".Work.2024" of the Maildir; its levels are parted by ".", in modified UTF-7
 * (RFC 3501 §5.1.3). A "." or "\" inside of a level is written as "\2e" and "\5c", as
 * Dovecot's listescape does.
 *
 * Names come from a directory that anybody may have written: everything here is bounded and says no.
 */
#pragma once
#include "base/buf.h"
#include "mail/formats/flags.h"
#include "mail/formats/limits.h"

#define MAILDIR_KEYWORDS_MAX 26u

struct maildir_name {
	struct slice unique;		/* up to the first "," or ":": what stays when flags change */
	bool has_size;
	uint64_t size_bytes;		/* S=: of the file */
	bool has_time;
	int64_t time_s;			/* digits in front, seconds since 1970 */
	unsigned flags;			/* enum format_flag */
	uint32_t keywords;		/* bit 0: a */
};

/* Slices borrow from the name. False: no message (hidden, too long, with a slash or NUL). O(bytes). */
MUST_USE bool maildir_name_parse(struct slice file, struct maildir_name *out);
/* Append ":2,FS" and such, letters in order; what stands behind the unique part and its sizes. */
void maildir_flags_write(struct buf *out, unsigned flags, uint32_t keywords);

/*
 * The directory of a folder, relative to the Maildir: "" for INBOX, ".Work.2024" for "Work/2024".
 * False when the name is longer than a directory's may be; out is then as it was.
 */
MUST_USE bool maildir_folder_write(struct buf *out, struct slice folder);
/*
 * The folder of a directory, UTF-8 with "/". False: no folder's directory. The result is still to be
 * judged as any name that a client gives.
 */
MUST_USE bool maildir_folder_read(struct buf *out, struct slice directory);

/*
 * Lines of "dovecot-keywords": "<0..25> <name>". The names borrow from text; what is no such line is passed
 * over, empty slices are unknown letters.
 */
void maildir_keywords_read(struct slice text, struct slice names[MAILDIR_KEYWORDS_MAX]);

/* "dovecot-uidlist", versions 1 and 3. */
struct maildir_uidlist {
	uint32_t uidvalidity, uidnext;
	struct slice rest;		/* lines that are still to be read */
	unsigned version;
};
/* The first line. False: none of these. */
MUST_USE bool maildir_uidlist_begin(struct slice text, struct maildir_uidlist *out);
/* The next message's UID and the unique part of its file's name; false at the end. Other lines are passed over. */
MUST_USE bool maildir_uidlist_next(struct maildir_uidlist *l, uint32_t *uid, struct slice *unique);

/*
 * A line of Dovecot's "subscriptions", either version, as a folder's name in UTF-8. *text moves on. False at
 * the end; a line that is none leaves out empty. version_2: what the first line said, false at first.
 */
MUST_USE bool maildir_subscription_next(struct slice *text, bool *version_2, struct buf *out);
