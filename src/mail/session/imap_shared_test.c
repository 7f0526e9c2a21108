/*
 * Mailboxes of others (RFC 4314): ann shares, bob uses.
 */
#include "mail/session/imap_rig.h"

#define ANNS "user/ann@example.org/"

struct two {
	struct server s;
	struct client ann, bob;
};

static void begin(struct two *t)
{
	server_init(&t->s);
	login_as(&t->s, &t->ann, "ann");
	login_as(&t->s, &t->bob, "bob");
	HAS(append(&t->ann, "m", "INBOX (\\Flagged work)", message), "m OK");
	HAS(ask(&t->ann, "m CREATE Team"), "m OK");
	HAS(ask(&t->ann, "m CREATE Team/Sub"), "m OK");
}

static void end(struct two *t)
{
	client_done(&t->bob);
	client_done(&t->ann);
	ck_assert_uint_eq(rig_shares_held, 0);
	server_done(&t->s);
}

static const char *give(struct two *t, const char *mailbox, const char *rights)
{
	char command[200];

	snprintf(command, sizeof(command), "g SETACL %s bob %s", mailbox, rights);
	HAS(ask(&t->ann, command), "g OK");
	return rights;
}

START_TEST(commands_of_lists_answer_as_the_rfc_says)
{
	struct two t;

	begin(&t);
	HAS(ask(&t.ann, "a CAPABILITY"), " ACL RIGHTS=texk");
	HAS(ask(&t.ann, "a NAMESPACE"), "* NAMESPACE ((\"\" \"/\")) ((\"user/\" \"/\")) NIL\r\n");
	HAS(ask(&t.ann, "a MYRIGHTS INBOX"), "* MYRIGHTS INBOX lrswipkxteacd\r\na OK");
	HAS(ask(&t.ann, "a GETACL INBOX"), "* ACL INBOX ann@example.org lrswipkxteacd\r\na OK");
	HAS(ask(&t.ann, "a SETACL INBOX bob lrd"), "a OK");
	HAS(ask(&t.ann, "a GETACL inbox"), "* ACL INBOX ann@example.org lrswipkxteacd bob@example.org lrted\r\na OK");
	HAS(ask(&t.ann, "a SETACL INBOX bob +sw"), "a OK");
	HAS(ask(&t.ann, "a SETACL INBOX bob -d"), "a OK");
	HAS(ask(&t.ann, "a SETACL INBOX -bob w"), "a OK");
	HAS(ask(&t.ann, "a GETACL INBOX"), "bob@example.org lrsw -bob@example.org w\r\n");
	HAS(ask(&t.bob, "b MYRIGHTS " ANNS "INBOX"), "* MYRIGHTS " ANNS "INBOX lrs\r\nb OK");
	HAS(ask(&t.ann, "a DELETEACL INBOX -bob"), "a OK");
	HAS(ask(&t.bob, "b MYRIGHTS " ANNS "INBOX"), " lrsw\r\n");
	HAS(ask(&t.ann, "a LISTRIGHTS INBOX bob"), "* LISTRIGHTS INBOX bob \"\" l r s w i p k x t e a c d\r\na OK");
	HAS(ask(&t.ann, "a LISTRIGHTS INBOX Ann"), "* LISTRIGHTS INBOX Ann lrswipkxteacd\r\na OK");
	/* Mistakes. */
	HAS(ask(&t.ann, "a SETACL INBOX bob lrQ"), "a BAD");
	HAS(ask(&t.ann, "a SETACL INBOX \"\" lr"), "a BAD");
	HAS(ask(&t.ann, "a SETACL INBOX eve lr"), "a NO [NONEXISTENT] There is no such user");
	HAS(ask(&t.ann, "a SETACL INBOX ann lr"), "a NO [CANNOT]");
	HAS(ask(&t.ann, "a SETACL nowhere bob lr"), "a NO [NONEXISTENT]");
	HAS(ask(&t.ann, "a MYRIGHTS nowhere"), "a NO [NONEXISTENT]");
	/* Only with the right to. */
	HAS(ask(&t.bob, "b GETACL " ANNS "INBOX"), "b NO [NOPERM]");
	HAS(ask(&t.bob, "b SETACL " ANNS "INBOX bob lra"), "b NO [NOPERM]");
	HAS(ask(&t.ann, "a SETACL INBOX bob +a"), "a OK");
	HAS(ask(&t.bob, "b GETACL " ANNS "INBOX"), "* ACL " ANNS "INBOX ann@example.org lrswipkxteacd bob@example.org lrswa\r\nb OK");
	HAS(ask(&t.bob, "b SETACL " ANNS "INBOX anyone l"), "b OK");
	HAS(ask(&t.ann, "a GETACL INBOX"), " anyone l\r\n");
	end(&t);
}
END_TEST

