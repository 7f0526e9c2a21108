#include "cli/mailstore.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/node.h"
#include "conf/config.h"
#include "engine/remote.h"
#include "mail/directory/directory.h"
#include "roles/operator.h"
#include "sys/fiber.h"
#include "sys/loop.h"

#define CALL_TIMEOUT_US (120 * 1000000ll)
#define LIST_PAGE	256u
#define PROGRESS_NS	100000000ll

struct mailstore {
	struct cli *cli;
	struct config *config;
	int (*fn)(struct mailstore *ms, void *arg);
	void *arg;
	int code;
	bool online, progress, progress_shown;
	int64_t progress_ns;
	char place[1024];
	struct world *world;
	struct engine *engine;		/* what the command uses */
	/* Over the node. */
	struct loop *loop;
	struct remote *remote;
	struct remote_handle handle;
	bool done;
	/* Without. */
	int state_fd;
	struct engine *embedded;
	struct engine as_store;		/* `embedded`, each call under the store's uid */
	uid_t uid, own_uid;
	gid_t gid, own_gid;
};

struct cli *mailstore_cli(struct mailstore *ms)
{
	return ms->cli;
}

struct engine *mailstore_engine(struct mailstore *ms)
{
	return ms->engine;
}

struct world *mailstore_world(struct mailstore *ms)
{
	return ms->world;
}

bool mailstore_online(const struct mailstore *ms)
{
	return ms->online;
}

const char *mailstore_place(const struct mailstore *ms)
{
	return ms->place;
}

/* ---- progress ---- */

