#include "mail/imap/command.h"

#include "base/test.h"
#include "mail/message/sort.h"

#define ALL_STATES (IMAP_NOT_AUTHENTICATED | IMAP_AUTHENTICATED | IMAP_SELECTED)

struct parsed {
	struct arena arena;
	struct imap_command c;
	enum imap_parsed result;
	const char *why;
};

static struct parsed parse_in(const char *text, struct imap_parse_context context)
{
	struct parsed p = { .arena = ARENA_INIT(1u << 22) };

	p.result = imap_parse(&p.arena, slice_str(text), &context, &p.c, &p.why);
	return p;
}

static struct parsed parse(const char *text)
{
	return parse_in(text, (struct imap_parse_context){ .stars = { 1000000, 2000000 },
							   .state = ALL_STATES });
}

/* Lines of RFC 9051 §6, RFC 3501 §6 and the extensions' examples, and mistakes beside them. */
static const struct {
	const char *text;
	enum imap_parsed want;
} lines[] = {
	{ "abcd CAPABILITY", IMAP_PARSED },
	{ "a002 NOOP", IMAP_PARSED },
	{ "a002 NOOP x", IMAP_BAD_SYNTAX },
	{ "A023 LOGOUT", IMAP_PARSED },
	{ "a001 LOGIN SMITH SESAME", IMAP_PARSED },
	{ "a001 LOGIN SMITH", IMAP_BAD_SYNTAX },
	{ "A001 LOGIN {11}\r\nFRED FOOBAR {7}\r\nfat man", IMAP_PARSED },
	{ "A001 LOGIN {11}\r\nFRED FOOBAR {8}\r\nfat man", IMAP_BAD_SYNTAX },
	{ "A002 AUTHENTICATE PLAIN dGVzdAB0ZXN0AHRlc3Q=", IMAP_PARSED },
	{ "A002 AUTHENTICATE PLAIN ", IMAP_BAD_SYNTAX },
	{ "a01 ENABLE CONDSTORE UTF8=ACCEPT", IMAP_PARSED },
	{ "a01 ENABLE", IMAP_BAD_SYNTAX },
	{ "A142 SELECT INBOX", IMAP_PARSED },
	{ "A142 SELECT INBOX (CONDSTORE)", IMAP_PARSED },
	{ "A02 SELECT INBOX (QRESYNC (67890007 20050715194045000 41,43:211,214:541))", IMAP_PARSED },
	{ "B04 SELECT INBOX (QRESYNC (67890007 90060115194045000 41:211,214:541 (5,10 3,6)))",
	  IMAP_PARSED },
	{ "B04 SELECT INBOX (QRESYNC (0 1))", IMAP_BAD_SYNTAX },
	{ "A003 CREATE owatagusiam/", IMAP_PARSED },
	{ "t1 CREATE MyDrafts (USE (\\Drafts))", IMAP_PARSED },
	{ "t1 CREATE MyDrafts (USE (\\Odd))", IMAP_BAD_MAILBOX_USE },
	{ "A683 RENAME blurdybloop sarasoop", IMAP_PARSED },
	{ "A202 LIST \"\" \"%\"", IMAP_PARSED },
	{ "A202 LIST ~/Mail/ %", IMAP_PARSED },
	{ "A03 LIST () \"\" \"%\" RETURN (CHILDREN)", IMAP_PARSED },
	{ "A05 LIST (SUBSCRIBED RECURSIVEMATCH) \"\" \"*\"", IMAP_PARSED },
	{ "A05 LIST (RECURSIVEMATCH) \"\" \"*\"", IMAP_BAD_SYNTAX },
	{ "BBB LIST \"\" (\"INBOX\" \"Drafts\" \"Sent/%\")", IMAP_PARSED },
	{ "A01 LIST \"\" % RETURN (STATUS (MESSAGES UNSEEN))", IMAP_PARSED },
	{ "A01 LIST \"\" % RETURN (STATUS)", IMAP_BAD_SYNTAX },
	{ "t2 LIST (SPECIAL-USE) \"\" \"*\"", IMAP_PARSED },
	{ "A002 LSUB \"#news.\" \"comp.mail.*\"", IMAP_PARSED },
	{ "A001 NAMESPACE", IMAP_PARSED },
	{ "A042 STATUS blurdybloop (UIDNEXT MESSAGES)", IMAP_PARSED },
	{ "A042 STATUS blurdybloop UIDNEXT", IMAP_BAD_SYNTAX },
	{ "A002 IDLE", IMAP_PARSED },
	{ "a023 ID (\"name\" \"sodr\" \"version\" NIL)", IMAP_PARSED },
	{ "a042 ID NIL", IMAP_PARSED },
	{ "a042 ID (\"name\")", IMAP_BAD_SYNTAX },
	{ "G0001 GETQUOTA \"!partition/sda4\"", IMAP_PARSED },
	{ "G0002 GETQUOTAROOT INBOX", IMAP_PARSED },
	{ "A341 CLOSE", IMAP_PARSED },
	{ "A202 EXPUNGE", IMAP_PARSED },
	{ "A101 UID EXPUNGE 3000:3002", IMAP_PARSED },
	{ "A101 UID EXPUNGE", IMAP_BAD_SYNTAX },
	{ "A101 UID NOOP", IMAP_UNKNOWN },
	{ "A282 SEARCH RETURN (MIN COUNT) FLAGGED SINCE 1-Feb-1994 NOT FROM \"Smith\"", IMAP_PARSED },
	{ "A283 SEARCH RETURN () FLAGGED SINCE 1-Feb-1994 NOT FROM \"Smith\"", IMAP_PARSED },
	{ "A284 SEARCH TEXT \"string not in mailbox\"", IMAP_PARSED },
	{ "A285 SEARCH CHARSET UTF-8 TEXT {6}\r\nabcdef", IMAP_PARSED },
	{ "P283 SEARCH CHARSET UTF-8 (OR $ 1,3000:3021) TEXT {8+}\r\nabcdefgh", IMAP_PARSED },
	{ "a SEARCH MODSEQ \"/flags/\\\\draft\" all 620162338", IMAP_PARSED },
	{ "t SEARCH OR NOT MODSEQ 720162338 LARGER 50000", IMAP_PARSED },
	{ "a SEARCH", IMAP_BAD_SYNTAX },
	{ "a SEARCH (ALL", IMAP_BAD_SYNTAX },
	{ "a SEARCH OR ALL", IMAP_BAD_SYNTAX },
	{ "a SEARCH ALL ", IMAP_BAD_SYNTAX },
	{ "a SEARCH SINCE 30-Feb-1994", IMAP_BAD_SYNTAX },
	{ "A282 SORT (SUBJECT) UTF-8 SINCE 1-Feb-1994", IMAP_PARSED },
	{ "A283 SORT (SUBJECT REVERSE DATE) UTF-8 ALL", IMAP_PARSED },
	{ "A283 SORT () UTF-8 ALL", IMAP_BAD_SYNTAX },
	{ "A283 THREAD ORDEREDSUBJECT UTF-8 SINCE 5-MAR-2000", IMAP_PARSED },
	{ "A284 THREAD REFERENCES US-ASCII TEXT \"gewp\"", IMAP_PARSED },
	{ "A284 THREAD OTHER US-ASCII ALL", IMAP_BAD_SYNTAX },
	{ "A654 FETCH 2:4 (FLAGS BODY[HEADER.FIELDS (DATE FROM)])", IMAP_PARSED },
	{ "A654 FETCH 2:4 (FLAGS BODY[HEADER.FIELDS DATE])", IMAP_BAD_SYNTAX },
	{ "A FETCH 1 BODY[1.2.MIME]<0.100>", IMAP_PARSED },
	{ "A FETCH 1 BODY[MIME]", IMAP_BAD_SYNTAX },
	{ "A FETCH 1 BODY[1.0]", IMAP_BAD_SYNTAX },
	{ "A FETCH 1 BODY[]<5.0>", IMAP_BAD_SYNTAX },
	{ "A FETCH 1 BODY[]<4294967296.9223372036854775807>", IMAP_PARSED },
	{ "A FETCH 1 BODY[]<9223372036854775808.1>", IMAP_BAD_SYNTAX },
	{ "A FETCH 1 FULL", IMAP_PARSED },
	{ "A FETCH 1 (FULL)", IMAP_BAD_SYNTAX },
	{ "A FETCH 1 (BINARY.PEEK[1]<0.9> BINARY.SIZE[2] RFC822.SIZE RFC822.HEADER)", IMAP_PARSED },
	{ "A FETCH 1 BINARY[HEADER]", IMAP_BAD_SYNTAX },
	{ "s100 UID FETCH 1:* (FLAGS) (CHANGEDSINCE 12345 VANISHED)", IMAP_PARSED },
	{ "s100 FETCH 1:* (FLAGS) (CHANGEDSINCE 12345 VANISHED)", IMAP_BAD_SYNTAX },
	{ "s100 UID FETCH 1:* (FLAGS) (VANISHED)", IMAP_BAD_SYNTAX },
	{ "a FETCH 1 (EMAILID THREADID MODSEQ)", IMAP_PARSED },
	{ "a FETCH 1000001 FLAGS", IMAP_BAD_SYNTAX },
	{ "a UID FETCH 3000001 FLAGS", IMAP_PARSED },
	{ "A003 STORE 2:4 +FLAGS (\\Deleted)", IMAP_PARSED },
	{ "A003 STORE 2:4 -FLAGS.SILENT \\Deleted $Junk", IMAP_PARSED },
	{ "A003 STORE 2:4 FLAGS ()", IMAP_PARSED },
	{ "A003 STORE 2:4 FLAGS (", IMAP_BAD_SYNTAX },
	{ "d105 STORE 7,5,9 (UNCHANGEDSINCE 320162338) +FLAGS.SILENT (\\Deleted)", IMAP_PARSED },
	{ "A003 COPY 2:4 MEETING", IMAP_PARSED },
	{ "a UID MOVE 42:69 foo", IMAP_PARSED },
	{ "A003 APPEND saved-messages", IMAP_BAD_SYNTAX },
	{ "a SELECT \"x", IMAP_BAD_SYNTAX },
	{ "a SELECT \"x\\y\"", IMAP_BAD_SYNTAX },
	{ "a SELECT &bad", IMAP_BAD_NAME },
	{ "a SELECT a&AJ8-", IMAP_BAD_NAME },	/* U+009F: RFC 6855 §3 */
	{ "a SELECT a&AKA-", IMAP_PARSED },
	{ "a SELECT a&ICg-", IMAP_BAD_NAME },	/* U+2028 */
	{ "a SELECT a&ICc-", IMAP_PARSED },
	{ "a XYZZY", IMAP_UNKNOWN },
	{ "a", IMAP_UNKNOWN },
	{ "", IMAP_NO_TAG },
	{ "+ NOOP", IMAP_NO_TAG },
	{ "(a) NOOP", IMAP_NO_TAG },
};

