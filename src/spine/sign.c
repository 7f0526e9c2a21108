/* Signatures over object files: Ed25519 (RFC 8032) of libsodium. */
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "spine/load.h"

/* Whatever else a key signs, it is no extension. The NUL counts. */
static const char context[] = "prickle-spine-1";

/* What is signed, in memory of its own; NULL: there is none. */
static uint8_t *signed_bytes(struct slice object, size_t *bytes)
{
	uint8_t *all;

	if (__builtin_add_overflow(object.len, sizeof(context), bytes))
		return NULL;
	all = malloc(*bytes);
	if (all == NULL)
		return NULL;
	memcpy(all, context, sizeof(context));
	if (object.len > 0)
		memcpy(all + sizeof(context), object.ptr, object.len);
	return all;
}

int spine_sign(struct slice object, const uint8_t secret[SPINE_SECRET_BYTES], uint8_t out[SPINE_SIGNATURE_BYTES])
{
	size_t bytes;
	AUTO_FREE uint8_t *all = signed_bytes(object, &bytes);

	if (all == NULL)
		return -ENOMEM;
	/* libsodium's secret key ends with the public one. */
	memcpy(out, secret + 32, 32);
	crypto_sign_detached(out + 32, NULL, all, bytes, secret);
	return 0;
}

int spine_verify(struct slice object, struct slice signature, uint8_t key[32])
{
	size_t bytes;

	if (signature.len != SPINE_SIGNATURE_BYTES)
		return -EBADMSG;
	AUTO_FREE uint8_t *all = signed_bytes(object, &bytes);
	if (all == NULL)
		return -ENOMEM;
	if (crypto_sign_verify_detached(signature.ptr + 32, all, bytes, signature.ptr) != 0)
		return -EBADMSG;
	memcpy(key, signature.ptr, 32);
	return 0;
}
