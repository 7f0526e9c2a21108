#include "dvm/image/harden.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/must.h"
#include "dvm/container/jimage.h"
#include "dvm/image/guard.h"
#include "dvm/image/image_limits.h"
#include "dvm/image/selftest.h"
#include "dvm/image/tree.h"

/* Changes with sinks.def and the guard: a copy made by other rules is stale. */
#define HARDEN_RULES "3"

struct work {
	const struct harden_options *o;
	struct harden_report *report;
	struct errmsg *why;
	struct arena arena;
	char jdk[PATH_MAX], out[PATH_MAX + 16], final[PATH_MAX];
	struct slice image;		/* the source's lib/modules, mapped */
};

const char *harden_mode_name(enum harden_mode mode)
{
	return mode == HARDEN_ENFORCE ? "enforce" : mode == HARDEN_REPORT ? "report" : "learn";
}

static void step(const struct work *w, const char *what)
{
	if (w->o->step != NULL)
		w->o->step(w->o->context, what);
}

static int map_file(const char *path, struct slice *out, struct errmsg *why)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0)
		return errmsg_set(why, -errno, "open '%s'", path);
	if (!S_ISREG(st.st_mode) || st.st_size == 0 || st.st_size > IMAGE_BYTES_MAX)
		return errmsg_say(why, -EBADMSG, "'%s' is no run-time image of a JDK", path);
	void *at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (at == MAP_FAILED)
		return errmsg_set(why, -errno, "map '%s'", path);
	*out = slice_of(at, (size_t)st.st_size);
	return 0;
}

static int sha256_text(struct slice bytes, char out[65], struct errmsg *why)
{
	uint8_t digest[32];
	struct buf text = BUF_INIT(65);

	if (EVP_Digest(bytes.ptr, bytes.len, digest, NULL, EVP_sha256(), NULL) != 1)
		return errmsg_say(why, -EIO, "SHA-256 is not to be had");
	hex_encode(&text, slice_of(digest, sizeof(digest)));
	(void)snprintf(out, 65, "%s", buf_cstr(&text));
	buf_done(&text);
	return 0;
}

/* JAVA_VERSION="17.0.15" of the file `release`. */
static int read_version(struct work *w)
{
	char path[PATH_MAX + 16], line[1024];
	uint64_t feature = 0;

	(void)snprintf(path, sizeof(path), "%s/release", w->jdk);
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return errmsg_set(w->why, -errno, "open '%s': is '%s' a JDK or a Java run-time?", path, w->o->jdk);
	while (fgets(line, sizeof(line), f) != NULL) {
		struct slice rest = slice_trim(slice_str(line)), head, tail;

		if (!slice_starts(rest, SLICE("JAVA_VERSION=\"")))
			continue;
		rest = slice_from(rest, sizeof("JAVA_VERSION=\"") - 1);
		slice_cut(rest, '"', &rest, &tail);
		slice_cut(rest, '.', &head, &tail);
		if (!slice_to_str(rest, w->report->version, sizeof(w->report->version)) || !slice_u64(head, 1000, &feature))
			feature = 0;
	}
	fclose(f);
	w->report->feature = (uint16_t)feature;
	if (feature < 17)
		return errmsg_say(w->why, -ENOENT, "'%s' says no version that can be hardened: 17 and newer can", path);
	return 0;
}

static int rewrite_class(struct work *w, const struct jimage *image, const char *module, const char *name, struct jimage_change *out)
{
	AUTO_BUF struct buf path = BUF_INIT(1024);
	AUTO_BUF struct buf bytes = BUF_INIT(4u << 20);
	struct slice content;
	struct class_file c;
	struct class_fault fault;
	bool changed;
	int err;

	buf_printf(&path, "/%s/%s.class", module, name);
	out->resource = jimage_find(image, buf_slice(&path));
	if (out->resource == NULL)
		return strcmp(module, "java.base") != 0 ? 0 : errmsg_say(w->why, -ENOENT, "this JDK is not known: its image has no %s", name);
	err = jimage_read(&w->arena, image, out->resource, &content, w->why);
	if (err != 0)
		return err;
	if (!class_parse(&w->arena, content, &c, &fault))
		return errmsg_say(w->why, -EBADMSG, "%s: %s", name, fault.text);
	err = guard_insert(&w->arena, &c, module, w->report->feature, &bytes, &changed, w->why);
	if (err != 0)
		return err;
	out->content = arena_dup(&w->arena, buf_slice(&bytes));
	return out->content.ptr == NULL ? errmsg_set(w->why, -ENOMEM, "rewrite %s", name) : 0;
}

