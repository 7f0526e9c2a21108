/*
 * The grammar is libpcap's (its grammar.y), with its oddities: `and` and `or` bind equally strong, from left to
 * right; a value without words before it takes those of the value before it ("port 53 or 80").
 */
#include "spine/code/rule_parse.h"

#include <errno.h>

#include "base/attr.h"
#include "spine/code/guard.h"

#define NOT_SIMPLE 1
#define ETHER_LENGTH_MAX 1500		/* up to here the type field is a length, and LLC follows */
#define ETHERTYPE_ATALK 0x809bu		/* libpcap looks for their SNAP form, too */
#define ETHERTYPE_AARP 0x80f3u

enum direction { EITHER, SOURCE, DESTINATION, BOTH };

/* The words before a value. */
struct qualifier {
	bool valid;			/* a value may follow */
	enum keyword proto, type;
	enum direction direction;
	size_t at, bytes;		/* of its first word */
};

struct parser {
	struct arena *arena;
	const struct tokens *tokens;
	size_t at;
	unsigned depth;
	struct rule *rule;
	struct errmsg *why;
};

static const struct token *peek(const struct parser *p)
{
	return &p->tokens->at[p->at];
}

static bool is_key(const struct token *t, enum keyword key)
{
	return t->kind == TOKEN_WORD && t->key == key;
}

static bool is_sign(const struct token *t, const char *text)
{
	return t->kind == TOKEN_SIGN && slice_eq(t->text, slice_str(text));
}

static int not_simple(struct parser *p, const char *reason)
{
	p->rule->guard_why = reason;
	return NOT_SIMPLE;
}

static int no_memory(struct parser *p)
{
	return errmsg_say(p->why, -ENOMEM, "no memory for the match rule");
}

#define WRONG(p, t, ...) rule_wrong((p)->why, (p)->tokens->rule, (t)->at, MAX((t)->text.len, (size_t)1), __VA_ARGS__)

/* Why a word that the tree does not know makes a rule a guard. */
static const char *key_reason(enum keyword key)
{
	switch (key) {
	case KEY_PROTOCHAIN:
		return "it follows chains of headers";
	case KEY_LENGTH:
		return "it looks at the frame's length";
	case KEY_SHIFT:
		return "it moves the offsets of what follows";
	case KEY_LINK_ADDRESS:
		return "it looks at link-layer or subnet addresses";
	default:
		return "it uses words that only libpcap knows";
	}
}

/* ---- terms of primitives ---- */

static const struct ranges *values(struct parser *p, const uint32_t *v, size_t count)
{
	const struct ranges *all = &ranges_none;

	for (size_t i = 0; all != NULL && i < count; i++) {
		const struct ranges *one = ranges_one(p->arena, v[i], v[i]);

		all = one == NULL ? NULL : ranges_union(p->arena, all, one);
	}
	return all;
}

static int terms_single(struct parser *p, struct term t, struct terms *out)
{
	struct term *copy = ARENA_NEW(p->arena, struct term);

	if (copy == NULL)
		return no_memory(p);
	*copy = t;
	*out = (struct terms){ 1, copy };
	return 0;
}

/* An ethertype, however short the frame. */
static int ethertype(struct parser *p, uint32_t type, struct terms *out)
{
	struct term t = { .field[FIELD_TYPE] = values(p, (uint32_t[]){ type, type | RULE_HEADER }, 2) };

	return t.field[FIELD_TYPE] == NULL ? no_memory(p) : terms_single(p, t, out);
}

#define IN_IP4 1u
#define IN_IP6 2u

static const struct ranges *families(struct parser *p, unsigned in)
{
	if (in == (IN_IP4 | IN_IP6))
		return values(p, (uint32_t[]){ RULE_IP4, RULE_IP6 }, 2);
	return values(p, (uint32_t[]){ in == IN_IP4 ? RULE_IP4 : RULE_IP6 }, 1);
}

