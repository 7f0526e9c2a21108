/*
 * `prickle nat64 explain`: what would become of a packet, by which rules; on the translator that runs, or by a file alone.
 *
 * The same code decides as for packets: the SYSCALL program plans the packet with the tables of the instance, or the native home with empty
 * ones. Nothing is changed or counted (XLAT_DRY).
 */
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "cli/nat64.h"
#include "cli/nat64_packet.h"
#include "nat64/native/native.h"
#include "nat64/reason.h"
#include "nat64/words.h"

struct explain {
	struct cli *cli;
	struct arena *arena;
	struct slice packet;
	const struct xlat_config *config;
	const struct nat64_settings *settings;	/* NULL: unknown */
	struct xlat *x;			/* planned */
	struct buf after;		/* the packet as it would leave */
	bool complete;			/* `after` has all of its bytes right */
};

/* Which setting decides about a reason. */
static enum nat64_option_id setting_of(unsigned reason, unsigned mode)
{
	switch (reason) {
	case XLAT_R_NOT_OURS:
	case XLAT_R_DESTINATION_UNTRANSLATABLE:
		return mode == XLAT_NAT64 ? NAT64_OPTION_pref64 : NAT64_OPTION_mappings;
	case XLAT_R_PASS_LIST:
		return NAT64_OPTION_pass;
	case XLAT_R_POOL_SHARED:
	case XLAT_R_PORTS_EXHAUSTED:
		return NAT64_OPTION_pool4;
	case XLAT_R_SOURCE_IN_PREFIX:
	case XLAT_R_WELL_KNOWN_PREFIX:
	case XLAT_R_U_OCTET:
		return NAT64_OPTION_pref64;
	case XLAT_R_SOURCE_UNTRANSLATABLE:
		return mode == XLAT_NAT64 ? NAT64_OPTION_COUNT : NAT64_OPTION_mappings;
	case XLAT_R_SOURCE_FORBIDDEN:
		return NAT64_OPTION_subscriber_prefixes;
	case XLAT_R_FILTERED:
		return NAT64_OPTION_filtering;
	case XLAT_R_HAIRPIN_LOOP:
		return NAT64_OPTION_hairpin;
	case XLAT_R_ZERO_CHECKSUM:
		return NAT64_OPTION_zero_checksum;
	case XLAT_R_MUST_FRAGMENT:
		return NAT64_OPTION_lowest_mtu6;
	case XLAT_R_SESSIONS_FULL:
		return NAT64_OPTION_table_sessions;
	case XLAT_R_MAPPINGS_FULL:
		return NAT64_OPTION_table_mappings;
	case XLAT_R_SUBSCRIBERS_FULL:
		return NAT64_OPTION_table_subscribers;
	case XLAT_R_SUBSCRIBER_SESSIONS:
		return NAT64_OPTION_subscriber_sessions;
	case XLAT_R_SUBSCRIBER_PORTS:
		return NAT64_OPTION_subscriber_ports;
	case XLAT_R_SUBSCRIBER_RATE:
		return NAT64_OPTION_subscriber_rate;
	case XLAT_R_ALG:
		return NAT64_OPTION_ftp;
	default:
		return NAT64_OPTION_COUNT;
	}
}

/* "pool4 (line 4)", "filtering: address-dependent (line 7)", "zero-checksum: drop (default)" */
static void setting_text(struct buf *out, const struct explain *e)
{
	enum nat64_option_id id = setting_of(e->x->reason, e->config->mode);

	if (id == NAT64_OPTION_COUNT || e->settings == NULL)
		return;
	const struct nat64_value *v = &e->settings->value[id];
	buf_adds(out, nat64_options[id].key);
	if (v->count == 1)
		buf_printf(out, ": %.*s", SLICE_FMT(v->items[0].text));
	if (e->settings->line[id] != 0)
		buf_printf(out, " (line %u)", e->settings->line[id]);
	else
		buf_adds(out, v->count == 0 ? " (not set)" : " (default)");
}

static void row_text(struct buf *out, const struct explain *e, uint32_t row)
{
	buf_printf(out, "%u%s", row & ~NAT64_ROW_FILE, (row & NAT64_ROW_FILE) != 0 ? " of mappings-file" : "");
	for (size_t i = 0; e->settings != NULL && row != 0 && i < e->settings->eam_count; i++) {
		if (e->settings->eams[i].row != row)
			continue;
		buf_adds(out, " (");
		words_mapping_text(out, &e->settings->eams[i]);
		buf_addc(out, ')');
		return;
	}
}

