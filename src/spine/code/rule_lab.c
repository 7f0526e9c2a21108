#include "spine/code/rule_lab.h"

#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/attr.h"

#define CHOOSE(seed, list) (list)[lab_below((seed), (uint32_t)ARRAY_LEN(list))]

uint64_t lab_next(uint64_t *seed)
{
	uint64_t x = *seed == 0 ? 0x9e3779b97f4a7c15u : *seed;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	*seed = x;
	return x * 0x2545f4914f6cdd1du;
}

uint32_t lab_below(uint64_t *seed, uint32_t n)
{
	return (uint32_t)((lab_next(seed) >> 32) * n >> 32);
}

/* ---- frames ---- */

static const uint16_t some_ports[] = { 0, 22, 53, 80, 443, 8000, 8001, 8010, 65535 };
static const uint32_t some_addresses[] = { 0x0a000001, 0x0a000002, 0x0a010203, 0xc0000201, 0xc0a80101, 0xffffffff, 0 };
static const uint8_t some_protocols[] = { 1, 2, 6, 6, 17, 17, 17, 41, 44, 50, 58, 132, 0 };
static const uint8_t some_addresses6[][16] = {
	{ 0x20, 0x01, 0x0d, 0xb8, [15] = 1 }, { 0x20, 0x01, 0x0d, 0xb8, [15] = 2 },
	{ 0x20, 0x01, 0x0d, 0xb8, 0, 1, [15] = 1 }, { 0xfe, 0x80, [15] = 1 }, { [15] = 1 }, { 0 },
};

