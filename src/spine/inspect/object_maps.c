/*
 * Maps: those that BTF defines in section .maps (Documentation/bpf/libbpf; libbpf 1.1 is what loads them), and
 * the data sections, which libbpf turns into arrays of one entry.
 */
#include <errno.h>

#include "spine/inspect/inspect_limits.h"
#include "spine/inspect/object_internal.h"

#ifndef BPF_F_MMAPABLE
#define BPF_F_MMAPABLE (1u << 10)
#endif

static int bad_map(const struct parse *p, const char *map, const char *what)
{
	return errmsg_say(p->why, -EINVAL, "map '%s' %s", map, what);
}

/* __uint(name, value): a pointer to an array of `value` ints. */
static bool number_of(const struct types *b, uint32_t type, uint32_t *out)
{
	uint32_t element;
	const struct types_record *t = types_resolve(b, type, NULL);

	if (t == NULL || t->kind != BTF_KIND_PTR)
		return false;
	t = types_resolve(b, t->size_or_type, NULL);
	if (t == NULL || t->kind != BTF_KIND_ARRAY)
		return false;
	types_array(t, &element, out);
	return true;
}

/* __ulong(name, value): an enum of one value, which is newer than __uint. */
static bool wide_number_of(const struct types *b, uint32_t type, uint64_t *out)
{
	const struct types_record *t = types_resolve(b, type, NULL);
	uint32_t narrow;

	if (t != NULL && (t->kind == BTF_KIND_ENUM64 || t->kind == BTF_KIND_ENUM)) {
		*out = types_enum_value(t);
		return t->vlen == 1;
	}
	if (!number_of(b, type, &narrow))
		return false;
	*out = narrow;
	return true;
}

/* __type(key, T): a pointer to T. */
static bool pointed_size(const struct types *b, uint32_t type, uint32_t *out)
{
	const struct types_record *t = types_resolve(b, type, NULL);

	return t != NULL && t->kind == BTF_KIND_PTR && types_size(b, t->size_or_type, out);
}

/* A size may be given twice, as key and key_size, if both are the same. */
static bool set_once(uint32_t *field, uint32_t value)
{
	if (*field != 0 && *field != value)
		return false;
	*field = value;
	return true;
}

static int read_definition(struct parse *p, const struct types_record *t, struct object_map *out, bool inner);

/* __array(values, T): what is in it; T is a map's definition, or a function. */
static int read_values(struct parse *p, uint32_t type, struct object_map *out, bool inner)
{
	uint32_t element, count;
	const struct types_record *t = types_resolve(&p->types, type, NULL);

	if (inner || t == NULL || t->kind != BTF_KIND_ARRAY)
		return bad_map(p, out->name, "has values that are no array");
	types_array(t, &element, &count);
	t = types_resolve(&p->types, element, NULL);
	if (t != NULL && t->kind == BTF_KIND_PTR)
		t = types_resolve(&p->types, t->size_or_type, NULL);
	if (t == NULL)
		return bad_map(p, out->name, "has values of no type");
	out->filled = true;
	out->value_bytes = 4;
	if (t->kind == BTF_KIND_FUNC_PROTO)
		return 0;
	if (t->kind != BTF_KIND_STRUCT)
		return bad_map(p, out->name, "has values that are neither maps nor programs");
	struct object_map *map = ARENA_NEW(p->arena, struct object_map);
	if (map == NULL)
		return errmsg_set(p->why, -ENOMEM, "map '%s'", out->name);
	map->name = out->name;
	int err = read_definition(p, t, map, true);
	if (err == 0)
		out->inner = map;
	return err;
}

static int read_attribute(struct parse *p, const struct types_member *m, struct object_map *out, bool inner)
{
	uint32_t n = 0;
	bool ok = true;

	if (strcmp(m->name, "key") == 0) {
		ok = pointed_size(&p->types, m->type, &n) && set_once(&out->key_bytes, n);
	} else if (strcmp(m->name, "value") == 0) {
		ok = pointed_size(&p->types, m->type, &n) && set_once(&out->value_bytes, n);
	} else if (strcmp(m->name, "values") == 0) {
		return read_values(p, m->type, out, inner);
	} else if (strcmp(m->name, "map_extra") == 0) {
		ok = wide_number_of(&p->types, m->type, &out->extra);
	} else if (!number_of(&p->types, m->type, &n)) {
		ok = false;
	} else if (strcmp(m->name, "type") == 0) {
		out->type = n;
	} else if (strcmp(m->name, "max_entries") == 0) {
		out->entries = n;
	} else if (strcmp(m->name, "map_flags") == 0) {
		out->flags = n;
	} else if (strcmp(m->name, "key_size") == 0) {
		ok = set_once(&out->key_bytes, n);
	} else if (strcmp(m->name, "value_size") == 0) {
		ok = set_once(&out->value_bytes, n);
	} else if (strcmp(m->name, "pinning") == 0) {
		ok = n <= 1 && !inner;
		out->pin_by_name = n == 1;
	} else if (strcmp(m->name, "numa_node") != 0) {
		return errmsg_say(p->why, -EINVAL, "map '%s' has an attribute that we do not know", out->name);
	}
	if (!ok)
		return errmsg_say(p->why, -EINVAL, "map '%s': the value of its attribute '%s' makes no sense",
				  out->name, m->name);
	return 0;
}

