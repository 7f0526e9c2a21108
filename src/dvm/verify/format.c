/*
 * Format checks (4.8): constants, flags, names, descriptors, duplicates; attributes are in attributes.c.
 *
 * As strict as HotSpot's class-file parser is with classes of applications, version by version, since the rules changed with 48, 49, 50, 51, 52, 53, 55 and 61.
 */
#include <stdarg.h>
#include <stdio.h>

#include "dvm/verify/internal.h"

bool refuse_at(struct verifier *v, uint32_t offset, const char *section, const char *fmt, ...)
{
	char text[sizeof(v->fault->text)];
	va_list ap;

	if (v->fault->kind != CLASS_FAULT_NONE)
		return false;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	(void)class_fault_set(v->fault, CLASS_FAULT_FORMAT, section, offset, "%s", text);
	v->fault->method = v->method;
	return false;
}

static bool relaxed(const struct verifier *v)
{
	return (v->flags & VERIFY_RELAXED_FORMAT) != 0;
}

/* ---- text ---- */

/* Most text is ASCII: eight bytes at a time, none of them 0 or above 127. */
static bool plain_ascii(struct slice s)
{
	const uint64_t ones = 0x0101010101010101u;
	size_t i = 0;
	uint64_t w, bad = 0;

	for (; i + 8 <= s.len; i += 8) {
		memcpy(&w, s.ptr + i, 8);
		bad |= (w - ones) | w;	/* a zero byte borrows into bit 7; what it may falsely raise only costs the slow look */
	}
	for (; i < s.len; i++)
		bad |= (uint64_t)(uint8_t)(s.ptr[i] - 1) | s.ptr[i];
	return (bad & (ones << 7)) == 0;
}

static bool check_utf8(struct verifier *v, uint32_t i)
{
	struct slice text = pool_utf8(&v->c->pool, i);

	return plain_ascii(text) || utf8_modified_valid(text, v->c->major) ||
	       refuse_at(v, v->c->pool.at[i], "4.4.7", "constant %u (Utf8) is no modified UTF-8", i);
}

/* ---- descriptors ---- */

/* As descriptor_method_valid(), without the limit of 255 words, which methods have and constants do not. */
static bool method_descriptor(const struct verifier *v, struct slice text)
{
	struct method_shape shape;
	struct slice type;
	const uint8_t *from;

	if (descriptor_method_valid(text, true, v->c->major))
		return true;
	if (!descriptor_method(text, &shape))
		return false;
	for (struct slice rest = shape.parameters; rest.len > 0;) {
		from = rest.ptr;
		if (descriptor_next(&rest, &type) == '\0' || !descriptor_field_valid(slice_of(from, (size_t)(rest.ptr - from)), v->c->major))
			return false;
	}
	return slice_eq(shape.result, SLICE("V")) || descriptor_field_valid(shape.result, v->c->major);
}

/* What a descriptor must be for that name: initialization methods return nothing, and since 51 <clinit> takes nothing. */
static bool method_type_fits(const struct verifier *v, struct slice name, struct slice text)
{
	if (!method_descriptor(v, text))
		return false;
	if (name.len == 0 || name.ptr[0] != '<')
		return true;
	if (v->c->major >= 51 && slice_eq(name, SLICE("<clinit>")) && !slice_eq(text, SLICE("()V")))
		return false;
	return text.ptr[text.len - 1] == 'V' && text.ptr[text.len - 2] == ')';
}

/* ---- constants (4.4) ---- */

static bool check_name_and_type(struct verifier *v, uint32_t i)
{
	struct slice name = pool_utf8(&v->c->pool, pool_first(&v->c->pool, i)), text = pool_utf8(&v->c->pool, pool_second(&v->c->pool, i));
	uint32_t at = v->c->pool.at[i];
	bool method = text.len > 0 && text.ptr[0] == '(';

	if (name.len == 0 || text.len == 0)
		return refuse_at(v, at, "4.4.6", "constant %u (NameAndType) has an empty %s", i, name.len == 0 ? "name" : "descriptor");
	if (!relaxed(v) && !(method ? name_method_valid(name, v->c->major) : name_field_valid(name, v->c->major)))
		return refuse_at(v, at, "4.2.2", "constant %u (NameAndType) has no valid name for a %s", i, method ? "method" : "field");
	if (!(method ? method_type_fits(v, name, text) : descriptor_field_valid(text, v->c->major)))
		return refuse_at(v, at, method ? "4.3.3" : "4.3.2", "constant %u (NameAndType) has no valid descriptor of a %s", i, method ? "method" : "field");
	return true;
}

