#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"
#include "mail/directory/directory_private.h"

#define LIST_BYTES	  (64u * 1024u)
#define LIST_KEYS	  256u
#define REMOVED_KIND	  'x'		/* before an account */

/* A name that was looked up, found or not. */
struct entry {
	struct map_node node;
	struct list lru;
	struct slice key;		/* kind and name; after the struct */
	struct slice value;		/* after the key; {NULL, 0} when the directory has no such name */
};

/* Fixed for ever: it says on which object a name is stored. */
static const uint8_t place_key[16] = "prickle users v1";

const char *dir_result_name(enum dir_result r)
{
	static const char *const names[] = {
		[DIR_OK] = "ok",
		[DIR_ABSENT] = "absent",
		[DIR_NOT_LOCAL] = "not local",
		[DIR_EXISTS] = "exists",
		[DIR_LOOP] = "alias loop",
		[DIR_CHANGED] = "changed meanwhile",
		[DIR_TOO_BIG] = "too big",
		[DIR_FULL] = "disk full",
		[DIR_UNAVAILABLE] = "store unavailable",
		[DIR_DAMAGED] = "damaged",
	};

	return (size_t)r < ARRAY_LEN(names) ? names[r] : "unknown";
}

static enum dir_result from_engine(enum engine_result r)
{
	switch (r) {
	case ENGINE_OK:
		return DIR_OK;
	case ENGINE_GUARD:
		return DIR_CHANGED;
	case ENGINE_ABSENT:
		return DIR_ABSENT;
	case ENGINE_FULL:
		return DIR_FULL;
	case ENGINE_DAMAGED:
		return DIR_DAMAGED;
	case ENGINE_INVALID:
		return DIR_TOO_BIG;
	case ENGINE_UNAVAILABLE:
	case ENGINE_DENIED:		/* the store has not learnt our rights yet, after its restart */
		break;
	}
	return DIR_UNAVAILABLE;
}

int directory_new(struct engine *e, char separator, struct directory **out)
{
	struct directory *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return -ENOMEM;
	d->engine = e;
	d->separator = separator;
	list_init(&d->lru);
	*out = d;
	return 0;
}

static void entry_free(struct directory *d, struct entry *en)
{
	map_del(&d->cache, &en->node);
	list_del(&en->lru);
	free(en);
}

void directory_free(struct directory *d)
{
	if (d == NULL)
		return;
	list_for_each(it, &d->lru)
		entry_free(d, list_entry(it, struct entry, lru));
	map_done(&d->cache);
	free(d);
}

void directory_set_separator(struct directory *d, char separator)
{
	d->separator = separator;
}

size_t directory_cached(const struct directory *d)
{
	return d->cache.count;
}

bool dir_place(struct dir_place *p, enum dir_kind kind, struct slice name)
{
	if (name.len == 0 || name.len > DIRECTORY_KEY_NAME_BYTES_MAX)
		return false;
	p->number = (uint32_t)(siphash(place_key, name) % DIRECTORY_OBJECTS);
	snprintf(p->object, sizeof(p->object), "u.%u", (unsigned)p->number);
	p->bytes[0] = (uint8_t)kind;
	memcpy(p->bytes + 1, name.ptr, name.len);
	p->bytes[1 + name.len] = 0;
	p->key = slice_of(p->bytes, name.len + 1);
	return true;
}

static struct entry *cache_find(struct directory *d, struct slice key)
{
	uint64_t hash = map_hash(key);

	for (struct map_node *n = map_first(&d->cache, hash); n != NULL; n = map_next(n, hash)) {
		struct entry *en = container_of(n, struct entry, node);

		if (slice_eq(en->key, key))
			return en;
	}
	return NULL;
}

static void cache_drop(struct directory *d, struct slice key)
{
	struct entry *en = cache_find(d, key);

	if (en != NULL)
		entry_free(d, en);
}

/* Memory being short only costs a later read. */
static void cache_add(struct directory *d, struct slice key, struct slice value)
{
	struct entry *en;
	uint8_t *bytes;

	cache_drop(d, key);
	while (d->cache.count >= DIRECTORY_CACHE_ENTRIES_MAX)
		entry_free(d, list_entry(d->lru.prev, struct entry, lru));
	en = calloc(1, sizeof(*en) + key.len + value.len);
	if (en == NULL)
		return;
	bytes = (uint8_t *)(en + 1);
	memcpy(bytes, key.ptr, key.len);
	en->key = slice_of(bytes, key.len);
	if (value.ptr != NULL) {
		memcpy(bytes + key.len, value.ptr, value.len);
		en->value = slice_of(bytes + key.len, value.len);
	}
	if (map_add(&d->cache, &en->node, map_hash(en->key)) < 0) {
		free(en);
		return;
	}
	list_push_front(&d->lru, &en->lru);
}