/* A protocol over IP: libpcap looks behind one fragment header of IPv6. */
static int protocol(struct parser *p, uint32_t number, unsigned in, struct terms *out)
{
	struct term t = { .field[FIELD_TYPE] = families(p, in) };
	const struct ranges *more;

	t.field[FIELD_L4] = values(p, (uint32_t[]){ number, number | RULE_FRAGMENT }, 2);
	if (number == 44 && t.field[FIELD_L4] != NULL && (in & IN_IP6) != 0) {
		/* The fragment header itself: whatever comes after it. */
		more = ranges_one(p->arena, RULE_FRAGMENT, RULE_FRAGMENT_CUT);
		t.field[FIELD_L4] = more == NULL ? NULL : ranges_union(p->arena, t.field[FIELD_L4], more);
	}
	if (t.field[FIELD_TYPE] == NULL || t.field[FIELD_L4] == NULL)
		return no_memory(p);
	return terms_single(p, t, out);
}

/* A field of the source, of the destination, one of them or both. */
static int directed(struct parser *p, struct term base, enum rule_field src, enum rule_field dst,
		    const struct ranges *r, enum direction direction, struct terms *out)
{
	struct term from = base, to = base;
	int err;

	if (r == NULL)
		return no_memory(p);
	from.field[src] = r;
	to.field[dst] = r;
	if (direction == BOTH) {
		from.field[dst] = r;
		return terms_single(p, from, out);
	}
	if (direction != EITHER)
		return terms_single(p, direction == SOURCE ? from : to, out);
	err = terms_or(p->arena, &(struct terms){ 1, &from }, &(struct terms){ 1, &to }, out);
	return err == 0 ? 0 : no_memory(p);
}

static int ports(struct parser *p, const struct qualifier *q, uint32_t l4, uint32_t first, uint32_t last,
		 struct terms *out)
{
	struct term t = { .field[FIELD_TYPE] = families(p, IN_IP4 | IN_IP6) };

	if (l4 == 0)
		t.field[FIELD_L4] = values(p, (uint32_t[]){ 6, 17, 132 }, 3);
	else
		t.field[FIELD_L4] = values(p, &l4, 1);
	if (t.field[FIELD_TYPE] == NULL || t.field[FIELD_L4] == NULL)
		return no_memory(p);
	return directed(p, t, FIELD_SPORT, FIELD_DPORT, ranges_one(p->arena, MIN(first, last), MAX(first, last)),
			q->direction, out);
}

/* The frames that have IPv4 addresses; ARP's and RARP's count, too, unless the rule names the protocol. */
static const struct ranges *types4(struct parser *p, enum keyword proto)
{
	switch (proto) {
	case KEY_NONE:
		return values(p, (uint32_t[]){ RULE_IP4, RULE_ARP, RULE_RARP }, 3);
	case KEY_IP:
		return values(p, (uint32_t[]){ RULE_IP4 }, 1);
	case KEY_ARP:
		return values(p, (uint32_t[]){ RULE_ARP }, 1);
	default:
		return values(p, (uint32_t[]){ RULE_RARP }, 1);
	}
}

static int prefix4(struct parser *p, const struct qualifier *q, uint32_t address, unsigned bits, struct terms *out)
{
	uint32_t rest = bits == 0 ? UINT32_MAX : bits == 32 ? 0 : UINT32_MAX >> bits;
	struct term t = { .field[FIELD_TYPE] = types4(p, q->proto) };

	if (t.field[FIELD_TYPE] == NULL)
		return no_memory(p);
	return directed(p, t, FIELD_SRC4, FIELD_DST4, ranges_one(p->arena, address, address | rest), q->direction, out);
}

static int prefix6(struct parser *p, const struct qualifier *q, u128 address, unsigned bits, struct terms *out)
{
	u128 rest = bits == 0 ? ~(u128)0 : bits == 128 ? 0 : ~(u128)0 >> bits;
	struct term t = { .field[FIELD_TYPE] = families(p, IN_IP6) };

	if (t.field[FIELD_TYPE] == NULL)
		return no_memory(p);
	return directed(p, t, FIELD_SRC6, FIELD_DST6, ranges_one(p->arena, address, address | rest), q->direction, out);
}

/* ---- values ---- */

static int wrong_protocol(struct parser *p, const struct qualifier *q, const char *what)
{
	struct slice word = slice_sub(p->tokens->rule, q->at, q->at + q->bytes);

	return rule_wrong(p->why, p->tokens->rule, q->at, q->bytes, "'%.*s' cannot qualify %s; write '%.*s and ...'",
			  SLICE_FMT(word), what, SLICE_FMT(word));
}

