/*
 * `prickle spine balance ...`: services and back ends of the load balancer, spine/extensions/balance.h.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/spine_maps.h"
#include "spine/extensions/balance.h"

#define OUTPUT_BYTES (4u << 20)
#define DISCARD_PORT 9			/* RFC 863: a datagram there finds the route and wakes the neighbour table */

static const struct cli_option plain_options[] = { SPINE_MAPS_OPTIONS("balancer"), { 0 } };
static const struct cli_option add_options[] = {
	SPINE_MAPS_OPTIONS("balancer"),
	{ "tunnel", 't', NULL, "send packets in an outer IP header (IPIP), not by MAC address" },
	{ "by-client", '\0', NULL, "all flows of a client go to one back end" }, { 0 }
};
static const struct cli_option backend_options[] = {
	SPINE_MAPS_OPTIONS("balancer"),
	{ "weight", 'w', "N", "share of new flows, 1 to 100; 1 when not given" },
	{ "source", '\0', "ADDRESS", "outer source address of tunnels instead of the one that the route gives" }, { 0 }
};

#define ARG_SERVICE { "SERVICE", "tcp/ADDRESS:PORT or udp/ADDRESS:PORT; IPv6 in brackets" }
#define ARG_BACKEND { "ADDRESS", "of the back end" }
static const struct cli_arg service_args[] = { ARG_SERVICE, { 0 } };
static const struct cli_arg backend_args[] = { ARG_SERVICE, ARG_BACKEND, { 0 } };
static const struct cli_arg health_args[] = {
	ARG_SERVICE, ARG_BACKEND, { "HEALTH", "up, down (its flows move) or drain (it gets no new ones)" }, { 0 }
};

static const char *const healths[] = { "down", "up", "drain" };

/* One run of a command: open maps, what the arguments name. */
struct run {
	struct cli *cli;
	struct spine_maps maps;
	struct balance b;
	struct balancer_vip vip;
	uint32_t service;
};

static int fail(struct cli *cli, int rc, const struct errmsg *why)
{
	return cli_fail(cli, spine_exit(rc), "%s", why->text);
}

/* CLI_OK; whatever it returns, end with run_done. */
static int run_begin(struct run *r, struct cli *cli, bool change)
{
	struct errmsg why;
	int code, rc;

	*r = (struct run){ .cli = cli };
	r->b = (struct balance){ -1, -1, -1, -1, -1, -1, -1, -1, 0 };
	code = spine_maps_open(cli, "balancer", change, &r->maps);
	if (code != CLI_OK)
		return code;
	rc = balance_open(r->maps.directory, &r->b, &why);
	return rc == 0 ? CLI_OK : fail(cli, rc, &why);
}

static void run_done(struct run *r)
{
	balance_close(&r->b);
	spine_maps_close(&r->maps);
}

/* The same, and the first argument names a service that exists. */
static int run_service(struct run *r, struct cli *cli, bool change)
{
	struct errmsg why;
	int code = run_begin(r, cli, change), rc;

	if (code != CLI_OK)
		return code;
	if (!balance_vip(slice_str(cli_arg(cli, 0)), &r->vip, &why))
		return cli_fail(cli, CLI_USAGE, "%s", why.text);
	rc = balance_find(&r->b, &r->vip, &why);
	if (rc < 0)
		return fail(cli, rc, &why);
	r->service = (uint32_t)rc;
	return CLI_OK;
}

static int say(struct cli *cli, int rc, const struct errmsg *why, const char *text)
{
	AUTO_BUF struct buf out = BUF_INIT(OUTPUT_BYTES);

	if (rc != 0)
		return fail(cli, rc, why);
	buf_printf(&out, cli_json(cli) ? "{\"ok\": true, \"done\": \"%s\"}\n" : "%s\n", text);
	return cli_print(cli, &out);
}

