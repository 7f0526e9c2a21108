/*
 * Injected objects in the kernel: they load, the verifier's log has their lines, and a bit of the mapped row decides
 * the next run, with no reload. Needs root and the objects of testdata/ (clang); skips without.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <time.h>

#include <prickle/spine_policy.h>

#include "spine/inject/inject.h"
#include "spine/inspect/testdata/objects.h"

#define LOG_BYTES (16u << 20)
#define ROW_BYTES ((sizeof(struct spine_policy_row) + 4095) / 4096 * 4096)	/* as it is mapped */

struct frame {
	uint32_t ifindex, key, value, rounds;
	uint8_t rest[48];
};

struct running {
	struct arena arena;
	struct buf bytes;
	struct inject_report report;
	struct bpf_object *object;
	struct spine_policy_row *row;
	char *log;
};

__attribute__((format(printf, 2, 0))) static int quiet(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	if (level == LIBBPF_WARN)
		vfprintf(stdout, fmt, ap);
	return 0;
}

static struct inject_spec spec_of(const int *helpers, size_t n, bool trial)
{
	struct inject_spec spec = { .trial = trial };

	for (size_t i = 0; i < n; i++)
		spec.helpers[helpers[i] / 64] |= UINT64_C(1) << (helpers[i] % 64);
	return spec;
}

static void start(struct running *r, const char *name, const struct inject_spec *spec)
{
	struct errmsg why = { 0 };
	struct slice bytes = name[0] == '/' ? read_object(name) : test_object(name);
	struct bpf_program *p;
	struct bpf_map *map;

	*r = (struct running){ .arena = ARENA_INIT(64u << 20), .bytes = BUF_INIT(16u << 20) };
	ck_assert_msg(inject_checks(&r->arena, bytes, spec, &r->bytes, &r->report, &why) == 0, "%s", why.text);
	free((void *)(uintptr_t)bytes.ptr);
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = "guarded");
	libbpf_set_print(quiet);
	r->object = bpf_object__open_mem(r->bytes.ptr, r->bytes.len, &opts);
	ck_assert_ptr_nonnull(r->object);
	r->log = malloc(LOG_BYTES);
	ck_assert_ptr_nonnull(r->log);
	r->log[0] = '\0';
	bpf_object__for_each_program(p, r->object) {
		if (strcmp(bpf_program__name(p), "entry") == 0) {
			bpf_program__set_log_buf(p, r->log, LOG_BYTES);
			bpf_program__set_log_level(p, strcmp(name, "update") == 0 ? 2 : 0);
		}
	}
	bpf_object__for_each_map(map, r->object)	/* nothing outlives the test */
		(void)bpf_map__set_pin_path(map, NULL);
	int err = bpf_object__load(r->object);
	if (err != 0)
		printf("%s\n", r->log + (strlen(r->log) > 4000 ? strlen(r->log) - 4000 : 0));
	ck_assert_int_eq(err, 0);
	map = bpf_object__find_map_by_name(r->object, SPINE_POLICY_SECTION);
	ck_assert_ptr_nonnull(map);
	r->row = mmap(NULL, ROW_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
	ck_assert_ptr_ne(r->row, MAP_FAILED);
}

static void stop(struct running *r)
{
	munmap(r->row, ROW_BYTES);
	bpf_object__close(r->object);
	free(r->log);
	buf_done(&r->bytes);
	arena_done(&r->arena);
}

static uint32_t run_program(struct running *r, const char *name, struct frame f)
{
	struct bpf_program *p = bpf_object__find_program_by_name(r->object, name);
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = &f, .data_size_in = sizeof(f));

	ck_assert_ptr_nonnull(p);
	ck_assert_int_eq(bpf_prog_test_run_opts(bpf_program__fd(p), &opts), 0);
	return opts.retval;
}

static uint32_t run(struct running *r, struct frame f)
{
	return run_program(r, "entry", f);
}

static void allow(struct running *r, int helper, bool yes)
{
	if (yes)
		r->row->helpers[helper / 32] |= 1u << helper % 32;
	else
		r->row->helpers[helper / 32] &= ~(1u << helper % 32);
}

