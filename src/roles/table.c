#include "roles/table.h"

#include <libgen.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>

#include "conf/config.h"
#include "policy/store.h"
#include "roles/admin.h"

#define GIB (1024ull * 1024 * 1024)

/* A program that is built without one of these roles has no row of it to start. */
extern const struct role_ops role_mx __attribute__((weak)), role_front __attribute__((weak)),
	role_auth __attribute__((weak)), role_store __attribute__((weak)),
	role_queue __attribute__((weak)), role_control __attribute__((weak)),
	role_audit __attribute__((weak));

const struct role_row role_table[ROLE_COUNT] = {
	[ROLE_SUPERVISOR] = {
		.id = ROLE_SUPERVISOR, .name = "supervisor",
		.what = "starts the others, owns the listening sockets, reads nobody's bytes",
		.sandbox_flags = SANDBOX_SUPERVISOR,
		/*
		 * To bind low ports, give roles their uids and empty their bounding sets, end them,
		 * and give them their parts of the state directory.
		 */
		.capabilities = 1ull << CAP_NET_BIND_SERVICE | 1ull << CAP_SETUID | 1ull << CAP_SETGID |
				1ull << CAP_SETPCAP | 1ull << CAP_KILL | 1ull << CAP_CHOWN |
				1ull << CAP_FOWNER | 1ull << CAP_DAC_OVERRIDE,
		/* No files_max: its hard limit is what the roles can have at most. */
	},
	[ROLE_MX] = {
		.id = ROLE_MX, .name = "mx", .ops = &role_mx,
		.what = "takes mail from strangers (SMTP port 25, LMTP); may only append",
		.uid_offset = 1, .data_bytes_max = 4 * GIB, .files_max = 20000, .threads_max = 1,
		.metrics = { "mx", "smtp" },
		.listens = LISTEN_BIT(LISTEN_SMTP) | LISTEN_BIT(LISTEN_LMTP),
		.peers = ROLE_BIT(ROLE_AUTH) | ROLE_BIT(ROLE_STORE),
	},
	[ROLE_FRONT] = {
		.id = ROLE_FRONT, .name = "front", .ops = &role_front,
		.what = "serves users: IMAP, POP3, submission; one process a core",
		.uid_offset = 2, .per_core = true, .data_bytes_max = 4 * GIB, .files_max = 20000,
		.threads_max = 1,
		.metrics = { "front", "imap", "pop3", "smtp", "policy" },
		.listens = LISTEN_BIT(LISTEN_SUBMISSION) | LISTEN_BIT(LISTEN_SUBMISSIONS) |
			   LISTEN_BIT(LISTEN_IMAP) | LISTEN_BIT(LISTEN_IMAPS) | LISTEN_BIT(LISTEN_POP3) |
			   LISTEN_BIT(LISTEN_POP3S),
		.peers = ROLE_BIT(ROLE_AUTH) | ROLE_BIT(ROLE_STORE),
	},
	[ROLE_AUTH] = {
		.id = ROLE_AUTH, .name = "auth", .ops = &role_auth,
		.what = "passwords, TLS private keys, users and addresses",
		.uid_offset = 3, .sandbox_flags = SANDBOX_FILES | SANDBOX_THREADS, .files = ROLE_FILES_TLS,
		.data_bytes_max = 4 * GIB, .files_max = 4096, .threads_max = 64,
		.metrics = { "auth", "policy" },
		.peers = ROLE_BIT(ROLE_MX) | ROLE_BIT(ROLE_FRONT) | ROLE_BIT(ROLE_STORE) |
			 ROLE_BIT(ROLE_QUEUE) | ROLE_BIT(ROLE_CONTROL),
	},
	[ROLE_STORE] = {
		.id = ROLE_STORE, .name = "store", .ops = &role_store,
		.what = "the only one with the disk",
		.uid_offset = 4, .sandbox_flags = SANDBOX_FILES | SANDBOX_THREADS,
		.files = ROLE_FILES_STATE,
		/* RocksDB looks at processors and at the block device; libc's malloc at overcommit. */
		.reads = { "/proc/self", "/proc/meminfo", "/proc/sys/vm/overcommit_memory",
			   "/sys/devices/system/cpu", "/sys/dev/block", "/sys/devices" },
		.data_bytes_max = 16 * GIB, .files_max = 20000, .threads_max = 256,
		.metrics = { "store" },
		.listens = LISTEN_BIT(LISTEN_STORE),
		.peers = ROLE_BIT(ROLE_MX) | ROLE_BIT(ROLE_FRONT) | ROLE_BIT(ROLE_AUTH) |
			 ROLE_BIT(ROLE_QUEUE) | ROLE_BIT(ROLE_CONTROL),
	},
	[ROLE_QUEUE] = {
		.id = ROLE_QUEUE, .name = "queue", .ops = &role_queue,
		.what = "tries again what could not be delivered, tells senders",
		.uid_offset = 5, .data_bytes_max = 2 * GIB, .files_max = 4096, .threads_max = 1,
		.metrics = { "queue" },
		.peers = ROLE_BIT(ROLE_AUTH) | ROLE_BIT(ROLE_STORE) | ROLE_BIT(ROLE_CONTROL),
	},
	[ROLE_CONTROL] = {
		.id = ROLE_CONTROL, .name = "control", .ops = &role_control,
		.what = "the admin socket, metrics and health",
		.uid_offset = 6, .data_bytes_max = GIB, .files_max = 1024, .threads_max = 1,
		.metrics = { "control", "policy" },
		.listens = LISTEN_BIT(LISTEN_CONTROL) | LISTEN_BIT(LISTEN_METRICS),
		.peers = ROLE_BIT(ROLE_AUTH) | ROLE_BIT(ROLE_STORE) | ROLE_BIT(ROLE_QUEUE),
	},
	[ROLE_FILTER] = {
		.id = ROLE_FILTER, .name = "filter", .what = "reserved: Sieve and content filters",
		.uid_offset = 7,
	},
	[ROLE_WEB] = {
		.id = ROLE_WEB, .name = "web", .what = "reserved: console and JMAP", .uid_offset = 8,
	},
	[ROLE_SPINE] = {
		.id = ROLE_SPINE, .name = "spine", .one_shot = true,
		.what = "commands that load extensions, once they look at an object; serve does not start it",
		.sandbox_flags = SANDBOX_BPF,
		/* Programs and maps; XDP; the verifier's full powers for the dispatcher. As in spine/confine.c. */
		.capabilities = 1ull << CAP_BPF | 1ull << CAP_NET_ADMIN | 1ull << CAP_PERFMON,
	},
	[ROLE_NET] = {
		.id = ROLE_NET, .name = "net", .one_shot = true,
		.what = "a translator's slow path: reads packets, advertisements and DNS answers; see nat64.instances",
		.sandbox_flags = SANDBOX_BPF,
		/* Maps; rtnetlink and the TAP; raw sockets. As in nat64/run.c. */
		.capabilities = 1ull << CAP_BPF | 1ull << CAP_NET_ADMIN | 1ull << CAP_NET_RAW,
	},
	[ROLE_AUDIT] = {
		.id = ROLE_AUDIT, .name = "audit", .ops = &role_audit,
		.what = "copies records of decisions from memory to the audit's log",
		.uid_offset = 9, .sandbox_flags = SANDBOX_FILES, .files = ROLE_FILES_AUDIT,
		.data_bytes_max = GIB, .files_max = 2048, .threads_max = 1,
		.metrics = { "policy" },
	},
};

