/*
 * A name out of a stranger's file, for a sentence: printable ASCII, the rest as \xNN, cut at the end of `text` with "...".
 *
 *	return errmsg_say(why, -EBADMSG, "entry '%s' ...", shown(&(struct shown){ 0 }, name));
 */
#pragma once
#include "base/slice.h"

struct shown {
	char text[160];
};
const char *shown(struct shown *out, struct slice name);
