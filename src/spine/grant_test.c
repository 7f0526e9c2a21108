/* Grants files: what they allow, and what is refused in them. */
#include "base/test.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>
#include <stdio.h>

#include "spine/grant.h"
#include "spine/spine_limits.h"

static struct arena arena;
static struct buf errors;

/* Parse; errors are in `errors` as text. */
static int parse(const char *text, const struct grants **out)
{
	arena_init(&arena, 8u << 20);
	buf_init(&errors, 1u << 20);
	return grants_parse(&arena, slice_str(text), "g.yaml", out, &errors);
}

static void done(void)
{
	arena_done(&arena);
	buf_done(&errors);
}

static bool has_helper(const struct grant *g, const char *name)
{
	int id = inspect_helper_id(slice_str(name));

	ck_assert_int_ge(id, 0);
	return (g->helpers[id / 64] >> (id % 64) & 1) != 0;
}

START_TEST(an_empty_file_gives_the_defaults)
{
	const struct grants *g;

	ck_assert_int_eq(parse("", &g), 0);
	const struct grant *d = grant_find(g, "router");
	ck_assert_uint_eq(d->verdicts, SPINE_ABORTED | SPINE_DROP | SPINE_PASS | SPINE_TX);
	ck_assert_uint_eq(d->port_count, 0);
	ck_assert_uint_eq(d->instructions_max, 20000);
	ck_assert_uint_eq(d->memory_bytes_max, 16u << 20);
	ck_assert_uint_eq(d->cpu_permille, 0);
	ck_assert(!d->terminal && !d->unbounded && !d->tail_calls);
	ck_assert_ptr_null(d->kfuncs[0]);
	ck_assert_str_eq(d->from, "defaults");
	ck_assert_uint_eq(d->map_types, inspect_default_map_types);
	ck_assert_mem_eq(d->helpers, inspect_default_helpers, sizeof(d->helpers));
	uint8_t key[32] = { 0 };
	ck_assert(!grant_key_trusted(g, key));
	done();
}
END_TEST

START_TEST(an_entry_says_all_that_an_extension_may_do)
{
	const struct grants *g;
	int err = parse("keys: [ 000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F ]\n"
			"extensions:\n"
			"  router:\n"
			"    verdicts: [pass, drop, redirect]\n"
			"    ports: [eth1, eth2.100]\n"
			"    helpers: [fib_lookup, bpf_probe_read_kernel]\n"
			"    kfuncs: [bpf_xdp_metadata_rx_hash]\n"
			"    map-types: [xskmap]\n"
			"    instructions: 5000\n"
			"    cpu: 2.5%\n"
			"    memory: 4 MiB\n"
			"    terminal: true\n"
			"    unbounded: true\n"
			"    tail-calls: true\n"
			"  \"*\":\n"
			"    verdicts: [drop]\n"
			"  other:\n", &g);
	ck_assert_msg(err == 0, "%s", buf_cstr(&errors));
	const struct grant *r = grant_find(g, "router");
	ck_assert_uint_eq(r->verdicts, SPINE_ABORTED | SPINE_PASS | SPINE_DROP | SPINE_REDIRECT);
	ck_assert_uint_eq(r->port_count, 2);
	ck_assert_str_eq(r->ports[1], "eth2.100");
	ck_assert(has_helper(r, "fib_lookup") && has_helper(r, "probe_read_kernel"));
	ck_assert(has_helper(r, "map_lookup_elem"));
	ck_assert_str_eq(r->kfuncs[0], "bpf_xdp_metadata_rx_hash");
	ck_assert_ptr_null(r->kfuncs[1]);
	ck_assert_uint_eq(r->map_types, inspect_default_map_types | 1u << BPF_MAP_TYPE_XSKMAP);
	ck_assert_uint_eq(r->instructions_max, 5000);
	ck_assert_uint_eq(r->cpu_permille, 25);
	ck_assert_uint_eq(r->memory_bytes_max, 4u << 20);
	ck_assert(r->terminal && r->unbounded && r->tail_calls);
	ck_assert_str_eq(r->from, "g.yaml:3");
	ck_assert_uint_eq(grant_find(g, "nobody")->verdicts, SPINE_ABORTED | SPINE_DROP);
	ck_assert_str_eq(grant_find(g, "nobody")->from, "g.yaml:15");
	/* An entry of nothing is the defaults, not "*". */
	ck_assert_uint_eq(grant_find(g, "other")->verdicts, SPINE_ABORTED | SPINE_DROP | SPINE_PASS | SPINE_TX);
	uint8_t key[32];
	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)i;
	ck_assert(grant_key_trusted(g, key));
	key[31] ^= 1;
	ck_assert(!grant_key_trusted(g, key));
	done();
}
END_TEST

