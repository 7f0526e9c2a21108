#include "engine/conformance.h"

#include <stdio.h>
#include <stdlib.h>

#define EXPECT(cond)                                                                               \
	do {                                                                                       \
		if (!(cond))                                                                       \
			return "line " EXPECT_LINE(__LINE__) ": " #cond;                           \
	} while (0)
#define EXPECT_LINE(n) EXPECT_TEXT(n)
#define EXPECT_TEXT(n) #n

#define STEPS(...) (const struct engine_step[]){ __VA_ARGS__ }
#define DO(e, name, ...)                                                                           \
	engine_apply((e), &(struct engine_op){ .object = SLICE(name),                              \
					       .steps = STEPS(__VA_ARGS__),                        \
					       .count = sizeof(STEPS(__VA_ARGS__)) /               \
							sizeof(struct engine_step) })
#define SET(k, v)	  { .kind = STEP_SET, .key = SLICE_INIT(k), .value = SLICE_INIT(v) }
#define DELETE(k)	  { .kind = STEP_DELETE, .key = SLICE_INIT(k) }
#define WRITE(pos, bytes) { .kind = STEP_WRITE, .at = (pos), .value = SLICE_INIT(bytes) }
#define REMOVE()	  { .kind = STEP_REMOVE }
#define EXISTS()	  { .kind = GUARD_EXISTS }
#define ABSENT()	  { .kind = GUARD_ABSENT }
#define EQUALS(k, v)	  { .kind = GUARD_KEY_EQUALS, .key = SLICE_INIT(k), .value = SLICE_INIT(v) }
#define KEY_ABSENT(k)	  { .kind = GUARD_KEY_ABSENT, .key = SLICE_INIT(k) }
#define LENGTH(n)	  { .kind = GUARD_LENGTH, .at = (n) }

/* "k=v,k=v" of an object's keys in [from, to), "+" at the end when there are more. */
static const char *dump(struct engine *e, struct slice object, struct slice from, struct slice to,
			size_t max_count, char out[512])
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct engine_kv *kv = NULL;
	size_t n = 0, at = 0;
	bool more = false;

	out[0] = '\0';
	if (engine_keys(e, object, from, to, max_count, 1u << 20, &arena, &kv, &n, &more) !=
	    ENGINE_OK)
		return "failed";
	for (size_t i = 0; i < n && at < 400; i++)
		at += (size_t)snprintf(out + at, 512 - at, "%s%.*s=%.*s", i > 0 ? "," : "",
				       SLICE_FMT(kv[i].key), SLICE_FMT(kv[i].value));
	if (more)
		snprintf(out + at, 512 - at, "+");
	return out;
}

static bool keys_are(struct engine *e, const char *object, const char *want)
{
	char out[512];

	return strcmp(dump(e, slice_str(object), slice_of(NULL, 0), slice_of(NULL, 0), 100, out),
		      want) == 0;
}

static bool bytes_are(struct engine *e, const char *object, uint64_t at, size_t n, const char *want)
{
	AUTO_BUF struct buf b = BUF_INIT(1u << 20);

	return engine_read(e, slice_str(object), at, n, &b) == ENGINE_OK &&
	       slice_eq(buf_slice(&b), slice_str(want));
}

static bool stat_is(struct engine *e, const char *object, bool exists, uint64_t length)
{
	struct engine_stat st = { 0 };

	return engine_stat(e, slice_str(object), &st) == ENGINE_OK && st.exists == exists &&
	       st.length == length;
}

static const char *what_was_set_is_read(struct engine *e)
{
	EXPECT(DO(e, "a.1", SET("k", "v"), SET("b", ""), WRITE(0, "hello ")) == ENGINE_OK);
	EXPECT(DO(e, "a.1", WRITE(6, "world"), SET("k", "w")) == ENGINE_OK);
	EXPECT(keys_are(e, "a.1", "b=,k=w"));
	EXPECT(stat_is(e, "a.1", true, 11));
	EXPECT(bytes_are(e, "a.1", 0, 100, "hello world"));
	EXPECT(bytes_are(e, "a.1", 4, 4, "o wo"));
	EXPECT(bytes_are(e, "a.1", 6, 5, "world"));
	EXPECT(bytes_are(e, "a.1", 11, 5, ""));
	EXPECT(bytes_are(e, "a.1", 99, 5, ""));
	EXPECT(bytes_are(e, "a.1", 0, 0, ""));
	return NULL;
}

