#include "base/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

#include "nat64/settings.h"
#include "nat64/words.h"

#define NAT64 "mode: nat64\ninterfaces: [eth0]\npref64: 64:ff9b::/96\n"
#define POOL  NAT64 "pool4: [203.0.114.1]\n"
#define SIIT  "mode: siit\ninterfaces: [eth0, eth1 tc]\n"
#define CLAT  "mode: clat\nclat: {uplink: eth0}\n"

static struct arena arena = ARENA_INIT(64u << 20);

static struct nat64_settings *parse_good(const char *text)
{
	AUTO_BUF struct buf errors = BUF_INIT(100000);
	struct nat64_settings *s = NULL;
	int err = nat64_settings_parse(&arena, slice_str(text), "f", &s, &errors);

	ck_assert_msg(err == 0, "%s: %s", text, buf_cstr(&errors));
	return s;
}

START_TEST(a_stateful_translator_is_five_lines)
{
	struct nat64_settings *s = parse_good(POOL);

	ck_assert_str_eq(s->name, "nat64");
	ck_assert_uint_eq(s->config.mode, XLAT_NAT64);
	ck_assert_uint_eq(s->config.prefix_count, 1);
	ck_assert_uint_eq(s->config.prefix[0].bits, 96);
	ck_assert_uint_eq(s->config.prefix[0].global_only, 1);
	ck_assert_uint_eq(s->config.pool_count, 1);
	ck_assert_uint_eq(s->config.pool[0].first, 0xcb007201);
	ck_assert_uint_eq(s->config.pool[0].count, 1);
	ck_assert_uint_eq(s->config.pool[0].port_first, 1);
	ck_assert_uint_eq(s->config.pool[0].port_last, 65535);
	ck_assert_uint_eq(s->config.lowest_mtu6, 1280);
	ck_assert_uint_eq(s->config.filtering, XLAT_ENDPOINT_INDEPENDENT);
	ck_assert_uint_eq(s->config.subscriber_bits, 64);
	ck_assert_uint_eq(s->config.subscriber_mask[1], UINT32_MAX);
	ck_assert_uint_eq(s->config.subscriber_mask[2], 0);
	ck_assert_uint_eq(s->config.flags, XLAT_TOS_COPY | XLAT_ADMIN_PROHIBITED | XLAT_HAIRPIN | XLAT_FTP | XLAT_NEXTHOP_CACHE | XLAT_ICMP_ERRORS);
	ck_assert_uint_eq(s->sizes.sessions, 262144);
	ck_assert_uint_eq(s->sizes.pool_addresses, 256);
	ck_assert(!s->host_traffic);
	ck_assert_str_eq(s->interfaces[0].name, "eth0");
	ck_assert_uint_eq(s->interfaces[0].line, 2);
}
END_TEST

/* RFC 6146 4 and those it refers to. */
START_TEST(rfc6146_4_timers_have_their_defaults)
{
	static const struct { enum xlat_timer timer; uint32_t ms; } want[] = {
		{ XLAT_T_UDP, 300000 }, { XLAT_T_ICMP, 60000 }, { XLAT_T_TCP_ESTABLISHED, 7440000 }, { XLAT_T_TCP_TRANSITORY, 240000 },
		{ XLAT_T_TCP_INCOMING_SYN, 6000 }, { XLAT_T_FRAGMENT, 2000 },
	};
	struct nat64_settings *s = parse_good(POOL);

	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		uint64_t ns = (uint64_t)s->config.timeout[want[i].timer] << XLAT_TICK_SHIFT;
		ck_assert_uint_ge(ns, want[i].ms * UINT64_C(1000000));
		ck_assert_uint_lt(ns, want[i].ms * UINT64_C(1000000) + (1u << XLAT_TICK_SHIFT));
	}
}
END_TEST

