/* Router advertisements with PREF64, byte for byte; and both ends together in a network namespace of our own (root; else they skip). */
#include "nat64/announce.h"

#include "base/test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>

#include "base/cleanup.h"
#include "nat64/host.h"
#include "nat64/learn.h"
#include "nat64/netlink.h"
#include "nat64/pref64.h"

static struct xlat_prefix well_known(void)
{
	struct xlat_prefix p;
	uint8_t addr[16];

	ck_assert_int_eq(inet_pton(AF_INET6, "64:ff9b::", addr), 1);
	ck_assert(pref64_prefix_make(addr, 96, &p));
	return p;
}

START_TEST(rfc8781_4_an_advertisement_byte_for_byte)
{
	static const uint8_t mac[6] = { 2, 3, 4, 5, 6, 7 };
	struct announce_one one = { .lifetime_s = 1800, .preference = 1 };
	struct xlat_prefix p = well_known();
	AUTO_BUF struct buf m = BUF_INIT(512), router = BUF_INIT(512), last = BUF_INIT(512);

	/* Not a default router, so no preference either (RFC 4191 2.2). */
	announce_write(&m, &one, &p, 1, mac, false);
	ck_assert_slice_eq(buf_slice(&m), SLICE("\x86\0\0\0\0\x00\0\0\0\0\0\0\0\0\0\0"
						"\x01\x01\x02\x03\x04\x05\x06\x07"
						"\x26\x02\x07\x08\x00\x64\xff\x9b\0\0\0\0\0\0\0\0"));
	one.router_lifetime_s = 1800;
	announce_write(&router, &one, &p, 1, NULL, false);
	ck_assert_slice_eq(buf_slice(&router), SLICE("\x86\0\0\0\0\x08\x07\x08\0\0\0\0\0\0\0\0"
						     "\x26\x02\x07\x08\x00\x64\xff\x9b\0\0\0\0\0\0\0\0"));
	/* RFC 4861 6.2.5, RFC 8781 4: taken back. */
	announce_write(&last, &one, &p, 1, NULL, true);
	ck_assert_slice_eq(buf_slice(&last), SLICE("\x86\0\0\0\0\x00\0\0\0\0\0\0\0\0\0\0"
						   "\x26\x02\x00\x00\x00\x64\xff\x9b\0\0\0\0\0\0\0\0"));
}
END_TEST

START_TEST(rfc4861_6_1_1_solicitations_are_checked)
{
	static const uint8_t host[16] = { 0xfe, 0x80, [15] = 9 }, nobody[16] = { 0 };
	struct slice bare = SLICE("\x85\0\x12\x34\0\0\0\0"), with = SLICE("\x85\0\x12\x34\0\0\0\0\x01\x01\x02\x03\x04\x05\x06\x07");

	ck_assert(announce_is_solicitation(bare, host, 255));
	ck_assert(announce_is_solicitation(bare, nobody, 255));
	ck_assert(announce_is_solicitation(with, host, 255));
	ck_assert(!announce_is_solicitation(with, nobody, 255));
	ck_assert(!announce_is_solicitation(bare, host, 254));
	for (size_t cut = 0; cut < with.len; cut++)
		ck_assert(announce_is_solicitation(slice_head(with, cut), host, 255) == (cut == 8));
	ck_assert(!announce_is_solicitation(SLICE("\x85\x01\x12\x34\0\0\0\0"), host, 255));
	ck_assert(!announce_is_solicitation(SLICE("\x86\0\x12\x34\0\0\0\0"), host, 255));
	ck_assert(!announce_is_solicitation(SLICE("\x85\0\x12\x34\0\0\0\0\x01\x00\x02\x03\x04\x05\x06\x07"), host, 255));
}
END_TEST

START_TEST(resolv_conf_names_servers)
{
	struct sockaddr_storage s[3];
	struct slice text = SLICE("# nameserver 192.0.2.9\nsearch example.org\nnameserver 192.0.2.1\n\tnameserver\t2001:db8::53 \n"
				  "nameserver nonsense\nnameservers 192.0.2.7\nnameserver");

	ck_assert_uint_eq(learn_servers(text, s, 3), 2);
	ck_assert_int_eq(s[0].ss_family, AF_INET);
	ck_assert_int_eq(s[1].ss_family, AF_INET6);
	ck_assert_uint_eq(((struct sockaddr_in6 *)&s[1])->sin6_port, htons(53));
	ck_assert_uint_eq(learn_servers(text, s, 1), 1);
	ck_assert_uint_eq(learn_servers((struct slice){ 0 }, s, 3), 0);
}
END_TEST

struct heard { struct xlat_prefix prefix; unsigned times; };

static void hear(void *arg, const struct xlat_prefix *prefix)
{
	struct heard *h = arg;

	h->prefix = *prefix;
	h->times++;
}

