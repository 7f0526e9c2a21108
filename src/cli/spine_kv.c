/*
 * `prickle spine kv ...`: the key-value cache in front of memcached, spine/extensions/kv_host.h.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <net/if.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/datafile.h"
#include "cli/spine_maps.h"
#include "spine/device.h"
#include "spine/extensions/kv_host.h"

#define OUTPUT_BYTES (1u << 20)

static const struct cli_option plain_options[] = { SPINE_MAPS_OPTIONS("kv"), { 0 } };
static const struct cli_option start_options[] = {
	SPINE_MAPS_OPTIONS("kv"),
	{ "ttl", 't', "MS", "an entry lives so long at most, 1 to 60000; 1000 when not given" },
	{ "clsact", '\0', NULL, "follow replies by a filter of the clsact qdisc, even where the kernel has tcx" }, { 0 }
};
static const struct cli_arg start_args[] = {
	{ "ADDRESS", "of the server on this machine, IPv4 or IPv6; several are one server", .many = true }, { 0 }
};

/* One run of a command: open maps. Whatever run_begin returns, end with run_done. */
struct run {
	struct spine_maps maps;
	struct kv_host host;
};

static int fail(struct cli *cli, int rc, const struct errmsg *why)
{
	return cli_fail(cli, spine_exit(rc), "%s", why->text);
}

static int run_begin(struct run *r, struct cli *cli, bool change)
{
	const char *device = cli_value(cli, "dev");
	struct errmsg why;
	char link[300];
	int code, rc;

	*r = (struct run){ .host = { -1, -1, -1, -1, .cpus = 0 } };
	code = spine_maps_open(cli, "kv", change, &r->maps);
	if (code != CLI_OK)
		return code;
	if (device == NULL)
		return cli_fail(cli, CLI_USAGE, "which device? Say --dev DEVICE");
	rc = r->maps.device == NULL ? spine_maps_enter(&r->maps, &why) : 0;
	if (rc != 0)
		return fail(cli, rc, &why);
	(void)snprintf(link, sizeof(link), "%s/%sreply", r->maps.directory, r->maps.device != NULL ? "../" : "");
	uint32_t index = r->maps.device != NULL ? spine_device_ifindex(r->maps.device) : if_nametoindex(device);
	if (index == 0)
		return cli_fail(cli, CLI_NOT_FOUND, "no interface '%s'; `ip link` names them", device);
	rc = kv_host_open(r->maps.directory, link, index, &r->host, &why);
	return rc == 0 ? CLI_OK : fail(cli, rc, &why);
}

static void run_done(struct run *r)
{
	kv_host_close(&r->host);
	spine_maps_close(&r->maps);
}

static int say(struct cli *cli, const char *text)
{
	AUTO_BUF struct buf out = BUF_INIT(OUTPUT_BYTES);

	buf_printf(&out, cli_json(cli) ? "{\"ok\": true, \"done\": \"%s\"}\n" : "%s\n", text);
	return cli_print(cli, &out);
}

static int start_host(struct cli *cli, const struct kv_host *h, uint32_t ttl_ms)
{
	uint32_t address[4];
	char object[PATH_MAX];
	struct errmsg why;
	int rc;

	if (!cli_data_file("src/spine/extensions/kv_reply.o", "spine/kv_reply.o", object))
		return cli_fail(cli, CLI_NOT_FOUND, "'%s' is not there; it is installed with the program", object);
	for (size_t i = 0; i < cli_arg_count(cli); i++)
		if (!kv_host_address(cli_arg(cli, i), address))
			return cli_fail(cli, CLI_USAGE, "'%s' is no address", cli_arg(cli, i));
	for (size_t i = 0; i < cli_arg_count(cli); i++) {
		rc = kv_host_address(cli_arg(cli, i), address) ? kv_host_add_server(h, address, &why) : -EINVAL;
		if (rc != 0)
			return fail(cli, rc, &why);
	}
	rc = kv_host_start(h, object, ttl_ms, cli_has(cli, "clsact"), &why);
	return rc == 0 ? CLI_OK : fail(cli, rc, &why);
}

static int start(struct cli *cli)
{
	uint64_t ttl_ms = KV_TTL_MS;
	struct run r;
	int code = run_begin(&r, cli, true);

	if (code == CLI_OK)
		code = cli_number(cli, "ttl", 1, KV_TTL_MS_MAX, KV_TTL_MS, &ttl_ms);
	if (code == CLI_OK)
		code = start_host(cli, &r.host, (uint32_t)ttl_ms);
	run_done(&r);
	return code == CLI_OK ? say(cli, "the cache answers") : code;
}

