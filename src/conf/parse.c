/*
 * The configuration file: YAML events (conf/yaml_in.h) against the table of options.
 */
#include <errno.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/suggest.h"
#include "base/utf8.h"
#include "conf/value.h"
#include "conf/yaml_in.h"

#define KEY_BYTES_MAX	128u

struct parse {
	struct yaml_in y;
	struct config *config;
};

static void read_option(struct parse *p, const struct config_option *o, size_t line)
{
	struct slice items[CONFIG_LIST_MAX + 1];
	size_t count = 0;
	struct errmsg why = { 0 };

	if (!yaml_in_plain(&p->y)) {
		yaml_in_skip(&p->y);
		return;
	}
	if (p->y.event.type == YAML_MAPPING_START_EVENT) {
		yaml_in_complain(&p->y, "'%s' is an option, not a group: it takes a value", o->key);
		yaml_in_skip(&p->y);
		return;
	}
	if (p->y.event.type == YAML_SCALAR_EVENT) {
		bool empty = yaml_in_empty(&p->y);
		items[0] = yaml_in_scalar(&p->y);
		if (empty)
			yaml_in_complain(&p->y, "'%s' has no value", o->key);
		else if (value_set(p->config, o, items, 1, &why) != 0)
			yaml_in_complain(&p->y, "'%s': %s", o->key, why.text);
		p->config->line[o - config_options] = (uint32_t)line + 1;
		return;
	}
	yaml_mark_t start = p->y.event.start_mark;
	bool good = true;
	if (!value_is_list(o)) {
		yaml_in_complain(&p->y, "'%s' takes one value, not a list", o->key);
		yaml_in_skip(&p->y);
		return;
	}
	while (yaml_in_next(&p->y) && p->y.event.type != YAML_SEQUENCE_END_EVENT) {
		if (!yaml_in_plain(&p->y) || p->y.event.type != YAML_SCALAR_EVENT) {
			if (p->y.event.type != YAML_SCALAR_EVENT && p->y.event.type != YAML_ALIAS_EVENT)
				yaml_in_complain(&p->y, "'%s' is a list of plain values", o->key);
			yaml_in_skip(&p->y);
			good = false;
			continue;
		}
		/* Each item alone first, so that the error stands at the item. */
		struct slice item = yaml_in_scalar(&p->y);
		if (value_set(p->config, o, &item, 1, &why) != 0) {
			yaml_in_complain(&p->y, "'%s': %s", o->key, why.text);
			good = false;
		} else if (count < ARRAY_LEN(items)) {
			items[count] = arena_dup(&p->config->arena, item);
			p->y.out_of_memory |= items[count].ptr == NULL && item.len > 0;
			count++;
		}
	}
	if (good && !p->y.failed && !p->y.out_of_memory && value_set(p->config, o, items, count, &why) != 0)
		yaml_in_complain_at(&p->y, start, 1, why.text);
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
		yaml_in_complain(&p->y, "merge keys (<<) are not supported: write the options here");
	else if (nearest(key, &near))
		yaml_in_complain(&p->y, "there is no option '%.*s'; did you mean '%s'?", SLICE_FMT(shown), buf_cstr(&near));
	else
		yaml_in_complain(&p->y, "there is no option '%.*s'; 'prickle config show' lists all", SLICE_FMT(shown));
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
	if (!yaml_in_plain(&p->y)) {
		yaml_in_skip(&p->y);
		return false;
	}
	if (p->y.event.type == YAML_MAPPING_START_EVENT)
		return true;
	/* "mail:" with nothing (or only comments) below it is an empty group. */
	if (!yaml_in_empty(&p->y))
		yaml_in_complain(&p->y, "'%s' is a group of options, not an option", key);
	yaml_in_skip(&p->y);
	return false;
}