static const char *an_absent_object_has_no_bytes_and_no_keys(struct engine *e)
{
	AUTO_BUF struct buf b = BUF_INIT(100);

	EXPECT(stat_is(e, "none", false, 0));
	EXPECT(engine_read(e, SLICE("none"), 0, 10, &b) == ENGINE_ABSENT);
	EXPECT(keys_are(e, "none", ""));
	EXPECT(DO(e, "none", REMOVE()) == ENGINE_OK);
	EXPECT(stat_is(e, "none", false, 0));
	return NULL;
}

static const char *the_first_effect_makes_the_object(struct engine *e)
{
	EXPECT(DO(e, "x1", WRITE(0, "")) == ENGINE_OK && stat_is(e, "x1", true, 0));
	EXPECT(DO(e, "x2", DELETE("k")) == ENGINE_OK && stat_is(e, "x2", true, 0));
	EXPECT(DO(e, "x3", SET("k", ""), DELETE("k")) == ENGINE_OK && stat_is(e, "x3", true, 0));
	EXPECT(keys_are(e, "x3", ""));
	EXPECT(DO(e, "x4", ABSENT()) == ENGINE_OK && stat_is(e, "x4", false, 0));
	return NULL;
}

static const char *a_guard_that_fails_leaves_everything(struct engine *e)
{
	EXPECT(DO(e, "g", SET("k", "1"), WRITE(0, "abc")) == ENGINE_OK);
	EXPECT(DO(e, "g", ABSENT(), SET("k", "2")) == ENGINE_GUARD);
	EXPECT(DO(e, "h", EXISTS(), SET("k", "2")) == ENGINE_GUARD);
	EXPECT(DO(e, "g", EQUALS("k", "0"), SET("k", "2")) == ENGINE_GUARD);
	EXPECT(DO(e, "g", EQUALS("k", ""), SET("k", "2")) == ENGINE_GUARD);
	EXPECT(DO(e, "g", EQUALS("j", ""), SET("k", "2")) == ENGINE_GUARD);
	EXPECT(DO(e, "g", KEY_ABSENT("k"), SET("k", "2")) == ENGINE_GUARD);
	EXPECT(DO(e, "g", LENGTH(2), SET("k", "2")) == ENGINE_GUARD);
	EXPECT(DO(e, "h", LENGTH(1), SET("k", "2")) == ENGINE_GUARD);
	EXPECT(DO(e, "g", SET("k", "2"), WRITE(2, "x")) == ENGINE_GUARD);
	EXPECT(DO(e, "g", WRITE(4, "x")) == ENGINE_GUARD);
	EXPECT(DO(e, "g", EQUALS("k", "1"), LENGTH(2), SET("k", "2")) == ENGINE_GUARD);
	EXPECT(stat_is(e, "h", false, 0));
	EXPECT(keys_are(e, "g", "k=1") && bytes_are(e, "g", 0, 9, "abc"));
	return NULL;
}

static const char *guards_that_hold_let_the_effects_through(struct engine *e)
{
	EXPECT(DO(e, "g", ABSENT(), LENGTH(0), KEY_ABSENT("k"), SET("k", "1")) == ENGINE_OK);
	EXPECT(DO(e, "g", EXISTS(), EQUALS("k", "1"), SET("k", "2"), SET("l", "")) == ENGINE_OK);
	EXPECT(DO(e, "g", EQUALS("l", ""), WRITE(0, "ab"), WRITE(2, "cd")) == ENGINE_OK);
	EXPECT(DO(e, "g", LENGTH(4), DELETE("l")) == ENGINE_OK);
	EXPECT(keys_are(e, "g", "k=2") && bytes_are(e, "g", 1, 2, "bc"));
	return NULL;
}

