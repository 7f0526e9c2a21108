/*
 * All mail, for the commands `prickle mail ...`: from the store of a node that runs, or from the
 * state directory of one that does not.
 *
 * Over the node: its store's own socket (roles/operator.h) for mail, its control socket for the
 * names of users. Without: the engine itself, under the locks that keep a node from starting
 * meanwhile, and with the store's uid for files, since what root would make there the store
 * could not open.
 */
#pragma once
#include "cli/cli.h"
#include "engine/embedded/embedded.h"
#include "engine/engine.h"

struct mailstore;

#define CLI_OPTION_STATE								\
	{ "state", '\0', "DIR", "work on this state directory; its node must not run", CLI_DIRECTORY }

struct mail_user {
	char *address;			/* canonical */
	char account[17];		/* hex digits; "" when the directory's record is damaged */
};

enum mailstore_flags {
	MAILSTORE_OFFLINE = 1 << 0,	/* only without a node */
	MAILSTORE_REBUILD = 1 << 1,	/* drop the index first; with MAILSTORE_OFFLINE */
};

/*
 * Open, run fn(store, arg), close. fn may call the engine and block. Returns what fn returns,
 * or the exit code of the failure, which was told. The command has CLI_OPTION_CONFIG,
 * CLI_OPTION_SOCKET and CLI_OPTION_STATE.
 */
MUST_USE int mailstore_run(struct cli *cli, unsigned flags, int (*fn)(struct mailstore *ms, void *arg), void *arg);

struct cli *mailstore_cli(struct mailstore *ms);
struct engine *mailstore_engine(struct mailstore *ms);
struct world *mailstore_world(struct mailstore *ms);
/* A node runs and serves meanwhile. */
bool mailstore_online(const struct mailstore *ms);
/* Where the mail is: the socket or the state directory. */
const char *mailstore_place(const struct mailstore *ms);

/* Without a node: the engine's own check (see embedded_check) and its numbers. */
enum engine_result mailstore_check_log(struct mailstore *ms, struct embedded_report *report,
				       void (*found)(void *arg, const struct embedded_damage *damage), void *arg);
void mailstore_stats(struct mailstore *ms, struct embedded_stats *out);

/*
 * Users: those named, or (no names) all at `domain`, or all. Sorted by address; release with
 * mailstore_users_free. CLI_OK, or the failure was told: CLI_NOT_FOUND when a name is no user.
 */
MUST_USE int mailstore_users(struct mailstore *ms, const char *const *names, size_t name_count, const char *domain,
			     struct mail_user **out, size_t *count);
void mailstore_users_free(struct mail_user *users, size_t count);

/* A line of progress on standard error, when that is a terminal and the command prints no JSON; "" ends it. */
void mailstore_progress(struct mailstore *ms, const char *fmt, ...) PRINTF_LIKE(2, 3);
