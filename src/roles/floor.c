/*
 * From the policy's rows of a role (policy/service.h) to its sandbox: places become paths of this node's configuration, rights become Landlock's,
 * system calls and capabilities.
 */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "conf/config.h"
#include "policy/floor.h"
#include "policy/store.h"
#include "roles/table.h"

/* --- which rights ---------------------------------------------------------------------------- */

static int in_force(struct arena *arena, const struct config *config, const struct analysis **out, struct errmsg *why)
{
	char directory[POLICY_DIRECTORY_BYTES];
	struct policy_store *store;
	const struct policy *p;
	int err = policy_store_configured(config, directory);

	if (err != 0)
		return errmsg_set(why, err, "directory of the policy");
	err = policy_store_open(directory, 0, &store, why);
	if (err != 0)
		return err;
	err = policy_store_policy(store, arena, 0, &p, why);
	policy_store_close(store);
	if (err == 0 && analysis_new(arena, p, out) != 0)
		err = errmsg_set(why, -ENOMEM, "the policy in force");
	return err;
}

/* A supervisor or a loader with half of its work taken away would be no narrower where it matters, only broken. */
static int check_mode(const struct role_row *row, const struct service_floor *f, struct errmsg *why)
{
	uint32_t needs = row->mode == 0 ? 0 : POLICY_KERNEL_FORK | POLICY_KERNEL_SOCKET | (row->mode == SANDBOX_BPF ? POLICY_KERNEL_BPF : 0);

	if ((f->kernel & needs) == needs)
		return 0;
	return errmsg_say(why, -EPERM, "the policy in force takes '%s' from the role '%s', which cannot work without; 'prickle policy check' tells more",
			  policy_permission_name(POLICY_KERNEL, needs & ~f->kernel), row->name);
}

int role_floor(const struct role_row *row, const struct config *config, struct service_floor *out, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	const struct analysis *a = NULL;
	struct service_floor f;
	int err = in_force(&arena, config, &a, why);

	if (err == 0)
		err = policy_service_floor(a, row->name, &f, why);
	if (err == 0)
		err = check_mode(row, &f, why);
	if (err == 0)
		*out = f;
	return err;
}

uint32_t role_floor_listens(const struct service_floor *f)
{
	uint32_t listens = 0;

	for (unsigned k = LISTEN_SMTP; k <= LISTEN_METRICS; k++)
		if ((service_floor_may(f, POLICY_ENDPOINT, listener_name((enum listener_kind)k)) & POLICY_ENDPOINT_LISTEN) != 0)
			listens |= LISTEN_BIT(k);
	return listens;
}

bool role_floor_has_files(const struct service_floor *f)
{
	for (size_t i = 0; i < f->row_count; i++)
		if (f->rows[i].class == POLICY_FILE && f->rows[i].may != 0)
			return true;
	return false;
}

/* --- where ----------------------------------------------------------------------------------- */

static void add(struct role_paths *paths, const char *path)
{
	if (paths->count == SANDBOX_PATHS_MAX || strlen(path) >= sizeof(paths->text[0]))
		return;		/* fewer rules: less is allowed, never more */
	memcpy(paths->text[paths->count++], path, strlen(path) + 1);
}

static void add_in(struct role_paths *paths, const char *directory, const char *name)
{
	char path[sizeof(paths->text[0])];

	if (snprintf(path, sizeof(path), "%s/%s", directory, name) < (int)sizeof(path))
		add(paths, path);
}

/*
 * A certificate is renewed by replacing the file, so the rule is for its directory; and the
 * name is often a link to another directory, where the new one will be, too.
 */
static void add_directory_of(struct role_paths *paths, const char *file)
{
	char link[PATH_MAX], *real;

	if (*file == '\0' || strlen(file) >= sizeof(link))
		return;
	memcpy(link, file, strlen(file) + 1);
	add(paths, dirname(link));
	real = realpath(file, NULL);
	if (real != NULL)
		add(paths, dirname(real));
	free(real);
}

static void add_audit(struct role_paths *paths, const struct config *config, bool rings)
{
	char policy[POLICY_DIRECTORY_BYTES], run[POLICY_DIRECTORY_BYTES];

	if (policy_store_configured(config, policy) == 0 && policy_store_run(policy, run) == 0)
		add_in(paths, rings ? run : policy, "audit");
}

static void place_paths(const char *place, const struct config *config, struct role_paths *paths)
{
	/* RocksDB looks at processors and at the block device; libc's malloc at overcommit. */
	static const char *const system[] = { "/proc/self", "/proc/meminfo", "/proc/sys/vm/overcommit_memory", "/sys/devices/system/cpu",
					      "/sys/dev/block", "/sys/devices" };

	if (strcmp(place, "state") == 0) {
		add(paths, config->state);
	} else if (strcmp(place, "tls") == 0) {
		add_in(paths, config->state, "tls");
	} else if (strcmp(place, "certificates") == 0) {
		add_directory_of(paths, config->tls_certificate);
		add_directory_of(paths, config->tls_key);
	} else if (strcmp(place, "audit") == 0 || strcmp(place, "rings") == 0) {
		add_audit(paths, config, *place == 'r');
	} else if (strcmp(place, "machine") == 0) {
		add(paths, "/");
	} else if (strcmp(place, "system") == 0) {
		for (size_t i = 0; i < ARRAY_LEN(system); i++)
			add(paths, system[i]);
	}
}

/* --- the sandbox ----------------------------------------------------------------------------- */

/* A descriptor a session, and some for channels and listening sockets. */
static uint64_t files_for(const struct role_row *row, const struct config *config)
{
	uint64_t sessions = row->id == ROLE_FRONT ? config->front_sessions_max :
			    row->id == ROLE_MX	  ? config->mx_sessions_max : 0;

	return MAX(row->files_max, sessions == 0 ? 0 : sessions + 1000);
}

struct sandbox role_sandbox(const struct role_row *row, const struct service_floor *floor, const struct config *config, bool root,
			    struct role_paths *paths)
{
	const uint32_t change = POLICY_FILE_READ | POLICY_FILE_WRITE | POLICY_FILE_CREATE | POLICY_FILE_DELETE;
	struct sandbox box = {
		.flags = row->mode,
		.uid = root && row->uid_offset != 0 ? (uid_t)config->roles_uid_base + row->uid_offset : 0,
		.capabilities = floor->capabilities,
		.data_bytes_max = row->data_bytes_max,
		.files_max = files_for(row, config),
		.threads_max = row->threads_max,
	};
	bool whole = row->mode != 0 && (service_floor_may(floor, POLICY_FILE, "machine") & change) == change;

	if (row->mode == 0)
		box.flags |= (role_floor_has_files(floor) ? SANDBOX_FILES : 0) | ((floor->kernel & POLICY_KERNEL_THREAD) != 0 ? SANDBOX_THREADS : 0);
	else if (!whole)
		box.flags |= SANDBOX_PATHS;
	paths->count = 0;
	for (size_t i = 0; i < floor->row_count && !whole; i++) {
		const struct service_row *r = &floor->rows[i];
		unsigned from = paths->count;

		if (r->class != POLICY_FILE || r->may == 0)
			continue;
		place_paths(r->place, config, paths);
		for (; from < paths->count; from++)
			box.paths[box.path_count++] = (struct sandbox_path){ paths->text[from], policy_floor_landlock(r->may) };
	}
	return box;
}
