/*
 * SASLprep: one spelling for user names and passwords (RFC 4013, a profile of RFC 3454).
 *
 * Only SCRAM and stored hashes need it: both sides must hash the same bytes, however
 * a keyboard composed an accent. Unassigned code points are taken, as for "query" strings (RFC
 * 3454 §7): the tables of prohibition and mapping are RFC 3454's, normalisation and direction
 * follow the Unicode version of libunistring, which is newer than 3.2.
 */
#pragma once
#include "base/buf.h"

enum saslprep_result {
	SASLPREP_OK,
	SASLPREP_NOT_UTF8,
	SASLPREP_PROHIBITED,		/* a character of RFC 4013 §2.3: controls, private use, ... */
	SASLPREP_BIDI,			/* mixes directions against RFC 3454 §6 */
	SASLPREP_TOO_BIG,		/* out->err tells: limit of the buffer, or memory */
};

/* Append the prepared form of `in` to out. On failure nothing is appended. Linear but for normalising. */
MUST_USE enum saslprep_result saslprep(struct slice in, struct buf *out);
