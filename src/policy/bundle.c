#include "policy/bundle.h"

#include <errno.h>
#include <fcntl.h>

#include "base/cleanup.h"
#include "policy/disk.h"
#include "policy/policy_limits.h"
#include "policy/store.h"

#define MAGIC "prickle-policy 1\n"

void bundle_write(struct buf *out, const struct bundle *b)
{
	buf_adds(out, MAGIC);
	for (size_t i = 0; i < b->count; i++) {
		const struct bundle_source *s = &b->sources[i];

		buf_printf(out, "source %zu %zu %zu\n", s->from.len, s->name.len, s->text.len);
		buf_add(out, s->from);
		buf_adds(out, "\n");
		buf_add(out, s->name);
		buf_adds(out, "\n");
		buf_add(out, s->text);
		buf_adds(out, "\n");
	}
}

static bool take_number(struct slice *line, uint64_t *out)
{
	struct slice word;

	(void)slice_cut(*line, ' ', &word, line);
	return slice_u64(word, POLICY_BUNDLE_BYTES_MAX, out);
}

/* n bytes and a line end. */
static bool take_text(struct slice *bytes, uint64_t n, struct slice *out)
{
	if (n >= bytes->len || bytes->ptr[n] != '\n')
		return false;
	*out = slice_head(*bytes, n);
	*bytes = slice_from(*bytes, n + 1);
	return memchr(out->ptr, 0, out->len) == NULL;
}

bool bundle_read(struct bundle *out, struct slice bytes)
{
	struct slice line;

	out->count = 0;
	if (bytes.len > POLICY_BUNDLE_BYTES_MAX || !slice_starts(bytes, SLICE(MAGIC)))
		return false;
	bytes = slice_from(bytes, sizeof(MAGIC) - 1);
	while (bytes.len != 0) {
		struct bundle_source *s = &out->sources[out->count];
		uint64_t from, name, text;

		if (out->count == ARRAY_LEN(out->sources) || !slice_cut(bytes, '\n', &line, &bytes) ||
		    !slice_starts(line, SLICE("source ")))
			return false;
		line = slice_from(line, sizeof("source ") - 1);
		if (!take_number(&line, &from) || !take_number(&line, &name) || !take_number(&line, &text) || line.len != 0 ||
		    !take_text(&bytes, from, &s->from) || !take_text(&bytes, name, &s->name) || !take_text(&bytes, text, &s->text))
			return false;
		out->count++;
	}
	return out->count != 0 && out->sources[0].from.len == 0;
}

/* --- parsing one ---------------------------------------------------------------------------- */

static int import_from_bundle(void *arg, const char *from, const char *name, struct slice *text, struct errmsg *why)
{
	const struct bundle *b = arg;

	for (size_t i = 1; i < b->count; i++)
		if (slice_eq(b->sources[i].from, slice_str(from)) && slice_eq(b->sources[i].name, slice_str(name))) {
			*text = b->sources[i].text;
			return 0;
		}
	return errmsg_say(why, -ENOENT, "'%s' is not in this epoch", name);
}

int bundle_parse(const struct bundle *b, struct arena *arena, const struct policy **out, struct buf *errors)
{
	const char *name = b->count == 0 ? NULL : arena_str(arena, b->sources[0].name);

	if (name == NULL) {
		buf_adds(errors, "out of memory\n");
		return -ENOMEM;
	}
	return policy_parse(arena, name, b->sources[0].text, import_from_bundle, (void *)(uintptr_t)b, out, errors);
}

/* --- from files ----------------------------------------------------------------------------- */

static int read_text(struct arena *arena, const char *path, struct slice *text, struct errmsg *why)
{
	AUTO_BUF struct buf file = BUF_INIT(POLICY_TEXT_BYTES_MAX);
	int err = disk_read(AT_FDCWD, path, &file, why);

	if (err != 0)
		return err;
	*text = arena_dup(arena, buf_slice(&file));
	return arena->err != 0 ? errmsg_set(why, -ENOMEM, "'%s'", path) : 0;
}

