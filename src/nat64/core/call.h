/*
 * How the daemon and the commands ask for changes of state: they run the SYSCALL program `nat64_call` with this as
 * its context (BPF_PROG_TEST_RUN). So there is one owner of state, the programs, and no lock between processes.
 *
 * Packets are planned on a *desk*: an entry of the map `desk` (struct xlat each), which both sides map into memory. The caller
 * fills what "the home" says, calls, and reads the verdict and the edit. XLAT_DESK_DAEMON belongs to the daemon, the other to commands, which
 * hold the instance's lock.
 */
#pragma once
#include "nat64/core/state.h"

enum { XLAT_DESK_DAEMON, XLAT_DESK_COMMAND, XLAT_DESKS };

enum xlat_call_op {
	XLAT_CALL_PLAN,			/* xlat_plan on desk `desk`; result: the verdict */
	XLAT_CALL_BIB_ADD,		/* `bib`: a static mapping (flags XLAT_BIB_STATIC), or one of the ALG; result: 0 or -errno */
	XLAT_CALL_BIB_REMOVE,		/* the mapping of `bib.key` with its sessions; -ENOENT */
	XLAT_CALL_SESSION_END,		/* the session of `session` */
	XLAT_CALL_DRAIN,		/* end what uses pool slot `slot`, a part per call: begin with `count` 0 and call until result (entries still to be looked at) is 0 */
	XLAT_CALL_WALK,			/* visit `count` session slots from the cursor now (tests, with a fixed clock) */
	XLAT_CALL_TIMER,		/* (re)start the timer of the walk, with this program's code: after each load */
	XLAT_CALL_SLOW,			/* keep the flow of desk's packet on the slow path until tick now + `count` */
	XLAT_CALL_ALG,			/* mark the session of `session` as ALG's (`count` 1) or not (0) */
};

/* For BIB_ADD: what 0 in a field leaves open is chosen as for a packet of bib.key (address, port). Filled on return. */
struct xlat_call {
	__u32 op;			/* enum xlat_call_op */
	__s32 result;
	__u32 desk, count, slot, spare;
	struct xlat_bib bib;
	struct xlat_session_key session;
	__u32 session_expires;		/* tick, when result is 0 and op looks at a session */
};
