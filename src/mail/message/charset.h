/*
 * Character sets to UTF-8.
 *
 * iconv(3) opens files when it meets a charset, and our processes cannot open files; so a
 * role calls charset_init before its sandbox, which opens every charset of the allow-list once. ASCII, UTF-8
 * and Latin-1 need no iconv. A charset that is not listed, or was not opened, is "unknown": its bytes are
 * kept where they are ASCII or valid UTF-8 and replaced by U+FFFD otherwise.
 */
#pragma once
#include "base/buf.h"

struct charset;

/* Open the allow-list; once, before the sandbox, single threaded. Returns how many charsets work. */
unsigned int charset_init(void);
/* Close them again (tests with leak checkers). */
void charset_done(void);

/* Find by MIME name or alias, ASCII case folded; NULL when unknown. */
const struct charset *charset_find(struct slice name);
/* Charset of NULL: unknown. */
bool charset_is_utf8(const struct charset *cs);

/*
 * A conversion that may come in pieces. Start with charset_conv(cs). Malformed bytes become U+FFFD,
 * once a run. Always call charset_end: a stateful charset holds a descriptor of iconv.
 */
struct charset_conv {
	const struct charset *cs;
	void *cd;			/* of iconv, or NULL */
	bool opened;
	uint8_t carry[16];		/* a character whose rest comes with the next piece */
	size_t carry_len;
	bool replaced;			/* the last thing written was U+FFFD */
};
static inline struct charset_conv charset_conv(const struct charset *cs)
{
	return (struct charset_conv){ .cs = cs };
}
void charset_feed(struct charset_conv *conv, struct buf *out, struct slice in);
void charset_end(struct charset_conv *conv, struct buf *out);
/* All at once. */
void charset_to_utf8(const struct charset *cs, struct buf *out, struct slice in);
