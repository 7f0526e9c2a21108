/*
 * Lexical tokens of structured header fields (RFC 5322 §3.2, RFC 2045 §5.1), for the parsers of this
 * directory only.
 *
 * Each function takes the token at the cursor and the comments and blanks behind it. Bytes above 0x7f are
 * atom text (RFC 6532). Text is appended to `out`; NUL becomes U+FFFD; line ends inside quoted strings vanish.
 */
#pragma once
#include "base/buf.h"

enum token_result {
	TOKEN_BAD = -1,			/* not this token, or unfinished */
	TOKEN_END = 0,			/* good, and the text ends here */
	TOKEN_MORE = 1,			/* good, and there is more text */
};

struct token {
	const uint8_t *at, *end;
	struct buf *comment;		/* content of the last comment, or NULL when nobody asks */
};

static inline struct token token_of(struct slice s, struct buf *comment)
{
	return (struct token){ s.ptr, s.len == 0 ? s.ptr : s.ptr + s.len, comment };	/* NULL + 0 is undefined */
}
static inline bool token_is(const struct token *t, uint8_t c)
{
	return t->at < t->end && *t->at == c;
}
bool token_atext(uint8_t c);
bool token_mime(uint8_t c);

enum token_result token_skip(struct token *t);			/* blanks and comments */
enum token_result token_atom(struct token *t, struct buf *out);
enum token_result token_dot_atom(struct token *t, struct buf *out);
enum token_result token_mime_token(struct token *t, struct buf *out);	/* may be empty */
enum token_result token_quoted(struct token *t, struct buf *out);	/* cursor is at the quote */
enum token_result token_phrase(struct token *t, struct buf *out);
enum token_result token_domain(struct token *t, struct buf *out);	/* cursor is at the @ */
