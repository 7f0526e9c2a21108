/*
 * A hardened copy of a JDK: lib/modules with the guard in it, everything else as it was.
 *
 * The source is not touched. The copy is made beside its final name and renamed when it is whole, so a directory of that name is a hardened JDK or not
 * there. Class-data archives fit one image only: they are left out and dumped anew by the copy's own VM.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/errmsg.h"

enum harden_mode { HARDEN_LEARN, HARDEN_REPORT, HARDEN_ENFORCE };
const char *harden_mode_name(enum harden_mode mode);

struct harden_options {
	const char *jdk, *out;		/* directories */
	enum harden_mode mode;
	const char *table;		/* path of the node's table of the policy */
	const char *audit;		/* where records are appended; NULL: nowhere */
	/* Told of each step ("rewriting lib/modules"); NULL: nobody. */
	void (*step)(void *context, const char *what);
	void *context;
};

struct harden_report {
	uint16_t feature;		/* 17 */
	char version[64];		/* "17.0.15" */
	char source_sha256[65];		/* of the source's lib/modules */
	uint32_t classes;		/* rewritten */
	uint32_t sinks;			/* put in */
	uint64_t files, image_bytes;
	bool archive;			/* a class-data archive was dumped */
	uint64_t archives_left_out;
};

/* 0, or: -EEXIST out is there; -ENOENT jdk is none, or one that sinks.def does not know; others. Nothing of `out` is left after a failure. */
MUST_USE int harden_run(const struct harden_options *o, struct harden_report *report, struct errmsg *why);

/* What a hardened JDK says of itself (lib/prickle.properties). */
struct harden_facts {
	char mode[16], table[1024], audit[1024], source[1024], source_sha256[65], version[64], rules[16];
};
/* 0; -ENOENT: not a hardened JDK. */
MUST_USE int harden_facts(const char *jdk, struct harden_facts *out, struct errmsg *why);
/* The source's lib/modules is not what was hardened: a newer JDK is installed, say. *stale is set; -errno when it cannot be read. */
MUST_USE int harden_is_stale(const struct harden_facts *f, bool *stale, struct errmsg *why);
