#include "mail/smtp/data.h"

#include "base/test.h"
#include "mail/smtp/data_reference.h"

/* Feed `in` in pieces of `step` bytes. */
static struct data_outcome feed(struct slice in, size_t step, struct buf *out)
{
	struct data_outcome o = { .end = SMTP_DATA_MORE };
	struct smtp_data d;
	size_t at = 0;

	smtp_data_init(&d);
	while (at < in.len && o.end == SMTP_DATA_MORE) {
		struct slice piece = slice_sub(in, at, at + step), text;
		size_t len = piece.len;
		enum smtp_data_event e;
		while ((e = smtp_data_next(&d, &piece, &text)) == SMTP_DATA_TEXT)
			buf_add(out, text);
		at += len - piece.len;
		o.end = e;
	}
	o.used = at;
	o.faults = d.faults;
	return o;
}

static const struct {
	const char *in;
	const char *want;
} good[] = {
	{ ".\r\n", "" },
	{ "a\r\n.\r\n", "a\r\n" },
	{ "a\r\n..\r\n.\r\n", "a\r\n.\r\n" },
	{ "..a\r\n.b\r\n.\r\n", ".a\r\nb\r\n" },
	{ "...\r\n.\r\n", "..\r\n" },
	{ "\r\n\r\n.\r\n", "\r\n\r\n" },
	{ "a.\r\n.\r\n", "a.\r\n" },
	{ "a\r\n. \r\n.\r\n", "a\r\n \r\n" },
};

START_TEST(dots_are_unstuffed_and_the_end_is_found_in_pieces_of_any_size)
{
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		for (size_t step = 1; step < 12; step++) {
			AUTO_BUF struct buf in = BUF_INIT(1000), out = BUF_INIT(1000);
			buf_adds(&in, good[i].in);
			buf_adds(&in, "NEXT\r\n");
			struct data_outcome o = feed(buf_slice(&in), step, &out);
			ck_assert_int_eq(o.end, SMTP_DATA_END);
			ck_assert_uint_eq(o.used, strlen(good[i].in));
			ck_assert_uint_eq(o.faults, 0);
			ck_assert_slice_eq(buf_slice(&out), slice_str(good[i].want));
		}
}
END_TEST

/*
 * Ends of data that some server has taken or passed on (CVE-2023-51764, -51765, -51766 and their
 * relatives), between a first message and a smuggled second one.
 */
static const struct {
	struct slice end;
	bool doubt;			/* else the message goes on, and is refused for its faults */
} smuggling[] = {
	{ SLICE_INIT("\n.\n"), true },
	{ SLICE_INIT("\n.\r\n"), true },
	{ SLICE_INIT("\r\n.\n"), true },
	{ SLICE_INIT("\r.\r"), true },
	{ SLICE_INIT("\r.\n"), true },
	{ SLICE_INIT("\n.\r"), true },
	{ SLICE_INIT("\r\n.\rX"), true },
	{ SLICE_INIT("\r.\r\n"), true },
	{ SLICE_INIT("\r\n.\r\r\n"), true },
	{ SLICE_INIT("\r\r\n.\n"), true },
	{ SLICE_INIT("\n\r.\r\n"), true },
	{ SLICE_INIT("\n\n.\n"), true },
	{ SLICE_INIT("\n\n.\r\n"), true },
	{ SLICE_INIT("\r\r.\r\r"), true },
	{ SLICE_INIT("\r\n\0.\r\n"), true },
	{ SLICE_INIT("\r\n.\0\r\n"), true },
	{ SLICE_INIT("\r\n\0.\0\r\n"), true },
	{ SLICE_INIT("\r\n.\r\0\n"), true },
	{ SLICE_INIT("\n\0.\n"), true },
	{ SLICE_INIT("\n.\0\n"), true },
	{ SLICE_INIT("\n\0.\r\n"), true },
	{ SLICE_INIT("\n.\0\r\n"), true },
	{ SLICE_INIT("\r\0.\r"), true },
	{ SLICE_INIT("\r\0\n.\r\n"), true },
	{ SLICE_INIT("\r\n\0\0.\r\n"), true },
	{ SLICE_INIT("\n\r\n\0.\r\n"), true },
	{ SLICE_INIT("\r\n\r.\r\n"), true },
	{ SLICE_INIT("\r\n\n.\r\n"), true },
	{ SLICE_INIT("\r\n\n.\n"), true },
	{ SLICE_INIT("\r\n\r.\r"), true },
	/* Stuffed or spoiled: no line of a single dot for anybody, yet not clean. */
	{ SLICE_INIT("\n..\n"), false },
	{ SLICE_INIT("\n..\r\n"), false },
	{ SLICE_INIT("\r\n..\n"), false },
	{ SLICE_INIT("\r..\r"), false },
	{ SLICE_INIT("\r\n..\r"), false },
	{ SLICE_INIT("\n. \n"), false },
	{ SLICE_INIT("\r\n.\t\n"), false },
	{ SLICE_INIT("\r. \r"), false },
	{ SLICE_INIT("\n .\r\n"), false },
	{ SLICE_INIT("\0\n"), false },
	{ SLICE_INIT("\r\n\0..\r\n"), false },
	{ SLICE_INIT("\r"), false },
	{ SLICE_INIT("\n"), false },
	{ SLICE_INIT("\r\n\r\r\n"), false },
	/* Not a fault at all: other characters that look like line ends. */
	{ SLICE_INIT("\x0b.\x0b"), false },
	{ SLICE_INIT("\x0c.\x0c"), false },
	{ SLICE_INIT("\xc2\x85.\xc2\x85"), false },
	{ SLICE_INIT("\xe2\x80\xa8.\xe2\x80\xa8"), false },
	{ SLICE_INIT("\r\n\xe2\x80\xa4\r\n"), false },
};

