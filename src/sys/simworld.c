#include "sys/simworld.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"

#define PAGE 4096u
#define NAME_MAX_BYTES 48u

/* Pages are shared between worlds and between what is seen and what is stored. */
struct page {
	unsigned refs;
	uint8_t bytes[PAGE];
};

struct image {
	struct page **pages;		/* NULL: zeros */
	size_t count;
	uint64_t size;
};

enum pending_kind { PENDING_WRITE, PENDING_SIZE };

struct pending {
	enum pending_kind kind;
	uint64_t at;			/* or the new size */
	size_t n;
	uint8_t *bytes;
};

struct inode {
	unsigned refs;
	struct image seen, stored;
	bool limbo;			/* a sync failed: seen has bytes that will never be stored */
	struct pending *pending;
	size_t pending_count, pending_cap;
};

struct name {
	char path[NAME_MAX_BYTES];
	struct inode *inode;		/* NULL: a directory */
};

struct names {
	struct name *rows;
	size_t count, cap;
};

enum dir_change_kind { DIR_ADD, DIR_REMOVE, DIR_RENAME };

struct dir_change {
	enum dir_change_kind kind;
	struct name name;
	char to[NAME_MAX_BYTES];
};

struct sim {
	struct world world;
	uint64_t random;
	int64_t now_us;
	struct names seen, stored;
	struct dir_change *changes;
	size_t change_count, change_cap;
	void (*on_change)(void *arg);
	void *on_change_arg;
	uint64_t fail_in;		/* 0: never */
	enum sim_fault fault;
	uint64_t room;
};

struct file {
	struct inode *inode;
};

static struct sim *sim_of(struct world *w)
{
	return container_of(w, struct sim, world);
}

static void *need(void *p)
{
	must(p != NULL);
	return p;
}

/* splitmix64 */
static uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

uint64_t sim_random(struct sim *s)
{
	return random_next(&s->random);
}

uint64_t sim_below(struct sim *s, uint64_t below)
{
	return sim_random(s) % below;
}

/* ---- images ---- */

static void page_unref(struct page *p)
{
	if (p != NULL && --p->refs == 0)
		free(p);
}

static void image_done(struct image *m)
{
	for (size_t i = 0; i < m->count; i++)
		page_unref(m->pages[i]);
	free(m->pages);
	*m = (struct image){ 0 };
}

static void image_copy(struct image *to, const struct image *from)
{
	struct page **pages = need(malloc((from->count + 1) * sizeof(struct page *)));

	for (size_t i = 0; i < from->count; i++) {
		pages[i] = from->pages[i];
		if (pages[i] != NULL)
			pages[i]->refs++;
	}
	image_done(to);
	*to = (struct image){ pages, from->count, from->size };
}

static void image_grow(struct image *m, size_t count)
{
	if (count <= m->count)
		return;
	m->pages = need(reallocarray(m->pages, count, sizeof(struct page *)));
	memset(m->pages + m->count, 0, (count - m->count) * sizeof(struct page *));
	m->count = count;
}

static uint8_t *page_own(struct image *m, size_t i)
{
	struct page *p = m->pages[i];

	if (p != NULL && p->refs == 1)
		return p->bytes;
	struct page *mine = need(malloc(sizeof(*mine)));

	mine->refs = 1;
	if (p != NULL)
		memcpy(mine->bytes, p->bytes, PAGE);
	else
		memset(mine->bytes, 0, PAGE);
	page_unref(p);
	m->pages[i] = mine;
	return mine->bytes;
}

static void image_write(struct image *m, uint64_t at, const uint8_t *bytes, size_t n)
{
	image_grow(m, (size_t)((at + n + PAGE - 1) / PAGE));
	m->size = MAX(m->size, at + n);
	while (n > 0) {
		size_t in = (size_t)(at % PAGE), piece = MIN(n, PAGE - in);

		memcpy(page_own(m, (size_t)(at / PAGE)) + in, bytes, piece);
		at += piece;
		bytes += piece;
		n -= piece;
	}
}

static void image_resize(struct image *m, uint64_t size)
{
	size_t keep = (size_t)((size + PAGE - 1) / PAGE);

	if (size < m->size) {
		for (size_t i = keep; i < m->count; i++) {
			page_unref(m->pages[i]);
			m->pages[i] = NULL;
		}
		if (size % PAGE != 0 && m->pages[keep - 1] != NULL)
			memset(page_own(m, keep - 1) + size % PAGE, 0, PAGE - size % PAGE);
	}
	image_grow(m, keep);
	m->size = size;
}

