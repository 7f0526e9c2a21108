/*
 * An image with other content. The source's bytes stay where they are: what is replaced is appended and gets a new attribute stream, its old bytes become zero
 * (an image must not hold what it replaced), and directories that named the old stream name the new one. Only the hash is made anew, when names are added.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "dvm/container/container_limits.h"
#include "dvm/container/jimage_format.h"

struct moved {				/* an attribute stream and the one that takes its place */
	uint32_t from, to;
	size_t directory_at, directory_bytes;	/* of a directory: its content in `resources` */
};

struct addition {			/* a name that the source lacks */
	uint32_t location, hash_of_directory;
	struct slice path;
};

struct writer {
	struct arena *arena;
	const struct jimage *image;
	struct errmsg *why;
	struct buf locations, strings, resources;	/* what is appended to each */
	struct moved *moved;
	size_t moved_count;
	struct addition *added;
	size_t added_count;
	struct slice *slots;		/* paths by slot of the new table; see hash() */
};

static int no_memory(struct writer *w)
{
	return errmsg_set(w->why, -ENOMEM, "write the run-time image");
}

/* Offset of a text in strings, old or appended. */
static uint32_t string_offset(struct writer *w, struct slice text)
{
	struct slice old = w->image->strings, mine = buf_slice(&w->strings);

	/* An old one: slices of the image's own names point into it. */
	if (text.ptr >= old.ptr && text.ptr < old.ptr + old.len)
		return (uint32_t)(text.ptr - old.ptr);
	for (struct slice rest = old; rest.len != 0;) {
		size_t end = slice_find_byte(rest, '\0');

		if (slice_eq(slice_head(rest, end), text))
			return (uint32_t)(rest.ptr - old.ptr);
		rest = slice_from(rest, end + 1);
	}
	for (struct slice rest = mine; rest.len != 0;) {
		size_t end = slice_find_byte(rest, '\0');

		if (slice_eq(slice_head(rest, end), text))
			return (uint32_t)(old.len + (size_t)(rest.ptr - mine.ptr));
		rest = slice_from(rest, end + 1);
	}
	uint32_t at = (uint32_t)(old.len + mine.len);
	buf_add(&w->strings, text);
	buf_addc(&w->strings, 0);
	return at;
}

static void attribute(struct buf *out, enum jimage_attribute kind, uint64_t value)
{
	unsigned bytes = 1;

	if (value == 0)
		return;
	while (bytes < 8 && value >> 8 * bytes != 0)
		bytes++;
	buf_addc(out, (uint8_t)((unsigned)kind << 3 | (bytes - 1)));
	for (unsigned i = bytes; i-- > 0;)
		buf_addc(out, (uint8_t)(value >> 8 * i));
}

/* Content at the end, and an attribute stream for it. Returns the stream's offset. */
static uint32_t append(struct writer *w, const struct jimage_resource *name, struct slice content)
{
	uint32_t at = (uint32_t)(w->image->locations.len + w->locations.len);
	uint64_t offset = w->image->bytes.len - w->image->resources_at + w->resources.len;

	attribute(&w->locations, JIMAGE_MODULE, string_offset(w, name->module));
	attribute(&w->locations, JIMAGE_PARENT, string_offset(w, name->parent));
	attribute(&w->locations, JIMAGE_BASE, string_offset(w, name->base));
	attribute(&w->locations, JIMAGE_EXTENSION, string_offset(w, name->extension));
	attribute(&w->locations, JIMAGE_OFFSET, offset);
	attribute(&w->locations, JIMAGE_UNCOMPRESSED, content.len);
	buf_addc(&w->locations, JIMAGE_END << 3);
	buf_add(&w->resources, content);
	return at;
}

static void move(struct writer *w, uint32_t from, uint32_t to)
{
	w->moved[w->moved_count++] = (struct moved){ .from = from, .to = to };
}

static uint32_t moved_to(const struct writer *w, uint32_t location)
{
	for (size_t i = w->moved_count; i-- > 0;)
		if (w->moved[i].from == location)
			return w->moved[i].to;
	return location;
}

