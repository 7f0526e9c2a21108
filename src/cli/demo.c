/*
 * `prickle demo`: a node on loopback that needs neither root nor configuration.
 *
 * It is `serve` with a built-in configuration. The users are made over the admin interface, as
 * an operator would make them, once all roles serve.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/demo_lab.h"
#include "conf/config.h"
#include "roles/admin.h"
#include "roles/supervise.h"
#include "sys/ipc.h"

#define DEMO_DOMAIN	  "example.org"
#define DEMO_PORT_DEFAULT 20000u
#define DEMO_PASSWORD_MAX 200u
#define DEMO_STATE_MAX	  80u		/* the sockets below it must fit sockaddr_un */
#define DEMO_CALL_US	  30000000

struct demo {
	char state[DEMO_STATE_MAX + 1];
	char password[DEMO_PASSWORD_MAX + 1];
	unsigned base_port;
	struct demo_lab lab;
};

static const struct { const char *key; unsigned port; } ports[] = {
	{ "mail.listen.smtp", 25 },	   { "mail.listen.lmtp", 24 },
	{ "mail.listen.submission", 587 }, { "mail.listen.submissions", 465 },
	{ "mail.listen.imap", 143 },	   { "mail.listen.imaps", 993 },
	{ "mail.listen.pop3", 110 },	   { "mail.listen.pop3s", 995 },
	{ "control.metrics", 90 },
};

/* --- state directory and password ------------------------------------------------------------------ */

/* mkdir -p, each missing part for us alone. */
static int make_path(char *path, struct errmsg *why)
{
	for (char *at = path + 1;; at++) {
		char end = *at;

		if (end != '/' && end != '\0')
			continue;
		*at = '\0';
		if (mkdir(path, 0700) != 0 && errno != EEXIST)
			return errmsg_set(why, -errno, "make the directory '%s'", path);
		*at = end;
		if (end == '\0')
			return 0;
	}
}

/* Absolute, so that it means the same for every role. */
static int choose_state(struct cli *cli, struct demo *demo, struct errmsg *why)
{
	const char *given = cli_value(cli, "state"), *home = getenv("HOME");
	char cwd[4096], real[4096];
	int n;

	if (given != NULL && *given == '/')
		n = snprintf(real, sizeof(real), "%s", given);
	else if (given != NULL)
		n = getcwd(cwd, sizeof(cwd)) == NULL ? -1 : snprintf(real, sizeof(real), "%s/%s", cwd, given);
	else
		n = snprintf(real, sizeof(real), "%s/.local/state/prickle-demo",
			     home != NULL && *home == '/' ? home : "/tmp");
	if (n < 2 || n > (int)DEMO_STATE_MAX)
		return errmsg_say(why, -ENAMETOOLONG,
				  "the state directory's path has more than %u bytes; choose a shorter one with --state",
				  DEMO_STATE_MAX);
	memcpy(demo->state, real, (size_t)n + 1);
	return make_path(demo->state, why);
}

static int random_password(struct demo *demo, struct errmsg *why)
{
	static const char letters[] = "abcdefghijkmnpqrstuvwxyz23456789";	/* 32: no l, o, 0, 1 */
	uint8_t bytes[16];

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return errmsg_set(why, -EIO, "read random bytes");
	for (size_t i = 0; i < sizeof(bytes); i++)
		demo->password[i] = letters[bytes[i] % 32];
	demo->password[sizeof(bytes)] = '\0';
	return 0;
}

