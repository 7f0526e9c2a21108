/*
 * The states of a TCP session (RFC 6146 3.5.2.2), as the table of the text: state and event -> state and timer.
 *
 * A session that does not exist is CLOSED; what may begin one is session.h's. Where we differ from the text, or it says nothing:
 * - A RST after one FIN goes to TRANS. The text lets such a half-closed connection live for 2 h 4 min more although one
 *   end is gone; as in ESTABLISHED, the next packet that is no RST takes it back.
 * - A SYN from inside after both FINs begins anew. The text forwards it but keeps the 4 minutes running, so that a connection
 *   that uses the same ports again would be cut. Outside hosts cannot do that.
 * - The text calls every segment with SYN a SYN. One with ACK begins no session here (CLOSED): from outside such are mostly answers to
 *   forged SYNs, which would fill the memory of stored SYNs. It goes by a mapping that is there, as other packets do.
 * - A stored SYN is no session (V4 INIT) but a packet that the slow path keeps (slow/syn.h). So the inside host's SYN makes V6 INIT instead of
 *   ESTABLISHED, and whatever SYN comes next from outside - the repeated one, or that with ACK - makes it ESTABLISHED.
 * - The first FIN starts the timer of established connections anew. The text leaves it running; any packet after the FIN starts it.
 */
#pragma once
#include "nat64/core/state.h"

enum { XLAT_TCP_FIN = 1, XLAT_TCP_SYN = 2, XLAT_TCP_RST = 4, XLAT_TCP_ACK = 16 };

enum xlat_tcp_event { XLAT_E_SYN, XLAT_E_FIN, XLAT_E_RST, XLAT_E_OTHER, XLAT_TCP_EVENTS };

/* What a transition says: the state, and the timer that starts, or that none does. */
#define XLAT_TIMER_RUNS_ON 0xffu
#define XLAT_TO(state, timer) ((__u32)(state) | (__u32)(timer) << 8)

/* A RST counts as one whatever else is set; then SYN, so that "SYN, FIN" does not close what it opens. */
XLAT_INLINE enum xlat_tcp_event tcp_event(__u8 flags)
{
	if ((flags & XLAT_TCP_RST) != 0)
		return XLAT_E_RST;
	if ((flags & XLAT_TCP_SYN) != 0)
		return XLAT_E_SYN;
	return (flags & XLAT_TCP_FIN) != 0 ? XLAT_E_FIN : XLAT_E_OTHER;
}

/* The first packet of a connection: a SYN alone. A SYN with ACK answers one that we have not seen. */
XLAT_INLINE bool tcp_begins(__u8 flags)
{
	return (flags & (XLAT_TCP_SYN | XLAT_TCP_ACK | XLAT_TCP_RST | XLAT_TCP_FIN)) == XLAT_TCP_SYN;
}

/* XLAT_TO(next state, timer). from4: the packet came from the IPv4 side. */
XLAT_INLINE __u32 tcp_next(__u32 state, enum xlat_tcp_event event, bool from4)
{
	switch (state) {
	case XLAT_V4_INIT:
		if (event == XLAT_E_SYN && !from4)
			return XLAT_TO(XLAT_ESTABLISHED, XLAT_T_TCP_ESTABLISHED);
		return XLAT_TO(XLAT_V4_INIT, XLAT_TIMER_RUNS_ON);
	case XLAT_V6_INIT:
		if (event == XLAT_E_SYN)
			return from4 ? XLAT_TO(XLAT_ESTABLISHED, XLAT_T_TCP_ESTABLISHED) :
				       XLAT_TO(XLAT_V6_INIT, XLAT_T_TCP_TRANSITORY);
		return XLAT_TO(XLAT_V6_INIT, XLAT_TIMER_RUNS_ON);
	case XLAT_ESTABLISHED:
		if (event == XLAT_E_FIN)
			return XLAT_TO(from4 ? XLAT_V4_FIN : XLAT_V6_FIN, XLAT_T_TCP_ESTABLISHED);
		if (event == XLAT_E_RST)
			return XLAT_TO(XLAT_TRANS, XLAT_T_TCP_TRANSITORY);
		return XLAT_TO(XLAT_ESTABLISHED, XLAT_T_TCP_ESTABLISHED);
	case XLAT_V4_FIN:
	case XLAT_V6_FIN:
		if (event == XLAT_E_FIN && from4 == (state == XLAT_V6_FIN))
			return XLAT_TO(XLAT_V4_V6_FIN, XLAT_T_TCP_TRANSITORY);
		if (event == XLAT_E_RST)
			return XLAT_TO(XLAT_TRANS, XLAT_T_TCP_TRANSITORY);
		return XLAT_TO(state, XLAT_T_TCP_ESTABLISHED);
	case XLAT_V4_V6_FIN:
		if (event == XLAT_E_SYN && !from4)
			return XLAT_TO(XLAT_V6_INIT, XLAT_T_TCP_TRANSITORY);
		return XLAT_TO(XLAT_V4_V6_FIN, XLAT_TIMER_RUNS_ON);
	case XLAT_TRANS:
		if (event == XLAT_E_RST)
			return XLAT_TO(XLAT_TRANS, XLAT_TIMER_RUNS_ON);
		return XLAT_TO(XLAT_ESTABLISHED, XLAT_T_TCP_ESTABLISHED);
	default:
		return XLAT_TO(XLAT_CLOSED, XLAT_TIMER_RUNS_ON);
	}
}
