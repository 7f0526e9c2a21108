/*
 * FETCH. Messages go in batches: one engine call brings the summaries of neighbours, one
 * commit sets \Seen for the whole batch. Bodies are never whole in memory: they pass through
 * a buffer of CHUNK_BYTES, and the stream holds us back when the client reads slowly.
 */
#include <stdlib.h>

#include "base/event.h"
#include "base/must.h"
#include "mail/imap/imapdate.h"
#include "mail/imap/write.h"
#include "mail/message/bodystructure.h"
#include "mail/message/header.h"
#include "mail/message/section.h"
#include "mail/mailbox/delivery.h"
#include "mail/message/summary.h"
#include "mail/message/transfer.h"
#include "mail/session/imap.h"
#include "sys/fiber.h"

#define BATCH_MESSAGES	 256u
#define BATCHES_IN_TURN	 16u	/* then other sessions get the processor, however fast the client reads */
#define BATCH_ARENA_BYTES (BATCH_MESSAGES * (72u << 10))
#define CHUNK_BYTES	 (64u * 1024u)

struct fetch {
	struct imap_run *r;
	const struct fetch_program *program;
	struct arena *arena;		/* of the batch */
	struct arena tree;		/* of one message's structure */
	struct buf chunk;
	struct read_window window;
	bool wants_uid, wants_flags, wants_modseq;
	bool unknown_encoding;		/* NO [UNKNOWN-CTE] */
	bool gone;			/* NO [EXPUNGEISSUED] */
	enum mailbox_result failed;
};

struct fetched {
	uint32_t seq;
	bool seen_now;			/* this command set \Seen */
	struct message_info info;
	struct slice summary;
	const struct mime *mime;	/* NULL until somebody needs it */
};

/* ---- what was read ahead ---- */

struct read_window imap_window_take(struct imap_session *s)
{
	struct read_window w = { .bytes = BUF_INIT(READ_WINDOW_BYTES) };

	if (s->window == NULL)
		return w;
	w = *s->window;
	buf_init(&s->window->bytes, READ_WINDOW_BYTES);
	return w;
}

void imap_window_drop(struct imap_session *s)
{
	struct session_services *sv = s->base.sv;

	if (s->window == NULL)
		return;
	for (unsigned i = 0; i < IMAP_READERS; i++)
		if (sv->imap_readers[i] == s)
			sv->imap_readers[i] = NULL;
	buf_done(&s->window->bytes);
	free(s->window);
	s->window = NULL;
}

void imap_window_keep(struct imap_session *s, struct read_window *w)
{
	struct session_services *sv = s->base.sv;

	/* Another session may have taken our place while we were busy. */
	if (s->window == NULL) {
		unsigned slot = sv->next_reader++ % IMAP_READERS;

		s->window = calloc(1, sizeof(*s->window));
		if (s->window == NULL) {
			buf_done(&w->bytes);
			return;
		}
		if (sv->imap_readers[slot] != NULL)
			imap_window_drop(sv->imap_readers[slot]);
		sv->imap_readers[slot] = s;
	}
	*s->window = *w;
}

/* ---- the tree ---- */

static const struct mime *parse_body(struct imap_run *r, struct arena *arena,
				     const struct message_info *m, enum mailbox_result *why)
{
	struct mime_stream *stream = mime_stream_new(arena);
	AUTO_BUF struct buf chunk = BUF_INIT(CHUNK_BYTES);

	*why = stream == NULL ? MAILBOX_MEMORY : MAILBOX_OK;
	for (uint64_t at = 0; *why == MAILBOX_OK && at < m->size; at += chunk.len) {
		buf_reset(&chunk);
		*why = mailbox_read(r->s->box, m, at, CHUNK_BYTES, &chunk);
		if (chunk.len == 0)
			break;
		mime_stream_feed(stream, buf_slice(&chunk));
	}
	return *why == MAILBOX_OK ? mime_stream_end(stream) : NULL;
}

const struct mime *imap_mime(struct imap_run *r, struct arena *arena, const struct message_info *m,
			     struct slice summary, enum mailbox_result *why)
{
	const struct mime *mime;

	uint32_t prefix_bytes;

