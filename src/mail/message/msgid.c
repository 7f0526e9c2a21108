#include "mail/message/msgid.h"

#include "mail/message/limits.h"
#include "mail/message/token.h"

/*
 * "<" is behind us. A plain id has no quotes or comments before its ">": blanks are all that may have to go. Returns 1 found, 0 none (rest moved), -1 needs the tokenizer.
 */
static int plain(struct arena *arena, struct slice *rest, struct slice *out)
{
	bool at_sign = false, blanks = false;
	size_t i = 0;

	for (;; i++) {
		if (i == rest->len) {
			*rest = slice_from(*rest, i);
			return 0;
		}
		uint8_t c = rest->ptr[i];
		if (c == '>' || c == '"' || c == '(')
			break;
		at_sign |= c == '@';
		blanks |= c == ' ' || c == '\t' || c == '\r' || c == '\n';
	}
	if (rest->ptr[i] != '>')
		return -1;
	struct slice id = slice_head(*rest, i);
	*rest = slice_from(*rest, i + 1);
	if (!at_sign || id.len > MSGID_BYTES_MAX)
		return 0;
	if (blanks) {
		uint8_t *copy = arena_alloc(arena, id.len);
		size_t n = 0;
		if (copy == NULL)
			return 0;
		for (size_t k = 0; k < id.len; k++)
			if (id.ptr[k] != ' ' && id.ptr[k] != '\t' && id.ptr[k] != '\r' && id.ptr[k] != '\n')
				copy[n++] = id.ptr[k];
		id = slice_of(copy, n);
	}
	*out = id;
	return 1;
}

/* The id with quotes and comments. Never looks further than one id may be long, so retries stay linear. */
static bool tokens(struct arena *arena, struct slice *rest, struct slice *out)
{
	struct token t = token_of(slice_head(*rest, MSGID_BYTES_MAX), NULL);
	AUTO_BUF struct buf text = BUF_INIT(MSGID_BYTES_MAX * 4);

	if (token_skip(&t) != TOKEN_MORE)
		return false;
	if ((*t.at == '"' ? token_quoted(&t, &text) : token_dot_atom(&t, &text)) != TOKEN_MORE || *t.at != '@')
		return false;
	buf_addc(&text, '@');
	if (token_domain(&t, &text) != TOKEN_MORE || *t.at != '>')
		return false;
	*rest = slice_from(*rest, (size_t)(t.at + 1 - rest->ptr));
	*out = arena_dup(arena, buf_slice(&text));
	return out->ptr != NULL;
}

bool msgid_next(struct arena *arena, struct slice *rest, struct slice *out)
{
	for (;;) {
		size_t open = rest->len == 0 ? SLICE_NPOS : slice_find_byte(*rest, '<');
		if (open == SLICE_NPOS)
			break;
		*rest = slice_from(*rest, open + 1);
		int r = plain(arena, rest, out);
		if (r > 0 || (r < 0 && tokens(arena, rest, out)))
			return true;
	}
	*rest = slice_from(*rest, rest->len);
	return false;
}
