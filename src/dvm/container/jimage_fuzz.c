/*
 * An image from anybody: opened, every resource looked for and read; then written again without its first resource and with a new one, and what was
 * written must be sound.
 */
#include <stdlib.h>

#include "base/must.h"
#include "dvm/container/jimage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(struct arena *arena, const struct jimage *image)
{
	for (uint32_t i = 0; i < image->count; i++) {
		AUTO_BUF struct buf path = BUF_INIT(8192);
		struct slice content;
		struct errmsg why;
		jimage_path(&path, &image->resources[i]);
		must(jimage_find(image, buf_slice(&path)) == &image->resources[i]);
		(void)jimage_read(arena, image, &image->resources[i], &content, &why);
		(void)jimage_is_class(&image->resources[i]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(16u << 20);
	AUTO_BUF struct buf out = BUF_INIT(16u << 20);
	struct jimage image, again;
	struct errmsg why;

	if (jimage_open(&arena, slice_of(data, size), &image, &why) != 0)
		return 0;
	read_all(&arena, &image);
	struct jimage_change changes[3] = { { .name = { .module = SLICE("m"), .parent = SLICE("p/new"), .base = SLICE("N"), .extension = SLICE("class") },
					      .content = SLICE("new") } };
	size_t count = 1;
	for (uint32_t i = 0; i < image.count && count < ARRAY_LEN(changes); i++)
		if (!jimage_is_directory(&image.resources[i])) {
			changes[count] = (struct jimage_change){ &image.resources[i], .content = count == 1 ? (struct slice){ 0 } : SLICE("other") };
			count++;
		}
	for (size_t first = 0; first < 2; first++) {
		buf_reset(&out);
		if (jimage_write(&arena, &image, changes + first, count - first, &out, &why) != 0)
			continue;
		must(jimage_open(&arena, buf_slice(&out), &again, &why) == 0 || arena.err != 0);
		if (arena.err == 0)
			read_all(&arena, &again);
	}
	return 0;
}