/* The mappings, without recursion; the current event is the outermost mapping's start. */
static void read_mappings(struct parse *p)
{
	struct seen_group seen[CONFIG_LIST_MAX];
	size_t seen_count = 0, prefix[CONFIG_DEPTH_MAX], depth = 1;
	char key[KEY_BYTES_MAX];

	prefix[0] = 0;
	while (depth > 0 && yaml_in_next(&p->y)) {
		if (p->y.event.type == YAML_MAPPING_END_EVENT) {
			depth--;
			continue;
		}
		if (p->y.event.type != YAML_SCALAR_EVENT || !yaml_in_plain(&p->y)) {
			if (p->y.event.type != YAML_SCALAR_EVENT && p->y.event.type != YAML_ALIAS_EVENT)
				yaml_in_complain(&p->y, "a key must be a plain word");
			yaml_in_skip(&p->y);
			if (yaml_in_next(&p->y))
				yaml_in_skip(&p->y);
			continue;
		}
		struct slice word = yaml_in_scalar(&p->y);
		size_t at = prefix[depth - 1], line = p->y.event.start_mark.line;
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
				yaml_in_complain(&p->y, "groups are nested: write each part of '%s' on a line of its own", key);
			else
				unknown_key(p, fits ? whole : word);
			if (yaml_in_next(&p->y))
				yaml_in_skip(&p->y);
			continue;
		}
		size_t before = o != NULL ? p->config->line[o - config_options] :
			note_group(seen, &seen_count, ARRAY_LEN(seen), key, line + 1);
		if (before != 0) {
			yaml_in_complain(&p->y, "'%s' stands in line %zu already", key, before);
			if (yaml_in_next(&p->y))
				yaml_in_skip(&p->y);
			continue;
		}
		if (!yaml_in_next(&p->y))
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
	if (!yaml_in_document(&p->y))
		return;
	if (p->y.event.type == YAML_MAPPING_START_EVENT) {
		read_mappings(p);
	} else if (p->y.event.type != YAML_SCALAR_EVENT || yaml_in_scalar(&p->y).len > 0) {
		yaml_in_complain(&p->y, "the configuration is a mapping of options: 'hostname: mail.example.org'");
		yaml_in_skip(&p->y);
	}
}

/* A mistake of several options: at the line of the one that it was found at, when the file sets it. */
static void complain_together(void *arg, const struct config_option *at, const char *sentence)
{
	struct parse *p = arg;
	uint32_t line = p->config->line[at - config_options];

	if (line > 0) {
		struct slice text = yaml_in_line(p->y.text, line - 1);
		size_t column = 0;
		while (column < text.len && text.ptr[column] == ' ')
			column++;
		yaml_in_complain_at(&p->y, (yaml_mark_t){ .line = line - 1, .column = column }, 1, sentence);
		return;
	}
	p->y.error_count++;
	buf_printf(p->y.errors, "%s: %s\n", p->y.file, sentence);
}

int config_parse(struct slice text, const char *file, struct config **out, struct buf *errors)
{
	struct parse p = { 0 };

	if (text.len > CONFIG_FILE_BYTES_MAX) {
		buf_printf(errors, "%s: larger than %d bytes\n", file, CONFIG_FILE_BYTES_MAX);
		return -EINVAL;
	}
	int err = config_new(&p.config);
	if (err != 0)
		return err;
	if (!yaml_in_init(&p.y, text, file, errors)) {
		config_free(p.config);
		return -ENOMEM;
	}
	while (yaml_in_next(&p.y)) {
		if (p.y.event.type == YAML_DOCUMENT_START_EVENT)
			read_document(&p);
	}
	yaml_in_done(&p.y);
	if (p.config->hostname[0] == '\0')
		p.config->hostname = "localhost";
	if (p.y.error_count == 0)
		value_check(p.config, complain_together, &p);
	if (p.y.error_count == 0 && !p.y.out_of_memory) {
		*out = p.config;
		return 0;
	}
	config_free(p.config);
	return p.y.out_of_memory ? -ENOMEM : -EINVAL;
}

int config_load(const char *path, struct config **out, struct buf *errors)
{
	AUTO_BUF struct buf text = BUF_INIT(CONFIG_FILE_BYTES_MAX + 1);
	int err = yaml_in_file(path, &text, errors);

	return err != 0 ? err : config_parse(buf_slice(&text), path, out, errors);
}
