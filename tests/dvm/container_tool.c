/*
 * What tests ask of the containers, on real files:
 *
 *	container_tool image-list IMAGE				sha256, bytes and path of every resource
 *	container_tool image-write IMAGE OUT [CHANGE...]	CHANGE: replace PATH FILE | remove PATH | add MODULE PARENT BASE EXTENSION FILE
 *	container_tool image-table IMAGE			0 when our perfect hash of the image's names is the image's table
 *	container_tool jar-list JAR				sha256, bytes and name of every entry, in order
 *	container_tool jar-copy JAR OUT				every entry as it lies
 *	container_tool jar-pack JAR OUT LEVEL			every entry with its own content, packed anew
 *	container_tool jar-make OUT COUNT			COUNT new entries "d/0" ... that say their name
 */
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/must.h"
#include "dvm/container/jimage.h"
#include "dvm/container/jimage_hash.h"
#include "dvm/container/zip.h"

static struct errmsg why;

NORETURN static void give_up(const char *what)
{
	fprintf(stderr, "container_tool: %s: %s\n", what, why.text);
	exit(1);
}

static struct slice map(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) != 0)
		give_up(path);
	if (st.st_size == 0)
		return SLICE("");
	void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	must(p != MAP_FAILED);
	close(fd);
	return slice_of(p, (size_t)st.st_size);
}

static void write_pieces(const char *path, const struct slice *pieces, size_t count)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	must(fd >= 0);
	for (size_t i = 0; i < count; i++)
		for (struct slice rest = pieces[i]; rest.len > 0;) {
			ssize_t n = write(fd, rest.ptr, rest.len);
			must(n > 0);
			rest = slice_from(rest, (size_t)n);
		}
	close(fd);
}

static void print_hash(struct slice content)
{
	uint8_t hash[SHA256_DIGEST_LENGTH];

	SHA256(content.ptr, content.len, hash);
	for (size_t i = 0; i < sizeof(hash); i++)
		printf("%02x", hash[i]);
}

static int image_list(const struct jimage *image)
{
	for (uint32_t i = 0; i < image->count; i++) {
		const struct jimage_resource *r = &image->resources[i];
		AUTO_ARENA struct arena arena = ARENA_INIT(1u << 30);
		AUTO_BUF struct buf path = BUF_INIT(8192);
		struct slice content;
		jimage_path(&path, r);
		must(jimage_find(image, buf_slice(&path)) == r);
		if (jimage_is_directory(r))
			continue;
		if (jimage_read(&arena, image, r, &content, &why) != 0)
			give_up(buf_cstr(&path));
		print_hash(content);
		printf(" %zu %.*s\n", content.len, SLICE_FMT(buf_slice(&path)));
	}
	return 0;
}

static int image_write(struct arena *arena, const struct jimage *image, char **argv)
{
	static struct jimage_change changes[100];
	size_t count = 0;
	struct jimage_plan plan;

	for (char **a = argv + 1; *a != NULL; count++) {
		struct jimage_change *c = &changes[count];
		must(count < ARRAY_LEN(changes));
		if (strcmp(*a, "add") == 0) {
			c->name = (struct jimage_resource){ .module = slice_str(a[1]), .parent = slice_str(a[2]), .base = slice_str(a[3]),
							    .extension = slice_str(a[4]) };
			c->content = map(a[5]);
			a += 6;
			continue;
		}
		bool remove = strcmp(*a, "remove") == 0;
		c->resource = jimage_find(image, slice_str(a[1]));
		if (c->resource == NULL)
			give_up(a[1]);
		c->content = remove ? (struct slice){ 0 } : map(a[2]);
		a += remove ? 2 : 3;
	}
	if (jimage_plan(arena, image, changes, count, &plan, &why) != 0)
		give_up("plan");
	write_pieces(argv[0], plan.pieces, plan.count);
	printf("%zu pieces, %llu bytes, arena %zu\n", plan.count, (unsigned long long)plan.bytes, arena->used_bytes);
	return 0;
}

