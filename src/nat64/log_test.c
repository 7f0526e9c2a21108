#include "base/test.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "nat64/log.h"

static int64_t noon(void *arg)
{
	(void)arg;
	return INT64_C(1764072000000000);
}

/* What the log writes for an event, as JSON. */
static void written(const struct xlat_event *e, bool none, char *out, size_t bytes)
{
	AUTO_FD int file = memfd_create("log", MFD_CLOEXEC);
	struct event_log *log;

	ck_assert_int_eq(event_log_new(file, EVENT_JSON, EVENT_INFO, noon, NULL, &log), 0);
	struct event *ev = event_root(log, "nat64");
	struct nat64_log l;
	nat64_log_init(&l, ev, 56);
	l.clock_offset_ns = INT64_C(1764072000000000000);
	l.none = none;
	bool taken = nat64_log_event(&l, e);
	ck_assert(taken == (e->kind < XLAT_EVENT_PROBE));
	event_free(ev);
	event_log_free(log);
	ssize_t n = pread(file, out, bytes - 1, 0);
	ck_assert_int_ge(n, 0);
	out[n] = '\0';
}

static struct xlat_event event_of(enum xlat_event_kind kind)
{
	struct xlat_event e = { .kind = (__u16)kind, .time_ns = 5000000, .protocol = XLAT_TCP, .port6 = htons(40000), .port4 = htons(1024),
		.remote_port = htons(443), .ports = 512 };

	inet_pton(AF_INET6, "2001:db8:7::", e.addr6);
	inet_pton(AF_INET, "192.0.2.1", &e.addr4);
	inet_pton(AF_INET, "198.51.100.9", &e.remote4);
	return e;
}

#define HAS(text, part) ck_assert_msg(strstr(text, part) != NULL, "%s", text)
#define HAS_NOT(text, part) ck_assert_msg(strstr(text, part) == NULL, "%s", text)

/* Subscriber, outside address, ports, time; nothing about where the subscriber went. */
START_TEST(rfc6888_req12_a_block_is_one_line)
{
	struct xlat_event e = event_of(XLAT_EVENT_BLOCK_TAKEN);
	char text[2000];

	written(&e, false, text, sizeof(text));
	HAS(text, "\"subscriber\":\"2001:db8:7::/56\"");
	HAS(text, "\"address\":\"192.0.2.1\"");
	HAS(text, "\"ports\":\"1024-1535\"");
	HAS(text, "port block taken");
	HAS(text, "\"at_ms\":1764072000005");
	HAS_NOT(text, "198.51.100.9");
	ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
	e.kind = XLAT_EVENT_BLOCK_FREED;
	written(&e, false, text, sizeof(text));
	HAS(text, "port block freed");
}
END_TEST

START_TEST(rfc6888_req12_destinations_are_in_lines_of_sessions_alone)
{
	struct xlat_event e = event_of(XLAT_EVENT_MAPPING_MADE);
	char text[2000];

	written(&e, false, text, sizeof(text));
	HAS(text, "\"inside\":\"[2001:db8:7::]:40000\"");
	HAS(text, "\"outside\":\"192.0.2.1:1024\"");
	HAS(text, "\"protocol\":\"tcp\"");
	HAS_NOT(text, "remote");
	e.kind = XLAT_EVENT_SESSION_ENDED;
	written(&e, false, text, sizeof(text));
	HAS(text, "\"remote\":\"198.51.100.9:443\"");
	HAS(text, "session ended");
}
END_TEST

START_TEST(none_is_silent_and_other_events_are_not_taken)
{
	struct xlat_event e = event_of(XLAT_EVENT_BLOCK_TAKEN);
	char text[2000];

	written(&e, true, text, sizeof(text));
	ck_assert_str_eq(text, "");
	e.kind = XLAT_EVENT_PROBE;
	written(&e, false, text, sizeof(text));
	ck_assert_str_eq(text, "");
}
END_TEST

/* A provider has to show who had an address: no line may be left out for haste. */
START_TEST(lines_of_blocks_have_no_budget)
{
	AUTO_FD int file = memfd_create("log", MFD_CLOEXEC);
	struct xlat_event e = event_of(XLAT_EVENT_BLOCK_TAKEN);
	struct event_log *log;
	struct nat64_log l;
	size_t lines = 0;
	char c;

	ck_assert_int_eq(event_log_new(file, EVENT_TEXT, EVENT_INFO, noon, NULL, &log), 0);
	struct event *ev = event_root(log, "nat64");
	nat64_log_init(&l, ev, 64);
	for (unsigned i = 0; i < 5000; i++)
		ck_assert(nat64_log_event(&l, &e));
	event_free(ev);
	event_log_free(log);
	FILE *f = fdopen(dup(file), "r");
	ck_assert_ptr_nonnull(f);
	rewind(f);
	while (fread(&c, 1, 1, f) == 1)
		lines += c == '\n';
	fclose(f);
	ck_assert_uint_eq(lines, 5000);
}
END_TEST

TEST_MAIN("nat64/log", rfc6888_req12_a_block_is_one_line, rfc6888_req12_destinations_are_in_lines_of_sessions_alone,
	  none_is_silent_and_other_events_are_not_taken, lines_of_blocks_have_no_budget)