START_TEST(rows_of_the_pool_say_addresses_ports_and_flags)
{
	struct nat64_settings *s = parse_good(NAT64 "pool4:\n"
		"  - 198.51.0.0/29 1024-65535\n"
		"  - 198.51.1.7-198.51.1.9\n"
		"  - 198.51.2.1 shared mark 7\n"
		"  - 198.51.2.1 40000-49999 drain\n");
	const struct xlat_pool *p = s->config.pool;

	ck_assert_uint_eq(s->config.pool_count, 4);
	ck_assert_uint_eq(p[0].count, 8);
	ck_assert_uint_eq(p[0].port_first, 1024);
	ck_assert_uint_eq(p[1].first, 0xc6330107);
	ck_assert_uint_eq(p[1].count, 3);
	ck_assert_uint_eq(p[1].slot, 8);
	ck_assert_uint_eq(p[2].slot, 11);
	ck_assert_uint_eq(p[2].flags, XLAT_POOL_SHARED);
	ck_assert_uint_eq(p[2].mark, 7);
	ck_assert_uint_eq(p[2].port_first, 61000);
	ck_assert_uint_eq(p[3].flags, XLAT_POOL_DRAIN);
}
END_TEST

START_TEST(a_mapping_reads_in_either_order)
{
	struct nat64_settings *s = parse_good(SIIT "mappings: [192.0.2.0/24 2001:db8:1::/120, '2001:db8:2::7 <-> 198.51.100.7']\n");

	ck_assert_uint_eq(s->eam_count, 2);
	ck_assert_uint_eq(s->eams[0].bits4, 24);
	ck_assert_uint_eq(s->eams[0].bits6, 120);
	ck_assert_uint_eq(s->eams[1].bits4, 32);
	ck_assert_uint_eq(s->eams[1].bits6, 128);
	ck_assert_uint_eq(ntohl(s->eams[1].addr4), 0xc6336407);
	ck_assert_uint_eq(s->interfaces[1].attach, NAT64_ATTACH_TC);
	ck_assert(s->config.flags & XLAT_EAM);
}
END_TEST

START_TEST(a_clat_needs_its_uplink_alone)
{
	struct nat64_settings *s = parse_good(CLAT);

	ck_assert_uint_eq(s->pref64_source, NAT64_PREF64_AUTO);
	ck_assert(s->host_traffic && s->clat6_from_uplink);
	ck_assert_uint_eq(ntohl(s->clat4), 0xc0000001);
	ck_assert_uint_eq(s->interface_count, 1);
	ck_assert_uint_eq(s->interfaces[0].attach, NAT64_ATTACH_TC);
	s = parse_good("mode: clat\nclat: {uplink: eth0, address6: 2001:db8:7::64}\npref64: ra\n");
	ck_assert_uint_eq(s->pref64_source, NAT64_PREF64_RA);
	ck_assert_uint_eq(s->eam_count, 1);
	ck_assert_uint_eq(s->eams[0].bits6, 128);
}
END_TEST

START_TEST(a_clat_for_others_alone_needs_mappings_and_no_uplink)
{
	struct nat64_settings *s = parse_good("mode: clat\ninterfaces: [lan, wan]\nmappings: [192.168.1.0/24 2001:db8::/120]\npref64: 64:ff9b::/96\n");

	ck_assert(!s->host_traffic);
	ck_assert_str_eq(s->uplink, "");
	ck_assert_uint_eq(s->eam_count, 1);
	ck_assert(slice_find(s->notes, SLICE("for that name 'clat.uplink'")) != SLICE_NPOS);
}
END_TEST

START_TEST(hyphens_and_underscores_are_the_same_in_keys)
{
	ck_assert_uint_eq(parse_good(POOL "lowest-ipv6-mtu: 1400\n")->config.lowest_mtu6, 1400);
	ck_assert_uint_eq(parse_good(POOL "lowest_ipv6_mtu: 1400\n")->config.lowest_mtu6, 1400);
}
END_TEST

