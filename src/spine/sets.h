/*
 * Prefix sets of a device: the lists behind `set NAME` in match rules, one LPM map each, so that an entry
 * comes or goes without a new dispatcher. A set lives below the device until it is removed or the interface
 * goes, with or without extensions.
 */
#pragma once
#include "base/arena.h"
#include "spine/device.h"
#include "spine/spine_limits.h"

/* For rule_emit: opens sets below a device's directory and keeps them open until sets_close. */
struct sets_open {
	int dir;
	int fds[SETS_MAX];
	size_t count;
};
int sets_fd(void *sets_open, const char *name);
void sets_close(struct sets_open *s);

/* "10.0.0.0/8", "fd00::/8", "192.0.2.1"; a bit beyond the length is an error, as in routes. -EINVAL with a sentence. */
struct set_prefix {
	uint8_t address[16];		/* IPv4 as ::ffff:a.b.c.d */
	uint32_t bits;			/* 0..128 of it */
};
MUST_USE int set_prefix_parse(struct slice text, struct set_prefix *out, struct errmsg *why);
void set_prefix_text(const struct set_prefix *p, struct buf *out);

/*
 * Prefixes from the text of a file: one a line, '#' begins a comment. -EINVAL names the line; -E2BIG: more than
 * SET_ENTRIES_MAX.
 */
MUST_USE int set_file_parse(struct arena *arena, struct slice text, struct set_prefix **out, size_t *count,
			    struct errmsg *why);

/* The device is open for a change. add makes the set when it is new. -ENOENT: no such set or prefix. */
MUST_USE int spine_set_add(struct spine_device *d, const char *set, const struct set_prefix *p, size_t count,
			   struct errmsg *why);
MUST_USE int spine_set_remove(struct spine_device *d, const char *set, const struct set_prefix *p, size_t count,
			      struct errmsg *why);
/* Make its content exactly this: new ones come first, then others go, so that what stays is never missing. */
MUST_USE int spine_set_load(struct spine_device *d, const char *set, const struct set_prefix *p, size_t count,
			    struct errmsg *why);
/* The whole set; -EBUSY while an extension's rule names it. */
MUST_USE int spine_set_drop(struct spine_device *d, const char *set, struct errmsg *why);

/* Names of a device's sets, sorted; the prefixes of one. They live in the arena. */
MUST_USE int spine_set_names(struct spine_device *d, struct arena *arena, const char ***out, size_t *count,
			     struct errmsg *why);
MUST_USE int spine_set_list(struct spine_device *d, struct arena *arena, const char *set, struct set_prefix **out,
			    size_t *count, struct errmsg *why);
