/*
 * `prickle spine exec`: an unmodified program attaches its XDP program, and gets a slot beside others.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "cli/datafile.h"
#include "cli/spine.h"
#include "spine/exec/launch.h"
#include "spine/host.h"

#define ARENA_BYTES (64u << 20)
#define PRELOAD_NAME "libprickle-spine-exec.so"

struct adoption {
	struct spine_where where;
	struct adopt_request request;	/* all but the program */
	char name[SPINE_NAME_BYTES];
};

static int open_device(const struct adoption *a, enum spine_open_mode mode, struct spine_device **d, struct errmsg *why)
{
	int err = spine_device_open(&a->where, mode, d, why);

	if (err == 0 && spine_device_notice(*d)[0] != '\0')
		fprintf(stderr, "prickle spine exec: %s\n", spine_device_notice(*d));
	return err;
}

static int place(const struct adoption *a, struct spine_device *d, struct adopt_request *request, struct spine_change *c)
{
	int err = -ENOENT;

	if (spine_device_find(d, a->name) != NULL) {
		err = spine_readopt(d, a->name, request->prog_fd, request->accept_unbounded, c);
		if (err == -EXDEV)
			err = spine_remove(d, a->name, &c->why);
		else
			return err;
		if (err != 0)
			return err;
	}
	return spine_adopt(d, request, c);
}

static int attach(void *arg, int prog_fd, struct errmsg *why)
{
	const struct adoption *a = arg;
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	struct spine_change change = { .arena = &arena };
	struct adopt_request request = a->request;
	struct spine_device *d;
	int err = open_device(a, SPINE_CHANGE, &d, why);

	if (err != 0)
		return err;
	request.prog_fd = prog_fd;
	request.name = a->name;
	err = place(a, d, &request, &change);
	if (err != 0)
		*why = change.why;
	else if (spine_device_notice(d)[0] != '\0')
		fprintf(stderr, "prickle spine exec: %s\n", spine_device_notice(d));
	spine_device_close(d);
	return err;
}

static int detach(void *arg, struct errmsg *why)
{
	const struct adoption *a = arg;
	struct spine_device *d;
	int err = open_device(a, SPINE_CHANGE, &d, why);

	if (err != 0)
		return err;
	err = spine_remove(d, a->name, why);
	spine_device_close(d);
	return err;
}

static uint32_t prog_id(void *arg)
{
	const struct adoption *a = arg;
	const struct spine_record *r;
	struct spine_device *d;
	struct errmsg why;
	uint32_t id = 0;

	if (spine_device_open(&a->where, SPINE_LOOK, &d, &why) != 0)
		return 0;
	r = spine_device_find(d, a->name);
	if (r != NULL && r->source == SOURCE_ADOPTED)
		id = r->prog_id;
	spine_device_close(d);
	return id;
}

static uint32_t attach_mode(void *arg)
{
	const struct adoption *a = arg;
	struct spine_device *d;
	struct errmsg why;
	uint32_t mode = XDP_ATTACHED_DRV;

	if (spine_device_open(&a->where, SPINE_LOOK, &d, &why) != 0)
		return mode;
	if (spine_device_meta(d)->mode == ATTACH_GENERIC)
		mode = XDP_ATTACHED_SKB;
	spine_device_close(d);
	return mode;
}

static uint32_t id_of(void *arg, int prog_fd)
{
	struct bpf_prog_info info = { 0 };
	uint32_t bytes = sizeof(info);

	return bpf_obj_get_info_by_fd(prog_fd, &info, &bytes) == 0 ? info.id : 0;
}

static const struct broker_ops ops = { attach, detach, prog_id, attach_mode, id_of };

/* "/usr/sbin/xdp-filter" -> "xdp-filter"; what no extension may be called becomes a dash. */
static void name_of_command(const char *command, char out[SPINE_NAME_BYTES])
{
	const char *base = strrchr(command, '/');
	size_t n = 0;

	for (base = base != NULL ? base + 1 : command; *base != '\0' && n + 1 < SPINE_NAME_BYTES; base++) {
		uint8_t c = ascii_lower((uint8_t)*base);

		if (ascii_alpha(c) || ascii_digit(c))
			out[n++] = (char)c;
		else if (n > 0)
			out[n++] = '-';
	}
	out[n] = '\0';
	if (n == 0)
		memcpy(out, "command", sizeof("command"));
}

/* What the options say; CLI_OK or complained. */
static int read_options(struct cli *cli, struct adoption *a)
{
	const char *name = cli_value(cli, "name"), *match = cli_value(cli, "match");
	uint64_t order;
	uint32_t verdicts = 0;
	int code = cli_number(cli, "order", 0, 1000000, 1000, &order);

	*a = (struct adoption){ 0 };
	if (code == CLI_OK)
		code = spine_cli_where(cli, &a->where);
	if (code == CLI_OK && cli_has(cli, "verdicts"))
		code = spine_cli_verdicts(cli, "verdicts", &verdicts);
	if (code != CLI_OK)
		return code;
	*a = (struct adoption){
		.where = a->where,
		.request = { .match = match != NULL ? match : "", .order = (int64_t)order, .terminal = cli_has(cli, "terminal"),
			     .accept_unbounded = cli_has(cli, "accept-unbounded"),
			     .verdicts = verdicts },
	};
	if (name != NULL && (strlen(name) == 0 || strlen(name) >= sizeof(a->name)))
		return cli_fail(cli, CLI_USAGE, "--name has 1 to %zu bytes", sizeof(a->name) - 1);
	if (name != NULL)
		memcpy(a->name, name, strlen(name) + 1);
	else
		name_of_command(cli_arg(cli, 0), a->name);
	return CLI_OK;
}

