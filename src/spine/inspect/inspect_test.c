#include "spine/inspect/inspect.h"

#include <errno.h>

#include "spine/inspect/testdata/objects.h"

static const struct inspect_rights plain_rights = {
	.verdicts = SPINE_VERDICTS_ALL, .instructions_max = 20000, .memory_bytes_max = 16u << 20,
	.syscall_programs = true,
};

static struct inspect_report inspect(struct arena *arena, const char *name, const struct inspect_rights *rights)
{
	struct inspect_report report = { 0 };
	const struct object *o = NULL;
	struct errmsg why = { 0 };
	struct slice file = test_object(name), bytes = arena_dup(arena, file);

	free((void *)(uintptr_t)file.ptr);
	ck_assert_msg(object_parse(arena, bytes, &o, &why) == 0, "%s: %s", name, why.text);
	ck_assert_int_eq(inspect_object(arena, o, rights, &report, &why), 0);
	return report;
}

static bool has_rule(const struct inspect_report *r, const char *rule)
{
	for (size_t i = 0; i < r->finding_count; i++) {
		if (strcmp(r->findings[i].rule, rule) == 0)
			return true;
	}
	return false;
}

#define EACH  24u			/* a round of bpf_loop besides its callback */

static const struct {
	const char *object;
	uint64_t least, most;		/* cost */
} bounded[] = {
	/* 100 rounds of 2 instructions, and 7 around them. */
	{ "callback", 100 * (2 + EACH) + 7, 100 * (2 + EACH) + 7 },
	/* The product: 100 times an inner loop of 30 rounds in a callback of 7. */
	{ "nested", 100 * (30 * (2 + EACH) + 7 + EACH) + 7, 100 * (30 * (2 + EACH) + 7 + EACH) + 7 },
	{ "counted", 64 * 4, 64 * 10 },
	{ "triangle", 496 * 4, 496 * 10 },
	{ "masked", 15 * 4, 15 * 10 },
	{ "iterated", 50 * 4, 50 * 60 },
	{ "spilled", 20 * 20, 20 * 100 + 1000 },
	{ "down", 21 * 4, 21 * 12 },
	{ "static_bound", 35 * 4, 35 * 12 + 100 },
	{ "plain", 50, 500 },
};

START_TEST(loops_with_constant_bounds_have_a_cost)
{
	for (size_t i = 0; i < ARRAY_LEN(bounded); i++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(1u << 24);
		struct inspect_rights rights = plain_rights;

		rights.instructions_max = INSPECT_COST_MAX;
		struct inspect_report r = inspect(&arena, bounded[i].object, &rights);
		ck_assert_msg(r.cost >= bounded[i].least && r.cost <= bounded[i].most, "%s costs %llu",
			      bounded[i].object, (unsigned long long)r.cost);
		ck_assert_msg(r.finding_count == 0, "%s: %s", bounded[i].object,
			      r.finding_count > 0 ? r.findings[0].sentence : "");
	}
}
END_TEST

static const struct {
	const char *object, *rule;
	bool unbounded;			/* the cost is not known at all */
} refused[] = {
	{ "stall", "cost", false },
	{ "unknown_rounds", "cost", true },
	{ "packet_end", "cost", true },
	{ "forever", "cost", true },
	{ "long_count", "cost", true },
	{ "recursion", "recursion", true },
	{ "any_port", "helper redirect", false },
	{ "fixed_port", "helper redirect", false },
	{ "own_ports", "helper redirect_map", false },
	{ "own_ports", "map-type devmap", false },
	{ "spy", "helper probe_read_kernel", false },
	{ "tail", "tail-call", false },
	{ "kfunc", "kfunc bpf_task_release", false },
	{ "kprobe", "program-type kprobe/do_sys_open", false },
	{ "kprobe", "entry", false },
	{ "behind_others", "program-type xdp/devmap", false },
	{ "hog", "memory", false },
	{ "no_target", "verdict redirect", false },
	{ "visit", "cost", false },
	{ "heavy", "cost", false },
	{ "long_handler", "cost", false },
};

START_TEST(hostile_programs_are_refused_by_name)
{
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(1u << 24);
		struct inspect_report r = inspect(&arena, refused[i].object, &plain_rights);

		ck_assert_msg(has_rule(&r, refused[i].rule), "%s has no finding '%s'", refused[i].object,
			      refused[i].rule);
		ck_assert_msg((r.cost == INSPECT_UNBOUNDED) == refused[i].unbounded, "%s costs %llu",
			      refused[i].object, (unsigned long long)r.cost);
	}
}
END_TEST

START_TEST(a_program_behind_its_own_ports_is_allowed)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 24);
	struct inspect_report r = inspect(&arena, "egress", &plain_rights);

	ck_assert(!has_rule(&r, "program-type xdp/devmap"));
	ck_assert(!has_rule(&r, "entry"));
}
END_TEST

START_TEST(nested_loops_that_stall_cost_more_than_anybody_accepts)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 24);
	struct inspect_report r = inspect(&arena, "stall", &plain_rights);

	ck_assert_uint_gt(r.cost, INSPECT_COST_MAX);
}
END_TEST

