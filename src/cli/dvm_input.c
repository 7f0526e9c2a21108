#include "cli/dvm_input.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "dvm/container/jimage.h"
#include "sys/process.h"

#define ROOTS_MAX	 1000000u	/* files of directories, too */
#define FILE_BYTES_MAX	 (4ull << 30)
#define INPUT_BYTES_MAX	 (8ull << 30)	/* parsed skeletons and unpacked entries of the class path */
#define COMPLAINTS_MAX	 64u

enum root_kind { ROOT_FILE, ROOT_IMAGE, ROOT_OTHER };

struct root {
	enum root_kind kind;
	unsigned use;
	const char *path;		/* as given */
	struct slice below;		/* a file of a directory: the rest of its path */
	struct slice bytes;
	bool mapped;
	struct jimage image;
};

struct source {				/* a class somewhere */
	struct dvm_item item;
	uint32_t entry;			/* of the jar or image */
	bool looked_at, parsed, broken;
	struct slice name;		/* internal name, by its place */
	uint32_t next;			/* in its bucket: 1 + index */
	struct class_file class;
};

struct dvm_input {
	struct root *roots;
	uint32_t root_count, root_room;
	struct source *sources;
	uint32_t source_count, source_room;
	uint32_t *items;		/* sources to look at */
	uint32_t item_count;
	uint32_t *buckets, mask;
	struct arena arena;
	char *complaints[COMPLAINTS_MAX];
	uint32_t complaint_count;
};

struct dvm_input *dvm_input_new(void)
{
	struct dvm_input *in = calloc(1, sizeof(*in));

	if (in != NULL)
		arena_init(&in->arena, INPUT_BYTES_MAX);
	return in;
}

void dvm_input_free(struct dvm_input *in)
{
	if (in == NULL)
		return;
	for (uint32_t i = 0; i < in->root_count; i++)
		if (in->roots[i].mapped)
			munmap((void *)(uintptr_t)in->roots[i].bytes.ptr, in->roots[i].bytes.len);
		else
			free((void *)(uintptr_t)in->roots[i].bytes.ptr);
	for (uint32_t i = 0; i < in->complaint_count; i++)
		free(in->complaints[i]);
	arena_done(&in->arena);
	free(in->roots);
	free(in->sources);
	free(in->items);
	free(in->buckets);
	free(in);
}

static bool grow(void **p, uint32_t *room, uint32_t need, size_t size)
{
	uint32_t more = *room == 0 ? 64 : *room * 2;
	void *q;

	if (need <= *room)
		return true;
	q = reallocarray(*p, more, size);
	if (q == NULL)
		return false;
	*p = q;
	*room = more;
	return true;
}

/* ---- files ---- */

static enum root_kind kind_of(const char *path, struct slice bytes)
{
	if (slice_ends(slice_str(path), SLICE(".class")))
		return ROOT_FILE;		/* whatever it holds: a broken one is judged, not skipped */
	if (slice_starts(bytes, SLICE("\xda\xda\xfe\xca")) || slice_starts(bytes, SLICE("\xca\xfe\xda\xda")))
		return ROOT_IMAGE;
	return slice_starts(bytes, SLICE("\xca\xfe\xba\xbe")) ? ROOT_FILE : ROOT_OTHER;
}

/* Small files are read, since there may be many; large ones are mapped. */
static int load(int fd, off_t size, struct slice *out, bool *mapped)
{
	uint8_t *p;
	size_t done = 0;
	ssize_t n;

	*mapped = size > 1 << 20;
	if (*mapped) {
		void *map = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);

		if (map == MAP_FAILED)
			return -errno;
		*out = slice_of(map, (size_t)size);
		return 0;
	}
	p = malloc((size_t)size + 1);
	if (p == NULL)
		return -ENOMEM;
	while (done < (size_t)size && (n = read(fd, p + done, (size_t)size - done)) != 0) {
		if (n < 0 && errno != EINTR) {
			free(p);
			return -errno;
		}
		done += n > 0 ? (size_t)n : 0;
	}
	*out = slice_of(p, done);
	return 0;
}

static int add_file(struct dvm_input *in, const char *given, const char *path, struct slice below, unsigned use, struct errmsg *why)
{
	struct root r = { .use = use, .path = given, .below = below };
	struct stat st;
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	int err;

	if (fd < 0 || fstat(fd, &st) < 0)
		return errmsg_set(why, -errno, "'%s'", path);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > FILE_BYTES_MAX)
		return errmsg_say(why, -EINVAL, "'%s' is no regular file, or too large", path);
	if (!grow((void **)&in->roots, &in->root_room, in->root_count + 1, sizeof(*in->roots)))
		return errmsg_set(why, -ENOMEM, "'%s'", path);
	err = load(fd, st.st_size, &r.bytes, &r.mapped);
	if (err != 0)
		return errmsg_set(why, err, "'%s'", path);
	r.kind = kind_of(path, r.bytes);
	in->roots[in->root_count++] = r;
	return 0;
}

