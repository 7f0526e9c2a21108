#include "roles/table.h"

#include <linux/capability.h>

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
		.mode = SANDBOX_SUPERVISOR,
		/* No files_max: its hard limit is what the roles can have at most. */
	},
	[ROLE_MX] = {
		.id = ROLE_MX, .name = "mx", .ops = &role_mx,
		.what = "takes mail from strangers (SMTP port 25, LMTP); may only append",
		.uid_offset = 1, .data_bytes_max = 4 * GIB, .files_max = 20000, .threads_max = 1,
		.metrics = { "mx", "smtp" },
		.peers = ROLE_BIT(ROLE_AUTH) | ROLE_BIT(ROLE_STORE),
	},
	[ROLE_FRONT] = {
		.id = ROLE_FRONT, .name = "front", .ops = &role_front,
		.what = "serves users: IMAP, POP3, submission; one process a core",
		.uid_offset = 2, .per_core = true, .data_bytes_max = 4 * GIB, .files_max = 20000,
		.threads_max = 1,
		.metrics = { "front", "imap", "pop3", "smtp", "policy" },
		.peers = ROLE_BIT(ROLE_AUTH) | ROLE_BIT(ROLE_STORE),
	},
	[ROLE_AUTH] = {
		.id = ROLE_AUTH, .name = "auth", .ops = &role_auth,
		.what = "passwords, TLS private keys, users and addresses",
		.uid_offset = 3, .data_bytes_max = 4 * GIB, .files_max = 4096, .threads_max = 64,
		.metrics = { "auth", "policy" },
		.peers = ROLE_BIT(ROLE_MX) | ROLE_BIT(ROLE_FRONT) | ROLE_BIT(ROLE_STORE) |
			 ROLE_BIT(ROLE_QUEUE) | ROLE_BIT(ROLE_CONTROL),
	},
	[ROLE_STORE] = {
		.id = ROLE_STORE, .name = "store", .ops = &role_store,
		.what = "the only one with the disk",
		.uid_offset = 4,
		.data_bytes_max = 16 * GIB, .files_max = 20000, .threads_max = 256,
		.metrics = { "store" },
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
		.mode = SANDBOX_BPF,
	},
	[ROLE_NET] = {
		.id = ROLE_NET, .name = "net", .one_shot = true,
		.what = "a translator's slow path: reads packets, advertisements and DNS answers; see nat64.instances",
		.mode = SANDBOX_BPF,
	},
	[ROLE_AUDIT] = {
		.id = ROLE_AUDIT, .name = "audit", .ops = &role_audit,
		.what = "copies records of decisions from memory to the audit's log",
		.uid_offset = 9,
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

/* --- printing -------------------------------------------------------------------------------- */

static const struct { unsigned bit; const char *name; } capability_names[] = {
	{ CAP_CHOWN, "chown" }, { CAP_DAC_OVERRIDE, "dac_override" }, { CAP_FOWNER, "fowner" },
	{ CAP_KILL, "kill" }, { CAP_SETGID, "setgid" }, { CAP_SETUID, "setuid" },
	{ CAP_SETPCAP, "setpcap" }, { CAP_NET_BIND_SERVICE, "net_bind_service" },
	{ CAP_NET_ADMIN, "net_admin" }, { CAP_NET_RAW, "net_raw" }, { CAP_PERFMON, "perfmon" }, { CAP_BPF, "bpf" },
};

static void capabilities_text(struct buf *out, uint64_t capabilities)
{
	const char *sep = "";

	for (size_t c = 0; c < ARRAY_LEN(capability_names); c++) {
		if ((capabilities >> capability_names[c].bit & 1) == 0)
			continue;
		buf_printf(out, "%s%s", sep, capability_names[c].name);
		sep = ", ";
	}
	buf_adds(out, *sep == '\0' ? "none" : "");
}

static void permissions_text(struct buf *out, enum policy_class class, uint32_t permissions)
{
	for (uint32_t left = permissions; left != 0; left &= left - 1)
		buf_printf(out, "%s%s", left == permissions ? "" : ", ", policy_permission_name(class, left & -left));
}

/* What it may by one row, and the line of the shipped policy that says so. */
static void right_text(struct buf *out, const struct service_row *r, const char *title)
{
	buf_printf(out, "  %-12s  %s%s", title, r->place == NULL ? "" : r->place, r->place == NULL ? "" : ": ");
	permissions_text(out, r->class, r->may);
	buf_printf(out, "%s  (default:%u)", r->may == 0 ? "nothing" : "", r->line);
	if (r->may != r->shipped) {
		buf_adds(out, "; taken away by the policy in force: ");
		permissions_text(out, r->class, r->shipped & ~r->may);
	}
	buf_adds(out, "\n");
}

static void rights_text(struct buf *out, const struct service_floor *f, enum policy_class class, const char *title)
{
	bool any = false;

	for (size_t i = 0; i < f->row_count; i++) {
		if (f->rows[i].class != class)
			continue;
		right_text(out, &f->rows[i], any ? "" : title);
		any = true;
	}
	if (!any)
		buf_printf(out, "  %-12s  none\n", title);
}

static void text_row(struct buf *out, const struct role_row *r, const struct service_floor *f)
{
	if (r->uid_offset != 0)
		buf_printf(out, "  user          roles.uid_base + %u\n", r->uid_offset);
	buf_adds(out, "  capabilities  ");
	capabilities_text(out, f->capabilities);
	buf_adds(out, "\n");
	rights_text(out, f, POLICY_KERNEL, "kernel");
	rights_text(out, f, POLICY_FILE, "files");
	rights_text(out, f, POLICY_ENDPOINT, "listeners");
	if (r->one_shot)
		return;
	buf_adds(out, "  channels to   supervisor");
	for (size_t p = 0; p < ROLE_COUNT; p++)
		if ((r->peers & ROLE_BIT(p)) != 0)
			buf_printf(out, ", %s", role_table[p].name);
	buf_adds(out, "\n");
}

/* Reserved roles have no rows. */
static bool has_floor(const struct role_row *r)
{
	return r->id == ROLE_SUPERVISOR || r->ops != NULL || r->one_shot;
}

int role_table_text(struct buf *out, const struct analysis *in_force, struct errmsg *why)
{
	for (size_t i = 0; i < ROLE_COUNT; i++) {
		const struct role_row *r = &role_table[i];
		struct service_floor f;
		int err = has_floor(r) ? policy_service_floor(in_force, r->name, &f, why) : 0;

		if (err != 0)
			return err;
		buf_printf(out, "%-10s  %s\n", r->name, r->what);
		if (has_floor(r))
			text_row(out, r, &f);
	}
	return 0;
}

static void json_names(struct buf *out, const char *key, const char *const *names)
{
	buf_printf(out, ",\"%s\":[", key);
	for (size_t i = 0; names[i] != NULL; i++)
		buf_printf(out, "%s\"%s\"", i == 0 ? "" : ",", names[i]);
	buf_adds(out, "]");
}

static void json_permissions(struct buf *out, const char *key, enum policy_class class, uint32_t permissions)
{
	const char *names[33];
	size_t n = 0;

	for (uint32_t left = permissions; left != 0; left &= left - 1)
		names[n++] = policy_permission_name(class, left & -left);
	names[n] = NULL;
	json_names(out, key, names);
}

static void json_rights(struct buf *out, const struct service_floor *f)
{
	buf_adds(out, ",\"rights\":[");
	for (size_t i = 0; i < f->row_count; i++) {
		const struct service_row *r = &f->rows[i];

		buf_printf(out, "%s{\"class\":\"%s\"", i == 0 ? "" : ",", policy_class_name(r->class));
		if (r->place != NULL)
			buf_printf(out, ",\"place\":\"%s\"", r->place);
		json_permissions(out, "may", r->class, r->may);
		json_permissions(out, "taken_away", r->class, r->shipped & ~r->may);
		buf_printf(out, ",\"rule\":\"default:%u\"}", r->line);
	}
	buf_adds(out, "]");
}

static void json_row(struct buf *out, const struct role_row *r, const struct service_floor *f)
{
	const char *names[ROLE_COUNT + 16];
	uint32_t listens = role_floor_listens(f);
	size_t n = 0;

	buf_printf(out, "{\"name\":\"%s\",\"what\":", r->name);
	admin_json_string(out, slice_str(r->what));
	buf_printf(out, ",\"available\":%s,\"one_shot\":%s,\"uid_offset\":%u,\"per_core\":%s",
		   r->ops != NULL || r->id == ROLE_SUPERVISOR ? "true" : "false", r->one_shot ? "true" : "false",
		   r->uid_offset, r->per_core ? "true" : "false");
	for (size_t i = 0; i < ARRAY_LEN(capability_names); i++)
		if ((f->capabilities >> capability_names[i].bit & 1) != 0)
			names[n++] = capability_names[i].name;
	names[n] = NULL;
	json_names(out, "capabilities", names);
	buf_printf(out, ",\"may_open_files\":%s,\"may_start_threads\":%s,\"may_start_programs\":%s", role_floor_has_files(f) ? "true" : "false",
		   (f->kernel & POLICY_KERNEL_THREAD) != 0 ? "true" : "false", r->mode == SANDBOX_SUPERVISOR ? "true" : "false");
	json_rights(out, f);
	n = 0;
	for (unsigned k = LISTEN_SMTP; k <= LISTEN_METRICS; k++)
		if ((listens & LISTEN_BIT(k)) != 0)
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

int role_table_json(struct buf *out, const struct analysis *in_force, struct errmsg *why)
{
	buf_adds(out, "{\"roles\":[");
	for (size_t i = 0; i < ROLE_COUNT; i++) {
		struct service_floor f = { 0 };
		int err = has_floor(&role_table[i]) ? policy_service_floor(in_force, role_table[i].name, &f, why) : 0;

		if (err != 0)
			return err;
		buf_adds(out, i == 0 ? "" : ",");
		json_row(out, &role_table[i], &f);
	}
	buf_adds(out, "]");
	json_names(out, "system_calls", sandbox_calls_base());
	json_names(out, "system_calls_with_files", sandbox_calls_files());
	json_names(out, "system_calls_that_end_the_process", sandbox_calls_deadly());
	buf_adds(out, "}\n");
	return 0;
}
