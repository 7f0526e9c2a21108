#include "dvm/container/zip.h"

#include <errno.h>
#include <libdeflate.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "dvm/container/container_limits.h"
#include "dvm/container/shown.h"
#include "dvm/container/zip_format.h"

#define SHOWN(name) shown(&(struct shown){ 0 }, (name))

struct end {
	uint64_t count, directory_bytes, offset;	/* what the record says */
	uint64_t at;					/* where the directory ends: at the record, or at the one of zip64 */
};

/* The one place where the end's record can be: its comment ends the file, and no other signature stands in it. */
static int find_end(struct slice bytes, size_t *at, struct errmsg *why)
{
	if (bytes.len < ZIP_END_BYTES)
		return errmsg_say(why, -EBADMSG, "no zip file: %zu bytes, shorter than the record of its end", bytes.len);
	size_t stop = bytes.len > ZIP_END_BYTES + ZIP_MAX16 ? bytes.len - ZIP_END_BYTES - ZIP_MAX16 : 0;
	for (size_t i = bytes.len - ZIP_END_BYTES + 1; i-- > stop;) {
		if (zip_u32(bytes.ptr + i) != ZIP_END_SIGNATURE)
			continue;
		/* Readers differ in which of several ends they take; so there is to be no choice. */
		if (zip_u16(bytes.ptr + i + ZIP_END_COMMENT_BYTES) != bytes.len - i - ZIP_END_BYTES)
			return errmsg_say(why, -EBADMSG, "the zip file's last record of an end does not end at the end of the file");
		*at = i;
		return 0;
	}
	return errmsg_say(why, -EBADMSG, "no zip file: without the record of its end");
}

/* §4.3.14: agrees with the old record wherever that one has not the largest number. */
static int read_end64(struct slice bytes, size_t end_at, struct end *end, struct errmsg *why)
{
	if (end_at < ZIP_LOCATOR_BYTES || zip_u32(bytes.ptr + end_at - ZIP_LOCATOR_BYTES) != ZIP_LOCATOR_SIGNATURE)
		return 0;
	const uint8_t *locator = bytes.ptr + end_at - ZIP_LOCATOR_BYTES, *old = bytes.ptr + end_at;
	if (zip_u32(locator + ZIP_LOCATOR_DISK) != 0 || zip_u32(locator + ZIP_LOCATOR_DISKS) > 1)
		return errmsg_say(why, -EBADMSG, "the zip file is one of several disks");
	/* Offsets may count from behind a prefix, so the record is looked for where it must be: before its locator. */
	uint64_t at = end_at - ZIP_LOCATOR_BYTES;
	if (at < ZIP_END64_BYTES || zip_u32(bytes.ptr + at - ZIP_END64_BYTES) != ZIP_END64_SIGNATURE ||
	    zip_u64(bytes.ptr + at - ZIP_END64_BYTES + ZIP_END64_LENGTH) != ZIP_END64_BYTES - 12)
		return errmsg_say(why, -EBADMSG, "the zip file has no zip64 record of its end before that record's locator");
	at -= ZIP_END64_BYTES;
	const uint8_t *p = bytes.ptr + at;
	struct end new = { .count = zip_u64(p + ZIP_END64_COUNT), .directory_bytes = zip_u64(p + ZIP_END64_DIRECTORY_BYTES),
			   .offset = zip_u64(p + ZIP_END64_OFFSET), .at = at };
	if (zip_u32(p + ZIP_END64_DISK) != 0 || zip_u32(p + ZIP_END64_DIRECTORY_DISK) != 0 || zip_u64(p + ZIP_END64_COUNT_HERE) != new.count)
		return errmsg_say(why, -EBADMSG, "the zip file is one of several disks");
	if ((end->count != ZIP_MAX16 && end->count != new.count) || (end->directory_bytes != ZIP_MAX32 && end->directory_bytes != new.directory_bytes) ||
	    (end->offset != ZIP_MAX32 && end->offset != new.offset) || zip_u16(old + ZIP_END_COUNT_HERE) != zip_u16(old + ZIP_END_COUNT))
		return errmsg_say(why, -EBADMSG, "the zip file's two records of its end disagree");
	/* new.at + 0 of the locator counts from the same place as the directory's offset. */
	if (zip_u64(locator + ZIP_LOCATOR_OFFSET) != new.offset + new.directory_bytes)
		return errmsg_say(why, -EBADMSG, "the zip file's zip64 locator points elsewhere than behind the central directory");
	*end = new;
	return 0;
}

