/*
 * `prickle spine fanout`: streams and receivers of the fan-out extension, by its message handlers. A person gives
 * addresses; the port, the MAC addresses and the next hop come from the kernel's tables in the device's network
 * namespace, in which we are while the device is open.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <prickle/libspine.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/spine.h"
#include "spine/extensions/fanout.h"
#include "spine/pins.h"

#define DISCARD_PORT 9			/* RFC 863: a datagram there wakes the neighbour table */
#define NEIGHBOUR_TURNS 50
#define NEIGHBOUR_TURN_MS 20
#define REPLY_BYTES 4096
enum { ADD_STREAM = 1, REMOVE_STREAM, JOIN, LEAVE };

struct address {
	int family;			/* AF_INET, AF_INET6 */
	uint8_t bytes[16];
	uint32_t size;
};

struct fanout {
	struct spine_device *device;
	int dir;			/* of the extension in bpffs */
};

static bool parse_address(const char *text, struct address *out)
{
	*out = (struct address){ .family = AF_INET, .size = 4 };
	if (inet_pton(AF_INET, text, out->bytes) == 1)
		return true;
	*out = (struct address){ .family = AF_INET6, .size = 16 };
	return inet_pton(AF_INET6, text, out->bytes) == 1;
}

/* ---- the kernel's tables ---- */

struct request {
	struct nlmsghdr head;
	union {
		struct rtmsg route;
		struct ndmsg neighbour;
	} body;				/* both have 12 bytes */
	struct rtattr attr;
	uint8_t address[16];
};
_Static_assert(sizeof(struct rtmsg) == 12 && sizeof(struct ndmsg) == 12, "one layout for both requests");

/* One question, one answer: its attributes, with `body` copied. A negative errno as the kernel says. */
static int ask(struct request *r, const struct address *to, uint8_t reply[REPLY_BYTES], struct slice *attrs)
{
	AUTO_FD int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct nlmsghdr head;
	size_t skip = sizeof(head) + sizeof(r->body);
	int err;

	r->head.nlmsg_len = (uint32_t)(skip + sizeof(r->attr) + to->size);
	r->head.nlmsg_flags = NLM_F_REQUEST;
	r->attr.rta_len = (uint16_t)(sizeof(r->attr) + to->size);
	memcpy(r->address, to->bytes, sizeof(r->address));
	if (s < 0 || send(s, r, r->head.nlmsg_len, 0) < 0)
		return -errno;
	ssize_t n = recv(s, reply, REPLY_BYTES, 0);
	if (n < (ssize_t)sizeof(head))
		return n < 0 ? -errno : -EIO;
	memcpy(&head, reply, sizeof(head));
	if (head.nlmsg_type == NLMSG_ERROR && (size_t)n >= sizeof(head) + sizeof(err)) {
		memcpy(&err, reply + sizeof(head), sizeof(err));
		return err < 0 ? err : -EIO;
	}
	if ((size_t)n < skip || head.nlmsg_len < skip || head.nlmsg_len > (size_t)n)
		return -EIO;
	memcpy(&r->body, reply + sizeof(head), sizeof(r->body));
	*attrs = slice_of(reply + skip, head.nlmsg_len - skip);
	return 0;
}

static bool find_attr(struct slice attrs, uint16_t type, size_t bytes, void *out)
{
	struct rtattr a;

	while (attrs.len >= sizeof(a)) {
		memcpy(&a, attrs.ptr, sizeof(a));
		if (a.rta_len < sizeof(a) || a.rta_len > attrs.len)
			return false;
		if (a.rta_type == type && a.rta_len - sizeof(a) == bytes) {
			memcpy(out, attrs.ptr + sizeof(a), bytes);
			return true;
		}
		attrs = slice_from(attrs, MIN(((size_t)a.rta_len + 3) & ~(size_t)3, attrs.len));
	}
	return false;
}

