#include "mail/session/smtp.h"

#include "mail/session/session_rig.h"
#include "mail/smtp/limits.h"

/*
 * A deliverer that keeps messages in a list, or answers what the test wants. The functions of
 * mail/mailbox/delivery.h are defined here.
 */
struct stored {
	char account[ACCOUNT_ID_BYTES + 1];
	char *text;
	size_t len;
	size_t summary_len;
};

static struct stored stored[2000];
static size_t stored_count;
static enum delivery_status fate_ann, fate_bob;
static bool writes_fail;

struct delivery {
	struct delivery_recipient *to;
	size_t count;
	struct buf body;
	struct buf prefix[16];
	bool rejected[16];
	void (*copy)(void *arg, struct slice piece);
	void *copy_arg;
};

/* Bodies above this are not kept in memory, as the real ones above 1 MiB. */
static size_t memory_bytes = SIZE_MAX;

int deliverer_new(struct world *world, const struct deliverer_options *o, struct deliverer **out)
{
	(void)world;
	(void)o;
	*out = NULL;
	return 0;
}

int delivery_begin(struct deliverer *d, const uint8_t transaction[TRANSACTION_ID_BYTES],
		   struct delivery_recipient *recipients, size_t count, struct delivery **out)
{
	(void)d;
	(void)transaction;
	*out = calloc(1, sizeof(**out));
	ck_assert_uint_le(count, 16);
	(*out)->to = recipients;
	(*out)->count = count;
	buf_init(&(*out)->body, 64 << 20);
	for (size_t i = 0; i < 16; i++)
		buf_init(&(*out)->prefix[i], 4096);
	return 0;
}

bool delivery_write(struct delivery *d, struct slice bytes)
{
	if (writes_fail)
		return false;
	buf_add(&d->body, bytes);
	return d->body.err == 0;
}

void delivery_reject(struct delivery *d, size_t recipient, enum delivery_status status)
{
	ck_assert_uint_lt(recipient, d->count);
	d->rejected[recipient] = true;
	d->to[recipient].status = status;
}

void delivery_copy(struct delivery *d, void (*fn)(void *arg, struct slice piece), void *arg)
{
	ck_assert_uint_eq(d->body.len, 0);
	d->copy = fn;
	d->copy_arg = arg;
}

bool delivery_prefix(struct delivery *d, size_t recipient, struct slice bytes)
{
	ck_assert_uint_lt(recipient, d->count);
	ck_assert_uint_eq(d->body.len, 0);
	buf_add(&d->prefix[recipient], bytes);
	return d->prefix[recipient].err == 0;
}

void delivery_finish(struct delivery *d, struct slice summary, int64_t internaldate_s,
		     int16_t tz_minutes)
{
	(void)tz_minutes;
	ck_assert_int_eq(internaldate_s, 1795424400);
	if (d->copy != NULL && d->body.len > memory_bytes)
		d->copy(d->copy_arg, buf_slice(&d->body));
	for (size_t i = 0; i < d->count; i++) {
		struct delivery_recipient *r = &d->to[i];
		if (d->rejected[i])
			continue;
		r->status = r->account[15] == 'a' ? fate_ann : fate_bob;
		if (r->status != DELIVERY_OK)
			continue;
		struct stored *s = &stored[stored_count++];
		AUTO_BUF struct buf whole = BUF_INIT(64 << 20);
		buf_add(&whole, buf_slice(&d->prefix[i]));
		buf_add(&whole, buf_slice(&d->body));
		memcpy(s->account, r->account, ACCOUNT_ID_BYTES);
		s->len = whole.len;
		s->text = slice_strdup(buf_slice(&whole));
		s->summary_len = summary.len;
	}
}

struct slice delivery_body(const struct delivery *d)
{
	return d->body.len > memory_bytes ? (struct slice){ 0 } : buf_slice(&d->body);
}

uint64_t delivery_bytes(const struct delivery *d)
{
	return d->body.len;
}

void delivery_free(struct delivery *d)
{
	if (d == NULL)
		return;
	buf_done(&d->body);
	for (size_t i = 0; i < 16; i++)
		buf_done(&d->prefix[i]);
	free(d);
}

/* ---- */

static struct rig rig;
static struct smtp_service service;
static struct client c;

static void open_as(const struct session_ops *ops, const char *greeting)
{
	rig_init(&rig);
	service = (struct smtp_service){
		.set = { .recipients_max = 1000, .hops_max = 50, .idle_us = 60000000 },
	};
	rig.sv.smtp = &service;
	client_open(&c, &rig, ops);
	client_expects(&c, greeting);
}

static void smtp_open(void)
{
	open_as(&smtp_session, "220 mx.example.org ESMTP Prickle\r\n");
}

static void finish(void)
{
	client_close(&c);
	rig_done(&rig);
}

#define TALK(say, want) (client_says(&c, say), client_expects(&c, want))

static const char *message_text(size_t i)
{
	ck_assert_uint_lt(i, stored_count);
	return stored[i].text;
}

static void ehlo(void)
{
	TALK("EHLO client.example\r\n",
	     "250-mx.example.org\r\n250-PIPELINING\r\n250-SIZE 3145728\r\n250-8BITMIME\r\n"
	     "250-SMTPUTF8\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250-ENHANCEDSTATUSCODES\r\n"
	     "250 LIMITS RCPTMAX=1000\r\n");
}

static void data_of(const char *before, char fill, size_t count, const char *after, const char *want)
{
	AUTO_BUF struct buf text = BUF_INIT(4 << 20);

	TALK("MAIL FROM:<a@b>\r\n", "250 2.1.0 Sender ok\r\n");
	TALK("RCPT TO:<ann@example.org>\r\n", "250 2.1.5 Recipient ok\r\n");
	TALK("DATA\r\n", "354 End data with <CR><LF>.<CR><LF>\r\n");
	buf_adds(&text, before);
	buf_fill(&text, (uint8_t)fill, count);
	buf_adds(&text, after);
	buf_adds(&text, ".\r\n");
	client_send(&c, buf_slice(&text));
	client_expects(&c, want);
}

