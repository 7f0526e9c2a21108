#include "dvm/container/jimage.h"

#include <errno.h>
#include <libdeflate.h>
#include <stdlib.h>

#include "dvm/container/container_limits.h"
#include "dvm/container/jimage_format.h"
#include "dvm/container/jimage_hash.h"
#include "dvm/container/shown.h"

/* Kinds of attributes of a location; each is 1 byte kind << 3 | (bytes of the value - 1), then the value, most significant first. 0 ends them. */
enum { AT_MODULE = 1, AT_PARENT, AT_BASE, AT_EXTENSION, AT_OFFSET, AT_COMPRESSED, AT_UNCOMPRESSED, AT_COUNT };

static bool read_attributes(struct slice locations, uint32_t at, uint64_t values[AT_COUNT])
{
	uint32_t seen = 0;

	memset(values, 0, AT_COUNT * sizeof(*values));
	while (at < locations.len && locations.ptr[at] > 7) {
		uint32_t kind = locations.ptr[at] >> 3, bytes = (locations.ptr[at] & 7u) + 1;
		if (kind >= AT_COUNT || (seen & 1u << kind) != 0 || bytes >= locations.len - at)
			return false;
		seen |= 1u << kind;
		for (uint32_t i = 1; i <= bytes; i++)
			values[kind] = values[kind] << 8 | locations.ptr[at + i];
		at += 1 + bytes;
	}
	/* A JVM's two readers end at different bytes below 8; jlink writes 0. */
	return at < locations.len && locations.ptr[at] == 0;
}

static struct slice string_at(const struct jimage *image, uint32_t at)
{
	const uint8_t *p = image->strings.ptr + at;

	return slice_of(p, (size_t)((const uint8_t *)memchr(p, 0, image->strings.len - at) - p));
}

static int read_resource(const struct jimage *image, uint32_t location, struct jimage_resource *r, struct errmsg *why)
{
	uint64_t values[AT_COUNT];
	struct slice *const parts[] = { &r->module, &r->parent, &r->base, &r->extension };
	uint64_t room = image->bytes.len - image->resources_at;

	if (!read_attributes(image->locations, location, values))
		return errmsg_say(why, -EBADMSG, "the image's location at %u has damaged attributes", location);
	size_t length = 4;
	for (size_t i = 0; i < JIMAGE_NAME_PARTS; i++) {
		if (values[AT_MODULE + i] >= image->strings.len)
			return errmsg_say(why, -EBADMSG, "the image's location at %u has a name beyond the strings", location);
		r->strings[i] = (uint32_t)values[AT_MODULE + i];
		*parts[i] = string_at(image, r->strings[i]);
		length += parts[i]->len;
	}
	if (length > JIMAGE_PATH_BYTES_MAX)
		return errmsg_say(why, -E2BIG, "the image's location at %u has a name of %zu bytes, above %d", location, length, JIMAGE_PATH_BYTES_MAX);
	r->offset = values[AT_OFFSET];
	r->packed_size = values[AT_COMPRESSED];
	r->size = values[AT_UNCOMPRESSED];
	r->location = location;
	uint64_t stored = r->packed_size != 0 ? r->packed_size : r->size;
	if (r->offset > room || stored > room - r->offset)
		return errmsg_say(why, -EBADMSG, "the image's resource '%s' lies beyond the end of the file", shown(&(struct shown){ 0 }, r->base));
	if (r->size > JIMAGE_RESOURCE_BYTES_MAX)
		return errmsg_say(why, -E2BIG, "the image's resource '%s' has %llu bytes, above %d", shown(&(struct shown){ 0 }, r->base),
				  (unsigned long long)r->size, JIMAGE_RESOURCE_BYTES_MAX);
	return 0;
}

static uint32_t resource_hash(const struct jimage_resource *r, uint32_t seed)
{
	if (r->module.len > 0)
		seed = jimage_hash_step(jimage_hash_step(jimage_hash_step(seed, SLICE("/")), r->module), SLICE("/"));
	if (r->parent.len > 0)
		seed = jimage_hash_step(jimage_hash_step(seed, r->parent), SLICE("/"));
	seed = jimage_hash_step(seed, r->base);
	if (r->extension.len > 0)
		seed = jimage_hash_step(jimage_hash_step(seed, SLICE(".")), r->extension);
	return seed & JIMAGE_HASH_MASK;
}

