#include "policy/audit.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/test.h"

#define NOW_US 1790000000000000

static int ring_file(uint32_t records)
{
	int fd = memfd_create("ring", MFD_CLOEXEC);
	void *map;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)policy_ring_bytes(records)), 0);
	map = mmap(NULL, policy_ring_bytes(records), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(map, MAP_FAILED);
	policy_ring_format(map, records, 3, "front 0", NOW_US);
	munmap(map, policy_ring_bytes(records));
	return fd;
}

static struct policy_ring_writer writer_of(int fd)
{
	struct policy_ring_writer w;
	struct errmsg why;

	ck_assert_int_eq(policy_ring_attach(&w, fd, &why), 0);
	return w;
}

static struct policy_ring_reader reader_over(int fd)
{
	struct policy_ring_reader r;
	struct errmsg why;

	ck_assert_int_eq(policy_ring_open(&r, dup(fd), 3, "front 0", &why), 0);
	return r;
}

static const struct policy_record denied = {
	.time_us = NOW_US, .epoch = 7, .subject = 2, .object = 5, .permission = POLICY_MAILBOX_READ, .class = POLICY_MAILBOX,
	.result = POLICY_RESULT_DENIED, .chain_count = 1, .chain = { 4 }, .predicates = 1, .insn = 9,
};

START_TEST(a_record_is_read_as_it_was_written)
{
	int fd = ring_file(16);
	struct policy_ring_writer w = writer_of(fd);
	struct policy_ring_reader r = reader_over(fd);
	struct policy_record got;
	uint64_t id = policy_ring_write(&w, &denied, SLICE("ann@example.org"), SLICE("bob INBOX"), SLICE("SELECT"));

	policy_ring_close(&r);
	ck_assert_int_eq(policy_ring_open(&r, dup(fd), 4, "front 1", NULL), 0);
	ck_assert_str_eq(r.name, "front 1");
	ck_assert_uint_eq(r.id, 4);
	policy_ring_close(&r);
	r = reader_over(fd);
	ck_assert(policy_ring_read(&r, &got));
	ck_assert_uint_eq(policy_decision_id(r.id, got.sequence), id);
	ck_assert_uint_eq(got.epoch, 7);
	ck_assert_uint_eq(got.subject, 2);
	ck_assert_uint_eq(got.object, 5);
	ck_assert_uint_eq(got.permission, POLICY_MAILBOX_READ);
	ck_assert_uint_eq(got.chain[0], 4);
	ck_assert_uint_eq(got.insn, 9);
	ck_assert_str_eq(policy_record_texts(&got).who, "ann@example.org");
	ck_assert_str_eq(policy_record_texts(&got).what, "bob INBOX");
	ck_assert_str_eq(policy_record_texts(&got).how, "SELECT");
	ck_assert(!policy_ring_read(&r, &got));
	ck_assert_uint_eq(r.lost, 0);
	policy_ring_close(&r);
	policy_ring_detach(&w);
	close(fd);
}
END_TEST

START_TEST(what_is_overwritten_is_counted_and_what_is_left_comes_in_order)
{
	int fd = ring_file(16);
	struct policy_ring_writer w = writer_of(fd);
	struct policy_ring_reader r = reader_over(fd);
	struct policy_record got, one = denied;
	uint32_t next = 100 - 16;

	for (uint32_t i = 0; i < 100; i++) {
		one.insn = i;
		policy_ring_write(&w, &one, SLICE(""), SLICE(""), SLICE(""));
	}
	while (policy_ring_read(&r, &got))
		ck_assert_uint_eq(got.insn, next++);
	ck_assert_uint_eq(next, 100);
	ck_assert_uint_eq(r.lost, 84);
	policy_ring_close(&r);
	policy_ring_detach(&w);
	close(fd);
}
END_TEST

START_TEST(who_comes_late_reads_what_is_there_and_has_lost_nothing)
{
	int fd = ring_file(16);
	struct policy_ring_writer w = writer_of(fd);
	struct policy_ring_reader r;
	struct policy_record got;
	size_t count = 0;

	policy_ring_write(&w, &denied, SLICE(""), SLICE(""), SLICE(""));
	policy_ring_write(&w, &denied, SLICE(""), SLICE(""), SLICE(""));
	r = reader_over(fd);
	while (policy_ring_read(&r, &got))
		count++;
	ck_assert_uint_eq(count, 2);
	ck_assert_uint_eq(r.lost, 0);
	policy_ring_close(&r);
	policy_ring_detach(&w);
	close(fd);
}
END_TEST

START_TEST(a_writer_that_starts_again_goes_on_with_the_numbers)
{
	int fd = ring_file(16);
	struct policy_ring_writer w = writer_of(fd);
	uint64_t first = policy_ring_write(&w, &denied, SLICE(""), SLICE(""), SLICE(""));

	policy_ring_detach(&w);
	w = writer_of(fd);
	ck_assert_uint_eq(policy_ring_write(&w, &denied, SLICE(""), SLICE(""), SLICE("")), first + 1);
	policy_ring_detach(&w);
	close(fd);
}
END_TEST