/* The way out to an address, and who is next on it: the address itself or a gateway. */
static int find_route(const struct address *to, uint32_t *ifindex, struct address *next)
{
	struct request r = { .head.nlmsg_type = RTM_GETROUTE, .attr.rta_type = RTA_DST };
	uint8_t reply[REPLY_BYTES];
	struct slice attrs;

	r.body.route = (struct rtmsg){ .rtm_family = (uint8_t)to->family, .rtm_dst_len = (uint8_t)(8 * to->size) };
	int err = ask(&r, to, reply, &attrs);
	if (err != 0)
		return err;
	*next = *to;
	(void)find_attr(attrs, RTA_GATEWAY, to->size, next->bytes);
	return find_attr(attrs, RTA_OIF, sizeof(*ifindex), ifindex) && r.body.route.rtm_type == RTN_UNICAST ? 0 : -ENETUNREACH;
}

static int find_mac(const struct address *next, uint32_t ifindex, uint8_t mac[6])
{
	struct request r = { .head.nlmsg_type = RTM_GETNEIGH, .attr.rta_type = NDA_DST };
	uint8_t reply[REPLY_BYTES];
	struct slice attrs;

	r.body.neighbour = (struct ndmsg){ .ndm_family = (uint8_t)next->family, .ndm_ifindex = (int)ifindex };
	int err = ask(&r, next, reply, &attrs);
	if (err != 0)
		return err;
	return (r.body.neighbour.ndm_state & (NUD_FAILED | NUD_INCOMPLETE | NUD_NOARP)) == 0 && find_attr(attrs, NDA_LLADDR, 6, mac) ?
		0 : -ENOENT;
}

/* Have the kernel ask for the MAC of whoever is next. */
static void wake(const struct address *to)
{
	struct sockaddr_in in4 = { .sin_family = AF_INET, .sin_port = htons(DISCARD_PORT) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(DISCARD_PORT) };
	bool v4 = to->family == AF_INET;
	AUTO_FD int s = socket(to->family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memcpy(v4 ? (void *)&in4.sin_addr : (void *)&in6.sin6_addr, to->bytes, to->size);
	if (s >= 0)
		(void)!sendto(s, "", 1, 0, v4 ? (struct sockaddr *)&in4 : (struct sockaddr *)&in6, v4 ? sizeof(in4) : sizeof(in6));
}

static int resolve(struct cli *cli, const struct address *to, struct fanout_receiver *out)
{
	const char *text = cli_arg(cli, 1);
	struct address next;
	struct ifreq req = { 0 };
	uint32_t ifindex = 0;
	int err = find_route(to, &ifindex, &next);

	if (err != 0)
		return cli_fail(cli, CLI_FAILED, "no way to %s: %s; `ip route get %s` there shows it", text, strerrordesc_np(-err), text);
	for (int i = 0; (err = find_mac(&next, ifindex, out->to_mac)) == -ENOENT && i < NEIGHBOUR_TURNS; i++) {
		if (i == 0)
			wake(to);
		(void)!poll(NULL, 0, NEIGHBOUR_TURN_MS);
	}
	if (err != 0)
		return cli_fail(cli, CLI_TEMPORARY, "nobody answers for %s: is it up? `ip neigh` there shows who does", text);
	AUTO_FD int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s < 0 || if_indextoname(ifindex, req.ifr_name) == NULL || ioctl(s, SIOCGIFHWADDR, &req) != 0)
		return cli_fail(cli, CLI_FAILED, "the interface towards %s: %s", text, strerrordesc_np(errno));
	memcpy(out->from_mac, req.ifr_hwaddr.sa_data, 6);
	out->ifindex = ifindex;
	return CLI_OK;
}

/* ---- the extension ---- */

static int open_fanout(struct cli *cli, struct fanout *out)
{
	const char *name = cli_has(cli, "name") ? cli_value(cli, "name") : "fanout";
	char path[SPINE_NAME_BYTES + 16];
	int code = spine_cli_open(cli, SPINE_LOOK, &out->device);

	out->dir = -1;
	if (code != CLI_OK)
		return code;
	(void)snprintf(path, sizeof(path), "ext/%.*s", SPINE_NAME_BYTES, name);
	if (spine_device_find(out->device, name) != NULL)
		out->dir = pin_dir(spine_device_dir(out->device), path, false);
	return out->dir >= 0 ? CLI_OK : cli_fail(cli, CLI_NOT_FOUND, "no extension '%.40s' on %s; `prickle spine install fanout.o` brings it",
						 name, spine_device_name(out->device));
}

static void close_fanout(struct fanout *f)
{
	if (f->dir >= 0)
		close(f->dir);
	spine_device_close(f->device);
}

