/*
 * The configuration file: YAML events (libyaml) against the table of options.
 *
 * Types come from the table and are never guessed, so `no` is not a boolean and 1e3 is no
 * number. What YAML offers beyond mappings, lists and scalars (anchors, aliases, tags, merge
 * keys, directives, several documents) is refused: a reader of the file should see what it says.
 * A mistake ends the value it is in, not the parse: all errors come out at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <yaml.h>

#include "base/cleanup.h"
#include "base/suggest.h"
#include "base/utf8.h"
#include "conf/value.h"

#define KEY_BYTES_MAX	128u
#define SHOWN_COLUMNS	160u		/* of the source line */

struct parse {
	yaml_parser_t yaml;
	yaml_event_t event;		/* the current one; owned */
	bool have_event;
	bool failed;			/* YAML itself is malformed: no more events */
	bool out_of_memory;
	struct slice text;
	const char *file;
	struct config *config;
	struct buf *errors;
	unsigned error_count;
	unsigned document_count;
};

/* The bytes of line number `line` (from 0), without its end. */
static struct slice source_line(struct slice text, size_t line)
{
	struct slice head = { 0 };

	for (size_t i = 0; i <= line; i++) {
		if (text.len == 0)
			return (struct slice){ 0 };
		slice_cut(text, '\n', &head, &text);
	}
	return slice_ends(head, SLICE("\r")) ? slice_head(head, head.len - 1) : head;
}

/* The source line and, below it, a caret under the column (both from 0; columns are characters). */
static void show_source(struct buf *out, struct slice text, size_t line, size_t column, size_t width)
{
	struct slice s = source_line(text, line);
	uint32_t c;

	if (column > SHOWN_COLUMNS)
		return;
	buf_printf(out, "%6zu | ", line + 1);
	for (size_t n = 0; n < SHOWN_COLUMNS && utf8_next(&s, &c); n++)
		utf8_add(out, c == '\t' ? ' ' : utf8_is_control(c) ? UTF8_REPLACEMENT : c);
	buf_adds(out, "\n       | ");
	buf_fill(out, ' ', column);
	buf_addc(out, '^');
	buf_fill(out, '~', width > 1 ? MIN(width, (size_t)SHOWN_COLUMNS - column) - (column < SHOWN_COLUMNS) : 0);
	buf_addc(out, '\n');
}

static void complain_at(struct parse *p, yaml_mark_t at, size_t width, const char *sentence)
{
	if (p->error_count++ == CONFIG_ERRORS_MAX)
		buf_printf(p->errors, "%s: there are more errors; these are the first %d\n", p->file,
			   CONFIG_ERRORS_MAX);
	if (p->error_count > CONFIG_ERRORS_MAX)
		return;
	buf_printf(p->errors, "%s:%zu:%zu: ", p->file, at.line + 1, at.column + 1);
	/* The sentence may quote the file: keep terminal sequences out. */
	struct slice s = slice_str(sentence);
	uint32_t c;
	while (utf8_next(&s, &c))
		utf8_add(p->errors, utf8_is_control(c) ? UTF8_REPLACEMENT : c);
	buf_addc(p->errors, '\n');
	show_source(p->errors, p->text, at.line, at.column, width);
}

