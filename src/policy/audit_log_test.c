#include "policy/audit_log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/test.h"

static char directory[64];
static int dir = -1;

static void rig_open(void)
{
	snprintf(directory, sizeof(directory), "/tmp/prickle-audit.XXXXXX");
	ck_assert_ptr_ne(mkdtemp(directory), NULL);
	dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(dir, 0);
}

/* The names of the segments, in order; how many. */
static size_t segments(char names[64][24])
{
	size_t count = 0;

	for (unsigned i = 0; i < 64; i++) {
		char name[24];

		snprintf(name, sizeof(name), "%010u.log", i);
		if (faccessat(dir, name, F_OK, 0) == 0)
			memcpy(names[count++], name, sizeof(name));
	}
	return count;
}

static void rig_done(void)
{
	char names[64][24];
	size_t count = segments(names);

	for (size_t i = 0; i < count; i++)
		unlinkat(dir, names[i], 0);
	close(dir);
	ck_assert_int_eq(rmdir(directory), 0);
}

static struct policy_entry entry(uint64_t sequence)
{
	struct policy_entry e = {
		.id = policy_decision_id(3, sequence), .lost = 4, .ring = "front 0", .subject = "mail.user", .object = "mailbox",
		.record = { .time_us = sequence, .epoch = 9, .subject = 2, .object = 5, .permission = 2, .predicates = 1, .insn = 77,
			    .class = POLICY_MAILBOX, .result = POLICY_RESULT_DENIED, .chain_count = 2, .chain = { 7, 8 }, .text_bytes = 8 },
		.chain = { "mail.adm", "mail.recovery" },
	};

	memcpy(e.record.text, "ann\0x\0\0", 8);
	e.record.text_bytes = 7;
	return e;
}

START_TEST(an_entry_is_read_as_it_was_written)
{
	AUTO_BUF struct buf bytes = BUF_INIT(8192);
	struct policy_entry in = entry(12), out;

	policy_entry_encode(&bytes, &in);
	ck_assert_uint_eq(policy_entry_decode(&out, buf_slice(&bytes)), bytes.len);
	ck_assert_uint_eq(out.id, in.id);
	ck_assert_uint_eq(out.lost, 4);
	ck_assert_str_eq(out.ring, "front 0");
	ck_assert_str_eq(out.subject, "mail.user");
	ck_assert_str_eq(out.object, "mailbox");
	ck_assert_str_eq(out.chain[1], "mail.recovery");
	ck_assert_uint_eq(out.record.chain[1], 8);
	ck_assert_uint_eq(out.record.insn, 77);
	ck_assert_uint_eq(out.record.sequence, 12);
	ck_assert_str_eq(policy_record_texts(&out.record).who, "ann");
	ck_assert_str_eq(policy_record_texts(&out.record).what, "x");
	/* A byte less, and any byte other: none. */
	for (size_t n = 0; n < bytes.len; n++) {
		ck_assert_uint_eq(policy_entry_decode(&out, slice_head(buf_slice(&bytes), n)), 0);
		bytes.ptr[n] ^= 1;
		ck_assert_uint_eq(policy_entry_decode(&out, buf_slice(&bytes)), 0);
		bytes.ptr[n] ^= 1;
	}
}
END_TEST

struct counting { uint64_t count, last; };

static bool count_one(void *arg, const struct policy_entry *e)
{
	struct counting *c = arg;

	ck_assert_uint_gt(e->record.time_us, c->last);
	c->last = e->record.time_us;
	c->count++;
	return true;
}

static struct counting count_all(void)
{
	struct counting c = { 0 };
	struct errmsg why;

	ck_assert_int_eq(policy_log_read(dir, count_one, &c, &why), 0);
	return c;
}

static struct policy_log *log_open(uint64_t bytes, unsigned kept)
{
	struct policy_log *l;
	struct errmsg why = { 0 };

	ck_assert_msg(policy_log_open(dir, bytes, kept, &l, &why) == 0, "%s", why.text);
	return l;
}

static void add(struct policy_log *l, uint64_t sequence)
{
	struct policy_entry e = entry(sequence);
	struct errmsg why;

	ck_assert_int_eq(policy_log_add(l, &e, &why), 0);
}

START_TEST(full_segments_are_closed_and_the_oldest_removed)
{
	char names[64][24];
	struct policy_log *l;
	struct counting c;

	rig_open();
	l = log_open(1000, 3);
	for (uint64_t i = 1; i <= 100; i++)
		add(l, i);
	ck_assert_uint_eq(policy_log_newest(l, 3), 100);
	ck_assert_uint_eq(policy_log_newest(l, 4), 0);
	policy_log_close(l);
	ck_assert_uint_eq(segments(names), 3);
	c = count_all();
	ck_assert_uint_eq(c.last, 100);
	ck_assert_uint_gt(c.count, 6);
	ck_assert_uint_lt(c.count, 30);
	rig_done();
}
END_TEST

START_TEST(a_torn_entry_at_the_end_is_cut_off_and_the_log_goes_on)
{
	char names[64][24];
	struct policy_log *l;
	struct stat st;

	rig_open();
	l = log_open(1u << 20, 3);
	for (uint64_t i = 1; i <= 5; i++)
		add(l, i);
	policy_log_close(l);
	ck_assert_uint_eq(segments(names), 1);
	ck_assert_int_eq(fstatat(dir, names[0], &st, 0), 0);
	/* Cut anywhere in the last entry. */
	for (off_t cut = 1; cut < st.st_size / 5; cut += 13) {
		int fd = openat(dir, names[0], O_WRONLY | O_CLOEXEC);

		ck_assert_int_eq(ftruncate(fd, st.st_size - cut), 0);
		close(fd);
		ck_assert_uint_eq(count_all().count, 4);
		l = log_open(1u << 20, 3);
		ck_assert_uint_eq(policy_log_newest(l, 3), 4);
		add(l, 5);
		policy_log_close(l);
		ck_assert_uint_eq(count_all().count, 5);
	}
	rig_done();
}
END_TEST

START_TEST(without_a_log_there_is_nothing_to_read)
{
	struct errmsg why;

	rig_open();
	ck_assert_int_eq(policy_log_read(dir, count_one, NULL, &why), -ENOENT);
	rig_done();
}
END_TEST

TEST_MAIN("policy/audit_log", an_entry_is_read_as_it_was_written, full_segments_are_closed_and_the_oldest_removed,
	  a_torn_entry_at_the_end_is_cut_off_and_the_log_goes_on, without_a_log_there_is_nothing_to_read)