START_TEST(what_is_not_shared_does_not_exist)
{
	static const struct {
		const char *name, *arguments;
	} commands[] = {
		{ "SELECT", "" }, { "EXAMINE", "" }, { "STATUS", " (MESSAGES)" }, { "MYRIGHTS", "" }, { "GETACL", "" }, { "LISTRIGHTS", " bob" },
		{ "SETACL", " bob lr" }, { "DELETEACL", " bob" }, { "DELETE", "" }, { "RENAME", " x" }, { "SUBSCRIBE", "" }, { "GETQUOTAROOT", "" },
	};
	static const char *const names[] = { ANNS "nowhere", ANNS "INBOX", ANNS "Team", "user/eve@example.net/INBOX", "user/ann@example.org" };
	struct two t;

	begin(&t);
	/* With and without something shared by the same owner; readable, but not to be seen. */
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
			for (size_t k = 0; k < ARRAY_LEN(names); k++) {
				char command[200];

				snprintf(command, sizeof(command), "b %s %s%s", commands[i].name, names[k], commands[i].arguments);
				HAS(ask(&t.bob, command), "b NO [NONEXISTENT] There is no such mailbox\r\n");
			}
		}
		HAS(append(&t.bob, "b", ANNS "INBOX", message), "b NO [NONEXISTENT] There is no such mailbox\r\n");
		HAS(append(&t.bob, "b", ANNS "nowhere", message), "b NO [NONEXISTENT] There is no such mailbox\r\n");
		HAS(ask(&t.bob, "b CREATE " ANNS "Team/x"), "b NO [NOPERM]");
		HAS(ask(&t.bob, "b CREATE " ANNS "nowhere/x"), "b NO [NOPERM]");
		HAS(ask(&t.bob, "b CREATE user/eve@example.net/x"), "b NO [NOPERM]");
		HAS_NOT(ask(&t.bob, "b LIST \"\" *"), round == 0 ? "user" : "INBOX\"");
		HAS(ask(&t.bob, "b LIST \"\" *"), "b OK");
		HAS(ask(&t.ann, "a SETACL Team/Sub bob lr"), "a OK");
	}
	HAS(ask(&t.bob, "b LIST \"\" *"), "* LIST (\\HasNoChildren) \"/\" " ANNS "Team/Sub\r\n");
	/* The level above is a word, not a mailbox. */
	HAS(ask(&t.bob, "b LIST \"\" *"), "* LIST (\\Noselect \\HasChildren) \"/\" " ANNS "Team\r\n");
	end(&t);
}
END_TEST