/* The value of one key, copied to the arena. */
enum dir_result dir_fetch(struct directory *d, const struct dir_place *p, struct arena *arena, struct slice *out)
{
	struct entry *en = cache_find(d, p->key);
	uint64_t writes = d->writes;
	struct engine_kv *kv = NULL;
	enum engine_result r;
	size_t count = 0;
	bool more = false;

	if (en != NULL) {
		list_del(&en->lru);
		list_push_front(&d->lru, &en->lru);
		if (en->value.ptr == NULL)
			return DIR_ABSENT;
		*out = arena_dup(arena, en->value);
		return out->ptr == NULL ? DIR_TOO_BIG : DIR_OK;
	}
	/* [key, key NUL) holds this key alone. */
	r = engine_keys(d->engine, slice_str(p->object), p->key,
			slice_of(p->key.ptr, p->key.len + 1), 1, DIRECTORY_RECORD_BYTES_MAX, arena, &kv,
			&count, &more);
	if (r != ENGINE_OK && r != ENGINE_ABSENT)
		return from_engine(r);
	if (r == ENGINE_ABSENT || count == 0) {
		if (d->writes == writes)
			cache_add(d, p->key, (struct slice){ 0 });
		return DIR_ABSENT;
	}
	if (d->writes == writes)
		cache_add(d, p->key, kv[0].value);
	*out = kv[0].value;
	return DIR_OK;
}

enum dir_result dir_apply(struct directory *d, const struct dir_place *p, const struct engine_step *steps, size_t count)
{
	enum engine_result r;

	d->writes++;
	cache_drop(d, p->key);
	r = engine_apply(d->engine, &(struct engine_op){ .object = slice_str(p->object),
							 .steps = steps,
							 .count = count });
	/* Again: reads may have come while we waited, and saw the state before. */
	d->writes++;
	cache_drop(d, p->key);
	return from_engine(r);
}

enum dir_result directory_domain(struct directory *d, struct arena *arena, struct slice domain,
				 struct domain_record *out)
{
	struct dir_place p;
	struct slice value;
	enum dir_result r;

	if (!dir_place(&p, DIR_DOMAIN, domain))
		return DIR_ABSENT;
	r = dir_fetch(d, &p, arena, &value);
	if (r == DIR_OK && !domain_record_decode(value, out))
		return DIR_DAMAGED;
	return r;
}

enum dir_result directory_user(struct directory *d, struct arena *arena, struct slice address,
			       struct user_record *out)
{
	struct dir_place p;
	struct slice value;
	enum dir_result r;

	if (!dir_place(&p, DIR_USER, address))
		return DIR_ABSENT;
	r = dir_fetch(d, &p, arena, &value);
	if (r == DIR_OK && !user_record_decode(value, out))
		return DIR_DAMAGED;
	return r;
}

enum dir_result directory_alias(struct directory *d, struct arena *arena, struct slice address,
				struct alias_record *out)
{
	struct dir_place p;
	struct slice value;
	enum dir_result r;

	if (!dir_place(&p, DIR_ALIAS, address))
		return DIR_ABSENT;
	r = dir_fetch(d, &p, arena, &value);
	if (r == DIR_OK && !alias_record_decode(arena, value, out))
		return arena->err != 0 ? DIR_TOO_BIG : DIR_DAMAGED;
	return r;
}

/*
 * Add a key when none of this name exists. A repetition after an unknown outcome finds its own record
 * and says EXISTS; callers tell people so.
 */
static enum dir_result add(struct directory *d, enum dir_kind kind, enum dir_kind rival,
			   struct slice name, const struct buf *value)
{
	struct dir_place p, other;
	enum dir_result r;

	if (value->err != 0 || value->len > DIRECTORY_RECORD_BYTES_MAX)
		return DIR_TOO_BIG;
	if (!dir_place(&p, kind, name) || !dir_place(&other, rival, name))
		return DIR_TOO_BIG;
	r = dir_apply(d, &p,
		  (struct engine_step[]){
			  { .kind = GUARD_KEY_ABSENT, .key = p.key },
			  { .kind = GUARD_KEY_ABSENT, .key = other.key },
			  { .kind = STEP_SET, .key = p.key, .value = buf_slice(value) },
		  },
		  3);
	return r == DIR_CHANGED ? DIR_EXISTS : r;
}

