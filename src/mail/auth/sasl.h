/*
 * The server's side of the SASL mechanisms, as a step machine (RFC 4422 §3).
 *
 * Bytes in, bytes and a verdict out: what needs a secret is asked of the caller, who has
 * the directory. PLAIN (RFC 4616), LOGIN (draft-murchison-sasl-login), SCRAM-SHA-256 and -PLUS
 * (RFC 5802, RFC 7677).
 */
#pragma once
#include "mail/auth/scram.h"

enum sasl_mechanism {
	SASL_PLAIN,
	SASL_LOGIN,
	SASL_SCRAM_SHA_256,
	SASL_SCRAM_SHA_256_PLUS,
	SASL_UNKNOWN,
};
enum sasl_mechanism sasl_mechanism(struct slice name);
/* "PLAIN"... */
const char *sasl_mechanism_name(enum sasl_mechanism m);
/* Does it carry the password itself? (Then it needs TLS.) */
static inline bool sasl_shows_password(enum sasl_mechanism m)
{
	return m == SASL_PLAIN || m == SASL_LOGIN;
}

/* RFC 4616 §2: [authzid] NUL authcid NUL passwd, all UTF-8. Slices borrow from text. */
MUST_USE bool sasl_plain_parse(struct slice text, struct slice *authzid, struct slice *user,
			       struct slice *password);

enum sasl_verdict {
	SASL_CONTINUE,			/* the challenge is in out */
	SASL_ASK_PASSWORD,		/* check sasl->user and ->password; the exchange is over */
	SASL_ASK_KEYS,			/* look up sasl->user's keys, then call sasl_give_keys */
	SASL_PROVEN,			/* SCRAM: sasl->user has the password; the exchange is over */
	SASL_REJECTED,			/* wrong proof, nonce or binding */
	SASL_MALFORMED,
};

struct sasl {
	enum sasl_mechanism mechanism;
	unsigned step;
	struct arena arena;		/* holds all slices below */
	struct slice authzid;		/* whom the client wants to be; empty: itself */
	struct slice user;		/* as written */
	struct slice password;		/* wiped by sasl_done */
	struct slice exporter, end_point;	/* channel bindings; empty: none */
	struct slice server_nonce;
	struct scram_first first;
	struct slice server_first, nonce;
	uint8_t stored_key[SCRAM_KEY_BYTES], server_key[SCRAM_KEY_BYTES];
	bool fake;			/* the keys are of nobody: the proof is wrong whatever it is */
};

/*
 * exporter, end_point: this connection's bindings, copied. server_nonce: SCRAM_NONCE_BYTES of
 * printable ASCII without comma, random. 0 or -ENOMEM. End with sasl_done.
 */
MUST_USE int sasl_init(struct sasl *s, enum sasl_mechanism m, struct slice exporter,
		       struct slice end_point, struct slice server_nonce);
/* Frees, and wipes what was secret. */
void sasl_done(struct sasl *s);

/*
 * Go on with the client's response; NULL only as the first one, when it sent no initial
 * response. Appends the challenge to out on SASL_CONTINUE.
 */
MUST_USE enum sasl_verdict sasl_step(struct sasl *s, const struct slice *response, struct buf *out);
/* After SASL_ASK_KEYS: the answer is SASL_CONTINUE, or MALFORMED when memory is short. */
MUST_USE enum sasl_verdict sasl_give_keys(struct sasl *s, struct slice salt, uint32_t iterations,
					  const uint8_t stored_key[SCRAM_KEY_BYTES],
					  const uint8_t server_key[SCRAM_KEY_BYTES], bool fake,
					  struct buf *out);
