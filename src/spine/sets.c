#include "spine/sets.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spine/code/rule.h"
#include "spine/device_private.h"
#include "spine/pins.h"

#define RULE_BYTES (8u << 20)

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

/* --- prefixes --------------------------------------------------------------------------------- */

static bool beyond(const struct set_prefix *p)
{
	for (uint32_t bit = p->bits; bit < 128; bit++)
		if ((p->address[bit / 8] >> (7 - bit % 8) & 1) != 0)
			return true;
	return false;
}

int set_prefix_parse(struct slice text, struct set_prefix *out, struct errmsg *why)
{
	struct set_prefix p = { 0 };
	struct slice address, length;
	char name[INET6_ADDRSTRLEN + 1];
	bool has_length = slice_cut(text, '/', &address, &length), four;
	uint32_t bits, most;

	if (!slice_to_str(address, name, sizeof(name)))
		return errmsg_say(why, -EINVAL, "'%.*s' is no address", SLICE_FMT(slice_head(text, 60)));
	four = inet_pton(AF_INET, name, p.address + 12) == 1;
	if (four)
		memcpy(p.address, mapped, sizeof(mapped));
	else if (inet_pton(AF_INET6, name, p.address) != 1)
		return errmsg_say(why, -EINVAL, "'%s' is no IPv4 or IPv6 address", name);
	most = bits = four ? 32 : 128;
	if (has_length && (!slice_u32(length, &bits) || bits > most))
		return errmsg_say(why, -EINVAL, "'%.*s': the length of a prefix is 0 to %u", SLICE_FMT(slice_head(text, 60)), most);
	p.bits = four ? bits + 96 : bits;
	if (beyond(&p))
		return errmsg_say(why, -EINVAL, "'%.*s' has bits beyond its length", SLICE_FMT(slice_head(text, 60)));
	*out = p;
	return 0;
}

void set_prefix_text(const struct set_prefix *p, struct buf *out)
{
	bool four = p->bits >= 96 && memcmp(p->address, mapped, sizeof(mapped)) == 0;
	char name[INET6_ADDRSTRLEN] = "?";

	(void)inet_ntop(four ? AF_INET : AF_INET6, four ? p->address + 12 : p->address, name, sizeof(name));
	buf_printf(out, "%s/%u", name, four ? p->bits - 96 : p->bits);
}

static int by_address(const void *left, const void *right)
{
	const struct set_prefix *a = left, *b = right;
	int order = memcmp(a->address, b->address, sizeof(a->address));

	return order != 0 ? order : (a->bits > b->bits) - (a->bits < b->bits);
}

int set_file_parse(struct arena *arena, struct slice text, struct set_prefix **out, size_t *count, struct errmsg *why)
{
	size_t lines = 1, n = 0, number = 0;

	if (text.len > SET_FILE_BYTES_MAX)
		return errmsg_say(why, -E2BIG, "a set's file has at most %u bytes", SET_FILE_BYTES_MAX);
	for (size_t i = 0; i < text.len; i++)
		lines += text.ptr[i] == '\n';
	struct set_prefix *list = arena_array(arena, lines, sizeof(*list));
	if (list == NULL)
		return errmsg_set(why, -ENOMEM, "read a set of %zu lines", lines);
	while (text.len > 0) {
		struct slice line, comment;
		struct errmsg what;

		(void)slice_cut(text, '\n', &line, &text);
		(void)slice_cut(line, '#', &line, &comment);
		line = slice_trim(line);
		number++;
		if (line.len == 0)
			continue;
		if (n == SET_ENTRIES_MAX)
			return errmsg_say(why, -E2BIG, "line %zu: a set has at most %u prefixes", number, SET_ENTRIES_MAX);
		if (set_prefix_parse(line, &list[n], &what) != 0)
			return errmsg_say(why, -EINVAL, "line %zu: %s", number, what.text);
		n++;
	}
	*out = list;
	*count = n;
	return 0;
}

/* --- maps ------------------------------------------------------------------------------------------ */

static int open_set(int dir, const char *name)
{
	char path[SPINE_NAME_BYTES + 16];

	(void)snprintf(path, sizeof(path), "sets/%s", name);
	return pin_get(dir, path);
}

