/*
 * The rights of an extension that may be taken away while it runs. SPINE_EXTENSION puts one of these into each object; the loader injects checks
 * that read it in front of what they guard, and `prickle policy apply` writes it. Extensions cannot name it: the inspector refuses any reference that the
 * loader did not make.
 *
 * Each decision reads one aligned word, so it comes from one epoch and needs neither lock nor generation:
 *	helpers		bit of the helper's number
 *	ports		the slot of an interface index: its number in the lower, its rights in the upper half
 */
#pragma once
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define SPINE_POLICY_SECTION ".data.policy"
#define SPINE_POLICY_SYMBOL  "spine_policy_row"
#define SPINE_POLICY_ABI     1
#define SPINE_POLICY_PORTS   1024	/* a power of two; slot = ifindex modulo this; the loader refuses two ports in one slot */
#define SPINE_POLICY_RECORDS 64		/* a power of two */

#define SPINE_POLICY_FORWARD 1u		/* in the upper half of a port's word */
#define SPINE_POLICY_FORWARD_TRIAL 2u

/*
 * A place in an object: the number of the function (in the order of section and place, as `inspect` lists them) and the
 * instruction in it, before checks were put in.
 */
#define SPINE_POLICY_INSN_BITS 20
#define SPINE_POLICY_INSN(function, insn) ((__u32)(function) << SPINE_POLICY_INSN_BITS | (__u32)(insn))

/* 32 bytes: a refusal. Overwritten by later ones; sequence is set to 0 first and written last. */
struct spine_policy_record {
	__u64 sequence;			/* from 1 */
	__u64 time_ns;			/* CLOCK_MONOTONIC */
	__u32 insn;			/* SPINE_POLICY_INSN: where in the object, before injection */
	__u32 helper;			/* its number */
	__u32 object;			/* ifindex of a port that was refused, or 0 */
	__u32 result;			/* 1 refused, 3 let through by a trial */
};

struct spine_policy_row {
	__u32 abi, subject;
	__u32 helpers[8];		/* allowed: 256 bits */
	__u32 helpers_trial[8];		/* let through and recorded, until trial_until_ns */
	__u64 trial_until_ns;		/* CLOCK_BOOTTIME */
	__u64 epoch;
	__u64 ports[SPINE_POLICY_PORTS];
	__u64 next;			/* records ever made */
	struct spine_policy_record records[SPINE_POLICY_RECORDS];
};