/* About the current event's token. */
static void complain(struct parse *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void complain(struct parse *p, const char *fmt, ...)
{
	char sentence[700];
	va_list ap;
	yaml_mark_t from = p->event.start_mark, to = p->event.end_mark;
	bool scalar = p->event.type == YAML_SCALAR_EVENT;

	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	complain_at(p, from, scalar && to.line == from.line ? to.column - from.column : 1, sentence);
}

/* Is there a tab at this place, the commonest mistake in YAML? (Before it stand single bytes.) */
static bool has_tab(struct slice text, size_t line, size_t column)
{
	struct slice s = source_line(text, line);

	return column < s.len && s.ptr[column] == '\t' && slice_trim(slice_head(s, column)).len == 0;
}

/* Move to the next event; false at the end of the stream or when YAML is malformed. */
static bool next(struct parse *p)
{
	if (p->have_event)
		yaml_event_delete(&p->event);
	p->have_event = false;
	if (p->failed)
		return false;
	if (yaml_parser_parse(&p->yaml, &p->event) == 0) {
		p->failed = true;
		p->out_of_memory |= p->yaml.error == YAML_MEMORY_ERROR;
		char sentence[300];
		/* Reader errors (bytes that are not UTF-8) have an offset instead of a mark. */
		bool reader = p->yaml.error == YAML_READER_ERROR;
		yaml_mark_t at = reader ? p->yaml.mark : p->yaml.problem_mark;
		if (has_tab(p->text, at.line, at.column))
			snprintf(sentence, sizeof(sentence), "a tab: YAML wants blanks before a key");
		else
			snprintf(sentence, sizeof(sentence), "this is not YAML: %s%s%s",
				 p->yaml.problem == NULL ? "malformed" : p->yaml.problem,
				 p->yaml.context == NULL ? "" : ", ", p->yaml.context == NULL ? "" : p->yaml.context);
		complain_at(p, at, 1, sentence);
		memset(&p->event, 0, sizeof(p->event));
		return false;
	}
	p->have_event = true;
	return p->event.type != YAML_STREAM_END_EVENT;
}

/* Refuse anchors, tags and aliases on the current event. True when it is plain. */
static bool plain(struct parse *p)
{
	const yaml_char_t *anchor = NULL, *tag = NULL;

	switch (p->event.type) {
	case YAML_ALIAS_EVENT:
		complain(p, "aliases (*%s) are not supported: write the value again",
			 (const char *)p->event.data.alias.anchor);
		return false;
	case YAML_SCALAR_EVENT:
		anchor = p->event.data.scalar.anchor;
		tag = p->event.data.scalar.tag;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = p->event.data.sequence_start.anchor;
		tag = p->event.data.sequence_start.tag;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = p->event.data.mapping_start.anchor;
		tag = p->event.data.mapping_start.tag;
		break;
	default:
		return true;
	}
	if (anchor != NULL)
		complain(p, "anchors (&%s) are not supported: write the value again", (const char *)anchor);
	if (tag != NULL)
		complain(p, "tags (%s) are not supported: types come from the option", (const char *)tag);
	return anchor == NULL && tag == NULL;
}

static struct slice scalar(const struct parse *p)
{
	return slice_of(p->event.data.scalar.value, p->event.data.scalar.length);
}

/* Pass over the value that starts at the current event, whatever it holds. */
static void skip(struct parse *p)
{
	size_t depth = 0;

	do {
		switch (p->event.type) {
		case YAML_SEQUENCE_START_EVENT:
		case YAML_MAPPING_START_EVENT:
			depth++;
			break;
		case YAML_SEQUENCE_END_EVENT:
		case YAML_MAPPING_END_EVENT:
			depth--;
			break;
		default:
			break;
		}
	} while (depth > 0 && next(p));
}

static void read_option(struct parse *p, const struct config_option *o, size_t line)
{
	struct slice items[CONFIG_LIST_MAX + 1];
	size_t count = 0;
	struct errmsg why = { 0 };

	if (!plain(p)) {
		skip(p);
		return;
	}
	if (p->event.type == YAML_MAPPING_START_EVENT) {
		complain(p, "'%s' is an option, not a group: it takes a value", o->key);
		skip(p);
		return;
	}
	if (p->event.type == YAML_SCALAR_EVENT) {
		bool empty = p->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE && scalar(p).len == 0;
		items[0] = scalar(p);
		if (empty)
			complain(p, "'%s' has no value", o->key);
		else if (value_set(p->config, o, items, 1, &why) != 0)
			complain(p, "'%s': %s", o->key, why.text);
		p->config->line[o - config_options] = (uint32_t)line + 1;
		return;
	}
	yaml_mark_t start = p->event.start_mark;
	bool good = true;
	if (!value_is_list(o)) {
		complain(p, "'%s' takes one value, not a list", o->key);
		skip(p);
		return;
	}
	while (next(p) && p->event.type != YAML_SEQUENCE_END_EVENT) {
		if (!plain(p) || p->event.type != YAML_SCALAR_EVENT) {
			if (p->event.type != YAML_SCALAR_EVENT && p->event.type != YAML_ALIAS_EVENT)
				complain(p, "'%s' is a list of plain values", o->key);
			skip(p);
			good = false;
			continue;
		}
		/* Each item alone first, so that the error stands at the item. */
		struct slice item = scalar(p);
		if (value_set(p->config, o, &item, 1, &why) != 0) {
			complain(p, "'%s': %s", o->key, why.text);
			good = false;
		} else if (count < ARRAY_LEN(items)) {
			items[count] = arena_dup(&p->config->arena, item);
			p->out_of_memory |= items[count].ptr == NULL && item.len > 0;
			count++;
		}
	}
	if (good && !p->failed && !p->out_of_memory && value_set(p->config, o, items, count, &why) != 0)
		complain_at(p, start, 1, why.text);
	p->config->line[o - config_options] = (uint32_t)start.line + 1;
}

/* Is `prefix` a group: does a key start with it and a dot? */
static bool is_group(struct slice prefix)
{
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		struct slice key = slice_str(config_options[i].key);
		if (slice_starts(key, prefix) && key.len > prefix.len && key.ptr[prefix.len] == '.')
			return true;
	}
	return false;
}

