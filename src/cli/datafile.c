#include "cli/datafile.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool cli_data_file(const char *built, const char *installed, char path[PATH_MAX])
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n > 0) {
		self[n] = '\0';
		slash = strrchr(self, '/');
		if (slash != NULL && snprintf(path, PATH_MAX, "%.*s/%s", (int)(slash - self), self, built) < PATH_MAX &&
		    access(path, R_OK) == 0)
			return true;
	}
	(void)snprintf(path, PATH_MAX, "%s/%s", PRICKLE_LIBDIR, installed);
	return access(path, R_OK) == 0;
}