/* A sentence of steps.def with its value. */
static void step_text(struct buf *out, const struct explain *e, const struct xlat_step *step)
{
	__be32 four[4] = { step->value };

	for (const char *p = nat64_step_text(step->step); *p != '\0'; p++) {
		if (*p != '%' || p[1] == '\0') {
			buf_addc(out, (uint8_t)*p);
			continue;
		}
		switch (*++p) {
		case '4':
			words_address_text(out, 4, four);
			break;
		case 'p':
			if (step->value < XLAT_PREFIXES_MAX)
				words_prefix_text(out, &e->config->prefix[step->value]);
			break;
		case 'm':
			row_text(out, e, step->value);
			break;
		default:
			buf_dec(out, step->value);
			/* A row of pool4 says more than its number. */
			if (step->step == XLAT_S_POOL && step->value < e->config->pool_count) {
				buf_adds(out, " (");
				words_pool_text(out, &e->config->pool[step->value], e->config->mode == XLAT_NAT64);
				buf_addc(out, ')');
			}
		}
	}
}

/* ---- planning ---- */

static int number_option(struct cli *cli, struct xlat *x)
{
	uint64_t mark;
	const char *interface = cli_value(cli, "interface");
	int code = cli_number(cli, "mark", 0, UINT32_MAX, 0, &mark);

	if (code != CLI_OK)
		return code;
	x->mark = (uint32_t)mark;
	x->ifindex = interface == NULL ? 0 : if_nametoindex(interface);
	if (interface != NULL && x->ifindex == 0)
		return cli_fail(cli, CLI_NOT_FOUND, "there is no interface '%s' here; 'ip link' lists them", interface);
	x->flags = XLAT_DRY | (cli_has(cli, "host") ? XLAT_HOST : 0);
	x->trail_max = XLAT_TRAIL_MAX;
	return CLI_OK;
}

/* The packet with the edit applied: what the homes do, but for checksums that cover a payload we may not have. */
static void apply_edit(struct explain *e)
{
	const struct xlat *x = e->x;

	if (x->verdict != XLAT_TRANSLATE && x->verdict != XLAT_ERROR)
		return;
	buf_add(&e->after, slice_of(x->head, MIN(x->head_bytes, (uint32_t)XLAT_HEAD_BYTES)));
	buf_add(&e->after, slice_from(e->packet, x->strip));
	if (e->after.len > x->out_bytes)
		buf_truncate(&e->after, x->out_bytes);
	e->complete = x->csum_payload == 0;
}

static int native_statics(struct explain *e, struct xlat_native *native, struct errmsg *why)
{
	for (size_t i = 0; i < e->settings->bib_count; i++) {
		AUTO_FREE struct xlat *desk = calloc(1, sizeof(*desk));
		struct xlat_call call = { .op = XLAT_CALL_BIB_ADD, .bib = e->settings->bibs[i] };
		if (desk == NULL)
			return errmsg_set(why, -ENOMEM, "explain the packet");
		if (xlat_native_call(native, &call, desk) != 0 || call.result != 0)
			return errmsg_say(why, -EINVAL, "a static mapping of the file cannot be made");
	}
	return 0;
}

/* With --mtu: would what comes out fit the next link? The same question that homes ask once they know the way. */
static int fit(struct explain *e, struct xlat_native *native)
{
	uint64_t mtu;
	int code = cli_number(e->cli, "mtu", 68, 65535, 0, &mtu);

	if (code == CLI_OK && mtu != 0 && e->x->verdict == XLAT_TRANSLATE)
		(void)xlat_native_fit(native, e->x, (uint32_t)mtu);
	return code;
}

/* By a file alone: the native home with empty tables. */
static int plan_native(struct explain *e, const char *path)
{
	struct nat64_settings *settings;
	struct xlat_native *native = NULL;
	struct errmsg why = { 0 };
	int code = nat64_cli_load(e->cli, e->arena, path, &settings);

	if (code != CLI_OK)
		return code;
	e->settings = settings;
	e->config = &settings->config;
	if (settings->config.mode == XLAT_CLAT && settings->config.prefix_count == 0)
		return cli_fail(e->cli, CLI_CONFIG, "%s learns its prefix while it runs: explain on the translator that runs, or write 'pref64: PREFIX'",
				path);
	e->x = ARENA_NEW(e->arena, struct xlat);
	if (e->x == NULL)
		return cli_fail(e->cli, CLI_TEMPORARY, "out of memory");
	struct xlat_native_sizes sizes = { 256, 4096 + (uint32_t)settings->bib_count, 256, 64 };
	int err = xlat_native_new(&settings->config, &sizes, &native);
	for (size_t i = 0; err == 0 && i < settings->eam_count; i++)
		err = xlat_native_eam(native, &settings->eams[i]);
	if (err != 0)
		errmsg_set(&why, err, "explain the packet");
	/* Some time other than 0, as after a start of the machine. */
	if (err == 0) {
		xlat_native_clock(native, UINT64_C(1000000000000));
		err = native_statics(e, native, &why);
	}
	if (err == 0) {
		xlat_native_begin(native, e->x, e->packet);
		code = number_option(e->cli, e->x);
		if (code == CLI_OK)
			(void)xlat_native_plan(native, e->x);
		if (code == CLI_OK)
			code = fit(e, native);
	}
	xlat_native_free(native);
	return err != 0 ? nat64_cli_fail(e->cli, err, &why) : code;
}

