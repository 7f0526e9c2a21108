#include "dvm/container/shown.h"

#include <stdio.h>

const char *shown(struct shown *out, struct slice name)
{
	size_t at = 0;

	for (size_t i = 0; i < name.len; i++) {
		if (at + sizeof("\\xNN...") > sizeof(out->text)) {
			memcpy(out->text + at, "...", 3);
			at += 3;
			break;
		}
		if (name.ptr[i] >= ' ' && name.ptr[i] < 0x7f)
			out->text[at++] = (char)name.ptr[i];
		else
			at += (size_t)snprintf(out->text + at, sizeof(out->text) - at, "\\x%02x", name.ptr[i]);
	}
	out->text[at] = '\0';
	return out->text;
}