static const char *const listener_names[] = {
	[LISTEN_SMTP] = "smtp",		    [LISTEN_LMTP] = "lmtp",	[LISTEN_SUBMISSION] = "submission",
	[LISTEN_SUBMISSIONS] = "submissions", [LISTEN_IMAP] = "imap",	[LISTEN_IMAPS] = "imaps",
	[LISTEN_POP3] = "pop3",		    [LISTEN_POP3S] = "pop3s",	[LISTEN_CONTROL] = "control",
	[LISTEN_STORE] = "store",	    [LISTEN_METRICS] = "metrics",
};

const struct role_row *role_find(struct slice name)
{
	for (size_t i = 0; i < ROLE_COUNT; i++)
		if (slice_eq(name, slice_str(role_table[i].name)))
			return &role_table[i];
	return NULL;
}

const char *listener_name(enum listener_kind kind)
{
	return (size_t)kind < ARRAY_LEN(listener_names) && listener_names[kind] != NULL ?
		       listener_names[kind] : "unknown";
}

/* --- the sandbox ---------------------------------------------------------------------------- */

static void add_path(struct sandbox *box, struct role_paths *paths, const char *path, bool write)
{
	char *to;

	if (box->path_count == SANDBOX_PATHS_MAX || strlen(path) >= sizeof(paths->text[0]))
		return;		/* fewer rules: less is allowed, never more */
	to = paths->text[box->path_count];
	memcpy(to, path, strlen(path) + 1);
	box->paths[box->path_count++] = (struct sandbox_path){ .path = to, .write = write };
}

/*
 * A certificate is renewed by replacing the file, so the rule is for its directory; and the
 * name is often a link to another directory, where the new one will be, too.
 */
