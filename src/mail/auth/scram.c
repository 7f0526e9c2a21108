#include "mail/auth/scram.h"

#include <openssl/evp.h>
#include <sodium.h>

#include "base/base64.h"

_Static_assert(SCRAM_KEY_BYTES == crypto_hash_sha256_BYTES, "SHA-256");
_Static_assert(SCRAM_KEY_BYTES == crypto_auth_hmacsha256_BYTES, "HMAC-SHA-256");

/* RFC 5802 §7: saslname, where "=2C" is a comma and "=3D" an equals sign, and no other "=" stands. */
static bool saslname(struct arena *arena, struct slice in, struct slice *out)
{
	uint8_t *to = arena_alloc(arena, in.len);
	size_t n = 0;

	if (to == NULL || in.len == 0)
		return false;
	for (size_t i = 0; i < in.len; i++) {
		uint8_t c = in.ptr[i];

		if (c == 0)
			return false;
		if (c == '=') {
			struct slice code = slice_sub(in, i + 1, i + 3);

			if (slice_eq(code, SLICE("2C")))
				c = ',';
			else if (slice_eq(code, SLICE("3D")))
				c = '=';
			else
				return false;
			i += 2;
		}
		to[n++] = c;
	}
	*out = slice_of(to, n);
	return true;
}

/* "printable": %x21-2B / %x2D-7E, at least one. */
static bool nonce_good(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] < 0x21 || s.ptr[i] > 0x7e || s.ptr[i] == ',')
			return false;
	return s.len > 0 && s.len <= SCRAM_NONCE_BYTES_MAX;
}

/* gs2-header: "n," / "y," / "p=" cb-name ",", then ["a=" saslname] ",". */
static enum scram_result gs2_header(struct arena *arena, struct slice text, struct slice *rest,
				    struct scram_first *f)
{
	struct slice flag, authzid;

	if (!slice_cut(text, ',', &flag, rest) || !slice_cut(*rest, ',', &authzid, rest))
		return SCRAM_MALFORMED;
	f->gs2_header = slice_head(text, text.len - rest->len);
	if (authzid.len > 0 && (!slice_starts(authzid, SLICE("a=")) ||
				!saslname(arena, slice_from(authzid, 2), &f->authzid)))
		return SCRAM_MALFORMED;
	if (slice_eq(flag, SLICE("n")))
		f->binding = SCRAM_BIND_NONE;
	else if (slice_eq(flag, SLICE("y")))
		f->binding = SCRAM_BIND_NOT_OFFERED;
	else if (slice_eq(flag, SLICE("p=tls-exporter")))
		f->binding = SCRAM_BIND_EXPORTER;
	else if (slice_eq(flag, SLICE("p=tls-server-end-point")))
		f->binding = SCRAM_BIND_END_POINT;
	else
		return slice_starts(flag, SLICE("p=")) && flag.len > 2 ? SCRAM_NO_BINDING :
									 SCRAM_MALFORMED;
	return SCRAM_OK;
}

/* Extensions after what we read: "x=value", letters only before "=". We ignore optional ones. */
static bool extensions_good(struct slice rest)
{
	struct slice one;
	bool more = rest.len > 0;

	while (more) {
		more = slice_cut(rest, ',', &one, &rest);
		if (one.len < 3 || !ascii_alpha(one.ptr[0]) || one.ptr[1] != '=')
			return false;
	}
	return true;
}

enum scram_result scram_first_parse(struct arena *arena, struct slice text, struct scram_first *out)
{
	struct scram_first f = { 0 };
	struct slice rest, user, nonce, tail;
	enum scram_result r = gs2_header(arena, text, &rest, &f);

	if (r != SCRAM_OK)
		return r;
	f.bare = rest;
	if (slice_starts(rest, SLICE("m=")))
		return SCRAM_EXTENSION;
	if (!slice_cut(rest, ',', &user, &rest) || !slice_starts(user, SLICE("n=")) ||
	    !saslname(arena, slice_from(user, 2), &f.user))
		return SCRAM_MALFORMED;
	if (slice_cut(rest, ',', &nonce, &tail) && tail.len == 0)
		return SCRAM_MALFORMED;
	f.nonce = slice_from(nonce, 2);
	if (!slice_starts(nonce, SLICE("r=")) || !nonce_good(f.nonce) || !extensions_good(tail))
		return SCRAM_MALFORMED;
	*out = f;
	return SCRAM_OK;
}

void scram_first_answer(struct buf *out, const struct scram_first *first, struct slice server_nonce,
			struct slice salt, uint32_t iterations)
{
	buf_adds(out, "r=");
	buf_add(out, first->nonce);
	buf_add(out, server_nonce);
	buf_adds(out, ",s=");
	base64_encode(out, salt);
	buf_adds(out, ",i=");
	buf_dec(out, iterations);
}

static void hmac(uint8_t out[SCRAM_KEY_BYTES], const uint8_t key[SCRAM_KEY_BYTES], struct slice text)
{
	crypto_auth_hmacsha256_state st;

	crypto_auth_hmacsha256_init(&st, key, SCRAM_KEY_BYTES);
	crypto_auth_hmacsha256_update(&st, text.ptr, text.len);
	crypto_auth_hmacsha256_final(&st, out);
	sodium_memzero(&st, sizeof(st));
}