START_TEST(texts_that_are_too_long_are_clipped_and_a_nul_in_them_begins_no_other)
{
	static const struct { size_t who, what, how, want_who, want_what, want_how; } cases[] = {
		{ 0, 0, 0, 0, 0, 0 },
		{ 60, 60, 61, 60, 60, 61 },
		{ 60, 61, 61, 60, 61, 48 },
		{ 500, 500, 500, 64, 69, 48 },
		{ 500, 0, 0, 64, 0, 0 },
		{ 0, 500, 0, 0, 181, 0 },
		{ 3, 500, 4, 3, 174, 4 },
	};
	int fd = ring_file(16);
	struct policy_ring_writer w = writer_of(fd);
	struct policy_ring_reader r = reader_over(fd);
	struct policy_record got;
	static uint8_t as[500];

	memset(as, 'a', sizeof(as));
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		policy_ring_write(&w, &denied, slice_of(as, cases[i].who), slice_of(as, cases[i].what), slice_of(as, cases[i].how));
		ck_assert(policy_ring_read(&r, &got));
		ck_assert_uint_eq(strlen(policy_record_texts(&got).who), cases[i].want_who);
		ck_assert_uint_eq(strlen(policy_record_texts(&got).what), cases[i].want_what);
		ck_assert_uint_eq(strlen(policy_record_texts(&got).how), cases[i].want_how);
	}
	policy_ring_write(&w, &denied, slice_of("a\0b", 3), SLICE("c"), SLICE(""));
	ck_assert(policy_ring_read(&r, &got));
	ck_assert_str_eq(policy_record_texts(&got).who, "a?b");
	ck_assert_str_eq(policy_record_texts(&got).what, "c");
	policy_ring_close(&r);
	policy_ring_detach(&w);
	close(fd);
}
END_TEST

START_TEST(a_file_that_is_no_ring_is_refused)
{
	static const struct { const char *name; size_t at; uint32_t value; off_t bytes; } cases[] = {
		{ "another magic", offsetof(struct policy_ring, magic), 1, 0 },
		{ "another version", offsetof(struct policy_ring, abi), 99, 0 },
		{ "no power of two", offsetof(struct policy_ring, records), 15, 0 },
		{ "none", offsetof(struct policy_ring, records), 0, 0 },
		{ "more than the file has", offsetof(struct policy_ring, records), 32, 0 },
		{ "more than anybody has", offsetof(struct policy_ring, records), 1u << 31, 0 },
		{ "shorter than it says", offsetof(struct policy_ring, spare), 0, 4097 },
		{ "shorter than a head", offsetof(struct policy_ring, spare), 0, 100 },
	};
	struct errmsg why;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int fd = ring_file(16), copy = dup(fd);
		struct policy_ring_reader r;
		struct policy_ring_writer w;

		if (cases[i].bytes != 0)
			ck_assert_int_eq(ftruncate(fd, cases[i].bytes), 0);
		else
			ck_assert_int_eq(pwrite(fd, &cases[i].value, 4, (off_t)cases[i].at), 4);
		ck_assert_msg(policy_ring_open(&r, copy, 3, "front 0", &why) == -EBADMSG, "%s", cases[i].name);
		ck_assert_msg(policy_ring_attach(&w, fd, &why) == -EBADMSG, "%s", cases[i].name);
		close(copy);
		close(fd);
	}
}
END_TEST

START_TEST(a_writer_that_lies_cannot_lead_a_reader_astray)
{
	static const uint64_t nexts[] = { 0, 1, UINT64_MAX, UINT64_MAX - 5, 1ull << 63 };
	int fd = ring_file(16);
	struct policy_ring_writer w = writer_of(fd);
	struct policy_ring_reader r = reader_over(fd);
	struct policy_record got, bad = denied;

	for (size_t i = 0; i < ARRAY_LEN(nexts); i++) {
		atomic_store(&w.ring->next, nexts[i]);
		ck_assert(!policy_ring_read(&r, &got));
	}
	policy_ring_close(&r);
	policy_ring_detach(&w);
	close(fd);

	fd = ring_file(16);
	w = writer_of(fd);
	r = reader_over(fd);
	bad.result = POLICY_RESULT_COUNT;
	policy_ring_write(&w, &bad, SLICE(""), SLICE(""), SLICE(""));
	bad = denied;
	bad.chain_count = 9;
	policy_ring_write(&w, &bad, SLICE(""), SLICE(""), SLICE(""));
	policy_ring_write(&w, &denied, SLICE(""), SLICE(""), SLICE(""));
	w.records[(w.next - 1) & w.mask].text[2] = 'x';
	w.records[(w.next - 1) & w.mask].text_bytes = 255;
	ck_assert(!policy_ring_read(&r, &got));
	ck_assert_uint_eq(r.lost, 3);
	/* Shortened under the reader: it reads no more, and lives. */
	policy_ring_write(&w, &denied, SLICE(""), SLICE(""), SLICE(""));
	ck_assert_int_eq(ftruncate(fd, 100), 0);
	ck_assert(!policy_ring_read(&r, &got));
	policy_ring_close(&r);
	close(fd);
}
END_TEST

