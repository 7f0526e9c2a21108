#include "base/event.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/date.h"
#include "base/utf8.h"

/*
 * Budgets are token buckets, one an event name. Names are few (they are literals of ours), so
 * the table is small; when it is full, all further names share the last bucket.
 */
#define BUDGET_NAMES	128u
#define QUIET_US	(60 * INT64_C(1000000))
#define PATIENCE_MS	1000

/* Lines at once, and lines a second after that. Mail logs are one info line a delivery. */
static const struct {
	uint32_t burst, per_second;
} budgets[] = {
	[EVENT_DEBUG] = { 20000, 5000 },
	[EVENT_INFO] = { 20000, 5000 },
	[EVENT_WARN] = { 100, 5 },
	[EVENT_ERROR] = { 100, 5 },
};

const char *const event_level_names[4] = { "debug", "info", "warn", "error" };

struct budget {
	const char *name;
	enum event_level level;
	int64_t left_us;		/* credit, as microseconds of refill */
	int64_t at_us;
	uint64_t suppressed;
};

struct event_log {
	int fd;
	enum event_format format;
	enum event_level least;
	int64_t (*now_us)(void *arg);
	void *arg;
	pthread_mutex_t lock;		/* budgets, and `line` while it is made */
	struct budget budgets[BUDGET_NAMES];
	size_t budget_count;
	uint64_t lost;
	struct buf line;
	bool stalled;			/* the last line found no room within PATIENCE_MS */
};

struct event {
	struct event_log *log;
	struct event *parent;
	const char *name;
	bool cut;			/* a field did not fit */
	struct buf fields;		/* key pointer, kind, value; see add_field */
};

enum field_kind {
	FIELD_BYTES,
	FIELD_U64,
	FIELD_I64,
};

struct field {
	const char *key;
	uint64_t number;		/* the value, or its length in bytes */
	enum field_kind kind;
};

static int64_t system_now_us(void *arg)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
}

int event_log_new(int fd, enum event_format format, enum event_level least,
		  int64_t (*now_us)(void *arg), void *arg, struct event_log **out)
{
	struct event_log *log = calloc(1, sizeof(*log));

	if (log == NULL)
		return -ENOMEM;
	log->fd = fd;
	log->format = format;
	log->least = least;
	log->now_us = now_us == NULL ? system_now_us : now_us;
	log->arg = arg;
	pthread_mutex_init(&log->lock, NULL);
	buf_init(&log->line, EVENT_LINE_BYTES_MAX);
	*out = log;
	return 0;
}

void event_log_free(struct event_log *log)
{
	if (log == NULL)
		return;
	for (size_t i = 0; i < log->budget_count; i++)
		log->budgets[i].at_us = INT64_MIN / 2;	/* quiet for long enough */
	event_log_flush(log);
	pthread_mutex_destroy(&log->lock);
	buf_done(&log->line);
	free(log);
}

int event_journald_open(const char *path, struct errmsg *why)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };

	if (path == NULL)
		path = "/run/systemd/journal/socket";
	if (!slice_to_str(slice_str(path), to.sun_path, sizeof(to.sun_path)))
		return errmsg_set(why, -ENAMETOOLONG, "journal socket '%s'", path);
	AUTO_FD int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof(to)) != 0)
		return errmsg_set(why, -errno, "journal socket '%s'", path);
	return TAKE_FD(fd);
}

void event_log_level(struct event_log *log, enum event_level least)
{
	__atomic_store_n(&log->least, least, __ATOMIC_RELAXED);
}

uint64_t event_log_lost(const struct event_log *log)
{
	return __atomic_load_n(&log->lost, __ATOMIC_RELAXED);
}

static struct event *event_new(struct event_log *log, struct event *parent, const char *name)
{
	struct event *ev = calloc(1, sizeof(*ev));

	if (ev == NULL)
		return NULL;
	ev->log = log;
	ev->parent = parent;
	ev->name = name;
	buf_init(&ev->fields, EVENT_FIELD_BYTES_MAX);
	return ev;
}

