#include "policy/language/lex.h"

void lexer_init(struct lexer *l, uint16_t source, struct slice text)
{
	*l = (struct lexer){ .text = text, .source = source, .line = 1 };
}

static bool is_word(uint8_t c)
{
	return ascii_alpha(c) || ascii_digit(c) || c == '-' || c == '_' || c == '.' || c == '%';
}

static bool is_arrow(struct slice text, size_t at)
{
	return at + 1 < text.len && text.ptr[at] == '-' && text.ptr[at + 1] == '>';
}

static void skip_blanks(struct lexer *l)
{
	while (l->at < l->text.len) {
		uint8_t c = l->text.ptr[l->at];

		if (c == '#') {
			size_t end = slice_find_byte(slice_from(l->text, l->at), '\n');
			l->at = end == SLICE_NPOS ? l->text.len : l->at + end;
		} else if (c == '\n') {
			l->at++;
			l->line++;
			l->line_begin = l->at;
		} else if (c == ' ' || c == '\t' || c == '\r') {
			l->at++;
		} else {
			return;
		}
	}
}

/* A token of the bytes [begin, l->at). Widths are clipped: they only draw carets. */
static struct token made(const struct lexer *l, enum token_kind kind, size_t begin)
{
	struct slice text = slice_sub(l->text, begin, l->at);

	return (struct token){
		.kind = kind,
		.text = text,
		.span = {
			.source = l->source,
			.line = l->line,
			.column = (uint32_t)(begin - l->line_begin) + 1,
			.width = (uint16_t)(text.len > UINT16_MAX ? UINT16_MAX : text.len),
		},
	};
}

static struct token lex_string(struct lexer *l)
{
	size_t begin = l->at++;
	struct token t;

	while (l->at < l->text.len && l->text.ptr[l->at] != '"' && l->text.ptr[l->at] != '\n')
		l->at++;
	if (l->at == l->text.len || l->text.ptr[l->at] == '\n')
		return made(l, TOKEN_BAD, begin);
	l->at++;
	t = made(l, TOKEN_STRING, begin);
	t.text = slice_sub(t.text, 1, t.text.len - 1);
	return t;
}

struct token lexer_next(struct lexer *l)
{
	size_t begin;
	uint8_t c;

	skip_blanks(l);
	begin = l->at;
	if (l->at == l->text.len)
		return made(l, TOKEN_END, begin);
	c = l->text.ptr[l->at];
	if (c == '"')
		return lex_string(l);
	if (is_arrow(l->text, l->at)) {
		l->at += 2;
		return made(l, TOKEN_ARROW, begin);
	}
	if (c == ',' || c == '=') {
		l->at++;
		return made(l, c == ',' ? TOKEN_COMMA : TOKEN_EQUALS, begin);
	}
	while (l->at < l->text.len && is_word(l->text.ptr[l->at]) && !is_arrow(l->text, l->at))
		l->at++;
	if (l->at > begin)
		return made(l, TOKEN_WORD, begin);
	/* A character of UTF-8 is shown as one. */
	do
		l->at++;
	while (l->at < l->text.len && (l->text.ptr[l->at] & 0xc0) == 0x80);
	return made(l, TOKEN_BAD, begin);
}
