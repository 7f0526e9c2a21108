/*
 * `prickle nat64 sessions`: who speaks with whom, by which address and port.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

#include "cli/nat64.h"
#include "nat64/reason.h"
#include "nat64/walk.h"
#include "nat64/words.h"

#define PRINT_AT_BYTES (256u << 10)	/* a million sessions are 100 MB: written as they come */

/* An address, perhaps with a port; family 0: any. */
struct end {
	unsigned family, bits;
	__be32 addr[4];
	bool has_port;
	__be16 port;
};

struct listing {
	struct cli *cli;
	struct nat64 *n;
	struct buf *out;
	struct end subscriber, inside, outside, remote;
	unsigned protocol;		/* 0: any */
	uint64_t limit, shown;
	uint32_t now;
	int code;
};

/* "ADDRESS", "ADDRESS/LENGTH", "ADDRESS:PORT", "[ADDRESS]:PORT"; CLI_OK or complains. */
static int read_end(struct cli *cli, const char *option, unsigned family, struct end *out)
{
	const char *value = cli_value(cli, option);
	struct slice text = slice_str(value);
	struct words_net net;
	struct errmsg why = { 0 };
	unsigned found;

	if (value == NULL)
		return CLI_OK;
	if (words_net(text, family, &net, &why) == 0) {
		*out = (struct end){ .family = net.family, .bits = net.bits };
		memcpy(out->addr, net.addr, sizeof(out->addr));
		return CLI_OK;
	}
	if (words_endpoint(text, out->addr, &out->port, &found, NULL) == 0 && found == family) {
		out->family = found;
		out->bits = found == 4 ? 32 : 128;
		out->has_port = true;
		return CLI_OK;
	}
	return cli_fail(cli, CLI_USAGE, "--%s %s, or an address with port such as %s", option, why.text,
			family == 4 ? "192.0.2.1:80" : "[2001:db8::1]:80");
}

static bool end_fits(const struct end *e, const __be32 *addr, __be16 port)
{
	__be32 all[4] = { addr[0] };

	if (e->family == 0)
		return true;
	if (e->family == 6)
		memcpy(all, addr, sizeof(all));
	return words_nets_overlap(e->addr, e->bits, all, e->family == 4 ? 32 : 128) && (!e->has_port || e->port == port);
}

static const char *state_of(const struct xlat_session_key *k, const struct xlat_session *s)
{
	return k->protocol == XLAT_TCP ? nat64_tcp_state(s->state) : "-";
}

static void as_text(struct listing *l, const struct xlat_session_key *k, const struct xlat_session *s)
{
	AUTO_BUF struct buf inside = BUF_INIT(80), outside = BUF_INIT(80), remote = BUF_INIT(80), expires = BUF_INIT(80), age = BUF_INIT(80);

	nat64_cli_endpoint(&inside, 6, k->src6, k->sport);
	nat64_cli_endpoint(&outside, 4, &s->addr4, s->port4);
	nat64_cli_endpoint(&remote, 4, &k->dst4, k->dport);
	nat64_cli_time(&expires, nat64_tick_ms(l->now, s->expires));
	nat64_cli_time(&age, -nat64_tick_ms(l->now, s->created));
	buf_printf(l->out, "%-5s %-40s %-21s %-21s %-16s %-9s %s\n", words_protocol(k->protocol), buf_cstr(&inside), buf_cstr(&outside),
		   buf_cstr(&remote), state_of(k, s), buf_cstr(&expires), buf_cstr(&age));
}

static void as_json(struct listing *l, const struct xlat_session_key *k, const struct xlat_session *s)
{
	json_t *o = json_pack("{s:s, s:o, s:o, s:o, s:f, s:f, s:b, s:I}", "protocol", words_protocol(k->protocol), "inside",
			      nat64_cli_endpoint_json(6, k->src6, k->sport), "outside", nat64_cli_endpoint_json(4, &s->addr4, s->port4),
			      "remote", nat64_cli_endpoint_json(4, &k->dst4, k->dport), "expires_s",
			      (double)nat64_tick_ms(l->now, s->expires) / 1000, "age_s", (double)-nat64_tick_ms(l->now, s->created) / 1000,
			      "answered", (s->flags & XLAT_SESSION_ANSWERED) != 0, "mapping", (json_int_t)s->bib);

	if (k->protocol == XLAT_TCP)
		json_object_set_new(o, "state", json_string(nat64_tcp_state(s->state)));
	char *text = o == NULL ? NULL : json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(12));
	json_decref(o);
	buf_printf(l->out, "%s%s", l->shown > 0 ? ",\n" : "", text == NULL ? "{}" : text);
	free(text);
}