START_TEST(examples_of_the_RFCs_parse_and_mistakes_do_not)
{
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		struct parsed p = parse(lines[i].text);

		ck_assert_msg(p.result == lines[i].want, "%s: %d (%s)", lines[i].text, (int)p.result,
			      p.why);
		arena_done(&p.arena);
	}
}
END_TEST

START_TEST(strings_come_out_without_quotes_escapes_and_markers)
{
	struct parsed p = parse("A001 LOGIN {11}\r\nFRED FOOBAR \"a\\\"b\\\\c\"");

	ck_assert_slice_eq(p.c.tag, SLICE("A001"));
	ck_assert_slice_eq(p.c.login.user, SLICE("FRED FOOBAR"));
	ck_assert_slice_eq(p.c.login.password, SLICE("a\"b\\c"));
	arena_done(&p.arena);
}
END_TEST

START_TEST(mailbox_names_are_decoded_and_INBOX_has_one_spelling)
{
	struct parsed p = parse("a SELECT Entw&APw-rfe");

	ck_assert_slice_eq(p.c.mailbox, SLICE("Entw\xc3\xbcrfe"));
	arena_done(&p.arena);
	p = parse("a SELECT inbox/Work");
	ck_assert_slice_eq(p.c.mailbox, SLICE("INBOX/Work"));
	arena_done(&p.arena);
	p = parse_in("a SELECT \"Entw\xc3\xbcrfe &\"",
		     (struct imap_parse_context){ .utf8 = true, .state = ALL_STATES });
	ck_assert_int_eq(p.result, IMAP_PARSED);
	ck_assert_slice_eq(p.c.mailbox, SLICE("Entw\xc3\xbcrfe &"));
	arena_done(&p.arena);
}
END_TEST

