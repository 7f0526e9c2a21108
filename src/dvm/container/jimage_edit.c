#include "dvm/container/jimage_edit.h"

#include <errno.h>
#include <stdlib.h>

#include "base/must.h"
#include "dvm/container/container_limits.h"
#include "dvm/container/jimage_format.h"
#include "dvm/container/shown.h"

#define STRINGS_BYTES_MAX (64u << 20)
#define PAIR_BYTES 8u			/* of a module in a directory of /packages: 1 when it has only what is below, offset of its name */

/* A directory that lists locations: "/modules", "/packages" and all below "/modules". */
static bool lists_items(const struct jimage_resource *r)
{
	return slice_eq(r->module, SLICE("modules")) || (r->module.len == 0 && jimage_is_directory(r));
}

static bool is_package(const struct jimage_resource *r)
{
	return slice_eq(r->module, SLICE("packages"));
}

static int by_location(const void *a, const void *b)
{
	const struct jimage_location *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

struct jimage_item *jimage_edit_at(const struct jimage_edit *e, uint32_t location)
{
	const struct jimage_location key = { .at = location };
	const struct jimage_location *found = bsearch(&key, e->locations, e->image->count, sizeof(key), by_location);

	return found == NULL ? NULL : &e->items[found->item];
}

static int no_memory(struct errmsg *why)
{
	return errmsg_set(why, -ENOMEM, "a new run-time image");
}

/* The content of a directory: 4 bytes for each location, 8 for each module of a package. */
static int directory_bytes(struct jimage_edit *e, const struct jimage_item *item, uint32_t unit, struct slice *out, struct errmsg *why)
{
	int err = jimage_read(e->arena, e->image, &item->name, out, why);

	if (err != 0)
		return err;
	if (out->len % unit != 0)
		return errmsg_say(why, -EBADMSG, "the image's directory '%s' has %zu bytes, no multiple of %u", shown(&(struct shown){ 0 }, item->name.base),
				  out->len, unit);
	return 0;
}

static int read_list(struct jimage_edit *e, struct jimage_item *item, struct errmsg *why)
{
	struct slice content;
	int err = directory_bytes(e, item, 4, &content, why);

	if (err != 0)
		return err;
	item->listed = true;
	item->list_room = (uint32_t)(content.len / 4);
	item->list = arena_array(e->arena, item->list_room, sizeof(*item->list));
	if (item->list == NULL)
		return no_memory(why);
	for (; item->list_count < item->list_room; item->list_count++) {
		uint32_t location = jimage_u32(e->image, content.ptr + 4 * (size_t)item->list_count);
		const struct jimage_item *in = jimage_edit_at(e, location);
		if (in == NULL)
			return errmsg_say(why, -EBADMSG, "the image's directory '%s' lists location %u, where there is no resource",
					  shown(&(struct shown){ 0 }, item->name.base), location);
		item->list[item->list_count] = (uint32_t)(in - e->items);
	}
	return 0;
}

int jimage_edit_open(struct arena *arena, const struct jimage *image, const struct jimage_change *changes, size_t count, struct jimage_edit *e,
		     struct errmsg *why)
{
	size_t room = image->count, added = 0;

	for (size_t i = 0; i < count; i++) {
		if (changes[i].resource != NULL)
			continue;
		added++;
		/* Itself; a directory of the tree and one of the packages for each part of its path. */
		struct slice rest = changes[i].name.parent, part;
		room += 5;
		while (slice_cut(rest, '/', &part, &rest))
			room += 2;
	}
	if (added > JIMAGE_ADDED_MAX)
		return errmsg_say(why, -E2BIG, "%zu resources to be added, above %d", added, JIMAGE_ADDED_MAX);
	struct jimage_location *locations = arena_array(arena, image->count, sizeof(*locations));
	*e = (struct jimage_edit){ .arena = arena, .image = image, .room = (uint32_t)room, .count = image->count, .locations = locations,
				   .strings = BUF_INIT(STRINGS_BYTES_MAX) };
	e->items = arena_array(arena, room, sizeof(*e->items));
	if (e->items == NULL || locations == NULL)
		return no_memory(why);
	for (uint32_t i = 0; i < image->count; i++) {
		const struct jimage_resource *r = &image->resources[i];
		e->items[i] = (struct jimage_item){ .name = *r, .content = jimage_stored(image, r), .size = r->size, .packed_size = r->packed_size };
		locations[i] = (struct jimage_location){ r->location, i };
	}
	qsort(locations, image->count, sizeof(*locations), by_location);
	for (uint32_t i = 0; i < image->count; i++) {
		if (!lists_items(&e->items[i].name))
			continue;
		int err = read_list(e, &e->items[i], why);
		if (err != 0)
			return err;
	}
	e->has_modules = jimage_find(image, SLICE("/modules")) != NULL;
	e->has_packages = jimage_find(image, SLICE("/packages")) != NULL;
	return 0;
}

void jimage_edit_done(struct jimage_edit *e)
{
	buf_done(&e->strings);
}

/* The last part of an item's path: "Object.class", and of directories "lang" or "java.lang", into out. */
static struct slice last_name(struct buf *out, const struct jimage_resource *r)
{
	buf_reset(out);
	buf_add(out, r->base);
	if (r->extension.len > 0) {
		buf_addc(out, '.');
		buf_add(out, r->extension);
	}
	struct slice name = buf_slice(out);
	size_t slash = slice_rfind_byte(name, '/');
	return slash == SLICE_NPOS ? name : slice_from(name, slash + 1);
}

/* Into a directory's list, by name. */
static int list_insert(struct jimage_edit *e, struct jimage_item *directory, uint32_t item, struct errmsg *why)
{
	AUTO_BUF struct buf wanted = BUF_INIT(JIMAGE_PATH_BYTES_MAX), other = BUF_INIT(JIMAGE_PATH_BYTES_MAX);

	if (directory->list_count == directory->list_room) {
		uint32_t room = 2 * directory->list_room + 4;
		uint32_t *list = arena_array(e->arena, room, sizeof(*list));
		if (list == NULL)
			return no_memory(why);
		if (directory->list_count > 0)
			memcpy(list, directory->list, directory->list_count * sizeof(*list));
		directory->list = list;
		directory->list_room = room;
	}
	struct slice name = last_name(&wanted, &e->items[item].name);
	uint32_t at = 0;
	while (at < directory->list_count && slice_cmp(last_name(&other, &e->items[directory->list[at]].name), name) < 0)
		at++;
	if (wanted.err != 0 || other.err != 0)
		return no_memory(why);
	memmove(directory->list + at + 1, directory->list + at, (directory->list_count - at) * sizeof(*directory->list));
	directory->list[at] = item;
	directory->list_count++;
	return 0;
}

/* The offset of a string: one of the image's, or a new one's behind them. */
static uint32_t string_of(struct jimage_edit *e, struct slice text)
{
	const struct slice old = e->image->strings;

	if (text.len == 0)
		return 0;
	AUTO_BUF struct buf whole = BUF_INIT(JIMAGE_PATH_BYTES_MAX + 2);
	buf_addc(&whole, 0);
	buf_add(&whole, text);
	buf_addc(&whole, 0);
	if (whole.err != 0) {
		e->strings.err = whole.err;
		return 0;
	}
	size_t at = slice_find(old, buf_slice(&whole));
	if (at != SLICE_NPOS)
		return (uint32_t)at + 1;
	at = slice_find(buf_slice(&e->strings), buf_slice(&whole));
	if (at != SLICE_NPOS)
		return (uint32_t)(old.len + at + 1);
	at = e->strings.len;
	buf_add(&e->strings, slice_from(buf_slice(&whole), 1));
	return (uint32_t)(old.len + at);
}

/* The item of this path, or NULL. New ones are few: looked for one by one. */
static struct jimage_item *find_item(struct jimage_edit *e, const struct jimage_resource *name)
{
	AUTO_BUF struct buf path = BUF_INIT(JIMAGE_PATH_BYTES_MAX), other = BUF_INIT(JIMAGE_PATH_BYTES_MAX);

	jimage_path(&path, name);
	const struct jimage_resource *r = jimage_find(e->image, buf_slice(&path));
	if (r != NULL)
		return &e->items[r - e->image->resources];
	for (uint32_t i = e->image->count; i < e->count; i++) {
		buf_reset(&other);
		jimage_path(&other, &e->items[i].name);
		if (slice_eq(buf_slice(&other), buf_slice(&path)))
			return &e->items[i];
	}
	return NULL;
}

static struct jimage_item *find_directory(struct jimage_edit *e, struct slice tree, struct slice base)
{
	return find_item(e, &(struct jimage_resource){ .module = tree, .base = base });
}

static int add_item(struct jimage_edit *e, const struct jimage_resource *name, struct jimage_item **out, struct errmsg *why)
{
	must(e->count < e->room);
	struct jimage_item *item = &e->items[e->count];
	struct slice *const parts[] = { &item->name.module, &item->name.parent, &item->name.base, &item->name.extension };

	*item = (struct jimage_item){ .name = *name };
	for (size_t i = 0; i < JIMAGE_NAME_PARTS; i++) {
		*parts[i] = arena_dup(e->arena, *parts[i]);
		item->name.strings[i] = string_of(e, *parts[i]);
	}
	if (e->arena->err != 0 || e->strings.err != 0)
		return no_memory(why);
	e->count++;
	e->renamed = true;
	*out = item;
	return 0;
}

/* The directory "/modules/BASE", made with those above it when it is missing. */
static int tree_directory(struct jimage_edit *e, struct slice base, struct jimage_item **out, struct errmsg *why)
{
	static const struct jimage_resource root = { .base = SLICE_INIT("/modules") };
	struct jimage_item *below = NULL;

	*out = NULL;
	for (bool last = false; !last;) {
		last = base.len == 0;
		struct jimage_item *d = last ? find_item(e, &root) : find_directory(e, SLICE("modules"), base);
		bool found = d != NULL;
		int err = 0;
		must(found || !last);
		if (!found) {
			err = add_item(e, &(struct jimage_resource){ .module = SLICE("modules"), .base = base }, &d, why);
			if (err != 0)
				return err;
			d->listed = true;
		}
		if (*out == NULL)
			*out = d;
		if (below != NULL)
			err = list_insert(e, d, (uint32_t)(below - e->items), why);
		if (err != 0 || found)
			return err;
		below = d;
		size_t slash = slice_rfind_byte(base, '/');
		base = slice_head(base, slash == SLICE_NPOS ? 0 : slash);
	}
	return 0;
}

static struct slice name_at(const struct jimage_edit *e, uint32_t at)
{
	const struct slice old = e->image->strings, added = buf_slice(&e->strings);
	struct slice from = at < old.len ? slice_from(old, at) : slice_from(added, at - old.len);
	size_t end = slice_find_byte(from, 0);

	return end == SLICE_NPOS ? from : slice_head(from, end);
}

/* The module has something in this package ("java.lang"), or below it only. */
static int enter_package(struct jimage_edit *e, struct slice package, struct slice module, bool below, struct errmsg *why)
{
	static const struct jimage_resource root = { .base = SLICE_INIT("/packages") };
	struct jimage_item *d = find_directory(e, SLICE("packages"), package);
	int err = 0;

	if (d == NULL) {
		err = add_item(e, &(struct jimage_resource){ .module = SLICE("packages"), .base = package }, &d, why);
		if (err == 0)
			err = list_insert(e, find_item(e, &root), (uint32_t)(d - e->items), why);
		if (err != 0)
			return err;
		d->content = SLICE("");
	} else if (!d->changed) {
		err = directory_bytes(e, d, PAIR_BYTES, &d->content, why);
		if (err != 0)
			return err;
	}
	uint32_t pairs = (uint32_t)(d->content.len / PAIR_BYTES), at = 0;
	bool here = false;
	for (uint32_t i = 0; i < pairs; i++) {
		const uint8_t *p = d->content.ptr + (size_t)PAIR_BYTES * i;
		struct slice other = name_at(e, jimage_u32(e->image, p + 4));
		int order = slice_cmp(other, module);
		if (order < 0)
			at = i + 1;
		here |= order == 0;
		if (order == 0)
			at = i;
		else if (!below && jimage_u32(e->image, p) == 0)
			return errmsg_say(why, -EINVAL, "package '%s' is in module '%s'; a package is in one module only", shown(&(struct shown){ 0 }, package),
					  shown(&(struct shown){ 0 }, other));
	}
	if (here && (below || jimage_u32(e->image, d->content.ptr + (size_t)PAIR_BYTES * at) == 0))
		return 0;
	uint32_t string = string_of(e, module);
	uint8_t *content = arena_alloc(e->arena, d->content.len + PAIR_BYTES);
	if (content == NULL || e->strings.err != 0)
		return no_memory(why);
	size_t before = (size_t)PAIR_BYTES * at, behind = before + (here ? PAIR_BYTES : 0);
	memcpy(content, d->content.ptr, before);
	jimage_put_u32(e->image, content + before, below ? 1 : 0);
	jimage_put_u32(e->image, content + before + 4, string);
	memcpy(content + before + PAIR_BYTES, d->content.ptr + behind, d->content.len - behind);
	d->content = slice_of(content, before + PAIR_BYTES + d->content.len - behind);
	d->changed = true;
	return 0;
}

static int enter_packages(struct jimage_edit *e, const struct jimage_resource *name, struct errmsg *why)
{
	if (name->parent.len == 0 || slice_eq(name->parent, SLICE("META-INF")) || slice_starts(name->parent, SLICE("META-INF/")))
		return 0;
	uint8_t *package = arena_alloc(e->arena, name->parent.len);
	if (package == NULL)
		return no_memory(why);
	for (size_t i = 0; i < name->parent.len; i++) {
		package[i] = name->parent.ptr[i] == '/' ? '.' : name->parent.ptr[i];
		if (package[i] != '.')
			continue;
		int err = enter_package(e, slice_of(package, i), name->module, true, why);
		if (err != 0)
			return err;
	}
	return enter_package(e, slice_of(package, name->parent.len), name->module, false, why);
}

static bool name_is_sound(const struct jimage_resource *name)
{
	struct slice rest = name->parent, part;
	const struct slice parts[] = { name->module, name->parent, name->base, name->extension };

	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		if (slice_find_byte(parts[i], 0) != SLICE_NPOS || (i != JIMAGE_PARENT && slice_find_byte(parts[i], '/') != SLICE_NPOS))
			return false;
	for (bool more = rest.len > 0; more;) {
		more = slice_cut(rest, '/', &part, &rest);
		if (part.len == 0 || slice_find_byte(part, '.') != SLICE_NPOS)
			return false;
	}
	if (name->extension.len == 0 && slice_find_byte(name->base, '.') != SLICE_NPOS)
		return false;
	return name->module.len > 0 && name->base.len > 0 && !jimage_is_directory(name) && slice_find_byte(name->extension, '.') == SLICE_NPOS &&
	       name->module.len + name->parent.len + name->base.len + name->extension.len + sizeof("/modules//.") <= JIMAGE_PATH_BYTES_MAX;
}

static int add(struct jimage_edit *e, const struct jimage_change *change, struct errmsg *why)
{
	const struct jimage_resource *name = &change->name;
	struct jimage_item *item, *directory = NULL;
	struct shown text;

	if (change->content.ptr == NULL)
		return errmsg_say(why, -EINVAL, "a new resource '%s' without content", shown(&text, name->base));
	if (!name_is_sound(name))
		return errmsg_say(why, -EINVAL, "'%s' in '%s' cannot be the name of a new resource: expected a module, a package with '/', a name",
				  shown(&text, name->base), shown(&(struct shown){ 0 }, name->parent));
	if (find_item(e, name) != NULL)
		return errmsg_say(why, -EINVAL, "a new resource '%s' is in the image already: replace it", shown(&text, name->base));
	if (e->has_modules && find_directory(e, SLICE("modules"), name->module) == NULL)
		return errmsg_say(why, -EINVAL, "a new resource '%s' for module '%s', which is not in the image", shown(&text, name->base),
				  shown(&(struct shown){ 0 }, name->module));
	int err = add_item(e, name, &item, why);
	if (err != 0)
		return err;
	item->content = change->content;
	item->size = change->content.len;
	item->changed = true;
	if (e->has_modules) {
		AUTO_BUF struct buf path = BUF_INIT(JIMAGE_PATH_BYTES_MAX);
		buf_add(&path, name->module);
		if (name->parent.len > 0) {
			buf_addc(&path, '/');
			buf_add(&path, name->parent);
		}
		err = path.err != 0 ? no_memory(why) : tree_directory(e, buf_slice(&path), &directory, why);
		if (err == 0)
			err = list_insert(e, directory, (uint32_t)(item - e->items), why);
		if (err != 0)
			return err;
	}
	return e->has_packages ? enter_packages(e, name, why) : 0;
}

int jimage_edit_change(struct jimage_edit *e, const struct jimage_change *change, struct errmsg *why)
{
	if (change->resource == NULL)
		return add(e, change, why);
	must(change->resource >= e->image->resources && change->resource < e->image->resources + e->image->count);
	struct jimage_item *item = &e->items[change->resource - e->image->resources];
	struct shown name;
	if (jimage_is_directory(&item->name))
		return errmsg_say(why, -EINVAL, "'%s' is a directory: it follows from what is in it", shown(&name, item->name.base));
	if (item->changed)
		return errmsg_say(why, -EINVAL, "resource '%s' is changed twice", shown(&name, item->name.base));
	item->changed = true;
	if (change->content.ptr == NULL) {
		item->gone = e->renamed = e->removed = true;
		return 0;
	}
	item->content = change->content;
	item->size = change->content.len;
	item->packed_size = 0;
	return 0;
}

/* Modules that lost their last resource in a package. */
static int prune_package(struct jimage_edit *e, struct jimage_item *d, struct errmsg *why)
{
	AUTO_BUF struct buf path = BUF_INIT(JIMAGE_PATH_BYTES_MAX);

	if (!d->changed) {
		int err = directory_bytes(e, d, PAIR_BYTES, &d->content, why);
		if (err != 0)
			return err;
	}
	uint8_t *content = arena_alloc(e->arena, d->content.len);
	if (content == NULL)
		return no_memory(why);
	size_t kept = 0;
	for (size_t at = 0; at < d->content.len; at += PAIR_BYTES) {
		const uint8_t *pair = d->content.ptr + at;
		buf_reset(&path);
		buf_add(&path, name_at(e, jimage_u32(e->image, pair + 4)));
		buf_addc(&path, '/');
		buf_add(&path, d->name.base);
		for (size_t i = path.len - MIN(path.len, d->name.base.len); i < path.len; i++)
			if (path.ptr[i] == '.')
				path.ptr[i] = '/';
		const struct jimage_item *in = path.err != 0 ? NULL : find_directory(e, SLICE("modules"), buf_slice(&path));
		if (in == NULL || in->gone)
			continue;
		bool below = true;
		for (uint32_t i = 0; i < in->list_count; i++)
			below &= lists_items(&e->items[in->list[i]].name);
		memcpy(content + kept, pair, PAIR_BYTES);
		jimage_put_u32(e->image, content + kept, below ? 1 : 0);
		kept += PAIR_BYTES;
	}
	d->content = slice_of(content, kept);
	d->changed = true;
	d->gone = kept == 0;
	return 0;
}

static void prune_list(struct jimage_edit *e, struct jimage_item *d)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < d->list_count; i++)
		if (!e->items[d->list[i]].gone)
			d->list[kept++] = d->list[i];
	d->list_count = kept;
	d->gone = kept == 0 && d->name.module.len > 0;
}