static int call(struct cli *cli, const struct fanout *f, uint16_t handler, void *args, size_t bytes, const char *done)
{
	AUTO_BUF struct buf out = BUF_INIT(1024);
	struct spine_channel *c;
	struct spine_error why;

	if (spine_channel_open_at(f->dir, 0, &c, &why) < 0)
		return cli_fail(cli, CLI_FAILED, "%s", why.text);
	int result = spine_call(c, handler, args, bytes);
	spine_channel_close(c);
	switch (result) {
	case 0:
		buf_printf(&out, cli_json(cli) ? "{\"done\":\"%s\"}\n" : "%s\n", done);
		return cli_print(cli, &out);
	case -EINVAL:
		return cli_fail(cli, CLI_USAGE, "streams have numbers from 0 to %d", FANOUT_STREAMS_MAX - 1);
	case -EEXIST:
		return cli_fail(cli, CLI_USAGE, "the number or the address and port belong to a stream already; `show` lists them");
	case -ENOENT:
		return cli_fail(cli, CLI_NOT_FOUND, "no such stream or receiver; `show` lists them");
	case -EBUSY:
		return cli_fail(cli, CLI_USAGE, "the stream has receivers; let them `leave` first");
	default:
		return cli_fail(cli, CLI_FAILED, "the extension says: %s", strerrordesc_np(-result));
	}
}

static int number_arg(struct cli *cli, size_t i, uint64_t most, uint64_t *out)
{
	return slice_u64(slice_str(cli_arg(cli, i)), most, out) ? CLI_OK :
		cli_fail(cli, CLI_USAGE, "'%s' is no number from 0 to %llu", cli_arg(cli, i), (unsigned long long)most);
}

static int address_args(struct cli *cli, struct address *address, uint64_t *port)
{
	if (!parse_address(cli_arg(cli, 1), address))
		return cli_fail(cli, CLI_USAGE, "'%s' is no address", cli_arg(cli, 1));
	if (cli_arg(cli, 2) == NULL)
		return cli_fail(cli, CLI_USAGE, "the address needs a UDP port behind it");
	return number_arg(cli, 2, 65535, port);
}

static int stream_command(struct cli *cli, bool add)
{
	struct fanout_stream s = { 0 };
	struct address address = { 0 };
	uint64_t number, port = 0, ttl = 0;
	struct fanout f;
	int code = number_arg(cli, 0, FANOUT_STREAMS_MAX - 1, &number);

	if (code == CLI_OK && add)
		code = address_args(cli, &address, &port);
	if (code == CLI_OK && add)
		code = cli_number(cli, "ttl", 1, 255, 0, &ttl);
	if (code != CLI_OK)
		return code;
	s.stream = (uint32_t)number;
	s.port = htons((uint16_t)port);
	s.family = address.family == AF_INET6 ? 6 : 4;
	s.ttl = (uint8_t)ttl;
	memcpy(s.address, address.bytes, sizeof(s.address));
	code = open_fanout(cli, &f);
	if (code == CLI_OK)
		code = call(cli, &f, add ? ADD_STREAM : REMOVE_STREAM, &s, sizeof(s), add ? "stream added" : "stream removed");
	close_fanout(&f);
	return code;
}

static int add_stream(struct cli *cli)
{
	return stream_command(cli, true);
}

static int remove_stream(struct cli *cli)
{
	return stream_command(cli, false);
}

/* By --port, or by the way to an address. */
static int receiver_port(struct cli *cli, struct fanout_receiver *r)
{
	const char *port = cli_value(cli, "port");
	struct address address;

	if (port != NULL) {
		r->ifindex = if_nametoindex(port);
		return r->ifindex != 0 ? CLI_OK : cli_fail(cli, CLI_NOT_FOUND, "no interface '%s' beside the device", port);
	}
	if (cli_arg(cli, 1) == NULL)
		return cli_fail(cli, CLI_USAGE, "who? Give the receiver's ADDRESS, or --port IF for copies as they came");
	if (!parse_address(cli_arg(cli, 1), &address))
		return cli_fail(cli, CLI_USAGE, "'%s' is no address", cli_arg(cli, 1));
	return resolve(cli, &address, r);
}

