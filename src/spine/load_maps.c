/*
 * Maps by name, and whether the maps of an old version still fit: what decides which state survives an
 * upgrade. Both sides' types come from object files that somebody else wrote.
 */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spine/load_private.h"
#include "spine/pins.h"

/* ---- names ---- */

const char *load_map_name(const struct bpf_map *map)
{
	const char *name = bpf_map__name(map), *dot = strchr(name, '.');

	return bpf_map__is_internal(map) && dot != NULL ? dot : name;
}

bool load_map_per_channel(const char *name)
{
	return strcmp(name, SPINE_MAP_INBOX) == 0 || strcmp(name, SPINE_MAP_CHANNEL) == 0 ||
	       strcmp(name, SPINE_MAP_REGION) == 0;
}

bool load_map_runtime(const char *name)
{
	return load_map_per_channel(name) || strcmp(name, SPINE_MAP_OUTBOX) == 0 ||
	       strcmp(name, SPINE_MAP_DOORBELL) == 0 || strcmp(name, SPINE_MAP_SOCKETS) == 0;
}

void load_map_file(char out[LOAD_MAP_FILE_BYTES], const char *name, size_t channel)
{
	char suffix[8] = "";

	if (channel > 0)
		snprintf(suffix, sizeof(suffix), "-%u", (unsigned)channel & 0xff);
	/* bpffs has no dots in names; identifiers have no '-', so no two maps meet. */
	snprintf(out, LOAD_MAP_FILE_BYTES, "%s%.*s%s", *name == '.' ? "section-" : "", LOAD_MAP_NAME_BYTES,
		 *name == '.' ? name + 1 : name, suffix);
	for (char *at = out; *at != '\0'; at++) {
		if (*at == '.')
			*at = '-';
	}
}

/* ---- BTF ---- */

struct compare {
	const struct btf *a, *b;
	unsigned steps, depth;
};

static bool same_type(struct compare *c, uint32_t a, uint32_t b);

static bool same_name(const struct compare *c, uint32_t a, uint32_t b)
{
	const char *x = btf__name_by_offset(c->a, a), *y = btf__name_by_offset(c->b, b);

	return x != NULL && y != NULL && strcmp(x, y) == 0;
}

/* Without const, volatile, restrict, typedef and tags; NULL when it never ends or is no type. */
static const struct btf_type *bare(const struct btf *btf, uint32_t id)
{
	for (unsigned i = 0; i < BTF_COMPARE_DEPTH_MAX; i++) {
		const struct btf_type *t = btf__type_by_id(btf, id);
		if (t == NULL || (!btf_is_mod(t) && !btf_is_typedef(t) && !btf_is_type_tag(t)))
			return t;
		id = t->type;
	}
	return NULL;
}

static bool same_members(struct compare *c, const struct btf_type *a, const struct btf_type *b)
{
	const struct btf_member *x = btf_members(a), *y = btf_members(b);

	for (uint32_t i = 0; i < btf_vlen(a); i++) {
		if (!same_name(c, x[i].name_off, y[i].name_off) || x[i].offset != y[i].offset ||
		    !same_type(c, x[i].type, y[i].type))
			return false;
	}
	return true;
}

/* Variables of a section: a state in .bss is the same when all of it is. */
static bool same_section(struct compare *c, const struct btf_type *a, const struct btf_type *b)
{
	const struct btf_var_secinfo *x = btf_var_secinfos(a), *y = btf_var_secinfos(b);

	for (uint32_t i = 0; i < btf_vlen(a); i++) {
		const struct btf_type *v = btf__type_by_id(c->a, x[i].type), *w = btf__type_by_id(c->b, y[i].type);
		if (v == NULL || w == NULL || !btf_is_var(v) || !btf_is_var(w) || x[i].offset != y[i].offset ||
		    x[i].size != y[i].size || !same_name(c, v->name_off, w->name_off) ||
		    !same_type(c, v->type, w->type))
			return false;
	}
	return true;
}

static bool same_values(const struct compare *c, const struct btf_type *a, const struct btf_type *b)
{
	const struct btf_enum *x = btf_enum(a), *y = btf_enum(b);

	if (btf_kind(a) == BTF_KIND_ENUM64)
		return true;
	for (uint32_t i = 0; i < btf_vlen(a); i++) {
		if (x[i].val != y[i].val || !same_name(c, x[i].name_off, y[i].name_off))
			return false;
	}
	return true;
}