/* "/modules/java.base/java/lang", the directory of a resource. */
static struct slice directory_path(struct writer *w, const struct jimage_resource *r)
{
	struct buf path = BUF_INIT(JIMAGE_PATH_BYTES_MAX);
	struct slice out;

	buf_printf(&path, "/modules/%.*s%s%.*s", SLICE_FMT(r->module), r->parent.len != 0 ? "/" : "", SLICE_FMT(r->parent));
	out = arena_dup(w->arena, buf_slice(&path));
	buf_done(&path);
	return out;
}

static int add_resource(struct writer *w, const struct jimage_change *change)
{
	struct addition *a = &w->added[w->added_count];
	struct buf path = BUF_INIT(JIMAGE_PATH_BYTES_MAX);

	jimage_path(&path, &change->name);
	a->path = arena_dup(w->arena, buf_slice(&path));
	bool bad = path.err != 0 || a->path.ptr == NULL;
	buf_done(&path);
	if (bad)
		return no_memory(w);
	if (jimage_find(w->image, a->path) != NULL)
		return errmsg_say(w->why, -EEXIST, "the run-time image has a '%.*s' already", SLICE_FMT(a->path));
	if (jimage_find(w->image, directory_path(w, &change->name)) == NULL)
		return errmsg_say(w->why, -ENOENT, "the run-time image has no package for '%.*s'", SLICE_FMT(a->path));
	a->location = append(w, &change->name, change->content);
	w->added_count++;
	return 0;
}

/* Directories get longer by what was added to them: at the end, as all that is new. */
static int extend_directories(struct writer *w, const struct jimage_change *changes, size_t count)
{
	size_t at = 0;

	for (size_t i = 0; i < count; i++) {
		if (changes[i].resource != NULL)
			continue;
		struct slice directory = directory_path(w, &changes[i].name);
		const struct jimage_resource *r = jimage_find(w->image, directory);
		struct buf list = BUF_INIT(JIMAGE_RESOURCE_BYTES_MAX);
		bool done = false;
		size_t nth = at;

		at++;
		for (size_t k = 0; k < i && !done; k++)
			done = changes[k].resource == NULL && slice_eq(directory_path(w, &changes[k].name), directory);
		if (done)
			continue;
		must(r != NULL);
		buf_add(&list, slice_sub(w->image->bytes, (size_t)(w->image->resources_at + r->offset), (size_t)(w->image->resources_at + r->offset + r->size)));
		for (size_t k = i; k < count; k++) {
			uint8_t entry[4];

			if (changes[k].resource != NULL || !slice_eq(directory_path(w, &changes[k].name), directory)) {
				nth += changes[k].resource == NULL;
				continue;
			}
			jimage_put_u32(w->image->big_endian, entry, w->added[nth++].location);
			buf_add(&list, slice_of(entry, sizeof(entry)));
		}
		if (list.err == 0) {
			size_t begin = w->resources.len;

			move(w, r->location, append(w, r, buf_slice(&list)));
			w->moved[w->moved_count - 1].directory_at = begin;
			w->moved[w->moved_count - 1].directory_bytes = list.len;
		}
		int err = list.err;
		buf_done(&list);
		if (err != 0)
			return no_memory(w);
	}
	return 0;
}

/* --- the hash: as jdk.internal.jimage.PerfectHashBuilder, larger buckets first --- */

struct entry {
	struct slice path;
	uint32_t location, bucket;
};
struct bucket {
	uint32_t first, count, number;
};

static int by_bucket(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->bucket != y->bucket)
		return x->bucket < y->bucket ? -1 : 1;
	return x->location < y->location ? -1 : x->location > y->location;
}

