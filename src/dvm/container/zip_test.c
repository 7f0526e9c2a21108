#include "dvm/container/zip.h"

#include <errno.h>
#include <libdeflate.h>

#include "base/must.h"
#include "base/test.h"
#include "dvm/container/container_limits.h"
#include "dvm/container/zip_format.h"

static struct errmsg why;

static const char words[] = "words words words words words words words words words words";

/* Three entries; the bytes stay in the arena. */
static struct zip sample(struct arena *arena)
{
	AUTO_BUF struct buf b = BUF_INIT(1u << 20);
	struct zip_writer *w = zip_writer_new(arena, &b, SLICE("#!/bin/sh\n"), 0);
	struct zip z;

	ck_assert_ptr_nonnull(w);
	zip_add(w, SLICE("d/"), SLICE(""), 0);
	zip_add(w, SLICE("d/a"), slice_str(words), 6);
	zip_add(w, SLICE("b"), SLICE("stored"), 0);
	ck_assert_msg(zip_finish(w, SLICE("comment"), &why) == 0, "%s", why.text);
	ck_assert_msg(zip_open(arena, arena_dup(arena, buf_slice(&b)), &z, &why) == 0, "%s", why.text);
	return z;
}

static struct slice content_of(struct arena *arena, const struct zip *z, const char *name)
{
	const struct zip_entry *e = zip_find(z, slice_str(name));
	struct slice out = { 0 };

	ck_assert_msg(e != NULL, "%s is not there", name);
	ck_assert_msg(zip_read(arena, z, e, &out, &why) == 0, "%s", why.text);
	return out;
}

START_TEST(what_is_written_is_read)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct zip z = sample(&arena);

	ck_assert_uint_eq(z.count, 3);
	ck_assert_slice_eq(z.comment, SLICE("comment"));
	ck_assert_slice_eq(z.prefix, SLICE("#!/bin/sh\n"));
	ck_assert_slice_eq(content_of(&arena, &z, "d/a"), slice_str(words));
	ck_assert_slice_eq(content_of(&arena, &z, "b"), SLICE("stored"));
	ck_assert_uint_eq(zip_find(&z, SLICE("d/a"))->method, ZIP_DEFLATED);
	ck_assert_uint_lt(zip_find(&z, SLICE("d/a"))->packed_size, sizeof(words) / 2);
	ck_assert_uint_eq(zip_find(&z, SLICE("b"))->method, ZIP_STORED);
	ck_assert(zip_find(&z, SLICE("d")) == NULL && zip_find(&z, SLICE("")) == NULL && zip_find(&z, SLICE("z")) == NULL);
}
END_TEST

START_TEST(one_entry_is_replaced_and_the_others_stay_as_they_lie)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	AUTO_BUF struct buf b = BUF_INIT(1u << 20);
	struct zip z = sample(&arena), again;
	struct zip_writer *w = zip_writer_new(&arena, &b, z.prefix, z.base);
	uint8_t packed[100];

	for (uint32_t i = 0; i < z.count; i++)
		if (slice_eq(z.entries[i].name, SLICE("b")))
			zip_replace(w, &z.entries[i], SLICE("other other other other other other other"), 9);
		else
			zip_copy(w, &z.entries[i]);
	struct libdeflate_compressor *c = libdeflate_alloc_compressor(1);
	size_t n = libdeflate_deflate_compress(c, words, 30, packed, sizeof(packed));
	libdeflate_free_compressor(c);
	struct zip_entry renamed = z.entries[1];
	renamed.central = arena_dup(&arena, renamed.central);
	((uint8_t *)(uintptr_t)renamed.central.ptr)[ZIP_CENTRAL_BYTES] = 'e';
	zip_replace_packed(w, &renamed, slice_of(packed, n), ZIP_DEFLATED, 30, libdeflate_crc32(0, words, 30));
	ck_assert_msg(zip_finish(w, z.comment, &why) == 0, "%s", why.text);
	ck_assert_msg(zip_open(&arena, buf_slice(&b), &again, &why) == 0, "%s", why.text);
	ck_assert_uint_eq(again.count, 4);
	ck_assert_slice_eq(again.entries[1].local, z.entries[1].local);
	ck_assert_slice_eq(content_of(&arena, &again, "b"), SLICE("other other other other other other other"));
	ck_assert_slice_eq(content_of(&arena, &again, "e/a"), slice_of(words, 30));
}
END_TEST