START_TEST(rfc7422_ports_follow_from_the_address)
{
	struct nat64_settings *s = parse_good(NAT64 "pool4: [198.51.0.0/30 1024-65535]\n"
		"subscribers: {prefixes: [2001:db8::/48], bits: 56, deterministic: {ports: 1000}}\n");

	ck_assert_uint_eq(s->config.ports, XLAT_PORTS_DETERMINISTIC);
	ck_assert_uint_eq(s->config.det_ports, 1000);
	ck_assert_uint_eq(s->config.det_prefix_bits, 48);
	ck_assert_uint_eq(s->config.det_subscriber_bits, 56);
	ck_assert(slice_find(s->notes, SLICE("256 subscribers, 1000 ports each; the pool has room for 256")) != SLICE_NPOS);
}
END_TEST

/* Each pair: what is right, then the smallest change that makes it wrong, and what is said. */
static const struct { const char *good, *bad, *want; } pairs[] = {
	{ POOL, "mode: nat46\ninterfaces: [eth0]\n", "f:1:7: 'mode': 'nat46' is not one of siit|nat64|clat; did you mean 'nat64'?\n"
	  "     1 | mode: nat46\n       |       ^~~~~\n" },
	{ POOL, "interfaces: [eth0]\n", "f: 'mode' is missing: siit (stateless), nat64 (stateful) or clat" },
	{ POOL "ftp: false\n", POOL "fpt: false\n", "f:5:1: there is no option 'fpt'; did you mean 'ftp'?" },
	{ POOL, "mode: nat64\npref64: 64:ff9b::/96\npool4: 203.0.114.1\n", "f: 'interfaces' is missing" },
	{ POOL, "mode: nat64\ninterfaces: [eth0]\npool4: 203.0.114.1\n", "f: 'pref64' is missing" },
	{ POOL, NAT64, "f: 'pool4' is missing" },
	{ "mode: nat64\ninterfaces: [eth0]\npool4: 203.0.114.1\npref64: 2001:db8:64::/64\n",
	  "mode: nat64\ninterfaces: [eth0]\npool4: 203.0.114.1\npref64: 2001:db8:64::/72\n", "f:4:9: 'pref64': '2001:db8:64::/72': a translation prefix has 32" },
	{ "mode: nat64\ninterfaces: [eth0]\npool4: 203.0.114.1\npref64: 2001:db8::/96\n",
	  "mode: nat64\ninterfaces: [eth0]\npool4: 203.0.114.1\npref64: 2001:db8:0:0:100::/96\n", "bits 64 to 71 of a translation prefix are zero" },
	{ "mode: nat64\ninterfaces: [eth0]\npool4: 203.0.114.1\npref64: 2001:db8::/96\n",
	  "mode: nat64\ninterfaces: [eth0]\npool4: 203.0.114.1\npref64: 2001:db8::1\n", "most prefixes are '2001:db8::1/96'" },
	{ "mode: clat\ninterfaces: [lan, wan]\nmappings: [192.168.0.0/24 2001:db8:7::/120]\nclat: {uplink: wan}\npref64: ra\n",
	  "mode: clat\ninterfaces: [lan, wan]\nmappings: [192.168.0.0/24 2001:db8:7::/120]\npref64: ra\n", "to learn the prefix 'clat.uplink' is needed" },
	{ POOL, "mode: nat64\ninterfaces: [eth0]\npool4: 203.0.114.1\npref64: auto\n", "f:4:9: only the customer's side (mode clat) learns" },
	{ "mode: nat64\ninterfaces: [eth0]\npool4: 203.0.114.1\npref64: [2001:db8::/96, 2001:db8:1::/48]\n",
	  "mode: nat64\ninterfaces: [eth0]\npool4: 203.0.114.1\npref64: [2001:db8::/32, 2001:db8:1::/48]\n", "overlaps another translation prefix" },
	{ NAT64 "pool4: [198.51.0.0/30]\n", NAT64 "pool4: [198.51.0.1/30]\n", "f:4:9: 'pool4': '198.51.0.1/30' has bits after its length; did you mean '198.51.0.0/30'?" },
	{ NAT64 "pool4: [198.51.0.1, 198.51.0.2]\n", NAT64 "pool4: [198.51.0.1-198.51.0.2, 198.51.0.2]\n", "f:4:32: overlaps the row of line 4" },
	{ NAT64 "pool4: [198.51.0.1 1-1023, 198.51.0.1 1024-2000]\n", NAT64 "pool4: [198.51.0.1 1-1024, 198.51.0.1 1024-2000]\n", "overlaps the row" },
	{ NAT64 "pool4: [198.51.0.1 shared]\n", NAT64 "pool4: [198.51.0.1 sharde]\n", "after the addresses come ports (1024-65535), shared, mark N, drain" },
	{ NAT64 "pool4: [198.51.0.1 1-65535]\n", NAT64 "pool4: [198.51.0.1 0-65535]\n", "'0-65535' is not a range of ports" },
	{ NAT64 "pool4: [198.51.0.0/20]\n", NAT64 "pool4: [198.51.0.0/20, 198.52.0.0]\n", "more than 4096 addresses" },
	{ NAT64 "pool4: [198.51.0.1]\n", NAT64 "pool4: [127.0.0.1]\n", "are loopback: no host can have them" },
	{ SIIT "pref64: 2001:db8::/96\npool4: [10.0.0.0/8]\nmappings: [192.0.2.1 2001:db9::1]\n",
	  SIIT "pref64: 64:ff9b::/96\npool4: [10.0.0.0/8]\nmappings: [192.0.2.1 2001:db9::1]\n", "64:ff9b::/96 must not stand for IPv4 addresses that are not global (RFC 6052 3.1)" },
	{ SIIT "pref64: 64:ff9b::/96\npool4: [192.0.0.9, 192.0.0.10]\n",	/* anycast of RFC 7723 and 8155: global, as the programs have it */
	  SIIT "pref64: 64:ff9b::/96\npool4: [192.0.0.8, 192.0.0.11]\n", "64:ff9b::/96 must not stand for IPv4 addresses that are not global (RFC 6052 3.1)" },
	{ SIIT "mappings: [192.0.2.1 2001:db8::1]\n", SIIT, "f: mode siit needs 'mappings'" },
	{ SIIT "pref64: 2001:db8::/96\npool4: [198.51.100.0/24]\n", SIIT "pref64: 2001:db8::/96\n", "or 'pool4' with the IPv4 addresses for which pref64 stands" },
	{ SIIT "pref64: 2001:db8::/96\npool4: [198.51.100.0/24]\nsubscribers: {sessions: 100}\n", SIIT "pool4: [198.51.100.0/24]\n", "and mostly 'pref64'" },
	{ SIIT "mappings: [192.0.2.0/24 2001:db8::/120]\n", SIIT "mappings: [192.0.2.0/24 2001:db8::/121]\n", "8 bits of IPv4 addresses do not fit the 7 bits after the IPv6 prefix; make it /120 or shorter" },
	{ SIIT "mappings: [192.0.2.1 2001:db8::1]\n", SIIT "mappings: [192.0.2.1]\n", "a mapping is an IPv4 and an IPv6 prefix" },
	{ SIIT "mappings: [192.0.2.1 2001:db8::1, 192.0.2.2 2001:db8::2]\n", SIIT "mappings: [192.0.2.1 2001:db8::1,\n 192.0.2.1 2001:db8::2]\n",
	  "f:4:2: the IPv4 prefix of this mapping stands in line 3 already" },
	{ SIIT "mappings: [192.0.2.1 2001:db8::1, 192.0.2.2 2001:db8::2]\n", SIIT "mappings: [192.0.2.1 2001:db8::1,\n 192.0.2.2 2001:db8::1]\n",
	  "f:4:2: the IPv6 prefix of this mapping stands in line 3 already" },
	{ SIIT "pref64: 2001:db9::/96\nmappings: [192.0.2.1 2001:db8::1]\n", SIIT "pref64: 2001:db8::/96\nmappings: [192.0.2.1 2001:db8::1]\n", "overlaps a prefix of pref64" },
	{ POOL, POOL "mappings: [192.0.2.1 2001:db8::1]\n", "explicit mappings are for the modes siit and clat" },
	{ CLAT, "mode: clat\n", "f: 'clat.uplink' is missing" },
	{ CLAT "attach: auto\n", CLAT "attach: xdp\n", "f:3:1: the host's own traffic cannot be translated by XDP" },
	{ CLAT "attach: xdp\nhost-traffic: false\nmappings: [192.168.1.0/24 2001:db8::/120]\n", CLAT "attach: xdp\nhost-traffic: false\n",
	  "a CLAT without the host's own traffic needs 'mappings'" },
	{ CLAT, CLAT "pool4: [192.0.2.1]\n", "f:3:9: 'pool4' is for the modes nat64 and siit" },
	{ CLAT, POOL "host-traffic: true\n", "f:5:1: 'host-traffic: true' is for 'mode: clat'" },
	{ CLAT, POOL "clat: {uplink: eth0}\n", "'clat.uplink' is for 'mode: clat'" },
	{ POOL "timers: {udp: 2 m}\n", POOL "timers: {udp: 119 s}\n", "f:5:15: 'timers.udp': '119 s' is too short: RFC 4787 REQ-5 asks for at least 2 m" },
	{ POOL "timers: {icmp: 60 s}\n", POOL "timers: {icmp: 59 s}\n", "RFC 5508 REQ-2 asks for at least 1 m" },
	{ POOL "timers: {tcp-established: 124 m}\n", POOL "timers: {tcp-established: 1 h}\n", "RFC 5382 REQ-5 asks for at least 124 m" },
	{ POOL "timers: {tcp-transitory: 4 m}\n", POOL "timers: {tcp-transitory: 3 m}\n", "RFC 5382 REQ-5 asks for at least 4 m" },
	{ POOL "timers: {tcp-incoming-syn: 6 s}\n", POOL "timers: {tcp-incoming-syn: 5 s}\n", "RFC 5382 REQ-4 asks for at least 6 s" },
	{ POOL "timers: {fragments: 2 s}\n", POOL "timers: {fragments: 1 s}\n", "RFC 6146 4 asks for at least 2 s" },
	{ POOL "timers: {udp: 300 s}\n", POOL "timers: {udp: 300}\n", "'300' has no unit: '300 s' is seconds" },
	{ POOL "subscribers: {blocks: {size: 512}}\n", POOL "subscribers: {blocks: {size: 500}}\n", "f:5:30: a block has 64, 128, 256, 512, 1024, 2048 or 4096 ports, not 500; did you mean 512?" },
	{ NAT64 "pool4: [198.51.0.1 1024-1535]\nsubscribers: {blocks: {size: 512}}\n", NAT64 "pool4: [198.51.0.1 1025-1536]\nsubscribers: {blocks: {size: 512}}\n",
	  "f:4:9: its ports hold no whole block of 512" },
	{ POOL "subscribers: {ports: 512, blocks: {size: 512}}\n", POOL "subscribers: {ports: 511, blocks: {size: 512}}\n", "is less than a block of 512" },
	{ POOL "subscribers: {rate: 10, burst: 20}\n", POOL "subscribers: {burst: 20}\n", "'subscribers.burst' needs 'subscribers.rate'" },
	{ POOL "subscribers: {prefixes: [2001:db8::/48], bits: 54, deterministic: {ports: 1000}}\n",
	  POOL "subscribers: {prefixes: [2001:db8::/48], bits: 55, deterministic: {ports: 1000}}\n",
	  "128 subscribers of 1000 ports do not fit pool4, which has 65535 ports for 65 of them: 511 ports each would fit" },
	{ POOL "subscribers: {prefixes: [2001:db8::/48], bits: 54, deterministic: {ports: 1000}}\n", POOL "subscribers: {deterministic: {ports: 1000}}\n",
	  "deterministic ports need one prefix in 'subscribers.prefixes'" },
	{ POOL "subscribers: {prefixes: [2001:db8::/48]}\n", POOL "subscribers: {prefixes: [64:ff9b::/96]}\n", "such sources are forged" },
	{ SIIT "mappings: [192.0.2.1 2001:db8::1]\n", "mode: siit\ninterfaces: [eth0 xpd]\nmappings: [192.0.2.1 2001:db8::1]\n", "after the interface comes xdp, tc or auto, not 'xpd'; did you mean 'xdp'?" },
	{ POOL "announce: {interfaces: [eth0]}\n", POOL "announce: {interfaces: [eth0], lifetime: 5 m}\n", "the prefix would end before the next advertisement" },
	{ POOL "lowest-ipv6-mtu: 1280\n", POOL "lowest-ipv6-mtu: 1279\n", "'1279' is not a number from 1280 to 65535" },
	{ POOL "metrics: 127.0.0.1:9164\n", POOL "metrics: 127.0.0.1\n", "f:5:10: 'metrics': '127.0.0.1' is not a list of addresses" },
	{ POOL "tos: 255\n", POOL "tos: 256\n", "'256' is not copy, or a number from 0 to 255" },
	{ POOL "name: isp-1\n", POOL "name: isp/1\n", "'isp/1' is not a name of at most 15" },
	{ POOL "hairpin: none\n", POOL "hairpin: [none]\n", "'hairpin' is one of none|simple|intrinsic, not a list" },
	{ POOL "pass: [10.0.0.0/8, fd00::/8]\n", POOL "pass: {four: 10.0.0.0/8}\n", "'pass' is a list of prefixes of both families, not a group" },
	{ POOL "quarantine: 0\n", POOL "quarantine:\n", "'quarantine' has no value" },
	{ POOL "static: [\"tcp 203.0.114.1:80 [2001:db8::1]:80\"]\n", POOL "static: [\"tcp 203.0.114.2:80 [2001:db8::1]:80\"]\n", "pool4 has no row with this IPv4 address and port" },
	{ POOL "static: [\"tcp 203.0.114.1:80 [2001:db8::1]:80\"]\n", POOL "static: [\"tcp 203.0.114.1:80 2001:db8::1:80\"]\n", "is not an address and port such as 192.0.2.1:80 or [2001:db8::1]:80" },
	{ POOL "static: [\"tcp 203.0.114.1:80 [2001:db8::1]:80\"]\n", POOL "static: [\"sctp 203.0.114.1:80 [2001:db8::1]:80\"]\n", "a static mapping begins with tcp, udp or icmp" },
	{ POOL "static: ['tcp 203.0.114.1:80 [2001:db8::1]:80', 'udp 203.0.114.1:80 [2001:db8::1]:80']\n", POOL "static: ['tcp 203.0.114.1:80 [2001:db8::1]:80', 'tcp 203.0.114.1:80 [2001:db8::2]:80']\n",
	  "its IPv4 address and port stand in line 5 already" },
};

