#include "policy/floor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/test.h"
#include "sys/landlock.h"

static const struct floor *floor_of(struct arena *arena, const char *text)
{
	AUTO_BUF struct buf errors = BUF_INIT(1 << 20);
	const struct policy *p;
	const struct analysis *a;
	const struct floor *f;
	struct errmsg why;

	ck_assert_msg(policy_parse(arena, "t", slice_str(text), NULL, NULL, &p, &errors) == 0, "%s", buf_cstr(&errors));
	ck_assert_int_eq(analysis_new(arena, p, &a), 0);
	ck_assert_msg(policy_floor(arena, a, policy_subject_find(p, SLICE("app")), &f, &why) == 0, "%s", why.text);
	return f;
}

static uint32_t rights_at(const struct floor *f, const char *path)
{
	for (size_t i = 0; i < f->path_count; i++)
		if (strcmp(f->paths[i].path, path) == 0)
			return f->paths[i].rights;
	return 0;
}

static void make_tree(char root[32])
{
	char path[64];

	strcpy(root, "/tmp/prickle-floor.XXXXXX");	/* NOLINT */
	ck_assert_ptr_nonnull(mkdtemp(root));
	for (size_t i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", root, (const char *const[]){ "open", "secret", "data" }[i]);
		ck_assert_int_eq(mkdir(path, 0755), 0);
	}
	snprintf(path, sizeof(path), "%s/link", root);
	ck_assert_int_eq(symlink("secret", path), 0);
}

static void remove_tree(const char *root)
{
	static const char *const names[] = { "link", "open/f", "open", "secret", "data/f", "data", "" };
	char path[64];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", root, names[i]);
		if (unlink(path) != 0)
			(void)rmdir(path);
	}
}

START_TEST(a_part_with_fewer_rights_is_not_open_with_the_rest)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	char root[32], text[512], open_path[64], secret[64], link[64];
	const struct floor *f;

	make_tree(root);
	snprintf(text, sizeof(text), "domain app = program label file all = tree \"%s\" label file secret = tree \"%s/secret\" allow app read, write all", root,
		 root);
	f = floor_of(&arena, text);
	remove_tree(root);
	snprintf(open_path, sizeof(open_path), "%s/open", root);
	snprintf(secret, sizeof(secret), "%s/secret", root);
	snprintf(link, sizeof(link), "%s/link", root);
	ck_assert_uint_eq(rights_at(f, root), 0);
	ck_assert_uint_eq(rights_at(f, open_path), POLICY_FILE_READ | POLICY_FILE_WRITE);
	ck_assert_uint_eq(rights_at(f, secret), 0);
	/* It leads to the secret. */
	ck_assert_uint_eq(rights_at(f, link), 0);
	ck_assert_uint_gt(f->gap_count, 0);
}
END_TEST

START_TEST(a_label_at_a_link_opens_no_more_than_the_label_where_it_leads)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	char root[32], text[512], secret[64], link[64];
	const struct floor *f;

	make_tree(root);
	snprintf(secret, sizeof(secret), "%s/secret", root);
	snprintf(link, sizeof(link), "%s/link", root);
	snprintf(text, sizeof(text), "domain app = program label file way = tree \"%s\" allow app read, write way", link);
	f = floor_of(&arena, text);
	ck_assert_uint_eq(f->path_count, 0);
	ck_assert_uint_eq(f->gap_count, 1);
	snprintf(text, sizeof(text), "domain app = program label file way = tree \"%s\" label file secret = tree \"%s\" "
				     "allow app read, write way allow app read secret", link, secret);
	f = floor_of(&arena, text);
	remove_tree(root);
	ck_assert_uint_eq(rights_at(f, link), 0);
	ck_assert_uint_eq(rights_at(f, secret), POLICY_FILE_READ);
}
END_TEST

START_TEST(a_part_with_more_rights_has_them_beside_the_rest)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	const struct floor *f = floor_of(&arena, "domain app = program label file all = tree \"/srv\" label file data = tree \"/srv/data\" "
						 "allow app read all allow app read, write data");

	ck_assert_uint_eq(rights_at(f, "/srv"), POLICY_FILE_READ);
	ck_assert_uint_eq(rights_at(f, "/srv/data"), POLICY_FILE_READ | POLICY_FILE_WRITE);
	ck_assert_uint_eq(f->gap_count, 0);
}
END_TEST

START_TEST(what_a_kernel_cannot_hold_is_said)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	const struct floor *f = floor_of(&arena, "domain app = program label endpoint db = host \"db\" port 5432 label endpoint ns = host any port 53 "
						 "allow app connect db allow app send ns allow app thread, bpf kernel");

	ck_assert_uint_eq(f->port_count, 1);
	ck_assert_uint_eq(f->ports[0].port, 5432);
	ck_assert(f->ports[0].connect && !f->ports[0].listen && f->datagrams);
	ck_assert_uint_eq(f->gap_count, 2);
	ck_assert_uint_eq(f->kernel, POLICY_KERNEL_THREAD | POLICY_KERNEL_BPF);
	ck_assert_uint_eq(f->capabilities, policy_floor_capabilities(POLICY_KERNEL_BPF));
}
END_TEST