/* RFC 5321 Appendix D.1, with our replies. */
START_TEST(a_typical_session_stores_one_copy_for_each_recipient_and_refuses_the_unknown_one)
{
	smtp_open();
	ehlo();
	TALK("MAIL FROM:<Smith@bar.example>\r\n", "250 2.1.0 Sender ok\r\n");
	TALK("RCPT TO:<ann@example.org>\r\n", "250 2.1.5 Recipient ok\r\n");
	TALK("RCPT TO:<Green@example.org>\r\n", "550 5.1.1 No such user here\r\n");
	TALK("RCPT TO:<bob@example.org>\r\n", "250 2.1.5 Recipient ok\r\n");
	TALK("DATA\r\n", "354 End data with <CR><LF>.<CR><LF>\r\n");
	client_says(&c, "Blah blah blah...\r\n...etc. etc. etc.\r\n.\r\n");
	client_expects(&c, "250 2.0.0 Stored as 0101010101010101\r\n");
	TALK("QUIT\r\n", "221 2.0.0 Bye\r\n");
	client_expects_end(&c);
	ck_assert_uint_eq(stored_count, 2);
	ck_assert_str_eq(stored[0].account, "00000000000000aa");
	ck_assert_str_eq(message_text(0),
			 "Return-Path: <Smith@bar.example>\r\n"
			 "Delivered-To: ann@example.org\r\n"
			 "Received: from client.example ([192.0.2.1])\r\n"
			 "\tby mx.example.org with ESMTP id 0101010101010101;\r\n"
			 "\tMon, 23 Nov 2026 09:00:00 +0000\r\n\r\n"
			 "Blah blah blah...\r\n..etc. etc. etc.\r\n");
	ck_assert_ptr_nonnull(strstr(message_text(1), "Delivered-To: bob@example.org\r\n"));
	ck_assert_uint_gt(stored[0].summary_len, 0);
	ck_assert_uint_gt(rig.authc.delivered_bytes, 0);
	finish();
}
END_TEST

/* RFC 5321 Appendix D.2. */
START_TEST(an_aborted_transaction_leaves_nothing)
{
	smtp_open();
	ehlo();
	TALK("MAIL FROM:<Smith@bar.example>\r\n", "250 2.1.0 Sender ok\r\n");
	TALK("RCPT TO:<ann@example.org>\r\n", "250 2.1.5 Recipient ok\r\n");
	TALK("RSET\r\n", "250 2.0.0 Ok\r\n");
	TALK("DATA\r\n", "503 5.5.1 Send MAIL first\r\n");
	TALK("QUIT\r\n", "221 2.0.0 Bye\r\n");
	ck_assert_uint_eq(stored_count, 0);
	finish();
}
END_TEST

START_TEST(a_pipelined_batch_is_answered_in_order)
{
	smtp_open();
	client_says(&c, "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n"
			"Subject: x\r\n\r\ny\r\n.\r\nMAIL FROM:<a@b>\r\nRCPT TO:<nobody@example.org>\r\n"
			"DATA\r\nQUIT\r\n");
	for (int i = 0; i < 200 && !c.ended; i++) {
		loop_run_once(rig.sv.loop, 5);
		client_poll(&c);
	}
	struct slice tail = client_unseen(&c);
	size_t at = slice_find(tail, SLICE("250 LIMITS"));
	ck_assert_uint_ne(at, SLICE_NPOS);
	ck_assert_slice_eq(slice_from(tail, at),
			   SLICE("250 LIMITS RCPTMAX=1000\r\n250 2.1.0 Sender ok\r\n"
				 "250 2.1.5 Recipient ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n"
				 "250 2.0.0 Stored as 0101010101010101\r\n250 2.1.0 Sender ok\r\n"
				 "550 5.1.1 No such user here\r\n503 5.5.1 No valid recipients\r\n"
				 "221 2.0.0 Bye\r\n"));
	ck_assert_uint_eq(stored_count, 1);
	ck_assert_ptr_nonnull(strstr(message_text(0), "for <ann@example.org>;"));
	ck_assert_ptr_nonnull(strstr(message_text(0), "Return-Path: <>\r\n"));
	finish();
}
END_TEST

static const struct {
	const char *rcpt, *want;
} rcpts[] = {
	{ "ann@elsewhere.example", "550 5.7.1 Relaying denied\r\n" },
	{ "nobody@example.org", "550 5.1.1 No such user here\r\n" },
	{ "full@example.org", "452 4.2.2 Mailbox is full\r\n" },
	{ "locked@example.org", "550 5.2.1 Mailbox is disabled\r\n" },
	{ "loop@example.org", "550 5.4.6 Alias loop\r\n" },
	{ "later@example.org", "451 4.3.0 Directory is not available, try later\r\n" },
	{ "ann@example.org@elsewhere.example", "501 5.1.2 Bad recipient domain\r\n" },
	{ "\"ann@elsewhere.example\"@example.org", "550 5.1.1 No such user here\r\n" },
	{ "ann%elsewhere.example@example.org", "550 5.1.1 No such user here\r\n" },
	{ "@example.org:ann@elsewhere.example", "550 5.7.1 Relaying denied\r\n" },
	{ "postmaster", "250 2.1.5 Recipient ok\r\n" },
	{ "Ann@EXAMPLE.org", "250 2.1.5 Recipient ok\r\n" },
	{ "team@example.org", "250 2.1.5 Recipient ok\r\n" },
};

START_TEST(each_recipient_gets_the_reply_that_its_case_has)
{
	smtp_open();
	ehlo();
	TALK("MAIL FROM:<a@b>\r\n", "250 2.1.0 Sender ok\r\n");
	for (size_t i = 0; i < ARRAY_LEN(rcpts); i++) {
		AUTO_BUF struct buf line = BUF_INIT(1000);
		buf_printf(&line, "RCPT TO:<%s>\r\n", rcpts[i].rcpt);
		client_send(&c, buf_slice(&line));
		client_expects(&c, rcpts[i].want);
	}
	finish();
}
END_TEST

START_TEST(an_account_behind_several_addresses_gets_one_copy)
{
	smtp_open();
	client_says(&c, "HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<team@example.org>\r\n"
			"RCPT TO:<ann+lists@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n.\r\n");
	client_expects(&c, "250 mx.example.org\r\n250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n"
			   "250 2.1.5 Recipient ok\r\n250 2.1.5 Recipient ok\r\n"
			   "354 End data with <CR><LF>.<CR><LF>\r\n"
			   "250 2.0.0 Stored as 0101010101010101\r\n");
	ck_assert_uint_eq(stored_count, 2);
	ck_assert_ptr_nonnull(strstr(message_text(0), "with SMTP id"));
	finish();
}
END_TEST