int sets_fd(void *arg, const char *name)
{
	struct sets_open *s = arg;
	struct errmsg why;
	int fd;

	if (s->count == SETS_MAX || record_check_name(name, &why) != 0)
		return -ENOENT;
	fd = open_set(s->dir, name);
	if (fd >= 0)
		s->fds[s->count++] = fd;
	return fd;
}

void sets_close(struct sets_open *s)
{
	while (s->count > 0)
		close(s->fds[--s->count]);
}

static int count_one(void *arg, int dir, const char *name, bool is_dir)
{
	size_t *n = arg;

	(void)dir;
	(void)name;
	(void)is_dir;
	++*n;
	return 0;
}

static int make_set(struct spine_device *d, const char *name, struct errmsg *why)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC);
	size_t n = 0;
	int err = device_make_alive(d);
	AUTO_FD int dir = err != 0 ? err : pin_dir(d->dir, "sets", true);

	if (dir < 0)
		return errmsg_set(why, dir, "make set '%s'", name);
	(void)pin_each(dir, count_one, &n);
	if (n >= SETS_MAX)
		return errmsg_say(why, -ENOSPC, "%s has %u sets, which is the most; `prickle spine set drop` removes one", d->name,
				  SETS_MAX);
	AUTO_FD int fd = bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, "spine_set", sizeof(struct spine_set_key), 1, SET_ENTRIES_MAX,
					&opts);
	if (fd < 0)
		return errmsg_set(why, -errno, "make set '%s'", name);
	err = pin_set(dir, name, fd);
	return err == 0 ? TAKE_FD(fd) : errmsg_set(why, err, "pin set '%s'", name);
}

static int get_set(struct spine_device *d, const char *name, bool make, struct errmsg *why)
{
	int fd, err = record_check_name(name, why);

	if (err != 0)
		return err;
	fd = open_set(d->dir, name);
	if (fd == -ENOENT && make)
		return make_set(d, name, why);
	return fd >= 0 ? fd : fd == -ENOENT ? errmsg_say(why, -ENOENT, "%s has no set '%s'; `prickle spine set list --dev %s` "
							 "shows them", d->name, name, d->name) :
					      errmsg_set(why, fd, "open set '%s'", name);
}

static struct spine_set_key key_of(const struct set_prefix *p)
{
	struct spine_set_key k = { .prefix_bits = p->bits };

	memcpy(k.address, p->address, sizeof(k.address));
	return k;
}

int spine_set_add(struct spine_device *d, const char *set, const struct set_prefix *p, size_t count, struct errmsg *why)
{
	const uint8_t value = 1;
	AUTO_FD int fd = get_set(d, set, true, why);

	if (fd < 0)
		return fd;
	for (size_t i = 0; i < count; i++) {
		struct spine_set_key k = key_of(&p[i]);

		if (bpf_map_update_elem(fd, &k, &value, BPF_ANY) != 0)
			return errno == ENOSPC ? errmsg_say(why, -ENOSPC, "set '%s' is full: it has %u prefixes", set, SET_ENTRIES_MAX) :
						 errmsg_set(why, -errno, "add to set '%s'", set);
	}
	return 0;
}

int spine_set_remove(struct spine_device *d, const char *set, const struct set_prefix *p, size_t count, struct errmsg *why)
{
	AUTO_FD int fd = get_set(d, set, false, why);

	if (fd < 0)
		return fd;
	for (size_t i = 0; i < count; i++) {
		struct spine_set_key k = key_of(&p[i]);
		AUTO_BUF struct buf text = BUF_INIT(128);

		if (bpf_map_delete_elem(fd, &k) == 0)
			continue;
		set_prefix_text(&p[i], &text);
		return errno == ENOENT ? errmsg_say(why, -ENOENT, "set '%s' has no %s", set, buf_cstr(&text)) :
					 errmsg_set(why, -errno, "remove %s from set '%s'", buf_cstr(&text), set);
	}
	return 0;
}

int spine_set_list(struct spine_device *d, struct arena *arena, const char *set, struct set_prefix **out, size_t *count,
		   struct errmsg *why)
{
	AUTO_FD int fd = get_set(d, set, false, why);
	struct spine_set_key k;
	void *previous = NULL;
	size_t n = 0, room = 0;
	struct set_prefix *list = NULL;

