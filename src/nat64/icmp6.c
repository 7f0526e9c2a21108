/* Raw ICMPv6 sockets: icmp6.h. */
#include "nat64/icmp6.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"

int icmp6_open(uint8_t type, struct errmsg *why)
{
	static const int on = 1, off = 0, hops = 255;
	struct icmp6_filter filter;
	AUTO_FD int fd = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMPV6);

	ICMP6_FILTER_SETBLOCKALL(&filter);
	ICMP6_FILTER_SETPASS(type, &filter);
	if (fd < 0 || setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof(filter)) != 0 ||
	    setsockopt(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &on, sizeof(on)) != 0 ||
	    setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)) != 0 ||
	    setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof(hops)) != 0 ||
	    setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, &off, sizeof(off)) != 0)
		return errmsg_set(why, -errno, "raw ICMPv6 socket");
	return TAKE_FD(fd);
}

int icmp6_receive(int fd, uint8_t *room, size_t bytes, struct icmp6_message *out)
{
	_Alignas(8) uint8_t control[256];
	struct sockaddr_in6 from = { 0 };
	struct iovec iov = { room, bytes };
	struct msghdr m = {
		.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT);
	int hop_limit = 0;

	if (n < 0)
		return -errno;
	if ((m.msg_flags & MSG_TRUNC) != 0)
		return -EMSGSIZE;
	*out = (struct icmp6_message){ .bytes = slice_of(room, (size_t)n) };
	memcpy(out->source, &from.sin6_addr, 16);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c != NULL; c = CMSG_NXTHDR(&m, c)) {
		struct in6_pktinfo info;

		if (c->cmsg_level != IPPROTO_IPV6)
			continue;
		if (c->cmsg_type == IPV6_HOPLIMIT)
			memcpy(&hop_limit, CMSG_DATA(c), sizeof(hop_limit));
		if (c->cmsg_type == IPV6_PKTINFO) {
			memcpy(&info, CMSG_DATA(c), sizeof(info));
			out->ifindex = info.ipi6_ifindex;
		}
	}
	out->hop_limit = (unsigned)hop_limit;
	return 0;
}

int icmp6_send(int fd, uint32_t ifindex, uint8_t last, struct slice message)
{
	struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_scope_id = ifindex };

	to.sin6_addr.s6_addr[0] = 0xff;
	to.sin6_addr.s6_addr[1] = 2;
	to.sin6_addr.s6_addr[15] = last;
	return sendto(fd, message.ptr, message.len, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof(to)) < 0 ? -errno : 0;
}
