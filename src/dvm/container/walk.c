#include "dvm/container/walk.h"

#include <errno.h>

#include "dvm/container/container_limits.h"
#include "dvm/container/jar.h"
#include "dvm/container/jimage.h"

#define INDEX_BYTES_MAX ((size_t)1 << 30)	/* of arena, for what an archive lists */

enum class_container class_container_of(struct slice bytes)
{
	static const uint8_t class_magic[] = { 0xca, 0xfe, 0xba, 0xbe }, big[] = { 0xca, 0xfe, 0xda, 0xda }, little[] = { 0xda, 0xda, 0xfe, 0xca };
	static const uint8_t entry[] = { 'P', 'K', 3, 4 }, end[] = { 'P', 'K', 5, 6 };

	if (slice_starts(bytes, slice_of(class_magic, 4)))
		return CLASS_CONTAINER_CLASS;
	if (slice_starts(bytes, slice_of(big, 4)) || slice_starts(bytes, slice_of(little, 4)))
		return CLASS_CONTAINER_IMAGE;
	if (slice_starts(bytes, slice_of(entry, 4)))
		return CLASS_CONTAINER_JAR;
	/* The record of its end, and a comment of 65,535 bytes at most. */
	struct slice tail = slice_from(bytes, bytes.len > 65557 ? bytes.len - 65557 : 0);
	return slice_find(tail, slice_of(end, 4)) != SLICE_NPOS ? CLASS_CONTAINER_JAR : CLASS_CONTAINER_NONE;
}

static int spend(struct class_walk *w, uint64_t bytes, struct errmsg *why)
{
	if (bytes > w->bytes_left)
		return errmsg_say(why, -E2BIG, "more classes than the budget of unpacked bytes allows");
	w->bytes_left -= bytes;
	return 0;
}

/* Something within could not be read: told, or the end. */
static int refuse(struct class_walk *w, struct slice path, int err, struct errmsg *why)
{
	if (w->refused == NULL)
		return err;
	w->refused(w->user, path, err, why->text);
	return 0;
}

static int walk_jar(struct slice bytes, struct class_walk *w, struct slice prefix, int depth, struct errmsg *why);

static int walk_nested(const struct zip *z, const struct zip_entry *e, struct class_walk *w, struct slice path, int depth, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(e->size + 64);
	AUTO_BUF struct buf prefix = BUF_INIT(WALK_PATH_BYTES_MAX);
	struct slice content;

	if (depth == WALK_DEPTH_MAX)
		return refuse(w, path, errmsg_say(why, -E2BIG, "jars within jars, deeper than %d", WALK_DEPTH_MAX), why);
	int err = spend(w, e->size, why);
	if (err != 0)
		return err;
	err = zip_read(&arena, z, e, &content, why);
	buf_add(&prefix, path);
	buf_add(&prefix, SLICE("!/"));
	if (err == 0 && prefix.err != 0)
		err = errmsg_say(why, -E2BIG, "jars within jars with paths above %d bytes", WALK_PATH_BYTES_MAX);
	return err != 0 ? refuse(w, path, err, why) : walk_jar(content, w, buf_slice(&prefix), depth + 1, why);
}

static int walk_entry(const struct jar *jar, const struct zip_entry *e, struct class_walk *w, struct slice path, int depth, struct errmsg *why)
{
	struct jar_entry kind = jar_entry_of(jar, e);
	struct class_found found = { .path = path, .name = kind.class_name, .version = kind.version };

	if (kind.kind == JAR_NESTED)
		return walk_nested(jar->zip, e, w, path, depth, why);
	if (kind.kind != JAR_CLASS && kind.kind != JAR_VERSIONED_CLASS)
		return 0;
	int err = spend(w, e->size, why);
	if (err != 0)
		return err;
	AUTO_ARENA struct arena arena = ARENA_INIT(e->size + 64);
	err = zip_read(&arena, jar->zip, e, &found.bytes, why);
	return err != 0 ? refuse(w, path, err, why) : w->visit(w->user, &found);
}

static int walk_jar(struct slice bytes, struct class_walk *w, struct slice prefix, int depth, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(INDEX_BYTES_MAX);
	AUTO_BUF struct buf path = BUF_INIT(WALK_PATH_BYTES_MAX);
	struct zip z;
	struct jar jar;
	int err = zip_open(&arena, bytes, &z, why);

	if (err == 0)
		err = jar_open(&arena, &z, &jar, why);
	if (err != 0)		/* the outermost one is what the caller asked for */
		return depth == 0 ? err : refuse(w, slice_head(prefix, prefix.len - 2), err, why);
	for (uint32_t i = 0; err == 0 && i < z.count; i++) {
		buf_reset(&path);
		buf_add(&path, prefix);
		buf_add(&path, z.entries[i].name);
		err = path.err != 0 ? errmsg_say(why, -E2BIG, "jars within jars with paths above %d bytes", WALK_PATH_BYTES_MAX)
				    : walk_entry(&jar, &z.entries[i], w, buf_slice(&path), depth, why);
	}
	return err;
}

static int walk_image(struct slice bytes, struct class_walk *w, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(INDEX_BYTES_MAX);
	AUTO_BUF struct buf path = BUF_INIT(JIMAGE_PATH_BYTES_MAX);
	struct jimage image;
	int err = jimage_open(&arena, bytes, &image, why);

	for (uint32_t i = 0; err == 0 && i < image.count; i++) {
		const struct jimage_resource *r = &image.resources[i];
		if (!jimage_is_class(r))
			continue;
		AUTO_ARENA struct arena one = ARENA_INIT(JIMAGE_PACKINGS_MAX * (r->size + 2048));
		struct class_found found = { 0 };
		buf_reset(&path);
		jimage_path(&path, r);
		found.path = buf_slice(&path);
		found.name = slice_sub(found.path, r->module.len + 2, found.path.len - strlen(".class"));
		err = spend(w, r->size, why);
		if (err != 0)
			break;
		err = jimage_read(&one, &image, r, &found.bytes, why);
		err = err != 0 ? refuse(w, found.path, err, why) : w->visit(w->user, &found);
	}
	return err;
}

int class_walk(struct slice bytes, struct class_walk *w, struct errmsg *why)
{
	const struct class_found whole = { .bytes = bytes };
	struct errmsg own;

	/* Refusals are told with their text, whether the caller wants the last one or not. */
	if (why == NULL)
		why = &own;
	switch (class_container_of(bytes)) {
	case CLASS_CONTAINER_CLASS:
		return w->visit(w->user, &whole);
	case CLASS_CONTAINER_JAR:
		return walk_jar(bytes, w, SLICE(""), 0, why);
	case CLASS_CONTAINER_IMAGE:
		return walk_image(bytes, w, why);
	case CLASS_CONTAINER_NONE:
		break;
	}
	return errmsg_say(why, -EBADMSG, "neither a class file nor a jar nor a run-time image: expected CAFEBABE, a zip file or CAFEDADA");
}
