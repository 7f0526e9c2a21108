/*
 * The words of a match rule: pcap-filter(7)'s tokens, as libpcap's scanner cuts them.
 *
 * Every word is known here before libpcap sees the text, also those that only libpcap understands:
 * what is no word of the language would be the name of a host, and libpcap would ask DNS for it.
 */
#pragma once
#include "base/errmsg.h"
#include "base/slice.h"
#include "spine/code/code_limits.h"

/* Words of the language. */
enum keyword {
	KEY_NONE,
	KEY_SRC, KEY_DST,
	KEY_HOST, KEY_NET, KEY_PORT, KEY_PORTRANGE, KEY_PROTO, KEY_SET,
	KEY_ETHER,			/* from here: protocols */
	KEY_IP, KEY_IP6, KEY_ARP, KEY_RARP, KEY_TCP, KEY_UDP, KEY_SCTP,
	KEY_ICMP, KEY_ICMP6, KEY_IGMP, KEY_IGRP, KEY_PIM, KEY_VRRP, KEY_CARP, KEY_AH, KEY_ESP,
	KEY_PROTOCHAIN,			/* from here: libpcap's alone */
	KEY_LENGTH, KEY_SHIFT, KEY_LINK_ADDRESS, KEY_NUMBER, KEY_OTHER,
};

enum token_kind {
	TOKEN_END,
	TOKEN_WORD,			/* a keyword, or KEY_NONE: a name */
	TOKEN_ESCAPED,			/* \name */
	TOKEN_NUMBER,
	TOKEN_SPAN,			/* 80-90, in `number` and `number_to` */
	TOKEN_IP4,			/* two to four numbers with dots: `number` left-aligned, `bits` of them given */
	TOKEN_IP6,			/* `ip6` */
	TOKEN_MAC,
	TOKEN_OPEN, TOKEN_CLOSE, TOKEN_AND, TOKEN_OR, TOKEN_NOT, TOKEN_SLASH,
	TOKEN_SIGN,			/* of arithmetic: [ ] < > = + - * % ^ : & | */
};

struct token {
	enum token_kind kind;
	enum keyword key;
	struct slice text;
	size_t at;			/* offset in the rule */
	uint64_t number, number_to;
	unsigned bits;
	uint8_t ip6[16];
};

struct tokens {
	struct slice rule;
	struct token at[RULE_TEXT_BYTES_MAX + 2];	/* ends in two TOKEN_END */
	size_t count;			/* without them */
};

/* 0; -EINVAL: a byte or number that is no token; -E2BIG: longer than RULE_TEXT_BYTES_MAX. O(bytes). */
MUST_USE int rule_lex(struct slice rule, struct tokens *out, struct errmsg *why);
/* -EINVAL with a sentence about a place of the rule: column, the text around it and a caret below. */
int rule_wrong(struct errmsg *why, struct slice rule, size_t at, size_t bytes, const char *fmt, ...) PRINTF_LIKE(5, 6);
/* The same for a word that is none of the language: with what was probably meant. */
int rule_unknown_word(struct errmsg *why, struct slice rule, const struct token *t);
