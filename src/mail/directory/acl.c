#include "mail/directory/acl.h"

#include "base/must.h"
#include "base/reader.h"
#include "mail/directory/address.h"

#define ACL_VERSION 1u

bool acl_identifier_good(struct slice identifier)
{
	size_t at;

	if (identifier.len > 0 && identifier.ptr[0] == '-')
		identifier = slice_from(identifier, 1);
	if (slice_eq(identifier, SLICE(ACL_ANYONE)))
		return true;
	at = slice_rfind_byte(identifier, '@');
	for (size_t i = 0; i < identifier.len; i++)
		if (identifier.ptr[i] <= ' ' || identifier.ptr[i] == 0x7f)
			return false;
	return at != SLICE_NPOS && at > 0 && at + 1 < identifier.len && identifier.len <= DIRECTORY_KEY_NAME_BYTES_MAX;
}

bool acl_address(struct arena *arena, struct slice written, struct slice *out)
{
	struct address a;

	if (!mail_address_parse(arena, written, &a))
		return false;
	*out = a.text;
	return true;
}

/* Its place, or count. */
static size_t find(const struct acl *acl, struct slice identifier)
{
	size_t i = 0;

	while (i < acl->count && !slice_eq(acl->entries[i].identifier, identifier))
		i++;
	return i;
}

uint32_t acl_rights(const struct acl *acl, struct slice identifier)
{
	size_t i = find(acl, identifier);

	return i == acl->count ? 0 : acl->entries[i].rights;
}

bool acl_set(struct acl *acl, struct slice identifier, uint32_t rights)
{
	size_t i = find(acl, identifier);

	if (rights == 0 && i < acl->count) {
		acl->count--;
		memmove(&acl->entries[i], &acl->entries[i + 1], (acl->count - i) * sizeof(acl->entries[0]));
		return true;
	}
	if (rights == 0)
		return true;
	if (i == DIRECTORY_ACL_ENTRIES_MAX)
		return false;
	acl->entries[i] = (struct acl_entry){ identifier, rights };
	acl->count += i == acl->count;
	return true;
}

uint32_t acl_effective(const struct acl *acl, struct slice address)
{
	uint32_t given = 0, taken = 0;

	for (size_t i = 0; i < acl->count; i++) {
		struct slice id = acl->entries[i].identifier;
		bool negative = id.len > 0 && id.ptr[0] == '-';

		id = slice_from(id, negative);
		if (!slice_eq(id, address) && !slice_eq(id, SLICE(ACL_ANYONE)))
			continue;
		if (negative)
			taken |= acl->entries[i].rights;
		else
			given |= acl->entries[i].rights;
	}
	return given & ~taken;
}

void acl_encode(struct buf *out, const struct acl *acl)
{
	must(acl->count <= DIRECTORY_ACL_ENTRIES_MAX);
	buf_addc(out, ACL_VERSION);
	buf_varint(out, acl->count);
	for (size_t i = 0; i < acl->count; i++) {
		buf_blob(out, acl->entries[i].identifier);
		buf_varint(out, acl->entries[i].rights);
	}
}

bool acl_decode(struct slice bytes, struct acl *out)
{
	struct reader r = reader_of(bytes);
	struct acl acl = { 0 };
	size_t count;

	if (rd_u8(&r) < ACL_VERSION)
		return false;
	count = (size_t)rd_varint_max(&r, DIRECTORY_ACL_ENTRIES_MAX);
	for (size_t i = 0; i < count && !r.bad; i++) {
		struct slice id = rd_blob(&r);
		uint32_t rights = (uint32_t)rd_varint_max(&r, UINT32_MAX);

		/* Twice the same, or a "-" that is lost, would give more than was meant: better no list. */
		if (r.bad || rights == 0 || !acl_identifier_good(id) || acl_rights(&acl, id) != 0 || !acl_set(&acl, id, rights))
			return false;
	}
	if (r.bad)
		return false;
	*out = acl;
	return true;
}