/* In a child under the floor: a bit for each thing that worked. */
enum { READ_DATA = 1, READ_SECRET = 2, WRITE_DATA = 4, MAKE_IN_DATA = 8, FORKED = 16, DATAGRAM = 32, CONNECT_OTHER_PORT = 64 };

static int tried(const char *root)
{
	struct sockaddr_in there = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int did = 0, fd;
	pid_t child;

	if (chdir(root) != 0)
		return 255;
	did |= open("data", O_RDONLY | O_CLOEXEC) >= 0 ? READ_DATA : 0;
	did |= open("secret", O_RDONLY | O_CLOEXEC) >= 0 ? READ_SECRET : 0;
	did |= open("data/f", O_WRONLY | O_CLOEXEC) >= 0 ? WRITE_DATA : 0;
	did |= open("data/g", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) >= 0 ? MAKE_IN_DATA : 0;
	child = fork();
	if (child == 0)
		_exit(0);
	did |= child > 0 ? FORKED : 0;
	did |= socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) >= 0 ? DATAGRAM : 0;
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* Landlock answers EACCES; a port where nobody listens ECONNREFUSED. */
	did |= fd >= 0 && (connect(fd, (struct sockaddr *)&there, sizeof(there)) == 0 || errno == ECONNREFUSED) ? CONNECT_OTHER_PORT : 0;
	return did;
}

START_TEST(a_process_under_a_floor_can_do_what_the_policy_says_and_no_more)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	char root[32], text[512], file[64];
	const struct floor *f;
	int status, fd;
	pid_t child;

	if (landlock_abi() < 4)
		return;
	make_tree(root);
	snprintf(file, sizeof(file), "%s/data/f", root);
	fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	close(fd);
	snprintf(text, sizeof(text), "domain app = program label file data = tree \"%s/data\" label endpoint web = host any port 80 "
				     "allow app read, write data allow app connect web allow app socket kernel", root);
	f = floor_of(&arena, text);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		struct errmsg why;
		_exit(policy_floor_apply(f, false, &why) != 0 ? 254 : tried(root));
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	remove_tree(root);
	ck_assert_msg(WIFEXITED(status), "status %x", status);
	ck_assert_int_eq(WEXITSTATUS(status), READ_DATA | WRITE_DATA);
}
END_TEST

/* What Landlock does not see: a bit for each that worked. */
enum { UNIX_SOCKET = 1, PAIR_OF_DATAGRAMS = 2, LISTENS = 4, FAST_OPEN = 8, CHANGES_MODE = 16, TYPES_FOR_OTHERS = 32, NO_PAIR = 64, NO_STREAM = 128 };

static int tried_past_landlock(const char *file)
{
	struct sockaddr_in there = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int did = 0, pair[2], fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	did |= fd < 0 ? NO_STREAM : 0;
	did |= socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0 ? UNIX_SOCKET : 0;
	did |= socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair) == 0 ? PAIR_OF_DATAGRAMS : 0;
	did |= socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0 ? 0 : NO_PAIR;
	did |= sendto(fd, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, (struct sockaddr *)&there, sizeof(there)) >= 0 || errno != EPERM ? FAST_OPEN : 0;
	did |= listen(fd, 1) == 0 ? LISTENS : 0;
	did |= chmod(file, 0777) == 0 ? CHANGES_MODE : 0;
	did |= syscall(SYS_ioctl, -1, TIOCSTI | 1ul << 32, "x") == 0 || errno != EPERM ? TYPES_FOR_OTHERS : 0;
	return did;
}

START_TEST(what_landlock_does_not_see_is_refused)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	char file[] = "/tmp/prickle-floor.XXXXXX";
	int status, fd = mkstemp(file);
	const struct floor *f;
	pid_t child;

	if (landlock_abi() < 4)
		return;
	ck_assert_int_ge(fd, 0);
	close(fd);
	f = floor_of(&arena, "domain app = program label file all = tree \"/\" label endpoint web = host any port 80 "
			     "allow app read all allow app connect web allow app socket kernel");
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		struct errmsg why;
		_exit(policy_floor_apply(f, false, &why) != 0 ? 255 : tried_past_landlock(file));
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	unlink(file);
	ck_assert_msg(WIFEXITED(status), "status %x", status);
	ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

TEST_MAIN("policy/floor", a_label_at_a_link_opens_no_more_than_the_label_where_it_leads, a_part_with_fewer_rights_is_not_open_with_the_rest, a_part_with_more_rights_has_them_beside_the_rest,
	  what_a_kernel_cannot_hold_is_said, a_process_under_a_floor_can_do_what_the_policy_says_and_no_more,
	  what_landlock_does_not_see_is_refused)
