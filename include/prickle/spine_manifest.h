/*
 * The manifest of a SPINE extension: what it is, which packets it wants, what it may do with them and
 * what it may cost. It stands in the object file's section ".spine", written by SPINE_EXTENSION
 * (prickle/spine.h) and read by the loader before anything of the object is loaded.
 *
 * Both sides include this file, the extension's (clang, BPF) and the host's, so it needs nothing but
 * <linux/types.h>. All numbers are in the byte order of the object. Texts end in NUL.
 */
#pragma once
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define SPINE_MANIFEST_MAGIC   0x314e5053u	/* "SPN1" */
#define SPINE_MANIFEST_ABI     1
#define SPINE_MANIFEST_SECTION ".spine"

#define SPINE_NAME_BYTES    32		/* texts' sizes with their NUL */
#define SPINE_VERSION_BYTES 32
#define SPINE_MATCH_BYTES   512

/* A verdict as a bit of a set: what XDP programs may return. */
enum spine_verdicts {
	SPINE_ABORTED = 1 << 0,
	SPINE_DROP = 1 << 1,
	SPINE_PASS = 1 << 2,
	SPINE_TX = 1 << 3,
	SPINE_REDIRECT = 1 << 4,
};
#define SPINE_VERDICTS_ALL 0x1f

enum spine_manifest_flags {
	/*
	 * Its verdict is final: it is entered by a tail call and nothing runs after it. Cheaper by some
	 * 10 ns a packet, but verdicts are not masked and time is not charged: for vetted extensions, or
	 * when the operator says --terminal.
	 */
	SPINE_TERMINAL = 1 << 0,
	/* After a fault, and when ejected, its packets are dropped; else they go on as if it were not there. */
	SPINE_FAIL_CLOSED = 1 << 1,
	/* It handles packets in several buffers (jumbo frames): it may also be loaded as xdp.frags. */
	SPINE_FRAGS = 1 << 2,
	/* It keeps no state and reads only the packet: `check` may run it beside the old one. */
	SPINE_STATELESS = 1 << 3,
};

struct spine_manifest {
	__u32 magic;
	__u16 abi;
	__u16 bytes;			/* sizeof(struct spine_manifest) */
	char name[SPINE_NAME_BYTES];	/* [a-z0-9][a-z0-9-]* */
	char version[SPINE_VERSION_BYTES];
	char match[SPINE_MATCH_BYTES];	/* pcap-filter language; "" matches every frame */
	__u32 order;			/* lower runs first; equal: in order of installation; 0 means 1000 */
	__u32 verdicts;			/* that it may return: enum spine_verdicts; 0 means PASS and DROP */
	__u32 continues;		/* after these the next match gets the packet; 0 means PASS */
	__u32 flags;			/* enum spine_manifest_flags */
	__u32 instructions_max;		/* longest path a packet, as the inspector counts; 0: 20,000 */
	__u32 cpu_permille;		/* share of each processor that it may use; 0: no budget */
	__u64 memory_bytes_max;		/* of its maps and programs; 0: 16 MiB */
	__u32 state_id;			/* maps are handed to a new version only when this is equal */
	__u32 channels;			/* host programs that may hold a channel at a time; 0: 1 if it has handlers */
	__u32 reserved[8];		/* 0 */
};

/* One row of section ".spine.handlers" for each message handler (SPINE_HANDLERS in prickle/spine.h). */
#define SPINE_HANDLERS_SECTION ".spine.handlers"
struct spine_handler_row {
	__u16 id;			/* > 0, unique in the object */
	__u16 bytes;			/* sizeof its argument struct, <= 48 */
	char name[SPINE_NAME_BYTES];
	char type[SPINE_NAME_BYTES];	/* the argument struct's tag, described by the object's BTF */
};

/* Not loaded: one empty variable of each handler's argument type, so that BTF describes the type. */
#define SPINE_TYPES_SECTION ".spine.types"

/* What SEC("syscall") int spine_migrate(struct spine_migration *how) gets (prickle/spine.h). */
struct spine_migration {
	__u32 from_state_id, to_state_id;
};
