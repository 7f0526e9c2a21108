/*
 * The store's own socket, over which `prickle mail fsck|export|import` reach a node that runs.
 *
 * These commands work with all mail, so they do not go through the control role, which speaks HTTP
 * and should be worth little to whoever subverts it. They connect to the store, who looks
 * at their uid (root, or the store's own, who could read the files as well) and judges
 * each call by access_check_operator (roles/access.h). What flows is engine/remote.h.
 */
#pragma once
#include "base/errmsg.h"

#define OPERATOR_PATH_BYTES 108u

/* The path beside the control socket's, which has at most 101 bytes; else "". */
void operator_socket_path(const char *control_socket, char out[OPERATOR_PATH_BYTES]);
/* Accept one peer that may; others are closed. A descriptor, or a negative errno. */
int operator_accept(int listener);
/*
 * Connect; for the command line. A descriptor for remote_set_channel; -ENOENT, -ECONNREFUSED: no node runs;
 * -EACCES; other negative errno.
 */
MUST_USE int operator_connect(const char *control_socket, struct errmsg *why);
