/*
 * `prickle spine install`, `adopt`, `replace`, `remove`, `enable`, `disable`: what changes a device.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "cli/datafile.h"
#include "cli/spine.h"
#include "spine/attach.h"
#include "spine/host.h"

#define CHANGE_BYTES (512u << 20)
#define OPTION_ORDER { "order", 'o', "K", "lower runs first; 0 to 1000000" }
#define OPTION_MODE  { "mode", '\0', "MODE", "native, generic, or auto (the default): native if the driver can" }
#define ORDER_MAX    1000000

static const struct cli_arg name_arg[] = { { "NAME", "the extension, as `prickle spine list` shows it" }, { 0 } };
static const struct cli_option where_options[] = { CLI_OPTION_DEV, CLI_OPTION_NETNS, { 0 } };

/* --- what happened ---------------------------------------------------------------------------- */

/* A signature that earns nothing is most likely a key that somebody forgot to name. */
static void add_signer_note(struct cli *cli, const struct spine_record *r, struct buf *out)
{
	static const uint8_t nobody[sizeof(r->signer)];
	const struct cli_option *o = cli_command(cli)->options;

	while (o->name != NULL && strcmp(o->name, "policy") != 0)
		o++;
	if (r == NULL || o->name == NULL || r->tier != TIER_UNTRUSTED || memcmp(r->signer, nobody, sizeof(nobody)) == 0)
		return;
	buf_adds(out, "it is signed, but it counts as untrusted: its key ");
	hex_encode(out, slice_of(r->signer, sizeof(r->signer)));
	buf_printf(out, " is not the one that a domain of the policy asks for (`domain %s = ebpf object signed-by KEY`)", r->name);
}

static int tell(struct cli *cli, const struct spine_device *d, const char *name, const char *did)
{
	const struct spine_record *r = spine_device_find(d, name);
	const char *notice = spine_device_notice(d), *reason;
	AUTO_BUF struct buf text = BUF_INIT(65536);
	AUTO_BUF struct buf note = BUF_INIT(4096);
	json_t *o;

	add_signer_note(cli, r, &note);
	if (*notice == '\0')
		notice = buf_cstr(&note);
	if (cli_json(cli)) {
		o = r == NULL ? json_pack("{s:s, s:s}", "name", name, "device", spine_device_name(d)) : spine_cli_record_json(d, r);
		json_object_set_new(o, "did", json_string(did));
		if (*notice != '\0')
			json_object_set_new(o, "notice", json_string(notice));
		return spine_cli_json(cli, o);
	}
	buf_printf(&text, "%s '%s' on %s", did, name, spine_device_name(d));
	if (r != NULL) {
		buf_printf(&text, ": %s", spine_device_state(d, r, &reason));
		if (*reason != '\0')
			buf_printf(&text, ", %s", reason);
	}
	buf_adds(&text, "\n");
	if (*notice != '\0')
		fprintf(stderr, "note: %s\n", notice);
	return cli_print(cli, &text);
}

/* --- install, replace ----------------------------------------------------------------------------- */

struct object_file {
	struct buf object, signature;
};

static void object_file_done(struct object_file *f)
{
	buf_done(&f->object);
	buf_done(&f->signature);
}

/* FILE.o and FILE.o.sig, if there is one. A plain word that is no file means an extension that we ship. */
static int read_object(struct cli *cli, const char *path, struct object_file *f)
{
	AUTO_BUF struct buf name = BUF_INIT(4096);
	char built[NAME_MAX + 32], installed[NAME_MAX + 16], shipped[PATH_MAX];
	int code;

	if (strpbrk(path, "/.") == NULL && strlen(path) < NAME_MAX && access(path, F_OK) != 0) {
		(void)snprintf(built, sizeof(built), "src/spine/extensions/%s.o", path);
		(void)snprintf(installed, sizeof(installed), "spine/%s.o", path);
		if (!cli_data_file(built, installed, shipped))
			return cli_fail(cli, CLI_NOT_FOUND, "there is no file '%s', and no extension of that name comes with us; "
					"`prickle spine build` makes FILE.o of your own", path);
		path = shipped;
	}

	buf_init(&f->object, SPINE_OBJECT_BYTES_MAX);
	buf_init(&f->signature, 4096);
	buf_printf(&name, "%s.sig", path);
	code = spine_cli_file(cli, path, false, &f->object);
	return code != CLI_OK ? code : spine_cli_file(cli, buf_cstr(&name), true, &f->signature);
}