/* RFC 2033 §4.2: one reply for each recipient that was accepted. */
START_TEST(lmtp_answers_for_each_recipient_alone)
{
	open_as(&lmtp_session, "220 mx.example.org LMTP Prickle\r\n");
	TALK("EHLO x\r\n", "500 5.5.1 This is LMTP, say LHLO\r\n");
	client_says(&c, "LHLO foo.edu\r\n");
	client_expects(&c, "250-mx.example.org\r\n250-PIPELINING\r\n250-SIZE 3145728\r\n");
	fate_bob = DELIVERY_OVERQUOTA;
	client_says(&c, "MAIL FROM:<chris@bar.com>\r\nRCPT TO:<ann@example.org>\r\n"
			"RCPT TO:<jones@example.org>\r\nRCPT TO:<bob@example.org>\r\n"
			"RCPT TO:<team@example.org>\r\nDATA\r\nBlah\r\n.\r\nQUIT\r\n");
	for (int i = 0; i < 200 && !c.ended; i++) {
		loop_run_once(rig.sv.loop, 5);
		client_poll(&c);
	}
	struct slice tail = client_unseen(&c);
	size_t at = slice_find(tail, SLICE("354 "));
	ck_assert_uint_ne(at, SLICE_NPOS);
	ck_assert_slice_eq(slice_from(tail, at),
			   SLICE("354 End data with <CR><LF>.<CR><LF>\r\n"
				 "250 2.0.0 Stored as 0101010101010101\r\n"
				 "552 5.2.2 Mailbox is full\r\n552 5.2.2 Mailbox is full\r\n"
				 "221 2.0.0 Bye\r\n"));
	ck_assert_uint_eq(stored_count, 1);
	ck_assert_ptr_nonnull(strstr(message_text(0), "with LMTP id"));
	finish();
}
END_TEST

START_TEST(lmtp_repeats_the_refusal_of_a_message_for_each_recipient)
{
	open_as(&lmtp_session, "220 mx.example.org LMTP Prickle\r\n");
	client_says(&c, "LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\n"
			"RCPT TO:<bob@example.org>\r\nDATA\r\nbare\ncr\r\n.\r\nNOOP\r\n");
	for (int i = 0; i < 60; i++) {
		loop_run_once(rig.sv.loop, 5);
		client_poll(&c);
	}
	ck_assert(slice_ends(client_unseen(&c),
			     SLICE("550 5.6.0 Lines end with CR LF, and have neither elsewhere\r\n"
				   "550 5.6.0 Lines end with CR LF, and have neither elsewhere\r\n"
				   "250 2.0.0 Ok\r\n")));
	finish();
}
END_TEST

/* RFC 2033 §4.3: BDAT LAST is answered for each recipient, also when it is refused. */
START_TEST(lmtp_answers_a_refused_last_chunk_for_each_recipient)
{
	AUTO_BUF struct buf big = BUF_INIT(4 << 20);

	open_as(&lmtp_session, "220 mx.example.org LMTP Prickle\r\n");
	client_says(&c, "LHLO foo.edu\r\n");
	client_expects(&c, "250-mx.example.org\r\n");
	client_says(&c, "MAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\n"
			"BDAT 3145728\r\n");
	buf_fill(&big, 'x', 3145728);
	client_send(&c, buf_slice(&big));
	client_says(&c, "BDAT 1 LAST\r\nxBDAT 2 LAST\r\nxxRSET\r\nNOOP\r\n");
	for (int i = 0; i < 200; i++) {
		loop_run_once(rig.sv.loop, 5);
		client_poll(&c);
	}
	ck_assert(slice_ends(client_unseen(&c),
			     SLICE("250 2.0.0 Chunk ok\r\n"
				   "552 5.3.4 Message is too large\r\n552 5.3.4 Message is too large\r\n"
				   "503 5.5.1 An earlier chunk was refused\r\n"
				   "503 5.5.1 An earlier chunk was refused\r\n"
				   "250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n")));
	finish();
}
END_TEST

START_TEST(chunks_behind_a_refused_recipient_are_not_errors_of_their_own)
{
	smtp_open();
	ehlo();
	client_says(&c, "MAIL FROM:<a@b>\r\nRCPT TO:<nobody@example.org>\r\n");
	client_expects(&c, "250 2.1.0 Sender ok\r\n550 5.1.1 No such user here\r\n");
	for (int i = 0; i < SMTP_BAD_COMMANDS + 5; i++)
		TALK("BDAT 2\r\nhi", "503 5.5.1 No valid recipients\r\n");
	TALK("BDAT 0 LAST\r\nRSET\r\n", "503 5.5.1 No valid recipients\r\n250 2.0.0 Ok\r\n");
	finish();
}
END_TEST

START_TEST(a_body_that_takes_long_gets_new_grants)
{
	smtp_open();
	ehlo();
	TALK("MAIL FROM:<a@b>\r\nRCPT TO:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\n",
	     "250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n250 2.1.5 Recipient ok\r\n");
	TALK("DATA\r\n", "354 End data with <CR><LF>.<CR><LF>\r\n");
	client_says(&c, "A: b\r\n\r\none\r\n");
	for (int i = 0; i < 20; i++)
		loop_run_once(rig.sv.loop, 2);
	ck_assert_uint_eq(rig.authc.rcpts, 2);
	service.set.grant_fresh_us = 1;
	client_says(&c, "two\r\n");
	for (int i = 0; i < 20; i++)
		loop_run_once(rig.sv.loop, 2);
	ck_assert_uint_eq(rig.authc.rcpts, 4);
	/* Without auth the old ones have to do. */
	rig.authc.away = true;
	client_says(&c, "three\r\n");
	for (int i = 0; i < 20; i++)
		loop_run_once(rig.sv.loop, 2);
	ck_assert_uint_gt(rig.authc.rcpts, 4);
	TALK(".\r\n", "250 2.0.0 Stored as 0101010101010101\r\n");
	ck_assert_uint_eq(stored_count, 2);
	service.set.grant_fresh_us = 0;
	finish();
}
END_TEST

START_TEST(a_message_without_header_is_all_body)
{
	smtp_open();
	ehlo();
	for (int i = 0; i < 2; i++) {
		TALK("MAIL FROM:<a@b>\r\nRCPT TO:<ann@example.org>\r\n",
		     "250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n");
		TALK("DATA\r\n", "354 End data with <CR><LF>.<CR><LF>\r\n");
		TALK(i == 0 ? "hello, no header\r\nmore\r\n.\r\n" : "hello: a header\r\nmore\r\n.\r\n",
		     i == 0 ? "250 2.0.0 Stored as 0101010101010101\r\n" :
			      "250 2.0.0 Stored as 0202020202020202\r\n");
	}
	ck_assert_ptr_nonnull(strstr(message_text(0), " +0000\r\n\r\nhello, no header\r\nmore\r\n"));
	ck_assert_ptr_nonnull(strstr(message_text(1), " +0000\r\nhello: a header\r\nmore\r\n"));
	finish();
}
END_TEST

