/*
 * The framing of DATA (RFC 5321 §4.5.2): dot-stuffing off, the end found, and every byte
 * that lets two servers disagree about the end reported.
 *
 * Smuggling lives from servers that take "\n.\n", "\r\n.\n" or "\r.\r" for the end of a message.
 * Here only CRLF "." CRLF is the end. A bare CR, a bare LF or a NUL makes the message
 * refusable (`faults`); a line that is only a dot to somebody who takes other line ends puts the
 * framing itself in doubt (SMTP_DATA_DOUBT): the session must end, nothing may follow.
 */
#pragma once
#include "base/slice.h"

enum {
	SMTP_FAULT_BARE_CR = 1,
	SMTP_FAULT_BARE_LF = 2,
	SMTP_FAULT_NUL = 4,		/* RFC 2045 §2.7, §2.8: neither 7bit nor 8bit data has it */
};

enum smtp_data_event {
	SMTP_DATA_MORE,			/* all input is used, the end is not there yet */
	SMTP_DATA_TEXT,			/* *text is the next piece of the message */
	SMTP_DATA_END,			/* the final dot was read; *in starts with what follows it */
	SMTP_DATA_DOUBT,		/* answer 550 5.6.0 and close; feed nothing more */
};

struct smtp_data {
	uint8_t state;
	uint8_t faults;
};

/* At the start of a message, that is at the start of a line. */
static inline void smtp_data_init(struct smtp_data *d)
{
	*d = (struct smtp_data){ 0 };
}

/*
 * Read on. Call until MORE, END or DOUBT; each TEXT gives a piece of `in` itself, without a
 * copy and as large as the dots allow. O(bytes): two memchr a line.
 */
enum smtp_data_event smtp_data_next(struct smtp_data *d, struct slice *in, struct slice *text);

/*
 * The same check for bytes whose length frames them (BDAT without BINARYMIME): only `faults`
 * of d change. `last` at the end of the message: a closing bare CR counts.
 */
void smtp_data_check(struct smtp_data *d, struct slice bytes, bool last);
