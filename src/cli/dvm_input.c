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
#include "dvm/container/container_limits.h"
#include "dvm/container/jar.h"
#include "dvm/container/jimage.h"
#include "dvm/container/shown.h"
#include "dvm/container/walk.h"
#include "sys/process.h"

#define ROOTS_MAX	 1000000u	/* files of directories, too */
#define FILE_BYTES_MAX	 (4ull << 30)
#define INPUT_BYTES_MAX	 (8ull << 30)	/* parsed skeletons and unpacked entries of the class path */
#define NESTED_BYTES_MAX (2ull << 30)	/* jars within jars, unpacked, all together */
#define SOURCES_MAX	 4000000u
#define COMPLAINTS_MAX	 64u

enum root_kind { ROOT_FILE, ROOT_JAR, ROOT_IMAGE, ROOT_OTHER };

struct archive {			/* a jar, or one within another */
	struct zip zip;
	struct jar jar;
	struct slice prefix;		/* of its entries' labels: "lib/a.jar!/b.jar!/" */
};

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
	const struct archive *archive;	/* or NULL */
	uint32_t entry;			/* of the jar or image */
	uint16_t version;		/* of a multi-release jar: for JVMs of at least this one */
	bool looked_at, parsed;
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
	uint64_t nested_bytes;
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

static const struct slice jmod_magic = { (const uint8_t *)"JM\1\0", 4 };	/* and then a zip file */

static bool is_archive(struct slice name)
{
	return slice_ends(name, SLICE(".jar")) || slice_ends(name, SLICE(".war")) || slice_ends(name, SLICE(".jmod"));
}

