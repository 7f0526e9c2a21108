#include "spine/frame.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <stdio.h>

#include "base/hex.h"
#include "base/utf8.h"

#define VLANS_MAX     2u
#define PAYLOAD_MAX   (FRAME_BYTES_MAX - 14)
#define ADDRESS_CHARS 64u

struct address {
	int family;			/* 0: none */
	uint8_t bytes[16];
	uint16_t port;
	bool has_port;
};

struct frame {
	uint8_t to[6], from[6];
	uint16_t vlan[VLANS_MAX];
	size_t vlan_count;
	uint32_t type;			/* of Ethernet; UINT32_MAX: as the rest says */
	int proto;			/* of IP; -1: no IP */
	struct address source, target;
	uint8_t ttl, tos, icmp_type, icmp_code, flags;
	uint32_t seq, ack;
	bool has_icmp_type;
	struct buf payload;
};

struct words {
	struct slice rest, word;
	struct errmsg *why;
};

static int wrong(const struct words *w, const char *what)
{
	return errmsg_say(w->why, -EINVAL, "at '%.*s': %s", SLICE_FMT(utf8_head(w->word, 60)), what);
}

/* The next word, quotes included; false at the end. */
static bool next_word(struct words *w)
{
	size_t n = 0;

	w->rest = slice_trim(w->rest);
	if (w->rest.len == 0) {
		w->word = SLICE("end");
		return false;
	}
	bool quoted = w->rest.ptr[0] == '"';
	for (n = 1; n < w->rest.len; n++) {
		uint8_t c = w->rest.ptr[n];
		if (quoted && c == '\\') {
			n++;
		} else if (quoted && c == '"') {
			n++;
			break;
		} else if (!quoted && (c == ' ' || c == '\t')) {
			break;
		}
	}
	w->word = slice_head(w->rest, n);
	w->rest = slice_from(w->rest, n);
	return true;
}

/* A number, decimal or 0x..., up to max, as the next word. */
static int number(struct words *w, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;

	if (!next_word(w))
		return wrong(w, "a number is missing");
	if (slice_starts(w->word, SLICE("0x")) && w->word.len > 2 && w->word.len <= 18) {
		for (size_t i = 2; i < w->word.len; i++) {
			int digit = hex_value(w->word.ptr[i]);
			if (digit < 0)
				return wrong(w, "this is no hexadecimal number");
			v = v << 4 | (unsigned)digit;
		}
		if (v > max)
			return wrong(w, "this number is too large");
	} else if (!slice_u64(w->word, max, &v)) {
		return wrong(w, "a number is expected, or it is too large");
	}
	*out = v;
	return 0;
}

/* ---- payload ---- */

static int text_payload(struct words *w, struct buf *out)
{
	static const char names[] = "nrt0\"\\", values[] = "\n\r\t\0\"\\";
	struct slice s = w->word;

	if (s.len < 2 || s.ptr[s.len - 1] != '"')
		return wrong(w, "the quotes do not end");
	for (size_t i = 1; i < s.len - 1; i++) {
		if (s.ptr[i] != '\\') {
			buf_addc(out, s.ptr[i]);
			continue;
		}
		i++;
		const char *found = memchr(names, s.ptr[i], sizeof(names) - 1);
		if (found != NULL) {
			buf_addc(out, (uint8_t)values[found - names]);
		} else if (s.ptr[i] == 'x' && i + 3 < s.len && hex_value(s.ptr[i + 1]) >= 0 &&
			   hex_value(s.ptr[i + 2]) >= 0) {
			buf_addc(out, (uint8_t)(hex_value(s.ptr[i + 1]) << 4 | hex_value(s.ptr[i + 2])));
			i += 2;
		} else {
			return wrong(w, "behind '\\' stands n, r, t, 0, \", \\ or xHH");
		}
	}
	return 0;
}

static int count_payload(struct words *w, struct buf *out)
{
	uint64_t n = 0;
	int err = number(w, PAYLOAD_MAX, &n);

	for (uint64_t i = 0; err == 0 && i < n; i++)
		buf_addc(out, (uint8_t)i);
	return err;
}

/* The word is payload: 1, taken; 0: it is something else; or -EINVAL. */
static int payload(struct words *w, struct buf *out)
{
	int err;

	if (w->word.ptr[0] == '"') {
		err = text_payload(w, out);
	} else if (w->word.ptr[0] == 'x' && w->word.len > 1) {
		if (!hex_decode(out, slice_from(w->word, 1)))
			return wrong(w, "behind x stands an even number of hexadecimal digits");
		err = 0;
	} else if (slice_eq(w->word, SLICE("bytes"))) {
		err = count_payload(w, out);
	} else {
		return 0;
	}
	if (err == 0 && out->err != 0)
		return wrong(w, "the payload is too long");
	return err == 0 ? 1 : err;
}

