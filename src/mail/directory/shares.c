#include "mail/directory/shares.h"

#include <stdlib.h>

#include "base/reader.h"
#include "mail/directory/directory_private.h"

#define SHARES_VERSION 1u
#define NEGATIVE_BYTES (DIRECTORY_KEY_NAME_BYTES_MAX + 1u)

/* ---- stored forms ---- */

void shares_encode(struct buf *out, const struct shares *s)
{
	buf_addc(out, SHARES_VERSION);
	buf_varint(out, s->count);
	for (size_t i = 0; i < s->count; i++) {
		buf_varint(out, s->items[i].folder);
		buf_blob(out, s->items[i].acl);
	}
}

bool shares_decode(struct arena *arena, struct slice bytes, struct shares *out)
{
	struct reader r = reader_of(bytes);
	uint8_t version = rd_u8(&r);
	size_t count = (size_t)rd_varint_max(&r, DIRECTORY_ACL_LISTS_MAX);
	struct share *items = r.bad || version < SHARES_VERSION ? NULL : arena_array(arena, count + 1, sizeof(*items));

	if (items == NULL)
		return false;
	for (size_t i = 0; i < count; i++) {
		items[i].folder = (uint32_t)rd_varint_max(&r, UINT32_MAX);
		items[i].acl = rd_blob(&r);
		if (r.bad || (i > 0 && items[i].folder <= items[i - 1].folder))
			return false;
	}
	*out = (struct shares){ items, count };
	return true;
}

static void owners_encode(struct buf *out, const struct slice *owners, size_t count)
{
	buf_addc(out, SHARES_VERSION);
	buf_varint(out, count);
	for (size_t i = 0; i < count; i++)
		buf_blob(out, owners[i]);
}

bool owners_decode(struct arena *arena, struct slice bytes, struct slice **owners, size_t *count)
{
	struct reader r = reader_of(bytes);
	uint8_t version = rd_u8(&r);
	size_t n = (size_t)rd_varint_max(&r, DIRECTORY_ACL_OWNERS_MAX);
	struct slice *list = r.bad || version < SHARES_VERSION ? NULL : arena_array(arena, n + 1, sizeof(*list));

	if (list == NULL)
		return false;
	for (size_t i = 0; i < n; i++)
		list[i] = rd_blob(&r);
	if (r.bad)
		return false;
	*owners = list;
	*count = n;
	return true;
}

/* ---- reading ---- */

/* *bytes is empty when there are none. */
static enum dir_result read_shares(struct directory *d, struct arena *arena, struct slice account, struct slice *bytes, struct shares *out)
{
	struct dir_place p;
	enum dir_result r;

	*out = (struct shares){ 0 };
	*bytes = (struct slice){ 0 };
	if (!dir_place(&p, DIR_LISTS, account))
		return DIR_TOO_BIG;
	r = dir_fetch(d, &p, arena, bytes);
	if (r == DIR_ABSENT)
		return DIR_OK;
	if (r == DIR_OK && !shares_decode(arena, *bytes, out))
		return arena->err != 0 ? DIR_TOO_BIG : DIR_DAMAGED;
	return r;
}

enum dir_result directory_shares(struct directory *d, struct arena *arena, struct slice account, struct shares *out)
{
	struct slice bytes;

	return read_shares(d, arena, account, &bytes, out);
}

/* Its place, or where it would be. */
static size_t find_folder(const struct shares *s, uint32_t folder)
{
	size_t i = 0;

	while (i < s->count && s->items[i].folder < folder)
		i++;
	return i;
}

static enum dir_result acl_of(const struct shares *s, uint32_t folder, struct acl *out)
{
	size_t i = find_folder(s, folder);

	*out = (struct acl){ 0 };
	if (i == s->count || s->items[i].folder != folder)
		return DIR_OK;
	return acl_decode(s->items[i].acl, out) ? DIR_OK : DIR_DAMAGED;
}

enum dir_result directory_acl(struct directory *d, struct arena *arena, struct slice account, uint32_t folder, struct acl *out)
{
	struct shares s;
	enum dir_result r = directory_shares(d, arena, account, &s);

	return r == DIR_OK ? acl_of(&s, folder, out) : r;
}

