/*
 * The control role: the admin socket (roles/admin.h), metrics and health over HTTP.
 *
 * It has no secrets and no files. Who speaks on the admin socket is known from the kernel, and what they may from the policy
 * (roles/caller.h). Objects that belong to other roles are handed on.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/event.h"
#include "base/metrics.h"
#include "base/reader.h"
#include "conf/config.h"
#include "policy/authority.h"
#include "roles/admin.h"
#include "roles/caller.h"
#include "roles/control_ticket.h"
#include "sys/http_request.h"
#include "roles/supervise.h"
#include "roles/table.h"
#include "sys/fiber.h"
#include "sys/ipc.h"
#include "sys/stream.h"

#define CONNECTIONS_MAX	   32u		/* of each kind; more wait in the kernel's queue */
#define STRANGER_IDLE_US   30000000
#define ADMIN_WHO_US	   5000000
#define ACCEPTS_A_ROUND	   16
#define ADMIN_CALL_US	   60000000	/* the other role's time for one request */
#define SUPERVISOR_CALL_US 5000000
#define HTTP_TIMEOUT_US	   10000000
#define HTTP_BYTES_S_MIN   100u		/* a head in drops holds a connection for half a minute, no longer */
#define STATUS_DEPTH_MAX   16u		/* of a role's JSON; jansson recurses, and our stacks are small */
#define ADMIN_IDLE_US	   300000000
#define METRICS_BYTES_MAX  (8u << 20)
#define NODE_ROLES_MAX	   128u
#define RECENT_US	   (600ull * 1000000)	/* a restart this long ago is still a problem to tell */

struct control {
	struct role_context *ctx;
	struct ipc *peers[ROLE_COUNT];
	struct acceptor {
		struct control *control;
		struct io_watch watch;
		bool http, paused;
	} acceptors[ROLE_LISTENERS_MAX];
	unsigned acceptor_count;
	/*
	 * Admin, HTTP: counted apart, so that whoever may reach the metrics cannot keep the operator out.
	 */
	unsigned connections[2];
	/* Admin connections of users who are neither root nor the node's: counted apart, and by uid, so that none keeps others out. */
	unsigned strangers;
	struct { uint32_t uid; unsigned count; } stranger[ADMIN_STRANGERS_MAX];
};

struct connection {
	struct control *control;
	struct stream stream;
	bool http;
	bool stranger;			/* neither root nor the node's user */
	uint32_t uid;
};

/* One role as the supervisor sees it, and what it says of itself. */
struct node_role {
	struct supervise_role seen;
	struct buf status;		/* its reply to SUPERVISE_STATUS: owns json and metrics below */
	struct slice json, metrics;
};

struct node {
	struct node_role *roles;
	unsigned count;
};

static const char *const http_answers[] = { "200", "4xx", "503" };
METRIC_COUNTER_BY(http_requests, "prickle_control_http_requests", "Requests for metrics and health",
		  "status", http_answers);
static const char *const admin_answers[] = { "ok", "failed", "refused" };
METRIC_COUNTER_BY(admin_requests, "prickle_control_admin_requests", "Requests on the admin socket",
		  "result", admin_answers);

/* --- the node as a whole ------------------------------------------------------------------------------ */

static void node_done(struct node *node)
{
	for (unsigned i = 0; i < node->count; i++)
		buf_done(&node->roles[i].status);
	free(node->roles);
}

static void ask_role(struct control *c, struct node_role *r)
{
	uint8_t which[3] = { r->seen.role, (uint8_t)(r->seen.instance >> 8), (uint8_t)r->seen.instance };
	struct reader in;

	buf_init(&r->status, IPC_MESSAGE_BYTES);
	if (!r->seen.ready || ipc_call(role_supervisor(c->ctx), SUPERVISE_ROLE_STATUS,
				       slice_of(which, sizeof(which)), SUPERVISOR_CALL_US, &r->status) != 0)
		return;
	in = reader_of(buf_slice(&r->status));
	r->json = rd_blob(&in);
	r->metrics = rd_blob(&in);
	if (in.bad)
		r->json = r->metrics = (struct slice){ 0 };
}

