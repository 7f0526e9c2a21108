/*
 * Base64, the standard alphabet with padding (RFC 4648 §4).
 *
 * Decoding is strict, as §3.3 and §3.5 ask of protocols: SASL exchanges and SCRAM
 * messages must have one spelling only. MIME bodies, which may hold anything, have their
 * own forgiving decoder in mail/message.
 */
#pragma once
#include "base/buf.h"

/* Append the encoding of s with padding, no line breaks: 4 * ((len + 2) / 3) bytes. */
void base64_encode(struct buf *out, struct slice s);

/*
 * Append the bytes that `text` encodes. False when text is not exactly what base64_encode
 * writes (length, alphabet, padding, or bits after the end that are not zero): out is then
 * as before. Also false when out has no room (out->err tells).
 */
MUST_USE bool base64_decode(struct buf *out, struct slice text);
