#include "mail/auth/password.h"

#include <crypt.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

_Static_assert(PASSWORD_HASH_BYTES_MAX >= crypto_pwhash_STRBYTES, "libsodium's string");
_Static_assert(PASSWORD_HASH_BYTES_MAX >= CRYPT_OUTPUT_SIZE, "libxcrypt's string");

bool password_hash(struct slice password, struct password_cost cost,
		   char out[PASSWORD_HASH_BYTES_MAX])
{
	return crypto_pwhash_str_alg(out, (const char *)password.ptr, password.len,
				     cost.operations, cost.memory_bytes,
				     crypto_pwhash_ALG_ARGON2ID13) == 0;
}

static bool is_argon2id(const char *hash)
{
	return strncmp(hash, crypto_pwhash_argon2id_STRPREFIX,
		       strlen(crypto_pwhash_argon2id_STRPREFIX)) == 0;
}

static enum password_verdict check_crypt(const char *hash, struct slice raw)
{
	char phrase[AUTH_PASSWORD_BYTES_MAX + 1];
	enum password_verdict verdict = PASSWORD_WRONG;
	struct crypt_data *data;
	const char *got;

	/* crypt(3) takes text: bytes behind a NUL would not count, so such a password is wrong. */
	if (!slice_to_str(raw, phrase, sizeof(phrase)))
		return PASSWORD_WRONG;
	data = calloc(1, sizeof(*data));
	if (data == NULL)
		return PASSWORD_UNKNOWN_HASH;
	got = crypt_rn(phrase, hash, data, sizeof(*data));
	if (got == NULL || got[0] == '*')
		verdict = PASSWORD_UNKNOWN_HASH;
	else if (strlen(got) == strlen(hash) && sodium_memcmp(got, hash, strlen(hash)) == 0)
		verdict = PASSWORD_RIGHT;
	sodium_memzero(phrase, sizeof(phrase));
	sodium_memzero(data, sizeof(*data));
	free(data);
	return verdict;
}

enum password_verdict password_check(const char *hash, struct slice prepared, struct slice raw)
{
	char padded[crypto_pwhash_STRBYTES] = { 0 };

	if (!is_argon2id(hash))
		return check_crypt(hash, raw);
	if (strlen(hash) >= sizeof(padded))
		return PASSWORD_UNKNOWN_HASH;
	memcpy(padded, hash, strlen(hash));
	return crypto_pwhash_str_verify(padded, (const char *)prepared.ptr, prepared.len) == 0 ?
		       PASSWORD_RIGHT :
		       PASSWORD_WRONG;
}

bool password_outdated(const char *hash, struct password_cost cost)
{
	char padded[crypto_pwhash_STRBYTES] = { 0 };

	if (!is_argon2id(hash) || strlen(hash) >= sizeof(padded))
		return true;
	memcpy(padded, hash, strlen(hash));
	return crypto_pwhash_str_needs_rehash(padded, cost.operations, cost.memory_bytes) != 0;
}

bool password_hash_known(const char *hash)
{
	char padded[crypto_pwhash_STRBYTES] = { 0 };
	int salt;

	if (is_argon2id(hash)) {
		if (strlen(hash) >= sizeof(padded))
			return false;
		memcpy(padded, hash, strlen(hash));
		/* -1: it cannot be parsed. */
		return crypto_pwhash_str_needs_rehash(padded, crypto_pwhash_OPSLIMIT_MIN,
						      PASSWORD_MEMORY_BYTES) >= 0;
	}
	salt = crypt_checksalt(hash);
	/* Legacy methods are what imports bring; the first login replaces them. */
	return hash[0] == '$' && strlen(hash) < CRYPT_OUTPUT_SIZE &&
	       (salt == CRYPT_SALT_OK || salt == CRYPT_SALT_METHOD_LEGACY ||
		salt == CRYPT_SALT_TOO_CHEAP);
}

void password_dummy(struct password_cost cost, const uint8_t random[48],
		    char out[PASSWORD_HASH_BYTES_MAX])
{
	char salt[32], hash[64];

	/* The form of the reference implementation: base64 without padding. */
	sodium_bin2base64(salt, sizeof(salt), random, 16,
			  sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
	sodium_bin2base64(hash, sizeof(hash), random + 16, 32,
			  sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
	snprintf(out, PASSWORD_HASH_BYTES_MAX, "$argon2id$v=19$m=%u,t=%u,p=1$%s$%s",
		 cost.memory_bytes / 1024, cost.operations, salt, hash);
}