START_TEST(a_fetch_program_says_what_the_client_wants)
{
	struct parsed p = parse("a UID FETCH 5:7 (FLAGS BODY[1.HEADER.FIELDS (\"Date\" From)]<10.20>)");
	const struct fetch_program *f = &p.c.fetch.program;
	AUTO_BUF struct buf name = BUF_INIT(200);

	ck_assert_int_eq(p.result, IMAP_PARSED);
	ck_assert(p.c.uid && f->count == 2 && f->sets_seen);
	ck_assert(f->items[1].section.kind == SECTION_FIELDS && f->items[1].section.depth == 1);
	ck_assert_uint_eq(f->items[1].offset, 10);
	ck_assert_uint_eq(f->items[1].length, 20);
	fetch_write_name(&f->items[1], &name);
	ck_assert_slice_eq(buf_slice(&name), SLICE("BODY[1.HEADER.FIELDS (Date From)]<10>"));
	arena_done(&p.arena);
	p = parse("a FETCH 1 (BODY.PEEK[TEXT] BODY BODYSTRUCTURE)");
	ck_assert(!p.c.fetch.program.sets_seen);
	ck_assert(p.c.fetch.program.items[1].kind == FETCH_BODY);
	arena_done(&p.arena);
}
END_TEST

START_TEST(a_search_program_keeps_the_structure_of_or_and_not)
{
	struct parsed p = parse("a SEARCH OR (SEEN DELETED) NOT FROM smith 2:4");
	const struct search_key *or = p.c.search.program.root->children;

	ck_assert_int_eq(p.result, IMAP_PARSED);
	ck_assert_int_eq(or->op, SEARCH_OR);
	ck_assert_int_eq(or->children->op, SEARCH_AND);
	ck_assert_int_eq(or->children->next->op, SEARCH_NOT);
	ck_assert_int_eq(or->next->op, SEARCH_SEQ);
	ck_assert_ptr_null(or->next->next);
	arena_done(&p.arena);
}
END_TEST

