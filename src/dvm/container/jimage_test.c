#include "dvm/container/jimage.h"

#include <errno.h>
#include <libdeflate.h>

#include "base/test.h"
#include "dvm/container/container_limits.h"
#include "dvm/container/jimage_sample.h"

static struct errmsg why;

static int open_sample(struct arena *arena, struct buf *b, struct jimage *image)
{
	return jimage_open(arena, buf_slice(b), image, &why);
}

static struct slice content_of(struct arena *arena, const struct jimage *image, const char *path)
{
	const struct jimage_resource *r = jimage_find(image, slice_str(path));
	struct slice out = { 0 };

	ck_assert_msg(r != NULL, "%s is not there", path);
	ck_assert_msg(jimage_read(arena, image, r, &out, &why) == 0, "%s: %s", path, why.text);
	return out;
}

static uint32_t number(const struct jimage *image, const uint8_t *p)
{
	return image->big_endian ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]
				 : (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

/* "a b": the last names of what a directory lists. */
static void lists(struct arena *arena, const struct jimage *image, const char *path, const char *want)
{
	AUTO_BUF struct buf got = BUF_INIT(1000);
	struct slice content = content_of(arena, image, path);

	for (size_t i = 0; i < content.len; i += 4) {
		bool found = false;
		for (uint32_t j = 0; j < image->count; j++)
			if (image->resources[j].location == number(image, content.ptr + i)) {
				buf_add(&got, i > 0 ? SLICE(" ") : SLICE(""));
				jimage_path(&got, &image->resources[j]);
				found = true;
			}
		ck_assert_msg(found, "%s lists what is not there", path);
	}
	ck_assert_str_eq(buf_cstr(&got), want);
}

/* Modules of a package: "+m" has something in it, "-m" below it. */
static void package(struct arena *arena, const struct jimage *image, const char *path, const char *want)
{
	AUTO_BUF struct buf got = BUF_INIT(1000);
	struct slice content = content_of(arena, image, path);

	for (size_t i = 0; i < content.len; i += 8) {
		buf_addc(&got, number(image, content.ptr + i) == 0 ? '+' : '-');
		buf_adds(&got, (const char *)image->strings.ptr + number(image, content.ptr + i + 4));
	}
	ck_assert_str_eq(buf_cstr(&got), want);
}

START_TEST(an_image_is_read_in_both_byte_orders)
{
	for (int big = 0; big < 2; big++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
		AUTO_BUF struct buf b = BUF_INIT(1u << 20), path = BUF_INIT(100);
		struct jimage image;
		sample_image(&b, big != 0, sample_entries, ARRAY_LEN(sample_entries));
		ck_assert_msg(open_sample(&arena, &b, &image) == 0, "%s", why.text);
		ck_assert_uint_eq(image.count, ARRAY_LEN(sample_entries));
		ck_assert_int_eq(image.big_endian, big);
		ck_assert_slice_eq(content_of(&arena, &image, "/m/p/A.class"), SLICE("class A"));
		ck_assert_slice_eq(content_of(&arena, &image, "/m/p/q/B.class"), SLICE("class B!"));
		lists(&arena, &image, "/modules/m/p", "/m/p/A.class /modules/m/p/q");
		const struct jimage_resource *r = jimage_find(&image, SLICE("/m/p/q/B.class"));
		ck_assert_slice_eq(r->parent, SLICE("p/q"));
		jimage_path(&path, r);
		ck_assert_slice_eq(buf_slice(&path), SLICE("/m/p/q/B.class"));
		ck_assert(jimage_is_class(r) && !jimage_is_directory(r));
		ck_assert(jimage_is_directory(jimage_find(&image, SLICE("/packages/p"))));
		static const char *const absent[] = { "", "/", "/m/p/A", "/m/p/A.clas", "/m/p/A.classes", "m/p/A.class", "/m/p/q", "/m/p.A.class" };
		for (size_t i = 0; i < ARRAY_LEN(absent); i++)
			ck_assert(jimage_find(&image, slice_str(absent[i])) == NULL);
	}
}
END_TEST

static void packed_header(struct buf *b, uint64_t packed, uint64_t bytes, uint32_t way)
{
	buf_be32(b, 0xcafefafa);
	buf_be64(b, packed);
	buf_be64(b, bytes);
	buf_be32(b, way);
	buf_be32(b, 0);
	buf_addc(b, 1);
}

static void zipped(struct buf *b, struct slice content)
{
	uint8_t packed[500];
	struct libdeflate_compressor *c = libdeflate_alloc_compressor(6);
	size_t n = libdeflate_zlib_compress(c, content.ptr, content.len, packed, sizeof(packed));

	libdeflate_free_compressor(c);
	ck_assert_uint_gt(n, 0);
	packed_header(b, n, content.len, 1);
	buf_add(b, slice_of(packed, n));
}

static int read_packed(struct buf *content, uint64_t size, bool *same)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	AUTO_BUF struct buf b = BUF_INIT(1u << 20);
	struct sample_entry e = sample_entries[0];
	struct jimage image;
	struct slice got;

	e.content = buf_slice(content);
	e.packed_size = content->len;
	e.size = size;
	sample_image(&b, true, &e, 1);
	ck_assert_msg(open_sample(&arena, &b, &image) == 0, "%s", why.text);
	int err = jimage_read(&arena, &image, &image.resources[0], &got, &why);
	*same = err == 0 && slice_eq(got, SLICE("class class class class class"));
	return err;
}