/* Splits "jdk/internal/misc/Guard" into parent and base of java.base. */
static struct jimage_resource resource_of(struct slice name)
{
	size_t slash = slice_rfind_byte(name, '/');

	return (struct jimage_resource){ .module = SLICE("java.base"), .parent = slice_head(name, slash), .base = slice_from(name, slash + 1),
		.extension = SLICE("class") };
}

/*
 * Options that a machine of this image begins with, before those of its command line: nobody attaches to one that enforces, since who does loads code
 * beside the guard. (GuardBoot ends a machine that was told otherwise.)
 */
static int bake_options(struct work *w, const struct jimage *image, struct jimage_change *out)
{
	AUTO_BUF struct buf text = BUF_INIT(1u << 20);
	const struct jimage_resource *there = jimage_find(image, SLICE("/java.base/jdk/internal/vm/options"));
	struct slice before = { 0 };
	int err = there == NULL ? 0 : jimage_read(&w->arena, image, there, &before, w->why);

	if (err != 0)
		return err;
	buf_add(&text, before);
	buf_adds(&text, before.len != 0 ? "\n-XX:+DisableAttachMechanism\n" : "-XX:+DisableAttachMechanism\n");
	*out = (struct jimage_change){ .resource = there, .name = { .module = SLICE("java.base"), .parent = SLICE("jdk/internal/vm"), .base = SLICE("options") },
		.content = arena_dup(&w->arena, buf_slice(&text)) };
	return text.err != 0 || out->content.ptr == NULL ? errmsg_set(w->why, -ENOMEM, "bake the machine's options in") : 0;
}

static int write_image(struct work *w, const struct jimage *image, const struct jimage_change *changes, size_t count)
{
	AUTO_BUF struct buf bytes = BUF_INIT(IMAGE_BYTES_MAX);
	char path[PATH_MAX + 32];
	int err = jimage_write(&w->arena, image, changes, count, &bytes, w->why);

	if (err != 0)
		return err;
	(void)snprintf(path, sizeof(path), "%s/lib/modules", w->out);
	AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return errmsg_set(w->why, -errno, "make '%s'", path);
	for (struct slice rest = buf_slice(&bytes); rest.len != 0;) {
		ssize_t n = write(fd, rest.ptr, rest.len);

		if (n < 0)
			return errmsg_set(w->why, -errno, "write '%s'", path);
		rest = slice_from(rest, (size_t)n);
	}
	w->report->image_bytes = bytes.len;
	return 0;
}

static int rewrite_image(struct work *w)
{
	const char *modules[GUARD_TARGETS_MAX], *classes[GUARD_TARGETS_MAX];
	size_t targets = guard_targets(w->report->feature, modules, classes, GUARD_TARGETS_MAX), count = 0, at = 0;
	struct jimage_change *changes = arena_array(&w->arena, 2 * GUARD_TARGETS_MAX, sizeof(*changes));
	struct guard_class guard;
	struct jimage image;
	int err = changes == NULL ? errmsg_set(w->why, -ENOMEM, "harden") : jimage_open(&w->arena, w->image, &image, w->why);

	for (size_t i = 0; err == 0 && i < targets; i++) {
		err = rewrite_class(w, &image, modules[i], classes[i], &changes[count]);
		if (changes[count].resource != NULL)
			count++;
	}
	w->report->classes = (uint32_t)count;
	for (size_t i = 0; i < sink_count; i++)
		w->report->sinks += sink_fits(&sink_table[i], w->report->feature);
	while (err == 0 && guard_class_next(&at, &guard)) {
		must(count + 1 < 2 * GUARD_TARGETS_MAX);
		changes[count++] = (struct jimage_change){ .name = resource_of(guard.name), .content = guard.bytes };
	}
	if (err == 0 && w->o->mode == HARDEN_ENFORCE)
		err = bake_options(w, &image, &changes[count++]);
	return err == 0 ? write_image(w, &image, changes, count) : err;
}

