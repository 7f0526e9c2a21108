/*
 * An eBPF program under construction: instructions, labels, and what the kernel wants beside them.
 *
 * Forward jumps go to labels that are set later; program_seal() fills them in. The first failure
 * (no memory, too long, a jump too far) sticks, so that emitting code needs no checks of its own.
 * Names follow RFC 9669 and <linux/bpf.h>; there are no backward jumps here on purpose: all that
 * we generate ends.
 */
#pragma once
#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/errmsg.h"

struct program;				/* opaque */

/* At most insns_max instructions. 0 or -ENOMEM. */
MUST_USE int program_new(uint32_t insns_max, struct program **out);
void program_free(struct program *p);

/* Append. The label or function of a jump or call comes with p_jump, p_call. O(1). */
void p_insn(struct program *p, uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm);
void p_mov(struct program *p, uint8_t dst, uint8_t src);
void p_mov_imm(struct program *p, uint8_t dst, int32_t imm);
void p_alu_imm(struct program *p, uint8_t op, uint8_t dst, int32_t imm);	/* 64 bit; op is BPF_ADD... */
void p_alu(struct program *p, uint8_t op, uint8_t dst, uint8_t src);
void p_load(struct program *p, uint8_t size, uint8_t dst, uint8_t src, int16_t off);	/* BPF_W... */
void p_store(struct program *p, uint8_t size, uint8_t dst, int16_t off, uint8_t src);
void p_store_imm(struct program *p, uint8_t size, uint8_t dst, int16_t off, int32_t imm);
void p_imm64(struct program *p, uint8_t dst, uint64_t value);			/* two instructions */
void p_map_fd(struct program *p, uint8_t dst, int fd);
void p_map_value(struct program *p, uint8_t dst, int fd, uint32_t offset);	/* address in an array map */
void p_helper(struct program *p, int32_t helper);				/* BPF_FUNC_... */
void p_exit(struct program *p);

/* Labels are small numbers; a label is set once, after the jumps to it. */
typedef uint32_t program_label;
program_label p_label(struct program *p);
void p_set(struct program *p, program_label label);
void p_goto(struct program *p, program_label label);
/* op is BPF_JEQ...; wide: 64-bit comparison, else 32-bit (BPF_JMP32). */
void p_jump_imm(struct program *p, uint8_t op, bool wide, uint8_t dst, int32_t imm, program_label label);
void p_jump(struct program *p, uint8_t op, bool wide, uint8_t dst, uint8_t src, program_label label);

/*
 * Functions: the program begins in function 0; p_function starts the next one here and names it for
 * BTF ("slot_7"). Functions take the context and return an int. p_call calls one that is declared.
 * They follow each other in the order in which they were declared.
 */
typedef uint32_t program_function;
program_function p_declare(struct program *p, const char *name);
/* One without arguments that the verifier checks once and not again for each call (BTF: global). */
program_function p_declare_shared(struct program *p, const char *name);
void p_function(struct program *p, program_function f);
void p_call(struct program *p, program_function f);

/*
 * Resolve jumps and calls. 0; -E2BIG (too many instructions or a jump too far; `why` says which);
 * -ENOMEM. After it the instructions stay as they are.
 */
MUST_USE int program_seal(struct program *p, struct errmsg *why);
const struct bpf_insn *program_insns(const struct program *p, uint32_t *count);
/* The BTF that describes the functions (tail calls in functions need it) and the table for BPF_PROG_LOAD. */
const void *program_btf(const struct program *p, uint32_t *bytes);
const struct bpf_func_info *program_func_info(const struct program *p, uint32_t *count);
