/*
 * The configuration file: YAML events (conf/yaml_in.h) against the table of options.
 */
#include <errno.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "conf/value.h"
#include "conf/yaml_options.h"

struct parse {
	struct yaml_in y;
	struct config *config;
};

static const char *option_key(size_t option)
{
	return config_options[option].key;
}

/* The current event is the option's value. */
static void read_option(void *arg, size_t option)
{
	struct parse *p = arg;
	const struct config_option *o = &config_options[option];
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
	yaml_options_read(&p.y, &(struct yaml_options){
		.count = OPTION_COUNT, .key = option_key, .line = p.config->line, .read = read_option, .arg = &p,
		.all = "'prickle config show' lists all", .example = "hostname: mail.example.org" });
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
