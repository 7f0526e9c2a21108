/*
 * IMAP sessions: transcripts as the RFCs show them.
 */
#include "mail/session/imap_rig.h"

static const char multipart[] = "From: ann@example.org\r\n"
				"Subject: Re: afternoon meeting\r\n"
				"References: <B27397-0100000@Blurdybloop.example>\r\n"
				"Message-Id: <2@example.org>\r\n"
				"Content-Type: multipart/mixed; boundary=xx\r\n"
				"\r\n"
				"--xx\r\n"
				"\r\n"
				"text part\r\n"
				"--xx\r\n"
				"Content-Type: application/octet-stream\r\n"
				"Content-Transfer-Encoding: base64\r\n"
				"\r\n"
				"AAECAw==\r\n"
				"--xx--\r\n";

static unsigned long long number_after(const char *text, const char *before)
{
	const char *at = strstr(text, before);

	ck_assert_ptr_nonnull(at);
	return strtoull(at + strlen(before), NULL, 10);
}

static struct client *login(struct server *s, struct client *c)
{
	return login_as(s, c, "ann");
}

START_TEST(login_needs_the_right_password_and_tells_capabilities)
{
	struct server s;
	struct client c;

	server_init(&s);
	connect_client(&s, &c);
	HAS(ask(&c, "a CAPABILITY"), "AUTH=PLAIN");
	HAS(ask(&c, "b LOGIN ann wrong"), "b NO [AUTHENTICATIONFAILED]");
	HAS(ask(&c, "c SELECT INBOX"), "c BAD ");
	HAS(ask(&c, "d AUTHENTICATE PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQ="), "d OK [CAPABILITY");
	HAS(ask(&c, "e LOGIN ann secret"), "e BAD ");
	HAS(ask(&c, "f LOGOUT"), "* BYE");
	client_done(&c);
	server_done(&s);
}
END_TEST

START_TEST(an_appended_message_comes_back_as_it_went_in)
{
	struct server s;
	struct client c;
	const char *got;

	server_init(&s);
	login(&s, &c);
	HAS(append(&c, "a", "INBOX (\\Flagged $Work) \"07-Feb-1994 22:43:04 -0800\"", message),
	    "a OK [APPENDUID ");
	got = ask(&c, "b SELECT INBOX");
	HAS(got, "* 1 EXISTS\r\n");
	HAS(got, "* 1 RECENT\r\n");
	HAS(got, "[UIDNEXT 2]");
	HAS(got, "b OK [READ-WRITE]");
	got = ask(&c, "c FETCH 1 (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY BODY[])");
	HAS(got, "* 1 FETCH (UID 1 ");
	HAS(got, "INTERNALDATE \"07-Feb-1994 22:43:04 -0800\"");
	HAS(got, "ENVELOPE (\"Mon, 7 Feb 1994 21:52:25 -0800 (PST)\" \"afternoon meeting\" ((\"Fred Foobar\" "
		 "NIL \"foobar\" \"Blurdybloop.example\"))");
	HAS(got, message);
	HAS(got, "\\Flagged");
	HAS(got, "$Work");
	HAS(got, "\\Seen");
	HAS(got, "c OK");
	client_done(&c);
	server_done(&s);
}
END_TEST

START_TEST(sections_partials_and_binary_are_cut_right)
{
	struct server s;
	struct client c;

	server_init(&s);
	login(&s, &c);
	append(&c, "a", "INBOX", multipart);
	ask(&c, "b SELECT INBOX");
	HAS(ask(&c, "c FETCH 1 BODY.PEEK[1]"), "BODY[1] {9}\r\ntext part)");
	HAS(ask(&c, "d FETCH 1 BODY.PEEK[1]<5.100>"), "BODY[1]<5> {4}\r\npart)");
	HAS(ask(&c, "e FETCH 1 BODY.PEEK[1]<100.5>"), "BODY[1]<100> {0}\r\n)");
	HAS(ask(&c, "f FETCH 1 BODY.PEEK[3]"), "BODY[3] NIL)");
	HAS(ask(&c, "g FETCH 1 BODY.PEEK[HEADER.FIELDS (From \"SUBJECT\")]"),
	    "BODY[HEADER.FIELDS (From SUBJECT)] {57}\r\nFrom: ann@example.org\r\nSubject: Re: afternoon");
	HAS(ask(&c, "h FETCH 1 (BINARY.PEEK[1] BINARY.SIZE[2])"), "BINARY[1] {9}\r\ntext part BINARY.SIZE[2] 4)");
	HAS(ask(&c, "i FETCH 1 BINARY.PEEK[2]"), "BINARY[2] ~{4}\r\n");
	HAS(ask(&c, "j FETCH 1 BODYSTRUCTURE"), "\"mixed\" (\"boundary\" \"xx\")");
	HAS_NOT(ask(&c, "k FETCH 1 FLAGS"), "\\Seen");
	HAS(ask(&c, "l FETCH 1 RFC822.HEADER"), "RFC822.HEADER {");
	HAS(ask(&c, "m FETCH 2 FLAGS"), "m BAD ");
	client_done(&c);
	server_done(&s);
}
END_TEST