static const char *a_large_value_can_be_guarded_on(struct engine *e)
{
	static uint8_t big[ENGINE_VALUE_BYTES_MAX];
	struct engine_step set = { .kind = STEP_SET,
				   .key = SLICE_INIT("k"),
				   .value = { big, sizeof(big) } };
	struct engine_step steps[2] = { { .kind = GUARD_KEY_EQUALS,
					  .key = SLICE_INIT("k"),
					  .value = { big, sizeof(big) } },
					{ .kind = STEP_SET,
					  .key = SLICE_INIT("k"),
					  .value = SLICE_INIT("small") } };
	struct engine_op op = { .object = SLICE_INIT("big"), .steps = &set, .count = 1 };

	memset(big, 'x', sizeof(big));
	EXPECT(engine_apply(e, &op) == ENGINE_OK);
	op.steps = steps;
	op.count = 2;
	big[60000] = 'y';
	EXPECT(engine_apply(e, &op) == ENGINE_GUARD);
	big[60000] = 'x';
	EXPECT(engine_apply(e, &op) == ENGINE_OK);
	EXPECT(keys_are(e, "big", "k=small"));
	return NULL;
}

static const char *effects_happen_in_their_order(struct engine *e)
{
	EXPECT(DO(e, "o", SET("k", "1"), DELETE("k"), SET("k", "2"), SET("j", "1"), DELETE("j")) ==
	       ENGINE_OK);
	EXPECT(keys_are(e, "o", "k=2"));
	EXPECT(DO(e, "o", DELETE("k"), SET("k", "3"), DELETE("k")) == ENGINE_OK);
	EXPECT(keys_are(e, "o", ""));
	return NULL;
}

static const char *a_removed_object_is_gone_and_can_come_again(struct engine *e)
{
	for (int i = 0; i < 3; i++) {
		EXPECT(DO(e, "r", ABSENT(), SET("old", "1"), WRITE(0, "0123456789")) == ENGINE_OK);
		EXPECT(DO(e, "r", EXISTS(), REMOVE()) == ENGINE_OK);
		EXPECT(stat_is(e, "r", false, 0) && keys_are(e, "r", ""));
		EXPECT(DO(e, "r", ABSENT(), SET("new", "2"), WRITE(0, "ab")) == ENGINE_OK);
		EXPECT(keys_are(e, "r", "new=2") && bytes_are(e, "r", 0, 20, "ab"));
		EXPECT(DO(e, "r", REMOVE()) == ENGINE_OK);
	}
	EXPECT(DO(e, "r1", SET("k", "kept")) == ENGINE_OK);
	EXPECT(keys_are(e, "r1", "k=kept"));
	return NULL;
}

static const char *objects_do_not_share_keys(struct engine *e)
{
	EXPECT(DO(e, "p", SET("k", "1")) == ENGINE_OK);
	EXPECT(DO(e, "p.", SET("k", "2")) == ENGINE_OK);
	EXPECT(DO(e, "p.1", SET("k", "3"), WRITE(0, "x")) == ENGINE_OK);
	EXPECT(DO(e, "p.", REMOVE()) == ENGINE_OK);
	EXPECT(keys_are(e, "p", "k=1") && keys_are(e, "p.1", "k=3") && stat_is(e, "p", true, 0));
	return NULL;
}

static const char *key_ranges_are_half_open_and_in_byte_order(struct engine *e)
{
	char out[512];

	EXPECT(DO(e, "k", SET("b", "2"), SET("a", "1"), SET("\xff", "9"), SET("", "0"),
		  SET("ab", "1b"), SET("c", "3")) == ENGINE_OK);
	EXPECT(keys_are(e, "k", "=0,a=1,ab=1b,b=2,c=3,\xff=9"));
	EXPECT(strcmp(dump(e, SLICE("k"), SLICE("ab"), SLICE("c"), 9, out), "ab=1b,b=2") == 0);
	EXPECT(strcmp(dump(e, SLICE("k"), SLICE("aa"), SLICE("b"), 9, out), "ab=1b") == 0);
	EXPECT(strcmp(dump(e, SLICE("k"), SLICE("a"), slice_of(NULL, 0), 2, out), "a=1,ab=1b+") ==
	       0);
	EXPECT(strcmp(dump(e, SLICE("k"), SLICE("a"), SLICE("b"), 2, out), "a=1,ab=1b") == 0);
	EXPECT(strcmp(dump(e, SLICE("k"), SLICE("x"), SLICE("b"), 9, out), "") == 0);
	return NULL;
}

