#include "mail/mailbox/mailbox.h"

#include "mail/session/session_rig.h"

/*
 * A maildrop by heart: the functions of mail/mailbox/mailbox.h that POP3 uses are defined here.
 * The engine knows nothing but who has the lease.
 */
static char lease_owner[64];
static unsigned lease_calls;

static enum engine_result fake_lease(struct engine *e, struct slice name, struct slice owner,
				     int64_t duration_us)
{
	(void)e;
	ck_assert_slice_eq(name, SLICE("a.00000000000000aa.pop3"));
	ck_assert_int_gt(duration_us, 0);
	lease_calls++;
	if (lease_owner[0] != '\0' && !slice_eq(owner, slice_str(lease_owner)))
		return ENGINE_GUARD;
	return slice_to_str(owner, lease_owner, sizeof(lease_owner)) ? ENGINE_OK : ENGINE_INVALID;
}

static enum engine_result fake_unlease(struct engine *e, struct slice name, struct slice owner)
{
	(void)e;
	(void)name;
	if (!slice_eq(owner, slice_str(lease_owner)))
		return ENGINE_GUARD;
	lease_owner[0] = '\0';
	return ENGINE_OK;
}

static const struct engine_vtable lease_vtable = { .lease = fake_lease, .unlease = fake_unlease };
static struct engine lease_engine = { &lease_vtable };

struct letter {
	uint32_t uid;
	const char *text;
	bool gone;			/* expunged by an IMAP session */
};

static struct letter letters[5];
static uint32_t letter_count;
static enum mailbox_result open_fails, read_fails, expunge_fails;
static unsigned opened, closed;

enum mailbox_result account_open(struct accounts *all, struct engine *engine, struct slice id,
				 struct quota quota, struct account **out)
{
	(void)all;
	(void)engine;
	(void)quota;
	ck_assert_slice_eq(id, SLICE("00000000000000aa"));
	*out = NULL;
	return open_fails;
}

void account_close(struct account *a)
{
	(void)a;
}

enum mailbox_result mailbox_open(struct account *a, struct slice name, bool read_only,
				 struct mailbox **out)
{
	(void)a;
	ck_assert(!read_only);
	ck_assert_slice_eq(name, SLICE("INBOX"));
	*out = (void *)letters;	/* opaque to the session */
	opened++;
	return MAILBOX_OK;
}

void mailbox_close(struct mailbox *m)
{
	(void)m;
	closed++;
}

uint32_t mailbox_count(const struct mailbox *m)
{
	(void)m;
	return letter_count;
}

uint32_t mailbox_uid(const struct mailbox *m, uint32_t seq)
{
	(void)m;
	ck_assert(seq >= 1 && seq <= letter_count);
	return letters[seq - 1].uid;
}

static struct letter *letter(uint32_t uid)
{
	for (uint32_t i = 0; i < letter_count; i++)
		if (letters[i].uid == uid && !letters[i].gone)
			return &letters[i];
	return NULL;
}

bool mailbox_message(struct mailbox *m, uint32_t uid, struct message_info *out)
{
	struct letter *l = letter(uid);

	(void)m;
	if (l == NULL)
		return false;
	*out = (struct message_info){ .uid = uid, .size = (uint32_t)strlen(l->text) };
	memset(out->email_id, (int)uid, sizeof(out->email_id));
	return true;
}

enum mailbox_result mailbox_read(struct mailbox *m, const struct message_info *msg, uint64_t at,
				 size_t n, struct buf *out)
{
	struct letter *l = letter(msg->uid);

	(void)m;
	if (read_fails != MAILBOX_OK)
		return read_fails;
	if (l == NULL)
		return MAILBOX_EXPUNGED;
	/* In pieces of three bytes at most, so that borders fall everywhere. */
	buf_add(out, slice_of(l->text + at, strnlen(l->text + at, MIN(n, (size_t)3))));
	return MAILBOX_OK;
}

