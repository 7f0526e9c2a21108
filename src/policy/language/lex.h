/*
 * The words of the policy language: what is between blanks and signs. Line ends mean nothing; "#" begins a comment.
 */
#pragma once
#include "policy/language/policy.h"

enum token_kind {
	TOKEN_END,
	TOKEN_WORD,			/* letters, digits, '-', '_', '.', '%': names, numbers, dates, hexadecimal digits */
	TOKEN_STRING,			/* "...", as it is written between the quotes; there are no escapes */
	TOKEN_COMMA, TOKEN_EQUALS, TOKEN_ARROW,
	TOKEN_BAD,			/* a byte or a text that is none of these; `text` has it */
};

struct token {
	enum token_kind kind;
	struct slice text;		/* of a string without its quotes */
	struct policy_span span;	/* with quotes */
};

struct lexer {
	struct slice text;
	size_t at;
	uint16_t source;
	uint32_t line;
	size_t line_begin;		/* offset of the line's first byte */
};

void lexer_init(struct lexer *l, uint16_t source, struct slice text);
/* The next word; TOKEN_END again and again at the end. A string ends at its line's end at the latest (TOKEN_BAD). */
struct token lexer_next(struct lexer *l);
