/*
 * What the parts of the object reader share: object.c (sections and functions), object_maps.c,
 * object_lines.c, object_spine.c (manifest and handlers).
 */
#pragma once
#include "spine/inspect/elffile.h"
#include "spine/inspect/object.h"
#include "spine/inspect/types.h"

/* What a section means to us, by index. */
enum section_use { SECTION_OTHER, SECTION_CODE, SECTION_MAPS, SECTION_DATA };

struct parse_function {
	size_t section;
	uint32_t first;			/* its first instruction, counted in the section */
	struct object_program *program;
};

struct parse {
	struct arena *arena;
	struct errmsg *why;
	struct elf elf;
	struct types types;
	bool has_types;
	uint8_t *use;			/* enum section_use by section */
	uint32_t *data_map;		/* by section: its internal map, for SECTION_DATA */
	/* Sorted by section and first instruction; program i of the object is function i. */
	struct parse_function *functions;
	struct object_program *programs;
	size_t function_count;
	struct object_map *maps;
	uint32_t *map_at;		/* offset in section .maps; by map */
	size_t map_count, maps_section;
	struct object out;
};

/* The function that holds an instruction of a section, or NULL. O(log functions). */
const struct parse_function *parse_function_at(const struct parse *p, size_t section, uint64_t insn);
/* A section that may be there once; 0 in *out when it is not. */
MUST_USE int parse_section(struct parse *p, const char *name, size_t *out);

/* BTF-defined maps and data sections: p->maps. */
MUST_USE int parse_maps(struct parse *p);
/* BTF.ext: lines, and which instructions CO-RE may change. */
MUST_USE int parse_lines(struct parse *p);
/* .spine and .spine.handlers. */
MUST_USE int parse_spine(struct parse *p);
