#include <string.h>

#include "cli/spine_object.h"
#include "cli/spine_tool.h"

int spine_object_read(struct cli *cli, struct arena *arena, const char *path, const struct object **out)
{
	struct slice bytes;

	return tool_object(cli, arena, path, &bytes, out);
}

const struct object_handler *spine_object_handler(const struct object *o, const char *name)
{
	uint64_t number = 0;
	bool by_number = slice_u64(slice_str(name), UINT16_MAX, &number);

	for (size_t i = 0; i < o->handler_count; i++) {
		const struct object_handler *h = &o->handlers[i];

		if (by_number ? h->id == number : strcmp(h->name, name) == 0)
			return h;
	}
	return NULL;
}