static const struct {
	const char *text, *want;
} wrong[] = {
	{ "extension:\n", "g.yaml:1:1: there is no key 'extension'; did you mean 'extensions'?" },
	{ "extensions:\n  a:\n    verdits: [pass]\n", "g.yaml:3:5: there is no grant 'verdits'; did you mean 'verdicts'?" },
	{ "extensions: {a: {verdicts: [pas]}}\n", "did you mean 'pass'?" },
	{ "extensions: {a: {verdicts: pass}}\n", "'verdicts' is a list: verdicts: [pass, drop]" },
	{ "extensions: {a: {verdicts: [[pass]]}}\n", "'verdicts' is a list of plain words" },
	{ "extensions: {a: {helpers: [fib_lokup]}}\n", "did you mean 'fib_lookup'?" },
	{ "extensions: {a: {helpers: [zzzzzzzzzzzzzz]}}\n", "there is no helper 'zzzzzzzzzzzzzz'" },
	{ "extensions: {a: {map-types: [qqqqqqqqqqqqqq]}}\n", "there are hash, array," },
	{ "extensions: {a: {kfuncs: ['a b']}}\n", "'a b' is no name of a kernel function" },
	{ "extensions: {a: {ports: [eth/1]}}\n", "'eth/1' is no name of an interface" },
	{ "extensions: {a: {ports: [eth1, eth1]}}\n", "port 'eth1' stands in this list already" },
	{ "extensions: {a: {ports: ['0123456789abcdef']}}\n", "is no name of an interface" },
	{ "extensions: {a: {instructions: 0}}\n", "'instructions' is a number from 1 to 1000000" },
	{ "extensions: {a: {instructions: 1000001}}\n", "'instructions' is a number from 1 to 1000000" },
	{ "extensions: {a: {instructions: []}}\n", "'instructions' takes one value" },
	{ "extensions: {a: {cpu: 0%}}\n", "'cpu' is a share of each processor" },
	{ "extensions: {a: {cpu: 100.1%}}\n", "'cpu' is a share of each processor" },
	{ "extensions: {a: {cpu: 20}}\n", "'cpu' is a share of each processor" },
	{ "extensions: {a: {memory: 16}}\n", "'memory' is a size like" },
	{ "extensions: {a: {memory: 1025 GiB}}\n", "'memory' is a size like" },
	{ "extensions: {a: {terminal: yes}}\n", "'terminal' is true or false" },
	{ "extensions: {A: {}}\n", "'A' is no name of an extension" },
	{ "extensions: {a: {}, a: {}}\n", "'a' stands in line 1 already" },
	{ "extensions: {a: {cpu: 1%, cpu: 1%}}\n", "'cpu' stands in line 1 already" },
	{ "extensions: {a: [pass]}\n", "'a' holds keys with values" },
	{ "extensions: {[a]: b}\n", "a key must be a plain word" },
	{ "keys: []\nkeys: []\n", "'keys' stands in line 1 already" },
	{ "keys: [12]\n", "a key is 64 hexadecimal digits" },
	{ "extensions: {a: &x {}, b: *x}\n", "anchors (&x) are not supported" },
	{ "extensions: {a: &x {}, b: *x}\n", "aliases (*x) are not supported" },
	{ "extensions: {a: {cpu: !!str 1%}}\n", "tags (" },
	{ "[1]\n", "'a grants file' holds keys with values" },
	{ "---\n---\n", "a second document starts here" },
	{ "extensions: {a\n", "this is not YAML" },
	{ "\textensions:\n", "a tab: YAML wants blanks" },
};

START_TEST(a_mistake_is_told_with_its_place)
{
	const struct grants *g;

	ck_assert_msg(parse(wrong[_i].text, &g) == -EINVAL, "%s", wrong[_i].text);
	ck_assert_msg(strstr(buf_cstr(&errors), wrong[_i].want) != NULL, "%s: %s", wrong[_i].text, buf_cstr(&errors));
	done();
}
END_TEST

