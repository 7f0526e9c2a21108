/*
 * Replies (RFC 5321 §4.2) with enhanced status codes (RFC 2034, RFC 3463).
 */
#pragma once
#include "base/buf.h"

/*
 * Append one reply.
 *
 * code      three digits
 * enhanced  "2.1.0", or NULL where RFC 2034 §4 wants none (greeting, EHLO, 354)
 * text      one line, or several with '\n' between them: "250-...", then "250 ..."; bytes that do
 *           not belong into a reply (controls, DEL) become '?', each line is cut at SMTP_REPLY_TEXT
 */
void smtp_reply_write(struct buf *out, unsigned code, const char *enhanced, struct slice text);
