/* tc.h and host.h in a network namespace of our own (root; else they skip). */
#include "base/test.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>

#include "base/cleanup.h"
#include "nat64/host.h"
#include "nat64/netlink.h"
#include "nat64/tc.h"

static bool enter(void)
{
	return geteuid() == 0 && unshare(CLONE_NEWNET) == 0;
}

static int program(int verdict)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = verdict },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "host_test", "Dual MIT/GPL", insns, 2, NULL);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static uint32_t program_id(int fd)
{
	struct bpf_prog_info info = { 0 };
	uint32_t bytes = sizeof(info);

	ck_assert_int_eq(bpf_obj_get_info_by_fd(fd, &info, &bytes), 0);
	return info.id;
}

static void ok(int err, const struct errmsg *why)
{
	ck_assert_msg(err == 0, "%d: %s", err, why->text);
}

static struct xlat_prefix prefix(const char *text, uint8_t bits)
{
	struct xlat_prefix p = { .bits = bits };

	ck_assert_int_eq(inet_pton(AF_INET6, text, p.addr), 1);
	return p;
}

START_TEST(a_filter_is_attached_replaced_and_detached_beside_others)
{
	struct errmsg why = { 0 };
	uint32_t id = 0;

	if (!enter())
		return;
	AUTO_FD int one = program(0);
	AUTO_FD int two = program(1);

	ck_assert_int_eq(nat64_tc_query("a", 1, NAT64_TC_IN, &id, &why), -ENOENT);
	ok(nat64_tc_attach("a", 1, NAT64_TC_IN, one, &why), &why);
	ok(nat64_tc_attach("b", 1, NAT64_TC_IN, one, &why), &why);
	ok(nat64_tc_attach("a", 1, NAT64_TC_IN, two, &why), &why);
	ok(nat64_tc_query("a", 1, NAT64_TC_IN, &id, &why), &why);
	ck_assert_uint_eq(id, program_id(two));
	ok(nat64_tc_query("b", 1, NAT64_TC_IN, &id, &why), &why);
	ck_assert_uint_eq(id, program_id(one));
	ck_assert_int_eq(nat64_tc_query("a", 1, NAT64_TC_OUT, &id, &why), -ENOENT);
	/* Somebody else's, by libbpf, at a priority of theirs. */
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = 1, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = one, .handle = 1, .priority = 1);
	LIBBPF_OPTS(bpf_tc_opts, again, .handle = 1, .priority = 1);
	ck_assert_int_eq(bpf_tc_attach(&hook, &opts), 0);
	ok(nat64_tc_detach("a", 1, NAT64_TC_IN, &why), &why);
	ok(nat64_tc_detach("a", 1, NAT64_TC_IN, &why), &why);
	ok(nat64_tc_query("b", 1, NAT64_TC_IN, &id, &why), &why);
	ok(nat64_tc_detach("b", 1, NAT64_TC_IN, &why), &why);
	ck_assert_int_eq(bpf_tc_query(&hook, &again), 0);
	ck_assert_uint_eq(again.prog_id, program_id(one));
	ck_assert_int_eq(nat64_tc_attach("a", 4711, NAT64_TC_IN, one, &why), -ENODEV);
	ok(nat64_tc_detach("a", 4711, NAT64_TC_IN, &why), &why);
}
END_TEST

START_TEST(the_clsact_goes_with_the_last_filter)
{
	struct errmsg why = { 0 };

	if (!enter())
		return;
	AUTO_FD int one = program(0);
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = 1, .attach_point = BPF_TC_INGRESS);

	ok(nat64_tc_attach("a", 1, NAT64_TC_IN, one, &why), &why);
	ok(nat64_tc_attach("a", 1, NAT64_TC_OUT, one, &why), &why);
	ok(nat64_tc_detach("a", 1, NAT64_TC_IN, &why), &why);
	ck_assert_int_eq(bpf_tc_hook_create(&hook), -EEXIST);
	ok(nat64_tc_detach("a", 1, NAT64_TC_OUT, &why), &why);
	ck_assert_int_eq(bpf_tc_hook_create(&hook), 0);
}
END_TEST

struct seen { uint32_t ifindex; size_t addresses, routes4, routes6; uint32_t flags; };