static void fill_desk(struct xlat *x, struct slice packet)
{
	*x = (struct xlat){ 0 };
	x->in_bytes = (uint32_t)MIN(packet.len, (size_t)XLAT_BYTES);
	memcpy(x->in, packet.ptr, x->in_bytes);
	x->packet_bytes = (uint32_t)packet.len;
	x->family = packet.ptr[0] >> 4;
}

/* No table is asked: any home with the configuration will do. */
static int fit_running(struct explain *e)
{
	static const struct xlat_native_sizes sizes = { 16, 16, 16, 16 };
	struct xlat_native *native;

	if (xlat_native_new(e->config, &sizes, &native) != 0)
		return cli_fail(e->cli, CLI_TEMPORARY, "out of memory");
	int code = fit(e, native);
	xlat_native_free(native);
	return code;
}

static int plan_running(struct explain *e)
{
	struct xlat_call call = { .op = XLAT_CALL_PLAN, .desk = XLAT_DESK_COMMAND };
	AUTO_BUF struct buf errors = BUF_INIT(1u << 20);
	struct nat64_settings *settings = NULL;
	struct xlat_config *config = ARENA_NEW(e->arena, struct xlat_config);
	struct errmsg why = { 0 };
	struct nat64 *n;
	int code = nat64_cli_open(e->cli, NAT64_CHANGE, &n), err;

	if (code != CLI_OK)
		return code;
	struct xlat *desk = nat64_desk(n, XLAT_DESK_COMMAND);
	e->x = ARENA_NEW(e->arena, struct xlat);
	if (config == NULL || e->x == NULL) {
		nat64_close(n);
		return cli_fail(e->cli, CLI_TEMPORARY, "out of memory");
	}
	*config = *nat64_config(n);
	e->config = config;
	if (nat64_settings_parse(e->arena, nat64_settings_text(n), "FILE", &settings, &errors) == 0)
		e->settings = settings;
	fill_desk(desk, e->packet);
	code = number_option(e->cli, desk);
	err = code == CLI_OK ? nat64_call(n, &call, &why) : 0;
	*e->x = *desk;
	nat64_close(n);
	if (err != 0)
		return nat64_cli_fail(e->cli, err, &why);
	return code == CLI_OK && cli_value(e->cli, "mtu") != NULL ? fit_running(e) : code;
}

/* ---- telling ---- */

static void as_text(struct buf *out, struct explain *e)
{
	const struct xlat *x = e->x;
	const char *source = nat64_reason_source(x->reason);
	AUTO_BUF struct buf setting = BUF_INIT(4096);

	nat64_packet_text(out, e->packet);
	buf_printf(out, ", %zu bytes\n", e->packet.len);
	for (uint32_t i = 0; i < MIN(x->trail_count, (uint32_t)XLAT_TRAIL_MAX); i++) {
		buf_adds(out, "  ");
		step_text(out, e, &x->trail[i]);
		buf_addc(out, '\n');
	}
	buf_adds(out, nat64_verdict_name(x->verdict));
	if (x->reason != XLAT_R_NONE)
		buf_printf(out, ": %s%s%s%s", nat64_reason_sentence(x->reason), source[0] == '\0' ? "" : " (", source, source[0] == '\0' ? "" : ")");
	buf_addc(out, '\n');
	setting_text(&setting, e);
	if (setting.len > 0)
		buf_printf(out, "  decided by %s\n", buf_cstr(&setting));
	if (e->after.len == 0)
		return;
	nat64_packet_text(out, buf_slice(&e->after));
	buf_printf(out, ", %u bytes%s\n", x->out_bytes, x->verdict == XLAT_ERROR ? ", back to the sender" : "");
	if (cli_has(e->cli, "bytes")) {
		buf_adds(out, "  ");
		hex_encode(out, buf_slice(&e->after));
		buf_printf(out, "%s\n", e->complete ? "" : " (without its checksum, which covers the payload)");
	}
}

static json_t *summary_json(struct slice packet)
{
	AUTO_BUF struct buf text = BUF_INIT(4096);

	nat64_packet_text(&text, packet);
	return json_stringn_nocheck((const char *)text.ptr, text.len);
}

static json_t *ends_json(const struct xlat_ends *to)
{
	return json_pack("{s:i, s:o, s:o}", "family", (int)to->family, "source", nat64_cli_endpoint_json(to->family, to->src, to->sport),
			 "destination", nat64_cli_endpoint_json(to->family, to->dst, to->dport));
}