static bool check_member_ref(struct verifier *v, uint32_t i, enum constant_tag tag)
{
	const struct class_pool *pool = &v->c->pool;
	uint32_t nat = pool_second(pool, i);
	struct slice name = pool_utf8(pool, pool_first(pool, nat)), text = pool_utf8(pool, pool_second(pool, nat));
	bool method = text.len > 0 && text.ptr[0] == '(', wants_method = tag != CONSTANT_FIELDREF && tag != CONSTANT_DYNAMIC;

	if (method != wants_method)
		return refuse_at(v, pool->at[i], "4.4.2", "constant %u has the descriptor of a %s, one of a %s is expected", i, method ? "method" : "field",
				 wants_method ? "method" : "field");
	if (tag == CONSTANT_METHODREF && name.len > 0 && name.ptr[0] == '<' && !slice_eq(name, SLICE("<init>")))
		return refuse_at(v, pool->at[i], "4.4.2", "constant %u (Methodref) names an initialization method other than <init>", i);
	return true;
}

static bool check_method_handle(struct verifier *v, uint32_t i)
{
	const struct class_pool *pool = &v->c->pool;
	uint32_t kind = pool_first(pool, i), ref = pool_second(pool, i);
	bool init = slice_eq(pool_utf8(pool, pool_first(pool, pool_second(pool, ref))), SLICE("<init>"));

	if ((kind == 6 || kind == 7) && v->c->major < 52 && pool_is(pool, ref, CONSTANT_INTERFACE_METHODREF))
		return refuse_at(v, pool->at[i], "4.4.8", "constant %u (MethodHandle) names a method of an interface, which version 52 began with", i);
	if (kind >= 5 && kind <= 8 && init != (kind == 8))
		return refuse_at(v, pool->at[i], "4.4.8", "constant %u (MethodHandle) of kind %u names %s", i, kind, init ? "a constructor" : "no constructor");
	return true;
}

static uint16_t tag_since(enum constant_tag tag)
{
	switch (tag) {
	case CONSTANT_METHOD_HANDLE:
	case CONSTANT_METHOD_TYPE:
	case CONSTANT_INVOKE_DYNAMIC:
		return 51;
	case CONSTANT_DYNAMIC:
		return 55;
	case CONSTANT_MODULE:
	case CONSTANT_PACKAGE:
		return 53;
	default:
		return 45;
	}
}

static bool check_one_constant(struct verifier *v, uint32_t i, enum constant_tag tag)
{
	const struct class_pool *pool = &v->c->pool;

	switch (tag) {
	case CONSTANT_UTF8:
		return check_utf8(v, i);
	case CONSTANT_CLASS:
		return relaxed(v) || name_class_valid(pool_name(pool, i), true, v->c->major) ||
		       refuse_at(v, pool->at[i], "4.2.1", "constant %u (Class) has no valid name", i);
	case CONSTANT_NAME_AND_TYPE:
		return check_name_and_type(v, i);
	case CONSTANT_FIELDREF:
	case CONSTANT_METHODREF:
	case CONSTANT_INTERFACE_METHODREF:
		return check_member_ref(v, i, tag);
	case CONSTANT_DYNAMIC:
	case CONSTANT_INVOKE_DYNAMIC:
		v->bootstraps = MAX(v->bootstraps, pool_first(pool, i) + 1u);
		return check_member_ref(v, i, tag);
	case CONSTANT_METHOD_HANDLE:
		return check_method_handle(v, i);
	case CONSTANT_METHOD_TYPE:
		return method_descriptor(v, pool_name(pool, i)) || refuse_at(v, pool->at[i], "4.4.9", "constant %u (MethodType) is no descriptor of a method", i);
	case CONSTANT_MODULE:
	case CONSTANT_PACKAGE:
		return (v->c->access_flags & ACC_MODULE) != 0 || refuse_at(v, pool->at[i], "4.4.11", "constant %u is for modules, and this is a class", i);
	default:
		return true;
	}
}

