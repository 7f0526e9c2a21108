#include <stdio.h>

#include "base/test.h"
#include "mail/formats/maildir.h"

static const struct {
	const char *name, *file;
	bool good;
	const char *unique;
	int64_t time_s, size;		/* -1: none */
	unsigned flags;
	uint32_t keywords;
} files[] = {
	{ "a file of Dovecot's", "1700000000.M1P2.host,S=12,W=13:2,FSab", true, "1700000000.M1P2.host", 1700000000, 12,
	  FORMAT_FLAGGED | FORMAT_SEEN, 3 },
	{ "all flags", "1700000000.x:2,DFPRSTz", true, "1700000000.x", 1700000000, -1, 63, 1u << 25 },
	{ "a file in new", "1700000000.x", true, "1700000000.x", 1700000000, -1, 0, 0 },
	{ "an info of another version", "1700000000.x:1,S", true, "1700000000.x", 1700000000, -1, 0, 0 },
	{ "extensions after the flags", "a:2,S,T", true, "a", -1, -1, FORMAT_SEEN, 0 },
	{ "a time that is none", "99999999999999999999.x", true, "99999999999999999999.x", -1, -1, 0, 0 },
	{ "a size that is none", "a,S=99999999999999999999999:2,", true, "a", -1, -1, 0, 0 },
	{ "a hidden file", ".x:2,S", false, NULL, 0, 0, 0, 0 },
	{ "the directory itself", ".", false, NULL, 0, 0, 0, 0 },
	{ "a way out", "../../etc/passwd:2,S", false, NULL, 0, 0, 0, 0 },
	{ "a slash", "a/b", false, NULL, 0, 0, 0, 0 },
	{ "nothing before the fields", ",S=1:2,S", false, NULL, 0, 0, 0, 0 },
	{ "nothing before the flags", ":2,S", false, NULL, 0, 0, 0, 0 },
	{ "nothing", "", false, NULL, 0, 0, 0, 0 },
};

START_TEST(names_of_files_are_read_or_refused)
{
	char longest[300];
	struct maildir_name n;

	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		ck_assert_msg(maildir_name_parse(slice_str(files[i].file), &n) == files[i].good, "%s", files[i].name);
		if (!files[i].good)
			continue;
		ck_assert_slice_eq(n.unique, slice_str(files[i].unique));
		ck_assert_msg((n.has_time ? n.time_s : -1) == files[i].time_s, "%s", files[i].name);
		ck_assert_msg((n.has_size ? (int64_t)n.size_bytes : -1) == files[i].size, "%s", files[i].name);
		ck_assert_msg(n.flags == files[i].flags && n.keywords == files[i].keywords, "%s", files[i].name);
	}
	memset(longest, 'x', sizeof(longest));
	ck_assert(maildir_name_parse(slice_of(longest, 255), &n));
	ck_assert(!maildir_name_parse(slice_of(longest, 256), &n));
	ck_assert(!maildir_name_parse(SLICE("a\0b"), &n));
}
END_TEST

START_TEST(flags_are_written_in_order)
{
	AUTO_BUF struct buf b = BUF_INIT(100);

	maildir_flags_write(&b, 63, 1u << 25 | 1);
	ck_assert_slice_eq(buf_slice(&b), SLICE(":2,DFPRSTaz"));
	buf_reset(&b);
	maildir_flags_write(&b, 0, 0);
	ck_assert_slice_eq(buf_slice(&b), SLICE(":2,"));
}
END_TEST

static const struct { const char *folder, *directory; } folders[] = {
	{ "Work", ".Work" },
	{ "Work/2024", ".Work.2024" },
	{ "INBOX/Old", ".INBOX.Old" },
	{ "a.b/c\\d", ".a\\2eb.c\\5cd" },
	{ "Entw\xc3\xbcrfe", ".Entw&APw-rfe" },
	{ "R&D", ".R&-D" },
};

START_TEST(folders_are_directories_both_ways)
{
	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		AUTO_BUF struct buf b = BUF_INIT(4096);

		ck_assert(maildir_folder_write(&b, slice_str(folders[i].folder)));
		ck_assert_slice_eq(buf_slice(&b), slice_str(folders[i].directory));
		buf_reset(&b);
		ck_assert(maildir_folder_read(&b, slice_str(folders[i].directory)));
		ck_assert_slice_eq(buf_slice(&b), slice_str(folders[i].folder));
	}
	AUTO_BUF struct buf b = BUF_INIT(4096);
	ck_assert(maildir_folder_write(&b, SLICE("INBOX")));
	ck_assert_uint_eq(b.len, 0);
}
END_TEST