static int read_end(struct zip *z, struct end *end, struct errmsg *why)
{
	size_t at = 0;
	int err = find_end(z->bytes, &at, why);

	if (err != 0)
		return err;
	const uint8_t *p = z->bytes.ptr + at;
	*end = (struct end){ .count = zip_u16(p + ZIP_END_COUNT), .directory_bytes = zip_u32(p + ZIP_END_DIRECTORY_BYTES),
			     .offset = zip_u32(p + ZIP_END_OFFSET), .at = at };
	z->comment = slice_from(z->bytes, at + ZIP_END_BYTES);
	if (zip_u16(p + ZIP_END_DISK) != 0 || zip_u16(p + ZIP_END_DIRECTORY_DISK) != 0 || zip_u16(p + ZIP_END_COUNT_HERE) != end->count)
		return errmsg_say(why, -EBADMSG, "the zip file is one of several disks");
	err = read_end64(z->bytes, at, end, why);
	if (err != 0)
		return err;
	if (end->count > ZIP_ENTRIES_MAX)
		return errmsg_say(why, -E2BIG, "the zip file has %llu entries, above %d", (unsigned long long)end->count, ZIP_ENTRIES_MAX);
	if (end->directory_bytes > end->at || end->offset > end->at - end->directory_bytes)
		return errmsg_say(why, -EBADMSG, "the zip file's central directory of %llu bytes at %llu does not lie before its end",
				  (unsigned long long)end->directory_bytes, (unsigned long long)end->offset);
	return 0;
}

const char *zip_name_fault(struct slice name)
{
	struct slice rest = name, part;

	if (name.len == 0)
		return "is empty";
	if (name.len > ZIP_NAME_BYTES_MAX)
		return "is too long";
	if (slice_find_byte(name, 0) != SLICE_NPOS)
		return "has a NUL";
	if (slice_find_byte(name, '\\') != SLICE_NPOS)
		return "has a backslash";
	if (name.ptr[0] == '/')
		return "is absolute";
	if (name.len >= 2 && name.ptr[1] == ':' && ascii_alpha(name.ptr[0]))
		return "has a drive";
	for (bool more = true; more;) {
		more = slice_cut(rest, '/', &part, &rest);
		if (slice_eq(part, SLICE("..")) || slice_eq(part, SLICE(".")))
			return "leaves its directory, or only seems to";
		if (part.len == 0 && more)
			return "has an empty part";
	}
	/* JVMs read names as UTF-8, whatever the flag says, and refuse the file when they are not. */
	return utf8_valid(name) ? NULL : "is not UTF-8";
}

/* §4.5.3: in this order, each only where its field is all ones. */
static bool read_zip64(struct slice extra, uint64_t *values[3])
{
	struct slice content, found = { 0 };
	bool bad = false, seen = false;
	uint16_t id;

	while (zip_extra_next(&extra, &id, &content, &bad)) {
		if (id != ZIP_EXTRA_ZIP64)
			continue;
		if (seen)
			return false;
		seen = true;
		found = content;
	}
	for (size_t i = 0; i < 3; i++) {
		if (values[i] == NULL || *values[i] != ZIP_MAX32)
			continue;
		if (!seen)
			break;			/* a number as others, and too large: refused later */
		if (found.len < 8)
			return false;
		*values[i] = zip_u64(found.ptr);
		found = slice_from(found, 8);
	}
	return !bad;
}