static uint64_t now_ns(clockid_t clock)
{
	struct timespec t;

	ck_assert_int_eq(clock_gettime(clock, &t), 0);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void port(struct running *r, uint32_t ifindex, uint64_t rights)
{
	r->row->ports[ifindex % SPINE_POLICY_PORTS] = rights << 32 | ifindex;
}

START_TEST(a_port_is_refused_until_its_word_allows_it_and_again_after_it_is_taken_back)
{
	struct running r;
	struct inject_spec spec = { 0 };

	start(&r, "redirect", &spec);
	ck_assert(r.report.changed);
	ck_assert_uint_eq(r.report.calls, 1);
	ck_assert_uint_eq(run(&r, (struct frame){ .ifindex = 7 }), XDP_ABORTED);
	port(&r, 7, SPINE_POLICY_FORWARD);
	ck_assert_uint_eq(run(&r, (struct frame){ .ifindex = 7 }), XDP_REDIRECT);
	ck_assert_uint_eq(run(&r, (struct frame){ .ifindex = 7 + SPINE_POLICY_PORTS }), XDP_ABORTED);
	ck_assert_uint_eq(run(&r, (struct frame){ .ifindex = 8 }), XDP_ABORTED);
	ck_assert_uint_eq(run(&r, (struct frame){ .ifindex = 0 }), XDP_ABORTED);
	port(&r, 7, 0);
	ck_assert_uint_eq(run(&r, (struct frame){ .ifindex = 7 }), XDP_ABORTED);
	port(&r, 7, SPINE_POLICY_FORWARD_TRIAL);	/* not on trial: means nothing */
	r.row->trial_until_ns = UINT64_MAX;
	ck_assert_uint_eq(run(&r, (struct frame){ .ifindex = 7 }), XDP_ABORTED);
	ck_assert_uint_eq(r.row->next, 6);
	stop(&r);
}
END_TEST

START_TEST(a_refusal_leaves_a_record_and_old_ones_are_overwritten)
{
	struct running r;
	struct inject_spec spec = { 0 };
	uint64_t before = now_ns(CLOCK_MONOTONIC);

	start(&r, "redirect", &spec);
	for (uint32_t i = 1; i <= SPINE_POLICY_RECORDS + 3; i++)
		ck_assert_uint_eq(run(&r, (struct frame){ .ifindex = 100 + i }), XDP_ABORTED);
	ck_assert_uint_eq(r.row->next, SPINE_POLICY_RECORDS + 3);
	for (uint32_t i = 0; i < SPINE_POLICY_RECORDS; i++) {
		const struct spine_policy_record *record = &r.row->records[i];
		uint64_t sequence = i < 3 ? SPINE_POLICY_RECORDS + i + 1 : i + 1;
		ck_assert_uint_eq(record->sequence, sequence);
		ck_assert(record->time_ns >= before && record->time_ns <= now_ns(CLOCK_MONOTONIC));
		ck_assert_uint_eq(record->helper, BPF_FUNC_redirect);
		ck_assert_uint_eq(record->object, 100 + sequence);
		ck_assert_uint_eq(record->result, 1);
	}
	/* The place is the call's in the object as it was. */
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 24);
	const struct object *o;
	struct slice bytes = test_object("redirect");
	ck_assert_int_eq(object_parse(&arena, bytes, &o, NULL), 0);
	uint32_t at = r.row->records[0].insn, function = at >> SPINE_POLICY_INSN_BITS;
	ck_assert_uint_lt(function, o->program_count);
	const struct bpf_insn *call = &o->programs[function].insns[at & ((1u << SPINE_POLICY_INSN_BITS) - 1)];
	ck_assert(call->code == (BPF_JMP | BPF_CALL) && call->imm == BPF_FUNC_redirect);
	free((void *)(uintptr_t)bytes.ptr);
	stop(&r);
}
END_TEST

