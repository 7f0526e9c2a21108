/*
 * What the files of a device share: the open device and the steps of a change. Not for others.
 *
 * The shape of every change: write records (generation + 1), fill free slots, device_commit(), which
 * ends with the atomic step; device_collect() then removes what the step made unreachable. A failure
 * in between calls device_collect() alone: the new things have a generation that never came.
 */
#pragma once
#include "base/arena.h"
#include "policy/audit.h"
#include "spine/device.h"

struct spine_device {
	char name[IFNAMSIZ];
	uint32_t ifindex;
	uint64_t cookie;
	int netns, home;		/* home: the namespace to return to, or -1 */
	int root, ns_dir, dir;		/* of bpffs */
	enum spine_open_mode open_mode;
	bool opened, confined;		/* confined: there is no way back to `home` */
	bool exists;			/* the maps are there */
	bool ours;			/* what is attached is our dispatcher */
	struct attachment attached;
	enum attach_mode mode;		/* that the caller wants */
	uint64_t generation;		/* in force */
	struct spine_meta meta;
	int meta_fd, control_fd, stats_fd, slots_fd, trace_fd;
	struct spine_control *control;
	struct spine_cpu_stats *stats;
	size_t stats_bytes;
	uint32_t cpus;
	/* In force, in the order in which they run; records_store[] owns them. */
	struct spine_record *records_store;	/* SPINE_SLOTS_MAX */
	const struct spine_record *records[SPINE_SLOTS_MAX];
	size_t count;
	size_t damaged;			/* records that are there and cannot be understood */
	char *policy;			/* directory that the caller named, or NULL */
	struct policy_store *store;	/* device_policy has opened it */
	struct arena policy_arena;
	const struct spine_policy_view *view;
	char *reason;			/* of spine_device_state: PLACE_REASON_BYTES */
	struct errmsg notice;
	/* What spine_replace_watch compares with. */
	uint64_t watch_packets, watch_faults;	/* of the old version, when it was replaced */
	int keeper;			/* of spine_load_keeper, or <= 0 */
	int audit_fd;			/* device_audit_open; -1: there is none */
	struct policy_ring_writer audit;
	int kept_slot;			/* of the old version when the new one has another slot; -1: none */
	void (*step)(void *arg, const char *name);
	void *step_arg;
};

static inline void device_step(struct spine_device *d, const char *name)
{
	if (d->step != NULL)
		d->step(d->step_arg, name);
}

/* Make maps and pins of a device that has none, in this class. */
MUST_USE int device_make(struct spine_device *d, struct spine_class class, struct errmsg *why);
/* Ask again what is attached, which generation is in force and which records are. */
MUST_USE int device_refresh(struct spine_device *d, struct errmsg *why);
/* Remove what is not in force; keep_next: leave the replaced version for a rollback. Errors are left for the next one. */
void device_collect(struct spine_device *d, bool keep_next);
/*
 * Read the policy in force for this device: of the directory that the caller named, else of `directory` (that of an installed
 * extension; NULL or "": the host's). Before spine_confine: it opens files. Again: nothing is read twice.
 */
MUST_USE int device_policy(struct spine_device *d, const char *directory, struct errmsg *why);
/* An array map of one entry, pinned below dir: -ENOENT; -EBADMSG: of another size. Writing makes it when it is not there. */
MUST_USE int entry_read(int dir, const char *pin, void *out, size_t bytes);
MUST_USE int entry_write(int dir, const char *pin, const char *map_name, const void *value, size_t bytes);
bool entry_text_ends(const char *text, size_t size);
MUST_USE int place_read(int dir, struct spine_place *out);
MUST_USE int place_write(int dir, const struct spine_place *p, struct errmsg *why);
MUST_USE int device_write_meta(struct spine_device *d, struct errmsg *why);

/*
 * Generate, load and attach the dispatcher for these records (sorted here); generation + 1 is in force
 * when it returns 0. A terminal rule that hides a later one is -EPERM. before_fd: the foreign program
 * that is attached and expected, or -1.
 */
MUST_USE int device_commit(struct spine_device *d, const struct spine_record **records, size_t count,
			   int before_fd, struct errmsg *why);
/* Give the interface back as it was found, and remove all that we have. */
MUST_USE int device_restore(struct spine_device *d, struct errmsg *why);

/* A free slot, or -ENOSPC with a sentence. `also`: a slot that is taken, too, or -1. */
MUST_USE int device_free_slot(const struct spine_device *d, int also, struct errmsg *why);
MUST_USE int device_make_alive(struct spine_device *d);
MUST_USE int device_wipe(struct spine_device *d);
/* Zero its counters, set its control block from the record, put the program into the array. */
MUST_USE int device_fill_slot(struct spine_device *d, const struct spine_record *r, int prog_fd, struct errmsg *why);
/* On, off (reason: who did it), or on again with a clean sheet. */
void device_set_state(struct spine_device *d, const struct spine_record *r, enum spine_slot_state state, uint32_t reason);
/* The program that a slot holds, 0: none. */
uint32_t device_slot_prog(const struct spine_device *d, uint32_t slot);

/* Records below a directory ext/<name> or next/<name>. */
MUST_USE int record_read(int dir, struct spine_record *out);
/* Write to the map that is pinned, or make and pin it. */
MUST_USE int record_write(int dir, const struct spine_record *r, struct errmsg *why);
/* The object file that a version was loaded from, for those who load it once more (spine_device_object). */
MUST_USE int object_write(int dir, struct slice object, struct errmsg *why);
/* Seconds since 1970 for a record, or 0: the clock could not be read. */
uint64_t record_now_s(void);
/* A name for an extension: [a-z0-9][a-z0-9-]*, shorter than SPINE_NAME_BYTES. */
MUST_USE int record_check_name(const char *name, struct errmsg *why);

/* The class in which a loaded program can be called. -EINVAL: in none that we know. */
MUST_USE int class_of_program(int prog_fd, struct spine_class *out, struct errmsg *why);
/* Half a sentence: "for packets in several buffers (frags), attach type xdp". Constant text. */
const char *class_text(struct spine_class c);

/*
 * A program of somebody else is attached: make it the first extension. *record gets it and *before_fd
 * the program (for device_commit); *taken false: nothing is attached, or it is ours. Makes the device.
 */
MUST_USE int device_take_over(struct spine_device *d, struct spine_record *record, bool *taken, int *before_fd,
			      struct errmsg *why);

/* ---- refusals.c ---- */

/* The ring for what is refused, while it can still be opened (before confine); device_audit_close as the device is closed. */
void device_audit_open(struct spine_device *d);
void device_audit_close(struct spine_device *d);
/* Record what is in the report for these rights. Decision id of the first reason, or 0. */
uint64_t device_audit_tell(struct spine_device *d, const struct spine_rights *r, const struct inspect_report *report);