static bool is_wanted(struct slice name)
{
	return slice_ends(name, SLICE(".class"));
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

int dvm_input_add(struct dvm_input *in, const char *path, unsigned use, struct errmsg *why)
{
	char *const paths[] = { (char *)(uintptr_t)path, NULL };
	struct stat st;
	FTSENT *e;
	FTS *tree;
	int err = 0;

	if (stat(path, &st) < 0)
		return errmsg_set(why, -errno, "'%s'", path);
	if (!S_ISDIR(st.st_mode))
		return add_file(in, path, path, (struct slice){ 0 }, use, why);
	tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
	if (tree == NULL)
		return errmsg_set(why, -errno, "'%s'", path);
	while (err == 0 && (e = fts_read(tree)) != NULL) {
		struct slice below = slice_from(slice_str(e->fts_path), strlen(path));

		if (e->fts_info != FTS_F || !is_wanted(slice_str(e->fts_name)))
			continue;
		while (below.len > 0 && below.ptr[0] == '/')
			below = slice_from(below, 1);
		err = in->root_count >= ROOTS_MAX ? errmsg_say(why, -E2BIG, "'%s' has more than %u files", path, ROOTS_MAX) :
						    add_file(in, path, e->fts_path, arena_dup(&in->arena, below), use, why);
	}
	fts_close(tree);
	return err;
}

static bool try_jdk(struct dvm_input *in, const char *dir, struct errmsg *why)
{
	char path[PATH_MAX];
	struct slice kept;

	(void)snprintf(path, sizeof(path), "%s/lib/modules", dir);
	if (access(path, R_OK) != 0)
		return false;
	kept = slice_of(arena_str(&in->arena, slice_str(path)), strlen(path));
	return kept.ptr != NULL && add_file(in, (const char *)kept.ptr, path, (struct slice){ 0 }, DVM_BOTTOM, why) == 0;
}

int dvm_input_jdk(struct dvm_input *in, const char *dir, struct errmsg *why)
{
	const char *home = getenv("JAVA_HOME");
	char found[PROCESS_PATH_BYTES], real[PATH_MAX];
	char *end;

	if (dir != NULL)
		return try_jdk(in, dir, why) ? 0 : errmsg_say(why, -ENOENT, "'%s' is no JDK: it has no lib/modules", dir);
	if (home != NULL && try_jdk(in, home, why))
		return 0;
	/* DIR/bin/java, whatever links lead there. */
	if (process_find_program("java", found, why) == 0 && realpath(found, real) != NULL)
		for (unsigned up = 0; up < 2 && (end = strrchr(real, '/')) != NULL; up++)
			*end = '\0';
	else
		real[0] = '\0';
	return real[0] != '\0' && try_jdk(in, real, why) ? 0 : errmsg_say(why, -ENOENT, "no JDK was found");
}

/* ---- containers ---- */

static void complain(struct dvm_input *in, const struct root *r, const char *text)
{
	char line[1024];

	if (in->complaint_count >= COMPLAINTS_MAX)
		return;
	(void)snprintf(line, sizeof(line), "%s%s%.*s: %s", r->path, r->below.len > 0 ? "/" : "", SLICE_FMT(r->below), text);
	in->complaints[in->complaint_count] = strdup(line);
	in->complaint_count += in->complaints[in->complaint_count] != NULL;
}

/* Places before which a class's name begins in unpacked archives. */
static struct slice strip(struct slice name)
{
	static const struct slice before[] = { SLICE_INIT("BOOT-INF/classes/"), SLICE_INIT("WEB-INF/classes/"), SLICE_INIT("classes/") };

	for (size_t i = 0; i < ARRAY_LEN(before); i++)
		if (slice_starts(name, before[i]))
			name = slice_from(name, before[i].len);
	return slice_head(name, name.len - strlen(".class"));
}

static bool add_source(struct dvm_input *in, uint32_t root, uint32_t entry, struct slice label, struct slice name)
{
	struct source *s;

	if (!grow((void **)&in->sources, &in->source_room, in->source_count + 1, sizeof(*in->sources)))
		return false;
	s = &in->sources[in->source_count++];
	*s = (struct source){ .item = { in->roots[root].path, label, root, in->roots[root].kind == ROOT_IMAGE }, .entry = entry, .name = name };
	return true;
}

static int open_image(struct dvm_input *in, uint32_t root, struct errmsg *why)
{
	struct root *r = &in->roots[root];

	if (jimage_open(&in->arena, r->bytes, &r->image, why) != 0) {
		complain(in, r, why->text);
		return 0;
	}
	for (uint32_t i = 0; i < r->image.count; i++) {
		const struct jimage_resource *e = &r->image.resources[i];
		struct buf path = BUF_INIT(1 << 20);
		struct slice label;

		if (!slice_eq(e->extension, SLICE("class")) || e->module.len == 0)
			continue;
		jimage_path(&path, e);
		label = arena_dup(&in->arena, buf_slice(&path));
		buf_done(&path);
		/* "/module/a/b/C.class": the class's name is behind the module. */
		if (label.ptr == NULL ||
		    !add_source(in, root, i, label, slice_sub(label, e->module.len + 2, label.len - strlen(".class"))))
			return errmsg_set(why, -ENOMEM, "'%s'", r->path);
	}
	return 0;
}

static int open_file(struct dvm_input *in, uint32_t root, struct errmsg *why)
{
	struct root *r = &in->roots[root];
	struct class_file c;
	struct slice name = r->below.len > 0 ? strip(r->below) : (struct slice){ 0 };

	/* A file alone is called what it says, wherever it lies. */
	if (r->below.len == 0 && class_parse(&in->arena, r->bytes, &c, NULL))
		name = class_name(&c);
	return add_source(in, root, 0, r->below, name) ? 0 : errmsg_set(why, -ENOMEM, "'%s'", r->path);
}

static uint32_t hash_of(struct slice s)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < s.len; i++)
		h = (h ^ s.ptr[i]) * 16777619u;
	return h;
}

