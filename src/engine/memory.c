#include <errno.h>
#include <stdlib.h>

#include "base/must.h"
#include "engine/memory.h"

struct entry {
	uint8_t *bytes;			/* key, then value */
	uint32_t key_len, value_len;
};

struct object {
	uint8_t *name;
	size_t name_len;
	struct buf bytes;
	struct entry *entries;
	size_t count, cap;
};

struct watch {
	struct watch *next;
	uint64_t id;
	void (*fn)(void *arg);
	void *arg;
	size_t name_len;
	uint8_t name[ENGINE_NAME_BYTES_MAX];
};

struct memory {
	struct engine base;
	struct object **objects;
	size_t count, cap;
	struct watch *watches;
	uint64_t next_watch;
	uint64_t calls;
	enum memory_fate (*fate)(void *arg, const struct engine_op *op);
	void *fate_arg;
};

static struct memory *memory_of(struct engine *e)
{
	return container_of(e, struct memory, base);
}

static struct slice object_name(const struct object *o)
{
	return slice_of(o->name, o->name_len);
}

static struct slice entry_key(const struct entry *e)
{
	return slice_of(e->bytes, e->key_len);
}

static struct slice entry_value(const struct entry *e)
{
	return slice_of(e->bytes + e->key_len, e->value_len);
}

