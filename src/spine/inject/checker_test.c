/*
 * Injected objects are proven; injected objects that somebody changed are not. Each of the seeded mutations is found, or left every byte as it
 * was. MUTATE_SEED=n tries others.
 */
#include "spine/inject/checker.h"

#include <errno.h>

#include "spine/inject/inject.h"
#include "spine/inspect/elffile.h"
#include "spine/inspect/testdata/objects.h"

#define MUTATIONS 2000u			/* an object and mode; 14 of them */

static const char *const names[] = {
	TEST_OBJECTS "/redirect.o", TEST_OBJECTS "/jumped.o", TEST_OBJECTS "/update.o", TEST_OBJECTS "/large.o",
	SPINE_OBJECTS "/extensions/router.o", SPINE_OBJECTS "/extensions/filter.o", SPINE_OBJECTS "/extensions/kv.o",
};

struct subject {
	struct arena arena;
	struct inject_spec spec;
	struct slice original;
	struct buf injected;
};

static void make(struct subject *s, const char *path, bool trial)
{
	struct inject_report report;
	struct errmsg why = { 0 };
	int32_t answer;

	*s = (struct subject){ .arena = ARENA_INIT(256u << 20), .injected = BUF_INIT(16u << 20), .spec.trial = trial };
	for (int helper = 1; helper < 64 * INSPECT_HELPER_WORDS; helper++) {
		if (inject_helper_refusal(helper, &answer))
			s->spec.helpers[helper / 64] |= UINT64_C(1) << helper % 64;
	}
	s->original = read_object(path);
	ck_assert_msg(inject_checks(&s->arena, s->original, &s->spec, &s->injected, &report, &why) == 0, "%s", why.text);
	ck_assert(report.changed);
}

static void unmake(struct subject *s)
{
	free((void *)(uintptr_t)s->original.ptr);
	buf_done(&s->injected);
	arena_done(&s->arena);
}

static int prove(const struct subject *s, struct slice injected, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(64u << 20);

	return checker_prove(&arena, s->original, injected, s->spec.helpers, s->spec.trial, why);
}

START_TEST(injected_objects_are_proven)
{
	struct subject s;
	struct errmsg why = { 0 };

	make(&s, _i / 2 == ARRAY_LEN(names) ? TEST_OBJECTS "/far.o" : names[_i / 2], _i % 2 == 1);
	ck_assert_msg(prove(&s, buf_slice(&s.injected), &why) == 0, "%s", why.text);
	/* As it came from the compiler, or with checks of the other mode, it is not. */
	ck_assert_int_eq(prove(&s, s.original, &why), -EBADMSG);
	s.spec.trial = !s.spec.trial;
	ck_assert_int_eq(prove(&s, buf_slice(&s.injected), &why), -EBADMSG);
	unmake(&s);
}
END_TEST

START_TEST(an_object_without_guarded_calls_is_proven_only_as_it_was)
{
	struct subject s;
	struct errmsg why = { 0 };

	make(&s, TEST_OBJECTS "/update.o", false);
	memset(s.spec.helpers, 0, sizeof(s.spec.helpers));
	ck_assert_int_eq(prove(&s, s.original, &why), 0);
	ck_assert_int_eq(prove(&s, buf_slice(&s.injected), &why), -EBADMSG);
	unmake(&s);
}
END_TEST

struct dice {
	uint64_t state;
};

/* xorshift64*, Vigna 2016. */
static size_t roll(struct dice *d, size_t below)
{
	d->state ^= d->state >> 12;
	d->state ^= d->state << 25;
	d->state ^= d->state >> 27;
	return below == 0 ? 0 : (size_t)((d->state * UINT64_C(2685821657736338717) >> 16) % below);
}

static bool is_table(const struct elf_section *s)
{
	return s->type == SHT_REL || s->type == SHT_SYMTAB || strncmp(s->name, ".BTF", 4) == 0;
}

/* A section of code, or of tables, that is not empty. */
static struct slice pick(struct dice *d, const struct elf *e, bool code)
{
	for (;;) {
		const struct elf_section *s = &e->sections[roll(d, e->section_count)];
		if (s->bytes.len >= 16 && (code ? (s->flags & SHF_EXECINSTR) != 0 : is_table(s)))
			return s->bytes;
	}
}

enum { BIT, BYTE, SWAPPED, DROPPED, DOUBLED, TARGET, CONSTANT, REGISTER, OPCODE, TABLE_WORD, TABLE_SWAPPED, HEADER, LENGTH, KINDS };

