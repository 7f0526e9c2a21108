/*
 * `prickle spine send`: call one handler of an extension by hand. Names and types of its arguments come
 * from the object file; without it, numbers and bytes do.
 */
#include <errno.h>
#include <fcntl.h>
#include <prickle/libspine.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "cli/spine_channel.h"
#include "cli/spine_object.h"

#define OUTPUT_BYTES (64u << 10)
#define OBJECT_ARENA (64u << 20)

static const struct cli_arg send_args[] = {
	{ "NAME", "of the extension" },
	{ "HANDLER", "its number, or with --object its name" },
	{ "FIELD=VALUE", "arguments with --object; fields that are left out are 0", .optional = true, .many = true },
	{ 0 }
};
static const struct cli_option send_options[] = {
	SPINE_CHANNEL_OPTIONS,
	{ "object", 'o', "FILE", "the extension's object file, for names and types", CLI_FILE },
	{ "hex", '\0', "BYTES", "the argument struct as hexadecimal digits, without --object" },
	{ 0 }
};

struct message {
	uint16_t handler;
	uint8_t args[SPINE_ARGS_BYTES];
	size_t bytes;
	const struct object_handler *type;	/* or NULL */
};

static int code_of(int err)
{
	switch (err) {
	case -ENOENT:
	case -ENODEV:
		return CLI_NOT_FOUND;
	case -EACCES:
	case -EPERM:
		return CLI_REFUSED;
	default:
		return CLI_FAILED;
	}
}

int spine_channel_enter(struct cli *cli)
{
	const char *name = cli_value(cli, "netns");
	char path[256];

	if (name == NULL)
		return CLI_OK;
	int n = snprintf(path, sizeof(path), "/run/netns/%s", name);
	if (n < 0 || (size_t)n >= sizeof(path) || strchr(name, '/') != NULL)
		return cli_fail(cli, CLI_USAGE, "'%s' is no name of a network namespace", name);
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return cli_fail(cli, CLI_NOT_FOUND, "network namespace '%s': %s; 'ip netns list' shows them", name,
				strerrordesc_np(errno));
	if (setns(fd, CLONE_NEWNET) < 0)
		return cli_fail(cli, CLI_REFUSED, "network namespace '%s': %s", name, strerrordesc_np(errno));
	return CLI_OK;
}

int spine_channel_find(struct cli *cli, struct spine_channel **out)
{
	const char *device = cli_value(cli, "dev");
	struct spine_error why;
	uint64_t number;
	int code = cli_number(cli, "channel", 0, 7, 0, &number);

	if (code != CLI_OK)
		return code;
	if (device == NULL)
		return cli_fail(cli, CLI_USAGE, "which device? Give --dev");
	code = spine_channel_enter(cli);
	if (code != CLI_OK)
		return code;
	int err = spine_channel_open(device, cli_arg(cli, 0), (unsigned)number, out, &why);
	return err < 0 ? cli_fail(cli, (enum cli_exit)code_of(err), "%s", why.text) : CLI_OK;
}

/* ---- arguments ---- */

static const struct object_field *field_of(const struct object_handler *h, struct slice name)
{
	for (size_t i = 0; i < h->field_count; i++)
		if (slice_eq(slice_str(h->fields[i].name), name))
			return &h->fields[i];
	return NULL;
}

/* A number in decimal or 0x...; negative ones only for signed types. */
static bool parse_number(struct slice text, const struct object_field *f, uint64_t *out)
{
	bool is_signed = f->type[2] == 's', negative = is_signed && slice_starts(text, SLICE("-"));
	uint64_t most = f->bytes == 8 ? UINT64_MAX : (1ull << (8 * f->bytes)) - 1;
	uint64_t value;

	if (is_signed)
		most = negative ? most / 2 + 1 : most / 2;
	if (negative)
		text = slice_from(text, 1);
	if (slice_starts(text, SLICE("0x"))) {
		struct slice digits = slice_from(text, 2);
		value = 0;
		if (digits.len == 0 || digits.len > 16)
			return false;
		for (size_t i = 0; i < digits.len; i++) {
			int v = hex_value(digits.ptr[i]);
			if (v < 0)
				return false;
			value = value << 4 | (uint64_t)v;
		}
		if (value > most)
			return false;
	} else if (!slice_u64(text, most, &value)) {
		return false;
	}
	*out = negative ? 0 - value : value;
	return true;
}

/* An integer, or an array's elements with commas between. Both sides run on this machine: its byte order. */
static bool store_field(struct message *m, const struct object_field *f, struct slice text)
{
	for (uint32_t i = 0; i < f->count; i++) {
		struct slice one = text, rest = { 0 };
		uint64_t value;

		if (f->count > 1 && !slice_cut(text, ',', &one, &rest)) {
			one = text;
			rest = (struct slice){ 0 };
		}
		if (!parse_number(one, f, &value))
			return false;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
		value <<= 8 * (8 - f->bytes);
#endif
		memcpy(m->args + f->offset + i * f->bytes, &value, f->bytes);
		text = rest;
		if (text.len == 0 && i + 1 < f->count)
			break;
	}
	return text.len == 0;
}

static int typed_args(struct cli *cli, struct message *m)
{
	for (size_t i = 2; i < cli_arg_count(cli); i++) {
		struct slice name, value, arg = slice_str(cli_arg(cli, i));
		const struct object_field *f;

		if (!slice_cut(arg, '=', &name, &value))
			return cli_fail(cli, CLI_USAGE, "'%s' is not FIELD=VALUE", cli_arg(cli, i));
		f = field_of(m->type, name);
		if (f == NULL)
			return cli_fail(cli, CLI_USAGE, "handler '%s' has no field '%.*s'; 'prickle spine stubs' shows them",
					m->type->name, SLICE_FMT(name));
		if (!store_field(m, f, value))
			return cli_fail(cli, CLI_USAGE, "'%.*s' is no %s%s for field '%s'", SLICE_FMT(value), f->type,
					f->count > 1 ? " list (a,b,...)" : "", f->name);
	}
	return CLI_OK;
}

