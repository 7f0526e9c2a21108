#include "spine/code/rule_lex.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/suggest.h"

#define SHOWN_BYTES 64			/* of a rule, around the error */

static const struct {
	const char *word;
	enum keyword key;
} keywords[] = {
	{ "src", KEY_SRC }, { "dst", KEY_DST },
	{ "host", KEY_HOST }, { "net", KEY_NET }, { "port", KEY_PORT },
	{ "portrange", KEY_PORTRANGE }, { "proto", KEY_PROTO }, { "set", KEY_SET },
	{ "ether", KEY_ETHER }, { "link", KEY_ETHER },
	{ "ip", KEY_IP }, { "ip6", KEY_IP6 }, { "arp", KEY_ARP },
	{ "rarp", KEY_RARP }, { "tcp", KEY_TCP }, { "udp", KEY_UDP }, { "sctp", KEY_SCTP },
	{ "icmp", KEY_ICMP }, { "icmp6", KEY_ICMP6 }, { "igmp", KEY_IGMP },
	{ "igrp", KEY_IGRP }, { "pim", KEY_PIM }, { "vrrp", KEY_VRRP }, { "carp", KEY_CARP },
	{ "ah", KEY_AH }, { "esp", KEY_ESP },
	{ "protochain", KEY_PROTOCHAIN },
	{ "len", KEY_LENGTH }, { "length", KEY_LENGTH }, { "less", KEY_LENGTH }, { "greater", KEY_LENGTH },
	{ "vlan", KEY_SHIFT }, { "mpls", KEY_SHIFT }, { "pppoed", KEY_SHIFT }, { "pppoes", KEY_SHIFT },
	{ "geneve", KEY_SHIFT },
	{ "broadcast", KEY_LINK_ADDRESS }, { "multicast", KEY_LINK_ADDRESS },
	{ "mask", KEY_OTHER }, { "gateway", KEY_OTHER }, { "byte", KEY_OTHER },
	{ "inbound", KEY_OTHER }, { "outbound", KEY_OTHER }, { "ifindex", KEY_OTHER },
	{ "atalk", KEY_OTHER }, { "aarp", KEY_OTHER }, { "decnet", KEY_OTHER }, { "lat", KEY_OTHER },
	{ "sca", KEY_OTHER }, { "moprc", KEY_OTHER }, { "mopdl", KEY_OTHER }, { "iso", KEY_OTHER },
	{ "clnp", KEY_OTHER }, { "esis", KEY_OTHER }, { "es-is", KEY_OTHER }, { "isis", KEY_OTHER },
	{ "is-is", KEY_OTHER }, { "l1", KEY_OTHER }, { "l2", KEY_OTHER }, { "iih", KEY_OTHER },
	{ "lsp", KEY_OTHER }, { "snp", KEY_OTHER }, { "csnp", KEY_OTHER }, { "psnp", KEY_OTHER },
	{ "stp", KEY_OTHER }, { "ipx", KEY_OTHER }, { "netbeui", KEY_OTHER }, { "llc", KEY_OTHER },
	/* Offsets and values for byte access: numbers to libpcap's scanner. */
	{ "icmptype", KEY_NUMBER }, { "icmpcode", KEY_NUMBER }, { "icmp6type", KEY_NUMBER },
	{ "icmp6code", KEY_NUMBER }, { "tcpflags", KEY_NUMBER },
	{ "icmp-echoreply", KEY_NUMBER }, { "icmp-unreach", KEY_NUMBER }, { "icmp-sourcequench", KEY_NUMBER },
	{ "icmp-redirect", KEY_NUMBER }, { "icmp-echo", KEY_NUMBER }, { "icmp-routeradvert", KEY_NUMBER },
	{ "icmp-routersolicit", KEY_NUMBER }, { "icmp-timxceed", KEY_NUMBER }, { "icmp-paramprob", KEY_NUMBER },
	{ "icmp-tstamp", KEY_NUMBER }, { "icmp-tstampreply", KEY_NUMBER }, { "icmp-ireq", KEY_NUMBER },
	{ "icmp-ireqreply", KEY_NUMBER }, { "icmp-maskreq", KEY_NUMBER }, { "icmp-maskreply", KEY_NUMBER },
	{ "icmp6-destinationunreach", KEY_NUMBER }, { "icmp6-packettoobig", KEY_NUMBER },
	{ "icmp6-timeexceeded", KEY_NUMBER }, { "icmp6-parameterproblem", KEY_NUMBER },
	{ "icmp6-echo", KEY_NUMBER }, { "icmp6-echoreply", KEY_NUMBER },
	{ "icmp6-routersolicit", KEY_NUMBER }, { "icmp6-routeradvert", KEY_NUMBER },
	{ "icmp6-neighborsolicit", KEY_NUMBER }, { "icmp6-neighboradvert", KEY_NUMBER },
	{ "icmp6-redirect", KEY_NUMBER },
	{ "tcp-fin", KEY_NUMBER }, { "tcp-syn", KEY_NUMBER }, { "tcp-rst", KEY_NUMBER },
	{ "tcp-push", KEY_NUMBER }, { "tcp-ack", KEY_NUMBER }, { "tcp-urg", KEY_NUMBER },
	{ "tcp-ece", KEY_NUMBER }, { "tcp-cwr", KEY_NUMBER },
};

