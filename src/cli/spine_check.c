/*
 * `prickle spine check`: two versions of an extension on the same packets, before a replace.
 */
#include <errno.h>
#include <limits.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/spine.h"
#include "spine/capture.h"
#include "spine/compare.h"
#include "spine/packet.h"
#include "spine/pins.h"
#include "spine/totals.h"
#include "spine/trace.h"

#define CHECK_BYTES   (512u << 20)
#define SHOWN_MAX     20u		/* differences that are printed in full */

struct side {
	struct buf file;
	const struct object *object;
	struct loaded *loaded;
};

struct checking {
	struct cli *cli;
	struct side old, new;
	uint32_t ifindex;
	uint64_t most;			/* packets */
	struct compare_counts counts;
	json_t *differences;
	uint64_t shown;
};

static bool is_installed(const struct spine_device *d, const char *name)
{
	const struct spine_record *r = d != NULL ? spine_device_find(d, name) : NULL;

	return r != NULL && r->source == SOURCE_INSTALLED;
}

/* Into s->file: the object of an extension that is installed, or a file. CLI_OK or complained. */
static int read_side(struct cli *cli, const struct spine_device *d, const char *name, struct side *s)
{
	struct errmsg why;
	int err;

	buf_init(&s->file, SPINE_OBJECT_BYTES_MAX);
	if (!is_installed(d, name))
		return spine_cli_file(cli, name, false, &s->file);
	err = spine_device_object(d, name, &s->file, &why);
	return err == 0 ? CLI_OK : spine_cli_fail(cli, err, &why);
}

static int load_side(struct cli *cli, struct arena *arena, const struct spine_device *d, const char *name, struct side *s)
{
	struct spine_class class = { 0 };
	struct load_request request = { .object = buf_slice(&s->file), .name = "check", .old_maps_dir = -1, .accept_unbounded = true };
	struct errmsg why;
	int err = object_parse(arena, request.object, &s->object, &why);

	if (d != NULL)
		class = (struct spine_class){ spine_device_meta(d)->frags != 0, spine_device_meta(d)->attach_type };
	else
		class.attach_type = BPF_XDP;
	request.class = class;
	request.parsed = s->object;
	if (err == 0)
		err = spine_load_for_test(arena, &request, TIER_VETTED, &s->loaded, &why);
	return err == 0 ? CLI_OK : cli_fail(cli, spine_cli_exit(err), "%s: %s", name, why.text);
}

/* Both copies begin with what the running version knows. */
static int copy_state(struct cli *cli, const struct spine_device *d, const char *name, const struct checking *c)
{
	char path[SPINE_NAME_BYTES + 16];
	uint64_t old = 0, new = 0;
	struct errmsg why;
	int err;

	if (!is_installed(d, name))
		return CLI_OK;
	(void)snprintf(path, sizeof(path), "ext/%s/maps", name);
	AUTO_FD int maps = pin_dir(spine_device_dir(d), path, false);
	if (maps < 0)
		return CLI_OK;		/* it has none */
	err = compare_copy_maps(maps, c->old.loaded, &old, &why);
	if (err == 0)
		err = compare_copy_maps(maps, c->new.loaded, &new, &why);
	if (err != 0)
		return spine_cli_fail(cli, err, &why);
	if (!cli_json(cli) && old != new)
		fprintf(stderr, "note: of the running version's state %llu entries fit the old object, %llu the new one\n",
			(unsigned long long)old, (unsigned long long)new);
	return CLI_OK;
}

/* ---- packets ---- */