START_TEST(flags_are_stored_told_and_searched)
{
	struct server s;
	struct client c;
	const char *got;

	server_init(&s);
	login(&s, &c);
	append(&c, "a", "INBOX", message);
	append(&c, "a2", "INBOX", multipart);
	ask(&c, "b SELECT INBOX");
	HAS(ask(&c, "c STORE 1 +FLAGS (\\Deleted $Junk)"), "* 1 FETCH (UID 1 FLAGS (\\Deleted");
	HAS_NOT(ask(&c, "d STORE 2 +FLAGS.SILENT (\\Seen)"), "FETCH");
	HAS(ask(&c, "e SEARCH DELETED"), "* SEARCH 1\r\n");
	HAS(ask(&c, "f SEARCH NOT DELETED SEEN"), "* SEARCH 2\r\n");
	HAS(ask(&c, "g SEARCH KEYWORD $junk"), "* SEARCH 1\r\n");
	HAS(ask(&c, "h SEARCH SUBJECT \"AFTERNOON\" FROM foobar"), "* SEARCH 1\r\n");
	HAS(ask(&c, "i SEARCH TEXT \"3:30\""), "* SEARCH 1\r\n");
	HAS(ask(&c, "j SEARCH BODY \"text part\""), "* SEARCH 2\r\n");
	HAS(ask(&c, "k SEARCH SENTON 7-Feb-1994"), "* SEARCH 1\r\n");
	HAS(ask(&c, "l SEARCH HEADER References \"\""), "* SEARCH 2\r\n");
	HAS(ask(&c, "m SEARCH OR (SEEN) (DELETED SENTSINCE 1-Jan-1995)"), "* SEARCH 2\r\n");
	HAS(ask(&c, "n SEARCH CHARSET X-NONE ALL"), "n NO [BADCHARSET");
	HAS(ask(&c, "o SEARCH RETURN (MIN MAX COUNT) ALL"), "* ESEARCH (TAG \"o\") MIN 1 MAX 2 COUNT 2\r\n");
	HAS(ask(&c, "p UID SEARCH RETURN () ALL"), "* ESEARCH (TAG \"p\") UID ALL 1:2\r\n");
	HAS(ask(&c, "q SEARCH RETURN (SAVE) DELETED"), "q OK");
	HAS(ask(&c, "r FETCH $ UID"), "* 1 FETCH (UID 1)\r\n");
	HAS(ask(&c, "s SORT (REVERSE DATE) UTF-8 ALL"), "* SORT 2 1\r\n");
	HAS(ask(&c, "t THREAD REFERENCES UTF-8 ALL"), "* THREAD (1 2)\r\n");
	got = ask(&c, "u EXPUNGE");
	HAS(got, "* 1 EXPUNGE\r\n");
	HAS(ask(&c, "v UID FETCH 1:* FLAGS"), "* 1 FETCH (UID 2 FLAGS (\\Seen");
	client_done(&c);
	server_done(&s);
}
END_TEST

START_TEST(two_sessions_see_each_others_changes_in_order)
{
	struct server s;
	struct client a, b;
	const char *got;

	server_init(&s);
	login(&s, &a);
	login(&s, &b);
	ask(&a, "a SELECT INBOX");
	ask(&b, "a SELECT INBOX");
	append(&a, "b", "INBOX", message);
	append(&a, "c", "INBOX", multipart);
	HAS(ask(&b, "b NOOP"), "* 2 EXISTS\r\n");
	ask(&a, "d STORE 1 +FLAGS (\\Deleted)");
	HAS(ask(&b, "c NOOP"), "* 1 FETCH (UID 1 FLAGS (\\Deleted");
	/* IDLE hears of it without asking. */
	buf_reset(&b.got);
	client_send(&b, "d IDLE\r\n");
	HAS(until(&b, "+"), "+ idling\r\n");
	ask(&a, "e EXPUNGE");
	got = until(&b, "*");
	HAS(got, "* 1 EXPUNGE\r\n");
	buf_reset(&b.got);
	client_send(&b, "DONE\r\n");
	HAS(until(&b, "d"), "d OK");
	client_done(&a);
	client_done(&b);
	server_done(&s);
}
END_TEST

START_TEST(no_expunge_is_told_while_numbers_are_in_use)
{
	struct server s;
	struct client a, b;

	server_init(&s);
	login(&s, &a);
	append(&a, "x", "INBOX", message);
	append(&a, "y", "INBOX", multipart);
	login(&s, &b);
	ask(&a, "a SELECT INBOX");
	ask(&b, "a SELECT INBOX");
	ask(&a, "b STORE 1 +FLAGS.SILENT (\\Deleted)");
	ask(&a, "c EXPUNGE");
	/* RFC 9051 §7.5.1: not during FETCH, STORE and SEARCH by number. */
	HAS_NOT(ask(&b, "b FETCH 2 FLAGS"), "EXPUNGE\r\n");
	HAS(ask(&b, "c FETCH 1 FLAGS"), "c NO [EXPUNGEISSUED]");
	HAS(ask(&b, "d NOOP"), "* 1 EXPUNGE\r\n");
	client_done(&a);
	client_done(&b);
	server_done(&s);
}
END_TEST