static int add(struct cli *cli)
{
	struct errmsg why = { 0 };
	struct run r;
	int code = run_begin(&r, cli, true), rc;

	if (code == CLI_OK && !balance_vip(slice_str(cli_arg(cli, 0)), &r.vip, &why))
		code = cli_fail(cli, CLI_USAGE, "%s", why.text);
	if (code == CLI_OK) {
		rc = balance_add(&r.b, &r.vip, cli_has(cli, "tunnel") ? BALANCER_TUNNEL : BALANCER_DIRECT,
				 cli_has(cli, "by-client"), &why);
		code = say(cli, rc, &why, "service added; it needs back ends now");
	}
	run_done(&r);
	return code;
}

static int delete(struct cli *cli)
{
	struct errmsg why = { 0 };
	struct run r;
	int code = run_service(&r, cli, true);

	if (code == CLI_OK)
		code = say(cli, balance_delete(&r.b, r.service, &why), &why, "service deleted");
	run_done(&r);
	return code;
}

/*
 * From which address the device's namespace reaches the back end; and a datagram to its discard port, so
 * that the neighbour table knows its MAC before the first flow comes.
 */
static int reach(const struct spine_maps *m, const uint32_t to[4], uint32_t from[4], struct errmsg *why)
{
	struct sockaddr_in in4 = { .sin_family = AF_INET, .sin_port = htons(DISCARD_PORT) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(DISCARD_PORT) };
	bool v4 = balance_is_v4(to);
	struct sockaddr *address = v4 ? (struct sockaddr *)&in4 : (struct sockaddr *)&in6;
	socklen_t bytes = v4 ? sizeof(in4) : sizeof(in6);
	int rc = spine_maps_enter(m, why);

	if (rc != 0)
		return rc;
	in4.sin_addr.s_addr = to[3];
	memcpy(&in6.sin6_addr, to, 16);
	AUTO_FD int fd = socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, address, bytes) != 0 || getsockname(fd, address, &bytes) != 0)
		return errmsg_set(why, -errno, "find the way to the back end; is there a route?");
	(void)!write(fd, "", 1);
	memset(from, 0, 16);
	if (v4) {
		from[2] = htonl(0xffff);
		from[3] = in4.sin_addr.s_addr;
	} else {
		memcpy(from, &in6.sin6_addr, 16);
	}
	return 0;
}

static int backend_source(struct run *r, const uint32_t address[4], uint32_t source[4])
{
	const char *given = cli_value(r->cli, "source");
	struct errmsg why;
	int rc = reach(&r->maps, address, source, &why);

	if (given != NULL && !balance_address(slice_str(given), source))
		return cli_fail(r->cli, CLI_USAGE, "--source '%s' is no address", given);
	if (given != NULL && balance_is_v4(source) != balance_is_v4(address))
		return cli_fail(r->cli, CLI_USAGE, "--source and the back end must be of one family");
	if (given == NULL && rc != 0)
		return fail(r->cli, rc, &why);
	return CLI_OK;
}

static int backend_add(struct cli *cli)
{
	uint32_t address[4], source[4] = { 0 };
	struct errmsg why = { 0 };
	uint64_t weight = 1;
	struct run r;
	int code = run_service(&r, cli, true);

	if (code == CLI_OK)
		code = cli_number(cli, "weight", 1, BALANCER_WEIGHT_MAX, 1, &weight);
	if (code == CLI_OK && !balance_address(slice_str(cli_arg(cli, 1)), address))
		code = cli_fail(cli, CLI_USAGE, "'%s' is no address", cli_arg(cli, 1));
	if (code == CLI_OK)
		code = backend_source(&r, address, source);
	if (code == CLI_OK)
		code = say(cli, balance_add_backend(&r.b, r.service, address, source, (uint32_t)weight, &why), &why,
			   "back end added");
	run_done(&r);
	return code;
}

/* The back end of the second argument, or an error code that is said. */
static int named_backend(struct run *r, uint32_t *index)
{
	uint32_t address[4];
	struct errmsg why;
	int rc;

	if (!balance_address(slice_str(cli_arg(r->cli, 1)), address))
		return cli_fail(r->cli, CLI_USAGE, "'%s' is no address", cli_arg(r->cli, 1));
	rc = balance_find_backend(&r->b, r->service, address, &why);
	if (rc < 0)
		return fail(r->cli, rc, &why);
	*index = (uint32_t)rc;
	return CLI_OK;
}

