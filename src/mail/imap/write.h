/*
 * Strings and names in answers (RFC 9051 §9: string, astring, nstring, mailbox).
 */
#pragma once
#include "base/buf.h"

/*
 * A quoted string when it may be one (no CR, LF, NUL, 8-bit; at most 1000 bytes), else a literal.
 * NUL cannot be sent in either; it becomes '?'.
 */
void imap_write_string(struct buf *out, struct slice s);
/* As imap_write_string, as an atom where possible. */
void imap_write_astring(struct buf *out, struct slice s);
/* A mailbox name in UTF-8: modified UTF-7 unless utf8 (then a quoted string may hold UTF-8). */
void imap_write_mailbox(struct buf *out, struct slice name, bool utf8);
/* Printable US-ASCII of text for the human part of an answer; other bytes become '?'. */
void imap_write_text(struct buf *out, struct slice text);
