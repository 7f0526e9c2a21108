/*
 * JDK images for `prickle dvm inspect`: their resources, or the classes that were asked for.
 */
#include "cli/cli.h"
#include "cli/dvm_inspect.h"
#include "dvm/container/jimage.h"

static bool is_class(const struct jimage_resource *r)
{
	return slice_eq(r->extension, SLICE("class"));
}

static int image_one(struct dvm_inspection *in, const struct jimage *image, const struct jimage_resource *r, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(INSPECT_ARENA_BYTES);
	AUTO_BUF struct buf path = BUF_INIT(1u << 20);
	struct slice bytes;
	int err = 0;

	jimage_path(&path, r);
	/* "/module/a/b/C.class": the class's name is behind the module. */
	struct slice class = slice_from(buf_slice(&path), r->module.len + 2);
	if (!is_class(r) || !dvm_inspect_wanted(in, slice_head(class, class.len - strlen(".class"))))
		return 0;
	err = jimage_read(&arena, image, r, &bytes, why);
	if (err == 0)
		err = dvm_inspect_class(in, buf_slice(&path), bytes, why);
	return err == 0 ? 0 : dvm_inspect_in_entry(why, err, buf_slice(&path));
}

static int image_row(struct dvm_inspection *in, const struct jimage_resource *r, bool first, struct errmsg *why)
{
	AUTO_BUF struct buf path = BUF_INIT(1u << 20);

	jimage_path(&path, r);
	return dvm_inspect_list_entry(in, buf_slice(&path), r->size, r->packed_size == 0 ? r->size : r->packed_size, first, why);
}

int dvm_inspect_image(struct dvm_inspection *in, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(INSPECT_ARENA_BYTES);
	AUTO_BUF struct buf version = BUF_INIT(64);
	uint32_t classes = 0;
	struct jimage image;
	int err = jimage_open(&arena, in->bytes, &image, why);

	if (err != 0)
		return err;
	for (uint32_t i = 0; i < image.count; i++)
		classes += is_class(&image.resources[i]);
	buf_printf(&version, "%u.%u, %s-endian", image.major, image.minor, image.big_endian ? "big" : "little");
	dvm_inspect_counts(in, image.count, classes, "version", buf_slice(&version));
	err = dvm_inspect_list_begin(in, why);
	for (uint32_t i = 0; i < image.count && err == 0; i++)
		err = in->wanted != NULL ? image_one(in, &image, &image.resources[i], why) : image_row(in, &image.resources[i], i == 0, why);
	return err == 0 ? dvm_inspect_list_end(in, why) : err;
}
