/*
 * Message identifiers out of Message-ID, References and In-Reply-To (RFC 5322 §3.6.4), as THREAD needs
 * them (RFC 5256 §3): unquoted, without blanks and comments, so that equal ids compare equal.
 */
#pragma once
#include "base/arena.h"

/*
 * The next "<left@right>" of *rest, without the angle brackets; *rest moves behind it. False when there is
 * none. Invalid ones are skipped. *out is in the arena or borrowed from *rest. Linear over a whole field.
 */
bool msgid_next(struct arena *arena, struct slice *rest, struct slice *out);
