/*
 * SEARCH, SORT and THREAD.
 *
 * Keys that need only what the mailbox has in memory (flags, dates, sizes, sets) are tried
 * first; headers are read once a message and only if a key asks; bodies last.
 */
#include <stdlib.h>

#include "base/must.h"
#include "mail/imap/imapdate.h"
#include "mail/message/charset.h"
#include "mail/message/date.h"
#include "mail/message/header.h"
#include "mail/message/search_text.h"
#include "mail/message/sort.h"
#include "mail/message/thread.h"
#include "mail/session/imap.h"
#include "sys/fiber.h"

#define CHUNK_BYTES	   (64u * 1024u)
#define HEADER_BYTES_FIRST 8192u
#define BODY_KEPT_BYTES	   (1u << 20)	/* a larger message is read anew for each key */
#define MESSAGES_IN_TURN   4096u	/* then other sessions get the processor */
#define BYTES_IN_TURN	   (8u << 20)	/* of text that was searched: the same */
#define BATCH_MESSAGES	   256u
#define BATCH_ARENA_BYTES  (BATCH_MESSAGES * (72u << 10) + MIME_ARENA_BYTES)

struct hit {
	uint32_t seq, uid;
};

struct search {
	struct imap_run *r;
	int64_t now_s;
	enum mailbox_result failed;
	struct arena arena;		/* of one message */
	/* The message that is looked at. */
	uint32_t seq;
	struct message_info info;
	struct buf header, body;
	struct read_window window;
	bool has_header, has_body;
	const struct mime *mime;
	/* What was found, ascending. */
	struct buf hits;		/* struct hit */
	uint64_t highest_modseq;
	uint64_t searched_bytes;	/* since others had their turn */
};

/* ---- preparing the program ---- */

static int cost(const struct search_key *k)
{
	int most = 0;

	switch (k->op) {
	case SEARCH_BODY: case SEARCH_TEXT:
		return 3;
	case SEARCH_HEADER: case SEARCH_ADDRESS: case SEARCH_SUBJECT: case SEARCH_SENTBEFORE:
	case SEARCH_SENTON: case SEARCH_SENTSINCE:
		return 2;
	case SEARCH_AND: case SEARCH_OR: case SEARCH_NOT:
		for (const struct search_key *c = k->children; c != NULL; c = c->next)
			most = MAX(most, cost(c));
		return most;
	default:
		return 0;
	}
}

/* Cheap keys first: AND and OR give the same answer in any order. Stable, linear in keys. */
static void order_children(struct search_key *k)
{
	struct search_key *heads[4] = { 0 }, **tails[4], *next, **to = &k->children;

	for (int i = 0; i < 4; i++)
		tails[i] = &heads[i];
	for (struct search_key *c = k->children; c != NULL; c = next) {
		int at = cost(c);

		next = c->next;
		c->next = NULL;
		*tails[at] = c;
		tails[at] = &c->next;
	}
	for (int i = 0; i < 4; i++) {
		*to = heads[i];
		if (heads[i] != NULL)
			to = tails[i];
	}
}

static void convert(struct imap_run *r, const struct charset *charset, struct slice *text)
{
	AUTO_BUF struct buf utf8 = BUF_INIT(8 * IMAP_SEARCH_STRING_BYTES_MAX);

	if (charset == NULL || charset_is_utf8(charset))
		return;
	charset_to_utf8(charset, &utf8, *text);
	*text = arena_dup(&r->arena, buf_slice(&utf8));
}

/* Recursion is bounded by IMAP_SEARCH_DEPTH_MAX. */
static void prepare(struct imap_run *r, const struct charset *charset, struct search_key *k)
{
	bool uids = k->op == SEARCH_UID;

	switch (k->op) {
	case SEARCH_KEYWORD:
		k->value = (int64_t)account_keyword_known(imap_box_account(r->s), &k->text, 1);
		break;
	case SEARCH_SEQ: case SEARCH_UID:
		imap_resolve_saved(r, &k->set, &uids);
		k->op = uids ? SEARCH_UID : SEARCH_SEQ;
		break;
	case SEARCH_HEADER: case SEARCH_ADDRESS: {
		/* The header functions take C strings; a name with NUL matches no field. */
		char *name = arena_str(&r->arena, k->name);

		k->name = slice_str(name);
		convert(r, charset, &k->text);
		break;
	}
	case SEARCH_SUBJECT: case SEARCH_BODY: case SEARCH_TEXT:
		convert(r, charset, &k->text);
		break;
	default:
		break;
	}
	for (struct search_key *c = k->children; c != NULL; c = c->next)
		prepare(r, charset, c);
	order_children(k);
}

