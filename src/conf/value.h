/*
 * Single values of the configuration: text to field and back, as the option's row says.
 * Inside src/conf only.
 */
#pragma once
#include "conf/config.h"

/* The option takes a list of items. */
static inline bool value_is_list(const struct config_option *o)
{
	return o->kind == CONFIG_LISTEN || o->kind == CONFIG_NETWORKS || o->kind == CONFIG_DURATIONS || o->kind == CONFIG_PATHS;
}

/* Set the field from its items (exactly one unless a list). 0, -EINVAL with a sentence, -ENOMEM. */
MUST_USE int value_set(struct config *c, const struct config_option *o, const struct slice *items,
		       size_t count, struct errmsg *why);
/* As value_set; items of a list are separated by blanks. */
MUST_USE int value_set_text(struct config *c, const struct config_option *o, struct slice text,
			    struct errmsg *why);
/* Number of items, and one of them as text. */
size_t value_count(const struct config *c, const struct config_option *o);
void value_item(struct buf *out, const struct config *c, const struct config_option *o, size_t index);

/*
 * Mistakes that concern several options: each is told with the option that it stands at. Returns
 * how many. O(n^2) in addresses to listen on.
 */
size_t value_check(const struct config *c,
		   void (*complain)(void *arg, const struct config_option *at, const char *sentence),
		   void *arg);
