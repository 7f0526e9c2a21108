#include "base/test.h"

#include "mail/message/address.h"
#include "mail/message/bodystructure.h"
#include "mail/message/date.h"
#include "mail/message/header.h"
#include "mail/message/limits.h"
#include "mail/message/msgid.h"
#include "mail/message/param.h"

static struct arena arena = ARENA_INIT(64u << 20);
static struct buf out = BUF_INIT(1 << 22);

/* "name|route|mailbox|host" of each entry, "-" for an absent field. */
static const char *show(const char *value)
{
	struct address *list;

	buf_reset(&out);
	ck_assert(address_parse(&arena, slice_str(value), &list));
	for (const struct address *a = list; a != NULL; a = a->next) {
		const struct slice fields[] = { a->name, a->route, a->mailbox, a->host };
		for (size_t i = 0; i < 4; i++) {
			if (i > 0)
				buf_addc(&out, '|');
			buf_add(&out, fields[i].ptr == NULL ? SLICE("-") : fields[i]);
		}
		if (a->next != NULL)
			buf_addc(&out, '\n');
	}
	return buf_cstr(&out);
}

static const struct {
	const char *value, *want, *text;	/* text NULL: not looked at */
} cases[] = {
	{ "a@b", "-|-|a|b", "<a@b>" },
	{ "Ann Example <a@b>", "Ann Example|-|a|b", "\"Ann Example\" <a@b>" },
	{ "\"A, B\" <a@b>, c@d", "A, B|-|a|b\n-|-|c|d", "\"A, B\" <a@b>, <c@d>" },
	{ "a@b (Ann)", "Ann|-|a|b", "Ann <a@b>" },
	{ "<@x,@y:a@b>", "-|@x,@y|a|b", "<@x,@y:a@b>" },
	{ "g: a@b, c@d;", "-|-|g|-\n-|-|a|b\n-|-|c|d\n-|-|-|-", "g: <a@b>, <c@d>;" },
	{ "g:;", "-|-|g|-\n-|-|-|-", "g: ;" },
	{ "g: a@b", "-|-|g|-\n-|-|a|b\n-|-|-|-", NULL },
	{ "Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", "Pete|-|pete|silly.test", NULL },
	{ "a @ b . c", "-|-|a|b.c", NULL },
	{ "a@[192.0.2.1]", "-|-|a|[192.0.2.1]", NULL },
	{ "\"a b\"@c", "-|-|a b|c", "<\"a b\"@c>" },
	{ "ann", "-|-|ann|MISSING_DOMAIN", NULL },
	{ "Ann Example", "Ann Example|-|MISSING_MAILBOX|MISSING_DOMAIN", NULL },
	{ "Ann <a@b", "Ann|-|a|SYNTAX_ERROR", NULL },
	{ "Ann <>", "Ann|-|MISSING_MAILBOX|MISSING_DOMAIN", NULL },
	{ "<@x a@b>", "-|INVALID_ROUTE|a|b", NULL },
	{ "=?utf-8?q?a=2Cb?= <a@b>", "=?utf-8?q?a=2Cb?=|-|a|b", "=?utf-8?q?a=2Cb?= <a@b>" },
	{ "j\xc3\xbcrgen@b\xc3\xbc", "-|-|j\xc3\xbcrgen|b\xc3\xbc", NULL },
	{ "a@b (unfinished", "-|-|a|MISSING_DOMAIN", NULL },
	{ "a@b,", "-|-|a|b", NULL },
	{ "", "", "" },
};

START_TEST(lists_of_addresses_are_as_imap_shows_them)
{
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct address *list;
		ck_assert_msg(strcmp(show(cases[i].value), cases[i].want) == 0, "'%s': got '%s'", cases[i].value,
			      show(cases[i].value));
		if (cases[i].text == NULL)
			continue;
		ck_assert(address_parse(&arena, slice_str(cases[i].value), &list));
		buf_reset(&out);
		address_write(&out, list);
		ck_assert_slice_eq(buf_slice(&out), slice_str(cases[i].text));
	}
}
END_TEST

