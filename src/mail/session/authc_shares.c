#include "base/reader.h"
#include "mail/auth/wire.h"
#include "mail/directory/limits.h"
#include "mail/session/authc_private.h"
#include "sys/ipc.h"

/* The beginning of all questions. */
static bool begin(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES], struct buf *payload)
{
	struct slice address;

	if (!authc_address_of(a, grant, &address))
		return false;
	buf_add(payload, slice_of(grant, AUTHC_GRANT_BYTES));
	buf_blob(payload, address);
	return true;
}

/* *r is what follows the result. */
static enum authc_share_result ask(struct authc *a, enum auth_message type, const struct buf *payload, struct buf *reply, struct reader *r)
{
	uint8_t result;

	if (authc_call(a, (uint8_t)type, payload, reply) < 0)
		return AUTHC_SHARE_TEMPORARY;
	*r = reader_of(buf_slice(reply));
	result = rd_u8(r);
	return r->bad || result > AUTHC_SHARE_TEMPORARY ? AUTHC_SHARE_TEMPORARY : (enum authc_share_result)result;
}

static bool read_shared(struct reader *r, struct arena *arena, struct authc_shared *out)
{
	struct slice account = rd_bytes(r, AUTHC_ACCOUNT_CHARS), grant = rd_bytes(r, AUTHC_GRANT_BYTES), owner = rd_blob(r);
	struct authc_shared s = { .quota_bytes = rd_be64(r) };

	s.quota_messages = rd_be64(r);
	s.count = (size_t)rd_varint_max(r, DIRECTORY_ACL_LISTS_MAX);
	if (r->bad || !slice_to_str(account, s.account, sizeof(s.account)) || !slice_to_str(owner, s.owner, sizeof(s.owner)))
		return false;
	memcpy(s.grant, grant.ptr, sizeof(s.grant));
	s.folders = arena_array(arena, s.count + 1, sizeof(*s.folders));
	if (s.folders == NULL)
		return false;
	for (size_t i = 0; i < s.count; i++) {
		s.folders[i].folder = (uint32_t)rd_varint_max(r, UINT32_MAX);
		s.folders[i].rights = (uint32_t)rd_varint_max(r, UINT32_MAX);
	}
	if (!rd_end(r))
		return false;
	*out = s;
	return true;
}

enum authc_share_result authc_shared(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES], struct slice owner, const uint8_t *have,
				     struct arena *arena, struct authc_shared *out)
{
	static const uint8_t none[AUTHC_GRANT_BYTES];
	AUTO_BUF struct buf payload = BUF_INIT(IPC_MESSAGE_BYTES), reply = BUF_INIT(IPC_MESSAGE_BYTES);
	enum authc_share_result result;
	struct reader r;

	if (owner.len == 0 || owner.len > AUTHC_ADDRESS_BYTES_MAX)
		return AUTHC_SHARE_NONE;
	if (!begin(a, grant, &payload))
		return AUTHC_SHARE_TEMPORARY;
	buf_blob(&payload, owner);
	buf_add(&payload, slice_of(have == NULL ? none : have, AUTHC_GRANT_BYTES));
	result = ask(a, AUTH_SHARED, &payload, &reply, &r);
	return result == AUTHC_SHARE_OK && !read_shared(&r, arena, out) ? AUTHC_SHARE_TEMPORARY : result;
}

void authc_release(struct authc *a, const uint8_t shared[AUTHC_GRANT_BYTES])
{
	/* For auth it is one of the process's grants, as a login's is. */
	authc_logout(a, shared);
}

enum authc_share_result authc_sharers(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES], struct arena *arena, struct slice **owners,
				      size_t *count)
{
	AUTO_BUF struct buf payload = BUF_INIT(IPC_MESSAGE_BYTES), reply = BUF_INIT(IPC_MESSAGE_BYTES);
	enum authc_share_result result;
	struct slice *list;
	struct reader r;
	size_t n;

	if (!begin(a, grant, &payload))
		return AUTHC_SHARE_TEMPORARY;
	result = ask(a, AUTH_SHARERS, &payload, &reply, &r);
	if (result != AUTHC_SHARE_OK)
		return result;
	n = (size_t)rd_varint_max(&r, 2u * DIRECTORY_ACL_OWNERS_MAX);
	list = arena_array(arena, n + 1, sizeof(*list));
	if (r.bad || list == NULL)
		return AUTHC_SHARE_TEMPORARY;
	for (size_t i = 0; i < n; i++)
		list[i] = arena_dup(arena, rd_blob(&r));
	if (!rd_end(&r) || arena->err != 0)
		return AUTHC_SHARE_TEMPORARY;
	*owners = list;
	*count = n;
	return AUTHC_SHARE_OK;
}

enum authc_share_result authc_acl_get(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES], struct slice owner, uint32_t folder,
				      struct arena *arena, struct slice *list)
{
	AUTO_BUF struct buf payload = BUF_INIT(IPC_MESSAGE_BYTES), reply = BUF_INIT(IPC_MESSAGE_BYTES);
	enum authc_share_result result;
	struct reader r;
	struct slice bytes;

	if (!begin(a, grant, &payload))
		return AUTHC_SHARE_TEMPORARY;
	buf_blob(&payload, owner);
	buf_be32(&payload, folder);
	result = ask(a, AUTH_ACL_GET, &payload, &reply, &r);
	if (result != AUTHC_SHARE_OK)
		return result;
	bytes = rd_blob(&r);
	if (!rd_end(&r))
		return AUTHC_SHARE_TEMPORARY;
	*list = arena_dup(arena, bytes);
	return arena->err != 0 ? AUTHC_SHARE_TEMPORARY : AUTHC_SHARE_OK;
}

/* Answers that are a result alone. */
static enum authc_share_result ask_result(struct authc *a, enum auth_message type, const struct buf *payload)
{
	AUTO_BUF struct buf reply = BUF_INIT(64);
	struct reader r;
	enum authc_share_result result = ask(a, type, payload, &reply, &r);

	return result == AUTHC_SHARE_OK && !rd_end(&r) ? AUTHC_SHARE_TEMPORARY : result;
}

enum authc_share_result authc_acl_set(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES], struct slice owner, uint32_t folder,
				      struct slice identifier, uint32_t keep, uint32_t add)
{
	AUTO_BUF struct buf payload = BUF_INIT(IPC_MESSAGE_BYTES);

	if (identifier.len > AUTHC_RESPONSE_BYTES_MAX)
		return AUTHC_SHARE_MALFORMED;
	if (!begin(a, grant, &payload))
		return AUTHC_SHARE_TEMPORARY;
	buf_blob(&payload, owner);
	buf_be32(&payload, folder);
	buf_blob(&payload, identifier);
	buf_be32(&payload, keep);
	buf_be32(&payload, add);
	return ask_result(a, AUTH_ACL_SET, &payload);
}

enum authc_share_result authc_acl_folder(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES], struct slice owner, uint32_t folder,
					 uint32_t parent)
{
	AUTO_BUF struct buf payload = BUF_INIT(IPC_MESSAGE_BYTES);

	if (!begin(a, grant, &payload))
		return AUTHC_SHARE_TEMPORARY;
	buf_blob(&payload, owner);
	buf_be32(&payload, folder);
	buf_be32(&payload, parent);
	return ask_result(a, AUTH_ACL_FOLDER, &payload);
}
