#include "dvm/container/walk.h"

#include <errno.h>

#include "base/test.h"
#include "dvm/container/container_limits.h"
#include "dvm/container/jimage_sample.h"
#include "dvm/container/zip.h"

static struct errmsg why;
#define CLASS "\xca\xfe\xba\xbe"

struct seen {
	struct buf text;
	int stop_after;
};

static int visit(void *user, const struct class_found *f)
{
	struct seen *s = user;

	buf_printf(&s->text, "%.*s=%.*s/%u ", SLICE_FMT(f->path), SLICE_FMT(f->name), f->version);
	return s->stop_after > 0 && --s->stop_after == 0 ? 42 : 0;
}

static void refused(void *user, struct slice path, int err, const char *text)
{
	struct seen *s = user;

	ck_assert(err < 0 && text[0] != '\0');
	buf_printf(&s->text, "!%.*s ", SLICE_FMT(path));
}

static int walk(struct slice bytes, struct seen *s, uint64_t budget, bool tell)
{
	struct class_walk w = { .user = s, .visit = visit, .refused = tell ? refused : NULL, .bytes_left = budget };

	buf_reset(&s->text);
	return class_walk(bytes, &w, &why);
}

/* A jar with a class of its own and one entry more. */
static void jar_with(struct buf *out, const char *name, struct slice content)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct zip_writer *w = zip_writer_new(&arena, out, SLICE(""), 0);

	zip_add(w, SLICE("META-INF/MANIFEST.MF"), SLICE("Multi-Release: true\n"), 6);
	zip_add(w, SLICE("p/A.class"), SLICE(CLASS), 0);
	zip_add(w, SLICE("p/words.txt"), SLICE("words"), 0);
	zip_add(w, SLICE("META-INF/versions/11/p/A.class"), SLICE(CLASS), 0);
	zip_add(w, slice_str(name), content, 6);
	ck_assert_int_eq(zip_finish(w, SLICE(""), &why), 0);
}

START_TEST(classes_are_found_in_whatever_holds_them)
{
	struct seen s = { .text = BUF_INIT(10000) };
	AUTO_BUF struct buf inner = BUF_INIT(10000), outer = BUF_INIT(10000), bad = BUF_INIT(10000), image = BUF_INIT(1u << 20);

	ck_assert_int_eq(walk(SLICE(CLASS), &s, 0, true), 0);
	ck_assert_str_eq(buf_cstr(&s.text), "=/0 ");
	jar_with(&inner, "q/B.class", SLICE(CLASS));
	jar_with(&outer, "lib/i.jar", buf_slice(&inner));
	static const char *const all = "p/A.class=p/A/0 META-INF/versions/11/p/A.class=p/A/11 lib/i.jar!/p/A.class=p/A/0 "
				       "lib/i.jar!/META-INF/versions/11/p/A.class=p/A/11 lib/i.jar!/q/B.class=q/B/0 ";
	ck_assert_int_eq(walk(buf_slice(&outer), &s, 1000000, true), 0);
	ck_assert_str_eq(buf_cstr(&s.text), all);
	s.stop_after = 2;
	ck_assert_int_eq(walk(buf_slice(&outer), &s, 1000000, true), 42);
	ck_assert_int_eq(walk(buf_slice(&outer), &s, 100, true), -E2BIG);
	jar_with(&bad, "lib/i.jar", SLICE("PK\3\4 no jar"));
	ck_assert_int_eq(walk(buf_slice(&bad), &s, 1000000, true), 0);
	ck_assert_str_eq(buf_cstr(&s.text), "p/A.class=p/A/0 META-INF/versions/11/p/A.class=p/A/11 !lib/i.jar ");
	ck_assert_int_eq(walk(buf_slice(&bad), &s, 1000000, false), -EBADMSG);
	sample_image(&image, false, sample_entries, ARRAY_LEN(sample_entries));
	ck_assert_int_eq(walk(buf_slice(&image), &s, 1000000, true), 0);
	ck_assert_str_eq(buf_cstr(&s.text), "/m/p/A.class=p/A/0 /m/p/q/B.class=p/q/B/0 ");
	ck_assert_int_eq(walk(SLICE("#!/bin/sh\n"), &s, 1000000, true), -EBADMSG);
	buf_done(&s.text);
}
END_TEST

START_TEST(jars_within_jars_end_at_a_depth)
{
	struct seen s = { .text = BUF_INIT(10000) };
	struct buf one = BUF_INIT(100000), two = BUF_INIT(100000);

	jar_with(&one, "x.jar", SLICE("no"));
	for (int depth = 0; depth <= WALK_DEPTH_MAX; depth++) {
		buf_reset(&two);
		jar_with(&two, "n.jar", buf_slice(&one));
		struct buf swap = one;
		one = two;
		two = swap;
	}
	ck_assert_int_eq(walk(buf_slice(&one), &s, 1000000, true), 0);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&s.text), "!n.jar!/n.jar!/n.jar "));
	buf_done(&one);
	buf_done(&two);
	buf_done(&s.text);
}
END_TEST

TEST_MAIN("dvm/walk", classes_are_found_in_whatever_holds_them, jars_within_jars_end_at_a_depth)
