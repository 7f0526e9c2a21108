/*
 * Loading happens in a child process, whatever the tier: libbpf and the kernel's parsers see the
 * object there, so a mistake of theirs costs the child and becomes a sentence. The child makes what the
 * plan says and sends the descriptors; the parent looks at each again before it believes. Inside
 * src/spine/load*.c only.
 */
#pragma once
#include <bpf/libbpf.h>
#include <prickle/spine_ring.h>

#include "spine/inject/inject.h"
#include "spine/load.h"
#include "spine/load_memory.h"
#include "spine/spine_limits.h"

/* ---- names ---- */

/*
 * A map of libbpf by the name that it has in the object: ".bss" for "router.bss". Internal maps begin with a
 * dot, others never do.
 */
const char *load_map_name(const struct bpf_map *map);
/* Each channel has its own: inbox, channel, region. */
bool load_map_per_channel(const char *name);
/* Part of the way to host programs: kept over an upgrade whatever state_id says, and no state. */
bool load_map_runtime(const char *name);
/* The name of its pin. */
void load_map_file(char out[LOAD_MAP_FILE_BYTES], const char *name, size_t channel);

/* ---- maps of the version that runs ---- */

struct old_map {
	char file[LOAD_MAP_FILE_BYTES];
	int fd;
	struct bpf_map_info info;
	struct btf *btf;		/* NULL: it has none */
};

struct old_maps {
	struct old_map *items;
	size_t count;
};

/* Open all maps that are pinned in a directory (-1: none). Release with old_maps_done. 0 or negative errno. */
MUST_USE int old_maps_read(int dir, struct old_maps *out, struct errmsg *why);
void old_maps_done(struct old_maps *m);
const struct old_map *old_maps_find(const struct old_maps *m, const char *file);
/* Same type, sizes, flags and types of key and value as a map of an opened object. */
bool old_map_fits(const struct old_map *old, const struct bpf_map *map, const struct btf *btf);

/* ---- the child ---- */

struct load_plan {
	const struct load_request *request;
	const struct spine_rights *rights;	/* NULL: for a test; ports and row stay as the object has them */
	enum spine_tier tier;
	size_t channels;
	const struct old_maps *old;
	bool keep_state;		/* state_id is equal: maps that fit are used again */
	bool migrate;			/* old maps stand in for old_NAME; spine_migrate is loaded */
	const struct memory_group *group;	/* root < 0: none */
};

enum load_row_kind { LOAD_MAP = 1, LOAD_ENTRY, LOAD_CALL, LOAD_DRAIN, LOAD_EGRESS, LOAD_MIGRATE, LOAD_END, LOAD_FAILED };

/* One message of the child; a descriptor goes with all kinds up to LOAD_MIGRATE. */
struct load_row {
	uint32_t kind;
	uint32_t channel;
	uint32_t reused;
	uint32_t mismatch;		/* LOAD_END: an old map of state had no place in the new version */
	char name[LOAD_MAP_NAME_BYTES];
	struct errmsg why;		/* LOAD_FAILED */
};

/* Load and send rows to `socket`; then wait until the parent closes it. Never returns. */
NORETURN void load_child(const struct load_plan *plan, int socket);

/* ---- the verifier's log ---- */

/*
 * What the kernel disliked, in a sentence: program, file:line, instruction and its last words. `log` is the
 * verifier's, `prints` are libbpf's.
 */
void load_log_sentence(struct buf *out, struct slice log, struct slice prints, const struct object *o);

/* ---- rights ---- */

/*
 * Inspect under what the manifest asks for and the policy allows in this tier. 0: nothing speaks against it;
 * -EPERM: refused, the report has every reason with what would allow it, and `why` the first; others: the
 * system failed.
 */
MUST_USE int load_judge(struct arena *arena, const struct load_request *r, const struct spine_rights *rights, enum spine_tier tier,
			struct inspect_report *report, struct errmsg *why);

/* ---- what is checked while it runs ---- */

/* On trial, what is not allowed is called behind a check that lets it through and tells, as far as a check can: these rights, too. */
void load_ask_for_trial(struct spine_rights *r);
/*
 * Put checks in, proven by somebody who does not trust the injector. used: helpers that the inspector found. r->object and r->parsed become what the
 * kernel shall see: the original, when there is nothing to guard. guarded: helpers whose calls are checked. 0; -EPERM, -EINVAL, -EBADMSG: nothing
 * may be loaded, with a sentence.
 */
MUST_USE int load_guard(struct arena *arena, struct load_request *r, const struct spine_rights *rights, const uint64_t used[INSPECT_HELPER_WORDS],
			struct buf *injected, struct inject_report *did, uint64_t guarded[INSPECT_HELPER_WORDS], struct errmsg *why);