static int64_t image_read(const struct image *m, uint64_t at, uint8_t *to, size_t n)
{
	if (at >= m->size)
		return 0;
	n = (size_t)MIN((uint64_t)n, m->size - at);
	for (size_t done = 0; done < n;) {
		size_t in = (size_t)((at + done) % PAGE), piece = MIN(n - done, PAGE - in);
		const struct page *p = m->pages[(at + done) / PAGE];

		if (p != NULL)
			memcpy(to + done, p->bytes + in, piece);
		else
			memset(to + done, 0, piece);
		done += piece;
	}
	return (int64_t)n;
}

/* ---- inodes ---- */

static void pending_clear(struct inode *f)
{
	for (size_t i = 0; i < f->pending_count; i++)
		free(f->pending[i].bytes);
	f->pending_count = 0;
}

static void inode_unref(struct inode *f)
{
	if (f == NULL || --f->refs > 0)
		return;
	image_done(&f->seen);
	image_done(&f->stored);
	pending_clear(f);
	free(f->pending);
	free(f);
}

static void pending_add(struct inode *f, enum pending_kind kind, uint64_t at, const uint8_t *bytes,
			size_t n)
{
	struct pending p = { .kind = kind, .at = at, .n = n };

	if (n > 0) {
		p.bytes = need(malloc(n));
		memcpy(p.bytes, bytes, n);
	}
	if (f->pending_count == f->pending_cap) {
		f->pending_cap = f->pending_cap == 0 ? 8 : f->pending_cap * 2;
		f->pending = need(reallocarray(f->pending, f->pending_cap, sizeof(p)));
	}
	f->pending[f->pending_count++] = p;
}

/* How much of what waited survives: thousandths of the sectors, or a prefix. */
struct fate {
	unsigned sector_per_mille;
	bool prefix;			/* in order up to a random sector, nothing behind it */
	uint64_t prefix_left;
	uint64_t random;
};

static bool survives(struct fate *f)
{
	if (f->prefix)
		return f->prefix_left > 0 && f->prefix_left-- > 0;
	return random_next(&f->random) % 1000 < f->sector_per_mille;
}

static uint64_t pending_sectors(const struct inode *f)
{
	uint64_t n = 0;

	for (size_t i = 0; i < f->pending_count; i++)
		n += 2 + f->pending[i].n / SIM_SECTOR_BYTES;
	return n;
}

static void pending_store(const struct inode *f, struct image *to, struct fate *fate)
{
	for (size_t i = 0; i < f->pending_count; i++) {
		const struct pending *p = &f->pending[i];

		if (p->kind == PENDING_SIZE) {
			if (survives(fate))
				image_resize(to, p->at);
			continue;
		}
		for (size_t done = 0; done < p->n;) {
			size_t in = (size_t)((p->at + done) % SIM_SECTOR_BYTES);
			size_t piece = MIN(p->n - done, SIM_SECTOR_BYTES - in);

			if (survives(fate))
				image_write(to, p->at + done, p->bytes + done, piece);
			done += piece;
		}
	}
}

static struct fate fate_make(uint64_t *random, uint64_t sectors)
{
	static const unsigned per_mille[] = { 0, 1000, 500, 500, 900, 100, 990 };
	struct fate f = { .random = random_next(random) };

	if (random_next(random) % 3 == 0) {
		f.prefix = true;
		f.prefix_left = random_next(random) % (sectors + 1);
	} else {
		f.sector_per_mille = per_mille[random_next(random) % ARRAY_LEN(per_mille)];
	}
	return f;
}

/* ---- names ---- */

static struct name *name_find(struct names *n, const char *path)
{
	for (size_t i = 0; i < n->count; i++)
		if (strcmp(n->rows[i].path, path) == 0)
			return &n->rows[i];
	return NULL;
}

static void name_remove(struct names *n, const char *path)
{
	struct name *row = name_find(n, path);

	if (row == NULL)
		return;
	inode_unref(row->inode);
	*row = n->rows[--n->count];
}

