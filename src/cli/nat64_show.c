/*
 * `prickle nat64 show`: one translator at a glance; what is wrong comes first, with what to do about it.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "cli/nat64.h"
#include "nat64/reason.h"
#include "nat64/walk.h"
#include "nat64/words.h"

#define MAPPINGS_SHOWN 8u
#define WALK_LATE_MS 5000		/* the walk runs many times a second */
#define NEARLY_FULL(used, size) ((uint64_t)(used) * 10 >= (uint64_t)(size) * 9)

struct show {
	struct cli *cli;
	struct nat64 *n;
	const struct xlat_config *x;
	const struct xlat_control *c;
	struct xlat_stats stats;
	struct nat64_usage *usage;
	struct nat64_attachment *attachments;
	size_t attachment_count;
	const struct nat64_settings *settings;	/* NULL: its text cannot be read */
	uint32_t now;
	bool daemon;
	struct buf warnings;		/* lines */
};

static const char *const table_names[] = { "sessions", "mappings", "subscribers" };

static uint32_t table_size(const struct show *s, size_t table)
{
	uint32_t count = s->c->slab[table].count;

	return count > 0 ? count - 1 : 0;
}

static uint32_t row_used(const struct show *s, const struct xlat_pool *row, uint32_t k, unsigned port_class)
{
	uint32_t slot = row->slot + k;

	return slot < XLAT_POOL_ADDRESSES_MAX ? s->usage->ports[slot][port_class] : 0;
}

/* ---- what is wrong ---- */

static void warn_attachments(struct show *s, const char *name)
{
	for (size_t i = 0; i < s->attachment_count; i++) {
		const struct nat64_attachment *a = &s->attachments[i];
		if (!a->running)
			buf_printf(&s->warnings, "%s: not translating (%s): 'prickle nat64 apply FILE' attaches '%s' again\n", a->interface,
				   a->why_not[0] == '\0' ? "gone" : a->why_not, name);
		else if (strstr(a->home, "generic") != NULL)
			buf_printf(&s->warnings, "%s: the driver has no XDP of its own, so this is the slow variant: 'attach: tc' is faster\n",
				   a->interface);
	}
	if (s->attachment_count == 0)
		buf_adds(&s->warnings, "attached nowhere: nothing is translated; 'prickle nat64 apply FILE' attaches\n");
}

static void warn_tables(struct show *s)
{
	static const unsigned reasons[] = { XLAT_R_SESSIONS_FULL, XLAT_R_MAPPINGS_FULL, XLAT_R_SUBSCRIBERS_FULL };
	static const char *const keys[] = { "sessions", "mappings", "subscribers" };

	for (size_t i = 0; i < ARRAY_LEN(table_names); i++) {
		uint32_t used = XLAT_READ(s->c->slab[i].used), size = table_size(s, i);
		uint64_t refused = s->stats.reason[XLAT_DROP][reasons[i]] + s->stats.reason[XLAT_ERROR][reasons[i]];
		if (size > 0 && NEARLY_FULL(used, size))
			buf_printf(&s->warnings, "the table of %s is nearly full: raise 'tables.%s' (takes a new start of the instance)\n",
				   table_names[i], keys[i]);
		else if (refused > 0)
			buf_printf(&s->warnings, "the table of %s was full for %llu packets: 'prickle nat64 stats --explain'\n", table_names[i],
				   (unsigned long long)refused);
	}
	uint64_t exhausted = s->stats.reason[XLAT_DROP][XLAT_R_PORTS_EXHAUSTED] + s->stats.reason[XLAT_ERROR][XLAT_R_PORTS_EXHAUSTED];
	if (exhausted > 0)
		buf_printf(&s->warnings, "the pool had no free port for %llu packets: add a row to 'pool4', then 'prickle nat64 apply FILE'\n",
			   (unsigned long long)exhausted);
}

static void find_warnings(struct show *s, const char *name)
{
	int64_t walk_ms = -nat64_tick_ms(s->now, XLAT_READ(s->c->walk_running));

	warn_attachments(s, name);
	if (!s->daemon)
		buf_printf(&s->warnings, "its daemon does not run: fragments, FTP, logs and new prefixes wait; start "
			   "'prickle nat64 run --config %s'\n", s->settings == NULL ? "FILE" : s->settings->path);
	if (s->x->prefix_count == 0 && s->x->mode == XLAT_CLAT)
		buf_adds(&s->warnings, "no translation prefix is known yet: the router announces none (RFC 8781) and ipv4only.arpa has no AAAA; "
			 "write 'pref64: PREFIX'\n");
	if (s->x->mode == XLAT_NAT64 && walk_ms > WALK_LATE_MS)
		buf_adds(&s->warnings, "the walk that ends old sessions has stopped: 'prickle nat64 apply FILE' starts it again\n");
	if (XLAT_READ(s->c->trace.on) != 0)
		buf_adds(&s->warnings, "packets are traced, which costs time: 'prickle nat64 trace' runs, or was killed; one more, ended by Ctrl-C, "
			 "switches it off\n");
	if (s->stats.events_lost > 0)
		buf_printf(&s->warnings, "%llu lines of the log were lost, for want of room or of a daemon\n",
			   (unsigned long long)s->stats.events_lost);
	if (s->x->mode == XLAT_NAT64)
		warn_tables(s);
}

