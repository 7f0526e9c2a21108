/* What slow.c and alg.c share. */
#pragma once
#include "nat64/slow/packet.h"
#include "nat64/slow/reassemble.h"
#include "nat64/slow/slow.h"
#include "nat64/slow/syn.h"

#define SLOW_KEEP_MS 100		/* a flow stays slow for so long after its last slow packet */
#define SLOW_MARKS   256u

/* A flow that was kept slow a moment ago: need not be said again with each packet. */
struct slow_mark { uint64_t flow; int64_t until_ms; };

struct slow {
	struct slow_settings settings;
	struct slow_ops ops;
	void *arg;
	const struct xlat_config *config;	/* borrowed; NULL before the first slow_configure */
	struct reassembly *reassembly;
	struct syns *syns;
	int64_t now_ms;
	int64_t sweep_ms;		/* when forgotten control connections are looked for next */
	bool sweeping;
	struct xlat_session_key swept;	/* where that goes on */
	struct slow_mark marks[SLOW_MARKS];
	struct buf whole, out, piece, error, segment;
	struct xlat x;			/* the packet at hand */
};

/* Where it came from and how. */
struct slow_packet {
	struct slice bytes;
	uint32_t mark;
	uint32_t id;			/* of a datagram that came in parts, or an IPv4 one */
	bool whole;			/* put together from fragments */
	bool dont_fragment;
};

/* Send bytes; with -EMSGSIZE *mtu is what fits. */
int slow_send(struct slow *s, unsigned family, struct slice packet, uint32_t mark, uint32_t *mtu);
/* MTU of the way of the packet at hand, as the routes or the configuration say. */
uint32_t slow_mtu(struct slow *s);
void slow_count(struct slow *s, enum xlat_reason reason);

/*
 * The packet at hand (x planned, TRANSLATE) belongs to a control connection of the FTP ALG: it is sent as the ALG says. `translated` is
 * the packet with the edit applied. False: it does not, or the ALG has nothing to do with it.
 */
bool slow_alg(struct slow *s, const struct slow_packet *p, struct slice translated);
/* Forget control connections whose sessions are gone: some of them a call. */
void slow_alg_sweep(struct slow *s);