static void name_add(struct names *n, const char *path, struct inode *inode)
{
	name_remove(n, path);
	if (n->count == n->cap) {
		n->cap = n->cap == 0 ? 16 : n->cap * 2;
		n->rows = need(reallocarray(n->rows, n->cap, sizeof(struct name)));
	}
	struct name *row = &n->rows[n->count++];

	snprintf(row->path, sizeof(row->path), "%s", path);
	row->inode = inode;
	if (inode != NULL)
		inode->refs++;
}

static void names_done(struct names *n)
{
	for (size_t i = 0; i < n->count; i++)
		inode_unref(n->rows[i].inode);
	free(n->rows);
	*n = (struct names){ 0 };
}

/* "log/3" is in "log", "log" is in ".". */
static bool in_directory(const char *path, const char *dir)
{
	const char *slash = strrchr(path, '/');
	size_t n = strlen(dir);

	if (strcmp(dir, ".") == 0 || n == 0)
		return slash == NULL;
	return slash == path + n && memcmp(path, dir, n) == 0;
}

static bool directory_exists(struct names *n, const char *path)
{
	char dir[NAME_MAX_BYTES];
	const char *slash = strrchr(path, '/');

	if (slash == NULL)
		return true;
	snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
	struct name *row = name_find(n, dir);
	return row != NULL && row->inode == NULL;
}

static void dir_change(struct sim *s, enum dir_change_kind kind, const char *path,
		       struct inode *inode, const char *to)
{
	if (s->change_count == s->change_cap) {
		s->change_cap = s->change_cap == 0 ? 8 : s->change_cap * 2;
		s->changes = need(reallocarray(s->changes, s->change_cap, sizeof(*s->changes)));
	}
	struct dir_change *c = &s->changes[s->change_count++];

	c->kind = kind;
	snprintf(c->name.path, sizeof(c->name.path), "%s", path);
	c->name.inode = inode;
	if (inode != NULL)
		inode->refs++;
	snprintf(c->to, sizeof(c->to), "%s", to == NULL ? "" : to);
}

static void change_apply(struct names *n, const struct dir_change *c)
{
	switch (c->kind) {
	case DIR_ADD:
		name_add(n, c->name.path, c->name.inode);
		break;
	case DIR_REMOVE:
		name_remove(n, c->name.path);
		break;
	case DIR_RENAME:
		name_remove(n, c->name.path);
		name_add(n, c->to, c->name.inode);
		break;
	}
}

/* ---- calls ---- */

/* Every changing call passes here first. 0, or the error that was ordered. */
static int change(struct sim *s, bool is_sync, bool *lost)
{
	if (s->on_change != NULL)
		s->on_change(s->on_change_arg);
	if (s->fail_in == 0 || --s->fail_in > 0)
		return 0;
	if (s->fault == SIM_SYNC_LOST && !is_sync) {
		s->fail_in = 1;
		return 0;
	}
	if (s->fault == SIM_SYNC_LOST)
		*lost = true;
	return s->fault == SIM_ENOSPC ? -ENOSPC : -EIO;
}

static int64_t sim_real_us(struct world *w)
{
	return 1700000000000000 + sim_of(w)->now_us;
}

static int64_t sim_mono_us(struct world *w)
{
	return sim_of(w)->now_us;
}

static void sim_random_bytes(struct world *w, void *out, size_t n)
{
	for (uint8_t *p = out; n > 0; n--)
		*p++ = (uint8_t)sim_random(sim_of(w));
}

static int sim_open(struct world *w, const char *path, enum open_mode mode, struct file **out)
{
	struct sim *s = sim_of(w);
	struct name *row = name_find(&s->seen, path);
	bool lost;

	if (strlen(path) >= NAME_MAX_BYTES)
		return -ENAMETOOLONG;
	if (row != NULL && row->inode == NULL)
		return -EISDIR;
	if (row == NULL) {
		if (mode != OPEN_CREATE || !directory_exists(&s->seen, path))
			return -ENOENT;
		int err = change(s, false, &lost);
		if (err != 0)
			return err;
		struct inode *inode = need(calloc(1, sizeof(*inode)));

		name_add(&s->seen, path, inode);
		dir_change(s, DIR_ADD, path, inode, NULL);
		row = name_find(&s->seen, path);
	}
	struct file *f = need(malloc(sizeof(*f)));

	f->inode = row->inode;
	f->inode->refs++;
	*out = f;
	return 0;
}

