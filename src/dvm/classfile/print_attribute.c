#include <stdio.h>

#include "dvm/classfile/print_internal.h"

static void show_index(struct show *s, const char *key, const struct class_attribute *a, enum attribute_kind kind)
{
	struct attribute_rows rows;

	if (!attribute_rows(kind, a, &rows))
		show_malformed(s, key);
	else
		show_constant(s, key, row_index(&rows, 0));
}

static void show_indices(struct show *s, const char *key, const uint8_t *at, uint32_t count)
{
	show_list(s, key);
	for (uint32_t i = 0; i < count && s->out->err == 0; i++)
		show_constant(s, NULL, class_be16(at + 2u * i));
	show_end(s);
}

static void show_variables(struct show *s, const struct attribute_rows *rows, uint32_t i, const char *type)
{
	struct row_variable v = row_variable(rows, i);

	show_number(s, "pc", v.pc);
	show_number(s, "length", v.length);
	show_number(s, "local", v.index);
	show_constant(s, "name", v.name);
	show_constant(s, type, v.type);
}

/* The tables whose rows are more than an index. */
static void show_row(struct show *s, enum attribute_kind kind, const struct attribute_rows *rows, uint32_t i)
{
	show_object(s, NULL);
	switch (kind) {
	case ATTRIBUTE_INNER_CLASSES: {
		struct row_inner_class r = row_inner_class(rows, i);
		show_constant(s, "inner", r.inner);
		show_constant(s, "outer", r.outer);
		show_constant(s, "name", r.name);
		show_flags(s, r.flags, 'I');
		break;
	}
	case ATTRIBUTE_LINE_NUMBER_TABLE:
		show_number(s, "pc", row_line(rows, i).pc);
		show_number(s, "line", row_line(rows, i).line);
		break;
	case ATTRIBUTE_LOCAL_VARIABLE_TABLE:
		show_variables(s, rows, i, "descriptor");
		break;
	case ATTRIBUTE_LOCAL_VARIABLE_TYPE_TABLE:
		show_variables(s, rows, i, "signature");
		break;
	case ATTRIBUTE_METHOD_PARAMETERS:
		show_constant(s, "name", row_parameter(rows, i).name);
		show_flags(s, row_parameter(rows, i).flags, 'P');
		break;
	default: {			/* CharacterRangeTable */
		struct row_characters r = row_characters(rows, i);
		show_number(s, "pc", r.pc);
		show_number(s, "end", r.end);
		show_number(s, "from", r.from);
		show_number(s, "to", r.to);
		show_number(s, "flags", r.flags);
		break;
	}
	}
	show_end(s);
}

static void show_rows(struct show *s, const char *name, enum attribute_kind kind, const struct class_attribute *a)
{
	struct attribute_rows rows;

	if (!attribute_rows(kind, a, &rows)) {
		show_malformed(s, name);
	} else if (attribute_table[kind].row_bytes == 2) {
		show_indices(s, name, rows.at, rows.count);
	} else {
		show_list(s, name);
		for (uint32_t i = 0; i < rows.count && s->out->err == 0; i++)
			show_row(s, kind, &rows, i);
		show_end(s);
	}
}

static void show_bootstrap(struct show *s, const char *name, struct slice body)
{
	struct bootstrap_method m;
	struct slice rest = { 0 };
	uint16_t count = 0;
	bool good = bootstrap_open(body, &count, &rest);

	show_list(s, name);
	for (uint32_t i = 0; i < count && good && s->out->err == 0; i++) {
		good = bootstrap_next(&rest, &m);
		if (!good)
			break;
		show_object(s, NULL);
		show_number(s, "index", i);
		show_constant(s, "method", m.handle);
		show_indices(s, "arguments", m.arguments.ptr, (uint32_t)(m.arguments.len / 2));
		show_end(s);
	}
	if (!good)
		show_malformed(s, NULL);
	show_end(s);
}

