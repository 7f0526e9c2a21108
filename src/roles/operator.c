#include "roles/operator.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"

void operator_socket_path(const char *control_socket, char out[OPERATOR_PATH_BYTES])
{
	if (snprintf(out, OPERATOR_PATH_BYTES, "%s.store", control_socket) >= (int)OPERATOR_PATH_BYTES)
		out[0] = '\0';
}

int operator_accept(int listener)
{
	AUTO_FD int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
		return -errno;
	if (peer.uid != 0 && peer.uid != geteuid())
		return -EACCES;
	return TAKE_FD(fd);
}

int operator_connect(const char *control_socket, struct errmsg *why)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	AUTO_FD int fd = -1;

	operator_socket_path(control_socket, addr.sun_path);
	if (addr.sun_path[0] == '\0')
		return errmsg_set(why, -ENAMETOOLONG, "connect to the store beside %s", control_socket);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0)
		return errmsg_set(why, -errno, "connect to the store at %s", addr.sun_path);
	return TAKE_FD(fd);
}
