#include "policy/audit_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "policy/disk.h"
#include "policy/table/image.h"

/* --- entries -------------------------------------------------------------------------------- */

static void name_of(const struct policy_table *t, bool object, uint32_t number, char out[POLICY_LABEL_NAME_BYTES])
{
	out[0] = '\0';
	if (t != NULL && number != 0)
		policy_label_name(t, object, number, out, POLICY_LABEL_NAME_BYTES);
}

void policy_entry_fill(struct policy_entry *out, const struct policy_ring_reader *ring, const struct policy_record *r, const struct policy_table *t)
{
	memset(out, 0, sizeof(*out));
	memcpy(&out->record, r, sizeof(*r));
	out->id = policy_decision_id(ring->id, atomic_load_explicit(&r->sequence, memory_order_relaxed));
	snprintf(out->ring, sizeof(out->ring), "%s", ring->name);
	name_of(t, false, r->subject, out->subject);
	name_of(t, r->permission != 0, r->object, out->object);
	for (size_t i = 0; i < r->chain_count; i++)
		name_of(t, false, r->chain[i], out->chain[i]);
}

static void add_text(struct buf *out, const char *text)
{
	buf_blob(out, slice_str(text));
}

void policy_entry_encode(struct buf *out, const struct policy_entry *e)
{
	const struct policy_record *r = &e->record;
	AUTO_BUF struct buf body = BUF_INIT(POLICY_LOG_ENTRY_BYTES_MAX);

	buf_be64(&body, e->id);
	buf_be64(&body, e->lost);
	buf_be64(&body, r->time_us);
	buf_be64(&body, r->epoch);
	buf_be32(&body, r->subject);
	buf_be32(&body, r->object);
	buf_be32(&body, r->permission);
	buf_be32(&body, r->predicates);
	buf_be32(&body, r->insn);
	buf_addc(&body, r->class);
	buf_addc(&body, r->result);
	buf_addc(&body, r->chain_count);
	add_text(&body, e->ring);
	add_text(&body, e->subject);
	add_text(&body, e->object);
	for (size_t i = 0; i < r->chain_count; i++) {
		buf_be16(&body, r->chain[i]);
		add_text(&body, e->chain[i]);
	}
	buf_blob(&body, slice_of(r->text, r->text_bytes));
	if (body.err != 0)
		out->err = body.err;
	buf_be32(out, (uint32_t)body.len);
	buf_be32(out, crc32c(0, buf_slice(&body)));
	buf_add(out, buf_slice(&body));
}

static void take_text(struct reader *r, char *out, size_t out_bytes)
{
	if (!slice_to_str(rd_blob(r), out, out_bytes))
		r->bad = true;
}

size_t policy_entry_decode(struct policy_entry *e, struct slice bytes)
{
	struct reader head = reader_of(bytes), in;
	uint32_t length = rd_be32(&head), sum = rd_be32(&head);
	struct slice body, text;
	struct policy_record *r = &e->record;

	if (head.bad || length > POLICY_LOG_ENTRY_BYTES_MAX || length > rd_left(&head))
		return 0;
	body = rd_bytes(&head, length);
	if (crc32c(0, body) != sum)
		return 0;
	memset(e, 0, sizeof(*e));
	in = reader_of(body);
	e->id = rd_be64(&in);
	e->lost = rd_be64(&in);
	r->time_us = rd_be64(&in);
	r->epoch = rd_be64(&in);
	r->subject = rd_be32(&in);
	r->object = rd_be32(&in);
	r->permission = rd_be32(&in);
	r->predicates = rd_be32(&in);
	r->insn = rd_be32(&in);
	r->class = rd_u8(&in);
	r->result = rd_u8(&in);
	r->chain_count = rd_u8(&in);
	take_text(&in, e->ring, sizeof(e->ring));
	take_text(&in, e->subject, sizeof(e->subject));
	take_text(&in, e->object, sizeof(e->object));
	if (in.bad || r->chain_count > ARRAY_LEN(r->chain))
		return 0;
	for (size_t i = 0; i < r->chain_count; i++) {
		r->chain[i] = rd_be16(&in);
		take_text(&in, e->chain[i], sizeof(e->chain[i]));
	}
	text = rd_blob(&in);
	if (!rd_end(&in) || text.len > sizeof(r->text))
		return 0;
	if (text.len != 0)
		memcpy(r->text, text.ptr, text.len);
	r->text_bytes = (uint8_t)text.len;
	atomic_store_explicit(&r->sequence, e->id & 0xffffffffffff, memory_order_relaxed);
	return policy_record_valid(r) ? length + 8 : 0;
}

