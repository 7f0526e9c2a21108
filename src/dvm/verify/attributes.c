/*
 * Attributes (4.7), as far as a JVM reads them: which may stand where, how often, since which version, and what they hold.
 *
 * What a version does not know is skipped, as in HotSpot. Content of annotations and Signature is not looked at: no JVM does when it loads the class.
 */
#include "base/reader.h"
#include "dvm/verify/internal.h"

enum attribute {
	ATTRIBUTE_NEW,			/* not looked at yet */
	ATTRIBUTE_UNKNOWN,
	ATTRIBUTE_CODE,
	ATTRIBUTE_CONSTANT_VALUE,
	ATTRIBUTE_SYNTHETIC,
	ATTRIBUTE_DEPRECATED,
	ATTRIBUTE_SIGNATURE,
	ATTRIBUTE_VISIBLE,
	ATTRIBUTE_INVISIBLE,
	ATTRIBUTE_VISIBLE_TYPE,
	ATTRIBUTE_INVISIBLE_TYPE,
	ATTRIBUTE_VISIBLE_PARAMETER,
	ATTRIBUTE_INVISIBLE_PARAMETER,
	ATTRIBUTE_ANNOTATION_DEFAULT,
	ATTRIBUTE_EXCEPTIONS,
	ATTRIBUTE_METHOD_PARAMETERS,
	ATTRIBUTE_LINES,
	ATTRIBUTE_VARIABLES,
	ATTRIBUTE_VARIABLE_TYPES,
	ATTRIBUTE_FRAMES,
	ATTRIBUTE_SOURCE_FILE,
	ATTRIBUTE_SOURCE_DEBUG,
	ATTRIBUTE_INNER,
	ATTRIBUTE_ENCLOSING,
	ATTRIBUTE_BOOTSTRAP,
	ATTRIBUTE_NEST_MEMBERS,
	ATTRIBUTE_NEST_HOST,
	ATTRIBUTE_RECORD,
	ATTRIBUTE_PERMITTED,
};

/* A row: the first version that reads it, how long it must be (-1: any), whether one is enough; what HotSpot takes it for elsewhere is nothing. */
static const struct {
	struct slice name;
	uint8_t since;
	int8_t length;
	bool once;
} rows[] = {
	[ATTRIBUTE_CODE] = { SLICE_INIT("Code"), 0, -1, true },
	[ATTRIBUTE_CONSTANT_VALUE] = { SLICE_INIT("ConstantValue"), 0, 2, true },
	[ATTRIBUTE_SYNTHETIC] = { SLICE_INIT("Synthetic"), 0, 0, false },
	[ATTRIBUTE_DEPRECATED] = { SLICE_INIT("Deprecated"), 0, 0, false },
	[ATTRIBUTE_SIGNATURE] = { SLICE_INIT("Signature"), 49, 2, true },
	[ATTRIBUTE_VISIBLE] = { SLICE_INIT("RuntimeVisibleAnnotations"), 49, -1, true },
	[ATTRIBUTE_INVISIBLE] = { SLICE_INIT("RuntimeInvisibleAnnotations"), 49, -1, true },
	[ATTRIBUTE_VISIBLE_TYPE] = { SLICE_INIT("RuntimeVisibleTypeAnnotations"), 49, -1, true },
	[ATTRIBUTE_INVISIBLE_TYPE] = { SLICE_INIT("RuntimeInvisibleTypeAnnotations"), 49, -1, true },
	[ATTRIBUTE_VISIBLE_PARAMETER] = { SLICE_INIT("RuntimeVisibleParameterAnnotations"), 49, -1, true },
	[ATTRIBUTE_INVISIBLE_PARAMETER] = { SLICE_INIT("RuntimeInvisibleParameterAnnotations"), 49, -1, true },
	[ATTRIBUTE_ANNOTATION_DEFAULT] = { SLICE_INIT("AnnotationDefault"), 49, -1, true },
	[ATTRIBUTE_EXCEPTIONS] = { SLICE_INIT("Exceptions"), 0, -1, true },
	[ATTRIBUTE_METHOD_PARAMETERS] = { SLICE_INIT("MethodParameters"), 0, -1, true },
	[ATTRIBUTE_LINES] = { SLICE_INIT("LineNumberTable"), 0, -1, false },
	[ATTRIBUTE_VARIABLES] = { SLICE_INIT("LocalVariableTable"), 0, -1, false },
	[ATTRIBUTE_VARIABLE_TYPES] = { SLICE_INIT("LocalVariableTypeTable"), 49, -1, false },
	[ATTRIBUTE_FRAMES] = { SLICE_INIT("StackMapTable"), 50, -1, true },
	[ATTRIBUTE_SOURCE_FILE] = { SLICE_INIT("SourceFile"), 0, 2, true },
	[ATTRIBUTE_SOURCE_DEBUG] = { SLICE_INIT("SourceDebugExtension"), 0, -1, true },
	[ATTRIBUTE_INNER] = { SLICE_INIT("InnerClasses"), 0, -1, true },
	[ATTRIBUTE_ENCLOSING] = { SLICE_INIT("EnclosingMethod"), 49, 4, true },
	[ATTRIBUTE_BOOTSTRAP] = { SLICE_INIT("BootstrapMethods"), 51, -1, true },
	[ATTRIBUTE_NEST_MEMBERS] = { SLICE_INIT("NestMembers"), 55, -1, true },
	[ATTRIBUTE_NEST_HOST] = { SLICE_INIT("NestHost"), 55, 2, true },
	[ATTRIBUTE_RECORD] = { SLICE_INIT("Record"), 60, -1, true },
	[ATTRIBUTE_PERMITTED] = { SLICE_INIT("PermittedSubclasses"), 61, -1, true },
};