/* ---- looking at one message ---- */

static void fail(struct search *s, enum mailbox_result result)
{
	/* A message that went away meanwhile just does not match. */
	if (result != MAILBOX_EXPUNGED && s->failed == MAILBOX_OK)
		s->failed = result;
}

/* The offset behind the blank line, or 0. */
static size_t header_end(struct slice s, size_t from)
{
	for (size_t at = from; at < s.len; at++) {
		size_t lf = slice_find_byte(slice_from(s, at), '\n');

		if (lf == SLICE_NPOS)
			return 0;
		at += lf;
		if (at + 1 < s.len && s.ptr[at + 1] == '\n')
			return at + 2;
		if (at + 2 < s.len && s.ptr[at + 1] == '\r' && s.ptr[at + 2] == '\n')
			return at + 3;
	}
	return 0;
}

static struct slice header_of(struct search *s)
{
	size_t want = HEADER_BYTES_FIRST, end = 0, looked = 0;

	if (s->has_header)
		return buf_slice(&s->header);
	s->has_header = true;
	buf_reset(&s->header);
	while (end == 0 && s->header.len < s->info.size && s->header.len < IMAP_HEADER_BYTES_MAX) {
		size_t had = s->header.len;
		enum mailbox_result result = mailbox_read_near(
			s->r->s->box, &s->info, had, want, &s->window, &s->header);

		if (result != MAILBOX_OK) {
			fail(s, result);
			break;
		}
		if (s->header.len == had)
			break;
		end = header_end(buf_slice(&s->header), looked);
		/* A blank line may lie across the pieces. */
		looked = s->header.len > 3 ? s->header.len - 3 : 0;
		want = MIN(s->header.len, IMAP_HEADER_BYTES_MAX - s->header.len);
	}
	if (end > 0)
		buf_truncate(&s->header, end);
	return buf_slice(&s->header);
}

static bool sent_day(struct search *s, int64_t *day)
{
	struct slice value;
	int64_t seconds;
	int zone;

	if (!header_find(header_of(s), "date", &value) || !date_parse(value, &seconds, &zone))
		return false;
	/* "disregarding time and timezone" (RFC 9051 §6.4.4): the day that the sender wrote. */
	*day = imapdate_day_of(seconds, zone);
	return true;
}

static bool load_body(struct search *s)
{
	enum mailbox_result result = MAILBOX_OK;

	if (s->mime != NULL)
		return true;
	if (s->info.size > BODY_KEPT_BYTES) {
		s->mime = imap_mime(s->r, &s->arena, &s->info, (struct slice){ 0 }, &result);
	} else {
		buf_reset(&s->body);
		while (result == MAILBOX_OK && s->body.len < s->info.size) {
			size_t had = s->body.len;

			result = mailbox_read_near(s->r->s->box, &s->info, had, s->info.size - had,
						   &s->window, &s->body);
			if (s->body.len == had)
				break;
		}
		if (result == MAILBOX_OK) {
			s->has_body = true;
			s->mime = mime_parse(&s->arena, buf_slice(&s->body));
			if (s->mime == NULL)
				result = MAILBOX_MEMORY;
		}
	}
	if (s->mime == NULL)
		fail(s, result);
	return s->mime != NULL;
}

/* Many keys on one message would keep all other sessions waiting. */
static void take_turns(struct search *s, uint64_t bytes)
{
	s->searched_bytes += bytes;
	if (s->searched_bytes > BYTES_IN_TURN) {
		s->searched_bytes = 0;
		fiber_yield();
	}
}