/* ---- text ---- */

static void text_table(struct buf *out, const char *name, uint64_t used, uint64_t size)
{
	buf_printf(out, "  %-14s", name);
	nat64_cli_bar(out, used, size);
	buf_addc(out, ' ');
	nat64_cli_count(out, used);
	buf_adds(out, " of ");
	nat64_cli_count(out, size);
	buf_printf(out, " (%.1f %%)\n", size == 0 ? 0.0 : 100.0 * (double)used / (double)size);
}

static void text_pool(struct buf *out, const struct show *s)
{
	bool stateful = s->x->mode == XLAT_NAT64;

	for (uint32_t r = 0; r < s->x->pool_count; r++) {
		const struct xlat_pool *row = &s->x->pool[r];
		uint32_t ports = row->port_last - row->port_first + 1u, most = 0;
		uint64_t used = 0;
		buf_adds(out, r == 0 ? "pool4\n  " : "  ");
		words_pool_text(out, row, stateful);
		for (uint32_t k = 0; stateful && k < row->count; k++) {
			for (unsigned p = 0; p < XLAT_PORT_CLASSES; p++) {
				uint32_t one = row_used(s, row, k, p);
				used += one;
				most = MAX(most, one);
			}
		}
		buf_addc(out, '\n');
		if (stateful)
			text_table(out, "  busiest", most, ports);
		if (stateful && row->count > 1)
			text_table(out, "  all", used, (uint64_t)ports * row->count * XLAT_PORT_CLASSES);
	}
}

/* A few of the explicit mappings in force, the host's own among them: in mode clat no file has that one. */
static uint32_t look_at_mappings(const struct show *s, struct xlat_eam *out, uint32_t max)
{
	uint32_t bank = XLAT_READ(s->c->bank), id, count = 0;
	struct xlat_eam4_key key, next;

	if (s->x->mode == XLAT_NAT64 || bpf_map_lookup_elem(nat64_map(s->n, "eam4"), &bank, &id) != 0)
		return 0;
	AUTO_FD int fd = bpf_map_get_fd_by_id(id);
	for (bool more = fd >= 0 && bpf_map_get_next_key(fd, NULL, &next) == 0; more && count < max;
	     more = bpf_map_get_next_key(fd, &key, &next) == 0) {
		key = next;
		if (bpf_map_lookup_elem(fd, &key, &out[count]) == 0)
			count++;
	}
	return count;
}

static void text_mappings(struct buf *out, const struct show *s)
{
	struct xlat_eam some[MAPPINGS_SHOWN + 1];
	uint32_t count = look_at_mappings(s, some, MAPPINGS_SHOWN + 1);

	for (uint32_t i = 0; i < MIN(count, MAPPINGS_SHOWN); i++) {
		buf_adds(out, i == 0 ? "mappings\n  " : "  ");
		words_mapping_text(out, &some[i]);
		buf_addc(out, '\n');
	}
	if (count > MAPPINGS_SHOWN)
		buf_adds(out, "  and more\n");
}

static void text_traffic(struct buf *out, const struct show *s)
{
	static const char *const directions[] = { "IPv6 to IPv4", "IPv4 to IPv6" };

	buf_adds(out, "traffic\n");
	for (size_t d = 0; d < 2; d++) {
		buf_printf(out, "  %-14s", directions[d]);
		nat64_cli_count(out, s->stats.packets[d]);
		buf_adds(out, " packets, ");
		nat64_cli_count(out, s->stats.bytes[d]);
		buf_adds(out, " bytes\n");
	}
	uint64_t dropped = 0;
	for (unsigned r = 0; r < XLAT_REASONS; r++)
		dropped += s->stats.reason[XLAT_DROP][r] + s->stats.reason[XLAT_ERROR][r];
	buf_adds(out, "  not translated ");
	nat64_cli_count(out, dropped);
	buf_adds(out, dropped > 0 ? " packets; 'prickle nat64 stats --explain' says why\n" : " packets\n");
}

