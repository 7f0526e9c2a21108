#include "nat64/words.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

#include "base/must.h"
#include "base/utf8.h"

#define SHOWN 80u
#define SHOW(s) SLICE_FMT(utf8_head((s), SHOWN))
#define HOST_PORT_FIRST 61000u		/* above what Linux gives to its own sockets (net.ipv4.ip_local_port_range) */

struct slice words_next(struct slice *rest)
{
	struct slice s = slice_trim(*rest);
	size_t n = 0;

	while (n < s.len && s.ptr[n] != ' ' && s.ptr[n] != '\t')
		n++;
	*rest = slice_from(s, n);
	return slice_head(s, n);
}

static struct slice next_meaning(struct slice *rest)
{
	struct slice w;

	do {
		w = words_next(rest);
	} while (slice_eq(w, SLICE("->")) || slice_eq(w, SLICE("<->")) || slice_eq(w, SLICE("=")) || slice_eq(w, SLICE("<-")));
	return w;
}

static const char *family_example(unsigned family)
{
	return family == 4 ? "an IPv4 address such as 192.0.2.1" :
	       family == 6 ? "an IPv6 address such as 2001:db8::1" : "an address such as 192.0.2.1 or 2001:db8::1";
}

int words_address(struct slice text, unsigned family, __be32 addr[4], unsigned *found, struct errmsg *why)
{
	char host[INET6_ADDRSTRLEN];
	bool six = slice_find_byte(text, ':') != SLICE_NPOS;
	__be32 a[4] = { 0 };

	if (!slice_to_str(text, host, sizeof(host)) || inet_pton(six ? AF_INET6 : AF_INET, host, a) != 1 ||
	    (family != 0 && family != (six ? 6u : 4u)))
		return errmsg_say(why, -EINVAL, "'%.*s' is not %s", SHOW(text), family_example(family));
	memcpy(addr, a, sizeof(a));
	if (found != NULL)
		*found = six ? 6 : 4;
	return 0;
}

/* Clear the bits after the length; whether there were any. */
static bool cut_bits(__be32 addr[4], unsigned bits, unsigned width)
{
	uint8_t *at = (uint8_t *)addr;
	bool had = false;

	for (unsigned bit = bits; bit < width; bit++) {
		uint8_t mask = (uint8_t)(0x80u >> (bit % 8));
		had |= (at[bit / 8] & mask) != 0;
		at[bit / 8] = (uint8_t)(at[bit / 8] & ~mask);
	}
	return had;
}

int words_net(struct slice text, unsigned family, struct words_net *out, struct errmsg *why)
{
	struct words_net n = { 0 };
	struct slice name, bits;
	uint64_t number;
	bool has_bits = slice_cut(text, '/', &name, &bits);

	if (words_address(name, family, n.addr, &n.family, NULL) != 0)
		return errmsg_say(why, -EINVAL, "'%.*s' is not %s", SHOW(text),
				  family == 4 ? "an IPv4 prefix such as 192.0.2.0/24" :
				  family == 6 ? "an IPv6 prefix such as 2001:db8::/32" :
				  "a prefix such as 192.0.2.0/24 or 2001:db8::/32");
	unsigned width = n.family == 4 ? 32 : 128;
	number = width;
	if (has_bits && !slice_u64(bits, width, &number))
		return errmsg_say(why, -EINVAL, "'%.*s': the length of an IPv%u prefix is a number from 0 to %u", SHOW(text), n.family,
				  width);
	n.bits = (uint8_t)number;
	if (cut_bits(n.addr, n.bits, width)) {
		AUTO_BUF struct buf right = BUF_INIT(100);
		words_net_text(&right, &n);
		return errmsg_say(why, -EINVAL, "'%.*s' has bits after its length; did you mean '%s'?", SHOW(text), buf_cstr(&right));
	}
	*out = n;
	return 0;
}