	*why = MAILBOX_OK;
	summary = summary_split(summary, &prefix_bytes);
	if (summary.len > 0) {
		switch (summary_decode_behind(arena, summary, prefix_bytes, &mime)) {
		case SUMMARY_OK:
			/* A summary that is not of this message must not name bytes outside of it. */
			if (mime->size == m->size)
				return mime;
			FALLTHROUGH;
		case SUMMARY_DAMAGED: {
			AUTO_EVENT struct event *ev = event_child(r->s->base.ev, "imap.summary");

			event_u64(ev, "uid", m->uid);
			event_warn(ev, "the stored summary is damaged, parsing the message");
			break;
		}
		case SUMMARY_PARSE_BODY:
			break;
		}
	}
	return parse_body(r, arena, m, why);
}

static const struct mime *tree(struct fetch *f, struct fetched *m)
{
	enum mailbox_result why;

	if (m->mime != NULL)
		return m->mime;
	m->mime = imap_mime(f->r, &f->tree, &m->info, m->summary, &why);
	if (m->mime == NULL && f->failed == MAILBOX_OK)
		f->failed = why;
	return m->mime;
}

/* ---- bodies ---- */

/* The next piece of at most n bytes, in f->chunk. */
static enum mailbox_result read_piece(struct fetch *f, const struct fetched *m, uint64_t at, uint64_t n)
{
	buf_reset(&f->chunk);
	return mailbox_read_near(f->r->s->box, &m->info, at, (size_t)MIN(n, CHUNK_BYTES), &f->window,
				 &f->chunk);
}

/* RFC 9051 §4.3: a literal holds no NUL; bytes that are mail all the same must not end the line. */
static void send_without_nul(struct imap_run *r, struct buf *chunk)
{
	for (uint8_t *p = chunk->ptr; p != NULL && p < chunk->ptr + chunk->len; p++) {
		p = memchr(p, 0, (size_t)(chunk->ptr + chunk->len - p));
		if (p == NULL)
			break;
		*p = 0x80;
	}
	stream_write(&r->s->base.stream, buf_slice(chunk));
}

/* n bytes of the message from `at`, the literal's head is written already: they must come or the session ends. */
static void send_range(struct fetch *f, const struct fetched *m, uint64_t at, uint64_t n)
{
	imap_send(f->r);
	while (n > 0 && f->r->s->base.stream.err == 0) {
		enum mailbox_result result;

		result = read_piece(f, m, at, n);
		if (result != MAILBOX_OK || f->chunk.len == 0 || f->chunk.len > n) {
			f->failed = result;
			f->r->close = true;
			event_warn(f->r->s->base.ev, "a body ended early inside a literal, closing");
			return;
		}
		at += f->chunk.len;
		n -= f->chunk.len;
		send_without_nul(f->r, &f->chunk);
	}
}

static void literal_head(struct buf *out, uint64_t n, bool binary)
{
	buf_adds(out, binary ? "~{" : "{");
	buf_dec(out, n);
	buf_adds(out, "}\r\n");
}

/* RFC 9051 §6.4.5: a partial beyond the end is an empty string. */
static void clip(const struct fetch_item *item, uint64_t *at, uint64_t *n)
{
	uint64_t skip;

	if (!item->partial)
		return;
	skip = MIN(item->offset, *n);
	*at += skip;
	*n = MIN(*n - skip, item->length);
}

/* Can the first bytes be read? Asked before the literal's head is written. */
static bool readable(struct fetch *f, const struct fetched *m, uint64_t at, uint64_t n)
{
	enum mailbox_result result;

	if (n == 0)
		return true;
	result = read_piece(f, m, at, n);
	if (result == MAILBOX_OK && f->chunk.len > 0)
		return true;
	if (result == MAILBOX_EXPUNGED)
		f->gone = true;
	else
		f->failed = result == MAILBOX_OK ? MAILBOX_DAMAGED : result;
	return false;
}

static void send_body(struct fetch *f, const struct fetched *m, const struct fetch_item *item,
		      uint64_t at, uint64_t n)
{
	clip(item, &at, &n);
	if (!readable(f, m, at, n)) {
		buf_adds(&f->r->out, "NIL");
		return;
	}
	literal_head(&f->r->out, n, false);
	imap_send(f->r);
	if (n == 0)
		return;
	/* What `readable` has read is the beginning. */
	if (f->chunk.len > n)
		buf_truncate(&f->chunk, (size_t)n);
	at += f->chunk.len;
	n -= f->chunk.len;
	send_without_nul(f->r, &f->chunk);
	send_range(f, m, at, n);
}

