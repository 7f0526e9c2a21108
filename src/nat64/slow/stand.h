/*
 * A stand for tests and fuzzing of the slow path: the native home plans, what is sent is kept and judged, the clock is a field.
 */
#pragma once
#include "nat64/native/native.h"
#include "nat64/slow/slow.h"
#include "nat64/slow/wire.h"

#define STAND_SENT_MAX 256
#define STAND_FTP_MAX  8

struct stand {
	struct xlat_config config;
	struct xlat_native *native;
	struct slow *slow;
	struct slow_settings settings;
	uint32_t mtu4, mtu6;		/* what routes say; 0: nothing */
	uint32_t path4, path6;		/* longer packets are refused with -EMSGSIZE; 0: no limit */
	bool quiet;			/* no ICMP errors are allowed now */
	struct xlat *last;		/* planned last: the desk */
	struct { struct buf bytes; unsigned family; } sent[STAND_SENT_MAX];
	unsigned sent_count;
	const char *wrong;		/* what the judge said first */
	uint32_t counted[XLAT_REASONS];
	struct { struct xlat_session_key key; struct xlat_ftp value; bool used; } ftp[STAND_FTP_MAX];
	int64_t now_ms;
};

/* A translator with 64:ff9b::/96 (global or not) and pool4 198.51.100.1 (NAT64) or 198.51.100.0/29 (SIIT). */
void stand_init(struct stand *t, enum xlat_mode mode);
void stand_done(struct stand *t);
/* After a change of t->config or t->settings. */
void stand_configure(struct stand *t);
/* A packet comes out of the TAP. */
void stand_packet(struct stand *t, struct slice packet);
/* Turn the clock, telling the slow path. */
void stand_wait(struct stand *t, int64_t ms);
/* Forget what was sent. */
void stand_forget(struct stand *t);
struct slice stand_sent(const struct stand *t, unsigned i);
