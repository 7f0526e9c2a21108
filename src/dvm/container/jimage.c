#include "dvm/container/jimage.h"

#include <errno.h>
#include <stdlib.h>
#include <zlib.h>

#include "dvm/container/container_limits.h"
#include "dvm/container/jimage_format.h"

static int damaged(struct errmsg *why, const char *what)
{
	return errmsg_say(why, -EBADMSG, "the run-time image is damaged: %s", what);
}

/* A text of the strings; false when it does not end. */
static bool text_at(const struct jimage *image, uint64_t offset, struct slice *out)
{
	struct slice rest = offset < image->strings.len ? slice_from(image->strings, (size_t)offset) : (struct slice){ 0 };
	size_t end = slice_find_byte(rest, '\0');

	if (rest.len == 0 || end == SLICE_NPOS)
		return false;
	*out = slice_head(rest, end);
	return true;
}

/* An attribute stream. */
static bool read_location(const struct jimage *image, uint32_t at, struct jimage_resource *out)
{
	uint64_t values[JIMAGE_ATTRIBUTES] = { 0 };
	struct slice rest = slice_from(image->locations, at);

	while (rest.len != 0 && rest.ptr[0] >> 3 != JIMAGE_END) {
		unsigned kind = rest.ptr[0] >> 3, length = (rest.ptr[0] & 7u) + 1;

		if (kind >= JIMAGE_ATTRIBUTES || rest.len < 1 + (size_t)length)
			return false;
		uint64_t value = 0;
		for (unsigned i = 0; i < length; i++)
			value = value << 8 | rest.ptr[1 + i];
		values[kind] = value;
		rest = slice_from(rest, 1 + (size_t)length);
	}
	if (rest.len == 0)
		return false;
	*out = (struct jimage_resource){ .offset = values[JIMAGE_OFFSET], .size = values[JIMAGE_UNCOMPRESSED], .packed_size = values[JIMAGE_COMPRESSED],
		.location = at };
	uint64_t stored = out->packed_size != 0 ? out->packed_size : out->size, room = image->bytes.len - image->resources_at;
	return out->size <= JIMAGE_RESOURCE_BYTES_MAX && stored <= room && out->offset <= room - stored &&
	       text_at(image, values[JIMAGE_MODULE], &out->module) && text_at(image, values[JIMAGE_PARENT], &out->parent) &&
	       text_at(image, values[JIMAGE_BASE], &out->base) && text_at(image, values[JIMAGE_EXTENSION], &out->extension);
}

static int by_place(const void *a, const void *b)
{
	const struct jimage_resource *x = a, *y = b;

	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return x->location < y->location ? -1 : x->location > y->location;
}

int jimage_open(struct arena *arena, struct slice bytes, struct jimage *out, struct errmsg *why)
{
	struct jimage image = { .bytes = bytes };
	struct jimage_resource *list;
	uint64_t table, index;

	if (bytes.len < JIMAGE_HEADER_BYTES)
		return errmsg_say(why, -EBADMSG, "this is no run-time image (lib/modules of a JDK)");
	image.big_endian = jimage_u32(true, bytes.ptr) == JIMAGE_MAGIC;
	if (jimage_u32(image.big_endian, bytes.ptr) != JIMAGE_MAGIC)
		return errmsg_say(why, -EBADMSG, "this is no run-time image (lib/modules of a JDK)");
	uint32_t version = jimage_u32(image.big_endian, bytes.ptr + 4);
	image.major = (uint16_t)(version >> 16);
	image.minor = (uint16_t)version;
	image.flags = jimage_u32(image.big_endian, bytes.ptr + 8);
	image.table_length = jimage_u32(image.big_endian, bytes.ptr + 16);
	if (image.major != JIMAGE_MAJOR || image.minor != 0 || image.flags != 0)
		return errmsg_say(why, -EOPNOTSUPP, "a run-time image of version %u.%u with flags %#x is not known; a newer prickle may know it", image.major,
				  image.minor, image.flags);
	uint32_t count = jimage_u32(image.big_endian, bytes.ptr + 12);
	if (count > JIMAGE_RESOURCES_MAX || image.table_length > JIMAGE_RESOURCES_MAX)
		return errmsg_say(why, -E2BIG, "the run-time image has more than %d resources", JIMAGE_RESOURCES_MAX);
	table = (uint64_t)image.table_length * 4;
	uint64_t locations = jimage_u32(image.big_endian, bytes.ptr + 20), strings = jimage_u32(image.big_endian, bytes.ptr + 24);
	index = JIMAGE_HEADER_BYTES + 2 * table + locations + strings;
	if (index > bytes.len)
		return damaged(why, "its index is longer than the file");
	image.redirects = slice_sub(bytes, JIMAGE_HEADER_BYTES, JIMAGE_HEADER_BYTES + table);
	image.offsets = slice_sub(bytes, JIMAGE_HEADER_BYTES + table, JIMAGE_HEADER_BYTES + 2 * table);
	image.locations = slice_sub(bytes, JIMAGE_HEADER_BYTES + 2 * table, index - strings);
	image.strings = slice_sub(bytes, index - strings, index);
	image.resources_at = index;
	list = arena_array(arena, image.table_length, sizeof(*list));
	if (list == NULL)
		return errmsg_set(why, -ENOMEM, "read the run-time image");
	for (uint32_t i = 0; i < image.table_length; i++) {
		uint32_t at = jimage_u32(image.big_endian, image.offsets.ptr + 4 * (size_t)i);

		/* Slots of a table that is larger than it need be are 0, as the first location's offset may be. */
		if (!read_location(&image, at, &list[image.count]))
			return damaged(why, "a location leads outside");
		image.count++;
	}
	qsort(list, image.count, sizeof(*list), by_place);
	image.resources = list;
	*out = image;
	return 0;
}