static int receiver_command(struct cli *cli, bool joins)
{
	struct fanout_receiver r = { 0 };
	struct address address = { 0 };
	uint64_t number, port = 0;
	struct fanout f;
	int code = number_arg(cli, 0, FANOUT_STREAMS_MAX - 1, &number);

	if (code == CLI_OK && cli_arg(cli, 1) != NULL && cli_has(cli, "port"))
		code = cli_fail(cli, CLI_USAGE, "give an address, or --port for copies as they came");
	if (code == CLI_OK && joins && cli_arg(cli, 1) != NULL) {
		code = address_args(cli, &address, &port);
		r.address_set = 1;
	}
	if (code != CLI_OK)
		return code;
	r.stream = (uint32_t)number;
	r.port = htons((uint16_t)port);
	memcpy(r.address, address.bytes, sizeof(r.address));
	code = open_fanout(cli, &f);
	if (code == CLI_OK)
		code = receiver_port(cli, &r);
	if (code == CLI_OK)
		code = call(cli, &f, joins ? JOIN : LEAVE, &r, sizeof(r), joins ? "joined" : "left");
	close_fanout(&f);
	return code;
}

static int join(struct cli *cli)
{
	return receiver_command(cli, true);
}

static int leave(struct cli *cli)
{
	return receiver_command(cli, false);
}

/* ---- show ---- */

static void address_text(const uint8_t bytes[16], bool six, char out[INET6_ADDRSTRLEN])
{
	if (inet_ntop(six ? AF_INET6 : AF_INET, bytes, out, INET6_ADDRSTRLEN) == NULL)
		out[0] = '\0';
}

