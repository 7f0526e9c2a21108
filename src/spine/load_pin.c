/* Pins of a loaded extension: what outlives us. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "spine/load_private.h"
#include "spine/pins.h"

static int pin(int dir, const char *file, int fd, struct errmsg *why)
{
	int err = pin_set(dir, file, fd);

	return err == 0 ? 0 : errmsg_set(why, err, "pin '%s'", file);
}

static int pin_channel(int dir, const char *what, size_t channel, int fd, struct errmsg *why)
{
	char file[32];

	if (fd < 0)
		return 0;
	snprintf(file, sizeof(file), "%s-%zu", what, channel);
	return pin(dir, file, fd, why);
}

int loaded_pin(const struct loaded *l, int dir, struct errmsg *why)
{
	if (mkdirat(dir, "maps", 0700) != 0 && errno != EEXIST)
		return errmsg_set(why, -errno, "make the directory of an extension's maps");
	AUTO_FD int maps = openat(dir, "maps", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (maps < 0)
		return errmsg_set(why, -errno, "open the directory of an extension's maps");
	int err = pin(dir, "prog", l->entry_fd, why);
	/* Ports that the policy gives back need it once more. */
	if (err == 0 && l->egress_fd >= 0)
		err = pin(dir, "egress", l->egress_fd, why);
	for (size_t i = 0; i < l->map_count && err == 0; i++) {
		char file[LOAD_MAP_FILE_BYTES];
		load_map_file(file, l->maps[i].name, l->maps[i].channel);
		err = pin(maps, file, l->maps[i].fd, why);
	}
	for (size_t i = 0; i < l->channel_count && err == 0; i++) {
		err = pin_channel(dir, "call", i, l->call_fd[i], why);
		if (err == 0)
			err = pin_channel(dir, "drain", i, l->drain_fd[i], why);
	}
	return err;
}