static void send_fields(struct fetch *f, const struct fetched *m, const struct fetch_item *item,
			const struct section_range *range)
{
	const struct section *s = &item->section;
	AUTO_BUF struct buf header = BUF_INIT(IMAP_HEADER_BYTES_MAX), chosen = BUF_INIT(IMAP_HEADER_BYTES_MAX + 2);
	uint64_t at = 0, n;
	enum mailbox_result result;

	result = mailbox_read_near(f->r->s->box, &m->info, range->at,
				   (size_t)MIN(range->bytes, IMAP_HEADER_BYTES_MAX), &f->window, &header);
	if (result != MAILBOX_OK) {
		if (result == MAILBOX_EXPUNGED)
			f->gone = true;
		else
			f->failed = result;
		buf_adds(&f->r->out, "NIL");
		return;
	}
	header_select(&chosen, buf_slice(&header), s->names, s->name_count,
		      s->kind == SECTION_FIELDS_NOT);
	n = chosen.len;
	clip(item, &at, &n);
	literal_head(&f->r->out, n, false);
	imap_send(f->r);
	buf_drop(&chosen, (size_t)at);
	buf_truncate(&chosen, (size_t)n);
	send_without_nul(f->r, &chosen);
}

static void fetch_section(struct fetch *f, struct fetched *m, const struct fetch_item *item)
{
	struct section_range range = { .at = 0, .bytes = m->info.size };
	const struct mime *mime;

	if (item->section.kind != SECTION_ALL) {
		mime = tree(f, m);
		if (mime == NULL || section_find(mime, &item->section, &range) != SECTION_OK) {
			buf_adds(&f->r->out, "NIL");
			return;
		}
	}
	if (item->section.kind == SECTION_FIELDS || item->section.kind == SECTION_FIELDS_NOT)
		send_fields(f, m, item, &range);
	else
		send_body(f, m, item, range.at, range.bytes);
}

/* ---- BINARY (RFC 3516) ---- */

struct binary_pass {
	uint64_t skip, take;		/* decoded bytes to leave out, then to use */
	uint64_t total;			/* decoded bytes in all */
	bool nul;			/* among those used: literal8 is needed */
	bool send;
};

static void binary_piece(struct fetch *f, struct binary_pass *pass, struct slice piece)
{
	uint64_t skip = MIN(pass->skip, piece.len);

	pass->total += piece.len;
	piece = slice_from(piece, (size_t)skip);
	pass->skip -= skip;
	piece = slice_head(piece, (size_t)MIN(pass->take, piece.len));
	pass->take -= piece.len;
	if (piece.len > 0 && memchr(piece.ptr, 0, piece.len) != NULL)
		pass->nul = true;
	if (pass->send)
		stream_write(&f->r->s->base.stream, piece);
}

/* Decode the range once: to count (send false), or to send. False on a failed read. */
static bool binary_run(struct fetch *f, const struct fetched *m, const struct section_range *range,
		       enum mime_encoding encoding, struct binary_pass *pass)
{
	struct transfer transfer = transfer_of(encoding);
	AUTO_BUF struct buf decoded = BUF_INIT(2 * CHUNK_BYTES + 1024);
	uint64_t at = range->at, left = range->bytes;

	while (left > 0 && f->r->s->base.stream.err == 0) {
		enum mailbox_result result;

		result = read_piece(f, m, at, left);
		if (result != MAILBOX_OK || f->chunk.len == 0 || f->chunk.len > left) {
			if (result == MAILBOX_EXPUNGED)
				f->gone = true;
			else
				f->failed = result == MAILBOX_OK ? MAILBOX_DAMAGED : result;
			return false;
		}
		at += f->chunk.len;
		left -= f->chunk.len;
		buf_reset(&decoded);
		transfer_feed(&transfer, &decoded, buf_slice(&f->chunk));
		binary_piece(f, pass, buf_slice(&decoded));
	}
	buf_reset(&decoded);
	transfer_end(&transfer, &decoded);
	binary_piece(f, pass, buf_slice(&decoded));
	return true;
}

