/*
 * The role table: the processes of a node, in one place. What each may do is in the policy (`domain mx = service role "mx"`); here is
 * what a policy does not say. The supervisor starts roles from it, role_main builds the sandbox, `prickle roles` prints both, and
 * tests/roles compares them with the live processes.
 */
#pragma once
#include "base/buf.h"
#include "policy/service.h"
#include "roles/role.h"
#include "sys/sandbox.h"

#define ROLE_BIT(id)	 (1u << (id))
#define LISTEN_BIT(kind) (1u << (kind))
#define ROLE_INSTANCES_MAX 64u		/* of one role on a node */

struct role_row {
	enum role_id id;
	const char *name;
	const char *what;		/* one line for people */
	const struct role_ops *ops;	/* NULL: reserved */
	unsigned uid_offset;		/* added to roles.uid_base; 0: the supervisor's own uid */
	bool per_core;			/* one process a core, else one */
	bool one_shot;			/* not started by the supervisor: commands become it (spine/confine.h) */
	uint32_t mode;			/* SANDBOX_SUPERVISOR, SANDBOX_BPF; 0: a list of system calls that the policy's rows make */
	uint64_t data_bytes_max;	/* private memory */
	uint64_t files_max, threads_max;
	const char *metrics[6];		/* groups of metrics that its code moves (base/metrics.h) */
	uint32_t peers;			/* ROLE_BIT of the roles it has a channel with, besides the supervisor */
};

/* In the order of enum role_id: ROLE_COUNT rows. */
extern const struct role_row role_table[ROLE_COUNT];
/* The row of this name, or NULL. */
const struct role_row *role_find(struct slice name);
/* "smtp", "imaps", ...: names of enum listener_kind. */
const char *listener_name(enum listener_kind kind);

/*
 * The rights of a role by the policy in force (policy/service.h): files, listening sockets, kernel. 0; negative errno with a sentence: then the
 * role must not run. Reads the policy of this configuration, so before the sandbox.
 */
MUST_USE int role_floor(const struct role_row *row, const struct config *config, struct service_floor *out, struct errmsg *why);
uint32_t role_floor_listens(const struct service_floor *f);	/* LISTEN_BIT of the listeners it gets */
bool role_floor_has_files(const struct service_floor *f);

/* Paths of this node for places of the policy. */
struct role_paths {
	char text[SANDBOX_PATHS_MAX][1100];
	unsigned count;
};

/*
 * The sandbox of a role with this floor for this configuration. The texts that it points to live in
 * `paths`; all of it lives as long as paths and config. `root` tells whether uids can be changed.
 */
struct sandbox role_sandbox(const struct role_row *row, const struct service_floor *floor, const struct config *config, bool root,
			    struct role_paths *paths);

/* As text for people, or as JSON: the table with each role's rights under this policy (NULL: the shipped one). 0 or negative errno. */
MUST_USE int role_table_text(struct buf *out, const struct analysis *in_force, struct errmsg *why);
MUST_USE int role_table_json(struct buf *out, const struct analysis *in_force, struct errmsg *why);