START_TEST(a_helper_answers_minus_eperm_while_its_bit_is_not_set)
{
	struct running r;
	struct inject_spec spec = spec_of((int[]){ BPF_FUNC_map_update_elem }, 1, false);

	start(&r, "update", &spec);
	ck_assert_uint_eq(run(&r, (struct frame){ .rounds = 3 }), XDP_TX);
	allow(&r, BPF_FUNC_map_update_elem, true);
	ck_assert_uint_eq(run(&r, (struct frame){ .rounds = 3, .key = 5, .value = 9 }), XDP_PASS);
	uint32_t value = 0;
	int fd = bpf_map__fd(bpf_object__find_map_by_name(r.object, "table"));
	ck_assert_int_eq(bpf_map_lookup_elem(fd, &(uint32_t){ 8 }, &value), 0);
	ck_assert_uint_eq(value, 9);
	allow(&r, BPF_FUNC_map_update_elem, false);
	ck_assert_uint_eq(run(&r, (struct frame){ .rounds = 3, .key = 5, .value = 9 }), XDP_TX);
	ck_assert_uint_eq(run(&r, (struct frame){ .rounds = 0 }), XDP_PASS);
	ck_assert_uint_eq(r.row->next, 2);
	ck_assert_uint_eq(r.row->records[0].helper, BPF_FUNC_map_update_elem);
	ck_assert_uint_eq(r.row->records[0].object, 0);
	stop(&r);
}
END_TEST

START_TEST(a_jump_to_a_call_leads_to_its_check)
{
	struct running r;
	struct inject_spec spec = { 0 };

	start(&r, "jumped", &spec);
	ck_assert_uint_eq(run(&r, (struct frame){ .ifindex = 77 }), XDP_ABORTED);
	ck_assert_uint_eq(run(&r, (struct frame){ .ifindex = 78 }), XDP_ABORTED);
	port(&r, 77, SPINE_POLICY_FORWARD);
	ck_assert_uint_eq(run(&r, (struct frame){ .ifindex = 77 }), XDP_REDIRECT);
	ck_assert_uint_eq(run(&r, (struct frame){ .ifindex = 78 }), XDP_ABORTED);
	stop(&r);
}
END_TEST

START_TEST(a_trial_lets_through_and_records_until_it_ends)
{
	struct running r;
	struct inject_spec spec = spec_of((int[]){ BPF_FUNC_map_update_elem }, 1, true);
	struct frame f = { .rounds = 1, .key = 5, .value = 9 };

	start(&r, "update", &spec);
	r.row->helpers_trial[0] = 1u << BPF_FUNC_map_update_elem;
	ck_assert_uint_eq(run(&r, f), XDP_TX);	/* it has no end yet: it is over */
	ck_assert_uint_eq(r.row->records[0].result, 1);
	r.row->trial_until_ns = now_ns(CLOCK_BOOTTIME) + UINT64_C(3600000000000);
	ck_assert_uint_eq(run(&r, f), XDP_PASS);
	ck_assert_uint_eq(r.row->records[1].result, 3);
	uint32_t value = 0;
	int fd = bpf_map__fd(bpf_object__find_map_by_name(r.object, "table"));
	ck_assert_int_eq(bpf_map_lookup_elem(fd, &(uint32_t){ 6 }, &value), 0);
	ck_assert_uint_eq(value, 9);
	r.row->helpers_trial[0] = 0;
	ck_assert_uint_eq(run(&r, f), XDP_TX);
	ck_assert_uint_eq(r.row->records[2].result, 1);
	allow(&r, BPF_FUNC_map_update_elem, true);
	ck_assert_uint_eq(run(&r, f), XDP_PASS);
	ck_assert_uint_eq(r.row->next, 3);
	stop(&r);
}
END_TEST

START_TEST(a_port_on_trial_needs_its_helper_as_well)
{
	struct running r;
	struct inject_spec spec = spec_of((int[]){ BPF_FUNC_redirect }, 1, true);
	struct frame f = { .ifindex = 2000 };

	start(&r, "redirect", &spec);
	r.row->trial_until_ns = now_ns(CLOCK_BOOTTIME) + UINT64_C(3600000000000);
	port(&r, 2000, SPINE_POLICY_FORWARD_TRIAL);
	ck_assert_uint_eq(run(&r, f), XDP_ABORTED);
	ck_assert_uint_eq(r.row->records[0].object, 0);		/* the helper was refused, not the port */
	r.row->helpers_trial[0] = 1u << BPF_FUNC_redirect;
	ck_assert_uint_eq(run(&r, f), XDP_REDIRECT);
	ck_assert_uint_eq(r.row->next, 3);
	ck_assert_uint_eq(r.row->records[1].result, 3);
	ck_assert_uint_eq(r.row->records[2].result, 3);
	ck_assert_uint_eq(r.row->records[2].object, 2000);
	ck_assert_uint_eq(run(&r, (struct frame){ .ifindex = 2000 - SPINE_POLICY_PORTS }), XDP_ABORTED);
	port(&r, 2000, 0);
	ck_assert_uint_eq(run(&r, f), XDP_ABORTED);
	ck_assert_uint_eq(r.row->records[6].object, 2000);
	port(&r, 2000, SPINE_POLICY_FORWARD);
	allow(&r, BPF_FUNC_redirect, true);
	ck_assert_uint_eq(run(&r, f), XDP_REDIRECT);
	ck_assert_uint_eq(r.row->next, 7);
	stop(&r);
}
END_TEST

