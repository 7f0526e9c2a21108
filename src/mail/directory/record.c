#include "mail/directory/record.h"

#include "base/must.h"
#include "base/reader.h"

#define RECORD_VERSION 1u
#define DOMAIN_VERSION 2u		/* 2: postmaster */
#define USER_VERSION   2u		/* 2: groups, system user */

enum user_flags {
	USER_DISABLED = 1u << 0,
	USER_OWN_QUOTA = 1u << 1,
};

bool record_account_good(struct slice account)
{
	if (account.len != RECORD_ACCOUNT_CHARS)
		return false;
	for (size_t i = 0; i < account.len; i++) {
		uint8_t c = account.ptr[i];

		if (!ascii_digit(c) && !(c >= 'a' && c <= 'f'))
			return false;
	}
	return true;
}

static bool group_good(struct slice name)
{
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.ptr[i];

		if (!ascii_alpha(c) && !ascii_digit(c) && (i == 0 || (c != '-' && c != '_' && c != '.')))
			return false;
	}
	return name.len > 0 && name.len <= DIRECTORY_GROUP_BYTES_MAX;
}

bool record_in_group(struct slice groups, struct slice group)
{
	struct slice name, rest = groups;

	while (rest.len > 0) {
		slice_cut(rest, ',', &name, &rest);
		if (slice_eq(name, group))
			return true;
	}
	return false;
}

bool record_groups_good(struct slice groups)
{
	struct slice name, rest = groups;
	unsigned count = 0;

	if (groups.len > 0 && groups.ptr[groups.len - 1] == ',')
		return false;
	while (rest.len > 0) {
		slice_cut(rest, ',', &name, &rest);
		if (!group_good(name) || ++count > DIRECTORY_GROUPS_MAX || record_in_group(rest, name))
			return false;
	}
	return true;
}

void domain_record_encode(struct buf *out, const struct domain_record *r)
{
	buf_addc(out, DOMAIN_VERSION);
	buf_varint(out, r->created_s);
	buf_varint(out, r->quota_bytes);
	buf_varint(out, r->quota_messages);
	buf_blob(out, r->postmaster);
}

bool domain_record_decode(struct slice bytes, struct domain_record *out)
{
	struct reader r = reader_of(bytes);
	struct domain_record d = { 0 };
	uint8_t version = rd_u8(&r);

	if (version < RECORD_VERSION)
		return false;
	d.created_s = rd_varint(&r);
	d.quota_bytes = rd_varint(&r);
	d.quota_messages = rd_varint(&r);
	if (version >= 2)
		d.postmaster = rd_blob(&r);
	if (r.bad || d.postmaster.len > ADDRESS_BYTES_MAX)
		return false;
	*out = d;
	return true;
}

void user_record_encode(struct buf *out, const struct user_record *r)
{
	uint8_t flags = 0;

	must(record_account_good(slice_str(r->account)));
	if (r->disabled)
		flags |= USER_DISABLED;
	if (r->own_quota)
		flags |= USER_OWN_QUOTA;
	buf_addc(out, USER_VERSION);
	buf_add(out, slice_str(r->account));
	buf_varint(out, r->created_s);
	buf_addc(out, flags);
	buf_varint(out, r->quota_bytes);
	buf_varint(out, r->quota_messages);
	buf_blob(out, r->hash);
	buf_varint(out, r->scram.iterations);
	if (r->scram.iterations > 0) {
		buf_blob(out, r->scram.salt);
		buf_add(out, slice_of(r->scram.stored_key, sizeof(r->scram.stored_key)));
		buf_add(out, slice_of(r->scram.server_key, sizeof(r->scram.server_key)));
	}
	buf_blob(out, r->name);
	buf_blob(out, r->groups);
	buf_varint(out, r->system_user);
}

static void read_scram(struct reader *r, struct scram_keys *k)
{
	struct slice stored, server;

	k->iterations = (uint32_t)rd_varint_max(r, UINT32_MAX);
	if (k->iterations == 0)
		return;
	k->salt = rd_blob(r);
	stored = rd_bytes(r, sizeof(k->stored_key));
	server = rd_bytes(r, sizeof(k->server_key));
	if (r->bad)
		return;
	memcpy(k->stored_key, stored.ptr, sizeof(k->stored_key));
	memcpy(k->server_key, server.ptr, sizeof(k->server_key));
}

bool user_record_decode(struct slice bytes, struct user_record *out)
{
	struct reader r = reader_of(bytes);
	struct user_record u = { 0 };
	struct slice account;
	uint8_t flags, version = rd_u8(&r);

	if (version < RECORD_VERSION)
		return false;
	account = rd_bytes(&r, RECORD_ACCOUNT_CHARS);
	u.created_s = rd_varint(&r);
	flags = rd_u8(&r);
	u.quota_bytes = rd_varint(&r);
	u.quota_messages = rd_varint(&r);
	u.hash = rd_blob(&r);
	read_scram(&r, &u.scram);
	u.name = rd_blob(&r);
	if (version >= 2) {
		u.groups = rd_blob(&r);
		u.system_user = (uint32_t)rd_varint_max(&r, UINT32_MAX - 1);
	}
	if (r.bad || !record_groups_good(u.groups) || !record_account_good(account) || u.hash.len > DIRECTORY_HASH_BYTES_MAX ||
	    u.scram.salt.len > DIRECTORY_SALT_BYTES_MAX || u.name.len > DIRECTORY_NAME_BYTES_MAX)
		return false;
	memcpy(u.account, account.ptr, RECORD_ACCOUNT_CHARS);
	u.disabled = (flags & USER_DISABLED) != 0;
	u.own_quota = (flags & USER_OWN_QUOTA) != 0;
	*out = u;
	return true;
}

void alias_record_encode(struct buf *out, const struct alias_record *r)
{
	must(r->count >= 1 && r->count <= DIRECTORY_TARGETS_MAX);
	buf_addc(out, RECORD_VERSION);
	buf_varint(out, r->created_s);
	buf_varint(out, r->count);
	for (size_t i = 0; i < r->count; i++)
		buf_blob(out, r->targets[i]);
}

bool alias_record_decode(struct arena *arena, struct slice bytes, struct alias_record *out)
{
	struct reader r = reader_of(bytes);
	struct alias_record a = { 0 };
	struct slice *targets;

	if (rd_u8(&r) < RECORD_VERSION)
		return false;
	a.created_s = rd_varint(&r);
	a.count = (size_t)rd_varint_max(&r, DIRECTORY_TARGETS_MAX);
	if (r.bad || a.count == 0)
		return false;
	targets = arena_array(arena, a.count, sizeof(*targets));
	if (targets == NULL)
		return false;
	for (size_t i = 0; i < a.count; i++) {
		targets[i] = rd_blob(&r);
		if (targets[i].len == 0 || targets[i].len > ADDRESS_BYTES_MAX)
			return false;
	}
	if (r.bad)
		return false;
	a.targets = targets;
	*out = a;
	return true;
}