static const char *keys_and_values_may_hold_any_byte(struct engine *e)
{
	EXPECT(DO(e, "z", SET("\0\0", "\0"), SET("\0", "a\0b")) == ENGINE_OK);
	EXPECT(DO(e, "z", EQUALS("\0", "a\0b"), EQUALS("\0\0", "\0"), DELETE("\0")) == ENGINE_OK);
	EXPECT(DO(e, "z", KEY_ABSENT("\0"), EQUALS("\0\0", "\0"), SET("x", "y")) == ENGINE_OK);
	return NULL;
}

static const char *names_are_listed_in_order(struct engine *e)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct slice *names = NULL;
	size_t n = 0;

	EXPECT(DO(e, "l.b", SET("k", "")) == ENGINE_OK && DO(e, "l.a", WRITE(0, "x")) == ENGINE_OK);
	EXPECT(DO(e, "l.a.1", SET("k", "")) == ENGINE_OK && DO(e, "m", SET("k", "")) == ENGINE_OK);
	EXPECT(DO(e, "l.c", SET("k", "")) == ENGINE_OK && DO(e, "l.c", REMOVE()) == ENGINE_OK);
	EXPECT(engine_list(e, SLICE("l."), slice_of(NULL, 0), 10, &arena, &names, &n) == ENGINE_OK);
	EXPECT(n == 3 && slice_eq(names[0], SLICE("l.a")) && slice_eq(names[1], SLICE("l.a.1")) &&
	       slice_eq(names[2], SLICE("l.b")));
	EXPECT(engine_list(e, SLICE("l."), SLICE("l.a"), 1, &arena, &names, &n) == ENGINE_OK);
	EXPECT(n == 1 && slice_eq(names[0], SLICE("l.a.1")));
	EXPECT(engine_list(e, SLICE("l."), SLICE("l.b"), 9, &arena, &names, &n) == ENGINE_OK);
	EXPECT(n == 0);
	EXPECT(engine_list(e, slice_of(NULL, 0), slice_of(NULL, 0), 9, &arena, &names, &n) ==
	       ENGINE_OK);
	EXPECT(n == 4 && slice_eq(names[3], SLICE("m")));
	return NULL;
}

static const char *what_is_over_a_limit_is_invalid(struct engine *e)
{
	static uint8_t bytes[ENGINE_OP_BYTES_MAX + 1];
	struct engine_step s = { .kind = STEP_SET };
	struct engine_op op = { .object = SLICE_INIT("v"), .steps = &s, .count = 1 };

	memset(bytes, 'n', sizeof(bytes));
	op.object = slice_of(bytes, ENGINE_NAME_BYTES_MAX);
	EXPECT(engine_apply(e, &op) == ENGINE_OK);
	op.object.len++;
	EXPECT(engine_apply(e, &op) == ENGINE_INVALID);
	op.object.len = 0;
	EXPECT(engine_apply(e, &op) == ENGINE_INVALID);
	op.object = SLICE("v");
	s.key = slice_of(bytes, ENGINE_KEY_BYTES_MAX);
	EXPECT(engine_apply(e, &op) == ENGINE_OK);
	s.key.len++;
	EXPECT(engine_apply(e, &op) == ENGINE_INVALID);
	s.key.len = 1;
	s.value = slice_of(bytes, ENGINE_VALUE_BYTES_MAX);
	EXPECT(engine_apply(e, &op) == ENGINE_OK);
	s.value.len++;
	EXPECT(engine_apply(e, &op) == ENGINE_INVALID);
	s = (struct engine_step){ .kind = STEP_WRITE, .value = { bytes, sizeof(bytes) } };
	EXPECT(engine_apply(e, &op) == ENGINE_INVALID);
	EXPECT(DO(e, "v", SET("a", "b"), EXISTS()) == ENGINE_INVALID);
	EXPECT(DO(e, "v", SET("a", "b"), REMOVE()) == ENGINE_INVALID);
	EXPECT(DO(e, "v", { .kind = (enum engine_step_kind)99 }) == ENGINE_INVALID);
	return NULL;
}