/* Made once and kept beside the state, so that the next demo of this directory has the same. */
static int choose_password(struct cli *cli, struct demo *demo, struct errmsg *why)
{
	const char *given = cli_value(cli, "password");
	char path[DEMO_STATE_MAX + 20];
	ssize_t n;
	AUTO_FD int fd = -1;

	if (given != NULL) {
		if (*given == '\0' || strlen(given) > DEMO_PASSWORD_MAX)
			return errmsg_say(why, -EINVAL, "a password has 1 to %u bytes", DEMO_PASSWORD_MAX);
		memcpy(demo->password, given, strlen(given) + 1);
		return 0;
	}
	snprintf(path, sizeof(path), "%s/password", demo->state);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return errmsg_set(why, -errno, "open '%s'", path);
	n = read(fd, demo->password, DEMO_PASSWORD_MAX);
	while (n > 0 && demo->password[n - 1] == '\n')
		n--;
	if (n > 0) {
		demo->password[n] = '\0';
		return 0;
	}
	if (random_password(demo, why) != 0)
		return -EIO;
	if (dprintf(fd, "%s\n", demo->password) < 0)
		return errmsg_set(why, -errno, "write '%s'", path);
	return 0;
}

/* --- configuration ------------------------------------------------------------------------------------ */

static int configure(const struct demo *demo, struct config *config, struct errmsg *why)
{
	static const struct { const char *key, *value; } fixed[] = {
		{ "hostname", "localhost" }, { "rates.exempt_loopback", "true" },
		{ "auth.plain_without_tls", "true" }, { "auth.scram", "true" },
		{ "mail.lmtp_peers", "127.0.0.0/8" }, { "log.level", "warn" },
	};
	char text[200];
	int err = config_set(config, "state", demo->state, why);

	for (size_t i = 0; i < ARRAY_LEN(fixed) && err == 0; i++)
		err = config_set(config, fixed[i].key, fixed[i].value, why);
	for (size_t i = 0; i < ARRAY_LEN(ports) && err == 0; i++) {
		snprintf(text, sizeof(text), "127.0.0.1:%u", demo->base_port + ports[i].port);
		err = config_set(config, ports[i].key, text, why);
	}
	if (err == 0) {
		snprintf(text, sizeof(text), "%s/control.sock", demo->state);
		err = config_set(config, "control.socket", text, why);
	}
	return err == 0 ? config_check(config, why) : err;
}

/* --- users and greeting --------------------------------------------------------------------------------- */

/* Ask control; the exit code, or ADMIN_TEMPORARY. The error's text goes to *text. */
static int ask(struct ipc *control, const struct admin_request *req, struct buf *text)
{
	AUTO_BUF struct buf bytes = BUF_INIT(ADMIN_REQUEST_BYTES), answer = BUF_INIT(IPC_MESSAGE_BYTES);
	struct admin_reply reply;

	admin_request_encode(req, &bytes);
	if (ipc_call(control, ADMIN_IPC_REQUEST, buf_slice(&bytes), DEMO_CALL_US, &answer) != 0 ||
	    !admin_reply_decode(buf_slice(&answer), &reply))
		return ADMIN_TEMPORARY;
	buf_reset(text);
	buf_add(text, reply.json);
	return reply.exit_code;
}

/* Make it, or when it is there from an earlier run, bring it up to date. */
static int make(struct ipc *control, const char *object, const char *name, const char *setting)
{
	AUTO_BUF struct buf text = BUF_INIT(ADMIN_JSON_BYTES);
	struct admin_request req = { .object = slice_str(object), .verb = SLICE("show"),
				     .args = { slice_str(name) }, .arg_count = 1 };
	int code = ask(control, &req, &text);

	if (code == ADMIN_OK && setting == NULL)
		return 0;
	req.verb = code == ADMIN_OK ? SLICE("set") : SLICE("add");
	if (setting != NULL)
		req.args[req.arg_count++] = slice_str(setting);
	if (code == ADMIN_OK || code == ADMIN_NOT_FOUND)
		code = ask(control, &req, &text);
	if (code == ADMIN_OK)
		return 0;
	fprintf(stderr, "prickle demo: cannot make the %s %s: %.*s\n", object, name, SLICE_FMT(buf_slice(&text)));
	return EXIT_FAILURE;
}

