#include "dvm/container/jar.h"

#include <errno.h>
#include <stdlib.h>

#include "dvm/container/container_limits.h"
#include "dvm/container/shown.h"

#define SHOWN(name) shown(&(struct shown){ 0 }, (name))

static const struct slice manifest_name = SLICE_INIT("META-INF/MANIFEST.MF");

struct lines {
	struct arena *arena;
	struct slice rest;
	uint32_t number;		/* of the line that was read last */
};

/* One line without its end; false when there is none. */
static bool next_line(struct lines *l, struct slice *line)
{
	size_t end = 0;

	if (l->rest.len == 0)
		return false;
	while (end < l->rest.len && l->rest.ptr[end] != '\r' && l->rest.ptr[end] != '\n')
		end++;
	*line = slice_head(l->rest, end);
	if (end + 1 < l->rest.len && l->rest.ptr[end] == '\r' && l->rest.ptr[end + 1] == '\n')
		end++;
	l->rest = slice_from(l->rest, end + 1);
	l->number++;
	return true;
}

/* With the lines that go on with it; those begin with a space. NULL when the arena is full. */
static bool next_whole_line(struct lines *l, struct slice *line)
{
	struct slice more;
	size_t bytes;

	if (!next_line(l, line))
		return false;
	if (l->rest.len == 0 || l->rest.ptr[0] != ' ' || line->len == 0)
		return true;
	struct lines ahead = *l;
	bytes = line->len;
	while (ahead.rest.len > 0 && ahead.rest.ptr[0] == ' ' && next_line(&ahead, &more))
		bytes += more.len - 1;
	uint8_t *whole = arena_alloc(l->arena, bytes);
	if (whole == NULL)
		return true;
	memcpy(whole, line->ptr, line->len);
	size_t at = line->len;
	while (l->rest.len > 0 && l->rest.ptr[0] == ' ' && next_line(l, &more)) {
		memcpy(whole + at, more.ptr + 1, more.len - 1);
		at += more.len - 1;
	}
	*line = slice_of(whole, at);
	return true;
}

/* Letters, digits, '-' and '_' alone, at most 70 bytes. */
static bool is_name(struct slice name)
{
	for (size_t i = 0; i < name.len; i++)
		if (!ascii_alpha(name.ptr[i]) && !ascii_digit(name.ptr[i]) && name.ptr[i] != '-' && name.ptr[i] != '_')
			return false;
	return name.len > 0 && name.len <= JAR_ATTRIBUTE_NAME_MAX;
}

/* The lines up to an empty one or the end. */
static int read_section(struct lines *l, struct jar_section *s, struct errmsg *why)
{
	struct jar_attribute found[JAR_SECTION_ATTRIBUTES_MAX];
	struct slice line;

	*s = (struct jar_section){ 0 };
	while (next_whole_line(l, &line) && line.len > 0) {
		struct jar_attribute a;
		if (l->arena->err != 0)
			break;
		if (!slice_cut(line, ':', &a.name, &a.value) || !is_name(a.name) || a.value.len == 0 || a.value.ptr[0] != ' ')
			return errmsg_say(why, -EBADMSG, "the manifest's line %u is not of the form 'Name: value': '%s'", l->number, SHOWN(line));
		a.value = slice_from(a.value, 1);
		if (slice_find_byte(a.value, 0) != SLICE_NPOS)
			return errmsg_say(why, -EBADMSG, "the manifest's line %u has a NUL", l->number);
		for (uint32_t i = 0; i < s->count; i++)
			if (slice_eq_nocase(found[i].name, a.name))
				return errmsg_say(why, -EBADMSG, "the manifest's line %u has '%s' a second time in its section", l->number, SHOWN(a.name));
		if (s->count == JAR_SECTION_ATTRIBUTES_MAX)
			return errmsg_say(why, -E2BIG, "the manifest has a section of more than %d attributes", JAR_SECTION_ATTRIBUTES_MAX);
		found[s->count++] = a;
	}
	struct jar_attribute *attributes = arena_array(l->arena, s->count, sizeof(*attributes));
	if (attributes == NULL || l->arena->err != 0)
		return errmsg_set(why, -ENOMEM, "a manifest");
	if (s->count > 0)
		memcpy(attributes, found, s->count * sizeof(*found));
	s->attributes = attributes;
	return 0;
}

static int by_entry(const void *a, const void *b)
{
	return slice_cmp(((const struct jar_section *)a)->entry, ((const struct jar_section *)b)->entry);
}