int words_pref64(struct slice text, struct xlat_prefix *out, struct errmsg *why)
{
	static const uint8_t lengths[] = { 32, 40, 48, 56, 64, 96 };
	static const uint8_t well_known[12] = { 0, 0x64, 0xff, 0x9b };
	struct words_net n;
	bool right = false;

	if (slice_find_byte(text, '/') == SLICE_NPOS && words_address(text, 6, n.addr, NULL, NULL) == 0)
		return errmsg_say(why, -EINVAL, "'%.*s' has no length: most prefixes are '%.*s/96' (RFC 6052 2.2)", SHOW(text), SHOW(text));
	int err = words_net(text, 6, &n, why);
	if (err != 0)
		return err;
	for (size_t i = 0; i < ARRAY_LEN(lengths); i++)
		right |= n.bits == lengths[i];
	if (!right)
		return errmsg_say(why, -EINVAL, "'%.*s': a translation prefix has 32, 40, 48, 56, 64 or 96 bits, not %u (RFC 6052 2.2)",
				  SHOW(text), n.bits);
	const uint8_t *b = (const uint8_t *)n.addr;
	if (b[8] != 0)
		return errmsg_say(why, -EINVAL, "'%.*s': bits 64 to 71 of a translation prefix are zero (RFC 6052 2.2)", SHOW(text));
	if (b[0] == 0xff || (b[0] == 0xfe && (b[1] & 0xc0) == 0x80) || (n.addr[0] == 0 && n.addr[1] == 0))
		return errmsg_say(why, -EINVAL, "'%.*s' is not a prefix of unicast addresses", SHOW(text));
	*out = (struct xlat_prefix){ .bits = n.bits };
	memcpy(out->addr, n.addr, sizeof(out->addr));
	out->global_only = n.bits == 96 && memcmp(b, well_known, sizeof(well_known)) == 0;
	return 0;
}

/* An IPv4 range that hosts can have. */
static int unicast4(struct slice text, uint32_t first, uint32_t last, struct errmsg *why)
{
	static const struct { uint32_t first, last; const char *what; } never[] = {
		{ 0x00000000, 0x00ffffff, "'this network' (0.0.0.0/8)" }, { 0x7f000000, 0x7fffffff, "loopback" },
		{ 0xa9fe0000, 0xa9feffff, "link-local" }, { 0xe0000000, 0xefffffff, "multicast" },
		{ 0xf0000000, 0xffffffff, "reserved" },
	};

	for (size_t i = 0; i < ARRAY_LEN(never); i++) {
		if (first <= never[i].last && last >= never[i].first)
			return errmsg_say(why, -EINVAL, "'%.*s' has addresses that are %s: no host can have them", SHOW(text), never[i].what);
	}
	return 0;
}

static int pool_addresses(struct slice word, struct xlat_pool *row, struct errmsg *why)
{
	struct slice from, to;
	struct words_net n;
	__be32 a[4], b[4];

	if (slice_cut(word, '-', &from, &to)) {
		int err = words_address(from, 4, a, NULL, why);
		if (err == 0)
			err = words_address(to, 4, b, NULL, why);
		if (err != 0)
			return err;
		if (ntohl(a[0]) > ntohl(b[0]))
			return errmsg_say(why, -EINVAL, "'%.*s': the first address is above the last", SHOW(word));
		row->first = ntohl(a[0]);
		row->count = ntohl(b[0]) - row->first;
	} else {
		int err = words_net(word, 4, &n, why);
		if (err != 0)
			return err;
		row->first = ntohl(n.addr[0]);
		row->count = n.bits == 0 ? UINT32_MAX : (uint32_t)((UINT64_C(1) << (32 - n.bits)) - 1);
	}
	int err = unicast4(word, row->first, row->first + row->count, why);
	row->count++;
	return err;
}

static int pool_ports(struct slice word, struct xlat_pool *row, struct errmsg *why)
{
	struct slice from, to;
	uint64_t first, last;
	bool range = slice_cut(word, '-', &from, &to);

	if (!slice_u64(from, 65535, &first) || first == 0 || !slice_u64(range ? to : from, 65535, &last) || last < first)
		return errmsg_say(why, -EINVAL, "'%.*s' is not a range of ports such as 1024-65535", SHOW(word));
	row->port_first = (uint16_t)first;
	row->port_last = (uint16_t)last;
	return 0;
}

int words_pool(struct slice text, struct xlat_pool *out, bool *has_ports, struct errmsg *why)
{
	struct xlat_pool row = { 0 };
	struct slice rest = text, word = words_next(&rest);
	bool more = false, ports = false;
	uint64_t mark;
	int err = pool_addresses(word, &row, why);

	while (err == 0 && (word = words_next(&rest)).len > 0) {
		more = true;
		if (ascii_digit(word.ptr[0])) {
			err = ports ? errmsg_say(why, -EINVAL, "'%.*s': one range of ports in a row; write another row", SHOW(text)) :
			      pool_ports(word, &row, why);
			ports = true;
		} else if (slice_eq(word, SLICE("shared"))) {
			row.flags |= XLAT_POOL_SHARED;
		} else if (slice_eq(word, SLICE("drain"))) {
			row.flags |= XLAT_POOL_DRAIN;
		} else if (slice_eq(word, SLICE("mark"))) {
			struct slice number = words_next(&rest);
			if (!slice_u64(number, UINT32_MAX, &mark) || mark == 0)
				return errmsg_say(why, -EINVAL, "'%.*s': after mark follows a number from 1 to 4294967295", SHOW(text));
			row.mark = (uint32_t)mark;
		} else {
			return errmsg_say(why, -EINVAL, "'%.*s' in '%.*s': after the addresses come ports (1024-65535), shared, mark N, drain",
					  SHOW(word), SHOW(text));
		}
	}
	if (err != 0)
		return err;
	if (!ports) {
		row.port_first = (row.flags & XLAT_POOL_SHARED) != 0 ? HOST_PORT_FIRST : 1;
		row.port_last = 65535;
	}
	*out = row;
	*has_ports = more;
	return 0;
}

