#include "sys/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"

static bool parse_path(const char *path, struct sockaddr_storage *out, socklen_t *len)
{
	struct sockaddr_un *un = (struct sockaddr_un *)out;
	size_t n = strlen(path);

	if (n >= sizeof(un->sun_path))
		return false;
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, n + 1);
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
	return true;
}

bool listen_parse(const char *address, struct sockaddr_storage *out, socklen_t *len, bool *both)
{
	struct slice all = slice_str(address), host, port;
	struct sockaddr_in *in4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
	char host_text[INET6_ADDRSTRLEN];
	size_t colon = slice_rfind_byte(all, ':');
	uint64_t number;

	memset(out, 0, sizeof(*out));
	*both = false;
	if (*address == '/')
		return parse_path(address, out, len);
	if (colon == SLICE_NPOS)
		return false;
	host = slice_head(all, colon);
	port = slice_from(all, colon + 1);
	if (!slice_u64(port, 65535, &number) || number == 0)
		return false;
	if (host.len >= 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']') {
		if (!slice_to_str(slice_sub(host, 1, host.len - 1), host_text, sizeof(host_text)) ||
		    inet_pton(AF_INET6, host_text, &in6->sin6_addr) != 1)
			return false;
	} else if (slice_eq(host, SLICE("*"))) {
		*both = true;
	} else {
		if (!slice_to_str(host, host_text, sizeof(host_text)) ||
		    inet_pton(AF_INET, host_text, &in4->sin_addr) != 1)
			return false;
		in4->sin_family = AF_INET;
		in4->sin_port = htons((uint16_t)number);
		*len = sizeof(*in4);
		return true;
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons((uint16_t)number);
	*len = sizeof(*in6);
	return true;
}

/* A socket file that nobody listens on is left over from a crash. */
static int remove_dead(const char *path, int type, const struct sockaddr *addr, socklen_t len)
{
	/* Non-blocking: somebody may listen there and never accept. */
	AUTO_FD int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	if (lstat(path, &st) != 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	if (fd < 0)
		return -errno;
	if (connect(fd, addr, len) == 0 || errno != ECONNREFUSED)
		return -EADDRINUSE;
	return unlink(path) == 0 ? 0 : -errno;
}

static int finish_unix(const char *path, mode_t mode, uid_t owner)
{
	/* The directory is ours alone, so nobody can swap the name between bind and here. */
	if (chmod(path, mode) != 0)
		return -errno;
	if (owner != (uid_t)-1 && chown(path, owner, (gid_t)owner) != 0)
		return -errno;
	return 0;
}

/* The errors that operators meet, with what to do about them. */
static int refused(struct errmsg *why, int err, const char *address, sa_family_t family)
{
	if (err == -EADDRINUSE && family == AF_UNIX)
		return errmsg_say(why, err, "listen on %s: another program listens there, perhaps another node; stop it, or "
				  "choose another path", address);
	if (err == -EADDRINUSE)
		return errmsg_say(why, err, "listen on %s: another program listens there ('ss -ltnp' shows which); stop it, "
				  "or choose another address", address);
	if (err == -EACCES && family != AF_UNIX)
		return errmsg_say(why, err, "listen on %s: only root may use this port; start as root, or choose a port above "
				  "1023", address);
	if (err == -EADDRNOTAVAIL)
		return errmsg_say(why, err, "listen on %s: this machine does not have this address ('ip address' shows those "
				  "that it has)", address);
	if (err == -EEXIST)
		return errmsg_say(why, err, "listen on %s: there is a file of this name that is not a socket; remove it, or "
				  "choose another path", address);
	return errmsg_set(why, err, "listen on %s", address);
}

static int open_type(const char *address, int type, mode_t mode, uid_t owner, int *out, struct errmsg *why)
{
	struct sockaddr_storage addr;
	struct sockaddr *sa = (struct sockaddr *)&addr;
	socklen_t len;
	bool both;
	int one = 1, v6only, err = 0;
	AUTO_FD int fd = -1;

	if (!listen_parse(address, &addr, &len, &both))
		return errmsg_say(why, -EINVAL, "'%s' is not an address to listen on: write 192.0.2.1:25, [2001:db8::1]:25, *:25 or /path",
				  address);
	v6only = !both;
	fd = socket(addr.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 && errno == EAFNOSUPPORT && both) {
		/* A kernel without IPv6: "*" is then all of IPv4. */
		struct sockaddr_in in4 = { .sin_family = AF_INET,
					   .sin_port = ((struct sockaddr_in6 *)&addr)->sin6_port };
		memcpy(&addr, &in4, sizeof(in4));
		len = sizeof(in4);
		fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	}
	if (fd < 0)
		return errmsg_set(why, -errno, "listen on %s", address);
	if (addr.ss_family == AF_UNIX)
		err = remove_dead(address, type, sa, len);
	else if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0)
		err = -errno;
	if (err == 0 && addr.ss_family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only)) != 0)
		err = -errno;
	if (err == 0 && bind(fd, sa, len) != 0)
		err = -errno;
	if (err == 0 && addr.ss_family == AF_UNIX)
		err = finish_unix(address, mode, owner);
	if (err == 0 && listen(fd, LISTEN_BACKLOG) != 0)
		err = -errno;
	if (err != 0)
		return refused(why, err, address, addr.ss_family);
	*out = TAKE_FD(fd);
	return 0;
}

int listen_open(const char *address, mode_t mode, uid_t owner, int *out, struct errmsg *why)
{
	return open_type(address, SOCK_STREAM, mode, owner, out, why);
}

int listen_open_packets(const char *path, mode_t mode, uid_t owner, int *out, struct errmsg *why)
{
	return open_type(path, SOCK_SEQPACKET, mode, owner, out, why);
}

static bool same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET) {
		const struct sockaddr_in *x = (const void *)a, *y = (const void *)b;
		return x->sin_port == y->sin_port && x->sin_addr.s_addr == y->sin_addr.s_addr;
	}
	if (a->ss_family == AF_INET6) {
		const struct sockaddr_in6 *x = (const void *)a, *y = (const void *)b;
		return x->sin6_port == y->sin6_port &&
		       memcmp(&x->sin6_addr, &y->sin6_addr, sizeof(x->sin6_addr)) == 0;
	}
	return strcmp(((const struct sockaddr_un *)a)->sun_path,
		      ((const struct sockaddr_un *)b)->sun_path) == 0;
}

int listen_inherited(const char *address, int end)
{
	struct sockaddr_storage want;
	socklen_t len;
	bool both;

	if (!listen_parse(address, &want, &len, &both))
		return -1;
	for (int fd = 3; fd < end; fd++) {
		struct sockaddr_storage have = { 0 };
		socklen_t have_len = sizeof(have);
		int listening = 0, flags;
		socklen_t opt_len = sizeof(listening);

		if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &opt_len) != 0 || listening == 0 ||
		    getsockname(fd, (struct sockaddr *)&have, &have_len) != 0 ||
		    !same_address(&want, &have))
			continue;
		flags = fcntl(fd, F_GETFL);
		if (flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0)
			return fd;
	}
	return -1;
}