static void show_record(struct show *s, const char *name, const struct class_attribute *a)
{
	struct record_component r;
	struct slice rest = { 0 };
	uint16_t count = 0;
	bool good = record_open(a, &count, &rest);

	show_list(s, name);
	for (; count > 0 && good && s->out->err == 0; count--) {
		good = record_next(s->arena, s->c, &rest, &r, NULL);
		if (!good)
			break;
		show_object(s, NULL);
		show_constant(s, "name", r.name);
		show_constant(s, "descriptor", r.descriptor);
		show_attributes(s, &r.attributes);
		show_end(s);
	}
	if (!good)
		show_malformed(s, NULL);
	show_end(s);
}

static void show_opens(struct show *s, const char *key, struct slice list)
{
	struct module_open o;

	show_list(s, key);
	while (s->out->err == 0 && module_open_next(&list, &o)) {
		show_object(s, NULL);
		show_constant(s, "package", o.package);
		show_flags(s, o.flags, 'X');
		if (o.to.len > 0)
			show_indices(s, "to", o.to.ptr, (uint32_t)(o.to.len / 2));
		show_end(s);
	}
	show_end(s);
}

static void show_module(struct show *s, const char *name, struct slice body)
{
	struct module m;
	struct module_provide p;

	if (!module_read(body, &m)) {
		show_malformed(s, name);
		return;
	}
	show_object(s, name);
	show_constant(s, "name", m.name);
	show_flags(s, m.flags, 'O');
	show_constant(s, "version", m.version);
	show_list(s, "requires");
	for (uint32_t i = 0; i < m.requires_count && s->out->err == 0; i++) {
		const uint8_t *at = m.requires.ptr + 6u * i;

		show_object(s, NULL);
		show_constant(s, "module", class_be16(at));
		show_flags(s, class_be16(at + 2), 'R');
		show_constant(s, "version", class_be16(at + 4));
		show_end(s);
	}
	show_end(s);
	show_opens(s, "exports", m.exports);
	show_opens(s, "opens", m.opens);
	show_indices(s, "uses", m.uses.ptr, m.uses_count);
	show_list(s, "provides");
	while (s->out->err == 0 && module_provide_next(&m.provides, &p)) {
		show_object(s, NULL);
		show_constant(s, "service", p.service);
		show_indices(s, "with", p.with.ptr, (uint32_t)(p.with.len / 2));
		show_end(s);
	}
	show_end(s);
	show_end(s);
}

static void show_hashes(struct show *s, const char *name, struct slice body)
{
	struct module_hash h;
	struct slice rest = { 0 };
	uint16_t algorithm = 0, count = 0;
	bool good = module_hashes_open(body, &algorithm, &count, &rest);

	show_object(s, name);
	show_constant(s, "algorithm", algorithm);
	show_list(s, "hashes");
	while (good && count > 0 && s->out->err == 0) {
		AUTO_BUF struct buf hex = BUF_INIT(2u * UINT16_MAX + 1);

		count--;
		good = module_hash_next(&rest, &h);
		if (!good)
			break;
		show_object(s, NULL);
		show_constant(s, "module", h.module);
		for (size_t i = 0; i < h.hash.len; i++)
			buf_printf(&hex, "%02x", h.hash.ptr[i]);
		show_name(s, "hash", buf_slice(&hex));
		show_end(s);
	}
	if (!good)
		show_malformed(s, NULL);
	show_end(s);
	show_end(s);
}

static void show_enclosing(struct show *s, const char *name, const struct class_attribute *a)
{
	struct attribute_rows rows;

	if (!attribute_rows(ATTRIBUTE_ENCLOSING_METHOD, a, &rows)) {
		show_malformed(s, name);
		return;
	}
	show_object(s, name);
	show_constant(s, "class", row_enclosing_method(&rows).class);
	show_constant(s, "method", row_enclosing_method(&rows).method);
	show_end(s);
}