static int read_definition(struct parse *p, const struct types_record *t, struct object_map *out, bool inner)
{
	for (uint32_t i = 0; i < t->vlen; i++) {
		struct types_member m = types_member(&p->types, t, i);
		int err = read_attribute(p, &m, out, inner);
		if (err != 0)
			return err;
	}
	if (out->type == BPF_MAP_TYPE_UNSPEC)
		return bad_map(p, out->name, "has no type");
	return 0;
}

static bool name_ok(const char *name)
{
	size_t n = 0;

	while (ascii_alpha((uint8_t)name[n]) || ascii_digit((uint8_t)name[n]) || name[n] == '_' || name[n] == '.')
		n++;
	return n > 0 && name[n] == '\0';
}

static int add_map(struct parse *p, const struct elf_symbol *s, const struct types_record *var)
{
	struct object_map *m = &p->maps[p->map_count];
	const struct types_record *t = types_resolve(&p->types, var->size_or_type, NULL);

	if (s->bind == STB_LOCAL || types_var_linkage(var) != BTF_VAR_GLOBAL_ALLOCATED)
		return bad_map(p, s->name, "is static; maps are global");
	if (!name_ok(s->name))
		return bad_map(p, s->name, "has a name with other characters than letters, digits, '_' and '.'");
	if (t == NULL || t->kind != BTF_KIND_STRUCT)
		return bad_map(p, s->name, "is not defined by a struct");
	for (size_t i = 0; i < p->map_count; i++) {
		if (!p->maps[i].internal && (p->map_at[i] == s->value || strcmp(p->maps[i].name, s->name) == 0))
			return bad_map(p, s->name, "is defined twice");
	}
	if (s->value >= p->elf.sections[s->section].size)
		return bad_map(p, s->name, "lies outside of section '.maps'");
	m->name = s->name;
	p->map_at[p->map_count] = (uint32_t)s->value;
	int err = read_definition(p, t, m, false);
	if (err == 0)
		p->map_count++;
	return err;
}

/* The BTF variable of section .maps with this name. */
static const struct types_record *find_variable(const struct parse *p, const struct types_record *section,
						const char *name)
{
	for (uint32_t i = 0; i < section->vlen && i < OBJECT_MAPS_MAX; i++) {
		uint32_t type, offset, size;
		types_datasec_var(section, i, &type, &offset, &size);
		const struct types_record *t = types_get(&p->types, type);
		if (t != NULL && t->kind == BTF_KIND_VAR && strcmp(types_text(&p->types, t->name), name) == 0)
			return t;
	}
	return NULL;
}

static int too_many(const struct parse *p)
{
	return errmsg_say(p->why, -E2BIG, "the object has more than %d maps", OBJECT_MAPS_MAX);
}

static int read_maps(struct parse *p)
{
	size_t symbols = 0;

	if (p->maps_section == 0 || p->elf.sections[p->maps_section].size == 0)
		return 0;
	if (!p->has_types)
		return errmsg_say(p->why, -EINVAL, "the object has maps and no BTF; compile with -g");
	const struct types_record *section = types_find(&p->types, BTF_KIND_DATASEC, ".maps");
	if (section == NULL)
		return errmsg_say(p->why, -EINVAL, "the object's BTF does not describe section '.maps'");
	if (section->vlen > OBJECT_MAPS_MAX)
		return too_many(p);
	for (size_t i = 1; i < p->elf.symbol_count; i++) {
		const struct elf_symbol *s = &p->elf.symbols[i];
		if (s->section != p->maps_section || s->type != STT_OBJECT)
			continue;
		if (++symbols > OBJECT_MAPS_MAX)
			return too_many(p);
		const struct types_record *var = find_variable(p, section, s->name);
		if (var == NULL)
			return bad_map(p, s->name, "is not described by the object's BTF");
		int err = add_map(p, s, var);
		if (err != 0)
			return err;
	}
	if (symbols != section->vlen)
		return errmsg_say(p->why, -EINVAL, "BTF and symbols of section '.maps' do not agree");
	return 0;
}

static int read_data(struct parse *p, size_t section)
{
	const struct elf_section *s = &p->elf.sections[section];

	if (p->map_count == 2 * (size_t)OBJECT_MAPS_MAX)
		return too_many(p);
	if (s->size > OBJECT_DATA_BYTES_MAX)
		return errmsg_say(p->why, -E2BIG, "section '%s' has more than %d bytes", s->name,
				  OBJECT_DATA_BYTES_MAX);
	p->data_map[section] = (uint32_t)p->map_count;
	p->maps[p->map_count++] = (struct object_map){
		.name = s->name, .type = BPF_MAP_TYPE_ARRAY, .key_bytes = 4,
		.value_bytes = (uint32_t)s->size, .entries = 1, .flags = BPF_F_MMAPABLE, .internal = true,
		.filled = s->type != SHT_NOBITS,
	};
	return 0;
}

int parse_maps(struct parse *p)
{
	int err = parse_section(p, ".maps", &p->maps_section);

	if (err != 0)
		return err;
	p->maps = arena_array(p->arena, 2 * (size_t)OBJECT_MAPS_MAX, sizeof(*p->maps));
	p->map_at = arena_array(p->arena, 2 * (size_t)OBJECT_MAPS_MAX, sizeof(*p->map_at));
	if (p->maps == NULL || p->map_at == NULL)
		return errmsg_set(p->why, -ENOMEM, "maps of an object");
	err = read_maps(p);
	for (size_t i = 1; err == 0 && i < p->elf.section_count; i++) {
		if (p->use[i] == SECTION_DATA)
			err = read_data(p, i);
	}
	return err;
}
