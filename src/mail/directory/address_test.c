#include "base/test.h"
#include "mail/directory/address.h"

static const struct {
	const char *name, *text, *want;
} good[] = {
	{ "plain", "ann@example.org", "ann@example.org" },
	{ "case folds on both sides", "Ann.Lee@Example.ORG", "ann.lee@example.org" },
	{ "quotes that are not needed go", "\"ann\"@example.org", "ann@example.org" },
	{ "a quoted pair is its character", "\"an\\n\"@example.org", "ann@example.org" },
	{ "a quoted @ stays", "\"a@b\"@example.org", "a@b@example.org" },
	{ "an international domain becomes A-labels", "ann@B\xc3\xbc" "cher.example",
	  "ann@xn--bcher-kva.example" },
	{ "decomposed UTF-8 becomes NFC", "jo\xcc\x88rg@example.org", "j\xc3\xb6rg@example.org" },
	{ "a literal is an address", "ann@[192.0.2.1]", "ann@[192.0.2.1]" },
	{ "dots anywhere are taken", "a..b.@example.org", "a..b.@example.org" },
};

START_TEST(good_addresses_have_one_form)
{
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(65536);
		struct address a;

		ck_assert_msg(mail_address_parse(&arena, slice_str(good[i].text), &a), "%s", good[i].name);
		ck_assert_slice_eq(a.text, slice_str(good[i].want));
		ck_assert_uint_eq(a.local.len, a.local_as_written.len);
	}
}
END_TEST

static const struct {
	const char *name;
	struct slice text;
} bad[] = {
	{ "empty", SLICE_INIT("") },
	{ "no domain", SLICE_INIT("ann") },
	{ "empty domain", SLICE_INIT("ann@") },
	{ "empty local part", SLICE_INIT("@example.org") },
	{ "empty quoted local part", SLICE_INIT("\"\"@example.org") },
	{ "an open quote", SLICE_INIT("\"ann@example.org") },
	{ "a quote inside quotes", SLICE_INIT("\"a\"b\"@example.org") },
	{ "a backslash at the end", SLICE_INIT("\"a\\\"@example.org") },
	{ "a blank without quotes", SLICE_INIT("a b@example.org") },
	{ "an @ without quotes", SLICE_INIT("a@b@example.org") },
	{ "a newline", SLICE_INIT("a\nb@example.org") },
	{ "a quoted newline", SLICE_INIT("\"a\nb\"@example.org") },
	{ "a NUL", SLICE_INIT("a\0b@example.org") },
	{ "a NUL in the domain", SLICE_INIT("a@exam\0ple.org") },
	{ "malformed UTF-8", SLICE_INIT("j\xc3@example.org") },
	{ "an empty label", SLICE_INIT("a@example..org") },
	{ "a hyphen at a label's start", SLICE_INIT("a@-example.org") },
	{ "a hyphen at a label's end", SLICE_INIT("a@example-.org") },
	{ "a dot at the end", SLICE_INIT("a@example.org.") },
	{ "an open literal", SLICE_INIT("a@[192.0.2.1") },
};

START_TEST(what_is_no_address_is_refused)
{
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(65536);
		struct address a;

		ck_assert_msg(!mail_address_parse(&arena, bad[i].text, &a), "%s", bad[i].name);
	}
}
END_TEST

START_TEST(the_local_part_may_have_64_bytes_and_not_65)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(65536);
	char text[100];
	struct address a;

	memset(text, 'a', sizeof(text));
	memcpy(text + 64, "@b.example", 11);
	ck_assert(mail_address_parse(&arena, slice_str(text), &a));
	memset(text, 'a', sizeof(text));
	memcpy(text + 65, "@b.example", 11);
	ck_assert(!mail_address_parse(&arena, slice_str(text), &a));
}
END_TEST

START_TEST(a_label_may_have_63_bytes_and_not_64)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(65536);
	char text[100] = "a@";
	struct address a;

	memset(text + 2, 'b', 63);
	ck_assert(mail_address_parse(&arena, slice_str(text), &a));
	memset(text + 2, 'b', 64);
	ck_assert(!mail_address_parse(&arena, slice_str(text), &a));
}
END_TEST

START_TEST(a_detail_keeps_its_case)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(65536);
	struct slice user, detail;
	struct address a;

	ck_assert(mail_address_parse(&arena, SLICE("Ann+Lists+x@example.org"), &a));
	ck_assert(mail_address_detail(&a, '+', &user, &detail));
	ck_assert_slice_eq(user, SLICE("ann"));
	ck_assert_slice_eq(detail, SLICE("Lists+x"));
	ck_assert(!mail_address_detail(&a, '-', &user, &detail));
	ck_assert(!mail_address_detail(&a, 0, &user, &detail));
	ck_assert(mail_address_parse(&arena, SLICE("+x@example.org"), &a));
	ck_assert(!mail_address_detail(&a, '+', &user, &detail));
}
END_TEST

TEST_MAIN("directory/address", good_addresses_have_one_form, what_is_no_address_is_refused,
	  the_local_part_may_have_64_bytes_and_not_65, a_label_may_have_63_bytes_and_not_64,
	  a_detail_keeps_its_case)
