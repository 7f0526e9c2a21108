#include "spine/ksyms.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/hex.h"
#include "spine/spine_limits.h"

#define READ_BYTES 65536

/* Of the 200,000 functions of a kernel, those that programs call: helpers, and map operations put in their place. */
static bool callable(struct slice name)
{
	return slice_starts(name, SLICE("bpf_")) || slice_starts(name, SLICE("__bpf_")) ||
	       slice_find(name, SLICE("map_")) != SLICE_NPOS;
}

static bool hex_number(struct slice text, uint64_t *out)
{
	uint64_t n = 0;

	if (text.len == 0 || text.len > 16)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		int digit = hex_value(text.ptr[i]);

		if (digit < 0)
			return false;
		n = n << 4 | (uint64_t)digit;
	}
	*out = n;
	return true;
}

static int by_address(const void *left, const void *right)
{
	const struct ksym *a = left, *b = right;

	return a->address < b->address ? -1 : a->address > b->address;
}

/* "ffffffff81234560 T bpf_map_lookup_elem", then a tab and the module if it has one. */
static bool read_line(struct slice line, uint64_t *address, struct slice *name)
{
	struct slice number, kind, rest, module;

	if (!slice_cut(line, ' ', &number, &rest) || !slice_cut(rest, ' ', &kind, &rest) || kind.len != 1)
		return false;
	(void)slice_cut(rest, '\t', name, &module);
	return (kind.ptr[0] == 't' || kind.ptr[0] == 'T') && name->len > 0 && hex_number(number, address) && *address != 0;
}

int ksyms_parse(struct arena *arena, struct slice text, struct ksyms *out)
{
	struct ksyms s = { .list = arena_array(arena, KSYMS_MAX, sizeof(struct ksym)) };
	struct slice line, name;
	uint64_t address;

	if (s.list == NULL)
		return -ENOMEM;
	while (text.len > 0) {
		(void)slice_cut(text, '\n', &line, &text);
		if (!read_line(line, &address, &name))
			continue;
		if (slice_eq(name, SLICE("__bpf_call_base")))
			s.base = address;
		if (!callable(name) || s.count == KSYMS_MAX)
			continue;
		s.list[s.count].address = address;
		s.list[s.count].name = arena_str(arena, name);
		if (s.list[s.count].name == NULL)
			return -ENOMEM;
		s.count++;
	}
	qsort(s.list, s.count, sizeof(*s.list), by_address);
	*out = s;
	return 0;
}

int ksyms_read(struct arena *arena, struct ksyms *out)
{
	AUTO_BUF struct buf text = BUF_INIT(KSYMS_BYTES_MAX);
	AUTO_FD int fd = open("/proc/kallsyms", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : 1;

	*out = (struct ksyms){ 0 };
	while (n > 0) {
		uint8_t *room = buf_room(&text, READ_BYTES);

		n = room == NULL ? 0 : read(fd, room, READ_BYTES);
		if (n > 0)
			buf_commit(&text, (size_t)n);
	}
	return ksyms_parse(arena, buf_slice(&text), out);
}

const char *ksyms_name(void *arg, int32_t relative)
{
	const struct ksyms *s = arg;
	struct ksym key = { .address = s->base + (uint64_t)(int64_t)relative };
	const struct ksym *found;

	if (s->base == 0 || s->count == 0)
		return NULL;
	found = bsearch(&key, s->list, s->count, sizeof(key), by_address);
	return found == NULL ? NULL : found->name;
}
