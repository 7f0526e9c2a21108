/*
 * Translators that the node runs (option nat64.instances): a process beside the roles that starts `prickle nat64 run` for each
 * file and again when one ends.
 *
 * Why not a role: the supervisor gives up what translators need - the right to load programs, to enter namespaces and to start programs with
 * such rights - before it does anything, and with good reason. So this process is forked before that. It reads nothing of anybody: it waits
 * for children and signals. Of those children, the one that reads packets keeps the rights of the row `net` of the role table.
 */
#pragma once
#include <sys/types.h>

#include "base/errmsg.h"

struct config;
struct event;

/*
 * Fork it, before descriptors are opened that it should not have. *pid is 0 when nothing is configured. SIGHUP makes every translator read its file
 * again, SIGTERM ends all; it dies with the caller, and traffic goes on without it. 0 or negative errno.
 */
MUST_USE int net_start(const struct config *config, struct event *ev, pid_t *pid, struct errmsg *why);