static void fetch_binary(struct fetch *f, struct fetched *m, const struct fetch_item *item)
{
	const struct mime *mime = tree(f, m);
	struct binary_pass pass = { .take = UINT64_MAX }, again;
	struct section_range range;
	enum mime_encoding encoding;
	enum section_result found;
	uint64_t wanted;

	found = mime == NULL ? SECTION_NO_SUCH_PART
			     : section_binary(mime, &item->section, &range, &encoding);
	if (found == SECTION_UNKNOWN_ENCODING)
		f->unknown_encoding = true;
	if (item->partial) {
		pass.skip = item->offset;
		pass.take = item->length;
	}
	again = pass;
	wanted = pass.take;
	if (found != SECTION_OK || !binary_run(f, m, &range, encoding, &pass)) {
		buf_adds(&f->r->out, item->kind == FETCH_BINARY_SIZE ? "0" : "NIL");
		return;
	}
	if (item->kind == FETCH_BINARY_SIZE) {
		buf_dec(&f->r->out, pass.total);
		return;
	}
	literal_head(&f->r->out, wanted - pass.take, pass.nul);
	imap_send(f->r);
	again.send = true;
	if (!binary_run(f, m, &range, encoding, &again) || again.take != pass.take)
		f->r->close = true;
}

/* ---- items ---- */

static void fetch_structure(struct fetch *f, struct fetched *m, enum fetch_kind kind)
{
	const struct mime *mime = tree(f, m);
	struct buf *out = &f->r->out;

	if (mime == NULL)
		buf_adds(out, "NIL");
	else if (kind == FETCH_ENVELOPE)
		bodystructure_envelope(out, mime->root->envelope, f->r->s->utf8);
	else
		bodystructure_write(out, mime->root, kind == FETCH_BODYSTRUCTURE, f->r->s->utf8);
}

static void fetch_item(struct fetch *f, struct fetched *m, const struct fetch_item *item)
{
	struct buf *out = &f->r->out;
	struct fetch_item as_section = *item;

	fetch_write_name(item, out);
	buf_addc(out, ' ');
	switch (item->kind) {
	case FETCH_UID:
		buf_dec(out, m->info.uid);
		break;
	case FETCH_FLAGS:
		imap_write_flags(f->r->s, out, &m->info);
		break;
	case FETCH_INTERNALDATE:
		imapdate_write(out, m->info.internaldate_s, m->info.tz_minutes);
		break;
	case FETCH_RFC822_SIZE:
		buf_dec(out, m->info.size);
		break;
	case FETCH_ENVELOPE: case FETCH_BODY: case FETCH_BODYSTRUCTURE:
		fetch_structure(f, m, item->kind);
		break;
	case FETCH_RFC822: case FETCH_SECTION:
		fetch_section(f, m, item);
		break;
	case FETCH_RFC822_HEADER:
		as_section.section.kind = SECTION_HEADER;
		fetch_section(f, m, &as_section);
		break;
	case FETCH_RFC822_TEXT:
		as_section.section.kind = SECTION_TEXT;
		fetch_section(f, m, &as_section);
		break;
	case FETCH_BINARY: case FETCH_BINARY_SIZE:
		fetch_binary(f, m, item);
		break;
	case FETCH_MODSEQ:
		buf_addc(out, '(');
		buf_dec(out, m->info.modseq);
		buf_addc(out, ')');
		break;
	case FETCH_EMAILID:
		buf_addc(out, '(');
		message_emailid(m->info.email_id, out);
		buf_addc(out, ')');
		break;
	case FETCH_THREADID:
		/* RFC 8474 §5.2: NIL where the server does not keep threads. */
		buf_adds(out, "NIL");
		break;
	}
}

