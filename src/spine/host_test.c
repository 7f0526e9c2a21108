/* Directories that only we can have made: others may write to the one above. */
#include "spine/host.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/test.h"

START_TEST(a_directory_that_others_made_or_may_write_to_is_refused)
{
	char path[] = "/tmp/host_test.XXXXXX";

	ck_assert_ptr_nonnull(mkdtemp(path));
	AUTO_FD int above = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(host_own_directory(above, "a", false), -ENOENT);
	int fd = host_own_directory(above, "a", true);
	ck_assert_int_ge(fd, 0);
	close(fd);
	fd = host_own_directory(above, "a", true);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fchmod(fd, 0770), 0);
	ck_assert_int_eq(host_own_directory(above, "a", true), -EUCLEAN);
	ck_assert_int_eq(fchmod(fd, 0700), 0);
	ck_assert_int_eq(symlinkat("a", above, "b"), 0);
	ck_assert_int_eq(host_own_directory(above, "b", true), -EUCLEAN);
	if (geteuid() == 0) {
		ck_assert_int_eq(fchown(fd, 65534, 65534), 0);
		ck_assert_int_eq(host_own_directory(above, "a", true), -EUCLEAN);
	}
	close(fd);
	ck_assert_int_eq(unlinkat(above, "b", 0), 0);
	ck_assert_int_eq(unlinkat(above, "a", AT_REMOVEDIR), 0);
	ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

TEST_MAIN("spine/host", a_directory_that_others_made_or_may_write_to_is_refused)