START_TEST(good_and_bad_files_come_in_pairs)
{
	size_t i = (size_t)_i;
	AUTO_BUF struct buf errors = BUF_INIT(100000);
	struct nat64_settings *s = NULL;

	parse_good(pairs[i].good);
	int err = nat64_settings_parse(&arena, slice_str(pairs[i].bad), "f", &s, &errors);
	ck_assert_msg(err == -EINVAL && s == NULL, "%s", pairs[i].bad);
	ck_assert_msg(strstr(buf_cstr(&errors), pairs[i].want) != NULL, "%s\ngave: %s\nnot:  %s", pairs[i].bad, buf_cstr(&errors), pairs[i].want);
}
END_TEST

/* What packets see of each key, with a value that is not its default. */
START_TEST(every_key_reaches_the_configuration)
{
	struct nat64_settings *s = parse_good(POOL "timers: {udp: 3 m, udp-dns: 7 s, icmp: 61 s, tcp-established: 125 m, tcp-transitory: 5 m,\n"
		"  tcp-incoming-syn: 8 s, fragments: 4 s}\nlowest-ipv6-mtu: 1400\nmtu: {ipv4: 1480, ipv6: 1492}\ntos: 32\nzero-checksum: drop\n"
		"nexthop-cache: false\nicmp: {errors: false, admin-prohibited: false, rate: 7, pool: [198.51.101.0/30, 198.51.102.9],\n"
		"  source4: 203.0.115.1, source6: 2001:db8:f::1}\nhairpin: none\nftp: false\nfiltering: address-dependent\nquarantine: 90 s\n"
		"log: sessions\nslow-path: {datagrams: 17, memory: 2 MiB}\npass: [10.0.0.0/8, 2001:db8:a::/47]\n"
		"subscribers: {prefixes: [2001:db8:c000::/34], bits: 56, ports: 600, sessions: 700, rate: 8, burst: 9, blocks: {size: 256, max: 3}}\n"
		"tables: {sessions: 2000, mappings: 3000, subscribers: 400, fragments: 500, nexthops: 600, pool-addresses: 5}\n"
		"announce: {interfaces: [eth0], lifetime: 1 h, interval: 100 s, preference: low}\nlog-format: json\n");
	const struct xlat_config *x = &s->config;
	static const struct { enum xlat_timer timer; uint64_t seconds; } timers[] = {
		{ XLAT_T_UDP, 180 }, { XLAT_T_UDP_DNS, 7 }, { XLAT_T_ICMP, 61 }, { XLAT_T_TCP_ESTABLISHED, 7500 }, { XLAT_T_TCP_TRANSITORY, 300 },
		{ XLAT_T_TCP_INCOMING_SYN, 8 }, { XLAT_T_FRAGMENT, 4 },
	};

	for (size_t i = 0; i < ARRAY_LEN(timers); i++)
		ck_assert_uint_eq(((uint64_t)x->timeout[timers[i].timer] << XLAT_TICK_SHIFT) / 1000000000, timers[i].seconds);
	ck_assert_uint_eq(((uint64_t)x->quarantine << XLAT_TICK_SHIFT) / 1000000000, 90);
	ck_assert_uint_eq(s->fragment_ms, 4000);
	ck_assert(x->lowest_mtu6 == 1400 && x->mtu4 == 1480 && x->mtu6 == 1492 && x->tos == 32);
	ck_assert_uint_eq(x->zero_checksum, XLAT_ZERO_DROP);
	ck_assert_uint_eq(x->filtering, XLAT_ADDRESS_DEPENDENT);
	ck_assert_uint_eq(x->flags, XLAT_LOG_SESSIONS);
	ck_assert_uint_eq(x->hairpin_eam, 0);
	ck_assert_uint_eq(x->errors_rate, 7);
	ck_assert_uint_eq(x->error_count, 2);
	ck_assert_uint_eq(ntohl(x->error_pool[0].mask), 0xfffffffc);
	ck_assert_uint_eq(ntohl(x->error_pool[1].addr), 0xc6336609);
	ck_assert_uint_eq(ntohl(x->error_pool[1].mask), UINT32_MAX);
	ck_assert_uint_eq(ntohl(x->own4), 0xcb007301);
	ck_assert_uint_eq(ntohl(x->own6[0]), 0x20010db8);
	ck_assert_uint_eq(ntohl(x->own6[3]), 1);
	ck_assert(x->pass4_count == 1 && ntohl(x->pass4[0].mask) == 0xff000000);
	ck_assert(x->pass6_count == 1 && ntohl(x->pass6[0].mask[1]) == 0xfffe0000 && x->pass6[0].mask[2] == 0);
	ck_assert(x->subscriber_count == 1 && ntohl(x->subscriber[0].mask[1]) == 0xc0000000);
	ck_assert_uint_eq(x->subscriber_bits, 56);
	ck_assert_uint_eq(ntohl(x->subscriber_mask[1]), 0xffffff00);
	ck_assert(x->ports_max == 600 && x->sessions_max == 700 && x->rate == 8 && x->burst == 9);
	ck_assert(x->ports == XLAT_PORTS_BLOCKS && x->block_ports == 256 && x->blocks_max == 3);
	ck_assert(s->slow_datagrams_max == 17 && s->slow_bytes_max == 2u << 20);
	ck_assert(s->sizes.sessions == 2000 && s->sizes.mappings == 3000 && s->sizes.subscribers == 400);
	ck_assert(s->sizes.fragments == 500 && s->sizes.nexthops == 600 && s->sizes.pool_addresses == 5);
	ck_assert_uint_eq(s->announce_count, 1);
	ck_assert(s->announce[0].lifetime_s == 3600 && s->announce[0].interval_s == 100 && s->announce[0].preference == 3);
	ck_assert_uint_eq(s->log, NAT64_LOG_SESSIONS);
	ck_assert_uint_eq(s->log_format, 1);
}
END_TEST