START_TEST(a_smuggled_end_of_data_never_ends_the_data)
{
	for (size_t i = 0; i < ARRAY_LEN(smuggling); i++)
		for (size_t step = 1; step < 90; step += step < 8 ? 1 : 40) {
			AUTO_BUF struct buf in = BUF_INIT(1000), out = BUF_INIT(1000);
			bool clean = i >= ARRAY_LEN(smuggling) - 5;

			buf_adds(&in, "Subject: one\r\n\r\nfirst");
			buf_add(&in, smuggling[i].end);
			buf_adds(&in, "MAIL FROM:<x@y>\r\nRCPT TO:<a@b>\r\nDATA\r\nsecond\r\n.\r\n");
			struct data_outcome o = feed(buf_slice(&in), step, &out);
			if (smuggling[i].doubt) {
				ck_assert_msg(o.end == SMTP_DATA_DOUBT, "%zu: %d", i, (int)o.end);
			} else {
				ck_assert_msg(o.end == SMTP_DATA_END, "%zu: %d", i, (int)o.end);
				ck_assert_uint_eq(o.used, in.len);
				ck_assert_msg((o.faults == 0) == clean, "%zu", i);
			}
		}
}
END_TEST

START_TEST(the_fast_reader_agrees_with_the_plain_one_on_all_short_inputs)
{
	static const uint8_t alphabet[] = { 'x', '.', '\r', '\n', '\0' };
	uint8_t text[7];

	for (unsigned n = 0; n < 78125; n++) {
		unsigned left = n;
		for (size_t i = 0; i < sizeof(text); i++, left /= 5)
			text[i] = alphabet[left % 5];
		struct slice in = slice_of(text, sizeof(text));
		AUTO_BUF struct buf want = BUF_INIT(100), got = BUF_INIT(100);
		struct data_outcome w = data_reference(in, &want);
		struct data_outcome g = feed(in, 1 + n % 7, &got);
		ck_assert_msg(w.end == g.end, "case %u: want %d got %d", n, (int)w.end, (int)g.end);
		if (w.end == SMTP_DATA_DOUBT)
			continue;
		ck_assert_uint_eq(w.faults, g.faults);
		if (w.end == SMTP_DATA_END) {
			ck_assert_uint_eq(w.used, g.used);
			ck_assert_slice_eq(buf_slice(&got), buf_slice(&want));
		} else {
			/* The fast one holds the CR of a line that may be the last. */
			ck_assert(slice_starts(buf_slice(&want), buf_slice(&got)));
			ck_assert_uint_le(want.len - got.len, 1);
		}
	}
}
END_TEST

START_TEST(chunks_are_checked_for_bare_line_ends_across_their_borders)
{
	static const struct {
		struct slice one, two;
		unsigned faults;
	} cases[] = {
		{ SLICE_INIT("a\r\n"), SLICE_INIT("b\r\n"), 0 },
		{ SLICE_INIT("a\r"), SLICE_INIT("\nb"), 0 },
		{ SLICE_INIT("a\r"), SLICE_INIT("b"), SMTP_FAULT_BARE_CR },
		{ SLICE_INIT("a"), SLICE_INIT("\nb"), SMTP_FAULT_BARE_LF },
		{ SLICE_INIT("a"), SLICE_INIT("b\r"), SMTP_FAULT_BARE_CR },
		{ SLICE_INIT("\n.\r\n"), SLICE_INIT(""), SMTP_FAULT_BARE_LF },
		{ SLICE_INIT(".\r\n"), SLICE_INIT("\0"), SMTP_FAULT_NUL },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct smtp_data d;
		smtp_data_init(&d);
		smtp_data_check(&d, cases[i].one, false);
		smtp_data_check(&d, cases[i].two, true);
		ck_assert_uint_eq(d.faults, cases[i].faults);
	}
}
END_TEST

TEST_MAIN("smtp/data", dots_are_unstuffed_and_the_end_is_found_in_pieces_of_any_size,
	  a_smuggled_end_of_data_never_ends_the_data,
	  the_fast_reader_agrees_with_the_plain_one_on_all_short_inputs,
	  chunks_are_checked_for_bare_line_ends_across_their_borders)
