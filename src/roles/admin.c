#include "roles/admin.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/reader.h"
#include "base/utf8.h"

void admin_request_encode(const struct admin_request *req, struct buf *out)
{
	buf_blob(out, req->object);
	buf_blob(out, req->verb);
	buf_varint(out, req->arg_count);
	for (unsigned i = 0; i < req->arg_count; i++)
		buf_blob(out, req->args[i]);
}

bool admin_request_decode(struct slice bytes, struct admin_request *req)
{
	struct reader r = reader_of(bytes);

	req->object = rd_blob(&r);
	req->verb = rd_blob(&r);
	req->arg_count = (unsigned)rd_varint_max(&r, ADMIN_ARGS_MAX);
	if (r.bad)
		return false;
	for (unsigned i = 0; i < req->arg_count; i++)
		req->args[i] = rd_blob(&r);
	return rd_end(&r);
}

void admin_reply_encode(uint8_t exit_code, struct slice json, struct buf *out)
{
	buf_addc(out, exit_code);
	buf_blob(out, json);
}

void admin_error_encode(uint8_t exit_code, const char *text, struct buf *out)
{
	AUTO_BUF struct buf json = BUF_INIT(ADMIN_JSON_BYTES);

	buf_adds(&json, "{\"error\":");
	admin_json_string(&json, slice_str(text));
	buf_adds(&json, "}");
	admin_reply_encode(exit_code, buf_slice(&json), out);
}

bool admin_reply_decode(struct slice bytes, struct admin_reply *reply)
{
	struct reader r = reader_of(bytes);

	reply->exit_code = rd_u8(&r);
	reply->json = rd_blob(&r);
	return rd_end(&r);
}

/* Length of the name before "=", 0 when the argument has none. */
static size_t name_length(struct slice arg)
{
	size_t i = 0;

	while (i < arg.len && (ascii_alpha(arg.ptr[i]) || ascii_digit(arg.ptr[i]) || arg.ptr[i] == '-'))
		i++;
	return i > 0 && i < arg.len && arg.ptr[i] == '=' ? i : 0;
}

struct slice admin_arg(const struct admin_request *req, const char *name)
{
	for (unsigned i = 0; i < req->arg_count; i++) {
		size_t n = name_length(req->args[i]);
		if (n > 0 && slice_eq(slice_head(req->args[i], n), slice_str(name)))
			return slice_from(req->args[i], n + 1);
	}
	return (struct slice){ 0 };
}

struct slice admin_positional(const struct admin_request *req, unsigned index)
{
	for (unsigned i = 0; i < req->arg_count; i++)
		if (name_length(req->args[i]) == 0 && index-- == 0)
			return req->args[i];
	return (struct slice){ 0 };
}

void admin_json_string(struct buf *out, struct slice s)
{
	buf_addc(out, '"');
	while (s.len > 0) {
		uint32_t c;
		size_t n = utf8_decode(s, &c);

		if (n == 0) {
			buf_adds(out, "\\ufffd");
			n = 1;
		} else if (c == '"' || c == '\\') {
			buf_printf(out, "\\%c", (int)c);
		} else if (c < 0x20 || c == 0x7f) {
			buf_printf(out, "\\u%04x", (unsigned)c);
		} else {
			buf_add(out, slice_head(s, n));
		}
		s = slice_from(s, n);
	}
	buf_addc(out, '"');
}

void admin_problem(struct buf *json, unsigned *count, const char *what, const char *run)
{
	buf_printf(json, "%s{\"what\":", (*count)++ == 0 ? ",\"problems\":[" : ",");
	admin_json_string(json, slice_str(what));
	buf_adds(json, ",\"run\":");
	admin_json_string(json, slice_str(run));
	buf_adds(json, "}");
}

void admin_problems_end(struct buf *json, unsigned count)
{
	if (count > 0)
		buf_adds(json, "]");
}

bool admin_json_is_shallow(struct slice json, unsigned max)
{
	unsigned depth = 0;
	bool text = false;

	for (size_t i = 0; i < json.len; i++) {
		uint8_t c = json.ptr[i];

		if (c == '"') {
			text = !text;
		} else if (text) {
			i += c == '\\';		/* what it escapes may be a quote */
		} else if (c == '[' || c == '{') {
			if (++depth > max)
				return false;
		} else if ((c == ']' || c == '}') && depth > 0) {
			depth--;
		}
	}
	return true;
}

/* --- the command line's side ------------------------------------------------------------------ */

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Move exactly n bytes, in one direction, before the deadline. */
static int transfer(int fd, uint8_t *bytes, size_t n, bool sending, int64_t deadline_ms)
{
	while (n > 0) {
		struct pollfd p = { .fd = fd, .events = sending ? POLLOUT : POLLIN };
		int64_t left = deadline_ms - now_ms();
		ssize_t did;

		if (left <= 0 || poll(&p, 1, (int)left) == 0)
			return -ETIMEDOUT;
		did = sending ? send(fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT) :
				recv(fd, bytes, n, MSG_DONTWAIT);
		if (did < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (did < 0)
			return -errno;
		if (did == 0)
			return -ECONNRESET;
		bytes += did;
		n -= (size_t)did;
	}
	return 0;
}

static int connect_to(const char *path, struct errmsg *why)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	AUTO_FD int fd = -1;

	if (strlen(path) >= sizeof(addr.sun_path))
		return errmsg_set(why, -ENAMETOOLONG, "connect to the node at %s", path);
	memcpy(addr.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0)
		return errmsg_set(why, -errno, "connect to the node at %s", path);
	return TAKE_FD(fd);
}

int admin_call(const char *socket_path, const struct admin_request *req, int timeout_ms,
	       struct buf *storage, struct admin_reply *reply, struct errmsg *why)
{
	AUTO_BUF struct buf out = BUF_INIT(ADMIN_REQUEST_BYTES + 4);
	AUTO_BUF struct buf body = BUF_INIT(ADMIN_REQUEST_BYTES);
	AUTO_FD int fd = -1;
	int64_t deadline = now_ms() + timeout_ms;
	uint8_t head[4], *to;
	uint32_t len;
	int err;

	admin_request_encode(req, &body);
	buf_be32(&out, (uint32_t)body.len);
	buf_add(&out, buf_slice(&body));
	if (body.err != 0 || out.err != 0)
		return errmsg_set(why, -EMSGSIZE, "the request");
	fd = connect_to(socket_path, why);
	if (fd < 0)
		return fd;
	err = transfer(fd, out.ptr, out.len, true, deadline);
	if (err == 0)
		err = transfer(fd, head, sizeof(head), false, deadline);
	if (err != 0)
		return errmsg_set(why, err, "ask the node at %s", socket_path);
	len = (uint32_t)head[0] << 24 | (uint32_t)head[1] << 16 | (uint32_t)head[2] << 8 | head[3];
	to = len > ADMIN_JSON_BYTES + 64 ? NULL : buf_room(storage, len);
	if (to == NULL)
		return errmsg_say(why, -EBADMSG, "the node at %s answered too much", socket_path);
	err = transfer(fd, to, len, false, deadline);
	if (err != 0)
		return errmsg_set(why, err, "ask the node at %s", socket_path);
	buf_commit(storage, len);
	if (!admin_reply_decode(slice_of(to, len), reply))
		return errmsg_say(why, -EBADMSG, "the node at %s answered something else", socket_path);
	return 0;
}