START_TEST(packed_resources_are_unpacked_or_refused)
{
	AUTO_BUF struct buf once = BUF_INIT(1000), twice = BUF_INIT(1000), deep = BUF_INIT(1000), other = BUF_INIT(1000);
	bool same;

	zipped(&once, SLICE("class class class class class"));
	ck_assert_int_eq(read_packed(&once, 29, &same), 0);
	ck_assert(same);
	zipped(&twice, buf_slice(&once));
	ck_assert_int_eq(read_packed(&twice, 29, &same), 0);
	ck_assert(same);
	ck_assert_int_eq(read_packed(&once, 28, &same), -EBADMSG);
	ck_assert_int_eq(read_packed(&once, 30, &same), -EBADMSG);
	once.ptr[once.len - 1] ^= 1;		/* the check sum of zlib */
	ck_assert_int_eq(read_packed(&once, 29, &same), -EBADMSG);
	ck_assert_ptr_nonnull(strstr(why.text, "damaged"));
	once.ptr[once.len - 1] ^= 1;
	once.ptr[11]++;				/* more packed bytes than there are */
	ck_assert_int_eq(read_packed(&once, 29, &same), -EBADMSG);
	once.ptr[11]--;
	for (int i = 0; i <= JIMAGE_PACKINGS_MAX; i++) {
		buf_reset(&deep);
		zipped(&deep, i == 0 ? SLICE("class class class class class") : buf_slice(&other));
		buf_reset(&other);
		buf_add(&other, buf_slice(&deep));
		ck_assert_int_eq(read_packed(&deep, 29, &same), i < JIMAGE_PACKINGS_MAX ? 0 : -E2BIG);
	}
	buf_reset(&other);
	packed_header(&other, 4, 29, 5);
	buf_adds(&other, "xxxx");
	ck_assert_int_eq(read_packed(&other, 29, &same), -EOPNOTSUPP);
	ck_assert_ptr_nonnull(strstr(why.text, "compact-cp"));
	other.ptr[23] = 200;			/* a way beyond the strings */
	ck_assert_int_eq(read_packed(&other, 29, &same), -EBADMSG);
}
END_TEST

static const struct {
	const char *name;
	size_t at;			/* of a number in the header or the table, in a sample in big-endian order */
	uint32_t value;
	int want;
} damages[] = {
	{ "another magic", 0, 0xcafebabe, -EBADMSG },
	{ "a newer version", 4, 0x10001, -EOPNOTSUPP },
	{ "a newer major version", 4, 0x20000, -EOPNOTSUPP },
	{ "more resources than the header says", 12, 8, -EBADMSG },
	{ "fewer resources than the header says", 12, 10, -EBADMSG },
	{ "a table as long as the file may not be", 16, JIMAGE_TABLE_MAX, -EBADMSG },
	{ "a table above the limit", 16, JIMAGE_TABLE_MAX + 1, -E2BIG },
	{ "a table longer than it is", 16, 10, -EBADMSG },
	{ "an empty table", 16, 0, -EBADMSG },
	{ "locations longer than the file", 20, 0xffffffff, -EBADMSG },
	{ "strings longer than the file", 24, 0xffffffff, -EBADMSG },
	{ "no strings", 24, 0, -EBADMSG },
	{ "strings that end in the middle of one", 24, 20, -EBADMSG },
	{ "a redirect that leads out of the table", 28, 0x80000000, -EBADMSG },
	{ "a redirect that leads nowhere", 28, 0, -EBADMSG },
	{ "a location beyond them all", 28 + 36, 0xffffff, -EBADMSG },
	{ "a location in another one", 28 + 36, 2, -EBADMSG },
};

