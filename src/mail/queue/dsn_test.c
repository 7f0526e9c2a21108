#include "mail/queue/dsn.h"

#include "base/test.h"
#include "mail/message/mime.h"
#include "mail/queue/limits.h"
#include "mail/smtp/command.h"

static struct queue_item items[3];
static struct queue_entry entry;
static struct dsn d;
static struct buf text;

/* ann sent "Subject: one" to bob and carol. */
static void begin(void)
{
	items[0] = (struct queue_item){ .address = SLICE("bob@example.org"),
					.orcpt = SLICE("rfc822;bob+2Bx@old.example"),
					.state = QUEUE_FAILED, .status = SLICE("5.2.2 the mailbox is full") };
	items[1] = (struct queue_item){ .address = SLICE("carol@example.org"), .state = QUEUE_WAITING,
					.status = SLICE("4.3.0 the store did not answer in time") };
	entry = (struct queue_entry){ .id = "0123456789abcde", .attempts = 3,
				      .created_us = INT64_C(1795424400) * 1000000,
				      .sender = SLICE("ann@example.org"), .envid = SLICE("e+2D42"),
				      .trace = SLICE("Received: from x\r\n"), .items = items, .count = 2 };
	d = (struct dsn){ .hostname = "mx.example.org", .entry = &entry,
			  .original = SLICE("Subject: one\r\nX: y\r\n\r\nbody\r\n"), .now_s = 1795424460,
			  .give_up_s = 1795510800 };
	buf_init(&text, 1u << 20);
}

static const char *write(enum dsn_action action)
{
	buf_reset(&text);
	dsn_write(&text, &d, action);
	ck_assert_int_eq(text.err, 0);
	return buf_cstr(&text);
}

static void end(void)
{
	buf_done(&text);
}

#define HAS(text, what) ck_assert_msg(strstr(text, what) != NULL, "no '%s' in\n%s", what, text)
#define HAS_NOT(text, what) ck_assert_ptr_null(strstr(text, what))

START_TEST(a_failure_is_told_as_rfc_3464_shows_it)
{
	begin();
	ck_assert_str_eq(write(DSN_FAILED),
		"From: Mail Delivery System <MAILER-DAEMON@mx.example.org>\r\n"
		"To: <ann@example.org>\r\n"
		"Subject: Undelivered mail returned to sender\r\n"
		"Date: Mon, 23 Nov 2026 09:01:00 +0000\r\n"
		"Message-ID: <dsn-30313233343536373839616263646500-3-0@mx.example.org>\r\n"
		"MIME-Version: 1.0\r\n"
		"Auto-Submitted: auto-replied\r\n"
		"Content-Type: multipart/report; report-type=delivery-status;\r\n"
		"\tboundary=\"dsn-30313233343536373839616263646500-3-0\"\r\n"
		"\r\n"
		"--dsn-30313233343536373839616263646500-3-0\r\n"
		"Content-Type: text/plain; charset=utf-8\r\n"
		"Content-Transfer-Encoding: 8bit\r\n"
		"\r\n"
		"This is the mail system at host mx.example.org.\r\n"
		"\r\n"
		"Your message could not be delivered to the recipients below. It will not be tried again.\r\n"
		"\r\n"
		"  bob@example.org: 5.2.2 the mailbox is full\r\n"
		"\r\n"
		"--dsn-30313233343536373839616263646500-3-0\r\n"
		"Content-Type: message/delivery-status\r\n"
		"\r\n"
		"Reporting-MTA: dns; mx.example.org\r\n"
		"Original-Envelope-Id: e-42\r\n"
		"Arrival-Date: Mon, 23 Nov 2026 09:00:00 +0000\r\n"
		"\r\n"
		"Original-Recipient: rfc822; bob+x@old.example\r\n"
		"Final-Recipient: rfc822; bob@example.org\r\n"
		"Action: failed\r\n"
		"Status: 5.2.2\r\n"
		"Diagnostic-Code: X-Prickle; 5.2.2 the mailbox is full\r\n"
		"Last-Attempt-Date: Mon, 23 Nov 2026 09:01:00 +0000\r\n"
		"\r\n"
		"--dsn-30313233343536373839616263646500-3-0\r\n"
		"Content-Type: text/rfc822-headers\r\n"
		"\r\n"
		"Subject: one\r\n"
		"X: y\r\n"
		"\r\n"
		"--dsn-30313233343536373839616263646500-3-0--\r\n");
	end();
}
END_TEST

START_TEST(a_notice_is_a_report_to_our_own_parser)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(MIME_ARENA_BYTES);

	begin();
	entry.ret = SMTP_RET_FULL;
	write(DSN_FAILED);
	const struct mime *m = mime_parse(&arena, buf_slice(&text));
	ck_assert_ptr_nonnull(m);
	ck_assert_uint_gt(m->part_count, 4);
	end();
}
END_TEST

START_TEST(ret_full_brings_the_message_back_and_hdrs_its_header)
{
	begin();
	entry.ret = SMTP_RET_FULL;
	HAS(write(DSN_FAILED), "Content-Type: message/rfc822\r\n\r\nReceived: from x\r\nSubject: one\r\n"
			       "X: y\r\n\r\nbody\r\n");
	entry.ret = SMTP_RET_HDRS;
	HAS_NOT(write(DSN_FAILED), "body");
	/* RFC 3461 §4.3: RET is about failures. */
	entry.ret = SMTP_RET_FULL;
	HAS_NOT(write(DSN_DELAYED), "body");
	end();
}
END_TEST

