#include <errno.h>
#include <libdeflate.h>
#include <stdlib.h>

#include "dvm/container/container_limits.h"
#include "dvm/container/shown.h"
#include "dvm/container/zip.h"
#include "dvm/container/zip_format.h"

#define SHOWN(name) shown(&(struct shown){ 0 }, (name))

struct written {
	struct written *next;
	struct slice name;
	struct slice central;		/* its record; the offset is put in at the end */
	uint64_t offset;
	bool copied;
};

struct zip_writer {
	struct arena *arena;
	struct buf *out;
	struct errmsg why;		/* code: the first error */
	size_t start;			/* of out, when we began */
	uint64_t base;
	struct written *first, **last;
	uint32_t count;
	struct libdeflate_compressor *compressor;
	int level;			/* of the compressor */
};

struct zip_writer *zip_writer_new(struct arena *arena, struct buf *out, struct slice prefix, uint64_t base)
{
	struct zip_writer *w = ARENA_NEW(arena, struct zip_writer);

	if (w == NULL)
		return NULL;
	*w = (struct zip_writer){ .arena = arena, .out = out, .start = out->len, .base = base, .last = &w->first };
	buf_add(out, prefix);
	return w;
}

void zip_writer_done(struct zip_writer *w)
{
	libdeflate_free_compressor(w->compressor);
	w->compressor = NULL;
}

static bool sound(struct zip_writer *w)
{
	if (w->why.code == 0 && w->out->err != 0)
		errmsg_set(&w->why, w->out->err, "a zip file of %zu bytes", w->out->len - w->start);
	return w->why.code == 0;
}

static void no_memory(struct zip_writer *w)
{
	errmsg_set(&w->why, -ENOMEM, "a zip file of %u entries", w->count);
}

/* The entry begins here; central: its record, offset aside. */
static void note(struct zip_writer *w, struct slice central, bool copied)
{
	struct written *e = ARENA_NEW(w->arena, struct written);

	if (e == NULL || central.ptr == NULL) {
		no_memory(w);
		return;
	}
	*e = (struct written){ .central = central, .offset = w->out->len - w->start - w->base, .copied = copied,
			       .name = slice_sub(central, ZIP_CENTRAL_BYTES, ZIP_CENTRAL_BYTES + zip_u16(central.ptr + ZIP_CENTRAL_NAME_BYTES)) };
	*w->last = e;
	w->last = &e->next;
	if (++w->count > ZIP_ENTRIES_MAX)
		errmsg_say(&w->why, -E2BIG, "a zip file of more than %d entries", ZIP_ENTRIES_MAX);
}

void zip_copy(struct zip_writer *w, const struct zip_entry *e)
{
	if (!sound(w))
		return;
	note(w, e->central, true);
	buf_add(w->out, e->local);
}

/* An extra field without its zip64 block: our numbers fit 32 bits. */
static void add_extra(struct buf *out, struct slice extra)
{
	struct slice content;
	bool bad = false;
	uint16_t id;

	for (const uint8_t *begin = extra.ptr; zip_extra_next(&extra, &id, &content, &bad); begin = extra.ptr)
		if (id != ZIP_EXTRA_ZIP64)
			buf_add(out, slice_of(begin, (size_t)(extra.ptr - begin)));
	buf_add(out, extra);
}

