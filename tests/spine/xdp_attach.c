/*
 * A program that attaches XDP to an interface by a BPF link, for tests/spine/exec.py: built twice, static with its
 * own system calls, as Go programs are, and dynamic with libbpf. Drops UDP to port 7; holds the link until standard
 * input ends. xdp_attach INTERFACE
 */
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifndef STATIC
#include <bpf/bpf.h>
#endif

#define INSN(c, d, s, o, i) { .code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) }

/* if (data + 42 <= data_end && ethertype IPv4 && UDP && destination port 7) DROP else PASS */
static const struct bpf_insn program[] = {
	INSN(BPF_LDX | BPF_MEM | BPF_W, 2, 1, 0, 0),
	INSN(BPF_LDX | BPF_MEM | BPF_W, 3, 1, 4, 0),
	INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, XDP_PASS),
	INSN(BPF_ALU64 | BPF_MOV | BPF_X, 4, 2, 0, 0),
	INSN(BPF_ALU64 | BPF_ADD | BPF_K, 4, 0, 0, 42),
	INSN(BPF_JMP | BPF_JGT | BPF_X, 4, 3, 7, 0),
	INSN(BPF_LDX | BPF_MEM | BPF_H, 4, 2, 12, 0),
	INSN(BPF_JMP | BPF_JNE | BPF_K, 4, 0, 5, 0x0008),
	INSN(BPF_LDX | BPF_MEM | BPF_B, 4, 2, 23, 0),
	INSN(BPF_JMP | BPF_JNE | BPF_K, 4, 0, 3, 17),
	INSN(BPF_LDX | BPF_MEM | BPF_H, 4, 2, 36, 0),
	INSN(BPF_JMP | BPF_JNE | BPF_K, 4, 0, 1, 0x0700),
	INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, XDP_DROP),
	INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
};

#ifdef STATIC
static int load(void)
{
	union bpf_attr attr = { .prog_type = BPF_PROG_TYPE_XDP, .insns = (uint64_t)(uintptr_t)program,
				.insn_cnt = sizeof(program) / sizeof(program[0]), .license = (uint64_t)(uintptr_t)"MIT",
				.expected_attach_type = BPF_XDP };

	memcpy(attr.prog_name, "static_attach", 14);
	return (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
}

static int attach(int fd, unsigned ifindex)
{
	union bpf_attr attr = { .link_create = { .prog_fd = (uint32_t)fd, .target_ifindex = ifindex, .attach_type = BPF_XDP } };

	return (int)syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));
}
#else
static int load(void)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = BPF_XDP);

	return bpf_prog_load(BPF_PROG_TYPE_XDP, "libbpf_attach", "MIT", program, sizeof(program) / sizeof(program[0]), &opts);
}

static int attach(int fd, unsigned ifindex)
{
	return bpf_link_create(fd, (int)ifindex, BPF_XDP, NULL);
}
#endif

int main(int argc, char **argv)
{
	int fd = load(), link;
	char byte;

	if (argc != 2 || fd < 0) {
		perror("load");
		return 2;
	}
	link = attach(fd, if_nametoindex(argv[1]));
	if (link < 0) {
		perror("attach");
		return 3;
	}
	printf("attached\n");
	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		;
	return 0;
}