/* ---- errors ---- */

int rule_wrong(struct errmsg *why, struct slice rule, size_t at, size_t bytes, const char *fmt, ...)
{
	size_t from = at > SHOWN_BYTES / 2 ? at - SHOWN_BYTES / 2 : 0;
	size_t shown = MIN(rule.len - from, (size_t)SHOWN_BYTES);
	char sentence[256], line[SHOWN_BYTES + 1] = "", mark[2 * SHOWN_BYTES + 1] = "";
	va_list ap;

	if (rule.len <= SHOWN_BYTES) {
		from = 0;
		shown = rule.len;
	}
	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	for (size_t i = 0; i < shown; i++) {
		uint8_t c = rule.ptr[from + i];

		line[i] = c >= ' ' && c < 0x7f ? (char)c : '?';
	}
	memset(mark, ' ', at - from);
	bytes = MAX(MIN(bytes, from + shown > at ? from + shown - at : 1), (size_t)1);
	memset(mark + (at - from), '^', bytes);
	return errmsg_say(why, -EINVAL, "match rule, column %zu: %s\n  %s\n  %s", at + 1, sentence, line, mark);
}

int rule_unknown_word(struct errmsg *why, struct slice rule, const struct token *t)
{
	struct suggestion s = { .word = t->text };

	for (size_t i = 0; i < ARRAY_LEN(keywords); i++)
		suggest_try(&s, keywords[i].word);
	suggest_try(&s, "and");
	suggest_try(&s, "or");
	suggest_try(&s, "not");
	if (s.best != NULL)
		return rule_wrong(why, rule, t->at, t->text.len, "unknown word; did you mean '%s'?", s.best);
	return rule_wrong(why, rule, t->at, t->text.len,
			  "unknown word (names of hosts and networks are not looked up: write addresses)");
}

/* ---- words ---- */

static bool word_byte(uint8_t c)
{
	return ascii_alpha(c) || ascii_digit(c) || c == '_' || c == '.' || c == '-' || c == ':';
}

/* A decimal number as libpcap reads it; a leading zero would make it octal there, so none here. */
static bool decimal(struct slice s, uint64_t *out)
{
	return (s.len <= 1 || s.ptr[0] != '0') && slice_u64(s, UINT32_MAX, out);
}

/* 0x..., at most 32 bits. */
static bool hexadecimal(struct slice s, uint64_t *out)
{
	uint64_t value = 0;

	if (s.len < 3 || s.len > 10 || s.ptr[0] != '0' || ascii_lower(s.ptr[1]) != 'x')
		return false;
	for (size_t i = 2; i < s.len; i++) {
		uint8_t c = ascii_lower(s.ptr[i]);

		if (!ascii_digit(c) && (c < 'a' || c > 'f'))
			return false;
		value = value << 4 | (uint64_t)(ascii_digit(c) ? c - '0' : c - 'a' + 10);
	}
	*out = value;
	return true;
}

/* 10.1, 10.1.2, 10.1.2.3. */
static bool dotted(struct slice s, struct token *t)
{
	uint64_t value = 0, octet;
	unsigned parts = 0;
	bool more = true;

	while (more) {
		struct slice part;

		more = slice_cut(s, '.', &part, &s);
		if (parts == 4 || !decimal(part, &octet) || octet > 255)
			return false;
		value = value << 8 | octet;
		parts++;
	}
	if (parts < 2)
		return false;
	t->bits = 8 * parts;
	t->number = value << (32 - t->bits);
	return true;
}

static bool span(struct slice s, struct token *t)
{
	struct slice from, to;

	return slice_cut(s, '-', &from, &to) && decimal(from, &t->number) && decimal(to, &t->number_to);
}

/* Six pairs with colons; libpcap reads one or two digits each. */
static bool mac(struct slice s)
{
	unsigned parts = 0;
	bool more = true;

	while (more) {
		struct slice part;

		more = slice_cut(s, ':', &part, &s);
		if (part.len < 1 || part.len > 2)
			return false;
		for (size_t i = 0; i < part.len; i++) {
			uint8_t c = ascii_lower(part.ptr[i]);

			if (!ascii_digit(c) && (c < 'a' || c > 'f'))
				return false;
		}
		parts++;
	}
	return parts == 6;
}

static bool address6(struct slice s, struct token *t)
{
	char text[INET6_ADDRSTRLEN];

	return slice_to_str(s, text, sizeof(text)) && inet_pton(AF_INET6, text, t->ip6) == 1;
}

