#include "nat64/settings.h"

#include <errno.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "conf/yaml_options.h"
#include "nat64/settings_read.h"

#define S(seconds) ((seconds) * UINT64_C(1000000))
#define LIVE true
#define RESTART false
const struct nat64_option nat64_options[NAT64_OPTION_COUNT] = {
#define OPTION(field, kind, key, text, least, most, choices, reload, doc) \
	[NAT64_OPTION_##field] = { key, text, least, most, choices, reload, doc, NAT64_##kind },
#include "nat64/settings.def"
#undef OPTION
};
#undef S
#undef LIVE
#undef RESTART

struct parse {
	struct yaml_in y;
	struct nat64_settings *s;
};

static const char *option_key(size_t option)
{
	return nat64_options[option].key;
}

/* One item more, checked; the current event is its scalar. */
static void read_item(struct parse *p, size_t option, struct nat64_value *v)
{
	const struct nat64_option *o = &nat64_options[option];
	struct slice text = slice_trim(yaml_in_scalar(&p->y));
	yaml_mark_t from = p->y.event.start_mark, to = p->y.event.end_mark;
	struct errmsg why = { 0 };

	if (nat64_value_check(o, text, &why) != 0) {
		yaml_in_complain(&p->y, "'%s': %s", o->key, why.text);
		return;
	}
	struct nat64_item *item = &v->items[v->count];
	item->text = arena_dup(p->s->arena, text);
	p->y.out_of_memory |= item->text.ptr == NULL && text.len > 0;
	item->line = (uint32_t)from.line + 1;
	item->column = (uint32_t)from.column + 1;
	item->width = to.line == from.line ? (uint32_t)(to.column - from.column) : 1;
	v->count++;
}

/* A list that grows: room for one more item. */
static bool room(struct parse *p, struct nat64_value *v, size_t *space)
{
	if (v->count < *space)
		return true;
	size_t more = *space == 0 ? 8 : *space * 2;
	struct nat64_item *items = arena_array(p->s->arena, more, sizeof(*items));
	if (items == NULL) {
		p->y.out_of_memory = true;
		return false;
	}
	if (v->count > 0)
		memcpy(items, v->items, v->count * sizeof(*items));
	v->items = items;
	*space = more;
	return true;
}

static void read_list(struct parse *p, size_t option, struct nat64_value *v)
{
	const struct nat64_option *o = &nat64_options[option];
	size_t space = 0, seen = 0;

	while (yaml_in_next(&p->y) && p->y.event.type != YAML_SEQUENCE_END_EVENT) {
		if (!yaml_in_plain(&p->y) || p->y.event.type != YAML_SCALAR_EVENT) {
			if (p->y.event.type != YAML_SCALAR_EVENT && p->y.event.type != YAML_ALIAS_EVENT) {
				AUTO_BUF struct buf type = BUF_INIT(2000);
				nat64_option_type(&type, o);
				yaml_in_complain(&p->y, "'%s' is %s: each item is a plain text", o->key, buf_cstr(&type));
			}
			yaml_in_skip(&p->y);
			continue;
		}
		if (++seen == o->most + 1)
			yaml_in_complain(&p->y, "'%s' has more than %llu items", o->key, (unsigned long long)o->most);
		if (seen <= o->most && room(p, v, &space))
			read_item(p, option, v);
	}
}

static void read_option(void *arg, size_t option)
{
	struct parse *p = arg;
	const struct nat64_option *o = &nat64_options[option];
	struct nat64_value v = { 0 };
	size_t space = 0;

	if (!yaml_in_plain(&p->y)) {
		yaml_in_skip(&p->y);
		return;
	}
	if (p->y.event.type == YAML_SCALAR_EVENT) {
		if (yaml_in_empty(&p->y))
			yaml_in_complain(&p->y, "'%s' has no value", o->key);
		else if (room(p, &v, &space))
			read_item(p, option, &v);
	} else if (p->y.event.type == YAML_SEQUENCE_START_EVENT && nat64_is_list(o->kind)) {
		read_list(p, option, &v);
	} else {
		AUTO_BUF struct buf type = BUF_INIT(2000);
		nat64_option_type(&type, o);
		yaml_in_complain(&p->y, "'%s' is %s, not a %s", o->key, buf_cstr(&type),
				 p->y.event.type == YAML_SEQUENCE_START_EVENT ? "list" : "group");
		yaml_in_skip(&p->y);
		return;
	}
	p->s->value[option] = v;
}

/* Options that the file leaves out. */
static void set_defaults(struct nat64_settings *s)
{
	for (size_t i = 0; i < NAT64_OPTION_COUNT; i++) {
		struct slice text = slice_str(nat64_options[i].default_text);
		if (s->line[i] != 0 || text.len == 0)
			continue;
		s->value[i].items = ARENA_NEW(s->arena, struct nat64_item);
		if (s->value[i].items == NULL)
			return;
		s->value[i].items[0].text = text;
		s->value[i].count = 1;
	}
}

static void complain(void *arg, enum nat64_option_id at, const struct nat64_item *item, const char *sentence)
{
	struct parse *p = arg;
	yaml_mark_t mark = { 0 };
	size_t width = 1;

	if (item != NULL && item->line > 0) {
		mark.line = item->line - 1;
		mark.column = item->column - 1;
		width = item->width;
	} else if (p->s->line[at] > 0) {
		struct slice text = yaml_in_line(p->y.text, p->s->line[at] - 1);
		mark.line = p->s->line[at] - 1;
		while (mark.column < text.len && text.ptr[mark.column] == ' ')
			mark.column++;
	} else {
		p->y.error_count++;
		buf_printf(p->y.errors, "%s: %s\n", p->y.file, sentence);
		return;
	}
	yaml_in_complain_at(&p->y, mark, width, sentence);
}

/* What several options say together; notes for people. */
static int compile(struct parse *p)
{
	AUTO_BUF struct buf notes = BUF_INIT(65536);
	struct nat64_complaint c = { .say = complain, .arg = p, .notes = &notes };
	int err = nat64_compile(p->s, &c);

	p->s->notes = arena_dup(p->s->arena, buf_slice(&notes));
	return err != 0 || p->s->arena->err != 0 ? -ENOMEM : 0;
}

int nat64_settings_parse(struct arena *arena, struct slice text, const char *file, struct nat64_settings **out, struct buf *errors)
{
	struct parse p = { 0 };

	if (text.len > NAT64_FILE_BYTES_MAX) {
		buf_printf(errors, "%s: larger than %d bytes\n", file, NAT64_FILE_BYTES_MAX);
		return -EINVAL;
	}
	p.s = ARENA_NEW(arena, struct nat64_settings);
	if (p.s == NULL)
		return -ENOMEM;
	p.s->arena = arena;
	p.s->path = arena_str(arena, slice_str(file));
	p.s->text = arena_dup(arena, text);
	if (p.s->path == NULL || arena->err != 0 || !yaml_in_init(&p.y, p.s->text, file, errors))
		return -ENOMEM;
	yaml_options_read(&p.y, &(struct yaml_options){
		.count = NAT64_OPTION_COUNT, .key = option_key, .line = p.s->line, .hyphens = true, .read = read_option, .arg = &p,
		.all = "'prickle nat64 check --show' lists all", .example = "mode: nat64" });
	set_defaults(p.s);
	int err = p.y.error_count == 0 && !p.y.out_of_memory && arena->err == 0 ? compile(&p) : 0;
	if (p.y.out_of_memory || arena->err != 0)
		err = -ENOMEM;
	else if (err == 0 && p.y.error_count > 0)
		err = -EINVAL;
	yaml_in_done(&p.y);
	if (err == 0)
		*out = p.s;
	return err;
}

/* A path of the file is relative to the file's own directory. */
static const char *beside(struct nat64_settings *s, struct slice path)
{
	AUTO_BUF struct buf whole = BUF_INIT(4096);
	struct slice file = slice_str(s->path);
	size_t slash = slice_rfind_byte(file, '/');

	if (!slice_starts(path, SLICE("/")) && slash != SLICE_NPOS)
		buf_add(&whole, slice_head(file, slash + 1));
	buf_add(&whole, path);
	return arena_str(s->arena, buf_slice(&whole));
}

int nat64_settings_load(struct arena *arena, const char *path, struct nat64_settings **out, struct buf *errors)
{
	AUTO_BUF struct buf text = BUF_INIT(NAT64_FILE_BYTES_MAX + 1);
	AUTO_BUF struct buf more = BUF_INIT(NAT64_MAPPINGS_FILE_BYTES_MAX + 1);
	struct nat64_settings *s = NULL;
	int err = yaml_in_file(path, &text, errors);

	if (err == 0)
		err = nat64_settings_parse(arena, buf_slice(&text), path, &s, errors);
	if (err == 0 && s->value[NAT64_OPTION_mappings_file].count > 0) {
		const char *file = beside(s, s->value[NAT64_OPTION_mappings_file].items[0].text);
		if (file == NULL)
			return -ENOMEM;
		err = yaml_in_file(file, &more, errors);
		if (err == 0)
			err = nat64_compile_file(s, buf_slice(&more), file, errors);
	}
	if (err == 0)
		*out = s;
	return err;
}

/* ---- as text again ---- */

static bool quoted(const struct nat64_option *o)
{
	switch ((enum nat64_kind)o->kind) {
	case NAT64_BOOL:
	case NAT64_INT:
	case NAT64_SIZE:
	case NAT64_DURATION:
	case NAT64_ENUM:
	case NAT64_TOS:
		return false;
	default:
		return true;
	}
}

static void add_text(struct buf *out, const struct nat64_option *o, struct slice text)
{
	bool quotes = quoted(o);

	if (quotes)
		buf_addc(out, '"');
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];
		if (c == '"' || c == '\\')
			buf_addc(out, '\\');
		if (c < 0x20 || c == 0x7f)
			buf_printf(out, "\\u%04x", c);
		else
			buf_addc(out, c);
	}
	if (quotes)
		buf_addc(out, '"');
}

