/*
 * Jars for `prickle dvm inspect`: their entries, or the classes that were asked for.
 */
#include "cli/cli.h"
#include "cli/dvm_inspect.h"
#include "dvm/container/zip.h"

static bool class_of(struct slice name, struct slice *class)
{
	if (!slice_ends(name, SLICE(".class")))
		return false;
	*class = slice_head(name, name.len - strlen(".class"));
	/* Versions of a class in a multi-release jar go by its name, too. */
	if (slice_starts(*class, SLICE("META-INF/versions/"))) {
		struct slice version;
		(void)slice_cut(slice_from(*class, strlen("META-INF/versions/")), '/', &version, class);
	}
	return true;
}

static int jar_classes(struct dvm_inspection *in, const struct zip *z, struct errmsg *why)
{
	int err = 0;

	for (uint32_t i = 0; i < z->count && err == 0; i++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(INSPECT_ARENA_BYTES);
		struct slice class, bytes;

		if (!class_of(z->entries[i].name, &class) || !dvm_inspect_wanted(in, class))
			continue;
		err = zip_read(&arena, z, &z->entries[i], &bytes, why);
		if (err == 0)
			err = dvm_inspect_class(in, z->entries[i].name, bytes, why);
		if (err != 0)
			err = dvm_inspect_in_entry(why, err, z->entries[i].name);
	}
	return err;
}

int dvm_inspect_jar(struct dvm_inspection *in, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(INSPECT_ARENA_BYTES);
	struct slice class;
	uint32_t classes = 0;
	struct zip z;
	/* A jmod is a zip behind four bytes. */
	struct slice bytes = slice_starts(in->bytes, SLICE("JM\1")) ? slice_from(in->bytes, 4) : in->bytes;
	int err = zip_open(&arena, bytes, &z, why);

	if (err != 0)
		return err;
	for (uint32_t i = 0; i < z.count; i++)
		classes += class_of(z.entries[i].name, &class);
	dvm_inspect_counts(in, z.count, classes, "comment", z.comment);
	err = dvm_inspect_list_begin(in, why);
	if (err == 0 && in->wanted != NULL)
		err = jar_classes(in, &z, why);
	for (uint32_t i = 0; i < z.count && err == 0 && in->wanted == NULL; i++)
		err = dvm_inspect_list_entry(in, z.entries[i].name, z.entries[i].size, z.entries[i].packed_size, i == 0, why);
	return err == 0 ? dvm_inspect_list_end(in, why) : err;
}