START_TEST(folders_are_made_listed_renamed_and_deleted)
{
	struct server s;
	struct client c;
	const char *got;

	server_init(&s);
	login(&s, &c);
	HAS(ask(&c, "a CREATE Entw&APw-rfe (USE (\\Drafts))"), "a OK [MAILBOXID (");
	HAS(ask(&c, "b CREATE Lists/C"), "b OK");
	HAS(ask(&c, "c CREATE Lists/C"), "c NO [ALREADYEXISTS]");
	got = ask(&c, "d LIST \"\" *");
	HAS(got, "* LIST (\\HasNoChildren) \"/\" INBOX\r\n");
	HAS(got, "\\Drafts) \"/\" Entw&APw-rfe\r\n");
	HAS(got, "* LIST (\\HasNoChildren) \"/\" Lists/C\r\n");
	HAS_NOT(ask(&c, "e LIST \"\" %"), "Lists/C");
	HAS(ask(&c, "f LIST \"\" \"\""), "* LIST (\\Noselect) \"/\" \"\"\r\n");
	HAS(ask(&c, "g RENAME Lists/C Lists/D"), "g OK");
	HAS(ask(&c, "h SUBSCRIBE Lists/D"), "h OK");
	HAS(ask(&c, "i LSUB \"\" *"), "* LSUB () \"/\" Lists/D\r\n");
	HAS(ask(&c, "j LIST (SUBSCRIBED) \"\" *"), "\\Subscribed");
	HAS(ask(&c, "k STATUS Lists/D (MESSAGES UIDNEXT SIZE)"), "* STATUS Lists/D (MESSAGES 0 UIDNEXT 1 SIZE 0)");
	HAS(ask(&c, "l LIST \"\" % RETURN (STATUS (MESSAGES))"), "* STATUS INBOX (MESSAGES 0)\r\n");
	HAS(ask(&c, "m DELETE Lists/D"), "m OK");
	HAS(ask(&c, "n SELECT Lists/D"), "n NO [NONEXISTENT]");
	HAS(ask(&c, "o DELETE INBOX"), "o NO [CANNOT]");
	HAS(append(&c, "p", "Nowhere", message), "p NO [TRYCREATE]");
	HAS(ask(&c, "q GETQUOTAROOT INBOX"), "* QUOTA \"\" (STORAGE 0 1024 MESSAGE 0 1000)\r\n");
	HAS(ask(&c, "r NAMESPACE"), "* NAMESPACE ((\"\" \"/\")) ((\"user/\" \"/\")) NIL\r\n");
	client_done(&c);
	server_done(&s);
}
END_TEST

START_TEST(copy_and_move_name_the_new_uids)
{
	struct server s;
	struct client c;
	const char *got;

	server_init(&s);
	login(&s, &c);
	append(&c, "a", "INBOX", message);
	append(&c, "b", "INBOX", multipart);
	ask(&c, "c CREATE Work");
	ask(&c, "d SELECT INBOX");
	HAS(ask(&c, "e COPY 1:2 Work"), " 1:2 1:2] ");
	got = ask(&c, "f MOVE 1 Work");
	HAS(got, "* OK [COPYUID ");
	HAS(got, " 1 3] ");
	HAS(got, "* 1 EXPUNGE\r\nf OK");
	HAS(ask(&c, "g COPY 1 Nowhere"), "g NO [TRYCREATE]");
	HAS(ask(&c, "h STATUS Work (MESSAGES)"), "(MESSAGES 3)");
	client_done(&c);
	server_done(&s);
}
END_TEST

START_TEST(qresync_brings_a_client_up_to_date)
{
	struct server s;
	struct client a, b;
	const char *got;
	char line[200];
	unsigned long long modseq, validity;

	server_init(&s);
	login(&s, &a);
	for (int i = 0; i < 4; i++)
		append(&a, "x", "INBOX", message);
	HAS(ask(&a, "e ENABLE QRESYNC"), "* ENABLED QRESYNC\r\n");
	got = ask(&a, "a SELECT INBOX");
	modseq = number_after(got, "[HIGHESTMODSEQ ");
	validity = number_after(got, "[UIDVALIDITY ");
	ask(&a, "b STORE 2 +FLAGS (\\Deleted)");
	HAS(ask(&a, "c EXPUNGE"), "* VANISHED 2\r\n");
	HAS(ask(&a, "d STORE 1 +FLAGS.SILENT (\\Seen)"), "MODSEQ (");
	login(&s, &b);
	ask(&b, "a ENABLE QRESYNC");
	snprintf(line, sizeof(line), "b SELECT INBOX (QRESYNC (%llu %llu 1:4))", validity, modseq);
	got = ask(&b, line);
	HAS(got, "* VANISHED (EARLIER) 2\r\n");
	HAS(got, "* 1 FETCH (UID 1 FLAGS (\\Seen");
	HAS_NOT(got, "* 2 FETCH");
	snprintf(line, sizeof(line), "c UID FETCH 1:* (FLAGS) (CHANGEDSINCE %llu VANISHED)", modseq);
	HAS(ask(&b, line), "* VANISHED (EARLIER) 2\r\n");
	snprintf(line, sizeof(line), "d STORE 1 (UNCHANGEDSINCE %llu) +FLAGS (\\Flagged)", modseq);
	HAS(ask(&b, line), "[MODIFIED 1]");
	client_done(&a);
	client_done(&b);
	server_done(&s);
}
END_TEST