static int each(void *arg, const void *key, const void *value)
{
	struct listing *l = arg;
	const struct xlat_session_key *k = key;
	const struct xlat_session *s = value;

	/* Permissions of filtering are no sessions; those that expired are gone for packets, the walk only tidies up. */
	if ((k->protocol & XLAT_PERMIT) != 0 || xlat_passed(l->now, s->expires))
		return 0;
	if ((l->protocol != 0 && k->protocol != l->protocol) || !end_fits(&l->subscriber, k->src6, 0) ||
	    !end_fits(&l->inside, k->src6, k->sport) || !end_fits(&l->outside, &s->addr4, s->port4) || !end_fits(&l->remote, &k->dst4, k->dport))
		return 0;
	if (cli_json(l->cli))
		as_json(l, k, s);
	else
		as_text(l, k, s);
	l->shown++;
	if (l->out->len > PRINT_AT_BYTES)
		l->code = cli_print(l->cli, l->out);
	return l->code != CLI_OK || (l->limit > 0 && l->shown >= l->limit) ? 1 : 0;
}

static int look(void *arg, struct nat64 *n, uint64_t number, struct buf *out)
{
	struct listing *l = arg;
	struct errmsg why = { 0 };

	(void)number;
	if (nat64_config(n)->mode != XLAT_NAT64)
		return cli_fail(l->cli, CLI_FAILED, "mode %s has no sessions: each packet is translated by itself", nat64_cli_mode(nat64_config(n)->mode));
	l->n = n;
	l->out = out;
	l->shown = 0;
	l->now = nat64_tick(n);
	if (cli_json(l->cli))
		buf_addc(out, '[');
	else
		buf_printf(out, "%-5s %-40s %-21s %-21s %-16s %-9s %s\n", "PROTO", "INSIDE", "OUTSIDE", "REMOTE", "STATE", "EXPIRES", "AGE");
	int err = nat64_walk_hash(nat64_map(n, "session"), sizeof(struct xlat_session_key), sizeof(struct xlat_session), each, l, &why);
	if (err < 0)
		return nat64_cli_fail(l->cli, err, &why);
	buf_adds(out, cli_json(l->cli) ? "]\n" : "");
	return l->code;
}

static int sessions(struct cli *cli)
{
	struct listing l = { .cli = cli };
	const char *protocol = cli_value(cli, "protocol");
	int code = read_end(cli, "subscriber", 6, &l.subscriber);

	if (code == CLI_OK)
		code = read_end(cli, "inside", 6, &l.inside);
	if (code == CLI_OK)
		code = read_end(cli, "outside", 4, &l.outside);
	if (code == CLI_OK)
		code = read_end(cli, "remote", 4, &l.remote);
	if (code == CLI_OK)
		code = cli_number(cli, "limit", 1, UINT32_MAX, 0, &l.limit);
	if (protocol != NULL)
		l.protocol = words_protocol_number(slice_str(protocol));
	if (code == CLI_OK && protocol != NULL && l.protocol != XLAT_TCP && l.protocol != XLAT_UDP && l.protocol != XLAT_ICMP)
		code = cli_fail(cli, CLI_USAGE, "--protocol: '%s' is not tcp, udp or icmp", protocol);
	return code == CLI_OK ? nat64_cli_watch(cli, look, &l) : code;
}

const struct cli_command cmd_nat64_sessions = {
	.words = "nat64 sessions",
	.summary = "list the sessions of a stateful translator",
	.description = "Each with its inside address and port, the pool's, the remote one, the state of TCP, and how long it lives without another "
		       "packet. The list is a look at a table in motion. Several filters must all fit. ICMP sessions have their identifier "
		       "where others have a port.",
	.options = (const struct cli_option[]){
		CLI_OPTION_TRANSLATOR, CLI_OPTION_NAT64_NETNS,
		{ "subscriber", 's', "PREFIX", "only inside addresses in this prefix" },
		{ "inside", '\0', "ADDRESS", "only this inside address, prefix, or [address]:port" },
		{ "outside", 'o', "ADDRESS", "only this address of pool4, prefix, or address:port" },
		{ "remote", 'r', "ADDRESS", "only this remote address, prefix, or address:port" },
		{ "protocol", 'p', "NAME", "only tcp, udp or icmp" },
		{ "limit", 'l', "N", "at most N sessions" },
		CLI_OPTION_WATCH, CLI_OPTION_INTERVAL, CLI_OPTION_COUNT, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle nat64 sessions --subscriber 2001:db8:7::/56", "prickle nat64 sessions --outside 192.0.2.1:40000 --json",
		"prickle nat64 sessions --protocol tcp --remote 198.51.100.0/24 --watch", NULL },
	.run = sessions,
};
