/*
 * Two versions of an extension on the same packets, before one takes the other's place.
 *
 * Both are loaded a second time with maps of their own that begin as copies of the running version's,
 * so that live state is read and never written. Each packet runs through both (BPF_PROG_TEST_RUN): verdict, length
 * and bytes are compared. What the two leave in their maps is compared at the end and told apart, since
 * a new version may well keep other state on purpose.
 */
#pragma once
#include "base/buf.h"
#include "spine/load.h"

struct compare_counts {
	uint64_t packets, same, verdicts, lengths, bytes;	/* packets with a difference count once, in the first that applies */
	uint64_t not_run;		/* the kernel refused to run one of them on this packet (too short, too long) */
};

/* The first byte in which the two differ, or the verdicts and lengths. */
struct compare_difference {
	uint32_t old_verdict, new_verdict;
	uint32_t old_bytes, new_bytes;
	uint32_t offset;		/* of the first byte that differs; UINT32_MAX: none */
	uint8_t old_byte, new_byte;
};

/*
 * Copy what the maps of the running version (a directory of pins) hold into those of a loaded one, where name, type
 * and sizes are the same. Maps that hold programs, sockets, devices or messages are left alone. *copied: entries. 0 or negative errno.
 */
MUST_USE int compare_copy_maps(int maps_dir, const struct loaded *to, uint64_t *copied, struct errmsg *why);

/* Run one frame through both. true: they do the same. ifindex: in which the frame came, 0 for none. */
bool compare_frame(int old_fd, int new_fd, struct slice frame, uint32_t ifindex, struct compare_counts *counts,
		   struct compare_difference *difference);

/* Maps that both have and that differ now: one line each with the number of entries that differ. Returns how many maps. */
size_t compare_maps(const struct loaded *a, const struct loaded *b, struct buf *out);
