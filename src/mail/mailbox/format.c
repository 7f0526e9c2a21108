#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"
#include "mail/mailbox/format.h"

#define FORMAT_VERSION 1u

const char *mailbox_result_name(enum mailbox_result r)
{
	static const char *const names[] = {
		[MAILBOX_OK] = "ok",
		[MAILBOX_NO_FOLDER] = "no-folder",
		[MAILBOX_EXISTS] = "exists",
		[MAILBOX_CANNOT] = "cannot",
		[MAILBOX_USE_TAKEN] = "use-taken",
		[MAILBOX_OVERQUOTA] = "overquota",
		[MAILBOX_LIMIT] = "limit",
		[MAILBOX_EXPUNGED] = "expunged",
		[MAILBOX_READ_ONLY] = "read-only",
		[MAILBOX_FULL] = "full",
		[MAILBOX_UNAVAILABLE] = "unavailable",
		[MAILBOX_DAMAGED] = "damaged",
		[MAILBOX_DENIED] = "denied",
		[MAILBOX_MEMORY] = "memory",
		[MAILBOX_RACE] = "race",
	};

	return (size_t)r < ARRAY_LEN(names) ? names[r] : "unknown";
}

bool account_id_valid(struct slice id)
{
	if (id.len != ACCOUNT_ID_BYTES)
		return false;
	for (size_t i = 0; i < id.len; i++)
		if (!ascii_digit(id.ptr[i]) && !(id.ptr[i] >= 'a' && id.ptr[i] <= 'f'))
			return false;
	return true;
}

/* ---- names ---- */

static void name_text(struct stored_name *n, const void *text, size_t len)
{
	must(n->len + len <= sizeof(n->bytes));
	memcpy(n->bytes + n->len, text, len);
	n->len += len;
}

static void name_hex(struct stored_name *n, uint32_t v)
{
	for (int shift = 28; shift >= 0; shift -= 4)
		n->bytes[n->len++] = (uint8_t) "0123456789abcdef"[v >> shift & 15];
}