static enum dir_result read_owners(struct directory *d, struct arena *arena, const struct dir_place *p, struct slice *bytes, struct slice **owners,
				   size_t *count)
{
	enum dir_result r = dir_fetch(d, p, arena, bytes);

	*owners = NULL;
	*count = 0;
	if (r == DIR_ABSENT) {
		*bytes = (struct slice){ 0 };
		return DIR_OK;
	}
	if (r == DIR_OK && !owners_decode(arena, *bytes, owners, count))
		return arena->err != 0 ? DIR_TOO_BIG : DIR_DAMAGED;
	return r;
}

enum dir_result directory_shared_with(struct directory *d, struct arena *arena, struct slice identifier, struct slice **owners, size_t *count)
{
	struct dir_place p;
	struct slice bytes;

	*owners = NULL;
	*count = 0;
	/* Too long for a key: no list can name it. */
	if (!dir_place(&p, DIR_SHARED_WITH, identifier))
		return DIR_OK;
	return read_owners(d, arena, &p, &bytes, owners, count);
}

/* ---- writing ---- */

/* Replace a key's value, which was `old` (empty: absent); an empty value takes the key away. */
static enum dir_result replace(struct directory *d, const struct dir_place *p, struct slice old, struct slice value)
{
	struct engine_step steps[2] = {
		{ .kind = old.len > 0 ? GUARD_KEY_EQUALS : GUARD_KEY_ABSENT, .key = p->key, .value = old },
		{ .kind = value.len > 0 ? STEP_SET : STEP_DELETE, .key = p->key, .value = value },
	};

	if (slice_eq(old, value))
		return DIR_OK;
	return dir_apply(d, p, steps, 2);
}

/* The owner's address is, or is not, among those whose lists name the identifier. */
static enum dir_result note(struct directory *d, struct slice identifier, struct slice owner, bool on)
{
	enum dir_result r = DIR_CHANGED;
	struct dir_place p;

	if (!dir_place(&p, DIR_SHARED_WITH, identifier))
		return DIR_TOO_BIG;
	for (unsigned i = 0; i < DIRECTORY_TRIES && r == DIR_CHANGED; i++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(DIRECTORY_SCRATCH_BYTES);
		AUTO_BUF struct buf value = BUF_INIT(DIRECTORY_RECORD_BYTES_MAX);
		struct slice bytes, *owners;
		size_t count, at = 0;

		r = read_owners(d, &arena, &p, &bytes, &owners, &count);
		if (r != DIR_OK)
			return r;
		while (at < count && !slice_eq(owners[at], owner))
			at++;
		if ((at < count) == on)
			return DIR_OK;
		if (on && count == DIRECTORY_ACL_OWNERS_MAX)
			return DIR_TOO_BIG;
		if (on) {
			/* The array has room for one more when it was decoded; an absent one has none. */
			struct slice *more = arena_array(&arena, count + 1, sizeof(*more));

			if (more == NULL)
				return DIR_TOO_BIG;
			if (count > 0)
				memcpy(more, owners, count * sizeof(*more));
			more[count++] = owner;
			owners = more;
		} else {
			owners[at] = owners[--count];
		}
		if (count > 0)
			owners_encode(&value, owners, count);
		if (value.err != 0)
			return DIR_TOO_BIG;
		r = replace(d, &p, bytes, buf_slice(&value));
	}
	return r;
}

static int order_slices(const void *a, const void *b)
{
	return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

/* All identifiers of all lists, sorted, each once. */
static enum dir_result identifiers(struct arena *arena, const struct shares *s, struct slice **out, size_t *count)
{
	struct acl *acl = ARENA_NEW(arena, struct acl);
	size_t n = 0, kept = 0;
	struct slice *list;

	if (acl == NULL)
		return DIR_TOO_BIG;
	for (size_t i = 0; i < s->count; i++) {
		if (!acl_decode(s->items[i].acl, acl))
			return DIR_DAMAGED;
		n += acl->count;
	}
	list = arena_array(arena, n + 1, sizeof(*list));
	if (list == NULL)
		return DIR_TOO_BIG;
	n = 0;
	for (size_t i = 0; i < s->count; i++) {
		if (!acl_decode(s->items[i].acl, acl))
			return DIR_DAMAGED;
		for (size_t k = 0; k < acl->count; k++)
			list[n++] = acl->entries[k].identifier;
	}
	qsort(list, n, sizeof(*list), order_slices);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || !slice_eq(list[kept - 1], list[i]))
			list[kept++] = list[i];
	*out = list;
	*count = kept;
	return DIR_OK;
}

