#include "base/errmsg.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void PRINTF_LIKE(3, 0) set(struct errmsg *why, int code, const char *fmt, va_list ap)
{
	why->code = code;
	if (vsnprintf(why->text, sizeof(why->text), fmt, ap) < 0)
		why->text[0] = '\0';
}

int errmsg_set(struct errmsg *why, int code, const char *fmt, ...)
{
	va_list ap;

	if (why == NULL)
		return code;
	va_start(ap, fmt);
	set(why, code, fmt, ap);
	va_end(ap);
	size_t len = strlen(why->text);
	if (code != 0)
		snprintf(why->text + len, sizeof(why->text) - len, ": %s", strerrordesc_np(-code));
	return code;
}

int errmsg_say(struct errmsg *why, int code, const char *fmt, ...)
{
	va_list ap;

	if (why == NULL)
		return code;
	va_start(ap, fmt);
	set(why, code, fmt, ap);
	va_end(ap);
	return code;
}
