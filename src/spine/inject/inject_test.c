#include "spine/inject/inject.h"

#include <errno.h>

#include <prickle/spine_policy.h>

#include "spine/inspect/testdata/objects.h"

#define MUTATIONS 3000u

static struct inject_spec everything(bool trial)
{
	struct inject_spec spec = { .trial = trial };

	for (int helper = 1; helper < 64 * INSPECT_HELPER_WORDS; helper++) {
		int32_t answer;
		if (inject_helper_refusal(helper, &answer))
			spec.helpers[helper / 64] |= UINT64_C(1) << (helper % 64);
	}
	return spec;
}

static const char *const names[] = {
	TEST_OBJECTS "/redirect.o", TEST_OBJECTS "/update.o", TEST_OBJECTS "/large.o", TEST_OBJECTS "/far.o",
	SPINE_OBJECTS "/extensions/router.o", SPINE_OBJECTS "/extensions/kv.o", SPINE_OBJECTS "/extensions/filter.o",
	SPINE_OBJECTS "/talker-1.o", SPINE_OBJECTS "/inspect/messages.o",
};

static struct slice take_object(struct arena *arena, const char *path)
{
	struct slice file = read_object(path), bytes = arena_dup(arena, file);

	free((void *)(uintptr_t)file.ptr);
	ck_assert_ptr_nonnull(bytes.ptr);
	return bytes;
}

static const struct object *parse(struct arena *arena, struct slice bytes)
{
	const struct object *o = NULL;
	struct errmsg why = { 0 };

	ck_assert_msg(object_parse(arena, bytes, &o, &why) == 0, "%s", why.text);
	return o;
}

static bool of_row(const struct object *o, const struct object_ref *r)
{
	return r->kind == REF_MAP_VALUE && strcmp(o->maps[r->index].name, SPINE_POLICY_SECTION) == 0;
}

/* The next call of a helper that can be guarded. */
static uint32_t next_call(const struct object_program *p, uint32_t i)
{
	int32_t answer;

	for (; i < p->insn_count; i++) {
		const struct bpf_insn *insn = &p->insns[i];
		if (insn->code == (BPF_JMP | BPF_CALL) && insn->src_reg == 0 && inject_helper_refusal(insn->imm, &answer))
			return i;
		i += insn->code == (BPF_LD | BPF_IMM | BPF_DW);
	}
	return p->insn_count;
}

static uint32_t compare_calls(const struct object_program *before, const struct object_program *after)
{
	uint32_t a = 0, b = 0, n = 0;

	for (;; a++, b++, n++) {
		a = next_call(before, a);
		b = next_call(after, b);
		ck_assert_int_eq(a == before->insn_count, b == after->insn_count);
		if (a == before->insn_count)
			return n;
		ck_assert_int_eq(before->insns[a].imm, after->insns[b].imm);
		const struct object_line *x = object_line_at(before, a), *y = object_line_at(after, b);
		ck_assert_int_eq(x == NULL, y == NULL);
		if (x != NULL)
			ck_assert(x->line == y->line && x->column == y->column && strcmp(x->file, y->file) == 0);
	}
}

/* What instructions refer to: the same things in the same order, and the row besides. */
static void compare_refs(const struct object *before, const struct object_program *p, const struct object *after, const struct object_program *q)
{
	size_t k = 0;

	for (size_t i = 0; i < p->ref_count; i++, k++) {
		while (k < q->ref_count && of_row(after, &q->refs[k]))
			k++;
		ck_assert_uint_lt(k, q->ref_count);
		ck_assert_uint_eq(p->refs[i].kind, q->refs[k].kind);
		ck_assert_uint_eq(p->refs[i].index, q->refs[k].index);
		ck_assert_uint_eq(p->refs[i].offset, q->refs[k].offset);
		ck_assert_int_eq(p->insns[p->refs[i].insn].code, q->insns[q->refs[k].insn].code);
		/* Each reference is under the line that it was under. */
		const struct object_line *x = object_line_at(p, p->refs[i].insn), *y = object_line_at(q, q->refs[k].insn);
		ck_assert(x == NULL ? y == NULL : y != NULL && x->line == y->line);
		ck_assert(!of_row(before, &p->refs[i]));
	}
	for (; k < q->ref_count; k++)
		ck_assert(of_row(after, &q->refs[k]));
}