START_TEST(no_grant_allows_what_reaches_the_kernel)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 24);
	uint64_t all[INSPECT_HELPER_WORDS] = { UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX };
	struct inspect_rights rights = plain_rights;

	rights.helpers = all;
	struct inspect_report r = inspect(&arena, "spy", &rights);
	ck_assert(has_rule(&r, "helper probe_read_kernel"));
}
END_TEST

START_TEST(what_is_granted_is_no_finding)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 24);
	const char *const kfuncs[] = { "bpf_task_release", NULL };
	struct inspect_rights rights = plain_rights;

	rights.kfuncs = kfuncs;
	rights.tail_calls = rights.unbounded = true;
	ck_assert_uint_eq(inspect(&arena, "kfunc", &rights).finding_count, 0);
	ck_assert_uint_eq(inspect(&arena, "tail", &rights).finding_count, 0);
	ck_assert_uint_eq(inspect(&arena, "packet_end", &rights).finding_count, 0);
	ck_assert_uint_eq(inspect(&arena, "ports", &plain_rights).finding_count, 0);
	ck_assert_uint_eq(inspect(&arena, "messages", &plain_rights).finding_count, 0);
}
END_TEST

START_TEST(verdicts_outside_the_rights_are_found)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 24);
	struct inspect_rights rights = plain_rights;

	rights.verdicts = SPINE_PASS | SPINE_DROP;
	struct inspect_report r = inspect(&arena, "ports", &rights);
	ck_assert(has_rule(&r, "verdict redirect"));
	ck_assert(!has_rule(&r, "verdict drop"));
	rights.syscall_programs = false;
	r = inspect(&arena, "messages", &rights);
	ck_assert(has_rule(&r, "verdict tx"));
	ck_assert(has_rule(&r, "program-type syscall"));
}
END_TEST

START_TEST(constants_at_the_ends_tell_the_verdicts)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 24);

	ck_assert_uint_eq(inspect(&arena, "masked", &plain_rights).verdicts, SPINE_PASS);
	ck_assert_uint_eq(inspect(&arena, "counted", &plain_rights).verdicts, SPINE_PASS | SPINE_DROP);
	/* Not 0 to 2: DROP is not among them. */
	ck_assert_uint_eq(inspect(&arena, "no_target", &plain_rights).verdicts, SPINE_PASS | SPINE_REDIRECT);
	ck_assert(inspect(&arena, "ports", &plain_rights).verdicts & SPINE_REDIRECT);
}
END_TEST

START_TEST(a_finding_shows_its_source_line)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 24);
	AUTO_BUF struct buf text = BUF_INIT(1u << 16);
	struct inspect_report r = inspect(&arena, "any_port", &plain_rights);

	inspect_findings_text(&text, &r);
	ck_assert(slice_find(buf_slice(&text), SLICE("hostile.bpf.c:")) != SLICE_NPOS);
	ck_assert(slice_find(buf_slice(&text), SLICE(": helper redirect: ")) != SLICE_NPOS);
	ck_assert(slice_find(buf_slice(&text), SLICE("    return bpf_redirect(context->rx_queue_index, 0);")) !=
		  SLICE_NPOS);
}
END_TEST

#define INSN(c, d, s, o, i) { .code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) }

/* r0 = 0; r0 += 1; if r0 < n goto -2; r0 = 2; exit, as the kernel shows it. */
static const struct bpf_insn translated[] = {
	INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0),
	INSN(BPF_ALU64 | BPF_ADD | BPF_K, 0, 0, 0, 1),
	INSN(BPF_JMP | BPF_JLT | BPF_K, 0, 0, -2, 100),
	INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, XDP_PASS),
	INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
};

START_TEST(a_loaded_program_is_bounded_from_its_instructions)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 22);
	struct inspect_report r;

	ck_assert_int_eq(inspect_loaded(&arena, translated, ARRAY_LEN(translated), NULL, 0, &plain_rights, &r, NULL), 0);
	ck_assert_uint_eq(r.cost, 1 + 100 * 2 + 2);
	ck_assert_uint_eq(r.verdicts, SPINE_PASS);
	ck_assert_uint_eq(r.finding_count, 0);
}
END_TEST

/* r1 = 1; r1 = load-acquire of what r6 points to; then rounds up to r1. */
START_TEST(a_load_with_acquire_is_no_constant)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 22);
	struct bpf_insn insns[] = {
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 1, 0, 0, 1), INSN(BPF_STX | BPF_ATOMIC | BPF_DW, 1, 6, 0, 0x100),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0), INSN(BPF_ALU64 | BPF_ADD | BPF_K, 0, 0, 0, 1),
		INSN(BPF_JMP | BPF_JLT | BPF_X, 0, 1, -2, 0), INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	struct inspect_report r;

	ck_assert_int_eq(inspect_loaded(&arena, insns, ARRAY_LEN(insns), NULL, 0, &plain_rights, &r, NULL), 0);
	ck_assert_uint_eq(r.cost, INSPECT_UNBOUNDED);
	insns[1].imm = 0x120;		/* nobody knows what it does */
	ck_assert_int_eq(inspect_loaded(&arena, insns, ARRAY_LEN(insns), NULL, 0, &plain_rights, &r, NULL), 0);
	ck_assert_uint_eq(r.cost, INSPECT_UNBOUNDED);
}
END_TEST

