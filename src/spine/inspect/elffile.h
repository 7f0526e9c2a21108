/*
 * The part of ELF that eBPF objects use: 64-bit, little-endian, relocatable, EM_BPF.
 *
 * Why not libelf: it repairs and guesses (compressed sections, extended numbering, wrong sizes), and what it
 * shows need not be what the next reader sees. This one knows one shape and refuses every other.
 */
#pragma once
#include <elf.h>

#include "base/arena.h"
#include "base/errmsg.h"
#include "base/slice.h"

struct elf_section {
	const char *name;
	uint32_t type;			/* SHT_... */
	uint64_t flags;			/* SHF_... */
	uint64_t size;			/* for SHT_NOBITS of memory, not of bytes */
	struct slice bytes;		/* empty for SHT_NOBITS */
	uint32_t link, info;
};

struct elf_symbol {
	const char *name;
	uint8_t type, bind;		/* STT_..., STB_... */
	uint16_t section;		/* SHN_UNDEF, SHN_ABS, SHN_COMMON or an index that exists */
	uint64_t value, size;
};

struct elf_relocation {
	uint64_t offset;		/* in the section that it changes */
	uint32_t type;			/* R_BPF_... */
	uint32_t symbol;		/* index that exists */
};

struct elf {
	const struct elf_section *sections;
	size_t section_count;
	const struct elf_symbol *symbols;
	size_t symbol_count;
};

/* bytes must outlive the arena. 0, -EINVAL, -E2BIG, -ENOMEM. O(sections + symbols). */
MUST_USE int elf_parse(struct arena *arena, struct slice bytes, struct elf *out, struct errmsg *why);
/* The section of this name, or 0, which is never a real one. -EINVAL in *twice when there are two. */
size_t elf_find(const struct elf *e, const char *name, bool *twice);
/*
 * The relocations of a section, sorted by offset. 0 and *count == 0 when it has none; -EINVAL: malformed, or two of
 * them at one place.
 */
MUST_USE int elf_relocations(struct arena *arena, const struct elf *e, size_t section,
			     struct elf_relocation **out, size_t *count, struct errmsg *why);
