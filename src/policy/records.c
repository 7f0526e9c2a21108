/* Rings of a store and the log beside them. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "policy/disk.h"
#include "policy/rings.h"
#include "policy/store_private.h"

#define FOLLOW_MS 200

/* --- making rings --------------------------------------------------------------------------- */

/*
 * "front 0" with the number 3 is kept in 0003.front-0.ring. Only who may write to the directory gives names, so readers believe these and not what a
 * ring says of itself, which its process may change.
 */
struct ring_file { uint16_t id; char name[32], file[64]; };

static bool ring_name_fits(const char *name)
{
	return *name != '\0' && *name != '.' && strlen(name) < sizeof(((struct ring_file *)0)->name);
}

static void ring_file_set(struct ring_file *f, uint16_t id, const char *name)
{
	f->id = id;
	snprintf(f->name, sizeof(f->name), "%s", name);
	for (char *c = f->name; *c != '\0'; c++)
		if (!ascii_alpha((uint8_t)*c) && !ascii_digit((uint8_t)*c) && *c != '.' && *c != '_')
			*c = '-';
	snprintf(f->file, sizeof(f->file), "%04x.%s.ring", id, f->name);
	for (char *c = f->name; *c != '\0'; c++)
		*c = *c == '-' ? ' ' : *c;
}

static bool ring_file_parse(struct ring_file *f, const char *file)
{
	struct slice digits, name, text = slice_str(file);
	char copy[sizeof(f->name)];
	uint64_t id;

	if (!slice_ends(text, SLICE(".ring")) || !slice_cut(slice_head(text, text.len - 5), '.', &digits, &name) || digits.len != 4 ||
	    !policy_hex(digits, UINT16_MAX, &id) || id == 0 || !slice_to_str(name, copy, sizeof(copy)) || !ring_name_fits(copy))
		return false;
	ring_file_set(f, (uint16_t)id, copy);
	/* As we write it: no second spelling of one ring. */
	return strcmp(f->file, file) == 0;
}

struct ids {
	struct ring_file wanted;	/* id 0: not there */
	uint8_t used[(UINT16_MAX + 1) / 8];
	size_t count;
};

static int note_id(void *arg, const char *name)
{
	struct ids *ids = arg;
	struct ring_file f;

	if (!ring_file_parse(&f, name))
		return 0;
	ids->used[f.id / 8] |= (uint8_t)(1u << f.id % 8);
	ids->count++;
	if (strcmp(f.name, ids->wanted.name) == 0 && (ids->wanted.id == 0 || f.id < ids->wanted.id))
		ring_file_set(&ids->wanted, f.id, f.name);
	return 0;
}

/* The file of this ring, or the one that it shall have. *there: which of both. */
static int find_file(const struct policy_store *s, const char *name, struct ring_file *out, bool *there, struct errmsg *why)
{
	AUTO_FREE struct ids *ids = calloc(1, sizeof(*ids));
	uint32_t id = 1;
	int err;

	if (ids == NULL)
		return errmsg_set(why, -ENOMEM, "'%s/audit'", s->run);
	ring_file_set(&ids->wanted, 0, name);
	err = disk_list(s->run_fd, "audit", note_id, ids);
	if (err != 0 && err != -ENOENT)
		return errmsg_set(why, err, "'%s/audit'", s->run);
	*there = ids->wanted.id != 0;
	while (id < UINT16_MAX && (ids->used[id / 8] >> id % 8 & 1) != 0)
		id++;
	if (!*there && ids->count >= POLICY_RINGS_MAX)
		return errmsg_say(why, -E2BIG, "'%s/audit' has %d rings, which is the most", s->run, POLICY_RINGS_MAX);
	ring_file_set(out, *there ? ids->wanted.id : (uint16_t)id, name);
	return 0;
}

