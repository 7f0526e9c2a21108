#include "dvm/classfile/descriptor.h"

#include "dvm/classfile/classfile_limits.h"

/* Below this version names are Java identifiers and text is checked less (HotSpot: JAVA_1_5_VERSION, and 47 for UTF-8). */
#define MAJOR_FREE_NAMES 49
#define MAJOR_STRICT_UTF8 48

enum name_kind { NAME_CLASS, NAME_FIELD, NAME_METHOD };

/* 4.2.2: what may not stand in a name since version 49. */
static bool unqualified(struct slice name, enum name_kind kind)
{
	if (name.len == 0)
		return false;
	for (size_t i = 0; i < name.len; i++) {
		switch (name.ptr[i]) {
		case '.':
		case ';':
		case '[':
			return false;
		case '/':
			if (kind != NAME_CLASS || i == 0 || i + 1 == name.len || name.ptr[i + 1] == '/')
				return false;
			break;
		case '<':
		case '>':
			if (kind == NAME_METHOD)
				return false;
			break;
		default:
			break;
		}
	}
	return true;
}

static bool identifier_byte(uint8_t c, bool first)
{
	/* Above ASCII Character.isJavaIdentifierPart() is a table of Unicode's version in that JDK: such letters are taken as they are. */
	return ascii_alpha(c) || c == '_' || c == '$' || c >= 0x80 || (!first && ascii_digit(c));
}

/*
 * Bytes of the identifier at the start, with single slashes between its parts when a class is named; 0: none. As HotSpot reads names below version 49: a part
 * behind a slash may begin with a digit (HotSpot looks at the first letter of all only).
 */
static size_t identifier(struct slice text, bool slashes)
{
	size_t n = 0;
	bool after_slash = false;

	while (n < text.len) {
		if (slashes && text.ptr[n] == '/') {
			if (after_slash)
				return 0;
			after_slash = true;
		} else if (identifier_byte(text.ptr[n], n == 0)) {
			after_slash = false;
		} else {
			break;
		}
		n++;
	}
	/* Before another byte a slash at the end passes; at the end of the text it does not. */
	return n == text.len && after_slash ? 0 : n;
}

static bool identifier_all(struct slice name, bool slashes)
{
	return name.len > 0 && identifier(name, slashes) == name.len;
}

/* Length of the type at the start, 0: none. major 0: names within are not looked at. */
static size_t type_length(struct slice text, uint16_t major)
{
	size_t depth = 0;

	while (depth < text.len && text.ptr[depth] == '[')
		depth++;
	if (depth > CLASS_ARRAY_DEPTH_MAX || depth == text.len)
		return 0;
	switch (text.ptr[depth]) {
	case 'B':
	case 'C':
	case 'D':
	case 'F':
	case 'I':
	case 'J':
	case 'S':
	case 'Z':
		return depth + 1;
	case 'L':
		break;
	default:
		return 0;
	}
	struct slice name = slice_from(text, depth + 1);
	size_t end = slice_find_byte(name, ';');
	if (end == SLICE_NPOS || end == 0)
		return 0;
	if (major >= MAJOR_FREE_NAMES && !unqualified(slice_head(name, end), NAME_CLASS))
		return 0;
	if (major > 0 && major < MAJOR_FREE_NAMES && identifier(name, true) != end)
		return 0;
	return depth + 1 + end + 1;
}

static char take(struct slice *text, struct slice *type, uint16_t major)
{
	size_t n = type_length(*text, major);

	if (n == 0)
		return '\0';
	*type = slice_head(*text, n);
	*text = slice_from(*text, n);
	return (char)type->ptr[0];
}

char descriptor_next(struct slice *text, struct slice *type)
{
	return take(text, type, 0);
}

bool descriptor_field_valid(struct slice text, uint16_t major)
{
	return text.len > 0 && type_length(text, major) == text.len;
}

static bool method_shape(struct slice text, uint16_t major, struct method_shape *out)
{
	struct slice rest = slice_from(text, 1), type;
	uint32_t words = 0;

	if (text.len == 0 || text.ptr[0] != '(')
		return false;
	for (;;) {
		if (rest.len == 0)
			return false;
		if (rest.ptr[0] == ')')
			break;
		char kind = take(&rest, &type, major);
		if (kind == '\0')
			return false;
		words += type_words(kind);
	}
	out->parameters = slice_sub(text, 1, text.len - rest.len);
	out->result = slice_from(rest, 1);
	if (words > UINT16_MAX)
		return false;
	out->words = (uint16_t)words;
	return slice_eq(out->result, SLICE("V")) || (out->result.len > 0 && type_length(out->result, major) == out->result.len);
}

bool descriptor_method_valid(struct slice text, bool is_static, uint16_t major)
{
	struct method_shape shape;

	return method_shape(text, major, &shape) && shape.words + (is_static ? 0 : 1) <= CLASS_PARAMETER_WORDS_MAX;
}

bool descriptor_method(struct slice text, struct method_shape *out)
{
	return method_shape(text, 0, out);
}

bool name_field_valid(struct slice name, uint16_t major)
{
	return major < MAJOR_FREE_NAMES ? identifier_all(name, false) : unqualified(name, NAME_FIELD);
}

bool name_method_valid(struct slice name, uint16_t major)
{
	if (name.len > 0 && name.ptr[0] == '<')
		return slice_eq(name, SLICE("<init>")) || slice_eq(name, SLICE("<clinit>"));
	return major < MAJOR_FREE_NAMES ? identifier_all(name, false) : unqualified(name, NAME_METHOD);
}

bool name_class_valid(struct slice name, bool array, uint16_t major)
{
	if (name.len > 0 && name.ptr[0] == '[')
		return array && descriptor_field_valid(name, major);
	return major < MAJOR_FREE_NAMES ? identifier_all(name, true) : unqualified(name, NAME_CLASS);
}

static bool continues(struct slice text, size_t i)
{
	return i < text.len && (text.ptr[i] & 0xc0) == 0x80;
}

bool utf8_modified_valid(struct slice text, uint16_t major)
{
	bool strict = major >= MAJOR_STRICT_UTF8;
	size_t i = 0;

	while (i < text.len) {
		uint8_t c = text.ptr[i];

		if (likely(c < 0x80)) {
			if (c == 0)
				return false;
			i++;
		} else if ((c & 0xe0) == 0xc0) {
			if (!continues(text, i + 1))
				return false;
			uint32_t point = (c & 0x1fu) << 6 | (text.ptr[i + 1] & 0x3fu);
			if (strict && point != 0 && point < 0x80)
				return false;
			i += 2;
		} else if ((c & 0xf0) == 0xe0) {
			if (!continues(text, i + 1) || !continues(text, i + 2))
				return false;
			if (strict && c == 0xe0 && text.ptr[i + 1] < 0xa0)	/* below 0x800 */
				return false;
			i += 3;
		} else {
			return false;
		}
	}
	return true;
}
