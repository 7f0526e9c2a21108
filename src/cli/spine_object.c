#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/spine_object.h"

#define OBJECT_FILE_BYTES_MAX (16u << 20)	/* the largest that clang makes of a full program is one */

static int read_all(int fd, uint8_t *to, size_t bytes)
{
	size_t have = 0;

	while (have < bytes) {
		ssize_t n = read(fd, to + have, bytes - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		have += (size_t)n;
	}
	return 0;
}

int spine_object_read(struct cli *cli, struct arena *arena, const char *path, const struct object **out)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct errmsg why;
	struct stat st;
	uint8_t *bytes;
	int err;

	if (fd < 0 || fstat(fd, &st) < 0)
		return cli_fail(cli, CLI_NOT_FOUND, "%s: %s", path, strerrordesc_np(errno));
	if (!S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > (off_t)OBJECT_FILE_BYTES_MAX)
		return cli_fail(cli, CLI_FAILED, "%s: not a file of 1 byte to 16 MiB", path);
	bytes = arena_alloc(arena, (size_t)st.st_size);
	err = bytes == NULL ? -ENOMEM : read_all(fd, bytes, (size_t)st.st_size);
	if (err < 0)
		return cli_fail(cli, CLI_FAILED, "%s: %s", path, strerrordesc_np(-err));
	if (object_parse(arena, slice_of(bytes, (size_t)st.st_size), out, &why) < 0)
		return cli_fail(cli, CLI_FAILED, "%s: %s", path, why.text);
	return CLI_OK;
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
