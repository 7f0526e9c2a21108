#include <stdio.h>

#include "base/test.h"
#include "mail/formats/mbox.h"

static struct mbox_reader r;

/*
 * What a reader makes of a file, given in pieces of `step` bytes: "[<time or -> <flags> <uid> <keywords>|bytes]" for
 * each message.
 */
static void read_all(struct slice file, size_t step, struct buf *out)
{
	AUTO_BUF struct buf body = BUF_INIT(1u << 20);
	uint64_t at = 0;
	struct slice in = slice_head(file, step), rest = slice_from(file, step), bytes;

	buf_reset(out);
	mbox_reader_init(&r);
	for (;;) {
		switch (mbox_next(&r, &in, rest.len == 0, &bytes)) {
		case MBOX_MORE:
			in = slice_head(rest, step);
			rest = slice_from(rest, step);
			break;
		case MBOX_BEGIN:
			ck_assert(slice_starts(slice_from(file, r.message_at), SLICE("From ")));
			buf_reset(&body);
			at = r.message_at;
			break;
		case MBOX_BYTES:
			buf_add(&body, bytes);
			break;
		case MBOX_END:
			ck_assert_uint_eq(r.message_at, at);	/* not the next one's */
			buf_printf(out, "[%lld %u %u %.*s|", (long long)r.time_s, r.flags, r.uid, (int)r.keywords_len,
				   r.keywords);
			buf_add(out, buf_slice(&body));
			buf_adds(out, "]");
			break;
		case MBOX_DONE:
			return;
		}
	}
}

static void expect(struct slice file, const char *want, size_t want_len)
{
	static const size_t steps[] = { 1, 2, 3, 7, 1000000 };

	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		AUTO_BUF struct buf got = BUF_INIT(1u << 20);

		read_all(file, steps[i], &got);
		ck_assert_slice_eq(buf_slice(&got), slice_of(want, want_len));
	}
}
#define EXPECT(file, want) expect(SLICE(file), want, sizeof(want) - 1)
#define FROM "From a@b Sat Jan  3 01:02:03 1970\n"
#define AT "176523 "

START_TEST(messages_are_parted_by_from_lines_after_blank_ones)
{
	EXPECT(FROM "Subject: x\n\nbody\n\n" FROM "Subject: y\n\n\n",
	       "[" AT "0 0 |Subject: x\n\nbody\n][" AT "0 0 |Subject: y\n\n]");
	/* Without the blank line at the end, and without the last line's end. */
	EXPECT(FROM "Subject: x\n\nbody\n", "[" AT "0 0 |Subject: x\n\nbody\n]");
	EXPECT(FROM "Subject: x\n\nbody", "[" AT "0 0 |Subject: x\n\nbody]");
	EXPECT(FROM "\n" FROM "\n", "[" AT "0 0 |][" AT "0 0 |]");
	EXPECT("From x Thu Jan  1 00:00:07 1970\na\n\n" FROM "b\n\n", "[7 0 0 |a\n][" AT "0 0 |b\n]");
	EXPECT(FROM, "[" AT "0 0 |]");
	EXPECT("", "");
}
END_TEST

START_TEST(a_from_line_without_blank_before_or_date_is_text)
{
	EXPECT(FROM "a: b\n" FROM "\n", "[" AT "0 0 |a: b\n" FROM "]");
	EXPECT(FROM "a: b\n\nFrom here on it rains\n", "[" AT "0 0 |a: b\n\nFrom here on it rains\n]");
	EXPECT(FROM "a: b\n\nFrom x Sat Foo 33 01:02:03 1970\n\n", "[" AT "0 0 |a: b\n\nFrom x Sat Foo 33 01:02:03 1970\n]");
	EXPECT(FROM "a: b\n\nFrom x Sat Jan 33 01:02:03 1970\n\n", "[" AT "0 0 |a: b\n\nFrom x Sat Jan 33 01:02:03 1970\n]");
	EXPECT(FROM "a: b\n\nFrom x Sat Jan  3 01:02:03\n\n", "[" AT "0 0 |a: b\n\nFrom x Sat Jan  3 01:02:03\n]");
}
END_TEST

START_TEST(dates_come_in_many_forms)
{
	EXPECT("From a b c Sat Jan 3 01:02 1970\n", "[176520 0 0 |]");
	EXPECT("From - Sat Jan  3 01:02:03 UTC 1970\r\n", "[" AT "0 0 |]");
	EXPECT("From - Sat Jan  3 01:02:03 1970 +0100\n", "[172923 0 0 |]");
	EXPECT("From - Sat Jan  3 01:02:03 -0130 1970\n", "[181923 0 0 |]");
	EXPECT("From a b c d e f g h i j k l m n o p q Sat Jan  3 01:02:03 1970\n", "[" AT "0 0 |]");
}
END_TEST

START_TEST(quoted_from_lines_lose_one_mark)
{
	EXPECT(FROM "\n>From x\n>>From y\n> From z\n>Fromage\n\n", "[" AT "0 0 |\nFrom x\n>From y\n> From z\n>Fromage\n]");
}
END_TEST