static int order_of(struct cli *cli, int64_t *out)
{
	uint64_t order = 0;
	int code = cli_number(cli, "order", 0, ORDER_MAX, 0, &order);

	*out = cli_has(cli, "order") ? (int64_t)order : -1;
	return code;
}

static int run_install(struct cli *cli)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(CHANGE_BYTES);
	struct spine_change change = { .arena = &arena };
	struct install_request r = { .confine = true, .name = cli_value(cli, "name"), .terminal = cli_has(cli, "terminal"),
				     .accept_unbounded = cli_has(cli, "accept-unbounded") };
	__attribute__((cleanup(object_file_done))) struct object_file file = { 0 };
	struct spine_device *d;
	const struct spine_record *const *records;
	const char *newest = "";
	uint64_t sequence = 0;
	int code = order_of(cli, &r.order), err;

	if (code == CLI_OK)
		code = read_object(cli, cli_arg(cli, 0), &file);
	if (code == CLI_OK)
		code = spine_cli_open(cli, SPINE_CHANGE, &d);
	if (code != CLI_OK)
		return code;
	r.object = buf_slice(&file.object);
	r.signature = buf_slice(&file.signature);
	err = spine_install(d, &r, &change);
	if (err == 0) {
		for (size_t i = 0, n = spine_device_records(d, &records); i < n; i++) {
			if (records[i]->sequence > sequence) {
				sequence = records[i]->sequence;
				newest = records[i]->name;
			}
		}
		code = tell(cli, d, newest, "installed");
	} else {
		code = spine_cli_refused(cli, err, &change);
	}
	spine_device_close(d);
	return code;
}

const struct cli_command cmd_spine_install = {
	.words = "spine install",
	.summary = "put an extension on an interface",
	.description = "Inspects the object, loads it with the rights that the policy gives it (`prickle policy show`), and puts it among the extensions of "
		       "the interface, without a gap in traffic. A program that the interface runs already becomes the first "
		       "extension and returns when the last other one is removed. FILE.o.sig beside the object is its signature.",
	.args = (const struct cli_arg[]){ { "FILE", "an object with a manifest, as `prickle spine build` makes it, or the name of one that comes with us", .complete = CLI_FILE },
					  { 0 } },
	.options = (const struct cli_option[]){
		CLI_OPTION_DEV, { "name", '\0', "N", "call it N; else as its manifest says" }, OPTION_ORDER,
		{ "terminal", '\0', NULL, "its verdict is final: cheaper, but neither masked nor timed" },
		{ "accept-unbounded", '\0', NULL, "although no bound of its time can be shown" }, OPTION_MODE,
		SPINE_OPTION_POLICY, CLI_OPTION_NETNS, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle spine install no-telnet.o --dev eth0",
					"prickle spine install filter --dev eth0 --netns blue", NULL },
	.run = run_install,
};

static int run_replace(struct cli *cli)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(CHANGE_BYTES);
	struct spine_change change = { .arena = &arena };
	struct install_request r = { .confine = true, .accept_unbounded = cli_has(cli, "accept-unbounded") };
	__attribute__((cleanup(object_file_done))) struct object_file file = { 0 };
	const char *name = cli_arg(cli, 0);
	struct spine_device *d;
	uint64_t watch_ms;
	int code = order_of(cli, &r.order), err;

	if (code == CLI_OK)
		code = cli_number(cli, "watch", 0, 600000, 1000, &watch_ms);
	if (code == CLI_OK)
		code = read_object(cli, cli_arg(cli, 1), &file);
	if (code == CLI_OK)
		code = spine_cli_open(cli, SPINE_CHANGE, &d);
	if (code != CLI_OK)
		return code;
	r.object = buf_slice(&file.object);
	r.signature = buf_slice(&file.signature);
	err = spine_replace(d, name, &r, &change);
	if (err == 0 && watch_ms > 0)
		err = spine_replace_watch(d, name, (uint32_t)watch_ms, &change);
	code = err == 0 ? tell(cli, d, name, "replaced") : spine_cli_refused(cli, err, &change);
	spine_device_close(d);
	return code;
}

