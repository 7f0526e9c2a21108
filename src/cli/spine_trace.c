/*
 * `prickle spine trace`: packets of a device, each with who got it and what became of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/spine.h"
#include "spine/capture.h"
#include "spine/packet.h"
#include "spine/totals.h"
#include "spine/trace.h"

struct tracing {
	struct cli *cli;
	const struct spine_device *device;
	const char *only;		/* name of an extension, or NULL */
	struct capture *capture;
	bool to_file;
	uint64_t left;			/* packets until the end; 0: no end */
	int64_t clock_offset_ns;	/* from monotonic to real time */
	int code;
};

#define TRACING_DONE (-ECANCELED)	/* what `each` returns to end the reading */

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
	interrupted = 1;
}

static const char *name_of(const struct spine_device *d, uint32_t slot)
{
	const struct spine_record *const *records;
	size_t count = spine_device_records(d, &records);

	for (size_t i = 0; i < count; i++)
		if (records[i]->slot == slot)
			return records[i]->name;
	return NULL;
}

static bool matched(const struct spine_trace_record *r, uint32_t slot)
{
	return (r->match[slot / 32] >> (slot % 32) & 1) != 0;
}

static bool wanted(const struct tracing *t, const struct spine_trace_record *r, struct slice frame)
{
	if (!capture_wants(t->capture, frame, r->frame_bytes))
		return false;
	if (t->only == NULL)
		return true;
	for (uint32_t slot = 0; slot < SPINE_SLOTS_MAX; slot++)
		if (matched(r, slot) && name_of(t->device, slot) != NULL && strcmp(name_of(t->device, slot), t->only) == 0)
			return true;
	return false;
}

static void as_text(struct buf *out, const struct tracing *t, const struct spine_trace_record *r,
		    const struct timeval *at, struct slice frame)
{
	const char *last = r->last_slot < SPINE_SLOTS_MAX ? name_of(t->device, r->last_slot) : NULL;
	struct tm tm;
	bool first = true;

	localtime_r(&at->tv_sec, &tm);
	buf_printf(out, "%02d:%02d:%02d.%06ld ", tm.tm_hour, tm.tm_min, tm.tm_sec, (long)at->tv_usec);
	packet_summary(out, frame);
	buf_adds(out, " [");
	for (uint32_t slot = 0; slot < SPINE_SLOTS_MAX; slot++)
		if (matched(r, slot) && name_of(t->device, slot) != NULL) {
			buf_printf(out, "%s%s", first ? "" : " ", name_of(t->device, slot));
			first = false;
		}
	buf_printf(out, "] %s", spine_verdict_name(r->verdict));
	if (last != NULL)
		buf_printf(out, " by %s", last);
	else if (first)
		buf_adds(out, ": matches nothing");
	if (r->ns != 0)
		buf_printf(out, ", %u ns", r->ns);
	if (r->fault != 0)
		buf_printf(out, ", FAULT %s", spine_fault_name(r->fault));
	buf_addc(out, '\n');
}

static void as_json(struct buf *out, const struct tracing *t, const struct spine_trace_record *r,
		    const struct timeval *at, struct slice frame)
{
	AUTO_BUF struct buf summary = BUF_INIT(4096);
	const char *last = r->last_slot < SPINE_SLOTS_MAX ? name_of(t->device, r->last_slot) : NULL;
	json_t *names = json_array(), *all;
	char *line;

	packet_summary(&summary, frame);
	for (uint32_t slot = 0; slot < SPINE_SLOTS_MAX; slot++)
		if (matched(r, slot) && name_of(t->device, slot) != NULL)
			json_array_append_new(names, json_string(name_of(t->device, slot)));
	all = json_pack("{s:f, s:i, s:s%, s:o, s:s, s:s?, s:i, s:i}", "time", (double)at->tv_sec + (double)at->tv_usec / 1e6,
			"bytes", (int)r->frame_bytes, "packet", (const char *)summary.ptr, summary.len, "matched", names,
			"verdict", spine_verdict_name(r->verdict), "by", last, "ns", (int)r->ns,
			"rx_queue", (int)r->rx_queue);
	if (r->fault != 0)
		json_object_set_new(all, "fault", json_string(spine_fault_name(r->fault)));
	line = json_dumps(all, JSON_COMPACT);
	buf_adds(out, line != NULL ? line : "{}");
	buf_addc(out, '\n');
	free(line);
	json_decref(all);
}