static void show(struct checking *c, struct slice frame, const struct compare_difference *x)
{
	AUTO_BUF struct buf line = BUF_INIT(65536), packet = BUF_INIT(4096);
	json_t *o;

	packet_summary(&packet, frame);
	if (cli_json(c->cli)) {
		o = json_pack("{s:s%, s:s, s:s, s:i, s:i}", "packet", (const char *)packet.ptr, packet.len, "old",
			      spine_verdict_name(x->old_verdict), "new", spine_verdict_name(x->new_verdict), "old_bytes",
			      (int)x->old_bytes, "new_bytes", (int)x->new_bytes);
		if (x->offset != UINT32_MAX)
			json_object_set_new(o, "offset", json_integer(x->offset));
		json_array_append_new(c->differences, o);
		return;
	}
	buf_add(&line, buf_slice(&packet));
	if (x->old_verdict != x->new_verdict)
		buf_printf(&line, ": %s before, %s now\n", spine_verdict_name(x->old_verdict), spine_verdict_name(x->new_verdict));
	else if (x->old_bytes != x->new_bytes)
		buf_printf(&line, ": %s, %u bytes before, %u now\n", spine_verdict_name(x->new_verdict), x->old_bytes, x->new_bytes);
	else
		buf_printf(&line, ": %s, byte %u is %02x before, %02x now\n", spine_verdict_name(x->new_verdict), x->offset,
			   x->old_byte, x->new_byte);
	(void)cli_print(c->cli, &line);
}

static int compare(struct checking *c, struct slice frame)
{
	struct compare_difference difference;

	if (!compare_frame(c->old.loaded->entry_fd, c->new.loaded->entry_fd, frame, c->ifindex, &c->counts, &difference) &&
	    c->shown++ < SHOWN_MAX)
		show(c, frame, &difference);
	return c->counts.packets >= c->most ? -ECANCELED : 0;
}

static int each_captured(void *arg, struct slice frame, uint32_t wire_bytes)
{
	return compare(arg, frame);
}

struct live {
	struct checking *c;
	const struct spine_record *of;	/* only packets that it gets; NULL: all */
};

static int each_live(void *arg, const struct spine_trace_record *r, struct slice frame)
{
	const struct live *l = arg;

	if (l->of != NULL && (r->match[l->of->slot / 32] >> (l->of->slot % 32) & 1) == 0)
		return 0;
	return compare(l->c, frame);
}

static int from_traffic(struct checking *c, struct spine_device *d, const char *name, uint64_t seconds)
{
	struct live l = { c, spine_device_find(d, name) };
	double end = cli_now_s() + (double)seconds;
	struct spine_trace *t;
	struct errmsg why;
	int n = 0, err = spine_trace_open(d, 1, &t, &why);

	if (err != 0)
		return spine_cli_fail(c->cli, err, &why);
	while (n != -ECANCELED && cli_now_s() < end) {
		n = spine_trace_read(t, 100, each_live, &l);
		if (n < 0 && n != -EINTR && n != -ECANCELED)
			break;
	}
	spine_trace_close(t);
	return CLI_OK;
}

static int from_file(struct checking *c, const char *file)
{
	struct errmsg why;
	int err = capture_read(file, each_captured, c, &why);

	return err == 0 || err == -ECANCELED ? CLI_OK : spine_cli_fail(c->cli, err, &why);
}

/* ---- the verdict ---- */

static int conclude(struct checking *c)
{
	AUTO_BUF struct buf state = BUF_INIT(1u << 20), text = BUF_INIT(1u << 20);
	const struct compare_counts *n = &c->counts;
	uint64_t different = n->verdicts + n->lengths + n->bytes;
	size_t maps = compare_maps(c->old.loaded, c->new.loaded, &state);
	int code;

	if (cli_json(c->cli))
		code = spine_cli_json(c->cli, json_pack(
			"{s:I, s:I, s:I, s:I, s:I, s:I, s:O, s:s%}", "packets", (json_int_t)n->packets, "same", (json_int_t)n->same,
			"verdicts_differ", (json_int_t)n->verdicts, "lengths_differ", (json_int_t)n->lengths, "bytes_differ",
			(json_int_t)n->bytes, "not_run", (json_int_t)n->not_run, "differences", c->differences, "state",
			state.len > 0 ? (const char *)state.ptr : "", state.len));
	else {
		if (c->shown > SHOWN_MAX)
			buf_printf(&text, "... and %llu more\n", (unsigned long long)(c->shown - SHOWN_MAX));
		buf_printf(&text, "%llu packets: %llu the same, %llu with another verdict, %llu with another length, %llu with other bytes",
			   (unsigned long long)n->packets, (unsigned long long)n->same, (unsigned long long)n->verdicts,
			   (unsigned long long)n->lengths, (unsigned long long)n->bytes);
		if (n->not_run > 0)
			buf_printf(&text, ", %llu could not be run", (unsigned long long)n->not_run);
		buf_addc(&text, '\n');
		if (maps > 0) {
			buf_adds(&text, "what they keep differs after that:\n");
			buf_add(&text, buf_slice(&state));
		}
		code = cli_print(c->cli, &text);
	}
	if (code != CLI_OK)
		return code;
	if (n->packets == 0)
		return cli_fail(c->cli, CLI_TEMPORARY, "no packet came; wait longer (--seconds), or give a capture (--pcap)");
	return different > 0 ? CLI_FAILED : CLI_OK;
}