/* False when the supervisor does not answer. */
static bool node_read(struct control *c, bool ask_roles, struct node *node)
{
	AUTO_BUF struct buf reply = BUF_INIT(IPC_MESSAGE_BYTES);
	struct reader in;
	unsigned count;

	if (ipc_call(role_supervisor(c->ctx), SUPERVISE_ROLES, (struct slice){ 0 }, SUPERVISOR_CALL_US,
		     &reply) != 0)
		return false;
	in = reader_of(buf_slice(&reply));
	count = rd_be16(&in);
	if (count > NODE_ROLES_MAX)
		return false;
	*node = (struct node){ .roles = calloc(count + 1, sizeof(*node->roles)), .count = count };
	if (node->roles == NULL)
		return false;
	for (unsigned i = 0; i < count; i++)
		if (!supervise_role_decode(&in, &node->roles[i].seen)) {
			node_done(node);
			return false;
		}
	for (unsigned i = 0; ask_roles && i < count; i++)
		ask_role(c, &node->roles[i]);
	return true;
}

static void add_problem(json_t *problems, const char *what, const char *run)
{
	json_array_append_new(problems, json_pack("{s:s, s:s}", "what", what, "run", run));
}

static void judge_role(json_t *problems, const struct node_role *role)
{
	const struct supervise_role *r = &role->seen;
	const char *name = role_table[r->role].name;
	int status = (int)r->last_status;
	/* Under a service manager the log is in its journal, else where the node was started. */
	const char *look = getenv("INVOCATION_ID") != NULL ? "journalctl -u prickle -n 50" : "prickle status --watch";
	char what[200], how[80] = "";

	if (r->restarts > 0)
		snprintf(how, sizeof(how), WIFSIGNALED(status) ? "; it ended by signal %d" : "; it ended with status %d",
			 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	if (!r->ready) {
		snprintf(what, sizeof(what), "role %s %u does not serve%s", name, (unsigned)r->instance, how);
		add_problem(problems, what, look);
	} else if (role->json.len == 0) {
		snprintf(what, sizeof(what), "role %s %u does not answer; after a minute it is started again", name,
			 (unsigned)r->instance);
		add_problem(problems, what, "prickle status");
	} else if (r->restarts > 0 && r->up_us < RECENT_US) {
		snprintf(what, sizeof(what), "role %s %u was started again %llu s ago, %u times in all%s", name,
			 (unsigned)r->instance, (unsigned long long)(r->up_us / 1000000), (unsigned)r->restarts, how);
		add_problem(problems, what, look);
	}
}

/* A role's own JSON may have "problems": [{"what", "run"}]; they move to the front page. */
static json_t *role_json(json_t *problems, const struct node_role *r)
{
	const struct supervise_role *s = &r->seen;
	json_t *own = NULL, *item;
	size_t i;

	if (admin_json_is_shallow(r->json, STATUS_DEPTH_MAX))
		own = json_loadb((const char *)r->json.ptr, r->json.len, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(own)) {
		json_decref(own);
		own = json_object();
	}
	json_array_foreach(json_object_get(own, "problems"), i, item) {
		const char *what = json_string_value(json_object_get(item, "what"));
		const char *run = json_string_value(json_object_get(item, "run"));
		if (what != NULL)
			add_problem(problems, what, run != NULL ? run : "");
	}
	json_object_del(own, "problems");
	return json_pack("{s:s, s:i, s:I, s:b, s:I, s:I, s:o}", "name", role_table[s->role].name, "instance",
			 (int)s->instance, "pid", (json_int_t)s->pid, "ready", (int)s->ready, "uptime_s",
			 (json_int_t)(s->up_us / 1000000), "restarts", (json_int_t)s->restarts, "status", own);
}

static void status_reply(struct control *c, struct buf *out)
{
	json_t *problems = json_array(), *roles = json_array(), *all;
	struct node node;
	uint8_t code = ADMIN_OK;
	uint64_t epoch = 0;
	char *text;

	if (!node_read(c, true, &node)) {
		json_decref(problems);
		json_decref(roles);
		admin_error_encode(ADMIN_TEMPORARY, "the supervisor does not answer", out);
		return;
	}
	for (unsigned i = 0; i < node.count; i++) {
		judge_role(problems, &node.roles[i]);
		json_array_append_new(roles, role_json(problems, &node.roles[i]));
	}
	if (json_array_size(problems) > 0)
		code = ADMIN_DEGRADED;
	(void)policy_cell_read(&c->ctx->authority->table, 0, 0, &epoch);
	all = json_pack("{s:s, s:s, s:s, s:I, s:o, s:o}", "version", PRICKLE_VERSION, "hostname",
			c->ctx->config->hostname, "state", code == ADMIN_OK ? "ok" : "degraded",
			"policy_epoch", (json_int_t)epoch, "problems", problems, "roles", roles);
	text = all == NULL ? NULL : json_dumps(all, JSON_COMPACT);
	if (text != NULL)
		admin_reply_encode(code, slice_str(text), out);
	else
		admin_error_encode(ADMIN_FAILED, "out of memory", out);
	free(text);
	json_decref(all);
	node_done(&node);
}

static void reload_reply(struct control *c, struct buf *out)
{
	AUTO_BUF struct buf reply = BUF_INIT(IPC_MESSAGE_BYTES), json = BUF_INIT(ADMIN_JSON_BYTES);
	struct reader in;
	struct slice text;
	bool ok;

	if (ipc_call(role_supervisor(c->ctx), SUPERVISE_RELOAD, (struct slice){ 0 }, SUPERVISOR_CALL_US,
		     &reply) != 0) {
		admin_error_encode(ADMIN_TEMPORARY, "the supervisor does not answer", out);
		return;
	}
	in = reader_of(buf_slice(&reply));
	ok = rd_u8(&in) == 1;
	text = rd_blob(&in);
	buf_adds(&json, ok ? "{\"reloaded\":true,\"at_next_start\":" : "{\"error\":");
	admin_json_string(&json, slice_head(text, ADMIN_JSON_BYTES / 8));
	buf_adds(&json, "}");
	admin_reply_encode(ok ? ADMIN_OK : ADMIN_CONFIG, buf_slice(&json), out);
}

/* --- admin requests ------------------------------------------------------------------------------------- */

static const struct { const char *object; enum role_id role; } routes[] = {
	{ "user", ROLE_AUTH }, { "domain", ROLE_AUTH }, { "alias", ROLE_AUTH },
	{ "queue", ROLE_QUEUE },
};

static void hand_on(struct control *c, enum role_id role, struct slice bytes, struct buf *out)
{
	AUTO_BUF struct buf reply = BUF_INIT(IPC_MESSAGE_BYTES);
	struct admin_reply check;
	char text[100];

	if (c->peers[role] == NULL ||
	    ipc_call(c->peers[role], ADMIN_IPC_REQUEST, bytes, ADMIN_CALL_US, &reply) != 0) {
		snprintf(text, sizeof(text), "the role %s does not answer; see 'prickle status'",
			 role_table[role].name);
		admin_error_encode(ADMIN_TEMPORARY, text, out);
		return;
	}
	if (!admin_reply_decode(buf_slice(&reply), &check))
		admin_error_encode(ADMIN_FAILED, "the role's answer is malformed", out);
	else
		buf_add(out, buf_slice(&reply));
}

const struct admin_verb control_admin_verbs[] = {
	{ "node", "status" }, { "node", "reload" },
	{ "ticket", "give" }, { "ticket", "list" }, { "ticket", "revoke" }, { NULL, NULL },
};

static void ticket_reply(struct control *c, const struct caller *who, const struct admin_request *req, struct buf *out)
{
	AUTO_BUF struct buf asked = BUF_INIT(ADMIN_REQUEST_BYTES);
	struct control_ticket t;

	if (!control_ticket_begin(&t, c->ctx->authority, who, req, &asked, out))
		return;
	hand_on(c, ROLE_AUTH, buf_slice(&asked), out);
	control_ticket_end(&t, c->ctx->authority, req, buf_slice(out));
}

static void answer(struct control *c, const struct caller *who, struct slice bytes, struct buf *out)
{
	struct admin_request req;

	if (!admin_request_decode(bytes, &req)) {
		admin_error_encode(ADMIN_USAGE, "malformed request", out);
		return;
	}
	if (!caller_may(c->ctx->authority, who, &req, out))
		return;
	for (size_t i = 0; i < ARRAY_LEN(routes); i++)
		if (slice_eq(req.object, slice_str(routes[i].object))) {
			hand_on(c, routes[i].role, bytes, out);
			return;
		}
	if (slice_eq(req.object, SLICE("ticket")))
		ticket_reply(c, who, &req, out);
	else if (slice_eq(req.object, SLICE("node")) && slice_eq(req.verb, SLICE("status")))
		status_reply(c, out);
	else if (slice_eq(req.object, SLICE("node")) && slice_eq(req.verb, SLICE("reload")))
		reload_reply(c, out);
	else
		admin_error_encode(ADMIN_USAGE, "unknown object or verb", out);
}

/*
 * Who is on the other end, asked anew for each request: groups may have changed. storage keeps what the caller borrows. False: it cannot be
 * known now, and the answer says so.
 */
static bool know_caller(const struct connection *conn, struct caller *who, struct buf *storage, struct buf *out)
{
	struct control *c = conn->control;
	uint8_t uid[4] = { (uint8_t)(conn->uid >> 24), (uint8_t)(conn->uid >> 16), (uint8_t)(conn->uid >> 8), (uint8_t)conn->uid };

	caller_init(who, !conn->stranger, conn->uid);
	if (!conn->stranger)
		return true;
	if (c->peers[ROLE_AUTH] != NULL &&
	    ipc_call(c->peers[ROLE_AUTH], ADMIN_IPC_WHO, slice_of(uid, sizeof(uid)), ADMIN_WHO_US, storage) == 0 &&
	    caller_known(who, buf_slice(storage)))
		return true;
	admin_error_encode(ADMIN_TEMPORARY, "the role auth does not answer, so nobody knows who you are; try again", out);
	return false;
}

static void count_answer(const struct buf *reply)
{
	struct admin_reply r;

	bool good = admin_reply_decode(buf_slice(reply), &r);

	metric_add(&admin_requests, !good ? 1 : r.exit_code == ADMIN_OK ? 0 : r.exit_code == ADMIN_REFUSED ? 2 : 1, 1);
}

static void serve_admin(struct connection *conn)
{
	struct stream *s = &conn->stream;
	struct slice in;

	for (;;) {
		AUTO_BUF struct buf reply = BUF_INIT(ADMIN_JSON_BYTES + 64);
		uint8_t head[4];
		size_t len;

		if (stream_more(s, 3, 4, &in) != 1 || in.len < 4)
			return;
		len = (size_t)in.ptr[0] << 24 | (size_t)in.ptr[1] << 16 | (size_t)in.ptr[2] << 8 | in.ptr[3];
		if (len == 0 || len > ADMIN_REQUEST_BYTES)
			return;
		while (in.len < len + 4)
			if (stream_more(s, in.len, ADMIN_REQUEST_BYTES + 4, &in) != 1)
				return;
		{
			AUTO_BUF struct buf storage = BUF_INIT(IPC_MESSAGE_BYTES);
			struct caller who;

			if (know_caller(conn, &who, &storage, &reply))
				answer(conn->control, &who, slice_sub(in, 4, len + 4), &reply);
		}
		if (reply.err != 0) {
			buf_reset(&reply);
			admin_error_encode(ADMIN_FAILED, "the answer is too large", &reply);
		}
		count_answer(&reply);
		stream_consume(s, len + 4);
		head[0] = (uint8_t)(reply.len >> 24);
		head[1] = (uint8_t)(reply.len >> 16);
		head[2] = (uint8_t)(reply.len >> 8);
		head[3] = (uint8_t)reply.len;
		stream_write(s, slice_of(head, sizeof(head)));
		stream_write(s, buf_slice(&reply));
		if (stream_flush(s) != 0)
			return;
	}
}

/* The supervisor asks as root would (roles/supervise.h). */
static void on_supervisor(struct role_context *ctx, struct ipc_request *req)
{
	AUTO_BUF struct buf reply = BUF_INIT(ADMIN_JSON_BYTES + 64);

	struct caller root;

	caller_init(&root, true, 0);
	if (req->type == ADMIN_IPC_REQUEST)
		answer(ctx->state, &root, req->payload, &reply);
	(void)!ipc_reply(req, buf_slice(&reply));
}

/* --- HTTP ------------------------------------------------------------------------------------------------ */

static void http_answer(struct stream *s, bool head, const char *status, const char *type, struct slice body)
{
	metric_add(&http_requests, *status == '2' ? 0 : *status == '4' ? 1 : 2, 1);
	/* RFC 9110 §10.2.1: a 405 has to name what is allowed; it does no harm elsewhere. */
	stream_printf(s, "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nAllow: GET, HEAD\r\n"
			 "Cache-Control: no-store\r\nConnection: close\r\n\r\n", status, type, body.len);
	if (!head)
		stream_write(s, body);
	(void)!stream_flush(s);
}

/* What the supervisor knows of each process: a role in a crash loop shows here, whatever it says itself. */
static void add_node_metrics(struct buf *out, const struct node *node)
{
	static const struct { const char *name, *suffix, *kind, *unit, *help; } families[] = {
		{ "prickle_role_ready", "", "gauge", NULL, "1 when the process serves" },
		{ "prickle_role_restarts", "_total", "counter", NULL, "Times that the process was started again" },
		{ "prickle_role_uptime_seconds", "", "gauge", "seconds", "Time since the process was started" },
	};

	buf_printf(out, "# TYPE prickle_build info\n# HELP prickle_build The program\n"
			"prickle_build_info{version=\"%s\"} 1\n", PRICKLE_VERSION);
	for (size_t f = 0; f < ARRAY_LEN(families); f++) {
		buf_printf(out, "# TYPE %s %s\n", families[f].name, families[f].kind);
		if (families[f].unit != NULL)
			buf_printf(out, "# UNIT %s %s\n", families[f].name, families[f].unit);
		buf_printf(out, "# HELP %s %s\n", families[f].name, families[f].help);
		for (unsigned i = 0; i < node->count; i++) {
			const struct supervise_role *r = &node->roles[i].seen;
			uint64_t values[] = { r->ready, r->restarts, r->up_us / 1000000 };
			buf_printf(out, "%s%s{role=\"%s\",instance=\"%u\"} %llu\n", families[f].name, families[f].suffix,
				   role_table[r->role].name, (unsigned)r->instance, (unsigned long long)values[f]);
		}
	}
}

static void http_metrics(struct connection *conn, bool head)
{
	AUTO_BUF struct buf text = BUF_INIT(METRICS_BYTES_MAX);
	struct metrics_source sources[NODE_ROLES_MAX];
	char labels[NODE_ROLES_MAX][48];
	struct node node;

	if (!node_read(conn->control, true, &node)) {
		http_answer(&conn->stream, head, "503 Service Unavailable", "text/plain",
			    SLICE("the supervisor does not answer\n"));
		return;
	}
	for (unsigned i = 0; i < node.count; i++) {
		snprintf(labels[i], sizeof(labels[i]), "role=\"%s\",instance=\"%u\"",
			 role_table[node.roles[i].seen.role].name, (unsigned)node.roles[i].seen.instance);
		sources[i] = (struct metrics_source){ slice_str(labels[i]), node.roles[i].metrics,
						      role_table[node.roles[i].seen.role].metrics };
	}
	add_node_metrics(&text, &node);
	metrics_text(&text, sources, node.count);
	node_done(&node);
	if (text.err != 0)
		http_answer(&conn->stream, head, "503 Service Unavailable", "text/plain", SLICE("too much\n"));
	else
		http_answer(&conn->stream, head, "200 OK",
			    "application/openmetrics-text; version=1.0.0; charset=utf-8", buf_slice(&text));
}

static void http_ready(struct connection *conn, bool head)
{
	AUTO_BUF struct buf text = BUF_INIT(16384);
	struct node node;

	if (node_read(conn->control, false, &node)) {
		for (unsigned i = 0; i < node.count; i++)
			if (!node.roles[i].seen.ready)
				buf_printf(&text, "role %s %u does not serve\n",
					   role_table[node.roles[i].seen.role].name,
					   (unsigned)node.roles[i].seen.instance);
		node_done(&node);
	} else {
		buf_adds(&text, "the supervisor does not answer\n");
	}
	if (text.len == 0)
		http_answer(&conn->stream, head, "200 OK", "text/plain", SLICE("ready\n"));
	else
		http_answer(&conn->stream, head, "503 Service Unavailable", "text/plain", buf_slice(&text));
}

static void serve_http(struct connection *conn)
{
	static const char *const refusals[] = {
		[HTTP_BAD] = "400 Bad Request", [HTTP_NOT_GET] = "405 Method Not Allowed",
		[HTTP_TOO_LARGE] = "431 Request Header Fields Too Large", [HTTP_HAS_BODY] = "413 Content Too Large",
	};
	struct stream *s = &conn->stream;
	struct http_request req = { 0 };
	enum http_result result = HTTP_MORE;
	struct slice in = { 0 };

	while (result == HTTP_MORE) {
		if (stream_more(s, in.len, HTTP_HEAD_BYTES_MAX, &in) != 1)
			return;
		result = http_request_parse(in, &req);
	}
	if (result != HTTP_OK)
		http_answer(s, false, refusals[result], "text/plain", SLICE("refused\n"));
	else if (slice_eq(req.path, SLICE("/metrics")))
		http_metrics(conn, req.head);
	else if (slice_eq(req.path, SLICE("/livez")))
		http_answer(s, req.head, "200 OK", "text/plain", SLICE("alive\n"));
	else if (slice_eq(req.path, SLICE("/readyz")))
		http_ready(conn, req.head);
	else
		http_answer(s, req.head, "404 Not Found", "text/plain", SLICE("/metrics /livez /readyz\n"));
}

/* --- connections ------------------------------------------------------------------------------------------ */

static void resume_accepting(struct control *c)
{
	for (unsigned i = 0; i < c->acceptor_count; i++)
		if (c->acceptors[i].paused && loop_add(c->ctx->loop, &c->acceptors[i].watch) == 0)
			c->acceptors[i].paused = false;
}

/* Root, and the user that this process runs under (without root: the one who started the node), are the operator. */
static bool peer_of(int fd, uint32_t *uid, bool *stranger)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
		return false;
	*uid = peer.uid;
	*stranger = peer.uid != 0 && peer.uid != geteuid();
	return true;
}

