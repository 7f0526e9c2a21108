/*
 * Sending IP packets as they are: raw sockets that take whole headers. The kernel finds the way, as for a packet of the host's own,
 * so no forwarding has to be switched on.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "nat64/run_private.h"

#ifndef IPV6_HDRINCL
#define IPV6_HDRINCL 36
#endif
#define SEND_BUFFER (4 << 20)

union address {
	struct sockaddr any;
	struct sockaddr_in four;
	struct sockaddr_in6 six;
};

static int one(int family, int *out, struct errmsg *why)
{
	int on = 1, bytes = SEND_BUFFER;
	AUTO_FD int fd = socket(family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW);

	if (fd < 0)
		return errmsg_set(why, -errno, "open a raw socket for IPv%d", family == AF_INET ? 4 : 6);
	/* IPv4's has it by its protocol. */
	if (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_HDRINCL, &on, sizeof(on)) != 0)
		return errmsg_set(why, -errno, "let a raw socket take IPv6 headers");
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
	*out = TAKE_FD(fd);
	return 0;
}

static int way(int family, int *out, struct errmsg *why)
{
	*out = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return *out >= 0 ? 0 : errmsg_set(why, -errno, "open a socket that finds routes of IPv%d", family == AF_INET ? 4 : 6);
}

int raw_open(struct raw *r, struct errmsg *why)
{
	int err;

	*r = RAW_CLOSED;
	err = one(AF_INET, &r->fd4, why);
	if (err == 0)
		err = one(AF_INET6, &r->fd6, why);
	if (err == 0)
		err = way(AF_INET, &r->ways4, why);
	if (err == 0)
		err = way(AF_INET6, &r->ways6, why);
	if (err != 0)
		raw_close(r);
	return err;
}

void raw_close(struct raw *r)
{
	int fds[] = { r->fd4, r->fd6, r->ways4, r->ways6 };

	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	*r = RAW_CLOSED;
}

static socklen_t fill(union address *a, unsigned family, const void *dst)
{
	memset(a, 0, sizeof(*a));
	if (family == 4) {
		a->four.sin_family = AF_INET;
		memcpy(&a->four.sin_addr, dst, 4);
		return sizeof(a->four);
	}
	a->six.sin6_family = AF_INET6;
	memcpy(&a->six.sin6_addr, dst, 16);
	return sizeof(a->six);
}

int raw_send(struct raw *r, unsigned family, struct slice packet, uint32_t mark, uint32_t *mtu)
{
	size_t header = family == 4 ? sizeof(struct iphdr) : sizeof(struct ip6_hdr);
	union { struct cmsghdr head; uint8_t bytes[CMSG_SPACE(sizeof(uint32_t))]; } control = { 0 };
	struct iovec part = { .iov_base = (void *)(uintptr_t)packet.ptr, .iov_len = packet.len };
	union address to;
	struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1, .msg_name = &to.any };
	__be32 dst[4] = { 0 };

	if (packet.len < header)
		return -EINVAL;
	memcpy(dst, packet.ptr + (family == 4 ? 16 : 24), family == 4 ? 4 : 16);
	m.msg_namelen = fill(&to, family, dst);
	if (mark != 0) {
		m.msg_control = &control;
		m.msg_controllen = sizeof(control.bytes);
		control.head = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(mark)), .cmsg_level = SOL_SOCKET, .cmsg_type = SO_MARK };
		memcpy(CMSG_DATA(&control.head), &mark, sizeof(mark));
	}
	if (sendmsg(family == 4 ? r->fd4 : r->fd6, &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 0;
	int err = -errno;
	if (err == -EMSGSIZE)
		*mtu = raw_mtu(r, family, dst);
	return err;
}

uint32_t raw_mtu(struct raw *r, unsigned family, const __be32 addr[4])
{
	static const struct sockaddr nobody = { .sa_family = AF_UNSPEC };
	int s = family == 4 ? r->ways4 : r->ways6, mtu = 0;
	union address to;
	socklen_t len = fill(&to, family, addr), size = sizeof(mtu);
	bool known;

	/* Connecting a datagram socket sends nothing; it finds the route. The port is "discard". */
	if (family == 4)
		to.four.sin_port = htobe16(9);
	else
		to.six.sin6_port = htobe16(9);
	known = connect(s, &to.any, len) == 0 &&
		getsockopt(s, family == 4 ? IPPROTO_IP : IPPROTO_IPV6, family == 4 ? IP_MTU : IPV6_MTU, &mtu, &size) == 0 && mtu > 0;
	/* At once: it would keep the source address, which the next route may not have, and its port would take datagrams. */
	(void)connect(s, &nobody, sizeof(nobody));
	return known ? (uint32_t)mtu : 0;
}
