/*
 * The role table: what each process of a node may do, in one place. The supervisor starts
 * roles from it, role_main builds the sandbox from it, `prickle roles` prints it, and
 * tests/roles compares it with the live processes.
 */
#pragma once
#include "base/buf.h"
#include "roles/role.h"
#include "sys/sandbox.h"

#define ROLE_BIT(id)	 (1u << (id))
#define LISTEN_BIT(kind) (1u << (kind))
#define ROLE_INSTANCES_MAX 64u		/* of one role on a node */

/* What a role sees of the state directory. */
enum role_files {
	ROLE_NO_FILES,
	ROLE_FILES_STATE,		/* all of it, but for tls/ when uids separate: store */
	ROLE_FILES_AUDIT,		/* its log, and rings of the others to read: audit */
	ROLE_FILES_TLS,			/* tls/ below it, and the configured certificate and key: auth */
};

struct role_row {
	enum role_id id;
	const char *name;
	const char *what;		/* one line for people */
	const struct role_ops *ops;	/* NULL: reserved */
	unsigned uid_offset;		/* added to roles.uid_base; 0: the supervisor's own uid */
	bool per_core;			/* one process a core, else one */
	bool one_shot;			/* not started by the supervisor: commands become it (spine/confine.h) */
	uint32_t sandbox_flags;		/* of enum sandbox_flags */
	uint64_t capabilities;		/* bits kept; none but for the supervisor and one_shot */
	enum role_files files;
	const char *reads[6];		/* further paths to read */
	uint64_t data_bytes_max;	/* private memory */
	uint64_t files_max, threads_max;
	uint32_t listens;		/* LISTEN_BIT of the listeners it gets */
	const char *metrics[6];		/* groups of metrics that its code moves (base/metrics.h) */
	uint32_t peers;			/* ROLE_BIT of the roles it has a channel with, besides the supervisor */
};

/* In the order of enum role_id: ROLE_COUNT rows. */
extern const struct role_row role_table[ROLE_COUNT];
/* The row of this name, or NULL. */
const struct role_row *role_find(struct slice name);
/* "smtp", "imaps", ...: names of enum listener_kind. */
const char *listener_name(enum listener_kind kind);

/* As text for people, or as a JSON array. */
void role_table_text(struct buf *out);
void role_table_json(struct buf *out);

/*
 * The sandbox of a role for this configuration. The texts that *box points to live in
 * `paths`; all of it lives as long as paths and config. `root` tells whether uids can be changed.
 */
struct role_paths {
	char text[SANDBOX_PATHS_MAX][1100];
};
struct sandbox role_sandbox(const struct role_row *row, const struct config *config, bool root,
			    struct role_paths *paths);