/* What the guard reads when a virtual machine starts. */
static int write_facts(struct work *w, const char *mode, const char *table, const char *audit)
{
	char path[PATH_MAX + 48];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/lib/prickle.properties", w->out);
	f = fopen(path, "we");
	if (f == NULL)
		return errmsg_set(w->why, -errno, "make '%s'", path);
	fprintf(f, "# Made by 'prickle dvm harden'; read by the guard when a virtual machine starts.\nmode=%s\ntable=%s\n", mode, table);
	if (audit != NULL)
		fprintf(f, "audit=%s\n", audit);
	fprintf(f, "source=%s\nsource.sha256=%s\nversion=%s\nrules=%s\n", w->jdk, w->report->source_sha256, w->report->version, HARDEN_RULES);
	bool bad = ferror(f) != 0;
	return fclose(f) != 0 || bad ? errmsg_set(w->why, -EIO, "write '%s'", path) : 0;
}

static int dump_archive(struct work *w)
{
	static const char *const dump[] = { "java", "-Xshare:dump", NULL };
	static const char *const test[] = { "java", "-Xshare:on", "-version", NULL };
	int status;

	if (w->report->archives_left_out == 0)
		return 0;
	step(w, "dumping the class-data archive");
	status = copy_java(w->out, dump);
	if (status == 0)
		status = copy_java(w->out, test);
	if (status != 0)
		return errmsg_say(w->why, -EIO, "the copy's virtual machine does not start with a class-data archive of its own (%d)", status);
	w->report->archive = true;
	return 0;
}

struct trial {				/* a run under a policy that allows nothing */
	char directory[PATH_MAX + 32], table[PATH_MAX + 48], list[PATH_MAX + 48];
};

/* The classes that a machine with a guard loads, the JDK's own among those on the list, are to be in the archive: appended to lib/classlist. */
static int append_classes(struct work *w, const struct trial *t)
{
	char path[PATH_MAX + 32], line[4096];
	FILE *from = fopen(t->list, "re"), *to;

	(void)snprintf(path, sizeof(path), "%s/lib/classlist", w->out);
	to = from == NULL ? NULL : fopen(path, "ae");
	while (to != NULL && fgets(line, sizeof(line), from) != NULL)
		if (line[0] != '#' && strchr(line, '\n') != NULL && strstr(line, "PrickleSelfTest") == NULL)
			fputs(line, to);
	bool bad = to == NULL || ferror(from) != 0 || ferror(to) != 0;
	if (from != NULL)
		fclose(from);
	if (to != NULL && fclose(to) != 0)
		bad = true;
	return bad ? errmsg_set(w->why, -EIO, "append to '%s' the classes that the guard needs", path) : 0;
}

static int list_classes(struct work *w, const struct trial *t)
{
	char option[PATH_MAX + 96], path[PATH_MAX + 32];
	const char *const arguments[] = { "java", "-Xshare:off", option, "-cp", t->directory, "PrickleSelfTest", path, NULL };

	if (w->report->archives_left_out == 0)
		return 0;
	(void)snprintf(option, sizeof(option), "-XX:DumpLoadedClassList=%s", t->list);
	(void)snprintf(path, sizeof(path), "%s/release", w->out);
	int status = copy_java(w->out, arguments);
	return status != 0 ? errmsg_say(w->why, -EIO, "the copy's virtual machine does not run (%d)", status) : append_classes(w, t);
}

/* Under a table that allows nothing: the copy's guard denies, with and without the archive, which has what that needed. */
static int prove_copy(struct work *w)
{
	struct trial t;
	int err;

	(void)snprintf(t.directory, sizeof(t.directory), "%s/selftest", w->out);
	(void)snprintf(t.table, sizeof(t.table), "%s/table", t.directory);
	(void)snprintf(t.list, sizeof(t.list), "%s/classes", t.directory);
	err = selftest_prepare(t.directory, t.table, w->why);
	if (err == 0)
		err = write_facts(w, "enforce", t.table, NULL);
	if (err == 0)
		err = list_classes(w, &t);
	/* The archive is dumped with a guard that lets all pass. */
	if (err == 0)
		err = write_facts(w, "learn", "/nonexistent", NULL);
	if (err == 0)
		err = dump_archive(w);
	step(w, "testing the copy");
	if (err == 0)
		err = write_facts(w, "enforce", t.table, NULL);
	if (err == 0)
		err = selftest_run(w->out, t.directory, w->report->archive, w->why);
	return err == 0 ? tree_remove(t.directory, w->why) : err;
}

