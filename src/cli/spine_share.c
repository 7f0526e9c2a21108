/*
 * `prickle spine share`: gives a channel of an extension to a program without privileges, by starting it
 * under another user or over a unix socket. The descriptors are all that the program gets; this process
 * stays to make AF_XDP sockets for it and to know when the channel is free again.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/spine_channel.h"
#include "spine/message/bpf.h"
#include "spine/message/channel.h"
#include "spine/message/serve.h"

#define CHILD_FD 3

static const struct cli_arg share_args[] = {
	{ "NAME", "of the extension" },
	{ "COMMAND", "program to start, with its path, and its arguments", .optional = true, .many = true },
	{ 0 }
};
static const struct cli_option share_options[] = {
	SPINE_CHANNEL_OPTIONS,
	{ "user", 'u', "USER", "who gets it: COMMAND runs as this user, or only this user may connect" },
	{ "socket", 's', "PATH", "wait for programs on this socket instead of starting one", CLI_FILE },
	{ "label", 'l', "NUMBER", "what the extension sees as the sender; channel + 1 unless given" },
	{ 0 }
};

struct who {
	uid_t uid;
	gid_t gid;
	const char *name;		/* NULL: a number without an account */
};

static int find_user(struct cli *cli, struct who *out)
{
	const char *text = cli_value(cli, "user");
	const struct passwd *p;
	uint32_t number;

	if (text == NULL)
		return cli_fail(cli, CLI_USAGE, "who gets the channel? Give --user");
	p = getpwnam(text);
	if (p == NULL && slice_u32(slice_str(text), &number)) {
		p = getpwuid(number);
		if (p == NULL) {
			*out = (struct who){ number, number, NULL };
			return CLI_OK;
		}
	}
	if (p == NULL)
		return cli_fail(cli, CLI_NOT_FOUND, "there is no user '%s'", text);
	*out = (struct who){ p->pw_uid, p->pw_gid, p->pw_name };
	return CLI_OK;
}

/*
 * One `share` at a time has a channel: two programs would write to the same queue, and a label would change under the
 * first. A directory beside the extension's maps is the lock, since files in bpffs cannot be opened; the kernel gives it
 * back when we end, however that is.
 */
