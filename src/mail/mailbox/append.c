/*
 * APPEND and MULTIAPPEND: bodies go into fragments and streams first, under records that the
 * merger passes over; then one commit names them all.
 *
 * Messages of one command are stored by fibers of their own, so that a group commit takes several:
 * the client's bytes of the next come in meanwhile.
 *
 * Compaction may find such a fragment half dead before the commit. So the commit, whose
 * guard makes its view of the head the newest, refuses places in fragments that are
 * condemned or gone; the caller then sees MAILBOX_UNAVAILABLE and sends again.
 */
#include <stdlib.h>

#include "base/must.h"
#include "mail/mailbox/internal.h"

#define AHEAD_MAX 16u			/* and no more bytes than one message may hold in memory */

struct append {
	struct account *a;
	char *folder;			/* normalised name */
	struct message_info *list;
	size_t count, cap;
	uint64_t bytes;
	struct buf body;		/* of the open message, until it is a stream */
	struct body_stream stream;
	bool streaming, open;
	enum mailbox_result err;	/* sticks */
	unsigned under_way;		/* jobs */
	size_t ahead_bytes;		/* in their bodies */
	struct fiber_event *waiting;	/* for one of them to end */
};

/* A message that is being stored. */
struct job {
	struct append *ap;
	size_t index;			/* in ap->list, which may move */
	size_t bytes;
	bool streaming;
	struct body_stream stream;
	struct buf body, summary;
};

enum mailbox_result append_begin(struct account *a, struct slice folder, struct append **out)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(16u << 10);
	struct slice name;

	if (!folder_name_normal(folder, &arena, &name))
		return MAILBOX_NO_FOLDER;
	account_lock(a);
	enum mailbox_result r = MAILBOX_OK;

	if (!a->s->loaded || state_folder_named(a->s, name) == NULL)
		r = state_refresh(a);
	if (r == MAILBOX_OK && state_folder_named(a->s, name) == NULL)
		r = MAILBOX_NO_FOLDER;
	account_unlock(a);
	if (r != MAILBOX_OK)
		return r;
	struct append *ap = calloc(1, sizeof(*ap));

	if (ap == NULL)
		return MAILBOX_MEMORY;
	ap->a = a;
	buf_init(&ap->body, BODY_MEMORY_BYTES);
	ap->folder = slice_strdup(name);
	if (ap->folder == NULL) {
		append_abort(ap);
		return MAILBOX_MEMORY;
	}
	*out = ap;
	return MAILBOX_OK;
}

static bool over_quota(const struct append *ap, uint64_t more)
{
	const struct header *h = &ap->a->s->h;
	const struct quota *q = &ap->a->quota;

	return (q->bytes_max != 0 && h->usage_bytes + ap->bytes + more > q->bytes_max) ||
	       (q->messages_max != 0 && h->usage_messages + ap->count > q->messages_max);
}

enum mailbox_result append_message(struct append *ap, const struct append_meta *meta, uint64_t size_hint)
{
	if (ap->err != MAILBOX_OK)
		return ap->err;
	must(!ap->open);
	if (ap->count == COPY_MESSAGES_MAX || size_hint > UINT32_MAX)
		return ap->err = MAILBOX_LIMIT;
	if (ap->count == ap->cap) {
		size_t cap = ap->cap == 0 ? 4 : ap->cap * 2;
		struct message_info *list = reallocarray(ap->list, cap, sizeof(*list));

		if (list == NULL)
			return ap->err = MAILBOX_MEMORY;
		ap->list = list;
		ap->cap = cap;
	}
	struct message_info *m = &ap->list[ap->count++];

	*m = (struct message_info){ .flags = meta->flags & FLAGS_ALL,
				    .keywords = meta->keywords,
				    .internaldate_s = meta->internaldate_s,
				    .tz_minutes = meta->tz_minutes };
	if (over_quota(ap, size_hint))
		return ap->err = MAILBOX_OVERQUOTA;
	if (meta->email_id != NULL)
		memcpy(m->email_id, meta->email_id, sizeof(m->email_id));
	else
		world_random(ap->a->w, m->email_id, sizeof(m->email_id));
	buf_reset(&ap->body);
	ap->streaming = false;
	ap->open = true;
	return MAILBOX_OK;
}

static enum mailbox_result flush_stream(struct append *ap, struct body_stream *stream, struct buf *body)
{
	enum engine_result r = body_stream_write(ap->a->e, ap->a->w, ap->a->s->id, stream, buf_slice(body));

	buf_reset(body);
	return r == ENGINE_OK ? MAILBOX_OK : result_of(r);
}