/* The nearest option or group to a key that does not exist, written to `near`. False: none is near. */
static bool nearest(struct slice key, struct buf *near)
{
	struct suggestion s = { .word = key };
	size_t dots = 0;

	for (size_t i = 0; i < key.len; i++)
		dots += key.ptr[i] == '.';
	/* Groups of the same depth: "mial:" shall find "mail". */
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		const char *at = config_options[i].key;
		char group[KEY_BYTES_MAX];
		size_t end = 0;
		for (size_t left = dots + 1; at[end] != '\0' && left > 0; end++)
			left -= at[end] == '.';
		if (at[end] == '\0' || end == 0)
			continue;
		if (!slice_to_str(slice_of(at, end - 1), group, sizeof(group)))
			continue;
		unsigned before = s.best_distance;
		const char *best = s.best;
		suggest_try(&s, group);
		if (s.best == best && s.best_distance == before)
			continue;
		buf_reset(near);
		buf_adds(near, group);
		s.best = buf_cstr(near);	/* `group` ends with this round */
	}
	const char *option = config_option_suggest(key);
	if (option != NULL &&
	    (s.best == NULL || suggest_distance(key, slice_str(option)) < s.best_distance)) {
		buf_reset(near);
		buf_adds(near, option);
	}
	return near->len > 0;
}

static void unknown_key(struct parse *p, struct slice key)
{
	AUTO_BUF struct buf near = BUF_INIT(256);
	struct slice shown = utf8_head(key, 80);

	if (slice_ends(key, SLICE("<<")))
		complain(p, "merge keys (<<) are not supported: write the options here");
	else if (nearest(key, &near))
		complain(p, "there is no option '%.*s'; did you mean '%s'?", SLICE_FMT(shown), buf_cstr(&near));
	else
		complain(p, "there is no option '%.*s'; 'prickle config show' lists all", SLICE_FMT(shown));
}

/* A group that holds these keys already? Lines of groups, to find duplicates. */
struct seen_group {
	char key[KEY_BYTES_MAX];
	size_t line;
};


/* Remember a group; the line (from 1) where it stood before, 0 when it is new. */
static size_t note_group(struct seen_group *seen, size_t *count, size_t max, const char *key, size_t line)
{
	for (size_t i = 0; i < *count; i++) {
		if (strcmp(seen[i].key, key) == 0)
			return seen[i].line;
	}
	if (*count < max) {
		snprintf(seen[*count].key, sizeof(seen[0].key), "%s", key);
		seen[(*count)++].line = line;
	}
	return 0;
}

/* The value of a key that names a group: true when a mapping was opened. */
static bool open_value(struct parse *p, const char *key)
{
	if (!plain(p)) {
		skip(p);
		return false;
	}
	if (p->event.type == YAML_MAPPING_START_EVENT)
		return true;
	/* "mail:" with nothing (or only comments) below it is an empty group. */
	bool empty = p->event.type == YAML_SCALAR_EVENT &&
		     p->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE && scalar(p).len == 0;
	if (!empty)
		complain(p, "'%s' is a group of options, not an option", key);
	skip(p);
	return false;
}

/* The mappings, without recursion; the current event is the outermost mapping's start. */
static void read_mappings(struct parse *p)
{
	struct seen_group seen[CONFIG_LIST_MAX];
	size_t seen_count = 0, prefix[CONFIG_DEPTH_MAX], depth = 1;
	char key[KEY_BYTES_MAX];

	prefix[0] = 0;
	while (depth > 0 && next(p)) {
		if (p->event.type == YAML_MAPPING_END_EVENT) {
			depth--;
			continue;
		}
		if (p->event.type != YAML_SCALAR_EVENT || !plain(p)) {
			if (p->event.type != YAML_SCALAR_EVENT && p->event.type != YAML_ALIAS_EVENT)
				complain(p, "a key must be a plain word");
			skip(p);
			if (next(p))
				skip(p);
			continue;
		}
		struct slice word = scalar(p);
		size_t at = prefix[depth - 1], line = p->event.start_mark.line;
		bool fits = at + word.len < sizeof(key) && slice_find_byte(word, '\0') == SLICE_NPOS;
		if (fits) {
			memcpy(key + at, word.ptr, word.len);
			key[at + word.len] = '\0';
		}
		struct slice whole = slice_of(key, fits ? at + word.len : 0);
		/* Groups nest; "mail.quota: 1 GiB" on one line would be a second spelling. */
		bool dotted = slice_find_byte(word, '.') != SLICE_NPOS;
		const struct config_option *o = fits && !dotted ? config_option_find(whole) : NULL;
		bool group = fits && !dotted && word.len > 0 && is_group(whole);
		if (o == NULL && !group) {
			if (dotted && fits && (config_option_find(whole) != NULL || is_group(whole)))
				complain(p, "groups are nested: write each part of '%s' on a line of its own", key);
			else
				unknown_key(p, fits ? whole : word);
			if (next(p))
				skip(p);
			continue;
		}
		size_t before = o != NULL ? p->config->line[o - config_options] :
			note_group(seen, &seen_count, ARRAY_LEN(seen), key, line + 1);
		if (before != 0) {
			complain(p, "'%s' stands in line %zu already", key, before);
			if (next(p))
				skip(p);
			continue;
		}
		if (!next(p))
			return;
		if (o != NULL) {
			read_option(p, o, line);
		} else if (open_value(p, key) && depth < CONFIG_DEPTH_MAX) {
			key[whole.len] = '.';
			prefix[depth++] = whole.len + 1;
		}
	}
}