START_TEST(a_copy_of_all_is_the_same_file)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	AUTO_BUF struct buf b = BUF_INIT(1u << 20), moved = BUF_INIT(1u << 20), again = BUF_INIT(1u << 20);
	struct zip z = sample(&arena);

	/* The same behind a prefix that its offsets do not know. */
	buf_adds(&moved, "more");
	buf_add(&moved, z.bytes);
	for (int i = 0; i < 2; i++) {
		ck_assert_msg(zip_open(&arena, i == 0 ? z.bytes : buf_slice(&moved), &z, &why) == 0, "%s", why.text);
		ck_assert_uint_eq(z.base, i == 0 ? 0 : 4);
		buf_reset(&again);
		struct zip_writer *w = zip_writer_new(&arena, &again, z.prefix, z.base);
		for (uint32_t j = 0; j < z.count; j++)
			zip_copy(w, &z.entries[j]);
		ck_assert_int_eq(zip_finish(w, z.comment, &why), 0);
		ck_assert_slice_eq(buf_slice(&again), z.bytes);
	}
}
END_TEST

START_TEST(the_first_error_of_a_writer_is_told_at_the_end)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	static const char *const bad[] = { "/a", "../a", "a/../b", "", "a\\b", "c:a", "\xff" };

	for (size_t i = 0; i <= ARRAY_LEN(bad); i++) {
		AUTO_BUF struct buf b = BUF_INIT(1u << 20);
		struct zip_writer *w = zip_writer_new(&arena, &b, SLICE(""), 0);
		zip_add(w, SLICE("a"), slice_str(words), 1);
		zip_add(w, i < ARRAY_LEN(bad) ? slice_str(bad[i]) : SLICE("a"), slice_str(words), 1);
		zip_add(w, SLICE("c"), slice_str(words), 1);
		ck_assert_int_eq(zip_finish(w, SLICE(""), &why), -EINVAL);
		ck_assert_ptr_nonnull(strstr(why.text, i < ARRAY_LEN(bad) ? "its name" : "two zip entries 'a'"));
	}
	AUTO_BUF struct buf small = BUF_INIT(100);
	struct zip_writer *w = zip_writer_new(&arena, &small, SLICE(""), 0);
	zip_add(w, SLICE("a"), slice_str(words), 0);
	zip_add(w, SLICE("b"), slice_str(words), 0);
	ck_assert_int_eq(zip_finish(w, SLICE(""), &why), -EMSGSIZE);
	w = zip_writer_new(&arena, &small, SLICE(""), 0);
	small.err = 0;
	ck_assert_int_eq(zip_finish(w, SLICE("PK\5\6"), &why), -EINVAL);
}
END_TEST

START_TEST(names_are_of_limited_length)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	uint8_t *name = arena_alloc(&arena, ZIP_NAME_BYTES_MAX + 1);

	memset(name, 'a', ZIP_NAME_BYTES_MAX + 1);
	ck_assert(zip_name_fault(slice_of(name, ZIP_NAME_BYTES_MAX)) == NULL);
	ck_assert(zip_name_fault(slice_of(name, ZIP_NAME_BYTES_MAX + 1)) != NULL);
}
END_TEST

START_TEST(short_memory_is_an_error_at_every_step)
{
	AUTO_ARENA struct arena whole = ARENA_INIT(1u << 20);
	struct zip z = sample(&whole);
	int err = -ENOMEM;

	for (size_t max = 0; err == -ENOMEM; max += 16) {
		AUTO_ARENA struct arena arena = ARENA_INIT(max);
		AUTO_BUF struct buf b = BUF_INIT(1u << 20);
		struct slice content;
		struct zip again;
		ck_assert_uint_lt(max, 1u << 16);
		err = zip_open(&arena, z.bytes, &again, &why);
		for (uint32_t i = 0; err == 0 && i < again.count; i++)
			err = zip_read(&arena, &again, &again.entries[i], &content, &why);
		struct zip_writer *w = err != 0 ? NULL : zip_writer_new(&arena, &b, SLICE(""), 0);
		if (w == NULL) {
			ck_assert_int_eq(arena.err, -ENOMEM);
			err = -ENOMEM;
			continue;
		}
		zip_copy(w, &again.entries[0]);
		zip_replace(w, &again.entries[1], slice_str(words), 6);
		zip_add(w, SLICE("x"), slice_str(words), 6);
		err = zip_finish(w, SLICE(""), &why);
	}
	ck_assert_int_eq(err, 0);
}
END_TEST

TEST_MAIN("dvm/zip", what_is_written_is_read, one_entry_is_replaced_and_the_others_stay_as_they_lie, a_copy_of_all_is_the_same_file,
	  the_first_error_of_a_writer_is_told_at_the_end, names_are_of_limited_length, short_memory_is_an_error_at_every_step)