static enum dir_result domain_is_ours(struct directory *d, struct slice domain)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(DIRECTORY_SCRATCH_BYTES);
	struct domain_record record;
	enum dir_result r = directory_domain(d, &arena, domain, &record);

	return r == DIR_ABSENT ? DIR_NOT_LOCAL : r;
}

enum dir_result directory_domain_add(struct directory *d, struct slice domain,
				     const struct domain_record *r)
{
	AUTO_BUF struct buf value = BUF_INIT(DIRECTORY_RECORD_BYTES_MAX);

	domain_record_encode(&value, r);
	return add(d, DIR_DOMAIN, DIR_DOMAIN, domain, &value);
}

enum dir_result directory_user_add(struct directory *d, const struct address *a,
				   const struct user_record *r)
{
	AUTO_BUF struct buf value = BUF_INIT(DIRECTORY_RECORD_BYTES_MAX);
	enum dir_result ours = domain_is_ours(d, a->domain);

	if (ours != DIR_OK)
		return ours;
	user_record_encode(&value, r);
	return add(d, DIR_USER, DIR_ALIAS, a->text, &value);
}

enum dir_result directory_alias_add(struct directory *d, struct slice address, struct slice domain,
				    const struct alias_record *r)
{
	AUTO_BUF struct buf value = BUF_INIT(DIRECTORY_RECORD_BYTES_MAX);
	enum dir_result ours = domain_is_ours(d, domain);

	if (ours != DIR_OK)
		return ours;
	alias_record_encode(&value, r);
	return add(d, DIR_ALIAS, DIR_USER, address, &value);
}

/* Edit the decoded form of a record and append the new stored form; false: leave it. */
typedef bool edit_fn(const void *how, struct arena *arena, struct slice old, struct buf *value,
		     enum dir_result *r);

static enum dir_result change(struct directory *d, enum dir_kind kind, struct slice name,
			      edit_fn *edit, const void *how)
{
	enum dir_result r = DIR_CHANGED;
	struct dir_place p;

	if (!dir_place(&p, kind, name))
		return DIR_ABSENT;
	for (unsigned i = 0; i < DIRECTORY_TRIES && r == DIR_CHANGED; i++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(DIRECTORY_SCRATCH_BYTES);
		AUTO_BUF struct buf value = BUF_INIT(DIRECTORY_RECORD_BYTES_MAX);
		struct slice old;

		r = dir_fetch(d, &p, &arena, &old);
		if (r != DIR_OK)
			return r;
		if (!edit(how, &arena, old, &value, &r))
			return r;
		if (value.err != 0)
			return DIR_TOO_BIG;
		r = dir_apply(d, &p,
			  (struct engine_step[]){
				  { .kind = GUARD_KEY_EQUALS, .key = p.key, .value = old },
				  { .kind = STEP_SET, .key = p.key, .value = buf_slice(&value) },
			  },
			  2);
	}
	return r;
}

struct domain_edit {
	bool (*fn)(void *arg, struct domain_record *r);
	void *arg;
};

static bool edit_domain(const void *how, struct arena *arena, struct slice old, struct buf *value,
			enum dir_result *r)
{
	const struct domain_edit *e = how;
	struct domain_record record;

	*r = DIR_DAMAGED;
	if (!domain_record_decode(old, &record))
		return false;
	*r = DIR_OK;
	if (!e->fn(e->arg, &record))
		return false;
	domain_record_encode(value, &record);
	return true;
}

enum dir_result directory_domain_change(struct directory *d, struct slice domain,
					bool (*fn)(void *arg, struct domain_record *r), void *arg)
{
	return change(d, DIR_DOMAIN, domain, edit_domain, &(struct domain_edit){ fn, arg });
}

struct user_edit {
	bool (*fn)(void *arg, struct user_record *r);
	void *arg;
};

static bool edit_user(const void *how, struct arena *arena, struct slice old, struct buf *value,
		      enum dir_result *r)
{
	const struct user_edit *e = how;
	struct user_record record;

	*r = DIR_DAMAGED;
	if (!user_record_decode(old, &record))
		return false;
	*r = DIR_OK;
	if (!e->fn(e->arg, &record))
		return false;
	user_record_encode(value, &record);
	return true;
}