#define BIT(kind) (1u << (kind))
#define ANNOTATIONS (BIT(ATTRIBUTE_VISIBLE) | BIT(ATTRIBUTE_INVISIBLE) | BIT(ATTRIBUTE_VISIBLE_TYPE) | BIT(ATTRIBUTE_INVISIBLE_TYPE))
#define COMMON	    (BIT(ATTRIBUTE_SYNTHETIC) | BIT(ATTRIBUTE_DEPRECATED) | BIT(ATTRIBUTE_SIGNATURE) | ANNOTATIONS)
#define ON_FIELD    (COMMON | BIT(ATTRIBUTE_CONSTANT_VALUE))
#define ON_METHOD                                                                                                                                                  \
	(COMMON | BIT(ATTRIBUTE_CODE) | BIT(ATTRIBUTE_EXCEPTIONS) | BIT(ATTRIBUTE_METHOD_PARAMETERS) | BIT(ATTRIBUTE_VISIBLE_PARAMETER) |                            \
	 BIT(ATTRIBUTE_INVISIBLE_PARAMETER) | BIT(ATTRIBUTE_ANNOTATION_DEFAULT))
#define ON_CODE	     (BIT(ATTRIBUTE_LINES) | BIT(ATTRIBUTE_VARIABLES) | BIT(ATTRIBUTE_VARIABLE_TYPES) | BIT(ATTRIBUTE_FRAMES))
#define ON_COMPONENT (BIT(ATTRIBUTE_SIGNATURE) | ANNOTATIONS)
#define ON_CLASS                                                                                                                                                   \
	(COMMON | BIT(ATTRIBUTE_SOURCE_FILE) | BIT(ATTRIBUTE_SOURCE_DEBUG) | BIT(ATTRIBUTE_INNER) | BIT(ATTRIBUTE_ENCLOSING) | BIT(ATTRIBUTE_BOOTSTRAP) |            \
	 BIT(ATTRIBUTE_NEST_MEMBERS) | BIT(ATTRIBUTE_NEST_HOST) | BIT(ATTRIBUTE_RECORD) | BIT(ATTRIBUTE_PERMITTED))

/* By the name, looked at once for each constant. */
static enum attribute attribute_of(struct verifier *v, uint16_t name)
{
	struct slice text;

	if (v->attribute_kinds[name] != ATTRIBUTE_NEW)
		return (enum attribute)v->attribute_kinds[name];
	text = pool_utf8(&v->c->pool, name);
	v->attribute_kinds[name] = ATTRIBUTE_UNKNOWN;
	for (unsigned i = ATTRIBUTE_CODE; i < ARRAY_LEN(rows); i++)
		if (slice_eq(rows[i].name, text))
			v->attribute_kinds[name] = (uint8_t)i;
	return (enum attribute)v->attribute_kinds[name];
}

