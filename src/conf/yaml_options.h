/*
 * A file of nested groups against a table of options: finding keys, telling unknown and repeated ones. What an option's
 * value means is its table's owner's business. Shared by prickle.yaml and the translators' files.
 */
#pragma once
#include "conf/yaml_in.h"

struct yaml_options {
	size_t count;
	const char *(*key)(size_t option);	/* "mail.listen.smtp" */
	uint32_t *line;			/* of each option: where the file sets it, from 1; 0: nowhere. Set by `read`'s caller */
	bool hyphens;			/* "a-b" and "a_b" are the same key */
	const char *all;		/* who lists all options, for errors: "'prickle config show' lists all" */
	const char *example;		/* a line of such a file: "hostname: mail.example.org" */
	/* The value of an option is the current event; it ends as the last event of the value. */
	void (*read)(void *arg, size_t option);
	void *arg;
};

/* Read the whole stream; all mistakes go to y->errors. */
void yaml_options_read(struct yaml_in *y, const struct yaml_options *o);
/* The key that somebody probably meant, or NULL. */
const char *yaml_options_suggest(size_t count, const char *(*key)(size_t option), struct slice word);
