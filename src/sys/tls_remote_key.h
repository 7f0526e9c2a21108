/*
 * A private key that is elsewhere, as OpenSSL 3 sees it: a small provider whose keys have a
 * public half and a callback instead of a private half.
 *
 * Only sys/tls.c uses this. A provider, not the older ENGINE or RSA_METHOD: those are
 * deprecated, and this way OpenSSL itself picks scheme and padding and hands us the bytes.
 */
#pragma once
#include <openssl/evp.h>

#include "sys/tls.h"

#define REMOTE_PROVIDER "prickle-remote"

/* Add the provider to a library context that has the default provider; unload it before the context is freed. NULL on failure. */
MUST_USE OSSL_PROVIDER *remote_key_provider(OSSL_LIB_CTX *lib);

/*
 * A key pair whose public half is `public` (EC or RSA) and whose signatures come from
 * remote->sign(remote->arg, id, ...). remote is borrowed until the key is freed. NULL on failure.
 */
MUST_USE EVP_PKEY *remote_key_new(OSSL_LIB_CTX *lib, EVP_PKEY *public, const struct tls_remote *remote,
				  struct tls_key_id id);

/* The id of a public key: see struct tls_key_id. False when it cannot be encoded. */
MUST_USE bool remote_key_id(EVP_PKEY *public, struct tls_key_id *id);

/* True when the error queue's first entry says that remote->sign failed. */
bool remote_key_failed(unsigned long first_error);