/* ---- addresses ---- */

static int mac(struct words *w, uint8_t out[6])
{
	struct slice rest, part;

	if (!next_word(w))
		return wrong(w, "an Ethernet address is missing");
	rest = w->word;
	for (size_t i = 0; i < 6; i++) {
		bool more = slice_cut(rest, ':', &part, &rest);
		if (part.len != 2 || hex_value(part.ptr[0]) < 0 || hex_value(part.ptr[1]) < 0 || more != (i < 5))
			return wrong(w, "an Ethernet address is like 02:00:00:00:00:01");
		out[i] = (uint8_t)(hex_value(part.ptr[0]) << 4 | hex_value(part.ptr[1]));
	}
	return 0;
}

static int arrow(struct words *w)
{
	return next_word(w) && slice_eq(w->word, SLICE(">")) ? 0 : wrong(w, "'>' is expected between source and target");
}

/* "10.0.0.1", "10.0.0.1:53", "2001:db8::1", "[2001:db8::1]:53" */
static int address(struct words *w, struct address *out)
{
	char text[ADDRESS_CHARS];
	struct slice host, port = { 0 };
	uint64_t n;

	if (!next_word(w))
		return wrong(w, "an address is missing");
	host = w->word;
	if (slice_starts(host, SLICE("["))) {
		slice_cut(slice_from(host, 1), ']', &host, &port);
		if (!slice_starts(port, SLICE(":")))
			return wrong(w, "an IPv6 address with port is like [2001:db8::1]:53");
		port = slice_from(port, 1);
		out->has_port = true;
	} else if (slice_find_byte(host, '.') != SLICE_NPOS && slice_find_byte(host, ':') != SLICE_NPOS) {
		slice_cut(host, ':', &host, &port);
		out->has_port = true;
	}
	if (out->has_port && !slice_u64(port, 65535, &n))
		return wrong(w, "a port is a number from 0 to 65535");
	out->port = out->has_port ? (uint16_t)n : 0;
	if (!slice_to_str(host, text, sizeof(text)))
		return wrong(w, "this is no address");
	out->family = inet_pton(AF_INET, text, out->bytes) == 1 ? AF_INET :
		      inet_pton(AF_INET6, text, out->bytes) == 1 ? AF_INET6 : 0;
	return out->family != 0 ? 0 : wrong(w, "this is no address");
}

static int addresses(struct words *w, struct frame *f, bool ports)
{
	int err = address(w, &f->source);

	if (err == 0)
		err = arrow(w);
	if (err == 0)
		err = address(w, &f->target);
	if (err != 0)
		return err;
	if (f->source.family != f->target.family)
		return wrong(w, "source and target are of different families");
	if (f->source.has_port != ports || f->target.has_port != ports)
		return wrong(w, ports ? "addresses here have ports, like 10.0.0.1:53" : "addresses here have no ports");
	return 0;
}

/* ---- words ---- */

static int tcp_flags(struct words *w, uint8_t *out)
{
	static const char letters[] = "FSRPAUEC";

	if (!next_word(w))
		return wrong(w, "flags are missing");
	*out = 0;
	for (size_t i = 0; i < w->word.len; i++) {
		const char *at = memchr(letters, w->word.ptr[i], sizeof(letters) - 1);
		if (at == NULL)
			return wrong(w, "flags are letters of FSRPAUEC, like SA");
		*out |= (uint8_t)(1u << (at - letters));
	}
	return 0;
}

static int ethernet(struct words *w, struct frame *f)
{
	int err = mac(w, f->from);

	if (err == 0)
		err = arrow(w);
	return err == 0 ? mac(w, f->to) : err;
}

static int vlan(struct words *w, struct frame *f)
{
	uint64_t tag = 0;
	int err = number(w, 0xffff, &tag);

	if (err == 0 && f->vlan_count == VLANS_MAX)
		return wrong(w, "more than two VLAN tags");
	if (err == 0)
		f->vlan[f->vlan_count++] = (uint16_t)tag;
	return err;
}

/* A word that begins an IP packet: its protocol; -1: it is none. */
static int protocol_word(struct slice word)
{
	static const struct {
		const char *name;
		int proto;
	} rows[] = {
		{ "udp", IPPROTO_UDP }, { "tcp", IPPROTO_TCP }, { "icmp", IPPROTO_ICMP }, { "icmp6", IPPROTO_ICMPV6 },
		{ "ip", 253 },		/* RFC 3692: for experiments, until `proto` says another */
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (slice_eq(word, slice_str(rows[i].name)))
			return rows[i].proto;
	}
	return -1;
}