static int hold(struct cli *cli, int directory, unsigned number, int *held)
{
	char name[16];

	(void)snprintf(name, sizeof(name), "held-%u", number);
	if (mkdirat(directory, name, 0700) < 0 && errno != EEXIST)
		return cli_fail(cli, CLI_FAILED, "hold the channel: %s", strerrordesc_np(errno));
	AUTO_FD int fd = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return cli_fail(cli, CLI_FAILED, "hold the channel: %s", strerrordesc_np(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return cli_fail(cli, CLI_TEMPORARY, "channel %u of '%s' is in use by another 'prickle spine share'; --channel "
				"takes another one", number, cli_arg(cli, 0));
	*held = TAKE_FD(fd);
	return CLI_OK;
}

/* Write the label, or read the one that stands there. */
static int set_label(struct cli *cli, int directory, unsigned number, uint64_t *label)
{
	struct spine_channel_state state;
	uint32_t zero = 0;
	char path[128], suffix[16] = "";

	if (number > 0)
		snprintf(suffix, sizeof(suffix), "-%u", number);
	snprintf(path, sizeof(path), "/proc/self/fd/%d/maps/" SPINE_MAP_CHANNEL "%s", directory, suffix);
	AUTO_FD int fd = bpf_pinned(path);
	int err = fd < 0 ? fd : bpf_map_fetch(fd, &zero, &state);
	if (err == 0 && cli_has(cli, "label")) {
		uint64_t wanted;
		int code = cli_number(cli, "label", 1, SPINE_SENDER_NETWORK - 1, 0, &wanted);
		if (code != CLI_OK)
			return code;
		state.sender = wanted;
		err = bpf_map_store(fd, &zero, &state);
	}
	if (err == -ENOENT)
		return cli_fail(cli, CLI_NOT_FOUND, "'%s' has no channel %u: its manifest's .channels says how many there are, and "
				"without handlers (SPINE_HANDLERS) there are none", cli_arg(cli, 0), number);
	if (err < 0)
		return cli_fail(cli, CLI_FAILED, "the channel's label: %s", strerrordesc_np(-err));
	*label = state.sender;
	return CLI_OK;
}

static int open_channel(struct cli *cli, struct handoff *hello, int *held, struct spine_channel **out)
{
	const char *device = cli_value(cli, "dev"), *name = cli_arg(cli, 0);
	struct spine_error why;
	uint64_t number;
	int code = cli_number(cli, "channel", 0, 7, 0, &number);

	if (code == CLI_OK && device == NULL)
		code = cli_fail(cli, CLI_USAGE, "which device? Give --dev");
	if (code == CLI_OK)
		code = spine_channel_enter(cli);
	if (code != CLI_OK)
		return code;
	AUTO_FD int directory = channel_directory(device, name, &why);
	if (directory < 0)
		return cli_fail(cli, CLI_NOT_FOUND, "%s", why.text);
	code = hold(cli, directory, (unsigned)number, held);
	if (code == CLI_OK)
		code = set_label(cli, directory, (unsigned)number, &hello->sender);
	if (code != CLI_OK)
		return code;
	if (spine_channel_open_at(directory, (unsigned)number, out, &why) < 0)
		return cli_fail(cli, CLI_FAILED, "%s", why.text);
	hello->ifindex = if_nametoindex(device);
	if (!slice_to_str(slice_str(device), hello->device, sizeof(hello->device)) ||
	    !slice_to_str(slice_str(name), hello->extension, sizeof(hello->extension))) {
		spine_channel_close(*out);
		return cli_fail(cli, CLI_USAGE, "a name is too long");
	}
	return CLI_OK;
}

/* ---- a program that we start ---- */

static _Noreturn void become(const struct who *who, int connection, char **argv)
{
	char text[16];

	if (who->name != NULL ? initgroups(who->name, who->gid) < 0 : setgroups(0, NULL) < 0)
		_exit(126);
	if (setresgid(who->gid, who->gid, who->gid) < 0 || setresuid(who->uid, who->uid, who->uid) < 0)
		_exit(126);
	if (connection == CHILD_FD ? fcntl(connection, F_SETFD, 0) < 0 :
				     dup2(connection, CHILD_FD) < 0)
		_exit(126);
	snprintf(text, sizeof(text), "%d", CHILD_FD);
	if (setenv(HANDOFF_ENV, text, 1) < 0)
		_exit(126);
	execv(argv[0], argv);
	dprintf(STDERR_FILENO, "prickle spine share: %s: %s\n", argv[0], strerrordesc_np(errno));
	_exit(127);
}

/* Until the program ends; how it ended. */
static int attend(struct serve *s, pid_t child, int pidfd)
{
	int status;

	for (;;) {
		struct pollfd wait[2] = { { .fd = pidfd, .events = POLLIN },
					  { .fd = s->connection, .events = POLLIN } };

		if (poll(wait, 2, -1) < 0 && errno != EINTR)
			break;
		if (s->connection >= 0 && wait[1].revents != 0 && serve_answer(s) < 0)
			serve_end(s);
		if (wait[0].revents != 0)
			break;
	}
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int share_command(struct cli *cli, struct serve *s, const struct who *who)
{
	size_t count = cli_arg_count(cli) - 1;
	AUTO_FREE char **argv = calloc(count + 1, sizeof(*argv));
	int pair[2];

	if (argv == NULL)
		return cli_fail(cli, CLI_FAILED, "%s", strerrordesc_np(ENOMEM));
	for (size_t i = 0; i < count; i++)
		argv[i] = (char *)(uintptr_t)cli_arg(cli, i + 1);	/* execv does not write to them */
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return cli_fail(cli, CLI_FAILED, "a pair of sockets: %s", strerrordesc_np(errno));
	pid_t child = fork();
	if (child == 0)
		become(who, pair[1], argv);
	close(pair[1]);
	AUTO_FD int pidfd = child < 0 ? -1 : (int)syscall(SYS_pidfd_open, child, 0);
	if (pidfd < 0) {
		close(pair[0]);
		return cli_fail(cli, CLI_FAILED, "cannot start '%s': %s", argv[0], strerrordesc_np(errno));
	}
	(void)serve_begin(s, pair[0]);	/* when it has gone already, its status tells */
	return attend(s, child, pidfd);
}

/* ---- programs that come ---- */

/*
 * The socket gets its owner by descriptor: a path in a directory of the user's may lead elsewhere by now, and what it
 * leads to would be his.
 */
static int give_away(const char *path, const struct who *who)
{
	struct stat st;
	AUTO_FD int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISSOCK(st.st_mode) || st.st_uid != geteuid() || st.st_nlink != 1)
		return -EBUSY;
	return fchownat(fd, "", who->uid, who->gid, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

static int listen_at(struct cli *cli, const char *path, const struct who *who, int *out)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	AUTO_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t old;
	int err = 0;

	if (!slice_to_str(slice_str(path), address.sun_path, sizeof(address.sun_path)))
		return cli_fail(cli, CLI_USAGE, "the socket's path is too long");
	old = umask(0177);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		err = errno;
	umask(old);
	if (err != 0)
		return cli_fail(cli, CLI_FAILED, "socket '%s': %s%s", path, strerrordesc_np(err),
				err == EADDRINUSE ? "; remove it if no other 'prickle spine share' uses it" : "");
	err = give_away(path, who);
	if (err == 0 && listen(fd, 8) < 0)
		err = -errno;
	if (err < 0) {
		err = -err;
		unlink(path);
		return cli_fail(cli, CLI_FAILED, "socket '%s': %s", path, strerrordesc_np(err));
	}
	*out = TAKE_FD(fd);
	return CLI_OK;
}

static void welcome(struct serve *s, int listener, const struct who *who)
{
	struct handoff no = s->hello;
	struct ucred peer = { 0 };
	socklen_t bytes = sizeof(peer);
	AUTO_FD int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	no.kind = HANDOFF_HELLO;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) < 0 ||
	    (peer.uid != who->uid && peer.uid != 0))
		no.status = -EACCES;
	else if (s->connection >= 0)
		no.status = -EBUSY;
	if (no.status < 0)
		(void)handoff_send(fd, &no, NULL, 0);
	else
		(void)serve_begin(s, TAKE_FD(fd));
}

static int share_socket(struct cli *cli, struct serve *s, const struct who *who)
{
	const char *path = cli_value(cli, "socket");
	AUTO_FD int listener = -1, signals = -1;
	sigset_t ends;
	int code;

	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	signals = signalfd(-1, &ends, SFD_CLOEXEC);
	if (signals < 0)
		return cli_fail(cli, CLI_FAILED, "signals: %s", strerrordesc_np(errno));
	code = listen_at(cli, path, who, &listener);
	if (code != CLI_OK)
		return code;
	for (;;) {
		struct pollfd wait[3] = { { .fd = signals, .events = POLLIN },
					  { .fd = listener, .events = POLLIN },
					  { .fd = s->connection, .events = POLLIN } };

		if (poll(wait, 3, -1) < 0 && errno != EINTR)
			break;
		if (wait[0].revents != 0)
			break;
		if (s->connection >= 0 && wait[2].revents != 0 && serve_answer(s) < 0)
			serve_end(s);
		if (wait[1].revents != 0)
			welcome(s, listener, who);
	}
	unlink(path);
	return CLI_OK;
}

static int spine_share(struct cli *cli)
{
	struct spine_channel_fds fds;
	struct handoff hello = { 0 };
	struct spine_channel *c;
	struct serve s;
	struct who who = { 0 };
	bool starts = cli_arg_count(cli) > 1;
	AUTO_FD int held = -1;
	int code = find_user(cli, &who);

	if (code == CLI_OK && starts == cli_has(cli, "socket"))
		code = cli_fail(cli, CLI_USAGE, "give a COMMAND to start or a --socket to wait on, and not both");
	if (code == CLI_OK && starts && strchr(cli_arg(cli, 1), '/') == NULL)
		code = cli_fail(cli, CLI_USAGE, "give the command with its path, such as /usr/bin/%s", cli_arg(cli, 1));
	if (code == CLI_OK)
		code = open_channel(cli, &hello, &held, &c);
	if (code != CLI_OK)
		return code;
	spine_channel_fds(c, &fds);
	serve_init(&s, &fds, &hello);
	code = starts ? share_command(cli, &s, &who) : share_socket(cli, &s, &who);
	serve_end(&s);
	spine_channel_close(c);
	return code;
}

const struct cli_command cmd_spine_share = {
	.words = "spine share", .summary = "give a program without privileges a channel to an extension",
	.description = "The program gets descriptors - to call, to queue, to map - and nothing else; it opens them "
		"with spine_channel_connect() of libprickle-spine. With a COMMAND, that is started as --user and its "
		"exit code is ours. With --socket, programs of that user connect, one at a time, until SIGTERM.",
	.args = share_args, .options = share_options, .run = spine_share,
	.examples = (const char *const[]){
		"prickle spine share lb --dev eth0 --user www-data -- /usr/bin/balancer --verbose",
		"prickle spine share lb --dev eth0 --channel 1 --user www-data --socket /run/lb.sock", NULL },
};