static const char *attribute_name(enum attribute kind)
{
	return (const char *)rows[kind].name.ptr;
}

/*
 * What is read at this place: UNKNOWN for all else. *seen collects the kinds. False: one too many, or of a length that it cannot have. `place` and the version
 * are looked at first, so that a name without a meaning here is no rule.
 */
static bool attribute_take(struct verifier *v, const struct class_attribute *a, uint32_t place, uint32_t *seen, enum attribute *kind)
{
	*kind = attribute_of(v, a->name);
	if ((place & BIT(*kind)) == 0 || v->c->major < rows[*kind].since) {
		*kind = ATTRIBUTE_UNKNOWN;
		return true;
	}
	if (rows[*kind].once && (*seen & BIT(*kind)) != 0)
		return refuse_at(v, a->offset, "4.7", "a second %s attribute", attribute_name(*kind));
	*seen |= BIT(*kind);
	if (rows[*kind].length >= 0 && a->body.len != (size_t)rows[*kind].length)
		return refuse_at(v, a->offset, "4.7", "%s has %zu bytes, %d are expected", attribute_name(*kind), a->body.len, rows[*kind].length);
	if (*kind == ATTRIBUTE_SIGNATURE && !pool_is(&v->c->pool, (uint32_t)(a->body.ptr[0] << 8 | a->body.ptr[1]), CONSTANT_UTF8))
		return refuse_at(v, a->offset, "4.7.9", "Signature names no Utf8");
	return true;
}

static uint16_t body16(const struct class_attribute *a, size_t at)
{
	return (uint16_t)(a->body.ptr[at] << 8 | a->body.ptr[at + 1]);
}

static bool wrong_length(struct verifier *v, const struct class_attribute *a, const char *section)
{
	return refuse_at(v, a->offset, section, "the attribute's length, %zu, is not that of its content", a->body.len);
}

/* ---- fields ---- */

static bool constant_value(struct verifier *v, const struct class_member *m, const struct class_attribute *a)
{
	struct slice type = member_descriptor(v->c, m);
	enum constant_tag tag = pool_tag(&v->c->pool, body16(a, 0)), want;

	switch (type.ptr[0]) {
	case 'J':
		want = CONSTANT_LONG;
		break;
	case 'F':
		want = CONSTANT_FLOAT;
		break;
	case 'D':
		want = CONSTANT_DOUBLE;
		break;
	case 'L':
		want = slice_eq(type, SLICE("Ljava/lang/String;")) ? CONSTANT_STRING : CONSTANT_NONE;
		break;
	case '[':
		want = CONSTANT_NONE;
		break;
	default:
		want = CONSTANT_INTEGER;
		break;
	}
	return (tag == want && tag != CONSTANT_NONE) ||
	       refuse_at(v, a->offset, "4.7.2", "ConstantValue is constant %u (tag %u), the field's type asks for another", body16(a, 0), tag);
}

bool attributes_field(struct verifier *v, const struct class_member *m)
{
	bool is_static = (m->access_flags & ACC_STATIC) != 0;
	uint32_t seen = 0;
	enum attribute kind;

	for (uint32_t i = 0; i < m->attributes.count; i++) {
		const struct class_attribute *a = &m->attributes.at[i];

		/* On an instance field a ConstantValue is ignored (4.7.2). */
		if (!attribute_take(v, a, is_static ? ON_FIELD : ON_FIELD & ~BIT(ATTRIBUTE_CONSTANT_VALUE), &seen, &kind))
			return false;
		if (kind == ATTRIBUTE_CONSTANT_VALUE && !constant_value(v, m, a))
			return false;
	}
	return true;
}

/* ---- methods and code ---- */

static bool line_numbers(struct verifier *v, const struct class_attribute *a, const struct code *code)
{
	if (a->body.len < 2 || a->body.len != 2 + 4 * (size_t)body16(a, 0))
		return wrong_length(v, a, "4.7.12");
	for (size_t at = 2; at < a->body.len; at += 4)
		if (body16(a, at) >= code->bytes.len)
			return refuse_at(v, a->offset, "4.7.12", "a line begins at %u, the code has %zu bytes", body16(a, at), code->bytes.len);
	return true;
}