static int backend_delete(struct cli *cli)
{
	struct errmsg why = { 0 };
	uint32_t index = 0;
	struct run r;
	int code = run_service(&r, cli, true);

	if (code == CLI_OK)
		code = named_backend(&r, &index);
	if (code == CLI_OK)
		code = say(cli, balance_delete_backend(&r.b, r.service, index, &why), &why, "back end deleted");
	run_done(&r);
	return code;
}

static int health(struct cli *cli)
{
	struct errmsg why = { 0 };
	uint32_t index = 0;
	size_t value = 0;
	struct run r;
	int code = run_service(&r, cli, true);

	while (value < ARRAY_LEN(healths) && strcmp(healths[value], cli_arg(cli, 2)) != 0)
		value++;
	if (code == CLI_OK && value == ARRAY_LEN(healths))
		code = cli_fail(cli, CLI_USAGE, "'%s': a back end is up, down or drain", cli_arg(cli, 2));
	if (code == CLI_OK)
		code = named_backend(&r, &index);
	if (code == CLI_OK)
		code = say(cli, balance_set_health(&r.b, index, (enum balancer_health)value, &why), &why,
			   "health set");
	run_done(&r);
	return code;
}

/* --- show ----------------------------------------------------------------------------------------- */

/* Rows as in enum balancer_event. */
static const char *const event_names[BALANCER_EVENTS] = {
	"no_backend", "no_route", "no_neighbour", "too_big", "too_big_quiet", "no_port", "lost_fragment",
	"icmp_errors", "moved", "fault"
};

static json_t *show_backend(const struct balance *b, uint32_t index, const struct balancer_backend *e)
{
	char address[BALANCE_NAME_BYTES];
	struct balancer_count n;

	balance_address_text(e->address, address);
	balance_backend_count(b, index, &n);
	return json_pack("{s:s, s:i, s:i, s:i, s:s, s:I, s:I, s:I}", "address", address, "index", (int)index, "serial",
			 (int)e->serial, "weight", (int)e->weight, "health", healths[balance_health(b, index)],
			 "flows", (json_int_t)n.flows, "packets", (json_int_t)n.packets, "bytes", (json_int_t)n.bytes);
}

static json_t *show_service(const struct balance *b, uint32_t index, const struct balancer_service *s)
{
	char name[BALANCE_NAME_BYTES];
	struct balancer_backend e;
	struct balancer_count n;
	json_t *list = json_array();

	balance_vip_text(&s->vip, name);
	balance_service_count(b, index, &n);
	for (uint32_t i = 1; i < BALANCER_BACKENDS_MAX; i++)
		if (balance_backend(b, i, &e) && e.service == index)
			json_array_append_new(list, show_backend(b, i, &e));
	return json_pack("{s:s, s:s, s:b, s:I, s:I, s:I, s:o}", "service", name, "method",
			 s->method == BALANCER_TUNNEL ? "tunnel" : "direct", "by_client",
			 (s->flags & BALANCER_BY_CLIENT) != 0, "flows", (json_int_t)n.flows, "packets",
			 (json_int_t)n.packets, "bytes", (json_int_t)n.bytes, "backends", list);
}

static void show_text(struct buf *out, const json_t *all)
{
	const json_t *s, *e, *value;
	const char *key;
	size_t i, k;

	json_array_foreach(json_object_get(all, "services"), i, s) {
		buf_printf(out, "%s (%s%s): %lld flows, %lld packets\n",
			   json_string_value(json_object_get(s, "service")),
			   json_string_value(json_object_get(s, "method")),
			   json_is_true(json_object_get(s, "by_client")) ? ", by client" : "",
			   (long long)json_integer_value(json_object_get(s, "flows")),
			   (long long)json_integer_value(json_object_get(s, "packets")));
		json_array_foreach(json_object_get(s, "backends"), k, e)
			buf_printf(out, "    %-39s %-5s weight %-3lld %10lld flows %12lld packets\n",
				   json_string_value(json_object_get(e, "address")),
				   json_string_value(json_object_get(e, "health")),
				   (long long)json_integer_value(json_object_get(e, "weight")),
				   (long long)json_integer_value(json_object_get(e, "flows")),
				   (long long)json_integer_value(json_object_get(e, "packets")));
	}
	json_object_foreach(json_object_get((json_t *)(uintptr_t)all, "events"), key, value)
		if (json_integer_value(value) != 0)
			buf_printf(out, "%s: %lld\n", key, (long long)json_integer_value(value));
	if (out->len == 0)
		buf_adds(out, "no services; `prickle spine balance add` makes one\n");
}

