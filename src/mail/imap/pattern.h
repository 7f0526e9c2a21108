/*
 * LIST patterns: "*" matches anything, "%" anything within one level (RFC 9051 §6.3.9).
 *
 * Matching keeps a set of states as a bit row instead of backtracking: a stranger's
 * "%*%*%*%*x" costs name bytes times pattern bytes and never more.
 */
#pragma once
#include "base/slice.h"

enum pattern_match {
	PATTERN_NO,
	PATTERN_PARENT,			/* not the name, but a deeper name below it could match */
	PATTERN_YES,
};

/*
 * pattern at most IMAP_PATTERN_BYTES_MAX bytes, else PATTERN_NO. Both in UTF-8; '/' is the
 * delimiter. "INBOX" at the start of name is compared without case. O(name * pattern / 64).
 */
enum pattern_match pattern_match(struct slice pattern, struct slice name);
