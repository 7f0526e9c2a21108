#include "cli/names.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/must.h"
#include "cli/node.h"
#include "conf/config.h"

#define ARGUMENT_BYTES 2048u
#define OUTPUT_BYTES   (64u << 20)

void names_begin(struct names_request *r, const char *object, const char *verb)
{
	*r = (struct names_request){ .req = { .object = slice_str(object), .verb = slice_str(verb) } };
}

void names_end(struct names_request *r)
{
	for (unsigned i = 0; i < r->text_count; i++) {
		if (r->texts[i].ptr != NULL)
			explicit_bzero(r->texts[i].ptr, r->texts[i].cap);
		buf_done(&r->texts[i]);
	}
}

void names_arg(struct names_request *r, const char *text)
{
	if (r->req.arg_count < ADMIN_ARGS_MAX)
		r->req.args[r->req.arg_count++] = slice_str(text);
}

void names_set(struct names_request *r, const char *name, const char *value)
{
	struct buf *b;

	must(r->text_count < ARRAY_LEN(r->texts));
	b = &r->texts[r->text_count++];
	buf_init(b, ARGUMENT_BYTES);
	/* In full size at once, so that growing leaves no copies of a password behind. */
	if (buf_room(b, ARGUMENT_BYTES) == NULL || r->req.arg_count >= ADMIN_ARGS_MAX)
		return;
	buf_printf(b, "%s=%s", name, value);
	r->req.args[r->req.arg_count++] = buf_slice(b);
}

/* "10 GiB" in bytes, by the rules of the configuration; "domain" stays. */
static int quota_text(struct cli *cli, const char *value, char out[24])
{
	struct config *config = NULL;
	struct errmsg why = { 0 };
	int err;

	if (strcmp(value, "domain") == 0) {
		memcpy(out, "domain", sizeof("domain"));
		return CLI_OK;
	}
	err = config_new(&config);
	if (err == 0)
		err = config_set(config, "mail.quota", value, &why);
	if (err == 0)
		snprintf(out, 24, "%llu", (unsigned long long)config->mail_quota_bytes);
	config_free(config);
	return err == 0 ? CLI_OK : cli_fail(cli, CLI_USAGE, "--quota %s: %s", value, why.text);
}

int names_quota(struct cli *cli, struct names_request *r)
{
	const char *quota = cli_value(cli, "quota");
	char text[24];
	uint64_t n;
	int code;

	if (quota != NULL) {
		code = quota_text(cli, quota, text);
		if (code != CLI_OK)
			return code;
		names_set(r, "quota", text);
	}
	if (cli_value(cli, "messages") == NULL)
		return CLI_OK;
	code = cli_number(cli, "messages", 0, 1000000000, 0, &n);
	if (code != CLI_OK)
		return code;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
	names_set(r, "messages", text);
	return CLI_OK;
}

