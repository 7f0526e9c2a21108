/*
 * What the parts of the injector share: inject.c (the plan), inject_code.c (checks and refusals as instructions),
 * inject_move.c (code, relocations, symbols), inject_lines.c (.BTF.ext), inject_file.c (the new file).
 */
#pragma once
#include <errno.h>
#include <linux/bpf.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/errmsg.h"
#include "spine/inject/inject.h"
#include "spine/inspect/elffile.h"

#define INJECT_INSN_BYTES 8u
#define INJECT_LDDW	  (BPF_LD | BPF_IMM | BPF_DW)
#define INJECT_CALL	  (BPF_JMP | BPF_CALL)
/* LLVM's numbers of relocations: of code, and of insn_off in .BTF.ext. */
#define INJECT_R_64_64	  1u
#define INJECT_R_NODYLD32 4u
#define INJECT_R_64_32	  10u

/* A call that is guarded: by its helper's bit, by its port, or by both, one behind the other. */
struct inject_guard {
	uint32_t insn;			/* in the section, before */
	int32_t helper;
	bool checks[2];			/* INJECT_BIT, INJECT_PORT */
	uint32_t refusal[2];		/* where each begins, in the section, after */
};
enum { INJECT_BIT, INJECT_PORT };

struct inject_function {
	const char *name;
	uint32_t section, number;	/* number: in the order of section and place */
	uint32_t first, end;		/* instructions of the section, before */
	uint32_t stack;			/* bytes that it uses, a multiple of 8 */
	struct inject_guard *guards;	/* in the order of instructions */
	uint32_t guard_count;
};

/* A section of code, before and after. */
struct inject_section {
	const struct bpf_insn *before;	/* NULL: not code */
	struct bpf_insn *after;
	uint32_t count, after_count;
	/*
	 * By instruction, before: where what leads to it shall lead now (its first check, or itself), and where it is itself.
	 * start[count]: the end.
	 */
	uint32_t *start, *self;
	struct elf_relocation *relocations;	/* as they were, sorted */
	size_t relocation_count;
	struct elf_relocation *added;
	size_t added_count;
	struct slice own_relocations;	/* in a section that is made for them; empty: the section has one */
	struct inject_function *functions;	/* in order */
	size_t function_count;
	bool guarded;
};

struct injection {
	struct arena *arena;
	struct errmsg *why;
	const struct inject_spec *spec;
	struct slice bytes;
	struct elf elf;
	struct inject_section *sections;	/* by section */
	struct inject_function *functions;
	size_t function_count;
	uint32_t row;			/* symbol; 0: the object has none */
	uint32_t calls;
	struct slice *content;		/* by section: what it has now */
};

/* Arguments of a helper that can be guarded, or -1. */
int inject_helper_args(int helper);

/* ---- inject_code.c ---- */

/* Instructions that are being written; out == NULL: they are counted. */
struct inject_emit {
	struct bpf_insn *out;
	uint32_t at;
	struct elf_relocation *relocations;	/* to the row; where out is not NULL */
	size_t relocation_count;
	uint32_t row;
};
#define INJECT_RELOCATIONS_MAX 12u	/* of a guard with both checks, on trial */

void inject_emit_check(struct inject_emit *e, const struct inject_guard *g, int check);
/* pass: the place behind the check; fail: the place behind the call. */
void inject_emit_refusal(struct inject_emit *e, const struct inject_function *f, const struct inject_guard *g, int check,
			 bool trial, uint32_t pass, uint32_t fail);
/* Bytes of stack that a refusal needs below the function's. */
uint32_t inject_stack(const struct inject_guard *g, bool trial);

/* ---- the other parts; all: 0, -EINVAL, -E2BIG, -ENOMEM ---- */

/* Places and instructions of all sections of code; content of those, of their relocations and of the symbol table. */
MUST_USE int inject_move(struct injection *in);
/* .BTF.ext and .rel.BTF.ext. */
MUST_USE int inject_lines(struct injection *in);
MUST_USE int inject_write(struct injection *in, struct buf *out);

static inline int inject_short_of_memory(const struct injection *in)
{
	return errmsg_set(in->why, -ENOMEM, "checks for an object");
}
/* The function that has an instruction (before), or NULL. */
const struct inject_function *inject_function_at(const struct inject_section *s, uint64_t insn);
/* The section of relocations of `section`, or 0. */
size_t inject_relocations_of(const struct elf *e, size_t section);
/* In the arena; ptr NULL: no memory. Sorts the list. */
struct slice inject_relocation_bytes(struct arena *arena, struct elf_relocation *list, size_t count);

static inline void inject_put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}
static inline void inject_put64(uint8_t *p, uint64_t v)
{
	inject_put32(p, (uint32_t)v);
	inject_put32(p + 4, (uint32_t)(v >> 32));
}