START_TEST(all_errors_come_at_once)
{
	AUTO_BUF struct buf errors = BUF_INIT(100000);
	struct nat64_settings *s = NULL;

	ck_assert_int_eq(nat64_settings_parse(&arena, SLICE("mode: nat\ntos: x\npool4: [a, b]\nfoo: 1\n"), "f", &s, &errors), -EINVAL);
	for (size_t line = 1; line <= 4; line++) {
		char at[16];
		snprintf(at, sizeof(at), "f:%zu:", line);
		ck_assert_ptr_nonnull(strstr(buf_cstr(&errors), at));
	}
	ck_assert_ptr_nonnull(strstr(buf_cstr(&errors), "f:3:12:"));
}
END_TEST

START_TEST(what_is_shown_reads_as_the_same)
{
	static const char *const texts[] = {
		POOL "pass: [10.0.0.0/8, fd00::/8]\ntimers: {udp: 3 m}\nsubscribers: {blocks: {size: 256}}\n",
		SIIT "mappings: [192.0.2.0/24 2001:db8:1::/120]\npref64: 64:ff9b:1::/48\n", CLAT,
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		AUTO_BUF struct buf once = BUF_INIT(100000), again = BUF_INIT(100000);
		struct nat64_settings *s = parse_good(texts[i]);
		nat64_settings_yaml(s, &once);
		struct nat64_settings *t = parse_good(buf_cstr(&once));
		nat64_settings_yaml(t, &again);
		ck_assert_str_eq(buf_cstr(&once), buf_cstr(&again));
		ck_assert_mem_eq(&s->config, &t->config, sizeof(s->config));
	}
}
END_TEST

