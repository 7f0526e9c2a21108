#include "policy/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/must.h"
#include "conf/config.h"
#include "policy/disk.h"
#include "policy/store_private.h"
#include "policy/table/compile.h"

#define RUN_DEFAULT "/run/prickle/policy"

/* --- directories ---------------------------------------------------------------------------- */

/* Whoever may write here decides about everything: that must be us (or root) alone. */
static int check_owner(int fd, const char *path, struct errmsg *why)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return errmsg_set(why, -errno, "'%s'", path);
	if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
		return errmsg_say(why, -EPERM, "others may write to '%s', so what it says cannot be believed: chown and chmod 755 it, or take another "
				  "directory for the policy", path);
	return 0;
}

static int open_directory(const char *path, bool make, int *out, struct errmsg *why)
{
	int err = make ? disk_make_directory(path, 0755, why) : 0;
	AUTO_FD int fd = -1;

	if (err != 0)
		return err;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? errmsg_say(why, -ENOENT, "there is no policy in '%s' yet: root makes it, by 'prickle policy apply' or 'prickle "
								  "serve'", path) :
					 errmsg_set(why, -errno, "directory of the policy '%s'", path);
	err = check_owner(fd, path, why);
	if (err == 0)
		*out = TAKE_FD(fd);
	return err;
}

int policy_store_run(const char *directory, char out[POLICY_DIRECTORY_BYTES])
{
	bool usual = directory == NULL || strcmp(directory, POLICY_STORE_DEFAULT) == 0;
	int n = usual ? snprintf(out, POLICY_DIRECTORY_BYTES, "%s", RUN_DEFAULT) : snprintf(out, POLICY_DIRECTORY_BYTES, "%s/run", directory);

	return n >= (int)POLICY_DIRECTORY_BYTES ? -ENAMETOOLONG : 0;
}

int policy_store_configured(const struct config *config, char out[POLICY_DIRECTORY_BYTES])
{
	bool set = *config->policy_directory != '\0';
	int n = snprintf(out, POLICY_DIRECTORY_BYTES, "%s%s", set ? config->policy_directory : config->state, set ? "" : "/policy");

	return n >= (int)POLICY_DIRECTORY_BYTES ? -ENAMETOOLONG : 0;
}

static int open_directories(struct policy_store *s, const char *directory, struct errmsg *why)
{
	bool make = (s->flags & POLICY_STORE_WRITE) != 0;
	int err;

	if (directory == NULL)
		directory = POLICY_STORE_DEFAULT;
	if (strlen(directory) >= sizeof(s->directory) || policy_store_run(directory, s->run) != 0)
		return errmsg_set(why, -ENAMETOOLONG, "directory of the policy");
	memcpy(s->directory, directory, strlen(directory) + 1);
	err = open_directory(s->directory, make, &s->dir_fd, why);
	if (err == 0)
		err = open_directory(s->run, make, &s->run_fd, why);
	return err;
}