START_TEST(qresync_spares_a_client_what_its_match_data_rules_out)
{
	/* Of messages 1 to 8, 2 and 6 are gone: 1 3 4 5 7 8. */
	static const struct {
		const char *match, *vanished;
	} cases[] = {
		{ "", "2,6" },
		{ " (1:8 1:8)", "2,6" },		/* as it was: only 1 holds */
		{ " (2 3)", "6" },			/* the client knows of 2 */
		{ " (1:4 1,3:5)", "6" },
		{ " (1,3 1,4)", "6" },
		{ " (4:6 5,7:8)", NULL },		/* of both */
		{ " (2:5 3:5,7)", NULL },
		{ " (2:6 3:7)", "6" },
		{ " (4294967295 4294967295)", "2,6" },
		{ " (2 2)", "2,6" },			/* not so any more */
	};
	struct server s;
	struct client a;
	const char *got;
	unsigned long long modseq, validity;

	server_init(&s);
	login(&s, &a);
	for (int i = 0; i < 8; i++)
		append(&a, "x", "INBOX", message);
	ask(&a, "e ENABLE QRESYNC");
	got = ask(&a, "a SELECT INBOX");
	modseq = number_after(got, "[HIGHESTMODSEQ ");
	validity = number_after(got, "[UIDVALIDITY ");
	ask(&a, "b STORE 2,6 +FLAGS (\\Deleted)");
	ask(&a, "c EXPUNGE");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char line[200], want[80];
		snprintf(line, sizeof(line), "b SELECT INBOX (QRESYNC (%llu %llu 1:8%s))", validity, modseq,
			 cases[i].match);
		got = ask(&a, line);
		snprintf(want, sizeof(want), "* VANISHED (EARLIER) %s\r\n", cases[i].vanished);
		if (cases[i].vanished != NULL)
			ck_assert_msg(strstr(got, want) != NULL, "%s: %s", line, got);
		else
			ck_assert_msg(strstr(got, "VANISHED") == NULL, "%s: %s", line, got);
	}
	client_done(&a);
	server_done(&s);
}
END_TEST

START_TEST(rev2_changes_what_a_client_sees)
{
	struct server s;
	struct client c;
	const char *got;

	server_init(&s);
	login(&s, &c);
	append(&c, "x", "INBOX", message);
	ask(&c, "y CREATE Entw&APw-rfe");
	HAS(ask(&c, "a ENABLE IMAP4rev2"), "* ENABLED IMAP4rev2\r\n");
	got = ask(&c, "b SELECT INBOX");
	HAS_NOT(got, "RECENT");
	HAS_NOT(got, "UNSEEN");
	HAS(got, "* LIST () \"/\" INBOX\r\n");
	HAS(ask(&c, "c SEARCH ALL"), "* ESEARCH (TAG \"c\") ALL 1\r\n");
	HAS(ask(&c, "d LIST \"\" *"), "\"Entw\xc3\xbcrfe\"");
	HAS(ask(&c, "e SELECT \"Entw\xc3\xbcrfe\""), "* OK [CLOSED]");
	client_done(&c);
	server_done(&s);
}
END_TEST

START_TEST(mistakes_are_answered_and_too_many_end_the_session)
{
	struct server s;
	struct client c;

	server_init(&s);
	login(&s, &c);
	HAS(ask(&c, "c NOOP"), "c OK");
	HAS(ask(&c, "a XYZZY"), "a BAD ");
	HAS(ask(&c, "b SELECT"), "b BAD ");
	HAS(ask(&c, "d LOGIN {99999}"), "d BAD ");
	HAS(ask(&c, "* y"), "* BAD ");
	HAS(ask(&c, "f FETCH"), "f BAD ");
	buf_reset(&c.got);
	client_send(&c, "g (\r\n");
	HAS(until(&c, "never"), "* BYE Too many mistakes\r\n");
	client_done(&c);
	server_done(&s);
}
END_TEST