START_TEST(damaged_images_are_refused)
{
	AUTO_BUF struct buf sound = BUF_INIT(1u << 20);

	sample_image(&sound, true, sample_entries, ARRAY_LEN(sample_entries));
	for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
		AUTO_BUF struct buf b = BUF_INIT(1u << 20);
		struct jimage image;
		/* Redirect 0 must lead somewhere for its damage to matter: find the first that does. */
		size_t at = damages[i].at;
		for (; at == 28 && sound.ptr[at] == 0 && sound.ptr[at + 1] == 0 && sound.ptr[at + 3] == 0;)
			at += 4;
		buf_add(&b, slice_head(buf_slice(&sound), at));
		buf_be32(&b, damages[i].value);
		buf_add(&b, slice_from(buf_slice(&sound), at + 4));
		why.text[0] = '\0';
		int err = open_sample(&arena, &b, &image);
		ck_assert_msg(err == damages[i].want, "%s: %d, %s", damages[i].name, err, why.text);
		ck_assert_msg(why.text[0] != '\0', "%s: no reason", damages[i].name);
	}
}
END_TEST

START_TEST(images_cut_short_are_refused)
{
	AUTO_BUF struct buf sound = BUF_INIT(1u << 20);

	sample_image(&sound, false, sample_entries, ARRAY_LEN(sample_entries));
	for (size_t len = 0; len < sound.len; len++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
		struct jimage image;
		ck_assert_int_eq(jimage_open(&arena, slice_head(buf_slice(&sound), len), &image, &why), -EBADMSG);
	}
}
END_TEST

START_TEST(resources_that_overlap_or_share_a_name_are_refused)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	AUTO_BUF struct buf b = BUF_INIT(1u << 20);
	struct sample_entry two[2] = { sample_entries[0], sample_entries[1] };
	struct jimage image;

	two[0].size = 8;			/* one byte of the second */
	sample_image(&b, true, two, 2);
	ck_assert_int_eq(open_sample(&arena, &b, &image), -EBADMSG);
	ck_assert_ptr_nonnull(strstr(why.text, "overlaps"));
	buf_reset(&b);
	two[0].size = 0;
	memcpy(two[1].parts, two[0].parts, sizeof(two[0].parts));
	sample_image(&b, true, two, 2);
	ck_assert_int_eq(open_sample(&arena, &b, &image), -EBADMSG);
	ck_assert_ptr_nonnull(strstr(why.text, "does not lead"));
}
END_TEST

/* The sample with these changes, open again. */
static void change(struct arena *arena, bool big, const struct jimage_change *changes, size_t count, struct jimage *out)
{
	AUTO_BUF struct buf b = BUF_INIT(1u << 20), written = BUF_INIT(1u << 20);
	struct jimage image;
	struct jimage_change own[8];

	sample_image(&b, big, sample_entries, ARRAY_LEN(sample_entries));
	struct slice bytes = arena_dup(arena, buf_slice(&b));
	ck_assert_msg(jimage_open(arena, bytes, &image, &why) == 0, "%s", why.text);
	for (size_t i = 0; i < count; i++) {
		own[i] = changes[i];
		/* By path, since the image is made here. */
		if (own[i].resource != NULL) {
			own[i].resource = jimage_find(&image, own[i].resource->base);
			ck_assert_ptr_nonnull(own[i].resource);
		}
	}
	ck_assert_msg(jimage_write(arena, &image, own, count, &written, &why) == 0, "%s", why.text);
	bytes = arena_dup(arena, buf_slice(&written));
	ck_assert_msg(jimage_open(arena, bytes, out, &why) == 0, "%s", why.text);
}
#define AT(path) (&(const struct jimage_resource){ .base = SLICE_INIT(path) })
#define NEW(m, p, b, e) { .module = SLICE_INIT(m), .parent = SLICE_INIT(p), .base = SLICE_INIT(b), .extension = SLICE_INIT(e) }

