/*
 * The summary of a message: what IMAP answers without reading the body again. Made once at
 * delivery, stored beside the message, opaque to the store.
 *
 * Form, version 1: 'S' 1 flags; varint size; varint part count; the parts in the order of the message. Strings are varints
 * n: n odd is entry n/2 of a fixed table of common words, n even a string of n/2-1 bytes, 0 absent. Offsets are
 * distances, so that they are short. The table only grows; entries never change their number.
 *
 * Readers treat a summary as hostile: it may come from a damaged disk or a subverted process. Decoding
 * checks bounds, nesting, counts and that offsets stay inside the message.
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "mail/message/mime.h"

enum summary_result {
	SUMMARY_OK,
	SUMMARY_PARSE_BODY,		/* it was too large (or of a newer version): parse the message */
	SUMMARY_DAMAGED,		/* parse the message, and tell */
};

/* Append the summary; more than SUMMARY_BYTES_MAX bytes become the marker "parse the body". out->err tells. */
void summary_encode(struct buf *out, const struct mime *mime);
/* The tree again; *out set on SUMMARY_OK only, in the arena. Slices point into `in`, which must live as long. */
MUST_USE enum summary_result summary_decode(struct arena *arena, struct slice in, const struct mime **out);
/*
 * The same for a message that begins with prefix_bytes of header fields which the summary does not
 * cover (trace fields, each recipient's own): the root's header includes them, all else moves
 * behind them. The root's header_lines stay without them.
 */
MUST_USE enum summary_result summary_decode_behind(struct arena *arena, struct slice in,
						   uint32_t prefix_bytes, const struct mime **out);
