/* The object as a file: it uses what Linux 6.1 has and nothing else, and its maps are those that state.h lists. load_test.c loads it. */
#include <elf.h>
#include <linux/bpf.h>

#include "base/test.h"
#include "nat64/bpf/rig_test.h"

/*
 * Helpers, and the release that brought each; newer than 5.18 none may be (6.1 is the oldest kernel that we run on, and
 * its own additions are not in all of its builds). A helper that is used no more goes from here, too.
 */
static const struct { int id; const char *name, *since; } helpers[] = {
	{ BPF_FUNC_map_lookup_elem, "map_lookup_elem", "3.19" },
	{ BPF_FUNC_map_update_elem, "map_update_elem", "3.19" },
	{ BPF_FUNC_map_delete_elem, "map_delete_elem", "3.19" },
	{ BPF_FUNC_ktime_get_ns, "ktime_get_ns", "4.1" },
	{ BPF_FUNC_get_prandom_u32, "get_prandom_u32", "4.1" },
	{ BPF_FUNC_redirect, "redirect", "4.4" },
	{ BPF_FUNC_csum_diff, "csum_diff", "4.6" },
	{ BPF_FUNC_xdp_adjust_head, "xdp_adjust_head", "4.10" },
	{ BPF_FUNC_xdp_adjust_tail, "xdp_adjust_tail", "4.18" },
	{ BPF_FUNC_fib_lookup, "fib_lookup", "4.18" },
	{ BPF_FUNC_skb_store_bytes, "skb_store_bytes", "4.1" },
	{ BPF_FUNC_l4_csum_replace, "l4_csum_replace", "4.1" },
	{ BPF_FUNC_skb_vlan_push, "skb_vlan_push", "4.3" },
	{ BPF_FUNC_skb_vlan_pop, "skb_vlan_pop", "4.3" },
	{ BPF_FUNC_skb_load_bytes, "skb_load_bytes", "4.5" },
	{ BPF_FUNC_skb_change_proto, "skb_change_proto", "4.8" },
	{ BPF_FUNC_skb_change_tail, "skb_change_tail", "4.9" },
	{ BPF_FUNC_skb_change_head, "skb_change_head", "4.10" },
	{ BPF_FUNC_skb_adjust_room, "skb_adjust_room", "4.13" },
	{ BPF_FUNC_skb_load_bytes_relative, "skb_load_bytes_relative", "4.18" },
	{ BPF_FUNC_redirect_neigh, "redirect_neigh", "5.10" },
	{ BPF_FUNC_ringbuf_reserve, "ringbuf_reserve", "5.8" },
	{ BPF_FUNC_ringbuf_submit, "ringbuf_submit", "5.8" },
	{ BPF_FUNC_ktime_get_coarse_ns, "ktime_get_coarse_ns", "5.11" },
	{ BPF_FUNC_check_mtu, "check_mtu", "5.12" },
	{ BPF_FUNC_timer_init, "timer_init", "5.15" },
	{ BPF_FUNC_timer_set_callback, "timer_set_callback", "5.15" },
	{ BPF_FUNC_timer_start, "timer_start", "5.15" },
	{ BPF_FUNC_loop, "loop", "5.17" },
	{ BPF_FUNC_xdp_get_buff_len, "xdp_get_buff_len", "5.18" },
	{ BPF_FUNC_xdp_load_bytes, "xdp_load_bytes", "5.18" },
	{ BPF_FUNC_xdp_store_bytes, "xdp_store_bytes", "5.18" },
};
#define HELPERS (sizeof(helpers) / sizeof(helpers[0]))

