/* Signatures: what verifies, and that nothing else does. */
#include "base/test.h"

#include <errno.h>
#include <sodium.h>

#include "spine/load.h"

static const uint8_t seed[32] = "a seed of thirty-two bytes......";

static void make_key(uint8_t secret[64], uint8_t public[32])
{
	ck_assert_int_ge(sodium_init(), 0);
	ck_assert_int_eq(crypto_sign_seed_keypair(public, secret, seed), 0);
}

START_TEST(a_signature_verifies_and_names_its_key)
{
	uint8_t secret[64], public[32], key[32] = { 0 }, out[SPINE_SIGNATURE_BYTES];

	make_key(secret, public);
	ck_assert_int_eq(spine_sign(SLICE("object"), secret, out), 0);
	ck_assert_int_eq(spine_verify(SLICE("object"), slice_of(out, sizeof(out)), key), 0);
	ck_assert_mem_eq(key, public, 32);
	ck_assert_int_eq(spine_sign(SLICE(""), secret, out), 0);
	ck_assert_int_eq(spine_verify(SLICE(""), slice_of(out, sizeof(out)), key), 0);
}
END_TEST

START_TEST(every_changed_bit_breaks_it)
{
	uint8_t secret[64], public[32], key[32], out[SPINE_SIGNATURE_BYTES], object[] = "object";

	make_key(secret, public);
	ck_assert_int_eq(spine_sign(slice_of(object, 6), secret, out), 0);
	for (size_t bit = 0; bit < sizeof(out) * 8; bit++) {
		out[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ck_assert_int_eq(spine_verify(slice_of(object, 6), slice_of(out, sizeof(out)), key), -EBADMSG);
		out[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (size_t bit = 0; bit < 48; bit++) {
		object[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ck_assert_int_eq(spine_verify(slice_of(object, 6), slice_of(out, sizeof(out)), key), -EBADMSG);
		object[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	ck_assert_int_eq(spine_verify(slice_of(object, 6), slice_of(out, sizeof(out)), key), 0);
}
END_TEST

START_TEST(a_signature_of_another_length_is_none)
{
	uint8_t secret[64], public[32], key[32], out[SPINE_SIGNATURE_BYTES + 1] = { 0 };

	make_key(secret, public);
	ck_assert_int_eq(spine_sign(SLICE("object"), secret, out), 0);
	for (size_t len = 0; len <= sizeof(out); len++) {
		int want = len == SPINE_SIGNATURE_BYTES ? 0 : -EBADMSG;
		ck_assert_int_eq(spine_verify(SLICE("object"), slice_of(out, len), key), want);
	}
}
END_TEST

START_TEST(what_the_key_signed_for_other_ends_is_no_extension)
{
	uint8_t secret[64], public[32], key[32], out[SPINE_SIGNATURE_BYTES];

	make_key(secret, public);
	memcpy(out, public, 32);
	crypto_sign_detached(out + 32, NULL, (const uint8_t *)"object", 6, secret);
	ck_assert_int_eq(spine_verify(SLICE("object"), slice_of(out, sizeof(out)), key), -EBADMSG);
}
END_TEST

TEST_MAIN("spine/sign", a_signature_verifies_and_names_its_key, every_changed_bit_breaks_it,
	  a_signature_of_another_length_is_none, what_the_key_signed_for_other_ends_is_no_extension)
