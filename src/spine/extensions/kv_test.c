#include "spine/extensions/kv_text.h"

#include "base/slice.h"
#include "base/test.h"

static struct kv_request parse(struct slice text)
{
	uint8_t head[KV_HEAD_BYTES] = { 0 };
	uint32_t length = text.len < sizeof(head) ? (uint32_t)text.len : (uint32_t)sizeof(head);
	struct kv_request r;

	memcpy(head, text.ptr, length);
	kv_begin(&r);
	for (uint32_t at = 0; at < KV_HEAD_BYTES; at += KV_PART_BYTES)
		kv_part(head + at, at, length, &r);
	kv_end(&r);
	return r;
}

START_TEST(a_plain_read_gives_its_key)
{
	struct kv_request r = parse(SLICE("get abc\r\n"));

	ck_assert_uint_eq(r.kind, KV_GET);
	ck_assert_uint_eq(r.key_at, 4);
	ck_assert_uint_eq(r.key_length, 3);
	ck_assert_uint_eq(kv_whole(&r), 9);
}
END_TEST

START_TEST(commands_are_told_apart_by_their_words)
{
	static const struct {
		const char *text;
		uint32_t kind;
	} rows[] = {
		{ "gets a\r\n", KV_READ }, { "get a b\r\n", KV_READ }, { "get\r\n", KV_READ }, { "version\r\n", KV_READ },
		{ "set a 0 0 5\r\n", KV_STORE }, { "add a 0 0 5\r\n", KV_STORE }, { "replace a 0 0 5\r\n", KV_STORE },
		{ "append a 0 0 5\r\n", KV_STORE }, { "prepend a 0 0 5\r\n", KV_STORE }, { "cas a 0 -1 5 9\r\n", KV_STORE },
		{ "delete a\r\n", KV_CHANGE }, { "incr a 1\r\n", KV_CHANGE }, { "decr a 1\r\n", KV_CHANGE },
		{ "touch a 1\r\n", KV_CHANGE },
		{ "set a 0 0 5 noreply\r\n", KV_OTHER }, { "cas a 0 0 5\r\n", KV_OTHER }, { "delete a noreply\r\n", KV_OTHER },
		{ "incr a 1 noreply\r\n", KV_OTHER }, { "flush_all\r\n", KV_OTHER }, { "gat 1 a\r\n", KV_OTHER },
		{ "mg a v\r\n", KV_OTHER }, { "GET a\r\n", KV_OTHER }, { "getgetgetget a\r\n", KV_OTHER }, { "", KV_OTHER },
		{ "\r\n", KV_OTHER }, { "get a", KV_OTHER }, { "get a\n", KV_OTHER }, { "get  a\r\n", KV_OTHER },
		{ " get a\r\n", KV_OTHER }, { "get a \r\n", KV_OTHER }, { "get a\rb\r\n", KV_OTHER }, { "get\ta\r\n", KV_OTHER },
		{ "get a\x7f\r\n", KV_OTHER }, { "set a 0 0 -1\r\n", KV_OTHER }, { "set a 0 0 99999999999\r\n", KV_OTHER },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		ck_assert_msg(parse(slice_str(rows[i].text)).kind == rows[i].kind, "%s", rows[i].text);
}
END_TEST

START_TEST(the_length_of_a_value_counts_to_the_whole)
{
	struct kv_request r = parse(SLICE("set abc 1 2 10\r\n0123456789\r\n"));

	ck_assert_uint_eq(r.value, 10);
	ck_assert_uint_eq(kv_whole(&r), 28);
}
END_TEST

START_TEST(keys_of_250_bytes_are_taken_and_longer_ones_are_not)
{
	char text[300];

	for (int length = 249; length <= 251; length++) {
		memcpy(text, "get ", 4);
		memset(text + 4, 'k', (size_t)length);
		memcpy(text + 4 + length, "\r\n", 2);
		ck_assert_uint_eq(parse(slice_of(text, (size_t)length + 6)).kind, length <= KV_KEY_BYTES ? KV_GET : KV_OTHER);
	}
}
END_TEST

START_TEST(the_hash_is_that_of_the_key_alone)
{
	ck_assert_uint_eq(parse(SLICE("get abc\r\n")).hash, parse(SLICE("set abc 0 0 1\r\n")).hash);
	ck_assert_uint_eq(parse(SLICE("get abc\r\n")).hash, parse(SLICE("delete abc\r\n")).hash);
	ck_assert_uint_ne(parse(SLICE("get abc\r\n")).hash, parse(SLICE("get abd\r\n")).hash);
}
END_TEST

TEST_MAIN("spine/kv", a_plain_read_gives_its_key, commands_are_told_apart_by_their_words,
	  the_length_of_a_value_counts_to_the_whole, keys_of_250_bytes_are_taken_and_longer_ones_are_not,
	  the_hash_is_that_of_the_key_alone)
