/*
 * All limits of the program in one table, joined by the build from every limits.def.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct limit {
	const char *module;		/* "mail/imap" */
	const char *name;
	uint64_t value;
	const char *unit;
	const char *setting;		/* key of the configuration, or "-" */
	const char *source;
	const char *generator;		/* "number", "length", "depth", "count" */
};

extern const struct limit limit_table[];
extern const size_t limit_table_count;
