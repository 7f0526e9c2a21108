#include "base/test.h"

#include "mail/message/charset.h"
#include "mail/message/search_text.h"
#include "mail/message/section.h"
#include "mail/message/summary.h"

static struct arena arena = ARENA_INIT(4 * MIME_ARENA_BYTES);
static struct buf out = BUF_INIT(1 << 26);

#define SIMPLE "Return-Path: <ann@example.org>\r\nReceived: from a by b; Fri, 21 Nov 1997 09:55:06 -0600\r\n" \
	"From: Ann Example <ann@example.org>\r\nTo: Bob <bob@example.com>\r\nSubject: lunch on Friday\r\n" \
	"Date: Fri, 21 Nov 1997 09:55:06 -0600\r\nMessage-ID: <1234@local.machine.example>\r\nMIME-Version: 1.0\r\n" \
	"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nhello\r\n"

START_TEST(a_simple_mail_has_a_small_summary)
{
	summary_encode(&out, mime_parse(&arena, SLICE(SIMPLE)));
	ck_assert_int_eq(out.err, 0);
	ck_assert_uint_le(out.len, 200);
}
END_TEST

START_TEST(every_shortened_or_flipped_summary_is_refused_or_safe)
{
	const struct mime *mime;

	summary_encode(&out, mime_parse(&arena, SLICE(SIMPLE)));
	for (size_t n = 0; n < out.len; n++) {
		/* Exactly n bytes in memory of their own, so that sanitizers see a read behind them. */
		uint8_t *copy = malloc(n + 1);
		memcpy(copy, out.ptr, n);
		ck_assert_int_eq(summary_decode(&arena, slice_of(copy, n), &mime), SUMMARY_DAMAGED);
		free(copy);
		for (unsigned int bit = 0; bit < 8; bit++) {
			out.ptr[n] ^= (uint8_t)(1u << bit);
			if (summary_decode(&arena, buf_slice(&out), &mime) == SUMMARY_OK)
				ck_assert_uint_le(mime->root->body_at + mime->root->body_bytes, mime->size);
			out.ptr[n] ^= (uint8_t)(1u << bit);
		}
		arena_reset(&arena);
	}
	buf_addc(&out, 0);
	ck_assert_int_eq(summary_decode(&arena, buf_slice(&out), &mime), SUMMARY_DAMAGED);
}
END_TEST

START_TEST(a_summary_above_its_limit_says_parse_the_body)
{
	AUTO_BUF struct buf message = BUF_INIT(1 << 20);
	const struct mime *mime;

	buf_adds(&message, "To: a@b");
	for (int i = 0; i < 10000; i++)
		buf_printf(&message, ",u%d@host%d", i, i);
	buf_adds(&message, "\r\n\r\n");
	buf_adds(&out, "before");
	summary_encode(&out, mime_parse(&arena, slice_head(buf_slice(&message), 60000)));
	ck_assert_int_eq(out.err, 0);
	ck_assert_uint_eq(out.len, 6 + 3);
	ck_assert_int_eq(summary_decode(&arena, slice_from(buf_slice(&out), 6), &mime), SUMMARY_PARSE_BODY);
	/* A newer version is parsed again, too. */
	ck_assert_int_eq(summary_decode(&arena, SLICE("S\x09\x00"), &mime), SUMMARY_PARSE_BODY);
	ck_assert_int_eq(summary_decode(&arena, SLICE("X\x01\x00"), &mime), SUMMARY_DAMAGED);
}
END_TEST

/* n multiparts inside each other. */
static const struct mime *nested(unsigned int n)
{
	AUTO_BUF struct buf message = BUF_INIT(1 << 20);

	for (unsigned int i = 0; i < n; i++)
		buf_printf(&message, "Content-Type: multipart/mixed; boundary=n%u-\r\n\r\n--n%u-\r\n", i, i);
	buf_adds(&message, "Content-Type: text/plain\r\n\r\ndeep\r\n");
	arena_reset(&arena);
	return mime_parse(&arena, buf_slice(&message));
}

START_TEST(nesting_stops_at_the_limit)
{
	ck_assert(!nested(MIME_DEPTH_MAX - 1)->truncated);
	ck_assert_uint_eq(nested(MIME_DEPTH_MAX - 1)->part_count, MIME_DEPTH_MAX);
	ck_assert(nested(MIME_DEPTH_MAX)->truncated);
	ck_assert_uint_eq(nested(MIME_DEPTH_MAX)->part_count, MIME_DEPTH_MAX);
	ck_assert_uint_eq(nested(MIME_DEPTH_MAX + 1)->part_count, MIME_DEPTH_MAX);
}
END_TEST