static int larger_first(const void *a, const void *b)
{
	const struct bucket *x = a, *y = b;

	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

/* A seed by which all of a bucket fall into free slots of their own; 0: none found. */
static uint32_t seed_for(const struct entry *entries, const struct bucket *b, uint32_t length, uint32_t *slots)
{
	for (uint32_t seed = JIMAGE_HASH_SEED + 1; seed != 0x7fffffffu; seed++) {
		uint32_t placed = 0;

		for (; placed < b->count; placed++) {
			uint32_t slot = jimage_hash(entries[b->first + placed].path, seed) % length;

			if (slots[slot] != 0)
				break;
			slots[slot] = b->first + placed + 1;
		}
		if (placed == b->count)
			return seed;
		while (placed-- > 0)
			slots[jimage_hash(entries[b->first + placed].path, seed) % length] = 0;
	}
	return 0;
}

static int hash(struct writer *w, uint8_t *redirects, uint8_t *offsets, uint32_t length)
{
	const struct jimage *image = w->image;
	struct entry *entries = arena_array(w->arena, length, sizeof(*entries));
	struct bucket *buckets = arena_array(w->arena, length, sizeof(*buckets));
	uint32_t *slots = arena_array(w->arena, length, sizeof(*slots));	/* 1 + index of the entry */
	uint32_t n = 0, used = 0, bucket_count = 0;

	if (entries == NULL || buckets == NULL || slots == NULL)
		return no_memory(w);
	for (uint32_t i = 0; i < image->count; i++) {
		struct buf path = BUF_INIT(JIMAGE_PATH_BYTES_MAX);

		jimage_path(&path, &image->resources[i]);
		entries[n++] = (struct entry){ .path = arena_dup(w->arena, buf_slice(&path)), .location = moved_to(w, image->resources[i].location) };
		buf_done(&path);
	}
	for (size_t i = 0; i < w->added_count; i++)
		entries[n++] = (struct entry){ .path = w->added[i].path, .location = w->added[i].location };
	for (uint32_t i = 0; i < n; i++)
		entries[i].bucket = jimage_hash(entries[i].path, JIMAGE_HASH_SEED) % length;
	qsort(entries, n, sizeof(*entries), by_bucket);
	for (uint32_t i = 0; i < n; i++) {
		if (i == 0 || entries[i].bucket != entries[i - 1].bucket)
			buckets[bucket_count++] = (struct bucket){ .first = i, .number = entries[i].bucket };
		buckets[bucket_count - 1].count++;
	}
	qsort(buckets, bucket_count, sizeof(*buckets), larger_first);
	for (uint32_t i = 0; i < bucket_count; i++) {
		uint32_t value;

		if (buckets[i].count > 1) {
			value = seed_for(entries, &buckets[i], length, slots);
			if (value == 0)
				return errmsg_say(w->why, -E2BIG, "no hash of the run-time image's names was found");
		} else {
			while (slots[used] != 0)
				used++;
			slots[used] = buckets[i].first + 1;
			value = (uint32_t)(-1 - (int32_t)used);
		}
		jimage_put_u32(image->big_endian, redirects + 4 * (size_t)buckets[i].number, value);
	}
	for (uint32_t i = 0; i < length; i++)
		jimage_put_u32(image->big_endian, offsets + 4 * (size_t)i, entries[slots[i] - 1].location);
	return 0;
}

/* Directories below /modules and /packages itself hold offsets of streams, some of which moved. */
static bool is_directory(const struct jimage_resource *r)
{
	return slice_eq(r->module, SLICE("modules")) || (r->module.len == 0 && r->parent.len == 0 && r->extension.len == 0) ||
	       (r->module.len != 0 && r->base.len == 0);
}

static void mend(const struct writer *w, uint8_t *content, size_t bytes)
{
	for (size_t at = 0; at + 4 <= bytes; at += 4) {
		uint32_t location = jimage_u32(w->image->big_endian, content + at), to = moved_to(w, location);

		if (to != location)
			jimage_put_u32(w->image->big_endian, content + at, to);
	}
}

static int emit(struct writer *w, struct buf *out)
{
	const struct jimage *image = w->image;
	uint32_t length = image->table_length + (uint32_t)w->added_count;
	size_t old = image->bytes.len - (size_t)image->resources_at, table = (size_t)length * 4;
	size_t total = JIMAGE_HEADER_BYTES + 2 * table + image->locations.len + w->locations.len + image->strings.len + w->strings.len + old + w->resources.len;
	uint8_t *to = buf_room(out, total), *at = to;
	bool big = image->big_endian;
	int err;

	if (to == NULL)
		return errmsg_set(w->why, out->err, "write the run-time image of %zu bytes", total);
	memcpy(at, image->bytes.ptr, JIMAGE_HEADER_BYTES);
	jimage_put_u32(big, at + 12, jimage_u32(big, image->bytes.ptr + 12) + (uint32_t)w->added_count);
	jimage_put_u32(big, at + 16, length);
	jimage_put_u32(big, at + 20, (uint32_t)(image->locations.len + w->locations.len));
	jimage_put_u32(big, at + 24, (uint32_t)(image->strings.len + w->strings.len));
	at += JIMAGE_HEADER_BYTES;
	if (w->added_count == 0) {
		/* The names are the same, so the hash is. */
		memcpy(at, image->redirects.ptr, table);
		for (uint32_t i = 0; i < length; i++)
			jimage_put_u32(big, at + table + 4 * (size_t)i, moved_to(w, jimage_u32(big, image->offsets.ptr + 4 * (size_t)i)));
	} else {
		memset(at, 0, 2 * table);
		err = hash(w, at, at + table, length);
		if (err != 0)
			return err;
	}
	at += 2 * table;
	struct slice parts[] = { image->locations, buf_slice(&w->locations), image->strings, buf_slice(&w->strings),
		slice_from(image->bytes, (size_t)image->resources_at), buf_slice(&w->resources) };
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		if (parts[i].len != 0)
			memcpy(at, parts[i].ptr, parts[i].len);
		at += parts[i].len;
	}
	uint8_t *resources = to + (total - old - w->resources.len);
	for (uint32_t i = 0; i < image->count; i++) {
		const struct jimage_resource *r = &image->resources[i];
		size_t stored = (size_t)(r->packed_size != 0 ? r->packed_size : r->size);

		if (moved_to(w, r->location) != r->location)
			memset(resources + r->offset, 0, stored);
		else if (w->moved_count != 0 && is_directory(r))
			mend(w, resources + r->offset, stored);
	}
	for (size_t i = 0; i < w->moved_count; i++)
		mend(w, resources + old + w->moved[i].directory_at, w->moved[i].directory_bytes);
	buf_commit(out, total);
	return 0;
}