START_TEST(literals_wait_for_the_server_and_pipelined_commands_are_served_in_order)
{
	struct server s;
	struct client c;
	const char *got;

	server_init(&s);
	connect_client(&s, &c);
	buf_reset(&c.got);
	client_send(&c, "a LOGIN {3}\r\n");
	HAS(until(&c, "+"), "+ Ready");
	client_send(&c, "ann {6+}\r\nsecret\r\nb NOOP\r\nc CREATE X\r\nd SELECT X\r\ne UNSELECT\r\n");
	got = until(&c, "e");
	HAS(got, "a OK");
	HAS(got, "c OK");
	HAS(got, "d OK");
	HAS(got, "e OK");
	ck_assert(strstr(got, "b OK") < strstr(got, "c OK"));
	client_done(&c);
	server_done(&s);
}
END_TEST

START_TEST(append_refuses_early_and_the_session_goes_on)
{
	struct server s;
	struct client c;

	server_init(&s);
	login(&s, &c);
	HAS(ask(&c, "a APPEND INBOX {100001}"), "a NO [TOOBIG]");
	HAS(ask(&c, "b APPEND Nowhere {10}"), "b NO [TRYCREATE]");
	buf_reset(&c.got);
	client_send(&c, "c APPEND INBOX {3+}\r\nabc (\\Seen) {3+}\r\ndef\r\nd NOOP\r\n");
	HAS(until(&c, "d"), " 1:2] Stored\r\nd OK");
	buf_reset(&c.got);
	client_send(&c, "e APPEND INBOX {3+}\r\nabcx\r\nf STATUS INBOX (MESSAGES)\r\n");
	HAS(until(&c, "f"), "e BAD ");
	HAS(buf_cstr(&c.got), "(MESSAGES 2)");
	/* A literal behind a mistake is still a literal: what is in it must not be taken for commands. */
	buf_reset(&c.got);
	client_send(&c, "g APPEND INBOX {3+}\r\nabc(\\Seen) {8+}\r\nh NOOP\r\n\r\n");
	HAS(until(&c, "never"), "g BAD ");
	HAS(buf_cstr(&c.got), "* BYE [TOOBIG] ");
	HAS_NOT(buf_cstr(&c.got), "h OK");
	client_done(&c);
	login(&s, &c);
	buf_reset(&c.got);
	client_send(&c, "i APPEND INBOX {400000000+}\r\n");
	HAS(until(&c, "never"), "i NO [TOOBIG] ");
	HAS(buf_cstr(&c.got), "* BYE [TOOBIG] ");
	client_done(&c);
	server_done(&s);
}
END_TEST

START_TEST(a_walk_over_many_messages_gives_each_its_own_bytes)
{
	struct server s;
	struct client c;
	char text[4000], want[4100];
	const char *got;

	server_init(&s);
	login(&s, &c);
	for (unsigned i = 1; i <= 300; i++) {
		int n = snprintf(text, sizeof(text), "Subject: number %u\r\n\r\n", i);

		memset(text + n, 'a' + (int)(i % 26), i * 11);
		snprintf(text + n + i * 11, sizeof(text) - (size_t)n - i * 11, "\r\n");
		HAS(append(&c, "a", "INBOX", text), "a OK");
	}
	ask(&c, "b SELECT INBOX");
	got = ask(&c, "c FETCH 1:* (BODY.PEEK[] BODY.PEEK[HEADER.FIELDS (SUBJECT)])");
	for (unsigned i = 1; i <= 300; i++) {
		int n = snprintf(text, sizeof(text), "Subject: number %u\r\n\r\n", i);

		memset(text + n, 'a' + (int)(i % 26), i * 11);
		snprintf(text + n + i * 11, sizeof(text) - (size_t)n - i * 11, "\r\n");
		snprintf(want, sizeof(want), "* %u FETCH (BODY[] {%zu}\r\n%s BODY[HEADER.FIELDS (SUBJECT)] {%d}\r\n"
			 "Subject: number %u\r\n\r\n)\r\n", i, strlen(text), text, n, i);
		HAS(got, want);
	}
	HAS(ask(&c, "d SEARCH SUBJECT \"number 29\""),
	    "* SEARCH 29 290 291 292 293 294 295 296 297 298 299\r\n");
	HAS(ask(&c, "e SEARCH BODY zzzz SMALLER 500"), "* SEARCH 25\r\n");
	HAS(ask(&c, "f UID FETCH 299,5,77 BODY.PEEK[TEXT]<0.3>"),
	    "* 5 FETCH (UID 5 BODY[TEXT]<0> {3}\r\nfff)\r\n* 77 FETCH (UID 77 BODY[TEXT]<0> {3}\r\nzzz)");
	client_done(&c);
	server_done(&s);
}
END_TEST

