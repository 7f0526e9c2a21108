#include "spine/code/program.h"

#include <bpf/btf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"
#include "base/must.h"

#define FUNCTION_NAME_BYTES 24
#define UNSET UINT32_MAX

/* A jump or a call whose distance is not known yet. */
struct fix {
	uint32_t insn, target;		/* target: a label or a function */
	bool call;
};

struct function {
	char name[FUNCTION_NAME_BYTES];
	uint32_t at;
	bool shared;			/* checked once, takes nothing */
};

struct program {
	struct bpf_insn *insns;
	uint32_t count, max;
	uint32_t *labels;
	uint32_t label_count, label_room;
	struct fix *fixes;
	uint32_t fix_count, fix_room;
	struct function *functions;
	uint32_t function_count, function_room;
	int error;			/* the first one */
	bool sealed;
	struct btf *btf;
	struct bpf_func_info *func_info;
};

int program_new(uint32_t insns_max, struct program **out)
{
	struct program *p = calloc(1, sizeof(*p));

	must(insns_max > 0);
	if (p == NULL)
		return -ENOMEM;
	p->max = insns_max;
	p->insns = calloc(insns_max, sizeof(*p->insns));
	if (p->insns != NULL)
		p_function(p, p_declare(p, "dispatch"));
	if (p->insns == NULL || p->error != 0) {
		program_free(p);
		return -ENOMEM;
	}
	*out = p;
	return 0;
}

void program_free(struct program *p)
{
	if (p == NULL)
		return;
	btf__free(p->btf);
	free(p->func_info);
	free(p->functions);
	free(p->fixes);
	free(p->labels);
	free(p->insns);
	free(p);
}

/* Room for one more of `array`; false when there is no memory. */
static bool room(struct program *p, void *array, uint32_t count, uint32_t *have, size_t size)
{
	uint32_t want = *have == 0 ? 64 : *have * 2;
	void *grown, *old;

	if (count < *have)
		return true;
	memcpy(&old, array, sizeof(old));
	grown = reallocarray(old, want, size);
	if (grown == NULL) {
		if (p->error == 0)
			p->error = -ENOMEM;
		return false;
	}
	memcpy(array, &grown, sizeof(grown));
	*have = want;
	return true;
}

/* ---- instructions ---- */

void p_insn(struct program *p, uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm)
{
	must(!p->sealed);
	if (p->error != 0)
		return;
	if (p->count == p->max) {
		p->error = -E2BIG;
		return;
	}
	p->insns[p->count++] = (struct bpf_insn){
		.code = code, .dst_reg = dst & 0xfu, .src_reg = src & 0xfu, .off = off, .imm = imm };
}

void p_mov(struct program *p, uint8_t dst, uint8_t src)
{
	p_insn(p, BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0);
}

void p_mov_imm(struct program *p, uint8_t dst, int32_t imm)
{
	p_insn(p, BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, imm);
}

void p_alu_imm(struct program *p, uint8_t op, uint8_t dst, int32_t imm)
{
	p_insn(p, BPF_ALU64 | op | BPF_K, dst, 0, 0, imm);
}

void p_alu(struct program *p, uint8_t op, uint8_t dst, uint8_t src)
{
	p_insn(p, BPF_ALU64 | op | BPF_X, dst, src, 0, 0);
}

void p_load(struct program *p, uint8_t size, uint8_t dst, uint8_t src, int16_t off)
{
	p_insn(p, BPF_LDX | BPF_MEM | size, dst, src, off, 0);
}

void p_store(struct program *p, uint8_t size, uint8_t dst, int16_t off, uint8_t src)
{
	p_insn(p, BPF_STX | BPF_MEM | size, dst, src, off, 0);
}

void p_store_imm(struct program *p, uint8_t size, uint8_t dst, int16_t off, int32_t imm)
{
	p_insn(p, BPF_ST | BPF_MEM | size, dst, 0, off, imm);
}

/* The two halves of the one long instruction. */
static void wide_imm(struct program *p, uint8_t dst, uint8_t kind, uint32_t low, uint32_t high)
{
	p_insn(p, BPF_LD | BPF_DW | BPF_IMM, dst, kind, 0, (int32_t)low);
	p_insn(p, 0, 0, 0, 0, (int32_t)high);
}

void p_imm64(struct program *p, uint8_t dst, uint64_t value)
{
	wide_imm(p, dst, 0, (uint32_t)value, (uint32_t)(value >> 32));
}

void p_map_fd(struct program *p, uint8_t dst, int fd)
{
	wide_imm(p, dst, BPF_PSEUDO_MAP_FD, (uint32_t)fd, 0);
}

void p_map_value(struct program *p, uint8_t dst, int fd, uint32_t offset)
{
	wide_imm(p, dst, BPF_PSEUDO_MAP_VALUE, (uint32_t)fd, offset);
}

void p_helper(struct program *p, int32_t helper)
{
	p_insn(p, BPF_JMP | BPF_CALL, 0, 0, 0, helper);
}

