/*
 * IMAP text of a tree: ENVELOPE, BODY and BODYSTRUCTURE (RFC 9051 §7.5.2, RFC 3501 §7.4.2).
 *
 * utf8: the client enabled IMAP4rev2 or UTF8=ACCEPT (RFC 6855): valid UTF-8 goes into quoted
 * strings and message/global is shown as a message. Without it 8-bit text goes into literals.
 */
#pragma once
#include "base/buf.h"
#include "mail/message/mime.h"

/* "(date subject from ...)"; of the root, or all NIL when there is no envelope. */
void bodystructure_envelope(struct buf *out, const struct envelope *env, bool utf8);
/* BODY (extended false) or BODYSTRUCTURE (true) of a part and what is below it. */
void bodystructure_write(struct buf *out, const struct mime_part *part, bool extended, bool utf8);

/* An IMAP string: quoted when it can be, else a literal. ptr NULL: NIL. Also useful for other responses. */
void bodystructure_nstring(struct buf *out, struct slice s, bool utf8);