/* Index of the first object whose name is >= name. */
static size_t object_lower(const struct memory *m, struct slice name)
{
	size_t low = 0, high = m->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (slice_cmp(object_name(m->objects[mid]), name) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct object *object_find(const struct memory *m, struct slice name)
{
	size_t i = object_lower(m, name);

	return i < m->count && slice_eq(object_name(m->objects[i]), name) ? m->objects[i] : NULL;
}

static size_t entry_lower(const struct object *o, struct slice key)
{
	size_t low = 0, high = o->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (slice_cmp(entry_key(&o->entries[mid]), key) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct entry *entry_find(const struct object *o, struct slice key)
{
	size_t i = o == NULL ? 0 : entry_lower(o, key);

	return o != NULL && i < o->count && slice_eq(entry_key(&o->entries[i]), key) ?
		       &o->entries[i] :
		       NULL;
}

/* Memory that a test cannot do without: there is no sensible way on. */
static void *need(void *p)
{
	must(p != NULL);
	return p;
}

static struct object *object_make(struct memory *m, struct slice name)
{
	size_t i = object_lower(m, name);

	if (i < m->count && slice_eq(object_name(m->objects[i]), name))
		return m->objects[i];
	if (m->count == m->cap) {
		m->cap = m->cap == 0 ? 64 : m->cap * 2;
		m->objects = need(reallocarray(m->objects, m->cap, sizeof(struct object *)));
	}
	struct object *o = need(calloc(1, sizeof(*o)));

	o->name = need(malloc(name.len + 1));
	memcpy(o->name, name.ptr, name.len);
	o->name_len = name.len;
	buf_init(&o->bytes, SIZE_MAX / 2);
	memmove(m->objects + i + 1, m->objects + i, (m->count - i) * sizeof(struct object *));
	m->objects[i] = o;
	m->count++;
	return o;
}

static void object_free(struct object *o)
{
	for (size_t i = 0; i < o->count; i++)
		free(o->entries[i].bytes);
	free(o->entries);
	buf_done(&o->bytes);
	free(o->name);
	free(o);
}

static void object_remove(struct memory *m, struct slice name)
{
	size_t i = object_lower(m, name);

	if (i == m->count || !slice_eq(object_name(m->objects[i]), name))
		return;
	object_free(m->objects[i]);
	memmove(m->objects + i, m->objects + i + 1, (m->count - i - 1) * sizeof(struct object *));
	m->count--;
}

static void entry_set(struct object *o, struct slice key, struct slice value)
{
	size_t i = entry_lower(o, key);
	uint8_t *bytes = need(malloc(key.len + value.len + 1));

	if (key.len > 0)
		memcpy(bytes, key.ptr, key.len);
	if (value.len > 0)
		memcpy(bytes + key.len, value.ptr, value.len);
	if (i < o->count && slice_eq(entry_key(&o->entries[i]), key)) {
		free(o->entries[i].bytes);
	} else {
		if (o->count == o->cap) {
			o->cap = o->cap == 0 ? 8 : o->cap * 2;
			o->entries = need(reallocarray(o->entries, o->cap, sizeof(*o->entries)));
		}
		memmove(o->entries + i + 1, o->entries + i, (o->count - i) * sizeof(*o->entries));
		o->count++;
	}
	o->entries[i] = (struct entry){ bytes, (uint32_t)key.len, (uint32_t)value.len };
}

static void entry_delete(struct object *o, struct slice key)
{
	size_t i = entry_lower(o, key);

	if (i == o->count || !slice_eq(entry_key(&o->entries[i]), key))
		return;
	free(o->entries[i].bytes);
	memmove(o->entries + i, o->entries + i + 1, (o->count - i - 1) * sizeof(*o->entries));
	o->count--;
}

static bool op_valid(const struct engine_op *op)
{
	size_t bytes = op->object.len, effects = 0;
	bool removes = false;

	if (op->object.len == 0 || op->object.len > ENGINE_NAME_BYTES_MAX ||
	    op->count > ENGINE_STEPS_MAX || op->notify.len > ENGINE_NAME_BYTES_MAX)
		return false;
	for (size_t i = 0; i < op->count; i++) {
		const struct engine_step *s = &op->steps[i];

		bytes += s->key.len + s->value.len;
		if (s->key.len > ENGINE_KEY_BYTES_MAX || s->kind < GUARD_EXISTS ||
		    s->kind > STEP_REMOVE)
			return false;
		if (s->kind != STEP_WRITE && s->value.len > ENGINE_VALUE_BYTES_MAX)
			return false;
		if (s->kind < STEP_WRITE && effects > 0)
			return false;
		effects += s->kind >= STEP_WRITE;
		removes |= s->kind == STEP_REMOVE;
	}
	return bytes <= ENGINE_OP_BYTES_MAX && !(removes && effects > 1);
}

/* Guards and the places of writes. */
static bool op_holds(const struct object *o, const struct engine_op *op)
{
	uint64_t length = o == NULL ? 0 : o->bytes.len;

	for (size_t i = 0; i < op->count; i++) {
		const struct engine_step *s = &op->steps[i];
		const struct entry *e;
		bool holds = true;

		switch (s->kind) {
		case GUARD_EXISTS:
			holds = o != NULL;
			break;
		case GUARD_ABSENT:
			holds = o == NULL;
			break;
		case GUARD_KEY_EQUALS:
			e = entry_find(o, s->key);
			holds = e != NULL && slice_eq(entry_value(e), s->value);
			break;
		case GUARD_KEY_ABSENT:
			holds = entry_find(o, s->key) == NULL;
			break;
		case GUARD_LENGTH:
			holds = s->at == length;
			break;
		case STEP_WRITE:
			holds = s->at == length;
			length += s->value.len;
			break;
		case STEP_SET:
		case STEP_DELETE:
		case STEP_REMOVE:
			break;
		}
		if (!holds)
			return false;
	}
	return true;
}

static void op_do(struct memory *m, const struct engine_op *op)
{
	for (size_t i = 0; i < op->count; i++) {
		const struct engine_step *s = &op->steps[i];

		if (s->kind < STEP_WRITE)
			continue;
		if (s->kind == STEP_REMOVE) {
			object_remove(m, op->object);
			continue;
		}
		struct object *o = object_make(m, op->object);

		if (s->kind == STEP_WRITE)
			buf_add(&o->bytes, s->value);
		else if (s->kind == STEP_SET)
			entry_set(o, s->key, s->value);
		else
			entry_delete(o, s->key);
		must(o->bytes.err == 0);
	}
}

/* A watch function may take watches away: look from the start again, newest first. */
static void tell(struct memory *m, struct slice name)
{
	uint64_t below = UINT64_MAX;

	for (struct watch *w = m->watches; w != NULL;) {
		if (w->id >= below || !slice_eq(slice_of(w->name, w->name_len), name)) {
			w = w->next;
			continue;
		}
		below = w->id;
		w->fn(w->arg);
		w = m->watches;
	}
}

static enum engine_result memory_apply(struct engine *e, const struct engine_op *op)
{
	struct memory *m = memory_of(e);

	m->calls++;
	if (!op_valid(op))
		return ENGINE_INVALID;
	enum memory_fate fate = m->fate == NULL ? MEMORY_DO : m->fate(m->fate_arg, op);

	if (fate == MEMORY_FAIL)
		return ENGINE_UNAVAILABLE;
	if (fate == MEMORY_FULL)
		return ENGINE_FULL;
	if (!op_holds(object_find(m, op->object), op))
		return fate == MEMORY_DO_AND_FAIL ? ENGINE_UNAVAILABLE : ENGINE_GUARD;
	op_do(m, op);
	if (op->notify.len > 0)
		tell(m, op->notify);
	return fate == MEMORY_DO_AND_FAIL ? ENGINE_UNAVAILABLE : ENGINE_OK;
}

static enum engine_result memory_stat(struct engine *e, struct slice name, struct engine_stat *out)
{
	struct memory *m = memory_of(e);
	const struct object *o = object_find(m, name);

	m->calls++;
	*out = (struct engine_stat){ o != NULL, o == NULL ? 0 : o->bytes.len };
	return ENGINE_OK;
}

static enum engine_result memory_read(struct engine *e, struct slice name, uint64_t at, size_t n,
				      struct buf *out)
{
	struct memory *m = memory_of(e);
	const struct object *o = object_find(m, name);

	m->calls++;
	if (o == NULL)
		return ENGINE_ABSENT;
	if (at < o->bytes.len)
		buf_add(out, slice_sub(buf_slice(&o->bytes), (size_t)at,
				       n > o->bytes.len - at ? o->bytes.len : (size_t)at + n));
	return out->err == 0 ? ENGINE_OK : ENGINE_INVALID;
}

static enum engine_result memory_keys(struct engine *e, struct slice name, struct slice from,
				      struct slice to, size_t max_count, size_t max_bytes,
				      struct arena *arena, struct engine_kv **out, size_t *count,
				      bool *more)
{
	struct memory *m = memory_of(e);
	const struct object *o = object_find(m, name);
	size_t i = o == NULL ? 0 : entry_lower(o, from), n = 0, bytes = 0, left = 0;

	m->calls++;
	*more = false;
	while (o != NULL && i + left < o->count &&
	       (to.len == 0 || slice_cmp(entry_key(&o->entries[i + left]), to) < 0) &&
	       left <= max_count)
		left++;
	struct engine_kv *kv = arena_array(arena, left + 1, sizeof(*kv));

	if (kv == NULL)
		return ENGINE_INVALID;
	for (; n < left; n++, i++) {
		if (n == max_count || (n > 0 && bytes >= max_bytes)) {
			*more = true;
			break;
		}
		kv[n].key = arena_dup(arena, entry_key(&o->entries[i]));
		kv[n].value = arena_dup(arena, entry_value(&o->entries[i]));
		bytes += kv[n].key.len + kv[n].value.len;
	}
	if (arena->err != 0)
		return ENGINE_INVALID;
	*out = kv;
	*count = n;
	return ENGINE_OK;
}

static enum engine_result memory_list(struct engine *e, struct slice prefix, struct slice after,
				      size_t max_count, struct arena *arena, struct slice **names,
				      size_t *count)
{
	struct memory *m = memory_of(e);
	size_t i = object_lower(m, slice_cmp(prefix, after) > 0 ? prefix : after), n = 0;
	struct slice *list = arena_array(arena, max_count, sizeof(*list));

	m->calls++;
	if (list == NULL)
		return ENGINE_INVALID;
	for (; i < m->count && n < max_count; i++) {
		struct slice name = object_name(m->objects[i]);

		if (!slice_starts(name, prefix))
			break;
		if (after.len == 0 || slice_cmp(name, after) > 0)
			list[n++] = arena_dup(arena, name);
	}
	if (arena->err != 0)
		return ENGINE_INVALID;
	*names = list;
	*count = n;
	return ENGINE_OK;
}

static int memory_watch(struct engine *e, struct slice name, void (*fn)(void *arg), void *arg,
			uint64_t *id)
{
	struct memory *m = memory_of(e);

	if (name.len > ENGINE_NAME_BYTES_MAX)
		return -EINVAL;
	struct watch *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return -ENOMEM;
	memcpy(w->name, name.ptr, name.len);
	w->name_len = name.len;
	w->fn = fn;
	w->arg = arg;
	w->id = *id = ++m->next_watch;
	w->next = m->watches;
	m->watches = w;
	return 0;
}

static void memory_unwatch(struct engine *e, uint64_t id)
{
	struct memory *m = memory_of(e);

	for (struct watch **at = &m->watches; *at != NULL; at = &(*at)->next) {
		struct watch *w = *at;

		if (w->id == id) {
			*at = w->next;
			free(w);
			return;
		}
	}
}

/* Leases are advice; with one process there is nobody to advise. */
static enum engine_result memory_lease(struct engine *e, struct slice name, struct slice owner,
				       int64_t duration_us)
{
	return ENGINE_OK;
}

static enum engine_result memory_unlease(struct engine *e, struct slice name, struct slice owner)
{
	return ENGINE_OK;
}

static void memory_close(struct engine *e)
{
	struct memory *m = memory_of(e);

	while (m->watches != NULL)
		memory_unwatch(e, m->watches->id);
	for (size_t i = 0; i < m->count; i++)
		object_free(m->objects[i]);
	free(m->objects);
	free(m);
}

static const struct engine_vtable memory_vtable = {
	.apply = memory_apply,
	.stat = memory_stat,
	.read = memory_read,
	.keys = memory_keys,
	.list = memory_list,
	.watch = memory_watch,
	.unwatch = memory_unwatch,
	.lease = memory_lease,
	.unlease = memory_unlease,
	.close = memory_close,
};

struct engine *engine_memory_new(void)
{
	struct memory *m = calloc(1, sizeof(*m));

	if (m == NULL)
		return NULL;
	m->base.vt = &memory_vtable;
	return &m->base;
}

void engine_memory_hook(struct engine *e,
			enum memory_fate (*fate)(void *arg, const struct engine_op *op), void *arg)
{
	struct memory *m = memory_of(e);

	m->fate = fate;
	m->fate_arg = arg;
}

uint64_t engine_memory_calls(struct engine *e)
{
	return memory_of(e)->calls;
}
