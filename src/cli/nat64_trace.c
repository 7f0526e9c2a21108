/*
 * `prickle nat64 trace`: packets of a flow as they come, each with what became of it and why.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "cli/nat64.h"
#include "nat64/reason.h"
#include "nat64/ring.h"
#include "nat64/walk.h"
#include "nat64/words.h"

#define LOOK_EVERY_MS 20

struct tracing {
	struct cli *cli;
	int64_t clock_offset_ns;	/* from monotonic to real time */
	uint64_t left;			/* packets until the end; 0: no end */
	int code;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
	(void)number;
	interrupted = 1;
}

static unsigned family_of(const __be32 addr[4])
{
	return addr[1] == 0 && addr[2] == 0 && addr[3] == 0 ? 4 : 6;
}

static void ends_text(struct buf *out, const __be32 src[4], const __be32 dst[4], __be16 sport, __be16 dport, bool ports)
{
	unsigned family = family_of(src) == 4 && family_of(dst) == 4 ? 4 : 6;

	if (!ports) {
		words_address_text(out, family, src);
		buf_adds(out, " > ");
		words_address_text(out, family, dst);
		return;
	}
	words_endpoint_text(out, family, src, sport);
	buf_adds(out, " > ");
	words_endpoint_text(out, family, dst, dport);
}

static void as_text(struct buf *out, const struct tracing *t, const struct xlat_event *e)
{
	int64_t ns = (int64_t)e->time_ns + t->clock_offset_ns;
	time_t at = (time_t)(ns / 1000000000);
	bool ports = e->sport != 0 || e->dport != 0;
	struct tm tm;

	localtime_r(&at, &tm);
	buf_printf(out, "%02d:%02d:%02d.%06lld %s ", tm.tm_hour, tm.tm_min, tm.tm_sec, (long long)(ns % 1000000000 / 1000),
		   words_protocol(e->protocol));
	ends_text(out, e->src, e->dst, e->sport, e->dport, ports);
	buf_printf(out, ", %u bytes: %s", e->bytes, nat64_verdict_name(e->verdict));
	if (e->verdict == XLAT_TRANSLATE) {
		buf_adds(out, " to ");
		ends_text(out, e->new_src, e->new_dst, e->new_sport, e->new_dport, ports);
	}
	if (e->reason != XLAT_R_NONE)
		buf_printf(out, ", %s: %s", nat64_reason_name(e->reason), nat64_reason_sentence(e->reason));
	buf_addc(out, '\n');
}

static json_t *side_json(const __be32 src[4], const __be32 dst[4], __be16 sport, __be16 dport)
{
	unsigned family = family_of(src) == 4 && family_of(dst) == 4 ? 4 : 6;

	return json_pack("{s:o, s:o}", "source", nat64_cli_endpoint_json(family, src, sport), "destination",
			 nat64_cli_endpoint_json(family, dst, dport));
}

static void as_json(struct buf *out, const struct tracing *t, const struct xlat_event *e)
{
	json_t *o = json_pack("{s:f, s:s, s:I, s:s, s:s, s:I, s:I, s:o}", "time", (double)((int64_t)e->time_ns + t->clock_offset_ns) / 1e9,
			      "protocol", words_protocol(e->protocol), "bytes", (json_int_t)e->bytes, "verdict", nat64_verdict_name(e->verdict),
			      "reason", nat64_reason_name(e->reason), "ifindex", (json_int_t)e->ifindex, "mark", (json_int_t)e->mark, "packet",
			      side_json(e->src, e->dst, e->sport, e->dport));

	if (e->verdict == XLAT_TRANSLATE)
		json_object_set_new(o, "result", side_json(e->new_src, e->new_dst, e->new_sport, e->new_dport));
	char *text = o == NULL ? NULL : json_dumps(o, JSON_COMPACT);
	json_decref(o);
	buf_printf(out, "%s\n", text == NULL ? "{}" : text);
	free(text);
}

static int each(void *arg, const struct xlat_event *e)
{
	struct tracing *t = arg;
	AUTO_BUF struct buf out = BUF_INIT(65536);

	if (e->kind != XLAT_EVENT_TRACE)
		return 0;
	if (cli_json(t->cli))
		as_json(&out, t, e);
	else
		as_text(&out, t, e);
	t->code = cli_print(t->cli, &out);
	return t->code != CLI_OK || (t->left > 0 && --t->left == 0);
}

/* What to follow: an address of either side, with or without port. CLI_OK or complains. */
static int read_filter(struct cli *cli, struct xlat_trace_filter *out)
{
	const char *protocol = cli_value(cli, "protocol"), *text = cli_arg(cli, 0);
	struct errmsg why = { 0 };
	__be32 addr[4];
	unsigned family = 0;
	uint64_t port;
	int code = cli_number(cli, "port", 1, 65535, 0, &port);

	*out = (struct xlat_trace_filter){ .port = bpf_htons((uint16_t)port), .on = 1 };
	if (code != CLI_OK)
		return code;
	if (text != NULL && words_address(slice_str(text), 0, addr, &family, &why) != 0 &&
	    words_endpoint(slice_str(text), addr, &out->port, &family, NULL) != 0)
		return cli_fail(cli, CLI_USAGE, "%s, or an address with port such as 192.0.2.1:80", why.text);
	if (text != NULL && family == 4)
		out->addr4 = addr[0];
	else if (text != NULL)
		memcpy(out->addr6, addr, sizeof(out->addr6));
	if (protocol != NULL)
		out->protocol = (__u8)words_protocol_number(slice_str(protocol));
	if (protocol != NULL && out->protocol == 0)
		return cli_fail(cli, CLI_USAGE, "--protocol: '%s' is not tcp, udp, icmp, icmpv6, sctp or dccp", protocol);
	return CLI_OK;
}

