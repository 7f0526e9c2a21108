/*
 * What the files of the directory share: directory.c (records), resolve.c (recipients), shares.c (lists of rights). For nobody else.
 */
#pragma once
#include "base/list.h"
#include "base/map.h"
#include "engine/engine.h"
#include "mail/directory/directory.h"

#define DIRECTORY_TRIES	     4u
#define DIRECTORY_KEY_BYTES_MAX (DIRECTORY_KEY_NAME_BYTES_MAX + 1u)
#define DIRECTORY_RECORD_BYTES_MAX  (60u * 1024u)
#define DIRECTORY_SCRATCH_BYTES	  (512u * 1024u)

struct directory {
	struct engine *engine;
	char separator;
	struct map cache;
	struct list lru;		/* most recently used first */
	uint64_t writes;		/* a read that began before a write must not enter the cache */
};

/* The kind before the name, and a NUL behind it where a range ends. */
_Static_assert(DIRECTORY_KEY_NAME_BYTES_MAX + 2 <= ENGINE_KEY_BYTES_MAX, "a range end is a key");

/* A key and the object it lives in, on the caller's stack. */
struct dir_place {
	char object[16];
	uint32_t number;
	uint8_t bytes[DIRECTORY_KEY_BYTES_MAX + 1];
	struct slice key;
};

/* False: the name is empty or too long to be one. */
MUST_USE bool dir_place(struct dir_place *p, enum dir_kind kind, struct slice name);
/* The value of one key, copied to the arena; from the cache when it can be. */
enum dir_result dir_fetch(struct directory *d, const struct dir_place *p, struct arena *arena, struct slice *out);
/* One operation on the place's object; what the cache knows of its key is forgotten. */
enum dir_result dir_apply(struct directory *d, const struct dir_place *p, const struct engine_step *steps, size_t count);