static bool build_index(struct dvm_input *in)
{
	uint32_t rows = 256;

	while (rows < in->source_count * 2)
		rows *= 2;
	in->mask = rows - 1;
	in->buckets = calloc(rows, sizeof(*in->buckets));
	in->items = calloc((size_t)in->source_count + 1, sizeof(*in->items));
	if (in->buckets == NULL || in->items == NULL)
		return false;
	/* The last goes in first, so that a bucket's order is that of the class path. */
	for (uint32_t i = in->source_count; i-- > 0;) {
		uint32_t *bucket = &in->buckets[hash_of(in->sources[i].name) & in->mask];

		in->sources[i].next = *bucket;
		*bucket = i + 1;
	}
	for (uint32_t i = 0; i < in->source_count; i++)
		if ((in->roots[in->sources[i].item.root].use & DVM_LOOK_AT) != 0)
			in->items[in->item_count++] = i;
	return true;
}

int dvm_input_open(struct dvm_input *in, struct errmsg *why)
{
	int err = 0;

	for (uint32_t i = 0; i < in->root_count && err == 0; i++)
		switch (in->roots[i].kind) {
		case ROOT_FILE:
			err = open_file(in, i, why);
			break;
		case ROOT_OTHER:
			complain(in, &in->roots[i], "no class file and no JDK image; unpack jars into a directory");
			break;
		case ROOT_IMAGE:
			err = open_image(in, i, why);
			break;
		}
	if (err == 0 && !build_index(in))
		err = errmsg_set(why, -ENOMEM, "the list of classes");
	return err;
}

uint32_t dvm_input_count(const struct dvm_input *in)
{
	return in->item_count;
}

const struct dvm_item *dvm_input_item(const struct dvm_input *in, uint32_t i)
{
	return &in->sources[in->items[i]].item;
}

static int read_source(struct dvm_input *in, struct arena *arena, const struct source *s, struct slice *out, struct errmsg *why)
{
	struct root *r = &in->roots[s->item.root];

	switch (r->kind) {
	case ROOT_IMAGE:
		return jimage_read(arena, &r->image, &r->image.resources[s->entry], out, why);
	default:
		*out = r->bytes;
		return 0;
	}
}

int dvm_input_read(struct dvm_input *in, struct arena *arena, uint32_t i, struct slice *out, struct errmsg *why)
{
	return read_source(in, arena, &in->sources[in->items[i]], out, why);
}

uint32_t dvm_input_complaints(const struct dvm_input *in)
{
	return in->complaint_count;
}

const char *dvm_input_complaint(const struct dvm_input *in, uint32_t i)
{
	return in->complaints[i];
}

/* ---- the class path ---- */

static const struct class_file *parsed(struct dvm_input *in, struct source *s)
{
	struct errmsg why;
	struct slice bytes;

	if (!s->looked_at) {
		s->looked_at = true;
		s->parsed = read_source(in, &in->arena, s, &bytes, &why) == 0 && class_parse(&in->arena, bytes, &s->class, NULL) &&
			    slice_eq(class_name(&s->class), s->name);
	}
	return s->parsed ? &s->class : NULL;
}

/* The JDK's before all others, then what lies beside the class that asks, then the order of the command line. */
static unsigned rank(const struct dvm_input *in, const struct source *s, uint32_t from_root)
{
	const struct root *r = &in->roots[s->item.root];

	return (r->use & DVM_BOTTOM) != 0 || r->kind == ROOT_IMAGE ? 0 : s->item.root == from_root ? 1 : 2;
}

const struct class_file *dvm_input_find(struct dvm_input *in, uint32_t from, struct slice name)
{
	uint32_t from_root = in->sources[in->items[from]].item.root;
	const struct class_file *best = NULL;
	unsigned best_rank = 3;

	for (uint32_t i = in->buckets[hash_of(name) & in->mask]; i != 0; i = in->sources[i - 1].next) {
		struct source *s = &in->sources[i - 1];
		const struct class_file *c;
		unsigned n;

		if (!slice_eq(s->name, name))
			continue;
		n = rank(in, s, from_root);
		if (n < best_rank && (c = parsed(in, s)) != NULL) {
			best = c;
			best_rank = n;
		}
	}
	return best;
}