static bool check_constants(struct verifier *v)
{
	for (uint32_t i = 1; i < v->c->pool.count; i++) {
		enum constant_tag tag = pool_tag(&v->c->pool, i);

		if (tag == CONSTANT_NONE)
			continue;
		if (v->c->major < tag_since(tag))
			return refuse_at(v, v->c->pool.at[i], "4.4", "constant %u has tag %u, which version %u began with; the class has %u", i, tag,
					 tag_since(tag), v->c->major);
		if (!check_one_constant(v, i, tag))
			return false;
	}
	return true;
}

/* ---- flags (4.1, 4.5, 4.6) ---- */

#define CLASS_FLAGS (ACC_PUBLIC | ACC_FINAL | ACC_SUPER | ACC_INTERFACE | ACC_ABSTRACT | ACC_SYNTHETIC | ACC_ANNOTATION | ACC_ENUM)

bool format_class_flags(uint16_t flags, uint16_t major)
{
	bool interface = (flags & ACC_INTERFACE) != 0, abstract = (flags & ACC_ABSTRACT) != 0 || (interface && major < 50);

	return !((abstract && (flags & ACC_FINAL) != 0) || (interface && !abstract) || (interface && major >= 49 && (flags & (ACC_SUPER | ACC_ENUM)) != 0) ||
		 (!interface && major >= 49 && (flags & ACC_ANNOTATION) != 0));
}

static bool one_visibility(uint16_t flags)
{
	uint16_t v = flags & (ACC_PUBLIC | ACC_PRIVATE | ACC_PROTECTED);

	return (v & (v - 1)) == 0;
}

static bool field_flags(const struct verifier *v, uint16_t flags)
{
	if ((v->c->access_flags & ACC_INTERFACE) == 0)
		return one_visibility(flags) && (flags & (ACC_FINAL | ACC_VOLATILE)) != (ACC_FINAL | ACC_VOLATILE);
	return (flags & (ACC_PUBLIC | ACC_STATIC | ACC_FINAL)) == (ACC_PUBLIC | ACC_STATIC | ACC_FINAL) &&
	       (flags & (ACC_PRIVATE | ACC_PROTECTED | ACC_VOLATILE | ACC_TRANSIENT)) == 0 && (v->c->major < 49 || (flags & ACC_ENUM) == 0);
}

static bool interface_method_flags(uint16_t flags, uint16_t major)
{
	if (major >= 52) {
		if (((flags & ACC_PUBLIC) != 0) == ((flags & ACC_PRIVATE) != 0) || (flags & (ACC_NATIVE | ACC_PROTECTED | ACC_FINAL | ACC_SYNCHRONIZED)) != 0)
			return false;
		return (flags & ACC_ABSTRACT) == 0 || (flags & (ACC_PRIVATE | ACC_STATIC | (major < 61 ? ACC_STRICT : 0))) == 0;
	}
	if ((flags & (ACC_PUBLIC | ACC_ABSTRACT)) != (ACC_PUBLIC | ACC_ABSTRACT) || (flags & (ACC_STATIC | ACC_FINAL | ACC_NATIVE)) != 0)
		return false;
	return major < 49 || (flags & (ACC_PRIVATE | ACC_PROTECTED | ACC_SYNCHRONIZED | ACC_STRICT)) == 0;
}

static bool method_flags(const struct verifier *v, uint16_t flags, bool is_init)
{
	uint16_t major = v->c->major;

	if ((v->c->access_flags & ACC_INTERFACE) != 0)
		return interface_method_flags(flags, major);
	if (!one_visibility(flags))
		return false;
	if (is_init)
		return (flags & (ACC_STATIC | ACC_FINAL | ACC_SYNCHRONIZED | ACC_NATIVE | ACC_ABSTRACT)) == 0 && (major < 49 || (flags & ACC_BRIDGE) == 0);
	if ((flags & ACC_ABSTRACT) == 0)
		return true;
	return (flags & (ACC_FINAL | ACC_NATIVE | ACC_PRIVATE | ACC_STATIC)) == 0 &&
	       (major < 49 || (flags & (ACC_SYNCHRONIZED | (major < 61 ? ACC_STRICT : 0))) == 0);
}