static const struct {
	enum delivery_status ann, bob;
	const char *want;
	size_t stored;
} fates[] = {
	{ DELIVERY_OK, DELIVERY_OK, "250 2.0.0 Stored as 0101010101010101\r\n", 2 },
	{ DELIVERY_LATER, DELIVERY_LATER, "451 4.3.0 Storage is not available, try later\r\n", 0 },
	{ DELIVERY_OK, DELIVERY_LATER, "451 4.3.0 Storage is not available, try later\r\n", 1 },
	{ DELIVERY_FULL, DELIVERY_FULL, "452 4.3.1 Storage is full, try later\r\n", 0 },
	{ DELIVERY_DENIED, DELIVERY_OK, "451 4.3.0 Storage is not available, try later\r\n", 1 },
	{ DELIVERY_OVERQUOTA, DELIVERY_OVERQUOTA, "552 5.2.2 Mailbox is full\r\n", 0 },
	{ DELIVERY_OVERQUOTA, DELIVERY_OK, "452 4.2.2 A mailbox is full, try later\r\n", 1 },
};

START_TEST(only_a_message_that_is_durable_for_all_is_acknowledged)
{
	for (size_t i = 0; i < ARRAY_LEN(fates); i++) {
		rig_random_next = 0;
		while (stored_count > 0)
			free(stored[--stored_count].text);
		fate_ann = fates[i].ann;
		fate_bob = fates[i].bob;
		smtp_open();
		ehlo();
		client_says(&c, "MAIL FROM:<a@b>\r\nRCPT TO:<ann@example.org>\r\n"
				"RCPT TO:<bob@example.org>\r\nDATA\r\n\r\nx\r\n.\r\n");
		client_expects(&c, "250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n"
				   "250 2.1.5 Recipient ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n");
		client_expects(&c, fates[i].want);
		ck_assert_uint_eq(stored_count, fates[i].stored);
		finish();
	}
}
END_TEST

START_TEST(quota_is_looked_at_again_when_the_size_is_known)
{
	smtp_open();
	ehlo();
	rig.authc.bob_room = 10;
	data_of("A: b\r\n\r\n", 'x', 100, "\r\n", "250 2.0.0 Stored as 0101010101010101\r\n");
	TALK("MAIL FROM:<a@b>\r\n", "250 2.1.0 Sender ok\r\n");
	TALK("RCPT TO:<bob@example.org>\r\n", "250 2.1.5 Recipient ok\r\n");
	TALK("DATA\r\n", "354 End data with <CR><LF>.<CR><LF>\r\n");
	TALK("A: b\r\n\r\nlong\r\n.\r\n", "552 5.2.2 Mailbox is full\r\n");
	TALK("MAIL FROM:<a@b>\r\n", "250 2.1.0 Sender ok\r\n");
	TALK("RCPT TO:<team@example.org>\r\n", "250 2.1.5 Recipient ok\r\n");
	TALK("DATA\r\n", "354 End data with <CR><LF>.<CR><LF>\r\n");
	TALK("A: b\r\n\r\nlong\r\n.\r\n", "452 4.2.2 A mailbox is full, try later\r\n");
	ck_assert_uint_eq(stored_count, 2);
	ck_assert_str_eq(stored[1].account, "00000000000000aa");
	finish();
}
END_TEST

static struct queue_recipient queued[4];
static size_t queued_count;
static char queued_body[1000];
static int queue_result;

static int fake_enqueue(void *queue, const struct queue_message *m)
{
	(void)queue;
	ck_assert(slice_starts(m->trace, SLICE("Received: from ")));
	ck_assert(slice_to_str(m->body, queued_body, sizeof(queued_body)));
	queued_count = m->count;
	memcpy(queued, m->recipients, m->count * sizeof(*queued));
	return queue_result;
}

START_TEST(who_could_not_be_served_goes_to_the_queue_before_the_answer)
{
	smtp_open();
	service.enqueue = fake_enqueue;
	fate_bob = DELIVERY_LATER;
	client_says(&c, "HELO x\r\nMAIL FROM:<a@b> ENVID=e1 RET=HDRS\r\n"
			"RCPT TO:<ann@example.org> NOTIFY=SUCCESS\r\n"
			"RCPT TO:<bob@example.org> ORCPT=rfc822;bob@old.example\r\nDATA\r\n\r\nx\r\n.\r\n");
	client_expects(&c, "250 mx.example.org\r\n250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n"
			   "250 2.1.5 Recipient ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n"
			   "250 2.0.0 Stored as 0101010101010101\r\n");
	ck_assert_uint_eq(queued_count, 2);
	ck_assert_int_eq(queued[0].reason, QUEUE_DELIVERED);
	ck_assert_int_eq(queued[1].reason, QUEUE_RETRY);
	ck_assert_str_eq(queued_body, "\r\nx\r\n");
	/* The queue has no room: the whole message is the client's again. */
	queue_result = -ENOSPC;
	client_says(&c, "MAIL FROM:<a@b>\r\nRCPT TO:<team@example.org>\r\nDATA\r\n\r\nx\r\n.\r\n");
	client_expects(&c, "250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n"
			   "354 End data with <CR><LF>.<CR><LF>\r\n"
			   "451 4.3.0 Storage is not available, try later\r\n");
	finish();
}
END_TEST

/* An LMTP client hears of each recipient; if we offered DSN, it would leave the notices to us. */
START_TEST(notices_are_the_business_of_the_lmtp_client)
{
	open_as(&lmtp_session, "220 mx.example.org LMTP Prickle\r\n");
	service.enqueue = fake_enqueue;
	client_says(&c, "LHLO x\r\nNOOP\r\n");
	for (int i = 0; i < 60; i++) {
		loop_run_once(rig.sv.loop, 5);
		client_poll(&c);
	}
	ck_assert(slice_ends(client_unseen(&c), SLICE("250 2.0.0 Ok\r\n")));
	ck_assert_uint_eq(slice_find(client_unseen(&c), SLICE("DSN")), SLICE_NPOS);
	c.seen = c.got.len;
	TALK("MAIL FROM:<a@b> RET=HDRS\r\n", "555 5.5.4 Parameter not recognized\r\n");
	finish();
}
END_TEST

