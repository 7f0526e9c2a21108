/*
 * Content-Transfer-Encoding decoders (RFC 2045 §6.7, §6.8) in pieces.
 *
 * They never fail: what is not in the alphabet is skipped (§6.8) or kept (§6.7, "robust"), and `bad` tells.
 */
#pragma once
#include "base/buf.h"
#include "mail/message/mime.h"

struct transfer {
	enum mime_encoding encoding;
	uint32_t bits;			/* base64: bits not yet written */
	uint8_t bit_count;
	uint8_t state;			/* quoted-printable: 0, '=' seen, '=X' seen; base64: padding seen */
	uint8_t held;			/* quoted-printable: the X of "=X" */
	uint32_t blanks;		/* quoted-printable: blanks that vanish if the line ends here */
	bool bad;			/* something was not as the encoding says */
	uint8_t blank_bytes[80];
};

static inline struct transfer transfer_of(enum mime_encoding encoding)
{
	return (struct transfer){ .encoding = encoding };
}
/* Append the decoded bytes; 7bit, 8bit, binary and unknown encodings are copied. */
void transfer_feed(struct transfer *t, struct buf *out, struct slice in);
void transfer_end(struct transfer *t, struct buf *out);

/* The "Q" encoding of RFC 2047 §4.2, all at once. */
void transfer_q_word(struct buf *out, struct slice in);
void transfer_base64(struct buf *out, struct slice in);