START_TEST(an_injected_object_reads_as_the_old_one_with_checks)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(256u << 20);
	AUTO_BUF struct buf out = BUF_INIT(16u << 20), again = BUF_INIT(16u << 20);
	struct inject_spec spec = everything(_i % 2 == 1);
	struct slice bytes = take_object(&arena, names[_i / 2]);
	struct inject_report report;
	struct errmsg why = { 0 };
	uint32_t calls = 0;

	ck_assert_msg(inject_checks(&arena, bytes, &spec, &out, &report, &why) == 0, "%s", why.text);
	const struct object *before = parse(&arena, bytes), *after = parse(&arena, buf_slice(&out));
	ck_assert_uint_eq(before->program_count, after->program_count);
	ck_assert_uint_eq(before->map_count, after->map_count);
	ck_assert_uint_eq(before->handler_count, after->handler_count);
	for (size_t i = 0; i < before->program_count; i++) {
		const struct object_program *p = &before->programs[i], *q = &after->programs[i];
		ck_assert_str_eq(p->name, q->name);
		calls += compare_calls(p, q);
		compare_refs(before, p, after, q);
	}
	ck_assert_uint_eq(calls, report.calls);
	ck_assert_int_eq(report.changed, calls > 0);
	ck_assert_int_eq(report.changed, !slice_eq(bytes, buf_slice(&out)));
	ck_assert_int_eq(inject_checks(&arena, bytes, &spec, &again, &report, &why), 0);
	ck_assert(slice_eq(buf_slice(&out), buf_slice(&again)));
}
END_TEST

static uint32_t next_clock(const struct object_program *p, uint32_t i)
{
	while (i < p->insn_count && (p->insns[i].code != (BPF_JMP | BPF_CALL) || p->insns[i].imm != BPF_FUNC_ktime_get_ns))
		i++;
	return i;
}

START_TEST(each_refusal_has_the_line_of_its_call)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(256u << 20);
	AUTO_BUF struct buf out = BUF_INIT(16u << 20);
	struct inject_spec spec = everything(false);
	struct slice bytes = take_object(&arena, TEST_OBJECTS "/large.o");
	struct inject_report report;

	spec.helpers[0] &= ~(UINT64_C(1) << BPF_FUNC_redirect);	/* else it has two refusals */
	ck_assert_int_eq(inject_checks(&arena, bytes, &spec, &out, &report, NULL), 0);
	const struct object *before = parse(&arena, bytes), *after = parse(&arena, buf_slice(&out));
	for (size_t i = 0; i < before->program_count; i++) {
		const struct object_program *p = &before->programs[i], *q = &after->programs[i];
		uint32_t b = 0;
		for (uint32_t a = next_call(p, 0); a < p->insn_count; a = next_call(p, a + 1)) {
			b = next_clock(q, b + 1);
			ck_assert_uint_lt(b, q->insn_count);
			ck_assert_uint_eq(object_line_at(p, a)->line, object_line_at(q, b)->line);
		}
	}
}
END_TEST

START_TEST(an_object_that_names_the_row_is_refused_by_the_inspector)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(64u << 20);
	struct inspect_rights rights = { .verdicts = SPINE_VERDICTS_ALL, .instructions_max = 20000, .memory_bytes_max = 16u << 20 };
	static const char *const objects[] = { TEST_OBJECTS "/names_row.o", TEST_OBJECTS "/update.o" };

	for (size_t i = 0; i < ARRAY_LEN(objects); i++) {
		const struct object *o = parse(&arena, take_object(&arena, objects[i]));
		struct inspect_report report;
		size_t found = 0;
		ck_assert_int_eq(inspect_object(&arena, o, &rights, &report, NULL), 0);
		for (size_t k = 0; k < report.finding_count; k++)
			found += strcmp(report.findings[k].rule, "map .data.policy") == 0;
		ck_assert_int_eq(found > 0, i == 0);
	}
}
END_TEST

static void expect_refusal(struct slice bytes, const struct inject_spec *spec, const char *text)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(64u << 20);
	AUTO_BUF struct buf out = BUF_INIT(16u << 20);
	struct inject_report report;
	struct errmsg why = { 0 };

	ck_assert_int_eq(inject_checks(&arena, bytes, spec, &out, &report, &why), -EINVAL);
	ck_assert_msg(strstr(why.text, text) != NULL, "%s", why.text);
	ck_assert_uint_eq(out.len, 0);
}

