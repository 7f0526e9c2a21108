#include <stdio.h>

#include "dvm/classfile/print_internal.h"

static void show_annotation(struct show *s, const char *key, const struct annotation *a);

/* Depth is bounded: element_next() took all of it to be within CLASS_ANNOTATION_DEPTH_MAX. */
static void show_element(struct show *s, const char *key, struct element_value *v)
{
	struct element_value inner;

	switch (v->tag) {
	case ELEMENT_ARRAY:
		show_list(s, key);
		while (s->out->err == 0 && element_next(&v->rest, &inner))
			show_element(s, NULL, &inner);
		show_end(s);
		break;
	case ELEMENT_ANNOTATION:
		show_annotation(s, key, &(struct annotation){ .type = v->first, .count = v->count, .pairs = v->rest });
		break;
	case ELEMENT_ENUM:
		show_object(s, key);
		show_constant(s, "enum", v->first);
		show_constant(s, "constant", v->second);
		show_end(s);
		break;
	case ELEMENT_STRING:
		show_text(s, key, pool_utf8(&s->c->pool, v->first));
		break;
	case ELEMENT_CLASS:
		show_object(s, key);
		show_constant(s, "class", v->first);
		show_end(s);
		break;
	default: {
		char type[] = { (char)v->tag, '\0' };
		show_object(s, key);
		show_constant(s, type, v->first);
		show_end(s);
		break;
	}
	}
}

static void show_annotation(struct show *s, const char *key, const struct annotation *a)
{
	struct element_value v;
	struct slice pairs = a->pairs;
	uint16_t name;

	show_object(s, key);
	show_constant(s, "type", a->type);
	if (a->count > 0) {
		show_list(s, "values");
		while (s->out->err == 0 && pair_next(&pairs, &name, &v)) {
			show_object(s, NULL);
			show_constant(s, "name", name);
			show_element(s, "value", &v);
			show_end(s);
		}
		show_end(s);
	}
	show_end(s);
}

/* Tables 4.7.20-A and -B. */
static const char *target_name(uint8_t target)
{
	static const char *const low[] = { "class_type_parameter", "method_type_parameter" };
	static const char *const middle[] = { "class_extends", "class_type_parameter_bound", "method_type_parameter_bound", "field", "method_return",
					      "method_receiver", "method_formal_parameter", "throws" };
	static const char *const high[] = { "local_variable", "resource_variable", "exception_parameter", "instanceof", "new",
					    "constructor_reference", "method_reference", "cast", "constructor_invocation_type_argument",
					    "method_invocation_type_argument", "constructor_reference_type_argument", "method_reference_type_argument" };

	if (target < ARRAY_LEN(low))
		return low[target];
	if (target >= 0x10 && target < 0x10 + ARRAY_LEN(middle))
		return middle[target - 0x10];
	return target >= 0x40 && target < 0x40 + ARRAY_LEN(high) ? high[target - 0x40] : "unknown";
}

static void show_hex(struct show *s, const char *key, struct slice bytes)
{
	AUTO_BUF struct buf hex = BUF_INIT(1u << 20);

	if (bytes.len == 0)
		return;
	for (size_t i = 0; i < bytes.len; i++)
		buf_printf(&hex, "%02x", bytes.ptr[i]);
	show_name(s, key, buf_slice(&hex));
}

static bool show_annotation_list(struct show *s, uint32_t count, struct slice *rest)
{
	struct annotation a;

	for (; count > 0 && s->out->err == 0; count--) {
		if (!annotation_next(rest, &a))
			return false;
		show_annotation(s, NULL, &a);
	}
	return true;
}

static bool show_type_annotation_list(struct show *s, uint32_t count, struct slice *rest)
{
	struct type_annotation t;

	for (; count > 0 && s->out->err == 0; count--) {
		if (!type_annotation_next(rest, &t))
			return false;
		show_object(s, NULL);
		show_word(s, "target", target_name(t.target));
		show_hex(s, "target_info", t.info);
		show_hex(s, "path", t.path);
		show_annotation(s, "annotation", &t.annotation);
		show_end(s);
	}
	return true;
}

static bool show_parameters(struct show *s, struct slice body)
{
	struct slice rest = slice_from(body, 1), annotations;
	uint16_t count;

	if (body.len == 0)
		return false;
	for (unsigned left = body.ptr[0]; left > 0 && s->out->err == 0; left--) {
		if (!parameter_annotations_next(&rest, &count, &annotations))
			return false;
		show_list(s, NULL);
		(void)show_annotation_list(s, count, &annotations);
		show_end(s);
	}
	return true;
}

void show_annotation_attribute(struct show *s, const char *key, enum attribute_kind kind, const struct class_attribute *a)
{
	struct element_value v;
	struct slice rest = a->body;
	uint16_t count;
	bool good;

	if (kind == ATTRIBUTE_ANNOTATION_DEFAULT) {
		if (element_next(&rest, &v))
			show_element(s, key, &v);
		else
			show_malformed(s, key);
		return;
	}
	show_list(s, key);
	if (kind == ATTRIBUTE_VISIBLE_PARAMETER_ANNOTATIONS || kind == ATTRIBUTE_INVISIBLE_PARAMETER_ANNOTATIONS)
		good = show_parameters(s, a->body);
	else if (!annotations_open(a->body, &count, &rest))
		good = false;
	else if (kind == ATTRIBUTE_VISIBLE_TYPE_ANNOTATIONS || kind == ATTRIBUTE_INVISIBLE_TYPE_ANNOTATIONS)
		good = show_type_annotation_list(s, count, &rest);
	else
		good = show_annotation_list(s, count, &rest);
	if (!good)
		show_malformed(s, NULL);
	show_end(s);
}