static void add_directory_of(struct sandbox *box, struct role_paths *paths, const char *file)
{
	char link[PATH_MAX], *real;

	if (*file == '\0' || strlen(file) >= sizeof(link))
		return;
	memcpy(link, file, strlen(file) + 1);
	add_path(box, paths, dirname(link), false);
	real = realpath(file, NULL);
	if (real != NULL)
		add_path(box, paths, dirname(real), false);
	free(real);
}

/* A descriptor a session, and some for channels and listening sockets. */
static uint64_t files_for(const struct role_row *row, const struct config *config)
{
	uint64_t sessions = row->id == ROLE_FRONT ? config->front_sessions_max :
			    row->id == ROLE_MX	  ? config->mx_sessions_max : 0;

	return MAX(row->files_max, sessions == 0 ? 0 : sessions + 1000);
}

struct sandbox role_sandbox(const struct role_row *row, const struct config *config, bool root,
			    struct role_paths *paths)
{
	struct sandbox box = {
		.flags = row->sandbox_flags,
		.uid = root && row->uid_offset != 0 ? (uid_t)config->roles_uid_base + row->uid_offset : 0,
		.capabilities = row->capabilities,
		.data_bytes_max = row->data_bytes_max,
		.files_max = files_for(row, config),
		.threads_max = row->threads_max,
	};
	char path[sizeof(paths->text[0])], policy[POLICY_DIRECTORY_BYTES], run[POLICY_DIRECTORY_BYTES];

	switch (row->files) {
	case ROLE_NO_FILES:
		break;
	case ROLE_FILES_STATE:
		add_path(&box, paths, config->state, true);
		break;
	case ROLE_FILES_AUDIT:
		if (policy_store_configured(config, policy) != 0 || policy_store_run(policy, run) != 0)
			break;
		if (snprintf(path, sizeof(path), "%s/audit", policy) < (int)sizeof(path))
			add_path(&box, paths, path, true);
		if (snprintf(path, sizeof(path), "%s/audit", run) < (int)sizeof(path))
			add_path(&box, paths, path, false);
		break;
	case ROLE_FILES_TLS:
		if (snprintf(path, sizeof(path), "%s/tls", config->state) < (int)sizeof(path))
			add_path(&box, paths, path, true);
		add_directory_of(&box, paths, config->tls_certificate);
		add_directory_of(&box, paths, config->tls_key);
		break;
	}
	for (size_t i = 0; i < ARRAY_LEN(row->reads) && row->reads[i] != NULL; i++)
		add_path(&box, paths, row->reads[i], false);
	return box;
}

/* --- printing -------------------------------------------------------------------------------- */

static const struct { unsigned bit; const char *name; } capability_names[] = {
	{ CAP_CHOWN, "chown" }, { CAP_DAC_OVERRIDE, "dac_override" }, { CAP_FOWNER, "fowner" },
	{ CAP_KILL, "kill" }, { CAP_SETGID, "setgid" }, { CAP_SETUID, "setuid" },
	{ CAP_SETPCAP, "setpcap" }, { CAP_NET_BIND_SERVICE, "net_bind_service" },
	{ CAP_NET_ADMIN, "net_admin" }, { CAP_NET_RAW, "net_raw" }, { CAP_PERFMON, "perfmon" }, { CAP_BPF, "bpf" },
};

static const char *files_text(enum role_files files)
{
	return files == ROLE_FILES_STATE ? "state directory, read and write" :
	       files == ROLE_FILES_AUDIT ? "the audit's log, read and write; audit rings of other roles, read" :
	       files == ROLE_FILES_TLS	 ? "tls/ in the state directory, read and write; configured certificate and key, read" :
					   "none";
}