static void text_head(struct buf *out, const struct show *s, const char *name)
{
	buf_printf(out, "%s: %s\n", name, nat64_cli_mode(s->x->mode));
	struct slice rest = buf_slice(&s->warnings), line;
	while (rest.len > 0) {
		slice_cut(rest, '\n', &line, &rest);
		buf_printf(out, "! %.*s\n", SLICE_FMT(line));
	}
	for (size_t i = 0; i < s->attachment_count; i++)
		buf_printf(out, "%s%s by %s%s", i == 0 ? "interfaces    " : ", ", s->attachments[i].interface, s->attachments[i].home,
			   s->attachments[i].running ? "" : " (not running)");
	buf_adds(out, s->attachment_count > 0 ? "\n" : "");
	buf_printf(out, "daemon        %s\n", s->daemon ? "runs" : "does not run");
	bool any = false;
	for (uint32_t i = 0; i < s->x->prefix_count; i++) {
		if (xlat_prefix_none(&s->x->prefix[i]))
			continue;
		buf_adds(out, !any ? "pref64        " : ", ");
		words_prefix_text(out, &s->x->prefix[i]);
		any = true;
	}
	buf_adds(out, any ? "\n" : "");
	if (s->settings != NULL) {
		const struct nat64_value *file = &s->settings->value[NAT64_OPTION_mappings_file];
		buf_printf(out, "settings      change %u, %zu explicit mappings", s->x->serial, s->settings->eam_count);
		if (file->count > 0)
			buf_printf(out, " and those of %.*s", SLICE_FMT(file->items[0].text));
		buf_printf(out, ", %zu static\n", s->settings->bib_count);
	}
}

static void as_text(struct buf *out, const struct show *s, const char *name)
{
	text_head(out, s, name);
	if (s->x->mode == XLAT_NAT64) {
		buf_adds(out, "tables\n");
		for (size_t i = 0; i < ARRAY_LEN(table_names); i++)
			text_table(out, table_names[i], XLAT_READ(s->c->slab[i].used), table_size(s, i));
		buf_printf(out, "  by protocol   %llu tcp, %llu udp, %llu icmp\n", (unsigned long long)s->usage->sessions[0],
			   (unsigned long long)s->usage->sessions[1], (unsigned long long)s->usage->sessions[2]);
	}
	text_mappings(out, s);
	text_pool(out, s);
	text_traffic(out, s);
	if (cli_has(s->cli, "settings") && s->settings != NULL) {
		buf_adds(out, "\n");
		nat64_settings_yaml(s->settings, out);
	}
}

/* ---- JSON ---- */

static json_t *json_pool(const struct show *s)
{
	json_t *list = json_array();

	for (uint32_t r = 0; r < s->x->pool_count; r++) {
		const struct xlat_pool *row = &s->x->pool[r];
		for (uint32_t k = 0; k < row->count; k++) {
			json_t *o = json_object();
			json_object_set_new(o, "address", nat64_cli_address_json(4, &(__be32){ htonl(row->first + k) }));
			json_object_set_new(o, "shared", json_boolean((row->flags & XLAT_POOL_SHARED) != 0));
			json_object_set_new(o, "drain", json_boolean((row->flags & XLAT_POOL_DRAIN) != 0));
			if (s->x->mode == XLAT_NAT64) {
				json_object_set_new(o, "ports", json_integer(row->port_last - row->port_first + 1));
				for (unsigned p = 0; p < XLAT_PORT_CLASSES; p++)
					json_object_set_new(o, nat64_class_name(p), json_integer(row_used(s, row, k, p)));
			}
			json_array_append_new(list, o);
			if (s->x->mode != XLAT_NAT64)
				break;		/* a prefix may be the whole of 10/8 */
		}
	}
	return list;
}

static json_t *json_mappings(const struct show *s)
{
	struct xlat_eam some[MAPPINGS_SHOWN];
	uint32_t count = look_at_mappings(s, some, MAPPINGS_SHOWN);
	json_t *list = json_array();

	for (uint32_t i = 0; i < count; i++) {
		AUTO_BUF struct buf text = BUF_INIT(200);
		words_mapping_text(&text, &some[i]);
		json_array_append_new(list, json_string(buf_cstr(&text)));
	}
	return list;
}