/* "/24" behind an address. 0 and *bits, which stays when there is none; else an error. */
static int prefix_length(struct parser *p, const struct qualifier *q, unsigned most, unsigned *bits)
{
	const struct token *number = peek(p) + 1;

	if (peek(p)->kind != TOKEN_SLASH)
		return 0;
	if (number->kind != TOKEN_NUMBER || number->number > most)
		return WRONG(p, number, "the length of a prefix is a number from 0 to %u", most);
	if (q->type != KEY_NET)
		return WRONG(p, peek(p), "a prefix needs 'net' before it: 'net 192.0.2.0/24'");
	*bits = (unsigned)number->number;
	p->at += 2;
	return 0;
}

static int address4(struct parser *p, const struct qualifier *q, struct terms *out)
{
	const struct token *t = peek(p);
	uint32_t address = (uint32_t)t->number;
	unsigned bits = t->bits;
	bool slash = t[1].kind == TOKEN_SLASH;
	int err;

	if (q->proto != KEY_NONE && q->proto != KEY_IP && q->proto != KEY_ARP && q->proto != KEY_RARP)
		return wrong_protocol(p, q, "an IPv4 address");
	p->at++;
	err = prefix_length(p, q, 32, &bits);
	if (err != 0)
		return err;
	if (slash && bits < 32 && (address & (bits == 0 ? UINT32_MAX : UINT32_MAX >> bits)) != 0)
		return WRONG(p, t, "the address has bits behind the %u of its prefix", bits);
	return prefix4(p, q, address, bits, out);
}

static int address6(struct parser *p, const struct qualifier *q, struct terms *out)
{
	const struct token *t = peek(p);
	unsigned bits = 128;
	u128 address = 0;
	int err;

	if (q->proto != KEY_NONE && q->proto != KEY_IP6)
		return wrong_protocol(p, q, "an IPv6 address");
	p->at++;
	for (int i = 0; i < 16; i++)
		address = address << 8 | t->ip6[i];
	err = prefix_length(p, q, 128, &bits);
	if (err != 0)
		return err;
	if (bits < 128 && (address & (bits == 0 ? ~(u128)0 : ~(u128)0 >> bits)) != 0)
		return WRONG(p, t, "the address has bits behind the %u of its prefix", bits);
	return prefix6(p, q, address, bits, out);
}

static int address(struct parser *p, const struct qualifier *q, struct terms *out)
{
	const struct token *t = peek(p);
	uint32_t number = (uint32_t)t->number;
	unsigned bits = 32;

	switch (t->kind) {
	case TOKEN_IP4:
		return address4(p, q, out);
	case TOKEN_IP6:
		return address6(p, q, out);
	case TOKEN_NUMBER:
		if (q->type != KEY_NET || number == 0)
			return not_simple(p, "it gives an address as one number");
		/* "net 10" is 10.0.0.0/8: the number moves to the left until its first octet is not 0. */
		for (; number <= 0xffffff; bits -= 8)
			number <<= 8;
		if (t[1].kind == TOKEN_SLASH)
			return WRONG(p, t, "with a prefix length write all octets, as in 'net 10.0.0.0/8'");
		p->at++;
		if (q->proto != KEY_NONE && q->proto != KEY_IP && q->proto != KEY_ARP && q->proto != KEY_RARP)
			return wrong_protocol(p, q, "an IPv4 address");
		return prefix4(p, q, number, bits, out);
	case TOKEN_MAC:
		return not_simple(p, "it looks at link-layer addresses");
	default:
		return WRONG(p, t, "an address should stand here, as in '%s'",
			     q->type == KEY_NET ? "net 192.0.2.0/24" : "host 192.0.2.1");
	}
}

/* The protocol that a rule's ports belong to: 0 for all three that libpcap means. -1: none has ports. */
static int port_protocol(enum keyword proto)
{
	switch (proto) {
	case KEY_NONE:
		return 0;
	case KEY_TCP:
		return 6;
	case KEY_UDP:
		return 17;
	case KEY_SCTP:
		return 132;
	default:
		return -1;
	}
}