static int find_interface(const struct adoption *a, int *netns, uint32_t *ifindex, struct errmsg *why)
{
	AUTO_FD int home = host_netns(NULL, why);
	int err;

	*netns = -1;
	if (home < 0)
		return home;
	if (a->where.netns != NULL) {
		*netns = host_netns(a->where.netns, why);
		if (*netns < 0)
			return *netns;
		err = host_netns_enter(*netns, why);
		if (err != 0)
			return err;
	}
	*ifindex = if_nametoindex(a->where.device);
	err = *ifindex != 0 ? 0 : errmsg_say(why, -ENODEV, "there is no interface '%s'%s%s", a->where.device,
					     a->where.netns != NULL ? " in namespace " : "",
					     a->where.netns != NULL ? a->where.netns : "");
	if (a->where.netns != NULL && host_netns_enter(home, NULL) != 0)
		err = errmsg_set(why, -errno, "return from namespace '%s'", a->where.netns);
	return err;
}

static int spine_exec(struct cli *cli)
{
	size_t count = cli_arg_count(cli);
	AUTO_FREE char **argv = calloc(count + 1, sizeof(*argv));
	char preload[PATH_MAX];
	struct exec_launch launch = { .argv = argv, .preload = preload, .netns = -1, .bpffs = -1 };
	struct adoption a;
	struct errmsg why;
	int status = 0, err, code = read_options(cli, &a);

	if (code != CLI_OK)
		return code;
	if (argv == NULL)
		return cli_fail(cli, CLI_FAILED, "no memory");
	for (size_t i = 0; i < count; i++)
		argv[i] = (char *)(uintptr_t)cli_arg(cli, i);
	if (!cli_data_file("src/spine/exec/" PRELOAD_NAME, PRELOAD_NAME, preload))
		return cli_fail(cli, CLI_FAILED, "'%s', which belongs to this program, is missing", preload);
	err = find_interface(&a, &launch.netns, &launch.ifindex, &why);
	/* The program may want bpffs for its own maps, which is there as soon as we have made our place in it. */
	AUTO_FD int place_in_bpffs = err == 0 ? host_bpffs(true, &why) : -1;
	if (err == 0 && place_in_bpffs < 0)
		err = place_in_bpffs;
	AUTO_FD int bpffs = err == 0 ? host_bpffs_clone() : -1;
	launch.bpffs = bpffs;
	if (err == 0)
		err = exec_launch(&launch, &ops, &a, &status, &why);
	if (launch.netns >= 0)
		close(launch.netns);
	if (err != 0)
		return spine_cli_fail(cli, err, &why);
	return status;
}

const struct cli_command cmd_spine_exec = {
	.words = "spine exec",
	.summary = "run a program whose XDP program becomes an extension",
	.description = "The program is not changed and not asked: when it attaches an XDP program to the interface, that becomes "
		       "an adopted extension, named after the program, beside all others; when it asks what runs there, it "
		       "finds its own; when it detaches, its extension is removed. Programs that use libbpf or libxdp are seen "
		       "through a preloaded library, static ones that make BPF links by their system calls; programs that "
		       "speak netlink by themselves are refused. The exit code is the program's.\n\n"
		       "An extension that was attached by a link goes with the program, as the link would; else it stays until "
		       "it is detached or removed.",
	.args = (const struct cli_arg[]){
		{ "COMMAND", "the program and its arguments, after --", .many = true, .complete = CLI_FILE }, { 0 } },
	.options = (const struct cli_option[]){
		CLI_OPTION_DEV, CLI_OPTION_NETNS,
		{ "match", 'm', "RULE", "the packets that it gets, in the language of tcpdump; all without it" },
		{ "name", '\0', "NAME", "name of the extension" },
		{ "order", '\0', "K", "lower runs first; 1000 without it" },
		{ "terminal", '\0', NULL, "its verdict is final and unmasked: saves some ns a packet" },
		{ "verdicts", '\0', "LIST", "what it may return: pass,drop,tx,redirect,aborted; pass,drop,aborted without it" },
		{ "accept-unbounded", '\0', NULL, "take it even if its running time cannot be bounded" }, { 0 } },
	.examples = (const char *const[]){
		"prickle spine exec --dev eth0 -- xdp-filter load eth0 -f tcp,udp",
		"prickle spine exec --dev eth0 -- xdp-filter port 80",
		"prickle spine exec --dev eth0 --match 'udp port 53' -- ./my-xdp-loader eth0", NULL },
	.run = spine_exec,
};