static bool variable_row(struct verifier *v, const struct class_attribute *a, size_t at, const struct code *code, bool types)
{
	uint32_t start = body16(a, at), length = body16(a, at + 2), name = body16(a, at + 4), type = body16(a, at + 6), index = body16(a, at + 8);
	const char *section = types ? "4.7.14" : "4.7.13";
	struct slice text;
	bool wide;

	if (start >= code->bytes.len || start + length > code->bytes.len)
		return refuse_at(v, a->offset, section, "a variable lives from %u to %u, the code has %zu bytes", start, start + length, code->bytes.len);
	if (!pool_is(&v->c->pool, name, CONSTANT_UTF8) || !pool_is(&v->c->pool, type, CONSTANT_UTF8))
		return refuse_at(v, a->offset, section, "a variable's name or descriptor is no Utf8");
	if ((v->flags & VERIFY_RELAXED_FORMAT) == 0 && !name_field_valid(pool_utf8(&v->c->pool, name), v->c->major))
		return refuse_at(v, a->offset, section, "a variable has no valid name");
	text = pool_utf8(&v->c->pool, type);
	if (!types && !descriptor_field_valid(text, v->c->major))
		return refuse_at(v, a->offset, section, "a variable has no valid descriptor");
	wide = !types && (text.ptr[0] == 'J' || text.ptr[0] == 'D');
	if (index + wide >= code->max_locals)
		return refuse_at(v, a->offset, section, "a variable is local %u, the method has %u", index, code->max_locals);
	return true;
}

static bool variables(struct verifier *v, const struct class_attribute *a, const struct code *code, bool types)
{
	if (a->body.len < 2 || a->body.len != 2 + 10 * (size_t)body16(a, 0))
		return wrong_length(v, a, types ? "4.7.14" : "4.7.13");
	for (size_t at = 2; at < a->body.len; at += 10)
		if (!variable_row(v, a, at, code, types))
			return false;
	return true;
}

/* start, length, name, index: what makes a variable one, as a number. The row is 10 bytes; its descriptor does not count. */
static uint64_t variable_key(const struct class_attribute *a, size_t at)
{
	return (uint64_t)body16(a, at) << 48 | (uint64_t)body16(a, at + 2) << 32 | (uint64_t)body16(a, at + 4) << 16 | body16(a, at + 8);
}

struct variable_set {
	uint64_t *keys;			/* a row is used when its state is not 0 */
	uint8_t *state;			/* 1 a variable, 2 one with a generic type */
	uint32_t mask;
};

static uint32_t variable_find(const struct variable_set *s, uint64_t key)
{
	uint32_t i = (uint32_t)((key * 0x9fb21c651e98df25u) >> 33) & s->mask;

	while (s->state[i] != 0 && s->keys[i] != key)
		i = (i + 1) & s->mask;
	return i;
}

static size_t variable_count(struct verifier *v, const struct code *code, enum attribute kind)
{
	size_t n = 0;

	for (uint32_t i = 0; i < code->attributes.count; i++)
		if (attribute_of(v, code->attributes.at[i].name) == kind)
			n += (code->attributes.at[i].body.len - 2) / 10;
	return n;
}

static bool variable_put(struct verifier *v, struct variable_set *s, const struct class_attribute *a, bool types)
{
	for (size_t at = 2; at < a->body.len; at += 10) {
		uint64_t key = variable_key(a, at);
		uint32_t i = variable_find(s, key);

		if (!types && s->state[i] != 0 && v->c->major >= 49)
			return refuse_at(v, a->offset, "4.7.13", "a variable is in the table twice");
		if (types && s->state[i] == 0)
			return refuse_at(v, a->offset, "4.7.14", "a generic type is for no variable of the LocalVariableTable");
		if (types && s->state[i] == 2)
			return refuse_at(v, a->offset, "4.7.14", "a variable has two generic types");
		s->keys[i] = key;
		s->state[i] = types ? 2 : 1;
	}
	return true;
}