START_TEST(notes_say_what_is_allowed_but_should_be_known)
{
	struct nat64_settings *s = parse_good(NAT64 "pool4: [192.168.7.1]\nsubscribers: {blocks: {size: 1024}}\n");

	ck_assert(slice_find(s->notes, SLICE("line 4: 192.168.7.1 is not global")) != SLICE_NPOS);
	ck_assert(slice_find(s->notes, SLICE("port blocks: pool4 has 63 of 1024 ports")) != SLICE_NPOS);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("nat64/settings");
	TCase *one = tcase_create("settings");

	tcase_add_test(one, a_stateful_translator_is_five_lines);
	tcase_add_test(one, rfc6146_4_timers_have_their_defaults);
	tcase_add_test(one, rows_of_the_pool_say_addresses_ports_and_flags);
	tcase_add_test(one, a_mapping_reads_in_either_order);
	tcase_add_test(one, a_clat_needs_its_uplink_alone);
	tcase_add_test(one, a_clat_for_others_alone_needs_mappings_and_no_uplink);
	tcase_add_test(one, rfc7422_ports_follow_from_the_address);
	tcase_add_test(one, hyphens_and_underscores_are_the_same_in_keys);
	tcase_add_loop_test(one, good_and_bad_files_come_in_pairs, 0, (int)ARRAY_LEN(pairs));
	tcase_add_test(one, every_key_reaches_the_configuration);
	tcase_add_test(one, all_errors_come_at_once);
	tcase_add_test(one, what_is_shown_reads_as_the_same);
	tcase_add_test(one, notes_say_what_is_allowed_but_should_be_known);
	suite_add_tcase(suite, one);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "/dev/stdout");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