static int run(struct checking *c, struct arena *arena, struct spine_device *d, uint64_t seconds)
{
	const char *old = cli_arg(c->cli, 0), *new = cli_arg(c->cli, 1), *pcap = cli_value(c->cli, "pcap");
	int code = read_side(c->cli, d, old, &c->old);

	if (code == CLI_OK)
		code = read_side(c->cli, d, new, &c->new);
	if (code == CLI_OK)
		code = load_side(c->cli, arena, d, old, &c->old);
	if (code == CLI_OK)
		code = load_side(c->cli, arena, d, new, &c->new);
	if (code == CLI_OK)
		code = copy_state(c->cli, d, old, c);
	if (code == CLI_OK)
		code = pcap != NULL ? from_file(c, pcap) : from_traffic(c, d, old, seconds);
	return code == CLI_OK ? conclude(c) : code;
}

static int check(struct cli *cli)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(CHECK_BYTES);
	struct checking c = { .cli = cli, .differences = json_array() };
	struct spine_device *d = NULL;
	uint64_t seconds;
	int code = cli_number(cli, "seconds", 1, 86400, 5, &seconds);

	if (code == CLI_OK)
		code = cli_number(cli, "count", 1, UINT32_MAX, UINT32_MAX, &c.most);
	if (code == CLI_OK && !cli_has(cli, "dev") && !cli_has(cli, "pcap"))
		code = cli_fail(cli, CLI_USAGE, "packets from where? give --dev IF for live ones, or --pcap FILE");
	if (code == CLI_OK && cli_has(cli, "dev"))
		code = spine_cli_open(cli, SPINE_LOOK, &d);
	if (code == CLI_OK) {
		c.ifindex = d != NULL ? spine_device_ifindex(d) : 0;
		code = run(&c, &arena, d, seconds);
	}
	loaded_free(c.old.loaded);
	loaded_free(c.new.loaded);
	buf_done(&c.old.file);
	buf_done(&c.new.file);
	json_decref(c.differences);
	if (d != NULL)
		spine_device_close(d);
	return code;
}

const struct cli_command cmd_spine_check = {
	.words = "spine check",
	.summary = "compare two versions of an extension on live or captured packets",
	.description = "Loads both beside what runs, with copies of the running version's maps, and gives each packet to both: "
		       "verdict, length and bytes are compared, and what they keep in maps at the end. Nothing that runs is "
		       "touched. Live packets are seen as they arrive, up to their first 256 bytes. Exit code 0: they did the "
		       "same; 1: they did not.",
	.args = (const struct cli_arg[]){
		{ "OLD", "an extension of --dev, or an object file", .complete = CLI_FILE },
		{ "NEW", "an object file", .complete = CLI_FILE }, { 0 } },
	.options = (const struct cli_option[]){
		CLI_OPTION_DEV, CLI_OPTION_NETNS,
		{ "pcap", '\0', "FILE", "take packets from a capture", CLI_FILE },
		{ "seconds", '\0', "N", "watch live packets so long; 5 without it" },
		{ "count", 'c', "N", "end after N packets" }, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle spine check router router-2.o --dev eth0",
		"prickle spine check old.o new.o --pcap traffic.pcap", NULL },
	.run = check,
};
