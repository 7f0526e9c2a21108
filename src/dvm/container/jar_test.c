#include "dvm/container/jar.h"

#include <errno.h>

#include "base/test.h"
#include "dvm/container/container_limits.h"

static struct errmsg why;

START_TEST(a_manifest_is_read)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct jar_manifest m;
	static const struct slice text = SLICE_INIT("Manifest-Version: 1.0\r\nClass-Path: a.jar \r\n b.jar\r\n  c.jar\nmain-class: p.Main\r\r\n"
						    "Name: p/B.class\nSHA-256-Digest: abc=\n\n\nName: p/A\n .class\nX: \n");

	ck_assert_msg(jar_manifest_parse(&arena, text, &m, &why) == 0, "%s", why.text);
	ck_assert_slice_eq(jar_attribute(&m.main, SLICE("CLASS-PATH")), SLICE("a.jar b.jar c.jar"));
	ck_assert_slice_eq(jar_attribute(&m.main, SLICE("Main-Class")), SLICE("p.Main"));
	ck_assert(jar_attribute(&m.main, SLICE("Sealed")).ptr == NULL);
	ck_assert_uint_eq(m.count, 2);
	ck_assert_slice_eq(m.sections[0].entry, SLICE("p/A.class"));
	ck_assert_slice_eq(jar_attribute(jar_section(&m, SLICE("p/B.class")), SLICE("sha-256-digest")), SLICE("abc="));
	ck_assert(jar_section(&m, SLICE("p/C.class")) == NULL);
	ck_assert(jar_attribute(jar_section(&m, SLICE("p/A.class")), SLICE("X")).len == 0);
	ck_assert_int_eq(jar_manifest_parse(&arena, SLICE(""), &m, &why), 0);
	ck_assert_uint_eq(m.main.count + m.count, 0);
}
END_TEST

START_TEST(manifests_that_readers_would_read_differently_are_refused)
{
	static const char *const bad[] = {
		"A", "A:", "A:b\n", ": b\n", " A: b\n", "A b: c\n", "A: b\nA: c\n", "A: b\na: c\n", "A: b\n\nB: c\n", "A: b\n\nName: x\n\nName: x\n",
		"\xef\xbb\xbf" "A: b\n", "A\xc3\xa4: b\n", "A: b\n\nName: x\nName: y\n",
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
		struct jar_manifest m;
		ck_assert_msg(jar_manifest_parse(&arena, slice_str(bad[i]), &m, &why) == -EBADMSG, "%s", bad[i]);
	}
}
END_TEST

START_TEST(limits_of_a_manifest_hold_at_their_edge)
{
	for (int over = 0; over < 2; over++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
		AUTO_BUF struct buf many = BUF_INIT(1u << 20), name = BUF_INIT(1000);
		struct jar_manifest m;
		for (int i = 0; i < JAR_SECTION_ATTRIBUTES_MAX + over; i++)
			buf_printf(&many, "A%d: b\n", i);
		ck_assert_int_eq(jar_manifest_parse(&arena, buf_slice(&many), &m, &why), over != 0 ? -E2BIG : 0);
		buf_fill(&name, 'a', (size_t)(JAR_ATTRIBUTE_NAME_MAX + over));
		buf_adds(&name, ": b\n");
		ck_assert_int_eq(jar_manifest_parse(&arena, buf_slice(&name), &m, &why), over != 0 ? -EBADMSG : 0);
	}
}
END_TEST

/* Names separated by spaces; the manifest as given (NULL: none). */
static int facts(struct arena *arena, const char *manifest, const char *names, struct jar *out)
{
	AUTO_BUF struct buf b = BUF_INIT(1u << 20);
	struct zip_writer *w = zip_writer_new(arena, &b, SLICE(""), 0);
	struct zip *z = ARENA_NEW(arena, struct zip);
	struct slice rest = slice_str(names), name;

	if (manifest != NULL)
		zip_add(w, SLICE("META-INF/MANIFEST.MF"), slice_str(manifest), 6);
	for (bool more = rest.len > 0; more;) {
		more = slice_cut(rest, ' ', &name, &rest);
		zip_add(w, name, slice_ends(name, SLICE("/")) ? SLICE("") : SLICE("x"), 0);
	}
	ck_assert_msg(zip_finish(w, SLICE(""), &why) == 0, "%s", why.text);
	ck_assert_msg(zip_open(arena, arena_dup(arena, buf_slice(&b)), z, &why) == 0, "%s", why.text);
	return jar_open(arena, z, out, &why);
}