/* Both headers of an entry are those of its origin but for these. */
static void put(struct zip_writer *w, struct slice local, struct slice local_extra, struct slice central, struct slice packed, uint16_t method, uint64_t size,
		uint32_t crc32)
{
	AUTO_BUF struct buf extra = BUF_INIT(ZIP_MAX16), record = BUF_INIT(1u << 18);
	size_t name_bytes = zip_u16(central.ptr + ZIP_CENTRAL_NAME_BYTES), extra_bytes = zip_u16(central.ptr + ZIP_CENTRAL_EXTRA_BYTES);
	uint8_t head[ZIP_LOCAL_BYTES], *c;

	if (packed.len >= ZIP_MAX32 || size > ZIP_ENTRY_BYTES_MAX) {
		errmsg_say(&w->why, -E2BIG, "an entry of %llu bytes, above %d", (unsigned long long)size, ZIP_ENTRY_BYTES_MAX);
		return;
	}
	uint16_t flags = (uint16_t)(zip_u16(central.ptr + ZIP_CENTRAL_FLAGS) & ~(ZIP_FLAG_LEVEL | ZIP_FLAG_DESCRIPTOR));
	buf_add(&record, slice_head(central, ZIP_CENTRAL_BYTES + name_bytes));
	add_extra(&record, slice_sub(central, ZIP_CENTRAL_BYTES + name_bytes, ZIP_CENTRAL_BYTES + name_bytes + extra_bytes));
	size_t new_extra = record.len - ZIP_CENTRAL_BYTES - name_bytes;
	buf_add(&record, slice_from(central, ZIP_CENTRAL_BYTES + name_bytes + extra_bytes));
	add_extra(&extra, local_extra);
	if (record.err != 0 || extra.err != 0) {
		no_memory(w);
		return;
	}
	c = record.ptr;
	zip_put16(c + ZIP_CENTRAL_FLAGS, flags);
	zip_put16(c + ZIP_CENTRAL_METHOD, method);
	zip_put32(c + ZIP_CENTRAL_CRC, crc32);
	zip_put32(c + ZIP_CENTRAL_PACKED, (uint32_t)packed.len);
	zip_put32(c + ZIP_CENTRAL_SIZE, (uint32_t)size);
	zip_put16(c + ZIP_CENTRAL_EXTRA_BYTES, (uint16_t)new_extra);
	note(w, arena_dup(w->arena, buf_slice(&record)), false);
	memcpy(head, local.ptr, sizeof(head));
	zip_put16(head + ZIP_LOCAL_FLAGS, flags);
	zip_put16(head + ZIP_LOCAL_METHOD, method);
	zip_put32(head + ZIP_LOCAL_CRC, crc32);
	zip_put32(head + ZIP_LOCAL_PACKED, (uint32_t)packed.len);
	zip_put32(head + ZIP_LOCAL_SIZE, (uint32_t)size);
	zip_put16(head + ZIP_LOCAL_EXTRA_BYTES, (uint16_t)extra.len);
	buf_add(w->out, slice_of(head, sizeof(head)));
	buf_add(w->out, slice_sub(central, ZIP_CENTRAL_BYTES, ZIP_CENTRAL_BYTES + name_bytes));
	buf_add(w->out, buf_slice(&extra));
	buf_add(w->out, packed);
}

void zip_replace_packed(struct zip_writer *w, const struct zip_entry *e, struct slice packed, uint16_t method, uint64_t size, uint32_t crc32)
{
	if (!sound(w))
		return;
	size_t name_end = ZIP_LOCAL_BYTES + e->name.len;
	put(w, e->local, slice_sub(e->local, name_end, name_end + zip_u16(e->local.ptr + ZIP_LOCAL_EXTRA_BYTES)), e->central, packed, method, size, crc32);
}

/* Deflated into *room at this level, or the content itself when that is not larger. */
static struct slice deflate(struct zip_writer *w, struct buf *room, struct slice content, int level, uint16_t *method)
{
	*method = ZIP_STORED;
	if (level <= 0 || content.len == 0)
		return content;
	if (w->compressor == NULL || w->level != level) {
		zip_writer_done(w);
		w->compressor = libdeflate_alloc_compressor(MIN(level, 12));
		w->level = level;
	}
	uint8_t *to = w->compressor == NULL ? NULL : buf_room(room, content.len);
	if (to == NULL) {
		no_memory(w);
		return content;
	}
	/* 0: it would need more room than the content has. */
	size_t bytes = libdeflate_deflate_compress(w->compressor, content.ptr, content.len, to, content.len - 1);
	if (bytes == 0)
		return content;
	*method = ZIP_DEFLATED;
	return slice_of(to, bytes);
}