START_TEST(all_mistakes_come_at_once)
{
	const struct grants *g;

	ck_assert_int_eq(parse("extensions:\n  a:\n    cpu: 20\n    memory: 16\n  B: {}\nkey: []\n", &g), -EINVAL);
	for (int line = 3; line <= 6; line++) {
		char place[16];
		snprintf(place, sizeof(place), "g.yaml:%d:", line);
		ck_assert_msg(strstr(buf_cstr(&errors), place) != NULL, "%s: %s", place, buf_cstr(&errors));
	}
	ck_assert_ptr_nonnull(strstr(buf_cstr(&errors), "     3 |     cpu: 20\n       |          ^~\n"));
	done();
}
END_TEST

/* head x0: {}, x1: {}, ... tail: `count` numbered items. */
static void many(struct buf *text, const char *head, const char *letter, int digits, const char *end, const char *tail,
		 size_t count)
{
	buf_adds(text, head);
	for (size_t i = 0; i < count; i++)
		buf_printf(text, "%s%0*zu%s, ", letter, digits, i, end);
	buf_adds(text, tail);
}

START_TEST(limits_hold_at_their_maximum)
{
	static const struct {
		const char *head, *letter;
		int digits;
		const char *end, *tail, *want;
		size_t max;
	} rows[] = {
		{ "extensions: {", "x", 1, ": {}", "}\n", "more than 1024 entries", GRANTS_ENTRIES_MAX },
		{ "extensions: {a: {ports: [", "p", 1, "", "]}}\n", "more than 64 ports", GRANT_PORTS_MAX },
		{ "extensions: {a: {kfuncs: [", "k", 1, "", "]}}\n", "'kfuncs' has more than 256 items", GRANT_LIST_MAX },
		{ "keys: [", "", 64, "", "]\n", "more than 64 keys", GRANTS_KEYS_MAX },
	};
	AUTO_BUF struct buf text = BUF_INIT(1u << 20);
	const struct grants *g;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (size_t over = 0; over <= 1; over++) {
			buf_reset(&text);
			many(&text, rows[i].head, rows[i].letter, rows[i].digits, rows[i].end, rows[i].tail,
			     rows[i].max + over);
			int err = parse(buf_cstr(&text), &g);
			ck_assert_int_eq(err, over ? -EINVAL : 0);
			ck_assert(!over || strstr(buf_cstr(&errors), rows[i].want) != NULL);
			done();
		}
	}
}
END_TEST

START_TEST(a_file_that_is_not_there_gives_the_defaults)
{
	const struct grants *g;

	arena_init(&arena, 1u << 20);
	buf_init(&errors, 1000);
	ck_assert_int_eq(grants_load(&arena, "/nonexistent/grants.yaml", &g, &errors), 0);
	ck_assert_str_eq(grant_find(g, "x")->from, "defaults");
	ck_assert_int_eq(grants_load(&arena, "/proc/self", &g, &errors), -EISDIR);
	char path[] = "/tmp/grant_test.XXXXXX";
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(grants_load(&arena, path, &g, &errors), 0);
	ck_assert_int_eq(fchmod(fd, 0666), 0);
	ck_assert_int_eq(grants_load(&arena, path, &g, &errors), -EPERM);
	close(fd);
	unlink(path);
	ck_assert_uint_gt(errors.len, 0);
	done();
}
END_TEST

START_TEST(short_memory_is_an_error_and_no_crash)
{
	static const char text[] = "extensions: {a: {kfuncs: [x, y]}, b: {}}\n";
	const struct grants *g;
	int err = -ENOMEM;

	for (size_t bytes = 0; err == -ENOMEM && bytes < 1u << 20; bytes += 512) {
		arena_init(&arena, bytes);
		buf_init(&errors, 1000);
		err = grants_parse(&arena, slice_str(text), "g", &g, &errors);
		done();
	}
	ck_assert_int_eq(err, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("spine/grant");
	TCase *tcase = tcase_create("spine/grant");

	tcase_set_timeout(tcase, 20);
	tcase_add_test(tcase, an_empty_file_gives_the_defaults);
	tcase_add_test(tcase, an_entry_says_all_that_an_extension_may_do);
	tcase_add_loop_test(tcase, a_mistake_is_told_with_its_place, 0, (int)ARRAY_LEN(wrong));
	tcase_add_test(tcase, all_mistakes_come_at_once);
	tcase_add_test(tcase, limits_hold_at_their_maximum);
	tcase_add_test(tcase, a_file_that_is_not_there_gives_the_defaults);
	tcase_add_test(tcase, short_memory_is_an_error_and_no_crash);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "/dev/stdout");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