const struct cli_command cmd_spine_replace = {
	.words = "spine replace",
	.summary = "put a new version in an extension's place",
	.description = "Maps whose layout fits go on with their content. The new version is watched for a second; when it has more "
		       "faults than the old one had, the old one returns. No packet is lost either way.",
	.args = (const struct cli_arg[]){ { "NAME", "the extension" }, { "FILE", "the new object", .complete = CLI_FILE }, { 0 } },
	.options = (const struct cli_option[]){
		CLI_OPTION_DEV, OPTION_ORDER, { "watch", 'w', "MS", "watch it for so long; 0: not at all" },
		{ "accept-unbounded", '\0', NULL, "although no bound of its time can be shown" },
		SPINE_OPTION_POLICY, CLI_OPTION_NETNS, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle spine replace filter filter2.o --dev eth0", NULL },
	.run = run_replace,
};

/* --- adopt ------------------------------------------------------------------------------------------ */

/* The program; a path means what it means to the caller before it means what it means to the host. */
static int open_program(struct cli *cli, int *out)
{
	const char *path = cli_value(cli, "pinned");
	struct errmsg why;
	uint64_t id = 0;
	int code = cli_number(cli, "id", 1, UINT32_MAX, 0, &id);

	if (code != CLI_OK)
		return code;
	if ((path != NULL) == cli_has(cli, "id"))
		return cli_fail(cli, CLI_USAGE, "which program? Say --id ID or --pinned PATH; `bpftool prog` lists them");
	if (path != NULL) {
		*out = host_pinned(path);
		if (*out < 0)
			return cli_fail(cli, *out == -ENOENT ? CLI_NOT_FOUND : CLI_FAILED, "open the pinned program '%s': %s", path,
					strerrordesc_np(-*out));
		return CLI_OK;
	}
	*out = attach_prog_by_id((uint32_t)id, &why);
	return *out >= 0 ? CLI_OK : spine_cli_fail(cli, *out, &why);
}

static int adopt_options(struct cli *cli, struct adopt_request *r)
{
	uint64_t permille;
	int code = order_of(cli, &r->order);

	if (code == CLI_OK && r->match == NULL)
		code = cli_fail(cli, CLI_USAGE, "which frames? Say --match RULE in the language of tcpdump; \"all\" is all of them");
	if (code == CLI_OK && r->name == NULL)
		code = cli_fail(cli, CLI_USAGE, "what is it called? Say --name N");
	if (code == CLI_OK)
		code = cli_number(cli, "cpu", 1, 1000, 0, &permille);
	if (code == CLI_OK && cli_has(cli, "verdicts"))
		code = spine_cli_verdicts(cli, "verdicts", &r->verdicts);
	if (code == CLI_OK && cli_has(cli, "continues"))
		code = spine_cli_verdicts(cli, "continues", &r->continues);
	if (code == CLI_OK)
		r->cpu_permille = (uint32_t)permille;
	return code;
}

static int run_adopt(struct cli *cli)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(CHANGE_BYTES);
	struct spine_change change = { .arena = &arena };
	struct adopt_request r = {
		.confine = true, .prog_fd = -1, .name = cli_value(cli, "name"), .match = cli_value(cli, "match"),
		.terminal = cli_has(cli, "terminal"), .fail_closed = cli_has(cli, "fail-closed"),
		.accept_unbounded = cli_has(cli, "accept-unbounded"), .redirect = cli_has(cli, "redirect"),
	};
	struct spine_device *d;
	int code = adopt_options(cli, &r), err;

	if (code == CLI_OK)
		code = open_program(cli, &r.prog_fd);
	AUTO_FD int prog = r.prog_fd;
	if (code == CLI_OK)
		code = spine_cli_open(cli, SPINE_CHANGE, &d);
	if (code != CLI_OK)
		return code;
	err = spine_adopt(d, &r, &change);
	code = err == 0 ? tell(cli, d, r.name, "adopted") : spine_cli_refused(cli, err, &change);
	spine_device_close(d);
	return code;
}