START_TEST(fetching_one_by_one_needs_few_calls_and_the_last_readers_keep_what_they_read)
{
	struct server s;
	struct client c[IMAP_READERS + 2];
	char text[3000], want[3100], command[64];

	server_init(&s);
	for (unsigned i = 0; i < ARRAY_LEN(c); i++)
		login(&s, &c[i]);
	for (unsigned i = 1; i <= 100; i++) {
		memset(text, 'a' + (int)(i % 26), sizeof(text) - 1);
		memcpy(text, "Subject: x\r\n\r\n", 14);
		text[sizeof(text) - 1] = 0;
		HAS(append(&c[0], "a", "INBOX", text), "a OK");
	}
	for (unsigned i = 0; i < ARRAY_LEN(c); i++)
		ask(&c[i], "b SELECT INBOX");
	/* In turn, so that each loses its place to another all the time. */
	for (unsigned round = 0; round < 2; round++) {
		unsigned clients = round == 0 ? 1 : ARRAY_LEN(c);
		uint64_t before = engine_memory_calls(s.engine);

		for (unsigned i = 1; i <= 100; i++) {
			memset(text + 14, 'a' + (int)(i % 26), sizeof(text) - 15);
			snprintf(want, sizeof(want), "* %u FETCH (BODY[] {%zu}\r\n%s)\r\n", i, strlen(text), text);
			snprintf(command, sizeof(command), "c FETCH %u BODY.PEEK[]", i);
			for (unsigned k = 0; k < clients; k++)
				HAS(ask(&c[k], command), want);
		}
		if (round == 0)
			ck_assert_uint_le(engine_memory_calls(s.engine) - before, 10);
	}
	for (unsigned i = 0; i < ARRAY_LEN(c); i++)
		client_done(&c[i]);
	server_done(&s);
}
END_TEST

/* RFC 7162 §3.2.6: "1:*" with VANISHED asks for all, also what was above the highest UID of today. */
START_TEST(vanished_tells_of_the_highest_uid_that_is_gone)
{
	struct server s;
	struct client c;

	server_init(&s);
	login(&s, &c);
	append(&c, "a", "INBOX", "Subject: one\r\n\r\n1\r\n");
	append(&c, "a", "INBOX", "Subject: two\r\n\r\n2\r\n");
	ask(&c, "b ENABLE QRESYNC");
	ask(&c, "c SELECT INBOX");
	ask(&c, "d UID STORE 2 +FLAGS.SILENT (\\Deleted)");
	HAS(ask(&c, "e UID EXPUNGE 2"), "* VANISHED 2\r\n");
	HAS(ask(&c, "f UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)"),
	    "* VANISHED (EARLIER) 2\r\n");
	HAS_NOT(ask(&c, "g UID FETCH 1 (FLAGS) (CHANGEDSINCE 1 VANISHED)"), "VANISHED (EARLIER)");
	ask(&c, "h UID STORE 1 +FLAGS.SILENT (\\Deleted)");
	ask(&c, "i UID EXPUNGE 1");
	HAS(ask(&c, "j UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)"),
	    "* VANISHED (EARLIER) 1:2\r\n");
	client_done(&c);
	server_done(&s);
}
END_TEST

START_TEST(a_search_that_fails_leaves_no_saved_result)
{
	struct server s;
	struct client c;

	server_init(&s);
	login(&s, &c);
	append(&c, "a", "INBOX", "Subject: one\r\n\r\n1\r\n");
	ask(&c, "b SELECT INBOX");
	ask(&c, "c SEARCH RETURN (SAVE) ALL");
	HAS(ask(&c, "d FETCH $ UID"), "* 1 FETCH (UID 1)");
	/* RFC 5182 §2.1: NO empties "$", BAD does not. */
	HAS(ask(&c, "e SEARCH RETURN (SAVE) FOO"), "e BAD");
	HAS(ask(&c, "f FETCH $ UID"), "* 1 FETCH (UID 1)");
	HAS(ask(&c, "g SEARCH RETURN (SAVE) CHARSET x-none ALL"), "g NO [BADCHARSET");
	HAS_NOT(ask(&c, "h FETCH $ UID"), "FETCH (");
	client_done(&c);
	server_done(&s);
}
END_TEST

START_TEST(esearch_tells_the_modseq_of_the_messages_it_names)
{
	struct server s;
	struct client c;

	server_init(&s);
	login(&s, &c);
	for (int i = 0; i < 3; i++)
		append(&c, "a", "INBOX", "Subject: one\r\n\r\n1\r\n");
	ask(&c, "b SELECT INBOX (CONDSTORE)");
	ask(&c, "c STORE 2 +FLAGS (\\Seen)");
	/* RFC 4731 §3.2: messages 1 to 3 have the mod-sequences 2, 5 and 4. */
	HAS(ask(&c, "d SEARCH RETURN (MIN) MODSEQ 1"), " MIN 1 MODSEQ 2\r\n");
	HAS(ask(&c, "e SEARCH RETURN (MAX) MODSEQ 1"), " MAX 3 MODSEQ 4\r\n");
	HAS(ask(&c, "f SEARCH RETURN (MIN MAX) MODSEQ 1"), " MIN 1 MAX 3 MODSEQ 4\r\n");
	HAS(ask(&c, "g SEARCH RETURN (MIN COUNT) MODSEQ 1"), " MIN 1 COUNT 3 MODSEQ 5\r\n");
	client_done(&c);
	server_done(&s);
}
END_TEST