struct event *event_root(struct event_log *log, const char *name)
{
	return log == NULL ? NULL : event_new(log, NULL, name);
}

struct event *event_child(struct event *parent, const char *name)
{
	return parent == NULL ? NULL : event_new(parent->log, parent, name);
}

void event_free(struct event *ev)
{
	if (ev == NULL)
		return;
	buf_done(&ev->fields);
	free(ev);
}

static void add_field(struct event *ev, struct field f, struct slice bytes)
{
	size_t before = ev->fields.len;

	buf_add(&ev->fields, slice_of(&f, sizeof(f)));
	buf_add(&ev->fields, bytes);
	if (ev->fields.err != 0) {		/* drop this field, keep the others */
		ev->fields.err = 0;
		ev->fields.len = before;
		ev->cut = true;
	}
}

void event_slice(struct event *ev, const char *key, struct slice value)
{
	if (ev == NULL)
		return;
	struct slice kept = utf8_head(value, EVENT_VALUE_BYTES_MAX);
	ev->cut |= kept.len < value.len;
	add_field(ev, (struct field){ key, kept.len, FIELD_BYTES }, kept);
}

void event_str(struct event *ev, const char *key, const char *value)
{
	event_slice(ev, key, slice_str(value));
}

void event_u64(struct event *ev, const char *key, uint64_t value)
{
	if (ev != NULL)
		add_field(ev, (struct field){ key, value, FIELD_U64 }, (struct slice){ 0 });
}

void event_i64(struct event *ev, const char *key, int64_t value)
{
	if (ev != NULL)
		add_field(ev, (struct field){ key, (uint64_t)value, FIELD_I64 }, (struct slice){ 0 });
}

void event_err(struct event *ev, int err)
{
	const char *name = err == 0 ? NULL : strerrorname_np(-err);

	if (err != 0 && name != NULL)
		event_str(ev, "error", strerrordesc_np(-err));
	else if (err != 0)
		event_i64(ev, "error", err);
}

void event_why(struct event *ev, const struct errmsg *why)
{
	event_str(ev, "error", why->text);
}

/*
 * Quote, backslash and what utf8_is_control names are escaped; bytes that are no UTF-8 become
 * U+FFFD. The result is valid inside both JSON and our quoted text.
 */
static void add_escaped(struct buf *out, struct slice value)
{
	uint32_t c;

	while (utf8_next(&value, &c)) {
		if (c == '"' || c == '\\') {
			buf_addc(out, '\\');
			buf_addc(out, (uint8_t)c);
		} else if (utf8_is_control(c)) {
			buf_printf(out, "\\u%04x", c);
		} else {
			utf8_add(out, c);
		}
	}
}

/* Journal values need no quoting, only that no newline forges a field. */
static void add_value(struct buf *out, enum event_format format, struct field f, struct slice bytes)
{
	if (f.kind == FIELD_U64) {
		buf_dec(out, f.number);
	} else if (f.kind == FIELD_I64) {
		buf_printf(out, "%lld", (long long)f.number);
	} else if (format == EVENT_JOURNALD) {
		add_escaped(out, bytes);
	} else {
		buf_addc(out, '"');
		add_escaped(out, bytes);
		buf_addc(out, '"');
	}
}

static void add_key(struct buf *out, enum event_format format, const char *key)
{
	switch (format) {
	case EVENT_TEXT:
		buf_addc(out, ' ');
		buf_adds(out, key);
		buf_addc(out, '=');
		break;
	case EVENT_JSON:
		buf_adds(out, ",\"");
		buf_adds(out, key);
		buf_adds(out, "\":");
		break;
	case EVENT_JOURNALD:
		buf_adds(out, "PRICKLE_");
		for (const char *c = key; *c != '\0'; c++)
			buf_addc(out, ascii_upper((uint8_t)*c));
		buf_addc(out, '=');
		break;
	}
}

