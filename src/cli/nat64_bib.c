/*
 * `prickle nat64 bib list | add | remove`: mappings of inside to pool addresses (RFC 6146 3.1), those that packets made and static ones.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

#include "cli/nat64.h"
#include "nat64/walk.h"
#include "nat64/words.h"

struct listing {
	struct cli *cli;
	struct buf *out;
	bool statics;
	uint64_t shown;
	uint32_t now;
	int code;
};

static const char *kind_of(const struct xlat_bib *b)
{
	return (b->flags & XLAT_BIB_STATIC) != 0 ? "static" : (b->flags & XLAT_BIB_ALG) != 0 ? "ftp" : "dynamic";
}

static uint32_t sessions_of(const struct xlat_bib *b)
{
	return b->refs - ((b->flags & (XLAT_BIB_STATIC | XLAT_BIB_ALG)) != 0 && b->refs > 0);
}

static json_t *bib_json(const struct xlat_bib *b)
{
	return json_pack("{s:s, s:o, s:o, s:s, s:I}", "protocol", words_protocol(b->key.protocol), "inside",
			 nat64_cli_endpoint_json(6, b->key.addr6, b->key.port6), "outside", nat64_cli_endpoint_json(4, &b->addr4, b->port4), "kind",
			 kind_of(b), "sessions", (json_int_t)sessions_of(b));
}

static int each(void *arg, uint32_t number, const void *value)
{
	struct listing *l = arg;
	const struct xlat_bib *b = value;

	if (b->refs == 0 || (l->statics && (b->flags & XLAT_BIB_STATIC) == 0))
		return 0;
	if (cli_json(l->cli)) {
		json_t *o = bib_json(b);
		json_object_set_new(o, "number", json_integer(number));
		json_object_set_new(o, "age_s", json_real((double)-nat64_tick_ms(l->now, b->created) / 1000));
		char *text = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(12));
		json_decref(o);
		buf_printf(l->out, "%s%s", l->shown > 0 ? ",\n" : "", text == NULL ? "{}" : text);
		free(text);
	} else {
		AUTO_BUF struct buf inside = BUF_INIT(80), outside = BUF_INIT(80), age = BUF_INIT(80);
		nat64_cli_endpoint(&inside, 6, b->key.addr6, b->key.port6);
		nat64_cli_endpoint(&outside, 4, &b->addr4, b->port4);
		nat64_cli_time(&age, -nat64_tick_ms(l->now, b->created));
		buf_printf(l->out, "%-5s %-40s %-21s %-8s %8u %s\n", words_protocol(b->key.protocol), buf_cstr(&inside), buf_cstr(&outside),
			   kind_of(b), sessions_of(b), buf_cstr(&age));
	}
	l->shown++;
	if (l->out->len > (256u << 10))
		l->code = cli_print(l->cli, l->out);
	return l->code != CLI_OK;
}

static int stateful_only(struct cli *cli, struct nat64 *n)
{
	return nat64_config(n)->mode == XLAT_NAT64 ? CLI_OK :
	       cli_fail(cli, CLI_FAILED, "mode %s has no such mappings: its explicit ones are in its file ('prickle nat64 show --settings')",
			nat64_cli_mode(nat64_config(n)->mode));
}

static int look(void *arg, struct nat64 *n, uint64_t number, struct buf *out)
{
	struct listing *l = arg;
	struct errmsg why = { 0 };
	uint32_t fresh = XLAT_READ(nat64_control(n)->slab[XLAT_SLAB_BIB].fresh);
	int code = stateful_only(l->cli, n), err = 0;

	(void)number;
	if (code != CLI_OK)
		return code;
	l->out = out;
	l->shown = 0;
	l->now = nat64_tick(n);
	if (cli_json(l->cli))
		buf_addc(out, '[');
	else
		buf_printf(out, "%-5s %-40s %-21s %-8s %8s %s\n", "PROTO", "INSIDE", "OUTSIDE", "KIND", "SESSIONS", "AGE");
	if (fresh > 1)
		err = nat64_walk_array(nat64_map(n, "bib"), fresh - 1, sizeof(struct xlat_bib), each, l, &why);
	if (err < 0)
		return nat64_cli_fail(l->cli, err, &why);
	buf_adds(out, cli_json(l->cli) ? "]\n" : "");
	return l->code;
}

static int list(struct cli *cli)
{
	struct listing l = { .cli = cli, .statics = cli_has(cli, "static") };

	return nat64_cli_watch(cli, look, &l);
}

/* The arguments as one text. */
static void joined(struct cli *cli, struct buf *out)
{
	for (size_t i = 0; i < cli_arg_count(cli); i++)
		buf_printf(out, "%s%s", i == 0 ? "" : " ", cli_arg(cli, i));
}