enum mailbox_result append_write(struct append *ap, struct slice bytes)
{
	if (ap->err != MAILBOX_OK)
		return ap->err;
	must(ap->open);
	struct message_info *m = &ap->list[ap->count - 1];

	if (bytes.len > UINT32_MAX - m->size)
		return ap->err = MAILBOX_LIMIT;
	m->size += (uint32_t)bytes.len;
	while (bytes.len > 0) {
		size_t room = BODY_MEMORY_BYTES - ap->body.len;
		struct slice now = slice_head(bytes, room);

		if (room == 0) {
			if (!ap->streaming) {
				ap->streaming = true;
				ap->stream.length = 0;
				world_random(ap->a->w, ap->stream.id, sizeof(ap->stream.id));
			}
			ap->err = flush_stream(ap, &ap->stream, &ap->body);
			if (ap->err != MAILBOX_OK)
				return ap->err;
			continue;
		}
		buf_add(&ap->body, now);
		if (ap->body.err != 0)
			return ap->err = MAILBOX_MEMORY;
		bytes = slice_from(bytes, now.len);
	}
	return MAILBOX_OK;
}

static enum mailbox_result store_body(struct job *j)
{
	struct append *ap = j->ap;
	const struct message_info *m = &ap->list[j->index];
	struct state *s = ap->a->s;
	struct record r = { .kind = RECORD_HELD,
			    .stream = j->streaming,
			    .size = m->size,
			    .internaldate_s = m->internaldate_s,
			    .tz_minutes = m->tz_minutes };
	uint32_t fragment = 0, offset = 0;

	memcpy(r.id, m->email_id, sizeof(r.id));
	if (j->streaming) {
		enum mailbox_result res = flush_stream(ap, &j->stream, &j->body);

		if (res != MAILBOX_OK)
			return res;
	}
	struct slice body = j->streaming ? slice_of(j->stream.id, sizeof(j->stream.id)) : buf_slice(&j->body);
	enum engine_result er = ENGINE_UNAVAILABLE;

	/* A record that nobody names is only dead bytes: trying again is free. */
	for (unsigned tries = 0; tries < 3 && er == ENGINE_UNAVAILABLE; tries++)
		er = fragment_append(ap->a->e, s->id, 0, &s->tails[0], &r, &body, 1, buf_slice(&j->summary),
				     NULL, &fragment, &offset);
	ap->list[j->index].fragment = fragment;
	ap->list[j->index].offset = j->streaming ? offset | OFFSET_STREAM : offset;
	return er == ENGINE_OK ? MAILBOX_OK : result_of(er);
}

static void job_fiber(void *arg)
{
	struct job *j = arg;
	struct append *ap = j->ap;
	enum mailbox_result r = ap->err == MAILBOX_OK ? store_body(j) : ap->err;

	if (ap->err == MAILBOX_OK)
		ap->err = r;
	ap->ahead_bytes -= j->bytes;
	buf_done(&j->body);
	buf_done(&j->summary);
	free(j);
	ap->under_way--;
	if (ap->waiting != NULL)
		fiber_event_set(ap->waiting);
}

static void wait_for_jobs(struct append *ap, unsigned left, size_t left_bytes)
{
	while (ap->under_way > left || ap->ahead_bytes > left_bytes) {
		struct fiber_event event = { 0 };

		ap->waiting = &event;
		(void)fiber_event_wait(&event, -1);
		ap->waiting = NULL;
	}
}

enum mailbox_result append_message_end(struct append *ap, struct slice summary)
{
	if (ap->err != MAILBOX_OK)
		return ap->err;
	must(ap->open);
	ap->open = false;
	ap->bytes += ap->list[ap->count - 1].size;
	if (over_quota(ap, 0))
		return ap->err = MAILBOX_OVERQUOTA;
	struct job *j = calloc(1, sizeof(*j));

	if (j == NULL)
		return ap->err = MAILBOX_MEMORY;
	*j = (struct job){ .ap = ap, .index = ap->count - 1, .streaming = ap->streaming, .stream = ap->stream,
			   .body = ap->body, .summary = BUF_INIT(ENGINE_VALUE_BYTES_MAX) };
	buf_init(&ap->body, BODY_MEMORY_BYTES);
	if (summary.len > 0 && summary.len <= STORED_SUMMARY_BYTES_MAX) {
		buf_be32(&j->summary, 0);	/* no bytes stand before the body: see summary_split */
		buf_add(&j->summary, summary);
		if (j->summary.err != 0)
			ap->err = MAILBOX_MEMORY;
	}
	j->bytes = j->body.len;
	ap->ahead_bytes += j->bytes;
	ap->under_way++;
	if (ap->err != MAILBOX_OK || fiber_self() == NULL || fiber_start(fiber_loop(), job_fiber, j) != 0)
		job_fiber(j);
	wait_for_jobs(ap, AHEAD_MAX - 1, BODY_MEMORY_BYTES);
	return ap->err;
}

