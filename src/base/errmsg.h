/*
 * The sentence that goes with a failure: what we tried, on what, and why it failed.
 *
 * Functions that take `struct errmsg *why` take it last, set it on failure only, and
 * accept NULL. The text is for an operator; peers never see it.
 */
#pragma once
#include "base/attr.h"

struct errmsg {
	int code;			/* negative errno, 0 when nothing failed */
	char text[504];
};

/*
 * Set the sentence to "<fmt...>: <strerror(-code)>" (without the second part when code is
 * 0) and return code, so that `return errmsg_set(why, -errno, "...")` reads well.
 */
int errmsg_set(struct errmsg *why, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* As errmsg_set, without the errno text: for failures that fmt already explains. */
int errmsg_say(struct errmsg *why, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
