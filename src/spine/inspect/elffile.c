#include "spine/inspect/elffile.h"

#include <errno.h>
#include <stdlib.h>

#include "spine/inspect/inspect_limits.h"
#include "spine/inspect/little.h"

#ifndef EM_BPF
#define EM_BPF 247
#endif

static int malformed(struct errmsg *why, const char *what)
{
	return errmsg_say(why, -EINVAL, "not an eBPF object that we read: %s", what);
}

/* NUL-ended printable text at `offset` of a string table, or NULL. Names reach terminals: no control bytes. */
static const char *string_at(struct slice table, uint64_t offset)
{
	if (offset >= table.len)
		return NULL;
	struct slice rest = slice_from(table, (size_t)offset);
	size_t n = 0;

	while (n < rest.len && n <= OBJECT_NAME_BYTES_MAX && rest.ptr[n] >= ' ' && rest.ptr[n] <= '~')
		n++;
	return n < rest.len && rest.ptr[n] == 0 ? (const char *)rest.ptr : NULL;
}

struct head {
	uint64_t sections_at;
	uint16_t section_count, names;
};

static int read_head(struct slice bytes, struct head *out, struct errmsg *why)
{
	static const uint8_t ident[] = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT };
	struct reader r = reader_of(bytes);
	struct slice id = rd_bytes(&r, EI_NIDENT);
	uint16_t type = rd_little16(&r), machine = rd_little16(&r);
	uint32_t version = rd_little32(&r);

	rd_bytes(&r, 16);		/* entry point and program headers: none in a relocatable file */
	out->sections_at = rd_little64(&r);
	rd_bytes(&r, 4);		/* flags: the instruction set's version, for tools only */
	uint16_t head_bytes = rd_little16(&r);
	rd_bytes(&r, 4);
	uint16_t entry_bytes = rd_little16(&r);
	out->section_count = rd_little16(&r);
	out->names = rd_little16(&r);
	if (r.bad)
		return malformed(why, "it is shorter than an ELF header");
	if (memcmp(id.ptr, ident, 4) != 0)
		return malformed(why, "it does not begin as ELF files do");
	if (memcmp(id.ptr, ident, sizeof(ident)) != 0)
		return malformed(why, "it is not 64-bit little-endian ELF");
	if (machine != EM_BPF)
		return malformed(why, "it is ELF for another machine; compile with clang -target bpf");
	if (type != ET_REL || version != EV_CURRENT)
		return malformed(why, "it is not a relocatable file; compile with clang -c");
	if (head_bytes != sizeof(Elf64_Ehdr) || entry_bytes != sizeof(Elf64_Shdr))
		return malformed(why, "its header has other sizes than ELF64");
	if (out->section_count == 0 || out->section_count >= SHN_LORESERVE)
		return malformed(why, "it has no sections, or too many");
	if (out->section_count > OBJECT_SECTIONS_MAX)
		return errmsg_say(why, -E2BIG, "the object has %u sections; the limit is %d",
				  out->section_count, OBJECT_SECTIONS_MAX);
	if (out->names == 0 || out->names >= out->section_count)
		return malformed(why, "its table of section names is missing");
	return 0;
}

/* Name offset in *name_at: names are known only when all sections are. */
static int read_section(struct slice bytes, struct reader *r, struct elf_section *s, uint32_t *name_at,
			struct errmsg *why)
{
	*name_at = rd_little32(r);
	s->type = rd_little32(r);
	s->flags = rd_little64(r);
	rd_little64(r);
	uint64_t offset = rd_little64(r);
	s->size = rd_little64(r);
	s->link = rd_little32(r);
	s->info = rd_little32(r);
	rd_bytes(r, 16);		/* alignment; entry size, which the type fixes */
	if (r->bad)
		return malformed(why, "its section headers lie outside of the file");
	if (s->flags & SHF_COMPRESSED)
		return malformed(why, "it has compressed sections");
	if (s->type == SHT_NOBITS || s->type == SHT_NULL)
		return 0;
	if (offset > bytes.len || s->size > bytes.len - offset)
		return malformed(why, "a section lies outside of the file");
	s->bytes = slice_of(bytes.ptr + offset, (size_t)s->size);
	return 0;
}

static int read_sections(struct arena *arena, struct slice bytes, const struct head *head, struct elf *out,
			 struct errmsg *why)
{
	struct elf_section *s = arena_array(arena, head->section_count, sizeof(*s));
	uint32_t *name_at = arena_array(arena, head->section_count, sizeof(*name_at));

	if (s == NULL || name_at == NULL)
		return errmsg_set(why, -ENOMEM, "sections of an object");
	if (head->sections_at > bytes.len)
		return malformed(why, "its section headers lie outside of the file");
	struct reader r = reader_of(slice_from(bytes, (size_t)head->sections_at));
	for (size_t i = 0; i < head->section_count; i++) {
		int err = read_section(bytes, &r, &s[i], &name_at[i], why);
		if (err != 0)
			return err;
	}
	if (s[head->names].type != SHT_STRTAB)
		return malformed(why, "its table of section names is of another type");
	for (size_t i = 0; i < head->section_count; i++) {
		s[i].name = string_at(s[head->names].bytes, name_at[i]);
		if (s[i].name == NULL)
			return malformed(why, "a section's name is not a name of its table");
	}
	out->sections = s;
	out->section_count = head->section_count;
	return 0;
}