static uint32_t count_sections(struct slice text)
{
	struct lines l = { .rest = text };
	struct slice line;
	uint32_t count = 0;

	for (bool within = true; next_line(&l, &line); within = line.len > 0)
		count += !within && line.len > 0 ? 1 : 0;
	return count;
}

int jar_manifest_parse(struct arena *arena, struct slice text, struct jar_manifest *out, struct errmsg *why)
{
	struct jar_manifest m = { 0 };

	if (text.len > JAR_MANIFEST_BYTES_MAX)
		return errmsg_say(why, -E2BIG, "a manifest of %zu bytes, above %d", text.len, JAR_MANIFEST_BYTES_MAX);
	/* What old editors put before UTF-8. */
	if (slice_starts(text, SLICE("\xef\xbb\xbf")))
		return errmsg_say(why, -EBADMSG, "the manifest begins with a byte order mark, which a JVM takes for a part of the first name");
	struct lines l = { .arena = arena, .rest = text };
	uint32_t room = count_sections(text);
	struct jar_section *sections = arena_array(arena, room, sizeof(*sections));
	if (sections == NULL)
		return errmsg_set(why, -ENOMEM, "a manifest");
	int err = read_section(&l, &m.main, why);
	if (err != 0)
		return err;
	while (l.rest.len > 0) {
		struct jar_section s;
		err = read_section(&l, &s, why);
		if (err != 0)
			return err;
		if (s.count == 0)
			continue;		/* more than one empty line */
		if (m.count == room || !slice_eq_nocase(s.attributes[0].name, SLICE("Name")))
			return errmsg_say(why, -EBADMSG, "the manifest's section before line %u does not begin with 'Name: '", l.number);
		s.entry = s.attributes[0].value;
		sections[m.count++] = s;
	}
	qsort(sections, m.count, sizeof(*sections), by_entry);
	for (uint32_t i = 1; i < m.count; i++)
		if (slice_eq(sections[i].entry, sections[i - 1].entry))
			return errmsg_say(why, -EBADMSG, "the manifest has two sections for '%s'", SHOWN(sections[i].entry));
	m.sections = sections;
	*out = m;
	return 0;
}

struct slice jar_attribute(const struct jar_section *s, struct slice name)
{
	for (uint32_t i = 0; i < s->count; i++)
		if (slice_eq_nocase(s->attributes[i].name, name))
			return slice_trim(s->attributes[i].value);
	return (struct slice){ 0 };
}

const struct jar_section *jar_section(const struct jar_manifest *m, struct slice entry)
{
	const struct jar_section key = { .entry = entry };

	return m->count == 0 ? NULL : bsearch(&key, m->sections, m->count, sizeof(key), by_entry);
}

static bool ends_nocase(struct slice s, struct slice suffix)
{
	return s.len >= suffix.len && slice_eq_nocase(slice_from(s, s.len - suffix.len), suffix);
}

/* The jar specification: files right in META-INF, without regard to case. */
static bool is_signature(struct slice name, bool *block)
{
	static const struct slice blocks[] = { SLICE_INIT(".RSA"), SLICE_INIT(".DSA"), SLICE_INIT(".EC") };

	*block = false;
	if (!slice_starts_nocase(name, SLICE("META-INF/")) || slice_find_byte(slice_from(name, 9), '/') != SLICE_NPOS)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(blocks); i++)
		*block |= ends_nocase(name, blocks[i]);
	return *block || ends_nocase(name, SLICE(".SF")) || slice_starts_nocase(slice_from(name, 9), SLICE("SIG-"));
}

/* Cut "META-INF/versions/N/" off; 0 when it is not there or N is below 9 (JVMs pass over those). */
static uint16_t cut_version(struct slice *name)
{
	static const struct slice versions = SLICE_INIT("META-INF/versions/");
	struct slice number, rest;
	uint64_t version;

	if (!slice_starts(*name, versions) || !slice_cut(slice_from(*name, versions.len), '/', &number, &rest) || rest.len == 0)
		return 0;
	if (!slice_u64(number, 10000, &version) || version < 9 || number.ptr[0] == '0')
		return 0;
	*name = rest;
	return (uint16_t)version;
}

static bool is_archive(struct slice name)
{
	return ends_nocase(name, SLICE(".jar")) || ends_nocase(name, SLICE(".war"));
}

struct jar_entry jar_entry_of(const struct jar *jar, const struct zip_entry *e)
{
	static const struct slice roots[] = { SLICE_INIT("BOOT-INF/classes/"), SLICE_INIT("WEB-INF/classes/") };
	struct slice name = e->name;
	struct jar_entry out = { JAR_OTHER };
	bool block;