static char spooled[1000];
static unsigned dropped;

static int fake_spool(void *queue, struct queue_spool *s, struct slice bytes)
{
	(void)queue;
	ck_assert_uint_eq(s->bytes, 0);
	ck_assert(slice_to_str(bytes, spooled, sizeof(spooled)));
	s->bytes = bytes.len;
	return 0;
}

static void fake_unspool(void *queue, const struct queue_spool *s)
{
	(void)queue;
	ck_assert_uint_gt(s->bytes, 0);
	dropped++;
}

static const struct queue_spool *queued_spool;

static int fake_enqueue_spool(void *queue, const struct queue_message *m)
{
	(void)queue;
	queued_spool = m->spool;
	queued_count = m->count;
	ck_assert(slice_to_str(m->body, queued_body, sizeof(queued_body)));
	return queue_result;
}

START_TEST(a_body_that_is_too_large_for_memory_reaches_the_queue_as_well)
{
	smtp_open();
	service.enqueue = fake_enqueue_spool;
	service.spool = fake_spool;
	service.unspool = fake_unspool;
	memory_bytes = 8;
	fate_bob = DELIVERY_LATER;
	client_says(&c, "HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<team@example.org>\r\nDATA\r\n"
			"A: b\r\n\r\nlong\r\n.\r\n");
	client_expects(&c, "250 mx.example.org\r\n250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n"
			   "354 End data with <CR><LF>.<CR><LF>\r\n"
			   "250 2.0.0 Stored as 0101010101010101\r\n");
	ck_assert_str_eq(spooled, "A: b\r\n\r\nlong\r\n");
	ck_assert_ptr_nonnull(queued_spool);
	ck_assert_uint_eq(queued_count, 1);
	ck_assert_uint_eq(dropped, 0);
	/* Everybody is served: the copy goes. */
	fate_bob = DELIVERY_OK;
	client_says(&c, "MAIL FROM:<a@b>\r\nRCPT TO:<team@example.org>\r\nDATA\r\nA: b\r\n\r\nlong\r\n.\r\n");
	client_expects(&c, "250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n"
			   "354 End data with <CR><LF>.<CR><LF>\r\n"
			   "250 2.0.0 Stored as 0202020202020202\r\n");
	ck_assert_uint_eq(dropped, 1);
	finish();
}
END_TEST

START_TEST(success_of_a_large_message_is_told_with_its_header)
{
	smtp_open();
	service.enqueue = fake_enqueue_spool;
	service.spool = fake_spool;
	service.unspool = fake_unspool;
	memory_bytes = 8;
	client_says(&c, "HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<ann@example.org> NOTIFY=SUCCESS\r\nDATA\r\n"
			"A: b\r\n\r\nlong\r\n.\r\n");
	client_expects(&c, "250 mx.example.org\r\n250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n"
			   "354 End data with <CR><LF>.<CR><LF>\r\n"
			   "250 2.0.0 Stored as 0101010101010101\r\n");
	ck_assert_str_eq(queued_body, "A: b\r\n\r\n");
	ck_assert_ptr_null(queued_spool);
	ck_assert_uint_eq(queued_count, 1);
	finish();
}
END_TEST

START_TEST(a_body_that_was_not_written_whole_is_not_stored)
{
	smtp_open();
	writes_fail = true;
	client_says(&c, "HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n\r\nx\r\n.\r\n");
	client_expects(&c, "250 mx.example.org\r\n250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n"
			   "354 End data with <CR><LF>.<CR><LF>\r\n"
			   "451 4.3.0 Storage is not available, try later\r\n");
	ck_assert_uint_eq(stored_count, 0);
	finish();
}
END_TEST

START_TEST(chunks_are_put_together_and_may_hold_anything_if_binary)
{
	smtp_open();
	ehlo();
	client_says(&c, "MAIL FROM:<a@b> BODY=BINARYMIME\r\nRCPT TO:<ann@example.org>\r\n");
	client_expects(&c, "250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n");
	TALK("DATA\r\n", "503 5.5.1 BINARYMIME needs BDAT\r\n");
	client_send(&c, SLICE("BDAT 8\r\nA: b\r\n\r\nBDAT 0\r\nBDAT 5 LAST\r\n\n.\r\n\0"));
	client_expects(&c, "250 2.0.0 Chunk ok\r\n250 2.0.0 Chunk ok\r\n"
			   "250 2.0.0 Stored as 0101010101010101\r\n");
	ck_assert_uint_eq(stored_count, 1);
	ck_assert_slice_eq(slice_from(slice_of(stored[0].text, stored[0].len), stored[0].len - 13),
			   SLICE("A: b\r\n\r\n\n.\r\n\0"));
	/* The same without BINARYMIME is refused, and the chunks' lengths still frame what follows. */
	client_send(&c, SLICE("MAIL FROM:<a@b>\r\nRCPT TO:<ann@example.org>\r\n"
			      "BDAT 8\r\nA: b\r\n\r\nBDAT 5 LAST\r\n\n.\r\n\0NOOP\r\n"));
	client_expects(&c, "250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n250 2.0.0 Chunk ok\r\n"
			   "550 5.6.0 Lines end with CR LF, and have neither elsewhere\r\n"
			   "250 2.0.0 Ok\r\n");
	ck_assert_uint_eq(stored_count, 1);
	finish();
}
END_TEST

START_TEST(a_refused_chunk_is_read_and_refuses_the_rest_until_rset)
{
	smtp_open();
	ehlo();
	client_says(&c, "BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n");
	client_expects(&c, "503 5.5.1 Send MAIL first\r\n250 2.0.0 Ok\r\n");
	client_says(&c, "MAIL FROM:<a@b>\r\nRCPT TO:<ann@example.org>\r\nBDAT 4\r\nA: b"
			"MAIL FROM:<x@y>\r\nDATA\r\nRSET\r\n");
	client_expects(&c, "250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n250 2.0.0 Chunk ok\r\n"
			   "503 5.5.1 Sender already given\r\n"
			   "503 5.5.1 The message began with BDAT\r\n250 2.0.0 Ok\r\n");
	TALK("BDAT x\r\n", "501 5.5.4 Bad chunk size, closing the connection\r\n");
	client_expects_end(&c);
	ck_assert_uint_eq(stored_count, 0);
	finish();
}
END_TEST

START_TEST(a_bdat_of_four_billion_bytes_ends_the_session)
{
	smtp_open();
	ehlo();
	TALK("BDAT 18446744073709551615 LAST\r\n",
	     "552 5.3.4 Chunk is too large, closing the connection\r\n");
	client_expects_end(&c);
	finish();
}
END_TEST