static const char *large_objects_are_read_in_pieces(struct engine *e)
{
	enum { PIECE = 150000, PIECES = 7 };
	static uint8_t bytes[PIECE * PIECES];
	AUTO_BUF struct buf b = BUF_INIT(sizeof(bytes) + 1);

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + i / 251);
	for (size_t i = 0; i < PIECES; i++) {
		struct engine_step s = { .kind = STEP_WRITE,
					 .at = i * PIECE,
					 .value = { bytes + i * PIECE, PIECE } };
		struct engine_op op = { .object = SLICE_INIT("b.1"), .steps = &s, .count = 1 };

		EXPECT(engine_apply(e, &op) == ENGINE_OK);
	}
	EXPECT(engine_read(e, SLICE("b.1"), 0, sizeof(bytes), &b) == ENGINE_OK);
	EXPECT(slice_eq(buf_slice(&b), slice_of(bytes, sizeof(bytes))));
	for (size_t at = 0; at < sizeof(bytes); at += 77777) {
		buf_reset(&b);
		EXPECT(engine_read(e, SLICE("b.1"), at, 70001, &b) == ENGINE_OK);
		EXPECT(slice_eq(buf_slice(&b), slice_sub(slice_of(bytes, sizeof(bytes)), at,
							 at + 70001)));
	}
	return NULL;
}

static void ring_bell(void *arg)
{
	++*(int *)arg;
}

static const char *watchers_hear_of_their_object_only(struct engine *e)
{
	int heard = 0;
	uint64_t id, other;
	struct engine_step s = { .kind = STEP_SET, .key = SLICE_INIT("k") };
	struct engine_op op = { .object = SLICE_INIT("f.1"),
				.steps = &s,
				.count = 1,
				.notify = SLICE_INIT("a.other") };

	EXPECT(engine_watch(e, SLICE("a.1"), ring_bell, &heard, &id) == 0);
	EXPECT(engine_watch(e, SLICE("a.2"), ring_bell, &heard, &other) == 0);
	EXPECT(engine_apply(e, &op) == ENGINE_OK && heard == 0);
	engine_unwatch(e, other);
	op.notify = SLICE("a.2");
	EXPECT(engine_apply(e, &op) == ENGINE_OK && heard == 0);
	engine_unwatch(e, id);
	return NULL;
}

static const char *a_lease_has_one_owner(struct engine *e)
{
	EXPECT(engine_lease(e, SLICE("q.1"), SLICE("me"), 60000000) == ENGINE_OK);
	EXPECT(engine_lease(e, SLICE("q.1"), SLICE("you"), 60000000) == ENGINE_GUARD);
	EXPECT(engine_lease(e, SLICE("q.2"), SLICE("you"), 60000000) == ENGINE_OK);
	EXPECT(engine_lease(e, SLICE("q.1"), SLICE("me"), 60000000) == ENGINE_OK);
	EXPECT(engine_unlease(e, SLICE("q.1"), SLICE("you")) == ENGINE_GUARD);
	EXPECT(engine_unlease(e, SLICE("q.1"), SLICE("me")) == ENGINE_OK);
	EXPECT(engine_lease(e, SLICE("q.1"), SLICE("you"), 0) == ENGINE_OK);
	EXPECT(engine_lease(e, SLICE("q.1"), SLICE("me"), 60000000) == ENGINE_OK);
	return NULL;
}

#define CASE(fn) { #fn, fn }
const struct engine_case engine_cases[] = {
	CASE(what_was_set_is_read),
	CASE(an_absent_object_has_no_bytes_and_no_keys),
	CASE(the_first_effect_makes_the_object),
	CASE(a_guard_that_fails_leaves_everything),
	CASE(guards_that_hold_let_the_effects_through),
	CASE(a_large_value_can_be_guarded_on),
	CASE(effects_happen_in_their_order),
	CASE(a_removed_object_is_gone_and_can_come_again),
	CASE(objects_do_not_share_keys),
	CASE(key_ranges_are_half_open_and_in_byte_order),
	CASE(keys_and_values_may_hold_any_byte),
	CASE(names_are_listed_in_order),
	CASE(what_is_over_a_limit_is_invalid),
	CASE(large_objects_are_read_in_pieces),
	CASE(watchers_hear_of_their_object_only),
	CASE(a_lease_has_one_owner),
};
const size_t engine_case_count = ARRAY_LEN(engine_cases);
