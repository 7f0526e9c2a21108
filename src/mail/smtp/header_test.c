#include "mail/smtp/header.h"

#include "base/test.h"

START_TEST(a_received_field_has_all_clauses_in_order)
{
	AUTO_BUF struct buf out = BUF_INIT(2000);
	struct smtp_trace t = {
		.helo = SLICE("client.example"), .address = SLICE("192.0.2.1"),
		.host = SLICE("mx.example.org"), .id = SLICE("0123abcd"),
		.recipient = SLICE("ann@example.org"), .tls = SLICE("TLS_AES_256_GCM_SHA384"),
		.esmtp = true, .authenticated = true, .when_s = 880127706,
	};

	smtp_received_write(&out, &t);
	ck_assert_slice_eq(buf_slice(&out),
			   SLICE("Received: from client.example ([192.0.2.1])\r\n"
				 "\tby mx.example.org with ESMTPSA id 0123abcd\r\n"
				 "\tfor <ann@example.org>\r\n"
				 "\ttls TLS_AES_256_GCM_SHA384;\r\n"
				 "\tFri, 21 Nov 1997 15:55:06 +0000\r\n"));
}
END_TEST

START_TEST(a_client_cannot_write_trace_clauses_by_its_name)
{
	AUTO_BUF struct buf out = BUF_INIT(2000);
	struct smtp_trace t = {
		.helo = SLICE("x)by(evil;<a>"), .address = SLICE("2001:db8::1"),
		.host = SLICE("h"), .id = SLICE("i"),
	};

	smtp_received_write(&out, &t);
	ck_assert(slice_starts(buf_slice(&out),
			       SLICE("Received: from x?by?evil??a? ([IPv6:2001:db8::1])\r\n")));
	ck_assert(slice_find(buf_slice(&out), SLICE("with SMTP id i;")) != SLICE_NPOS);
}
END_TEST

START_TEST(the_with_keyword_tells_the_protocol)
{
	static const struct {
		struct smtp_trace t;
		const char *want;
	} cases[] = {
		{ { .esmtp = true }, "ESMTP" },
		{ { .esmtp = true, .tls = SLICE_INIT("x") }, "ESMTPS" },
		{ { .esmtp = true, .authenticated = true }, "ESMTPA" },
		{ { .lmtp = true }, "LMTP" },
		{ { .lmtp = true, .tls = SLICE_INIT("x"), .utf8 = true }, "UTF8LMTPS" },
		{ { .esmtp = true, .utf8 = true }, "UTF8SMTP" },
		{ { .esmtp = false }, "SMTP" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		ck_assert_str_eq(smtp_with_keyword(&cases[i].t), cases[i].want);
}
END_TEST

START_TEST(the_end_of_the_header_is_found_from_any_restart)
{
	struct slice m = SLICE("A: b\r\nC: d\r\n\r\nbody\r\n\r\n");

	for (size_t cut = 0; cut <= m.len; cut++) {
		size_t end = 0;
		bool found = smtp_header_end(slice_head(m, cut), 0, &end);
		ck_assert(found == (cut >= 14));
		if (found)
			ck_assert_uint_eq(end, 14);
		for (size_t from = 0; from <= cut && cut < 14; from++) {
			ck_assert(smtp_header_end(m, from, &end));
			ck_assert_uint_eq(end, 14);
		}
	}
	size_t end = 0;
	ck_assert(smtp_header_end(SLICE("\r\nbody"), 0, &end));
	ck_assert_uint_eq(end, 2);
}
END_TEST

START_TEST(fields_keep_their_folded_lines)
{
	struct slice h = SLICE("Subject: a\r\n b\r\n\tc\r\nTo : x\r\nbroken line\r\nX: y\r\n");
	struct smtp_field f;

	ck_assert(smtp_field_next(&h, &f));
	ck_assert_slice_eq(f.name, SLICE("Subject"));
	ck_assert_slice_eq(f.value, SLICE(" a\r\n b\r\n\tc\r\n"));
	ck_assert(smtp_field_next(&h, &f));
	ck_assert_slice_eq(f.name, SLICE("To"));
	ck_assert(!smtp_field_next(&h, &f));
	h = SLICE("\r\nX: y");
	ck_assert(!smtp_field_next(&h, &f));
	h = SLICE(": y");
	ck_assert(!smtp_field_next(&h, &f));
	h = SLICE("X: y");
	ck_assert(smtp_field_next(&h, &f));
	ck_assert(!smtp_field_next(&h, &f));
}
END_TEST

START_TEST(hops_and_loops_are_seen)
{
	struct slice h = SLICE("Received: a\r\nDelivered-To: Ann@example.org\r\nreceived: b\r\n"
			       "From: x\r\n\r\nReceived: c\r\n");
	struct smtp_header_facts facts;

	smtp_header_look(h, &facts);
	ck_assert_uint_eq(facts.received, 2);
	ck_assert(facts.from && !facts.date && !facts.message_id);
	ck_assert(smtp_header_delivered_to(h, SLICE("ann@example.org")));
	ck_assert(!smtp_header_delivered_to(h, SLICE("nn@example.org")));
}
END_TEST

START_TEST(a_submitted_header_is_completed_and_loses_bcc)
{
	AUTO_BUF struct buf out = BUF_INIT(4000);

	smtp_header_complete(SLICE("From: a\r\nBcc: x,\r\n y\r\nTo: b\r\nresent-BCC: z\r\n\r\n"), 0,
			     SLICE("id"), SLICE("host"), &out);
	ck_assert_slice_eq(buf_slice(&out),
			   SLICE("Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n"
				 "Message-ID: <id@host>\r\nFrom: a\r\nTo: b\r\n\r\n"));
	buf_reset(&out);
	smtp_header_complete(SLICE("Date: d\r\nMessage-Id: m\r\n\r\n"), 0, SLICE("id"), SLICE("host"),
			     &out);
	ck_assert_slice_eq(buf_slice(&out), SLICE("Date: d\r\nMessage-Id: m\r\n\r\n"));
	buf_reset(&out);
	smtp_header_complete(SLICE("no header at all\r\n"), 0, SLICE("id"), SLICE("host"), &out);
	ck_assert(slice_ends(buf_slice(&out), SLICE("host>\r\n\r\nno header at all\r\n")));
}
END_TEST

TEST_MAIN("smtp/header", a_received_field_has_all_clauses_in_order,
	  a_client_cannot_write_trace_clauses_by_its_name, the_with_keyword_tells_the_protocol,
	  the_end_of_the_header_is_found_from_any_restart, fields_keep_their_folded_lines,
	  hops_and_loops_are_seen, a_submitted_header_is_completed_and_loses_bcc)
