/*
 * What the operator allows the extensions of a device: one file a device, until the policy service
 * answers the same question. This header is the one door: whoever wants to know what an extension
 * may do asks grant_find().
 *
 * /etc/prickle/spine/DEVICE.yaml:
 *
 *	keys: [ 1f3c...64 hex digits ]		# Ed25519 keys whose signatures make an extension vetted
 *	extensions:
 *	  router:
 *	    verdicts: [pass, drop, redirect]
 *	    ports: [eth1, eth2]
 *	    helpers: [fib_lookup]		# beyond the default set
 *	    kfuncs: []
 *	    map-types: []
 *	    instructions: 20000
 *	    cpu: 20%
 *	    memory: 16 MiB
 *	    terminal: true
 *	    unbounded: false
 *	  "*":					# those without an entry
 *	    verdicts: [pass, drop]
 *
 * Without a file, an extension may pass, drop, abort and reflect (TX), uses the default helpers and
 * maps, and forwards nowhere. An entry stands alone: what it leaves out has these defaults, not what "*"
 * says. The verdict aborted is always granted: it tells a failure and is counted as one.
 */
#pragma once
#include <net/if.h>

#include "base/arena.h"
#include "base/buf.h"
#include "spine/inspect/inspect.h"

#define GRANT_PORTS_MAX		  64
#define GRANT_DEFAULT_INSTRUCTIONS 20000u
#define GRANT_DEFAULT_MEMORY_BYTES (UINT64_C(16) << 20)

struct grant {
	uint32_t verdicts;		/* enum spine_verdicts */
	char ports[GRANT_PORTS_MAX][IFNAMSIZ];
	size_t port_count;
	uint64_t helpers[INSPECT_HELPER_WORDS];	/* default set included */
	const char *const *kfuncs;	/* NULL-ended, never NULL */
	uint64_t map_types;		/* default set included */
	uint32_t instructions_max;
	uint32_t cpu_permille;		/* 0: no budget */
	uint64_t memory_bytes_max;
	bool terminal, unbounded, tail_calls;	/* tail-calls: true */
	const char *from;		/* "FILE:LINE" of the entry, or "defaults": for refusals */
};

struct grants;				/* a parsed file; lives in its arena */

/*
 * Read `path`; a file that does not exist gives the defaults. 0; -EINVAL: all errors, each with
 * file:line:col, are in *errors; other negative errno: unreadable.
 */
MUST_USE int grants_load(struct arena *arena, const char *path, const struct grants **out, struct buf *errors);
/* Same from text: for tests and the fuzz target spine_grants. */
MUST_USE int grants_parse(struct arena *arena, struct slice text, const char *file, const struct grants **out,
			  struct buf *errors);
/* Never NULL: the entry of this name, of "*", or the defaults. */
const struct grant *grant_find(const struct grants *g, const char *name);
/* Where to write what is missing: the file that was read, or would have been. */
const char *grants_file(const struct grants *g);
/* The key is one that vets. */
bool grant_key_trusted(const struct grants *g, const uint8_t key[32]);
