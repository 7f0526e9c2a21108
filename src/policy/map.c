/* The table in a process that was given it. Of its own, since who decides needs nothing else of the store. */
#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "policy/store.h"

int policy_table_map(struct policy_table *out, int fd, struct errmsg *why)
{
	const char *what = "";
	struct stat st;
	void *image;

	if (fstat(fd, &st) != 0)
		return errmsg_set(why, -errno, "table of the policy");
	if (st.st_size < (off_t)sizeof(struct policy_head))
		return errmsg_say(why, -EBADMSG, "table of the policy: too short to be one");
	image = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (image == MAP_FAILED)
		return errmsg_set(why, -errno, "table of the policy: map it");
	if (policy_table_init(out, image, (size_t)st.st_size, &what) != 0) {
		munmap(image, (size_t)st.st_size);
		return errmsg_say(why, -EBADMSG, "table of the policy: %s", what);
	}
	return 0;
}