START_TEST(hostile_directories_are_refused)
{
	static const char *const bad[] = { ".", "..", "...", "x", "", ".a..b", ".a.", "..a" };
	AUTO_BUF struct buf b = BUF_INIT(4096), longest = BUF_INIT(4096);

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_msg(!maildir_folder_read(&b, slice_str(bad[i])), "%s", bad[i]);
	ck_assert_uint_eq(b.len, 0);
	/* UTF-8 as it stands, and what only looks encoded. */
	ck_assert(maildir_folder_read(&b, SLICE(".Entw\xc3\xbcrfe")));
	buf_reset(&b);
	ck_assert(maildir_folder_read(&b, SLICE(".a&b")));
	ck_assert_slice_eq(buf_slice(&b), SLICE("a&b"));
	buf_fill(&longest, 'x', 254);
	buf_reset(&b);
	ck_assert(maildir_folder_write(&b, buf_slice(&longest)));
	buf_addc(&longest, 'x');
	ck_assert(!maildir_folder_write(&b, buf_slice(&longest)));
	ck_assert_uint_eq(b.len, 255);
}
END_TEST

START_TEST(keywords_and_uids_are_read_with_wrong_lines_passed_over)
{
	struct slice names[MAILDIR_KEYWORDS_MAX], unique;
	struct maildir_uidlist l;
	uint32_t uid;

	maildir_keywords_read(SLICE("0 $Forwarded\n25 last\r\n26 none\nx y\n\n3"), names);
	ck_assert_slice_eq(names[0], SLICE("$Forwarded"));
	ck_assert_slice_eq(names[25], SLICE("last"));
	ck_assert_uint_eq(names[3].len, 0);
	ck_assert(maildir_uidlist_begin(SLICE("3 V123 N45 Gabc\n7 W10 :a.b,S=10:2,S\nx\n0 :z\n8 :../x\n9 :c\n"), &l));
	ck_assert_uint_eq(l.uidvalidity, 123);
	ck_assert_uint_eq(l.uidnext, 45);
	ck_assert(maildir_uidlist_next(&l, &uid, &unique) && uid == 7);
	ck_assert_slice_eq(unique, SLICE("a.b"));
	ck_assert(maildir_uidlist_next(&l, &uid, &unique) && uid == 9);
	ck_assert(!maildir_uidlist_next(&l, &uid, &unique));
	ck_assert(maildir_uidlist_begin(SLICE("1 5 9\n4 a.b:2,S"), &l));
	ck_assert_uint_eq(l.uidvalidity, 5);
	ck_assert(maildir_uidlist_next(&l, &uid, &unique) && uid == 4);
	ck_assert(!maildir_uidlist_begin(SLICE("2 V1 N1\n"), &l));
	ck_assert(!maildir_uidlist_begin(SLICE("3 N1\n"), &l));
	ck_assert(!maildir_uidlist_begin(SLICE("1 x\n"), &l));
	ck_assert(!maildir_uidlist_begin(SLICE(""), &l));
}
END_TEST

START_TEST(subscriptions_are_read_in_both_versions)
{
	struct slice one = SLICE("Work.2024\nINBOX\n\nEntw&APw-rfe"), two = SLICE("V\t2\n\nWork\t2024\na.b\n");
	AUTO_BUF struct buf name = BUF_INIT(4096), all = BUF_INIT(4096);
	bool v2 = false;

	while (maildir_subscription_next(&one, &v2, &name))
		buf_printf(&all, "<%s>", buf_cstr(&name));
	ck_assert_slice_eq(buf_slice(&all), SLICE("<Work/2024><INBOX><><Entw\xc3\xbcrfe>"));
	buf_reset(&all);
	while (maildir_subscription_next(&two, &v2, &name))
		buf_printf(&all, "<%s>", buf_cstr(&name));
	ck_assert_slice_eq(buf_slice(&all), SLICE("<><><Work/2024><a.b>"));
}
END_TEST

TEST_MAIN("formats/maildir", names_of_files_are_read_or_refused, flags_are_written_in_order,
	  folders_are_directories_both_ways, hostile_directories_are_refused,
	  keywords_and_uids_are_read_with_wrong_lines_passed_over, subscriptions_are_read_in_both_versions)