int jimage_write(struct arena *arena, const struct jimage *image, const struct jimage_change *changes, size_t count, struct buf *out, struct errmsg *why)
{
	struct writer w = { .arena = arena, .image = image, .why = why, .locations = BUF_INIT(1u << 30), .strings = BUF_INIT(1u << 30), .resources = BUF_INIT(1u << 30) };
	int err = 0;

	w.moved = arena_array(arena, 2 * count + 1, sizeof(*w.moved));
	w.added = arena_array(arena, count + 1, sizeof(*w.added));
	if (w.moved == NULL || w.added == NULL)
		return no_memory(&w);
	for (size_t i = 0; err == 0 && i < count; i++) {
		if (changes[i].resource == NULL)
			err = add_resource(&w, &changes[i]);
		else if (changes[i].content.ptr == NULL)
			err = errmsg_say(why, -EOPNOTSUPP, "resources of a run-time image cannot be left out");
		else
			move(&w, changes[i].resource->location, append(&w, changes[i].resource, changes[i].content));
	}
	if (err == 0)
		err = extend_directories(&w, changes, count);
	if (err == 0 && (w.locations.err != 0 || w.strings.err != 0 || w.resources.err != 0))
		err = no_memory(&w);
	if (err == 0)
		err = emit(&w, out);
	buf_done(&w.locations);
	buf_done(&w.strings);
	buf_done(&w.resources);
	return err;
}