/* Rounds of the loop until it was told so often; at most some seconds. */
static void until(struct loop *loop, const struct heard *h, unsigned times)
{
	for (int i = 0; i < 1000 && h->times < times; i++)
		loop_run_once(loop, 10);
	ck_assert_uint_eq(h->times, times);
}

static void address(const char *interface, const char *text)
{
	struct ifaddrmsg a = { .ifa_family = AF_INET6, .ifa_prefixlen = 64, .ifa_flags = IFA_F_NODAD, .ifa_scope = RT_SCOPE_LINK, .ifa_index = if_nametoindex(interface) };
	struct errmsg why = { 0 };
	struct netlink_message m;
	uint8_t addr[16];
	AUTO_FD int fd = netlink_open(&why);

	ck_assert_int_eq(inet_pton(AF_INET6, text, addr), 1);
	netlink_begin(&m, RTM_NEWADDR, NLM_F_CREATE, &a, sizeof(a));
	netlink_put(&m, IFA_LOCAL, addr, 16);
	ck_assert_msg(netlink_do(fd, &m, &why) == 0, "%s", why.text);
}

START_TEST(the_learner_asks_hears_our_sender_and_its_farewell)
{
	struct announce_one one = { .interface = "prickle-ra", .interval_s = 600, .lifetime_s = 1800 };
	struct learn_settings settings = { .source = NAT64_PREF64_RA, .uplink = "prickle~ra" };
	struct nat64_host pair = { .instance = "ra" };
	struct xlat_prefix p = well_known();
	struct heard h = { 0 };
	struct announce *a = NULL;
	struct learn *l = NULL;
	struct loop *loop = NULL;
	struct errmsg why = { 0 };
	uint32_t index;

	if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0)
		return;
	ck_assert_msg(nat64_host_make(&pair, &index, &why) == 0, "%s", why.text);
	address("prickle-ra", "fe80::1");
	address("prickle~ra", "fe80::2");
	ck_assert_int_eq(loop_new(&loop), 0);
	ck_assert_msg(announce_new(loop, &one, 1, &p, 1, &a, &why) == 0, "%s", why.text);
	/* Its first advertisement goes before there is a learner. */
	loop_run_once(loop, 0);
	loop_run_once(loop, 10);
	ck_assert_msg(learn_new(loop, &settings, hear, &h, &l, &why) == 0, "%s", why.text);
	until(loop, &h, 1);
	ck_assert_mem_eq(&h.prefix, &p, sizeof(p));
	announce_free(a, true);
	until(loop, &h, 2);
	ck_assert_uint_eq(h.prefix.bits, 0);
	learn_free(l);
	loop_free(loop);
}
END_TEST

/* The pair's other end into a namespace of its own, up, with an address: the kernel heeds no routers that it is itself. */
static int move_peer(void)
{
	struct ifinfomsg i = { .ifi_index = (int)if_nametoindex("prickle~ra") }, up = { .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
	struct errmsg why = { 0 };
	struct netlink_message m;
	AUTO_FD int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), fd = netlink_open(&why);

	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	AUTO_FD int there = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), other = netlink_open(&why);

	netlink_begin(&m, RTM_SETLINK, 0, &i, sizeof(i));
	netlink_put_u32(&m, IFLA_NET_NS_FD, (uint32_t)there);
	ck_assert_msg(netlink_do(fd, &m, &why) == 0, "%s", why.text);
	address("prickle~ra", "fe80::2");
	up.ifi_index = (int)if_nametoindex("prickle~ra");
	netlink_begin(&m, RTM_SETLINK, 0, &up, sizeof(up));
	ck_assert_msg(netlink_do(other, &m, &why) == 0, "%s", why.text);
	ck_assert_int_eq(setns(here, CLONE_NEWNET), 0);
	return TAKE_FD(other);
}

START_TEST(the_kernel_tells_of_our_option)
{
	static const int group = RTNLGRP_ND_USEROPT;
	struct announce_one one = { .interface = "prickle-ra", .interval_s = 600, .lifetime_s = 1800 };
	struct nat64_host pair = { .instance = "ra" };
	struct xlat_prefix p = well_known();
	struct announce *a = NULL;
	struct loop *loop = NULL;
	struct errmsg why = { 0 };
	struct pref64_list list = { 0 };
	uint8_t bytes[4096];
	uint32_t index;

	if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0)
		return;
	ck_assert_msg(nat64_host_make(&pair, &index, &why) == 0, "%s", why.text);
	address("prickle-ra", "fe80::1");
	AUTO_FD int fd = move_peer();
	ck_assert_int_eq(setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)), 0);
	ck_assert_int_eq(loop_new(&loop), 0);
	ssize_t n = -1;
	for (int i = 0; i < 60 && n < 0; i++) {		/* the cable may not carry yet */
		struct pollfd told = { .fd = fd, .events = POLLIN };
		announce_free(a, false);
		ck_assert_msg(announce_new(loop, &one, 1, &p, 1, &a, &why) == 0, "%s", why.text);
		loop_run_once(loop, 0);
		if (poll(&told, 1, 200) == 1)
			n = recv(fd, bytes, sizeof(bytes), 0);
	}
	ck_assert_int_ge(n, (ssize_t)sizeof(struct nlmsghdr));
	ck_assert_int_eq(pref64_nduseropt_read(slice_of(bytes + sizeof(struct nlmsghdr), (size_t)n - sizeof(struct nlmsghdr)), &list), PREF64_OK);
	ck_assert_mem_eq(&list.said[0].prefix, &p, sizeof(p));
	ck_assert_uint_eq(list.said[0].lifetime_s, 1800);
	ck_assert_uint_ne(list.said[0].ifindex, 0);
	ck_assert_uint_eq(list.said[0].router[15], 1);
	announce_free(a, false);
	loop_free(loop);
}
END_TEST