/* One connection more or less of this uid. False: it has too many, or all strangers together have. */
static bool count_stranger(struct control *c, uint32_t uid, bool more)
{
	unsigned most;
	size_t i = 0;

	while (i < ADMIN_STRANGERS_MAX && (c->stranger[i].count == 0 || c->stranger[i].uid != uid))
		i++;
	if (i == ADMIN_STRANGERS_MAX && more)
		for (i = 0; i < ADMIN_STRANGERS_MAX && c->stranger[i].count > 0; i++)
			;
	/* The last half goes to users who have none yet: a few who take all they can keep nobody out. */
	most = c->strangers < ADMIN_STRANGERS_MAX / 2 ? ADMIN_STRANGER_MAX : 1;
	if (i == ADMIN_STRANGERS_MAX || (more && (c->stranger[i].count >= most || c->strangers >= ADMIN_STRANGERS_MAX)))
		return false;
	c->stranger[i].uid = uid;
	c->stranger[i].count += more ? 1u : -1u;
	c->strangers += more ? 1u : -1u;
	return true;
}

static void connection_over(struct connection *conn)
{
	if (conn->stranger)
		(void)count_stranger(conn->control, conn->uid, false);
	else
		conn->control->connections[conn->http]--;
	stream_done(&conn->stream);
	free(conn);
}