START_TEST(line_ends_and_nul_come_through)
{
	expect(SLICE(FROM "a: b\r\n\r\nx\r\n\r\ny\0z\r\n\r\n" FROM "\n"),
	       "[" AT "0 0 |a: b\r\n\r\nx\r\n\r\ny\0z\r\n][" AT "0 0 |]",
	       sizeof("[" AT "0 0 |a: b\r\n\r\nx\r\n\r\ny\0z\r\n][" AT "0 0 |]") - 1);
	EXPECT(FROM "\n\n\n\n" FROM "\n\n", "[" AT "0 0 |\n\n\n][" AT "0 0 |\n]");
}
END_TEST

START_TEST(flags_of_others_are_taken_out_wherever_they_stand)
{
	EXPECT(FROM "Subject: x\nStatus: RO\nX-Status: AFTD\nContent-Length: 5\nX-Keywords: a b\n\tfolded away\nX-UID: 17\n"
	       "X-Keywords: c\n\nStatus: is text here\n\n",
	       "[" AT "31 17 a b c|Subject: x\n\nStatus: is text here\n]");
	EXPECT(FROM "Status: O\nX-UID: none\nX-IMAP: 77 12 a\n\n", "[" AT "0 0 |]");
	ck_assert(r.internal);
	ck_assert_uint_eq(r.uidvalidity, 77);
}
END_TEST

START_TEST(behind_our_own_block_nothing_is_taken_out)
{
	EXPECT(FROM "X-IMAPbase: 5 9\nX-UID: 8\nStatus: RO\nX-Status: \nX-Keywords: $Forwarded\nStatus: mine\nX-UID: 9\n\n\n",
	       "[" AT "1 8 $Forwarded|Status: mine\nX-UID: 9\n\n]");
	ck_assert_uint_eq(r.uidvalidity, 5);
	/* A block that is none: something else between. */
	EXPECT(FROM "X-UID: 8\nSubject: x\nStatus: RO\nX-Status: F\nX-Keywords: \nX-UID: 9\n\n\n",
	       "[" AT "5 9 |Subject: x\n\n]");
}
END_TEST

START_TEST(what_stands_before_the_first_message_is_counted_as_garbage)
{
	EXPECT("hello\n\n" FROM "a: b\n\n", "[" AT "0 0 |a: b\n]");
	ck_assert_uint_eq(r.garbage_bytes, 7);
	EXPECT("From nobody\nhello\n", "");
	ck_assert_uint_eq(r.garbage_bytes, 18);
}
END_TEST

START_TEST(very_long_lines_are_never_held)
{
	AUTO_BUF struct buf file = BUF_INIT(1u << 20), want = BUF_INIT(1u << 20), got = BUF_INIT(1u << 20);

	buf_adds(&file, FROM "X: ");
	buf_fill(&file, 'h', 100000);
	buf_adds(&file, "\nX-Keywords: ");
	buf_fill(&file, 'k', 100000);
	buf_adds(&file, "\n\n");
	buf_fill(&file, '>', 5000);
	buf_adds(&file, "From \n\nFrom - Sat Jan  3 01:02:03 1970 ");
	buf_fill(&file, 'f', 100000);
	buf_adds(&file, "\nbody\n");
	buf_adds(&want, "[" AT "0 0 |X: ");
	buf_fill(&want, 'h', 100000);
	buf_adds(&want, "\n\n");
	buf_fill(&want, '>', 4999);
	buf_adds(&want, "From \n][" AT "0 0 |body\n]");
	read_all(buf_slice(&file), 4096, &got);
	/* The long keyword's first piece is all of it that was looked at. */
	ck_assert(slice_ends(buf_slice(&got), slice_from(buf_slice(&want), 20)));
}
END_TEST

/* Message -> file -> message, in pieces. */
static void round_trip(struct slice message, const char *want_file, struct slice want)
{
	for (size_t step = 1; step < 9; step += 3) {
		const struct mbox_meta meta = { .time_s = 176523, .flags = FORMAT_SEEN | FORMAT_FLAGGED, .uid = 3,
						.uidvalidity = 7, .uidnext = 4, .keywords = SLICE("x y") };
		AUTO_BUF struct buf file = BUF_INIT(1u << 20), got = BUF_INIT(1u << 20), full = BUF_INIT(1u << 20);
		struct mbox_writer w;

		mbox_write_begin(&w, &meta, &file);
		for (struct slice in = message; in.len > 0; in = slice_from(in, step))
			mbox_write(&w, slice_head(in, step), &file);
		mbox_write_end(&w, &file);
		mbox_write_begin(&w, &meta, &file);
		mbox_write_end(&w, &file);
		ck_assert_int_eq(file.err, 0);
		if (want_file != NULL)
			ck_assert_ptr_nonnull(strstr(buf_cstr(&file), want_file));
		read_all(buf_slice(&file), 5, &got);
		buf_adds(&full, "[" AT "5 3 x y|");
		buf_add(&full, want);
		buf_adds(&full, "][" AT "5 3 x y|]");
		if (full.len < 1000)
			ck_assert_slice_eq(buf_slice(&got), buf_slice(&full));
		ck_assert(slice_eq(buf_slice(&got), buf_slice(&full)));
		ck_assert_uint_eq(r.uidvalidity, 7);
	}
}

