/*
 * Everything that is in a class, read once: what the round trip, the fuzzer and the benchmark run.
 */
#include "dvm/classfile/attribute.h"

struct walk {
	struct arena *arena;
	const struct class_file *c;
	struct class_totals *totals;
	struct class_fault *fault;
};

static bool walk_list(const struct walk *w, const struct class_attributes *list, bool nested);

static bool walk_code(const struct walk *w, const struct class_attribute *a)
{
	struct code code;
	struct code_starts starts;
	struct insn in;

	if (!code_parse(w->arena, w->c, a, &code, w->fault) || !code_walk(w->arena, w->c, &code, &starts, w->fault))
		return false;
	for (uint32_t pc = 0; code_next(&code, pc, &in); pc = in.next)
		w->totals->instructions++;
	w->totals->methods++;
	return walk_list(w, &code.attributes, false);
}

static bool walk_frames(const struct walk *w, struct slice body)
{
	struct frames f;
	struct frame frame;
	struct frame_type type;

	if (!frames_open(body, &f))
		return false;
	while (frames_next(&f, &frame)) {
		while (frame_type_next(&frame.local_types, &type))
			;
		while (frame_type_next(&frame.stack_types, &type))
			;
		w->totals->frames++;
	}
	return f.left == 0 && f.at == f.bytes.len;
}

static bool walk_bootstrap(struct slice body)
{
	struct bootstrap_method m;
	struct slice rest;
	uint16_t count;

	if (!bootstrap_open(body, &count, &rest))
		return false;
	for (; count > 0; count--)
		if (!bootstrap_next(&rest, &m))
			return false;
	return rest.len == 0;
}

static bool walk_element(struct slice *rest)
{
	struct element_value v, inner;
	uint16_t name;

	if (!element_next(rest, &v))
		return false;
	/* One level is enough: element_next looked at all that nests. */
	if (v.tag == ELEMENT_ARRAY)
		while (v.rest.len > 0 && element_next(&v.rest, &inner))
			;
	else if (v.tag == ELEMENT_ANNOTATION)
		while (v.rest.len > 0 && pair_next(&v.rest, &name, &inner))
			;
	return v.rest.len == 0;
}

static bool walk_annotations(struct slice body)
{
	struct annotation a;
	struct element_value v;
	struct slice rest;
	uint16_t count, name;

	if (!annotations_open(body, &count, &rest))
		return false;
	for (; count > 0; count--) {
		if (!annotation_next(&rest, &a))
			return false;
		while (pair_next(&a.pairs, &name, &v))
			;
	}
	return rest.len == 0;
}

static bool walk_type_annotations(struct slice body)
{
	struct type_annotation a;
	struct slice rest;
	uint16_t count;

	if (!annotations_open(body, &count, &rest))
		return false;
	for (; count > 0; count--)
		if (!type_annotation_next(&rest, &a))
			return false;
	return rest.len == 0;
}

static bool walk_parameters(struct slice body)
{
	struct slice rest = slice_from(body, 1), annotations;
	uint16_t count;

	if (body.len == 0)
		return false;
	for (unsigned left = body.ptr[0]; left > 0; left--)
		if (!parameter_annotations_next(&rest, &count, &annotations))
			return false;
	return rest.len == 0;
}

static bool walk_module(struct slice body)
{
	struct module m;
	struct module_open o;
	struct module_provide p;

	if (!module_read(body, &m))
		return false;
	while (module_open_next(&m.exports, &o) || module_open_next(&m.opens, &o) || module_provide_next(&m.provides, &p))
		;
	return true;
}

static bool walk_hashes(struct slice body)
{
	struct module_hash h;
	struct slice rest;
	uint16_t algorithm, count;

	if (!module_hashes_open(body, &algorithm, &count, &rest))
		return false;
	for (; count > 0; count--)
		if (!module_hash_next(&rest, &h))
			return false;
	return rest.len == 0;
}

