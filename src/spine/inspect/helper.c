#include "spine/inspect/inspect.h"

enum helper_grant { NEVER, BY_GRANT, BY_DEFAULT };

static const struct {
	const char *name;
	enum helper_grant grant;
	uint32_t cost;
} helpers[] = {
#define HELPER(id, name, grant, cost, source) [id] = { #name, grant, cost },
#include "spine/inspect/helpers.def"
#undef HELPER
};
_Static_assert(ARRAY_LEN(helpers) <= 64 * INSPECT_HELPER_WORDS, "a bit for each");

/* The bits of one word, from the same rows: an initialiser has no loop. */
#define HELPER(id, name, grant, cost, source)                                                      \
	| ((grant) == BY_DEFAULT && (id) / 64 == WORD ? UINT64_C(1) << ((id) % 64) : 0)
const uint64_t inspect_default_helpers[INSPECT_HELPER_WORDS] = {
#define WORD 0
	0
#include "spine/inspect/helpers.def"
	,
#undef WORD
#define WORD 1
	0
#include "spine/inspect/helpers.def"
	,
#undef WORD
#define WORD 2
	0
#include "spine/inspect/helpers.def"
	,
#undef WORD
#define WORD 3
	0
#include "spine/inspect/helpers.def"
#undef WORD
};
#undef HELPER

#define TYPE(name) (UINT64_C(1) << BPF_MAP_TYPE_##name)
const uint64_t inspect_default_map_types =
	TYPE(HASH) | TYPE(ARRAY) | TYPE(PERCPU_HASH) | TYPE(PERCPU_ARRAY) | TYPE(LRU_HASH) |
	TYPE(LRU_PERCPU_HASH) | TYPE(LPM_TRIE) | TYPE(QUEUE) | TYPE(STACK) | TYPE(BLOOM_FILTER) |
	TYPE(RINGBUF) | TYPE(USER_RINGBUF) |
	/* These two under their own names only: spine_ports, spine_sockets. */
	TYPE(DEVMAP_HASH) | TYPE(XSKMAP);

int inspect_helper_id(struct slice name)
{
	for (size_t i = 1; i < ARRAY_LEN(helpers); i++) {
		if (helpers[i].name != NULL && slice_eq(slice_str(helpers[i].name), name))
			return (int)i;
	}
	return -1;
}

const char *inspect_helper_name(int id)
{
	return id > 0 && id < (int)ARRAY_LEN(helpers) ? helpers[id].name : NULL;
}

uint32_t inspect_helper_cost(int id)
{
	return inspect_helper_name(id) == NULL ? INSPECT_UNKNOWN_CALL_COST : helpers[id].cost;
}

bool inspect_helper_grantable(int id)
{
	return inspect_helper_name(id) != NULL && helpers[id].grant != NEVER;
}