static void name_be32(struct stored_name *n, uint32_t v)
{
	const uint8_t b[4] = { (uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v };

	name_text(n, b, sizeof(b));
}

struct stored_name head_name(const char account[ACCOUNT_ID_BYTES])
{
	struct stored_name n = { .len = 0 };

	name_text(&n, "a.", 2);
	name_text(&n, account, ACCOUNT_ID_BYTES);
	return n;
}

struct stored_name objects_prefix(char kind, const char account[ACCOUNT_ID_BYTES])
{
	struct stored_name n = { .len = 0 };

	name_text(&n, &kind, 1);
	name_text(&n, ".", 1);
	name_text(&n, account, ACCOUNT_ID_BYTES);
	name_text(&n, ".", 1);
	return n;
}

struct stored_name range_name(const char account[ACCOUNT_ID_BYTES], uint32_t folder, uint32_t range)
{
	struct stored_name n = objects_prefix('i', account);

	name_hex(&n, folder);
	name_text(&n, ".", 1);
	name_hex(&n, range);
	return n;
}

struct stored_name fragment_name(const char account[ACCOUNT_ID_BYTES], uint8_t bucket, uint32_t fragment)
{
	struct stored_name n = objects_prefix('f', account);
	const char digit = (char)('0' + bucket);

	name_text(&n, &digit, 1);
	name_text(&n, ".", 1);
	name_hex(&n, fragment);
	return n;
}

struct stored_name old_ids_name(const char account[ACCOUNT_ID_BYTES], uint8_t bucket, uint32_t fragment)
{
	struct stored_name n = fragment_name(account, bucket, fragment);

	name_text(&n, ".old", 4);
	return n;
}

struct stored_name stream_name(const char account[ACCOUNT_ID_BYTES], const uint8_t id[EMAIL_ID_BYTES],
			       uint32_t chunk)
{
	struct stored_name n = objects_prefix('b', account);

	for (size_t i = 0; i < EMAIL_ID_BYTES; i++) {
		n.bytes[n.len++] = (uint8_t) "0123456789abcdef"[id[i] >> 4];
		n.bytes[n.len++] = (uint8_t) "0123456789abcdef"[id[i] & 15];
	}
	name_text(&n, ".", 1);
	name_hex(&n, chunk);
	return n;
}

struct stored_name key_fixed(const char *text)
{
	struct stored_name n = { .len = 0 };

	name_text(&n, text, strlen(text));
	return n;
}

struct stored_name key_u32(char kind, uint32_t v)
{
	struct stored_name n = { .len = 0 };

	name_text(&n, &kind, 1);
	name_be32(&n, v);
	return n;
}

struct stored_name key_place(char kind, uint8_t bucket, uint32_t fragment)
{
	struct stored_name n = { .len = 0 };

	name_text(&n, &kind, 1);
	name_text(&n, &bucket, 1);
	name_be32(&n, fragment);
	return n;
}

struct stored_name key_id(char kind, const uint8_t id[EMAIL_ID_BYTES])
{
	struct stored_name n = { .len = 0 };

	name_text(&n, &kind, 1);
	name_text(&n, id, EMAIL_ID_BYTES);
	return n;
}

struct stored_name key_cursor(uint8_t bucket)
{
	struct stored_name n = key_fixed("frag");

	name_text(&n, &bucket, 1);
	return n;
}

struct stored_name key_journal(uint64_t modseq, uint16_t part)
{
	struct stored_name n = key_fixed("g");
	const uint8_t p[2] = { (uint8_t)(part >> 8), (uint8_t)part };

	name_be32(&n, (uint32_t)(modseq >> 32));
	name_be32(&n, (uint32_t)modseq);
	name_text(&n, p, sizeof(p));
	return n;
}

struct stored_name key_seal(void)
{
	return key_fixed("m\xff");
}

/* ---- records ---- */

/* Small negative numbers stay short as varints. */
static uint64_t zigzag(int64_t v)
{
	return (uint64_t)v << 1 ^ (v < 0 ? UINT64_MAX : 0);
}

static int64_t unzigzag(uint64_t v)
{
	return (int64_t)(v >> 1 ^ (v & 1 ? UINT64_MAX : 0));
}

static int16_t rd_tz(struct reader *r)
{
	int64_t v = unzigzag(rd_varint(r));

	if (v < -32768 || v > 32767)
		r->bad = true;
	return r->bad ? 0 : (int16_t)v;
}

static uint32_t rd_varint32(struct reader *r)
{
	return (uint32_t)rd_varint_max(r, UINT32_MAX);
}

void cursor_encode(struct buf *out, const struct cursor *c)
{
	buf_be32(out, c->fragment);
	buf_be32(out, c->offset);
}

static struct cursor rd_cursor(struct reader *r)
{
	struct cursor c = { .fragment = rd_be32(r) };

	c.offset = rd_be32(r);
	return c;
}

bool cursor_decode(struct slice in, struct cursor *out)
{
	struct reader r = reader_of(in);
	struct cursor c = rd_cursor(&r);

	if (!rd_end(&r))
		return false;
	*out = c;
	return true;
}

void header_encode(struct buf *out, const struct header *h)
{
	buf_addc(out, FORMAT_VERSION);
	buf_be64(out, h->version);
	buf_be64(out, h->modseq);
	buf_be32(out, h->next_folder);
	buf_be32(out, h->next_subscription);
	buf_be32(out, h->last_uidvalidity);
	buf_be64(out, h->usage_bytes);
	buf_be64(out, h->usage_messages);
	buf_be64(out, h->journal_first);
	buf_be64(out, h->nonce);
	buf_addc(out, h->buckets);
	for (unsigned i = 0; i < h->buckets; i++)
		cursor_encode(out, &h->cursors[i]);
}

bool header_decode(struct slice in, struct header *out)
{
	struct reader r = reader_of(in);
	struct header h = { 0 };

	if (rd_u8(&r) != FORMAT_VERSION)
		return false;
	h.version = rd_be64(&r);
	h.modseq = rd_be64(&r);
	h.next_folder = rd_be32(&r);
	h.next_subscription = rd_be32(&r);
	h.last_uidvalidity = rd_be32(&r);
	h.usage_bytes = rd_be64(&r);
	h.usage_messages = rd_be64(&r);
	h.journal_first = rd_be64(&r);
	h.nonce = rd_be64(&r);
	h.buckets = rd_u8(&r);
	if (h.buckets == 0 || h.buckets > BUCKETS_MAX)
		return false;
	for (unsigned i = 0; i < h.buckets; i++)
		h.cursors[i] = rd_cursor(&r);
	if (!rd_end(&r))
		return false;
	*out = h;
	return true;
}

void folder_encode(struct buf *out, const struct folder *f)
{
	uint32_t before = 0;

	buf_addc(out, FORMAT_VERSION);
	buf_blob(out, slice_str(f->name));
	buf_be32(out, f->uidvalidity);
	buf_be32(out, f->uidnext);
	buf_be32(out, f->first_recent);
	buf_addc(out, f->use);
	buf_varint(out, f->messages);
	buf_varint(out, f->unseen);
	buf_varint(out, f->deleted);
	buf_varint(out, f->size);
	buf_varint(out, f->deleted_size);
	buf_varint(out, f->highestmodseq);
	buf_varint(out, f->horizon);
	buf_varint(out, f->range_count);
	for (uint32_t i = 0; i < f->range_count; i++) {
		buf_varint(out, f->ranges[i] - before);
		before = f->ranges[i];
	}
}

int folder_decode(struct slice in, uint32_t id, struct folder *out)
{
	struct reader r = reader_of(in);
	struct folder f = { .id = id };
	uint32_t at = 0;

	if (rd_u8(&r) != FORMAT_VERSION)
		return -EBADMSG;
	struct slice name = rd_blob(&r);

	f.uidvalidity = rd_be32(&r);
	f.uidnext = rd_be32(&r);
	f.first_recent = rd_be32(&r);
	f.use = rd_u8(&r);
	f.messages = rd_varint32(&r);
	f.unseen = rd_varint32(&r);
	f.deleted = rd_varint32(&r);
	f.size = rd_varint(&r);
	f.deleted_size = rd_varint(&r);
	f.highestmodseq = rd_varint(&r);
	f.horizon = rd_varint(&r);
	f.range_count = (uint32_t)rd_varint_max(&r, UINT32_MAX / RANGE_UIDS + 1);
	if (r.bad || f.range_count > rd_left(&r) || name.len == 0 ||
	    name.len > FOLDER_NAME_BYTES_MAX || slice_find_byte(name, '\0') != SLICE_NPOS)
		return -EBADMSG;
	f.ranges = calloc(f.range_count + 1, sizeof(uint32_t));
	f.name = slice_strdup(name);
	if (f.ranges == NULL || f.name == NULL) {
		folder_done(&f);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < f.range_count; i++)
		f.ranges[i] = at += rd_varint32(&r);
	if (!rd_end(&r)) {
		folder_done(&f);
		return -EBADMSG;
	}
	*out = f;
	return 0;
}

void folder_done(struct folder *f)
{
	free(f->name);
	free(f->ranges);
	f->name = NULL;
	f->ranges = NULL;
}

void message_encode(struct buf *out, const struct message_info *m)
{
	buf_addc(out, m->flags);
	buf_varint(out, m->keywords);
	buf_varint(out, m->modseq);
	buf_varint(out, zigzag(m->internaldate_s));
	buf_varint(out, zigzag(m->tz_minutes));
	buf_varint(out, m->size);
	buf_varint(out, m->savedate_s);
	buf_add(out, slice_of(m->email_id, EMAIL_ID_BYTES));
	buf_addc(out, m->bucket);
	buf_varint(out, m->fragment);
	buf_be32(out, m->offset);
}

bool message_decode(struct reader *r, struct message_info *out)
{
	struct message_info m = { .flags = rd_u8(r) };

	m.keywords = rd_varint(r);
	m.modseq = rd_varint(r);
	m.internaldate_s = unzigzag(rd_varint(r));
	m.tz_minutes = rd_tz(r);
	m.size = rd_varint32(r);
	m.savedate_s = rd_varint32(r);
	struct slice id = rd_bytes(r, EMAIL_ID_BYTES);

	m.bucket = rd_u8(r);
	m.fragment = rd_varint32(r);
	m.offset = rd_be32(r);
	if (r->bad || m.bucket >= BUCKETS_MAX)
		return false;
	memcpy(m.email_id, id.ptr, EMAIL_ID_BYTES);
	m.uid = out->uid;
	*out = m;
	return true;
}

void tombstone_encode(struct buf *out, const struct tombstone *t)
{
	buf_varint(out, t->modseq);
}

bool tombstone_decode(struct slice in, struct tombstone *out)
{
	struct reader r = reader_of(in);
	struct tombstone t = { .modseq = rd_varint(&r) };

	if (!rd_end(&r))
		return false;
	*out = t;
	return true;
}

void range_state_encode(struct buf *out, const struct range_state *s)
{
	buf_be64(out, s->folded);
	buf_be64(out, s->horizon);
	buf_be32(out, s->tombstones);
	buf_be64(out, s->nonce);
}

bool range_state_decode(struct slice in, struct range_state *out)
{
	struct reader r = reader_of(in);
	struct range_state s = { .folded = rd_be64(&r) };

	s.horizon = rd_be64(&r);
	s.tombstones = rd_be32(&r);
	s.nonce = rd_be64(&r);
	if (!rd_end(&r))
		return false;
	*out = s;
	return true;
}

void tries_encode(struct buf *out, const struct delivery_tries *t)
{
	buf_addc(out, (uint8_t)(t->count | (t->overflow ? 0x80 : 0)));
	for (unsigned i = 0; i < t->count; i++) {
		buf_addc(out, t->place[i].bucket);
		buf_varint(out, t->place[i].fragment);
	}
}

bool tries_decode(struct reader *r, struct delivery_tries *out)
{
	uint8_t first = rd_u8(r);
	struct delivery_tries t = { .count = first & 0x7f, .overflow = first >> 7 };

	if (t.count > DELIVERY_TRIES_MAX) {
		r->bad = true;
		return false;
	}
	for (unsigned i = 0; i < t.count; i++) {
		t.place[i].bucket = rd_u8(r);
		t.place[i].fragment = rd_varint32(r);
		if (t.place[i].bucket >= BUCKETS_MAX)
			r->bad = true;
	}
	if (r->bad)
		return false;
	*out = t;
	return true;
}

#define RECORD_STREAM 0x80

void record_encode(struct buf *out, const struct record *r)
{
	buf_addc(out, FORMAT_VERSION);
	buf_addc(out, (uint8_t)(r->kind | (r->stream ? RECORD_STREAM : 0)));
	buf_addc(out, r->attempt);
	buf_addc(out, r->flags);
	buf_add(out, slice_of(r->id, EMAIL_ID_BYTES));
	buf_varint(out, r->stored_bytes);
	buf_varint(out, r->size);
	buf_varint(out, r->folder);
	buf_varint(out, zigzag(r->internaldate_s));
	buf_varint(out, zigzag(r->tz_minutes));
	tries_encode(out, &r->tries);
}

bool record_decode(struct slice in, struct record *out)
{
	struct reader r = reader_of(in);
	struct record rec = { 0 };

	if (rd_u8(&r) != FORMAT_VERSION)
		return false;
	uint8_t kind = rd_u8(&r);

	rec.stream = (kind & RECORD_STREAM) != 0;
	kind &= (uint8_t)~RECORD_STREAM;
	rec.kind = kind == 0 ? RECORD_DELIVERY : RECORD_HELD;
	rec.attempt = rd_u8(&r);
	rec.flags = rd_u8(&r);
	struct slice id = rd_bytes(&r, EMAIL_ID_BYTES);

	rec.stored_bytes = rd_varint32(&r);
	rec.size = rd_varint32(&r);
	rec.folder = rd_varint32(&r);
	rec.internaldate_s = unzigzag(rd_varint(&r));
	rec.tz_minutes = rd_tz(&r);
	if (!tries_decode(&r, &rec.tries) || !rd_end(&r) || kind > RECORD_HELD)
		return false;
	memcpy(rec.id, id.ptr, EMAIL_ID_BYTES);
	*out = rec;
	return true;
}

/* ---- journal ---- */

bool change_next(struct reader *r, struct change *out)
{
	struct change c = { 0 };

	if (r->bad || rd_left(r) == 0)
		return false;
	struct slice body = rd_blob(r);
	struct reader in = reader_of(body);

	c.kind = rd_u8(&in);
	c.folder = rd_varint32(&in);
	switch (c.kind) {
	case CHANGE_ADD:
		c.message.uid = rd_varint32(&in);
		if (!message_decode(&in, &c.message) || !rd_end(&in))
			in.bad = true;
		break;
	case CHANGE_FLAGS:
		c.mode = rd_u8(&in);
		c.flags = rd_u8(&in);
		c.keywords = rd_varint(&in);
		c.count = rd_varint32(&in);
		break;
	case CHANGE_EXPUNGE:
	case CHANGE_PLACE:
		c.count = rd_varint32(&in);
		break;
	default:
		in.bad = true;
	}
	if (in.bad || r->bad) {
		r->bad = true;
		return false;
	}
	c.list = in;
	*out = c;
	return true;
}

bool change_range(struct change *c, struct uid_range *out)
{
	if (c->count == 0)
		return false;
	c->count--;
	out->first = rd_varint32(&c->list);
	uint32_t more = rd_varint32(&c->list);

	if (c->list.bad || more > UINT32_MAX - out->first)
		return false;
	out->last = out->first + more;
	return true;
}

bool change_item(struct change *c, struct change_item *out)
{
	if (c->count == 0)
		return false;
	c->count--;
	out->uid = rd_varint32(&c->list);
	out->dead_bytes = rd_varint32(&c->list);
	out->bucket = rd_u8(&c->list);
	out->fragment = rd_varint32(&c->list);
	out->offset = rd_be32(&c->list);
	return !c->list.bad && out->bucket < BUCKETS_MAX;
}
