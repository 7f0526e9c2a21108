/*
 * The other half of sys/tls.h: the private key, in the one process that has it (auth).
 *
 * A signer signs nothing but what a TLS server signs in a handshake: the CertificateVerify
 * of TLS 1.3 (RFC 8446 §4.4.3, recognised by its fixed prefix) and the ECDHE parameters of
 * TLS 1.2 (RFC 8422 §5.4, recognised by their shape). A subverted front can so pose as the
 * server while it lives, but cannot take the key away, sign other documents or certificates,
 * or authenticate as a client.
 */
#pragma once
#include "sys/tls.h"

struct tls_signer;

/* From a PEM private key without a pass phrase. 0; -EBADMSG; -ENOTSUP other kinds of key. */
MUST_USE int tls_signer_new(struct slice key_pem, struct tls_signer **out, struct errmsg *why);
void tls_signer_free(struct tls_signer *s);
struct tls_key_id tls_signer_key_id(const struct tls_signer *s);
/* True when the first certificate of the chain carries this key. */
bool tls_signer_fits(const struct tls_signer *s, struct slice chain_pem);
/* End of validity of the first certificate of the chain, seconds since 1970; 0: not readable. */
int64_t tls_chain_not_after_s(struct slice chain_pem);
/*
 * Append the signature. 0; -EPERM when tbs is not what a TLS server signs, or the scheme does
 * not fit the key; -EIO. Some 20 us (P-256) to 1 ms (RSA).
 */
MUST_USE int tls_signer_sign(const struct tls_signer *s, enum tls_scheme scheme, struct slice tbs,
			     struct buf *signature);

/*
 * A new ECDSA P-256 key and a certificate that it signs itself: subject and names from
 * hostname (also "localhost"), valid for ten years from an hour ago. Appends PEM texts. 0 or
 * -EIO. For the first start; the operator's own certificate replaces it.
 */
MUST_USE int tls_self_signed(const char *hostname, struct buf *cert_pem, struct buf *key_pem);