static void add_number(struct buf *out, const char *key, json_int_t n)
{
	time_t when = (time_t)n;
	struct tm tm;
	char date[40];

	if (strncmp(key, "quota", 5) == 0 && n == 0)
		buf_adds(out, "none");
	else if (strstr(key, "_bytes") != NULL)
		config_size_text(out, (uint64_t)n);
	else if (strcmp(key, "created_s") == 0 && gmtime_r(&when, &tm) != NULL &&
		 strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S UTC", &tm) > 0)
		buf_adds(out, date);
	else
		buf_printf(out, "%lld", (long long)n);
}

static void add_value(struct buf *out, const char *key, json_t *value)
{
	json_t *item;
	size_t i;

	if (json_is_string(value)) {
		buf_adds(out, json_string_value(value));
	} else if (json_is_integer(value)) {
		add_number(out, key, json_integer_value(value));
	} else if (json_is_boolean(value)) {
		buf_adds(out, json_is_true(value) ? "yes" : "no");
	} else if (json_is_array(value)) {
		json_array_foreach(value, i, item)
			buf_printf(out, "%s%s", i == 0 ? "" : ", ", json_string_value(item));
	}
}

/* "quota_bytes" -> "quota", "created_s" -> "created", "own_quota" -> "own quota". */
static void add_key(struct buf *out, const char *key)
{
	struct slice name = slice_str(key);
	size_t before = out->len;

	if (slice_ends(name, SLICE("_s")))
		name.len -= 2;
	else if (slice_ends(name, SLICE("_bytes")))
		name.len -= 6;
	for (size_t i = 0; i < name.len; i++)
		buf_addc(out, name.ptr[i] == '_' ? ' ' : name.ptr[i]);
	if (out->len - before < 16)
		buf_fill(out, ' ', 16 - (out->len - before));
}

int names_ask(struct cli *cli, struct names_request *r, json_t **answer)
{
	AUTO_BUF struct buf storage = BUF_INIT(ADMIN_JSON_BYTES + 64), out = BUF_INIT(OUTPUT_BYTES);
	struct admin_reply reply;
	int code = node_ask(cli, &r->req, &storage, &reply);

	*answer = NULL;
	if (code != CLI_OK)
		return code;
	if (reply.exit_code != ADMIN_OK)
		return node_fail(cli, &reply);
	if (cli_json(cli)) {
		buf_add(&out, reply.json);
		buf_addc(&out, '\n');
		return cli_print(cli, &out);
	}
	*answer = json_loadb((const char *)reply.json.ptr, reply.json.len, 0, NULL);
	return *answer != NULL ? CLI_OK : cli_fail(cli, CLI_FAILED, "the node's answer is malformed");
}

int names_run(struct cli *cli, struct names_request *r)
{
	AUTO_BUF struct buf out = BUF_INIT(OUTPUT_BYTES);
	const char *key;
	json_t *all, *value;
	int code = names_ask(cli, r, &all);

	if (all == NULL)
		return code;
	json_object_foreach(all, key, value) {
		add_key(&out, key);
		add_value(&out, key, value);
		buf_addc(&out, '\n');
	}
	json_decref(all);
	return cli_print(cli, &out);
}

/* One page: its names go to `all`; *next is the text to ask for the following one, NULL at the end. */
static int take_page(struct cli *cli, struct names_request *r, const char *member, json_t *all,
		     char **next)
{
	AUTO_BUF struct buf storage = BUF_INIT(ADMIN_JSON_BYTES + 64);
	struct admin_reply reply;
	const char *text;
	json_t *page;
	int code = node_ask(cli, &r->req, &storage, &reply);

	*next = NULL;
	if (code != CLI_OK)
		return code;
	if (reply.exit_code != ADMIN_OK)
		return node_fail(cli, &reply);
	page = json_loadb((const char *)reply.json.ptr, reply.json.len, 0, NULL);
	if (page == NULL || json_array_extend(all, json_object_get(page, member)) != 0) {
		json_decref(page);
		return cli_fail(cli, CLI_FAILED, "the node's answer is malformed");
	}
	text = json_string_value(json_object_get(page, "next"));
	if (text != NULL)
		*next = strdup(text);
	json_decref(page);
	return CLI_OK;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Pages come in the order of storage; people want the alphabet. */
static int print_names(struct cli *cli, json_t *all, const char *member)
{
	AUTO_BUF struct buf out = BUF_INIT(OUTPUT_BYTES);
	size_t count = json_array_size(all);
	AUTO_FREE const char **names = calloc(count + 1, sizeof(*names));

	if (names == NULL)
		return cli_fail(cli, CLI_FAILED, "out of memory");
	for (size_t i = 0; i < count; i++) {
		names[i] = json_string_value(json_array_get(all, i));
		if (names[i] == NULL)
			return cli_fail(cli, CLI_FAILED, "the node's answer is malformed");
	}
	qsort(names, count, sizeof(*names), compare_names);
	if (cli_json(cli))
		buf_printf(&out, "{\"%s\":[", member);
	for (size_t i = 0; i < count; i++) {
		if (cli_json(cli)) {
			if (i > 0)
				buf_addc(&out, ',');
			admin_json_string(&out, slice_str(names[i]));
		} else {
			buf_printf(&out, "%s\n", names[i]);
		}
	}
	if (cli_json(cli))
		buf_adds(&out, "]}\n");
	return cli_print(cli, &out);
}

int names_list(struct cli *cli, struct names_request *r, const char *member)
{
	unsigned args = r->req.arg_count, texts = r->text_count;
	json_t *all = json_array();
	char *next = NULL;
	bool more;
	int code;

	if (all == NULL)
		return cli_fail(cli, CLI_FAILED, "out of memory");
	do {
		code = take_page(cli, r, member, all, &next);
		r->req.arg_count = args;
		if (r->text_count > texts)
			buf_done(&r->texts[--r->text_count]);
		more = code == CLI_OK && next != NULL;
		if (more)
			names_set(r, "after", next);
		free(next);
	} while (more);
	if (code == CLI_OK)
		code = print_names(cli, all, member);
	json_decref(all);
	return code;
}

/* One line without its end. False: nothing there, or too long. */
static bool read_line(int fd, char out[NAMES_PASSWORD_BYTES])
{
	size_t n = 0;
	char c;

	while (read(fd, &c, 1) == 1 && c != '\n') {
		if (n == NAMES_PASSWORD_BYTES - 1 || c == '\0')
			return false;
		out[n++] = c;
	}
	if (n > 0 && out[n - 1] == '\r')
		n--;
	out[n] = '\0';
	return n > 0;
}

/* Ask at the terminal without echo. */
static bool ask_once(int tty, const char *prompt, const char *what, char out[NAMES_PASSWORD_BYTES])
{
	struct termios before, quiet;
	bool got;

	if (dprintf(tty, "%s%s: ", prompt, what) < 0 || tcgetattr(tty, &before) != 0)
		return false;
	quiet = before;
	quiet.c_lflag &= ~(tcflag_t)ECHO;
	if (tcsetattr(tty, TCSAFLUSH, &quiet) != 0)
		return false;
	got = read_line(tty, out);
	tcsetattr(tty, TCSAFLUSH, &before);
	return dprintf(tty, "\n") > 0 && got;
}

int names_secret(struct cli *cli, bool from_stdin, const char *what, char out[NAMES_PASSWORD_BYTES])
{
	char again[NAMES_PASSWORD_BYTES] = "";
	AUTO_FD int tty = -1;
	bool same;

	if (from_stdin) {
		if (read_line(STDIN_FILENO, out))
			return CLI_OK;
		return cli_fail(cli, CLI_USAGE, "standard input has no %s on its first line", what);
	}
	tty = isatty(STDIN_FILENO) ? open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC) : -1;
	if (tty < 0)
		return cli_fail(cli, CLI_USAGE,
				"there is no terminal to ask for the %s; give it on standard input with --%s-stdin",
				what, what);
	if (!ask_once(tty, "New ", what, out) || !ask_once(tty, "Again, the new ", what, again)) {
		explicit_bzero(again, sizeof(again));
		return cli_fail(cli, CLI_USAGE, "no %s was typed", what);
	}
	same = strcmp(out, again) == 0;
	explicit_bzero(again, sizeof(again));
	return same ? CLI_OK : cli_fail(cli, CLI_USAGE, "the two differ; nothing was changed");
}