START_TEST(a_silent_store_does_not_hide_what_another_session_set)
{
	struct server s;
	struct client a, b;

	server_init(&s);
	login(&s, &a);
	login(&s, &b);
	append(&a, "a", "INBOX", "Subject: one\r\n\r\n1\r\n");
	ask(&a, "b SELECT INBOX");
	ask(&b, "b SELECT INBOX");
	ask(&a, "c STORE 1 +FLAGS.SILENT (\\Flagged)");
	/* RFC 3501 §6.4.6: a change from elsewhere is told all the same. */
	HAS(ask(&b, "c STORE 1 +FLAGS.SILENT (\\Seen)"), "* 1 FETCH (UID 1 FLAGS (\\Seen \\Flagged");
	HAS_NOT(ask(&b, "d STORE 1 +FLAGS.SILENT (\\Answered)"), "FETCH");
	HAS(ask(&a, "d NOOP"), "* 1 FETCH (UID 1 FLAGS (\\Seen \\Answered \\Flagged");
	client_done(&a);
	client_done(&b);
	server_done(&s);
}
END_TEST

START_TEST(levels_above_a_subscription_are_shown_without_a_mailbox)
{
	struct server s;
	struct client c;

	server_init(&s);
	login(&s, &c);
	ask(&c, "a SUBSCRIBE gone/kid/x");
	/* RFC 3501 §6.3.9, RFC 5258 §5 example 9 */
	HAS(ask(&c, "b LSUB \"\" %"), "* LSUB (\\Noselect) \"/\" gone\r\nb OK");
	HAS(ask(&c, "c LIST (SUBSCRIBED RECURSIVEMATCH) \"\" %"),
	    "* LIST (\\NonExistent \\HasNoChildren) \"/\" gone (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\nc OK");
	HAS_NOT(ask(&c, "d LIST \"\" *"), "gone");
	HAS_NOT(ask(&c, "e LIST (SUBSCRIBED) \"\" %"), "gone");
	client_done(&c);
	server_done(&s);
}
END_TEST

START_TEST(a_session_may_delete_the_mailbox_that_it_has_selected)
{
	struct server s;
	struct client a, b;

	server_init(&s);
	login(&s, &a);
	login(&s, &b);
	ask(&a, "a CREATE x");
	ask(&a, "b SELECT x");
	ask(&b, "b SELECT x");
	HAS(ask(&a, "c RENAME x y"), "c OK");
	HAS(ask(&a, "d DELETE y"), "d OK");
	HAS(ask(&a, "e FETCH 1 UID"), "e BAD not in this state");
	HAS(ask(&a, "f SELECT INBOX"), "f OK");
	/* Another session can only be told by the end of it (RFC 2180 §3.3). */
	HAS(ask(&b, "c NOOP"), "* BYE ");
	client_done(&a);
	client_done(&b);
	server_done(&s);
}
END_TEST

/* RFC 9208 §4.3 shows a mailbox that is "not subject to any resource limits": no quota root. */
START_TEST(an_account_without_limits_has_no_quota_root)
{
	struct server s;
	struct client c;

	server_init(&s);
	without_quota = true;
	login(&s, &c);
	without_quota = false;
	HAS(ask(&c, "a GETQUOTAROOT INBOX"), "* QUOTAROOT INBOX\r\na OK");
	HAS(ask(&c, "b GETQUOTA \"\""), "b NO [NONEXISTENT]");
	client_done(&c);
	server_done(&s);
}
END_TEST

START_TEST(what_a_session_appends_is_recent_at_once)
{
	struct server s;
	struct client a, b;

	server_init(&s);
	login(&s, &a);
	login(&s, &b);
	ask(&a, "a SELECT INBOX");
	HAS(append(&a, "b", "INBOX", "Subject: one\r\n\r\n1\r\n"), "* 1 EXISTS\r\n* 1 RECENT\r\n");
	HAS(ask(&a, "c FETCH 1 FLAGS"), "FLAGS (\\Recent)");
	HAS_NOT(ask(&a, "d NOOP"), "FETCH");
	HAS(ask(&a, "e FETCH 1 FLAGS"), "FLAGS (\\Recent)");
	HAS(ask(&b, "a SELECT INBOX"), "* 0 RECENT");
	client_done(&a);
	client_done(&b);
	server_done(&s);
}
END_TEST