const struct cli_command cmd_spine_adopt = {
	.words = "spine adopt",
	.summary = "take in a program that its owner loaded",
	.description = "The program gets a slot behind a match rule, unchanged: its maps stay its owner's. It may return pass, drop "
		       "and aborted unless --verdicts or --redirect say more. Limits of memory and helpers do not apply to it, "
		       "`prickle spine list` says so (tier adopted).",
	.options = (const struct cli_option[]){
		CLI_OPTION_DEV, { "id", '\0', "ID", "the program with this id" },
		{ "pinned", '\0', "PATH", "the program that is pinned there", CLI_FILE },
		{ "match", 'm', "RULE", "the frames that it gets, as for tcpdump" }, { "name", '\0', "N", "what it is called" },
		OPTION_ORDER, { "verdicts", '\0', "LIST", "what it may return, as pass,drop,tx" },
		{ "continues", '\0', "LIST", "after these the next match gets the frame; else pass" },
		{ "redirect", '\0', NULL, "it may redirect, to every interface" },
		{ "cpu", '\0', "N", "thousandths of each processor that it may use" },
		{ "terminal", '\0', NULL, "its verdict is final: cheaper, but neither masked nor timed" },
		{ "fail-closed", '\0', NULL, "after a fault, and when ejected, its frames are dropped" },
		{ "accept-unbounded", '\0', NULL, "although no bound of its time can be shown" }, OPTION_MODE, CLI_OPTION_NETNS,
		{ 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle spine adopt --pinned /sys/fs/bpf/mine --match 'udp port 53' --name dns --dev eth0",
					   NULL },
	.run = run_adopt,
};

/* --- remove, enable, disable ---------------------------------------------------------------------------- */

static int run_remove(struct cli *cli)
{
	const char *name = cli_arg(cli, 0);
	struct spine_device *d;
	struct errmsg why;
	int code = spine_cli_open(cli, SPINE_CHANGE, &d), err;

	if (code != CLI_OK)
		return code;
	err = spine_remove(d, name, &why);
	code = err == 0 ? tell(cli, d, name, "removed") : spine_cli_fail(cli, err, &why);
	spine_device_close(d);
	return code;
}

const struct cli_command cmd_spine_remove = {
	.words = "spine remove",
	.summary = "take an extension off an interface",
	.description = "After the last one the interface is as it was found: with the program that it ran before, or with none.",
	.args = name_arg,
	.options = where_options,
	.json = true,
	.examples = (const char *const[]){ "prickle spine remove filter --dev eth0", NULL },
	.run = run_remove,
};

static int switch_it(struct cli *cli, bool on)
{
	const char *name = cli_arg(cli, 0);
	struct spine_device *d;
	struct errmsg why;
	int code = spine_cli_open(cli, SPINE_CHANGE, &d), err;

	if (code != CLI_OK)
		return code;
	err = spine_enable(d, name, on, &why);
	code = err == 0 ? tell(cli, d, name, on ? "enabled" : "disabled") : spine_cli_fail(cli, err, &why);
	spine_device_close(d);
	return code;
}

static int run_enable(struct cli *cli)
{
	return switch_it(cli, true);
}

static int run_disable(struct cli *cli)
{
	return switch_it(cli, false);
}

const struct cli_command cmd_spine_enable = {
	.words = "spine enable",
	.summary = "switch an extension on, also one that was ejected",
	.args = name_arg,
	.options = where_options,
	.json = true,
	.examples = (const char *const[]){ "prickle spine enable filter --dev eth0", NULL },
	.run = run_enable,
};

const struct cli_command cmd_spine_disable = {
	.words = "spine disable",
	.summary = "switch an extension off without removing it",
	.description = "Its frames go on as if it were not there; those of a fail-closed one are dropped.",
	.args = name_arg,
	.options = where_options,
	.json = true,
	.examples = (const char *const[]){ "prickle spine disable filter --dev eth0", NULL },
	.run = run_disable,
};