START_TEST(more_addresses_than_the_limit_are_dropped)
{
	for (size_t n = ADDRESS_COUNT_MAX - 1; n <= ADDRESS_COUNT_MAX + 1; n++) {
		AUTO_BUF struct buf text = BUF_INIT(1 << 20);
		struct address *list;
		size_t count = 0;
		buf_adds(&text, "a@b");
		for (size_t i = 1; i < n; i++)
			buf_adds(&text, ",a@b");
		arena_reset(&arena);
		ck_assert(address_parse(&arena, buf_slice(&text), &list));
		for (; list != NULL; list = list->next)
			count++;
		ck_assert_uint_eq(count, MIN(n, (size_t)ADDRESS_COUNT_MAX));
	}
}
END_TEST

START_TEST(a_full_arena_gives_what_fitted)
{
	struct arena small = ARENA_INIT(200);
	struct address *list;

	ck_assert(!address_parse(&small, SLICE("a@b, c@d, e@f"), &list));
	arena_done(&small);
}
END_TEST

static const struct {
	const char *value, *want;	/* type/subtype;name=value;... */
} types[] = {
	{ "text/plain", "text/plain" },
	{ " Text / Plain ; charset = \"a\\\"b\" ", "Text/Plain;charset=a\"b" },
	{ "text/plain; name*0=a; name*1=b", "text/plain;name=ab" },
	{ "text/plain; name*1=b; name*0=a", "text/plain;name=ab" },
	{ "text/plain; name*0*=utf-8''%61; name*1=b%c", "text/plain;name*=utf-8''%61b%25c" },
	{ "text/plain; a*0=x; name*=utf-8''y", "text/plain;a=x;name*=utf-8''y" },
	{ "text/plain; name*0=a; name*2=c", "text/plain;name*0=a;name*2=c" },
	{ "text/plain; x;; y=z", "text/plain;y=z" },
	{ "text/plain; y=\"unfinished", "text/plain" },
	{ "text/plain; y==?utf-8?q?a?= ; z=1", "text/plain;y==?utf-8?q?a?=;z=1" },
	{ "text", NULL }, { "/plain", NULL }, { "text/", NULL }, { "a/b/c", NULL }, { "", NULL },
};

START_TEST(types_and_parameters_are_read_and_joined)
{
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		struct slice type, subtype;
		const struct mime_param *params;
		uint32_t count;
		bool good = param_content_type(&arena, slice_str(types[i].value), &type, &subtype, &params, &count);
		ck_assert_msg(good == (types[i].want != NULL), "%s", types[i].value);
		if (!good)
			continue;
		buf_reset(&out);
		buf_printf(&out, "%.*s/%.*s", SLICE_FMT(type), SLICE_FMT(subtype));
		for (uint32_t k = 0; k < count; k++)
			buf_printf(&out, ";%.*s=%.*s", SLICE_FMT(params[k].name), SLICE_FMT(params[k].value));
		ck_assert_slice_eq(buf_slice(&out), slice_str(types[i].want));
	}
}
END_TEST

static const struct {
	const char *value;
	int64_t unix_s;
	int zone;
	bool good;
} dates[] = {
	{ "Fri, 21 Nov 1997 09:55:06 -0600", 880127706, -360, true },
	{ "Thu, 13 Feb 1969 23:32 -0330", -27723480, -210, true },
	{ "Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", 880127706, -360, true },
	{ "21 Nov 97 09:55:06 GMT", 880106106, 0, true },
	{ "1 Jan 00 00:00 +0000", 946684800, 0, true },
	{ "1 Jan 70 00:00:00 EST", 18000, -300, true },
	{ "29 Feb 2004 23:59:60 +0000", 1078099199, 0, true },
	{ "1 Jan 2020 00:00:00 nonsense", 1577836800, 0, true },
	{ "1 Jan 2020 00:00:00", 1577836800, 0, true },
	{ "1 Jan 2020 00:00:00 A", 1577833200, 60, true },
	{ "29 Feb 2003 00:00:00 +0000", 0, 0, false },
	{ "32 Jan 2020 00:00:00 +0000", 0, 0, false },
	{ "1 Jan 2020 24:00:00 +0000", 0, 0, false },
	{ "1 Jan 1899 00:00:00 +0000", 0, 0, false },
	{ "1 Foo 2020 00:00:00 +0000", 0, 0, false },
	{ "Friday, 1 Jan 2020 00:00:00 +0000", 0, 0, false },
	{ "1 Jan 2020", 0, 0, false },
	{ "", 0, 0, false },
};

