/*
 * A copy of a JDK's directory. Real files are copied with their modes; links that are absolute (/etc/java-17-openjdk) stay what they are, relative ones
 * that leave the tree become absolute. Left out: jmods, what `skip` names, and all class-data archives (*.jsa), which fit one image only.
 */
#pragma once
#include <stdint.h>

#include "base/errmsg.h"

struct tree_report {
	uint64_t files, links, bytes;
	uint64_t archives;		/* *.jsa that were left out */
};
/*
 * from, to: absolute; `to` is made and must not be there before. skip: paths below `from` ("lib/modules"), NULL at the end. 0; negative errno. What was
 * copied before a failure stays.
 */
MUST_USE int tree_copy(const char *from, const char *to, const char *const *skip, struct tree_report *report, struct errmsg *why);
/* Remove a tree; links are not followed. */
MUST_USE int tree_remove(const char *path, struct errmsg *why);