static void greet(struct demo *demo)
{
	unsigned n = demo->base_port;

	printf("A mail node runs on this machine, for this machine alone.\n\n"
	       "  users      ann@" DEMO_DOMAIN " and bob@" DEMO_DOMAIN "\n"
	       "  password   %s\n"
	       "  state      %s\n"
	       "  SMTP %u, submission %u (STARTTLS) and %u (TLS), LMTP %u\n"
	       "  IMAP %u and %u (TLS), POP3 %u and %u (TLS), metrics %u\n\n"
	       "Try:\n"
	       "  swaks --server 127.0.0.1:%u --from bob@" DEMO_DOMAIN " --to ann@" DEMO_DOMAIN
	       " --header 'Subject: hello'\n"
	       "  curl 'imap://127.0.0.1:%u/INBOX;MAILINDEX=1' --user 'ann@" DEMO_DOMAIN ":%s'\n"
	       "  curl 'pop3://127.0.0.1:%u/1' --user 'ann@" DEMO_DOMAIN ":%s'\n"
	       "  %s status --socket %s/control.sock\n\n"
	       "Ctrl-C ends it; the mail stays in the state directory.\n",
	       demo->password, demo->state, n + 25, n + 587, n + 465, n + 24, n + 143, n + 993, n + 110, n + 995,
	       n + 90, n + 25, n + 143, demo->password, n + 110, demo->password, program_invocation_name, demo->state);
	demo_lab_greet(&demo->lab);
	printf("ready\n");
	fflush(stdout);
}

static int on_ready(void *arg, struct ipc *control)
{
	struct demo *demo = arg;
	char setting[DEMO_PASSWORD_MAX + 20];

	snprintf(setting, sizeof(setting), "password=%s", demo->password);
	if (make(control, "domain", DEMO_DOMAIN, NULL) != 0 ||
	    make(control, "user", "ann@" DEMO_DOMAIN, setting) != 0 ||
	    make(control, "user", "bob@" DEMO_DOMAIN, setting) != 0)
		return EXIT_FAILURE;
	greet(demo);
	return 0;
}

static int demo(struct cli *cli)
{
	struct demo demo = { .lab = { .report = -1, .alive = -1 } };
	struct supervise_options options = { .ready = on_ready, .arg = &demo };
	struct errmsg why = { 0 };
	uint64_t base;
	/* The highest port is that of POP3 over TLS, N + 995. */
	int code = cli_number(cli, "base-port", 1024, 65535 - 995, DEMO_PORT_DEFAULT, &base);

	if (code != CLI_OK)
		return code;
	demo.base_port = (unsigned)base;
	if (config_new(&options.config) != 0)
		return cli_fail(cli, CLI_FAILED, "out of memory");
	if (choose_state(cli, &demo, &why) != 0 || choose_password(cli, &demo, &why) != 0 ||
	    configure(&demo, options.config, &why) != 0)
		return cli_fail(cli, CLI_FAILED, "%s", why.text);
	if (!cli_has(cli, "no-lab"))
		demo_lab_start(&demo.lab);
	return supervise(&options);
}

const struct cli_command cmd_demo = {
	.words = "demo",
	.summary = "run a node on loopback to play with",
	.description = "A whole mail node for this machine alone, with the domain example.org and the users ann and "
		       "bob. Needs neither root nor configuration. Each service listens on N + its standard port: "
		       "SMTP on N + 25, IMAP on N + 143 and so on. Prints commands to try, and the line 'ready' when "
		       "everything accepts. SIGINT and SIGTERM end it; the mail stays in the state directory. "
		       "Run by root, it also makes a lab of network namespaces: two hosts and a machine between them with two "
		       "extensions on an interface, for 'prickle spine'; a host with IPv6 alone and a host with IPv4 alone with "
		       "the translator between, for 'prickle nat64'.",
	.options = (const struct cli_option[]){
		{ "state", '\0', "DIR", "keep the mail here (default: ~/.local/state/prickle-demo)", CLI_DIRECTORY },
		{ "base-port", '\0', "N", "add N to each port (default: 20000)" },
		{ "password", '\0', "P", "of both users; without it one is made and printed" },
		{ "no-lab", '\0', NULL, "as root: without the network lab" },
		{ 0 } },
	.examples = (const char *const[]){ "prickle demo", "prickle demo --state /tmp/mail --base-port 30000", NULL },
	.run = demo,
};
