/*
 * TLS for servers, behind a thin interface over OpenSSL 3.
 *
 * The process that talks with strangers has the certificate but never the private key: each
 * signature of a handshake comes from a callback (in front and mx: a question to auth), which
 * may block its fiber. Only TLS 1.2 with ECDHE and TLS 1.3 are spoken, so that the key signs
 * and never decrypts. No tickets, no renegotiation, no compression, no ALPN.
 *
 * OpenSSL's error queue belongs to the thread, so fibers share it. Rule: every function here
 * begins with an empty queue and empties it before it returns, and the signing callback is
 * entered with an empty queue and left with one; a fiber that sleeps inside the callback
 * can thus neither see nor lose another's errors.
 *
 * A process that uses this ignores SIGPIPE (every role does).
 *
 * Not here: waiting. tls_handshake, tls_read and tls_write never block on the network; they
 * say what to wait for (sys/stream.h does the waiting).
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/errmsg.h"
#include "sys/sys_limits.h"

struct tls_context;		/* counted: certificate, settings, signer */
struct tls;			/* one connection */

/* What to wait for on the descriptor before the same call is made again. */
enum {
	TLS_WANT_READ = -1000001,
	TLS_WANT_WRITE = -1000002,
};

/* RFC 8446 §4.2.3, SignatureScheme: all that we ever ask a signer for. */
enum tls_scheme {
	TLS_RSA_PKCS1_SHA256 = 0x0401,		/* TLS 1.2 alone */
	TLS_RSA_PKCS1_SHA384 = 0x0501,
	TLS_RSA_PKCS1_SHA512 = 0x0601,
	TLS_ECDSA_SHA256 = 0x0403,		/* TLS 1.3 ties it to P-256, 1.2 does not */
	TLS_ECDSA_SHA384 = 0x0503,
	TLS_ECDSA_SHA512 = 0x0603,
	TLS_RSA_PSS_SHA256 = 0x0804,
	TLS_RSA_PSS_SHA384 = 0x0805,
	TLS_RSA_PSS_SHA512 = 0x0806,
};

#define TLS_KEY_ID_BYTES	8u

/*
 * Names a key pair: the first bytes of SHA-256 over the SubjectPublicKeyInfo. Goes with each
 * request to sign, since handshakes of an old certificate may still run after a reload.
 */
struct tls_key_id {
	uint8_t bytes[TLS_KEY_ID_BYTES];
};

struct tls_remote {
	/*
	 * Sign `tbs` (the bytes themselves, not a digest, so that the signer can see that they
	 * come from a TLS handshake) and append the signature. 0 or a negative errno: the
	 * handshake then ends with an alert. May suspend the calling fiber.
	 */
	int (*sign)(void *arg, struct tls_key_id key, enum tls_scheme scheme, struct slice tbs,
		    struct buf *signature);
	void *arg;			/* must outlive the context and its connections */
};

/*
 * Before the sandbox: let OpenSSL do what it does once a process, without its configuration
 * file (in the sandbox it could not open it and would refuse to work). 0 or -EIO.
 */
MUST_USE int tls_process_init(void);

/*
 * A server context from a PEM chain, the server's certificate first. EC P-256, P-384 and RSA
 * keys of 2048 bits or more. 0; -EBADMSG the chain is not usable; -ENOMEM. `remote` is copied.
 * Costs some 100 us.
 */
MUST_USE int tls_context_new(struct slice chain_pem, const struct tls_remote *remote,
			     struct tls_context **out, struct errmsg *why);
/* Connections count: replace a context and unref the old one; running connections keep it. */
struct tls_context *tls_context_ref(struct tls_context *ctx);
void tls_context_unref(struct tls_context *ctx);

/* A server connection on the non-blocking fd, which stays the caller's. Refs ctx. */
MUST_USE int tls_new(struct tls_context *ctx, int fd, struct tls **out);
/* Frees; sends nothing and leaves fd open. NULL is fine. */
void tls_free(struct tls *t);

/*
 * 0 done; TLS_WANT_READ, TLS_WANT_WRITE; -EPROTO the peer and we have no TLS in common or it
 * broke the protocol; -ECONNRESET it went away; -EKEYREJECTED the signer failed. May suspend
 * the fiber inside the signer.
 */
MUST_USE int tls_handshake(struct tls *t);
/* > 0 bytes; 0 the peer closed properly; TLS_WANT_*; -ECONNRESET closed without saying so; -EPROTO. */
MUST_USE int tls_read(struct tls *t, void *to, size_t n);
/* > 0 bytes taken (maybe fewer than n); TLS_WANT_*; -EPIPE, -EPROTO. */
MUST_USE int tls_write(struct tls *t, const void *from, size_t n);
/* Send close_notify, once, without waiting for the peer's. */
void tls_shutdown(struct tls *t);
/* Decrypted bytes wait inside: read them before waiting for the descriptor. */
bool tls_pending(const struct tls *t);

/* Why the last call failed, for the log; "" when it did not. */
const char *tls_error(const struct tls *t);
/* "TLSv1.3" */
const char *tls_version(const struct tls *t);
/* "TLS_AES_256_GCM_SHA384" */
const char *tls_cipher(const struct tls *t);

enum tls_binding {
	TLS_BINDING_EXPORTER,		/* "tls-exporter", RFC 9266 */
	TLS_BINDING_END_POINT,		/* "tls-server-end-point", RFC 5929 §4 */
};
/*
 * Append the channel binding's bytes. 0; -ENOTSUP when it is not defined here (exporter in
 * TLS 1.2 without extended master secret; end-point of a certificate without a hash).
 */
MUST_USE int tls_channel_binding(const struct tls *t, enum tls_binding type, struct buf *out);
