/*
 * `prickle spine set ...`: prefix lists behind `set NAME` in match rules.
 */
#include <errno.h>
#include <string.h>

#include "cli/spine.h"
#include "spine/sets.h"

#define TEXT_BYTES  (256u << 20)
#define ARENA_BYTES (512u << 20)

static const struct cli_option where_options[] = { CLI_OPTION_DEV, CLI_OPTION_NETNS, { 0 } };
static const struct cli_arg change_args[] = { { "SET", "the set's name" },
					      { "PREFIX", "as 10.0.0.0/8, fd00::/8 or an address", .many = true }, { 0 } };

static int done(struct cli *cli, struct spine_device *d, int err, const struct errmsg *why, const char *set, size_t count,
		const char *did)
{
	AUTO_BUF struct buf text = BUF_INIT(4096);
	int code;

	if (err != 0) {
		code = spine_cli_fail(cli, err, why);
	} else if (cli_json(cli)) {
		code = spine_cli_json(cli, json_pack("{s:s, s:s, s:I, s:s}", "set", set, "did", did, "count", (json_int_t)count,
						     "device", spine_device_name(d)));
	} else {
		buf_printf(&text, "%s %zu prefix%s: set '%s' of %s\n", did, count, count == 1 ? "" : "es", set, spine_device_name(d));
		code = cli_print(cli, &text);
	}
	spine_device_close(d);
	return code;
}

static int change(struct cli *cli, bool add)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	const char *set = cli_arg(cli, 0);
	size_t count = cli_arg_count(cli) - 1;
	struct set_prefix *list = arena_array(&arena, count, sizeof(*list));
	struct spine_device *d;
	struct errmsg why;
	int code;

	if (list == NULL)
		return cli_fail(cli, CLI_TEMPORARY, "out of memory");
	for (size_t i = 0; i < count; i++)
		if (set_prefix_parse(slice_str(cli_arg(cli, i + 1)), &list[i], &why) != 0)
			return cli_fail(cli, CLI_USAGE, "%s", why.text);
	code = spine_cli_open(cli, SPINE_CHANGE, &d);
	if (code != CLI_OK)
		return code;
	int err = add ? spine_set_add(d, set, list, count, &why) : spine_set_remove(d, set, list, count, &why);
	return done(cli, d, err, &why, set, count, add ? "added" : "removed");
}

static int run_add(struct cli *cli)
{
	return change(cli, true);
}

static int run_remove(struct cli *cli)
{
	return change(cli, false);
}

static int run_load(struct cli *cli)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	AUTO_BUF struct buf text = BUF_INIT(SET_FILE_BYTES_MAX);
	const char *set = cli_arg(cli, 0), *file = cli_arg(cli, 1);
	struct set_prefix *list;
	struct spine_device *d;
	struct errmsg why;
	size_t count;
	int code = spine_cli_file(cli, file, false, &text);

	if (code != CLI_OK)
		return code;
	if (set_file_parse(&arena, buf_slice(&text), &list, &count, &why) != 0)
		return cli_fail(cli, CLI_USAGE, "%s: %s", file, why.text);
	code = spine_cli_open(cli, SPINE_CHANGE, &d);
	if (code != CLI_OK)
		return code;
	return done(cli, d, spine_set_load(d, set, list, count, &why), &why, set, count, "loaded");
}

static int run_drop(struct cli *cli)
{
	struct spine_device *d;
	struct errmsg why;
	int code = spine_cli_open(cli, SPINE_CHANGE, &d);

	if (code != CLI_OK)
		return code;
	return done(cli, d, spine_set_drop(d, cli_arg(cli, 0), &why), &why, cli_arg(cli, 0), 0, "dropped");
}

static int show_names(struct cli *cli, struct spine_device *d, struct arena *arena, struct buf *text, json_t *list,
		      struct errmsg *why)
{
	const char **names;
	size_t count;
	int err = spine_set_names(d, arena, &names, &count, why);

