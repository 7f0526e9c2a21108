/*
 * What was refused when an extension was linked goes to the audit: one record a reason, by its domain. A verdict, and `attach`, are permissions on the
 * device's port; for all else (`use helper NAME` and its kin, limits) the record has no permission, and its text says what is missing.
 */
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spine/device_private.h"

void device_audit_open(struct spine_device *d)
{
	struct errmsg nothing;
	/* Without a ring nothing is told: the refusal stands all the same. */
	int fd = d->store == NULL ? -1 : policy_store_ring_fd(d->store, "spine", &nothing);

	if (fd < 0)
		return;
	if (policy_ring_attach(&d->audit, fd, &nothing) == 0)
		d->audit_fd = fd;
	else
		close(fd);
}

void device_audit_close(struct spine_device *d)
{
	policy_ring_detach(&d->audit);
	fd_close(&d->audit_fd);
}

static uint32_t permission_of(const char *rule)
{
	struct slice first, rest;

	slice_cut(slice_str(rule), ' ', &first, &rest);
	if (slice_eq(first, SLICE("verdict")))
		return policy_permission_find(POLICY_PORT, slice_eq(rest, SLICE("tx")) ? SLICE("reflect") : rest);
	return slice_eq(first, SLICE("attach")) ? policy_permission_find(POLICY_PORT, first) : 0;
}

uint64_t device_audit_tell(struct spine_device *d, const struct spine_rights *r, const struct inspect_report *report)
{
	uint64_t first = 0;
	struct timespec now;

	if (d->audit_fd < 0 || r == NULL || report->finding_count == 0)
		return 0;
	clock_gettime(CLOCK_REALTIME, &now);
	/* One ring for all commands of this kind: one writes at a time, and goes on where the one before it ended. */
	if (flock(d->audit_fd, LOCK_EX) != 0)
		return 0;
	d->audit.next = atomic_load_explicit(&d->audit.ring->next, memory_order_acquire);
	for (size_t i = 0; i < report->finding_count; i++) {
		const char *rule = report->findings[i].rule;
		struct policy_record record = {
			.time_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000, .epoch = d->view->epoch, .subject = r->number,
			.class = POLICY_PORT, .permission = permission_of(rule), .result = POLICY_RESULT_DENIED, .insn = report->findings[i].insn,
		};
		uint64_t id;

		if (record.permission != 0 && d->view->table != NULL)
			record.object = policy_object_nic(d->view->table, slice_str(d->name));
		id = policy_ring_write(&d->audit, &record, slice_str(r->name), slice_str(record.permission != 0 ? d->name : rule),
				       record.permission != 0 ? SLICE("spine install") : SLICE("spine install, when it was linked"));
		first = i == 0 ? id : first;
	}
	(void)flock(d->audit_fd, LOCK_UN);
	return first;
}