static void fetch_message(struct fetch *f, struct fetched *m)
{
	const struct fetch_program *p = f->program;
	struct buf *out = &f->r->out;
	bool first = true;

	buf_adds(out, "* ");
	buf_dec(out, m->seq);
	buf_adds(out, " FETCH (");
	if (f->wants_uid) {
		buf_adds(out, "UID ");
		buf_dec(out, m->info.uid);
		first = false;
	}
	/* What the client learns by the way: \Seen that this FETCH set, and its mod-sequence. */
	if (m->seen_now && !f->wants_flags) {
		buf_adds(out, first ? "FLAGS " : " FLAGS ");
		imap_write_flags(f->r->s, out, &m->info);
		first = false;
	}
	if (f->wants_modseq || (m->seen_now && f->r->s->condstore &&
				!fetch_wants(p, FETCH_MODSEQ))) {
		buf_adds(out, first ? "MODSEQ (" : " MODSEQ (");
		buf_dec(out, m->info.modseq);
		buf_addc(out, ')');
		first = false;
	}
	for (size_t i = 0; i < p->count && !f->r->close; i++) {
		if (p->items[i].kind == FETCH_UID && f->wants_uid)
			continue;
		if (!first)
			buf_addc(out, ' ');
		first = false;
		fetch_item(f, m, &p->items[i]);
	}
	buf_adds(out, ")\r\n");
	if (out->len > 16384)
		imap_send(f->r);
	arena_reset(&f->tree);
}

/* ---- batches ---- */

/* \Seen for those of the batch that lack it, in one commit (RFC 9051 §6.4.5). */
static void set_seen(struct fetch *f, struct fetched *batch, size_t count)
{
	struct uid_range ranges[BATCH_MESSAGES];
	struct store_request request = { .mode = STORE_ADD, .flags = FLAG_SEEN };
	struct store_result result;
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		uint32_t uid = batch[i].info.uid;

		if (batch[i].info.flags & FLAG_SEEN)
			continue;
		if (n > 0 && ranges[n - 1].last + 1 == uid)
			ranges[n - 1].last = uid;
		else
			ranges[n++] = (struct uid_range){ uid, uid };
	}
	if (n == 0)
		return;
	request.uids = (struct uid_ranges){ ranges, n };
	/* A full disk must not keep anybody from reading: then the flag just stays as it was. */
	if (mailbox_store(f->r->s->box, &request, f->arena, &result) != MAILBOX_OK)
		return;
	for (size_t i = 0; i < count; i++) {
		struct message_info now;

		if (batch[i].info.flags & FLAG_SEEN)
			continue;
		if (mailbox_message(f->r->s->box, batch[i].info.uid, &now)) {
			batch[i].info = now;
			batch[i].seen_now = true;
		}
	}
}

/* Does answering need the stored summaries? */
static bool needs_summaries(const struct fetch_program *p)
{
	for (size_t i = 0; i < p->count; i++) {
		enum fetch_kind k = p->items[i].kind;

		if (k == FETCH_ENVELOPE || k == FETCH_BODY || k == FETCH_BODYSTRUCTURE ||
		    k == FETCH_RFC822_HEADER || k == FETCH_RFC822_TEXT || k == FETCH_BINARY ||
		    k == FETCH_BINARY_SIZE ||
		    (k == FETCH_SECTION && p->items[i].section.kind != SECTION_ALL))
			return true;
	}
	return false;
}

static void load_summaries(struct fetch *f, struct fetched *batch, size_t count)
{
	struct message_info *infos = arena_array(f->arena, count, sizeof(*infos));
	struct slice *summaries = arena_array(f->arena, count, sizeof(*summaries));

	if (infos == NULL || summaries == NULL)
		return;
	for (size_t i = 0; i < count; i++)
		infos[i] = batch[i].info;
	/* On failure each message is parsed on its own, and says itself what is wrong. */
	if (mailbox_summaries(f->r->s->box, infos, count, f->arena, summaries) != MAILBOX_OK)
		return;
	for (size_t i = 0; i < count; i++)
		batch[i].summary = summaries[i];
}

static void fetch_batch(struct fetch *f, struct fetched *batch, size_t count, bool summaries)
{
	if (f->program->sets_seen && !mailbox_is_read_only(f->r->s->box) && imap_has(f->r->s, POLICY_MAILBOX_SEEN) != 0)
		set_seen(f, batch, count);
	if (summaries)
		load_summaries(f, batch, count);
	for (size_t i = 0; i < count && !f->r->close && f->r->s->base.stream.err == 0; i++)
		fetch_message(f, &batch[i]);
	imap_send(f->r);
	arena_reset(f->arena);
}