/* Below the directory of the file that imports it: no absolute name and no way up. */
static bool name_stays_below(struct slice name)
{
	struct slice segment;
	bool more = true;

	if (name.len == 0 || name.ptr[0] == '/')
		return false;
	while (more) {
		more = slice_cut(name, '/', &segment, &name);
		if (segment.len == 0 || slice_eq(segment, SLICE(".")) || slice_eq(segment, SLICE("..")))
			return false;
	}
	return true;
}

static struct slice directory_of(struct slice path)
{
	size_t slash = slice_rfind_byte(path, '/');

	return slash == SLICE_NPOS ? slice_head(path, 0) : slice_head(path, slash + 1);
}

int policy_import_file(void *arg, const char *from, const char *name, struct slice *text, struct errmsg *why)
{
	struct policy_files *files = arg;
	AUTO_BUF struct buf path = BUF_INIT(8192);

	if (!name_stays_below(slice_str(name)))
		return errmsg_say(why, -EINVAL, "'%s': an import is a file in the directory of the file that imports it, or below", name);
	buf_add(&path, directory_of(slice_str(from)));
	buf_adds(&path, name);
	if (path.err != 0)
		return errmsg_set(why, -ENAMETOOLONG, "'%s'", name);
	return read_text(files->arena, buf_cstr(&path), text, why);
}

int policy_load_file(struct arena *arena, const char *path, const struct policy **out, struct buf *errors,
		     struct errmsg *why)
{
	struct bundle *b;
	int err = bundle_load(arena, path, &b, out, errors);

	return err == 0 ? 0 : errmsg_say(why, err, err == -EINVAL ? "'%s' has mistakes" : "'%s' cannot be read", path);
}

struct collect {
	struct policy_files files;
	struct bundle *bundle;
	struct slice directory;		/* of the main file, with its slash */
};

/*
 * The parser names an imported source by the directory of its importer and the name in the statement, so `from` leads to the file and, without the
 * main file's directory, is the same wherever the bundle is parsed.
 */
static int import_and_collect(void *arg, const char *from, const char *name, struct slice *text, struct errmsg *why)
{
	struct collect *c = arg;
	struct bundle *b = c->bundle;
	struct slice relative = slice_str(from);
	int err = policy_import_file(&c->files, from, name, text, why);

	if (err != 0)
		return err;
	if (slice_starts(relative, c->directory))
		relative = slice_from(relative, c->directory.len);
	for (size_t i = 1; i < b->count; i++)
		if (slice_eq(b->sources[i].from, relative) && slice_eq(b->sources[i].name, slice_str(name)))
			return 0;
	if (b->count == ARRAY_LEN(b->sources))
		return errmsg_say(why, -E2BIG, "more than %u imports", POLICY_SOURCES_MAX);
	b->sources[b->count++] = (struct bundle_source){
		.from = arena_dup(c->files.arena, relative),
		.name = arena_dup(c->files.arena, slice_str(name)),
		.text = *text,
	};
	return 0;
}

int bundle_load(struct arena *arena, const char *path, struct bundle **out, const struct policy **policy, struct buf *errors)
{
	struct collect c = { .files = { .arena = arena }, .bundle = ARENA_NEW(arena, struct bundle) };
	struct slice full = slice_str(path), text;
	struct errmsg why = { 0 };
	int err;

	if (c.bundle == NULL)
		return -ENOMEM;
	c.directory = directory_of(full);
	err = read_text(arena, path, &text, &why);
	if (err != 0) {
		buf_printf(errors, "%s\n", why.text);
		return err;
	}
	c.bundle->sources[0] = (struct bundle_source){ .name = slice_from(full, c.directory.len), .text = text };
	c.bundle->count = 1;
	err = policy_parse(arena, path, text, import_and_collect, &c, policy, errors);
	if (err == 0)
		*out = c.bundle;
	return err;
}