static int64_t clock_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int make_ring(const struct policy_store *s, const struct ring_file *f, int *out, struct errmsg *why)
{
	AUTO_FREE struct policy_ring *head = calloc(1, sizeof(*head));
	AUTO_FD int fd = -1;
	char path[80];

	if (head == NULL)
		return errmsg_set(why, -ENOMEM, "audit ring");
	snprintf(path, sizeof(path), "audit/%s", f->file);
	policy_ring_format(head, POLICY_RING_RECORDS, f->id, f->name, clock_us());
	unlinkat(s->run_fd, "audit/.new", 0);
	fd = openat(s->run_fd, "audit/.new", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	/* Group: the role that reads them, whose directory this is (set-group-ID). */
	if (fd < 0 || fchmod(fd, 0640) != 0 || ftruncate(fd, (off_t)policy_ring_bytes(POLICY_RING_RECORDS)) != 0 ||
	    pwrite(fd, head, sizeof(*head), 0) != (ssize_t)sizeof(*head) || renameat(s->run_fd, "audit/.new", s->run_fd, path) != 0)
		return errmsg_set(why, -errno, "make the audit ring '%s/%s'", s->run, path);
	*out = TAKE_FD(fd);
	return 0;
}

/* One that is there and sound, and gives its writer the number that readers go by: >= 0; -ENOENT: none. */
static int old_ring(const struct policy_store *s, const struct ring_file *f)
{
	char path[80];
	struct policy_ring_writer w;
	uint16_t id;

	snprintf(path, sizeof(path), "audit/%s", f->file);
	AUTO_FD int fd = openat(s->run_fd, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || policy_ring_attach(&w, fd, NULL) != 0)
		return -ENOENT;
	id = w.id;
	policy_ring_detach(&w);
	return id == f->id ? TAKE_FD(fd) : -ENOENT;
}

int policy_store_ring_fd(struct policy_store *s, const char *name, struct errmsg *why)
{
	AUTO_FD int lock = -1;
	struct ring_file f;
	bool there;
	int fd = -1, err;

	if (!ring_name_fits(name))
		return errmsg_say(why, -EINVAL, "'%s' is no name of an audit ring", name);
	err = find_file(s, name, &f, &there, why);
	fd = err == 0 && there ? old_ring(s, &f) : -1;
	if (err != 0 || fd >= 0)
		return err != 0 ? err : fd;
	if ((s->flags & (POLICY_STORE_WRITE | POLICY_STORE_RINGS)) == 0)
		return errmsg_say(why, -EACCES, "there is no audit ring '%s'", name);
	if (mkdirat(s->run_fd, "audit", 0750) != 0 && errno != EEXIST)
		return errmsg_set(why, -errno, "make '%s/audit'", s->run);
	lock = openat(s->run_fd, "audit", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lock < 0 || flock(lock, LOCK_EX) != 0)
		return errmsg_set(why, -errno, "lock '%s/audit'", s->run);
	err = find_file(s, name, &f, &there, why);
	fd = err == 0 && there ? old_ring(s, &f) : -1;
	if (err == 0 && fd < 0)
		err = make_ring(s, &f, &fd, why);
	return err != 0 ? err : fd;
}

static int give_ring(void *arg, const char *name)
{
	const int *to = arg;			/* descriptor of the directory, group */

	/* Made by a command before the node first ran. */
	return fchownat(to[0], name, (uid_t)-1, (gid_t)to[1], AT_SYMLINK_NOFOLLOW) != 0 && errno != ENOENT ? -errno : 0;
}

int policy_store_audit_directories(struct policy_store *s, uid_t uid, struct errmsg *why)
{
	AUTO_FD int log = -1, rings = -1;
	int err = 0;

	if ((mkdirat(s->dir_fd, "audit", 0700) != 0 && errno != EEXIST) || (mkdirat(s->run_fd, "audit", 0750) != 0 && errno != EEXIST))
		return errmsg_set(why, -errno, "make directories of the audit");
	log = openat(s->dir_fd, "audit", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	rings = openat(s->run_fd, "audit", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (log < 0 || rings < 0)
		return errmsg_set(why, -errno, "directories of the audit");
	if (uid == (uid_t)-1)
		return 0;
	/* Set-group-ID: rings that are made later, by whomever, are of its group. */
	if (fchown(log, uid, (gid_t)uid) != 0 || fchown(rings, (uid_t)-1, (gid_t)uid) != 0 || fchmod(rings, 02750) != 0)
		return errmsg_set(why, -errno, "give the directories of the audit to their role");
	err = disk_list(rings, ".", give_ring, (int[]){ rings, (int)uid });
	return err != 0 ? errmsg_set(why, err, "give the audit rings to their role") : 0;
}

/* --- reading all of them ---------------------------------------------------------------------- */

struct policy_rings {
	int dir;			/* the caller's */
	struct policy_ring_reader list[POLICY_RINGS_MAX];	/* no two with one number or one name */
	struct stat from[POLICY_RINGS_MAX];
	uint64_t told[POLICY_RINGS_MAX];	/* lost records that were told of */
	size_t count;
	uint64_t (*newest)(void *arg, uint16_t ring);
	void *arg;
};

/* Where this ring goes, or NULL: it is there already, or says to be one that is, or there are too many. */
static struct policy_ring_reader *place_for(struct policy_rings *rings, const struct ring_file *f, const struct stat *st)
{
	for (size_t i = 0; i < rings->count; i++) {
		struct policy_ring_reader *r = &rings->list[i];
		bool same_id = r->id == f->id, same_name = strcmp(r->name, f->name) == 0;

		if (rings->from[i].st_ino == st->st_ino && rings->from[i].st_dev == st->st_dev)
			return NULL;
		/* Made anew in place of a damaged one. */
		if (same_id && same_name)
			return r;
		if (same_id || same_name)
			return NULL;
	}
	return rings->count == POLICY_RINGS_MAX ? NULL : &rings->list[rings->count];
}

static int find_ring(void *arg, const char *name)
{
	struct policy_rings *rings = arg;
	AUTO_FD int fd = openat(rings->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct policy_ring_reader *place, r;
	struct ring_file f;
	struct stat st;
	uint64_t newest;

	if (!ring_file_parse(&f, name) || fd < 0 || fstat(fd, &st) != 0)
		return 0;
	place = place_for(rings, &f, &st);
	if (place == NULL || policy_ring_open(&r, fd, f.id, f.name, NULL) != 0)
		return 0;
	fd = -1;
	newest = rings->newest == NULL ? 0 : rings->newest(rings->arg, r.id);
	if (newest >= r.at && newest < r.next) {
		r.at = newest + 1;
	} else if (newest != 0 && newest < r.at && newest + 1 >= r.first) {
		/* What came between was overwritten while nobody looked. */
		r.lost = r.at - newest - 1;
	}
	if (place == &rings->list[rings->count])
		rings->count++;
	else
		policy_ring_close(place);
	*place = r;
	rings->from[place - rings->list] = st;
	rings->told[place - rings->list] = 0;
	return 0;
}

int policy_rings_open(int dir, uint64_t (*newest)(void *arg, uint16_t ring), void *arg, struct policy_rings **out, struct errmsg *why)
{
	struct policy_rings *rings = calloc(1, sizeof(*rings));

	if (rings == NULL)
		return errmsg_set(why, -ENOMEM, "audit rings");
	rings->dir = dir;
	rings->newest = newest;
	rings->arg = arg;
	*out = rings;
	return 0;
}

void policy_rings_close(struct policy_rings *rings)
{
	if (rings == NULL)
		return;
	for (size_t i = 0; i < rings->count; i++)
		policy_ring_close(&rings->list[i]);
	free(rings);
}

struct gathered { struct policy_entry *list; size_t count, room; };

static bool gather(struct gathered *g, struct policy_ring_reader *r, const struct policy_record *record, const struct policy_table *t, uint64_t lost)
{
	if (g->count == g->room) {
		size_t room = g->room == 0 ? 64 : g->room * 2;
		struct policy_entry *list = reallocarray(g->list, room, sizeof(*list));

		if (list == NULL)
			return false;
		g->list = list;
		g->room = room;
	}
	policy_entry_fill(&g->list[g->count], r, record, t);
	g->list[g->count++].lost = lost;
	return true;
}

static int by_time(const void *a, const void *b)
{
	const struct policy_entry *x = a, *y = b;

	if (x->record.time_us != y->record.time_us)
		return x->record.time_us < y->record.time_us ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

int policy_rings_read(struct policy_rings *rings, const struct policy_table *t, bool (*fn)(void *arg, const struct policy_entry *e), void *arg)
{
	struct gathered g = { 0 };
	struct policy_record record;
	bool more = true;
	int err = disk_list(rings->dir, ".", find_ring, rings);

	for (size_t i = 0; i < rings->count && err == 0; i++) {
		struct policy_ring_reader *r = &rings->list[i];

		/* Not more than a ring holds in one round: a writer in a hurry must not keep us from the others. */
		for (uint32_t n = 0; n <= r->mask && err == 0 && policy_ring_read(r, &record); n++) {
			err = gather(&g, r, &record, t, r->lost - rings->told[i]) ? 0 : -ENOMEM;
			rings->told[i] = r->lost;
		}
	}
	if (g.count != 0)
		qsort(g.list, g.count, sizeof(*g.list), by_time);
	for (size_t i = 0; i < g.count && more; i++)
		more = fn(arg, &g.list[i]);
	free(g.list);
	return err != 0 ? err : more ? 0 : -ECANCELED;
}

/* --- questions of people ---------------------------------------------------------------------- */

struct reading {
	int64_t since_us;
	bool (*fn)(void *arg, const struct policy_seen *seen);
	void *arg;
	bool stopped;
	uint64_t newest[UINT16_MAX + 1];
};

static bool pass_on(void *arg, const struct policy_entry *e)
{
	struct reading *r = arg;
	struct policy_seen seen = { .id = e->id, .ring = e->ring, .record = &e->record, .lost = e->lost, .entry = e };

	r->newest[e->id >> 48] = MAX(r->newest[e->id >> 48], e->id & 0xffffffffffff);
	if ((int64_t)e->record.time_us < r->since_us)
		return true;
	r->stopped = !r->fn(r->arg, &seen);
	return !r->stopped;
}

static uint64_t newest_read(void *arg, uint16_t ring)
{
	return ((struct reading *)arg)->newest[ring];
}

static int follow_rings(struct policy_store *s, struct reading *r, bool follow, struct errmsg *why)
{
	AUTO_FD int dir = openat(s->run_fd, "audit", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct policy_rings *rings;
	int err;

	if (dir < 0 && errno == ENOENT && !follow)
		return 0;
	while (dir < 0 && errno == ENOENT) {
		(void)!poll(NULL, 0, FOLLOW_MS);
		dir = openat(s->run_fd, "audit", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (dir < 0)
		return errmsg_set(why, -errno, "audit rings in '%s/audit'", s->run);
	err = policy_rings_open(dir, newest_read, r, &rings, why);
	if (err != 0)
		return err;
	do {
		err = policy_rings_read(rings, &s->table, pass_on, r);
		if (err == 0 && follow)
			(void)!poll(NULL, 0, FOLLOW_MS);
	} while (err == 0 && follow);
	policy_rings_close(rings);
	return err == -ECANCELED ? 0 : err != 0 ? errmsg_set(why, err, "audit rings") : 0;
}

int policy_store_records(struct policy_store *s, int64_t since_us, bool follow, bool (*fn)(void *arg, const struct policy_seen *seen), void *arg,
			 struct errmsg *why)
{
	AUTO_FREE struct reading *r = calloc(1, sizeof(*r));
	AUTO_FD int log = openat(s->dir_fd, "audit", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err = 0;

	if (r == NULL)
		return errmsg_set(why, -ENOMEM, "audit");
	r->since_us = since_us;
	r->fn = fn;
	r->arg = arg;
	if (log >= 0)
		err = policy_log_read(log, pass_on, r, why);
	else if (errno != ENOENT)
		err = errmsg_set(why, -errno, "log of the audit in '%s/audit'", s->directory);
	if ((err != 0 && err != -ENOENT) || r->stopped)
		return err;
	return follow_rings(s, r, follow, why);
}

struct search { uint64_t id; struct policy_entry *out; bool found; };

static bool is_it(void *arg, const struct policy_seen *seen)
{
	struct search *search = arg;

	if (seen->id != search->id)
		return true;
	memcpy(search->out, seen->entry, sizeof(*search->out));
	search->found = true;
	return false;
}

int policy_store_record(struct policy_store *s, uint64_t id, struct policy_entry *out, struct errmsg *why)
{
	struct search search = { .id = id, .out = out };
	char text[24];
	int err = policy_store_records(s, INT64_MIN, false, is_it, &search, why);

	if (err != 0 || search.found)
		return err;
	policy_decision_text(id, text);
	return errmsg_say(why, -ENOENT, "there is no decision %s, neither in memory nor in the log: perhaps it was overwritten", text);
}