/*
 * "tcp [2001:db8::10]:80 192.0.2.1:80" in either order; what may be left out is 0. CLI_OK or complains.
 */
static int read_mapping(struct cli *cli, struct xlat_bib *out, bool *has6, bool *has4)
{
	AUTO_BUF struct buf text = BUF_INIT(65536);
	struct errmsg why = { 0 };

	joined(cli, &text);
	struct slice rest = buf_slice(&text), word = words_next(&rest);
	unsigned protocol = words_protocol_number(word), family;
	if (protocol != XLAT_TCP && protocol != XLAT_UDP && protocol != XLAT_ICMP)
		return cli_fail(cli, CLI_USAGE, "'%.*s' is not tcp, udp or icmp", SLICE_FMT(word));
	*out = (struct xlat_bib){ .flags = XLAT_BIB_STATIC };
	out->key.protocol = (__u8)protocol;
	*has4 = *has6 = false;
	while ((word = words_next(&rest)).len > 0) {
		__be32 addr[4];
		__be16 port;
		if (words_endpoint(word, addr, &port, &family, &why) != 0)
			return cli_fail(cli, CLI_USAGE, "%s", why.text);
		if (family == 6 ? *has6 : *has4)
			return cli_fail(cli, CLI_USAGE, "'%.*s': one address and port of each family", SLICE_FMT(word));
		if (family == 6) {
			memcpy(out->key.addr6, addr, sizeof(addr));
			out->key.port6 = port;
			*has6 = true;
		} else {
			out->addr4 = addr[0];
			out->port4 = port;
			*has4 = true;
		}
	}
	return CLI_OK;
}

static int call_failed(struct cli *cli, const struct xlat_call *call, bool adding)
{
	AUTO_BUF struct buf text = BUF_INIT(400);

	words_static_text(&text, &call->bib);
	switch (call->result) {
	case -EEXIST:
	case -EADDRINUSE:
		return cli_fail(cli, CLI_FAILED, "%s: its inside or its outside address and port are in use; 'prickle nat64 bib list' shows by whom",
				buf_cstr(&text));
	case -ENOENT:
		return cli_fail(cli, CLI_NOT_FOUND, "%s: there is no such mapping; 'prickle nat64 bib list' shows all", buf_cstr(&text));
	case -EADDRNOTAVAIL:
	case -EINVAL:
		return cli_fail(cli, CLI_FAILED, "%s: pool4 has no such address and port; 'prickle nat64 show' shows the pool", buf_cstr(&text));
	case -ENOSPC:
	case -E2BIG:
		return cli_fail(cli, CLI_TEMPORARY, "%s: no port or no room for another mapping; 'prickle nat64 show' tells how full tables are",
				buf_cstr(&text));
	default:
		return cli_fail(cli, CLI_FAILED, "%s the mapping %s: %s", adding ? "add" : "remove", buf_cstr(&text),
				strerrordesc_np(-call->result));
	}
}

static int print_done(struct cli *cli, const struct xlat_bib *bib, const char *what)
{
	AUTO_BUF struct buf out = BUF_INIT(1024);

	if (cli_json(cli))
		return spine_cli_json(cli, bib_json(bib));
	words_static_text(&out, bib);
	buf_printf(&out, " %s\n", what);
	return cli_print(cli, &out);
}

static int add(struct cli *cli)
{
	struct xlat_call call = { .op = XLAT_CALL_BIB_ADD, .desk = XLAT_DESK_COMMAND };
	struct errmsg why = { 0 };
	struct nat64 *n;
	bool has6, has4;
	int code = read_mapping(cli, &call.bib, &has6, &has4);

	if (code == CLI_OK && !has6)
		code = cli_fail(cli, CLI_USAGE, "which host inside? Say its address and port, such as [2001:db8::10]:80");
	if (code == CLI_OK)
		code = nat64_cli_open(cli, NAT64_CHANGE, &n);
	if (code != CLI_OK)
		return code;
	code = stateful_only(cli, n);
	int err = code == CLI_OK ? nat64_call(n, &call, &why) : 0;
	nat64_close(n);
	if (code != CLI_OK)
		return code;
	if (err != 0)
		return nat64_cli_fail(cli, err, &why);
	if (call.result < 0)
		return call_failed(cli, &call, true);
	call.bib.refs = 1;
	return print_done(cli, &call.bib, "is mapped until it is removed; 'static' in the translator's file keeps it over a new start");
}

struct find {
	const struct xlat_bib *want;
	bool has6, has4;
	struct xlat_bib found;
};