static int each(void *arg, const struct spine_trace_record *r, struct slice frame)
{
	struct tracing *t = arg;
	AUTO_BUF struct buf out = BUF_INIT(1u << 16);
	int64_t ns = (int64_t)r->time_ns + t->clock_offset_ns;
	struct timeval at = { ns / 1000000000, ns % 1000000000 / 1000 };

	if (interrupted)
		return TRACING_DONE;
	if (!wanted(t, r, frame))
		return 0;
	if (t->to_file)
		capture_write(t->capture, at, frame, r->frame_bytes);
	else if (cli_json(t->cli))
		as_json(&out, t, r, &at, frame);
	else
		as_text(&out, t, r, &at, frame);
	t->code = cli_print(t->cli, &out);
	if (t->code != CLI_OK)
		return TRACING_DONE;
	return t->left != 0 && --t->left == 0 ? TRACING_DONE : 0;
}

static int64_t clock_offset_ns(void)
{
	struct timespec real, mono;

	clock_gettime(CLOCK_REALTIME, &real);
	clock_gettime(CLOCK_MONOTONIC, &mono);
	return (real.tv_sec - mono.tv_sec) * 1000000000ll + real.tv_nsec - mono.tv_nsec;
}

/* The filter and the file of captured packets; CLI_OK or complained. */
static int prepare(struct tracing *t)
{
	const char *file = cli_value(t->cli, "write");
	struct errmsg why;

	if (capture_new(cli_value(t->cli, "match"), &t->capture, &why) != 0)
		return cli_fail(t->cli, CLI_USAGE, "--match %s", why.text);
	t->to_file = file != NULL;
	if (file != NULL && capture_create(t->capture, file, &why) != 0)
		return cli_fail(t->cli, CLI_FAILED, "%s", why.text);
	return CLI_OK;
}

static int read_all(struct tracing *t, struct spine_trace *ring)
{
	int n;

	do
		n = spine_trace_read(ring, 200, each, t);
	while (!interrupted && (n >= 0 || n == -EINTR) && n != TRACING_DONE && t->code == CLI_OK &&
	       !(t->left == 0 && cli_has(t->cli, "count")));
	if (spine_trace_lost(ring) > 0)
		fprintf(stderr, "prickle spine trace: %llu more packets came faster than they could be shown; "
			"use --match at the source with --every, or --write\n", (unsigned long long)spine_trace_lost(ring));
	return t->code;
}

static int trace(struct cli *cli)
{
	struct tracing t = { .cli = cli, .only = cli_arg(cli, 0), .clock_offset_ns = clock_offset_ns() };
	struct spine_device *d;
	struct spine_trace *ring;
	struct errmsg why;
	uint64_t every;
	int err, code;

	code = cli_number(cli, "every", 1, 65536, 1, &every);
	if (code == CLI_OK)
		code = cli_number(cli, "count", 1, UINT32_MAX, 0, &t.left);
	if (code == CLI_OK && (every & (every - 1)) != 0)
		code = cli_fail(cli, CLI_USAGE, "--every is a power of two");
	if (code != CLI_OK)
		return code;
	code = spine_cli_open(cli, SPINE_LOOK, &d);
	if (code != CLI_OK)
		return code;
	t.device = d;
	if (t.only != NULL && spine_device_find(d, t.only) == NULL)
		code = cli_fail(cli, CLI_NOT_FOUND, "'%s' has no extension '%s'; see 'prickle spine list --dev %s'",
				spine_device_name(d), t.only, spine_device_name(d));
	if (code == CLI_OK)
		code = prepare(&t);
	if (code == CLI_OK) {
		/* Interrupted, the sampling is put back. */
		(void)sigaction(SIGINT, &(struct sigaction){ .sa_handler = on_signal }, NULL);
		(void)sigaction(SIGTERM, &(struct sigaction){ .sa_handler = on_signal }, NULL);
		err = spine_trace_open(d, (uint32_t)every, &ring, &why);
		if (err != 0) {
			code = spine_cli_fail(cli, err, &why);
		} else {
			code = read_all(&t, ring);
			spine_trace_close(ring);
		}
	}
	capture_free(t.capture);
	spine_device_close(d);
	return code;
}

const struct cli_command cmd_spine_trace = {
	.words = "spine trace",
	.summary = "show packets with the extensions that got them and what became of them",
	.description = "Each line: time, packet, the extensions whose rules match, the verdict and who gave it, the time spent in "
		       "extensions, and a fault if there was one. The frame is shown as it arrived. Ends with Ctrl-C.",
	.args = (const struct cli_arg[]){ { "NAME", "only packets of this extension", .optional = true }, { 0 } },
	.options = (const struct cli_option[]){
		CLI_OPTION_DEV, CLI_OPTION_NETNS,
		{ "match", 'm', "RULE", "only packets that match, in the language of tcpdump" },
		{ "every", 'e', "N", "sample one packet in N, a power of two; 1 without it" },
		{ "count", 'c', "N", "end after N packets" },
		{ "write", 'w', "FILE", "write the first 256 bytes of each packet to a pcap file instead", CLI_FILE }, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle spine trace --dev eth0 --match 'udp port 53' --count 10",
		"prickle spine trace router --dev eth0 --every 64", NULL },
	.run = trace,
};
