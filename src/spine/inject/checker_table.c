/*
 * The file around the code: header, sections, names, symbols, order of relocations, and that everything else stayed. The layout is fixed
 * (sections by index, each at the next place of its alignment, zeros between), so that no byte of the file is unlooked at.
 */
#include <errno.h>

#include "spine/inject/checker_internal.h"
#include "spine/inspect/little.h"

static int broken(struct checker *c, const char *section, const char *what)
{
	return errmsg_say(c->why, -EBADMSG, "injected checks are not proven: section '%s' %s", section, what);
}

static Elf64_Ehdr head_of(struct slice bytes)
{
	Elf64_Ehdr h;

	memcpy(&h, bytes.ptr, sizeof(h));	/* elf_parse saw that it is there, as sections and their headers are */
	return h;
}

static Elf64_Shdr header_of(struct slice bytes, size_t section)
{
	Elf64_Shdr h;

	memcpy(&h, bytes.ptr + head_of(bytes).e_shoff + section * sizeof(h), sizeof(h));
	return h;
}

static bool zeros(struct slice bytes, uint64_t from, uint64_t to)
{
	for (; from < to; from++) {
		if (from >= bytes.len || bytes.ptr[from] != 0)
			return false;
	}
	return true;
}

/* Skips to the next place of this alignment; false: other bytes than zeros on the way. */
static bool align(struct slice bytes, uint64_t *at, uint64_t alignment)
{
	uint64_t to;

	if (alignment > 4096 || (alignment & (alignment - 1)) != 0)
		return false;
	alignment += alignment == 0;
	to = (*at + alignment - 1) & ~(alignment - 1);
	bool ok = zeros(bytes, *at, to);
	*at = to;
	return ok;
}

static int prove_layout(struct checker *c)
{
	Elf64_Ehdr a = head_of(c->old_bytes), b = head_of(c->new_bytes), h = b;
	uint64_t at = sizeof(h);

	h.e_shoff = a.e_shoff;
	h.e_shnum = a.e_shnum;
	if (memcmp(&a, &h, sizeof(a)) != 0)
		return errmsg_say(c->why, -EBADMSG, "injected checks are not proven: the header of the file is another");
	for (size_t i = 1; i < c->new.section_count; i++) {
		Elf64_Shdr s = header_of(c->new_bytes, i);
		if (!align(c->new_bytes, &at, s.sh_addralign) || s.sh_offset != at)
			return broken(c, c->new.sections[i].name, "stands at another place of the file than it must");
		at += s.sh_type == SHT_NOBITS ? 0 : s.sh_size;
	}
	if (!align(c->new_bytes, &at, 8) || b.e_shoff != at || at + c->new.section_count * sizeof(Elf64_Shdr) != c->new_bytes.len)
		return errmsg_say(c->why, -EBADMSG, "injected checks are not proven: the file does not end where it must");
	return 0;
}

/* Headers of old sections stay, but for place and size. */
static int prove_headers(struct checker *c)
{
	for (size_t i = 0; i < c->old.section_count; i++) {
		Elf64_Shdr a = header_of(c->old_bytes, i), b = header_of(c->new_bytes, i);
		b.sh_offset = i == 0 ? b.sh_offset : a.sh_offset;
		if (i != 0 && a.sh_type != SHT_NOBITS)
			b.sh_size = a.sh_size;
		if (memcmp(&a, &b, sizeof(a)) != 0)
			return broken(c, c->old.sections[i].name, "has another header");
	}
	return 0;
}

static size_t rel_of(const struct checker *c, size_t section)
{
	for (size_t i = 1; i < c->old.section_count; i++) {
		if (c->old.sections[i].type == SHT_REL && c->old.sections[i].info == section)
			return i;
	}
	return 0;
}

static size_t symbols_of(const struct checker *c)
{
	for (size_t i = 1; i < c->old.section_count; i++) {
		if (c->old.sections[i].type == SHT_SYMTAB)
			return i;
	}
	return 0;
}

/* Sections of relocations that had to be added, in the order of the code, and the names that they need. */
static int prove_added(struct checker *c)
{
	size_t names = head_of(c->old_bytes).e_shstrndx, at = c->old.section_count;
	struct slice before = c->old.sections[names].bytes, after = c->new.sections[names].bytes;
	size_t n = before.len;

	if (!slice_eq(before, slice_head(after, n)))
		return broken(c, c->old.sections[names].name, "has other names");
	for (size_t i = 1; i < c->old.section_count; i++) {
		if (c->code[i].guard_count == 0 || rel_of(c, i) != 0)
			continue;
		if (at >= c->new.section_count)
			return broken(c, c->old.sections[i].name, "has no relocations");
		Elf64_Shdr h = header_of(c->new_bytes, at);
		Elf64_Shdr want = { .sh_name = (Elf64_Word)n, .sh_type = SHT_REL, .sh_flags = SHF_INFO_LINK, .sh_offset = h.sh_offset,
				    .sh_size = h.sh_size, .sh_link = (Elf64_Word)symbols_of(c), .sh_info = (Elf64_Word)i, .sh_addralign = 8,
				    .sh_entsize = sizeof(Elf64_Rel) };
		size_t name_bytes = strlen(c->old.sections[i].name) + 1;
		if (memcmp(&h, &want, sizeof(h)) != 0 || !slice_eq(slice_sub(after, n, n + 4), SLICE(".rel")) ||
		    !slice_eq(slice_sub(after, n + 4, n + 4 + name_bytes), slice_of(c->old.sections[i].name, name_bytes)))
			return broken(c, c->old.sections[i].name, "has relocations with another header or name");
		n += 4 + name_bytes;
		at++;
	}
	if (at != c->new.section_count || n != after.len)
		return errmsg_say(c->why, -EBADMSG, "injected checks are not proven: a section or a name was added");
	return 0;
}