static json_t *as_json(const struct show *s, const char *name)
{
	json_t *tables = json_object(), *warnings = json_array(), *interfaces = json_array(), *prefixes = json_array();
	struct slice rest = buf_slice(&s->warnings), line;

	while (rest.len > 0) {
		slice_cut(rest, '\n', &line, &rest);
		json_array_append_new(warnings, json_stringn_nocheck((const char *)line.ptr, line.len));
	}
	for (size_t i = 0; i < ARRAY_LEN(table_names) && s->x->mode == XLAT_NAT64; i++)
		json_object_set_new(tables, table_names[i], json_pack("{s:I, s:I}", "used", (json_int_t)XLAT_READ(s->c->slab[i].used),
								       "size", (json_int_t)table_size(s, i)));
	for (size_t i = 0; i < s->attachment_count; i++)
		json_array_append_new(interfaces, json_pack("{s:s, s:s, s:b, s:s}", "interface", s->attachments[i].interface, "home",
							    s->attachments[i].home, "running", (int)s->attachments[i].running, "why_not",
							    s->attachments[i].why_not));
	for (uint32_t i = 0; i < s->x->prefix_count; i++) {
		AUTO_BUF struct buf text = BUF_INIT(80);
		if (xlat_prefix_none(&s->x->prefix[i]))
			continue;
		words_prefix_text(&text, &s->x->prefix[i]);
		json_array_append_new(prefixes, json_string(buf_cstr(&text)));
	}
	json_t *o = json_pack("{s:s, s:s, s:I, s:b, s:o, s:o, s:o, s:o, s:o, s:{s:I, s:I}, s:{s:I, s:I}}", "name", name, "mode",
			      nat64_cli_mode(s->x->mode), "serial", (json_int_t)s->x->serial, "daemon", (int)s->daemon, "warnings", warnings,
			      "interfaces", interfaces, "pref64", prefixes, "tables", tables, "pool4", json_pool(s), "packets",
			      "6to4", (json_int_t)s->stats.packets[0], "4to6", (json_int_t)s->stats.packets[1], "bytes",
			      "6to4", (json_int_t)s->stats.bytes[0], "4to6", (json_int_t)s->stats.bytes[1]);
	json_object_set_new(o, "some_mappings", json_mappings(s));
	if (s->settings != NULL) {
		AUTO_BUF struct buf text = BUF_INIT(8u << 20);
		nat64_settings_json(s->settings, &text);
		json_object_set_new(o, "settings", json_loadb((const char *)text.ptr, text.len, 0, NULL));
	}
	return o;
}

static int look(void *arg, struct nat64 *n, uint64_t number, struct buf *out)
{
	struct cli *cli = arg;
	AUTO_ARENA struct arena arena = ARENA_INIT(NAT64_CLI_ARENA_BYTES);
	AUTO_FREE struct nat64_usage *usage = calloc(1, sizeof(*usage));
	AUTO_BUF struct buf errors = BUF_INIT(1u << 20);
	struct show s = { .cli = cli, .n = n, .x = nat64_config(n), .c = nat64_control(n), .usage = usage, .now = nat64_tick(n),
		.warnings = BUF_INIT(1u << 20) };
	struct nat64_settings *settings = NULL;
	struct errmsg why = { 0 };
	int err = usage == NULL ? errmsg_set(&why, -ENOMEM, "count the sessions") : nat64_stats(n, &s.stats, &why);

	(void)number;
	if (err == 0)
		err = nat64_usage_look(n, usage, &why);
	if (err == 0)
		err = nat64_attachments(n, &arena, &s.attachments, &s.attachment_count, &why);
	if (err != 0)
		return nat64_cli_fail(cli, err, &why);
	if (nat64_settings_parse(&arena, nat64_settings_text(n), "FILE", &settings, &errors) == 0)
		s.settings = settings;
	uint32_t beat = XLAT_READ(s.c->slow_beat);
	s.daemon = beat != 0 && !xlat_passed(s.now, beat + XLAT_SLOW_BEAT_TICKS);
	const char *name = settings != NULL ? settings->name : cli_value(cli, "name") != NULL ? cli_value(cli, "name") : "?";
	find_warnings(&s, name);
	if (cli_json(cli)) {
		json_t *o = as_json(&s, name);
		char *text = o == NULL ? NULL : json_dumps(o, JSON_COMPACT);
		json_decref(o);
		buf_printf(out, "%s\n", text == NULL ? "{}" : text);
		free(text);
	} else {
		as_text(out, &s, name);
	}
	buf_done(&s.warnings);
	return CLI_OK;
}

static int show(struct cli *cli)
{
	return nat64_cli_watch(cli, look, cli);
}

const struct cli_command cmd_nat64_show = {
	.words = "nat64 show",
	.summary = "show a translator: what is wrong, where it is attached, how full it is",
	.description = "Lines that begin with '!' come first: each says what is wrong and what to do next. Then interfaces, prefixes, tables and pool "
		       "with how much of them is in use, and the traffic so far.",
	.options = (const struct cli_option[]){
		CLI_OPTION_TRANSLATOR, CLI_OPTION_NAT64_NETNS, { "settings", 's', NULL, "print the settings in force as well" },
		CLI_OPTION_WATCH, CLI_OPTION_INTERVAL, CLI_OPTION_COUNT, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle nat64 show", "prickle nat64 show --name isp --watch", "prickle nat64 show --json", NULL },
	.run = show,
};
