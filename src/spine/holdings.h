/*
 * What an extension holds in the kernel: its maps, and its counters by name.
 *
 * Counters: an extension that counts has an array `counters` of one entry, per processor or not, whose value is a
 * struct of integers; BTF has the fields' names, so they can be shown without knowing the extension. The object and
 * so its BTF were written by somebody else: chains, depth and number of fields are bounded, what is no whole
 * unsigned or signed integer of 1 to 8 bytes is left out.
 */
#pragma once
#include "spine/device.h"

struct held_map {
	char file[LOAD_MAP_FILE_BYTES];	/* its name in bpffs (spine/load.h, loaded_pin) */
	uint32_t id, type;		/* BPF_MAP_TYPE_... */
	uint32_t key_bytes, value_bytes, entries_max, flags;
	uint64_t entries;		/* in it now; arrays are always full; no more than HELD_ENTRIES_MAX are counted */
	bool counted;			/* entries is known */
	uint64_t memory_bytes;		/* as the kernel charges */
};

struct held_counter {
	const char *name;		/* "b_a" for a in b; "a_0", "a_1" of an array */
	uint64_t value;			/* sum over processors, modulo 2^64 */
	bool is_signed;			/* value is an int64_t */
};

/* "hash", "lru_hash"...: the kernel's names in small letters; "unknown". */
const char *held_map_type(uint32_t type);

/*
 * The maps of an extension, sorted by file name; arrays live in the arena. 0 (adopted ones have none that we know),
 * or a negative errno with a sentence. O(entries) for hashes.
 */
MUST_USE int held_maps(const struct spine_device *d, const char *name, struct arena *arena,
		       const struct held_map **out, size_t *count, struct errmsg *why);
/* Its counters in the order of the struct; none: 0 and *count 0. */
MUST_USE int held_counters(const struct spine_device *d, const char *name, struct arena *arena,
			   const struct held_counter **out, size_t *count, struct errmsg *why);