static enum root_kind kind_of(const char *path, struct slice bytes)
{
	if (slice_ends(slice_str(path), SLICE(".class")))
		return ROOT_FILE;		/* whatever it holds: a broken one is judged, not skipped */
	if (is_archive(slice_str(path)))
		return ROOT_JAR;
	if (slice_starts(bytes, SLICE("\xda\xda\xfe\xca")) || slice_starts(bytes, SLICE("\xca\xfe\xda\xda")))
		return ROOT_IMAGE;
	if (slice_starts(bytes, SLICE("\xca\xfe\xba\xbe")))
		return ROOT_FILE;
	return class_container_of(bytes) == CLASS_CONTAINER_JAR ? ROOT_JAR : ROOT_OTHER;
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
	return slice_ends(name, SLICE(".class")) || is_archive(name);
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

/* Within: the prefix of an archive in it, or nothing. */
static void complain(struct dvm_input *in, const struct root *r, struct slice within, const char *text)
{
	char line[1024];
	int n;

	if (in->complaint_count >= COMPLAINTS_MAX)
		return;
	n = snprintf(line, sizeof(line), "%s%s%.*s", r->path, r->below.len > 0 ? "/" : "", SLICE_FMT(r->below));
	if (within.len > 2 && n >= 0 && (size_t)n < sizeof(line))
		n += snprintf(line + n, sizeof(line) - (size_t)n, "!/%s", shown(&(struct shown){ 0 }, slice_head(within, within.len - 2)));
	if (n >= 0 && (size_t)n < sizeof(line))
		(void)snprintf(line + n, sizeof(line) - (size_t)n, ": refused: %s", text);
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

static struct source *add_source(struct dvm_input *in, uint32_t root, uint32_t entry, struct slice label, struct slice name)
{
	struct root *r = &in->roots[root];
	struct source *s;

	if (in->source_count >= SOURCES_MAX || !grow((void **)&in->sources, &in->source_room, in->source_count + 1, sizeof(*in->sources)))
		return NULL;
	s = &in->sources[in->source_count++];
	*s = (struct source){ .item = { r->path, r->kind == ROOT_IMAGE ? "!" : "/", label, root, r->kind == ROOT_IMAGE }, .entry = entry, .name = name };
	return s;
}

static int open_archive(struct dvm_input *in, uint32_t root, struct slice bytes, struct slice prefix, int depth, struct errmsg *why);

/* An archive within: its classes are seen by those of the outermost, and see them. */
static int open_nested(struct dvm_input *in, uint32_t root, const struct archive *a, const struct zip_entry *e, int depth, struct errmsg *why)
{
	AUTO_BUF struct buf path = BUF_INIT(WALK_PATH_BYTES_MAX);
	struct slice prefix, bytes;
	int err = 0;

	buf_add(&path, a->prefix);
	buf_add(&path, e->name);
	buf_add(&path, SLICE("!/"));
	prefix = arena_dup(&in->arena, buf_slice(&path));
	if (path.err != 0 || prefix.ptr == NULL)
		err = errmsg_say(why, -E2BIG, "jars within jars with paths above %d bytes", WALK_PATH_BYTES_MAX);
	else if (depth == WALK_DEPTH_MAX)
		err = errmsg_say(why, -E2BIG, "jars within jars, deeper than %d", WALK_DEPTH_MAX);
	else if (e->size > NESTED_BYTES_MAX - in->nested_bytes)
		err = errmsg_say(why, -E2BIG, "jars within jars unpack to more than %llu bytes", NESTED_BYTES_MAX);
	else
		err = zip_read(&in->arena, a->jar.zip, e, &bytes, why);
	if (err != 0) {
		complain(in, &in->roots[root], prefix, why->text);
		return 0;
	}
	in->nested_bytes += e->size;
	return open_archive(in, root, bytes, prefix, depth + 1, why);
}

static int add_entry(struct dvm_input *in, uint32_t root, const struct archive *a, uint32_t entry, struct errmsg *why)
{
	static const struct slice classes = SLICE_INIT("classes/");	/* of a jmod */
	const struct root *r = &in->roots[root];
	const struct zip_entry *e = &a->zip.entries[entry];
	struct jar_entry kind = jar_entry_of(&a->jar, e);
	AUTO_BUF struct buf joined = BUF_INIT(1 << 20);
	struct slice label;
	struct source *s;

	if (kind.kind != JAR_CLASS && kind.kind != JAR_VERSIONED_CLASS)
		return 0;
	if (slice_starts(r->bytes, jmod_magic) && slice_starts(kind.class_name, classes))
		kind.class_name = slice_from(kind.class_name, classes.len);
	if (r->below.len > 0) {
		buf_add(&joined, r->below);
		buf_add(&joined, SLICE("!/"));
	}
	buf_add(&joined, a->prefix);
	buf_add(&joined, e->name);
	label = arena_dup(&in->arena, buf_slice(&joined));
	s = joined.err != 0 || label.ptr == NULL ? NULL : add_source(in, root, entry, label, kind.class_name);
	if (s == NULL)
		return errmsg_say(why, -E2BIG, "'%s': more classes than memory allows", r->path);
	s->archive = a;
	s->version = kind.version;
	s->item.joint = r->below.len > 0 ? "/" : "!/";
	return 0;
}

static int open_archive(struct dvm_input *in, uint32_t root, struct slice bytes, struct slice prefix, int depth, struct errmsg *why)
{
	struct archive *a = ARENA_NEW(&in->arena, struct archive);
	int err = a == NULL ? errmsg_set(why, -ENOMEM, "a jar") : zip_open(&in->arena, bytes, &a->zip, why);

	if (err == 0)
		err = jar_open(&in->arena, &a->zip, &a->jar, why);
	if (err != 0) {
		complain(in, &in->roots[root], prefix, why->text);
		return 0;
	}
	a->prefix = prefix;
	for (uint32_t i = 0; err == 0 && i < a->zip.count; i++)
		err = add_entry(in, root, a, i, why);
	/* Behind its own classes: those come first where both have one of that name. */
	for (uint32_t i = 0; err == 0 && i < a->zip.count; i++)
		if (jar_entry_of(&a->jar, &a->zip.entries[i]).kind == JAR_NESTED)
			err = open_nested(in, root, a, &a->zip.entries[i], depth, why);
	return err;
}

static int open_jar(struct dvm_input *in, uint32_t root, struct errmsg *why)
{
	struct slice bytes = in->roots[root].bytes;

	if (slice_starts(bytes, jmod_magic))
		bytes = slice_from(bytes, jmod_magic.len);
	return open_archive(in, root, bytes, SLICE(""), 0, why);
}

static int open_image(struct dvm_input *in, uint32_t root, struct errmsg *why)
{
	struct root *r = &in->roots[root];

	if (jimage_open(&in->arena, r->bytes, &r->image, why) != 0) {
		complain(in, r, SLICE(""), why->text);
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
		    add_source(in, root, i, label, slice_sub(label, e->module.len + 2, label.len - strlen(".class"))) == NULL)
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
	return add_source(in, root, 0, r->below, name) != NULL ? 0 : errmsg_set(why, -ENOMEM, "'%s'", r->path);
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
		case ROOT_JAR:
			err = open_jar(in, i, why);
			break;
		case ROOT_OTHER:
			complain(in, &in->roots[i], SLICE(""), "neither a class file nor a jar nor a JDK image");
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
	case ROOT_JAR:
		return zip_read(arena, &s->archive->zip, &s->archive->zip.entries[s->entry], out, why);
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

/* The JDK's before all others, then what lies in the same jar, then what lies in the same file, then the order of the command line. */
static unsigned rank(const struct dvm_input *in, const struct source *s, const struct source *from)
{
	const struct root *r = &in->roots[s->item.root];

	if ((r->use & DVM_BOTTOM) != 0 || r->kind == ROOT_IMAGE)
		return 0;
	return s->item.root != from->item.root ? 3 : s->archive != from->archive ? 2 : 1;
}

/* Of one jar: what a JVM of the version that `from` is made for would take; else the version nearest above, rather than none. */
static unsigned distance(const struct source *s, const struct source *from)
{
	return s->version <= from->version ? from->version - s->version : UINT16_MAX + s->version;
}

const struct class_file *dvm_input_find(struct dvm_input *in, uint32_t from_item, struct slice name)
{
	const struct source *from = &in->sources[in->items[from_item]], *best = NULL;
	const struct class_file *found = NULL;

	for (uint32_t i = in->buckets[hash_of(name) & in->mask]; i != 0; i = in->sources[i - 1].next) {
		struct source *s = &in->sources[i - 1];
		const struct class_file *c;

		if (!slice_eq(s->name, name))
			continue;
		if (best != NULL && rank(in, s, from) >= rank(in, best, from) &&
		    !(s->archive != NULL && s->archive == best->archive && distance(s, from) < distance(best, from)))
			continue;
		c = parsed(in, s);
		if (c != NULL) {
			best = s;
			found = c;
		}
	}
	return found;
}
