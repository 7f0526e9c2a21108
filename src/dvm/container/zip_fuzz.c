/*
 * A zip file from anybody: walked for classes, with jars within it; opened, every entry found and read; then written again, one entry copied, one replaced, a new one added, and what was written
 * must be sound.
 */
#include <stdlib.h>

#include "base/must.h"
#include "dvm/container/walk.h"
#include "dvm/container/zip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(struct arena *arena, const struct zip *z)
{
	struct errmsg why;
	struct slice content;

	for (uint32_t i = 0; i < z->count; i++) {
		const struct zip_entry *e = &z->entries[i];
		must(zip_find(z, e->name) == e);
		if (e->size < 1u << 20 && zip_read(arena, z, e, &content, &why) == 0)
			must(content.len == e->size);
	}
}

static void write_again(struct arena *arena, const struct zip *z, bool copy)
{
	AUTO_BUF struct buf out = BUF_INIT(16u << 20);
	struct zip_writer *w = zip_writer_new(arena, &out, z->prefix, copy ? z->base : 0);
	struct errmsg why;
	struct zip again;

	if (w == NULL)
		return;
	for (uint32_t i = 0; i < z->count; i++)
		if (copy || i % 2 == 0)
			zip_copy(w, &z->entries[i]);
		else
			zip_replace(w, &z->entries[i], z->bytes, (int)i % 4);
	if (!copy)
		zip_add(w, SLICE("new/entry"), SLICE("new new new new new new new new new"), 6);
	if (zip_finish(w, z->comment, &why) != 0)
		return;
	int err = zip_open(arena, buf_slice(&out), &again, &why);
	/* Replaced entries that are directories have content, which is not sound; a prefix may look like an entry once it begins the file. */
	must(err == 0 || !copy || arena->err != 0);
	if (err == 0)
		read_all(arena, &again);
}

static int visit(void *user, const struct class_found *found)
{
	must(found->path.len >= found->name.len);
	return 0;
}

static void refused(void *user, struct slice path, int err, const char *text)
{
	must(err < 0 && text[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct class_walk walk = { .visit = visit, .refused = refused, .bytes_left = 1u << 20 };
	AUTO_ARENA struct arena arena = ARENA_INIT(32u << 20);
	struct errmsg why;
	struct zip z;

	(void)class_walk(slice_of(data, size), &walk, &why);
	if (zip_open(&arena, slice_of(data, size), &z, &why) != 0)
		return 0;
	read_all(&arena, &z);
	write_again(&arena, &z, true);
	write_again(&arena, &z, false);
	return 0;
}
