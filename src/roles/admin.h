/*
 * The admin protocol: what `prickle user add ...`, `prickle status` and friends say to the
 * node, over the control role's unix socket.
 *
 * A request is an object, a verb and arguments; the answer is an exit code and a JSON
 * text that the command line prints as it is (--json) or as a table. The control role checks
 * who asks (SO_PEERCRED), looks the object up in a table and hands the same bytes on to
 * the role that has the matter: user, domain and alias to auth, mail to store. On a channel
 * it is an ipc request of type ADMIN_IPC_REQUEST whose payload and reply are the same
 * encodings, so a role plugs in by serving that one type.
 *
 * On the socket each message is a be32 length and then the payload. One request may follow
 * another on one connection.
 *
 * Answers hold at most ADMIN_JSON_BYTES: lists come in pages. An answer with a string member
 * "next" is not the last; ask again with the further argument "after=<next>".
 */
#pragma once
#include "base/buf.h"
#include "base/errmsg.h"
#include "roles/role_limits.h"

#define ADMIN_IPC_REQUEST   0xA0u	/* ipc type on the channels of control */

/* Exit codes of the command line (design: 0 ok ... 78 configuration). */
enum admin_exit {
	ADMIN_OK = 0,
	ADMIN_FAILED = 1,
	ADMIN_USAGE = 2,
	ADMIN_DEGRADED = 3,
	ADMIN_NOT_FOUND = 4,
	ADMIN_REFUSED = 5,
	ADMIN_TEMPORARY = 75,
	ADMIN_CONFIG = 78,
};

struct admin_request {
	struct slice object, verb;	/* "user", "add" */
	struct slice args[ADMIN_ARGS_MAX];	/* "ann@example.org", "password=...", ... */
	unsigned arg_count;
};

struct admin_reply {
	uint8_t exit_code;		/* enum admin_exit */
	struct slice json;		/* an object; with "error" when exit_code is not 0 */
};

/* Append the encoding: blob object, blob verb, varint count, blobs. */
void admin_request_encode(const struct admin_request *req, struct buf *out);
/* Slices point into bytes. False when malformed. */
MUST_USE bool admin_request_decode(struct slice bytes, struct admin_request *req);
/* Append u8 exit code, blob JSON. */
void admin_reply_encode(uint8_t exit_code, struct slice json, struct buf *out);
/* A reply with {"error": text}; the text is escaped. */
void admin_error_encode(uint8_t exit_code, const char *text, struct buf *out);
MUST_USE bool admin_reply_decode(struct slice bytes, struct admin_reply *reply);

/* The value of the argument "name=value", or {NULL, 0}. */
struct slice admin_arg(const struct admin_request *req, const char *name);
/* The i-th argument that is not of the form "name=value" (a name is letters, digits and "-"), or {NULL, 0}. */
struct slice admin_positional(const struct admin_request *req, unsigned i);

/* Append s as a JSON string with quotes; bytes that are not UTF-8 become U+FFFD. */
void admin_json_string(struct buf *out, struct slice s);

/*
 * For a role's status: one item of its "problems" ({"what", "run"}: what is wrong, and the command to
 * run next), behind other members. *count starts at 0; admin_problems_end closes the list.
 */
void admin_problem(struct buf *json, unsigned *count, const char *what, const char *run);
void admin_problems_end(struct buf *json, unsigned count);

/*
 * No object or array in this JSON text is nested deeper than max. To be asked before text of another
 * process goes to a parser that recurses. Says nothing about whether it is JSON.
 */
MUST_USE bool admin_json_is_shallow(struct slice json, unsigned max);

/*
 * Ask the node, blocking; for the command line. The reply's slices point into *storage. 0;
 * -ENOENT, -ECONNREFUSED no node listens there; -EACCES; -ETIMEDOUT; -EBADMSG.
 */
MUST_USE int admin_call(const char *socket_path, const struct admin_request *req, int timeout_ms,
			struct buf *storage, struct admin_reply *reply, struct errmsg *why);
