#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/test.h"
#include "sys/listen.h"

static const struct {
	const char *text;
	bool ok;
	int family;
	bool both;
} addresses[] = {
	{ "127.0.0.1:25", true, AF_INET, false },   { "[::1]:25", true, AF_INET6, false },
	{ "[::]:65535", true, AF_INET6, false },    { "*:25", true, AF_INET6, true },
	{ "/run/x.sock", true, AF_UNIX, false },    { "127.0.0.1", false, 0, false },
	{ "127.0.0.1:0", false, 0, false },	    { "127.0.0.1:65536", false, 0, false },
	{ "::1:25", false, 0, false },		    { "[::1]", false, 0, false },
	{ "localhost:25", false, 0, false },	    { "", false, 0, false },
	{ "[127.0.0.1]:25", false, 0, false },	    { "127.0.0.1:+25", false, 0, false },
};

START_TEST(addresses_are_read_as_they_are_written)
{
	for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
		struct sockaddr_storage addr;
		socklen_t len;
		bool both, ok = listen_parse(addresses[i].text, &addr, &len, &both);

		ck_assert_msg(ok == addresses[i].ok, "%s", addresses[i].text);
		if (ok)
			ck_assert_msg(addr.ss_family == addresses[i].family && both == addresses[i].both, "%s",
				      addresses[i].text);
	}
}
END_TEST

START_TEST(a_path_that_just_fits_is_taken_and_one_byte_more_is_not)
{
	char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
	struct sockaddr_storage addr;
	socklen_t len;
	bool both;

	memset(path, 'a', sizeof(path));
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	ck_assert(!listen_parse(path, &addr, &len, &both));
	path[sizeof(path) - 2] = '\0';
	ck_assert(listen_parse(path, &addr, &len, &both));
}
END_TEST

START_TEST(a_dead_socket_file_is_replaced_and_a_live_one_is_not)
{
	char dir[] = "/tmp/prickle-listen.XXXXXX", path[64];
	struct errmsg why;
	struct stat st;
	int first = -1, second = -1;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/sock", dir);
	ck_assert_int_eq(listen_open(path, 0600, (uid_t)-1, &first, &why), 0);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	ck_assert_int_eq(listen_open(path, 0600, (uid_t)-1, &second, &why), -EADDRINUSE);
	close(first);
	ck_assert_int_eq(listen_open(path, 0600, (uid_t)-1, &second, &why), 0);
	close(second);
	unlink(path);
	rmdir(dir);
}
END_TEST

START_TEST(a_file_that_is_no_socket_is_left_alone)
{
	char path[] = "/tmp/prickle-listen.XXXXXX";
	AUTO_FD int file = mkstemp(path);
	struct errmsg why;
	int fd;

	ck_assert_int_ge(file, 0);
	ck_assert_int_eq(listen_open(path, 0600, (uid_t)-1, &fd, &why), -EEXIST);
	ck_assert_int_eq(access(path, F_OK), 0);
	unlink(path);
}
END_TEST

START_TEST(an_inherited_socket_is_found_by_its_address)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(any);
	AUTO_FD int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char text[40];

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&any, sizeof(any)), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&any, &len), 0);
	snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(any.sin_port));
	ck_assert_int_eq(listen_inherited(text, fd + 1), -1);	/* does not listen yet */
	ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert_int_eq(listen_inherited(text, fd + 1), fd);
	ck_assert_int_eq(listen_inherited(text, fd), -1);
	ck_assert_int_eq(listen_inherited("127.0.0.2:1", fd + 1), -1);
}
END_TEST

TEST_MAIN("sys/listen", addresses_are_read_as_they_are_written,
	  a_path_that_just_fits_is_taken_and_one_byte_more_is_not,
	  a_dead_socket_file_is_replaced_and_a_live_one_is_not, a_file_that_is_no_socket_is_left_alone,
	  an_inherited_socket_is_found_by_its_address)