static void fetch_all(struct fetch *f)
{
	struct imap_run *r = f->r;
	const struct fetch_program *p = f->program;
	struct fetched *batch = arena_array(&r->arena, BATCH_MESSAGES, sizeof(*batch));
	bool summaries = needs_summaries(p);
	struct imap_walk w;
	uint32_t seq, uid;
	size_t n = 0, batches = 0;

	if (batch == NULL) {
		f->failed = MAILBOX_MEMORY;
		return;
	}
	imap_walk_start(&w, r, &r->c.fetch.set, r->c.uid);
	while (imap_walk_next(&w, &seq, &uid)) {
		batch[n] = (struct fetched){ .seq = seq };
		if (!mailbox_message(r->s->box, uid, &batch[n].info)) {
			f->gone = true;
			continue;
		}
		if (p->changedsince && batch[n].info.modseq <= p->since)
			continue;
		if (++n == BATCH_MESSAGES) {
			fetch_batch(f, batch, n, summaries);
			n = 0;
			if (r->close || r->s->base.stream.err != 0)
				return;
			if (++batches % BATCHES_IN_TURN == 0)
				fiber_yield();
		}
	}
	if (n > 0)
		fetch_batch(f, batch, n, summaries);
}

/* RFC 7162 §3.2.6: which of the asked UIDs are gone since. */
static bool write_vanished(struct imap_run *r)
{
	const struct seqset *set = &r->c.fetch.set;
	struct uid_range *copy = arena_array(&r->arena, set->count + 1, sizeof(*copy));
	struct uid_ranges known, vanished;
	enum mailbox_result result = MAILBOX_MEMORY;

	if (copy != NULL) {
		for (size_t i = 0; i < set->count; i++)
			copy[i] = (struct uid_range){ set->ranges[i].first, set->ranges[i].last };
		known = (struct uid_ranges){ copy, set->count };
		/* "1:*" means everything: also what was above the highest UID that is left. */
		if (set->star && seqset_last(set) < UINT32_MAX)
			copy[known.count++] = (struct uid_range){ seqset_last(set) + 1, UINT32_MAX };
		result = mailbox_vanished(r->s->box, r->c.fetch.program.since, &known, &r->arena,
					  &vanished);
	}
	if (result != MAILBOX_OK) {
		imap_result(r, result, false, NULL);
		return false;
	}
	if (vanished.count > 0) {
		buf_adds(&r->out, "* VANISHED (EARLIER) ");
		imap_write_uid_ranges(&r->out, &vanished);
		buf_adds(&r->out, "\r\n");
	}
	return true;
}

void imap_do_fetch(struct imap_run *r)
{
	const struct fetch_program *p = &r->c.fetch.program;
	AUTO_ARENA struct arena arena = ARENA_INIT(BATCH_ARENA_BYTES);
	struct fetch f = {
		.r = r,
		.program = p,
		.arena = &arena,
		.tree = ARENA_INIT(MIME_ARENA_BYTES),
		.chunk = BUF_INIT(CHUNK_BYTES),
		.wants_uid = r->c.uid || fetch_wants(p, FETCH_UID),
		.wants_flags = fetch_wants(p, FETCH_FLAGS),
		.wants_modseq = p->changedsince && !fetch_wants(p, FETCH_MODSEQ),
	};

	if (p->vanished && !r->s->qresync) {
		imap_bad(r, "ENABLE QRESYNC first");
		return;
	}
	if (p->changedsince || fetch_wants(p, FETCH_MODSEQ))
		imap_enable_condstore(r);
	if (p->vanished && !write_vanished(r))
		return;
	f.window = imap_window_take(r->s);
	fetch_all(&f);
	imap_window_keep(r->s, &f.window);
	buf_done(&f.chunk);
	arena_done(&f.tree);
	if (f.failed != MAILBOX_OK)
		imap_result(r, f.failed, false, NULL);
	else if (f.unknown_encoding)
		imap_no(r, "UNKNOWN-CTE", "A part has a transfer encoding that is not known");
	else if (f.gone && !r->c.uid)
		imap_no(r, "EXPUNGEISSUED", "Some of the messages no longer exist");
	else
		imap_ok(r, "Done");
}