START_TEST(parts_stop_at_the_limit)
{
	for (unsigned int n = MIME_PARTS_MAX - 2; n <= MIME_PARTS_MAX; n++) {
		AUTO_BUF struct buf message = BUF_INIT(1 << 20);
		buf_adds(&message, "Content-Type: multipart/mixed; boundary=b\r\n\r\n");
		for (unsigned int i = 0; i < n; i++)
			buf_adds(&message, "--b\r\n\r\nx\r\n");
		arena_reset(&arena);
		const struct mime *mime = mime_parse(&arena, buf_slice(&message));
		ck_assert_uint_eq(mime->part_count, MIN(n + 1, (unsigned int)MIME_PARTS_MAX));
		ck_assert(mime->truncated == (n == MIME_PARTS_MAX));
	}
}
END_TEST

START_TEST(an_arena_without_room_gives_an_opaque_tree)
{
	for (size_t room = 0; room < 60000; room += 500) {
		struct arena small = ARENA_INIT(room);
		const struct mime *mime = mime_parse(&small, SLICE(SIMPLE));
		ck_assert(mime == NULL || mime->root != NULL);
		ck_assert(mime == NULL || mime->size == sizeof(SIMPLE) - 1);
		arena_done(&small);
	}
}
END_TEST

static bool found(const char *message, const char *key, bool headers)
{
	arena_reset(&arena);
	const struct mime *mime = mime_parse(&arena, slice_str(message));
	struct search_text *s = search_text_new(&arena, mime, slice_str(key), headers);
	ck_assert(s != NULL);
	for (size_t i = 0; message[i] != '\0'; i++)
		(void)search_text_feed(s, slice_of(message + i, 1));
	bool yes = search_text_end(s);
	search_text_free(s);
	return yes;
}

START_TEST(text_is_searched_decoded_and_without_case)
{
	const char *m = "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\n"
		"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nna=EF=\r\nve\r\n"
		"--b\r\nContent-Type: image/png\r\n\r\nhidden\r\n--b\r\nContent-Type: text/plain\r\n"
		"Content-Transfer-Encoding: base64\r\n\r\nbmVlZGxl\r\n--b\r\nContent-Transfer-Encoding: x-odd\r\n\r\nodd\r\n--b--\r\n";

	charset_init();
	ck_assert(found(m, "NA\xc3\x8fVE", false));
	ck_assert(found(m, "Needle", false));
	ck_assert(found(m, "gr\xc3\xbc\xc3\x9f""e", true));
	ck_assert(!found(m, "gr\xc3\xbc\xc3\x9f""e", false));
	ck_assert(found(m, "subject: ", true));
	ck_assert(!found(m, "hidden", true));
	ck_assert(!found(m, "odd", false));
	ck_assert(!found(m, "preamble", true));
	ck_assert(!found(m, "veneedle", false));
}
END_TEST

START_TEST(binary_sections_name_their_encoding)
{
	const struct mime *mime = mime_parse(&arena, SLICE("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
		"Content-Transfer-Encoding: base64\r\n\r\nQQ==\r\n--b\r\nContent-Transfer-Encoding: x-odd\r\n\r\nx\r\n--b--\r\n"));
	static const struct { const char *text; enum section_result want; enum mime_encoding encoding; } cases[] = {
		{ "1", SECTION_OK, MIME_BASE64 }, { "2", SECTION_UNKNOWN_ENCODING, 0 }, { "3", SECTION_NO_SUCH_PART, 0 },
		{ "", SECTION_OK, MIME_BINARY }, { "1.MIME", SECTION_BAD_SYNTAX, 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct section s;
		struct section_range range;
		enum mime_encoding encoding;
		ck_assert_int_eq(section_parse(&arena, slice_str(cases[i].text), &s), SECTION_OK);
		ck_assert_int_eq(section_binary(mime, &s, &range, &encoding), cases[i].want);
		if (cases[i].want == SECTION_OK)
			ck_assert_int_eq(encoding, cases[i].encoding);
	}
	static const char *const bad[] = { "0", "1.", ".1", "1.0", "MIME", "HEADER.FIELDS", "HEADER.FIELDS ()", "4294967296", "x",
					   "HEADER.FIELDS (A  B)", "HEADER.FIELDS (\"A)" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct section s;
		ck_assert_msg(section_parse(&arena, slice_str(bad[i]), &s) == SECTION_BAD_SYNTAX, "%s", bad[i]);
	}
}
END_TEST

TEST_MAIN_SLOW(60, "message/summary", a_simple_mail_has_a_small_summary, every_shortened_or_flipped_summary_is_refused_or_safe,
	       a_summary_above_its_limit_says_parse_the_body, nesting_stops_at_the_limit, parts_stop_at_the_limit,
	       an_arena_without_room_gives_an_opaque_tree, text_is_searched_decoded_and_without_case,
	       binary_sections_name_their_encoding)