static int read_central(struct slice *rest, struct zip_entry *e, struct errmsg *why)
{
	if (rest->len < ZIP_CENTRAL_BYTES || zip_u32(rest->ptr) != ZIP_CENTRAL_SIGNATURE)
		return errmsg_say(why, -EBADMSG, "the zip file's central directory is damaged");
	const uint8_t *p = rest->ptr;
	size_t name = zip_u16(p + ZIP_CENTRAL_NAME_BYTES), extra = zip_u16(p + ZIP_CENTRAL_EXTRA_BYTES);
	size_t bytes = ZIP_CENTRAL_BYTES + name + extra + zip_u16(p + ZIP_CENTRAL_COMMENT_BYTES);
	if (bytes > rest->len)
		return errmsg_say(why, -EBADMSG, "the zip file's central directory is cut short");
	*e = (struct zip_entry){ .name = slice_of(p + ZIP_CENTRAL_BYTES, name), .method = zip_u16(p + ZIP_CENTRAL_METHOD),
				 .flags = zip_u16(p + ZIP_CENTRAL_FLAGS), .crc32 = zip_u32(p + ZIP_CENTRAL_CRC), .size = zip_u32(p + ZIP_CENTRAL_SIZE),
				 .packed_size = zip_u32(p + ZIP_CENTRAL_PACKED), .local_offset = zip_u32(p + ZIP_CENTRAL_OFFSET),
				 .central = slice_of(p, bytes) };
	*rest = slice_from(*rest, bytes);
	const char *fault = zip_name_fault(e->name);
	if (fault != NULL)
		return errmsg_say(why, -EBADMSG, "the zip file's entry '%s': its name %s", SHOWN(e->name), fault);
	if (!read_zip64(slice_of(p + ZIP_CENTRAL_BYTES + name, extra), (uint64_t *[]){ &e->size, &e->packed_size, &e->local_offset }))
		return errmsg_say(why, -EBADMSG, "the zip file's entry '%s' has a damaged extra field", SHOWN(e->name));
	if ((e->flags & ZIP_FLAGS_REFUSED) != 0)
		return errmsg_say(why, -EBADMSG, "the zip file's entry '%s' is encrypted or a patch", SHOWN(e->name));
	if (e->method != ZIP_STORED && e->method != ZIP_DEFLATED)
		return errmsg_say(why, -EBADMSG, "the zip file's entry '%s' is packed by method %u; stored (0) and deflated (8) are known", SHOWN(e->name),
				  e->method);
	if (zip_u16(p + ZIP_CENTRAL_DISK) != 0)
		return errmsg_say(why, -EBADMSG, "the zip file's entry '%s' is on another disk", SHOWN(e->name));
	if (e->size > ZIP_ENTRY_BYTES_MAX)
		return errmsg_say(why, -E2BIG, "the zip file's entry '%s' has %llu bytes, above %d", SHOWN(e->name), (unsigned long long)e->size,
				  ZIP_ENTRY_BYTES_MAX);
	/* Deflate gives at most 1,032 bytes for one. */
	if (e->method == ZIP_STORED ? e->size != e->packed_size : e->size / 1040 > e->packed_size)
		return errmsg_say(why, -EBADMSG, "the zip file's entry '%s' cannot have %llu bytes out of %llu", SHOWN(e->name), (unsigned long long)e->size,
				  (unsigned long long)e->packed_size);
	if (e->name.ptr[e->name.len - 1] == '/' && e->size != 0)
		return errmsg_say(why, -EBADMSG, "the zip file's directory '%s' has content", SHOWN(e->name));
	return 0;
}

/* §4.3.9: sum and sizes behind the data, with or without a signature, of 32 or of 64 bits. Its bytes, or 0. */
static size_t descriptor_bytes(struct slice at, const struct zip_entry *e)
{
	for (size_t form = 0; form < 4; form++) {
		size_t before = form < 2 ? 4 : 0, number = form % 2 == 0 ? 4 : 8;
		size_t bytes = before + 4 + 2 * number;
		if (bytes > at.len || (before != 0 && zip_u32(at.ptr) != ZIP_DESCRIPTOR_SIGNATURE))
			continue;
		const uint8_t *p = at.ptr + before;
		uint64_t packed = number == 4 ? zip_u32(p + 4) : zip_u64(p + 4), size = number == 4 ? zip_u32(p + 4 + 4) : zip_u64(p + 4 + 8);
		if (zip_u32(p) == e->crc32 && packed == e->packed_size && size == e->size)
			return bytes;
	}
	return 0;
}

