/*
 * An eBPF object file, read with suspicion: ELF sections, programs, maps, BTF, line info, manifest and
 * handlers. It is the first to see an object and refuses whatever it does not understand, so that what
 * libbpf and the kernel get later has been looked at as a whole. Bytes in, a tree out: no descriptors,
 * no loading. The code service uses it, too.
 */
#pragma once
#include <linux/bpf.h>
#include <prickle/spine_manifest.h>

#include "base/arena.h"
#include "base/errmsg.h"
#include "base/slice.h"

struct object_map {
	const char *name;
	uint32_t type, key_bytes, value_bytes, entries, flags;
	bool internal;			/* .data, .bss, .rodata...: libbpf makes an array of one entry */
	bool pin_by_name;		/* LIBBPF_PIN_BY_NAME */
	bool filled;			/* the object names what is in it from the start: inner maps, programs */
	uint64_t extra;			/* map_extra: hashes of a bloom filter, address of an arena */
	const struct object_map *inner;	/* of a map of maps, where the object tells */
};

/*
 * What an instruction refers to. REF_CALL (a subprogram is called) and REF_FUNCTION (its address is taken, as for
 * callbacks) are there for all of them, relocated or not. REF_CORE: CO-RE writes the instruction's constant or
 * offset anew for the running kernel, so that what stands in the object means nothing.
 */
enum object_ref_kind { REF_NONE, REF_MAP, REF_MAP_VALUE, REF_CALL, REF_FUNCTION, REF_EXTERN, REF_CORE };
struct object_ref {
	uint32_t insn;			/* index in the program's instructions */
	enum object_ref_kind kind;
	uint32_t index;			/* of map, program (subprogram) */
	const char *name;		/* of an extern: kfunc, ksym, kconfig */
	uint32_t offset;		/* REF_MAP_VALUE: in the value */
};

struct object_line {
	uint32_t insn;
	uint32_t line, column;
	const char *file, *text;	/* text: the source line */
};

/* A function: an entry program, or a subprogram of section ".text". libbpf knows no others. */
struct object_program {
	const char *name, *section;
	uint32_t type;			/* BPF_PROG_TYPE_XDP, _SYSCALL; UNSPEC for subprograms and what we do not know */
	bool entry;			/* any program that would be loaded: all outside of ".text" */
	bool frags;			/* "xdp.frags" */
	const struct bpf_insn *insns;
	uint32_t insn_count;
	const struct object_ref *refs;	/* sorted by insn */
	size_t ref_count;
	const struct object_line *lines;	/* sorted by insn; may be empty */
	size_t line_count;
};

/* An argument struct of a handler, flattened from BTF for stub generators. */
struct object_field {
	const char *name, *type;	/* C type: "__u32", "__u8" ...; name: a C identifier, "a_b" for b in a */
	uint32_t offset, bytes, count;	/* bytes of one element; count > 1: an array */
};

struct object_handler {
	uint16_t id;
	const char *name, *type;
	uint32_t bytes;
	const struct object_field *fields;
	size_t field_count;
};

struct object {
	const struct spine_manifest *manifest;	/* checked: texts end, numbers in range, defaults filled in; NULL: none */
	const char *licence;		/* "" when it has none */
	const struct object_program *programs;
	size_t program_count;
	const struct object_map *maps;
	size_t map_count;
	const struct object_handler *handlers;
	size_t handler_count;
	bool has_btf;
};

/*
 * Read an object. bytes must stay as long as the arena. 0; -EINVAL: it is malformed, or uses what we
 * do not know, and `why` says what and where; -E2BIG: over a limit of spine/inspect/limits.def; -ENOMEM.
 * O(bytes). Never crashes, never loops: fuzz target spine_object.
 */
MUST_USE int object_parse(struct arena *arena, struct slice bytes, const struct object **out,
			  struct errmsg *why);
/* The line of an instruction, or NULL. */
const struct object_line *object_line_at(const struct object_program *p, uint32_t insn);
/* The program of section "xdp" or "xdp.frags", or NULL when there is none or more than one. */
const struct object_program *object_entry(const struct object *o);
/*
 * The program is `spine_egress` in SEC("xdp/devmap"): it runs for each frame that the extension itself sends to one
 * of its ports (spine_ports), on the way out. Nothing else can be behind a redirect.
 */
bool object_is_egress(const struct object_program *p);