static void mutate_code(struct dice *d, int kind, uint8_t *code, size_t bytes)
{
	size_t n = bytes / 8, i = roll(d, n), j = roll(d, 2) == 0 ? (i + 1) % n : roll(d, n);
	uint8_t *at = code + 8 * i, saved[8];
	int16_t off;
	int32_t imm;

	switch (kind) {
	case SWAPPED:
		memcpy(saved, at, 8);
		memcpy(at, code + 8 * j, 8);
		memcpy(code + 8 * j, saved, 8);
		break;
	case DROPPED:
		memmove(at, at + 8, bytes - 8 * i - 8);
		break;
	case DOUBLED:
		memmove(at + (i + 1 < n ? 8 : 0), at, bytes - 8 * i - 8);
		break;
	case TARGET:
		memcpy(&off, at + 2, 2);
		off = (int16_t)(off + (int)roll(d, 9) - 4);
		memcpy(at + 2, &off, 2);
		break;
	case CONSTANT:
		memcpy(&imm, at + 4, 4);
		imm = roll(d, 2) == 0 ? (int32_t)((uint32_t)imm + roll(d, 9) - 4) : (int32_t)(1u << roll(d, 32));
		memcpy(at + 4, &imm, 4);
		break;
	case REGISTER:
		at[1] = (uint8_t)(roll(d, 11) | roll(d, 11) << 4);
		break;
	default:
		at[0] = code[8 * j];
		break;
	}
}

static void mutate(struct dice *d, int kind, const struct elf *e, const uint8_t *base, uint8_t *copy, size_t *len)
{
	struct slice s = pick(d, e, (kind <= BYTE && roll(d, 2) == 0) || (kind > BYTE && kind < TABLE_WORD));
	uint8_t *at = copy + (s.ptr - base), saved[16];
	size_t i, j;

	switch (kind) {
	case BIT:
		at[roll(d, s.len)] ^= (uint8_t)(1u << roll(d, 8));
		break;
	case BYTE:
		copy[roll(d, *len)] = (uint8_t)roll(d, 256);
		break;
	case TABLE_WORD:
		at[roll(d, s.len / 4) * 4] += (uint8_t)(8 * roll(d, 32));
		break;
	case TABLE_SWAPPED:
		i = roll(d, s.len / 16);
		j = roll(d, s.len / 16);
		memcpy(saved, at + 16 * i, 16);
		memcpy(at + 16 * i, at + 16 * j, 16);
		memcpy(at + 16 * j, saved, 16);
		break;
	case HEADER:
		i = roll(d, e->section_count + 1);
		copy[i == 0 ? roll(d, 64) : *len - 64 * i + roll(d, 64)] ^= (uint8_t)(1u << roll(d, 8));
		break;
	case LENGTH:
		*len = roll(d, 2) == 0 ? roll(d, *len) : *len + 1 + roll(d, 8);
		break;
	default:
		mutate_code(d, kind, at, s.len);
		break;
	}
}

START_TEST(every_mutation_is_found)
{
	struct subject s;
	struct elf e;
	struct errmsg why = { 0 };
	const char *seed = getenv("MUTATE_SEED");
	struct dice d = { (seed == NULL ? UINT64_C(1) : (uint64_t)strtoull(seed, NULL, 10)) * UINT64_C(0x9e3779b97f4a7c15) + (uint64_t)_i };
	unsigned found = 0, same = 0;

	make(&s, names[_i / 2], _i % 2 == 1);
	struct slice base = buf_slice(&s.injected);
	uint8_t *copy = malloc(base.len + 16);
	ck_assert_ptr_nonnull(copy);
	ck_assert_int_eq(elf_parse(&s.arena, base, &e, &why), 0);
	for (unsigned i = 0; i < MUTATIONS; i++) {
		int kind = (int)(i % KINDS);
		size_t len = base.len;
		memset(copy + len, 0, 16);
		memcpy(copy, base.ptr, len);
		mutate(&d, kind, &e, base.ptr, copy, &len);
		if (slice_eq(base, slice_of(copy, len))) {
			same++;
			continue;
		}
		int err = prove(&s, slice_of(copy, len), &why);
		ck_assert_msg(err == -EBADMSG, "%s, mutation %u of kind %d: %d", names[_i / 2], i, kind, err);
		found++;
	}
	printf("# %s%s: %u mutations found, %u left every byte as it was\n", names[_i / 2], _i % 2 == 1 ? " on trial" : "", found, same);
	ck_assert_uint_gt(found, MUTATIONS * 3 / 4);
	free(copy);
	unmake(&s);
}
END_TEST

START_TEST(without_memory_nothing_is_proven)
{
	struct subject s;
	struct errmsg why = { 0 };
	int err = -ENOMEM;

	make(&s, TEST_OBJECTS "/large.o", true);
	for (size_t limit = 0; err != 0; limit += 4096) {
		AUTO_ARENA struct arena arena = ARENA_INIT(limit);
		err = checker_prove(&arena, s.original, buf_slice(&s.injected), s.spec.helpers, s.spec.trial, &why);
		ck_assert(err == 0 || err == -ENOMEM);
	}
	unmake(&s);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("spine/checker");
	TCase *tcase = tcase_create("spine/checker");

	tcase_set_timeout(tcase, 110);
	tcase_add_loop_test(tcase, injected_objects_are_proven, 0, 2 * ((int)ARRAY_LEN(names) + 1));
	tcase_add_test(tcase, an_object_without_guarded_calls_is_proven_only_as_it_was);
	tcase_add_loop_test(tcase, every_mutation_is_found, 0, 2 * (int)ARRAY_LEN(names));
	tcase_add_test(tcase, without_memory_nothing_is_proven);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "/dev/stdout");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