enum mailbox_result mailbox_expunge(struct mailbox *m, const struct uid_ranges *uids, bool all,
				    struct arena *arena, struct uid_ranges *uids_gone,
				    uint64_t *modseq)
{
	(void)m;
	(void)arena;
	ck_assert(all);
	ck_assert_ptr_nonnull(uids_gone);
	if (expunge_fails != MAILBOX_OK)
		return expunge_fails;
	for (size_t i = 0; i < uids->count; i++)
		for (uint32_t uid = uids->ranges[i].first; uid <= uids->ranges[i].last; uid++)
			if (letter(uid) != NULL)
				letter(uid)->gone = true;
	*modseq = 1;
	return MAILBOX_OK;
}

void message_emailid(const uint8_t email_id[EMAIL_ID_BYTES], struct buf *out)
{
	buf_printf(out, "M%02x", email_id[0]);
}

/* ---- */

static struct rig rig;
static struct client c;

#define TALK(say, want) (client_says(&c, say), client_expects(&c, want))

static void pop3_open(void)
{
	rig_init(&rig);
	rig.sv.engine = &lease_engine;
	letters[0] = (struct letter){ 7, "A: b\r\n\r\none\r\n.two\r\nthree\r\n", false };
	letters[1] = (struct letter){ 8, "A: b\r\n\r\n", false };
	letters[2] = (struct letter){ 20, "no line end", false };
	letter_count = 3;
	client_open(&c, &rig, &pop3_session);
	client_expects(&c, "+OK mx.example.org POP3 Prickle\r\n");
}

static void finish(void)
{
	client_close(&c);
	rig_done(&rig);
	ck_assert_str_eq(lease_owner, "");
	ck_assert_uint_eq(opened, closed);
}

static void log_in(void)
{
	TALK("USER ann@example.org\r\n", "+OK Now the password\r\n");
	TALK("PASS secret\r\n", "+OK Maildrop ready, 3 messages\r\n");
}

/* The examples of RFC 1939 §5 and §7. */
START_TEST(a_session_lists_reads_and_deletes)
{
	pop3_open();
	log_in();
	TALK("STAT\r\n", "+OK 3 45\r\n");
	TALK("LIST\r\n", "+OK\r\n1 26\r\n2 8\r\n3 11\r\n.\r\n");
	TALK("LIST 2\r\n", "+OK 2 8\r\n");
	TALK("LIST 4\r\n", "-ERR No such message\r\n");
	TALK("UIDL\r\n", "+OK\r\n1 M07\r\n2 M08\r\n3 M14\r\n.\r\n");
	TALK("UIDL 2\r\n", "+OK 2 M08\r\n");
	TALK("RETR 1\r\n", "+OK 26 octets\r\nA: b\r\n\r\none\r\n..two\r\nthree\r\n.\r\n");
	TALK("RETR 3\r\n", "+OK 11 octets\r\nno line end\r\n.\r\n");
	TALK("TOP 1 1\r\n", "+OK 26 octets\r\nA: b\r\n\r\none\r\n.\r\n");
	TALK("TOP 1 0\r\n", "+OK 26 octets\r\nA: b\r\n\r\n.\r\n");
	TALK("DELE 1\r\n", "+OK Marked for deletion\r\n");
	TALK("DELE 1\r\n", "-ERR No such message\r\n");
	TALK("RETR 1\r\n", "-ERR No such message\r\n");
	TALK("STAT\r\n", "+OK 2 19\r\n");
	TALK("LIST\r\n", "+OK\r\n2 8\r\n3 11\r\n.\r\n");
	TALK("RSET\r\n", "+OK\r\n");
	TALK("STAT\r\n", "+OK 3 45\r\n");
	TALK("DELE 1\r\n", "+OK Marked for deletion\r\n");
	TALK("DELE 3\r\n", "+OK Marked for deletion\r\n");
	TALK("NOOP\r\n", "+OK\r\n");
	ck_assert(!letters[0].gone);
	TALK("QUIT\r\n", "+OK Bye\r\n");
	client_expects_end(&c);
	ck_assert(letters[0].gone && !letters[1].gone && letters[2].gone);
	finish();
	ck_assert_uint_eq(rig.authc.logouts, 1);
}
END_TEST