/* No variable twice, no generic type without its variable; only where there are variables at all. */
static bool variable_sets(struct verifier *v, const struct code *code)
{
	size_t count = variable_count(v, code, ATTRIBUTE_VARIABLES);
	struct variable_set s = { .mask = 15 };

	if (count == 0)
		return true;
	while (s.mask < count * 2)
		s.mask = s.mask * 2 + 1;
	s.keys = verify_alloc(v, (size_t)s.mask + 1, sizeof(*s.keys));
	s.state = verify_alloc(v, (size_t)s.mask + 1, 1);
	if (s.keys == NULL || s.state == NULL)
		return false;
	for (unsigned types = 0; types < 2; types++)
		for (uint32_t i = 0; i < code->attributes.count; i++)
			if (attribute_of(v, code->attributes.at[i].name) == (types ? ATTRIBUTE_VARIABLE_TYPES : ATTRIBUTE_VARIABLES) &&
			    (!types || v->c->major >= 49) && !variable_put(v, &s, &code->attributes.at[i], types))
				return false;
	return true;
}

static bool code_attributes(struct verifier *v, const struct code *code)
{
	uint32_t seen = 0;
	enum attribute kind;

	for (uint32_t i = 0; i < code->attributes.count; i++) {
		const struct class_attribute *a = &code->attributes.at[i];

		if (!attribute_take(v, a, ON_CODE, &seen, &kind))
			return false;
		if (kind == ATTRIBUTE_LINES && !line_numbers(v, a, code))
			return false;
		if ((kind == ATTRIBUTE_VARIABLES || kind == ATTRIBUTE_VARIABLE_TYPES) && !variables(v, a, code, kind == ATTRIBUTE_VARIABLE_TYPES))
			return false;
	}
	return (seen & BIT(ATTRIBUTE_VARIABLES)) == 0 || variable_sets(v, code);
}

bool format_method_static(const struct class_file *c, const struct class_member *m)
{
	return (m->access_flags & ACC_STATIC) != 0 || (c->major < 51 && slice_eq(member_name(c, m), SLICE("<clinit>")));
}

/* Before 51 the flags of <clinit> are those of a static method, whatever is written. */
static bool has_no_code(const struct verifier *v, const struct class_member *m)
{
	return (m->access_flags & (ACC_NATIVE | ACC_ABSTRACT)) != 0 && !slice_eq(member_name(v->c, m), SLICE("<clinit>"));
}

static bool method_code_read(struct verifier *v, uint32_t index, const struct class_member *m, const struct class_attribute *a)
{
	struct code *code;

	if (has_no_code(v, m))
		return refuse_at(v, a->offset, "4.7.3", "a native or abstract method has code");
	code = verify_alloc(v, 1, sizeof(*code));
	if (code == NULL)
		return false;
	if (!code_parse(v->arena, v->c, a, code, v->fault)) {
		v->fault->method = v->method;
		return false;
	}
	if (v->argument_words > code->max_locals)
		return refuse_at(v, a->offset, "4.7.3", "the arguments take %u words, max_locals is %u", v->argument_words, code->max_locals);
	v->codes[index] = code;
	return code_attributes(v, code);
}

static bool exceptions(struct verifier *v, const struct class_attribute *a)
{
	if (a->body.len < 2 || a->body.len != 2 + 2 * (size_t)body16(a, 0))
		return wrong_length(v, a, "4.7.5");
	for (size_t at = 2; at < a->body.len; at += 2)
		if (!pool_is(&v->c->pool, body16(a, at), CONSTANT_CLASS))
			return refuse_at(v, a->offset, "4.7.5", "constant %u of Exceptions is no Class", body16(a, at));
	return true;
}

bool attributes_method(struct verifier *v, uint32_t index)
{
	const struct class_member *m = &v->c->methods.at[index];
	uint32_t seen = 0;
	enum attribute kind;

	for (uint32_t i = 0; i < m->attributes.count; i++) {
		const struct class_attribute *a = &m->attributes.at[i];

		if (!attribute_take(v, a, ON_METHOD, &seen, &kind))
			return false;
		if (kind == ATTRIBUTE_CODE && !method_code_read(v, index, m, a))
			return false;
		if (kind == ATTRIBUTE_EXCEPTIONS && !exceptions(v, a))
			return false;
		if (kind == ATTRIBUTE_METHOD_PARAMETERS && (a->body.len == 0 || a->body.len != 1 + 4 * (size_t)a->body.ptr[0]))
			return wrong_length(v, a, "4.7.24");
	}
	return (seen & BIT(ATTRIBUTE_CODE)) != 0 || has_no_code(v, m) || refuse_at(v, m->offset, "4.7.3", "the method has no code, and is not native or abstract");
}