void show_attribute(struct show *s, const char *name, enum attribute_kind kind, const struct class_attribute *a)
{
	struct attribute_rows rows;

	switch (kind) {
	case ATTRIBUTE_CONSTANT_VALUE:
	case ATTRIBUTE_SIGNATURE:
	case ATTRIBUTE_SOURCE_FILE:
	case ATTRIBUTE_MODULE_MAIN_CLASS:
	case ATTRIBUTE_NEST_HOST:
	case ATTRIBUTE_MODULE_TARGET:
		show_index(s, name, a, kind);
		break;
	case ATTRIBUTE_MODULE_RESOLUTION:
		show_number(s, name, attribute_rows(kind, a, &rows) ? row_index(&rows, 0) : -1);
		break;
	case ATTRIBUTE_SYNTHETIC:
	case ATTRIBUTE_DEPRECATED:
		show_flag(s, name);
		break;
	case ATTRIBUTE_SOURCE_DEBUG_EXTENSION:
		show_text(s, name, a->body);
		break;
	case ATTRIBUTE_STACK_MAP_TABLE:
		show_frames(s, name, a->body);
		break;
	case ATTRIBUTE_ENCLOSING_METHOD:
		show_enclosing(s, name, a);
		break;
	case ATTRIBUTE_BOOTSTRAP_METHODS:
		show_bootstrap(s, name, a->body);
		break;
	case ATTRIBUTE_RECORD:
		show_record(s, name, a);
		break;
	case ATTRIBUTE_MODULE:
		show_module(s, name, a->body);
		break;
	case ATTRIBUTE_MODULE_HASHES:
		show_hashes(s, name, a->body);
		break;
	case ATTRIBUTE_VISIBLE_ANNOTATIONS:
	case ATTRIBUTE_INVISIBLE_ANNOTATIONS:
	case ATTRIBUTE_VISIBLE_PARAMETER_ANNOTATIONS:
	case ATTRIBUTE_INVISIBLE_PARAMETER_ANNOTATIONS:
	case ATTRIBUTE_VISIBLE_TYPE_ANNOTATIONS:
	case ATTRIBUTE_INVISIBLE_TYPE_ANNOTATIONS:
	case ATTRIBUTE_ANNOTATION_DEFAULT:
		show_annotation_attribute(s, name, kind, a);
		break;
	default:
		show_rows(s, name, kind, a);
		break;
	}
}

/* As keys of the object that we are in, by their names; the second of a name (LineNumberTable may come in pieces) is "LineNumberTable_2". */
void show_attributes(struct show *s, const struct class_attributes *list)
{
	uint16_t seen[ATTRIBUTE_KINDS] = { 0 };
	uint32_t unknown = 0;
	char name[64];

	for (uint32_t i = 0; i < list->count && s->out->err == 0; i++) {
		const struct class_attribute *a = &list->at[i];
		enum attribute_kind kind = attribute_kind_of(s->c, a);

		if (++seen[kind] == 1)
			(void)snprintf(name, sizeof(name), "%s", attribute_table[kind].name);
		else
			(void)snprintf(name, sizeof(name), "%s_%u", attribute_table[kind].name, seen[kind]);
		if (kind == ATTRIBUTE_UNKNOWN)
			unknown++;
		else if (kind == ATTRIBUTE_CODE && s->depth <= 3)
			show_code(s, name, a);
		else if (kind != ATTRIBUTE_CODE && (kind != ATTRIBUTE_RECORD || s->depth <= 1))
			show_attribute(s, name, kind, a);
	}
	if (unknown == 0)
		return;
	show_list(s, "unknown_attributes");
	for (uint32_t i = 0; i < list->count && s->out->err == 0; i++) {
		const struct class_attribute *a = &list->at[i];

		if (attribute_kind_of(s->c, a) != ATTRIBUTE_UNKNOWN)
			continue;
		show_object(s, NULL);
		show_constant(s, "name", a->name);
		show_number(s, "bytes", (int64_t)a->body.len);
		show_end(s);
	}
	show_end(s);
}