static const int large_helpers[] = { BPF_FUNC_map_update_elem, BPF_FUNC_map_lookup_elem, BPF_FUNC_map_delete_elem,
				     BPF_FUNC_ringbuf_reserve, BPF_FUNC_loop };

START_TEST(subprograms_callbacks_and_several_programs_are_guarded)
{
	struct running r;
	struct inject_spec spec = spec_of(large_helpers, ARRAY_LEN(large_helpers), _i == 1);

	start(&r, "large", &spec);
	ck_assert_uint_ge(r.report.calls, 6);
	for (size_t i = 0; i < ARRAY_LEN(large_helpers); i++)
		allow(&r, large_helpers[i], true);
	struct frame f = { .ifindex = 9, .rounds = 3 };
	ck_assert_uint_eq(run(&r, f), 3);
	ck_assert_uint_eq(run_program(&r, "other", f), XDP_PASS);
	ck_assert_uint_eq(r.row->next, 0);
	allow(&r, BPF_FUNC_ringbuf_reserve, false);		/* in a global subprogram */
	ck_assert_uint_eq(run(&r, f), 100);
	ck_assert_uint_eq(run_program(&r, "other", f), XDP_DROP);
	allow(&r, BPF_FUNC_ringbuf_reserve, true);
	allow(&r, BPF_FUNC_map_delete_elem, false);		/* in the callback */
	ck_assert_uint_eq(run(&r, f), 300);
	allow(&r, BPF_FUNC_map_delete_elem, true);
	allow(&r, BPF_FUNC_map_lookup_elem, false);		/* in what the callback calls */
	ck_assert_uint_eq(run(&r, f), 102);
	ck_assert_uint_eq(run_program(&r, "other", f), XDP_TX);
	allow(&r, BPF_FUNC_map_lookup_elem, true);
	allow(&r, BPF_FUNC_loop, false);			/* the call that takes a function's address */
	ck_assert_uint_eq(run(&r, f), 101);
	allow(&r, BPF_FUNC_loop, true);
	f.value = 99;
	ck_assert_uint_eq(run(&r, f), XDP_ABORTED);
	port(&r, 9, SPINE_POLICY_FORWARD);
	ck_assert_uint_eq(run(&r, f), XDP_REDIRECT);
	stop(&r);
}
END_TEST

/* The last line of source that the log shows before `text`. */
static void expect_line_before(const char *log, const char *text, const char *line)
{
	/* The walk begins behind a list of what is alive where. */
	const char *walk = strstr(log, "\n0: R1=ctx"), *at = strstr(walk == NULL ? log : walk, text), *found = NULL;

	ck_assert_msg(at != NULL, "the log has no '%s'", text);
	for (const char *p = log; p < at; p++) {
		if ((p == log || p[-1] == '\n') && p[0] == ';')
			found = p;
	}
	ck_assert_msg(found != NULL, "no line before '%s'", text);
	const char *end = strchr(found, '\n');
	ck_assert_msg(memmem(found, (size_t)(end - found), line, strlen(line)) != NULL, "'%.*s' stands before '%s', not '%s'",
		      (int)(end - found), found, text, line);
}

START_TEST(the_log_of_the_verifier_shows_the_lines_of_the_source)
{
	struct running r;
	struct inject_spec spec = spec_of((int[]){ BPF_FUNC_map_update_elem }, 1, false);

	start(&r, "update", &spec);
	expect_line_before(r.log, "call bpf_map_update_elem#", "the refused line");
	expect_line_before(r.log, "call bpf_ktime_get_ns#", "the refused line");
	expect_line_before(r.log, "(61) r0 = *(u32 *)(r0 +0)", "the refused line");
	expect_line_before(r.log, "exit", "}");
	stop(&r);
}
END_TEST