static int port_name(struct parser *p, const struct qualifier *q, struct terms *out)
{
	const struct token *t = peek(p);
	int want = port_protocol(q->proto);
	uint32_t port, l4;
	char name[64];

	if (!slice_to_str(t->text, name, sizeof(name)) || !guard_port(name, &port, &l4))
		return WRONG(p, t, "no port has this name; write its number");
	if (want > 0 && l4 != 0 && l4 != (uint32_t)want)
		return WRONG(p, t, "this port is not one of that protocol");
	p->at++;
	return ports(p, q, want > 0 ? (uint32_t)want : l4, port, port, out);
}

static int port(struct parser *p, const struct qualifier *q, struct terms *out)
{
	const struct token *t = peek(p);
	int l4 = port_protocol(q->proto);
	uint64_t last = t->kind == TOKEN_SPAN ? t->number_to : t->number;

	if (l4 < 0)
		return wrong_protocol(p, q, "a port");
	if (t->kind == TOKEN_SPAN && q->type == KEY_PORT)
		return WRONG(p, t, "a range of ports is written 'portrange %.*s'", SLICE_FMT(t->text));
	if (t->kind == TOKEN_WORD && t->key == KEY_NONE && q->type == KEY_PORT)
		return port_name(p, q, out);
	if (t->kind == TOKEN_WORD && t->key == KEY_NONE)
		return not_simple(p, "it names ports of a range");
	if (t->kind != TOKEN_NUMBER && t->kind != TOKEN_SPAN)
		return WRONG(p, t, "a %s should stand here, as in '%s'", q->type == KEY_PORT ? "port" : "range of ports",
			     q->type == KEY_PORT ? "port 53" : "portrange 6000-6010");
	if (t->number > 65535 || last > 65535)
		return WRONG(p, t, "ports end at 65535");
	p->at++;
	return ports(p, q, (uint32_t)l4, (uint32_t)t->number, (uint32_t)last, out);
}

/* The names that need no file. */
static const struct {
	const char *name;
	uint32_t ip, ether;
} proto_names[] = {
	{ "icmp", 1, 0 }, { "tcp", 6, 0 }, { "udp", 17, 0 }, { "sctp", 132, 0 },
	{ "ip", 0, 0x0800 }, { "ip6", 0, 0x86dd }, { "arp", 0, 0x0806 }, { "rarp", 0, 0x8035 },
};

static int proto_number(struct parser *p, bool ether, uint32_t *number)
{
	const struct token *t = peek(p);

	if (t->kind == TOKEN_WORD && t->key >= KEY_ETHER && t->key < KEY_PROTOCHAIN)
		return WRONG(p, t, "after 'proto' a name needs a backslash: '\\%.*s', or its number", SLICE_FMT(t->text));
	if (t->kind == TOKEN_NUMBER) {
		if (t->number > (ether ? 65535u : 255u))
			return WRONG(p, t, "protocol numbers end at %u here", ether ? 65535u : 255u);
		*number = (uint32_t)t->number;
		return 0;
	}
	for (size_t i = 0; t->kind == TOKEN_ESCAPED && i < ARRAY_LEN(proto_names); i++) {
		*number = ether ? proto_names[i].ether : proto_names[i].ip;
		if (*number != 0 && slice_eq(slice_from(t->text, 1), slice_str(proto_names[i].name)))
			return 0;
	}
	if (t->kind == TOKEN_ESCAPED || (t->kind == TOKEN_WORD && t->key == KEY_NONE))
		return not_simple(p, "it names a protocol that only libpcap knows");
	return WRONG(p, t, "the number of a protocol should stand here, as in 'ip proto 17'");
}

static int proto(struct parser *p, const struct qualifier *q, struct terms *out)
{
	bool ether = q->proto == KEY_ETHER;
	uint32_t number = 0;
	int err;

	if (q->direction != EITHER)
		return not_simple(p, "it uses words that only libpcap knows");
	if (q->proto != KEY_NONE && q->proto != KEY_IP && q->proto != KEY_IP6 && !ether)
		return not_simple(p, "it uses words that only libpcap knows");
	err = proto_number(p, ether, &number);
	if (err != 0)
		return err;
	if (ether && (number <= ETHER_LENGTH_MAX || number == ETHERTYPE_ATALK || number == ETHERTYPE_AARP))
		return not_simple(p, "it looks at LLC headers");
	p->at++;
	if (ether)
		return ethertype(p, number, out);
	return protocol(p, number, q->proto == KEY_IP ? IN_IP4 : q->proto == KEY_IP6 ? IN_IP6 : IN_IP4 | IN_IP6, out);
}