	if (slice_ends(name, SLICE("/"))) {
		out.kind = JAR_DIRECTORY;
	} else if (slice_eq_nocase(name, manifest_name)) {
		out.kind = JAR_MANIFEST;
	} else if (is_signature(name, &block)) {
		out.kind = JAR_SIGNATURE;
	} else if (is_archive(name)) {
		out.kind = JAR_NESTED;
	} else if (slice_ends(name, SLICE(".class"))) {
		uint16_t version = jar->multi_release ? cut_version(&name) : 0;
		for (size_t i = 0; version == 0 && i < ARRAY_LEN(roots); i++)
			if (slice_starts(name, roots[i]))
				name = slice_from(name, roots[i].len);
		/* Without the manifest's word, classes below META-INF/versions are none that a JVM finds by name; they are classes all the same. */
		out.kind = version != 0 ? JAR_VERSIONED_CLASS : JAR_CLASS;
		out.version = version;
		out.class_name = slice_head(name, name.len - strlen(".class"));
	}
	return out;
}

/* META-INF/NAME.SF has a block META-INF/NAME.RSA, .EC or .DSA. */
static bool is_signed(const struct zip *z)
{
	bool block, other;

	for (uint32_t i = 0; i < z->count; i++) {
		struct slice name = z->entries[i].name;
		if (!is_signature(name, &block) || block || !ends_nocase(name, SLICE(".SF")))
			continue;
		struct slice stem = slice_head(name, name.len - 2);
		for (uint32_t j = 0; j < z->count; j++)
			if (is_signature(z->entries[j].name, &other) && other && slice_starts_nocase(z->entries[j].name, stem))
				return true;
	}
	return false;
}

static bool has_digest(const struct jar_section *s)
{
	for (uint32_t i = 0; i < s->count; i++)
		if (ends_nocase(s->attributes[i].name, SLICE("-Digest")))
			return true;
	return false;
}

int jar_open(struct arena *arena, const struct zip *zip, struct jar *out, struct errmsg *why)
{
	struct jar jar = { .zip = zip };
	const struct zip_entry *manifest = NULL;
	uint32_t signatures = 0;
	bool block;

	for (uint32_t i = 0; i < zip->count; i++) {
		/* JVMs look for it without regard to case: then there must be one. */
		if (slice_eq_nocase(zip->entries[i].name, manifest_name)) {
			if (manifest != NULL)
				return errmsg_say(why, -EBADMSG, "the jar has two manifests");
			manifest = &zip->entries[i];
		}
		signatures += is_signature(zip->entries[i].name, &block) && !block ? 1 : 0;
	}
	if (signatures > JAR_SIGNERS_MAX)
		return errmsg_say(why, -E2BIG, "the jar has %u signature files, above %d", signatures, JAR_SIGNERS_MAX);
	if (manifest != NULL) {
		struct slice text;
		if (manifest->size > JAR_MANIFEST_BYTES_MAX)
			return errmsg_say(why, -E2BIG, "a manifest of %llu bytes, above %d", (unsigned long long)manifest->size, JAR_MANIFEST_BYTES_MAX);
		int err = zip_read(arena, zip, manifest, &text, why);
		if (err == 0)
			err = jar_manifest_parse(arena, text, &jar.manifest, why);
		if (err != 0)
			return err;
	}
	jar.has_manifest = manifest != NULL;
	/* JVMs look for the bytes of this line: blanks more or less, and it is not said. */
	for (uint32_t i = 0; i < jar.manifest.main.count; i++)
		jar.multi_release |= slice_eq_nocase(jar.manifest.main.attributes[i].name, SLICE("Multi-Release")) &&
				     slice_eq_nocase(jar.manifest.main.attributes[i].value, SLICE("true"));
	jar.has_agent = jar_attribute(&jar.manifest.main, SLICE("Launcher-Agent-Class")).ptr != NULL;
	jar.is_signed = is_signed(zip);
	for (uint32_t i = 0; i < jar.manifest.count; i++)
		jar.digests += has_digest(&jar.manifest.sections[i]) ? 1 : 0;
	for (uint32_t i = 0; i < zip->count; i++) {
		struct jar_entry e = jar_entry_of(&jar, &zip->entries[i]);
		jar.nested += e.kind == JAR_NESTED ? 1 : 0;
		jar.versions += e.kind == JAR_VERSIONED_CLASS ? 1 : 0;
		jar.has_module_info |= slice_eq(e.class_name, SLICE("module-info"));
	}
	*out = jar;
	return 0;
}