static int find_mapping(void *arg, uint32_t number, const void *value)
{
	struct find *f = arg;
	const struct xlat_bib *b = value;

	(void)number;
	if (b->refs == 0 || b->key.protocol != f->want->key.protocol ||
	    (f->has4 && (b->addr4 != f->want->addr4 || b->port4 != f->want->port4)) ||
	    (f->has6 && memcmp(&b->key, &f->want->key, sizeof(b->key)) != 0))
		return 0;
	f->found = *b;
	return 1;
}

/* By either side, so that both are told of. call->result: 0 or -ENOENT. */
static int find_and_remove(struct nat64 *n, struct xlat_call *call, bool has6, bool has4, struct errmsg *why)
{
	struct find f = { .want = &call->bib, .has6 = has6, .has4 = has4 };
	uint32_t fresh = XLAT_READ(nat64_control(n)->slab[XLAT_SLAB_BIB].fresh);
	int err = fresh > 1 ? nat64_walk_array(nat64_map(n, "bib"), fresh - 1, sizeof(struct xlat_bib), find_mapping, &f, why) : 0;

	if (err < 0)
		return err;
	if (err == 0) {
		call->result = -ENOENT;
		return 0;
	}
	call->bib = f.found;
	err = nat64_call(n, call, why);
	if (err == 0 && call->result == 0)
		call->bib = f.found;
	return err;
}

static int remove_one(struct cli *cli)
{
	struct xlat_call call = { .op = XLAT_CALL_BIB_REMOVE, .desk = XLAT_DESK_COMMAND };
	struct errmsg why = { 0 };
	struct nat64 *n;
	bool has6, has4;
	int err = 0, code = read_mapping(cli, &call.bib, &has6, &has4);

	if (code == CLI_OK && !has6 && !has4)
		code = cli_fail(cli, CLI_USAGE, "which mapping? Say its inside or its outside address and port");
	if (code == CLI_OK)
		code = nat64_cli_open(cli, NAT64_CHANGE, &n);
	if (code != CLI_OK)
		return code;
	code = stateful_only(cli, n);
	if (code == CLI_OK)
		err = find_and_remove(n, &call, has6, has4, &why);
	nat64_close(n);
	if (code != CLI_OK)
		return code;
	if (err < 0)
		return nat64_cli_fail(cli, err, &why);
	return call.result < 0 ? call_failed(cli, &call, false) : print_done(cli, &call.bib, "is removed, with its sessions");
}

const struct cli_command cmd_nat64_bib_list = {
	.words = "nat64 bib list",
	.summary = "list the mappings of a stateful translator",
	.description = "A mapping (BIB entry, RFC 6146 3.1) joins an inside address and port with one of the pool. dynamic ones came with a packet and go "
		       "with their last session; static ones stay.",
	.options = (const struct cli_option[]){
		CLI_OPTION_TRANSLATOR, CLI_OPTION_NAT64_NETNS, { "static", 's', NULL, "only static ones" },
		CLI_OPTION_WATCH, CLI_OPTION_INTERVAL, CLI_OPTION_COUNT, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle nat64 bib list --static", "prickle nat64 bib list --json", NULL },
	.run = list,
};

const struct cli_command cmd_nat64_bib_add = {
	.words = "nat64 bib add",
	.summary = "make a static mapping, so that a host inside is reached from outside",
	.description = "Takes effect for the next packet and stays until it is removed, or until the instance ends. Without an outside address "
		       "and port, or with 0 for either, a free one of the pool is taken and printed.",
	.args = (const struct cli_arg[]){
		{ "PROTOCOL", "tcp, udp or icmp" }, { "ENDPOINT", "[inside]:port and outside:port, in either order", .many = true }, { 0 } },
	.options = (const struct cli_option[]){ CLI_OPTION_TRANSLATOR, CLI_OPTION_NAT64_NETNS, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle nat64 bib add tcp 192.0.2.1:80 '[2001:db8::10]:8080'", "prickle nat64 bib add udp '[2001:db8::10]:5060'",
		NULL },
	.run = add,
};

const struct cli_command cmd_nat64_bib_remove = {
	.words = "nat64 bib remove",
	.summary = "end a mapping and its sessions",
	.args = (const struct cli_arg[]){
		{ "PROTOCOL", "tcp, udp or icmp" }, { "ENDPOINT", "the mapping's [inside]:port or outside:port", .many = true }, { 0 } },
	.options = (const struct cli_option[]){ CLI_OPTION_TRANSLATOR, CLI_OPTION_NAT64_NETNS, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle nat64 bib remove tcp 192.0.2.1:80", "prickle nat64 bib remove tcp '[2001:db8::10]:8080'", NULL },
	.run = remove_one,
};