/* ---- duplicates ---- */

struct set {				/* of numbers that are not 0 */
	uint64_t *rows;
	uint32_t mask;
};

static bool set_init(struct verifier *v, struct set *s, uint32_t count)
{
	uint32_t rows = 8;

	while (rows < count * 2)
		rows *= 2;
	s->mask = rows - 1;
	s->rows = verify_alloc(v, rows, sizeof(*s->rows));
	return s->rows != NULL;
}

static bool set_add(struct set *s, uint64_t key)
{
	for (uint32_t i = (uint32_t)((key * 0x9fb21c651e98df25u) >> 33);; i++) {
		uint64_t *row = &s->rows[i & s->mask];

		if (*row == key)
			return false;
		if (*row == 0) {
			*row = key;
			return true;
		}
	}
}

static bool check_duplicates(struct verifier *v, const struct class_members *list, const char *section, const char *what)
{
	struct set seen;

	if (list->count < 2)
		return true;
	if (!set_init(v, &seen, list->count))
		return false;
	for (uint32_t i = 0; i < list->count; i++) {
		const struct class_member *m = &list->at[i];
		uint64_t name = symbol_of(v, member_name(v->c, m)), descriptor = symbol_of(v, member_descriptor(v->c, m));
		char text[TYPE_TEXT_BYTES];

		if (name == 0 || descriptor == 0)
			return false;
		if (!set_add(&seen, name << 32 | descriptor))
			return refuse_at(v, m->offset, section, "two %s are called %s and have the same descriptor", what,
					 printable(member_name(v->c, m), text));
	}
	return true;
}

/* ---- the class (4.1) ---- */

static bool check_interfaces(struct verifier *v)
{
	struct set seen;

	if (class_interfaces(v->c) > 0 && v->this_type == v->object)
		return refuse_at(v, 0, "4.1", "java/lang/Object has superinterfaces");
	if (!set_init(v, &seen, class_interfaces(v->c)))
		return false;
	for (uint32_t i = 0; i < class_interfaces(v->c); i++) {
		struct slice name = class_interface(v->c, i);
		uint32_t symbol = symbol_of(v, name);

		if (symbol == 0)
			return false;
		if (name.len > 0 && name.ptr[0] == '[')
			return refuse_at(v, 0, "4.1", "superinterface %u is an array", i);
		if (!set_add(&seen, symbol))
			return refuse_at(v, 0, "4.1", "superinterface %u is named twice", i);
	}
	return true;
}

static bool check_super_name(struct verifier *v)
{
	if (v->c->super_class == 0)
		return v->this_type == v->object || refuse_at(v, 0, "4.1", "the class has no superclass, and is not java/lang/Object");
	if (type_is_array(v, v->super_type))
		return refuse_at(v, 0, "4.1", "the superclass is an array");
	if ((v->c->access_flags & ACC_INTERFACE) != 0 && v->super_type != v->object)
		return refuse_at(v, 0, "4.1", "an interface's superclass is not java/lang/Object");
	return true;
}

/* A module's declaration: no class, and nothing in it but its attributes. */
static bool check_module(struct verifier *v)
{
	if (!slice_eq(class_name(v->c), SLICE("module-info")))
		return refuse_at(v, 0, "4.1", "the class has the flag of a module, and is not called module-info");
	if (v->c->access_flags != ACC_MODULE || v->c->super_class != 0 || class_interfaces(v->c) + v->c->fields.count + v->c->methods.count > 0)
		return refuse_at(v, 0, "4.1", "a module has other flags, a superclass, superinterfaces, fields or methods");
	return class_attribute(v->c, &v->c->attributes, SLICE("Module")) != NULL || refuse_at(v, 0, "4.7.25", "the module has no Module attribute");
}