static void sim_close(struct world *w, struct file *f)
{
	inode_unref(f->inode);
	free(f);
}

static int64_t sim_pread(struct world *w, struct file *f, void *to, size_t n, uint64_t at)
{
	return image_read(&f->inode->seen, at, to, n);
}

static int64_t sim_pread_direct(struct world *w, struct file *f, void *to, size_t n, uint64_t at)
{
	const struct inode *i = f->inode;
	struct fate all = { .sector_per_mille = 1000 };
	struct image disk = { 0 };

	if (!i->limbo)
		return image_read(&i->seen, at, to, n);
	/* Waiting writes would be written out first; what a failed sync lost is not there. */
	image_copy(&disk, &i->stored);
	pending_store(i, &disk, &all);
	int64_t got = image_read(&disk, at, to, n);

	image_done(&disk);
	return got;
}

static bool room_for(struct sim *s, struct file *f, uint64_t size)
{
	uint64_t more = size > f->inode->seen.size ? size - f->inode->seen.size : 0;

	if (s->room == UINT64_MAX)
		return true;
	if (more > s->room)
		return false;
	s->room -= more;
	return true;
}

static int sim_pwritev(struct world *w, struct file *f, const struct iovec *iov, int count,
		       uint64_t at)
{
	struct sim *s = sim_of(w);
	bool lost;
	int err = change(s, false, &lost);

	if (err != 0) {
		size_t part = s->fault == SIM_TORN ? (size_t)sim_below(s, iov[0].iov_len + 1) : 0;

		if (part > 0 && at + part <= f->inode->seen.size) {
			image_write(&f->inode->seen, at, iov[0].iov_base, part);
			pending_add(f->inode, PENDING_WRITE, at, iov[0].iov_base, part);
		}
		return err;
	}
	for (int i = 0; i < count; i++) {
		if (!room_for(s, f, at + iov[i].iov_len))
			return -ENOSPC;
		image_write(&f->inode->seen, at, iov[i].iov_base, iov[i].iov_len);
		pending_add(f->inode, PENDING_WRITE, at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	return 0;
}

static int sim_datasync(struct world *w, struct file *f)
{
	struct sim *s = sim_of(w);
	struct inode *n = f->inode;
	bool lost = false;
	int err = change(s, true, &lost);

	if (err != 0 && lost) {
		struct fate fate = fate_make(&s->random, pending_sectors(n));

		pending_store(n, &n->stored, &fate);
		pending_clear(n);
		n->limbo = true;
	}
	if (err != 0)
		return err;
	if (n->limbo) {
		struct fate all = { .sector_per_mille = 1000 };

		pending_store(n, &n->stored, &all);
	} else {
		image_copy(&n->stored, &n->seen);
	}
	pending_clear(n);
	return 0;
}

static int sim_allocate(struct world *w, struct file *f, uint64_t size)
{
	struct sim *s = sim_of(w);
	bool lost;
	int err = change(s, false, &lost);

	if (err != 0)
		return err;
	if (size <= f->inode->seen.size)
		return 0;
	if (!room_for(s, f, size))
		return -ENOSPC;
	image_resize(&f->inode->seen, size);
	pending_add(f->inode, PENDING_SIZE, size, NULL, 0);
	return 0;
}

static int64_t sim_size(struct world *w, struct file *f)
{
	return (int64_t)f->inode->seen.size;
}

static int sim_truncate(struct world *w, struct file *f, uint64_t size)
{
	struct sim *s = sim_of(w);
	bool lost;
	int err = change(s, false, &lost);

	if (err != 0)
		return err;
	if (s->room != UINT64_MAX && size < f->inode->seen.size)
		s->room += f->inode->seen.size - size;
	image_resize(&f->inode->seen, size);
	pending_add(f->inode, PENDING_SIZE, size, NULL, 0);
	return 0;
}

static int sim_unlink(struct world *w, const char *path)
{
	struct sim *s = sim_of(w);
	struct name *row = name_find(&s->seen, path);
	bool lost;

	if (row == NULL)
		return -ENOENT;
	int err = change(s, false, &lost);
	if (err != 0)
		return err;
	if (s->room != UINT64_MAX && row->inode != NULL)
		s->room += row->inode->seen.size;
	dir_change(s, DIR_REMOVE, path, NULL, NULL);
	name_remove(&s->seen, path);
	return 0;
}

static int sim_rename(struct world *w, const char *from, const char *to)
{
	struct sim *s = sim_of(w);
	struct name *row = name_find(&s->seen, from);
	bool lost;

	if (row == NULL || !directory_exists(&s->seen, to))
		return -ENOENT;
	int err = change(s, false, &lost);
	if (err != 0)
		return err;
	struct inode *inode = row->inode;

	dir_change(s, DIR_RENAME, from, inode, to);
	name_add(&s->seen, to, inode);
	name_remove(&s->seen, from);
	return 0;
}

static int sim_mkdir(struct world *w, const char *path)
{
	struct sim *s = sim_of(w);
	bool lost;

	if (name_find(&s->seen, path) != NULL)
		return -EEXIST;
	int err = change(s, false, &lost);
	if (err != 0)
		return err;
	name_add(&s->seen, path, NULL);
	dir_change(s, DIR_ADD, path, NULL, NULL);
	return 0;
}

static int sim_list(struct world *w, const char *path, int (*fn)(void *arg, const char *name),
		    void *arg)
{
	struct sim *s = sim_of(w);
	int rc = 0;

	if (strcmp(path, ".") != 0 && name_find(&s->seen, path) == NULL)
		return -ENOENT;
	for (size_t i = 0; i < s->seen.count && rc == 0; i++) {
		const char *p = s->seen.rows[i].path, *slash = strrchr(p, '/');

		if (in_directory(p, path))
			rc = fn(arg, slash == NULL ? p : slash + 1);
	}
	return rc;
}

static int sim_sync_dir(struct world *w, const char *path)
{
	struct sim *s = sim_of(w);
	size_t kept = 0;
	bool lost;
	int err = change(s, false, &lost);

	if (err != 0)
		return err;
	for (size_t i = 0; i < s->change_count; i++) {
		struct dir_change *c = &s->changes[i];

		if (!in_directory(c->name.path, path)) {
			s->changes[kept++] = *c;
			continue;
		}
		change_apply(&s->stored, c);
		inode_unref(c->name.inode);
	}
	s->change_count = kept;
	return 0;
}

/* One process lives in this world, and the test that has it opens what it likes. */
static int sim_lock(struct world *w, struct file *f, bool shared)
{
	return 0;
}

static int sim_space(struct world *w, uint64_t *free_bytes, uint64_t *total_bytes)
{
	*free_bytes = sim_of(w)->room;
	*total_bytes = UINT64_MAX;
	return 0;
}

static const struct world_ops sim_ops = {
	.real_us = sim_real_us,
	.mono_us = sim_mono_us,
	.random = sim_random_bytes,
	.open = sim_open,
	.close = sim_close,
	.pread = sim_pread,
	.pread_direct = sim_pread_direct,
	.pwritev = sim_pwritev,
	.datasync = sim_datasync,
	.allocate = sim_allocate,
	.size = sim_size,
	.truncate = sim_truncate,
	.unlink = sim_unlink,
	.rename = sim_rename,
	.mkdir = sim_mkdir,
	.list = sim_list,
	.sync_dir = sim_sync_dir,
	.lock = sim_lock,
	.space = sim_space,
};

struct sim *sim_new(uint64_t seed)
{
	struct sim *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->world.ops = &sim_ops;
	s->random = seed;
	s->room = UINT64_MAX;
	return s;
}

void sim_free(struct sim *s)
{
	if (s == NULL)
		return;
	names_done(&s->seen);
	names_done(&s->stored);
	for (size_t i = 0; i < s->change_count; i++)
		inode_unref(s->changes[i].name.inode);
	free(s->changes);
	free(s);
}

struct world *sim_world(struct sim *s)
{
	return &s->world;
}

void sim_advance(struct sim *s, int64_t us)
{
	s->now_us += us;
}

void sim_on_change(struct sim *s, void (*fn)(void *arg), void *arg)
{
	s->on_change = fn;
	s->on_change_arg = arg;
}

void sim_fail(struct sim *s, uint64_t n, enum sim_fault fault)
{
	s->fail_in = fault == SIM_OK ? 0 : n;
	s->fault = fault;
}

void sim_set_room(struct sim *s, uint64_t bytes)
{
	s->room = bytes;
}

bool sim_flip(struct sim *s, const char *path, uint64_t byte, unsigned bit)
{
	struct name *row = name_find(&s->seen, path);
	uint8_t b;

	if (row == NULL || row->inode == NULL ||
	    image_read(&row->inode->seen, byte, &b, 1) != 1)
		return false;
	b ^= (uint8_t)(1u << (bit & 7));
	image_write(&row->inode->seen, byte, &b, 1);
	if (byte < row->inode->stored.size)
		image_write(&row->inode->stored, byte, &b, 1);
	return true;
}

/* The stored file and what survives of what waited, as a new inode. */
static struct inode *inode_cut(const struct inode *f, uint64_t *random)
{
	struct inode *n = need(calloc(1, sizeof(*n)));

	image_copy(&n->stored, &f->stored);
	if (f->pending_count > 0) {
		struct fate fate = fate_make(random, pending_sectors(f));

		pending_store(f, &n->stored, &fate);
	}
	image_copy(&n->seen, &n->stored);
	return n;
}

struct sim *sim_power_cut(const struct sim *s, uint64_t seed)
{
	struct sim *cut = sim_new(seed);
	struct names left = { 0 };
	uint64_t random = seed ^ 0x5bf03635u;

	if (cut == NULL)
		return NULL;
	cut->now_us = s->now_us;
	for (size_t i = 0; i < s->stored.count; i++)
		name_add(&left, s->stored.rows[i].path, s->stored.rows[i].inode);
	/* Names mostly survive in their order (a journal), sometimes not. */
	bool in_order = random_next(&random) % 4 != 0;
	uint64_t keep = random_next(&random) % (s->change_count + 1);
	for (size_t i = 0; i < s->change_count; i++)
		if (in_order ? i < keep : random_next(&random) % 2 == 0)
			change_apply(&left, &s->changes[i]);
	for (size_t i = 0; i < left.count; i++) {
		const struct name *row = &left.rows[i];

		if (!directory_exists(&left, row->path))
			continue;
		struct inode *n = row->inode == NULL ? NULL : inode_cut(row->inode, &random);

		name_add(&cut->seen, row->path, n);
		name_add(&cut->stored, row->path, n);
	}
	names_done(&left);
	return cut;
}

/* Inodes of the old world and their copies: one may have several names, seen and stored. */
struct copies {
	struct {
		const struct inode *from;
		struct inode *to;
	} *rows;
	size_t count;
};

static struct inode *inode_copy(struct copies *c, const struct inode *from)
{
	if (from == NULL)
		return NULL;
	for (size_t i = 0; i < c->count; i++)
		if (c->rows[i].from == from)
			return c->rows[i].to;
	struct inode *to = need(calloc(1, sizeof(*to)));

	image_copy(&to->seen, &from->seen);
	image_copy(&to->stored, &from->stored);
	to->limbo = from->limbo;
	for (size_t i = 0; i < from->pending_count; i++) {
		const struct pending *p = &from->pending[i];

		pending_add(to, p->kind, p->at, p->bytes, p->n);
	}
	c->rows[c->count].from = from;
	c->rows[c->count++].to = to;
	return to;
}

struct sim *sim_kill(const struct sim *s, uint64_t seed)
{
	size_t most = s->seen.count + s->stored.count + s->change_count;
	struct copies c = { .rows = need(calloc(most + 1, sizeof(c.rows[0]))) };
	struct sim *next = sim_new(seed);

	if (next != NULL) {
		next->now_us = s->now_us;
		next->room = s->room;
		for (size_t i = 0; i < s->seen.count; i++)
			name_add(&next->seen, s->seen.rows[i].path, inode_copy(&c, s->seen.rows[i].inode));
		for (size_t i = 0; i < s->stored.count; i++)
			name_add(&next->stored, s->stored.rows[i].path,
				 inode_copy(&c, s->stored.rows[i].inode));
		for (size_t i = 0; i < s->change_count; i++) {
			const struct dir_change *d = &s->changes[i];

			dir_change(next, d->kind, d->name.path, inode_copy(&c, d->name.inode), d->to);
		}
	}
	free(c.rows);
	return next;
}
