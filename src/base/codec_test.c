#include "base/base64.h"
#include "base/crc32c.h"
#include "base/hex.h"
#include "base/test.h"

static const struct {
	const char *bytes, *text;
} rfc4648[] = {
	{ "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" },
	{ "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" }, { "foobar", "Zm9vYmFy" },
};

START_TEST(base64_agrees_with_the_vectors_of_rfc_4648)
{
	for (size_t i = 0; i < ARRAY_LEN(rfc4648); i++) {
		AUTO_BUF struct buf out = BUF_INIT(100);
		base64_encode(&out, slice_str(rfc4648[i].bytes));
		ck_assert_slice_eq(buf_slice(&out), slice_str(rfc4648[i].text));
		buf_reset(&out);
		ck_assert(base64_decode(&out, slice_str(rfc4648[i].text)));
		ck_assert_slice_eq(buf_slice(&out), slice_str(rfc4648[i].bytes));
	}
}
END_TEST

START_TEST(base64_has_one_spelling_only)
{
	static const char *const bad[] = {
		"Zg=", "Zg", "Z===", "====", "Zm9v\r\n", "Zm 9v", "Zh==", "Zm9=", "Zg==Zg==", "Zm-_", "=Zm9",
		"Zm=v",
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		AUTO_BUF struct buf out = BUF_INIT(100);
		buf_adds(&out, "before");
		ck_assert_msg(!base64_decode(&out, slice_str(bad[i])), "%s was taken", bad[i]);
		ck_assert_slice_eq(buf_slice(&out), SLICE("before"));
	}
}
END_TEST

START_TEST(base64_survives_every_byte_and_length)
{
	uint8_t bytes[256];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(255 - i);
	for (size_t n = 0; n <= sizeof(bytes); n++) {
		AUTO_BUF struct buf text = BUF_INIT(1000);
		AUTO_BUF struct buf back = BUF_INIT(1000);
		base64_encode(&text, slice_of(bytes, n));
		ck_assert(base64_decode(&back, buf_slice(&text)));
		ck_assert_slice_eq(buf_slice(&back), slice_of(bytes, n));
	}
}
END_TEST

START_TEST(decoding_stops_at_the_ceiling_of_the_output)
{
	AUTO_BUF struct buf out = BUF_INIT(3);

	ck_assert(base64_decode(&out, SLICE("Zm9v")));
	ck_assert(!base64_decode(&out, SLICE("Zm9v")));
	ck_assert_int_ne(out.err, 0);
}
END_TEST

START_TEST(hex_reads_both_cases_and_writes_lower_case)
{
	AUTO_BUF struct buf out = BUF_INIT(100);
	uint64_t id = 0;

	ck_assert(hex_decode(&out, SLICE("00fFa5")));
	ck_assert_slice_eq(buf_slice(&out), SLICE("\x00\xff\xa5"));
	ck_assert(!hex_decode(&out, SLICE("0")));
	ck_assert(!hex_decode(&out, SLICE("0g")));
	ck_assert(!hex_decode(&out, SLICE("0\x10")));
	ck_assert_uint_eq(out.len, 3);
	buf_reset(&out);
	hex_u64(&out, 0x0123456789abcdefu);
	ck_assert_slice_eq(buf_slice(&out), SLICE("0123456789abcdef"));
	ck_assert(hex_parse_u64(buf_slice(&out), &id));
	ck_assert(id == 0x0123456789abcdefu);
	ck_assert(!hex_parse_u64(SLICE("0123456789ABCDEF"), &id));
	ck_assert(!hex_parse_u64(SLICE("123456789abcdef"), &id));
	buf_reset(&out);
	hex_encode(&out, SLICE("\x00\xff"));
	ck_assert_slice_eq(buf_slice(&out), SLICE("00ff"));
}
END_TEST

START_TEST(crc32c_agrees_with_rfc_3720)
{
	uint8_t bytes[32] = { 0 };

	ck_assert_uint_eq(crc32c(0, SLICE("123456789")), 0xe3069283);
	ck_assert_uint_eq(crc32c(0, slice_of(bytes, 32)), 0x8a9136aa);
	memset(bytes, 0xff, sizeof(bytes));
	ck_assert_uint_eq(crc32c(0, slice_of(bytes, 32)), 0x62a8ab43);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	ck_assert_uint_eq(crc32c(0, slice_of(bytes, 32)), 0x46dd794e);
	ck_assert_uint_eq(crc32c(0, SLICE("")), 0);
}
END_TEST

START_TEST(crc32c_by_parts_and_by_table_is_the_same)
{
	uint8_t bytes[100];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 37 + 11);
	for (size_t n = 0; n <= sizeof(bytes); n++) {
		uint32_t whole = crc32c_by_table(0, slice_of(bytes, sizeof(bytes)));
		ck_assert_uint_eq(crc32c(crc32c(0, slice_of(bytes, n)),
					 slice_of(bytes + n, sizeof(bytes) - n)), whole);
		ck_assert_uint_eq(crc32c(0, slice_of(bytes, n)),
				  crc32c_by_table(0, slice_of(bytes, n)));
	}
}
END_TEST

TEST_MAIN("base/codec", base64_agrees_with_the_vectors_of_rfc_4648, base64_has_one_spelling_only,
	  base64_survives_every_byte_and_length, decoding_stops_at_the_ceiling_of_the_output,
	  hex_reads_both_cases_and_writes_lower_case, crc32c_agrees_with_rfc_3720,
	  crc32c_by_parts_and_by_table_is_the_same)