/* The set's number in the rule, or -1 with a sentence. */
static int set_number(struct parser *p)
{
	const struct token *t = peek(p);
	struct rule *r = p->rule;
	bool good = t->kind == TOKEN_WORD || t->kind == TOKEN_NUMBER || t->kind == TOKEN_SPAN;

	for (size_t i = 0; good && i < t->text.len; i++) {
		uint8_t c = t->text.ptr[i];

		good = ascii_alpha(c) || ascii_digit(c) || c == '_' || c == '-';
	}
	if (!good || t->text.len > RULE_SET_NAME_BYTES_MAX) {
		WRONG(p, t, "the name of a set should stand here: at most %d letters, digits, '-' and '_'",
		      RULE_SET_NAME_BYTES_MAX);
		return -1;
	}
	for (size_t i = 0; i < r->set_count; i++) {
		if (slice_eq(slice_str(r->sets[i]), t->text))
			return (int)i;
	}
	if (r->set_count == RULE_SETS_MAX) {
		WRONG(p, t, "a rule may use at most %d sets", RULE_SETS_MAX);
		return -1;
	}
	r->sets[r->set_count] = arena_str(p->arena, t->text);
	if (r->sets[r->set_count] == NULL) {
		no_memory(p);
		return -1;
	}
	return (int)r->set_count++;
}

static int set(struct parser *p, const struct qualifier *q, struct terms *out)
{
	struct term t = { 0 }, to;
	int number, err;

	if (q->proto != KEY_NONE && q->proto != KEY_IP && q->proto != KEY_IP6 && q->proto != KEY_ARP &&
	    q->proto != KEY_RARP)
		return wrong_protocol(p, q, "a set");
	if (q->proto == KEY_NONE)
		t.field[FIELD_TYPE] = values(p, (uint32_t[]){ RULE_IP4, RULE_ARP, RULE_RARP, RULE_IP6 }, 4);
	else
		t.field[FIELD_TYPE] = q->proto == KEY_IP6 ? families(p, IN_IP6) : types4(p, q->proto);
	if (t.field[FIELD_TYPE] == NULL)
		return no_memory(p);
	number = set_number(p);
	if (number < 0)
		return p->arena->err != 0 ? -ENOMEM : -EINVAL;
	p->at++;
	to = t;
	t.in = RULE_SET_BIT((unsigned)number, false);
	to.in = RULE_SET_BIT((unsigned)number, true);
	if (q->direction == BOTH) {
		t.in |= to.in;
		return terms_single(p, t, out);
	}
	if (q->direction != EITHER)
		return terms_single(p, q->direction == SOURCE ? t : to, out);
	err = terms_or(p->arena, &(struct terms){ 1, &t }, &(struct terms){ 1, &to }, out);
	return err == 0 ? 0 : no_memory(p);
}

static int value(struct parser *p, const struct qualifier *q, struct terms *out)
{
	const struct token *t = peek(p);

	if (t->kind == TOKEN_NOT)
		return not_simple(p, "it uses `not`");
	if (q->proto == KEY_ETHER && q->type != KEY_PROTO)
		return not_simple(p, "it looks at link-layer addresses");
	if (t->kind == TOKEN_WORD && t->key == KEY_NONE && (q->type == KEY_NONE || q->type == KEY_HOST || q->type == KEY_NET))
		return rule_unknown_word(p->why, p->tokens->rule, t);
	if (t->kind == TOKEN_WORD && t->key > KEY_PROTOCHAIN && q->type != KEY_SET)
		return not_simple(p, key_reason(t->key));
	switch (q->type) {
	case KEY_PORT:
	case KEY_PORTRANGE:
		return port(p, q, out);
	case KEY_PROTO:
		return proto(p, q, out);
	case KEY_SET:
		return set(p, q, out);
	default:
		return address(p, q, out);
	}
}

/* ---- combinations ---- */