void role_table_text(struct buf *out)
{
	for (size_t i = 0; i < ROLE_COUNT; i++) {
		const struct role_row *r = &role_table[i];
		const char *sep = "";

		buf_printf(out, "%-10s  %s\n", r->name, r->what);
		if (i != ROLE_SUPERVISOR && r->ops == NULL && !r->one_shot)
			continue;
		if (r->uid_offset != 0)
			buf_printf(out, "  user          roles.uid_base + %u\n", r->uid_offset);
		buf_adds(out, "  capabilities  ");
		for (size_t c = 0; c < ARRAY_LEN(capability_names); c++) {
			if ((r->capabilities >> capability_names[c].bit & 1) == 0)
				continue;
			buf_printf(out, "%s%s", sep, capability_names[c].name);
			sep = ", ";
		}
		buf_adds(out, *sep == '\0' ? "none\n" : "\n");
		buf_printf(out, "  files         %s\n", i == ROLE_SUPERVISOR || r->one_shot ? "not restricted" : files_text(r->files));
		if (r->one_shot) {
			buf_adds(out, "  may           use bpf(2), fork; start no programs, enter no namespaces\n");
			continue;
		}
		buf_printf(out, "  may           %s%s%s\n",
			   (r->sandbox_flags & SANDBOX_SUPERVISOR) != 0 ? "start roles, make sockets" : "use its sockets",
			   (r->sandbox_flags & SANDBOX_FILES) != 0 ? ", open files" : "",
			   (r->sandbox_flags & SANDBOX_THREADS) != 0 ? ", start threads" : "");
		buf_adds(out, "  listeners    ");
		for (unsigned k = LISTEN_SMTP; k <= LISTEN_METRICS; k++)
			if ((r->listens & LISTEN_BIT(k)) != 0)
				buf_printf(out, " %s", listener_name(k));
		buf_adds(out, r->listens == 0 ? " none\n" : "\n");
		buf_adds(out, "  channels to   supervisor");
		for (size_t p = 0; p < ROLE_COUNT; p++)
			if ((r->peers & ROLE_BIT(p)) != 0)
				buf_printf(out, ", %s", role_table[p].name);
		buf_adds(out, "\n");
	}
}

static void json_names(struct buf *out, const char *key, const char *const *names)
{
	buf_printf(out, ",\"%s\":[", key);
	for (size_t i = 0; names[i] != NULL; i++)
		buf_printf(out, "%s\"%s\"", i == 0 ? "" : ",", names[i]);
	buf_adds(out, "]");
}

static void json_row(struct buf *out, const struct role_row *r)
{
	const char *names[ROLE_COUNT + 16];
	size_t n = 0;

	buf_printf(out, "{\"name\":\"%s\",\"what\":", r->name);
	admin_json_string(out, slice_str(r->what));
	buf_printf(out, ",\"available\":%s,\"one_shot\":%s,\"uid_offset\":%u,\"per_core\":%s",
		   r->ops != NULL || r->id == ROLE_SUPERVISOR ? "true" : "false", r->one_shot ? "true" : "false",
		   r->uid_offset, r->per_core ? "true" : "false");
	for (size_t i = 0; i < ARRAY_LEN(capability_names); i++)
		if ((r->capabilities >> capability_names[i].bit & 1) != 0)
			names[n++] = capability_names[i].name;
	names[n] = NULL;
	json_names(out, "capabilities", names);
	buf_printf(out, ",\"may_open_files\":%s,\"may_start_threads\":%s,\"may_start_programs\":%s",
		   (r->sandbox_flags & SANDBOX_FILES) != 0 || r->one_shot ? "true" : "false",
		   (r->sandbox_flags & (SANDBOX_THREADS | SANDBOX_SUPERVISOR)) != 0 ? "true" : "false",
		   (r->sandbox_flags & SANDBOX_SUPERVISOR) != 0 ? "true" : "false");
	buf_adds(out, ",\"files\":");
	admin_json_string(out, slice_str(r->id == ROLE_SUPERVISOR || r->one_shot ? "not restricted" : files_text(r->files)));
	for (n = 0; n < ARRAY_LEN(r->reads) && r->reads[n] != NULL; n++)
		names[n] = r->reads[n];
	names[n] = NULL;
	json_names(out, "reads", names);
	n = 0;
	for (unsigned k = LISTEN_SMTP; k <= LISTEN_METRICS; k++)
		if ((r->listens & LISTEN_BIT(k)) != 0)
			names[n++] = listener_name(k);
	names[n] = NULL;
	json_names(out, "listeners", names);
	n = 0;
	for (size_t p = 0; p < ROLE_COUNT; p++)
		if ((r->peers & ROLE_BIT(p)) != 0)
			names[n++] = role_table[p].name;
	names[n] = NULL;
	json_names(out, "channels", names);
	buf_printf(out, ",\"data_bytes_max\":%llu,\"files_max\":%llu,\"threads_max\":%llu}",
		   (unsigned long long)r->data_bytes_max, (unsigned long long)r->files_max,
		   (unsigned long long)r->threads_max);
}

void role_table_json(struct buf *out)
{
	buf_adds(out, "{\"roles\":[");
	for (size_t i = 0; i < ROLE_COUNT; i++) {
		buf_adds(out, i == 0 ? "" : ",");
		json_row(out, &role_table[i]);
	}
	buf_adds(out, "]");
	json_names(out, "system_calls", sandbox_calls_base());
	json_names(out, "system_calls_with_files", sandbox_calls_files());
	json_names(out, "system_calls_that_end_the_process", sandbox_calls_deadly());
	buf_adds(out, "}\n");
}
