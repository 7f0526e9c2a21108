/*
 * Asking the running node, for commands: over the socket of --socket, else of the configuration.
 */
#pragma once
#include "cli/cli.h"
#include "roles/admin.h"

#define NODE_TIMEOUT_MS 120000

/*
 * The command has CLI_OPTION_CONFIG and CLI_OPTION_SOCKET. CLI_OK: *reply is there, its texts live
 * in *storage. Else the failure has been told and the code is to be returned.
 */
MUST_USE int node_ask(struct cli *cli, const struct admin_request *req, struct buf *storage,
		      struct admin_reply *reply);
/*
 * What a start looks at beyond the text of the configuration: the certificate and its key. CLI_OK, or
 * the mistake has been told. path: of the file, NULL when there is none.
 */
MUST_USE int node_check(struct cli *cli, const struct config *c, const char *path);
/* Tell the "error" of a reply and return its exit code. */
int node_fail(struct cli *cli, const struct admin_reply *reply);