static int combine(struct parser *p, enum token_kind op, struct terms *left, const struct terms *right)
{
	int err = op == TOKEN_AND ? terms_and(p->arena, left, right, left) : terms_or(p->arena, left, right, left);

	if (err == -E2BIG)
		return not_simple(p, "it has too many alternatives");
	return err == 0 ? 0 : no_memory(p);
}

static int close_paren(struct parser *p, const struct token *open)
{
	if (peek(p)->kind == TOKEN_END)
		return WRONG(p, open, "this parenthesis is not closed");
	if (peek(p)->kind == TOKEN_SIGN)
		return not_simple(p, "it computes");
	if (peek(p)->kind != TOKEN_CLOSE)
		return WRONG(p, peek(p), "'and', 'or' or ')' is missing before this");
	p->at++;
	p->depth--;
	return 0;
}

static int open_paren(struct parser *p)
{
	if (++p->depth > RULE_DEPTH_MAX)
		return WRONG(p, peek(p), "more than %d parentheses inside each other", RULE_DEPTH_MAX);
	p->at++;
	return 0;
}

/* "53", or "(53 or 80)" behind its qualifiers. */
static int values_of(struct parser *p, const struct qualifier *q, struct terms *out)
{
	const struct token *open = peek(p);
	int err;

	if (open->kind != TOKEN_OPEN)
		return value(p, q, out);
	err = open_paren(p);
	if (err == 0)
		err = values_of(p, q, out);
	while (err == 0 && (peek(p)->kind == TOKEN_AND || peek(p)->kind == TOKEN_OR)) {
		enum token_kind op = peek(p)->kind;
		struct terms right = { 0 };

		p->at++;
		err = values_of(p, q, &right);
		if (err == 0)
			err = combine(p, op, out, &right);
	}
	return err == 0 ? close_paren(p, open) : err;
}

/* src, dst, src or dst, src and dst. */
static enum direction direction(struct parser *p)
{
	const struct token *t = peek(p);
	bool source = is_key(t, KEY_SRC);
	bool pair = (t[1].kind == TOKEN_AND || t[1].kind == TOKEN_OR) && is_key(&t[2], source ? KEY_DST : KEY_SRC);

	if (!pair) {
		p->at++;
		return source ? SOURCE : DESTINATION;
	}
	p->at += 3;
	return t[1].kind == TOKEN_AND ? BOTH : EITHER;
}

/* A protocol's name alone. */
static int abbreviation(struct parser *p, enum keyword key, struct terms *out)
{
	static const struct {
		enum keyword key;
		uint32_t number;
		unsigned in;
	} table[] = {
		{ KEY_TCP, 6, IN_IP4 | IN_IP6 }, { KEY_UDP, 17, IN_IP4 | IN_IP6 }, { KEY_SCTP, 132, IN_IP4 | IN_IP6 },
		{ KEY_PIM, 103, IN_IP4 | IN_IP6 }, { KEY_AH, 51, IN_IP4 | IN_IP6 }, { KEY_ESP, 50, IN_IP4 | IN_IP6 },
		{ KEY_ICMP, 1, IN_IP4 }, { KEY_IGMP, 2, IN_IP4 }, { KEY_IGRP, 9, IN_IP4 },
		{ KEY_VRRP, 112, IN_IP4 }, { KEY_CARP, 112, IN_IP4 }, { KEY_ICMP6, 58, IN_IP6 },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		if (table[i].key == key)
			return protocol(p, table[i].number, table[i].in, out);
	}
	switch (key) {
	case KEY_IP:
		return ethertype(p, 0x0800, out);
	case KEY_IP6:
		return ethertype(p, 0x86dd, out);
	case KEY_ARP:
		return ethertype(p, 0x0806, out);
	case KEY_RARP:
		return ethertype(p, 0x8035, out);
	default:
		return not_simple(p, "it looks at link-layer addresses");
	}
}