static json_t *receivers_json(int fd, const struct fanout_key *stream, uint32_t number)
{
	struct fanout_member key, next, *at = NULL;
	json_t *list = json_array();
	struct fanout_copies c;
	char text[INET6_ADDRSTRLEN], name[IF_NAMESIZE] = "";

	/* The bound ends a walk that begins anew because a receiver left. */
	for (int i = 0; i < FANOUT_RECEIVERS_MAX && bpf_map_get_next_key(fd, at, &next) == 0; i++) {
		key = next;
		at = &key;
		if (key.stream != number || bpf_map_lookup_elem(fd, &key, &c) != 0)
			continue;
		json_t *o = json_pack("{s:s, s:I, s:I}", "port", if_indextoname(key.ifindex, name) != NULL ? name : "?", "packets",
				      (json_int_t)c.packets, "bytes", (json_int_t)c.bytes);
		if (c.to.address_set) {
			address_text(c.to.address, stream->family == 6, text);
			json_object_set_new(o, "address", json_string(text));
			json_object_set_new(o, "udp_port", json_integer(ntohs(c.to.port)));
		}
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *streams_json(int streams, int receivers)
{
	struct fanout_key key, next, *at = NULL;
	json_t *list = json_array();
	struct fanout_value value;
	char text[INET6_ADDRSTRLEN];

	for (int i = 0; i < FANOUT_STREAMS_MAX && bpf_map_get_next_key(streams, at, &next) == 0; i++) {
		key = next;
		at = &key;
		if (bpf_map_lookup_elem(streams, &key, &value) != 0)
			continue;
		address_text(key.address, key.family == 6, text);
		json_array_append_new(list, json_pack("{s:I, s:s, s:i, s:I, s:o}", "stream", (json_int_t)value.stream, "address", text,
						      "udp_port", (int)ntohs(key.port), "ttl", (json_int_t)value.ttl, "receivers",
						      receivers_json(receivers, &key, value.stream)));
	}
	return list;
}

static void show_text(struct buf *out, const json_t *list)
{
	const json_t *s, *r;
	size_t i, k;

	json_array_foreach(list, i, s) {
		buf_printf(out, "stream %lld: %s port %lld\n", (long long)json_integer_value(json_object_get(s, "stream")),
			   json_string_value(json_object_get(s, "address")), (long long)json_integer_value(json_object_get(s, "udp_port")));
		json_array_foreach(json_object_get(s, "receivers"), k, r) {
			const char *address = json_string_value(json_object_get(r, "address"));

			buf_printf(out, "    %-15s %lld packets, to ", json_string_value(json_object_get(r, "port")),
				   (long long)json_integer_value(json_object_get(r, "packets")));
			if (address != NULL)
				buf_printf(out, "%s port %lld\n", address, (long long)json_integer_value(json_object_get(r, "udp_port")));
			else
				buf_adds(out, "whoever listens\n");
		}
	}
	if (json_array_size(list) == 0)
		buf_adds(out, "no streams; `prickle spine fanout add-stream` makes one\n");
}

static int show(struct cli *cli)
{
	AUTO_BUF struct buf out = BUF_INIT(1u << 20);
	json_t *list = NULL;
	struct fanout f;
	int code = open_fanout(cli, &f);

	if (code == CLI_OK) {
		AUTO_FD int streams = pin_get(f.dir, "maps/streams");
		AUTO_FD int receivers = pin_get(f.dir, "maps/receivers");
		if (streams < 0 || receivers < 0)
			code = cli_fail(cli, CLI_FAILED, "the extension has no maps of a fan-out");
		else
			list = streams_json(streams, receivers);
	}
	close_fanout(&f);
	if (code == CLI_OK && cli_json(cli))
		return spine_cli_json(cli, list);
	if (code == CLI_OK) {
		show_text(&out, list);
		code = cli_print(cli, &out);
	}
	json_decref(list);
	return code;
}

#define FANOUT_OPTIONS CLI_OPTION_DEV, CLI_OPTION_NETNS, { "name", '\0', "NAME", "as which it is installed, instead of 'fanout'" }
#define OPTION_PORT { "port", 'p', "IF", "the granted port; copies keep their addresses" }

static const struct cli_option plain[] = { FANOUT_OPTIONS, { 0 } };
static const struct cli_option with_port[] = { FANOUT_OPTIONS, OPTION_PORT, { 0 } };

const struct cli_command cmd_spine_fanout_add_stream = {
	.words = "spine fanout add-stream", .summary = "have the fan-out copy what arrives for an address and UDP port",
	.args = (const struct cli_arg[]){ { "STREAM", "a number of your choice, below 64" }, { "ADDRESS", "to which it is sent" },
					  { "PORT", "UDP port" }, { 0 } },
	.options = (const struct cli_option[]){ FANOUT_OPTIONS,
		{ "ttl", 't', "N", "of copies with another address; else one less than they came with" }, { 0 } },
	.json = true, .run = add_stream,
	.examples = (const char *const[]){ "prickle spine fanout add-stream 1 239.1.2.3 5004 --dev eth0", NULL },
};

const struct cli_command cmd_spine_fanout_remove_stream = {
	.words = "spine fanout remove-stream", .summary = "copy a stream no longer; its receivers must have left",
	.args = (const struct cli_arg[]){ { "STREAM", "its number" }, { 0 } }, .options = plain, .json = true, .run = remove_stream,
	.examples = (const char *const[]){ "prickle spine fanout remove-stream 1 --dev eth0", NULL },
};

const struct cli_command cmd_spine_fanout_join = {
	.words = "spine fanout join", .summary = "send copies of a stream to a receiver",
	.description = "With an address the copies go there, by the port and to the MAC address that the kernel's tables name; after a change "
		       "of those join again. With --port they leave by that port as they came. A port has one receiver of a stream.",
	.args = (const struct cli_arg[]){ { "STREAM", "its number" }, { "ADDRESS", "of the receiver", .optional = true },
					  { "PORT", "its UDP port", .optional = true }, { 0 } },
	.options = with_port, .json = true, .run = join,
	.examples = (const char *const[]){ "prickle spine fanout join 1 10.11.0.2 6000 --dev eth0",
					   "prickle spine fanout join 1 --port eth2 --dev eth0", NULL },
};

const struct cli_command cmd_spine_fanout_leave = {
	.words = "spine fanout leave", .summary = "send no more copies of a stream to a receiver",
	.args = (const struct cli_arg[]){ { "STREAM", "its number" }, { "ADDRESS", "of the receiver", .optional = true }, { 0 } },
	.options = with_port, .json = true, .run = leave,
	.examples = (const char *const[]){ "prickle spine fanout leave 1 10.11.0.2 --dev eth0", NULL },
};

const struct cli_command cmd_spine_fanout_show = {
	.words = "spine fanout show", .summary = "list streams and receivers of the fan-out", .options = plain, .json = true, .run = show,
	.examples = (const char *const[]){ "prickle spine fanout show --dev eth0", NULL },
};
