/*
 * The event log: what happened, as a sentence with fields.
 *
 * A role makes one log and one root event; a session makes a child of it, a command a child
 * of that. A line carries the fields of the event and of all its parents:
 *
 *	AUTO_EVENT struct event *ev = event_child(session->ev, "imap.append");
 *	event_slice(ev, "mailbox", name);
 *	event_warn(ev, "quota would be exceeded, answering NO [OVERQUOTA]");
 *
 * Values may come from a stranger: they are cut at EVENT_VALUE_BYTES_MAX and escaped here, so
 * that they can forge neither lines nor fields nor terminal sequences. An event holds at most
 * EVENT_FIELD_BYTES_MAX; what does not fit is left out and the line says so.
 *
 * Strangers can make us log: each event name has a budget of lines per level, and the next
 * line within it tells how many were left out (field `suppressed`).
 *
 * Every function accepts a NULL event (also what event_child gives when memory is short) and
 * then does nothing. A log may be used by several threads; an event by one.
 */
#pragma once
#include "base/buf.h"
#include "base/errmsg.h"

#define EVENT_VALUE_BYTES_MAX	256u
#define EVENT_FIELD_BYTES_MAX	1024u	/* of one event, without its parents */
#define EVENT_LINE_BYTES_MAX	16384u

enum event_level {
	EVENT_DEBUG,
	EVENT_INFO,
	EVENT_WARN,
	EVENT_ERROR,
};

enum event_format {
	EVENT_TEXT,			/* time level name: message key=value ... */
	EVENT_JSON,			/* one object a line */
	EVENT_JOURNALD,			/* datagrams of systemd's native journal protocol */
};

struct event;
struct event_log;

/* The names that options and columns use: "debug", "info", "warn", "error". */
extern const char *const event_level_names[4];

/*
 * A log that writes to fd, which stays the caller's: a file, pipe or terminal for text and
 * JSON, a socket from event_journald_open for journald. `now_us` gives microseconds since 1970
 * (tests turn it by hand); NULL is the system's clock. 0 or -ENOMEM.
 */
MUST_USE int event_log_new(int fd, enum event_format format, enum event_level least,
			   int64_t (*now_us)(void *arg), void *arg, struct event_log **out);
/* Writes what event_log_flush would. All events of the log must be gone. NULL is fine. */
void event_log_free(struct event_log *log);
/* A connected socket to the journal (path NULL: the usual place), or a negative errno. */
MUST_USE int event_journald_open(const char *path, struct errmsg *why);
/* Lines below this level cost one comparison. May be changed at any time. */
void event_log_level(struct event_log *log, enum event_level least);
/* Tell of suppressed lines whose names have been quiet since. Roles call it once a minute. */
void event_log_flush(struct event_log *log);
/* Lines suppressed or not written since the start (full disk, closed pipe): a metric. */
uint64_t event_log_lost(const struct event_log *log);

/* `name` is a literal, "module.what"; it is borrowed for ever. NULL when memory is short. */
MUST_USE struct event *event_root(struct event_log *log, const char *name);
/* The parent must outlive the child. */
MUST_USE struct event *event_child(struct event *parent, const char *name);
void event_free(struct event *ev);
static inline void event_cleanup(struct event **ev)
{
	event_free(*ev);
}
#define AUTO_EVENT __attribute__((cleanup(event_cleanup)))

/* Add a field. Keys are literals of a-z, 0-9 and "_"; a later field of the same key is added, not replaced. */
void event_slice(struct event *ev, const char *key, struct slice value);
void event_str(struct event *ev, const char *key, const char *value);
void event_u64(struct event *ev, const char *key, uint64_t value);
void event_i64(struct event *ev, const char *key, int64_t value);
/* A negative errno, written as its text: field "error". 0 adds nothing. */
void event_err(struct event *ev, int err);
/* The sentence of a failure: field "error". */
void event_why(struct event *ev, const struct errmsg *why);

/* Would a line of this level be written? For fields that are dear to compute. */
bool event_wants(const struct event *ev, enum event_level level);
/* Write a line. `message` is ours: what we tried, on what, and what follows. */
void event_debug(struct event *ev, const char *message);
void event_info(struct event *ev, const char *message);
void event_warn(struct event *ev, const char *message);
void event_error(struct event *ev, const char *message);
/* The same at level info without a budget: for lines that must all be there, such as who had a port block when. */
void event_record(struct event *ev, const char *message);
