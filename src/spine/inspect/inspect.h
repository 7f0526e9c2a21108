/*
 * The inspector: what a program may do and how long it may take, before it is loaded or placed.
 *
 * The kernel's verifier guarantees memory safety and that programs end; it bounds neither time nor
 * which of the kernel's doors a program uses. The inspector walks all paths from an entry program
 * through its subprograms and callbacks and collects program type, helpers, kfuncs, maps, tail calls
 * and loops, and bounds the longest path: constant-bound loops (bpf_loop, open-coded iterators with a
 * constant, back edges that count towards a constant) are multiplied out; anything else is unbounded.
 *
 * Costs are counted in instructions; a helper counts as inspect_helper_cost() says (measured).
 *
 * Rules of findings, each named for what would have to be granted or changed: "helper NAME", "kfunc NAME",
 * "ksym NAME", "map-type NAME", "map NAME" (a map with a reserved name and another type; ".data.policy": nothing may refer to it), "tail-call",
 * "verdict NAME", "program-type SECTION", "entry", "cost", "memory", "recursion", "call-depth", "instruction".
 */
#pragma once
#include "base/buf.h"
#include "spine/inspect/object.h"

#define INSPECT_UNBOUNDED UINT64_MAX
/* A cost not proven below this is refused unless the operator accepts it. */
#define INSPECT_COST_MAX 1000000u

/*
 * Message handlers (SEC("syscall")) run in their sender's time, but nothing can end one before it is done, not even
 * a signal, and the kernel waits for it before it frees programs: so this is refused, too. A tenth of a second.
 */
#define INSPECT_HANDLER_COST_MAX 300000000u

/* What somebody may use; from the manifest and the policy (spine/rights.h). */
struct inspect_rights {
	uint32_t verdicts;
	const uint64_t *helpers;	/* bit set by helper id, INSPECT_HELPER_WORDS words; NULL: the default set */
	const char *const *kfuncs;	/* NULL-ended names; NULL: none */
	uint64_t map_types;		/* bit set by BPF_MAP_TYPE_...; 0: the default set */
	uint64_t instructions_max;
	uint64_t memory_bytes_max;
	bool tail_calls, unbounded;
	bool syscall_programs;		/* handlers may be present */
	bool redirect_checked;		/* bpf_redirect() goes behind a check of its port (spine/inject), so it may stand */
	uint32_t cpus;			/* that per-CPU maps have parts for; 0: 1 */
	/*
	 * For inspect_loaded, or NULL: the kernel's name of the function that a translated call leads to
	 * (`relative`: imm of the call, its distance from __bpf_call_base), or NULL.
	 */
	const char *(*call_name)(void *arg, int32_t relative);
	void *call_arg;
};
#define INSPECT_HELPER_WORDS 4
extern const uint64_t inspect_default_helpers[INSPECT_HELPER_WORDS];	/* harmless ones for XDP */
extern const uint64_t inspect_default_map_types;
/* "lru_hash": the kernel's name in small letters; NULL for numbers that we do not know. */
const char *inspect_map_type_name(uint32_t type);

/* The number of a helper from its name without "bpf_", or -1; and back, or NULL. */
int inspect_helper_id(struct slice name);
const char *inspect_helper_name(int id);
/* Cost of a call in instructions; source of each number: helpers.def. Unknown helpers are dear. */
#define INSPECT_UNKNOWN_CALL_COST 300u
uint32_t inspect_helper_cost(int id);
/* False for helpers that no policy allows: they reach what is not the extension's. */
bool inspect_helper_grantable(int id);

/* A reason to refuse; the first word of `rule` names what to grant ("helper probe_write_user"). */
struct inspect_finding {
	const char *rule;		/* "helper probe_read_kernel", "map-type prog_array", "cost", "verdict redirect" */
	const char *program;		/* "" for maps, the manifest, and the object as a whole */
	uint32_t insn;
	const struct object_line *line;	/* or NULL */
	const char *sentence;		/* what is wrong and what would allow it */
};

struct inspect_report {
	uint64_t cost;			/* longest path in instructions, or INSPECT_UNBOUNDED */
	const char *cost_why;		/* for unbounded: which loop, a sentence */
	uint64_t memory_bytes;		/* of maps, an estimate from below */
	uint64_t helpers[INSPECT_HELPER_WORDS];
	uint64_t map_types;
	bool tail_calls, redirects, adjusts_packet;	/* it does, or nobody can tell */
	uint32_t verdicts;		/* that constants on its returns prove possible; SPINE_VERDICTS_ALL when unknown */
	const struct inspect_finding *findings;
	size_t finding_count;
};

/*
 * Inspect an object's programs against rights. 0 and *out (findings say what is refused); -E2BIG,
 * -ENOMEM. O(instructions), bounded by limits. The object and the arena must outlive the report.
 */
MUST_USE int inspect_object(struct arena *arena, const struct object *o, const struct inspect_rights *rights,
			    struct inspect_report *out, struct errmsg *why);

/* A map that a loaded program uses, as the kernel tells. */
struct inspect_loaded_map {
	uint32_t id, type;
	bool foreign;			/* belongs to the runtime or to another extension: refused */
};
/*
 * The same for a program that is loaded already (adopt): its translated instructions as
 * BPF_OBJ_GET_INFO_BY_FD gives them. Helper numbers there may be addresses: those count as unknown and
 * set nothing; INSPECT_UNBOUNDED for back edges that cannot be bounded. insns may be NULL when the kernel
 * gave none: then everything is unknown and the report says so.
 */
MUST_USE int inspect_loaded(struct arena *arena, const struct bpf_insn *insns, uint32_t insn_count,
			    const struct inspect_loaded_map *maps, size_t map_count,
			    const struct inspect_rights *rights, struct inspect_report *out,
			    struct errmsg *why);

/* Findings as lines for people ("file.c:12: helper ... : sentence", then the source line). */
void inspect_findings_text(struct buf *out, const struct inspect_report *r);
