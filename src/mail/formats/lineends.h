/*
 * Line ends: CRLF inside (RFC 5322), LF in files of Unix. Streams of any size, in any pieces.
 *
 * Files get LF for each CRLF; what comes back gets CRLF for each LF that has none. A CR alone stays. So
 * a message with CRLF line ends survives the way there and back byte for byte; a message
 * with LF alone (from a client that sent it so) comes back with CRLF.
 */
#pragma once
#include "base/buf.h"

/* Zero before the first byte of a message. */
struct line_ends {
	bool cr;			/* the last byte was CR: held back by to_lf */
};

/* Append with CRLF for LF. out->err tells. */
void line_ends_to_crlf(struct line_ends *l, struct slice in, struct buf *out);
/* Append with LF for CRLF; line_ends_to_lf_end after the last piece. */
void line_ends_to_lf(struct line_ends *l, struct slice in, struct buf *out);
void line_ends_to_lf_end(struct line_ends *l, struct buf *out);