START_TEST(a_costly_list_leaves_the_others_their_turn)
{
	struct server s;
	struct client a, b;
	char name[901], command[4000];
	int n;

	server_init(&s);
	login(&s, &a);
	login(&s, &b);
	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	for (int i = 0; i < 100; i++) {
		snprintf(command, sizeof(command), "a CREATE %s%03d", name, i);
		HAS(ask(&a, command), "a OK");
	}
	n = snprintf(command, sizeof(command), "b LIST \"\" (");
	for (int i = 0; i < 4; i++) {
		for (int k = 0; k < 400; k++)
			n += snprintf(command + n, sizeof(command) - (size_t)n, "*a");
		n += snprintf(command + n, sizeof(command) - (size_t)n, i < 3 ? "b " : "b)\r\n");
	}
	buf_reset(&a.got);
	client_send(&a, command);
	HAS(ask(&b, "c NOOP"), "c OK");
	client_read(&a);
	HAS_NOT(buf_cstr(&a.got), "b OK");
	HAS(until(&a, "b"), "b OK");
	client_done(&a);
	client_done(&b);
	server_done(&s);
}
END_TEST

START_TEST(numbers_of_messages_that_are_gone_are_not_passed_over_silently)
{
	struct server s;
	struct client a, b;

	server_init(&s);
	login(&s, &a);
	login(&s, &b);
	for (int i = 0; i < 4; i++)
		append(&a, "a", "INBOX", "Subject: one\r\n\r\n1\r\n");
	ask(&a, "b CREATE x");
	ask(&a, "c SELECT INBOX");
	ask(&b, "c SELECT INBOX");
	ask(&b, "d STORE 2 +FLAGS.SILENT (\\Deleted)");
	ask(&b, "e EXPUNGE");
	/* RFC 2180 §4.2.3 */
	HAS(ask(&a, "d STORE 1:3 +FLAGS (\\Seen)"), "d NO [EXPUNGEISSUED]");
	HAS(buf_cstr(&a.got), "* 3 FETCH (UID 3 FLAGS (\\Seen");
	HAS(ask(&a, "e STORE 1:3 +FLAGS.SILENT (\\Seen)"), "e OK");
	/* §4.4.1: nothing is copied; the NO tells of the EXPUNGE first */
	HAS(ask(&a, "f COPY 1:3 x"), "* 2 EXPUNGE\r\nf NO [EXPUNGEISSUED]");
	HAS(ask(&a, "g STATUS x (MESSAGES)"), "(MESSAGES 0)");
	HAS(ask(&a, "h COPY 1:3 x"), "h OK [COPYUID ");
	ask(&b, "f STORE 1 +FLAGS.SILENT (\\Deleted)");
	ask(&b, "g EXPUNGE");
	HAS(ask(&a, "i MOVE 1:2 x"), "i NO [EXPUNGEISSUED]");
	HAS(ask(&a, "j UID MOVE 1:3 x"), "j OK");
	client_done(&a);
	client_done(&b);
	server_done(&s);
}
END_TEST

START_TEST(only_mistakes_in_a_row_end_a_session)
{
	struct server s;
	struct client c;

	server_init(&s);
	login(&s, &c);
	for (int i = 0; i < 12; i++) {
		HAS(ask(&c, "a FOO"), "a BAD");
		HAS(ask(&c, "b NOOP"), "b OK");
	}
	client_done(&c);
	server_done(&s);
}
END_TEST

START_TEST(a_stopping_server_says_bye)
{
	struct server s;
	struct client c;

	server_init(&s);
	login(&s, &c);
	buf_reset(&c.got);
	sessions_stop(&s.sv);
	HAS(until(&c, "never"), "* BYE ");
	client_done(&c);
	server_done(&s);
}
END_TEST

TEST_MAIN("session/imap", login_needs_the_right_password_and_tells_capabilities,
	  an_appended_message_comes_back_as_it_went_in, sections_partials_and_binary_are_cut_right,
	  flags_are_stored_told_and_searched, two_sessions_see_each_others_changes_in_order,
	  no_expunge_is_told_while_numbers_are_in_use, folders_are_made_listed_renamed_and_deleted,
	  copy_and_move_name_the_new_uids, qresync_brings_a_client_up_to_date,
	  qresync_spares_a_client_what_its_match_data_rules_out,
	  rev2_changes_what_a_client_sees, mistakes_are_answered_and_too_many_end_the_session,
	  literals_wait_for_the_server_and_pipelined_commands_are_served_in_order,
	  append_refuses_early_and_the_session_goes_on,
	  a_walk_over_many_messages_gives_each_its_own_bytes,
	  fetching_one_by_one_needs_few_calls_and_the_last_readers_keep_what_they_read,
	  vanished_tells_of_the_highest_uid_that_is_gone, a_search_that_fails_leaves_no_saved_result,
	  esearch_tells_the_modseq_of_the_messages_it_names,
	  a_silent_store_does_not_hide_what_another_session_set,
	  levels_above_a_subscription_are_shown_without_a_mailbox,
	  a_session_may_delete_the_mailbox_that_it_has_selected,
	  a_costly_list_leaves_the_others_their_turn, an_account_without_limits_has_no_quota_root,
	  what_a_session_appends_is_recent_at_once,
	  numbers_of_messages_that_are_gone_are_not_passed_over_silently,
	  only_mistakes_in_a_row_end_a_session,
	  a_stopping_server_says_bye)