static bool text_matches(struct search *s, const struct search_key *k)
{
	struct search_text *search;
	bool found = false;

	/* The empty string is in every text. */
	if (k->text.len == 0)
		return true;
	if (!load_body(s))
		return false;
	take_turns(s, s->info.size);
	search = search_text_new(&s->arena, s->mime, k->text, k->op == SEARCH_TEXT);
	if (search == NULL) {
		fail(s, MAILBOX_MEMORY);
		return false;
	}
	if (s->has_body) {
		found = search_text_feed(search, buf_slice(&s->body));
	} else {
		AUTO_BUF struct buf chunk = BUF_INIT(CHUNK_BYTES);
		enum mailbox_result result = MAILBOX_OK;

		for (uint64_t at = 0; !found && at < s->info.size; at += chunk.len) {
			buf_reset(&chunk);
			result = mailbox_read(s->r->s->box, &s->info, at, CHUNK_BYTES, &chunk);
			if (result != MAILBOX_OK || chunk.len == 0)
				break;
			found = search_text_feed(search, buf_slice(&chunk));
		}
		if (result != MAILBOX_OK)
			fail(s, result);
	}
	found = search_text_end(search) || found;
	search_text_free(search);
	return found;
}

static bool header_matches(struct search *s, const struct search_key *k)
{
	int found;

	take_turns(s, header_of(s).len);
	switch (k->op) {
	case SEARCH_SUBJECT:
		if (k->text.len == 0)
			return true;
		found = search_subject(&s->arena, header_of(s), k->text);
		break;
	case SEARCH_ADDRESS:
		if (k->text.len == 0)
			return true;
		found = search_address(&s->arena, header_of(s), (const char *)k->name.ptr, k->text);
		break;
	default:
		/* Here the empty string asks for the field's presence (RFC 9051 §6.4.4). */
		found = k->name.len > 0 &&
			search_header(&s->arena, header_of(s), (const char *)k->name.ptr, k->text);
		break;
	}
	if (found < 0)
		fail(s, MAILBOX_MEMORY);
	return found > 0;
}

static bool emailid_matches(const struct search *s, struct slice id)
{
	AUTO_BUF struct buf own = BUF_INIT(128);

	message_emailid(s->info.email_id, &own);
	return slice_eq(buf_slice(&own), id);
}

static bool day_matches(enum search_op op, int64_t day, int64_t asked)
{
	switch (op) {
	case SEARCH_BEFORE: case SEARCH_SENTBEFORE:
		return day < asked;
	case SEARCH_ON: case SEARCH_SENTON:
		return day == asked;
	default:
		return day >= asked;
	}
}

static const uint8_t flag_bits[] = {
	[SEARCH_SEEN] = FLAG_SEEN,	 [SEARCH_ANSWERED] = FLAG_ANSWERED,
	[SEARCH_FLAGGED] = FLAG_FLAGGED, [SEARCH_DELETED] = FLAG_DELETED,
	[SEARCH_DRAFT] = FLAG_DRAFT,
};