struct depth {
	uint32_t item;
	size_t bytes;
};

static int deepest_first(const void *a, const void *b)
{
	const struct depth *x = a, *y = b;

	return x->bytes != y->bytes ? (x->bytes > y->bytes ? -1 : 1) : (x->item < y->item ? -1 : x->item > y->item);
}

int jimage_edit_prune(struct jimage_edit *e, struct errmsg *why)
{
	if (!e->removed || !e->has_modules)
		return 0;
	struct depth *order = arena_array(e->arena, e->count, sizeof(*order));
	uint32_t count = 0;
	if (order == NULL)
		return no_memory(why);
	for (uint32_t i = 0; i < e->count; i++)
		if (slice_eq(e->items[i].name.module, SLICE("modules")))
			order[count++] = (struct depth){ i, e->items[i].name.base.len };
	/* What is in a directory has a longer path than the directory. */
	qsort(order, count, sizeof(*order), deepest_first);
	for (uint32_t i = 0; i < count; i++)
		prune_list(e, &e->items[order[i].item]);
	for (uint32_t i = 0; i < e->count; i++) {
		int err = is_package(&e->items[i].name) ? prune_package(e, &e->items[i], why) : 0;
		if (err != 0)
			return err;
	}
	for (uint32_t i = 0; i < e->count; i++)
		if (e->items[i].listed && e->items[i].name.module.len == 0)
			prune_list(e, &e->items[i]);
	return 0;
}
