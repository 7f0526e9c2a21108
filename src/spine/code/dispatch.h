/*
 * The dispatcher of a device: generated eBPF instructions that select the extensions of a frame and
 * run them, each in its slot.
 *
 * A *returnable slot* is a function of its own with one static tail call into the prog array `slots`:
 * the extension replaces that function's frame and returns to the dispatcher, so that verdicts are
 * masked, counted and judged, time is sampled and stalls are seen. A *terminal* slot is a tail call
 * from the main function: nothing comes after it. A slot is swapped by one write to the array.
 *
 * What runs after each slot, in order: did it run; how long (jiffies, every packet; ns, the sampled
 * ones); may it return this; does it continue. Faults are counted and, as struct spine_slot_control
 * says, eject: the dispatcher itself writes the slot's state, so that no process of ours is needed.
 *
 * The packet's verdict is that of the first extension that does not continue; when all continue, of
 * the last one that ran; XDP_PASS when none did.
 */
#pragma once
#include "spine/code/layout.h"
#include "spine/code/rule.h"

struct dispatch_slot {
	uint16_t slot;
	const struct rule *rule;
	bool terminal;
	bool redirects;			/* its program calls a redirect helper */
	/*
	 * Its program makes tail calls of its own: the suspect when a later one did not run. What it
	 * calls is not known here, so it is taken for one that redirects.
	 */
	bool tail_calls;
};

struct dispatch_spec {
	const struct dispatch_slot *slots;	/* in the order in which they run */
	size_t count;
	int control_fd, stats_fd;	/* array maps of one entry: struct spine_control, spine_cpu_stats[cpus] */
	int slots_fd;			/* prog array of SPINE_SLOTS_MAX */
	int trace_fd;			/* ring buffer */
	uint32_t cpus;			/* parts of stats: a power of two >= possible processors */
	uint32_t hz;			/* dispatch_hz() */
	struct rule_sets sets;
};

/*
 * Generate. 0: *out is sealed, free it with program_free; -E2BIG: more extensions than
 * SPINE_CHAIN_MAX can meet on one frame, or too much code, with a sentence; -EINVAL: a slot that does
 * not exist or is used twice; errors of rule_emit. Time and code are linear in the extensions.
 */
MUST_USE int dispatch_build(const struct dispatch_spec *spec, struct program **out, struct errmsg *why);

/*
 * Load it into the kernel. frags and attach_type are the device's class (spine/device.h).
 * Returns a descriptor, or a negative errno; then `why` has the end of the verifier's log.
 */
MUST_USE int dispatch_load(const struct program *p, const char *name, bool frags,
			   enum bpf_attach_type attach_type, struct errmsg *why);

/* Ticks a second of the running kernel (CONFIG_HZ), without a file or a measurement. 0: it cannot be found out. */
uint32_t dispatch_hz(void);