static void add_one(struct buf *out, enum event_format format, struct field f, struct slice bytes)
{
	size_t before = out->len;

	add_key(out, format, f.key);
	add_value(out, format, f, bytes);
	if (format == EVENT_JOURNALD)
		buf_addc(out, '\n');
	if (out->err != 0) {		/* a long chain of parents: leave the field out, keep the line */
		out->err = 0;
		out->len = before;
	}
}

/* The fields of the parents first. Depth is that of our own code: role, session, command. */
static bool add_fields(struct buf *out, enum event_format format, const struct event *ev)
{
	if (ev == NULL)
		return false;
	bool cut = add_fields(out, format, ev->parent);
	for (size_t at = 0; at < ev->fields.len;) {
		struct field f;
		memcpy(&f, ev->fields.ptr + at, sizeof(f));
		at += sizeof(f);
		size_t len = f.kind == FIELD_BYTES ? (size_t)f.number : 0;
		add_one(out, format, f, slice_of(ev->fields.ptr + at, len));
		at += len;
	}
	return cut || ev->cut;
}

static void add_head(struct buf *out, const struct event_log *log, int64_t now_us,
		     enum event_level level, const char *name, const char *message)
{
	static const char priorities[] = { '7', '6', '4', '3' };	/* syslog(3) */

	switch (log->format) {
	case EVENT_TEXT:
		date_rfc3339_ms(out, now_us);
		buf_printf(out, " %s %s: ", event_level_names[level], name);
		buf_adds(out, message);
		break;
	case EVENT_JSON:
		buf_adds(out, "{\"time\":\"");
		date_rfc3339_ms(out, now_us);
		buf_printf(out, "\",\"level\":\"%s\",\"event\":\"%s\",\"message\":\"",
			   event_level_names[level], name);
		add_escaped(out, slice_str(message));
		buf_addc(out, '"');
		break;
	case EVENT_JOURNALD:
		buf_adds(out, "MESSAGE=");
		add_escaped(out, slice_str(message));
		buf_printf(out, "\nPRIORITY=%c\nSYSLOG_IDENTIFIER=prickle\nPRICKLE_EVENT=%s\n",
			   priorities[level], name);
		break;
	}
}

/*
 * A pipe or terminal that nobody reads any more would hold this process for ever. We wait for its
 * reader once, for a moment; after that only lines that find room are written.
 */
static bool has_room(struct event_log *log)
{
	struct pollfd p = { .fd = log->fd, .events = POLLOUT };

	if (log->format == EVENT_JOURNALD)
		return true;		/* sent without waiting */
	log->stalled = poll(&p, 1, log->stalled ? 0 : PATIENCE_MS) == 0;
	return !log->stalled;
}

/* With log->lock held. */
static void write_line(struct event_log *log, const struct event *ev, int64_t now_us,
		       enum event_level level, const char *name, const char *message,
		       uint64_t suppressed)
{
	struct buf *out = &log->line;

	buf_reset(out);
	out->max = EVENT_LINE_BYTES_MAX - 64;	/* the ends below always fit */
	add_head(out, log, now_us, level, name, message);
	bool cut = add_fields(out, log->format, ev);
	out->max = EVENT_LINE_BYTES_MAX;
	if (suppressed > 0)
		add_one(out, log->format, (struct field){ "suppressed", suppressed, FIELD_U64 },
			(struct slice){ 0 });
	if (cut)
		add_one(out, log->format, (struct field){ "cut", 1, FIELD_U64 }, (struct slice){ 0 });
	if (log->format != EVENT_JOURNALD)
		buf_adds(out, log->format == EVENT_JSON ? "}\n" : "\n");
	if (out->err != 0) {
		__atomic_add_fetch(&log->lost, 1, __ATOMIC_RELAXED);
		return;
	}
	/*
	 * One call a line, so that lines of several processes do not mix. When it fails (full disk,
	 * full journal) serving mail goes on and the loss is counted: there is nobody to tell.
	 */
	ssize_t n = -1;
	if (!has_room(log)) {
		__atomic_add_fetch(&log->lost, 1, __ATOMIC_RELAXED);
		return;
	}
	if (log->format == EVENT_JOURNALD)
		n = send(log->fd, out->ptr, out->len, MSG_NOSIGNAL | MSG_DONTWAIT);
	else
		n = write(log->fd, out->ptr, out->len);
	if (n != (ssize_t)out->len)
		__atomic_add_fetch(&log->lost, 1, __ATOMIC_RELAXED);
}

