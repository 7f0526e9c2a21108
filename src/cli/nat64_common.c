#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/nat64.h"
#include "nat64/words.h"

#define TEXT_BYTES (64u << 20)

static const char *value_of(struct cli *cli, const char *option)
{
	for (const struct cli_option *o = cli_command(cli)->options; o != NULL && o->name != NULL; o++)
		if (strcmp(o->name, option) == 0)
			return cli_value(cli, option);
	return NULL;
}

void nat64_cli_where(struct cli *cli, struct nat64_where *out)
{
	*out = (struct nat64_where){ .name = value_of(cli, "name"), .netns = value_of(cli, "netns") };
}

int nat64_cli_open(struct cli *cli, enum nat64_open_mode mode, struct nat64 **out)
{
	struct nat64_where where;
	struct errmsg why = { 0 };

	nat64_cli_where(cli, &where);
	int err = nat64_open(&where, mode, out, &why);
	return err == 0 ? CLI_OK : nat64_cli_fail(cli, err, &why);
}

enum cli_exit nat64_cli_exit(int err)
{
	switch (err) {
	case 0:
		return CLI_OK;
	case -EINVAL:
		return CLI_CONFIG;
	case -ENOENT:
	case -ENODEV:
		return CLI_NOT_FOUND;
	case -EPERM:
	case -EACCES:
		return CLI_REFUSED;
	case -EBUSY:
	case -EAGAIN:
	case -ENOMEM:
	case -ENOSPC:
		return CLI_TEMPORARY;
	default:
		return CLI_FAILED;
	}
}

int nat64_cli_fail(struct cli *cli, int err, const struct errmsg *why)
{
	return cli_fail(cli, nat64_cli_exit(err), "%s", why->text);
}

int nat64_cli_errors(struct cli *cli, enum cli_exit code, struct buf *errors)
{
	if (!cli_json(cli)) {
		fprintf(stderr, "%s", buf_cstr(errors));
		return (int)code;
	}
	json_t *list = json_array();
	struct slice rest = buf_slice(errors), line, first = { 0 };
	while (rest.len > 0) {
		slice_cut(rest, '\n', &line, &rest);
		/* The source line and its caret are indented: for people. */
		if (line.len == 0 || line.ptr[0] == ' ')
			continue;
		if (first.len == 0)
			first = line;
		json_array_append_new(list, json_stringn_nocheck((const char *)line.ptr, line.len));
	}
	int err = spine_cli_json(cli, json_pack("{s:b, s:o, s:o}", "ok", 0, "error",
						json_stringn_nocheck((const char *)first.ptr, first.len), "errors", list));
	return err != CLI_OK ? err : (int)code;
}

int nat64_cli_load(struct cli *cli, struct arena *arena, const char *path, struct nat64_settings **out)
{
	AUTO_BUF struct buf errors = BUF_INIT(TEXT_BYTES);
	int err = nat64_settings_load(arena, path, out, &errors);

	if (err == 0)
		return CLI_OK;
	if (err == -ENOMEM)
		return cli_fail(cli, CLI_TEMPORARY, "out of memory");
	return nat64_cli_errors(cli, err == -EINVAL ? CLI_CONFIG : err == -ENOENT ? CLI_NOT_FOUND : CLI_FAILED, &errors);
}

void nat64_cli_count(struct buf *out, uint64_t n)
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n);

	for (int i = 0; i < len; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			buf_addc(out, ',');
		buf_addc(out, (uint8_t)digits[i]);
	}
}

void nat64_cli_time(struct buf *out, int64_t ms)
{
	static const struct { int64_t ms; const char *name; int64_t lesser; const char *lesser_name; } units[] = {
		{ 86400000, "d", 3600000, "h" }, { 3600000, "h", 60000, "m" }, { 60000, "m", 1000, "s" },
	};

	if (ms < 0)
		ms = 0;
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (ms < units[i].ms)
			continue;
		buf_printf(out, "%lld %s", (long long)(ms / units[i].ms), units[i].name);
		if (ms % units[i].ms / units[i].lesser > 0)
			buf_printf(out, " %lld %s", (long long)(ms % units[i].ms / units[i].lesser), units[i].lesser_name);
		return;
	}
	buf_printf(out, "%lld.%lld s", (long long)(ms / 1000), (long long)(ms % 1000 / 100));
}

void nat64_cli_bar(struct buf *out, uint64_t used, uint64_t size)
{
	uint64_t cells = size == 0 ? 0 : MIN((used * 10 + size - 1) / size, (uint64_t)10);

	buf_addc(out, '[');
	buf_fill(out, '#', cells);
	buf_fill(out, '-', 10 - cells);
	buf_addc(out, ']');
}

const char *nat64_cli_mode(unsigned mode)
{
	return mode == XLAT_SIIT ? "siit" : mode == XLAT_NAT64 ? "nat64" : "clat";
}

static void whole(unsigned family, const __be32 *addr, __be32 out[4])
{
	memset(out, 0, 16);
	memcpy(out, addr, family == 4 ? 4 : 16);
}

json_t *nat64_cli_address_json(unsigned family, const __be32 *addr)
{
	AUTO_BUF struct buf text = BUF_INIT(80);
	__be32 all[4];

	whole(family, addr, all);
	words_address_text(&text, family, all);
	return json_string(buf_cstr(&text));
}

void nat64_cli_endpoint(struct buf *out, unsigned family, const __be32 *addr, __be16 port)
{
	__be32 all[4];

	whole(family, addr, all);
	words_endpoint_text(out, family, all, port);
}

json_t *nat64_cli_endpoint_json(unsigned family, const __be32 *addr, __be16 port)
{
	AUTO_BUF struct buf text = BUF_INIT(80);

	nat64_cli_endpoint(&text, family, addr, port);
	return json_string(buf_cstr(&text));
}

int nat64_cli_watch(struct cli *cli, int (*once)(void *arg, struct nat64 *n, uint64_t look, struct buf *out), void *arg)
{
	uint64_t interval_ms, count;
	bool watch = cli_has(cli, "watch");
	int code = cli_number(cli, "interval", 100, 3600000, 1000, &interval_ms);

	if (code == CLI_OK)
		code = cli_number(cli, "count", 1, UINT32_MAX, 0, &count);
	for (uint64_t look = 0; code == CLI_OK && (watch || look == 0); look++) {
		AUTO_BUF struct buf out = BUF_INIT(TEXT_BYTES);
		struct nat64 *n;
		if (look > 0)
			(void)!poll(NULL, 0, (int)interval_ms);
		code = nat64_cli_open(cli, NAT64_LOOK, &n);
		if (code != CLI_OK)
			break;
		if (watch && !cli_json(cli) && isatty(STDOUT_FILENO))
			buf_adds(&out, "\033[H\033[J");
		code = once(arg, n, look, &out);
		nat64_close(n);
		if (code == CLI_OK)
			code = cli_print(cli, &out);
		if (count > 0 && look + 1 == count)
			break;
	}
	return code;
}