int store_lock(const struct policy_store *s, enum store_lock_kind kind, int *out, struct errmsg *why)
{
	static const int calls[] = { [STORE_LOCK_WAIT] = LOCK_EX, [STORE_LOCK_ALONE] = LOCK_EX | LOCK_NB, [STORE_LOCK_SHARED] = LOCK_SH | LOCK_NB };
	AUTO_FD int fd = openat(s->run_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return errmsg_set(why, -errno, "lock the policy in '%s'", s->directory);
	while (flock(fd, calls[kind]) != 0) {
		if (errno == EINTR)
			continue;
		return errno == EWOULDBLOCK ? errmsg_say(why, -EBUSY, "another 'prickle policy apply', or a 'prickle spine' command that needs the "
							 "policy to stay, is at work; try again when it is done") :
					      errmsg_set(why, -errno, "lock the policy in '%s'", s->directory);
	}
	*out = TAKE_FD(fd);
	return 0;
}

/* --- the table ------------------------------------------------------------------------------ */

static int read_boot_id(uint8_t boot[16], struct errmsg *why)
{
	AUTO_BUF struct buf file = BUF_INIT(64), hex = BUF_INIT(64), bytes = BUF_INIT(16);
	int err = disk_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", &file, why);

	if (err != 0)
		return err;
	for (size_t i = 0; i < file.len; i++)
		if (file.ptr[i] != '-' && file.ptr[i] != '\n')
			buf_addc(&hex, file.ptr[i]);
	if (!hex_decode(&bytes, buf_slice(&hex)) || bytes.len != 16)
		return errmsg_say(why, -EIO, "/proc/sys/kernel/random/boot_id is not as expected");
	memcpy(boot, bytes.ptr, 16);
	return 0;
}

/* Map what is there: 0; -ENOENT: nothing of this boot. */
static int map_table(struct policy_store *s, const uint8_t boot[16], struct errmsg *why)
{
	AUTO_FD int fd = openat(s->run_fd, "table", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct policy_table table;
	uint32_t begin[2];			/* magic, abi */
	struct stat st;
	int err;

	if (fd < 0 || fstat(fd, &st) != 0)
		return errmsg_set(why, -errno, "table of the policy in '%s'", s->run);
	err = check_owner(fd, s->run, why);
	/* Of before an upgrade: as if it were not there. */
	if (err == 0 && pread(fd, begin, sizeof(begin), 0) == sizeof(begin) && begin[0] == POLICY_IMAGE_MAGIC && begin[1] != POLICY_IMAGE_ABI)
		return errmsg_say(why, -ENOENT, "the table of the policy is of another version of this program: root makes it anew, by 'prickle policy "
				  "apply' or 'prickle serve'");
	if (err == 0)
		err = policy_table_map(&table, fd, why);
	if (err != 0)
		return err;
	if (memcmp(table.head->boot, boot, 16) != 0) {
		munmap((void *)(uintptr_t)table.head, (size_t)st.st_size);
		return errmsg_say(why, -ENOENT, "no policy was put in force since this machine started: root does, by 'prickle policy apply' or 'prickle serve'");
	}
	s->table = table;
	s->image = (void *)(uintptr_t)table.head;
	s->image_bytes = (size_t)st.st_size;
	s->table_fd = TAKE_FD(fd);
	return 0;
}

#define FIRST_BYTES 8192u		/* of a part of a new table: two pages */

/* Pages that are written come first: a file system without room says so here, and not by ending us (SIGBUS). */
static int make_pages(const struct policy_store *s, int fd, uint64_t offset, uint64_t bytes, struct errmsg *why)
{
	int err = posix_fallocate(fd, (off_t)offset, (off_t)bytes);

	return err == 0 ? 0 : errmsg_set(why, -err, "room for the table of the policy in '%s'", s->run);
}

/* A table with room for every policy within the limits, empty: everything is denied. Its pages are made when they are written. */
static int make_table(struct policy_store *s, const uint8_t boot[16], struct errmsg *why)
{
	static const uint32_t subjects = POLICY_SUBJECT_NUMBERS_MAX, objects = POLICY_OBJECT_NUMBERS_MAX, rest = POLICY_REST_BYTES_MAX;
	size_t bytes = policy_image_bytes(subjects, objects, rest);
	AUTO_FD int fd = -1;
	void *image;
	int err;

	must(bytes != 0);
	unlinkat(s->run_fd, "table.new", 0);
	fd = openat(s->run_fd, "table.new", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0)
		return errmsg_set(why, -errno, "make the table of the policy in '%s'", s->run);
	/* What is written now: the head and the beginnings of the banks. They share what is behind the head's page, so the second is at the middle. */
	err = make_pages(s, fd, 0, FIRST_BYTES, why);
	if (err == 0)
		err = make_pages(s, fd, bytes / 2, FIRST_BYTES, why);
	if (err != 0)
		return err;
	image = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (image == MAP_FAILED)
		return errmsg_set(why, -errno, "map the table of the policy in '%s'", s->run);
	policy_image_format(image, subjects, objects, rest, boot);
	munmap(image, bytes);
	if (fchmod(fd, 0644) != 0 || renameat(s->run_fd, "table.new", s->run_fd, "table") != 0)
		return errmsg_set(why, -errno, "make the table of the policy in '%s'", s->run);
	return map_table(s, boot, why);
}

int store_flip(struct policy_store *s, struct slice bank, struct errmsg *why)
{
	AUTO_FD int fd = openat(s->run_fd, "table", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	const struct policy_head *head = s->table.head;
	const char *what = "";
	void *image;
	int err;

	if (fd < 0)
		return errmsg_set(why, -errno, "table of the policy in '%s'", s->run);
	err = make_pages(s, fd, head->bank_offset[POLICY_BANK(atomic_load_explicit(&head->generation, memory_order_relaxed)) ^ 1u],
			 MIN(MAX(bank.len, 1u), (size_t)head->bank_bytes), why);
	if (err != 0)
		return err;
	image = mmap(NULL, s->image_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (image == MAP_FAILED)
		return errmsg_set(why, -errno, "map the table of the policy in '%s'", s->run);
	err = policy_image_flip(image, bank, &what);
	munmap(image, s->image_bytes);
	return err != 0 ? errmsg_say(why, err, "table of the policy: %s", what) : 0;
}

/*
 * Make the table what `current` says: after a crash in an apply, or when another program of ours ships another policy. Compiling is deterministic, so
 * comparing bytes tells; in the usual case nothing is written.
 */
static int settle(struct policy_store *s, uint64_t epoch, const struct policy *p, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	AUTO_BUF struct buf now = BUF_INIT(s->image_bytes), both = BUF_INIT(s->image_bytes);
	struct slice before = policy_bank_in_force(&s->table);
	int err = policy_compile(&arena, p, epoch, s->table.head, before, &now, why);

	if (err != 0 || slice_eq(buf_slice(&now), before))
		return err;
	if (before.len != 0) {
		err = policy_intersect(s->table.head, before, buf_slice(&now), &both, why);
		if (err == 0)
			err = store_flip(s, buf_slice(&both), why);
	}
	return err == 0 ? store_flip(s, buf_slice(&now), why) : err;
}

static int open_for_writing(struct policy_store *s, const uint8_t boot[16], struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	const struct policy *p = NULL;
	AUTO_FD int lock = -1;
	uint64_t epoch;
	int err = disk_make_directory(s->run, 0755, why);

	if (err == 0)
		err = store_lock(s, (s->flags & POLICY_STORE_NOW) != 0 ? STORE_LOCK_ALONE : STORE_LOCK_WAIT, &lock, why);
	if (err == 0)
		err = store_current(s, &epoch, why);
	if (err == 0)
		err = store_epoch_policy(s, &arena, epoch, &p, why);
	if (err != 0 && (s->flags & POLICY_STORE_REPAIR) == 0)
		return err;
	err = map_table(s, boot, NULL);
	/* One of another version of ours, or damaged, is made anew; who has it mapped keeps it until they start again. */
	if (err == -ENOENT || err == -EBADMSG)
		err = make_table(s, boot, why);
	else if (err != 0)
		err = map_table(s, boot, why);
	if (err != 0 || p == NULL)
		return err;
	err = settle(s, epoch, p, why);
	return (s->flags & POLICY_STORE_REPAIR) != 0 ? 0 : err;
}

int policy_store_open(const char *directory, uint32_t flags, struct policy_store **out, struct errmsg *why)
{
	struct policy_store *s = calloc(1, sizeof(*s));
	uint8_t boot[16];
	int err;

	if (s == NULL)
		return errmsg_set(why, -ENOMEM, "policy");
	s->dir_fd = s->run_fd = s->table_fd = s->held_fd = -1;
	s->flags = flags;
	err = open_directories(s, directory, why);
	if (err == 0)
		err = read_boot_id(boot, why);
	if (err == 0)
		err = (flags & POLICY_STORE_WRITE) != 0 ? open_for_writing(s, boot, why) : map_table(s, boot, why);
	if (err != 0) {
		policy_store_close(s);
		return err;
	}
	*out = s;
	return 0;
}

void policy_store_close(struct policy_store *s)
{
	if (s == NULL)
		return;
	if (s->image != NULL)
		munmap(s->image, s->image_bytes);
	fd_close(&s->held_fd);
	fd_close(&s->table_fd);
	fd_close(&s->run_fd);
	fd_close(&s->dir_fd);
	free(s);
}

int policy_store_hold(struct policy_store *s, struct errmsg *why)
{
	return s->held_fd >= 0 ? 0 : store_lock(s, STORE_LOCK_SHARED, &s->held_fd, why);
}

const struct policy_table *policy_store_table(const struct policy_store *s)
{
	return &s->table;
}

int policy_store_table_fd(const struct policy_store *s, struct errmsg *why)
{
	/* A description of its own, that was never writable. */
	int fd = openat(s->run_fd, "table", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? errmsg_set(why, -errno, "table of the policy in '%s'", s->run) : fd;
}

uint64_t policy_store_epoch(const struct policy_store *s)
{
	uint64_t epoch = 0;

	(void)policy_cell_read(&s->table, 0, 0, &epoch);
	return epoch;
}