/* RFC 5802 §3: AuthMessage. */
static void hmac_auth_message(uint8_t out[SCRAM_KEY_BYTES], const uint8_t *key,
			      const struct scram_check *check, struct slice without_proof)
{
	crypto_auth_hmacsha256_state st;

	crypto_auth_hmacsha256_init(&st, key, SCRAM_KEY_BYTES);
	crypto_auth_hmacsha256_update(&st, check->client_bare.ptr, check->client_bare.len);
	crypto_auth_hmacsha256_update(&st, (const uint8_t *)",", 1);
	crypto_auth_hmacsha256_update(&st, check->server_first.ptr, check->server_first.len);
	crypto_auth_hmacsha256_update(&st, (const uint8_t *)",", 1);
	crypto_auth_hmacsha256_update(&st, without_proof.ptr, without_proof.len);
	crypto_auth_hmacsha256_final(&st, out);
	sodium_memzero(&st, sizeof(st));
}

/* ClientProof XOR ClientSignature is the ClientKey, whose hash must be StoredKey. */
static bool proof_good(const struct scram_check *check, struct slice without_proof,
		       const uint8_t proof[SCRAM_KEY_BYTES])
{
	uint8_t key[SCRAM_KEY_BYTES], hash[SCRAM_KEY_BYTES];
	bool good;

	hmac_auth_message(key, check->stored_key, check, without_proof);
	for (size_t i = 0; i < sizeof(key); i++)
		key[i] ^= proof[i];
	crypto_hash_sha256(hash, key, sizeof(key));
	good = sodium_memcmp(hash, check->stored_key, sizeof(hash)) == 0;
	sodium_memzero(key, sizeof(key));
	return good;
}

/* "c=" must be the base64 of gs2-header and binding data: one spelling, so bytes are compared. */
static bool binding_good(const struct scram_check *check, struct slice text)
{
	AUTO_BUF struct buf raw = BUF_INIT(AUTH_RESPONSE_BYTES_MAX + AUTH_BINDING_BYTES_MAX);
	AUTO_BUF struct buf want = BUF_INIT(2 * AUTH_RESPONSE_BYTES_MAX);

	buf_add(&raw, check->gs2_header);
	buf_add(&raw, check->binding_data);
	base64_encode(&want, buf_slice(&raw));
	return raw.err == 0 && want.err == 0 && slice_eq(text, buf_slice(&want));
}

enum scram_result scram_final(const struct scram_check *check, struct slice text, struct buf *out)
{
	AUTO_BUF struct buf proof = BUF_INIT(2 * SCRAM_KEY_BYTES);
	struct slice without_proof, binding, nonce, rest, p;
	uint8_t signature[SCRAM_KEY_BYTES];
	size_t at = SLICE_NPOS;
	bool right;

	/* The proof comes last: client-final-message-without-proof is all before its comma. */
	at = slice_rfind_byte(text, ',');
	if (at == SLICE_NPOS)
		return SCRAM_MALFORMED;
	without_proof = slice_head(text, at);
	p = slice_from(text, at + 1);
	if (!slice_starts(p, SLICE("p=")) || !base64_decode(&proof, slice_from(p, 2)) ||
	    proof.len != SCRAM_KEY_BYTES)
		return SCRAM_MALFORMED;
	if (!slice_cut(without_proof, ',', &binding, &rest) || !slice_starts(binding, SLICE("c=")))
		return SCRAM_MALFORMED;
	if (slice_cut(rest, ',', &nonce, &rest) && rest.len == 0)
		return SCRAM_MALFORMED;
	if (!slice_starts(nonce, SLICE("r=")) || !extensions_good(rest))
		return SCRAM_MALFORMED;
	right = proof_good(check, without_proof, proof.ptr);
	if (!slice_eq(slice_from(nonce, 2), check->nonce))
		return SCRAM_WRONG_NONCE;
	if (!binding_good(check, slice_from(binding, 2)))
		return SCRAM_WRONG_BINDING;
	if (!right)
		return SCRAM_WRONG_PROOF;
	hmac_auth_message(signature, check->server_key, check, without_proof);
	buf_adds(out, "v=");
	base64_encode(out, slice_of(signature, sizeof(signature)));
	return SCRAM_OK;
}

bool scram_derive(struct slice password, struct slice salt, uint32_t iterations,
		  uint8_t stored_key[SCRAM_KEY_BYTES], uint8_t server_key[SCRAM_KEY_BYTES])
{
	uint8_t salted[SCRAM_KEY_BYTES], client_key[SCRAM_KEY_BYTES];

	/* OpenSSL and not libsodium: its SHA-256 uses the processor's instructions. */
	if (PKCS5_PBKDF2_HMAC((const char *)password.ptr, (int)password.len, salt.ptr,
			      (int)salt.len, (int)iterations, EVP_sha256(), sizeof(salted),
			      salted) != 1)
		return false;
	hmac(client_key, salted, SLICE("Client Key"));
	crypto_hash_sha256(stored_key, client_key, sizeof(client_key));
	hmac(server_key, salted, SLICE("Server Key"));
	sodium_memzero(salted, sizeof(salted));
	sodium_memzero(client_key, sizeof(client_key));
	return true;
}