static void put16(uint8_t *at, uint32_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

static void put32(uint8_t *at, uint32_t v)
{
	put16(at, v >> 16);
	put16(at + 2, v & 0xffff);
}

static size_t transport(uint64_t *seed, uint8_t *at)
{
	put16(at, CHOOSE(seed, some_ports));
	put16(at + 2, CHOOSE(seed, some_ports));
	at[13] = (uint8_t)lab_next(seed);
	return 20;
}

static size_t ip4(uint64_t *seed, uint8_t *at)
{
	static const uint16_t fragments[] = { 0, 0, 0, 0, 0x4000, 0x2000, 0x2001, 0x00b9, 0x1000, 0x1fff };
	static const uint8_t words[] = { 5, 5, 5, 5, 6, 15 };
	static const uint8_t hops[] = { 64, 64, 1, 0 };
	uint8_t ihl = CHOOSE(seed, words);

	at[0] = (uint8_t)(0x40 | ihl);
	put16(at + 2, 40);
	put16(at + 6, CHOOSE(seed, fragments));
	at[8] = CHOOSE(seed, hops);
	at[9] = CHOOSE(seed, some_protocols);
	put32(at + 12, CHOOSE(seed, some_addresses));
	put32(at + 16, CHOOSE(seed, some_addresses));
	return 4u * ihl + transport(seed, at + 4 * ihl);
}

static size_t ip6(uint64_t *seed, uint8_t *at)
{
	size_t bytes = 40;

	at[0] = 0x60;
	at[6] = CHOOSE(seed, some_protocols);
	memcpy(at + 8, CHOOSE(seed, some_addresses6), 16);
	memcpy(at + 24, CHOOSE(seed, some_addresses6), 16);
	if (at[6] == 44 || at[6] == 0) {
		at[bytes] = CHOOSE(seed, some_protocols);
		bytes += 8;
	}
	return bytes + transport(seed, at + bytes);
}

static size_t arp(uint64_t *seed, uint8_t *at)
{
	put32(at, 0x00010800);
	put32(at + 4, 0x06040001);
	put32(at + 14, CHOOSE(seed, some_addresses));
	put32(at + 24, CHOOSE(seed, some_addresses));
	return 28;
}

size_t lab_frame(uint64_t *seed, bool whole, uint8_t out[LAB_FRAME_MAX])
{
	static const uint16_t types[] = { 0x0800, 0x0800, 0x0800, 0x86dd, 0x86dd, 0x0806, 0x8035, 0x8100, 0x88cc, 0x0026 };
	static const uint8_t ends[] = { 1, 20, 22, 24, 28, 40, 41, 42, 44 };
	uint16_t type = CHOOSE(seed, types);
	size_t bytes = 14;

	memset(out, 0, LAB_FRAME_MAX);
	memset(out, 2, 12);
	put16(out + 12, type);
	if (type == 0x8100) {
		type = lab_below(seed, 2) == 0 ? 0x0800 : 0x86dd;
		put16(out + 14, 7);
		put16(out + 16, type);
		bytes += 4;
	}
	if (type == 0x0800)
		bytes += ip4(seed, out + bytes);
	else if (type == 0x86dd)
		bytes += ip6(seed, out + bytes);
	else if (type == 0x0806 || type == 0x8035)
		bytes += arp(seed, out + bytes);
	else
		bytes += 46;
	if (!whole && lab_below(seed, 3) == 0)
		return 14 + lab_below(seed, (uint32_t)bytes - 13);
	if (!whole && lab_below(seed, 3) == 0)		/* close to where a header or a port ends */
		bytes = MIN(bytes, 13 + CHOOSE(seed, ends) + lab_below(seed, 3));
	return bytes;
}

/* ---- rules ---- */

static void primitive(uint64_t *seed, bool guards, char *out, size_t size)
{
	static const char *const plain[] = { "ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "esp",
					     "proto 17", "ip proto 6", "ip6 proto 44", "ip6 proto 17", "proto 44",
					     "ether proto 0x88cc", "ip proto \\tcp", "ether proto \\ip6" };
	static const char *const hard[] = { "vlan", "len > 60", "less 54", "greater 90", "tcp[13] & 2 != 0", "ip[0] & 15 > 5",
					    "udp[tcpflags] = 0", "ether broadcast", "ip multicast", "not udp port 53",
					    "icmp[icmptype] = icmp-echo", "ether src 02:02:02:02:02:02", "not ip",
					    "ether[14] / 3 > 4", "ip[2:2] - 20 = len - 34", "ip[8] << 2 = 256", "ip6[6] = 44",
					    "ether proto 0x26", "ip[9] % 4 = 1", "ip[ip[0] & 3] != 0", "ether[ip[9]] / ip[8] = 0",
					    "1 << ip[9] > 4", "llc", "ether[70000] = 1", "ip protochain 17" };
	static const char *const port_words[] = { "", "tcp ", "udp ", "sctp " };
	static const char *const directions[] = { "", "", "src ", "dst ", "src or dst ", "src and dst " };
	static const char *const hosts[] = { "host 10.0.0.1", "host 192.0.2.1", "net 10.0.0.0/8", "net 10.0.0.0/31", "net 10",
					     "net 192.168.1", "net 0.0.0.0/0", "host 10.1", "host 255.255.255.255" };
	static const char *const hosts6[] = { "host 2001:db8::1", "net 2001:db8::/32", "net 2001:db8:1::/48", "host ::1",
					      "net ::/0", "net fe80::/10", "net 2001:db8::/127" };
	static const char *const families[] = { "", "", "ip ", "arp ", "rarp " };
	uint16_t port = CHOOSE(seed, some_ports), other = CHOOSE(seed, some_ports);
	const char *direction = CHOOSE(seed, directions);

	switch (lab_below(seed, guards ? 12 : 8)) {
	case 0:
		snprintf(out, size, "%s", CHOOSE(seed, plain));
		break;
	case 1:
	case 2:
		snprintf(out, size, "%s%sport %u", CHOOSE(seed, port_words), direction, port);
		break;
	case 3:
		snprintf(out, size, "%s%sportrange %u-%u", CHOOSE(seed, port_words), direction, port, other);
		break;
	case 4:
		snprintf(out, size, "%s%sport (%u or %u)", CHOOSE(seed, port_words), direction, port, other);
		break;
	case 5:
	case 6:
		snprintf(out, size, "%s%s%s", CHOOSE(seed, families), direction, CHOOSE(seed, hosts));
		break;
	case 7:
		snprintf(out, size, "%s%s%s", lab_below(seed, 2) == 0 ? "" : "ip6 ", direction, CHOOSE(seed, hosts6));
		break;
	default:
		snprintf(out, size, "%s", CHOOSE(seed, hard));
		break;
	}
}

void lab_rule(uint64_t *seed, bool guards, char *out, size_t size)
{
	static const char *const joints[] = { " and ", " or ", " && ", " || " };
	uint32_t parts = 1 + lab_below(seed, 4);
	bool open = false;
	char part[64];

	out[0] = '\0';
	for (uint32_t i = 0; i < parts; i++) {
		bool opens = !open && i + 1 < parts && lab_below(seed, 3) == 0;
		bool closes = open && lab_below(seed, 2) == 0;
		size_t used = strlen(out);

		primitive(seed, guards, part, sizeof(part));
		snprintf(out + used, size - used, "%s%s%s%s", i == 0 ? "" : CHOOSE(seed, joints), opens ? "(" : "", part,
			 closes ? ")" : "");
		open = (open || opens) && !closes;
	}
	if (open)
		snprintf(out + strlen(out), size - strlen(out), ")");
}

/* ---- libpcap ---- */

struct lab_filter {
	struct bpf_program program;
};

struct lab_filter *lab_filter_new(const char *rule, bool optimize)
{
	pcap_t *handle = pcap_open_dead(DLT_EN10MB, 262144);
	struct lab_filter *f = calloc(1, sizeof(*f));
	int err = -1;

	if (handle != NULL && f != NULL)
		err = pcap_compile(handle, &f->program, rule, optimize, PCAP_NETMASK_UNKNOWN);
	if (handle != NULL)
		pcap_close(handle);
	if (err == 0)
		return f;
	free(f);
	return NULL;
}

void lab_filter_free(struct lab_filter *f)
{
	if (f == NULL)
		return;
	pcap_freecode(&f->program);
	free(f);
}

bool lab_filter_matches(const struct lab_filter *f, const uint8_t *frame, size_t bytes)
{
	struct pcap_pkthdr head = { .caplen = (bpf_u_int32)bytes, .len = (bpf_u_int32)bytes };

	return pcap_offline_filter(&f->program, &head, frame) != 0;
}