static void value_yaml(struct buf *out, const struct nat64_option *o, const struct nat64_value *v, const char *indent)
{
	if (!nat64_is_list(o->kind)) {
		buf_addc(out, ' ');
		add_text(out, o, v->count > 0 ? v->items[0].text : (struct slice){ 0 });
		buf_addc(out, '\n');
		return;
	}
	if (v->count == 0)
		buf_adds(out, " []");
	buf_addc(out, '\n');
	for (size_t i = 0; i < v->count; i++) {
		buf_printf(out, "%s  - ", indent);
		add_text(out, o, v->items[i].text);
		buf_addc(out, '\n');
	}
}

/* The groups of a key that differ from those of the one before, and the indentation of its last word. */
static struct slice open_groups(struct buf *out, struct slice before, struct slice key, char indent[9])
{
	size_t same = 0, depth = 0;

	for (size_t i = 0; i < key.len && i < before.len && key.ptr[i] == before.ptr[i]; i++) {
		if (key.ptr[i] == '.')
			same = i + 1;
	}
	for (size_t i = 0; i < same; i++)
		depth += key.ptr[i] == '.';
	struct slice rest = slice_from(key, same), word = rest;
	indent[0] = '\0';
	for (;; depth++) {
		memset(indent, ' ', MIN(depth, (size_t)4) * 2);
		indent[MIN(depth, (size_t)4) * 2] = '\0';
		if (!slice_cut(rest, '.', &word, &rest))
			return word;
		buf_printf(out, "%s%.*s:\n", indent, SLICE_FMT(word));
	}
}