void jimage_path(struct buf *out, const struct jimage_resource *r)
{
	if (r->module.len != 0) {
		buf_addc(out, '/');
		buf_add(out, r->module);
		buf_addc(out, '/');
	}
	if (r->parent.len != 0) {
		buf_add(out, r->parent);
		buf_addc(out, '/');
	}
	buf_add(out, r->base);
	if (r->extension.len != 0) {
		buf_addc(out, '.');
		buf_add(out, r->extension);
	}
}

static int by_location(const void *key, const void *member)
{
	const struct jimage_resource *x = key, *y = member;

	return by_place(x, y);
}

const struct jimage_resource *jimage_find(const struct jimage *image, struct slice path)
{
	uint8_t room[JIMAGE_PATH_BYTES_MAX];
	struct buf name = { .ptr = room, .cap = sizeof(room), .max = sizeof(room) };
	struct jimage_resource r;

	if (image->table_length == 0 || path.len > JIMAGE_PATH_BYTES_MAX)
		return NULL;
	uint32_t slot = jimage_hash(path, JIMAGE_HASH_SEED) % image->table_length;
	int32_t redirect = (int32_t)jimage_u32(image->big_endian, image->redirects.ptr + 4 * (size_t)slot);
	if (redirect == 0)
		return NULL;
	slot = redirect > 0 ? jimage_hash(path, (uint32_t)redirect) % image->table_length : (uint32_t)(-1 - redirect);
	if (slot >= image->table_length || !read_location(image, jimage_u32(image->big_endian, image->offsets.ptr + 4 * (size_t)slot), &r))
		return NULL;
	jimage_path(&name, &r);
	if (name.err != 0 || !slice_eq(buf_slice(&name), path))
		return NULL;
	return bsearch(&r, image->resources, image->count, sizeof(r), by_location);
}

/* A compressed resource: a header for each compressor, the outermost first. */
#define COMPRESSED_HEADER_BYTES 29u
#define COMPRESSED_MAGIC	0xCAFEFAFAu

static uint64_t u64_at(bool big, const uint8_t *at)
{
	uint64_t first = jimage_u32(big, at), second = jimage_u32(big, at + 4);

	return big ? first << 32 | second : second << 32 | first;
}

static int inflate_into(struct arena *arena, struct slice packed, uint64_t size, struct slice *out, struct errmsg *why)
{
	uint8_t *to = size <= JIMAGE_RESOURCE_BYTES_MAX ? arena_alloc(arena, (size_t)size) : NULL;
	uLongf length = (uLongf)size;

	if (to == NULL)
		return errmsg_say(why, size <= JIMAGE_RESOURCE_BYTES_MAX ? -ENOMEM : -E2BIG, "a resource of the run-time image has %llu bytes", (unsigned long long)size);
	if (uncompress(to, &length, packed.ptr, (uLong)packed.len) != Z_OK || length != size)
		return damaged(why, "a compressed resource does not unpack");
	*out = slice_of(to, (size_t)size);
	return 0;
}

int jimage_read(struct arena *arena, const struct jimage *image, const struct jimage_resource *r, struct slice *out, struct errmsg *why)
{
	struct slice at = slice_sub(image->bytes, (size_t)(image->resources_at + r->offset), (size_t)(image->resources_at + r->offset + (r->packed_size != 0 ? r->packed_size : r->size)));

	if (r->packed_size == 0) {
		*out = at;
		return 0;
	}
	for (bool terminal = false; !terminal;) {
		if (at.len < COMPRESSED_HEADER_BYTES || jimage_u32(image->big_endian, at.ptr) != COMPRESSED_MAGIC)
			return damaged(why, "a compressed resource has no header");
		terminal = at.ptr[28] != 0;
		uint64_t packed = u64_at(image->big_endian, at.ptr + 4), size = u64_at(image->big_endian, at.ptr + 12);
		struct slice by;
		int err;

		if (!text_at(image, jimage_u32(image->big_endian, at.ptr + 20), &by) || packed > at.len - COMPRESSED_HEADER_BYTES)
			return damaged(why, "a compressed resource is cut short");
		if (!slice_eq(by, SLICE("zip")))
			return errmsg_say(why, -EOPNOTSUPP, "the run-time image is compressed by '%.*s'; make one without '--compress=1' or with '--compress=2'",
					  SLICE_FMT(by));
		err = inflate_into(arena, slice_sub(at, COMPRESSED_HEADER_BYTES, COMPRESSED_HEADER_BYTES + (size_t)packed), size, &at, why);
		if (err != 0)
			return err;
	}
	if (at.len != r->size)
		return damaged(why, "a compressed resource has another length than its location says");
	*out = at;
	return 0;
}