START_TEST(a_connection_that_breaks_deletes_nothing)
{
	pop3_open();
	log_in();
	TALK("DELE 1\r\n", "+OK Marked for deletion\r\n");
	finish();
	ck_assert(!letters[0].gone);
}
END_TEST

START_TEST(a_failed_deletion_is_told_at_quit)
{
	pop3_open();
	log_in();
	TALK("DELE 2\r\n", "+OK Marked for deletion\r\n");
	expunge_fails = MAILBOX_UNAVAILABLE;
	TALK("QUIT\r\n", "-ERR [SYS/TEMP] Some deleted messages are not removed\r\n");
	finish();
}
END_TEST

START_TEST(what_imap_expunges_is_gone_and_keeps_its_number)
{
	pop3_open();
	log_in();
	letters[1].gone = true;
	TALK("RETR 2\r\n", "-ERR No such message\r\n");
	TALK("LIST\r\n", "+OK\r\n1 26\r\n3 11\r\n.\r\n");
	TALK("RETR 3\r\n", "+OK 11 octets\r\nno line end\r\n.\r\n");
	read_fails = MAILBOX_EXPUNGED;
	TALK("RETR 3\r\n", "-ERR No such message\r\n");
	read_fails = MAILBOX_UNAVAILABLE;
	TALK("RETR 3\r\n", "-ERR [SYS/TEMP] The store is not available\r\n");
	finish();
}
END_TEST

START_TEST(a_second_pop3_session_waits_for_the_first)
{
	struct client first;

	pop3_open();
	log_in();
	first = c;
	client_open(&c, &rig, &pop3_session);
	client_expects(&c, "+OK mx.example.org POP3 Prickle\r\n");
	TALK("USER ann@example.org\r\n", "+OK Now the password\r\n");
	TALK("PASS secret\r\n", "-ERR [IN-USE] Another POP3 session has the maildrop\r\n");
	TALK("USER ann@example.org\r\n", "+OK Now the password\r\n");
	client_says(&first, "QUIT\r\n");
	for (int i = 0; i < 10; i++)
		loop_run_once(rig.sv.loop, 5);
	TALK("PASS secret\r\n", "+OK Maildrop ready, 3 messages\r\n");
	/* `first` was copied: its session tells the old place that it is gone. */
	first.gone = true;
	client_close(&first);
	finish();
}
END_TEST

START_TEST(the_state_says_which_commands_there_are)
{
	pop3_open();
	TALK("STAT\r\n", "-ERR Log in first\r\n");
	TALK("PASS secret\r\n", "-ERR Send USER first\r\n");
	TALK("WHAT\r\n", "-ERR Unknown command\r\n");
	TALK("USER\r\n", "-ERR Bad arguments\r\n");
	TALK("STLS\r\n", "-ERR TLS is not available\r\n");
	TALK("UTF8\r\n", "+OK UTF-8 mode\r\n");
	TALK("CAPA\r\n", "+OK\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\n"
			 "EXPIRE NEVER\r\nUTF8 USER\r\nIMPLEMENTATION Prickle\r\nUSER\r\n"
			 "SASL PLAIN LOGIN\r\n.\r\n");
	TALK("AUTH\r\n", "+OK\r\nPLAIN\r\nLOGIN\r\n.\r\n");
	log_in();
	TALK("USER x\r\n", "-ERR Not after login\r\n");
	TALK("AUTH PLAIN\r\n", "-ERR Not after login\r\n");
	finish();
}
END_TEST