static int stop(struct cli *cli)
{
	struct errmsg why;
	struct run r;
	int code = run_begin(&r, cli, true);

	if (code == CLI_OK) {
		int rc = kv_host_stop(&r.host, &why);

		code = rc == 0 ? CLI_OK : fail(cli, rc, &why);
	}
	run_done(&r);
	return code == CLI_OK ? say(cli, "the cache is off; everything passes to the server") : code;
}

/* --- show ----------------------------------------------------------------------------------------- */

/* Rows as in enum kv_count. */
static const char *const count_names[KV_COUNTS] = {
	"hits", "misses", "no_room", "writes", "others", "fills", "not_filled", "flushes", "lost_connections"
};

static json_t *show_servers(const struct kv_host *h)
{
	uint32_t servers[KV_SERVERS][4];
	char text[INET6_ADDRSTRLEN];
	json_t *list = json_array();

	for (size_t i = 0, n = kv_host_servers(h, servers); i < n; i++) {
		const uint32_t *a = servers[i];
		bool v4 = a[0] == 0 && a[1] == 0 && a[2] == htonl(0xffff);

		if (inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? &a[3] : a, text, sizeof(text)) != NULL)
			json_array_append_new(list, json_string(text));
	}
	return list;
}

static void show_text(struct buf *out, const json_t *all)
{
	const json_t *value;
	const char *key;
	size_t i;

	if (!json_is_true(json_object_get(all, "answers")))
		buf_adds(out, "off; `prickle spine kv start` switches it on\n");
	else
		buf_printf(out, "on, entries live %lld ms at most; replies are followed by %s\n",
			   (long long)json_integer_value(json_object_get(all, "ttl_ms")),
			   json_string_value(json_object_get(all, "follows")));
	json_array_foreach(json_object_get(all, "servers"), i, value)
		buf_printf(out, "server: %s\n", json_string_value(value));
	json_object_foreach(json_object_get((json_t *)(uintptr_t)all, "counts"), key, value)
		buf_printf(out, "%s: %lld\n", key, (long long)json_integer_value(value));
}

static json_t *show_all(const struct kv_host *h)
{
	const char *follows = kv_host_follows(h);
	json_t *counts = json_object();
	struct kv_settings s;

	kv_host_settings(h, &s);
	for (int i = 0; i < KV_COUNTS; i++)
		json_object_set_new(counts, count_names[i],
				    json_integer((json_int_t)kv_host_count(h, (enum kv_count)i)));
	/* Without the program on the way out nothing is filled, so that nothing is answered. */
	return json_pack("{s:b, s:I, s:s?, s:o, s:o}", "answers", s.ttl_ns != 0 && follows != NULL, "ttl_ms",
			 (json_int_t)(s.ttl_ns / 1000000), "follows", follows, "servers", show_servers(h), "counts",
			 counts);
}

static int show(struct cli *cli)
{
	AUTO_BUF struct buf out = BUF_INIT(OUTPUT_BYTES);
	struct run r;
	int code = run_begin(&r, cli, false);

	if (code == CLI_OK) {
		json_t *all = show_all(&r.host);
		char *text = json_dumps(all, JSON_INDENT(2));

		if (cli_json(cli))
			buf_printf(&out, "%s\n", text != NULL ? text : "{}");
		else
			show_text(&out, all);
		free(text);
		json_decref(all);
	}
	run_done(&r);
	return code == CLI_OK ? cli_print(cli, &out) : code;
}

const struct cli_command cmd_spine_kv_start = {
	.words = "spine kv start",
	.summary = "answer memcached's reads on the device",
	.description = "The extension 'kv' must be installed on the device. From now on `get KEY` over UDP to port 11211 of "
		       "the given addresses is answered before it reaches the server, if the value is known and no "
		       "write to it was acknowledged since; everything else passes to the server, whose replies fill the "
		       "cache. Keys up to 250 bytes, replies up to 1024.\n\n"
		       "Writes that do not pass this interface, and values that expire, are seen after --ttl at the "
		       "latest. TCP connections that only read or only write, one request after the other, are followed; "
		       "replies on others, to requests that are not understood, and to noreply void the whole cache. After a "
		       "replace of the extension give this command again.",
	.args = start_args,
	.options = start_options,
	.json = true,
	.examples = (const char *const[]){ "prickle spine kv start 192.0.2.10 2001:db8::10 --dev eth0", NULL },
	.run = start,
};

const struct cli_command cmd_spine_kv_stop = {
	.words = "spine kv stop",
	.summary = "let all requests pass to the server again",
	.options = plain_options,
	.json = true,
	.examples = (const char *const[]){ "prickle spine kv stop --dev eth0", NULL },
	.run = stop,
};

const struct cli_command cmd_spine_kv_show = {
	.words = "spine kv show",
	.summary = "show the key-value cache's state and counters",
	.options = plain_options,
	.json = true,
	.examples = (const char *const[]){ "prickle spine kv show --dev eth0", NULL },
	.run = show,
};