/* `on` last at the start and first at the end: programs see a filter that is whole. */
static void set_filter(struct xlat_control *c, const struct xlat_trace_filter *filter)
{
	struct xlat_trace_filter off = *filter;

	XLAT_WRITE(c->trace.on, 0);
	off.on = 0;
	c->trace = off;
	__atomic_thread_fence(__ATOMIC_RELEASE);
	XLAT_WRITE(c->trace.on, filter->on);
}

static void follow(struct tracing *t, struct nat64 *n, struct nat64_ring *ring, int64_t end_ms)
{
	const struct xlat_control *c = nat64_control(n);
	struct timespec now;

	while (!interrupted && t->code == CLI_OK && nat64_ring_look(ring, each, t) == 0) {
		uint32_t beat = XLAT_READ(c->slow_beat);
		if (beat == 0 || xlat_passed(nat64_tick(n), beat + XLAT_SLOW_BEAT_TICKS))
			nat64_ring_make_room(ring);
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (end_ms > 0 && now.tv_sec * 1000 + now.tv_nsec / 1000000 >= end_ms)
			break;
		/* Nobody wakes us: waking on each event would slow the packets. */
		(void)!poll(NULL, 0, LOOK_EVERY_MS);
	}
}

static int64_t clock_offset_ns(int64_t *mono_ms)
{
	struct timespec real, mono;

	clock_gettime(CLOCK_REALTIME, &real);
	clock_gettime(CLOCK_MONOTONIC, &mono);
	*mono_ms = mono.tv_sec * 1000 + mono.tv_nsec / 1000000;
	return (real.tv_sec - mono.tv_sec) * INT64_C(1000000000) + real.tv_nsec - mono.tv_nsec;
}

static int trace(struct cli *cli)
{
	struct tracing t = { .cli = cli };
	struct xlat_trace_filter filter;
	struct nat64_ring *ring;
	struct errmsg why = { 0 };
	struct nat64 *n;
	uint64_t seconds;
	int64_t now_ms;
	int code = read_filter(cli, &filter);

	t.clock_offset_ns = clock_offset_ns(&now_ms);
	if (code == CLI_OK)
		code = cli_number(cli, "count", 1, UINT32_MAX, 0, &t.left);
	if (code == CLI_OK)
		code = cli_number(cli, "seconds", 1, 86400, 0, &seconds);
	if (code == CLI_OK)
		code = nat64_cli_open(cli, NAT64_LOOK, &n);
	if (code != CLI_OK)
		return code;
	struct xlat_control *c = nat64_control(n);
	int err = nat64_ring_open(n, &ring, &why);
	if (err != 0) {
		nat64_close(n);
		return nat64_cli_fail(cli, err, &why);
	}
	if (XLAT_READ(c->trace.on) != 0)
		fprintf(stderr, "prickle nat64 trace: another trace was on; this one takes its place\n");
	/* Interrupted, tracing is switched off again. */
	(void)sigaction(SIGINT, &(struct sigaction){ .sa_handler = on_signal }, NULL);
	(void)sigaction(SIGTERM, &(struct sigaction){ .sa_handler = on_signal }, NULL);
	(void)sigaction(SIGHUP, &(struct sigaction){ .sa_handler = on_signal }, NULL);
	(void)sigaction(SIGPIPE, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
	set_filter(c, &filter);
	follow(&t, n, ring, seconds > 0 ? now_ms + (int64_t)seconds * 1000 : 0);
	set_filter(c, &(struct xlat_trace_filter){ 0 });
	if (nat64_ring_missed(ring) > 0)
		fprintf(stderr, "prickle nat64 trace: packets came faster than they could be shown; follow fewer\n");
	nat64_ring_close(ring);
	nat64_close(n);
	return t.code;
}

const struct cli_command cmd_nat64_trace = {
	.words = "nat64 trace",
	.summary = "follow packets as they come, with what became of each and why",
	.description = "Follows packets of an address, of either side and family, or all. Tracing costs time for the packets that are followed; it "
		       "is switched off when the command ends, by Ctrl-C, --count or --seconds.",
	.args = (const struct cli_arg[]){ { "ADDRESS", "follow this address, or address:port", .optional = true }, { 0 } },
	.options = (const struct cli_option[]){
		CLI_OPTION_TRANSLATOR, CLI_OPTION_NAT64_NETNS,
		{ "port", 'P', "N", "only packets with this port on either side" },
		{ "protocol", 'p', "NAME", "only tcp, udp, icmp, icmpv6, sctp or dccp" },
		{ "count", 'c', "N", "end after N packets" },
		{ "seconds", 's', "N", "end after N seconds" }, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle nat64 trace 2001:db8::1", "prickle nat64 trace '[2001:db8::1]:40000' --protocol tcp --count 20",
		"prickle nat64 trace --seconds 10 --json", NULL },
	.run = trace,
};