START_TEST(objects_without_an_empty_row_are_told_to_compile_again)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(64u << 20);
	struct inject_spec spec = everything(false);
	struct slice bytes = take_object(&arena, names[1]);
	struct spine_policy_row row = { .abi = SPINE_POLICY_ABI };
	size_t at = slice_find(bytes, slice_of(&row, sizeof(row)));

	expect_refusal(take_object(&arena, SPINE_OBJECTS "/inspect/plain.o"), &spec, "SPINE_EXTENSION");
	ck_assert_uint_ne(at, SLICE_NPOS);
	((uint8_t *)(uintptr_t)bytes.ptr)[at + offsetof(struct spine_policy_row, helpers)] = 4;	/* rights that it gives itself */
	expect_refusal(bytes, &spec, "empty row");
}
END_TEST

START_TEST(helpers_whose_output_would_stay_unwritten_cannot_be_checked)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(64u << 20);
	struct inject_spec spec = { .helpers = { 0, 0, UINT64_C(1) << (BPF_FUNC_ringbuf_submit - 128) } };
	int32_t answer;

	ck_assert(!inject_helper_refusal(BPF_FUNC_xdp_load_bytes, &answer));
	ck_assert(!inject_helper_refusal(BPF_FUNC_ktime_get_ns, &answer));
	ck_assert(!inject_helper_refusal(0, &answer) && !inject_helper_refusal(-1, &answer) && !inject_helper_refusal(100000, &answer));
	ck_assert(inject_helper_refusal(BPF_FUNC_map_lookup_elem, &answer) && answer == 0);
	ck_assert(inject_helper_refusal(BPF_FUNC_map_update_elem, &answer) && answer == -EPERM);
	expect_refusal(take_object(&arena, TEST_OBJECTS "/large.o"), &spec, "ringbuf_submit");
}
END_TEST

/* xorshift64*, Vigna 2016. */
static uint64_t roll(uint64_t *state, uint64_t below)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return (*state * UINT64_C(2685821657736338717) >> 16) % below;
}

START_TEST(damaged_objects_are_refused_or_stay_objects)
{
	AUTO_ARENA struct arena keep = ARENA_INIT(64u << 20);
	struct slice whole = take_object(&keep, names[_i]);
	struct inject_spec spec = everything(_i == 2);
	uint64_t seed = 1 + (uint64_t)_i;
	uint32_t injected = 0, refused = 0;

	for (uint32_t n = 0; n < MUTATIONS; n++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(64u << 20);
		AUTO_BUF struct buf out = BUF_INIT(16u << 20);
		uint8_t *copy = malloc(whole.len);
		struct inject_report report;
		struct errmsg why = { 0 };
		const struct object *o;
		ck_assert_ptr_nonnull(copy);
		memcpy(copy, whole.ptr, whole.len);
		for (uint64_t k = 1 + roll(&seed, 3); k > 0; k--)
			copy[roll(&seed, 3) == 0 ? roll(&seed, whole.len) : whole.len - 1 - roll(&seed, 4096)] = (uint8_t)roll(&seed, 256);
		if (inject_checks(&arena, slice_of(copy, whole.len), &spec, &out, &report, &why) == 0) {
			ck_assert_msg(object_parse(&arena, buf_slice(&out), &o, &why) == 0, "round %u: %s", n, why.text);
			injected++;
		} else {
			ck_assert(why.text[0] != '\0');
			refused++;
		}
		free(copy);
	}
	ck_assert(injected > 0 && refused > 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		each_refusal_has_the_line_of_its_call,
		an_object_that_names_the_row_is_refused_by_the_inspector,
		objects_without_an_empty_row_are_told_to_compile_again,
		helpers_whose_output_would_stay_unwritten_cannot_be_checked,
	};
	Suite *suite = suite_create("spine/inject");
	TCase *tcase = tcase_create("spine/inject");

	tcase_set_timeout(tcase, 50);
	for (size_t i = 0; i < ARRAY_LEN(tests); i++)
		tcase_add_test(tcase, tests[i]);
	tcase_add_loop_test(tcase, an_injected_object_reads_as_the_old_one_with_checks, 0, 2 * ARRAY_LEN(names));
	tcase_add_loop_test(tcase, damaged_objects_are_refused_or_stay_objects, 0, 3);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "/dev/stdout");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