START_TEST(each_right_opens_its_own_commands_alone)
{
	struct two t;
	const char *got;

	begin(&t);
	give(&t, "INBOX", "l");
	HAS(ask(&t.bob, "b LIST \"\" user/*"), "* LIST (\\HasNoChildren) \"/\" " ANNS "INBOX\r\n");
	HAS(ask(&t.bob, "b SELECT " ANNS "INBOX"), "b NO [NOPERM] refused by policy");
	HAS(ask(&t.bob, "b LIST \"\" user/* RETURN (STATUS (MESSAGES))"), "* LIST (\\HasNoChildren) \"/\" " ANNS "INBOX\r\nb OK");
	give(&t, "INBOX", "lr");
	HAS(ask(&t.bob, "b LIST \"\" user/* RETURN (STATUS (MESSAGES))"), "* STATUS " ANNS "INBOX (MESSAGES 1)\r\n");
	HAS(ask(&t.bob, "b STATUS " ANNS "inbox (MESSAGES)"), "(MESSAGES 1)\r\nb OK");
	got = ask(&t.bob, "b SELECT user/Ann@Example.org/INBOX");
	HAS(got, "* 1 EXISTS\r\n");
	HAS(got, "[PERMANENTFLAGS ()]");
	HAS(got, "b OK [READ-ONLY]");
	HAS(ask(&t.bob, "b FETCH 1 (FLAGS BODY[TEXT])"), "Hello Joe");
	HAS(ask(&t.bob, "b STORE 1 +FLAGS (\\Seen)"), "b NO [READ-ONLY]");
	HAS(ask(&t.bob, "b EXPUNGE"), "b NO [NOPERM]");
	HAS(append(&t.bob, "b", ANNS "INBOX", message), "b NO [NOPERM]");
	/* "s": what reading leaves behind. */
	give(&t, "INBOX", "lrs");
	got = ask(&t.bob, "b SELECT " ANNS "INBOX");
	HAS(got, "[PERMANENTFLAGS (\\Seen)]");
	HAS(got, "b OK [READ-WRITE]");
	HAS(ask(&t.bob, "b FETCH 1 BODY[TEXT]"), "\\Seen");
	HAS(ask(&t.bob, "b STORE 1 +FLAGS (\\Flagged)"), "b NO [NOPERM]");
	HAS(ask(&t.bob, "b STORE 1 +FLAGS (\\Deleted)"), "b NO [NOPERM]");
	HAS(ask(&t.bob, "b STORE 1 -FLAGS (\\Seen \\Deleted)"), "b OK");
	/* More rights while it is selected: told, and good from the next command on. */
	give(&t, "INBOX", "lrsw");
	HAS(ask(&t.bob, "b NOOP"), "[PERMANENTFLAGS (\\Answered \\Flagged \\Seen \\Draft work \\*)]");
	HAS(ask(&t.bob, "b STORE 1 +FLAGS (\\Draft new)"), "new");
	HAS(ask(&t.bob, "b STORE 1 +FLAGS (\\Deleted)"), "b NO [NOPERM]");
	give(&t, "INBOX", "lrswt");
	HAS(ask(&t.bob, "b STORE 1 +FLAGS (\\Deleted)"), "b OK");
	HAS(ask(&t.bob, "b EXPUNGE"), "b NO [NOPERM]");
	HAS(ask(&t.bob, "b CLOSE"), "b OK");
	HAS(ask(&t.ann, "a STATUS INBOX (MESSAGES)"), "(MESSAGES 1)");
	HAS(ask(&t.bob, "b SELECT " ANNS "INBOX"), "* 1 EXISTS");
	give(&t, "INBOX", "lrte");
	HAS(ask(&t.bob, "b EXPUNGE"), "* 1 EXPUNGE\r\n");
	HAS(ask(&t.ann, "a STATUS INBOX (MESSAGES)"), "(MESSAGES 0)");
	end(&t);
}
END_TEST

START_TEST(a_right_that_is_taken_away_is_gone_with_the_next_command)
{
	struct two t;

	begin(&t);
	give(&t, "INBOX", "lrsw");
	HAS(ask(&t.bob, "b SELECT " ANNS "INBOX"), "b OK [READ-WRITE]");
	HAS(ask(&t.ann, "a DELETEACL INBOX bob"), "a OK");
	HAS(ask(&t.bob, "b FETCH 1 (FLAGS)"), "b NO [NOPERM]");
	HAS(ask(&t.bob, "b STORE 1 +FLAGS (\\Seen)"), "b NO [NOPERM]");
	HAS(ask(&t.bob, "b SEARCH ALL"), "b NO [NOPERM]");
	HAS(append(&t.ann, "m", "INBOX", message), "m OK");
	HAS_NOT(ask(&t.bob, "b NOOP"), "EXISTS");
	HAS(ask(&t.bob, "b NOOP"), "b OK");
	HAS(ask(&t.bob, "b COPY 1 INBOX"), "b NO [NOPERM]");
	HAS(ask(&t.bob, "b UNSELECT"), "b OK");
	HAS(ask(&t.bob, "b SELECT " ANNS "INBOX"), "b NO [NONEXISTENT]");
	/* Nobody knows: nothing may be done. */
	give(&t, "INBOX", "lrsw");
	HAS(ask(&t.bob, "b SELECT " ANNS "INBOX"), "b OK [READ-WRITE]");
	rig_shares_away = true;
	HAS(ask(&t.bob, "b FETCH 1 (FLAGS)"), "b NO [UNAVAILABLE]");
	HAS(ask(&t.bob, "b LIST \"\" *"), "b NO [UNAVAILABLE]");
	HAS(ask(&t.bob, "b LIST \"\" INBOX"), "b OK");
	rig_shares_away = false;
	HAS(ask(&t.bob, "b FETCH 1 (FLAGS)"), "b OK");
	end(&t);
}
END_TEST