/* What lies at the entry's offset says the same as the central directory. */
static int read_local(const struct zip *z, uint64_t directory_at, struct zip_entry *e, struct errmsg *why)
{
	if (e->local_offset > directory_at - z->base || directory_at - z->base - e->local_offset < ZIP_LOCAL_BYTES)
		return errmsg_say(why, -EBADMSG, "the zip file's entry '%s' does not lie before the central directory", SHOWN(e->name));
	e->local_offset += z->base;
	struct slice rest = slice_sub(z->bytes, e->local_offset, directory_at);
	const uint8_t *p = rest.ptr;
	size_t name = zip_u16(p + ZIP_LOCAL_NAME_BYTES), extra = zip_u16(p + ZIP_LOCAL_EXTRA_BYTES);
	if (zip_u32(p) != ZIP_LOCAL_SIGNATURE || name + extra > rest.len - ZIP_LOCAL_BYTES || e->packed_size > rest.len - ZIP_LOCAL_BYTES - name - extra)
		return errmsg_say(why, -EBADMSG, "the zip file's entry '%s' has a damaged local header", SHOWN(e->name));
	uint64_t size = zip_u32(p + ZIP_LOCAL_SIZE), packed = zip_u32(p + ZIP_LOCAL_PACKED);
	uint16_t flags = zip_u16(p + ZIP_LOCAL_FLAGS);
	/* In a local header both sizes are there when one is. */
	if (!read_zip64(slice_of(p + ZIP_LOCAL_BYTES + name, extra), (uint64_t *[]){ &size, &packed, NULL }))
		return errmsg_say(why, -EBADMSG, "the zip file's entry '%s' has a damaged extra field in its local header", SHOWN(e->name));
	if (!slice_eq(slice_of(p + ZIP_LOCAL_BYTES, name), e->name))
		return errmsg_say(why, -EBADMSG, "the zip file's entry '%s' has another name in its local header", SHOWN(e->name));
	bool behind = (flags & ZIP_FLAG_DESCRIPTOR) != 0;
	uint32_t crc = zip_u32(p + ZIP_LOCAL_CRC);
	bool same = size == e->size && packed == e->packed_size && crc == e->crc32;
	if (zip_u16(p + ZIP_LOCAL_METHOD) != e->method || ((flags ^ e->flags) & ~ZIP_FLAG_LEVEL & ~ZIP_FLAG_UTF8) != 0 ||
	    (!same && !(behind && size == 0 && packed == 0 && crc == 0)))
		return errmsg_say(why, -EBADMSG, "the zip file's entry '%s': its local header says otherwise than the central directory", SHOWN(e->name));
	size_t data_at = ZIP_LOCAL_BYTES + name + extra;
	e->packed = slice_of(p + data_at, e->packed_size);
	size_t descriptor = behind ? descriptor_bytes(slice_from(rest, data_at + e->packed_size), e) : 0;
	if (behind && descriptor == 0)
		return errmsg_say(why, -EBADMSG, "the zip file's entry '%s': what stands behind its data says otherwise than the central directory",
				  SHOWN(e->name));
	e->local = slice_of(p, data_at + e->packed_size + descriptor);
	return 0;
}

struct key {
	struct slice name;
	uint64_t at;
	uint32_t entry;
};

static int by_name(const void *a, const void *b)
{
	return slice_cmp(((const struct key *)a)->name, ((const struct key *)b)->name);
}

