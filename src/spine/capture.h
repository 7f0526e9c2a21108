/*
 * Captured frames: a filter in the language of tcpdump and pcap files. A header of its own, because
 * libpcap's and the kernel's `struct bpf_insn` cannot be in one source file.
 */
#pragma once
#include <stdbool.h>
#include <sys/time.h>

#include "base/errmsg.h"
#include "base/slice.h"

struct capture;

/* match: NULL takes all; 0, -EINVAL: libpcap does not understand it, with a sentence; -ENOMEM. */
MUST_USE int capture_new(const char *match, struct capture **out, struct errmsg *why);
void capture_free(struct capture *c);
/* Frames go to this file from now on. 0 or negative errno with a sentence. */
MUST_USE int capture_create(struct capture *c, const char *file, struct errmsg *why);
/* wire_bytes: how long the frame was before it was cut. */
bool capture_wants(const struct capture *c, struct slice frame, uint32_t wire_bytes);
void capture_write(struct capture *c, struct timeval at, struct slice frame, uint32_t wire_bytes);

/*
 * Call `each` with every frame of a pcap or pcapng file of Ethernet frames; not 0 ends it. 0, what
 * `each` returned, or a negative errno with a sentence.
 */
MUST_USE int capture_read(const char *file, int (*each)(void *arg, struct slice frame, uint32_t wire_bytes), void *arg,
			  struct errmsg *why);