static int unicast6(struct slice text, const __be32 addr[4], struct errmsg *why)
{
	const uint8_t *b = (const uint8_t *)addr;

	if (b[0] == 0xff || (b[0] == 0xfe && (b[1] & 0xc0) == 0x80) || (addr[0] == 0 && addr[1] == 0))
		return errmsg_say(why, -EINVAL, "'%.*s' is not a global unicast address or prefix", SHOW(text));
	return 0;
}

int words_mapping(struct slice text, struct xlat_eam *out, struct errmsg *why)
{
	struct slice rest = text, word;
	struct words_net four = { 0 }, six = { 0 }, n;
	int err;

	while ((word = next_meaning(&rest)).len > 0) {
		if ((err = words_net(word, 0, &n, why)) != 0)
			return err;
		struct words_net *to = n.family == 4 ? &four : &six;
		if (to->family != 0)
			return errmsg_say(why, -EINVAL, "'%.*s' has two IPv%u prefixes: a mapping is one of each family, "
					  "'192.0.2.0/24 2001:db8:1::/120'", SHOW(text), n.family);
		*to = n;
		err = n.family == 6 ? unicast6(word, n.addr, why) :
		      unicast4(word, ntohl(n.addr[0]), ntohl(n.addr[0]) | (n.bits == 0 ? UINT32_MAX : (uint32_t)((UINT64_C(1) << (32 - n.bits)) - 1)), why);
		if (err != 0)
			return err;
	}
	if (four.family == 0 || six.family == 0)
		return errmsg_say(why, -EINVAL, "'%.*s': a mapping is an IPv4 and an IPv6 prefix, '192.0.2.0/24 2001:db8:1::/120'", SHOW(text));
	if (32 - four.bits > 128 - six.bits)
		return errmsg_say(why, -EINVAL, "'%.*s': %u bits of IPv4 addresses do not fit the %u bits after the IPv6 prefix; "
				  "make it /%u or shorter (RFC 7757 3.2)", SHOW(text), 32u - four.bits, 128u - six.bits, 96u + four.bits);
	*out = (struct xlat_eam){ .addr4 = four.addr[0], .bits4 = four.bits, .bits6 = six.bits };
	memcpy(out->addr6, six.addr, sizeof(out->addr6));
	return 0;
}

int words_endpoint(struct slice text, __be32 addr[4], __be16 *port, unsigned *family, struct errmsg *why)
{
	struct slice host = text, number = { 0 };
	uint64_t n;
	size_t colon = slice_rfind_byte(text, ':');

	if (colon != SLICE_NPOS) {
		host = slice_head(text, colon);
		number = slice_from(text, colon + 1);
	}
	bool six = slice_starts(host, SLICE("[")) && slice_ends(host, SLICE("]"));
	if (six)
		host = slice_sub(host, 1, host.len - 1);
	if (!slice_u64(number, 65535, &n) || words_address(host, six ? 6 : 4, addr, family, NULL) != 0)
		return errmsg_say(why, -EINVAL, "'%.*s' is not an address and port such as 192.0.2.1:80 or [2001:db8::1]:80", SHOW(text));
	*port = htons((uint16_t)n);
	return 0;
}

static const struct { const char *name; unsigned number; } protocols[] = {
	{ "tcp", XLAT_TCP }, { "udp", XLAT_UDP }, { "icmp", XLAT_ICMP }, { "icmpv6", XLAT_ICMP6 }, { "sctp", XLAT_SCTP },
	{ "dccp", XLAT_DCCP },
};

const char *words_protocol(unsigned protocol)
{
	for (size_t i = 0; i < ARRAY_LEN(protocols); i++) {
		if (protocols[i].number == protocol)
			return protocols[i].name;
	}
	return "other";
}

unsigned words_protocol_number(struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(protocols); i++) {
		if (slice_eq(name, slice_str(protocols[i].name)))
			return protocols[i].number;
	}
	return 0;
}