/* Where a redirect leads: a slot, or -1. `again` is the name's hash with the seed that the redirect gives. */
#define FOLLOW(image, redirect, again)                                                             \
	((redirect) == 0 ? -1 : (redirect) < 0 ? -1 - (int64_t)(redirect) : (int64_t)((again) % (image)->table_length))

static int32_t redirect_of(const struct jimage *image, uint32_t hash)
{
	return (int32_t)jimage_u32(image, image->redirects.ptr + 4 * (size_t)(hash % image->table_length));
}

static int by_offset(const void *a, const void *b)
{
	const struct jimage_resource *x = a, *y = b;

	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	/* Empty ones stand before the one that has the bytes. */
	uint64_t x_bytes = x->packed_size | x->size, y_bytes = y->packed_size | y->size;
	if ((x_bytes == 0) != (y_bytes == 0))
		return x_bytes == 0 ? -1 : 1;
	return x->location < y->location ? -1 : x->location > y->location;
}

static int read_header(struct slice bytes, struct jimage *image, uint32_t *count, struct errmsg *why)
{
	if (bytes.len < JIMAGE_HEADER_BYTES)
		return errmsg_say(why, -EBADMSG, "no run-time image: %zu bytes, shorter than its header", bytes.len);
	if (bytes.len > JIMAGE_BYTES_MAX)
		return errmsg_say(why, -E2BIG, "a run-time image of %zu bytes, above %d", bytes.len, JIMAGE_BYTES_MAX);
	*image = (struct jimage){ .bytes = bytes, .big_endian = bytes.ptr[0] == 0xca };
	if (jimage_u32(image, bytes.ptr) != JIMAGE_MAGIC)
		return errmsg_say(why, -EBADMSG, "no run-time image: it does not begin with 0xCAFEDADA");
	uint32_t version = jimage_u32(image, bytes.ptr + 4);
	image->major = (uint16_t)(version >> 16);
	image->minor = (uint16_t)version;
	if (version != 0x10000)
		return errmsg_say(why, -EOPNOTSUPP, "a run-time image of version %u.%u; 1.0 is known (JDK 9 to 25)", image->major, image->minor);
	image->flags = jimage_u32(image, bytes.ptr + 8);
	*count = jimage_u32(image, bytes.ptr + 12);
	image->table_length = jimage_u32(image, bytes.ptr + 16);
	uint64_t locations = jimage_u32(image, bytes.ptr + 20), strings = jimage_u32(image, bytes.ptr + 24);
	if (image->table_length > JIMAGE_TABLE_MAX)
		return errmsg_say(why, -E2BIG, "the image's table has %u slots, above %d", image->table_length, JIMAGE_TABLE_MAX);
	uint64_t table = 4 * (uint64_t)image->table_length;
	image->resources_at = JIMAGE_HEADER_BYTES + 2 * table + locations + strings;
	if (image->resources_at > bytes.len)
		return errmsg_say(why, -EBADMSG, "the image's index of %llu bytes is longer than its file of %zu", (unsigned long long)image->resources_at,
				  bytes.len);
	image->redirects = slice_of(bytes.ptr + JIMAGE_HEADER_BYTES, table);
	image->offsets = slice_of(image->redirects.ptr + table, table);
	image->locations = slice_of(image->offsets.ptr + table, locations);
	image->strings = slice_of(image->locations.ptr + locations, strings);
	if (strings == 0 || image->strings.ptr[0] != 0 || image->strings.ptr[strings - 1] != 0)
		return errmsg_say(why, -EBADMSG, "the image's strings do not begin and end with a NUL");
	return 0;
}