START_TEST(what_is_written_reads_back_as_it_was)
{
	round_trip(SLICE("Subject: x\r\n\r\nbody\r\n"),
		   "From MAILER-DAEMON Sat Jan  3 01:02:03 1970\nX-IMAPbase: 7 0000000003\nX-UID: 3\nStatus: RO\n"
		   "X-Status: F\nX-Keywords: x y\nSubject: x\n\nbody\n\nFrom ",
		   SLICE("Subject: x\n\nbody\n"));
	round_trip(SLICE("\r\nFrom me Sat Jan  3 01:02:03 1970\r\n>From you\r\n>>From\r\nFro\r\n"), "\n>From me Sat",
		   SLICE("\nFrom me Sat Jan  3 01:02:03 1970\n>From you\n>>From\nFro\n"));
	/* Fields that look like ours are the message's own. */
	round_trip(SLICE("Status: mine\r\nX-Keywords: mine\r\n\r\n\r\n"), "\nStatus: mine\n",
		   SLICE("Status: mine\nX-Keywords: mine\n\n\n"));
	/* No line's end at the end: there is one afterwards. */
	round_trip(SLICE("a: b\r\n\r\nlast From"), NULL, SLICE("a: b\n\nlast From\n"));
	round_trip(SLICE("a: b\r\n\r\nFrom"), NULL, SLICE("a: b\n\nFrom\n"));
	round_trip(SLICE("a: b\r\n\r\nlast\r"), NULL, SLICE("a: b\n\nlast\r\n"));
	round_trip(SLICE(""), NULL, SLICE(""));
	round_trip(SLICE("\r\n\r\n"), NULL, SLICE("\n\n"));
	round_trip(SLICE("\0\r\n\xff\r\n"), NULL, SLICE("\0\n\xff\n"));
}
END_TEST

START_TEST(quotes_of_any_length_survive)
{
	for (size_t n = MBOX_LINE_BYTES_MAX - 9; n <= MBOX_LINE_BYTES_MAX + 3; n++) {
		AUTO_BUF struct buf message = BUF_INIT(1u << 16);

		buf_fill(&message, '>', n);
		buf_adds(&message, "From x\n");
		round_trip(buf_slice(&message), NULL, buf_slice(&message));
	}
}
END_TEST

START_TEST(keywords_are_kept_up_to_their_limit_and_whole)
{
	for (size_t n = MBOX_KEYWORDS_BYTES_MAX - 3; n <= MBOX_KEYWORDS_BYTES_MAX - 1; n++) {
		AUTO_BUF struct buf file = BUF_INIT(1u << 16), got = BUF_INIT(1u << 16);

		buf_adds(&file, FROM "X-Keywords: ");
		buf_fill(&file, 'k', n);
		buf_adds(&file, "\nX-Keywords: z\n\n");
		read_all(buf_slice(&file), 1000, &got);
		/* The second one fits, with a blank, or is left out. */
		ck_assert_uint_eq(r.keywords_len, n + 2 <= MBOX_KEYWORDS_BYTES_MAX ? n + 2 : n);
	}
}
END_TEST

START_TEST(line_ends_change_both_ways_in_any_pieces)
{
	const struct slice text = SLICE("a\r\nb\n\r\r\nc\rd\r");

	for (size_t step = 1; step < 5; step++) {
		AUTO_BUF struct buf lf = BUF_INIT(1000), crlf = BUF_INIT(1000);
		struct line_ends to_lf = { 0 }, to_crlf = { 0 };

		for (struct slice in = text; in.len > 0; in = slice_from(in, step)) {
			line_ends_to_lf(&to_lf, slice_head(in, step), &lf);
			line_ends_to_crlf(&to_crlf, slice_head(in, step), &crlf);
		}
		line_ends_to_lf_end(&to_lf, &lf);
		ck_assert_slice_eq(buf_slice(&lf), SLICE("a\nb\n\r\nc\rd\r"));
		ck_assert_slice_eq(buf_slice(&crlf), SLICE("a\r\nb\r\n\r\r\nc\rd\r"));
	}
}
END_TEST

TEST_MAIN("formats/mbox", messages_are_parted_by_from_lines_after_blank_ones,
	  a_from_line_without_blank_before_or_date_is_text, dates_come_in_many_forms, quoted_from_lines_lose_one_mark,
	  line_ends_and_nul_come_through, flags_of_others_are_taken_out_wherever_they_stand,
	  behind_our_own_block_nothing_is_taken_out, what_stands_before_the_first_message_is_counted_as_garbage,
	  very_long_lines_are_never_held, what_is_written_reads_back_as_it_was, quotes_of_any_length_survive,
	  keywords_are_kept_up_to_their_limit_and_whole, line_ends_change_both_ways_in_any_pieces)
