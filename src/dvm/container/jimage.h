/*
 * The JDK's run-time image, lib/modules (jdk.internal.jimage; libjimage): read, and written anew with other content.
 *
 * The file: a header, a perfect-hash redirect table, location offsets, attribute streams of locations, strings, then the resources. A resource's name is
 * /module/parent/base.extension. Beside the modules' own resources there are directories, as resources with names of their own: "/modules" and
 * "/modules/M/..." hold the location offsets of what is in them, so a new image needs them mended; "/packages/P" holds pairs (1: the module has no resource
 * in P but below it, 0: it has; offset of the module's name in the strings), "/packages" the location offsets of those.
 *
 * Compressed resources (jlink --compress) are read (zip; the shared-string form compact-cp is refused with the reason). The writer copies them as they lie:
 * strings keep their offsets, so what packed content says of them holds.
 *
 * Written images have the byte order and version of the source, resources in its order, new ones behind them; the same input and changes give the same bytes,
 * and no change at all gives the source's bytes when its layout is jlink's own. Pure but for libdeflate.
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/errmsg.h"
#include "base/slice.h"

enum { JIMAGE_MODULE, JIMAGE_PARENT, JIMAGE_BASE, JIMAGE_EXTENSION, JIMAGE_NAME_PARTS };

struct jimage_resource {
	struct slice module, parent, base, extension;	/* parent "java/lang", base "Object", extension "class" */
	uint64_t offset;		/* of its content, from the start of the resources */
	uint64_t size;			/* unpacked bytes */
	uint64_t packed_size;		/* 0: not compressed */
	uint32_t location;		/* offset of its attribute stream */
	uint32_t strings[JIMAGE_NAME_PARTS];	/* offsets of the parts of its name */
};

struct jimage {
	struct slice bytes;
	uint16_t major, minor;
	bool big_endian;
	uint32_t flags;
	const struct jimage_resource *resources;	/* sorted by offset, then by location */
	uint32_t count;
	uint64_t resources_at;		/* where they begin in the file */
	uint32_t table_length;
	struct slice redirects, offsets, locations, strings;
	const uint32_t *slots;		/* table_length of them: index of the resource + 1, or 0 */
};
/*
 * 0, -EBADMSG (damaged, or no image), -EOPNOTSUPP (a version that we do not know), -E2BIG, -ENOMEM. What is open is sound: every resource lies within the
 * file and apart from the others, and its name's hash leads to it. bytes are borrowed as long as *out is in use. About 100 bytes of arena a resource.
 */
MUST_USE int jimage_open(struct arena *arena, struct slice bytes, struct jimage *out, struct errmsg *why);
/* By the hash, as a JVM does: "/java.base/java/lang/Object.class". NULL: none. */
const struct jimage_resource *jimage_find(const struct jimage *image, struct slice path);
/* A view when it is stored; unpacked into the arena when it is compressed. 0, -EBADMSG, -EOPNOTSUPP (compact-cp), -E2BIG, -ENOMEM. */
MUST_USE int jimage_read(struct arena *arena, const struct jimage *image, const struct jimage_resource *r, struct slice *out, struct errmsg *why);
/* "/module/parent/base.extension" into out. */
void jimage_path(struct buf *out, const struct jimage_resource *r);
/* One of the directories, "/modules...", "/packages...": made by the writer, not to be changed by anybody. */
bool jimage_is_directory(const struct jimage_resource *r);
/* A class of a module: extension "class", no directory. */
bool jimage_is_class(const struct jimage_resource *r);

struct jimage_change {
	const struct jimage_resource *resource;	/* what is replaced; NULL: a new one under module .. extension of `name` */
	struct jimage_resource name;	/* of a new one; its module must be in the image, its package is entered into /packages as the format wants */
	struct slice content;		/* ptr NULL: the resource is left out */
};
/* A new image as pieces to be written one behind the other: most are views of the source, where a file is mapped nothing is copied. */
struct jimage_plan {
	const struct slice *pieces;
	size_t count;
	uint64_t bytes;
};
/* 0; -EINVAL: a change that makes no sense (said why); else as jimage_open. Pieces borrow image, contents and arena. */
MUST_USE int jimage_plan(struct arena *arena, const struct jimage *image, const struct jimage_change *changes, size_t count, struct jimage_plan *out,
			 struct errmsg *why);
/* The same in one buffer. */
MUST_USE int jimage_write(struct arena *arena, const struct jimage *image, const struct jimage_change *changes, size_t count, struct buf *out, struct errmsg *why);
