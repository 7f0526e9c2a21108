#include "mail/smtp/data.h"

/* What the next byte follows. */
enum {
	AT_LINE_START,			/* CRLF, or nothing: a dot here is ours */
	AT_TEXT,
	AT_CR,
	AT_LOOSE_START,			/* a bare CR or LF, or NULs at the start: a line to somebody else */
	AT_LOOSE_DOT,			/* the same and a dot */
	AT_DOT,				/* CRLF "." */
	AT_DOT_CR,			/* CRLF "." CR */
	AT_DOUBT,
};

/* Inside a line: to its end or to the end of `in`. Returns the new offset. */
static size_t pass_line(struct smtp_data *d, struct slice in, size_t i)
{
	const uint8_t *lf = memchr(in.ptr + i, '\n', in.len - i);
	size_t end = lf == NULL ? in.len : (size_t)(lf - in.ptr);
	const uint8_t *cr = memchr(in.ptr + i, '\r', end - i);

	if (cr == NULL) {
		if (lf == NULL)
			return in.len;
		d->faults |= SMTP_FAULT_BARE_LF;
		d->state = AT_LOOSE_START;
		return end + 1;
	}
	if (lf != NULL && cr + 1 == lf) {
		d->state = AT_LINE_START;
		return end + 1;
	}
	size_t after = (size_t)(cr - in.ptr) + 1;
	if (after == in.len) {
		d->state = AT_CR;
		return after;
	}
	d->faults |= SMTP_FAULT_BARE_CR;
	d->state = AT_LOOSE_START;
	return after;
}

/* States that hold nothing back. Returns how many bytes of `in` are text. */
static size_t pass_text(struct smtp_data *d, struct slice in)
{
	size_t i = 0;

	while (i < in.len) {
		uint8_t c = in.ptr[i];
		switch (d->state) {
		case AT_LINE_START:
			if (c == '.')
				return i;
			d->state = c == '\0' ? AT_LOOSE_START : AT_TEXT;
			break;
		case AT_CR:
			if (c == '\n') {
				d->state = AT_LINE_START;
				i++;
			} else {
				d->faults |= SMTP_FAULT_BARE_CR;
				d->state = AT_LOOSE_START;
			}
			break;
		case AT_LOOSE_START:
			if (c == '.')
				d->state = AT_LOOSE_DOT;
			else if (c != '\0')
				d->state = AT_TEXT;
			i += c == '.' || c == '\0';
			break;
		case AT_LOOSE_DOT:
			if (c == '\r' || c == '\n') {
				d->state = AT_DOUBT;
				return i;
			}
			if (c == '\0')
				i++;
			else
				d->state = AT_TEXT;
			break;
		default:
			i = pass_line(d, in, i);
			break;
		}
	}
	return i;
}

enum smtp_data_event smtp_data_next(struct smtp_data *d, struct slice *in, struct slice *text)
{
	while (in->len > 0 || d->state == AT_DOUBT) {
		uint8_t c = in->len > 0 ? in->ptr[0] : 0;

		switch (d->state) {
		case AT_DOUBT:
			return SMTP_DATA_DOUBT;
		case AT_LINE_START:
			if (c != '.')
				break;
			d->state = AT_DOT;
			*in = slice_from(*in, 1);
			continue;
		case AT_DOT:
			if (c == '\r') {
				d->state = AT_DOT_CR;
				*in = slice_from(*in, 1);
				continue;
			}
			/* A stuffed dot is dropped; the line goes on. A NUL may vanish elsewhere. */
			d->state = c == '\n' ? AT_DOUBT : c == '\0' ? AT_LOOSE_DOT : AT_TEXT;
			if (c == '\n')
				d->faults |= SMTP_FAULT_BARE_LF;
			continue;
		case AT_DOT_CR:
			if (c == '\n') {
				d->state = AT_LINE_START;
				*in = slice_from(*in, 1);
				return SMTP_DATA_END;
			}
			d->faults |= SMTP_FAULT_BARE_CR;
			d->state = AT_DOUBT;
			continue;
		default:
			break;
		}
		size_t n = pass_text(d, *in);
		if (n == 0)
			continue;
		*text = slice_head(*in, n);
		*in = slice_from(*in, n);
		if (memchr(text->ptr, '\0', n) != NULL)
			d->faults |= SMTP_FAULT_NUL;
		return SMTP_DATA_TEXT;
	}
	return SMTP_DATA_MORE;
}

void smtp_data_check(struct smtp_data *d, struct slice bytes, bool last)
{
	size_t i = 0;

	if (memchr(bytes.ptr == NULL ? (const uint8_t *)"" : bytes.ptr, '\0', bytes.len) != NULL)
		d->faults |= SMTP_FAULT_NUL;
	while (i < bytes.len) {
		if (d->state == AT_CR) {
			if (bytes.ptr[i] == '\n')
				i++;
			else
				d->faults |= SMTP_FAULT_BARE_CR;
			d->state = AT_TEXT;
			continue;
		}
		d->state = AT_TEXT;
		i = pass_line(d, bytes, i);
	}
	if (last && d->state == AT_CR)
		d->faults |= SMTP_FAULT_BARE_CR;
}
