/*
 * How fast mail/message is: time of a typical message, and of hostile ones by the byte.
 *
 * Each line: what, bytes, microseconds a run (best of 5 rounds), nanoseconds a byte, and the target when there is one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/must.h"
#include "mail/message/bodystructure.h"
#include "mail/message/charset.h"
#include "mail/message/search_text.h"
#include "mail/message/subject.h"
#include "mail/message/summary.h"

static struct arena arena = ARENA_INIT(8 * MIME_ARENA_BYTES);
static struct buf out = BUF_INIT(1u << 28);
static bool missed;

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void parse_and_encode(struct slice message)
{
	arena_reset(&arena);
	buf_reset(&out);
	summary_encode(&out, mime_parse(&arena, message));
	must(out.err == 0);
}

static void parse(struct slice message)
{
	arena_reset(&arena);
	must(mime_parse(&arena, message) != NULL);
}

static struct buf summary = BUF_INIT(1 << 20);

static void fetch(struct slice message)
{
	const struct mime *mime;

	arena_reset(&arena);
	buf_reset(&out);
	must(summary_decode(&arena, buf_slice(&summary), &mime) == SUMMARY_OK);
	bodystructure_envelope(&out, mime->root->envelope, false);
	bodystructure_write(&out, mime->root, true, false);
}

static void search(struct slice message)
{
	arena_reset(&arena);
	const struct mime *mime = mime_parse(&arena, message);
	struct search_text *s = search_text_new(&arena, mime, SLICE("xyzzy"), true);
	must(s != NULL && !search_text_feed(s, message) && !search_text_end(s));
	search_text_free(s);
}

static void base_subject(struct slice message)
{
	bool is_reply;

	buf_reset(&out);
	subject_base(&out, message, &is_reply);
}

/* target_ns: most nanoseconds a byte, target_us: most microseconds a run; 0 is none. */
static void measure(const char *what, void (*run)(struct slice), struct slice text, double target_us, double target_ns)
{
	double best = 1e18;
	size_t times = 1;

	for (int round = 0; round < 6; round++) {
		double start = now_us();
		for (size_t i = 0; i < times; i++)
			run(text);
		double took = now_us() - start, one = took / (double)times;
		if (round > 0 && one < best)
			best = one;
		if (round == 0)
			times = one > 50000 ? 1 : (size_t)(50000 / (one + 0.01)) + 1;
	}
	double ns = best * 1000 / (double)text.len;
	bool bad = (target_us > 0 && best > target_us) || (target_ns > 0 && ns > target_ns);
	missed |= bad;
	printf("%-46s %9zu B %10.2f us %7.2f ns/B%s\n", what, text.len, best, ns, bad ? "  ABOVE TARGET" : "");
}

static void typical(struct buf *b, size_t bytes)
{
	buf_adds(b, "Return-Path: <ann@example.org>\r\nReceived: from mx.example.org (mx.example.org [192.0.2.1])\r\n"
		    "\tby mail.example.com with ESMTPS id 12345; Fri, 21 Nov 2025 09:55:06 -0600\r\n"
		    "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=mail;\r\n"
		    "\tbh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=abcdefghijklmnopqrstuvwxyz\r\n"
		    "From: =?utf-8?q?Ann_Ex=C3=A4mple?= <ann@example.org>\r\nTo: Bob <bob@example.com>, carol@example.net\r\n"
		    "Subject: Re: lunch on Friday?\r\nDate: Fri, 21 Nov 2025 09:55:06 -0600\r\n"
		    "Message-ID: <1234.5678@example.org>\r\nIn-Reply-To: <1@example.com>\r\nReferences: <0@example.com> <1@example.com>\r\n"
		    "MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=\"=_abc123\"\r\n\r\n"
		    "--=_abc123\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n");
	while (b->len < bytes / 2)
		buf_adds(b, "The quick brown fox jumps over the lazy dog, and so do all of us now.\r\n");
	buf_adds(b, "\r\n--=_abc123\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n");
	while (b->len < bytes)
		buf_adds(b, "<p>The quick brown fox jumps over the lazy dog,=20and so do all of us.=\r\n");
	buf_adds(b, "\r\n--=_abc123--\r\n");
}

static void repeat(struct buf *b, const char *head, const char *unit, size_t bytes)
{
	buf_reset(b);
	buf_adds(b, head);
	while (b->len < bytes)
		buf_adds(b, unit);
}

/* A hundred boundaries with one prefix, and lines that nearly match them all. */
static void near_boundaries(struct buf *b, const char *line, size_t bytes)
{
	buf_reset(b);
	for (unsigned int i = 0; i < 98; i++)
		buf_printf(b, "Content-Type: multipart/mixed; boundary=\"a%c%c\"\r\n\r\n--a%c%c\r\n", 'a' + i / 26, 'a' + i % 26,
			   'a' + i / 26, 'a' + i % 26);
	buf_adds(b, "\r\n");
	while (b->len < bytes)
		buf_adds(b, line);
}

int main(void)
{
	AUTO_BUF struct buf b = BUF_INIT(64u << 20);

	charset_init();
	typical(&b, 4096);
	measure("typical: parse and summary", parse_and_encode, buf_slice(&b), 10, 0);
	summary_encode(&summary, mime_parse(&arena, buf_slice(&b)));
	printf("   its summary has %zu bytes\n", summary.len);
	measure("typical: summary to ENVELOPE, BODYSTRUCTURE", fetch, buf_slice(&b), 10, 0);
	measure("typical: SEARCH TEXT", search, buf_slice(&b), 0, 10);
	repeat(&b, "Content-Type: text/plain\r\n\r\n", "0123456789012345678901234567890123456789012345678901234567890123456789\r\n", 50u << 20);
	measure("50 MiB of text: parse", parse, buf_slice(&b), 0, 1);
	repeat(&b, "\r\n", "\n", 1 << 20);
	measure("only line ends", parse, buf_slice(&b), 0, 10);
	repeat(&b, "Content-Type: multipart/mixed; boundary=b\r\n\r\n", "--b\n", 1 << 20);
	measure("only boundaries (10,000 parts)", parse, buf_slice(&b), 0, 0);
	near_boundaries(&b, "--ab\n", 1 << 20);
	measure("98 nested boundaries, near misses", parse, buf_slice(&b), 0, 30);
	repeat(&b, "To: ", "a@b,", 100000);
	measure("addresses", parse, buf_slice(&b), 0, 100);
	repeat(&b, "To: ", "((((((((", 100000);
	measure("comments that never end", parse, buf_slice(&b), 0, 20);
	repeat(&b, "Content-Type: a/b", ";x*0=y", 100000);
	measure("parameters in pieces", parse, buf_slice(&b), 0, 100);
	repeat(&b, "", "=?", 100000);
	measure("subject: starts of encoded-words", base_subject, buf_slice(&b), 0, 30);
	repeat(&b, "", "[a]", 16384);
	measure("subject: blobs", base_subject, buf_slice(&b), 0, 30);
	repeat(&b, "Subject: ", "\xc3\xbc", 100000);
	measure("SEARCH over folded letters", search, buf_slice(&b), 0, 100);
	repeat(&b, "Content-Type: text/plain\r\n\r\n", "xyzzxyzz", 1 << 20);
	measure("SEARCH over near misses", search, buf_slice(&b), 0, 20);
	arena_done(&arena);
	buf_done(&out);
	buf_done(&summary);
	charset_done();
	return missed;
}
