/*
 * The guard's classes (src/dvm/runtime/java), and the places of a JDK that call it (sinks.def), put into its classes.
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/errmsg.h"
#include "base/slice.h"
#include "dvm/classfile/class.h"

struct guard_class {
	struct slice name;		/* "jdk/internal/misc/Guard" */
	struct slice bytes;
};
/* The guard's, or those of the self-test, one after the other; false at the end. *at begins as 0. They belong to the program. */
MUST_USE bool guard_class_next(size_t *at, struct guard_class *out);
MUST_USE bool selftest_class_next(size_t *at, struct guard_class *out);

enum sink_where { SINK_ENTRY, SINK_RETURN, SINK_CALL };
struct sink {
	const char *module, *class, *method, *descriptor;
	uint16_t since, until;		/* feature versions; 0: open */
	enum sink_where where;
	const char *call;		/* SINK_CALL: name of the method behind whose invokes it stands */
	const char *recipe, *guard, *guard_descriptor;
};
extern const struct sink sink_table[];
extern const size_t sink_count;
static inline bool sink_fits(const struct sink *s, uint16_t feature)
{
	return feature >= s->since && (s->until == 0 || feature <= s->until);
}

/*
 * The class with all sinks and fields that are to be put into it for a JDK of that feature version; *changed is false, and out empty, when none is. 0;
 * -ENOENT: a method that a row names is not there, so this JDK is not known; other errors as edit_write().
 */
MUST_USE int guard_insert(struct arena *arena, const struct class_file *c, const char *module, uint16_t feature, struct buf *out, bool *changed, struct errmsg *why);
/* The classes that have a row for this version, each once: their number, and by index. */
size_t guard_targets(uint16_t feature, const char **modules, const char **classes, size_t max);