/* Are the bytes still there, and safe from compaction? The head is as the guard will see it. */
static enum mailbox_result places_hold(const struct append *ap)
{
	const struct state *s = ap->a->s;

	for (size_t i = 0; i < ap->count; i++) {
		const struct message_info *m = &ap->list[i];

		if (m->fragment >= s->h.cursors[m->bucket].fragment)
			continue;
		struct stored_name name = fragment_name(s->id, m->bucket, m->fragment);
		struct engine_stat st = { 0 };
		enum engine_result er = engine_stat(ap->a->e, name_slice(&name), &st);

		if (er != ENGINE_OK && er != ENGINE_ABSENT)
			return result_of(er);
		if (er == ENGINE_ABSENT || !st.exists || state_condemned(s, m->bucket, m->fragment))
			return MAILBOX_UNAVAILABLE;
	}
	return MAILBOX_OK;
}

static enum mailbox_result append_once(struct append *ap, struct attempt *t, const uint32_t *uids,
				       uint32_t *given, uint32_t *uidvalidity)
{
	const struct folder *dest = state_folder_named(ap->a->s, slice_str(ap->folder));
	struct commit c;
	enum mailbox_result r = dest == NULL ? MAILBOX_NO_FOLDER : places_hold(ap);

	if (r != MAILBOX_OK)
		return r;
	commit_begin(&c, t, true);
	struct folder *f = commit_folder(&c, dest->id);

	if (f == NULL)
		r = MAILBOX_MEMORY;
	if (over_quota(ap, 0))
		r = MAILBOX_OVERQUOTA;
	for (size_t i = 0; r == MAILBOX_OK && i < ap->count; i++) {
		struct message_info m = ap->list[i];

		if (uids != NULL && uids[i] != 0) {
			if (uids[i] < f->uidnext || uids[i] >= UID_MAX)
				r = MAILBOX_CANNOT;
			f->uidnext = uids[i];
		}
		if (f->uidnext >= UID_MAX)
			r = MAILBOX_LIMIT;
		if (r != MAILBOX_OK)
			break;
		m.uid = given[i] = f->uidnext++;
		m.modseq = c.h.modseq;
		m.savedate_s = (uint32_t)(world_real_us(ap->a->w) / 1000000);
		folder_count_add(f, &m);
		commit_change_add(&c, f->id, &m);
		c.h.usage_bytes += m.size;
		c.h.usage_messages++;
	}
	if (r == MAILBOX_OK) {
		*uidvalidity = f->uidvalidity;
		commit_touch(&c, f);
		r = commit_submit(&c, t);
	}
	commit_done(&c);
	return r;
}

enum mailbox_result append_commit_uids(struct append *ap, const uint32_t *uids, struct arena *arena,
				       struct append_result *out)
{
	struct attempt t;

	wait_for_jobs(ap, 0, 0);
	if (ap->err != MAILBOX_OK)
		return ap->err;
	must(!ap->open);
	uint32_t *given = arena_array(arena, ap->count + 1, sizeof(*given));

	if (given == NULL)
		return MAILBOX_MEMORY;
	uint32_t uidvalidity = 0;
	enum mailbox_result r = MAILBOX_OK;

	account_lock(ap->a);
	if (!ap->a->s->loaded)
		r = state_refresh(ap->a);
	attempt_begin(&t, ap->a);
	if (r == MAILBOX_OK && ap->count > 0) {
		do {
			r = append_once(ap, &t, uids, given, &uidvalidity);
		} while (attempt_again(&t, &r));
	}
	if (r == MAILBOX_OK)
		state_fold_hard(ap->a);
	account_unlock(ap->a);
	if (r == MAILBOX_OK)
		*out = (struct append_result){ uidvalidity, given, ap->count };
	ap->err = MAILBOX_CANNOT;	/* spent */
	return r;
}

enum mailbox_result append_commit(struct append *ap, struct arena *arena, struct append_result *out)
{
	return append_commit_uids(ap, NULL, arena, out);
}

void append_abort(struct append *ap)
{
	if (ap == NULL)
		return;
	wait_for_jobs(ap, 0, 0);
	buf_done(&ap->body);
	free(ap->list);
	free(ap->folder);
	free(ap);
}
