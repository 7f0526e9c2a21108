#include "conf/yaml_options.h"

#include <stdio.h>

#include "base/suggest.h"
#include "base/utf8.h"

#define KEY_BYTES_MAX	128u

const char *yaml_options_suggest(size_t count, const char *(*key)(size_t option), struct slice word)
{
	struct suggestion s = { .word = word };

	for (size_t i = 0; i < count; i++)
		suggest_try(&s, key(i));
	if (s.best != NULL)
		return s.best;
	/* The right word in the wrong group: compare what stands after the last dot. */
	size_t dot = slice_rfind_byte(word, '.');
	struct suggestion by_last = { .word = dot == SLICE_NPOS ? word : slice_from(word, dot + 1) };
	const char *found = NULL;
	for (size_t i = 0; i < count; i++) {
		const char *at = strrchr(key(i), '.');
		const char *before = by_last.best;
		suggest_try(&by_last, at == NULL ? key(i) : at + 1);
		if (by_last.best != before)
			found = key(i);
	}
	return found;
}

struct walk {
	struct yaml_in *y;
	const struct yaml_options *o;
};

/* `key` is the whole of `full`, or of its first bytes up to a dot. */
static bool same(const struct walk *w, struct slice key, const char *full, bool group)
{
	size_t i = 0;

	for (; i < key.len && full[i] != '\0'; i++) {
		char c = (char)key.ptr[i];
		if (c != full[i] && !(w->o->hyphens && c == '_' && full[i] == '-'))
			return false;
	}
	return i == key.len && full[i] == (group ? '.' : '\0');
}

/* The option with this key; count: none. */
static size_t find(const struct walk *w, struct slice key)
{
	size_t i = 0;

	while (i < w->o->count && !same(w, key, w->o->key(i), false))
		i++;
	return i;
}

/* Is `prefix` a group: does a key start with it and a dot? */
static bool is_group(const struct walk *w, struct slice prefix)
{
	for (size_t i = 0; i < w->o->count; i++) {
		if (same(w, prefix, w->o->key(i), true))
			return true;
	}
	return false;
}

/* The nearest option or group to a key that does not exist, written to `near`. False: none is near. */
static bool nearest(const struct walk *w, struct slice key, struct buf *near)
{
	struct suggestion s = { .word = key };
	size_t dots = 0;

	for (size_t i = 0; i < key.len; i++)
		dots += key.ptr[i] == '.';
	/* Groups of the same depth: "mial:" shall find "mail". */
	for (size_t i = 0; i < w->o->count; i++) {
		const char *at = w->o->key(i);
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
	const char *option = yaml_options_suggest(w->o->count, w->o->key, key);
	if (option != NULL &&
	    (s.best == NULL || suggest_distance(key, slice_str(option)) < s.best_distance)) {
		buf_reset(near);
		buf_adds(near, option);
	}
	return near->len > 0;
}

static void unknown_key(struct walk *w, struct slice key)
{
	AUTO_BUF struct buf near = BUF_INIT(256);
	struct slice shown = utf8_head(key, 80);

	if (slice_ends(key, SLICE("<<")))
		yaml_in_complain(w->y, "merge keys (<<) are not supported: write the options here");
	else if (nearest(w, key, &near))
		yaml_in_complain(w->y, "there is no option '%.*s'; did you mean '%s'?", SLICE_FMT(shown), buf_cstr(&near));
	else
		yaml_in_complain(w->y, "there is no option '%.*s'; %s", SLICE_FMT(shown), w->o->all);
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
static bool open_value(struct walk *w, const char *key)
{
	if (!yaml_in_plain(w->y)) {
		yaml_in_skip(w->y);
		return false;
	}
	if (w->y->event.type == YAML_MAPPING_START_EVENT)
		return true;
	/* "mail:" with nothing (or only comments) below it is an empty group. */
	if (!yaml_in_empty(w->y))
		yaml_in_complain(w->y, "'%s' is a group of options, not an option", key);
	yaml_in_skip(w->y);
	return false;
}

/* The mappings, without recursion; the current event is the outermost mapping's start. */
static void read_mappings(struct walk *w)
{
	struct seen_group seen[CONFIG_LIST_MAX];
	size_t seen_count = 0, prefix[CONFIG_DEPTH_MAX], depth = 1;
	char key[KEY_BYTES_MAX];

	prefix[0] = 0;
	while (depth > 0 && yaml_in_next(w->y)) {
		if (w->y->event.type == YAML_MAPPING_END_EVENT) {
			depth--;
			continue;
		}
		if (w->y->event.type != YAML_SCALAR_EVENT || !yaml_in_plain(w->y)) {
			if (w->y->event.type != YAML_SCALAR_EVENT && w->y->event.type != YAML_ALIAS_EVENT)
				yaml_in_complain(w->y, "a key must be a plain word");
			yaml_in_skip(w->y);
			if (yaml_in_next(w->y))
				yaml_in_skip(w->y);
			continue;
		}
		struct slice word = yaml_in_scalar(w->y);
		size_t at = prefix[depth - 1], line = w->y->event.start_mark.line;
		bool fits = at + word.len < sizeof(key) && slice_find_byte(word, '\0') == SLICE_NPOS;
		if (fits) {
			memcpy(key + at, word.ptr, word.len);
			key[at + word.len] = '\0';
		}
		struct slice whole = slice_of(key, fits ? at + word.len : 0);
		/* Groups nest; "mail.quota: 1 GiB" on one line would be a second spelling. */
		bool dotted = slice_find_byte(word, '.') != SLICE_NPOS;
		size_t option = fits && !dotted ? find(w, whole) : w->o->count;
		bool known = option < w->o->count;
		bool group = fits && !dotted && word.len > 0 && is_group(w, whole);
		if (!known && !group) {
			if (dotted && fits && (find(w, whole) < w->o->count || is_group(w, whole)))
				yaml_in_complain(w->y, "groups are nested: write each part of '%s' on a line of its own", key);
			else
				unknown_key(w, fits ? whole : word);
			if (yaml_in_next(w->y))
				yaml_in_skip(w->y);
			continue;
		}
		size_t before = known ? w->o->line[option] :
			note_group(seen, &seen_count, ARRAY_LEN(seen), key, line + 1);
		if (before != 0) {
			yaml_in_complain(w->y, "'%s' stands in line %zu already", key, before);
			if (yaml_in_next(w->y))
				yaml_in_skip(w->y);
			continue;
		}
		if (!yaml_in_next(w->y))
			return;
		if (known) {
			w->o->line[option] = (uint32_t)line + 1;
			w->o->read(w->o->arg, option);
		} else if (open_value(w, key) && depth < CONFIG_DEPTH_MAX) {
			key[whole.len] = '.';
			prefix[depth++] = whole.len + 1;
		}
	}
}

static void read_document(struct walk *w)
{
	if (!yaml_in_document(w->y))
		return;
	if (w->y->event.type == YAML_MAPPING_START_EVENT) {
		read_mappings(w);
	} else if (w->y->event.type != YAML_SCALAR_EVENT || yaml_in_scalar(w->y).len > 0) {
		yaml_in_complain(w->y, "the configuration is a mapping of options: '%s'", w->o->example);
		yaml_in_skip(w->y);
	}
}

void yaml_options_read(struct yaml_in *y, const struct yaml_options *o)
{
	struct walk w = { .y = y, .o = o };

	while (yaml_in_next(y)) {
		if (y->event.type == YAML_DOCUMENT_START_EVENT)
			read_document(&w);
	}
}