static int check_resources(const struct jimage *image, uint32_t *slots, const uint32_t *locations, struct errmsg *why)
{
	uint64_t end = 0;

	for (uint32_t i = 0; i < image->count; i++) {
		const struct jimage_resource *r = &image->resources[i];
		struct shown name = { 0 };
		if (r->offset < end)
			return errmsg_say(why, -EBADMSG, "the image's resource '%s' overlaps the one before it", shown(&name, r->base));
		end = r->offset + jimage_stored(image, r).len;
		int32_t redirect = redirect_of(image, resource_hash(r, JIMAGE_HASH_SEED));
		int64_t slot = FOLLOW(image, redirect, resource_hash(r, (uint32_t)redirect));
		/* Two of one name would lead to one slot: of those one is refused. */
		if (slot < 0 || slot >= image->table_length || locations[slot] != r->location || slots[slot] != 0)
			return errmsg_say(why, -EBADMSG, "the image's table does not lead from the name of the resource '%s' to it", shown(&name, r->base));
		slots[slot] = i + 1;
	}
	return 0;
}

int jimage_open(struct arena *arena, struct slice bytes, struct jimage *out, struct errmsg *why)
{
	struct jimage image;
	uint32_t count = 0, found = 0;
	int err = read_header(bytes, &image, &count, why);

	if (err != 0)
		return err;
	if (count > image.table_length)
		return errmsg_say(why, -EBADMSG, "the image has %u resources in %u slots", count, image.table_length);
	uint32_t *slots = arena_array(arena, image.table_length, sizeof(*slots));
	uint32_t *locations = arena_array(arena, image.table_length, sizeof(*locations));
	struct jimage_resource *resources = arena_array(arena, count, sizeof(*resources));
	if (slots == NULL || locations == NULL || resources == NULL)
		return errmsg_set(why, -ENOMEM, "an image of %u resources", count);
	for (uint32_t i = 0; i < image.table_length; i++) {
		locations[i] = jimage_u32(&image, image.offsets.ptr + 4 * (size_t)i);
		if (locations[i] == 0)
			continue;
		if (found == count)
			return errmsg_say(why, -EBADMSG, "the image has more resources than the %u of its header", count);
		err = read_resource(&image, locations[i], &resources[found++], why);
		if (err != 0)
			return err;
	}
	if (found != count)
		return errmsg_say(why, -EBADMSG, "the image has %u resources and not the %u of its header", found, count);
	qsort(resources, count, sizeof(*resources), by_offset);
	image.resources = resources;
	image.count = count;
	image.slots = slots;
	err = check_resources(&image, slots, locations, why);
	if (err != 0)
		return err;
	*out = image;
	return 0;
}

static bool skip(struct slice *path, struct slice part)
{
	if (!slice_starts(*path, part))
		return false;
	*path = slice_from(*path, part.len);
	return true;
}

static bool has_path(const struct jimage_resource *r, struct slice path)
{
	if (r->module.len > 0 && (!skip(&path, SLICE("/")) || !skip(&path, r->module) || !skip(&path, SLICE("/"))))
		return false;
	if (r->parent.len > 0 && (!skip(&path, r->parent) || !skip(&path, SLICE("/"))))
		return false;
	if (!skip(&path, r->base))
		return false;
	if (r->extension.len > 0 && (!skip(&path, SLICE(".")) || !skip(&path, r->extension)))
		return false;
	return path.len == 0;
}

const struct jimage_resource *jimage_find(const struct jimage *image, struct slice path)
{
	if (image->table_length == 0)
		return NULL;
	int32_t redirect = redirect_of(image, jimage_hash_step(JIMAGE_HASH_SEED, path) & JIMAGE_HASH_MASK);
	int64_t slot = FOLLOW(image, redirect, jimage_hash_step((uint32_t)redirect, path) & JIMAGE_HASH_MASK);
	if (slot < 0 || slot >= image->table_length || image->slots[slot] == 0)
		return NULL;
	const struct jimage_resource *r = &image->resources[image->slots[slot] - 1];
	return has_path(r, path) ? r : NULL;
}

/* Before packed content: magic, bytes packed (8), bytes unpacked (8), name of the way (4), its settings (4), last (1); in the image's order. */
#define PACKED_MAGIC 0xcafefafau
#define PACKED_HEADER_BYTES 29u

