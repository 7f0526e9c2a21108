/*
 * The new file: the old one's headers, each section's content in the order of sections, then the table of sections.
 */
#include <errno.h>
#include <stddef.h>

#include "spine/inject/inject_internal.h"
#include "spine/inspect/inspect_limits.h"
#include "spine/inspect/little.h"

#define ALIGN_MAX 4096u

static void pad(struct buf *out, size_t begin, uint64_t align)
{
	if (align == 0 || (align & (align - 1)) != 0 || align > ALIGN_MAX)
		align = 8;
	size_t over = (out->len - begin) % align;
	if (over != 0)
		buf_fill(out, 0, align - over);
}

/* Sections that get relocations for the first time, and the bytes that their names need. */
static uint32_t count_added(const struct injection *in, size_t *name_bytes)
{
	uint32_t n = 0;

	for (size_t i = 1; i < in->elf.section_count; i++) {
		if (in->sections[i].own_relocations.len == 0)
			continue;
		n++;
		*name_bytes += strlen(".rel") + strlen(in->elf.sections[i].name) + 1;
	}
	return n;
}

/* The table of names with theirs behind it; *at: where those begin. */
static int add_names(struct injection *in, size_t table, size_t name_bytes, uint32_t *at)
{
	struct slice old = in->content[table];
	uint8_t *names = arena_array(in->arena, old.len + 1 + name_bytes, 1);

	if (names == NULL)
		return inject_short_of_memory(in);
	memcpy(names, old.ptr, old.len);
	size_t n = old.len;
	if (n > 0 && names[n - 1] != '\0')
		names[n++] = '\0';
	*at = (uint32_t)n;
	for (size_t i = 1; i < in->elf.section_count; i++) {
		const char *name = in->elf.sections[i].name;
		if (in->sections[i].own_relocations.len == 0)
			continue;
		memcpy(names + n, ".rel", 4);
		memcpy(names + n + 4, name, strlen(name) + 1);
		n += 4 + strlen(name) + 1;
	}
	in->content[table] = slice_of(names, n);
	return 0;
}

static void write_header(struct buf *table, const uint8_t *old, uint64_t offset, uint64_t size)
{
	uint8_t *h = buf_room(table, sizeof(Elf64_Shdr));

	if (h == NULL)
		return;
	memcpy(h, old, sizeof(Elf64_Shdr));
	inject_put64(h + offsetof(Elf64_Shdr, sh_offset), offset);
	inject_put64(h + offsetof(Elf64_Shdr, sh_size), size);
	buf_commit(table, sizeof(Elf64_Shdr));
}

static void write_sections(const struct injection *in, size_t begin, struct buf *out, struct buf *table)
{
	const uint8_t *headers = in->bytes.ptr + little64(in->bytes.ptr + offsetof(Elf64_Ehdr, e_shoff));

	for (size_t i = 0; i < in->elf.section_count && out->err == 0; i++) {
		const struct elf_section *s = &in->elf.sections[i];
		const uint8_t *old = headers + i * sizeof(Elf64_Shdr);
		if (s->type == SHT_NULL || s->type == SHT_NOBITS) {
			write_header(table, old, s->type == SHT_NULL ? 0 : out->len - begin, s->size);
			continue;
		}
		pad(out, begin, little64(old + offsetof(Elf64_Shdr, sh_addralign)));
		write_header(table, old, out->len - begin, in->content[i].len);
		buf_add(out, in->content[i]);
	}
}

static void write_added(const struct injection *in, size_t begin, uint32_t name, struct buf *out, struct buf *table)
{
	size_t symbols = 0;

	for (size_t i = 1; i < in->elf.section_count; i++)
		symbols = in->elf.sections[i].type == SHT_SYMTAB ? i : symbols;
	for (size_t i = 1; i < in->elf.section_count; i++) {
		struct slice bytes = in->sections[i].own_relocations;
		uint8_t h[sizeof(Elf64_Shdr)] = { 0 };
		if (bytes.len == 0)
			continue;
		pad(out, begin, 8);
		inject_put32(h + offsetof(Elf64_Shdr, sh_name), name);
		inject_put32(h + offsetof(Elf64_Shdr, sh_type), SHT_REL);
		inject_put64(h + offsetof(Elf64_Shdr, sh_flags), SHF_INFO_LINK);
		inject_put32(h + offsetof(Elf64_Shdr, sh_link), (uint32_t)symbols);
		inject_put32(h + offsetof(Elf64_Shdr, sh_info), (uint32_t)i);
		inject_put64(h + offsetof(Elf64_Shdr, sh_addralign), 8);
		inject_put64(h + offsetof(Elf64_Shdr, sh_entsize), sizeof(Elf64_Rel));
		write_header(table, h, out->len - begin, bytes.len);
		buf_add(out, bytes);
		name += (uint32_t)(strlen(".rel") + strlen(in->elf.sections[i].name) + 1);
	}
}

int inject_write(struct injection *in, struct buf *out)
{
	AUTO_BUF struct buf table = BUF_INIT((OBJECT_SECTIONS_MAX + 1) * sizeof(Elf64_Shdr));
	size_t begin = out->len, names = little16(in->bytes.ptr + offsetof(Elf64_Ehdr, e_shstrndx)), name_bytes = 0;
	uint32_t name = 0, added = count_added(in, &name_bytes);
	size_t sections = in->elf.section_count + added;
	uint64_t total = sizeof(Elf64_Ehdr);

	if (sections > OBJECT_SECTIONS_MAX)
		return errmsg_say(in->why, -E2BIG, "the object has %zu sections with those of its checks; the limit is %d", sections, OBJECT_SECTIONS_MAX);
	int err = added == 0 ? 0 : add_names(in, names, name_bytes, &name);
	if (err != 0)
		return err;
	for (size_t i = 1; i < in->elf.section_count; i++)
		total += in->content[i].len;
	if (total > OBJECT_BYTES_MAX)
		return errmsg_say(in->why, -E2BIG, "the object has more than %d bytes with its checks", OBJECT_BYTES_MAX);
	buf_add(out, slice_head(in->bytes, sizeof(Elf64_Ehdr)));
	write_sections(in, begin, out, &table);
	write_added(in, begin, name, out, &table);
	pad(out, begin, 8);
	if (out->err == 0 && table.err == 0) {
		uint8_t *head = out->ptr + begin;
		inject_put64(head + offsetof(Elf64_Ehdr, e_shoff), out->len - begin);
		head[offsetof(Elf64_Ehdr, e_shnum)] = (uint8_t)sections;
		head[offsetof(Elf64_Ehdr, e_shnum) + 1] = (uint8_t)(sections >> 8);
		buf_add(out, buf_slice(&table));
	}
	return table.err == 0 ? 0 : inject_short_of_memory(in);
}