START_TEST(changes_of_others_are_told_while_idling_and_revoked_ones_are_not)
{
	struct two t;

	begin(&t);
	give(&t, "INBOX", "lr");
	HAS(ask(&t.bob, "b SELECT " ANNS "INBOX"), "* 1 EXISTS");
	buf_reset(&t.bob.got);
	client_send(&t.bob, "b IDLE\r\n");
	until(&t.bob, "+");
	HAS(append(&t.ann, "m", "INBOX", message), "m OK");
	for (int i = 0; i < 500 && strstr(buf_cstr(&t.bob.got), "* 2 EXISTS") == NULL; i++) {
		loop_run_once(t.s.loop, 1);
		client_read(&t.bob);
	}
	HAS(buf_cstr(&t.bob.got), "* 2 EXISTS");
	HAS(ask(&t.ann, "a DELETEACL INBOX bob"), "a OK");
	HAS(append(&t.ann, "m", "INBOX", message), "m OK");
	buf_reset(&t.bob.got);
	client_send(&t.bob, "DONE\r\n");
	HAS_NOT(until(&t.bob, "b"), "EXISTS");
	end(&t);
}
END_TEST

START_TEST(messages_go_from_one_user_to_the_other_with_the_flags_that_are_allowed)
{
	struct two t;
	const char *got;

	begin(&t);
	give(&t, "INBOX", "lri");
	give(&t, "Team", "li");
	HAS(append(&t.bob, "b", ANNS "Team (\\Seen \\Flagged own)", message), "b OK [APPENDUID ");
	HAS(ask(&t.ann, "a EXAMINE Team"), "* 1 EXISTS");
	HAS(ask(&t.ann, "a FETCH 1 (FLAGS BODY[TEXT])"), "FLAGS (\\Recent)");
	/* From ann to bob: all flags, keywords by their names. */
	HAS(append(&t.ann, "m", "INBOX (\\Answered \\Seen)", message), "m OK");
	HAS(ask(&t.bob, "b SELECT " ANNS "INBOX"), "* 2 EXISTS");
	HAS(ask(&t.bob, "b COPY 1:2 INBOX"), "b OK [COPYUID ");
	HAS(ask(&t.bob, "b COPY 1 nowhere"), "b NO [TRYCREATE]");
	got = ask(&t.bob, "b STATUS INBOX (MESSAGES SIZE)");
	HAS(got, "MESSAGES 2");
	HAS(ask(&t.bob, "b EXAMINE INBOX"), "* 2 EXISTS");
	got = ask(&t.bob, "b FETCH 1:2 (FLAGS BODY[TEXT] RFC822.SIZE ENVELOPE)");
	HAS(got, "work)");
	HAS(got, "\\Answered");
	HAS(got, "Hello Joe");
	HAS(got, "afternoon meeting");
	/* Within one account, without the right to flags. */
	HAS(ask(&t.bob, "b SELECT " ANNS "INBOX"), "b OK");
	HAS(ask(&t.bob, "b COPY 2 " ANNS "Team"), "b OK [COPYUID ");
	HAS(ask(&t.ann, "a NOOP"), "* 2 EXISTS");
	HAS_NOT(ask(&t.ann, "a FETCH 2 FLAGS"), "\\Answered");
	/* MOVE takes away: "t" and "e". */
	HAS(ask(&t.bob, "b MOVE 1 INBOX"), "b NO [NOPERM]");
	give(&t, "INBOX", "lrte");
	HAS(ask(&t.bob, "b SELECT " ANNS "INBOX"), "b OK");
	got = ask(&t.bob, "b MOVE 1 INBOX");
	HAS(got, "* OK [COPYUID ");
	HAS(got, "* 1 EXPUNGE\r\n");
	HAS(got, "b OK");
	HAS(ask(&t.ann, "a STATUS INBOX (MESSAGES)"), "MESSAGES 1");
	HAS(ask(&t.bob, "b STATUS INBOX (MESSAGES)"), "MESSAGES 3");
	end(&t);
}
END_TEST

