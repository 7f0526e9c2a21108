#include "nat64/log.h"

#include <arpa/inet.h>
#include <time.h>

#include "nat64/words.h"

void nat64_log_init(struct nat64_log *log, struct event *ev, uint32_t subscriber_bits)
{
	struct timespec real, mono;

	clock_gettime(CLOCK_REALTIME, &real);
	clock_gettime(CLOCK_MONOTONIC, &mono);
	*log = (struct nat64_log){ .ev = ev, .subscriber_bits = subscriber_bits,
		.clock_offset_ns = (real.tv_sec - mono.tv_sec) * INT64_C(1000000000) + real.tv_nsec - mono.tv_nsec };
}

static void add(struct event *ev, const char *key, const struct buf *text)
{
	event_slice(ev, key, buf_slice(text));
}

static void add_subscriber(const struct nat64_log *log, struct event *ev, const struct xlat_event *e)
{
	AUTO_BUF struct buf text = BUF_INIT(80);
	struct words_net net = { .family = 6, .bits = (uint8_t)log->subscriber_bits };

	memcpy(net.addr, e->addr6, sizeof(net.addr));
	words_net_text(&text, &net);
	add(ev, "subscriber", &text);
}

static void add_address4(struct event *ev, const char *key, __be32 addr)
{
	AUTO_BUF struct buf text = BUF_INIT(80);
	__be32 four[4] = { addr };

	words_address_text(&text, 4, four);
	add(ev, key, &text);
}

static void add_endpoint(struct event *ev, const char *key, unsigned family, const __be32 *addr, __be16 port)
{
	AUTO_BUF struct buf text = BUF_INIT(80);
	__be32 whole[4] = { addr[0] };

	if (family == 6)
		memcpy(whole, addr, sizeof(whole));
	words_endpoint_text(&text, family, whole, port);
	add(ev, key, &text);
}

/* RFC 6888 REQ-12: transport, inside and outside address and port, time; the remote side of sessions alone. */
static void add_mapping(struct event *ev, const struct xlat_event *e, bool remote)
{
	event_str(ev, "protocol", words_protocol(e->protocol));
	add_endpoint(ev, "inside", 6, e->addr6, e->port6);
	add_endpoint(ev, "outside", 4, &e->addr4, e->port4);
	if (remote)
		add_endpoint(ev, "remote", 4, &e->remote4, e->remote_port);
}

static void add_block(const struct nat64_log *log, struct event *ev, const struct xlat_event *e)
{
	AUTO_BUF struct buf text = BUF_INIT(80);
	unsigned first = ntohs(e->port4);

	add_subscriber(log, ev, e);
	add_address4(ev, "address", e->addr4);
	buf_printf(&text, "%u-%u", first, first + (e->ports > 0 ? e->ports - 1u : 0));
	add(ev, "ports", &text);
}

bool nat64_log_event(const struct nat64_log *log, const struct xlat_event *e)
{
	static const struct { const char *name, *message; } lines[] = {
		[XLAT_EVENT_BLOCK_TAKEN] = { "nat64.block", "port block taken" },
		[XLAT_EVENT_BLOCK_FREED] = { "nat64.block", "port block freed" },
		[XLAT_EVENT_MAPPING_MADE] = { "nat64.mapping", "mapping made" },
		[XLAT_EVENT_MAPPING_ENDED] = { "nat64.mapping", "mapping ended" },
		[XLAT_EVENT_SESSION_MADE] = { "nat64.session", "session made" },
		[XLAT_EVENT_SESSION_ENDED] = { "nat64.session", "session ended" },
	};

	if (e->kind >= ARRAY_LEN(lines))
		return false;
	if (log->none)
		return true;
	AUTO_EVENT struct event *ev = event_child(log->ev, lines[e->kind].name);
	if (e->kind == XLAT_EVENT_BLOCK_TAKEN || e->kind == XLAT_EVENT_BLOCK_FREED)
		add_block(log, ev, e);
	else
		add_mapping(ev, e, e->kind == XLAT_EVENT_SESSION_MADE || e->kind == XLAT_EVENT_SESSION_ENDED);
	/* The ring may have waited for the daemon: when it happened, not when it is written. */
	event_i64(ev, "at_ms", ((int64_t)e->time_ns + log->clock_offset_ns) / 1000000);
	event_record(ev, lines[e->kind].message);
	return true;
}