/* "ttl 3" and such: a word and its number. */
static int field(struct words *w, struct frame *f)
{
	static const struct {
		const char *name;
		uint32_t max;
	} rows[] = {
		{ "ttl", 255 }, { "tos", 255 }, { "proto", 255 }, { "type", 65535 }, { "code", 255 }, { "seq", UINT32_MAX },
		{ "ack", UINT32_MAX },
	};
	uint64_t v = 0;
	size_t i = 0;

	while (i < ARRAY_LEN(rows) && !slice_eq(w->word, slice_str(rows[i].name)))
		i++;
	if (i == ARRAY_LEN(rows))
		return wrong(w, "this word means nothing here; known are eth, vlan, udp, tcp, icmp, icmp6, ip, hex, ttl, tos, "
				"proto, type, code, flags, seq, ack, bytes, \"text\" and x0a0b");
	bool icmp = f->proto == IPPROTO_ICMP || f->proto == IPPROTO_ICMPV6;
	int err = number(w, i == 3 && icmp ? 255 : rows[i].max, &v);
	if (err != 0)
		return err;
	switch (i) {
	case 0:
		f->ttl = (uint8_t)v;
		break;
	case 1:
		f->tos = (uint8_t)v;
		break;
	case 2:
		f->proto = f->proto < 0 ? -1 : (int)v;
		break;
	case 3:
		f->has_icmp_type |= icmp;
		if (icmp)
			f->icmp_type = (uint8_t)v;
		else
			f->type = (uint32_t)v;
		break;
	case 4:
		f->icmp_code = (uint8_t)v;
		break;
	case 5:
		f->seq = (uint32_t)v;
		break;
	default:
		f->ack = (uint32_t)v;
		break;
	}
	return 0;
}

static int one_word(struct words *w, struct frame *f)
{
	int proto = protocol_word(w->word), taken;

	if (slice_eq(w->word, SLICE("eth")))
		return ethernet(w, f);
	if (slice_eq(w->word, SLICE("vlan")))
		return vlan(w, f);
	if (slice_eq(w->word, SLICE("flags")))
		return tcp_flags(w, &f->flags);
	if (proto >= 0) {
		if (f->proto >= 0)
			return wrong(w, "a frame holds one packet");
		f->proto = proto;
		return addresses(w, f, proto == IPPROTO_UDP || proto == IPPROTO_TCP);
	}
	taken = payload(w, &f->payload);
	return taken > 0 ? 0 : taken < 0 ? taken : field(w, f);
}

/* ---- bytes ---- */

