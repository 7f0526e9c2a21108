#include <errno.h>

#include "base/must.h"
#include "dvm/container/container_limits.h"
#include "dvm/container/jimage_format.h"
#include "dvm/container/jimage_edit.h"
#include "dvm/container/jimage_hash.h"

/* Where each thing of the new image is. */
struct layout {
	const struct jimage_edit *e;
	const uint8_t *redirects;	/* 4 * length bytes, in the image's order */
	const uint32_t *slots;		/* item + 1, or 0 */
	uint32_t length, live;
	uint64_t locations_bytes, content_bytes, lists_bytes;
	struct slice *pieces;
	size_t piece_count;
};

static int out_of_memory(struct errmsg *why)
{
	return errmsg_set(why, -ENOMEM, "a new run-time image");
}

static int make_table(struct layout *l, struct errmsg *why)
{
	const struct jimage_edit *e = l->e;
	struct jimage_hash hash;

	if (!e->renamed) {
		l->redirects = e->image->redirects.ptr;
		l->slots = e->image->slots;
		l->length = e->image->table_length;
		return 0;
	}
	struct slice *names = arena_array(e->arena, l->live, sizeof(*names));
	uint32_t *items = arena_array(e->arena, l->live, sizeof(*items)), count = 0;
	AUTO_BUF struct buf path = BUF_INIT(JIMAGE_PATH_BYTES_MAX);
	if (names == NULL || items == NULL)
		return out_of_memory(why);
	for (uint32_t i = 0; i < e->count; i++) {
		if (e->items[i].gone)
			continue;
		buf_reset(&path);
		jimage_path(&path, &e->items[i].name);
		items[count] = i;
		names[count++] = arena_dup(e->arena, buf_slice(&path));
	}
	if (path.err != 0 || e->arena->err != 0)
		return out_of_memory(why);
	int err = jimage_hash_build(e->arena, names, count, &hash);
	if (err != 0)
		return errmsg_set(why, err, "the table of %u names of a new run-time image", count);
	uint8_t *redirects = arena_array(e->arena, hash.length, 4);
	uint32_t *slots = arena_array(e->arena, hash.length, sizeof(*slots));
	if (redirects == NULL || slots == NULL)
		return out_of_memory(why);
	for (uint32_t i = 0; i < hash.length; i++) {
		jimage_put_u32(e->image, redirects + 4 * (size_t)i, (uint32_t)hash.redirects[i]);
		slots[i] = hash.slots[i] == 0 ? 0 : items[hash.slots[i] - 1] + 1;
	}
	l->redirects = redirects;
	l->slots = slots;
	l->length = hash.length;
	return 0;
}

/* The attribute stream of an item, as jlink writes it: kinds in order, without those that are 0. Returns its bytes; out NULL only counts. */
static uint32_t attributes(const struct jimage_item *item, uint8_t *out)
{
	const uint64_t values[] = { item->name.strings[JIMAGE_MODULE], item->name.strings[JIMAGE_PARENT], item->name.strings[JIMAGE_BASE],
				    item->name.strings[JIMAGE_EXTENSION], item->offset, item->packed_size, item->size };
	uint32_t at = 0;

	for (uint32_t kind = 0; kind < ARRAY_LEN(values); kind++) {
		if (values[kind] == 0)
			continue;
		uint32_t last = (63u - (uint32_t)__builtin_clzll(values[kind])) / 8;
		if (out != NULL)
			out[at] = (uint8_t)((kind + 1) << 3 | last);
		for (uint32_t i = 0; i <= last; i++)
			if (out != NULL)
				out[at + 1 + i] = (uint8_t)(values[kind] >> 8 * (last - i));
		at += 2 + last;
	}
	if (out != NULL)
		out[at] = 0;
	return at + 1;
}

/* Offsets of contents in the order of the items, of locations in the order of the slots. */
static void place(struct layout *l)
{
	const struct jimage_edit *e = l->e;

	for (uint32_t i = 0; i < e->count; i++) {
		struct jimage_item *item = &e->items[i];
		if (item->gone)
			continue;
		if (item->listed) {
			item->size = 4 * (uint64_t)item->list_count;
			item->packed_size = 0;
			l->lists_bytes += item->size;
		} else if (jimage_is_directory(&item->name) && item->changed) {
			item->size = item->content.len;
			item->packed_size = 0;
		}
		item->offset = l->content_bytes;
		l->content_bytes += item->packed_size != 0 ? item->packed_size : item->size;
	}
	/* Location 0 is the empty one. */
	l->locations_bytes = 1;
	for (uint32_t i = 0; i < l->length; i++) {
		if (l->slots[i] == 0)
			continue;
		struct jimage_item *item = &e->items[l->slots[i] - 1];
		item->location = (uint32_t)l->locations_bytes;
		l->locations_bytes += attributes(item, NULL);
	}
	/* jlink's own way to align: 3 bytes to one that is aligned. */
	l->locations_bytes += (l->locations_bytes - 1) & 3;
}

static void add_piece(struct layout *l, struct slice s)
{
	struct slice *last = l->piece_count == 0 ? NULL : &l->pieces[l->piece_count - 1];

	if (s.len == 0)
		return;
	if (last != NULL && last->ptr + last->len == s.ptr)
		last->len += s.len;
	else
		l->pieces[l->piece_count++] = s;
}