/* ---- classes ---- */

static bool class_list(struct verifier *v, const struct class_attribute *a, const char *section)
{
	if (a->body.len < 2 || a->body.len != 2 + 2 * (size_t)body16(a, 0))
		return wrong_length(v, a, section);
	for (size_t at = 2; at < a->body.len; at += 2)
		if (!pool_is(&v->c->pool, body16(a, at), CONSTANT_CLASS))
			return refuse_at(v, a->offset, section, "constant %u is no Class", body16(a, at));
	return true;
}

static bool inner_row(struct verifier *v, const struct class_attribute *a, size_t at)
{
	uint32_t inner = body16(a, at), outer = body16(a, at + 2), name = body16(a, at + 4);
	uint16_t flags = body16(a, at + 6);
	struct slice text;

	if (!pool_is(&v->c->pool, inner, CONSTANT_CLASS) || (outer != 0 && !pool_is(&v->c->pool, outer, CONSTANT_CLASS)) ||
	    (name != 0 && !pool_is(&v->c->pool, name, CONSTANT_UTF8)))
		return refuse_at(v, a->offset, "4.7.6", "a row of InnerClasses names constants of other kinds than Class, Class and Utf8");
	text = pool_name(&v->c->pool, outer);
	if (text.len > 0 && text.ptr[0] == '[')
		return refuse_at(v, a->offset, "4.7.6", "an outer class is an array");
	if (inner == outer)
		return refuse_at(v, a->offset, "4.7.6", "a class is its own outer class");
	if ((flags & ACC_MODULE) != 0 && v->c->major >= 53)
		return refuse_at(v, a->offset, "4.7.6", "an inner class has the flag of a module");
	return format_class_flags(flags, v->c->major) || refuse_at(v, a->offset, "4.7.6", "an inner class's flags, 0x%04x, exclude one another", flags);
}

struct inner {				/* rows by the name of the inner class */
	const struct class_attribute *a;
	uint32_t *first;		/* by symbol: 1 + the first row of that inner class */
	uint32_t symbols;
	uint64_t steps;
};

static uint32_t inner_symbol(struct verifier *v, uint32_t constant)
{
	return constant == 0 ? 0 : type_symbol(type_of_class(v, constant));
}

/* The outer class of the class that the constant names; UINT32_MAX: no row. */
static uint32_t inner_outer(struct verifier *v, const struct inner *in, uint32_t constant)
{
	uint32_t row = constant == 0 ? 0 : in->first[inner_symbol(v, constant)];

	return row == 0 ? UINT32_MAX : body16(in->a, 2 + 8 * (size_t)(row - 1) + 2);
}

/* A class that is outside itself: HotSpot then ignores the attribute. Floyd's two walkers. */
static bool inner_circle(struct verifier *v, struct inner *in, size_t at)
{
	uint32_t slow = body16(in->a, at), fast = body16(in->a, at + 2);

	while (fast != UINT32_MAX && fast != 0) {
		if (slow != 0 && inner_symbol(v, slow) == inner_symbol(v, fast))
			return true;
		if (++in->steps > VERIFY_BRANCH_STEPS_MAX)
			return refuse_limit(v, "rows of InnerClasses that go on and on");
		fast = inner_outer(v, in, fast);
		if (fast != UINT32_MAX)
			fast = inner_outer(v, in, fast);
		slow = inner_outer(v, in, slow);
	}
	return false;
}