static int read_symbol(const struct elf *e, struct slice names, struct reader *r, struct elf_symbol *out,
		       struct errmsg *why)
{
	out->name = string_at(names, rd_little32(r));
	uint8_t info = rd_u8(r);
	rd_u8(r);			/* visibility: libbpf hides functions by it, the kernel does not care */
	out->type = ELF64_ST_TYPE(info);
	out->bind = ELF64_ST_BIND(info);
	out->section = rd_little16(r);
	out->value = rd_little64(r);
	out->size = rd_little64(r);
	if (r->bad)
		return malformed(why, "its symbol table is cut off");
	if (out->name == NULL)
		return malformed(why, "a symbol's name is not a name of its table");
	if (out->section >= e->section_count && out->section != SHN_ABS && out->section != SHN_COMMON)
		return malformed(why, "a symbol is in a section that does not exist");
	/* A section's symbol has no name of its own. */
	if (out->type == STT_SECTION && out->name[0] == '\0' && out->section < e->section_count)
		out->name = e->sections[out->section].name;
	return 0;
}

static int read_symbols(struct arena *arena, struct elf *e, struct errmsg *why)
{
	const struct elf_section *table = NULL;

	for (size_t i = 0; i < e->section_count; i++) {
		if (e->sections[i].type != SHT_SYMTAB)
			continue;
		if (table != NULL)
			return malformed(why, "it has two symbol tables");
		table = &e->sections[i];
	}
	if (table == NULL)
		return malformed(why, "it has no symbol table; do not strip it");
	if (table->link == 0 || table->link >= e->section_count ||
	    e->sections[table->link].type != SHT_STRTAB || table->bytes.len % sizeof(Elf64_Sym) != 0)
		return malformed(why, "its symbol table is not one");
	size_t count = table->bytes.len / sizeof(Elf64_Sym);
	if (count > OBJECT_SYMBOLS_MAX)
		return errmsg_say(why, -E2BIG, "the object has %zu symbols; the limit is %d", count,
				  OBJECT_SYMBOLS_MAX);
	struct elf_symbol *symbols = arena_array(arena, count, sizeof(*symbols));
	if (symbols == NULL)
		return errmsg_set(why, -ENOMEM, "symbols of an object");
	struct reader r = reader_of(table->bytes);
	for (size_t i = 0; i < count; i++) {
		int err = read_symbol(e, e->sections[table->link].bytes, &r, &symbols[i], why);
		if (err != 0)
			return err;
	}
	e->symbols = symbols;
	e->symbol_count = count;
	return 0;
}

int elf_parse(struct arena *arena, struct slice bytes, struct elf *out, struct errmsg *why)
{
	struct elf e = { 0 };
	struct head head = { 0 };

	if (bytes.len > OBJECT_BYTES_MAX)
		return errmsg_say(why, -E2BIG, "the object has %zu bytes; the limit is %d", bytes.len,
				  OBJECT_BYTES_MAX);
	int err = read_head(bytes, &head, why);
	if (err == 0)
		err = read_sections(arena, bytes, &head, &e, why);
	if (err == 0)
		err = read_symbols(arena, &e, why);
	if (err == 0)
		*out = e;
	return err;
}

size_t elf_find(const struct elf *e, const char *name, bool *twice)
{
	size_t found = 0;

	for (size_t i = 1; i < e->section_count; i++) {
		if (strcmp(e->sections[i].name, name) != 0)
			continue;
		if (found != 0)
			*twice = true;
		found = i;
	}
	return found;
}

static int by_offset(const void *a, const void *b)
{
	const struct elf_relocation *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* The SHT_REL section of `section`: 0 when there is none, section_count when there are two or it is a RELA. */
static size_t relocations_of(const struct elf *e, size_t section)
{
	size_t found = 0;

	for (size_t i = 1; i < e->section_count; i++) {
		const struct elf_section *s = &e->sections[i];
		if ((s->type != SHT_REL && s->type != SHT_RELA) || s->info != section)
			continue;
		if (found != 0 || s->type == SHT_RELA)
			return e->section_count;
		found = i;
	}
	return found;
}

int elf_relocations(struct arena *arena, const struct elf *e, size_t section, struct elf_relocation **out,
		    size_t *count, struct errmsg *why)
{
	size_t at = relocations_of(e, section);
	const char *name = e->sections[section].name;

	*count = 0;
	*out = NULL;
	if (at == 0)
		return 0;
	if (at == e->section_count)
		return errmsg_say(why, -EINVAL, "section '%s' has relocations that are not eBPF's", name);
	struct slice bytes = e->sections[at].bytes;
	size_t n = bytes.len / sizeof(Elf64_Rel);
	if (bytes.len % sizeof(Elf64_Rel) != 0)
		return errmsg_say(why, -EINVAL, "the relocations of section '%s' are cut off", name);
	if (n > OBJECT_RELOCATIONS_MAX)
		return errmsg_say(why, -E2BIG, "section '%s' has %zu relocations; the limit is %d", name, n,
				  OBJECT_RELOCATIONS_MAX);
	struct elf_relocation *r = arena_array(arena, n, sizeof(*r));
	if (r == NULL)
		return errmsg_set(why, -ENOMEM, "relocations of section '%s'", name);
	struct reader in = reader_of(bytes);
	for (size_t i = 0; i < n; i++) {
		r[i].offset = rd_little64(&in);
		uint64_t info = rd_little64(&in);
		r[i].type = (uint32_t)ELF64_R_TYPE(info);
		r[i].symbol = (uint32_t)ELF64_R_SYM(info);
		if (r[i].symbol == 0 || r[i].symbol >= e->symbol_count)
			return errmsg_say(why, -EINVAL,
					  "a relocation of section '%s' names a symbol that does not exist", name);
	}
	qsort(r, n, sizeof(*r), by_offset);
	for (size_t i = 1; i < n; i++) {
		if (r[i].offset == r[i - 1].offset)
			return errmsg_say(why, -EINVAL, "section '%s' has two relocations at one place", name);
	}
	*out = r;
	*count = n;
	return 0;
}
