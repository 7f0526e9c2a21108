#include "dvm/classfile/print.h"

#include <stdio.h>

#include "base/must.h"
#include "dvm/classfile/classfile_limits.h"
#include "dvm/classfile/print_internal.h"

/* An array of arrays takes two levels, an annotation in an annotation three. */
_Static_assert(SHOW_DEPTH_MAX > 3 * CLASS_ANNOTATION_DEPTH_MAX + 24, "annotations fit");

/* --- text of strangers --- */

/* What a terminal or an editor might act on rather than show. */
static bool is_unsafe(uint32_t point)
{
	return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0xad || point == 0x61c || (point >= 0x200b && point <= 0x200f) ||
	       (point >= 0x2028 && point <= 0x202e) || (point >= 0x2060 && point <= 0x206f) ||
	       point == 0xfeff || (point >= 0xfff0 && point <= 0xffff);
}

/* One letter of modified UTF-8 at s[*i]: a code unit of UTF-16. 0xfffd and one byte further when it is broken. */
static uint32_t code_unit(struct slice s, size_t *i)
{
	const uint8_t *p = s.ptr + *i;
	size_t left = s.len - *i;

	if (p[0] < 0x80) {
		*i += 1;
		return p[0];
	}
	if ((p[0] & 0xe0) == 0xc0 && left >= 2 && (p[1] & 0xc0) == 0x80) {
		*i += 2;
		return (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
	}
	if ((p[0] & 0xf0) == 0xe0 && left >= 3 && (p[1] & 0xc0) == 0x80 && (p[2] & 0xc0) == 0x80) {
		*i += 3;
		return (p[0] & 0xfu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
	}
	*i += 1;
	return 0xfffd;
}

static void add_utf8(struct buf *out, uint32_t point)
{
	if (point < 0x80) {
		buf_addc(out, (uint8_t)point);
	} else if (point < 0x800) {
		buf_addc(out, (uint8_t)(0xc0 | point >> 6));
		buf_addc(out, (uint8_t)(0x80 | (point & 0x3f)));
	} else if (point < 0x10000) {
		buf_addc(out, (uint8_t)(0xe0 | point >> 12));
		buf_addc(out, (uint8_t)(0x80 | (point >> 6 & 0x3f)));
		buf_addc(out, (uint8_t)(0x80 | (point & 0x3f)));
	} else {
		buf_addc(out, (uint8_t)(0xf0 | point >> 18));
		buf_addc(out, (uint8_t)(0x80 | (point >> 12 & 0x3f)));
		buf_addc(out, (uint8_t)(0x80 | (point >> 6 & 0x3f)));
		buf_addc(out, (uint8_t)(0x80 | (point & 0x3f)));
	}
}

static bool is_plain(uint8_t c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

void class_print_escaped(struct buf *out, struct slice text)
{
	for (size_t i = 0; i < text.len && out->err == 0;) {
		size_t from = i;

		while (i < text.len && is_plain(text.ptr[i]))
			i++;
		buf_add(out, slice_sub(text, from, i));
		if (i == text.len)
			break;
		uint32_t unit = code_unit(text, &i);
		if (unit >= 0xd800 && unit < 0xdc00 && i < text.len) {	/* both halves of a pair make one letter */
			size_t behind = i;
			uint32_t low = code_unit(text, &behind);
			if (low >= 0xdc00 && low < 0xe000) {
				i = behind;
				add_utf8(out, 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00));
				continue;
			}
		}
		if (unit == '"' || unit == '\\') {
			buf_addc(out, '\\');
			buf_addc(out, (uint8_t)unit);
		} else if (unit == '\n') {
			buf_adds(out, "\\n");
		} else if (unit == '\t') {
			buf_adds(out, "\\t");
		} else if (unit >= 0xd800 && unit < 0xe000) {
			buf_printf(out, "\\\\u%04x", unit);
		} else if (is_unsafe(unit)) {
			buf_printf(out, "\\u%04x", unit);
		} else {
			add_utf8(out, unit);
		}
	}
}

/* --- keys and values --- */

static void indent(struct show *s)
{
	if (s->out->len > 0)
		buf_addc(s->out, '\n');
	buf_fill(s->out, ' ', 2u * s->block);
}

/* What stands before a value. */
static void lead(struct show *s, const char *key)
{
	bool first = !s->started[s->depth];

	s->started[s->depth] = true;
	if (show_json(s)) {
		if (!first)
			buf_addc(s->out, ',');
		if (key != NULL)
			buf_printf(s->out, "\"%s\":", key);
		return;
	}
	if (s->line == 0) {
		indent(s);
		if (key != NULL)
			buf_printf(s->out, "%s:", key);
		return;
	}
	if (!first)
		buf_adds(s->out, ", ");
	if (key != NULL)
		buf_printf(s->out, "%s ", key);
}

static void open_level(struct show *s, const char *key, char opening, char closing)
{
	bool item = key == NULL && s->depth > 0;

	must(s->depth + 1 < SHOW_DEPTH_MAX);
	if (s->depth > 0)
		lead(s, key);
	s->depth++;
	s->started[s->depth] = false;
	s->closing[s->depth] = 0;
	if (show_json(s)) {
		buf_addc(s->out, (uint8_t)opening);
		s->closing[s->depth] = (uint8_t)closing;
	} else if (s->line > 0) {
		buf_addc(s->out, '(');
		s->closing[s->depth] = ')';
	} else if (item) {
		s->line = s->depth;
	} else if (s->depth > 1) {
		s->block++;
	}
}

void show_object(struct show *s, const char *key)
{
	open_level(s, key, '{', '}');
}

void show_list(struct show *s, const char *key)
{
	open_level(s, key, '[', ']');
}

void show_end(struct show *s)
{
	if (s->closing[s->depth] != 0)
		buf_addc(s->out, s->closing[s->depth]);
	else if (s->line == s->depth)
		s->line = 0;
	else if (s->depth > 1)
		s->block--;
	s->depth--;
}

/* In a block a value stands a blank behind its colon. */
static void gap(struct show *s, const char *key)
{
	if (!show_json(s) && s->line == 0 && key != NULL)
		buf_addc(s->out, ' ');
}

void show_text(struct show *s, const char *key, struct slice text)
{
	lead(s, key);
	gap(s, key);
	buf_addc(s->out, '"');
	class_print_escaped(s->out, text);
	buf_addc(s->out, '"');
}

void show_name(struct show *s, const char *key, struct slice name)
{
	if (show_json(s)) {
		show_text(s, key, name);
		return;
	}
	lead(s, key);
	gap(s, key);
	class_print_escaped(s->out, name);
}

void show_word(struct show *s, const char *key, const char *word)
{
	show_name(s, key, slice_str(word));
}

void show_number(struct show *s, const char *key, int64_t n)
{
	lead(s, key);
	gap(s, key);
	buf_printf(s->out, "%lld", (long long)n);
}

void show_flag(struct show *s, const char *key)
{
	lead(s, key);
	if (show_json(s))
		buf_adds(s->out, "true");
}

void show_malformed(struct show *s, const char *key)
{
	show_word(s, key, "malformed");
}

/* --- flags --- */

static const struct {
	uint16_t flag;
	const char *where, *name;
} flag_names[] = {
	{ ACC_PUBLIC, "CFMI", "public" },
	{ ACC_PRIVATE, "FMI", "private" },
	{ ACC_PROTECTED, "FMI", "protected" },
	{ ACC_STATIC, "FMI", "static" },
	{ ACC_FINAL, "CFMIP", "final" },
	{ ACC_SUPER, "C", "super" },
	{ ACC_SYNCHRONIZED, "M", "synchronized" },
	{ 0x0020, "O", "open" },
	{ 0x0020, "R", "transitive" },
	{ ACC_VOLATILE, "F", "volatile" },
	{ ACC_BRIDGE, "M", "bridge" },
	{ 0x0040, "R", "static" },
	{ ACC_TRANSIENT, "F", "transient" },
	{ ACC_VARARGS, "M", "varargs" },
	{ ACC_NATIVE, "M", "native" },
	{ ACC_INTERFACE, "CI", "interface" },
	{ ACC_ABSTRACT, "CMI", "abstract" },
	{ ACC_STRICT, "M", "strict" },
	{ ACC_SYNTHETIC, "CFMIPORX", "synthetic" },
	{ ACC_ANNOTATION, "CI", "annotation" },
	{ ACC_ENUM, "CFI", "enum" },
	{ ACC_MODULE, "C", "module" },
	{ ACC_MANDATED, "PORX", "mandated" },
};

void class_print_flags(struct buf *out, uint16_t flags, char what)
{
	const char *between = "";

	for (size_t i = 0; i < ARRAY_LEN(flag_names); i++)
		if ((flags & flag_names[i].flag) != 0 && strchr(flag_names[i].where, what) != NULL) {
			buf_printf(out, "%s%s", between, flag_names[i].name);
			between = " ";
		}
}

void show_flags(struct show *s, uint16_t flags, char what)
{
	if (show_json(s)) {
		show_number(s, "flags", flags);
		lead(s, "flag_names");
		buf_addc(s->out, '"');
		class_print_flags(s->out, flags, what);
		buf_addc(s->out, '"');
		return;
	}
	lead(s, "flags");
	gap(s, "flags");
	buf_printf(s->out, "0x%04x", flags);
	if (flags != 0)
		buf_addc(s->out, ' ');
	class_print_flags(s->out, flags, what);
}

/* --- the class --- */

static void show_members(struct show *s, const char *key, const struct class_members *list, char what)
{
	show_list(s, key);
	for (uint32_t i = 0; i < list->count; i++) {
		const struct class_member *m = &list->at[i];

		/* As text each member is a block under its name and type, not a line. */
		if (show_json(s)) {
			show_object(s, NULL);
			show_text(s, "name", member_name(s->c, m));
			show_text(s, "descriptor", member_descriptor(s->c, m));
		} else {
			buf_addc(s->out, '\n');
			indent(s);
			class_print_escaped(s->out, member_name(s->c, m));
			buf_adds(s->out, what == 'F' ? " " : "");
			class_print_escaped(s->out, member_descriptor(s->c, m));
			s->block++;
		}
		show_flags(s, m->access_flags, what);
		show_attributes(s, &m->attributes);
		if (show_json(s))
			show_end(s);
		else
			s->block--;
	}
	show_end(s);
}

void class_print(struct arena *arena, struct buf *out, const struct class_file *c, unsigned flags)
{
	struct show s = { .out = out, .arena = arena, .c = c, .flags = flags };
	char version[16];

	(void)snprintf(version, sizeof(version), "%u.%u", c->major, c->minor);
	show_object(&s, NULL);
	show_name(&s, "class", class_name(c));
	show_word(&s, "version", version);
	show_flags(&s, c->access_flags, 'C');
	if (c->super_class != 0)
		show_name(&s, "super", class_super(c));
	if (class_interfaces(c) > 0 || show_json(&s)) {
		show_list(&s, "interfaces");
		for (uint32_t i = 0; i < class_interfaces(c); i++)
			show_name(&s, NULL, class_interface(c, i));
		show_end(&s);
	}
	show_number(&s, "bytes", (int64_t)c->bytes.len);
	if (flags & CLASS_PRINT_CONSTANTS)
		show_pool(&s);
	show_attributes(&s, &c->attributes);
	show_members(&s, "fields", &c->fields, 'F');
	show_members(&s, "methods", &c->methods, 'M');
	show_end(&s);
	if (!show_json(&s))
		buf_addc(out, '\n');
}