static int see(void *arg, uint16_t type, struct slice body)
{
	struct seen *s = arg;
	struct slice attributes;
	struct ifaddrmsg a;
	struct rtmsg r;

	if (type == RTM_NEWADDR && netlink_fixed(body, &a, sizeof(a), &attributes) && a.ifa_index == s->ifindex) {
		s->addresses++;
		s->flags = netlink_u32(attributes, IFA_FLAGS);
	}
	if (type == RTM_NEWROUTE && netlink_fixed(body, &r, sizeof(r), &attributes) && netlink_u32(attributes, RTA_OIF) == s->ifindex &&
	    r.rtm_protocol == NAT64_PROTOCOL) {
		s->routes4 += r.rtm_family == AF_INET;
		s->routes6 += r.rtm_family == AF_INET6;
	}
	return 0;
}

static struct seen look(uint32_t ifindex, uint8_t family)
{
	struct seen s = { .ifindex = ifindex };
	struct errmsg why = { 0 };
	struct netlink_message m;
	struct ifaddrmsg a = { .ifa_family = family, .ifa_index = ifindex };
	struct rtmsg r = { .rtm_family = family };
	AUTO_FD int fd = netlink_open(&why);

	netlink_begin(&m, RTM_GETADDR, 0, &a, sizeof(a));
	ok(netlink_dump(fd, &m, see, &s, &why), &why);
	netlink_begin(&m, RTM_GETROUTE, 0, &r, sizeof(r));
	ok(netlink_dump(fd, &m, see, &s, &why), &why);
	return s;
}

START_TEST(the_veth_is_made_changed_and_removed)
{
	struct xlat_prefix routes[] = { prefix("64:ff9b::", 96), prefix("2001:db8:64::", 64) };
	struct nat64_host clat = { .instance = "a", .clat4 = htonl(0xc0000001) };
	struct nat64_host nat64 = { .instance = "a", .routes = routes, .route_count = 2, .mtu = 9000 };
	struct errmsg why = { 0 };
	uint32_t index = 0, again = 0;

	if (!enter())
		return;
	ck_assert_int_eq(nat64_host_index("a", &index), -ENODEV);
	ok(nat64_host_make(&clat, &index, &why), &why);
	for (int i = 0; i < 2; i++) {
		ok(nat64_host_make(&clat, &again, &why), &why);
		ck_assert_uint_eq(again, index);
		ck_assert_uint_eq(look(index, AF_INET).addresses, 1);
		ck_assert_uint_eq(look(index, AF_INET).routes4, 1);
		ck_assert_uint_eq(look(index, AF_INET6).addresses, 0);
	}
	ok(nat64_host_make(&nat64, &again, &why), &why);
	ck_assert_uint_eq(again, index);
	ck_assert_uint_eq(look(index, AF_INET).addresses, 0);
	ck_assert_uint_eq(look(index, AF_INET).routes4, 0);
	ck_assert_uint_eq(look(index, AF_INET6).routes6, 2);
	nat64.route_count = 1;
	ok(nat64_host_make(&nat64, &again, &why), &why);
	ck_assert_uint_eq(look(index, AF_INET6).routes6, 1);
	ok(nat64_host_remove("a", &why), &why);
	ok(nat64_host_remove("a", &why), &why);
	ck_assert_int_eq(nat64_host_index("a", &index), -ENODEV);
}
END_TEST

START_TEST(names_of_interfaces_fit_and_differ)
{
	char name[IFNAMSIZ], other[IFNAMSIZ];

	nat64_host_name("isp", name);
	ck_assert_str_eq(name, "prickle-isp");
	nat64_host_name("a-long-name-1", name);
	nat64_host_name("a-long-name-2", other);
	ck_assert_uint_eq(strlen(name), 15);
	ck_assert_str_ne(name, other);
}
END_TEST

