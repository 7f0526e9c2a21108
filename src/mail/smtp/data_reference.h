/*
 * What DATA means, in the plainest way: a byte at a time, straight from RFC 5321 §4.5.2. The unit
 * test and the fuzz target compare the fast reader with it. Not for the server.
 */
#pragma once
#include "base/buf.h"
#include "mail/smtp/data.h"

struct data_outcome {
	enum smtp_data_event end;	/* MORE, END or DOUBT */
	size_t used;			/* input bytes up to the end; meaningful for END */
	unsigned faults;
};

/* A line to somebody who takes CRLF, CR or LF for its end, and overlooks NUL, is only a dot. */
static inline bool reference_doubt(struct slice line)
{
	bool dot = false;

	for (size_t i = 0; i < line.len; i++) {
		if (line.ptr[i] == '\0')
			continue;
		if (line.ptr[i] != '.' || dot)
			return false;
		dot = true;
	}
	return dot;
}

/* The message's bytes go to out (also those of a line that is not complete yet). */
static inline struct data_outcome data_reference(struct slice in, struct buf *out)
{
	struct data_outcome o = { .end = SMTP_DATA_MORE };
	size_t loose = 0;		/* where the line starts, for somebody who is not strict */
	size_t strict = 0;		/* where it starts by the RFC */

	for (size_t i = 0; i < in.len; i++) {
		uint8_t c = in.ptr[i];
		bool after_cr = i > 0 && in.ptr[i - 1] == '\r';

		if (c == '\0')
			o.faults |= SMTP_FAULT_NUL;
		if (after_cr && c != '\n') {
			o.faults |= SMTP_FAULT_BARE_CR;
			if (reference_doubt(slice_sub(in, loose, i - 1))) {
				o.end = SMTP_DATA_DOUBT;
				return o;
			}
			loose = i;
		}
		struct slice line = slice_sub(in, loose, c == '\n' && after_cr ? i - 1 : i);
		bool exact = loose == strict && line.len == 1;
		if (c == '\n' && !after_cr)
			o.faults |= SMTP_FAULT_BARE_LF;
		if ((c == '\n' || (c == '\r' && !exact)) && reference_doubt(line)) {
			o.end = c == '\n' && after_cr && exact ? SMTP_DATA_END : SMTP_DATA_DOUBT;
			o.used = i + 1;
			if (o.end == SMTP_DATA_END)
				buf_truncate(out, out->len - 1);	/* the CR of the final line */
			return o;
		}
		if (c != '.' || i != strict)
			buf_addc(out, c);
		if (c == '\n') {
			loose = i + 1;
			if (after_cr)
				strict = i + 1;
		}
	}
	return o;
}
