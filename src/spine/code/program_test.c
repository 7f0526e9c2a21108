#include "spine/code/program.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/test.h"

START_TEST(forward_jumps_reach_their_labels)
{
	struct program *p;
	const struct bpf_insn *insns;
	program_label end;
	uint32_t count;

	ck_assert_int_eq(program_new(100, &p), 0);
	end = p_label(p);
	p_mov_imm(p, BPF_REG_0, 1);
	p_jump_imm(p, BPF_JEQ, true, BPF_REG_0, 1, end);
	p_mov_imm(p, BPF_REG_0, 2);
	p_set(p, end);
	p_exit(p);
	ck_assert_int_eq(program_seal(p, NULL), 0);
	insns = program_insns(p, &count);
	ck_assert_uint_eq(count, 4);
	ck_assert_int_eq(insns[1].off, 1);
	program_free(p);
}
END_TEST

START_TEST(a_program_over_its_size_is_refused)
{
	struct program *p;
	struct errmsg why;

	ck_assert_int_eq(program_new(2, &p), 0);
	for (int i = 0; i < 3; i++)
		p_mov_imm(p, BPF_REG_0, i);
	ck_assert_int_eq(program_seal(p, &why), -E2BIG);
	ck_assert_ptr_nonnull(strstr(why.text, "more than 2 instructions"));
	program_free(p);
}
END_TEST

START_TEST(a_jump_that_is_too_far_is_refused)
{
	struct program *p;
	struct errmsg why;
	program_label end;

	ck_assert_int_eq(program_new(100000, &p), 0);
	end = p_label(p);
	p_goto(p, end);
	for (int i = 0; i < 40000; i++)
		p_mov_imm(p, BPF_REG_0, i);
	p_set(p, end);
	p_exit(p);
	ck_assert_int_eq(program_seal(p, &why), -E2BIG);
	program_free(p);
}
END_TEST

START_TEST(functions_are_called_and_the_kernel_runs_them)
{
	struct program *p;
	program_function f;
	uint32_t count, btf_bytes, infos;
	uint8_t frame[64] = { 0 };
	int btf_fd, fd;

	if (geteuid() != 0)
		return;		/* only root may load programs */
	ck_assert_int_eq(program_new(100, &p), 0);
	f = p_declare(p, "seven");
	p_call(p, f);
	p_alu_imm(p, BPF_ADD, BPF_REG_0, 1);
	p_exit(p);
	p_function(p, f);
	p_mov_imm(p, BPF_REG_0, 7);
	p_exit(p);
	ck_assert_int_eq(program_seal(p, NULL), 0);

	const void *btf = program_btf(p, &btf_bytes);
	const struct bpf_func_info *info = program_func_info(p, &infos);
	const struct bpf_insn *insns = program_insns(p, &count);

	btf_fd = bpf_btf_load(btf, btf_bytes, NULL);
	ck_assert_int_ge(btf_fd, 0);
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .prog_btf_fd = (uint32_t)btf_fd, .func_info = info, .func_info_cnt = infos,
		    .func_info_rec_size = sizeof(*info));
	fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "seven", "Dual MIT/GPL", insns, count, &opts);
	ck_assert_int_ge(fd, 0);
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = sizeof(frame));
	ck_assert_int_eq(bpf_prog_test_run_opts(fd, &run), 0);
	ck_assert_uint_eq(run.retval, 8);
	close(fd);
	close(btf_fd);
	program_free(p);
}
END_TEST

TEST_MAIN("spine/program", forward_jumps_reach_their_labels, a_program_over_its_size_is_refused,
	  a_jump_that_is_too_far_is_refused, functions_are_called_and_the_kernel_runs_them)