static int unpack(struct arena *arena, const struct jimage *image, struct slice *content, uint64_t bytes_max, struct errmsg *why)
{
	const uint8_t *p = content->ptr;
	uint64_t packed = jimage_u64(image, p + 4), bytes = jimage_u64(image, p + 12);
	uint32_t way_at = jimage_u32(image, p + 20);

	if (way_at >= image->strings.len || packed > content->len - PACKED_HEADER_BYTES)
		return errmsg_say(why, -EBADMSG, "the header of packed content is damaged");
	struct slice way = string_at(image, way_at);
	if (slice_eq(way, SLICE("compact-cp")))
		return errmsg_say(why, -EOPNOTSUPP, "its strings are shared with others (compact-cp, jlink --compress=1): link the image with zip or no compression");
	if (!slice_eq(way, SLICE("zip")))
		return errmsg_say(why, -EOPNOTSUPP, "packed in an unknown way, '%s'", shown(&(struct shown){ 0 }, way));
	if (bytes > bytes_max)
		return errmsg_say(why, -EBADMSG, "%llu bytes packed where %llu were announced", (unsigned long long)bytes, (unsigned long long)bytes_max);
	uint8_t *room = arena_alloc(arena, bytes);
	struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
	if (room == NULL || d == NULL) {
		libdeflate_free_decompressor(d);
		return errmsg_set(why, -ENOMEM, "%llu bytes", (unsigned long long)bytes);
	}
	size_t got = 0;
	enum libdeflate_result result = libdeflate_zlib_decompress(d, p + PACKED_HEADER_BYTES, packed, room, bytes, &got);
	libdeflate_free_decompressor(d);
	if (result != LIBDEFLATE_SUCCESS || got != bytes)
		return errmsg_say(why, -EBADMSG, "the packed content is damaged");
	*content = slice_of(room, bytes);
	return 0;
}

int jimage_read(struct arena *arena, const struct jimage *image, const struct jimage_resource *r, struct slice *out, struct errmsg *why)
{
	struct slice content = jimage_stored(image, r);
	struct errmsg inner;

	if (r->packed_size == 0) {
		*out = content;
		return 0;
	}
	/* As a JVM: for as long as there is a header. What is packed twice may be a little larger inside than in the end. */
	for (int depth = 0; content.len >= PACKED_HEADER_BYTES && jimage_u32(image, content.ptr) == PACKED_MAGIC; depth++) {
		if (depth == JIMAGE_PACKINGS_MAX)
			return errmsg_say(why, -E2BIG, "resource '%s' is packed more than %d times", shown(&(struct shown){ 0 }, r->base), JIMAGE_PACKINGS_MAX);
		int err = unpack(arena, image, &content, r->size + 1024, &inner);
		if (err != 0)
			return errmsg_say(why, err, "resource '%s': %s", shown(&(struct shown){ 0 }, r->base), inner.text);
	}
	if (content.len != r->size)
		return errmsg_say(why, -EBADMSG, "resource '%s' has %zu bytes and not %llu", shown(&(struct shown){ 0 }, r->base), content.len,
				  (unsigned long long)r->size);
	*out = content;
	return 0;
}

void jimage_path(struct buf *out, const struct jimage_resource *r)
{
	if (r->module.len > 0) {
		buf_addc(out, '/');
		buf_add(out, r->module);
		buf_addc(out, '/');
	}
	if (r->parent.len > 0) {
		buf_add(out, r->parent);
		buf_addc(out, '/');
	}
	buf_add(out, r->base);
	if (r->extension.len > 0) {
		buf_addc(out, '.');
		buf_add(out, r->extension);
	}
}

bool jimage_is_directory(const struct jimage_resource *r)
{
	if (r->module.len == 0)
		return slice_eq(r->base, SLICE("/modules")) || slice_eq(r->base, SLICE("/packages"));
	return slice_eq(r->module, SLICE("modules")) || slice_eq(r->module, SLICE("packages"));
}

bool jimage_is_class(const struct jimage_resource *r)
{
	return slice_eq(r->extension, SLICE("class")) && r->module.len > 0 && !jimage_is_directory(r);
}