static int harden(struct work *w)
{
	static const char *const skip[] = { "lib/modules", NULL };
	struct tree_report copied;
	char path[PATH_MAX + 16];
	int err = read_version(w);

	(void)snprintf(path, sizeof(path), "%s/lib/modules", w->jdk);
	if (err == 0)
		err = map_file(path, &w->image, w->why);
	if (err == 0)
		err = sha256_text(w->image, w->report->source_sha256, w->why);
	step(w, "copying the JDK");
	if (err == 0)
		err = tree_copy(w->jdk, w->out, skip, &copied, w->why);
	if (err != 0)
		return err;
	w->report->files = copied.files + copied.links;
	w->report->archives_left_out = copied.archives;
	step(w, "rewriting lib/modules");
	err = rewrite_image(w);
	if (err == 0)
		err = prove_copy(w);
	if (err == 0)
		err = write_facts(w, harden_mode_name(w->o->mode), w->o->table, w->o->audit);
	if (err == 0 && rename(w->out, w->final) != 0)
		err = errmsg_set(w->why, -errno, "rename '%s' to '%s'", w->out, w->final);
	return err;
}

int harden_run(const struct harden_options *o, struct harden_report *report, struct errmsg *why)
{
	struct work w = { .o = o, .report = report, .why = why, .arena = ARENA_INIT(IMAGE_BYTES_MAX) };
	struct stat st;
	int err;

	*report = (struct harden_report){ 0 };
	if (realpath(o->jdk, w.jdk) == NULL)
		return errmsg_set(why, -errno, "open the JDK '%s'", o->jdk);
	if (lstat(o->out, &st) == 0)
		return errmsg_say(why, -EEXIST, "'%s' is there already; name another directory, or remove it", o->out);
	if (strlen(o->out) >= sizeof(w.final) || (size_t)snprintf(w.out, sizeof(w.out), "%s.new.%d", o->out, (int)getpid()) >= sizeof(w.out))
		return errmsg_say(why, -ENAMETOOLONG, "the path '%.100s...' is too long", o->out);
	(void)snprintf(w.final, sizeof(w.final), "%s", o->out);
	err = harden(&w);
	if (w.image.ptr != NULL)
		munmap((void *)(uintptr_t)w.image.ptr, w.image.len);
	arena_done(&w.arena);
	if (err != 0 && tree_remove(w.out, NULL) != 0)
		step(&w, "the unfinished copy could not be removed");
	return err;
}

/* "key=value" lines of our own making. */
static void fact(const char *line, const char *key, char *out, size_t room)
{
	size_t n = strlen(key);

	if (strncmp(line, key, n) == 0 && line[n] == '=')
		(void)snprintf(out, room, "%.*s", (int)strcspn(line + n + 1, "\n"), line + n + 1);
}

int harden_facts(const char *jdk, struct harden_facts *out, struct errmsg *why)
{
	char path[PATH_MAX], line[2048];
	FILE *f;

	*out = (struct harden_facts){ 0 };
	if ((size_t)snprintf(path, sizeof(path), "%s/lib/prickle.properties", jdk) >= sizeof(path))
		return errmsg_say(why, -ENAMETOOLONG, "the path '%.100s...' is too long", jdk);
	f = fopen(path, "re");
	if (f == NULL && errno == ENOENT)
		return errmsg_say(why, -ENOENT, "'%s' is no hardened JDK: 'prickle dvm harden' makes one", jdk);
	if (f == NULL)
		return errmsg_set(why, -errno, "open '%s'", path);
	while (fgets(line, sizeof(line), f) != NULL) {
		fact(line, "mode", out->mode, sizeof(out->mode));
		fact(line, "table", out->table, sizeof(out->table));
		fact(line, "audit", out->audit, sizeof(out->audit));
		fact(line, "source", out->source, sizeof(out->source));
		fact(line, "source.sha256", out->source_sha256, sizeof(out->source_sha256));
		fact(line, "version", out->version, sizeof(out->version));
		fact(line, "rules", out->rules, sizeof(out->rules));
	}
	fclose(f);
	return 0;
}

int harden_is_stale(const struct harden_facts *f, bool *stale, struct errmsg *why)
{
	char path[sizeof(f->source) + 16], now[65];
	struct slice image;
	int err;

	(void)snprintf(path, sizeof(path), "%s/lib/modules", f->source);
	err = map_file(path, &image, why);
	if (err != 0)
		return err;
	err = sha256_text(image, now, why);
	munmap((void *)(uintptr_t)image.ptr, image.len);
	*stale = strcmp(now, f->source_sha256) != 0 || strcmp(f->rules, HARDEN_RULES) != 0;
	return err;
}