/* [protocol] [direction] [type] value, or a protocol alone. */
static int primitive(struct parser *p, struct qualifier *q, struct terms *out)
{
	const struct token *t = peek(p);

	*q = (struct qualifier){ .valid = true, .at = t->at, .bytes = t->text.len };
	if (t->key >= KEY_ETHER && t->key < KEY_PROTOCHAIN) {
		q->proto = t->key;
		t = &p->tokens->at[++p->at];
		if (is_sign(t, "["))
			return not_simple(p, "it looks at bytes");
		if (t->kind == TOKEN_WORD && t->key >= KEY_PROTOCHAIN)
			return not_simple(p, key_reason(t->key));
		if (t->kind != TOKEN_WORD || t->key < KEY_SRC || t->key > KEY_SET) {
			q->valid = false;
			return abbreviation(p, q->proto, out);
		}
	}
	if (is_key(t, KEY_SRC) || is_key(t, KEY_DST)) {
		q->direction = direction(p);
		t = peek(p);
	}
	if (t->kind == TOKEN_WORD && t->key >= KEY_HOST && t->key <= KEY_SET) {
		q->type = t->key;
		p->at++;
	}
	return values_of(p, q, out);
}

static int expression(struct parser *p, struct qualifier q, struct terms *out);

static int operand(struct parser *p, struct qualifier *q, struct terms *out)
{
	const struct token *t = peek(p);
	int err;

	switch (t->kind) {
	case TOKEN_OPEN:
		err = open_paren(p);
		if (err == 0)
			err = expression(p, *q, out);
		return err == 0 ? close_paren(p, t) : err;
	case TOKEN_NOT:
		return not_simple(p, "it uses `not`");
	case TOKEN_END:
		return WRONG(p, t, "the rule ends where something should follow");
	case TOKEN_CLOSE:
	case TOKEN_AND:
	case TOKEN_OR:
	case TOKEN_SLASH:
		return WRONG(p, t, "a condition should stand here, as in 'udp port 53'");
	case TOKEN_SIGN:
		return not_simple(p, "it computes");
	case TOKEN_WORD:
		if (t->key > KEY_NONE && t->key < KEY_PROTOCHAIN)
			return primitive(p, q, out);
		if (t->key != KEY_NONE)
			return not_simple(p, key_reason(t->key));
		FALLTHROUGH;
	default:
		if (q->valid)
			return value(p, q, out);
		if (t[1].kind == TOKEN_SIGN)
			return not_simple(p, "it computes");
		if (t->kind == TOKEN_WORD || t->kind == TOKEN_ESCAPED)
			return rule_unknown_word(p->why, p->tokens->rule, t);
		return WRONG(p, t, "what is this? Write 'host', 'net', 'port' or 'proto' before it");
	}
}

static int expression(struct parser *p, struct qualifier q, struct terms *out)
{
	int err = operand(p, &q, out);

	while (err == 0 && (peek(p)->kind == TOKEN_AND || peek(p)->kind == TOKEN_OR)) {
		enum token_kind op = peek(p)->kind;
		struct terms right = { 0 };

		p->at++;
		err = operand(p, &q, &right);
		if (err == 0)
			err = combine(p, op, out, &right);
	}
	return err;
}

static int all_read(struct parser *p)
{
	const struct token *t = peek(p);

	switch (t->kind) {
	case TOKEN_END:
		return 0;
	case TOKEN_CLOSE:
		return WRONG(p, t, "no parenthesis is open here");
	case TOKEN_SIGN:
		return not_simple(p, "it computes");
	case TOKEN_WORD:
		if (t->key >= KEY_PROTOCHAIN)
			return not_simple(p, key_reason(t->key));
		if (t->key == KEY_NONE)
			return rule_unknown_word(p->why, p->tokens->rule, t);
		FALLTHROUGH;
	default:
		return WRONG(p, t, "'and' or 'or' is missing before this");
	}
}

int rule_parse_simple(struct arena *arena, const struct tokens *tokens, struct rule *r, struct errmsg *why)
{
	struct parser p = { .arena = arena, .tokens = tokens, .rule = r, .why = why };
	int err;

	if (tokens->count == 0 || (tokens->count == 1 && slice_eq(tokens->at[0].text, SLICE("all"))))
		return terms_single(&p, (struct term){ 0 }, &r->terms);
	err = expression(&p, (struct qualifier){ 0 }, &r->terms);
	if (err == 0)
		err = all_read(&p);
	if (err == 0 && r->terms.count == 0)
		return rule_wrong(why, tokens->rule, 0, tokens->rule.len, "no frame can meet all of this");
	return err;
}