void p_exit(struct program *p)
{
	p_insn(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* ---- jumps ---- */

program_label p_label(struct program *p)
{
	if (!room(p, &p->labels, p->label_count, &p->label_room, sizeof(*p->labels)))
		return 0;
	p->labels[p->label_count] = UNSET;
	return p->label_count++;
}

void p_set(struct program *p, program_label label)
{
	if (p->error != 0)
		return;
	must(label < p->label_count);
	must(p->labels[label] == UNSET);
	p->labels[label] = p->count;
}

static void fix_later(struct program *p, uint32_t target, bool call)
{
	if (p->error != 0 || !room(p, &p->fixes, p->fix_count, &p->fix_room, sizeof(*p->fixes)))
		return;
	p->fixes[p->fix_count++] = (struct fix){ .insn = p->count, .target = target, .call = call };
}

void p_goto(struct program *p, program_label label)
{
	fix_later(p, label, false);
	p_insn(p, BPF_JMP | BPF_JA, 0, 0, 0, 0);
}

void p_jump_imm(struct program *p, uint8_t op, bool wide, uint8_t dst, int32_t imm, program_label label)
{
	fix_later(p, label, false);
	p_insn(p, (uint8_t)((wide ? BPF_JMP : BPF_JMP32) | op | BPF_K), dst, 0, 0, imm);
}

void p_jump(struct program *p, uint8_t op, bool wide, uint8_t dst, uint8_t src, program_label label)
{
	fix_later(p, label, false);
	p_insn(p, (uint8_t)((wide ? BPF_JMP : BPF_JMP32) | op | BPF_X), dst, src, 0, 0);
}

/* ---- functions ---- */

program_function p_declare(struct program *p, const char *name)
{
	struct function *f;

	if (!room(p, &p->functions, p->function_count, &p->function_room, sizeof(*p->functions)))
		return 0;
	f = &p->functions[p->function_count];
	must(strlen(name) < sizeof(f->name));
	memcpy(f->name, name, strlen(name) + 1);
	f->at = UNSET;
	f->shared = false;
	return p->function_count++;
}

program_function p_declare_shared(struct program *p, const char *name)
{
	program_function f = p_declare(p, name);

	if (p->error == 0)
		p->functions[f].shared = true;
	return f;
}

void p_function(struct program *p, program_function f)
{
	if (p->error != 0)
		return;
	must(f < p->function_count);
	must(p->functions[f].at == UNSET);
	p->functions[f].at = p->count;
}

void p_call(struct program *p, program_function f)
{
	fix_later(p, f, true);
	p_insn(p, BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, 0);
}

/* ---- the end ---- */

static int resolve(struct program *p, struct errmsg *why)
{
	for (uint32_t i = 0; i < p->fix_count; i++) {
		const struct fix *fix = &p->fixes[i];
		uint32_t to = fix->call ? p->functions[fix->target].at : p->labels[fix->target];
		int64_t distance = (int64_t)to - (int64_t)fix->insn - 1;

		must(to != UNSET);
		if (fix->call) {
			p->insns[fix->insn].imm = (int32_t)distance;
			continue;
		}
		must(distance >= 0);		/* what we generate ends */
		if (distance > INT16_MAX)
			return errmsg_say(why, -E2BIG, "the generated program has a jump over %lld instructions; at most %d are possible",
					  (long long)distance, INT16_MAX);
		p->insns[fix->insn].off = (int16_t)distance;
	}
	return 0;
}

/* In the order of their instructions, as the kernel wants them: function ids are BTF ids. */
static int describe(struct program *p)
{
	int number, proto, proto_shared, id;

	p->btf = btf__new_empty();
	p->func_info = calloc(p->function_count, sizeof(*p->func_info));
	if (p->btf == NULL || p->func_info == NULL)
		return -ENOMEM;
	number = btf__add_int(p->btf, "int", 4, BTF_INT_SIGNED);
	id = btf__add_ptr(p->btf, 0);
	proto = btf__add_func_proto(p->btf, number);
	if (number < 0 || id < 0 || proto < 0 || btf__add_func_param(p->btf, "ctx", id) != 0)
		return -ENOMEM;
	proto_shared = btf__add_func_proto(p->btf, number);
	if (proto_shared < 0)
		return -ENOMEM;
	for (uint32_t i = 0; i < p->function_count; i++) {
		const struct function *f = &p->functions[i];

		must(f->at != UNSET);
		must(i == 0 || f->at > p->functions[i - 1].at);
		id = btf__add_func(p->btf, f->name, f->shared ? BTF_FUNC_GLOBAL : BTF_FUNC_STATIC,
				   f->shared ? proto_shared : proto);
		if (id < 0)
			return -ENOMEM;
		p->func_info[i] = (struct bpf_func_info){ .insn_off = f->at, .type_id = (uint32_t)id };
	}
	return 0;
}

int program_seal(struct program *p, struct errmsg *why)
{
	int err;

	must(!p->sealed);
	if (p->error == -E2BIG)
		return errmsg_say(why, -E2BIG, "the generated program would have more than %u instructions", p->max);
	err = p->error != 0 ? p->error : resolve(p, why);
	if (err == 0)
		err = describe(p);
	if (err == -ENOMEM)
		return errmsg_say(why, -ENOMEM, "no memory for a generated program of %u instructions", p->count);
	p->sealed = err == 0;
	return err;
}

const struct bpf_insn *program_insns(const struct program *p, uint32_t *count)
{
	must(p->sealed);
	*count = p->count;
	return p->insns;
}

const void *program_btf(const struct program *p, uint32_t *bytes)
{
	must(p->sealed);
	return btf__raw_data(p->btf, bytes);
}

const struct bpf_func_info *program_func_info(const struct program *p, uint32_t *count)
{
	must(p->sealed);
	*count = p->function_count;
	return p->func_info;
}