START_TEST(a_large_original_comes_back_as_header_alone)
{
	AUTO_BUF struct buf large = BUF_INIT(1u << 20);

	begin();
	entry.ret = SMTP_RET_FULL;
	buf_adds(&large, "Subject: large\r\n\r\n");
	buf_fill(&large, 'x', QUEUE_DSN_ORIGINAL_BYTES_MAX - large.len);
	d.original = buf_slice(&large);
	HAS(write(DSN_FAILED), "xxxx");
	buf_addc(&large, 'x');
	d.original = buf_slice(&large);
	HAS_NOT(write(DSN_FAILED), "xxxx");
	HAS(buf_cstr(&text), "Subject: large\r\n");
	end();
}
END_TEST

START_TEST(a_delay_says_until_when_and_names_only_who_still_waits)
{
	begin();
	HAS(write(DSN_DELAYED), "Final-Recipient: rfc822; carol@example.org\r\nAction: delayed\r\n"
				"Status: 4.3.0\r\n");
	HAS(buf_cstr(&text), "Will-Retry-Until: Tue, 24 Nov 2026 09:00:00 +0000\r\n");
	HAS_NOT(buf_cstr(&text), "bob@");
	end();
}
END_TEST

START_TEST(who_hears_of_what_follows_notify)
{
	static const struct {
		unsigned notify;
		bool failed, delayed, delivered;
	} cases[] = {
		{ 0, true, true, false },
		{ SMTP_NOTIFY_NEVER, false, false, false },
		{ SMTP_NOTIFY_SUCCESS, false, false, true },
		{ SMTP_NOTIFY_FAILURE, true, false, false },
		{ SMTP_NOTIFY_DELAY, false, true, false },
		{ SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_FAILURE | SMTP_NOTIFY_DELAY, true, true, true },
	};

	begin();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct queue_item *it = &items[0];
		it->notify = (uint8_t)cases[i].notify;
		entry.delay_told = false;
		it->state = QUEUE_FAILED;
		ck_assert_int_eq(dsn_wants(&entry, it, DSN_FAILED), cases[i].failed);
		ck_assert(!dsn_wants(&entry, it, DSN_DELIVERED));
		it->state = QUEUE_WAITING;
		ck_assert_int_eq(dsn_wants(&entry, it, DSN_DELAYED), cases[i].delayed);
		entry.delay_told = true;
		ck_assert(!dsn_wants(&entry, it, DSN_DELAYED));
		it->state = QUEUE_STORED;
		ck_assert_int_eq(dsn_wants(&entry, it, DSN_DELIVERED), cases[i].delivered);
		ck_assert(!dsn_wants(&entry, it, DSN_FAILED));
	}
	end();
}
END_TEST

START_TEST(a_sender_who_speaks_utf8_gets_the_forms_of_rfc_6533)
{
	begin();
	entry.utf8 = true;
	entry.sender = SLICE("j\xc3\xbcrgen@example.org");
	items[0].address = SLICE("\xc3\xa9va@example.org");
	items[0].orcpt = SLICE("utf-8;\xc3\xa9va@old.example");
	d.original = SLICE("Subject: \xc3\xbc\r\n\r\nbody\r\n");
	HAS(write(DSN_FAILED), "To: <j\xc3\xbcrgen@example.org>\r\n");
	HAS(buf_cstr(&text), "report-type=global-delivery-status;");
	HAS(buf_cstr(&text), "Content-Type: message/global-delivery-status\r\n"
			     "Content-Transfer-Encoding: 8bit\r\n\r\nReporting-MTA");
	HAS(buf_cstr(&text), "\r\nOriginal-Recipient: utf-8; \xc3\xa9va@old.example\r\n"
			     "Final-Recipient: utf-8; \xc3\xa9va@example.org\r\n");
	HAS(buf_cstr(&text), "Content-Type: message/global-headers\r\n"
			     "Content-Transfer-Encoding: 8bit\r\n\r\nSubject: \xc3\xbc\r\n");
	entry.ret = SMTP_RET_FULL;
	HAS(write(DSN_FAILED), "Content-Type: message/global\r\n");
	d.original = SLICE("Subject: plain\r\n\r\n\xc3\xbc\r\n");
	HAS(write(DSN_FAILED), "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n");
	end();
}
END_TEST

START_TEST(all_others_get_ascii_in_the_status)
{
	begin();
	items[0].address = SLICE("\xc3\xa9v+a@example.org");
	items[0].orcpt = SLICE("utf-8;\\x{E9}va@old.example");
	HAS(write(DSN_FAILED), "\r\nOriginal-Recipient: utf-8; \\x{E9}va@old.example\r\n"
			       "Final-Recipient: utf-8; \\x{E9}v\\x{2B}a@example.org\r\n");
	HAS(buf_cstr(&text), "Content-Type: message/delivery-status\r\n\r\n");
	end();
}
END_TEST

START_TEST(what_a_client_gave_writes_no_fields_of_its_own)
{
	begin();
	entry.envid = SLICE("a+0D+0AX-Evil: 1");
	items[0].orcpt = SLICE("rfc822;bob+0D+0AAction:+20delivered");
	HAS_NOT(write(DSN_FAILED), "Evil");
	HAS_NOT(buf_cstr(&text), "delivered\r\n");
	HAS_NOT(buf_cstr(&text), "Original-");
	end();
}
END_TEST

TEST_MAIN("queue/dsn", a_failure_is_told_as_rfc_3464_shows_it, a_notice_is_a_report_to_our_own_parser,
	  ret_full_brings_the_message_back_and_hdrs_its_header,
	  a_large_original_comes_back_as_header_alone,
	  a_delay_says_until_when_and_names_only_who_still_waits, who_hears_of_what_follows_notify,
	  a_sender_who_speaks_utf8_gets_the_forms_of_rfc_6533, all_others_get_ascii_in_the_status,
	  what_a_client_gave_writes_no_fields_of_its_own)
