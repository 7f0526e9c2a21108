/*
 * For tests of match rules: frames and rules by chance, and libpcap's own verdict on them.
 *
 * Frames are made of few values, so that rules meet them: fragments, options, extension headers, VLAN tags, ARP,
 * wrong lengths, and frames that end anywhere.
 */
#pragma once
#include "base/slice.h"

#define LAB_FRAME_MAX 160

/* xorshift: the same run every time. */
uint64_t lab_next(uint64_t *seed);
uint32_t lab_below(uint64_t *seed, uint32_t n);
/* A frame of 14 to LAB_FRAME_MAX bytes; its length. `whole`: none of its headers is cut off. */
size_t lab_frame(uint64_t *seed, bool whole, uint8_t out[LAB_FRAME_MAX]);
/* A rule that the decision tree can hold; with `guards` also others. May be one that libpcap refuses. */
void lab_rule(uint64_t *seed, bool guards, char *out, size_t size);

struct lab_filter;
/*
 * libpcap's program for a rule, or NULL when it refuses it. Not optimized it is what the language means: the
 * optimizer of libpcap 1.10 rejects all frames for "ip6 src and dst net 2001:db8::/127 and ip6 src or dst net
 * 2001:db8::/127". Guards are optimized.
 */
struct lab_filter *lab_filter_new(const char *rule, bool optimize);
void lab_filter_free(struct lab_filter *f);
bool lab_filter_matches(const struct lab_filter *f, const uint8_t *frame, size_t bytes);