START_TEST(mailboxes_are_made_renamed_and_removed_below_a_shared_one)
{
	struct two t;

	begin(&t);
	give(&t, "Team", "lrk");
	HAS(ask(&t.bob, "b CREATE " ANNS "Team/New/"), "b OK");
	/* It has its parent's list. */
	HAS(ask(&t.ann, "a GETACL Team/New"), " bob@example.org lrkc\r\n");
	HAS(ask(&t.bob, "b LIST \"\" user/%"), "* LIST (\\Noselect \\HasChildren) \"/\" user/ann@example.org\r\n");
	HAS(ask(&t.bob, "b LIST \"\" %"), "* LIST (\\Noselect \\HasChildren) \"/\" user\r\n");
	HAS_NOT(ask(&t.bob, "b LIST \"\" %"), "user/");
	HAS(ask(&t.bob, "b LIST \"\" " ANNS "Team/%"), "Team/New\r\n");
	HAS_NOT(ask(&t.bob, "b LIST \"\" " ANNS "Team/%"), "Sub");
	HAS(ask(&t.bob, "b DELETE " ANNS "Team/New"), "b NO [NOPERM]");
	HAS(ask(&t.bob, "b RENAME " ANNS "Team/New " ANNS "Team/Old"), "b NO [NOPERM]");
	give(&t, "Team/New", "lx");
	HAS(ask(&t.bob, "b RENAME " ANNS "Team/New " ANNS "Other"), "b NO [NOPERM]");
	HAS(ask(&t.bob, "b RENAME " ANNS "Team/New Mine"), "b NO [CANNOT]");
	HAS(ask(&t.bob, "b RENAME " ANNS "Team/New " ANNS "Team/Old"), "b OK");
	HAS(ask(&t.ann, "a GETACL Team/Old"), " bob@example.org lxc\r\n");
	HAS(ask(&t.bob, "b SUBSCRIBE user/Ann@example.org/Team/Old"), "b OK");
	HAS(ask(&t.bob, "b LSUB \"\" *"), "* LSUB () \"/\" " ANNS "Team/Old\r\n");
	HAS(ask(&t.bob, "b LIST (SUBSCRIBED) \"\" *"), "* LIST (\\Subscribed \\HasNoChildren) \"/\" " ANNS "Team/Old\r\n");
	HAS(ask(&t.bob, "b DELETE " ANNS "Team/Old"), "b OK");
	HAS(ask(&t.bob, "b LIST (SUBSCRIBED) \"\" *"), "* LIST (\\NonExistent \\Subscribed");
	HAS(ask(&t.bob, "b UNSUBSCRIBE " ANNS "Team/Old"), "b OK");
	HAS_NOT(ask(&t.bob, "b LSUB \"\" *"), "user/");
	HAS_NOT(ask(&t.ann, "a LIST \"\" *"), "Old");
	/* A mailbox of the same name later is another one. */
	HAS(ask(&t.ann, "a SETACL Team bob l"), "a OK");
	HAS(ask(&t.ann, "a DELETE Team"), "a OK");
	HAS(ask(&t.ann, "a CREATE Team"), "a OK");
	HAS(ask(&t.bob, "b MYRIGHTS " ANNS "Team"), "b NO [NONEXISTENT]");
	/* The others' namespace is not one's own. */
	HAS(ask(&t.bob, "b CREATE user/mine"), "b NO [CANNOT]");
	HAS(ask(&t.bob, "b CREATE Mine"), "b OK");
	HAS(ask(&t.bob, "b RENAME Mine user/mine"), "b NO [CANNOT]");
	HAS(ask(&t.bob, "b RENAME Mine user"), "b NO [CANNOT]");
	HAS(ask(&t.ann, "a CREATE user"), "a OK");
	HAS(ask(&t.ann, "a SETACL user bob lrkx"), "a OK");
	HAS(ask(&t.bob, "b CREATE " ANNS "user/eve@example.net/INBOX"), "b NO [CANNOT]");
	end(&t);
}
END_TEST

START_TEST(an_owner_with_damaged_data_hides_nobody_elses_mailboxes)
{
	static const struct engine_step step = { .kind = STEP_SET, .key = SLICE_INIT("h"), .value = SLICE_INIT("?") };
	struct two t;

	begin(&t);
	give(&t, "INBOX", "lr");
	HAS(ask(&t.bob, "b LIST \"\" *"), ANNS "INBOX\r\n");
	ck_assert_int_eq(engine_apply(t.s.engine, &(struct engine_op){ .object = SLICE("a.00000000000000aa"), .steps = &step, .count = 1 }), ENGINE_OK);
	for (int i = 0; i < 2; i++) {
		HAS(ask(&t.bob, "b LIST \"\" *"), "\"/\" INBOX\r\nb OK");
		HAS(ask(&t.bob, "b SELECT " ANNS "INBOX"), "b NO [SERVERBUG]");
		client_done(&t.bob);
		login_as(&t.s, &t.bob, "bob");
	}
	end(&t);
}
END_TEST

TEST_MAIN("session/imap_shared", commands_of_lists_answer_as_the_rfc_says, what_is_not_shared_does_not_exist,
	  each_right_opens_its_own_commands_alone, a_right_that_is_taken_away_is_gone_with_the_next_command,
	  changes_of_others_are_told_while_idling_and_revoked_ones_are_not,
	  messages_go_from_one_user_to_the_other_with_the_flags_that_are_allowed, mailboxes_are_made_renamed_and_removed_below_a_shared_one,
	  an_owner_with_damaged_data_hides_nobody_elses_mailboxes)