static size_t question(struct loop *loop, int fd, uint8_t *bytes, size_t room, struct sockaddr_in *from)
{
	for (int i = 0; i < 1000; i++) {
		socklen_t from_bytes = sizeof(*from);
		ssize_t n = recvfrom(fd, bytes, room, MSG_DONTWAIT, (struct sockaddr *)from, &from_bytes);

		if (n > 0)
			return (size_t)n;
		loop_run_once(loop, 10);
	}
	ck_abort_msg("no question came");
	return 0;
}

static void reply(int fd, const struct sockaddr_in *to, struct slice asked, uint8_t id_change, struct slice records, uint8_t count)
{
	AUTO_BUF struct buf m = BUF_INIT(512);

	buf_add(&m, asked);
	m.ptr[1] ^= id_change;
	m.ptr[2] = 0x81;
	m.ptr[3] = 0x80;
	m.ptr[7] = count;
	buf_add(&m, records);
	ck_assert_int_eq(sendto(fd, m.ptr, m.len, 0, (const struct sockaddr *)to, sizeof(*to)), (ssize_t)m.len);
}

#define AAAA(ttl) "\xc0\x0c\x00\x1c\x00\x01" ttl "\x00\x10\x00\x64\xff\x9b\0\0\0\0\0\0\0\0\xc0\x00\x00\xaa"

START_TEST(rfc7050_3_the_prefix_is_learnt_by_dns_and_forgeries_are_passed_over)
{
	struct sockaddr_in me = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) }, from;
	struct learn_settings settings = { .source = NAT64_PREF64_DNS, .uplink = "" };
	socklen_t me_bytes = sizeof(me);
	struct xlat_prefix p = well_known();
	struct loop *loop = NULL;
	struct learn *l = NULL;
	struct heard h = { 0 };
	struct errmsg why = { 0 };
	uint8_t bytes[512];
	char server[64];
	AUTO_FD int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&me, sizeof(me)), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&me, &me_bytes), 0);
	(void)snprintf(server, sizeof(server), "127.0.0.1:%u", ntohs(me.sin_port));
	settings.dns_server = server;
	ck_assert_int_eq(loop_new(&loop), 0);
	ck_assert_msg(learn_new(loop, &settings, hear, &h, &l, &why) == 0, "%s", why.text);
	size_t n = question(loop, fd, bytes, sizeof(bytes), &from);
	reply(fd, &from, slice_of(bytes, n), 1, SLICE(AAAA("\0\0\x0e\x10")), 1);
	for (int i = 0; i < 5; i++)
		loop_run_once(loop, 10);
	ck_assert_uint_eq(h.times, 0);
	reply(fd, &from, slice_of(bytes, n), 0, SLICE(AAAA("\0\0\x0e\x10")), 1);
	until(loop, &h, 1);
	ck_assert_mem_eq(&h.prefix, &p, sizeof(p));
	learn_free(l);
	/* A server that does no DNS64 says so: there is none, even if there was one in an earlier run. */
	ck_assert_msg(learn_new(loop, &settings, hear, &h, &l, &why) == 0, "%s", why.text);
	n = question(loop, fd, bytes, sizeof(bytes), &from);
	reply(fd, &from, slice_of(bytes, n), 0, (struct slice){ 0 }, 0);
	until(loop, &h, 2);
	ck_assert_uint_eq(h.prefix.bits, 0);
	learn_free(l);
	settings.dns_server = "not an address";
	ck_assert_int_eq(learn_new(loop, &settings, hear, &h, &l, &why), -EINVAL);
	loop_free(loop);
}
END_TEST

TEST_MAIN("nat64/announce", rfc8781_4_an_advertisement_byte_for_byte, rfc4861_6_1_1_solicitations_are_checked, resolv_conf_names_servers,
	  the_learner_asks_hears_our_sender_and_its_farewell, the_kernel_tells_of_our_option,
	  rfc7050_3_the_prefix_is_learnt_by_dns_and_forgeries_are_passed_over)
