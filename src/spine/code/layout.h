/*
 * The memory that a device's dispatcher (generated code) shares with our programs. Two array maps of
 * one entry each, mapped into user space: no call is needed to read counters or to switch a slot off.
 *
 *	control		one for all processors: who is on, what each may return, why it is off
 *	stats		one part for each processor: counters, written without atomics, since the
 *			dispatcher cannot be interrupted by itself on the same processor
 *
 * Both are pinned and outlive every process and every dispatcher of the device; a change here changes
 * SPINE_LAYOUT_ABI, and a device that runs another one is refused with the sentence how to go on.
 */
#pragma once
#include <stdint.h>

#define SPINE_LAYOUT_ABI   1u
#define SPINE_SLOTS_MAX	   128u		/* extensions on a device */
#define SPINE_CHAIN_MAX	   32u		/* of them on one packet's way: the kernel allows 33 tail calls */
#define SPINE_SAMPLE_MASK  63u		/* 1 packet in 64 is timed */

/*
 * A stall: one packet that held the processor for 2 ticks and 8 ms or more. An idle virtual machine
 * shows gaps of that size of its own, so a stall marks and only a second one within 10 s ejects; one
 * of 64 ms ejects at once.
 */
#define SPINE_STALL_TICKS  2u
#define SPINE_STALL_MS	   8u
#define SPINE_STALL_EJECTS_MS 64u
#define SPINE_STALL_MEMORY_S 10u
/* A sample stands for 64 packets, so one that a gap fell into is charged with no more than this. */
#define SPINE_SAMPLE_NS_MAX 250000u
/* Charged beyond the budget in a window: more ejects at once. Four samples that gaps fell into stay below. */
#define SPINE_BUDGET_EXCESS_NS_MAX 64000000

/*
 * After NOT_RUN, VERDICT and GREED the packet has no verdict to go by: it is dropped when the extension
 * is fail-closed, else it goes on as if the extension had not matched. STALL, BUDGET and ABORTED speak
 * of time and rate: the verdict of the packet in hand stands.
 */
enum spine_fault {
	SPINE_FAULT_NONE,
	SPINE_FAULT_NOT_RUN,		/* the slot is empty, or the packet's tail calls were used up */
	SPINE_FAULT_STALL,		/* it held the processor: SPINE_STALL_MS */
	SPINE_FAULT_BUDGET,		/* over its share of the processor in a window: once a sampled packet */
	SPINE_FAULT_VERDICT,		/* it returned what it may not */
	SPINE_FAULT_ABORTED,		/* it returned XDP_ABORTED (by grant; counted, ejects only above a rate) */
	SPINE_FAULT_GREED,		/* it used up the tail calls of those behind it */
	SPINE_FAULT_OPERATOR,		/* switched off by a person: state disabled */
	SPINE_FAULT_COUNT
};

enum spine_slot_state {
	SPINE_SLOT_FREE = 0,
	SPINE_SLOT_ACTIVE = 1,
	SPINE_SLOT_EJECTED = 2,		/* by the dispatcher; `reason` says why */
	SPINE_SLOT_DISABLED = 3,	/* by a person, or by the policy: `reason` is SPINE_DISABLED_BY_POLICY */
};
#define SPINE_DISABLED_BY_POLICY 0x100u	/* beside enum spine_fault, whose members have counters */

/*
 * 64 bytes. The first 8 are read at once for every packet, and the dispatcher ejects by comparing and
 * exchanging them: who changes more than one of them while the extension runs writes all 8 at once.
 */