static void serve_connection(void *arg)
{
	struct connection *conn = arg;
	struct control *c = conn->control;

	if (conn->http)
		serve_http(conn);
	else
		serve_admin(conn);
	connection_over(conn);
	resume_accepting(c);
}

static void take_connection(struct acceptor *a, int fd)
{
	struct stream_limits limits = {
		.read_timeout_us = a->http ? HTTP_TIMEOUT_US : ADMIN_IDLE_US,
		.write_timeout_us = HTTP_TIMEOUT_US, .out_bytes_max = 65536,
		.min_rate_bytes_s = a->http ? HTTP_BYTES_S_MIN : 0,
	};
	struct control *c = a->control;
	struct connection *conn = calloc(1, sizeof(*conn));

	if (conn == NULL || (!a->http && !peer_of(fd, &conn->uid, &conn->stranger)) ||
	    (conn->stranger && !count_stranger(c, conn->uid, true))) {
		metric_add(&admin_requests, 2, a->http ? 0 : 1);
		free(conn);
		close(fd);
		return;
	}
	if (conn->stranger)
		limits.read_timeout_us = STRANGER_IDLE_US;
	else
		c->connections[a->http]++;
	conn->control = c;
	conn->http = a->http;
	stream_init(&conn->stream, c->ctx->loop, fd, &limits);
	if (fiber_start(c->ctx->loop, serve_connection, conn) != 0)
		connection_over(conn);
}