static bool check_head(struct verifier *v)
{
	if (v->c->minor == CLASS_MINOR_PREVIEW && v->c->major >= 56 && (v->flags & VERIFY_PREVIEW) == 0)
		return class_fault_set(v->fault, CLASS_FAULT_VERSION, "4.1", 4,
				       "the class depends on preview features of version %u; a JVM of that version takes it with --enable-preview only",
				       v->c->major);
	if (!format_class_flags(v->c->access_flags & CLASS_FLAGS, v->c->major))
		return refuse_at(v, v->c->pool.end, "4.1", "the class's flags, 0x%04x, exclude one another", v->c->access_flags);
	if (type_is_array(v, v->this_type))
		return refuse_at(v, 0, "4.1", "the class's name is that of an array");
	return check_super_name(v) && check_interfaces(v);
}

/* ---- members ---- */

static bool check_field_one(struct verifier *v, const struct class_member *m)
{
	struct slice name = member_name(v->c, m);
	char text[TYPE_TEXT_BYTES];

	if (!field_flags(v, m->access_flags))
		return refuse_at(v, m->offset, "4.5", "field %s has flags that exclude one another, or that its interface forbids: 0x%04x", printable(name, text),
				 m->access_flags);
	if (!relaxed(v) && !name_field_valid(name, v->c->major))
		return refuse_at(v, m->offset, "4.2.2", "%s is no name of a field", printable(name, text));
	if (!descriptor_field_valid(member_descriptor(v->c, m), v->c->major))
		return refuse_at(v, m->offset, "4.3.2", "field %s has no valid descriptor", printable(name, text));
	return m->attributes.count == 0 || attributes_field(v, m);
}

/* Before 51 the flags of <clinit> did not matter. */
static bool check_method_flags(struct verifier *v, const struct class_member *m, struct slice name)
{
	bool is_init = slice_eq(name, SLICE("<init>"));
	char text[TYPE_TEXT_BYTES];

	if (slice_eq(name, SLICE("<clinit>")))
		return v->c->major < 51 || (m->access_flags & ACC_STATIC) != 0 || refuse_at(v, m->offset, "4.6", "<clinit> is not static");
	if (!method_flags(v, m->access_flags, is_init))
		return refuse_at(v, m->offset, "4.6", "method %s has flags that exclude one another, or that its class forbids: 0x%04x", printable(name, text),
				 m->access_flags);
	return !is_init || (v->c->access_flags & ACC_INTERFACE) == 0 || refuse_at(v, m->offset, "4.6", "an interface has a constructor");
}

static bool check_method_one(struct verifier *v, uint32_t i)
{
	const struct class_member *m = &v->c->methods.at[i];
	struct slice name = member_name(v->c, m), descriptor = member_descriptor(v->c, m);
	struct method_shape shape;
	char text[TYPE_TEXT_BYTES];

	v->method = (int32_t)i;
	if (!relaxed(v) && !name_method_valid(name, v->c->major))
		return refuse_at(v, m->offset, "4.2.2", "%s is no name of a method", printable(name, text));
	if (!check_method_flags(v, m, name))
		return false;
	if (!method_type_fits(v, name, descriptor) || !descriptor_method(descriptor, &shape))
		return refuse_at(v, m->offset, "4.3.3", "method %s has no valid descriptor", printable(name, text));
	v->argument_words = shape.words + (format_method_static(v->c, m) ? 0u : 1u);
	if (v->argument_words > 255)
		return refuse_at(v, m->offset, "4.3.3", "method %s takes %u words, 255 are allowed", printable(name, text), v->argument_words);
	return attributes_method(v, i);
}

bool format_check(struct verifier *v)
{
	if (!check_constants(v))
		return false;
	if ((v->c->access_flags & ACC_MODULE) != 0 && v->c->major >= 53)
		return check_module(v) && attributes_class(v);
	if (!check_head(v))
		return false;
	for (uint32_t i = 0; i < v->c->fields.count; i++)
		if (!check_field_one(v, &v->c->fields.at[i]))
			return false;
	for (uint32_t i = 0; i < v->c->methods.count; i++)
		if (!check_method_one(v, i))
			return false;
	v->method = -1;
	return check_duplicates(v, &v->c->fields, "4.5", "fields") && check_duplicates(v, &v->c->methods, "4.6", "methods") && attributes_class(v);
}
