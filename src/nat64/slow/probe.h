/* The probe of a TCP session that fell silent (RFC 6146 3.5.2.2). */
#pragma once
#include "base/buf.h"
#include "nat64/core/xlat.h"

/*
 * Replace *out by a segment from the remote host to the inside one: no data, ACK, numbers that are most likely outside its window. A host
 * that still has the connection answers with an acknowledgement of where it is (RFC 9293 3.10.7.4), which keeps the session; one that
 * has not answers with a reset, which ends it. False: the event has no such session, or the error of *out.
 */
bool slow_probe(const struct xlat_event *e, const struct xlat_config *config, struct buf *out);