/* --- segments ------------------------------------------------------------------------------- */

struct segments { uint64_t number[4096]; size_t count; };

static int add_segment(void *arg, const char *name)
{
	struct segments *s = arg;
	struct slice text = slice_str(name), number;
	uint64_t n;

	if (text.len != 14 || !slice_ends(text, SLICE(".log")))
		return 0;
	number = slice_head(text, 10);
	if (slice_u64(number, UINT32_MAX, &n) && s->count < ARRAY_LEN(s->number))
		s->number[s->count++] = n;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int find_segments(int dir, struct segments *s)
{
	int err;

	s->count = 0;
	err = disk_list(dir, ".", add_segment, s);
	qsort(s->number, s->count, sizeof(s->number[0]), by_number);
	return err;
}

static void segment_name(uint64_t number, char out[24])
{
	snprintf(out, 24, "%010llu.log", (unsigned long long)number);
}

/* Entries of one segment; how many bytes of it are sound. -ECANCELED: fn said stop. */
static int64_t read_segment(int dir, uint64_t number, bool (*fn)(void *arg, const struct policy_entry *e), void *arg)
{
	AUTO_FREE struct policy_entry *e = malloc(sizeof(*e));
	AUTO_BUF struct buf file = BUF_INIT(2 * (uint64_t)POLICY_LOG_SEGMENT_BYTES);
	struct slice left;
	char name[24];
	size_t n;
	int err;

	segment_name(number, name);
	err = e == NULL ? -ENOMEM : disk_read(dir, name, &file, NULL);
	if (err != 0)
		return err;
	for (left = buf_slice(&file); (n = policy_entry_decode(e, left)) != 0; left = slice_from(left, n))
		if (!fn(arg, e))
			return -ECANCELED;
	return (int64_t)(file.len - left.len);
}

int policy_log_read(int dir, bool (*fn)(void *arg, const struct policy_entry *e), void *arg, struct errmsg *why)
{
	AUTO_FREE struct segments *s = malloc(sizeof(*s));
	int err = s == NULL ? -ENOMEM : find_segments(dir, s);

	if (err != 0)
		return errmsg_set(why, err, "log of the audit");
	if (s->count == 0)
		return errmsg_say(why, -ENOENT, "there is no log of the audit yet");
	for (size_t i = 0; i < s->count; i++) {
		int64_t bytes = read_segment(dir, s->number[i], fn, arg);

		if (bytes == -ECANCELED)
			return 0;
		/* -ENOENT: the writer removed it meanwhile. */
		if (bytes < 0 && bytes != -ENOENT)
			return errmsg_set(why, (int)bytes, "log of the audit");
	}
	return 0;
}

/* --- writing -------------------------------------------------------------------------------- */

struct policy_log {
	int dir, fd;
	uint64_t number, bytes, segment_bytes;
	unsigned kept;
	uint64_t newest[UINT16_MAX + 1];	/* by ring */
};

static void note_newest(struct policy_log *l, uint64_t id)
{
	uint64_t *newest = &l->newest[id >> 48], sequence = id & 0xffffffffffff;

	*newest = MAX(*newest, sequence);
}

static bool note_entry(void *arg, const struct policy_entry *e)
{
	note_newest(arg, e->id);
	return true;
}

static int open_segment(struct policy_log *l, uint64_t number, uint64_t bytes, struct errmsg *why)
{
	char name[24];
	int fd;

	segment_name(number, name);
	fd = openat(l->dir, name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return errmsg_set(why, -errno, "log of the audit, '%s'", name);
	if (ftruncate(fd, (off_t)bytes) != 0 || lseek(fd, (off_t)bytes, SEEK_SET) < 0) {
		int err = -errno;

		close(fd);
		return errmsg_set(why, err, "log of the audit, '%s'", name);
	}
	if (l->fd >= 0)
		close(l->fd);
	l->fd = fd;
	l->number = number;
	l->bytes = bytes;
	return disk_sync(l->dir, ".", why);
}

static void remove_old(struct policy_log *l)
{
	AUTO_FREE struct segments *s = malloc(sizeof(*s));
	char name[24];

	if (s == NULL || find_segments(l->dir, s) != 0)
		return;
	for (size_t i = 0; i + l->kept < s->count; i++) {
		segment_name(s->number[i], name);
		unlinkat(l->dir, name, 0);
	}
}

int policy_log_open(int dir, uint64_t segment_bytes, unsigned segments_kept, struct policy_log **out, struct errmsg *why)
{
	AUTO_FREE struct segments *s = malloc(sizeof(*s));
	AUTO_FREE struct policy_log *l = calloc(1, sizeof(*l));
	uint64_t last = 1;
	int64_t bytes = 0;
	int err;

	if (s == NULL || l == NULL)
		return errmsg_set(why, -ENOMEM, "log of the audit");
	l->dir = dir;
	l->fd = -1;
	l->segment_bytes = segment_bytes;
	l->kept = MAX(segments_kept, 1u);
	err = find_segments(dir, s);
	if (err != 0)
		return errmsg_set(why, err, "log of the audit");
	/* All of them: the newest of a ring that was quiet may be far back. */
	for (size_t i = 0; i < s->count; i++) {
		last = s->number[i];
		bytes = read_segment(dir, last, note_entry, l);
		if (bytes < 0)
			return errmsg_set(why, (int)bytes, "log of the audit");
	}
	err = open_segment(l, last, (uint64_t)bytes, why);
	if (err != 0)
		return err;
	*out = TAKE_PTR(l);
	return 0;
}

void policy_log_close(struct policy_log *l)
{
	if (l == NULL)
		return;
	close(l->fd);
	free(l);
}

int policy_log_add(struct policy_log *l, const struct policy_entry *e, struct errmsg *why)
{
	AUTO_BUF struct buf bytes = BUF_INIT(2 * POLICY_LOG_ENTRY_BYTES_MAX);
	int err = 0;

	policy_entry_encode(&bytes, e);
	if (bytes.err != 0)
		return errmsg_set(why, bytes.err, "a record of the audit");
	if (l->bytes != 0 && l->bytes + bytes.len > l->segment_bytes) {
		err = policy_log_sync(l, why);
		if (err == 0)
			err = open_segment(l, l->number + 1, 0, why);
		if (err != 0)
			return err;
		remove_old(l);
	}
	for (struct slice left = buf_slice(&bytes); left.len != 0;) {
		ssize_t n = write(l->fd, left.ptr, left.len);

		if (n < 0) {
			err = -errno;
			/* Half an entry would hide those behind it. */
			if (ftruncate(l->fd, (off_t)l->bytes) != 0 || lseek(l->fd, (off_t)l->bytes, SEEK_SET) < 0)
				return errmsg_set(why, -errno, "log of the audit");
			return errmsg_set(why, err, "log of the audit");
		}
		left = slice_from(left, (size_t)n);
	}
	l->bytes += bytes.len;
	note_newest(l, e->id);
	return 0;
}

int policy_log_sync(struct policy_log *l, struct errmsg *why)
{
	return fdatasync(l->fd) != 0 ? errmsg_set(why, -errno, "sync the log of the audit") : 0;
}

uint64_t policy_log_newest(const struct policy_log *l, uint16_t ring)
{
	return l->newest[ring];
}