/* Rows in order, as HotSpot looks: a circle, or two rows of one class, ends the look; the same row twice is an error. */
static bool inner_duplicates(struct verifier *v, struct inner *in, size_t count)
{
	uint16_t mask = (uint16_t)(ACC_PUBLIC | ACC_FINAL | ACC_SUPER | ACC_INTERFACE | ACC_ABSTRACT | ACC_SYNTHETIC | ACC_ANNOTATION | ACC_ENUM | ACC_PRIVATE |
				   ACC_PROTECTED | ACC_STATIC);

	for (size_t i = 0; i < count; i++) {
		const uint8_t *row = in->a->body.ptr + 2 + 8 * i;

		if (inner_circle(v, in, 2 + 8 * i) || v->fault->kind != CLASS_FAULT_NONE)
			return v->fault->kind == CLASS_FAULT_NONE;
		for (size_t j = i + 1; j < count; j++) {
			const uint8_t *other = in->a->body.ptr + 2 + 8 * j;

			if (++in->steps > VERIFY_BRANCH_STEPS_MAX)
				return refuse_limit(v, "too many rows of InnerClasses");
			if (memcmp(row, other, 2) != 0)
				continue;
			if (v->c->major >= 49 && memcmp(row, other, 6) == 0 && (body16(in->a, 2 + 8 * i + 6) & mask) == (body16(in->a, 2 + 8 * j + 6) & mask))
				return refuse_at(v, in->a->offset, "4.7.6", "a row of InnerClasses is there twice");
			return true;
		}
	}
	return true;
}

static bool inner_classes(struct verifier *v, const struct class_attribute *a)
{
	struct inner in = { .a = a };
	size_t count;

	if (a->body.len < 2 || a->body.len < 2 + 8 * (size_t)body16(a, 0) || (v->c->major >= 49 && a->body.len != 2 + 8 * (size_t)body16(a, 0)))
		return wrong_length(v, a, "4.7.6");
	count = body16(a, 0);
	for (size_t i = 0; i < count; i++)
		if (!inner_row(v, a, 2 + 8 * i) || type_of_class(v, body16(a, 2 + 8 * i)) == TYPE_TOP)
			return false;
	for (size_t i = 0; i < count; i++)
		if (body16(a, 4 + 8 * i) != 0 && type_of_class(v, body16(a, 4 + 8 * i)) == TYPE_TOP)
			return false;
	in.symbols = v->symbol_count;
	in.first = verify_alloc(v, in.symbols, sizeof(*in.first));
	if (in.first == NULL)
		return false;
	for (size_t i = count; i-- > 0;)
		in.first[inner_symbol(v, body16(a, 2 + 8 * i))] = (uint32_t)i + 1;
	return inner_duplicates(v, &in, count);
}

static bool is_loadable(enum constant_tag tag)
{
	switch (tag) {
	case CONSTANT_INTEGER:
	case CONSTANT_FLOAT:
	case CONSTANT_LONG:
	case CONSTANT_DOUBLE:
	case CONSTANT_CLASS:
	case CONSTANT_STRING:
	case CONSTANT_METHOD_HANDLE:
	case CONSTANT_METHOD_TYPE:
	case CONSTANT_DYNAMIC:
		return true;
	default:
		return false;
	}
}

static bool bootstrap_methods(struct verifier *v, const struct class_attribute *a)
{
	struct reader r = reader_of(a->body);
	uint32_t count = rd_be16(&r);

	if (r.bad)
		return wrong_length(v, a, "4.7.23");
	if (count < v->bootstraps)
		return refuse_at(v, a->offset, "4.7.23", "%u bootstrap methods, constants name up to %u", count, v->bootstraps);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t method = rd_be16(&r), arguments = rd_be16(&r);

		if (r.bad)
			return wrong_length(v, a, "4.7.23");
		if (!pool_is(&v->c->pool, method, CONSTANT_METHOD_HANDLE))
			return refuse_at(v, a->offset, "4.7.23", "bootstrap method %u is constant %u, which is no MethodHandle", i, method);
		for (uint32_t j = 0; j < arguments; j++) {
			uint32_t index = rd_be16(&r);

			if (r.bad)
				return wrong_length(v, a, "4.7.23");
			if (!is_loadable(pool_tag(&v->c->pool, index)))
				return refuse_at(v, a->offset, "4.7.23", "argument %u of bootstrap method %u is constant %u, which cannot be loaded", j, i, index);
		}
	}
	return rd_end(&r) || wrong_length(v, a, "4.7.23");
}