/* Recursion is bounded by IMAP_SEARCH_DEPTH_MAX. */
static bool evaluate(struct search *s, const struct search_key *k)
{
	int64_t day;

	switch (k->op) {
	case SEARCH_ALL:
		return true;
	case SEARCH_AND:
		for (const struct search_key *c = k->children; c != NULL; c = c->next) {
			if (!evaluate(s, c))
				return false;
		}
		return true;
	case SEARCH_OR:
		for (const struct search_key *c = k->children; c != NULL; c = c->next) {
			if (evaluate(s, c))
				return true;
		}
		return false;
	case SEARCH_NOT:
		return !evaluate(s, k->children);
	case SEARCH_SEQ:
		return seqset_has(&k->set, s->seq);
	case SEARCH_UID:
		return seqset_has(&k->set, s->info.uid);
	case SEARCH_FLAG:
		return (s->info.flags & flag_bits[k->flag]) != 0;
	case SEARCH_KEYWORD:
		return (s->info.keywords & (uint64_t)k->value) != 0;
	case SEARCH_RECENT:
		return !s->r->s->rev2 && mailbox_recent(s->r->s->box, s->info.uid);
	case SEARCH_BEFORE: case SEARCH_ON: case SEARCH_SINCE:
		/* The day that INTERNALDATE shows. */
		return day_matches(k->op, imapdate_day_of(s->info.internaldate_s, s->info.tz_minutes),
				   k->value);
	case SEARCH_SENTBEFORE: case SEARCH_SENTON: case SEARCH_SENTSINCE:
		return sent_day(s, &day) && day_matches(k->op, day, k->value);
	case SEARCH_OLDER:
		return s->info.internaldate_s <= s->now_s - k->value;
	case SEARCH_YOUNGER:
		return s->info.internaldate_s >= s->now_s - k->value;
	case SEARCH_LARGER:
		return (int64_t)s->info.size > k->value;
	case SEARCH_SMALLER:
		return (int64_t)s->info.size < k->value;
	case SEARCH_HEADER: case SEARCH_ADDRESS: case SEARCH_SUBJECT:
		return header_matches(s, k);
	case SEARCH_BODY: case SEARCH_TEXT:
		return text_matches(s, k);
	case SEARCH_MODSEQ:
		return s->info.modseq >= (uint64_t)k->value;
	case SEARCH_EMAILID:
		return emailid_matches(s, k->text);
	case SEARCH_THREADID:
		return false;		/* FETCH THREADID is NIL for all (RFC 8474 §5.2) */
	}
	return false;
}

/* ---- all messages ---- */

/* A set at the top level saves looking at the others. */
static const struct search_key *top_set(const struct search_program *p)
{
	for (const struct search_key *c = p->root->children; c != NULL; c = c->next) {
		if (c->op == SEARCH_SEQ || c->op == SEARCH_UID)
			return c;
	}
	return NULL;
}

static void search_all(struct search *s)
{
	struct imap_run *r = s->r;
	const struct search_program *p = &r->c.search.program;
	const struct search_key *set = top_set(p);
	struct seqset_range everything = { 1, UINT32_MAX };
	struct seqset all = { .ranges = &everything, .count = 1 };
	struct imap_walk w;
	uint32_t uid, looked = 0;

	imap_walk_start(&w, r, set != NULL ? &set->set : &all, set != NULL && set->op == SEARCH_UID);
	while (s->failed == MAILBOX_OK && imap_walk_next(&w, &s->seq, &uid)) {
		if (++looked % MESSAGES_IN_TURN == 0)
			fiber_yield();
		if (!mailbox_message(r->s->box, uid, &s->info))
			continue;
		s->has_header = s->has_body = false;
		s->mime = NULL;
		if (evaluate(s, p->root)) {
			struct hit hit = { s->seq, uid };

			buf_add(&s->hits, slice_of(&hit, sizeof(hit)));
			s->highest_modseq = MAX(s->highest_modseq, s->info.modseq);
		}
		arena_reset(&s->arena);
	}
	if (s->hits.err != 0 && s->failed == MAILBOX_OK)
		s->failed = MAILBOX_MEMORY;
}

/* ---- answers ---- */

struct hits {
	const struct hit *at;
	size_t count;
};

static uint32_t shown(const struct imap_run *r, const struct hit *hit)
{
	return r->c.uid ? hit->uid : hit->seq;
}

static void write_numbers(struct imap_run *r, const char *word, struct hits hits,
			  uint64_t highest_modseq)
{
	struct buf *out = &r->out;

	buf_adds(out, word);
	for (size_t i = 0; i < hits.count; i++) {
		buf_addc(out, ' ');
		buf_dec(out, shown(r, &hits.at[i]));
		if (out->len > 32768)
			imap_send(r);
	}
	/* RFC 7162 §3.1.5 */
	if (r->c.search.program.modseq && hits.count > 0) {
		buf_adds(out, " (MODSEQ ");
		buf_dec(out, highest_modseq);
		buf_addc(out, ')');
	}
	buf_adds(out, "\r\n");
}

