/*
 * Where the commands of the code service get classes from: class files, directories, jars and JDK images, as things to look at and as a class path.
 *
 * dvm_input_add() only maps files and reads directories. What strangers wrote is opened and parsed by dvm_input_open(), which a confined process calls.
 */
#pragma once
#include "base/arena.h"
#include "base/errmsg.h"
#include "dvm/classfile/class.h"

struct dvm_input;

enum dvm_use {
	DVM_LOOK_AT = 1,		/* its classes are items */
	DVM_CLASS_PATH = 2,		/* found by name only */
	DVM_BOTTOM = 4,			/* the JDK: found before all others, as a boot loader does */
};

struct dvm_item {
	const char *path;		/* as given on the command line */
	const char *joint;		/* between path and entry when both are shown */
	struct slice entry;		/* in the jar, image or directory; empty: path is a class file */
	uint32_t root;
	bool boot;			/* of a JDK image */
};

struct dvm_input *dvm_input_new(void);	/* NULL: no memory */
void dvm_input_free(struct dvm_input *in);
/* A class file, a jar, war or jmod, a directory (with all of these below it) or lib/modules of a JDK. 0 or negative errno. */
MUST_USE int dvm_input_add(struct dvm_input *in, const char *path, unsigned use, struct errmsg *why);
/* The JDK of this machine: dir, or JAVA_HOME, or where `java` is; -ENOENT: there is none. Added as DVM_BOTTOM. */
MUST_USE int dvm_input_jdk(struct dvm_input *in, const char *dir, struct errmsg *why);
/* Parse containers, list items. A container that cannot be read is a complaint (dvm_input_complaint), not a failure. 0 or negative errno. */
MUST_USE int dvm_input_open(struct dvm_input *in, struct errmsg *why);
uint32_t dvm_input_count(const struct dvm_input *in);		/* of items to look at */
const struct dvm_item *dvm_input_item(const struct dvm_input *in, uint32_t i);
/* The bytes of an item: a view, or in the arena. 0, -EBADMSG, -E2BIG, -ENOMEM. */
MUST_USE int dvm_input_read(struct dvm_input *in, struct arena *arena, uint32_t i, struct slice *out, struct errmsg *why);
uint32_t dvm_input_complaints(const struct dvm_input *in);
const char *dvm_input_complaint(const struct dvm_input *in, uint32_t i);
/* The class of that name as a class of item `from` would see it, or NULL. Lives as long as the input. */
const struct class_file *dvm_input_find(struct dvm_input *in, uint32_t from, struct slice name);