static bool same_kind(struct compare *c, const struct btf_type *a, const struct btf_type *b)
{
	switch (btf_kind(a)) {
	case BTF_KIND_INT:
		return a->size == b->size && *(const __u32 *)(a + 1) == *(const __u32 *)(b + 1);
	case BTF_KIND_FLOAT:
		return a->size == b->size;
	case BTF_KIND_PTR:
		return true;		/* where it points is not in the map */
	case BTF_KIND_ARRAY:
		return btf_array(a)->nelems == btf_array(b)->nelems &&
		       same_type(c, btf_array(a)->type, btf_array(b)->type);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		return a->size == b->size && btf_kflag(a) == btf_kflag(b) && same_members(c, a, b);
	case BTF_KIND_ENUM:
	case BTF_KIND_ENUM64:
		return a->size == b->size && same_values(c, a, b);
	case BTF_KIND_DATASEC:
		return a->size == b->size && same_section(c, a, b);
	default:
		return false;
	}
}

static bool same_type(struct compare *c, uint32_t a, uint32_t b)
{
	const struct btf_type *x = bare(c->a, a), *y = bare(c->b, b);

	if (x == NULL || y == NULL || btf_kind(x) != btf_kind(y) || btf_vlen(x) != btf_vlen(y))
		return false;
	if (c->depth == BTF_COMPARE_DEPTH_MAX || c->steps++ == BTF_COMPARE_STEPS_MAX)
		return false;
	c->depth++;
	bool same = same_kind(c, x, y);
	c->depth--;
	return same;
}

/* ---- old maps ---- */

static int read_one(int dir, const char *file, struct old_map *out)
{
	uint32_t size = sizeof(out->info);
	AUTO_FD int fd = pin_get(dir, file);

	if (fd < 0)
		return fd;
	memset(&out->info, 0, sizeof(out->info));
	if (bpf_obj_get_info_by_fd(fd, &out->info, &size) != 0)
		return -errno;
	snprintf(out->file, sizeof(out->file), "%s", file);
	out->btf = out->info.btf_id != 0 ? btf__load_from_kernel_by_id(out->info.btf_id) : NULL;
	out->fd = TAKE_FD(fd);
	return 0;
}

int old_maps_read(int dir, struct old_maps *out, struct errmsg *why)
{
	*out = (struct old_maps){ 0 };
	if (dir < 0)
		return 0;
	AUTO_FD int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	if (list == NULL)
		return errmsg_set(why, -errno, "read the maps of the version that runs");
	(void)TAKE_FD(fd);		/* the list's now */
	out->items = calloc(LOAD_MAPS_MAX, sizeof(*out->items));
	int err = out->items == NULL ? -ENOMEM : 0;
	const struct dirent *e;
	while (err == 0 && (e = readdir(list)) != NULL) {
		if (e->d_name[0] == '.' || strlen(e->d_name) >= LOAD_MAP_FILE_BYTES)
			continue;
		err = out->count == LOAD_MAPS_MAX ? -E2BIG : read_one(dirfd(list), e->d_name, &out->items[out->count]);
		out->count += err == 0;
	}
	closedir(list);
	if (err != 0) {
		old_maps_done(out);
		return errmsg_set(why, err, "read the maps of the version that runs");
	}
	return 0;
}

void old_maps_done(struct old_maps *m)
{
	for (size_t i = 0; i < m->count; i++) {
		btf__free(m->items[i].btf);
		close(m->items[i].fd);
	}
	free(m->items);
	*m = (struct old_maps){ 0 };
}

const struct old_map *old_maps_find(const struct old_maps *m, const char *file)
{
	for (size_t i = 0; i < m->count; i++) {
		if (strcmp(m->items[i].file, file) == 0)
			return &m->items[i];
	}
	return NULL;
}

bool old_map_fits(const struct old_map *old, const struct bpf_map *map, const struct btf *btf)
{
	const struct bpf_map_info *o = &old->info;

	/* Flags that the kernel adds by itself are not in either. */
	if (o->type != bpf_map__type(map) || o->key_size != bpf_map__key_size(map) ||
	    o->value_size != bpf_map__value_size(map) || o->max_entries != bpf_map__max_entries(map) ||
	    o->map_flags != bpf_map__map_flags(map))
		return false;
	uint32_t key = bpf_map__btf_key_type_id(map), value = bpf_map__btf_value_type_id(map);
	if (o->btf_value_type_id == 0 && o->btf_key_type_id == 0)
		return value == 0 && key == 0;
	if (old->btf == NULL || btf == NULL)
		return false;
	struct compare c = { .a = old->btf, .b = btf };
	return (o->btf_key_type_id == 0 ? key == 0 : same_type(&c, o->btf_key_type_id, key)) &&
	       (o->btf_value_type_id == 0 ? value == 0 : same_type(&c, o->btf_value_type_id, value));
}