START_TEST(a_longer_class_moves_the_others)
{
	for (int big = 0; big < 2; big++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
		uint8_t large[70000] = { 7 };
		struct jimage image;
		const struct jimage_change changes[] = { { AT("/m/p/A.class"), .content = slice_of(large, sizeof(large)) } };
		change(&arena, big != 0, changes, 1, &image);
		ck_assert_slice_eq(content_of(&arena, &image, "/m/p/A.class"), slice_of(large, sizeof(large)));
		ck_assert_slice_eq(content_of(&arena, &image, "/m/p/q/B.class"), SLICE("class B!"));
		lists(&arena, &image, "/modules", "/modules/m");
		lists(&arena, &image, "/modules/m/p", "/m/p/A.class /modules/m/p/q");
		package(&arena, &image, "/packages/p", "+m");
	}
}
END_TEST

START_TEST(new_resources_come_with_directories_and_packages)
{
	for (int big = 0; big < 2; big++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
		struct jimage image;
		const struct jimage_change changes[] = {
			{ .name = NEW("m", "p", "0", "class"), .content = SLICE("new") },
			{ .name = NEW("m", "p/r/s", "C", "class"), .content = SLICE("C") },
			{ .name = NEW("m", "p/r/s", "D", "class"), .content = SLICE("") },
			{ .name = NEW("m", "META-INF/x", "words", "txt"), .content = SLICE("words") },
			{ .name = NEW("m", "", "plain", ""), .content = SLICE("plain") },
		};
		change(&arena, big != 0, changes, ARRAY_LEN(changes), &image);
		ck_assert_slice_eq(content_of(&arena, &image, "/m/p/0.class"), SLICE("new"));
		ck_assert_slice_eq(content_of(&arena, &image, "/m/p/r/s/C.class"), SLICE("C"));
		ck_assert_slice_eq(content_of(&arena, &image, "/m/p/r/s/D.class"), SLICE(""));
		ck_assert_slice_eq(content_of(&arena, &image, "/m/p/A.class"), SLICE("class A"));
		lists(&arena, &image, "/modules/m", "/modules/m/META-INF /modules/m/p /m/plain");
		lists(&arena, &image, "/modules/m/p", "/m/p/0.class /m/p/A.class /modules/m/p/q /modules/m/p/r");
		lists(&arena, &image, "/modules/m/p/r/s", "/m/p/r/s/C.class /m/p/r/s/D.class");
		lists(&arena, &image, "/packages", "/packages/p /packages/p.q /packages/p.r /packages/p.r.s");
		package(&arena, &image, "/packages/p", "+m");
		package(&arena, &image, "/packages/p.r", "-m");
		package(&arena, &image, "/packages/p.r.s", "+m");
	}
}
END_TEST

START_TEST(what_is_left_out_takes_empty_directories_with_it)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct jimage image;
	const struct jimage_change first[] = { { AT("/m/p/A.class") } }, second[] = { { AT("/m/p/q/B.class") } };

	change(&arena, false, first, 1, &image);
	ck_assert(jimage_find(&image, SLICE("/m/p/A.class")) == NULL);
	lists(&arena, &image, "/modules/m/p", "/modules/m/p/q");
	package(&arena, &image, "/packages/p", "-m");
	package(&arena, &image, "/packages/p.q", "+m");
	change(&arena, false, second, 1, &image);
	ck_assert(jimage_find(&image, SLICE("/modules/m/p/q")) == NULL);
	ck_assert(jimage_find(&image, SLICE("/packages/p.q")) == NULL);
	lists(&arena, &image, "/modules/m/p", "/m/p/A.class");
	lists(&arena, &image, "/packages", "/packages/p");
}
END_TEST

START_TEST(a_second_rewriting_takes_the_first_back)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	AUTO_BUF struct buf before = BUF_INIT(1u << 20), after = BUF_INIT(1u << 20);
	struct jimage image, longer;
	const struct jimage_change changes[] = { { AT("/m/p/A.class"), .content = SLICE("much longer than it was") } };

	change(&arena, true, NULL, 0, &image);
	buf_add(&before, image.bytes);
	change(&arena, true, changes, 1, &longer);
	const struct jimage_change back[] = { { jimage_find(&longer, SLICE("/m/p/A.class")), .content = SLICE("class A") } };
	ck_assert_int_eq(jimage_write(&arena, &longer, back, 1, &after, &why), 0);
	ck_assert_slice_eq(buf_slice(&after), buf_slice(&before));
}
END_TEST