static void read_document(struct parse *p)
{
	if (p->event.data.document_start.version_directive != NULL ||
	    p->event.data.document_start.tag_directives.start !=
	    p->event.data.document_start.tag_directives.end)
		complain(p, "directives (%%YAML, %%TAG) are not supported");
	if (p->document_count++ > 0)
		complain(p, "a second document starts here: one file holds one configuration");
	if (!next(p))
		return;
	if (p->document_count > 1 || !plain(p)) {
		skip(p);
	} else if (p->event.type == YAML_MAPPING_START_EVENT) {
		read_mappings(p);
	} else if (p->event.type != YAML_SCALAR_EVENT || scalar(p).len > 0) {
		complain(p, "the configuration is a mapping of options: 'hostname: mail.example.org'");
		skip(p);
	}
}

/* A mistake of several options: at the line of the one that it was found at, when the file sets it. */
static void complain_together(void *arg, const struct config_option *at, const char *sentence)
{
	struct parse *p = arg;
	uint32_t line = p->config->line[at - config_options];

	if (line > 0) {
		struct slice text = source_line(p->text, line - 1);
		size_t column = 0;
		while (column < text.len && text.ptr[column] == ' ')
			column++;
		complain_at(p, (yaml_mark_t){ .line = line - 1, .column = column }, 1, sentence);
		return;
	}
	p->error_count++;
	buf_printf(p->errors, "%s: %s\n", p->file, sentence);
}

int config_parse(struct slice text, const char *file, struct config **out, struct buf *errors)
{
	struct parse p = { .text = text, .file = file, .errors = errors };

	if (text.len > CONFIG_FILE_BYTES_MAX) {
		buf_printf(errors, "%s: larger than %d bytes\n", file, CONFIG_FILE_BYTES_MAX);
		return -EINVAL;
	}
	int err = config_new(&p.config);
	if (err != 0)
		return err;
	if (yaml_parser_initialize(&p.yaml) == 0) {
		config_free(p.config);
		return -ENOMEM;
	}
	yaml_parser_set_encoding(&p.yaml, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&p.yaml, text.ptr == NULL ? (const uint8_t *)"" : text.ptr, text.len);
	while (next(&p)) {
		if (p.event.type == YAML_DOCUMENT_START_EVENT)
			read_document(&p);
	}
	if (p.have_event)
		yaml_event_delete(&p.event);
	yaml_parser_delete(&p.yaml);
	if (p.config->hostname[0] == '\0')
		p.config->hostname = "localhost";
	if (p.error_count == 0)
		value_check(p.config, complain_together, &p);
	if (p.error_count == 0 && !p.out_of_memory) {
		*out = p.config;
		return 0;
	}
	config_free(p.config);
	return p.out_of_memory ? -ENOMEM : -EINVAL;
}

int config_load(const char *path, struct config **out, struct buf *errors)
{
	AUTO_BUF struct buf text = BUF_INIT(CONFIG_FILE_BYTES_MAX + 1);
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t n = -1;

	if (fd < 0) {
		int err = -errno;
		buf_printf(errors, "%s: cannot be opened: %s\n", path, strerrordesc_np(-err));
		return err;
	}
	for (;;) {
		size_t room = CONFIG_FILE_BYTES_MAX + 1 - text.len;
		uint8_t *to = buf_room(&text, MIN(room, (size_t)16384));
		if (to == NULL)
			return text.err;
		if (room == 0)
			break;
		n = read(fd, to, MIN(room, (size_t)16384));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		buf_commit(&text, (size_t)n);
	}
	if (n < 0) {
		int err = -errno;
		buf_printf(errors, "%s: cannot be read: %s\n", path, strerrordesc_np(-err));
		return err;
	}
	return config_parse(buf_slice(&text), path, out, errors);
}