enum dir_result directory_user_change(struct directory *d, struct slice address,
				      bool (*fn)(void *arg, struct user_record *r), void *arg)
{
	return change(d, DIR_USER, address, edit_user, &(struct user_edit){ fn, arg });
}

static bool system_user_place(struct dir_place *p, uint32_t uid)
{
	char text[12];
	int n = snprintf(text, sizeof(text), "%u", (unsigned)uid);

	return dir_place(p, DIR_SYSTEM_USER, slice_of(text, (size_t)n));
}

enum dir_result directory_system_user(struct directory *d, struct arena *arena, uint32_t uid, struct slice *address,
				      struct user_record *out)
{
	struct user_record user;
	struct slice name;
	struct dir_place p;
	enum dir_result r;

	if (uid == 0 || !system_user_place(&p, uid))
		return DIR_ABSENT;
	r = dir_fetch(d, &p, arena, &name);
	if (r == DIR_OK)
		r = directory_user(d, arena, name, &user);
	if (r != DIR_OK)
		return r;
	if (user.system_user != uid)
		return DIR_ABSENT;
	*address = name;
	*out = user;
	return DIR_OK;
}

enum dir_result directory_system_user_claim(struct directory *d, uint32_t uid, struct slice address)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(DIRECTORY_SCRATCH_BYTES);
	struct user_record user;
	struct slice holder;
	struct dir_place p;
	enum dir_result r;

	if (uid == 0 || !system_user_place(&p, uid))
		return DIR_TOO_BIG;
	r = directory_system_user(d, &arena, uid, &holder, &user);
	if (r == DIR_OK)
		return slice_eq(holder, address) ? DIR_OK : DIR_EXISTS;
	if (r != DIR_ABSENT)
		return r;
	return dir_apply(d, &p, &(struct engine_step){ .kind = STEP_SET, .key = p.key, .value = address }, 1);
}

struct alias_edit {
	bool (*fn)(void *arg, struct alias_record *r);
	void *arg;
};

static bool edit_alias(const void *how, struct arena *arena, struct slice old, struct buf *value,
		       enum dir_result *r)
{
	const struct alias_edit *e = how;
	struct alias_record record;

	*r = DIR_DAMAGED;
	if (!alias_record_decode(arena, old, &record))
		return false;
	*r = DIR_OK;
	if (!e->fn(e->arg, &record))
		return false;
	alias_record_encode(value, &record);
	return true;
}

enum dir_result directory_alias_change(struct directory *d, struct slice address,
				       bool (*fn)(void *arg, struct alias_record *r), void *arg)
{
	return change(d, DIR_ALIAS, address, edit_alias, &(struct alias_edit){ fn, arg });
}

/* note: where to note the account of a user, or NULL. */
static enum dir_result remove_key(struct directory *d, enum dir_kind kind, struct slice name,
				  struct dir_removed *note)
{
	enum dir_result r = DIR_CHANGED;
	uint8_t key[1 + RECORD_ACCOUNT_CHARS] = { REMOVED_KIND };
	struct user_record user;
	struct dir_place p;

	if (!dir_place(&p, kind, name))
		return DIR_ABSENT;
	for (unsigned i = 0; i < DIRECTORY_TRIES && r == DIR_CHANGED; i++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(DIRECTORY_SCRATCH_BYTES);
		struct slice old;

		r = dir_fetch(d, &p, &arena, &old);
		if (r != DIR_OK)
			return r;
		if (note != NULL && !user_record_decode(old, &user))
			return DIR_DAMAGED;
		if (note != NULL) {
			*note = (struct dir_removed){ .object = p.number };
			memcpy(note->account, user.account, sizeof(note->account));
			memcpy(key + 1, user.account, RECORD_ACCOUNT_CHARS);
		}
		r = dir_apply(d, &p,
			  (struct engine_step[]){
				  { .kind = GUARD_KEY_EQUALS, .key = p.key, .value = old },
				  { .kind = STEP_DELETE, .key = p.key },
				  { .kind = STEP_SET, .key = slice_of(key, sizeof(key)) },
			  },
			  note != NULL ? 3 : 2);
	}
	return r;
}

enum dir_result directory_user_remove(struct directory *d, struct slice address,
				      struct dir_removed *removed)
{
	return remove_key(d, DIR_USER, address, removed);
}

enum dir_result directory_alias_remove(struct directory *d, struct slice address)
{
	return remove_key(d, DIR_ALIAS, address, NULL);
}