START_TEST(changes_that_make_no_sense_are_refused)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	AUTO_BUF struct buf b = BUF_INIT(1u << 20);
	struct jimage image;
	struct jimage_plan plan;

	sample_image(&b, false, sample_entries, ARRAY_LEN(sample_entries));
	ck_assert_int_eq(open_sample(&arena, &b, &image), 0);
	const struct jimage_resource *a = jimage_find(&image, SLICE("/m/p/A.class"));
	const struct jimage_change bad[][2] = {
		{ { a, .content = SLICE("x") }, { a, .content = SLICE("y") } },
		{ { a, .content = SLICE("x") }, { jimage_find(&image, SLICE("/modules/m")), .content = SLICE("") } },
		{ { a, .content = SLICE("x") }, { .name = NEW("m", "p", "A", "class"), .content = SLICE("") } },
		{ { a, .content = SLICE("x") }, { .name = NEW("n", "p", "A", "class"), .content = SLICE("") } },
		{ { a, .content = SLICE("x") }, { .name = NEW("m", "p//q", "A", "class"), .content = SLICE("") } },
		{ { a, .content = SLICE("x") }, { .name = NEW("m", "p/", "A", "class"), .content = SLICE("") } },
		{ { a, .content = SLICE("x") }, { .name = NEW("m", "p.q", "C", "class"), .content = SLICE("") } },
		{ { a, .content = SLICE("x") }, { .name = NEW("m", "p", "C/D", "class"), .content = SLICE("") } },
		{ { a, .content = SLICE("x") }, { .name = NEW("m", "p", "C.D", ""), .content = SLICE("") } },
		{ { a, .content = SLICE("x") }, { .name = NEW("m", "p", "", "class"), .content = SLICE("") } },
		{ { a, .content = SLICE("x") }, { .name = NEW("modules", "p", "C", "class"), .content = SLICE("") } },
		{ { a, .content = SLICE("x") }, { .name = NEW("m", "p", "C\0", "class"), .content = SLICE("") } },
		{ { a, .content = SLICE("x") }, { .name = NEW("m", "p", "C", "class") } },
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_msg(jimage_plan(&arena, &image, bad[i], 2, &plan, &why) == -EINVAL, "%zu", i);
	/* A list that names no location. */
	uint8_t *list = memmem(b.ptr, b.len, "class B!", 8);
	list[8] = 0xff;
	ck_assert_int_eq(jimage_plan(&arena, &image, NULL, 0, &plan, &why), -EBADMSG);
	ck_assert_ptr_nonnull(strstr(why.text, "no resource"));
}
END_TEST

START_TEST(short_memory_is_an_error_at_every_step)
{
	AUTO_BUF struct buf b = BUF_INIT(1u << 20);
	const struct jimage_change changes[] = { { .name = NEW("m", "p/r/s", "C", "class"), .content = SLICE("C") } };
	int err = -ENOMEM;

	sample_image(&b, false, sample_entries, ARRAY_LEN(sample_entries));
	for (size_t max = 0; err == -ENOMEM; max += 16) {
		AUTO_ARENA struct arena arena = ARENA_INIT(max);
		struct jimage image;
		struct jimage_plan plan;
		ck_assert_uint_lt(max, 1u << 20);
		err = open_sample(&arena, &b, &image);
		if (err == 0)
			err = jimage_plan(&arena, &image, changes, 1, &plan, &why);
	}
	ck_assert_int_eq(err, 0);
}
END_TEST

TEST_MAIN("dvm/jimage", an_image_is_read_in_both_byte_orders, packed_resources_are_unpacked_or_refused, damaged_images_are_refused,
	  images_cut_short_are_refused, resources_that_overlap_or_share_a_name_are_refused, a_longer_class_moves_the_others,
	  new_resources_come_with_directories_and_packages, what_is_left_out_takes_empty_directories_with_it, a_second_rewriting_takes_the_first_back,
	  changes_that_make_no_sense_are_refused, short_memory_is_an_error_at_every_step)