static int image_table(struct arena *arena, const struct jimage *image)
{
	struct slice *names = arena_array(arena, image->count, sizeof(*names));
	struct jimage_hash hash;

	must(names != NULL);
	for (uint32_t i = 0; i < image->count; i++) {
		AUTO_BUF struct buf path = BUF_INIT(8192);
		jimage_path(&path, &image->resources[i]);
		names[i] = arena_dup(arena, buf_slice(&path));
	}
	must(jimage_hash_build(arena, names, image->count, &hash) == 0);
	return hash.length == image->table_length && memcmp(hash.slots, image->slots, 4 * (size_t)hash.length) == 0 &&
	       memcmp(hash.redirects, image->redirects.ptr, 4 * (size_t)hash.length) == 0 ? 0 : 1;
}

static int jar_list(const struct zip *z)
{
	for (uint32_t i = 0; i < z->count; i++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(1u << 30);
		const struct zip_entry *e = &z->entries[i];
		struct slice content;
		must(zip_find(z, e->name) == e);
		if (zip_read(&arena, z, e, &content, &why) != 0)
			give_up("entry");
		print_hash(content);
		printf(" %zu %.*s\n", content.len, SLICE_FMT(e->name));
	}
	return 0;
}

static int jar_write(struct arena *arena, const struct zip *z, const char *out, const char *level)
{
	AUTO_BUF struct buf b = BUF_INIT(1ull << 32);
	struct zip_writer *w = zip_writer_new(arena, &b, z->prefix, z->base);

	must(w != NULL);
	for (uint32_t i = 0; i < z->count; i++) {
		struct slice content;
		if (level == NULL) {
			zip_copy(w, &z->entries[i]);
			continue;
		}
		if (zip_read(arena, z, &z->entries[i], &content, &why) != 0)
			give_up("entry");
		zip_replace(w, &z->entries[i], content, level[0] - '0');
	}
	if (zip_finish(w, z->comment, &why) != 0)
		give_up(out);
	write_pieces(out, &(struct slice){ b.ptr, b.len }, 1);
	return 0;
}

static int jar_make(struct arena *arena, const char *out, const char *count)
{
	AUTO_BUF struct buf b = BUF_INIT(1ull << 32);
	struct zip_writer *w = zip_writer_new(arena, &b, SLICE(""), 0);
	uint32_t n = 0;

	must(w != NULL && slice_u32(slice_str(count), &n));
	for (uint32_t i = 0; i < n; i++) {
		char name[20];
		snprintf(name, sizeof(name), "d/%u", i);
		zip_add(w, slice_str(name), slice_str(name), 6);
	}
	if (zip_finish(w, SLICE("made"), &why) != 0)
		give_up(out);
	write_pieces(out, &(struct slice){ b.ptr, b.len }, 1);
	return 0;
}

int main(int argc, char **argv)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 30);
	struct jimage image;
	struct zip z;

	if (argc < 3)
		return 2;
	if (strcmp(argv[1], "jar-make") == 0)
		return jar_make(&arena, argv[2], argv[3]);
	if (strncmp(argv[1], "jar-", 4) == 0) {
		if (zip_open(&arena, map(argv[2]), &z, &why) != 0)
			give_up(argv[2]);
		return strcmp(argv[1], "jar-list") == 0 ? jar_list(&z) : jar_write(&arena, &z, argv[3], argv[4]);
	}
	if (jimage_open(&arena, map(argv[2]), &image, &why) != 0)
		give_up(argv[2]);
	if (strcmp(argv[1], "image-list") == 0)
		return image_list(&image);
	if (strcmp(argv[1], "image-write") == 0)
		return image_write(&arena, &image, argv + 3);
	if (strcmp(argv[1], "image-table") == 0)
		return image_table(&arena, &image);
	return 2;
}