static int show(struct cli *cli)
{
	AUTO_BUF struct buf out = BUF_INIT(OUTPUT_BYTES);
	struct balancer_service s;
	json_t *services, *events, *all;
	struct run r;
	int code = run_begin(&r, cli, false);

	if (code != CLI_OK) {
		run_done(&r);
		return code;
	}
	services = json_array();
	events = json_object();
	for (uint32_t i = 0; i < BALANCER_SERVICES_MAX; i++)
		if (balance_service(&r.b, i, &s))
			json_array_append_new(services, show_service(&r.b, i, &s));
	for (int i = 0; i < BALANCER_EVENTS; i++)
		json_object_set_new(events, event_names[i],
				    json_integer((json_int_t)balance_event(&r.b, (enum balancer_event)i)));
	all = json_pack("{s:o, s:o}", "services", services, "events", events);
	if (cli_json(cli)) {
		char *text = json_dumps(all, JSON_INDENT(2));

		buf_adds(&out, text != NULL ? text : "{}");
		buf_addc(&out, '\n');
		free(text);
	} else {
		show_text(&out, all);
	}
	json_decref(all);
	run_done(&r);
	return cli_print(cli, &out);
}

const struct cli_command cmd_spine_balance_add = {
	.words = "spine balance add",
	.summary = "give the load balancer a service",
	.description = "A service is a virtual address, protocol and port. Back ends must hold the address (on lo, "
		       "without answering ARP for it) and answer clients themselves; with --tunnel they take "
		       "packets out of IPIP first. This machine must have the address, too, or be routed it; "
		       "forwarding must be on for the device.",
	.args = service_args,
	.options = add_options,
	.json = true,
	.examples = (const char *const[]){ "prickle spine balance add tcp/192.0.2.10:80 --dev eth0", NULL },
	.run = add,
};

const struct cli_command cmd_spine_balance_delete = {
	.words = "spine balance delete",
	.summary = "take a service and its back ends from the load balancer",
	.args = service_args,
	.options = plain_options,
	.json = true,
	.examples = (const char *const[]){ "prickle spine balance delete tcp/192.0.2.10:80 --dev eth0", NULL },
	.run = delete,
};

const struct cli_command cmd_spine_balance_backend_add = {
	.words = "spine balance backend add",
	.summary = "give a service a back end, or change its weight",
	.description = "Established flows stay where they are; of new ones the back end gets its share.",
	.args = backend_args,
	.options = backend_options,
	.json = true,
	.examples = (const char *const[]){
		"prickle spine balance backend add tcp/192.0.2.10:80 192.0.2.21 --dev eth0", NULL },
	.run = backend_add,
};

const struct cli_command cmd_spine_balance_backend_delete = {
	.words = "spine balance backend delete",
	.summary = "take a back end from a service; its flows move to others",
	.args = backend_args,
	.options = plain_options,
	.json = true,
	.examples = (const char *const[]){
		"prickle spine balance backend delete tcp/192.0.2.10:80 192.0.2.21 --dev eth0", NULL },
	.run = backend_delete,
};

const struct cli_command cmd_spine_balance_health = {
	.words = "spine balance health",
	.summary = "say how a back end is: up, down or drain",
	.description = "The extension's message set_health does the same for programs that watch the back ends.",
	.args = health_args,
	.options = plain_options,
	.json = true,
	.examples = (const char *const[]){
		"prickle spine balance health tcp/192.0.2.10:80 192.0.2.21 drain --dev eth0", NULL },
	.run = health,
};

const struct cli_command cmd_spine_balance_show = {
	.words = "spine balance show",
	.summary = "list services, back ends and counters of the load balancer",
	.options = plain_options,
	.json = true,
	.examples = (const char *const[]){ "prickle spine balance show --dev eth0", NULL },
	.run = show,
};