void nat64_settings_yaml(const struct nat64_settings *s, struct buf *out)
{
	struct slice before = { 0 };

	for (size_t i = 0; i < NAT64_OPTION_COUNT; i++) {
		const struct nat64_option *o = &nat64_options[i];
		char indent[9];
		/* What has neither value nor default, or belongs to another mode, would not be read again. */
		if ((s->value[i].count == 0 && !nat64_is_list(o->kind)) || !nat64_option_serves((enum nat64_option_id)i, s->config.mode))
			continue;
		struct slice key = slice_str(o->key), word = open_groups(out, before, key, indent);
		buf_printf(out, "%s%.*s:", indent, SLICE_FMT(word));
		value_yaml(out, o, &s->value[i], indent);
		before = key;
	}
}

void nat64_settings_json(const struct nat64_settings *s, struct buf *out)
{
	buf_addc(out, '{');
	for (size_t i = 0; i < NAT64_OPTION_COUNT; i++) {
		const struct nat64_option *o = &nat64_options[i];
		const struct nat64_value *v = &s->value[i];
		bool list = nat64_is_list(o->kind), bare = o->kind == NAT64_BOOL || o->kind == NAT64_INT;

		buf_printf(out, "%s\"%s\": %s", i == 0 ? "" : ", ", o->key, list ? "[" : "");
		if (!list && v->count == 0)
			buf_adds(out, "null");
		for (size_t k = 0; k < v->count; k++) {
			buf_adds(out, k == 0 ? "" : ", ");
			if (!bare && !quoted(o))
				buf_addc(out, '"');
			add_text(out, o, v->items[k].text);
			if (!bare && !quoted(o))
				buf_addc(out, '"');
		}
		buf_adds(out, list ? "]" : "");
	}
	buf_addc(out, '}');
}

void nat64_settings_reference(struct buf *out)
{
	buf_adds(out, "| key | takes | default | what it does | change |\n|---|---|---|---|---|\n");
	for (size_t i = 0; i < NAT64_OPTION_COUNT; i++) {
		const struct nat64_option *o = &nat64_options[i];
		AUTO_BUF struct buf type = BUF_INIT(2000);
		nat64_option_type(&type, o);
		buf_printf(out, "| `%s` | ", o->key);
		for (size_t k = 0; k < type.len; k++)
			buf_printf(out, "%s%c", type.ptr[k] == '|' ? "\\" : "", type.ptr[k]);
		buf_printf(out, " | %s%s%s | %s | %s |\n", o->default_text[0] == '\0' ? "" : "`", o->default_text,
			   o->default_text[0] == '\0' ? "" : "`", o->doc, o->live ? "live" : "restart");
	}
}