START_TEST(a_loaded_program_that_is_not_shown_is_unknown)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 22);
	struct inspect_report r;

	ck_assert_int_eq(inspect_loaded(&arena, NULL, 0, NULL, 0, &plain_rights, &r, NULL), 0);
	ck_assert_uint_eq(r.cost, INSPECT_UNBOUNDED);
	ck_assert_uint_eq(r.verdicts, SPINE_VERDICTS_ALL);
	ck_assert(r.redirects && r.tail_calls);
	ck_assert(has_rule(&r, "cost"));
}
END_TEST

static const char *name_of(void *arg, int32_t relative)
{
	(void)arg;
	return relative == -4096 ? "bpf_xdp_redirect" : relative == 77 ? "bpf_probe_read_kernel" :
	       relative == 99 ? "dev_hash_map_redirect" : NULL;
}

START_TEST(calls_of_a_loaded_program_resolve_by_name)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 22);
	struct bpf_insn calls[] = {
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, -4096), INSN(BPF_JMP | BPF_CALL, 0, 0, 0, 5),
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_tail_call),
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, 77), INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	struct inspect_rights rights = plain_rights;
	struct inspect_report r;

	ck_assert_int_eq(inspect_loaded(&arena, calls, ARRAY_LEN(calls), NULL, 0, &rights, &r, NULL), 0);
	/* A helper that nobody can name may be any, one that leaves a target behind among them. */
	ck_assert(r.tail_calls && r.redirects);
	ck_assert(!has_rule(&r, "helper probe_read_kernel"));
	rights.call_name = name_of;
	ck_assert_int_eq(inspect_loaded(&arena, calls, ARRAY_LEN(calls), NULL, 0, &rights, &r, NULL), 0);
	ck_assert(r.redirects);
	ck_assert(has_rule(&r, "helper probe_read_kernel"));
}
END_TEST

START_TEST(a_loaded_program_that_redirects_by_a_map_is_known_to_redirect)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 22);
	struct bpf_insn calls[] = { INSN(BPF_JMP | BPF_CALL, 0, 0, 0, 99), INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0) };
	struct inspect_rights rights = plain_rights;
	struct inspect_report r;

	rights.call_name = name_of;
	ck_assert_int_eq(inspect_loaded(&arena, calls, ARRAY_LEN(calls), NULL, 0, &rights, &r, NULL), 0);
	ck_assert(r.redirects);
}
END_TEST

START_TEST(maps_of_others_are_refused)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 22);
	const struct inspect_loaded_map maps[] = {
		{ .id = 7, .type = BPF_MAP_TYPE_HASH }, { .id = 8, .type = BPF_MAP_TYPE_ARRAY, .foreign = true },
	};
	struct inspect_report r;

	ck_assert_int_eq(inspect_loaded(&arena, translated, ARRAY_LEN(translated), maps, 2, &plain_rights, &r, NULL), 0);
	ck_assert(has_rule(&r, "map 8"));
	ck_assert(!has_rule(&r, "map 7"));
}
END_TEST

START_TEST(helpers_have_names_and_numbers)
{
	ck_assert_int_eq(inspect_helper_id(SLICE("map_lookup_elem")), BPF_FUNC_map_lookup_elem);
	ck_assert_int_eq(inspect_helper_id(SLICE("fib_lookup")), BPF_FUNC_fib_lookup);
	ck_assert_int_eq(inspect_helper_id(SLICE("unspec")), -1);
	ck_assert_int_eq(inspect_helper_id(SLICE("")), -1);
	for (int id = 1; id <= 211; id++)
		ck_assert_int_eq(inspect_helper_id(slice_str(inspect_helper_name(id))), id);
	ck_assert_ptr_null(inspect_helper_name(0));
	ck_assert_ptr_null(inspect_helper_name(212));
	ck_assert_ptr_null(inspect_helper_name(-5));
}
END_TEST

TEST_MAIN_SLOW(60, "spine/inspect", loops_with_constant_bounds_have_a_cost, hostile_programs_are_refused_by_name,
	       nested_loops_that_stall_cost_more_than_anybody_accepts, no_grant_allows_what_reaches_the_kernel,
	       what_is_granted_is_no_finding, verdicts_outside_the_rights_are_found,
	       constants_at_the_ends_tell_the_verdicts,
	       a_program_behind_its_own_ports_is_allowed, a_finding_shows_its_source_line,
	       a_load_with_acquire_is_no_constant, a_loaded_program_is_bounded_from_its_instructions, a_loaded_program_that_is_not_shown_is_unknown,
	       calls_of_a_loaded_program_resolve_by_name,
	       a_loaded_program_that_redirects_by_a_map_is_known_to_redirect, maps_of_others_are_refused, helpers_have_names_and_numbers)