	if (fd < 0)
		return fd;
	while (bpf_map_get_next_key(fd, previous, &k) == 0) {
		if (n == room) {
			struct set_prefix *more = arena_array(arena, room == 0 ? 64 : room * 2, sizeof(*list));

			if (more == NULL)
				return errmsg_set(why, -ENOMEM, "list set '%s'", set);
			if (n > 0)
				memcpy(more, list, n * sizeof(*list));
			list = more;
			room = room == 0 ? 64 : room * 2;
		}
		list[n].bits = k.prefix_bits;
		memcpy(list[n++].address, k.address, sizeof(k.address));
		previous = &k;
		if (n > SET_ENTRIES_MAX)
			break;		/* somebody adds while we look: it never ends */
	}
	if (n > 0)
		qsort(list, n, sizeof(*list), by_address);
	*out = list;
	*count = n;
	return 0;
}

int spine_set_load(struct spine_device *d, const char *set, const struct set_prefix *p, size_t count, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(256u << 20);
	struct set_prefix *old, *sorted = arena_array(&arena, count, sizeof(*sorted));
	size_t old_count;
	int err = sorted == NULL ? errmsg_set(why, -ENOMEM, "load set '%s'", set) : spine_set_add(d, set, p, count, why);

	if (err == 0)
		err = spine_set_list(d, &arena, set, &old, &old_count, why);
	if (err != 0)
		return err;
	if (count > 0) {
		memcpy(sorted, p, count * sizeof(*sorted));
		qsort(sorted, count, sizeof(*sorted), by_address);
	}
	for (size_t i = 0; err == 0 && i < old_count; i++)
		if (count == 0 || bsearch(&old[i], sorted, count, sizeof(*sorted), by_address) == NULL)
			err = spine_set_remove(d, set, &old[i], 1, why);
	return err;
}

int spine_set_drop(struct spine_device *d, const char *set, struct errmsg *why)
{
	AUTO_FD int fd = get_set(d, set, false, why);
	char path[SPINE_NAME_BYTES + 16];
	int err;

	if (fd < 0)
		return fd;
	for (size_t i = 0; i < d->count; i++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(RULE_BYTES);
		const struct rule *rule;
		struct errmsg what;

		if (rule_parse(&arena, slice_str(d->records[i]->match), &rule, &what) != 0)
			continue;
		for (size_t k = 0; rule_set(rule, k) != NULL; k++)
			if (strcmp(rule_set(rule, k), set) == 0)
				return errmsg_say(why, -EBUSY, "the rule of extension '%s' uses set '%s'; remove the extension first",
						  d->records[i]->name, set);
	}
	(void)snprintf(path, sizeof(path), "sets/%s", set);
	err = pin_remove(d->dir, path);
	(void)unlinkat(d->dir, "sets", AT_REMOVEDIR);	/* when it was the last */
	return err == 0 ? 0 : errmsg_set(why, err, "remove set '%s'", set);
}

struct names {
	struct arena *arena;
	const char **list;
	size_t count;
};

static int name_one(void *arg, int dir, const char *name, bool is_dir)
{
	struct names *n = arg;

	(void)dir;
	if (is_dir || n->count == SETS_MAX)
		return 0;
	n->list[n->count] = arena_str(n->arena, slice_str(name));
	return n->list[n->count++] == NULL ? -ENOMEM : 0;
}

static int by_text(const void *left, const void *right)
{
	return strcmp(*(const char *const *)left, *(const char *const *)right);
}

int spine_set_names(struct spine_device *d, struct arena *arena, const char ***out, size_t *count, struct errmsg *why)
{
	struct names n = { .arena = arena, .list = arena_array(arena, SETS_MAX, sizeof(char *)) };
	AUTO_FD int dir = pin_dir(d->dir, "sets", false);

	if (n.list == NULL || (dir >= 0 && pin_each(dir, name_one, &n) != 0))
		return errmsg_set(why, -ENOMEM, "list the sets of %s", d->name);
	qsort(n.list, n.count, sizeof(n.list[0]), by_text);
	*out = n.list;
	*count = n.count;
	return 0;
}