/* Digits, dots and colons, but nothing that we know: libpcap might take it for a name. */
static bool looks_numeric(struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (!ascii_digit(s.ptr[i]) && s.ptr[i] != '.' && s.ptr[i] != ':')
			return false;
	}
	return true;
}

static int classify(struct tokens *out, struct token *t, struct errmsg *why)
{
	struct slice s = t->text;

	if (slice_eq(s, SLICE("and")) || slice_eq(s, SLICE("or")) || slice_eq(s, SLICE("not"))) {
		t->kind = s.ptr[0] == 'a' ? TOKEN_AND : s.ptr[0] == 'o' ? TOKEN_OR : TOKEN_NOT;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(keywords); i++) {
		if (!slice_eq(s, slice_str(keywords[i].word)))
			continue;
		t->kind = TOKEN_WORD;
		t->key = keywords[i].key;
		return 0;
	}
	if (decimal(s, &t->number) || hexadecimal(s, &t->number))
		t->kind = TOKEN_NUMBER;
	else if (dotted(s, t))
		t->kind = TOKEN_IP4;
	else if (slice_find_byte(s, ':') != SLICE_NPOS && address6(s, t))
		t->kind = TOKEN_IP6;
	else if (mac(s))
		t->kind = TOKEN_MAC;
	else if (span(s, t))
		t->kind = TOKEN_SPAN;
	else if (looks_numeric(s))
		return rule_wrong(why, out->rule, t->at, s.len, "this is neither a number (without leading zeros) nor an address");
	else
		t->kind = TOKEN_WORD;
	return 0;
}

/* Signs, at least one byte; "&&" and "||" are words in other letters. */
static enum token_kind sign(struct slice rest, size_t *bytes)
{
	*bytes = 1;
	if (slice_starts(rest, SLICE("&&")) || slice_starts(rest, SLICE("||"))) {
		*bytes = 2;
		return rest.ptr[0] == '&' ? TOKEN_AND : TOKEN_OR;
	}
	switch (rest.ptr[0]) {
	case '(':
		return TOKEN_OPEN;
	case ')':
		return TOKEN_CLOSE;
	case '/':
		return TOKEN_SLASH;
	case '!':
		*bytes = slice_starts(rest, SLICE("!=")) ? 2 : 1;
		return *bytes == 2 ? TOKEN_SIGN : TOKEN_NOT;
	case '[': case ']': case '<': case '>': case '=': case '+': case '*': case '%': case '^':
	case '&': case '|':
		return TOKEN_SIGN;
	default:
		return TOKEN_END;
	}
}

/* The end of a run of word bytes. Inside brackets ':' and '-' are signs: ip[2:2], tcp[12]-4. */
static size_t word_end(struct slice rule, size_t at, bool in_brackets)
{
	size_t end = at;

	while (end < rule.len && word_byte(rule.ptr[end]) && (!in_brackets || rule.ptr[end] != ':'))
		end++;
	return end;
}

int rule_lex(struct slice rule, struct tokens *out, struct errmsg *why)
{
	unsigned brackets = 0;
	size_t at = 0;

	if (rule.len > RULE_TEXT_BYTES_MAX)
		return errmsg_say(why, -E2BIG, "the match rule has %zu bytes; at most %d are possible. Long lists of addresses go into a set: `set NAME`",
				  rule.len, RULE_TEXT_BYTES_MAX);
	*out = (struct tokens){ .rule = rule };
	while (at < rule.len) {
		struct token *t = &out->at[out->count];
		size_t bytes = 1;
		uint8_t c = rule.ptr[at];
		int err = 0;

		if (c == ' ' || c == '\t' || c == '\n') {
			at++;
			continue;
		}
		t->at = at;
		if (c == '\\') {
			while (at + bytes < rule.len && word_byte(rule.ptr[at + bytes]))
				bytes++;
			t->kind = TOKEN_ESCAPED;
		} else if (c == '-' || (c == ':' && (brackets > 0 || !slice_starts(slice_from(rule, at), SLICE("::"))))) {
			t->kind = TOKEN_SIGN;
		} else if (word_byte(c)) {
			bytes = word_end(rule, at, brackets > 0) - at;
		} else {
			t->kind = sign(slice_from(rule, at), &bytes);
			if (t->kind == TOKEN_END)
				return rule_wrong(why, rule, at, 1, "this byte is not part of the rule language");
		}
		t->text = slice_sub(rule, at, at + bytes);
		brackets += c == '[';
		brackets -= c == ']' && brackets > 0;
		if (t->kind == TOKEN_END)
			err = classify(out, t, why);
		if (err != 0)
			return err;
		out->count++;
		at += bytes;
	}
	out->at[out->count] = (struct token){ .at = rule.len };
	out->at[out->count + 1] = (struct token){ .at = rule.len };
	return 0;
}
