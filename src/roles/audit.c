/*
 * The audit role: reads the rings of all processes and keeps their records in a log (policy/audit_log.h).
 *
 * Rings tell nobody that they grew, since that would cost a system call a decision; so it looks four times a second. Records that were overwritten
 * before it came are counted. It believes nothing that a ring says: its writer may be subverted.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/event.h"
#include "base/metrics.h"
#include "policy/authority.h"
#include "policy/rings.h"
#include "policy/store.h"
#include "roles/admin.h"
#include "roles/role.h"
#include "sys/loop.h"

#define LOOK_US	    250000
#define HANGING_US  10000000		/* an apply that took so long was interrupted */

METRIC_COUNTER(kept, "prickle_policy_records_kept", "Records of decisions that were written to the audit's log");
METRIC_COUNTER(lost, "prickle_policy_records_lost", "Records of decisions that were overwritten before they were written to the audit's log");
METRIC_GAUGE(epoch, "prickle_policy_epoch", "Number of the policy in force; 0: the shipped one");

struct audit {
	struct role_context *ctx;
	int log_dir, ring_dir;
	struct policy_log *log;
	struct policy_rings *rings;
	struct timer look;
	struct errmsg why;		/* code 0: the log is written */
	uint64_t kept, lost;
	int64_t narrow_since_us;	/* the table is between two epochs; 0: it is not */
};

static int open_at(const char *directory, int *out, struct errmsg *why)
{
	char path[POLICY_DIRECTORY_BYTES + 8];

	snprintf(path, sizeof(path), "%s/audit", directory);
	*out = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *out < 0 ? errmsg_set(why, -errno, "open '%s'", path) : 0;
}

/* While we may still come here by its full name. */
static int start(struct role_context *ctx, struct errmsg *why)
{
	char directory[POLICY_DIRECTORY_BYTES], run[POLICY_DIRECTORY_BYTES];
	struct audit *a = calloc(1, sizeof(*a));
	int err;

	if (a == NULL || policy_store_configured(ctx->config, directory) != 0 || policy_store_run(directory, run) != 0)
		return errmsg_set(why, -ENOMEM, "audit");
	ctx->state = a;
	a->ctx = ctx;
	err = open_at(directory, &a->log_dir, why);
	return err != 0 ? err : open_at(run, &a->ring_dir, why);
}

static uint64_t newest(void *arg, uint16_t ring)
{
	return policy_log_newest(arg, ring);
}

static bool keep(void *arg, const struct policy_entry *e)
{
	struct audit *a = arg;

	if (policy_log_add(a->log, e, &a->why) != 0)
		return false;
	a->kept++;
	a->lost += e->lost;
	metric_add(&kept, 0, 1);
	metric_add(&lost, 0, e->lost);
	return true;
}

static void watch_epoch(struct audit *a)
{
	struct policy_full full = policy_cell_full(&a->ctx->authority->table, 0, 0, 1);

	metric_set(&epoch, 0, full.epoch);
	if (full.previous == 0)
		a->narrow_since_us = 0;
	else if (a->narrow_since_us == 0)
		a->narrow_since_us = loop_now_us(a->ctx->loop);
}

static void look(struct timer *t)
{
	struct audit *a = container_of(t, struct audit, look);
	bool failed = a->why.code != 0;
	uint64_t before = a->kept;
	int err;

	a->why = (struct errmsg){ 0 };
	err = policy_rings_read(a->rings, &a->ctx->authority->table, keep, a);
	if (err == 0 && a->kept != before)
		err = policy_log_sync(a->log, &a->why);
	if (err != 0 && a->why.code == 0)
		errmsg_set(&a->why, err, "read the audit rings");
	if (err != 0 && !failed) {
		event_why(a->ctx->ev, &a->why);
		event_error(a->ctx->ev, "records of decisions are lost until the audit's log can be written");
	}
	watch_epoch(a);
	loop_timer_set(a->ctx->loop, t, LOOK_US);
}

static int run(struct role_context *ctx, struct errmsg *why)
{
	struct audit *a = ctx->state;
	int err = policy_log_open(a->log_dir, POLICY_LOG_SEGMENT_BYTES, POLICY_LOG_SEGMENTS_KEPT, &a->log, why);

	if (err == 0)
		err = policy_rings_open(a->ring_dir, newest, a->log, &a->rings, why);
	if (err != 0)
		return err;
	a->look.fn = look;
	look(&a->look);
	role_ready(ctx);
	return 0;
}

static void stop(struct role_context *ctx)
{
	struct audit *a = ctx->state;

	/* What the others wrote as they ended. */
	loop_timer_cancel(ctx->loop, &a->look);
	look(&a->look);
	role_exit(ctx);
}

static void add_problem(struct buf *json, const char **between, const char *what, const char *run)
{
	buf_printf(json, "%s{\"what\":", *between);
	admin_json_string(json, slice_str(what));
	buf_adds(json, ",\"run\":");
	admin_json_string(json, slice_str(run));
	buf_adds(json, "}");
	*between = ",";
}

static void status(struct role_context *ctx, struct buf *json)
{
	struct audit *a = ctx->state;
	struct policy_full full = policy_cell_full(&ctx->authority->table, 0, 0, 1);
	const char *between = "";

	buf_printf(json, "\"epoch\":%llu,\"records\":%llu,\"lost\":%llu,\"problems\":[", (unsigned long long)full.epoch,
		   (unsigned long long)a->kept, (unsigned long long)a->lost);
	if (a->why.code != 0)
		add_problem(json, &between, a->why.text, "df");
	if (a->narrow_since_us != 0 && loop_now_us(ctx->loop) - a->narrow_since_us > HANGING_US)
		add_problem(json, &between, "a change of the policy was interrupted: only what the old and the new one both allow is allowed",
			    "prickle policy epochs");
	buf_adds(json, "]");
}

const struct role_ops role_audit = { .start = start, .run = run, .stop = stop, .status = status };