/* RFC 4731 §3.2: of the messages that the answer names, when it names only the first or the last. */
static uint64_t shown_modseq(struct imap_run *r, uint8_t returns, struct hits hits, uint64_t highest)
{
	struct message_info first, last;
	uint64_t modseq = 0;

	if (returns & (RETURN_ALL | RETURN_COUNT) || !(returns & (RETURN_MIN | RETURN_MAX)))
		return highest;
	if (returns & RETURN_MIN && mailbox_message(r->s->box, hits.at[0].uid, &first))
		modseq = first.modseq;
	if (returns & RETURN_MAX &&
	    mailbox_message(r->s->box, hits.at[hits.count - 1].uid, &last))
		modseq = MAX(modseq, last.modseq);
	return modseq;
}

/* RFC 4731 §3.1, RFC 9051 §7.3.4 */
static void write_esearch(struct imap_run *r, uint8_t returns, struct hits hits,
			  uint64_t highest_modseq)
{
	struct buf *out = &r->out;

	buf_adds(out, "* ESEARCH (TAG \"");
	buf_add(out, r->c.tag);
	buf_adds(out, "\")");
	if (r->c.uid)
		buf_adds(out, " UID");
	if (returns & RETURN_MIN && hits.count > 0) {
		buf_adds(out, " MIN ");
		buf_dec(out, shown(r, &hits.at[0]));
	}
	if (returns & RETURN_MAX && hits.count > 0) {
		buf_adds(out, " MAX ");
		buf_dec(out, shown(r, &hits.at[hits.count - 1]));
	}
	if (returns & RETURN_ALL && hits.count > 0) {
		struct seqset_writer w = { .out = out };

		buf_adds(out, " ALL ");
		for (size_t i = 0; i < hits.count; i++)
			seqset_writer_add(&w, shown(r, &hits.at[i]));
		seqset_writer_end(&w);
	}
	if (returns & RETURN_COUNT) {
		buf_adds(out, " COUNT ");
		buf_dec(out, hits.count);
	}
	if (r->c.search.program.modseq && hits.count > 0) {
		buf_adds(out, " MODSEQ ");
		buf_dec(out, shown_modseq(r, returns, hits, highest_modseq));
	}
	buf_adds(out, "\r\n");
}

/* Keep the result as "$" (RFC 5182 §2.1); with MIN or MAX alone only what they name (§2.4). */
static bool save_result(struct imap_run *r, uint8_t returns, struct hits hits)
{
	struct imap_session *s = r->s;
	bool all = returns & (RETURN_ALL | RETURN_COUNT) || !(returns & (RETURN_MIN | RETURN_MAX));
	struct uid_range *ranges = calloc(hits.count + 1, sizeof(*ranges));
	struct uid_range *smaller;
	size_t n = 0;
	uint32_t last_seq = 0;

	if (ranges == NULL)
		return false;
	for (size_t i = 0; i < hits.count; i++) {
		bool first = i == 0, last = i + 1 == hits.count;

		if (!all && !(first && returns & RETURN_MIN) && !(last && returns & RETURN_MAX))
			continue;
		if (n > 0 && hits.at[i].seq == last_seq + 1)
			ranges[n - 1].last = hits.at[i].uid;
		else
			ranges[n++] = (struct uid_range){ hits.at[i].uid, hits.at[i].uid };
		last_seq = hits.at[i].seq;
	}
	free(s->saved);
	smaller = realloc(ranges, (n + 1) * sizeof(*ranges));
	s->saved = smaller != NULL ? smaller : ranges;
	s->saved_count = n;
	return true;
}

static void answer_search(struct search *s, struct hits hits)
{
	struct imap_run *r = s->r;
	struct search_program *p = &r->c.search.program;
	uint8_t returns = p->extended ? p->returns : RETURN_ALL;

	if (returns & RETURN_SAVE && !save_result(r, returns, hits)) {
		imap_result(r, MAILBOX_MEMORY, false, NULL);
		return;
	}
	if (!p->extended && !r->s->rev2)
		write_numbers(r, "* SEARCH", hits, s->highest_modseq);
	else if (returns & (RETURN_MIN | RETURN_MAX | RETURN_ALL | RETURN_COUNT))
		write_esearch(r, returns, hits, s->highest_modseq);
	imap_ok(r, "Done");
}