enum dir_result directory_removed_done(struct directory *d, const struct dir_removed *removed)
{
	uint8_t key[1 + RECORD_ACCOUNT_CHARS] = { REMOVED_KIND };
	struct engine_step step = { .kind = STEP_DELETE, .key = slice_of(key, sizeof(key)) };
	char object[16];

	memcpy(key + 1, removed->account, RECORD_ACCOUNT_CHARS);
	snprintf(object, sizeof(object), "u.%u", (unsigned)removed->object);
	return from_engine(engine_apply(d->engine, &(struct engine_op){ .object = slice_str(object),
									.steps = &step, .count = 1 }));
}

enum dir_result directory_domain_remove(struct directory *d, struct slice domain)
{
	static const enum dir_kind kinds[] = { DIR_USER, DIR_ALIAS };
	enum dir_result r = domain_is_ours(d, domain);

	if (r != DIR_OK)
		return r == DIR_NOT_LOCAL ? DIR_ABSENT : r;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(DIRECTORY_SCRATCH_BYTES);
		struct dir_cursor cursor = { 0 };
		struct slice name;
		size_t count = 0;
		bool more = false;

		r = directory_list(d, &arena, kinds[i], domain, &cursor, 1, &name, &count, &more);
		if (r != DIR_OK)
			return r;
		if (count > 0)
			return DIR_EXISTS;
	}
	return remove_key(d, DIR_DOMAIN, domain, NULL);
}

static bool at_domain(struct slice name, enum dir_kind kind, struct slice domain)
{
	size_t at;

	if (domain.len == 0)
		return true;
	if (kind == DIR_DOMAIN)
		return slice_eq(name, domain);
	at = slice_rfind_byte(name, '@');
	return at != SLICE_NPOS && slice_eq(slice_from(name, at + 1), domain);
}

/* One object's names of this kind after cursor->name. Stops at max names; *done: the object has no more. */
static enum dir_result list_object(struct directory *d, struct arena *arena, enum dir_kind kind,
				   struct slice domain, struct dir_cursor *cursor, size_t max,
				   struct slice *names, size_t *count, bool *done)
{
	uint8_t from[DIRECTORY_KEY_BYTES_MAX + 2], to[1] = { (uint8_t)(kind + 1) };
	size_t from_len = 1 + strlen(cursor->name);
	bool more = true;
	char object[16];

	snprintf(object, sizeof(object), "u.%u", (unsigned)cursor->object);
	while (more) {
		AUTO_ARENA struct arena scratch = ARENA_INIT(DIRECTORY_SCRATCH_BYTES);
		struct engine_kv *kv = NULL;
		enum engine_result r;
		size_t n = 0;

		from[0] = (uint8_t)kind;
		memcpy(from + 1, cursor->name, from_len - 1);
		from[from_len] = 0;	/* the key after the last one; alone, "kind NUL" is before all names */
		r = engine_keys(d->engine, slice_str(object), slice_of(from, from_len + 1),
				slice_of(to, 1), LIST_KEYS, LIST_BYTES, &scratch, &kv, &n, &more);
		if (r != ENGINE_OK && r != ENGINE_ABSENT)
			return from_engine(r);
		for (size_t i = 0; i < n; i++) {
			struct slice name = slice_from(kv[i].key, 1);

			if (*count == max) {
				*done = false;
				return DIR_OK;
			}
			if (!slice_to_str(name, cursor->name, sizeof(cursor->name)))
				return DIR_DAMAGED;
			from_len = 1 + name.len;
			if (!at_domain(name, kind, domain))
				continue;
			names[*count] = arena_dup(arena, name);
			if (names[*count].ptr == NULL)
				return DIR_TOO_BIG;
			(*count)++;
		}
		more = more && n > 0;
	}
	*done = true;
	return DIR_OK;
}

/* Marks the objects of the directory that exist, so that a list of a small one reads few. */
static enum dir_result find_objects(struct directory *d, uint8_t exists[DIRECTORY_OBJECTS / 8])
{
	char after[24] = "";
	size_t count = 1;

