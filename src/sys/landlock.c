#include "sys/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

struct ruleset_attr {
	uint64_t fs, net, scoped;
};
struct path_rule {
	uint64_t allowed;
	int32_t fd;
} __attribute__((packed));
struct port_rule {
	uint64_t allowed, port;
};

#define RULE_PATH	  1
#define RULE_PORT	  2
#define FS_EXECUTE	  (1ull << 0)
#define FS_WRITE_FILE	  (1ull << 1)
#define FS_READ_FILE	  (1ull << 2)
#define FS_READ_DIR	  (1ull << 3)
#define FS_REMOVE_DIR	  (1ull << 4)
#define FS_REMOVE_FILE	  (1ull << 5)
#define FS_MAKE_DIR	  (1ull << 7)
#define FS_MAKE_REG	  (1ull << 8)
#define FS_MAKE_SOCK	  (1ull << 9)
#define FS_MAKE_FIFO	  (1ull << 10)
#define FS_MAKE_SYM	  (1ull << 12)
#define FS_ALL_1	  ((1ull << 13) - 1)
#define FS_REFER	  (1ull << 13)	/* ABI 2 */
#define FS_TRUNCATE	  (1ull << 14)	/* ABI 3 */
#define FS_IOCTL_DEV	  (1ull << 15)	/* ABI 5 */
#define NET_BIND	  1ull		/* ABI 4 */
#define NET_CONNECT	  2ull
#define SCOPE_ALL	  3ull		/* ABI 6: abstract unix sockets, signals */

static const struct {
	uint32_t right;
	uint64_t directory, file;	/* what of it makes sense for each */
} rights[] = {
	{ LANDLOCK_READ, FS_READ_FILE | FS_READ_DIR, FS_READ_FILE },
	{ LANDLOCK_WRITE, FS_WRITE_FILE | FS_TRUNCATE | FS_IOCTL_DEV, FS_WRITE_FILE | FS_TRUNCATE | FS_IOCTL_DEV },
	{ LANDLOCK_CREATE, FS_MAKE_DIR | FS_MAKE_REG | FS_MAKE_SOCK | FS_MAKE_FIFO | FS_MAKE_SYM | FS_REFER, 0 },
	{ LANDLOCK_DELETE, FS_REMOVE_DIR | FS_REMOVE_FILE | FS_REFER, 0 },
	{ LANDLOCK_EXECUTE, FS_EXECUTE, FS_EXECUTE },
};

int landlock_abi(void)
{
	long abi = syscall(__NR_landlock_create_ruleset, NULL, (size_t)0, 1u);

	return abi < 0 ? 0 : (int)abi;
}

static int allow_path(int ruleset, const struct landlock_path *p, uint64_t handled, struct errmsg *why)
{
	AUTO_FD int fd = open(p->path, O_PATH | O_CLOEXEC);
	struct path_rule rule = { .fd = fd };
	struct stat st;

	if (fd < 0)
		return errno == ENOENT ? 0 : errmsg_set(why, -errno, "Landlock rule for '%s'", p->path);
	if (fstat(fd, &st) != 0)
		return errmsg_set(why, -errno, "Landlock rule for '%s'", p->path);
	for (size_t i = 0; i < ARRAY_LEN(rights); i++)
		if ((p->rights & rights[i].right) != 0)
			rule.allowed |= S_ISDIR(st.st_mode) ? rights[i].directory : rights[i].file;
	rule.allowed &= handled;
	/* A rule that allows nothing is refused by the kernel, and not needed. */
	if (rule.allowed != 0 && syscall(__NR_landlock_add_rule, ruleset, RULE_PATH, &rule, 0u) != 0)
		return errmsg_set(why, -errno, "Landlock rule for '%s'", p->path);
	return 0;
}

static int allow_port(int ruleset, const struct landlock_port *p, uint64_t handled, struct errmsg *why)
{
	struct port_rule rule = {
		.allowed = ((p->connect ? NET_CONNECT : 0) | (p->listen ? NET_BIND : 0)) & handled,
		.port = p->port,
	};

	if (rule.allowed != 0 && syscall(__NR_landlock_add_rule, ruleset, RULE_PORT, &rule, 0u) != 0)
		return errmsg_set(why, -errno, "Landlock rule for port %u", p->port);
	return 0;
}

int landlock_restrict(const struct landlock_rules *r, struct errmsg *why)
{
	int abi = landlock_abi(), err = 0;
	struct ruleset_attr attr = {
		.fs = FS_ALL_1 | (abi >= 2 ? FS_REFER : 0) | (abi >= 3 ? FS_TRUNCATE : 0) | (abi >= 5 ? FS_IOCTL_DEV : 0),
		.net = abi < 4 ? 0 : (r->any_listen ? 0 : NET_BIND) | (r->any_connect ? 0 : NET_CONNECT),
		.scoped = abi >= 6 ? SCOPE_ALL : 0,
	};
	size_t size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
	AUTO_FD int ruleset = abi == 0 ? -1 : (int)syscall(__NR_landlock_create_ruleset, &attr, size, 0u);

	if (abi == 0)
		return errmsg_say(why, -EOPNOTSUPP, "this kernel has no Landlock");
	if (ruleset < 0)
		return errmsg_set(why, -errno, "Landlock rules");
	for (size_t i = 0; err == 0 && i < r->path_count; i++)
		err = allow_path(ruleset, &r->paths[i], attr.fs, why);
	for (size_t i = 0; err == 0 && attr.net != 0 && i < r->port_count; i++)
		err = allow_port(ruleset, &r->ports[i], attr.net, why);
	if (err == 0 && syscall(__NR_landlock_restrict_self, ruleset, 0u) != 0)
		err = errmsg_set(why, -errno, "Landlock rules");
	return err;
}
