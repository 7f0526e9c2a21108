/*
 * The translator's part of the demo's lab: a host with IPv6 alone, a host with IPv4 alone and the translator between them
 * (`prickle nat64`), with a small web server on each host, so that curl and ping show that it works.
 *
 * All of it belongs to the lab's keeper (demo_lab.c): its processes are the keeper's children.
 */
#pragma once
#include <sys/types.h>

#define DEMO_NAT64_WORKS "Look at it:"	/* in the report when the translator runs */

struct demo_nat64 {
	pid_t translator, web_six, web_four;	/* 0: does not run */
	int said;			/* what the translator says, to be read until it ends; -1 */
	char file[32];			/* its settings; "": there is none */
};

/*
 * Make it, try it, and write to `report` what a person should read: commands with their outcomes, or one sentence why there is no
 * translator. `ip` is the path of iproute2's program. Takes a second; forks.
 */
void demo_nat64_start(struct demo_nat64 *demo, const char *ip, int report);
void demo_nat64_stop(struct demo_nat64 *demo, const char *ip);