/* Values and sizes of symbols in code that grew. */
static bool expected_symbol(const struct checker *c, Elf64_Sym *y)
{
	const struct checker_code *s = y->st_shndx < c->old.section_count ? &c->code[y->st_shndx] : NULL;
	uint64_t end = y->st_value + y->st_size;

	if (s == NULL || s->guard_count == 0)
		return true;
	if (y->st_value % 8 != 0 || end % 8 != 0 || y->st_value / 8 > s->count || end / 8 > s->count || end < y->st_value)
		return false;
	uint64_t start = UINT64_C(8) * s->first[y->st_value / 8];
	if (y->st_size != 0)
		y->st_size = UINT64_C(8) * s->first[end / 8] - start;
	y->st_value = start;
	return true;
}

static int prove_symbols(struct checker *c)
{
	size_t at = symbols_of(c);
	struct slice before = c->old.sections[at].bytes, after = c->new.sections[at].bytes;

	if (before.len != after.len)
		return broken(c, c->old.sections[at].name, "has another length");
	for (size_t i = 0; i < c->old.symbol_count; i++) {
		Elf64_Sym y;
		memcpy(&y, before.ptr + i * sizeof(y), sizeof(y));
		if (!expected_symbol(c, &y) || memcmp(&y, after.ptr + i * sizeof(y), sizeof(y)) != 0)
			return errmsg_say(c->why, -EBADMSG, "injected checks are not proven: symbol %zu ('%s') is not what it must be", i,
					  c->old.symbols[i].name);
	}
	return 0;
}

/* checker_code.c sees relocations sorted; that they are so in the file leaves one way to write them. */
static bool sorted(struct slice bytes)
{
	for (size_t i = sizeof(Elf64_Rel); i + sizeof(Elf64_Rel) <= bytes.len; i += sizeof(Elf64_Rel)) {
		if (little64(bytes.ptr + i) <= little64(bytes.ptr + i - sizeof(Elf64_Rel)))
			return false;
	}
	return true;
}

/* Tools' sections may name the row; what becomes a program or a map may not. */
static bool for_tools(const char *name)
{
	return strncmp(name, ".debug_", 7) == 0 || strcmp(name, ".BTF") == 0 || strcmp(name, ".BTF.ext") == 0;
}

static int prove_no_row(struct checker *c, size_t section)
{
	const struct elf_section *s = &c->old.sections[section];
	struct slice bytes = s->bytes;

	if (s->info >= c->old.section_count)
		return broken(c, s->name, "changes a section that does not exist");
	if (for_tools(c->old.sections[s->info].name) && c->code[s->info].count == 0)
		return 0;
	for (size_t i = 0; i + sizeof(Elf64_Rel) <= bytes.len; i += sizeof(Elf64_Rel)) {
		uint64_t symbol = ELF64_R_SYM(little64(bytes.ptr + i + 8));
		if (symbol >= c->old.symbol_count || c->old.symbols[symbol].section == c->row_section)
			return broken(c, s->name, "names the object's row, which only checks may");
	}
	return 0;
}

static int prove_rest(struct checker *c)
{
	size_t names = head_of(c->old_bytes).e_shstrndx, symbols = symbols_of(c);

	for (size_t i = 1; i < c->new.section_count; i++) {
		const struct elf_section *s = &c->new.sections[i];
		bool rel = s->type == SHT_REL && s->info < c->old.section_count;
		bool of_code = rel && c->code[s->info].guard_count > 0;
		if (of_code && !sorted(s->bytes))
			return broken(c, s->name, "is not sorted");
		if (i >= c->old.section_count)
			continue;
		int err = s->type == SHT_REL ? prove_no_row(c, i) : 0;
		if (err != 0)
			return err;
		bool lines = strcmp(s->name, ".BTF.ext") == 0 || (rel && strcmp(c->old.sections[s->info].name, ".BTF.ext") == 0);
		/* Code is checker_code.c's even without guards: calls of what moved change. */
		if (of_code || lines || i == names || i == symbols || c->code[i].count > 0)
			continue;
		if (!slice_eq(s->bytes, c->old.sections[i].bytes))
			return broken(c, s->name, "changed");
	}
	return 0;
}

int checker_tables_prove(struct checker *c)
{
	if (c->new.section_count < c->old.section_count)
		return errmsg_say(c->why, -EBADMSG, "injected checks are not proven: sections are missing");
	int err = prove_headers(c);
	if (err == 0)
		err = prove_layout(c);
	if (err == 0)
		err = prove_added(c);
	if (err == 0)
		err = prove_symbols(c);
	return err == 0 ? prove_rest(c) : err;
}