static int write_index(struct layout *l, struct slice strings, struct errmsg *why)
{
	const struct jimage *image = l->e->image;
	size_t table = 4 * (size_t)l->length, bytes = JIMAGE_HEADER_BYTES + 2 * table + l->locations_bytes;
	uint8_t *index = arena_alloc(l->e->arena, bytes);

	if (index == NULL)
		return out_of_memory(why);
	memcpy(index, image->bytes.ptr, JIMAGE_HEADER_BYTES);
	jimage_put_u32(image, index + 12, l->live);
	jimage_put_u32(image, index + 16, l->length);
	jimage_put_u32(image, index + 20, (uint32_t)l->locations_bytes);
	jimage_put_u32(image, index + 24, (uint32_t)(image->strings.len + strings.len));
	memcpy(index + JIMAGE_HEADER_BYTES, l->redirects, table);
	uint8_t *offsets = index + JIMAGE_HEADER_BYTES + table, *locations = offsets + table;
	for (uint32_t i = 0; i < l->length; i++) {
		const struct jimage_item *item = l->slots[i] == 0 ? NULL : &l->e->items[l->slots[i] - 1];
		jimage_put_u32(image, offsets + 4 * (size_t)i, item == NULL ? 0 : item->location);
		if (item != NULL)
			attributes(item, locations + item->location);
	}
	add_piece(l, slice_of(index, bytes));
	add_piece(l, image->strings);
	add_piece(l, strings);
	return 0;
}

/* jlink ends an image with a list that no name leads to, of the root's directories: kept, and mended when it is that. */
static struct slice tail(struct layout *l)
{
	const struct jimage *image = l->e->image;
	const struct jimage_resource *last = image->count == 0 ? NULL : &image->resources[image->count - 1];
	uint64_t end = last == NULL ? 0 : last->offset + jimage_stored(image, last).len;
	struct slice old = slice_from(image->bytes, image->resources_at + end);

	if (old.len % 4 != 0 || old.len > 16)
		return old;
	uint8_t *new = arena_alloc(l->e->arena, old.len);
	for (size_t i = 0; new != NULL && i < old.len; i += 4) {
		const struct jimage_item *item = jimage_edit_at(l->e, jimage_u32(image, old.ptr + i));
		if (item == NULL || item->gone)
			return old;
		jimage_put_u32(image, new + i, item->location);
	}
	return new == NULL ? old : slice_of(new, old.len);
}

static int write_contents(struct layout *l, struct errmsg *why)
{
	const struct jimage_edit *e = l->e;
	uint8_t *list = arena_alloc(e->arena, l->lists_bytes);

	if (list == NULL)
		return out_of_memory(why);
	for (uint32_t i = 0; i < e->count; i++) {
		const struct jimage_item *item = &e->items[i];
		if (item->gone)
			continue;
		if (!item->listed) {
			add_piece(l, item->content);
			continue;
		}
		uint8_t *begin = list;
		for (uint32_t j = 0; j < item->list_count; j++, list += 4)
			jimage_put_u32(e->image, list, e->items[item->list[j]].location);
		add_piece(l, slice_of(begin, (size_t)(list - begin)));
	}
	add_piece(l, tail(l));
	return e->arena->err != 0 ? out_of_memory(why) : 0;
}

static int lay_out(struct jimage_edit *e, struct jimage_plan *out, struct errmsg *why)
{
	struct layout l = { .e = e };

	for (uint32_t i = 0; i < e->count; i++)
		l.live += e->items[i].gone ? 0 : 1;
	int err = make_table(&l, why);
	if (err != 0)
		return err;
	place(&l);
	l.pieces = arena_array(e->arena, (size_t)l.live + 4, sizeof(*l.pieces));
	size_t added = e->strings.len;
	/* Numbers of directories are read 4 bytes at a time. */
	if (added > 0)
		buf_fill(&e->strings, 0, -(e->image->strings.len + added + l.locations_bytes) & 3);
	struct slice strings = added == 0 ? SLICE("") : arena_dup(e->arena, buf_slice(&e->strings));
	if (l.pieces == NULL || e->strings.err != 0 || e->arena->err != 0)
		return out_of_memory(why);
	if (l.content_bytes + l.locations_bytes + 8 * (uint64_t)l.length + e->image->strings.len + strings.len > JIMAGE_BYTES_MAX)
		return errmsg_say(why, -E2BIG, "the new run-time image would have above %d bytes", JIMAGE_BYTES_MAX);
	err = write_index(&l, strings, why);
	if (err == 0)
		err = write_contents(&l, why);
	if (err != 0)
		return err;
	*out = (struct jimage_plan){ .pieces = l.pieces, .count = l.piece_count };
	for (size_t i = 0; i < l.piece_count; i++)
		out->bytes += l.pieces[i].len;
	return 0;
}

int jimage_plan(struct arena *arena, const struct jimage *image, const struct jimage_change *changes, size_t count, struct jimage_plan *out, struct errmsg *why)
{
	struct jimage_edit e = { 0 };
	int err = jimage_edit_open(arena, image, changes, count, &e, why);

	for (size_t i = 0; err == 0 && i < count; i++)
		err = jimage_edit_change(&e, &changes[i], why);
	if (err == 0)
		err = jimage_edit_prune(&e, why);
	if (err == 0)
		err = lay_out(&e, out, why);
	jimage_edit_done(&e);
	return err;
}

int jimage_write(struct arena *arena, const struct jimage *image, const struct jimage_change *changes, size_t count, struct buf *out, struct errmsg *why)
{
	struct jimage_plan plan;
	int err = jimage_plan(arena, image, changes, count, &plan, why);

	for (size_t i = 0; err == 0 && i < plan.count; i++)
		buf_add(out, plan.pieces[i]);
	return err != 0 ? err : out->err;
}
