/*
 * Base subject (RFC 5256 §2.1): what SORT SUBJECT and THREAD compare.
 */
#pragma once
#include "base/buf.h"

/*
 * Append the base subject of a raw Subject value as a casemap key. *is_reply: something of a reply or
 * forward was removed. Only the first SUBJECT_BYTES_MAX bytes count. Linear.
 */
void subject_base(struct buf *out, struct slice subject, bool *is_reply);