static struct budget *budget_of(struct event_log *log, const char *name, enum event_level level,
				int64_t now_us)
{
	for (size_t i = 0; i < log->budget_count; i++) {
		if (log->budgets[i].name == name && log->budgets[i].level == level)
			return &log->budgets[i];
	}
	if (log->budget_count == BUDGET_NAMES)
		return &log->budgets[BUDGET_NAMES - 1];
	struct budget *b = &log->budgets[log->budget_count++];
	int64_t full_us = INT64_C(1000000) * budgets[level].burst / budgets[level].per_second;
	*b = (struct budget){ .name = name, .level = level, .left_us = full_us, .at_us = now_us };
	return b;
}

/* True when the line may be written. */
static bool spend(struct budget *b, int64_t now_us)
{
	int64_t cost_us = 1000000 / budgets[b->level].per_second;
	int64_t full_us = cost_us * budgets[b->level].burst;

	if (now_us > b->at_us)
		b->left_us = MIN(full_us, b->left_us + MIN(now_us - b->at_us, full_us));
	b->at_us = now_us;		/* also when the clock went back */
	if (b->left_us < cost_us) {
		b->suppressed++;
		return false;
	}
	b->left_us -= cost_us;
	return true;
}

bool event_wants(const struct event *ev, enum event_level level)
{
	return ev != NULL && level >= __atomic_load_n(&ev->log->least, __ATOMIC_RELAXED);
}

static void emit(struct event *ev, enum event_level level, const char *message)
{
	if (!event_wants(ev, level))
		return;
	struct event_log *log = ev->log;
	int64_t now_us = log->now_us(log->arg);

	pthread_mutex_lock(&log->lock);
	struct budget *b = budget_of(log, ev->name, level, now_us);
	if (spend(b, now_us)) {
		uint64_t suppressed = b->suppressed;
		b->suppressed = 0;
		write_line(log, ev, now_us, level, ev->name, message, suppressed);
	} else {
		__atomic_add_fetch(&log->lost, 1, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&log->lock);
}

void event_record(struct event *ev, const char *message)
{
	if (!event_wants(ev, EVENT_INFO))
		return;
	int64_t now_us = ev->log->now_us(ev->log->arg);

	pthread_mutex_lock(&ev->log->lock);
	write_line(ev->log, ev, now_us, EVENT_INFO, ev->name, message, 0);
	pthread_mutex_unlock(&ev->log->lock);
}

void event_log_flush(struct event_log *log)
{
	int64_t now_us = log->now_us(log->arg);

	pthread_mutex_lock(&log->lock);
	for (size_t i = 0; i < log->budget_count; i++) {
		struct budget *b = &log->budgets[i];
		if (b->suppressed == 0 || now_us - b->at_us < QUIET_US)
			continue;
		write_line(log, NULL, now_us, b->level, b->name, "lines of this event were left out",
			   b->suppressed);
		b->suppressed = 0;
	}
	pthread_mutex_unlock(&log->lock);
}

void event_debug(struct event *ev, const char *message)
{
	emit(ev, EVENT_DEBUG, message);
}

void event_info(struct event *ev, const char *message)
{
	emit(ev, EVENT_INFO, message);
}

void event_warn(struct event *ev, const char *message)
{
	emit(ev, EVENT_WARN, message);
}

void event_error(struct event *ev, const char *message)
{
	emit(ev, EVENT_ERROR, message);
}