int words_static(struct slice text, struct xlat_bib *out, struct errmsg *why)
{
	struct slice rest = text, word = words_next(&rest);
	unsigned protocol = words_protocol_number(word);
	bool four = false, six = false;
	struct xlat_bib bib = { .flags = XLAT_BIB_STATIC };

	if (protocol != XLAT_TCP && protocol != XLAT_UDP && protocol != XLAT_ICMP)
		return errmsg_say(why, -EINVAL, "'%.*s': a static mapping begins with tcp, udp or icmp: "
				  "'tcp 192.0.2.1:80 [2001:db8::10]:8080'", SHOW(text));
	bib.key.protocol = (__u8)protocol;
	while ((word = next_meaning(&rest)).len > 0) {
		__be32 addr[4];
		__be16 port;
		unsigned family;
		int err = words_endpoint(word, addr, &port, &family, why);
		if (err == 0)
			err = family == 6 ? unicast6(word, addr, why) : unicast4(word, ntohl(addr[0]), ntohl(addr[0]), why);
		if (err != 0)
			return err;
		if (family == 6 ? six : four)
			return errmsg_say(why, -EINVAL, "'%.*s': one address and port of each family, 'tcp 192.0.2.1:80 [2001:db8::10]:8080'",
					  SHOW(text));
		if (port == 0 && protocol != XLAT_ICMP)
			return errmsg_say(why, -EINVAL, "'%.*s': ports are 1 to 65535", SHOW(text));
		if (family == 6) {
			six = true;
			memcpy(bib.key.addr6, addr, sizeof(addr));
			bib.key.port6 = port;
		} else {
			four = true;
			bib.addr4 = addr[0];
			bib.port4 = port;
		}
	}
	if (!four || !six)
		return errmsg_say(why, -EINVAL, "'%.*s': one address and port of each family, 'tcp 192.0.2.1:80 [2001:db8::10]:8080'",
				  SHOW(text));
	*out = bib;
	return 0;
}

/* ---- and text again ---- */

void words_address_text(struct buf *out, unsigned family, const __be32 addr[4])
{
	char text[INET6_ADDRSTRLEN];

	must(inet_ntop(family == 4 ? AF_INET : AF_INET6, addr, text, sizeof(text)) != NULL);
	buf_adds(out, text);
}

void words_endpoint_text(struct buf *out, unsigned family, const __be32 addr[4], __be16 port)
{
	if (family == 6)
		buf_addc(out, '[');
	words_address_text(out, family, addr);
	buf_printf(out, "%s:%u", family == 6 ? "]" : "", ntohs(port));
}

void words_net_text(struct buf *out, const struct words_net *net)
{
	words_address_text(out, net->family, net->addr);
	buf_printf(out, "/%u", net->bits);
}

void words_prefix_text(struct buf *out, const struct xlat_prefix *prefix)
{
	words_address_text(out, 6, prefix->addr);
	buf_printf(out, "/%u", prefix->bits);
}

static void range_text(struct buf *out, uint32_t first, uint32_t count)
{
	__be32 a[4] = { htonl(first) }, b[4] = { htonl(first + (count - 1)) };

	words_address_text(out, 4, a);
	if (count == 1)
		return;
	if ((count & (count - 1)) == 0 && (first & (count - 1)) == 0) {
		buf_printf(out, "/%d", 32 - __builtin_ctz(count));
		return;
	}
	buf_addc(out, '-');
	words_address_text(out, 4, b);
}

void words_pool_text(struct buf *out, const struct xlat_pool *pool, bool with_ports)
{
	range_text(out, pool->first, pool->count);
	if (!with_ports)
		return;
	buf_printf(out, " %u-%u", pool->port_first, pool->port_last);
	if ((pool->flags & XLAT_POOL_SHARED) != 0)
		buf_adds(out, " shared");
	if (pool->mark != 0)
		buf_printf(out, " mark %u", pool->mark);
	if ((pool->flags & XLAT_POOL_DRAIN) != 0)
		buf_adds(out, " drain");
}

void words_mapping_text(struct buf *out, const struct xlat_eam *eam)
{
	__be32 four[4] = { eam->addr4 };

	words_address_text(out, 4, four);
	buf_printf(out, "/%u ", eam->bits4);
	words_address_text(out, 6, eam->addr6);
	buf_printf(out, "/%u", eam->bits6);
}

void words_static_text(struct buf *out, const struct xlat_bib *bib)
{
	__be32 four[4] = { bib->addr4 };

	buf_printf(out, "%s ", words_protocol(bib->key.protocol));
	words_endpoint_text(out, 4, four, bib->port4);
	buf_addc(out, ' ');
	words_endpoint_text(out, 6, bib->key.addr6, bib->key.port6);
}

bool words_nets_overlap(const __be32 a[4], unsigned a_bits, const __be32 b[4], unsigned b_bits)
{
	const uint8_t *p = (const uint8_t *)a, *q = (const uint8_t *)b;
	unsigned bits = MIN(a_bits, b_bits);

	if (memcmp(p, q, bits / 8) != 0)
		return false;
	return bits % 8 == 0 || ((p[bits / 8] ^ q[bits / 8]) & (0xffu << (8 - bits % 8)) & 0xffu) == 0;
}