/* ---- SORT and THREAD: envelopes of all hits, in batches ---- */

typedef bool with_envelope(void *arg, struct arena *arena, size_t index,
			   const struct message_info *info, const struct envelope *env);

static bool envelope_batch(struct search *s, struct arena *arena, struct hits hits, size_t from,
			   size_t count, with_envelope *fn, void *arg)
{
	struct imap_run *r = s->r;
	struct message_info *infos = arena_array(arena, count, sizeof(*infos));
	struct slice *summaries = arena_array(arena, count, sizeof(*summaries));
	size_t *indexes = arena_array(arena, count, sizeof(*indexes)), n = 0;

	if (infos == NULL || summaries == NULL || indexes == NULL)
		return false;
	for (size_t i = 0; i < count; i++) {
		indexes[n] = from + i;
		n += mailbox_message(r->s->box, hits.at[from + i].uid, &infos[n]);
	}
	s->failed = mailbox_summaries(r->s->box, infos, n, arena, summaries);
	for (size_t i = 0; i < n && s->failed == MAILBOX_OK; i++) {
		enum mailbox_result why;
		const struct mime *mime;
		AUTO_ARENA struct arena tree = ARENA_INIT(MIME_ARENA_BYTES);

		mime = imap_mime(r, &tree, &infos[i], summaries[i], &why);
		if (mime == NULL && why == MAILBOX_EXPUNGED)
			continue;
		if (mime == NULL)
			s->failed = why;
		else if (!fn(arg, &tree, indexes[i], &infos[i], mime->root->envelope))
			return false;
	}
	return true;
}

static bool envelopes(struct search *s, struct hits hits, with_envelope *fn, void *arg)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(BATCH_ARENA_BYTES);

	for (size_t i = 0; i < hits.count && s->failed == MAILBOX_OK; i += BATCH_MESSAGES) {
		if (!envelope_batch(s, &arena, hits, i, MIN(BATCH_MESSAGES, hits.count - i), fn, arg))
			s->failed = MAILBOX_MEMORY;
		arena_reset(&arena);
	}
	return s->failed == MAILBOX_OK;
}

struct sorting {
	struct imap_run *r;
	struct arena kept;
	struct hits hits;
	struct sort_item *items;
	struct thread_item *threads;
	size_t count;
};

static bool keep(struct sorting *k, struct slice *s)
{
	if (s->len > 0)
		*s = arena_dup(&k->kept, *s);
	return k->kept.err == 0;
}

static bool add_sort_item(void *arg, struct arena *arena, size_t index,
			  const struct message_info *info, const struct envelope *env)
{
	struct sorting *k = arg;
	struct sort_item *item = &k->items[k->count++];

	*item = (struct sort_item){
		.number = k->hits.at[index].seq,
		.uid = info->uid,
		.arrival_s = info->internaldate_s,
		.size = info->size,
	};
	return sort_item_fill(arena, item, k->r->c.search.sort, env) && keep(k, &item->cc) &&
	       keep(k, &item->from) && keep(k, &item->to) && keep(k, &item->subject);
}

static void answer_sort(struct search *s, struct sorting *k)
{
	struct imap_run *r = s->r;
	struct hit *sorted;

	k->items = arena_array(&k->kept, k->hits.count, sizeof(*k->items));
	sorted = arena_array(&k->kept, k->hits.count, sizeof(*sorted));
	if (k->items == NULL || sorted == NULL) {
		s->failed = MAILBOX_MEMORY;
		return;
	}
	if (!envelopes(s, k->hits, add_sort_item, k))
		return;
	sort_items(k->items, k->count, r->c.search.sort);
	for (size_t i = 0; i < k->count; i++)
		sorted[i] = (struct hit){ k->items[i].number, k->items[i].uid };
	write_numbers(r, "* SORT", (struct hits){ sorted, k->count }, s->highest_modseq);
	imap_ok(r, "Done");
}