	for (size_t i = 0; err == 0 && i < count; i++) {
		struct set_prefix *prefixes;
		size_t n = 0;

		err = spine_set_list(d, arena, names[i], &prefixes, &n, why);
		if (list != NULL)
			json_array_append_new(list, json_pack("{s:s, s:I}", "name", names[i], "count", (json_int_t)n));
		else
			buf_printf(text, "%s: %zu prefix%s\n", names[i], n, n == 1 ? "" : "es");
	}
	return err;
}

static int show_set(struct spine_device *d, const char *set, struct arena *arena, struct buf *text, json_t *list,
		    struct errmsg *why)
{
	struct set_prefix *prefixes;
	size_t n;
	int err = spine_set_list(d, arena, set, &prefixes, &n, why);

	for (size_t i = 0; err == 0 && i < n; i++) {
		AUTO_BUF struct buf one = BUF_INIT(128);

		set_prefix_text(&prefixes[i], &one);
		if (list != NULL)
			json_array_append_new(list, json_string(buf_cstr(&one)));
		else
			buf_printf(text, "%s\n", buf_cstr(&one));
	}
	return err;
}

static int run_list(struct cli *cli)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	AUTO_BUF struct buf text = BUF_INIT(TEXT_BYTES);
	const char *set = cli_arg(cli, 0);
	json_t *list;
	struct spine_device *d;
	struct errmsg why;
	/* A device may have sets before it has extensions, so this is no SPINE_LOOK. */
	int code = spine_cli_open(cli, SPINE_CHANGE, &d), err;

	if (code != CLI_OK)
		return code;
	list = cli_json(cli) ? json_array() : NULL;
	err = set == NULL ? show_names(cli, d, &arena, &text, list, &why) : show_set(d, set, &arena, &text, list, &why);
	spine_device_close(d);
	if (err != 0) {
		json_decref(list);
		return spine_cli_fail(cli, err, &why);
	}
	return list != NULL ? spine_cli_json(cli, list) : cli_print(cli, &text);
}

const struct cli_command cmd_spine_set_add = {
	.words = "spine set add", .summary = "add prefixes to a set of an interface", .args = change_args, .options = where_options,
	.description = "Match rules name it: \"src set friends\". The set is made when it is new.",
	.json = true, .examples = (const char *const[]){ "prickle spine set add friends 192.0.2.0/24 --dev eth0", NULL }, .run = run_add,
};
const struct cli_command cmd_spine_set_remove = {
	.words = "spine set remove", .summary = "remove prefixes from a set", .args = change_args, .options = where_options,
	.json = true, .examples = (const char *const[]){ "prickle spine set remove friends 192.0.2.0/24 --dev eth0", NULL },
	.run = run_remove,
};
const struct cli_command cmd_spine_set_load = {
	.words = "spine set load", .summary = "make a set what a file says", .options = where_options,
	.args = (const struct cli_arg[]){ { "SET", "the set's name" },
					  { "FILE", "a prefix a line, # begins a comment", .complete = CLI_FILE }, { 0 } },
	.description = "Prefixes that stay are never missing in between.",
	.json = true, .examples = (const char *const[]){ "prickle spine set load friends friends.txt --dev eth0", NULL }, .run = run_load,
};
const struct cli_command cmd_spine_set_drop = {
	.words = "spine set drop", .summary = "remove a whole set", .options = where_options,
	.args = (const struct cli_arg[]){ { "SET", "the set's name" }, { 0 } },
	.json = true, .examples = (const char *const[]){ "prickle spine set drop friends --dev eth0", NULL }, .run = run_drop,
};
const struct cli_command cmd_spine_set_list = {
	.words = "spine set list", .summary = "show the sets of an interface, or the prefixes of one", .options = where_options,
	.args = (const struct cli_arg[]){ { "SET", "this one's prefixes", .optional = true }, { 0 } },
	.json = true, .examples = (const char *const[]){ "prickle spine set list friends --dev eth0", NULL }, .run = run_list,
};