static const struct { const char *name; enum bpf_map_type type; } maps[] = {
	{ "session", BPF_MAP_TYPE_HASH }, { "slot", BPF_MAP_TYPE_ARRAY }, { "bib6", BPF_MAP_TYPE_HASH },
	{ "bib", BPF_MAP_TYPE_ARRAY }, { "subscriber6", BPF_MAP_TYPE_HASH }, { "subscriber", BPF_MAP_TYPE_ARRAY },
	{ "fragment", BPF_MAP_TYPE_LRU_HASH }, { "slow", BPF_MAP_TYPE_LRU_HASH }, { "nexthop", BPF_MAP_TYPE_LRU_HASH },
	{ "ftp", BPF_MAP_TYPE_HASH }, { "device", BPF_MAP_TYPE_HASH }, { "own", BPF_MAP_TYPE_ARRAY }, { "control", BPF_MAP_TYPE_ARRAY },
	{ "config", BPF_MAP_TYPE_ARRAY }, { "desk", BPF_MAP_TYPE_ARRAY }, { "stats", BPF_MAP_TYPE_PERCPU_ARRAY },
	{ "scratch", BPF_MAP_TYPE_PERCPU_ARRAY }, { "processor", BPF_MAP_TYPE_PERCPU_ARRAY },
	{ "chunk", BPF_MAP_TYPE_PERCPU_ARRAY }, { "timer", BPF_MAP_TYPE_ARRAY }, { "events", BPF_MAP_TYPE_RINGBUF },
	{ "pool", BPF_MAP_TYPE_ARRAY_OF_MAPS }, { "eam6", BPF_MAP_TYPE_ARRAY_OF_MAPS }, { "eam4", BPF_MAP_TYPE_ARRAY_OF_MAPS },
};

/* Programs by the section that says their type. libbpf 1.1 knows all of these; so do kernels since 5.14. */
static const struct { const char *name; enum bpf_prog_type type; } programs[] = {
	{ "nat64_xdp", BPF_PROG_TYPE_XDP }, { "nat64_xdp_frags", BPF_PROG_TYPE_XDP }, { "nat64_call", BPF_PROG_TYPE_SYSCALL },
	{ "nat64_tc_in", BPF_PROG_TYPE_SCHED_CLS }, { "nat64_tc_out", BPF_PROG_TYPE_SCHED_CLS },
};

/* Calls `each` for every instruction of the object, section by section. */
static void instructions(struct slice object, void (*each)(void *arg, const struct bpf_insn *insn), void *arg)
{
	Elf64_Ehdr header;
	Elf64_Shdr section;
	size_t seen = 0;

	ck_assert_uint_gt(object.len, sizeof(header));
	memcpy(&header, object.ptr, sizeof(header));
	for (size_t i = 0; i < header.e_shnum; i++) {
		memcpy(&section, object.ptr + header.e_shoff + i * sizeof(section), sizeof(section));
		if (section.sh_type != SHT_PROGBITS || (section.sh_flags & SHF_EXECINSTR) == 0)
			continue;
		for (size_t at = 0; at < section.sh_size; at += sizeof(struct bpf_insn)) {
			struct bpf_insn insn;
			memcpy(&insn, object.ptr + section.sh_offset + at, sizeof(insn));
			each(arg, &insn);
			seen++;
			if (insn.code == (BPF_LD | BPF_IMM | BPF_DW))
				at += sizeof(insn);
		}
	}
	ck_assert_uint_gt(seen, 1000);
}

static void look_at_call(void *arg, const struct bpf_insn *insn)
{
	bool *used = arg;

	if (insn->code != (BPF_JMP | BPF_CALL))
		return;
	ck_assert_msg(insn->src_reg != 2, "a kernel function (kfunc) is called: 6.1 has few, and none that must stay");
	if (insn->src_reg != 0)
		return;
	for (size_t i = 0; i < HELPERS; i++) {
		if (helpers[i].id == insn->imm) {
			used[i] = true;
			return;
		}
	}
	ck_abort_msg("helper %d is not in the list", insn->imm);
}

START_TEST(helpers_are_those_of_the_list)
{
	bool used[HELPERS] = { false };

	instructions(nat64_object(), look_at_call, used);
	for (size_t i = 0; i < HELPERS; i++)
		ck_assert_msg(used[i] || helpers[i].id == BPF_FUNC_map_delete_elem, "%s (%s) is in the list and nothing uses it", helpers[i].name,
			      helpers[i].since);
}
END_TEST