void zip_replace(struct zip_writer *w, const struct zip_entry *e, struct slice content, int level)
{
	AUTO_BUF struct buf room = BUF_INIT(ZIP_ENTRY_BYTES_MAX);
	uint16_t method;

	if (!sound(w))
		return;
	struct slice packed = deflate(w, &room, content, level, &method);
	zip_replace_packed(w, e, packed, method, content.len, libdeflate_crc32(0, content.ptr, content.len));
}

void zip_add(struct zip_writer *w, struct slice name, struct slice content, int level)
{
	AUTO_BUF struct buf room = BUF_INIT(ZIP_ENTRY_BYTES_MAX), central = BUF_INIT(1u << 17);
	uint8_t local[ZIP_LOCAL_BYTES] = { 0 }, head[ZIP_CENTRAL_BYTES] = { 0 };
	uint16_t method;
	const char *fault = zip_name_fault(name);

	if (!sound(w))
		return;
	if (fault != NULL) {
		errmsg_say(&w->why, -EINVAL, "a zip entry '%s': its name %s", SHOWN(name), fault);
		return;
	}
	zip_put32(local, ZIP_LOCAL_SIGNATURE);
	local[4] = 20;				/* version 2.0: deflated, directories */
	local[ZIP_LOCAL_TIME + 2] = 0x21;	/* the first day of 1980 */
	zip_put16(local + ZIP_LOCAL_NAME_BYTES, (uint16_t)name.len);
	zip_put32(head, ZIP_CENTRAL_SIGNATURE);
	head[ZIP_CENTRAL_MADE_BY] = head[ZIP_CENTRAL_NEEDED] = 20;
	zip_put16(head + ZIP_CENTRAL_FLAGS, ZIP_FLAG_UTF8);
	head[ZIP_CENTRAL_TIME + 2] = 0x21;
	zip_put16(head + ZIP_CENTRAL_NAME_BYTES, (uint16_t)name.len);
	buf_add(&central, slice_of(head, sizeof(head)));
	buf_add(&central, name);
	struct slice packed = deflate(w, &room, content, level, &method);
	if (central.err != 0)
		no_memory(w);
	if (w->why.code == 0)
		put(w, slice_of(local, sizeof(local)), SLICE(""), buf_slice(&central), packed, method, content.len,
		    libdeflate_crc32(0, content.ptr, content.len));
}

/* The offset in a record that was copied: 4 bytes, or 8 in its zip64 block when those are all ones. */
static void set_offset(struct zip_writer *w, uint8_t *record, const struct written *e)
{
	size_t name = zip_u16(record + ZIP_CENTRAL_NAME_BYTES), extra_bytes = zip_u16(record + ZIP_CENTRAL_EXTRA_BYTES);
	struct slice extra = slice_of(record + ZIP_CENTRAL_BYTES + name, extra_bytes), content;
	bool bad = false;
	uint16_t id;

	if (zip_u32(record + ZIP_CENTRAL_OFFSET) == ZIP_MAX32 && e->copied) {
		size_t at = (zip_u32(record + ZIP_CENTRAL_SIZE) == ZIP_MAX32 ? 8u : 0u) + (zip_u32(record + ZIP_CENTRAL_PACKED) == ZIP_MAX32 ? 8u : 0u);
		while (zip_extra_next(&extra, &id, &content, &bad))
			if (id == ZIP_EXTRA_ZIP64 && content.len >= at + 8) {
				zip_put64(record + (content.ptr - record) + at, e->offset);
				return;
			}
	}
	if (e->offset >= ZIP_MAX32)
		errmsg_say(&w->why, -E2BIG, "a zip file of more than %lld bytes", (long long)ZIP_BYTES_MAX);
	zip_put32(record + ZIP_CENTRAL_OFFSET, (uint32_t)e->offset);
}