static json_t *as_json(struct explain *e)
{
	const struct xlat *x = e->x;
	AUTO_BUF struct buf setting = BUF_INIT(4096), bytes = BUF_INIT(1u << 18);
	json_t *steps = json_array();

	for (uint32_t i = 0; i < MIN(x->trail_count, (uint32_t)XLAT_TRAIL_MAX); i++) {
		AUTO_BUF struct buf text = BUF_INIT(4096);
		step_text(&text, e, &x->trail[i]);
		json_array_append_new(steps, json_stringn_nocheck((const char *)text.ptr, text.len));
	}
	setting_text(&setting, e);
	json_t *o = json_pack("{s:o, s:o, s:s, s:s, s:s, s:s}", "packet", summary_json(e->packet), "steps", steps, "verdict",
			      nat64_verdict_name(x->verdict), "reason", nat64_reason_name(x->reason), "sentence", nat64_reason_sentence(x->reason),
			      "source", nat64_reason_source(x->reason));
	if (setting.len > 0)
		json_object_set_new(o, "setting", json_string(buf_cstr(&setting)));
	if (e->after.len > 0) {
		hex_encode(&bytes, buf_slice(&e->after));
		json_object_set_new(o, "result", summary_json(buf_slice(&e->after)));
		json_object_set_new(o, "result_bytes", json_integer(x->out_bytes));
		json_object_set_new(o, "result_hex", json_string(buf_cstr(&bytes)));
		json_object_set_new(o, "checksum_complete", json_boolean(e->complete));
	}
	if (x->verdict == XLAT_TRANSLATE && (x->to.family == 4 || x->to.family == 6))
		json_object_set_new(o, "to", ends_json(&x->to));
	return o;
}

static int explain(struct cli *cli)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(NAT64_CLI_ARENA_BYTES);
	AUTO_BUF struct buf packet = BUF_INIT(NAT64_PACKET_BYTES_MAX + 64), out = BUF_INIT(1u << 20);
	struct explain e = { .cli = cli, .arena = &arena, .after = BUF_INIT(NAT64_PACKET_BYTES_MAX + 512) };
	int code = nat64_packet_read(cli, &packet);

	e.packet = buf_slice(&packet);
	if (code == CLI_OK)
		code = cli_value(cli, "config") != NULL ? plan_native(&e, cli_value(cli, "config")) : plan_running(&e);
	if (code == CLI_OK) {
		apply_edit(&e);
		if (cli_json(cli)) {
			code = spine_cli_json(cli, as_json(&e));
		} else {
			as_text(&out, &e);
			code = cli_print(cli, &out);
		}
	}
	buf_done(&e.after);
	return code;
}

const struct cli_command cmd_nat64_explain = {
	.words = "nat64 explain",
	.summary = "say what would become of a packet, and by which rules",
	.description = "The packet is planned by the code that plans packets, with the tables of the translator that runs; with --config by that file "
		       "alone, on a machine that need not be the translator. Nothing is changed or counted. Packets are written as on a "
		       "whiteboard: 'tcp ADDRESS PORT > ADDRESS PORT', 'udp ...', 'ping ADDRESS > ADDRESS', 'icmp ADDRESS > ADDRESS type 3 code 4', 'ip "
		       "... proto 47'; then words such as ttl 1, tos 16, flags SA (TCP without it begins a connection), bytes 1400.",
	.args = (const struct cli_arg[]){ { "PACKET", "the packet, in words", .optional = true, .many = true }, { 0 } },
	.options = (const struct cli_option[]){
		CLI_OPTION_TRANSLATOR, CLI_OPTION_NAT64_NETNS,
		{ "config", 'c', "FILE", "ask this file and empty tables, not the translator that runs", CLI_FILE },
		{ "hex", 'x', "DIGITS", "the packet in hexadecimal digits: an Ethernet frame, or from the IP header on" },
		{ "pcap", 'p', "FILE", "the packet is in this capture", CLI_FILE },
		{ "packet", 'P', "N", "which of the capture; 1 without it" },
		{ "mark", 'm', "N", "the packet has this mark" },
		{ "interface", 'i', "IF", "it arrives on this interface" },
		{ "mtu", 'M', "BYTES", "the next link takes packets of this size" },
		{ "host", 'H', NULL, "it comes from the host itself (mode clat)" },
		{ "bytes", 'b', NULL, "print the resulting bytes as well" }, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle nat64 explain tcp 2001:db8::1 1234 '>' 64:ff9b::198.51.100.1 80",
		"prickle nat64 explain --config nat64.yaml 'ping 2001:db8::1 > 64:ff9b::198.51.100.1 ttl 1'",
		"prickle nat64 explain --pcap dropped.pcap --packet 7 --json", NULL },
	.run = explain,
};