static bool walk_record(const struct walk *w, const struct class_attribute *a)
{
	struct record_component component;
	struct slice rest;
	uint16_t count;

	if (!record_open(a, &count, &rest))
		return class_fault_set(w->fault, CLASS_FAULT_FORMAT, "4.7.30", a->offset, "Record is cut short");
	for (; count > 0; count--)
		if (!record_next(w->arena, w->c, &rest, &component, w->fault) || !walk_list(w, &component.attributes, false))
			return false;
	return rest.len == 0 || class_fault_set(w->fault, CLASS_FAULT_FORMAT, "4.7.30", a->offset, "%zu bytes follow in Record", rest.len);
}

/* The kinds without attributes of their own. */
static bool walk_flat(const struct walk *w, enum attribute_kind kind, const struct class_attribute *a)
{
	struct attribute_rows rows;
	struct slice rest = a->body;

	switch (kind) {
	case ATTRIBUTE_UNKNOWN:
		w->totals->unknown++;
		return true;
	case ATTRIBUTE_SOURCE_DEBUG_EXTENSION:
		return true;
	case ATTRIBUTE_SYNTHETIC:
	case ATTRIBUTE_DEPRECATED:
		return a->body.len == 0;
	case ATTRIBUTE_STACK_MAP_TABLE:
		return walk_frames(w, a->body);
	case ATTRIBUTE_VISIBLE_ANNOTATIONS:
	case ATTRIBUTE_INVISIBLE_ANNOTATIONS:
		return walk_annotations(a->body);
	case ATTRIBUTE_VISIBLE_PARAMETER_ANNOTATIONS:
	case ATTRIBUTE_INVISIBLE_PARAMETER_ANNOTATIONS:
		return walk_parameters(a->body);
	case ATTRIBUTE_VISIBLE_TYPE_ANNOTATIONS:
	case ATTRIBUTE_INVISIBLE_TYPE_ANNOTATIONS:
		return walk_type_annotations(a->body);
	case ATTRIBUTE_ANNOTATION_DEFAULT:
		return walk_element(&rest) && rest.len == 0;
	case ATTRIBUTE_BOOTSTRAP_METHODS:
		return walk_bootstrap(a->body);
	case ATTRIBUTE_MODULE:
		return walk_module(a->body);
	case ATTRIBUTE_MODULE_HASHES:
		return walk_hashes(a->body);
	default:
		return attribute_rows(kind, a, &rows);
	}
}

/* nested: Code and Record may stand here (in a method, in the class); elsewhere they are unknown, so that nothing nests without end. */
static bool walk_list(const struct walk *w, const struct class_attributes *list, bool nested)
{
	for (uint32_t i = 0; i < list->count; i++) {
		const struct class_attribute *a = &list->at[i];
		enum attribute_kind kind = attribute_kind_of(w->c, a);

		w->totals->attributes++;
		if (kind == ATTRIBUTE_CODE || kind == ATTRIBUTE_RECORD) {
			if (nested && !(kind == ATTRIBUTE_CODE ? walk_code(w, a) : walk_record(w, a)))
				return false;
			continue;
		}
		if (!walk_flat(w, kind, a))
			return class_fault_set(w->fault, CLASS_FAULT_FORMAT, "4.7", a->offset, "the %s attribute is cut short, too long, or malformed",
					       attribute_table[kind].name);
	}
	return true;
}

static bool walk_members(const struct walk *w, const struct class_members *members)
{
	for (uint32_t i = 0; i < members->count; i++)
		if (!walk_list(w, &members->at[i].attributes, true)) {
			if (w->fault != NULL && members == &w->c->methods)
				w->fault->method = (int32_t)i;
			return false;
		}
	return true;
}

bool class_walk(struct arena *arena, const struct class_file *c, struct class_totals *totals, struct class_fault *fault)
{
	struct walk w = { arena, c, totals, fault };

	return walk_members(&w, &c->fields) && walk_members(&w, &c->methods) && walk_list(&w, &c->attributes, true);
}