static uint32_t sum_bytes(uint32_t sum, struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		sum += i % 2 == 0 ? (uint32_t)s.ptr[i] << 8 : s.ptr[i];
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void put16(uint8_t *at, uint16_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

/* Header and payload of the protocol above IP; the checksum's place, SIZE_MAX: none. */
static size_t add_transport(struct buf *out, const struct frame *f)
{
	size_t start = out->len, check = SIZE_MAX;

	switch (f->proto) {
	case IPPROTO_UDP:
		buf_be16(out, f->source.port);
		buf_be16(out, f->target.port);
		buf_be16(out, (uint16_t)(8 + f->payload.len));
		buf_be16(out, 0);
		check = start + 6;
		break;
	case IPPROTO_TCP:
		buf_be16(out, f->source.port);
		buf_be16(out, f->target.port);
		buf_be32(out, f->seq);
		buf_be32(out, f->ack);
		buf_addc(out, 5 << 4);
		buf_addc(out, f->flags);
		buf_be16(out, 65535);
		buf_be32(out, 0);
		check = start + 16;
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		buf_addc(out, f->icmp_type);
		buf_addc(out, f->icmp_code);
		buf_be16(out, 0);
		buf_be32(out, f->seq);
		check = start + 2;
		break;
	default:
		break;
	}
	buf_add(out, buf_slice(&f->payload));
	return check;
}

static void add_checksum(struct buf *out, const struct frame *f, size_t start, size_t check)
{
	size_t width = f->source.family == AF_INET ? 4 : 16;
	uint32_t sum = 0;

	if (check == SIZE_MAX || out->err != 0)
		return;
	if (f->proto != IPPROTO_ICMP) {
		sum = sum_bytes(sum, slice_of(f->source.bytes, width));
		sum = sum_bytes(sum, slice_of(f->target.bytes, width));
		sum += (uint32_t)f->proto + (uint32_t)(out->len - start);
	}
	uint16_t folded = fold(sum_bytes(sum, slice_of(out->ptr + start, out->len - start)));
	put16(out->ptr + check, folded == 0 && f->proto == IPPROTO_UDP ? 0xffff : folded);
}

static void add_ip(struct buf *out, const struct frame *f)
{
	static const uint8_t header[] = { 0x45, 0, 0, 0, 0, 0, 0x40, 0 };
	size_t ip = out->len;
	bool v4 = f->source.family == AF_INET;

	if (v4) {
		buf_add(out, slice_of(header, sizeof(header)));
		buf_addc(out, f->ttl);
		buf_addc(out, (uint8_t)f->proto);
		buf_be16(out, 0);
	} else {
		buf_be32(out, 6u << 28 | (uint32_t)f->tos << 20);
		buf_be16(out, 0);
		buf_addc(out, (uint8_t)f->proto);
		buf_addc(out, f->ttl);
	}
	buf_add(out, slice_of(f->source.bytes, v4 ? 4 : 16));
	buf_add(out, slice_of(f->target.bytes, v4 ? 4 : 16));
	size_t start = out->len, check = add_transport(out, f);
	if (out->err != 0)
		return;
	if (v4) {
		out->ptr[ip + 1] = f->tos;
		put16(out->ptr + ip + 2, (uint16_t)(out->len - ip));
		put16(out->ptr + ip + 10, fold(sum_bytes(0, slice_of(out->ptr + ip, 20))));
	} else {
		put16(out->ptr + ip + 4, (uint16_t)(out->len - start));
	}
	add_checksum(out, f, start, check);
}

static void add_frame(struct buf *out, const struct frame *f)
{
	uint32_t type = f->type;

	if (type == UINT32_MAX)
		type = f->proto < 0 ? 0x88b5 : f->source.family == AF_INET ? ETHERTYPE_IP : ETHERTYPE_IPV6;
	buf_add(out, slice_of(f->to, 6));
	buf_add(out, slice_of(f->from, 6));
	for (size_t i = 0; i < f->vlan_count; i++) {
		buf_be16(out, ETHERTYPE_VLAN);
		buf_be16(out, f->vlan[i]);
	}
	buf_be16(out, (uint16_t)type);
	if (f->proto >= 0)
		add_ip(out, f);
	else
		buf_add(out, buf_slice(&f->payload));
}

/* "hex": all that follows are digits, in groups as you like. */
static int hex_frame(struct words *w, struct buf *out)
{
	while (next_word(w)) {
		if (!hex_decode(out, w->word))
			return wrong(w, "these are no pairs of hexadecimal digits, or too many");
	}
	return 0;
}

int frame_parse(struct buf *out, struct slice text, struct errmsg *why)
{
	struct frame f = { .to = { 2, 0, 0, 0, 0, 2 }, .from = { 2, 0, 0, 0, 0, 1 }, .type = UINT32_MAX, .proto = -1,
			   .ttl = 64, .flags = 1u << 4, .payload = BUF_INIT(PAYLOAD_MAX) };
	struct words w = { .rest = text, .why = why };
	AUTO_BUF struct buf bytes = BUF_INIT(FRAME_BYTES_MAX);
	int err = next_word(&w) ? 0 : wrong(&w, "a frame is missing: 'udp 10.0.0.1:1000 > 10.0.0.2:53 \"data\"' or 'hex 0200...'");

	if (err == 0 && slice_eq(w.word, SLICE("hex"))) {
		err = hex_frame(&w, &bytes);
	} else if (err == 0) {
		do
			err = one_word(&w, &f);
		while (err == 0 && next_word(&w));
		if (err == 0 && f.proto == IPPROTO_ICMP && !f.has_icmp_type)
			f.icmp_type = 8;
		if (err == 0 && f.proto == IPPROTO_ICMPV6 && !f.has_icmp_type)
			f.icmp_type = 128;
		if (err == 0)
			add_frame(&bytes, &f);
	}
	buf_done(&f.payload);
	if (err != 0)
		return err;
	if (bytes.err != 0 || bytes.len < FRAME_BYTES_MIN)
		return errmsg_say(why, -EINVAL, "a frame has %u to %u bytes, this one has %s", FRAME_BYTES_MIN, FRAME_BYTES_MAX,
				  bytes.err != 0 ? "more" : "fewer");
	buf_add(out, buf_slice(&bytes));
	return out->err;
}