START_TEST(search_keys_nest_to_the_limit_and_not_deeper)
{
	AUTO_BUF struct buf text = BUF_INIT(1000);
	struct parsed p;

	buf_adds(&text, "a SEARCH ");
	buf_fill(&text, '(', IMAP_SEARCH_DEPTH_MAX - 1);
	buf_adds(&text, "ALL");
	buf_fill(&text, ')', IMAP_SEARCH_DEPTH_MAX - 1);
	p = parse(buf_cstr(&text));
	ck_assert_int_eq(p.result, IMAP_PARSED);
	arena_done(&p.arena);
	buf_reset(&text);
	buf_adds(&text, "a SEARCH ");
	buf_fill(&text, '(', IMAP_SEARCH_DEPTH_MAX + 1);
	buf_adds(&text, "ALL");
	buf_fill(&text, ')', IMAP_SEARCH_DEPTH_MAX + 1);
	p = parse(buf_cstr(&text));
	ck_assert_int_eq(p.result, IMAP_TOO_MUCH);
	arena_done(&p.arena);
}
END_TEST

START_TEST(a_command_in_the_wrong_state_is_told_so)
{
	struct parsed p = parse_in("a FETCH 1 FLAGS", (struct imap_parse_context){
							      .state = IMAP_AUTHENTICATED });

	ck_assert_int_eq(p.result, IMAP_WRONG_STATE);
	ck_assert_slice_eq(p.c.tag, SLICE("a"));
	arena_done(&p.arena);
}
END_TEST

START_TEST(a_set_in_an_empty_mailbox_names_nothing)
{
	struct imap_parse_context empty = { .state = ALL_STATES };
	struct parsed p = parse_in("a UID FETCH 1:* FLAGS", empty);

	ck_assert_int_eq(p.result, IMAP_PARSED);
	ck_assert_uint_eq(p.c.fetch.set.count, 0);
	arena_done(&p.arena);
	p = parse_in("a FETCH 1 FLAGS", empty);
	ck_assert_int_eq(p.result, IMAP_BAD_SYNTAX);
	arena_done(&p.arena);
}
END_TEST

START_TEST(literals_are_asked_for_where_they_stand)
{
	AUTO_BUF struct buf text = BUF_INIT(4096);
	struct imap_literal literal;

	ck_assert_int_eq(imap_assemble(&text, SLICE("a LOGIN {5}"), 4000, &literal), IMAP_LITERAL);
	ck_assert(literal.bytes == 5 && literal.waits);
	buf_adds(&text, "smith");
	ck_assert_int_eq(imap_assemble(&text, SLICE(" {2+}"), 4000, &literal), IMAP_LITERAL);
	ck_assert(literal.bytes == 2 && !literal.waits);
	buf_adds(&text, "pw");
	ck_assert_int_eq(imap_assemble(&text, SLICE(""), 4000, &literal), IMAP_COMPLETE);
	ck_assert_slice_eq(buf_slice(&text), SLICE("a LOGIN {5}\r\nsmith {2+}\r\npw"));
	buf_reset(&text);
	ck_assert_int_eq(imap_assemble(&text, SLICE("a LOGIN {4001}"), 4000, &literal),
			 IMAP_LITERAL_TOO_BIG);
	buf_reset(&text);
	ck_assert_int_eq(imap_assemble(&text, SLICE("a LOGIN {x}"), 4000, &literal), IMAP_COMPLETE);
	buf_reset(&text);
	ck_assert_int_eq(imap_assemble(&text, SLICE("a NOOP 12345"), 10, &literal),
			 IMAP_COMMAND_TOO_BIG);
	/* The bytes that it announces must be read away all the same. */
	ck_assert_int_eq(imap_assemble(&text, SLICE("a NOOP {5+}"), 10, &literal),
			 IMAP_LITERAL_TOO_BIG);
	ck_assert(literal.bytes == 5 && !literal.waits);
}
END_TEST

