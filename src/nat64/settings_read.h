/*
 * Between the parts of reading a translator's file: settings.c (table, YAML, text again), settings_value.c (one item), settings_compile.c
 * (all of them together). Inside src/nat64 only.
 */
#pragma once
#include "nat64/settings.h"

enum nat64_kind {
	NAT64_BOOL, NAT64_INT, NAT64_SIZE, NAT64_DURATION, NAT64_ENUM, NAT64_NAME, NAT64_FILE, NAT64_TOS,
	NAT64_ADDRESS4, NAT64_ADDRESS6, NAT64_ADDRESS, NAT64_INTERFACE,
	/* Lists. */
	NAT64_INTERFACES, NAT64_INTERFACE_LIST, NAT64_PREF64, NAT64_POOL, NAT64_MAPPINGS, NAT64_STATICS,
	NAT64_NETWORKS, NAT64_NETWORKS4, NAT64_NETWORKS6, NAT64_LISTEN,
};
static inline bool nat64_is_list(unsigned kind)
{
	return kind >= NAT64_INTERFACES;
}

/* Is the text a value (or one item of the list) of this option? 0 or -EINVAL with a sentence. */
MUST_USE int nat64_value_check(const struct nat64_option *o, struct slice text, struct errmsg *why);
/* For values that nat64_value_check took. */
uint64_t nat64_value_number(const struct nat64_option *o, struct slice text);	/* ENUM: the choice; DURATION: us; BOOL: 0 or 1 */
MUST_USE int nat64_value_interface(struct slice text, struct nat64_interface *out, struct errmsg *why);

/* Tell a mistake at an item (NULL: of the file as a whole). */
struct nat64_complaint {
	void (*say)(void *arg, enum nat64_option_id at, const struct nat64_item *item, const char *sentence);
	void *arg;
	size_t count;
	struct buf *notes;
};
/* value and line are set: fill the rest of *s. 0 or -ENOMEM; mistakes are told and counted. */
MUST_USE int nat64_compile(struct nat64_settings *s, struct nat64_complaint *c);
/* More mappings from the text of mappings-file. As nat64_compile; afterwards nat64_compile_mappings. */
MUST_USE int nat64_compile_file(struct nat64_settings *s, struct slice text, const char *path, struct buf *errors);