static int named_message(struct cli *cli, struct arena *arena, const char *path, struct message *m)
{
	const struct object *o;
	int code = spine_object_read(cli, arena, path, &o);

	if (code != CLI_OK)
		return code;
	m->type = spine_object_handler(o, cli_arg(cli, 1));
	if (m->type == NULL)
		return cli_fail(cli, CLI_NOT_FOUND, "%s has no handler '%s'; 'prickle spine stubs' shows them", path,
				cli_arg(cli, 1));
	m->handler = m->type->id;
	m->bytes = m->type->bytes;
	return typed_args(cli, m);
}

static int numbered_message(struct cli *cli, struct message *m)
{
	AUTO_BUF struct buf bytes = BUF_INIT(SPINE_ARGS_BYTES);
	uint64_t number;

	if (!slice_u64(slice_str(cli_arg(cli, 1)), UINT16_MAX, &number) || number == 0)
		return cli_fail(cli, CLI_USAGE, "'%s' is no handler's number; for its name give --object FILE.o",
				cli_arg(cli, 1));
	if (cli_arg_count(cli) > 2)
		return cli_fail(cli, CLI_USAGE, "fields have names with --object FILE.o only; else use --hex");
	if (cli_has(cli, "hex") && !hex_decode(&bytes, slice_str(cli_value(cli, "hex"))))
		return cli_fail(cli, CLI_USAGE, "--hex: two digits a byte, at most %d bytes", SPINE_ARGS_BYTES);
	m->handler = (uint16_t)number;
	m->bytes = bytes.len;
	if (bytes.len > 0)
		memcpy(m->args, bytes.ptr, bytes.len);
	return CLI_OK;
}

/* ---- the reply ---- */

static uint64_t load_field(const struct message *m, const struct object_field *f, uint32_t i)
{
	uint64_t value = 0;

	memcpy(&value, m->args + f->offset + i * f->bytes, f->bytes);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	value >>= 8 * (8 - f->bytes);
#endif
	return value;
}

static void write_value(struct buf *out, const struct object_field *f, uint64_t value)
{
	if (f->type[2] == 's' && f->bytes < 8 && value >> (8 * f->bytes - 1))
		value |= UINT64_MAX << (8 * f->bytes);
	if (f->type[2] == 's')
		buf_printf(out, "%lld", (long long)value);
	else
		buf_dec(out, value);
}

static void write_fields(struct buf *out, const struct message *m, bool json)
{
	for (size_t i = 0; i < m->type->field_count; i++) {
		const struct object_field *f = &m->type->fields[i];

		buf_printf(out, json ? "%s\"%s\":%s" : "%s%s %s", json && i > 0 ? "," : "", f->name,
			   json && f->count > 1 ? "[" : "");
		for (uint32_t k = 0; k < f->count; k++) {
			if (k > 0)
				buf_addc(out, ',');
			write_value(out, f, load_field(m, f, k));
		}
		buf_adds(out, json ? (f->count > 1 ? "]" : "") : "\n");
	}
}

static int write_reply(struct cli *cli, const struct message *m, int result)
{
	AUTO_BUF struct buf out = BUF_INIT(OUTPUT_BYTES);

	if (cli_json(cli)) {
		buf_printf(&out, "{\"result\":%d,\"args\":\"", result);
		hex_encode(&out, slice_of(m->args, m->bytes));
		buf_adds(&out, "\"");
		if (m->type != NULL) {
			buf_adds(&out, ",\"fields\":{");
			write_fields(&out, m, true);
			buf_addc(&out, '}');
		}
		buf_adds(&out, "}\n");
	} else if (m->type != NULL) {
		write_fields(&out, m, false);
	} else {
		hex_encode(&out, slice_of(m->args, m->bytes));
		buf_addc(&out, '\n');
	}
	return cli_print(cli, &out);
}

static int spine_send(struct cli *cli)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(OBJECT_ARENA);
	struct message m = { 0 };
	struct spine_channel *c;
	int code = cli_has(cli, "object") ? named_message(cli, &arena, cli_value(cli, "object"), &m) :
					    numbered_message(cli, &m);

	if (code == CLI_OK)
		code = spine_channel_find(cli, &c);
	if (code != CLI_OK)
		return code;
	int result = spine_call(c, m.handler, m.args, m.bytes);
	spine_channel_close(c);
	if (result == -ENOSYS)
		return cli_fail(cli, CLI_NOT_FOUND, "the extension has no handler %u", m.handler);
	if (result == -EBADMSG)
		return cli_fail(cli, CLI_USAGE, "handler %u takes another number of bytes than %zu", m.handler, m.bytes);
	if (result < 0)
		return cli_fail(cli, CLI_FAILED, "handler %u: %s", m.handler, strerrordesc_np(-result));
	return write_reply(cli, &m, result);
}

const struct cli_command cmd_spine_send = {
	.words = "spine send", .summary = "call a handler of an extension and print its reply", .args = send_args,
	.options = send_options, .json = true, .run = spine_send,
	.examples = (const char *const[]){
		"prickle spine send lb set_backend --dev eth0 --object lb.o slot=3 address=0x0a000007 up=1",
		"prickle spine send lb 2 --dev eth0 --hex 0300000007000000", NULL },
};