START_TEST(the_uplinks_address_is_ours_alone_and_changes)
{
	struct xlat_prefix pref64 = prefix("64:ff9b::", 96), first = prefix("2001:db8:1:2::", 64), second = prefix("2001:db8:1:3::", 64);
	struct ifaddrmsg a = { .ifa_family = AF_INET6, .ifa_prefixlen = 64 };
	static const __u64 key[2] = { 1, 2 };
	struct nat64_host host = { .instance = "up" };
	struct nat64_uplink u = { 0 };
	struct errmsg why = { 0 };
	struct netlink_message m;
	char name[IFNAMSIZ];
	__be32 clat6[4];

	if (!enter())
		return;
	AUTO_FD int fd = netlink_open(&why);

	ck_assert_int_eq(nat64_uplink_look("nothing", &u, &why), -ENODEV);
	/* Any interface will do as an uplink: a veth. */
	ok(nat64_host_make(&host, &a.ifa_index, &why), &why);
	nat64_host_name("up", name);
	ok(nat64_uplink_look(name, &u, &why), &why);
	ck_assert(!u.has_prefix);
	ck_assert_uint_eq(u.mtu, 1500);
	netlink_begin(&m, RTM_NEWADDR, NLM_F_CREATE, &a, sizeof(a));
	first.addr[3] = htonl(7);
	netlink_put(&m, IFA_LOCAL, first.addr, 16);
	ok(netlink_do(fd, &m, &why), &why);
	ok(nat64_uplink_look(name, &u, &why), &why);
	ck_assert(u.has_prefix);
	ck_assert_mem_eq(u.prefix, first.addr, 8);
	nat64_clat6(u.prefix, &pref64, htonl(0xc0000001), key, 0, clat6);
	for (int i = 0; i < 2; i++) {
		ok(nat64_uplink_set(u.ifindex, clat6, &why), &why);
		ck_assert_uint_eq(look(u.ifindex, AF_INET6).addresses, 2);
	}
	/* Another one takes its place; and the address does not count as the uplink's prefix. */
	nat64_clat6(second.addr, &pref64, htonl(0xc0000001), key, 0, clat6);
	ok(nat64_uplink_set(u.ifindex, clat6, &why), &why);
	ck_assert_uint_eq(look(u.ifindex, AF_INET6).addresses, 2);
	ok(nat64_uplink_look(name, &u, &why), &why);
	ck_assert_mem_eq(u.prefix, first.addr, 8);
	ok(nat64_uplink_clear(u.ifindex, &why), &why);
	ck_assert_uint_eq(look(u.ifindex, AF_INET6).addresses, 1);
}
END_TEST

static uint32_t folded(const void *bytes, size_t n)
{
	const uint8_t *b = bytes;
	uint32_t sum = 0;

	for (size_t i = 0; i < n; i += 2)
		sum += (uint32_t)b[i] << 8 | b[i + 1];
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

START_TEST(rfc6877_6_3_the_clats_address_keeps_checksums_and_is_stable)
{
	static const struct { const char *pref64; uint8_t bits; } cases[] = { { "64:ff9b::", 96 }, { "2001:db8:ffff:fffe:0:ffff::", 96 }, { "2001:db8::", 32 } };
	struct xlat_prefix uplink = prefix("2001:db8:1:2::", 64);
	static const __u64 key[2] = { 0x0123456789abcdef, 77 }, other_key[2] = { 1, 77 };
	__be32 clat4 = htonl(0xc0000001), out[4], again[4];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct xlat_prefix p = prefix(cases[i].pref64, cases[i].bits);

		for (uint32_t attempt = 0; attempt < 100; attempt++) {
			nat64_clat6(uplink.addr, &p, clat4, key, attempt, out);
			nat64_clat6(uplink.addr, &p, clat4, key, attempt, again);
			ck_assert_mem_eq(out, again, 16);
			ck_assert_mem_eq(out, uplink.addr, 8);
			__be32 both[8];

			memcpy(both, out, 16);
			memcpy(both + 4, p.addr, 16);
			ck_assert_uint_eq(folded(both, 32) % 0xffff, folded(&clat4, 4) % 0xffff);
			nat64_clat6(uplink.addr, &p, clat4, key, attempt + 1, again);
			ck_assert_mem_ne(out, again, 16);
			nat64_clat6(uplink.addr, &p, clat4, other_key, attempt, again);
			ck_assert_mem_ne(out, again, 16);
		}
	}
}
END_TEST

TEST_MAIN("nat64/host", a_filter_is_attached_replaced_and_detached_beside_others, the_clsact_goes_with_the_last_filter,
	  the_veth_is_made_changed_and_removed, names_of_interfaces_fit_and_differ, the_uplinks_address_is_ours_alone_and_changes,
	  rfc6877_6_3_the_clats_address_keeps_checksums_and_is_stable)
