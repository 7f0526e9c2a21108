/*
 * The lab of `prickle demo`: when root runs it, three network namespaces - a left host, a right host and a
 * machine between them that routes with an extension and filters with another one - to play with
 * `prickle spine`. It needs iproute2 and is gone when the demo ends.
 */
#pragma once
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