/* Note those of `some` that `others` (both sorted) do not have. */
static enum dir_result note_missing(struct directory *d, struct slice owner, const struct slice *some, size_t some_count, const struct slice *others,
				    size_t other_count, bool on)
{
	size_t k = 0;

	for (size_t i = 0; i < some_count; i++) {
		while (k < other_count && slice_cmp(others[k], some[i]) < 0)
			k++;
		if (k < other_count && slice_eq(others[k], some[i]))
			continue;
		enum dir_result r = note(d, some[i], owner, on);

		if (r != DIR_OK)
			return r;
	}
	return DIR_OK;
}

/* Computes the new lists, in the arena; false: leave them. */
typedef enum dir_result edit_shares_fn(struct arena *arena, const void *how, const struct shares *old, struct shares *now);

static enum dir_result write_shares(struct directory *d, struct arena *arena, const struct share_owner *owner, struct slice old_bytes,
				    const struct shares *old, const struct shares *now)
{
	AUTO_BUF struct buf value = BUF_INIT(DIRECTORY_ACL_LISTS_BYTES_MAX);
	struct slice *before, *after;
	size_t before_count, after_count;
	struct dir_place p;
	enum dir_result r;

	if (!dir_place(&p, DIR_LISTS, owner->account) || now->count > DIRECTORY_ACL_LISTS_MAX)
		return DIR_TOO_BIG;
	r = identifiers(arena, old, &before, &before_count);
	if (r == DIR_OK)
		r = identifiers(arena, now, &after, &after_count);
	if (r != DIR_OK)
		return r;
	if (now->count > 0)
		shares_encode(&value, now);
	if (value.err != 0)
		return DIR_TOO_BIG;
	r = note_missing(d, owner->address, after, after_count, before, before_count, true);
	if (r == DIR_OK)
		r = replace(d, &p, old_bytes, buf_slice(&value));
	/* What stays noted in vain costs one look; the list is what counts. */
	if (r == DIR_OK)
		(void)note_missing(d, owner->address, before, before_count, after, after_count, false);
	return r;
}

static enum dir_result edit(struct directory *d, const struct share_owner *owner, edit_shares_fn *fn, const void *how)
{
	enum dir_result r = DIR_CHANGED;

	for (unsigned i = 0; i < DIRECTORY_TRIES && r == DIR_CHANGED; i++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(2 * DIRECTORY_SCRATCH_BYTES);
		struct shares old, now;
		struct slice bytes;

		r = read_shares(d, &arena, owner->account, &bytes, &old);
		if (r == DIR_OK)
			r = fn(&arena, how, &old, &now);
		if (r == DIR_OK)
			r = write_shares(d, &arena, owner, bytes, &old, &now);
	}
	return r;
}

/* `old` with this list for the folder; an empty one takes it out. */
static enum dir_result with_list(struct arena *arena, const struct shares *old, uint32_t folder, const struct acl *acl, struct shares *now)
{
	AUTO_BUF struct buf bytes = BUF_INIT(DIRECTORY_ACL_LISTS_BYTES_MAX);
	struct share *items = arena_array(arena, old->count + 1, sizeof(*items));
	size_t at = find_folder(old, folder), n = at;
	bool had = at < old->count && old->items[at].folder == folder;

	if (items == NULL)
		return DIR_TOO_BIG;
	if (at > 0)
		memcpy(items, old->items, at * sizeof(*items));
	if (acl->count > 0) {
		acl_encode(&bytes, acl);
		items[n] = (struct share){ folder, arena_dup(arena, buf_slice(&bytes)) };
		if (bytes.err != 0 || items[n++].acl.ptr == NULL)
			return DIR_TOO_BIG;
	}
	for (size_t i = at + had; i < old->count; i++)
		items[n++] = old->items[i];
	*now = (struct shares){ items, n };
	return DIR_OK;
}

struct acl_edit {
	uint32_t folder, keep, add;
	struct slice identifier;
};

static enum dir_result edit_acl(struct arena *arena, const void *how, const struct shares *old, struct shares *now)
{
	const struct acl_edit *e = how;
	struct acl *acl = ARENA_NEW(arena, struct acl);
	enum dir_result r = acl == NULL ? DIR_TOO_BIG : acl_of(old, e->folder, acl);

	if (r != DIR_OK)
		return r;
	if (!acl_set(acl, e->identifier, (acl_rights(acl, e->identifier) & e->keep) | e->add))
		return DIR_TOO_BIG;
	return with_list(arena, old, e->folder, acl, now);
}

