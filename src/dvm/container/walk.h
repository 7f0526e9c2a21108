/*
 * All classes of a file that somebody names: a class, a jar with the jars in it, a run-time image; told by their first bytes.
 *
 * Jars are walked in the order of their central directory, images in that of their resources, so the same file gives the same order. Files and directories
 * are opened by the caller.
 */
#pragma once
#include "base/errmsg.h"
#include "base/slice.h"

enum class_container {
	CLASS_CONTAINER_NONE,
	CLASS_CONTAINER_CLASS,
	CLASS_CONTAINER_JAR,		/* a zip file; a launcher script may stand before it, so it is told by its end */
	CLASS_CONTAINER_IMAGE,
};
enum class_container class_container_of(struct slice bytes);

struct class_found {
	struct slice path;		/* "p/A.class", "lib/b.jar!/p/A.class", "/java.base/java/lang/Object.class"; "" when the file is the class */
	struct slice bytes;		/* as long as visit runs */
	struct slice name;		/* "p/A" as its place says; empty when the file is the class */
	uint16_t version;		/* of a multi-release jar: for JVMs of at least this one; 0: all */
};

struct class_walk {
	void *user;
	int (*visit)(void *user, const struct class_found *found);	/* 0: go on; else the walk ends and returns it */
	/* What could not be read within the file, which goes on without it; err as of zip_open. NULL: the walk ends with err. */
	void (*refused)(void *user, struct slice path, int err, const char *text);
	uint64_t bytes_left;		/* budget of unpacked bytes; the walk ends with -E2BIG when it is used up */
};
/* 0, what visit returned, -EBADMSG, -EOPNOTSUPP (a way of packing), -E2BIG, -ENOMEM. Holds one class at a time, and nested jars down to WALK_DEPTH_MAX. */
MUST_USE int class_walk(struct slice bytes, struct class_walk *w, struct errmsg *why);