static bool component_attributes(struct verifier *v, struct reader *r, const struct class_attribute *record)
{
	uint32_t count = rd_be16(r), seen = 0;
	enum attribute kind;

	for (uint32_t i = 0; i < count && !r->bad; i++) {
		struct class_attribute a = { .offset = record->offset };

		a.name = rd_be16(r);
		a.body = rd_bytes(r, rd_be32(r));
		if (r->bad)
			break;
		if (!pool_is(&v->c->pool, a.name, CONSTANT_UTF8))
			return refuse_at(v, record->offset, "4.7.30", "an attribute of a component has no Utf8 as its name");
		if (!attribute_take(v, &a, ON_COMPONENT, &seen, &kind))
			return false;
	}
	return !r->bad || wrong_length(v, record, "4.7.30");
}

static bool record(struct verifier *v, const struct class_attribute *a)
{
	struct reader r = reader_of(a->body);
	uint32_t count = rd_be16(&r);

	for (uint32_t i = 0; i < count && !r.bad; i++) {
		uint32_t name = rd_be16(&r), descriptor = rd_be16(&r);

		if (r.bad)
			break;
		if (!pool_is(&v->c->pool, name, CONSTANT_UTF8) || !pool_is(&v->c->pool, descriptor, CONSTANT_UTF8) ||
		    !name_field_valid(pool_utf8(&v->c->pool, name), v->c->major) || !descriptor_field_valid(pool_utf8(&v->c->pool, descriptor), v->c->major))
			return refuse_at(v, a->offset, "4.7.30", "component %u has no valid name or descriptor", i);
		if (!component_attributes(v, &r, a))
			return false;
	}
	return rd_end(&r) || wrong_length(v, a, "4.7.30");
}

static bool enclosing_method(struct verifier *v, const struct class_attribute *a)
{
	uint32_t method = body16(a, 2);

	return (pool_is(&v->c->pool, body16(a, 0), CONSTANT_CLASS) && (method == 0 || pool_is(&v->c->pool, method, CONSTANT_NAME_AND_TYPE))) ||
	       refuse_at(v, a->offset, "4.7.7", "EnclosingMethod does not name a Class and a NameAndType");
}

static bool class_attribute_check(struct verifier *v, const struct class_attribute *a, enum attribute kind, uint32_t seen)
{
	switch (kind) {
	case ATTRIBUTE_SOURCE_FILE:
		return pool_is(&v->c->pool, body16(a, 0), CONSTANT_UTF8) || refuse_at(v, a->offset, "4.7.10", "SourceFile names no Utf8");
	case ATTRIBUTE_INNER:
		return inner_classes(v, a);
	case ATTRIBUTE_ENCLOSING:
		return enclosing_method(v, a);
	case ATTRIBUTE_BOOTSTRAP:
		return bootstrap_methods(v, a);
	case ATTRIBUTE_NEST_HOST:
	case ATTRIBUTE_NEST_MEMBERS:
		if ((seen & BIT(ATTRIBUTE_NEST_HOST)) != 0 && (seen & BIT(ATTRIBUTE_NEST_MEMBERS)) != 0)
			return refuse_at(v, a->offset, "4.7.28", "the class has both NestHost and NestMembers");
		if (kind == ATTRIBUTE_NEST_MEMBERS)
			return class_list(v, a, "4.7.29");
		return pool_is(&v->c->pool, body16(a, 0), CONSTANT_CLASS) || refuse_at(v, a->offset, "4.7.28", "NestHost names no Class");
	case ATTRIBUTE_RECORD:
		return record(v, a);
	case ATTRIBUTE_PERMITTED:
		if ((v->c->access_flags & ACC_FINAL) != 0)
			return refuse_at(v, a->offset, "4.7.31", "a final class has PermittedSubclasses");
		return class_list(v, a, "4.7.31");
	default:
		return true;
	}
}

bool attributes_class(struct verifier *v)
{
	uint32_t seen = 0;
	enum attribute kind;

	for (uint32_t i = 0; i < v->c->attributes.count; i++) {
		const struct class_attribute *a = &v->c->attributes.at[i];

		if (!attribute_take(v, a, ON_CLASS, &seen, &kind) || !class_attribute_check(v, a, kind, seen))
			return false;
	}
	return v->bootstraps == 0 || (seen & BIT(ATTRIBUTE_BOOTSTRAP)) != 0 ||
	       refuse_at(v, 0, "4.7.23", "constants name bootstrap methods, and the class has no BootstrapMethods");
}
