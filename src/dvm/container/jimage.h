/*
 * The JDK's run-time image, lib/modules (jdk.internal.jimage; libjimage): read, and written anew with other content.
 *
 * The file: a header, a perfect-hash redirect table, location offsets, attribute streams of locations, strings, then the resources. A resource's name is
 * /module/parent/base.extension. Directory resources of /packages hold location offsets themselves, so that a new image needs them mended. Compressed resources
 * (jlink --compress) are read (zip; the shared-string form refused with the reason) and written uncompressed.
 *
 * Written images have the byte order and version of the source, resources in its order; the same input and replacements give the same bytes, and no
 * replacement at all gives the source's bytes when its layout is jlink's own.
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/errmsg.h"
#include "base/slice.h"

struct jimage_resource {
	struct slice module, parent, base, extension;	/* parent "java/lang", base "Object", extension "class" */
	uint64_t offset;		/* of its content, from the start of the resources */
	uint64_t size;			/* unpacked bytes */
	uint64_t packed_size;		/* 0: not compressed */
	uint32_t location;		/* offset of its attribute stream */
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
};
/* 0, -EBADMSG (damaged, or no image), -EOPNOTSUPP (a version that we do not know), -E2BIG, -ENOMEM. */
MUST_USE int jimage_open(struct arena *arena, struct slice bytes, struct jimage *out, struct errmsg *why);
/* By the hash, as a JVM does: "/java.base/java/lang/Object.class". NULL: none. */
const struct jimage_resource *jimage_find(const struct jimage *image, struct slice path);
/* A view when it is stored; unpacked into the arena when it is compressed. */
MUST_USE int jimage_read(struct arena *arena, const struct jimage *image, const struct jimage_resource *r, struct slice *out, struct errmsg *why);
/* "/module/parent/base.extension" into out. */
void jimage_path(struct buf *out, const struct jimage_resource *r);

struct jimage_change {
	const struct jimage_resource *resource;	/* what is replaced; NULL: a new one under module .. extension of `name` */
	struct jimage_resource name;	/* of a new one; its parent's package must be in the image already, or is added to /packages as the format wants */
	struct slice content;		/* ptr NULL: the resource is left out */
};
MUST_USE int jimage_write(struct arena *arena, const struct jimage *image, const struct jimage_change *changes, size_t count, struct buf *out, struct errmsg *why);