static void on_accept(struct io_watch *w, uint32_t events)
{
	struct acceptor *a = container_of(w, struct acceptor, watch);

	for (int i = 0; i < ACCEPTS_A_ROUND; i++) {
		int fd;

		if (a->control->connections[a->http] >= CONNECTIONS_MAX) {
			loop_del(a->control->ctx->loop, w);
			a->paused = true;
			return;
		}
		fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0)
			return;
		take_connection(a, fd);
	}
}

/* --- the role --------------------------------------------------------------------------------------------- */

static int control_start(struct role_context *ctx, struct errmsg *why)
{
	struct control *c = calloc(1, sizeof(*c));
	size_t seed;

	if (c == NULL)
		return errmsg_set(why, -ENOMEM, "control");
	/* Left alone, jansson would open /dev/urandom at its first object. */
	if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
		return errmsg_set(why, -EIO, "read random bytes");
	json_object_seed(seed | 1);
	c->ctx = ctx;
	ctx->state = c;
	role_serve_supervisor(ctx, on_supervisor);
	return 0;
}

static int control_run(struct role_context *ctx, struct errmsg *why)
{
	struct control *c = ctx->state;

	for (unsigned i = 0; i < ctx->listener_count; i++) {
		struct acceptor *a = &c->acceptors[c->acceptor_count++];
		int err;

		*a = (struct acceptor){ .control = c, .http = ctx->listeners[i].kind == LISTEN_METRICS,
					.watch = { .fd = ctx->listeners[i].fd, .events = EPOLLIN,
						   .fn = on_accept } };
		err = loop_add(ctx->loop, &a->watch);
		if (err != 0)
			return errmsg_set(why, err, "watch a listening socket");
	}
	role_ready(ctx);
	return 0;
}