START_TEST(signed_multi_release_and_nested_jars_are_told)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct jar jar;

	ck_assert_int_eq(facts(&arena, "A: b\nMulti-Release: TRUE\n\nName: a/B.class\nSHA-256-Digest: x\n",
			       "a/B.class META-INF/versions/9/a/B.class META-INF/versions/8/a/B.class META-INF/versions/11/module-info.class META-INF/K.SF "
			       "META-INF/k.rsa BOOT-INF/lib/c.jar d/", &jar), 0);
	ck_assert(jar.multi_release && jar.is_signed && jar.has_module_info && jar.has_manifest && !jar.has_agent);
	ck_assert_uint_eq(jar.digests, 1);
	ck_assert_uint_eq(jar.nested, 1);
	ck_assert_uint_eq(jar.versions, 2);
	struct jar_entry e = jar_entry_of(&jar, zip_find(jar.zip, SLICE("META-INF/versions/9/a/B.class")));
	ck_assert(e.kind == JAR_VERSIONED_CLASS && e.version == 9);
	ck_assert_slice_eq(e.class_name, SLICE("a/B"));
	ck_assert_int_eq(jar_entry_of(&jar, zip_find(jar.zip, SLICE("META-INF/K.SF"))).kind, JAR_SIGNATURE);
	ck_assert_int_eq(jar_entry_of(&jar, zip_find(jar.zip, SLICE("d/"))).kind, JAR_DIRECTORY);
	/* Half a signature is none; a blank more, and a JVM does not take it for a multi-release jar. */
	ck_assert_int_eq(facts(&arena, "Multi-Release: true \nLauncher-Agent-Class: p.A\n", "META-INF/K.SF META-INF/versions/9/a/B.class module-info.class "
			       "BOOT-INF/classes/p/C.class META-INF/sub/X.RSA", &jar), 0);
	ck_assert(!jar.multi_release && !jar.is_signed && jar.has_module_info && jar.has_agent);
	e = jar_entry_of(&jar, zip_find(jar.zip, SLICE("META-INF/versions/9/a/B.class")));
	ck_assert_int_eq(e.kind, JAR_CLASS);
	ck_assert_slice_eq(e.class_name, SLICE("META-INF/versions/9/a/B"));
	ck_assert_slice_eq(jar_entry_of(&jar, zip_find(jar.zip, SLICE("BOOT-INF/classes/p/C.class"))).class_name, SLICE("p/C"));
	ck_assert_int_eq(facts(&arena, NULL, "a", &jar), 0);
	ck_assert(!jar.has_manifest);
	ck_assert_int_eq(facts(&arena, "A: b\n", "META-INF/manifest.mf", &jar), -EBADMSG);
}
END_TEST

START_TEST(short_memory_is_an_error_at_every_step)
{
	int err = -ENOMEM;

	for (size_t max = 0; err == -ENOMEM; max += 16) {
		AUTO_ARENA struct arena arena = ARENA_INIT(max);
		struct jar_manifest m;
		ck_assert_uint_lt(max, 1u << 16);
		err = jar_manifest_parse(&arena, SLICE("A: b\n c\n\nName: x\nY: z\n"), &m, &why);
	}
	ck_assert_int_eq(err, 0);
}
END_TEST

TEST_MAIN("dvm/jar", a_manifest_is_read, manifests_that_readers_would_read_differently_are_refused, limits_of_a_manifest_hold_at_their_edge,
	  signed_multi_release_and_nested_jars_are_told, short_memory_is_an_error_at_every_step)