START_TEST(dates_are_those_of_rfc_5322)
{
	for (size_t i = 0; i < ARRAY_LEN(dates); i++) {
		int64_t unix_s = 0;
		int zone = 0;
		ck_assert_msg(date_parse(slice_str(dates[i].value), &unix_s, &zone) == dates[i].good, "%s", dates[i].value);
		ck_assert_msg(unix_s == dates[i].unix_s && zone == dates[i].zone, "%s: %lld %d", dates[i].value,
			      (long long)unix_s, zone);
	}
}
END_TEST

START_TEST(identifiers_compare_equal_however_they_are_written)
{
	struct slice rest = SLICE("x <a@b> <c @ d>\t<\"e\"@f> <no-at> <g@[h]> <(c)i@j(c)> <k@l <m@n");
	const char *want[] = { "a@b", "c@d", "e@f", "g@[h]", "i@j" };
	struct slice id;

	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		ck_assert(msgid_next(&arena, &rest, &id));
		ck_assert_slice_eq(id, slice_str(want[i]));
	}
	ck_assert(!msgid_next(&arena, &rest, &id));
}
END_TEST

START_TEST(header_subsets_keep_bytes_and_order)
{
	struct slice block = SLICE("A: 1\r\nB : 2\r\n folded\r\nno colon\r\na: 3\r\n\r\n");
	struct slice names[] = { SLICE("a"), SLICE("c") };
	struct slice value;

	buf_reset(&out);
	header_select(&out, block, names, 2, false);
	ck_assert_slice_eq(buf_slice(&out), SLICE("A: 1\r\na: 3\r\n\r\n"));
	buf_reset(&out);
	header_select(&out, block, names, 2, true);
	ck_assert_slice_eq(buf_slice(&out), SLICE("B : 2\r\n folded\r\nno colon\r\n\r\n"));
	buf_reset(&out);
	header_select(&out, SLICE("A: 1"), names, 2, false);
	ck_assert_slice_eq(buf_slice(&out), SLICE("A: 1"));
	ck_assert(header_find(block, "b", &value));
	ck_assert_slice_eq(header_unfold(&arena, value), SLICE("2 folded"));
	ck_assert(!header_find(block, "c", &value));
}
END_TEST

START_TEST(strings_are_quoted_when_they_can_be)
{
	static const struct { struct slice in; bool utf8; const char *want; } strings[] = {
		{ SLICE_INIT("a\"b"), false, "\"a\\\"b\"" }, { SLICE_INIT("\xc3\xbc"), false, "{2}\r\n\xc3\xbc" },
		{ SLICE_INIT("\xc3\xbc"), true, "\"\xc3\xbc\"" }, { SLICE_INIT("\xff"), true, "{1}\r\n\xff" },
		{ SLICE_INIT("a\nb"), true, "{3}\r\na\nb" }, { { NULL, 0 }, false, "NIL" }, { SLICE_INIT(""), false, "\"\"" },
	};

	for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
		buf_reset(&out);
		bodystructure_nstring(&out, strings[i].in, strings[i].utf8);
		ck_assert_slice_eq(buf_slice(&out), slice_str(strings[i].want));
	}
}
END_TEST

TEST_MAIN("message/address", lists_of_addresses_are_as_imap_shows_them, more_addresses_than_the_limit_are_dropped,
	  a_full_arena_gives_what_fitted, types_and_parameters_are_read_and_joined, dates_are_those_of_rfc_5322,
	  identifiers_compare_equal_however_they_are_written, header_subsets_keep_bytes_and_order,
	  strings_are_quoted_when_they_can_be)