	memset(exists, 0, DIRECTORY_OBJECTS / 8);
	while (count > 0) {
		AUTO_ARENA struct arena arena = ARENA_INIT(DIRECTORY_SCRATCH_BYTES);
		struct slice *names = NULL;
		enum engine_result r;

		count = 0;
		r = engine_list(d->engine, SLICE("u."), slice_str(after), 1000, &arena, &names,
				&count);
		if (r == ENGINE_ABSENT)
			return DIR_OK;
		if (r != ENGINE_OK)
			return from_engine(r);
		for (size_t i = 0; i < count; i++) {
			uint64_t number;

			if (!slice_to_str(names[i], after, sizeof(after)))
				return DIR_DAMAGED;
			if (slice_u64(slice_from(names[i], 2), DIRECTORY_OBJECTS - 1, &number))
				exists[number / 8] |= (uint8_t)(1u << (number % 8));
		}
	}
	return DIR_OK;
}

enum dir_result directory_list(struct directory *d, struct arena *arena, enum dir_kind kind,
			       struct slice domain, struct dir_cursor *cursor, size_t max,
			       struct slice *names, size_t *count, bool *more)
{
	uint8_t exists[DIRECTORY_OBJECTS / 8];
	enum dir_result r = find_objects(d, exists);

	*count = 0;
	*more = false;
	if (r != DIR_OK)
		return r;
	for (; cursor->object < DIRECTORY_OBJECTS; cursor->object++, cursor->name[0] = '\0') {
		bool done = false;

		if ((exists[cursor->object / 8] & (1u << (cursor->object % 8))) == 0)
			continue;
		r = list_object(d, arena, kind, domain, cursor, max, names, count, &done);
		if (r != DIR_OK)
			return r;
		if (!done) {
			*more = true;
			return DIR_OK;
		}
	}
	return DIR_OK;
}

enum dir_result directory_removed(struct directory *d, uint32_t *object, size_t max,
				  struct dir_removed *out, size_t *count, bool *left)
{
	static const uint8_t from[] = { REMOVED_KIND }, to[] = { REMOVED_KIND + 1 };
	uint8_t exists[DIRECTORY_OBJECTS / 8];
	enum dir_result r = find_objects(d, exists);

	*count = 0;
	for (; r == DIR_OK && *object < DIRECTORY_OBJECTS && *count < max; (*object)++) {
		AUTO_ARENA struct arena scratch = ARENA_INIT(DIRECTORY_SCRATCH_BYTES);
		struct engine_kv *kv = NULL;
		char name[16];
		size_t n = 0;
		bool more;

		if ((exists[*object / 8] & (1u << (*object % 8))) == 0)
			continue;
		snprintf(name, sizeof(name), "u.%u", (unsigned)*object);
		enum engine_result er = engine_keys(d->engine, slice_str(name), slice_of(from, 1),
						    slice_of(to, 1), max - *count, LIST_BYTES, &scratch,
						    &kv, &n, &more);
		if (er != ENGINE_OK && er != ENGINE_ABSENT)
			return from_engine(er);
		for (size_t i = 0; i < n; i++) {
			struct dir_removed *x = &out[*count];

			*x = (struct dir_removed){ .object = *object };
			/* Another form is of a later version, or damage: left alone. */
			*count += slice_to_str(slice_from(kv[i].key, 1), x->account, sizeof(x->account)) &&
				  record_account_good(slice_str(x->account));
		}
		*left = *left || more;
	}
	return r;
}

enum dir_result directory_secret(struct directory *d, const uint8_t fresh[32], uint8_t out[32])
{
	static const struct slice object = SLICE_INIT("u.secret"), key = SLICE_INIT("s"),
				  to = SLICE_INIT("t");
	enum engine_result r;

	for (unsigned i = 0; i < DIRECTORY_TRIES; i++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(4096);
		struct engine_kv *kv = NULL;
		size_t count = 0;
		bool more;

		r = engine_keys(d->engine, object, key, to, 1, 1024, &arena, &kv, &count, &more);
		if (r != ENGINE_OK && r != ENGINE_ABSENT)
			return from_engine(r);
		if (r == ENGINE_OK && count == 1) {
			if (kv[0].value.len != 32)
				return DIR_DAMAGED;
			memcpy(out, kv[0].value.ptr, 32);
			return DIR_OK;
		}
		r = engine_apply(d->engine,
				 &(struct engine_op){
					 .object = object,
					 .steps =
						 (struct engine_step[]){
							 { .kind = GUARD_KEY_ABSENT, .key = key },
							 { .kind = STEP_SET,
							   .key = key,
							   .value = slice_of(fresh, 32) },
						 },
					 .count = 2,
				 });
		if (r != ENGINE_OK && r != ENGINE_GUARD)
			return from_engine(r);
	}
	return DIR_CHANGED;
}
