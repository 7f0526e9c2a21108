/*
 * Test cases of an extension, a text file (NAME.test): packet in, verdict and bytes out.
 *
 *	# the rest of a line behind '#' at its start is a comment
 *	case telnet is dropped
 *	  in       tcp 10.0.0.1:1000 > 10.0.0.2:23 flags S
 *	  verdict  drop
 *
 *	case the second one goes through with another port
 *	  port     eth1				# the interface is one of spine_ports
 *	  map      limits 0 100			# before the packet: map, key, value; a number or x0a0b
 *	  in       udp 10.0.0.1:1000 > 10.0.0.2:53 "a"
 *	  repeat   3				# the same packet, judged each time
 *	  verdict  pass
 *	  out      same				# or a frame; without `out` bytes may change
 *	  expect   counts 0 3			# after it
 *
 * A case starts with a freshly loaded extension; its lines happen in their order; each `in` is a packet,
 * and verdict, out and repeat belong to the `in` above them. Frames are words of spine/frame.h.
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"

enum case_action_kind { CASE_PACKET, CASE_MAP, CASE_EXPECT, CASE_PORT };
enum case_out { CASE_OUT_ANY, CASE_OUT_SAME, CASE_OUT_FRAME };

struct case_action {
	enum case_action_kind kind;
	unsigned line;
	/* CASE_PACKET */
	struct slice in, out;
	enum case_out out_kind;
	int verdict;			/* XDP_...; -1: any */
	uint32_t repeat;		/* >= 1 */
	/* CASE_MAP, CASE_EXPECT; `name` is the interface of CASE_PORT */
	const char *name, *key, *value;
	struct case_action *next;
};

struct test_case {
	const char *name;
	unsigned line;
	struct case_action *actions;
	struct test_case *next;
};

/*
 * 0 and the first case; -EINVAL: all mistakes are in *errors as "FILE:LINE: sentence" lines; -ENOMEM. Everything
 * lives in the arena. Fuzz target spine_cases.
 */
MUST_USE int cases_parse(struct arena *arena, struct slice text, const char *file, const struct test_case **out,
			 struct buf *errors);
/* A number ("12", "-1", "0x1f"), little-endian on `size` bytes, or "x0a0b" of exactly size bytes. False: it does not fit. */
MUST_USE bool case_value(const char *text, uint8_t *out, size_t size);
/* XDP_... by its name in lower case, or -1; and back, or NULL. */
int case_verdict(struct slice name);
const char *case_verdict_name(uint32_t verdict);
