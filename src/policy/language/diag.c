#include "policy/language/diag.h"

#include <stdarg.h>

#define SHOWN_BYTES_MAX 160u		/* of a line; what is behind helps nobody */

void diag_place(struct buf *out, const struct policy_source *sources, size_t count, struct policy_span span)
{
	if (span.source < count && span.line > 0)
		buf_printf(out, "%s:%u:%u", sources[span.source].name, span.line, span.column);
	else
		buf_adds(out, "built in");
}

/* The line of this number, without its end. O(text). */
static struct slice line_of(struct slice text, uint32_t number)
{
	struct slice line = { 0 };

	while (number-- > 0 && text.len > 0) {
		struct slice rest;
		if (!slice_cut(text, '\n', &line, &rest)) {
			line = text;
			rest = slice_from(text, text.len);
		}
		text = rest;
	}
	return slice_trim(line).len == 0 ? (struct slice){ 0 } : line;
}

/* Bytes of a file on a terminal: what would move the cursor is shown as a blank. */
static void add_shown(struct buf *out, struct slice line)
{
	for (size_t i = 0; i < line.len; i++)
		buf_addc(out, line.ptr[i] < 0x20 || line.ptr[i] == 0x7f ? ' ' : line.ptr[i]);
}

void diag_show(struct buf *out, const struct policy_source *sources, size_t count, struct policy_span span)
{
	struct slice line;
	size_t column = span.column == 0 ? 0 : span.column - 1, width;

	if (span.source >= count || span.line == 0)
		return;
	line = slice_head(line_of(sources[span.source].text, span.line), SHOWN_BYTES_MAX);
	if (line.len == 0 || column > line.len)
		return;
	buf_printf(out, "%6u | ", span.line);
	add_shown(out, line);
	buf_adds(out, "\n       | ");
	/* A caret stands for a character: bytes that go on with one (UTF-8) take no column. */
	for (size_t i = 0; i < column; i++)
		if ((line.ptr[i] & 0xc0) != 0x80)
			buf_addc(out, ' ');
	width = MIN((size_t)MAX(span.width, 1), MAX(line.len - column, 1));
	for (size_t i = 0; i < width; i++)
		if (column + i >= line.len || (line.ptr[column + i] & 0xc0) != 0x80)
			buf_addc(out, '^');
	buf_addc(out, '\n');
}

static void say(struct diag *d, struct policy_span span, const char *kind, const char *fmt, va_list ap) PRINTF_LIKE(4, 0);
static void say(struct diag *d, struct policy_span span, const char *kind, const char *fmt, va_list ap)
{
	diag_place(d->out, d->sources, d->source_count, span);
	buf_printf(d->out, ": %s: ", kind);
	buf_vprintf(d->out, fmt, ap);
	buf_addc(d->out, '\n');
	diag_show(d->out, d->sources, d->source_count, span);
}

void diag_error(struct diag *d, struct policy_span span, const char *fmt, ...)
{
	va_list ap;

	if (++d->errors > POLICY_ERRORS_MAX)
		return;
	va_start(ap, fmt);
	say(d, span, "error", fmt, ap);
	va_end(ap);
}

void diag_note(struct diag *d, struct policy_span span, const char *fmt, ...)
{
	va_list ap;

	if (d->errors > POLICY_ERRORS_MAX)
		return;
	va_start(ap, fmt);
	say(d, span, "note", fmt, ap);
	va_end(ap);
}