static void send_body(size_t bytes)
{
	AUTO_BUF struct buf big = BUF_INIT(8 << 20);

	buf_adds(&big, "Subject: big\r\n\r\n");
	while (big.len + 2 < bytes) {
		buf_fill(&big, 'x', MIN((size_t)998, bytes - big.len - 2));
		buf_adds(&big, "\r\n");
	}
	client_send(&c, buf_slice(&big));
	client_says(&c, ".\r\n");
}

START_TEST(size_is_refused_at_mail_and_when_it_was_not_said_after_the_data)
{
	smtp_open();
	ehlo();
	TALK("MAIL FROM:<a@b> SIZE=3145729\r\n", "552 5.3.4 Message is too large\r\n");
	TALK("MAIL FROM:<a@b> SIZE=3145728\r\n", "250 2.1.0 Sender ok\r\n");
	TALK("RCPT TO:<ann@example.org>\r\n", "250 2.1.5 Recipient ok\r\n");
	TALK("DATA\r\n", "354 End data with <CR><LF>.<CR><LF>\r\n");
	send_body(3145728 + 1);
	client_expects(&c, "552 5.3.4 Message is too large\r\n");
	client_says(&c, "MAIL FROM:<a@b>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n");
	client_expects(&c, "250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n"
			   "354 End data with <CR><LF>.<CR><LF>\r\n");
	send_body(3145728);
	client_expects(&c, "250 2.0.0 Stored as 0202020202020202\r\n");
	ck_assert_uint_eq(stored_count, 1);
	finish();
}
END_TEST

START_TEST(a_header_is_taken_at_its_limit_and_refused_above)
{
	smtp_open();
	ehlo();
	data_of("A: ", 'x', SMTP_HEADER - 7, "\r\n\r\nbody\r\n", "250 2.0.0 Stored as 0101010101010101\r\n");
	data_of("A: ", 'x', SMTP_HEADER - 6, "\r\n\r\nbody\r\n", "552 5.3.4 Message header is too large\r\n");
	data_of("A: ", 'x', (size_t)2 * SMTP_HEADER, "\r\n", "552 5.3.4 Message header is too large\r\n");
	finish();
}
END_TEST

static void hops(unsigned n, const char *want)
{
	AUTO_BUF struct buf text = BUF_INIT(65536);

	for (unsigned i = 0; i < n; i++)
		buf_adds(&text, "Received: x\r\n");
	data_of(buf_cstr(&text), 'x', 0, "\r\n", want);
}

START_TEST(a_message_that_goes_round_is_stopped)
{
	smtp_open();
	ehlo();
	hops(50, "250 2.0.0 Stored as 0101010101010101\r\n");
	hops(51, "554 5.4.6 Too many hops, the message goes round\r\n");
	data_of("Delivered-To: ANN@example.org\r\n", 'x', 0, "\r\n",
		"554 5.4.6 The message was here already\r\n");
	data_of("Delivered-To: bob@example.org\r\n", 'x', 0, "\r\n",
		"250 2.0.0 Stored as 0404040404040404\r\n");
	finish();
}
END_TEST

/* The sequences themselves are in mail/smtp/data_test.c; here is what the session makes of them. */
START_TEST(a_doubtful_end_of_data_ends_the_session_and_stores_nothing)
{
	static const char *const ends[] = { "\n.\n", "\r\n.\n", "\r.\r", "\n.\r\n", "\r\n.\rX" };

	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		AUTO_BUF struct buf text = BUF_INIT(1000);
		smtp_open();
		ehlo();
		buf_adds(&text, "MAIL FROM:<a@b>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n\r\nfirst");
		buf_adds(&text, ends[i]);
		buf_adds(&text, "MAIL FROM:<x@y>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n\r\n2\r\n.\r\n");
		client_send(&c, buf_slice(&text));
		client_expects(&c, "250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n"
				   "354 End data with <CR><LF>.<CR><LF>\r\n"
				   "550 5.6.0 Bare CR, LF or NUL around a dot, closing the connection\r\n");
		client_expects_end(&c);
		ck_assert_uint_eq(stored_count, 0);
		finish();
	}
}
END_TEST

START_TEST(bare_line_ends_in_commands_are_errors)
{
	smtp_open();
	client_says(&c, "EHLO x\n");
	client_expects(&c, "500 5.5.2 Lines end with CR LF, and have neither elsewhere\r\n");
	client_says(&c, "NOOP\rNOOP\r\n");
	client_expects(&c, "500 5.5.2 Lines end with CR LF, and have neither elsewhere\r\n");
	finish();
}
END_TEST

START_TEST(commands_have_their_order)
{
	smtp_open();
	TALK("MAIL FROM:<a@b>\r\n", "503 5.5.1 Send EHLO first\r\n");
	TALK("LHLO x\r\n", "500 5.5.1 This is SMTP, say EHLO\r\n");
	ehlo();
	TALK("RCPT TO:<ann@example.org>\r\n", "503 5.5.1 Send MAIL first\r\n");
	TALK("MAIL FROM:<a@b>\r\n", "250 2.1.0 Sender ok\r\n");
	TALK("MAIL FROM:<a@b>\r\n", "503 5.5.1 Sender already given\r\n");
	TALK("DATA\r\n", "503 5.5.1 No valid recipients\r\n");
	TALK("VRFY ann\r\n", "252 2.0.0 Send some mail, it may arrive\r\n");
	TALK("EXPN team\r\n", "502 5.5.1 Command not implemented\r\n");
	TALK("AUTH PLAIN\r\n", "502 5.5.1 Command not implemented\r\n");
	TALK("STARTTLS\r\n", "454 4.7.0 TLS is not available now\r\n");
	TALK("HELP\r\n", "214 2.0.0 See RFC 5321 and https://www.rfc-editor.org/\r\n");
	/* EHLO in the middle is RSET as well (RFC 5321 §4.1.4). */
	ehlo();
	TALK("DATA\r\n", "503 5.5.1 Send MAIL first\r\n");
	/* Nothing that EHLO did not offer. */
	TALK("MAIL FROM:<a@b> RET=FULL\r\n", "555 5.5.4 Parameter not recognized\r\n");
	finish();
}
END_TEST

START_TEST(too_many_errors_end_the_session)
{
	smtp_open();
	for (unsigned i = 0; i < SMTP_BAD_COMMANDS; i++)
		TALK("WHAT\r\n", "500 5.5.2 Command not recognized\r\n");
	TALK("WHAT\r\n", "421 4.7.0 Too many errors, closing the connection\r\n");
	client_expects_end(&c);
	finish();
}
END_TEST