START_TEST(logins_fail_with_their_response_code)
{
	pop3_open();
	TALK("USER ann@example.org\r\n", "+OK Now the password\r\n");
	TALK("PASS wrong\r\n", "-ERR [AUTH] Authentication failed\r\n");
	TALK("AUTH PLAIN\r\n", "+ \r\n");
	TALK("*\r\n", "-ERR Authentication cancelled\r\n");
	TALK("AUTH PLAIN !\r\n", "-ERR Cannot decode the initial response\r\n");
	TALK("AUTH CRAM-MD5\r\n", "-ERR Mechanism not available\r\n");
	rig.authc.away = true;
	TALK("AUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQ=\r\n",
	     "-ERR [SYS/TEMP] Authentication is not available now\r\n");
	rig.authc.away = false;
	open_fails = MAILBOX_UNAVAILABLE;
	TALK("AUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQ=\r\n",
	     "-ERR [SYS/TEMP] The maildrop is not available\r\n");
	open_fails = MAILBOX_OK;
	rig.sv.set.plain_without_tls = false;
	TALK("USER ann@example.org\r\n", "-ERR Use STLS first\r\n");
	rig.sv.set.plain_without_tls = true;
	TALK("AUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQ=\r\n", "+OK Maildrop ready, 3 messages\r\n");
	client_close(&c);
	rig_done(&rig);
	ck_assert_uint_eq(opened, closed);
	ck_assert_str_eq(lease_owner, "");
}
END_TEST

START_TEST(a_login_without_domain_gets_the_configured_one)
{
	pop3_open();
	rig.sv.set.domain = "example.org";
	TALK("USER ann\r\n", "+OK Now the password\r\n");
	TALK("PASS secret\r\n", "+OK Maildrop ready, 3 messages\r\n");
	finish();
}
END_TEST

START_TEST(pipelined_commands_are_answered_in_order)
{
	pop3_open();
	client_says(&c, "USER ann@example.org\r\nPASS secret\r\nDELE 1\r\nDELE 2\r\nQUIT\r\n");
	client_expects(&c, "+OK Now the password\r\n+OK Maildrop ready, 3 messages\r\n"
			   "+OK Marked for deletion\r\n+OK Marked for deletion\r\n+OK Bye\r\n");
	ck_assert(letters[0].gone && letters[1].gone && !letters[2].gone);
	finish();
}
END_TEST

/* RFC 1939 §4: the lock is kept until the session ends, however long a message takes. */
START_TEST(the_lock_is_renewed_while_a_slow_client_reads)
{
	static char large[3000000];

	pop3_open();
	rig.sv.set.pop3_lease_us = 30000;
	memset(large, 'x', sizeof(large) - 1);
	letters[2].text = large;
	log_in();
	lease_calls = 0;
	client_says(&c, "RETR 3\r\n");
	/* The client does not read. */
	for (int i = 0; i < 2000 && lease_calls < 5; i++)
		loop_run_once(rig.sv.loop, 5);
	ck_assert_uint_ge(lease_calls, 5);
	/* Somebody got it all the same: then the client is told. */
	memcpy(lease_owner, "other", sizeof("other"));
	for (int i = 0; i < 2000 && !c.ended; i++) {
		loop_run_once(rig.sv.loop, 5);
		client_poll(&c);
	}
	ck_assert(slice_ends(client_unseen(&c),
			     SLICE("-ERR [IN-USE] Another session has taken over the maildrop\r\n")));
	lease_owner[0] = '\0';
	finish();
}
END_TEST

TEST_MAIN("session/pop3", a_session_lists_reads_and_deletes,
	  a_connection_that_breaks_deletes_nothing, a_failed_deletion_is_told_at_quit,
	  what_imap_expunges_is_gone_and_keeps_its_number,
	  a_second_pop3_session_waits_for_the_first, the_state_says_which_commands_there_are,
	  logins_fail_with_their_response_code, a_login_without_domain_gets_the_configured_one,
	  pipelined_commands_are_answered_in_order,
	  the_lock_is_renewed_while_a_slow_client_reads)
