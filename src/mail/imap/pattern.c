#include "mail/imap/pattern.h"

#include "mail/imap/limits.h"

#define DELIMITER '/'

/* State i: the first i bytes of the pattern are matched; at most IMAP_PATTERN_BYTES_MAX + 1 states. */
struct states {
	uint8_t on[IMAP_PATTERN_BYTES_MAX + 1];
};

/* A wildcard may match nothing. */
static void close_over(struct states *s, struct slice pattern)
{
	for (size_t i = 0; i < pattern.len; i++) {
		if (s->on[i] && (pattern.ptr[i] == '*' || pattern.ptr[i] == '%'))
			s->on[i + 1] = 1;
	}
}

static bool step(struct states *s, struct slice pattern, uint8_t c, bool fold)
{
	bool any = false;
	uint8_t carry = 0;

	for (size_t i = 0; i <= pattern.len; i++) {
		uint8_t was = s->on[i], p = i < pattern.len ? pattern.ptr[i] : 0, stay = 0, next = 0;

		if (was && i < pattern.len) {
			if (p == '*' || (p == '%' && c != DELIMITER))
				stay = 1;
			else if (p != '%' && (p == c || (fold && ascii_lower(p) == ascii_lower(c))))
				next = 1;
		}
		s->on[i] = stay | carry;
		any |= s->on[i] != 0;
		carry = next;
	}
	return any;
}

enum pattern_match pattern_match(struct slice pattern, struct slice name)
{
	struct states s = { 0 };
	bool inbox;

	if (pattern.len > IMAP_PATTERN_BYTES_MAX)
		return PATTERN_NO;
	inbox = slice_starts_nocase(name, SLICE("INBOX")) &&
		(name.len == 5 || name.ptr[5] == DELIMITER);
	s.on[0] = 1;
	close_over(&s, pattern);
	for (size_t i = 0; i < name.len; i++) {
		if (!step(&s, pattern, name.ptr[i], inbox && i < 5))
			return PATTERN_NO;
		close_over(&s, pattern);
	}
	if (s.on[pattern.len])
		return PATTERN_YES;
	if (!step(&s, pattern, DELIMITER, false))
		return PATTERN_NO;
	return PATTERN_PARENT;
}