enum dir_result directory_acl_change(struct directory *d, const struct share_owner *owner, uint32_t folder, struct slice identifier, uint32_t keep,
				     uint32_t add)
{
	struct acl_edit e = { .folder = folder, .keep = keep, .add = add, .identifier = identifier };

	if (!acl_identifier_good(identifier))
		return DIR_TOO_BIG;
	return edit(d, owner, edit_acl, &e);
}

struct inherit_edit {
	uint32_t from, to;
};

static enum dir_result edit_inherit(struct arena *arena, const void *how, const struct shares *old, struct shares *now)
{
	const struct inherit_edit *e = how;
	struct acl *acl = ARENA_NEW(arena, struct acl);
	enum dir_result r = acl == NULL ? DIR_TOO_BIG : acl_of(old, e->from, acl);

	return r == DIR_OK ? with_list(arena, old, e->to, acl, now) : r;
}

enum dir_result directory_acl_inherit(struct directory *d, const struct share_owner *owner, uint32_t from, uint32_t to)
{
	return edit(d, owner, edit_inherit, &(struct inherit_edit){ from, to });
}

static enum dir_result edit_drop(struct arena *arena, const void *how, const struct shares *old, struct shares *now)
{
	return with_list(arena, old, *(const uint32_t *)how, &(struct acl){ 0 }, now);
}

enum dir_result directory_acl_drop(struct directory *d, const struct share_owner *owner, uint32_t folder)
{
	return edit(d, owner, edit_drop, &folder);
}

/* ---- users that go ---- */

static enum dir_result edit_none(struct arena *arena, const void *how, const struct shares *old, struct shares *now)
{
	*now = (struct shares){ 0 };
	return DIR_OK;
}

/* All lists without one identifier. */
static enum dir_result edit_without(struct arena *arena, const void *how, const struct shares *old, struct shares *now)
{
	const struct slice *identifier = how;
	struct acl *acl = ARENA_NEW(arena, struct acl);
	struct share *items = arena_array(arena, old->count + 1, sizeof(*items));
	size_t n = 0;

	if (acl == NULL || items == NULL)
		return DIR_TOO_BIG;
	for (size_t i = 0; i < old->count; i++) {
		AUTO_BUF struct buf bytes = BUF_INIT(DIRECTORY_ACL_LISTS_BYTES_MAX);

		if (!acl_decode(old->items[i].acl, acl))
			return DIR_DAMAGED;
		if (!acl_set(acl, *identifier, 0) || acl->count == 0)
			continue;
		acl_encode(&bytes, acl);
		items[n] = (struct share){ old->items[i].folder, arena_dup(arena, buf_slice(&bytes)) };
		if (bytes.err != 0 || items[n++].acl.ptr == NULL)
			return DIR_TOO_BIG;
	}
	*now = (struct shares){ items, n };
	return DIR_OK;
}

/* Nobody's lists name it any more. */
static enum dir_result forget_identifier(struct directory *d, struct slice identifier)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(DIRECTORY_SCRATCH_BYTES);
	struct slice *owners;
	size_t count;
	enum dir_result r = directory_shared_with(d, &arena, identifier, &owners, &count);

	for (size_t i = 0; r == DIR_OK && i < count; i++) {
		struct user_record user;
		enum dir_result u = directory_user(d, &arena, owners[i], &user);

		if (u == DIR_OK)
			r = edit(d, &(struct share_owner){ slice_str(user.account), owners[i] }, edit_without, &identifier);
		else if (u != DIR_ABSENT)
			return u;
		/* Noted in vain, or of an owner who is gone. */
		if (r == DIR_OK)
			r = note(d, identifier, owners[i], false);
	}
	return r;
}

enum dir_result directory_shares_forget(struct directory *d, const struct share_owner *user)
{
	uint8_t negative[NEGATIVE_BYTES] = { '-' };
	enum dir_result r = edit(d, user, edit_none, NULL);

	/* "-bob@example.org" on a list is never the user of that name, but what bob must not do: it stays. */
	if (r == DIR_OK && user->address.ptr[0] != '-')
		r = forget_identifier(d, user->address);
	/* Too long for a list: no list can name it with a "-". */
	if (r != DIR_OK || user->address.len >= DIRECTORY_KEY_NAME_BYTES_MAX)
		return r;
	memcpy(negative + 1, user->address.ptr, user->address.len);
	return forget_identifier(d, slice_of(negative, 1 + user->address.len));
}