static int by_name(const void *a, const void *b)
{
	return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

static void check_names(struct zip_writer *w)
{
	struct slice *names = arena_array(w->arena, w->count, sizeof(*names));
	uint32_t count = 0;

	if (names == NULL) {
		no_memory(w);
		return;
	}
	for (const struct written *e = w->first; e != NULL; e = e->next)
		names[count++] = e->name;
	qsort(names, count, sizeof(*names), by_name);
	for (uint32_t i = 1; i < count; i++)
		if (slice_eq(names[i], names[i - 1])) {
			errmsg_say(&w->why, -EINVAL, "two zip entries '%s' were written", SHOWN(names[i]));
			return;
		}
}

static void put_end(struct zip_writer *w, uint64_t at, uint64_t bytes, struct slice comment)
{
	uint8_t big[ZIP_END64_BYTES + ZIP_LOCATOR_BYTES] = { 0 }, end[ZIP_END_BYTES] = { 0 };
	uint8_t *locator = big + ZIP_END64_BYTES;
	uint16_t count = (uint16_t)MIN(w->count, ZIP_MAX16);

	if (w->count >= ZIP_MAX16) {
		zip_put32(big, ZIP_END64_SIGNATURE);
		zip_put64(big + ZIP_END64_LENGTH, ZIP_END64_BYTES - 12);
		big[12] = big[14] = 45;		/* version 4.5: zip64 */
		zip_put64(big + ZIP_END64_COUNT_HERE, w->count);
		zip_put64(big + ZIP_END64_COUNT, w->count);
		zip_put64(big + ZIP_END64_DIRECTORY_BYTES, bytes);
		zip_put64(big + ZIP_END64_OFFSET, at);
		zip_put32(locator, ZIP_LOCATOR_SIGNATURE);
		zip_put64(locator + ZIP_LOCATOR_OFFSET, at + bytes);
		zip_put32(locator + ZIP_LOCATOR_DISKS, 1);
		buf_add(w->out, slice_of(big, sizeof(big)));
	}
	zip_put32(end, ZIP_END_SIGNATURE);
	zip_put16(end + ZIP_END_COUNT_HERE, count);
	zip_put16(end + ZIP_END_COUNT, count);
	zip_put32(end + ZIP_END_DIRECTORY_BYTES, (uint32_t)bytes);
	zip_put32(end + ZIP_END_OFFSET, (uint32_t)at);
	zip_put16(end + ZIP_END_COMMENT_BYTES, (uint16_t)comment.len);
	buf_add(w->out, slice_of(end, sizeof(end)));
	buf_add(w->out, comment);
}

int zip_finish(struct zip_writer *w, struct slice comment, struct errmsg *why)
{
	static const uint8_t end_signature[] = { 'P', 'K', 5, 6 };

	if (sound(w) && (comment.len > ZIP_MAX16 || slice_find(comment, slice_of(end_signature, 4)) != SLICE_NPOS))
		errmsg_say(&w->why, -EINVAL, "a zip file's comment of %zu bytes: longer than 65,535, or with the signature of an end in it", comment.len);
	if (sound(w))
		check_names(w);
	if (sound(w)) {
		size_t at = w->out->len;
		for (const struct written *e = w->first; e != NULL && sound(w); e = e->next) {
			buf_add(w->out, e->central);
			if (sound(w))
				set_offset(w, w->out->ptr + w->out->len - e->central.len, e);
		}
		uint64_t bytes = w->out->len - at;
		if (sound(w) && w->out->len - w->start > (uint64_t)ZIP_BYTES_MAX - ZIP_MAX16 - 200)
			errmsg_say(&w->why, -E2BIG, "a zip file of more than %lld bytes", (long long)ZIP_BYTES_MAX);
		if (sound(w))
			put_end(w, at - w->start - w->base, bytes, comment);
	}
	zip_writer_done(w);
	if (!sound(w)) {
		if (why != NULL)
			*why = w->why;
		return w->why.code;
	}
	return 0;
}