START_TEST(a_long_line_is_an_error_and_the_next_one_is_read)
{
	AUTO_BUF struct buf line = BUF_INIT(100000);

	smtp_open();
	buf_adds(&line, "NOOP ");
	buf_fill(&line, 'x', SMTP_COMMAND_LINE - 5);
	buf_adds(&line, "\r\n");
	client_send(&c, buf_slice(&line));
	client_expects(&c, "250 2.0.0 Ok\r\n");
	buf_reset(&line);
	buf_adds(&line, "NOOP ");
	buf_fill(&line, 'x', SMTP_COMMAND_LINE - 4);
	buf_adds(&line, "\r\nNOOP\r\n");
	client_send(&c, buf_slice(&line));
	client_expects(&c, "500 5.5.6 Line is too long\r\n250 2.0.0 Ok\r\n");
	finish();
}
END_TEST

START_TEST(the_recipient_after_the_last_is_asked_to_come_later)
{
	smtp_open();
	service.set.recipients_max = 3;
	client_says(&c, "HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<ann@example.org>\r\n"
			"RCPT TO:<bob@example.org>\r\nRCPT TO:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\n");
	client_expects(&c, "250 mx.example.org\r\n250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n"
			   "250 2.1.5 Recipient ok\r\n250 2.1.5 Recipient ok\r\n"
			   "452 4.5.3 Too many recipients\r\n");
	finish();
}
END_TEST

START_TEST(rates_slow_a_client_down)
{
	struct rates *r;

	smtp_open();
	ck_assert_int_eq(rates_new(100, &r), 0);
	service.rates = r;
	service.set.messages_per_minute = 2;
	service.set.recipients_per_minute = 1;
	client_says(&c, "HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<ann@example.org>\r\n"
			"RCPT TO:<bob@example.org>\r\nRSET\r\nMAIL FROM:<a@b>\r\nRSET\r\nMAIL FROM:<a@b>\r\n");
	client_expects(&c, "250 mx.example.org\r\n250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n"
			   "450 4.7.1 Too many recipients, slow down\r\n250 2.0.0 Ok\r\n"
			   "250 2.1.0 Sender ok\r\n250 2.0.0 Ok\r\n"
			   "450 4.7.1 Too many messages, slow down\r\n");
	finish();
	rates_free(r);
}
END_TEST

START_TEST(a_user_has_rates_that_auth_counts)
{
	struct rates *r;

	ck_assert_int_eq(rates_new(100, &r), 0);
	open_as(&submission_session, "220 mx.example.org ESMTP Prickle\r\n");
	service.rates = r;
	service.set.messages_per_minute = 1;	/* of a client of mx, not of a user */
	client_says(&c, "EHLO x\r\nAUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQ=\r\n");
	for (int i = 0; i < 40; i++) {
		loop_run_once(rig.sv.loop, 5);
		client_poll(&c);
	}
	c.seen = c.got.len;
	for (int i = 0; i < 3; i++) {
		TALK("MAIL FROM:<ann@example.org>\r\n", "250 2.1.0 Sender ok\r\n");
		TALK("RCPT TO:<bob@example.org>\r\n", "250 2.1.5 Recipient ok\r\n");
		TALK("RSET\r\n", "250 2.0.0 Ok\r\n");
	}
	ck_assert_uint_eq(rig.authc.taken[RATE_MESSAGES], 3);
	ck_assert_uint_eq(rig.authc.taken[RATE_RECIPIENTS], 3);
	rig.authc.over_rate = true;
	TALK("MAIL FROM:<ann@example.org>\r\n", "450 4.7.1 Too many messages, slow down\r\n");
	finish();
	rates_free(r);
}
END_TEST

START_TEST(a_client_with_too_many_connections_hears_why)
{
	rig_init(&rig);
	service = (struct smtp_service){ .set.idle_us = 60000000 };
	rig.sv.smtp = &service;
	rig.sv.count_clients = true;
	client_open(&c, &rig, &submission_session);
	client_expects(&c, "220 mx.example.org ESMTP Prickle\r\n");
	ck_assert_uint_eq(rig.authc.open, 1);
	client_close(&c);
	ck_assert_uint_eq(rig.authc.open, 0);
	rig.authc.open_result = AUTHC_OPEN_TOO_MANY;
	client_open(&c, &rig, &submission_session);
	client_expects(&c, "421 4.7.0 Too many connections, try again later\r\n");
	client_expects_end(&c);
	client_close(&c);
	ck_assert_uint_eq(rig.authc.open, 1);	/* asked, and not given back */
	rig_done(&rig);
}
END_TEST

START_TEST(international_addresses_need_smtputf8_and_are_traced_as_such)
{
	smtp_open();
	ehlo();
	TALK("MAIL FROM:<\xc3\xbc@b\xc3\xbc" "cher.example>\r\n", "553 5.6.7 Address needs SMTPUTF8\r\n");
	TALK("MAIL FROM:<\xc3\xbc@b\xc3\xbc" "cher.example> SMTPUTF8\r\n", "250 2.1.0 Sender ok\r\n");
	TALK("RCPT TO:<j\xc3\xbcrgen@example.org>\r\n", "250 2.1.5 Recipient ok\r\n");
	TALK("DATA\r\n", "354 End data with <CR><LF>.<CR><LF>\r\n");
	TALK("Subject: \xc3\xbc\r\n\r\n.\r\n", "250 2.0.0 Stored as 0101010101010101\r\n");
	ck_assert_ptr_nonnull(strstr(message_text(0), "Return-Path: <\xc3\xbc@xn--bcher-kva.example>"));
	ck_assert_ptr_nonnull(strstr(message_text(0), "with UTF8SMTP id"));
	finish();
}
END_TEST