START_TEST(refusals_out_of_reach_of_short_jumps_are_reached_by_long_ones)
{
	struct running r;
	struct inject_spec spec = spec_of((int[]){ BPF_FUNC_map_delete_elem }, 1, true);

	start(&r, "far", &spec);
	ck_assert_uint_eq(r.report.calls, 1024);
	ck_assert_uint_gt(r.report.insns_after, 40000);
	ck_assert_uint_eq(run(&r, (struct frame){ 0 }), XDP_PASS);
	ck_assert_uint_eq(r.row->next, 1024);
	allow(&r, BPF_FUNC_map_delete_elem, true);
	ck_assert_uint_eq(run(&r, (struct frame){ 0 }), XDP_PASS);
	ck_assert_uint_eq(r.row->next, 1024);
	stop(&r);
}
END_TEST

static const char *const shipped[] = { SPINE_OBJECTS "/extensions/balancer.o", SPINE_OBJECTS "/extensions/fanout.o",
				       SPINE_OBJECTS "/extensions/filter.o", SPINE_OBJECTS "/extensions/kv.o",
				       SPINE_OBJECTS "/extensions/router.o", SPINE_OBJECTS "/counter-1.o",
				       SPINE_OBJECTS "/talker-1.o", SPINE_OBJECTS "/frags-1.o" };

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

/* The program for packets: the one of section "xdp" or "xdp.frags". */
static const char *packet_program(struct running *r)
{
	struct bpf_program *p;

	bpf_object__for_each_program(p, r->object) {
		const char *section = bpf_program__section_name(p);
		if (strcmp(section, "xdp") == 0 || strcmp(section, "xdp.frags") == 0)
			return bpf_program__name(p);
	}
	ck_abort_msg("there is no program for packets");
}

START_TEST(shipped_extensions_with_all_rights_give_the_verdicts_that_they_gave)
{
	struct running before, after;
	struct inject_spec none = { 0 }, all = everything(_i % 2 == 1);

	start(&before, shipped[_i / 2], &none);
	start(&after, shipped[_i / 2], &all);
	ck_assert(!before.report.changed);
	memset(after.row->helpers, 0xff, sizeof(after.row->helpers));
	for (uint32_t i = 0; i < 64; i++) {
		struct frame f = { .ifindex = i, .key = i * 2654435761u, .value = i * 40503u, .rounds = 0x00450008u };
		for (size_t k = 0; k < sizeof(f.rest); k++)
			f.rest[k] = (uint8_t)(i * 31 + k * (i % 3));
		const char *name = packet_program(&before);
		ck_assert_uint_eq(run_program(&before, name, f), run_program(&after, name, f));
	}
	ck_assert_uint_eq(after.row->next, 0);
	printf("# %s: %u calls, %u -> %u instructions\n", strrchr(shipped[_i / 2], '/') + 1, after.report.calls, after.report.insns_before,
	       after.report.insns_after);
	stop(&before);
	stop(&after);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_port_is_refused_until_its_word_allows_it_and_again_after_it_is_taken_back,
		a_refusal_leaves_a_record_and_old_ones_are_overwritten,
		a_helper_answers_minus_eperm_while_its_bit_is_not_set,
		a_jump_to_a_call_leads_to_its_check,
		a_trial_lets_through_and_records_until_it_ends,
		a_port_on_trial_needs_its_helper_as_well,
		the_log_of_the_verifier_shows_the_lines_of_the_source,
		refusals_out_of_reach_of_short_jumps_are_reached_by_long_ones,
	};
	struct bpf_insn insns[] = { { .code = 0xb7 }, { .code = 0x95 } };
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "probe", "MIT", insns, 2, NULL);

	if (fd < 0) {
		printf("1..0 # SKIP needs root and BPF\n");
		return EXIT_SUCCESS;
	}
	close(fd);
	Suite *suite = suite_create("spine/inject-run");
	TCase *tcase = tcase_create("spine/inject-run");
	tcase_set_timeout(tcase, 60);
	for (size_t i = 0; i < ARRAY_LEN(tests); i++)
		tcase_add_test(tcase, tests[i]);
	tcase_add_loop_test(tcase, subprograms_callbacks_and_several_programs_are_guarded, 0, 2);
	tcase_add_loop_test(tcase, shipped_extensions_with_all_rights_give_the_verdicts_that_they_gave, 0, 2 * ARRAY_LEN(shipped));
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "/dev/stdout");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