START_TEST(a_writer_that_says_it_is_far_ahead_moves_a_reader_by_one_ring_at_most)
{
	static const uint64_t nexts[] = { 1ull << 40, (1ull << 48) - 1, UINT64_MAX };
	int fd = ring_file(16);
	struct policy_ring_writer w = writer_of(fd);
	struct policy_ring_reader r = reader_over(fd);
	struct policy_record got;
	uint64_t at = r.at;

	for (size_t i = 0; i < ARRAY_LEN(nexts); i++) {
		atomic_store(&w.ring->next, nexts[i]);
		ck_assert(!policy_ring_read(&r, &got));
		ck_assert_uint_le(r.at, at + (i + 1) * 16);
		ck_assert_uint_eq(r.lost, r.at - at);
	}
	/* What it then really writes there is found. */
	w.next = r.at + 100;
	policy_ring_write(&w, &denied, SLICE("who"), SLICE(""), SLICE(""));
	ck_assert(policy_ring_read(&r, &got));
	ck_assert_uint_eq(got.sequence, w.next - 1);
	policy_ring_close(&r);
	policy_ring_detach(&w);
	close(fd);
}
END_TEST

#define RACE_RECORDS 200000u
static void *write_many(void *arg)
{
	struct policy_ring_writer *w = arg;
	struct policy_record one = denied;

	for (uint32_t i = 1; i <= RACE_RECORDS; i++) {
		one.insn = i;
		one.time_us = i;
		one.epoch = i;
		one.predicates = i;
		policy_ring_write(w, &one, SLICE("who"), SLICE("what"), SLICE("how"));
	}
	return NULL;
}

START_TEST(a_reader_beside_a_writer_sees_whole_records_and_knows_what_it_missed)
{
	int fd = ring_file(64);
	struct policy_ring_writer w = writer_of(fd);
	struct policy_ring_reader r = reader_over(fd);
	struct policy_record got;
	uint64_t seen = 0, last = 0;
	pthread_t writer;

	ck_assert_int_eq(pthread_create(&writer, NULL, write_many, &w), 0);
	while (seen + r.lost < RACE_RECORDS) {
		if (!policy_ring_read(&r, &got))
			continue;
		ck_assert_uint_gt(got.insn, last);
		last = got.insn;
		ck_assert_uint_eq(got.time_us, last);
		ck_assert_uint_eq(got.epoch, last);
		ck_assert_uint_eq(got.predicates, last);
		ck_assert_str_eq(policy_record_texts(&got).how, "how");
		seen++;
	}
	pthread_join(writer, NULL);
	ck_assert_uint_eq(seen + r.lost, RACE_RECORDS);
	policy_ring_close(&r);
	policy_ring_detach(&w);
	close(fd);
}
END_TEST

START_TEST(decision_ids_are_read_as_they_are_written)
{
	static const char *const bad[] = { "", "-", "3", "3-", "-3", "10000-1", "3-1000000000000", "3-0000000000001", "x-1", "3-g", "3-1 ", "3--1", "3-1-1" };
	char text[24];
	uint64_t id;

	policy_decision_text(policy_decision_id(3, 0x1f20a), text);
	ck_assert_str_eq(text, "3-1f20a");
	ck_assert(policy_decision_parse(SLICE("3-1F20a"), &id));
	ck_assert_uint_eq(id, policy_decision_id(3, 0x1f20a));
	ck_assert(policy_decision_parse(SLICE("ffff-ffffffffffff"), &id));
	ck_assert_uint_eq(id, UINT64_MAX);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_msg(!policy_decision_parse(slice_str(bad[i]), &id), "%s", bad[i]);
}
END_TEST

TEST_MAIN("policy/audit", a_record_is_read_as_it_was_written, what_is_overwritten_is_counted_and_what_is_left_comes_in_order,
	  who_comes_late_reads_what_is_there_and_has_lost_nothing, a_writer_that_starts_again_goes_on_with_the_numbers,
	  texts_that_are_too_long_are_clipped_and_a_nul_in_them_begins_no_other, a_file_that_is_no_ring_is_refused,
	  a_writer_that_lies_cannot_lead_a_reader_astray, a_writer_that_says_it_is_far_ahead_moves_a_reader_by_one_ring_at_most, a_reader_beside_a_writer_sees_whole_records_and_knows_what_it_missed,
	  decision_ids_are_read_as_they_are_written)