static enum imap_parsed append(const char *text, struct imap_command *c,
			       struct imap_append_part *part, struct arena *arena)
{
	struct imap_parse_context context = { .state = ALL_STATES };
	const char *why;

	return imap_parse_append(arena, slice_str(text), &context, c, part, &why);
}

START_TEST(the_message_of_an_append_is_left_to_the_session)
{
	AUTO_BUF struct buf text = BUF_INIT(4096);
	AUTO_ARENA struct arena arena = ARENA_INIT(65536);
	struct imap_literal literal;
	struct imap_append_part part;
	struct imap_command c;

	ck_assert_int_eq(imap_assemble(&text, SLICE("A003 APPEND saved-messages (\\Seen) {326}"), 4000,
				       &literal), IMAP_APPEND_LITERAL);
	ck_assert_int_eq(append(buf_cstr(&text), &c, &part, &arena), IMAP_PARSED);
	ck_assert_slice_eq(c.mailbox, SLICE("saved-messages"));
	ck_assert_uint_eq(part.flags.count, 1);
	/* The mailbox itself may be a literal. */
	buf_reset(&text);
	ck_assert_int_eq(imap_assemble(&text, SLICE("A003 APPEND {3}"), 4000, &literal), IMAP_LITERAL);
	buf_adds(&text, "foo");
	ck_assert_int_eq(imap_assemble(&text, SLICE(" {10}"), 4000, &literal), IMAP_APPEND_LITERAL);
	ck_assert_int_eq(append(buf_cstr(&text), &c, &part, &arena), IMAP_PARSED);
	ck_assert_slice_eq(c.mailbox, SLICE("foo"));
	/* RFC 3502: what stands before a further message. */
	ck_assert_int_eq(append(" (\\Seen) \" 7-Feb-1994 22:43:04 -0800\" {295}", NULL, &part, &arena),
			 IMAP_PARSED);
	ck_assert(part.has_date && part.zone_minutes == -480);
	ck_assert_int_eq(append(" (\\Seen) \"7-Feb-1994 22:43:04 -0800\" {295}", NULL, &part, &arena),
			 IMAP_BAD_SYNTAX);
	/* RFC 6855 §4 */
	ck_assert_int_eq(append("a APPEND x UTF8 (~{12}", &c, &part, &arena), IMAP_PARSED);
	ck_assert(part.utf8);
}
END_TEST

START_TEST(sort_keys_are_a_program_for_the_message_library)
{
	struct parsed p = parse("a SORT (REVERSE DATE SUBJECT) UTF-8 ALL");

	ck_assert_int_eq(p.result, IMAP_PARSED);
	ck_assert_uint_eq(p.c.search.sort[0], SORT_DATE | SORT_REVERSE);
	ck_assert_uint_eq(p.c.search.sort[1], SORT_SUBJECT);
	ck_assert_uint_eq(p.c.search.sort[2], SORT_END);
	ck_assert_slice_eq(p.c.search.program.charset, SLICE("UTF-8"));
	arena_done(&p.arena);
}
END_TEST

TEST_MAIN("imap/command", examples_of_the_RFCs_parse_and_mistakes_do_not,
	  strings_come_out_without_quotes_escapes_and_markers,
	  mailbox_names_are_decoded_and_INBOX_has_one_spelling,
	  a_fetch_program_says_what_the_client_wants,
	  a_search_program_keeps_the_structure_of_or_and_not,
	  search_keys_nest_to_the_limit_and_not_deeper, a_command_in_the_wrong_state_is_told_so,
	  a_set_in_an_empty_mailbox_names_nothing, literals_are_asked_for_where_they_stand,
	  the_message_of_an_append_is_left_to_the_session,
	  sort_keys_are_a_program_for_the_message_library)