/* Version 4 of the instruction set came with 6.6: sign-extending loads and moves, byte swaps, long jumps, signed division. */
static void look_at_class(void *arg, const struct bpf_insn *insn)
{
	int class = BPF_CLASS(insn->code), op = BPF_OP(insn->code);
	bool alu = class == BPF_ALU || class == BPF_ALU64;

	ck_assert_msg(!(class == BPF_LDX && BPF_MODE(insn->code) != BPF_MEM), "a load of mode %#x", BPF_MODE(insn->code));
	ck_assert_msg(!(class == BPF_STX && BPF_MODE(insn->code) != BPF_MEM && BPF_MODE(insn->code) != BPF_ATOMIC), "a store of mode %#x",
		      BPF_MODE(insn->code));
	ck_assert_msg(!(class == BPF_LD && BPF_MODE(insn->code) != BPF_IMM), "a load by BPF_ABS or BPF_IND");
	ck_assert_msg(!(alu && op == BPF_MOV && insn->off != 0), "a move that extends the sign");
	ck_assert_msg(!(alu && (op == BPF_DIV || op == BPF_MOD) && insn->off != 0), "a signed division");
	ck_assert_msg(!(class == BPF_ALU64 && op == BPF_END), "an unconditional byte swap");
	ck_assert_msg(!(class == BPF_JMP32 && op == BPF_JA), "a long jump");
	ck_assert_msg(!(class == BPF_JMP && op == 0xe0), "may_goto");
	if (class == BPF_STX && BPF_MODE(insn->code) == BPF_ATOMIC) {
		bool known = insn->imm == BPF_ADD || insn->imm == (BPF_ADD | BPF_FETCH) || insn->imm == (BPF_OR | BPF_FETCH) ||
			insn->imm == (BPF_AND | BPF_FETCH) || insn->imm == BPF_OR || insn->imm == BPF_AND || insn->imm == BPF_CMPXCHG ||
			insn->imm == BPF_XCHG;
		ck_assert_msg(known, "atomic operation %#x", (unsigned)insn->imm);
	}
}

START_TEST(instructions_are_of_version_3)
{
	instructions(nat64_object(), look_at_class, NULL);
}
END_TEST

START_TEST(maps_are_those_that_the_state_lists)
{
	struct slice bytes = nat64_object();
	struct bpf_object *o = bpf_object__open_mem(bytes.ptr, bytes.len, NULL);
	struct bpf_map *m;
	size_t count = 0;

	ck_assert_ptr_nonnull(o);
	bpf_object__for_each_map(m, o)
		count++;
	for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++) {
		m = bpf_object__find_map_by_name(o, maps[i].name);
		ck_assert_msg(m != NULL && bpf_map__type(m) == maps[i].type, "map %s", maps[i].name);
	}
	ck_assert_uint_eq(count, sizeof(maps) / sizeof(maps[0]));
	bpf_object__close(o);
}
END_TEST

START_TEST(programs_are_of_types_that_need_no_newer_kernel)
{
	struct slice bytes = nat64_object();
	struct bpf_object *o = bpf_object__open_mem(bytes.ptr, bytes.len, NULL);
	struct bpf_program *p;

	ck_assert_ptr_nonnull(o);
	bpf_object__for_each_program(p, o) {
		size_t i = 0;
		while (i < sizeof(programs) / sizeof(programs[0]) && strcmp(programs[i].name, bpf_program__name(p)) != 0)
			i++;
		ck_assert_msg(i < sizeof(programs) / sizeof(programs[0]), "program %s", bpf_program__name(p));
		ck_assert_int_eq(bpf_program__type(p), programs[i].type);
	}
	bpf_object__close(o);
}
END_TEST

START_TEST(the_licence_is_that_of_helpers_and_ours)
{
	struct slice bytes = nat64_object();

	ck_assert_ptr_nonnull(memmem(bytes.ptr, bytes.len, "Dual MIT/GPL", sizeof("Dual MIT/GPL")));
}
END_TEST

int main(void)
{
	if (nat64_object().len == 0) {
		puts("1..0 # SKIP built without clang");
		return 0;
	}
	if (TEST_SANITIZED) {
		puts("1..0 # SKIP the object is the same without sanitizers");
		return 0;
	}
	Suite *suite = suite_create("nat64/object");
	TCase *tcase = tcase_create("object");
	const TTest *const tests[] = {
		helpers_are_those_of_the_list, instructions_are_of_version_3, maps_are_those_that_the_state_lists,
		programs_are_of_types_that_need_no_newer_kernel, the_licence_is_that_of_helpers_and_ours,
	};

	tcase_set_timeout(tcase, 30);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "/dev/stdout");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
