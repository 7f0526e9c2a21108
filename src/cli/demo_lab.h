/*
 * The lab of `prickle demo`: when root runs it, three network namespaces - a left host, a right host and a
 * machine between them that routes with an extension and filters with another one - to play with
 * `prickle spine`, and three for `prickle nat64` (demo_nat64.h). It needs iproute2 and is gone when the demo ends.
 */
#pragma once
#include <stddef.h>

#include "base/errmsg.h"

struct demo_lab {
	int report;			/* where the lab's keeper tells how it went; -1: there is no lab */
	int alive;			/* held open while the demo lives */
};

/*
 * Begin to make the lab in a process of its own, which takes it down when this process has ended. Before
 * anything of the node is started. *lab is valid in any case; lab->report is -1 when there will be none.
 */
void demo_lab_start(struct demo_lab *lab);
/* Wait until it is there and print what to try, or one sentence why not. */
void demo_lab_greet(struct demo_lab *lab);

/*
 * For the lab's parts: run a program with a line of words, of which %G is replaced by `file` and %F by the policy in that directory. What it says goes to `said` (its first
 * bytes; NULL: nowhere), and where it fails, to `report` as well. Its exit code, or a negative errno.
 */
int demo_lab_run(const char *program, const char *name, const char *line, const char *file, char *said, size_t said_bytes, int report);
