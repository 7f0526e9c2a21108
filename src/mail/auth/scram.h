/*
 * SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, the server's side (RFC 5802, RFC 7677).
 *
 * A step machine without I/O, clock or randomness: client-first in, server-first out,
 * client-final in, server-final out. The server knows stored_key and server_key only; a
 * stolen directory does not log anybody in without a dictionary attack per user.
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "mail/auth/limits.h"

#define SCRAM_KEY_BYTES	 32u
#define SCRAM_SALT_BYTES 16u		/* of salts that we make */
#define SCRAM_NONCE_BYTES 24u		/* printable bytes that the server adds to the nonce */

enum scram_binding {
	SCRAM_BIND_NONE,		/* "n": the client cannot */
	SCRAM_BIND_NOT_OFFERED,		/* "y": it could, but thinks that we cannot */
	SCRAM_BIND_EXPORTER,		/* "p=tls-exporter" */
	SCRAM_BIND_END_POINT,		/* "p=tls-server-end-point" */
};

/* client-first-message, parsed. Slices are in the arena or borrow from the message. */
struct scram_first {
	enum scram_binding binding;
	struct slice gs2_header;	/* with its last comma: goes into "c=" */
	struct slice bare;		/* client-first-message-bare */
	struct slice authzid;		/* decoded; empty: none */
	struct slice user;		/* decoded: "=2C" and "=3D" are gone; not prepared */
	struct slice nonce;
};

enum scram_result {
	SCRAM_OK,
	SCRAM_MALFORMED,		/* not this message of RFC 5802 §7 */
	SCRAM_NO_BINDING,		/* a channel binding type that we do not have */
	SCRAM_EXTENSION,		/* "m=": a mandatory extension; we know none */
	SCRAM_WRONG_NONCE,
	SCRAM_WRONG_BINDING,
	SCRAM_WRONG_PROOF,
};

/* Parse the client's first message. O(length). MALFORMED also when the arena is full. */
MUST_USE enum scram_result scram_first_parse(struct arena *arena, struct slice text,
					     struct scram_first *out);

/*
 * Append "r=<client nonce><server nonce>,s=<salt>,i=<iterations>". server_nonce: printable ASCII without
 * commas, new for each exchange.
 */
void scram_first_answer(struct buf *out, const struct scram_first *first, struct slice server_nonce,
			struct slice salt, uint32_t iterations);

/* What the server remembers between the two messages. */
struct scram_keys;
struct scram_check {
	struct slice gs2_header, client_bare;	/* of scram_first */
	struct slice server_first;		/* what scram_first_answer wrote */
	struct slice nonce;			/* client's and server's part together */
	struct slice binding_data;		/* of the type that gs2_header names; empty for n and y */
	const uint8_t *stored_key, *server_key;	/* SCRAM_KEY_BYTES each */
};
/*
 * Judge the client's final message. On SCRAM_OK, "v=<signature>" is appended to out. The proof is
 * compared in constant time, and also computed when something else is wrong.
 */
MUST_USE enum scram_result scram_final(const struct scram_check *check, struct slice text,
				       struct buf *out);

/*
 * The two keys of a prepared password (saslprep): RFC 5802 §3. Takes about 15 ms for 64,000
 * iterations: not for the loop's thread. False when the library refuses.
 */
MUST_USE bool scram_derive(struct slice password, struct slice salt, uint32_t iterations,
			   uint8_t stored_key[SCRAM_KEY_BYTES], uint8_t server_key[SCRAM_KEY_BYTES]);