static int by_place(const void *a, const void *b)
{
	const struct key *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

/* Entries lie apart, nothing that a reader of streams would take for one lies between them, and no two have one name. */
static int check_together(struct arena *arena, struct zip *z, uint64_t directory_at, struct errmsg *why)
{
	struct key *keys = arena_array(arena, z->count, sizeof(*keys));
	uint32_t *names = arena_array(arena, z->count, sizeof(*names));
	uint64_t end = 0;

	if (keys == NULL || names == NULL)
		return errmsg_set(why, -ENOMEM, "a zip file of %u entries", z->count);
	for (uint32_t i = 0; i < z->count; i++)
		keys[i] = (struct key){ z->entries[i].name, z->entries[i].local_offset, i };
	qsort(keys, z->count, sizeof(*keys), by_place);
	for (uint32_t i = 0; i <= z->count; i++) {
		uint64_t at = i < z->count ? keys[i].at : directory_at;
		if (at < end)
			return errmsg_say(why, -EBADMSG, "the zip file's entries '%s' and '%s' overlap", SHOWN(keys[i - 1].name),
					  i < z->count ? SHOWN(keys[i].name) : "");
		if (at - end >= 4 && zip_u32(z->bytes.ptr + end) == ZIP_LOCAL_SIGNATURE)
			return errmsg_say(why, -EBADMSG, "the zip file has an entry at %llu that its central directory does not list", (unsigned long long)end);
		if (i == 0)
			z->prefix = slice_head(z->bytes, at);
		end = i < z->count ? at + z->entries[keys[i].entry].local.len : end;
	}
	qsort(keys, z->count, sizeof(*keys), by_name);
	for (uint32_t i = 0; i < z->count; i++) {
		if (i > 0 && slice_eq(keys[i].name, keys[i - 1].name))
			return errmsg_say(why, -EBADMSG, "the zip file has two entries '%s'", SHOWN(keys[i].name));
		names[i] = keys[i].entry;
	}
	z->by_name = names;
	return 0;
}

int zip_open(struct arena *arena, struct slice bytes, struct zip *out, struct errmsg *why)
{
	struct zip z = { .bytes = bytes };
	struct end end;
	uint64_t total = 0;

	if (bytes.len > ZIP_BYTES_MAX)
		return errmsg_say(why, -E2BIG, "a zip file of %zu bytes, above %lld", bytes.len, (long long)ZIP_BYTES_MAX);
	int err = read_end(&z, &end, why);
	if (err != 0)
		return err;
	uint64_t directory_at = end.at - end.directory_bytes;
	z.base = directory_at - end.offset;
	struct slice rest = slice_sub(bytes, directory_at, end.at);
	/* A record has at least 46 bytes: a count that lies costs nothing. */
	if (end.count > rest.len / ZIP_CENTRAL_BYTES)
		return errmsg_say(why, -EBADMSG, "the zip file's central directory is too short for %llu entries", (unsigned long long)end.count);
	struct zip_entry *entries = arena_array(arena, end.count, sizeof(*entries));
	if (entries == NULL)
		return errmsg_set(why, -ENOMEM, "a zip file of %llu entries", (unsigned long long)end.count);
	for (; z.count < end.count; z.count++) {
		struct zip_entry *e = &entries[z.count];
		err = read_central(&rest, e, why);
		if (err == 0)
			err = read_local(&z, directory_at, e, why);
		if (err != 0)
			return err;
		total += e->size;
	}
	if (rest.len != 0)
		return errmsg_say(why, -EBADMSG, "the zip file's central directory has more than the %u entries of its end", z.count);
	if (total > ZIP_UNPACKED_BYTES_MAX || (total > ZIP_BOMB_BYTES_MIN && total / ZIP_BOMB_RATIO > bytes.len))
		return errmsg_say(why, -E2BIG, "the zip file of %zu bytes unpacks to %llu: a bomb", bytes.len, (unsigned long long)total);
	z.entries = entries;
	err = check_together(arena, &z, directory_at, why);
	if (err != 0)
		return err;
	*out = z;
	return 0;
}

const struct zip_entry *zip_find(const struct zip *z, struct slice name)
{
	uint32_t low = 0, high = z->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		const struct zip_entry *e = &z->entries[z->by_name[middle]];
		int order = slice_cmp(name, e->name);
		if (order == 0)
			return e;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

int zip_read(struct arena *arena, const struct zip *z, const struct zip_entry *e, struct slice *out, struct errmsg *why)
{
	struct slice content = e->packed;

	(void)z;
	if (e->method == ZIP_DEFLATED) {
		uint8_t *room = arena_alloc(arena, e->size);
		struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
		size_t used = 0, got = 0;
		if (room == NULL || d == NULL) {
			libdeflate_free_decompressor(d);
			return errmsg_set(why, -ENOMEM, "entry '%s' of %llu bytes", SHOWN(e->name), (unsigned long long)e->size);
		}
		enum libdeflate_result result = libdeflate_deflate_decompress_ex(d, e->packed.ptr, e->packed.len, room, e->size, &used, &got);
		libdeflate_free_decompressor(d);
		if (result != LIBDEFLATE_SUCCESS || got != e->size || used != e->packed.len)
			return errmsg_say(why, -EBADMSG, "the zip file's entry '%s' is damaged: %s", SHOWN(e->name),
					  result == LIBDEFLATE_SUCCESS && got == e->size ? "more data than its content needs"
					  : result == LIBDEFLATE_BAD_DATA ? "its data cannot be unpacked" : "its size is another");
		content = slice_of(room, e->size);
	}
	if (libdeflate_crc32(0, content.ptr, content.len) != e->crc32)
		return errmsg_say(why, -EBADMSG, "the zip file's entry '%s' is damaged: its check sum is another", SHOWN(e->name));
	*out = content;
	return 0;
}