void mailstore_progress(struct mailstore *ms, const char *fmt, ...)
{
	struct timespec now;
	va_list ap;

	if (!ms->progress || (*fmt == '\0' && !ms->progress_shown))
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	int64_t ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	if (*fmt != '\0' && ns - ms->progress_ns < PROGRESS_NS)
		return;
	ms->progress_ns = ns;
	ms->progress_shown = *fmt != '\0';
	fputs("\r\033[K", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fflush(stderr);
}

/* ---- the engine under the store's uid ---- */

/* Of this thread alone; threads that the engine starts meanwhile inherit it. */
static void become_store(const struct mailstore *ms)
{
	setfsgid(ms->gid);
	setfsuid(ms->uid);
}

static void become_caller(const struct mailstore *ms)
{
	setfsuid(ms->own_uid);
	setfsgid(ms->own_gid);
}

#define STORE_OF(e) container_of(e, struct mailstore, as_store)
#define AS_STORE(e, call)						\
	struct mailstore *ms = STORE_OF(e);				\
	become_store(ms);						\
	enum engine_result r = call;					\
	become_caller(ms);						\
	return r

static enum engine_result as_apply(struct engine *e, const struct engine_op *op)
{
	AS_STORE(e, engine_apply(ms->embedded, op));
}

static enum engine_result as_stat(struct engine *e, struct slice object, struct engine_stat *out)
{
	AS_STORE(e, engine_stat(ms->embedded, object, out));
}

static enum engine_result as_read(struct engine *e, struct slice object, uint64_t at, size_t n, struct buf *out)
{
	AS_STORE(e, engine_read(ms->embedded, object, at, n, out));
}

static enum engine_result as_keys(struct engine *e, struct slice object, struct slice from, struct slice to,
				  size_t max_count, size_t max_bytes, struct arena *arena, struct engine_kv **out,
				  size_t *count, bool *more)
{
	AS_STORE(e, engine_keys(ms->embedded, object, from, to, max_count, max_bytes, arena, out, count, more));
}

static enum engine_result as_list(struct engine *e, struct slice prefix, struct slice after, size_t max_count,
				  struct arena *arena, struct slice **names, size_t *count)
{
	AS_STORE(e, engine_list(ms->embedded, prefix, after, max_count, arena, names, count));
}

static int as_watch(struct engine *e, struct slice object, void (*fn)(void *arg), void *arg, uint64_t *id)
{
	return engine_watch(STORE_OF(e)->embedded, object, fn, arg, id);
}

static void as_unwatch(struct engine *e, uint64_t id)
{
	engine_unwatch(STORE_OF(e)->embedded, id);
}

static enum engine_result as_lease(struct engine *e, struct slice name, struct slice owner, int64_t duration_us)
{
	return engine_lease(STORE_OF(e)->embedded, name, owner, duration_us);
}

static enum engine_result as_unlease(struct engine *e, struct slice name, struct slice owner)
{
	return engine_unlease(STORE_OF(e)->embedded, name, owner);
}

static void as_close(struct engine *e)
{
	(void)e;
}

static const struct engine_vtable as_store_vtable = {
	.apply = as_apply, .stat = as_stat, .read = as_read, .keys = as_keys, .list = as_list, .watch = as_watch,
	.unwatch = as_unwatch, .lease = as_lease, .unlease = as_unlease, .close = as_close,
};

enum engine_result mailstore_check_log(struct mailstore *ms, struct embedded_report *report,
				       void (*found)(void *arg, const struct embedded_damage *damage), void *arg)
{
	become_store(ms);
	enum engine_result r = embedded_check(ms->embedded, report, found, arg);
	become_caller(ms);
	return r;
}

void mailstore_stats(struct mailstore *ms, struct embedded_stats *out)
{
	embedded_stats(ms->embedded, out);
}

/* ---- without a node ---- */

static void on_progress(void *arg, uint64_t done, uint64_t total)
{
	mailstore_progress(arg, "reading the log: %llu of %llu MiB", (unsigned long long)(done >> 20),
			   (unsigned long long)(total >> 20));
}

static int open_state(struct mailstore *ms)
{
	struct stat st;

	ms->state_fd = open(ms->place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (ms->state_fd < 0)
		return cli_fail(ms->cli, errno == EACCES ? CLI_REFUSED : CLI_NOT_FOUND,
				"open the state directory '%s': %s; name it with --state, or the node's socket with --socket",
				ms->place, strerrordesc_np(errno));
	if (flock(ms->state_fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
		return cli_fail(ms->cli, CLI_TEMPORARY,
				"a node runs on '%s'; stop it, or name its socket with --socket, where the command can "
				"work with it", ms->place);
	if (fstatat(ms->state_fd, "log", &st, 0) != 0 || !S_ISDIR(st.st_mode))
		return cli_fail(ms->cli, CLI_NOT_FOUND, "there is no mail in '%s' (no directory 'log')", ms->place);
	ms->uid = ms->own_uid;
	ms->gid = ms->own_gid;
	if (ms->own_uid == 0) {
		ms->uid = st.st_uid;
		ms->gid = st.st_gid;
	}
	return CLI_OK;
}

static int open_engine(struct mailstore *ms, unsigned flags)
{
	struct embedded_options o = {
		.segment_bytes = (uint32_t)ms->config->store_segment_bytes, .index = EMBEDDED_ROCKSDB,
		.no_compaction = true, .on_progress = on_progress, .arg = ms,
	};
	struct errmsg why = { 0 };
	char index[64];
	int err = 0;

	/* Not by its full name: as the store we may not be allowed through the directories above. */
	snprintf(index, sizeof(index), "/proc/self/fd/%d/index", ms->state_fd);
	o.index_dir = index;
	ms->world = world_real_new(ms->state_fd);
	if (ms->world == NULL)
		return cli_fail(ms->cli, CLI_FAILED, "out of memory");
	become_store(ms);
	if ((flags & MAILSTORE_REBUILD) != 0)
		err = embedded_drop_index(index, &why);
	if (err == 0)
		err = embedded_open(ms->world, &o, &ms->embedded, &why);
	become_caller(ms);
	mailstore_progress(ms, "%s", "");
	if (err == -EBUSY)
		return cli_fail(ms->cli, CLI_TEMPORARY, "%s; a node or another 'prickle mail' command works there: wait for it, or stop it",
				why.text);
	if (err != 0)
		return cli_fail(ms->cli, CLI_FAILED, "%s", why.text);
	ms->as_store.vt = &as_store_vtable;
	ms->engine = &ms->as_store;
	return CLI_OK;
}

static int run_offline(struct mailstore *ms, unsigned flags)
{
	const char *state = cli_value(ms->cli, "state");

	snprintf(ms->place, sizeof(ms->place), "%s", state != NULL ? state : ms->config->state);
	ms->own_uid = geteuid();
	ms->own_gid = getegid();
	int code = open_state(ms);
	if (code == CLI_OK)
		code = open_engine(ms, flags);
	if (code == CLI_OK)
		code = ms->fn(ms, ms->arg);
	if (ms->embedded != NULL) {
		become_store(ms);
		engine_close(ms->embedded);
		become_caller(ms);
	}
	return code;
}

/* ---- over the node ---- */

static void fiber_main(void *arg)
{
	struct mailstore *ms = arg;

	ms->code = ms->fn(ms, ms->arg);
	ms->done = true;
	loop_stop(ms->loop);
}

static int run_online(struct mailstore *ms, int fd)
{
	const struct remote_options o = { .timeout_us = CALL_TIMEOUT_US };
	int err = loop_new(&ms->loop);

	ms->online = true;
	ms->world = world_real_new(-1);
	if (err == 0 && ms->world == NULL)
		err = -ENOMEM;
	if (err == 0)
		err = remote_new(ms->loop, &o, &ms->remote);
	if (err == 0)
		err = remote_set_channel(ms->remote, fd);
	else
		close(fd);
	if (err == 0) {
		remote_handle_init(&ms->handle, ms->remote, NULL);
		ms->engine = &ms->handle.engine;
		err = fiber_start(ms->loop, fiber_main, ms);
	}
	if (err != 0)
		return cli_fail(ms->cli, CLI_FAILED, "speak with the store: %s", strerrordesc_np(-err));
	if (!ms->done)
		loop_run(ms->loop);
	/* The process ends soon: what the channel still holds goes with it. */
	return ms->code;
}

/* CLI_OK and a descriptor of the store; -1: no node runs where the configuration says. */
static int find_node(struct mailstore *ms, int *fd)
{
	const char *socket = cli_value(ms->cli, "socket");
	struct errmsg why = { 0 };

	*fd = -1;
	if (cli_value(ms->cli, "state") != NULL) {
		if (socket != NULL)
			return cli_fail(ms->cli, CLI_USAGE, "give --state or --socket, not both");
		return CLI_OK;
	}
	int err = operator_connect(socket != NULL ? socket : ms->config->control_socket, &why);
	if (err >= 0) {
		snprintf(ms->place, sizeof(ms->place), "%s", socket != NULL ? socket : ms->config->control_socket);
		*fd = err;
		return CLI_OK;
	}
	if (err == -EACCES || err == -EPERM)
		return cli_fail(ms->cli, CLI_REFUSED, "%s; only root and the user who runs the node may", why.text);
	if (socket != NULL || (err != -ENOENT && err != -ECONNREFUSED))
		return cli_fail(ms->cli, CLI_TEMPORARY, "%s; does the node run? without it, name its directory with --state",
				why.text);
	return CLI_OK;
}

int mailstore_run(struct cli *cli, unsigned flags, int (*fn)(struct mailstore *ms, void *arg), void *arg)
{
	AUTO_FREE struct mailstore *ms = calloc(1, sizeof(*ms));
	const char *path;
	int fd, code;

	if (ms == NULL)
		return cli_fail(cli, CLI_FAILED, "out of memory");
	umask(077);		/* mail is private, wherever it goes */
	ms->cli = cli;
	ms->fn = fn;
	ms->arg = arg;
	ms->state_fd = -1;
	ms->progress = isatty(STDERR_FILENO) == 1 && !cli_json(cli);
	code = cli_load_config(cli, &ms->config, &path);
	if (code == CLI_OK)
		code = find_node(ms, &fd);
	if (code != CLI_OK) {
		config_free(ms->config);
		return code;
	}
	if (fd >= 0 && (flags & MAILSTORE_OFFLINE) != 0) {
		close(fd);
		code = cli_fail(cli, CLI_REFUSED, "a node runs at %s; stop it first ('systemctl stop prickle', or end the demo)",
				ms->place);
	} else {
		code = fd >= 0 ? run_online(ms, fd) : run_offline(ms, flags);
	}
	mailstore_progress(ms, "%s", "");
	world_free(ms->world);
	if (ms->state_fd >= 0)
		close(ms->state_fd);
	config_free(ms->config);
	return code;
}

/* ---- users ---- */

static int by_address(const void *a, const void *b)
{
	return strcmp(((const struct mail_user *)a)->address, ((const struct mail_user *)b)->address);
}

void mailstore_users_free(struct mail_user *users, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(users[i].address);
	free(users);
}

struct user_list {
	struct mail_user *users;
	size_t count, cap;
};

static int add_user(struct mailstore *ms, struct user_list *l, struct slice address, const char *account)
{
	if (l->count == l->cap) {
		size_t cap = l->cap == 0 ? 16 : l->cap * 2;
		struct mail_user *p = reallocarray(l->users, cap, sizeof(*p));

		if (p == NULL)
			return cli_fail(ms->cli, CLI_FAILED, "out of memory");
		l->users = p;
		l->cap = cap;
	}
	struct mail_user *u = &l->users[l->count];
	*u = (struct mail_user){ .address = slice_strdup(address) };
	if (u->address == NULL)
		return cli_fail(ms->cli, CLI_FAILED, "out of memory");
	if (account != NULL)
		snprintf(u->account, sizeof(u->account), "%s", account);
	l->count++;
	return CLI_OK;
}

/* A request to the control role; on CLI_OK *out is the caller's. `a` and `b` may be NULL. */
static int ask_node(struct mailstore *ms, const char *verb, const char *a, const char *b, json_t **out)
{
	AUTO_BUF struct buf storage = BUF_INIT(ADMIN_JSON_BYTES + 64);
	struct admin_request req = { .object = SLICE("user"), .verb = slice_str(verb) };
	struct admin_reply reply;

	if (a != NULL)
		req.args[req.arg_count++] = slice_str(a);
	if (b != NULL)
		req.args[req.arg_count++] = slice_str(b);
	int code = node_ask(ms->cli, &req, &storage, &reply);
	if (code != CLI_OK)
		return code;
	if (reply.exit_code != ADMIN_OK)
		return node_fail(ms->cli, &reply);
	*out = json_loadb((const char *)reply.json.ptr, reply.json.len, 0, NULL);
	return *out != NULL ? CLI_OK : cli_fail(ms->cli, CLI_FAILED, "the node's answer is malformed");
}

static int show_online(struct mailstore *ms, const char *name, struct user_list *l)
{
	json_t *user;
	int code = ask_node(ms, "show", name, NULL, &user);

	if (code != CLI_OK)
		return code;
	code = add_user(ms, l, slice_str(json_string_value(json_object_get(user, "user"))),
			json_string_value(json_object_get(user, "account")));
	json_decref(user);
	return code;
}

static int list_online(struct mailstore *ms, const char *domain, struct user_list *l)
{
	char *after = NULL, *where = NULL;
	int code = CLI_OK;

	if (domain != NULL && asprintf(&where, "domain=%s", domain) < 0)
		return cli_fail(ms->cli, CLI_FAILED, "out of memory");
	do {
		json_t *page = NULL, *name;
		const char *next;
		size_t i;

		code = ask_node(ms, "list", where != NULL ? where : after, where != NULL ? after : NULL, &page);
		free(after);
		after = NULL;
		if (code != CLI_OK)
			break;
		json_array_foreach(json_object_get(page, "users"), i, name)
			if (code == CLI_OK)
				code = show_online(ms, json_string_value(name), l);
		next = json_string_value(json_object_get(page, "next"));
		if (next != NULL && asprintf(&after, "after=%s", next) < 0)
			code = cli_fail(ms->cli, CLI_FAILED, "out of memory");
		json_decref(page);
	} while (code == CLI_OK && after != NULL);
	free(after);
	free(where);
	return code;
}

static int show_offline(struct mailstore *ms, struct directory *d, struct slice name, bool listed, struct user_list *l)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct user_record u;
	struct address a;

	if (!mail_address_parse(&arena, name, &a))
		return cli_fail(ms->cli, CLI_USAGE, "'%.*s' is not an address", SLICE_FMT(name));
	switch (directory_user(d, &arena, a.text, &u)) {
	case DIR_OK:
		return add_user(ms, l, a.text, u.account);
	case DIR_DAMAGED:
		return add_user(ms, l, a.text, NULL);
	case DIR_ABSENT:
		return listed ? CLI_OK :
				cli_fail(ms->cli, CLI_NOT_FOUND, "there is no user %.*s; 'prickle user list' names them",
					 SLICE_FMT(name));
	default:
		return cli_fail(ms->cli, CLI_TEMPORARY, "the directory cannot be read");
	}
}

static int list_offline(struct mailstore *ms, struct directory *d, const char *domain, struct user_list *l)
{
	struct dir_cursor cursor = { 0 };
	bool more = true;

	while (more) {
		AUTO_ARENA struct arena arena = ARENA_INIT(4u << 20);
		struct slice names[LIST_PAGE];
		size_t count = 0;

		if (directory_list(d, &arena, DIR_USER, slice_str(domain), &cursor, LIST_PAGE, names, &count, &more) != DIR_OK)
			return cli_fail(ms->cli, CLI_FAILED, "the directory cannot be read");
		for (size_t i = 0; i < count; i++) {
			int code = show_offline(ms, d, names[i], true, l);

			if (code != CLI_OK)
				return code;
		}
	}
	return CLI_OK;
}

static int fill(struct mailstore *ms, const char *const *names, size_t name_count, const char *domain,
		struct user_list *l)
{
	struct directory *d = NULL;
	int code = CLI_OK;

	if (!ms->online && directory_new(ms->engine, 0, &d) != 0)
		return cli_fail(ms->cli, CLI_FAILED, "out of memory");
	if (name_count == 0)
		code = ms->online ? list_online(ms, domain, l) : list_offline(ms, d, domain, l);
	for (size_t i = 0; i < name_count && code == CLI_OK; i++)
		code = ms->online ? show_online(ms, names[i], l) :
				    show_offline(ms, d, slice_str(names[i]), false, l);
	directory_free(d);
	return code;
}

int mailstore_users(struct mailstore *ms, const char *const *names, size_t name_count, const char *domain,
		    struct mail_user **out, size_t *count)
{
	struct user_list l = { 0 };
	int code = fill(ms, names, name_count, domain, &l);

	if (code != CLI_OK) {
		mailstore_users_free(l.users, l.count);
		return code;
	}
	if (l.count > 0)
		qsort(l.users, l.count, sizeof(*l.users), by_address);
	*out = l.users;
	*count = l.count;
	return CLI_OK;
}