struct spine_slot_control {
	uint8_t state;			/* enum spine_slot_state */
	uint8_t verdicts;		/* granted: 1 << XDP_... */
	uint8_t continues;		/* verdicts after which the next match runs; REDIRECT never continues */
	uint8_t fail_closed;		/* 1: faults and ejection drop the packet */
	uint32_t reason;		/* enum spine_fault of the ejection */
	uint64_t strike_jiffies;	/* when the last stall was marked; 0: none */
	uint64_t budget_ns;		/* in a window of one second, on each processor; 0: none */
	uint64_t ejected_ns;		/* CLOCK_MONOTONIC */
	uint32_t ejected_cpu;
	uint32_t strikes;		/* stalls ever */
	uint64_t faults_max;		/* so many of one kind in a window of a second eject; 0: never */
	uint64_t patient;		/* not 0: stalls are counted and eject nothing */
	uint64_t spare;
};
_Static_assert(sizeof(struct spine_slot_control) == 64, "read by generated code");

struct spine_control {
	uint32_t abi;			/* SPINE_LAYOUT_ABI */
	uint32_t cpus;			/* parts of stats; a power of two */
	uint32_t sample_mask;		/* a packet is sampled when (count & mask) == 0 */
	uint32_t trace;			/* not 0: sampled packets are copied to the ring `trace` */
	uint32_t hz;			/* ticks a second of this kernel */
	uint32_t spare[11];
	struct spine_slot_control slot[SPINE_SLOTS_MAX];
};

/* 256 bytes. */
struct spine_slot_stats {
	uint64_t packets;		/* that were given to it, the faulty ones included */
	uint64_t verdict[5];		/* that it returned, by XDP_...; not counted for terminal extensions */
	uint64_t faults[SPINE_FAULT_COUNT];	/* 8 */
	uint64_t skipped;		/* its packets while it was off */
	uint64_t samples, sampled_ns;	/* timed packets and their time; ns/packet = sampled_ns / samples */
	uint64_t window_jiffies;	/* begin of the window */
	uint64_t window_ns;		/* charged in it: sampled time x 64 */
	uint32_t window_faults[SPINE_FAULT_COUNT];
	uint64_t spare[9];
};
_Static_assert(sizeof(struct spine_slot_stats) == 256, "generated code shifts");

/* A record of the ring `trace`: this head, then `captured` bytes of the frame as it arrived. */
#define SPINE_TRACE_BYTES 256u
struct spine_trace_record {
	uint64_t time_ns;		/* CLOCK_MONOTONIC */
	uint32_t frame_bytes, captured;
	uint32_t match[SPINE_SLOTS_MAX / 32];
	uint8_t verdict;		/* the last one */
	uint8_t last_slot;		/* who gave it; 0xff: nobody matched */
	uint8_t fault;			/* enum spine_fault that happened on the way, or 0 */
	uint8_t spare;
	uint32_t rx_queue;
	uint32_t ns;			/* spent in extensions */
	uint32_t spare2;
};
_Static_assert(sizeof(struct spine_trace_record) == 48, "generated code fills it");

/* The part of one processor. */
struct spine_cpu_stats {
	uint64_t packets;		/* seen by the dispatcher */
	uint64_t unmatched;		/* passed on to the host */
	uint64_t trace_lost;		/* samples that the ring had no room for */
	/* Scratch of the packet in hand: nothing that a reader can use. */
	uint32_t match[SPINE_SLOTS_MAX / 32];	/* who wants it */
	uint32_t verdict;		/* of the program that just ran */
	uint32_t last;			/* that stands if nobody comes after */
	uint32_t work;			/* for the dispatcher's functions: fault << 16 | slot */
	uint32_t not_run;		/* not 0: the slot's tail call fell through; no program can write this */
	uint32_t suspect;		/* 1 + the slot that ran and makes tail calls; 0: none */
	uint32_t tracing;
	uint64_t key[16];		/* fields of the frame */
	uint64_t ticks;			/* that the stall took */
	uint64_t start_ns, ns, clock_ns;	/* of the timed program; what reading the clock takes */
	uint64_t spare[4];
	struct spine_trace_record trace;
	uint8_t trace_frame[SPINE_TRACE_BYTES];	/* follows the record */
	uint64_t spare2[2];
	struct spine_slot_stats slot[SPINE_SLOTS_MAX];
};
_Static_assert(sizeof(struct spine_cpu_stats) == 576 + 256 * SPINE_SLOTS_MAX, "generated code multiplies");