static void on_peer_request(void *arg, struct ipc_request *req)
{
	if (!req->one_way)
		(void)!ipc_reply(req, (struct slice){ 0 });
}

static void on_peer_closed(void *arg, struct ipc *ipc)
{
	struct control *c = arg;

	for (size_t i = 0; i < ROLE_COUNT; i++)
		if (c->peers[i] == ipc)
			c->peers[i] = NULL;
	ipc_free(ipc);
}

static void control_channel(struct role_context *ctx, enum role_id peer, unsigned instance, int fd)
{
	static const struct ipc_callbacks callbacks = { .serve = on_peer_request, .closed = on_peer_closed };
	struct control *c = ctx->state;
	struct ipc *ipc;

	if (ipc_new(ctx->loop, fd, &callbacks, c, &ipc) != 0) {
		close(fd);
		return;
	}
	ipc_free(c->peers[peer]);
	c->peers[peer] = ipc;
}

static void control_stop(struct role_context *ctx)
{
	role_exit(ctx);
}

static void control_status(struct role_context *ctx, struct buf *json_object)
{
	const struct control *c = ctx->state;

	buf_printf(json_object, "\"connections\":%u", c->connections[0] + c->connections[1] + c->strangers);
}

const struct role_ops role_control = {
	.start = control_start, .run = control_run, .channel = control_channel, .stop = control_stop,
	.status = control_status,
};