START_TEST(submission_wants_to_know_who_sends_and_completes_the_header)
{
	open_as(&submission_session, "220 mx.example.org ESMTP Prickle\r\n");
	client_says(&c, "EHLO x\r\n");
	for (int i = 0; i < 40; i++) {
		loop_run_once(rig.sv.loop, 5);
		client_poll(&c);
	}
	ck_assert(slice_ends(client_unseen(&c), SLICE("250 AUTH PLAIN LOGIN\r\n")));
	c.seen = c.got.len;
	TALK("MAIL FROM:<ann@example.org>\r\n", "530 5.7.0 Authentication required\r\n");
	TALK("AUTH SCRAM-SHA-512 eA==\r\n", "504 5.5.4 Mechanism not available\r\n");
	TALK("AUTH PLAIN ***\r\n", "501 5.5.2 Cannot decode the initial response\r\n");
	TALK("AUTH PLAIN AGFubkBleGFtcGxlLm9yZwB3cm9uZw==\r\n",
	     "535 5.7.8 Authentication credentials invalid\r\n");
	TALK("AUTH PLAIN\r\n", "334 \r\n");
	TALK("*\r\n", "501 5.7.0 Authentication cancelled\r\n");
	TALK("AUTH PLAIN\r\n", "334 \r\n");
	TALK("**\r\n", "501 5.5.2 Cannot decode the response\r\n");
	TALK("AUTH PLAIN\r\n", "334 \r\n");
	TALK("AGFubkBleGFtcGxlLm9yZwBzZWNyZXQ=\r\n", "235 2.7.0 Authentication succeeded\r\n");
	TALK("AUTH PLAIN\r\n", "503 5.5.1 Authenticated already\r\n");
	TALK("MAIL FROM:<bob@example.org>\r\n", "553 5.7.1 This sender address is not yours\r\n");
	TALK("MAIL FROM:<ann@example.org>\r\n", "250 2.1.0 Sender ok\r\n");
	TALK("RCPT TO:<x@elsewhere.example>\r\n", "550 5.7.1 Relaying denied\r\n");
	TALK("RCPT TO:<bob@example.org>\r\n", "250 2.1.5 Recipient ok\r\n");
	TALK("DATA\r\n", "354 End data with <CR><LF>.<CR><LF>\r\n");
	TALK("From: ann@example.org\r\nBcc: bob@example.org\r\n\r\nhi\r\n.\r\n",
	     "250 2.0.0 Stored as 0101010101010101\r\n");
	const char *text = message_text(0);
	ck_assert_ptr_nonnull(strstr(text, "with ESMTPA id"));
	ck_assert_ptr_nonnull(strstr(text, "\r\nDate: Mon, 23 Nov 2026 09:00:00 +0000\r\n"
					   "Message-ID: <0101010101010101@mx.example.org>\r\n"
					   "From: ann@example.org\r\n\r\nhi\r\n"));
	ck_assert_ptr_null(strstr(text, "Bcc"));
	TALK("QUIT\r\n", "221 2.0.0 Bye\r\n");
	finish();
	ck_assert_uint_eq(rig.authc.logouts, 1);
}
END_TEST

START_TEST(guessing_passwords_ends_the_session)
{
	open_as(&submission_session, "220 mx.example.org ESMTP Prickle\r\n");
	client_says(&c, "EHLO x\r\n");
	for (int i = 0; i < 3; i++)
		client_says(&c, "AUTH PLAIN AGFubkBleGFtcGxlLm9yZwB3cm9uZw==\r\n");
	client_says(&c, "AUTH PLAIN AGFubkBleGFtcGxlLm9yZwB3cm9uZw==\r\nNOOP\r\n");
	for (int i = 0; i < 200 && !c.ended; i++) {
		loop_run_once(rig.sv.loop, 5);
		client_poll(&c);
	}
	ck_assert(slice_ends(client_unseen(&c),
			     SLICE("421 4.7.0 Too many failed logins, closing the connection\r\n")));
	finish();
}
END_TEST

START_TEST(a_client_that_goes_away_in_the_middle_leaves_nothing)
{
	smtp_open();
	client_says(&c, "HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n\r\nhalf\r\n.");
	for (int i = 0; i < 20; i++)
		loop_run_once(rig.sv.loop, 2);
	finish();
	ck_assert_uint_eq(stored_count, 0);
	ck_assert_uint_eq(rig.sv.session_count, 0);
}
END_TEST

START_TEST(a_stop_says_goodbye_between_commands)
{
	smtp_open();
	ehlo();
	for (int i = 0; i < 10; i++)
		loop_run_once(rig.sv.loop, 2);
	sessions_stop(&rig.sv);
	client_expects(&c, "421 4.3.2 Service is stopping, try again\r\n");
	client_expects_end(&c);
	finish();
}
END_TEST

TEST_MAIN("session/smtp",
	  a_typical_session_stores_one_copy_for_each_recipient_and_refuses_the_unknown_one,
	  an_aborted_transaction_leaves_nothing, a_pipelined_batch_is_answered_in_order,
	  each_recipient_gets_the_reply_that_its_case_has,
	  an_account_behind_several_addresses_gets_one_copy, lmtp_answers_for_each_recipient_alone,
	  lmtp_repeats_the_refusal_of_a_message_for_each_recipient,
	  lmtp_answers_a_refused_last_chunk_for_each_recipient,
	  chunks_behind_a_refused_recipient_are_not_errors_of_their_own,
	  a_body_that_takes_long_gets_new_grants, a_message_without_header_is_all_body,
	  only_a_message_that_is_durable_for_all_is_acknowledged,
	  quota_is_looked_at_again_when_the_size_is_known,
	  who_could_not_be_served_goes_to_the_queue_before_the_answer,
	  notices_are_the_business_of_the_lmtp_client,
	  a_body_that_is_too_large_for_memory_reaches_the_queue_as_well,
	  success_of_a_large_message_is_told_with_its_header,
	  a_body_that_was_not_written_whole_is_not_stored,
	  chunks_are_put_together_and_may_hold_anything_if_binary,
	  a_refused_chunk_is_read_and_refuses_the_rest_until_rset,
	  a_bdat_of_four_billion_bytes_ends_the_session,
	  size_is_refused_at_mail_and_when_it_was_not_said_after_the_data,
	  a_header_is_taken_at_its_limit_and_refused_above, a_message_that_goes_round_is_stopped,
	  a_doubtful_end_of_data_ends_the_session_and_stores_nothing,
	  bare_line_ends_in_commands_are_errors, commands_have_their_order,
	  too_many_errors_end_the_session, a_long_line_is_an_error_and_the_next_one_is_read,
	  the_recipient_after_the_last_is_asked_to_come_later, rates_slow_a_client_down,
	  a_user_has_rates_that_auth_counts, a_client_with_too_many_connections_hears_why,
	  international_addresses_need_smtputf8_and_are_traced_as_such,
	  submission_wants_to_know_who_sends_and_completes_the_header,
	  guessing_passwords_ends_the_session, a_client_that_goes_away_in_the_middle_leaves_nothing,
	  a_stop_says_goodbye_between_commands)