static bool add_thread_item(void *arg, struct arena *arena, size_t index,
			    const struct message_info *info, const struct envelope *env)
{
	struct sorting *k = arg;
	struct thread_item *item = &k->threads[k->count++];
	struct slice *refs;

	*item = (struct thread_item){
		.number = shown(k->r, &k->hits.at[index]),
		.order = k->hits.at[index].seq,
	};
	if (!thread_item_fill(arena, item, env, info->internaldate_s) || !keep(k, &item->subject) ||
	    !keep(k, &item->msgid))
		return false;
	refs = arena_array(&k->kept, item->ref_count, sizeof(*refs));
	if (refs == NULL)
		return false;
	for (uint32_t i = 0; i < item->ref_count; i++) {
		refs[i] = item->refs[i];
		if (!keep(k, &refs[i]))
			return false;
	}
	item->refs = refs;
	return true;
}

static void answer_thread(struct search *s, struct sorting *k)
{
	struct imap_run *r = s->r;
	bool ok;

	k->threads = arena_array(&k->kept, k->hits.count, sizeof(*k->threads));
	if (k->threads == NULL) {
		s->failed = MAILBOX_MEMORY;
		return;
	}
	if (!envelopes(s, k->hits, add_thread_item, k))
		return;
	buf_adds(&r->out, k->count > 0 ? "* THREAD " : "* THREAD");
	ok = r->c.search.references
		     ? thread_references(&k->kept, k->threads, k->count, &r->out)
		     : thread_orderedsubject(&k->kept, k->threads, k->count, &r->out);
	if (!ok) {
		buf_reset(&r->out);
		s->failed = MAILBOX_MEMORY;
		return;
	}
	buf_adds(&r->out, "\r\n");
	imap_ok(r, "Done");
}

static void answer(struct search *s)
{
	struct hits hits = { (const struct hit *)(const void *)s->hits.ptr,
			     s->hits.len / sizeof(struct hit) };
	struct sorting k = { .r = s->r, .kept = ARENA_INIT(IMAP_SORT_BYTES_MAX), .hits = hits };

	if (s->r->c.name == IMAP_SEARCH)
		answer_search(s, hits);
	else if (s->r->c.name == IMAP_SORT)
		answer_sort(s, &k);
	else
		answer_thread(s, &k);
	arena_done(&k.kept);
}

void imap_do_search(struct imap_run *r)
{
	struct search_program *p = &r->c.search.program;
	const struct charset *charset = NULL;
	struct search s = {
		.r = r,
		.now_s = world_real_us(r->s->base.sv->world) / 1000000,
		.arena = ARENA_INIT(MIME_ARENA_BYTES + (4u << 20)),
		.header = BUF_INIT(IMAP_HEADER_BYTES_MAX),
		.body = BUF_INIT(BODY_KEPT_BYTES),
		.window = { .bytes = BUF_INIT(READ_WINDOW_BYTES) },
		.hits = BUF_INIT(IMAP_SORT_BYTES_MAX),
	};

	if (p->charset.len > 0) {
		charset = charset_find(p->charset);
		if (charset == NULL) {
			/* RFC 9051 §7.1: the charsets that are surely there. */
			imap_no(r, "BADCHARSET (US-ASCII UTF-8)", "No such charset");
			if (p->returns & RETURN_SAVE)
				r->s->saved_count = 0;	/* as below */
			return;
		}
	}
	if (p->modseq)
		imap_enable_condstore(r);
	prepare(r, charset, p->root);
	if (r->arena.err != 0)
		s.failed = MAILBOX_MEMORY;
	else
		search_all(&s);
	if (s.failed == MAILBOX_OK)
		answer(&s);
	if (s.failed != MAILBOX_OK)
		imap_result(r, s.failed, false, NULL);
	/* RFC 5182 §2.1: a failed SEARCH with SAVE leaves "$" empty. */
	if (s.failed != MAILBOX_OK && p->returns & RETURN_SAVE)
		r->s->saved_count = 0;
	arena_done(&s.arena);
	buf_done(&s.header);
	buf_done(&s.body);
	buf_done(&s.window.bytes);
	buf_done(&s.hits);
}
