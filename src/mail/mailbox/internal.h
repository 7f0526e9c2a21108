/*
 * The inside of the mailbox layer: what its files share, and nobody else includes.
 *
 * State of an account is loaded and changed through one path, state_set and state_unset, which
 * take keys of the head: the answer of a read and the steps of our own commit look the
 * same to it. So what a process has in memory is what it would have read.
 */
#pragma once
#include "base/list.h"
#include "base/map.h"
#include "mail/mailbox/format.h"
#include "mail/mailbox/mailbox.h"
#include "sys/fiber.h"

/* ---- messages of a folder, newest state, ascending UIDs ---- */

struct table {
	struct list link;		/* in state.tables */
	uint32_t folder;
	unsigned users;			/* open mailboxes; 0: may be dropped */
	bool loaded;
	struct message_info *rows;
	uint32_t count, cap;
};
/* Index of the first row with at least this UID; count when none. */
uint32_t table_lower(const struct table *t, uint32_t uid);
struct message_info *table_find(const struct table *t, uint32_t uid);
/* False: memory, or the change is damaged; then the table is to be loaded again. */
MUST_USE bool table_apply(struct table *t, struct change c, uint64_t modseq);
/* Insert or replace. */
MUST_USE bool table_put(struct table *t, const struct message_info *m);
void table_free(struct table *t);

/* ---- where the next bytes of a bucket go ---- */

/*
 * Appends of this process go one behind the other without waiting: each takes the place where those
 * under way will have ended. A guess costs nothing but a failed guard. After one, and in the
 * beginning, a single append goes alone, at a length that the engine has told.
 */
struct tail {
	bool known;
	bool alone;			/* the length was told, and nothing was appended there yet */
	bool asking;
	uint32_t fragment;
	uint64_t length;		/* with what is under way */
	unsigned under_way;
	struct tail_waiter *waiters;	/* fibers */
};

/* ---- an account in this process ---- */

struct journal_part {
	uint64_t modseq;
	uint16_t part;
	uint32_t len;
	uint8_t *bytes;			/* malloc'd */
};

struct subscription {
	uint32_t id;
	char *name;
};

struct remembered {
	uint8_t id[EMAIL_ID_BYTES];
	struct delivery_tries tries;
};

struct place {
	uint8_t bucket;
	uint32_t fragment;
};

struct accounts {
	struct world *world;
	struct accounts_options options;
	struct map states;
	struct list idle;		/* least recently used first */
	size_t bytes;
};

struct state {
	struct map_node node;		/* in accounts.states */
	struct list idle;		/* in accounts.idle while users == 0 */
	struct accounts *all;
	char id[ACCOUNT_ID_BYTES];
	unsigned users;
	size_t counted_bytes;		/* what accounts.bytes holds of us */
	struct fiber_mutex lock;	/* around everything that reads or writes the head */

	bool loaded;
	struct header h;
	struct buf head;		/* the value of "h" as stored: the guard */
	struct folder *folders;		/* by id */
	size_t folder_count, folder_cap;
	struct subscription *subs;	/* by id */
	size_t sub_count, sub_cap;
	struct slice keywords[KEYWORDS_MAX];	/* malloc'd each */
	size_t keyword_count;
	struct folder *doomed;		/* deleted, ranges remain */
	size_t doomed_count, doomed_cap;
	struct place *condemned;
	size_t condemned_count, condemned_cap;
	struct remembered *remembered;
	size_t remembered_count, remembered_cap;
	struct journal_part *journal;
	size_t journal_count, journal_cap, journal_bytes;
	struct list tables;
	struct tail tails[BUCKETS_MAX];
	int64_t streams_checked_us;	/* monotonic; 0: not yet */
};

struct account {
	struct state *s;
	struct engine *e;
	struct world *w;
	struct quota quota;
};

void account_lock(struct account *a);
void account_unlock(struct account *a);

enum mailbox_result result_of(enum engine_result r);
/* Keys [from, to) of an object, all of them, in the arena. */
MUST_USE enum mailbox_result keys_all(struct engine *e, struct slice object, struct slice from,
				      struct slice to, struct arena *arena, struct engine_kv **out,
				      size_t *count);

/* All of the following want the lock. */
MUST_USE enum mailbox_result state_refresh(struct account *a);
struct folder *state_folder(const struct state *s, uint32_t id);
/* By name, already normalised; NULL when there is none. */
struct folder *state_folder_named(const struct state *s, struct slice name);
bool state_condemned(const struct state *s, uint8_t bucket, uint32_t fragment);
/* The folder's table, loaded; *out stays valid until the lock is released, or while users > 0. */
MUST_USE enum mailbox_result state_table(struct account *a, uint32_t folder, struct table **out);
/* The table if it is loaded, else NULL. */
struct table *state_table_cached(const struct state *s, uint32_t folder);
/* What the account holds in memory, for the cache's bound. */
void state_count_bytes(struct state *s);

/* ---- commits ---- */

struct commit {
	struct account *a;
	struct arena arena;
	struct engine_step *steps;	/* ENGINE_STEPS_MAX of them; [0] guard, [1] header */
	size_t count, bytes;
	struct header h;
	bool visible;			/* gives a new modseq */
	struct folder **folders;	/* changed copies */
	size_t folder_count;
	struct buf part;		/* the open journal part */
	uint16_t parts;
	struct buf scratch;
	enum mailbox_result err;	/* the first failure sticks */
};

/* One logical operation over several tries: recognises its own commit after a lost answer. */
struct attempt {
	struct account *a;
	uint64_t nonce;
	bool unknown;			/* an earlier try may have been done */
	uint64_t unknown_from;		/* modseq of the first such try */
	unsigned races, failures;
};
void attempt_begin(struct attempt *t, struct account *a);
/*
 * After commit_submit: true, compute and try again (the state is fresh). False: *r is final.
 */
MUST_USE bool attempt_again(struct attempt *t, enum mailbox_result *r);

void commit_begin(struct commit *c, struct attempt *t, bool visible);
void commit_done(struct commit *c);
/* Values and keys are copied. */
void commit_set(struct commit *c, const struct stored_name *key, struct slice value);
void commit_delete(struct commit *c, const struct stored_name *key);
/* A copy of the folder to change; it is written at commit_submit. NULL: failed or unknown. */
struct folder *commit_folder(struct commit *c, uint32_t id);
/* Give the folder the commit's modseq. */
void commit_touch(struct commit *c, struct folder *f);
void commit_change_add(struct commit *c, uint32_t folder, const struct message_info *m);
void commit_change_flags(struct commit *c, uint32_t folder, const struct store_request *r,
			 const struct uid_range *ranges, size_t count);
void commit_change_items(struct commit *c, enum change_kind kind, uint32_t folder,
			 const struct change_item *items, size_t count);
/* Write it. MAILBOX_UNAVAILABLE: outcome unknown. attempt_again makes sense of that and of MAILBOX_RACE. */
MUST_USE enum mailbox_result commit_submit(struct commit *c, struct attempt *t);

/* ---- counts of a folder when a message comes, goes or changes ---- */

void folder_count_add(struct folder *f, const struct message_info *m);
void folder_count_remove(struct folder *f, const struct message_info *m);

/* ---- merging ---- */

/*
 * Give UIDs to new deliveries; with claim, that folder's messages stop being recent for
 * others: [*recent_from, *recent_to) are the claimer's (empty when equal).
 */
MUST_USE enum mailbox_result state_merge(struct account *a, uint32_t claim, uint32_t *recent_from,
					 uint32_t *recent_to);

/* ---- fragments and streams ---- */

/*
 * Append one record and its bytes. tail is the caller's memory of the bucket; r->stored_bytes is
 * set here. *fragment is set before each attempt to append, so on ENGINE_UNAVAILABLE it names
 * the only place that the record may reach. Once *stop (may be NULL) is true no further attempt
 * begins.
 */
MUST_USE enum engine_result fragment_append(struct engine *e, const char account[ACCOUNT_ID_BYTES],
					    uint8_t bucket, struct tail *tail, struct record *r,
					    const struct slice *body, size_t body_count,
					    struct slice summary, const bool *stop,
					    uint32_t *fragment, uint32_t *offset);
/* Where the bucket ends now. */
MUST_USE enum engine_result fragment_probe(struct engine *e, const char account[ACCOUNT_ID_BYTES],
					   uint8_t bucket, struct tail *tail);

struct body_stream {
	uint8_t id[EMAIL_ID_BYTES];
	uint64_t length;
};
/* Append bytes to a stream's chunks; st->length tells how far it came, also on failure. */
MUST_USE enum engine_result body_stream_write(struct engine *e, struct world *w,
					 const char account[ACCOUNT_ID_BYTES], struct body_stream *st,
					 struct slice bytes);

/* Body bytes of a message without a mailbox: fsck, export, compaction. */
MUST_USE enum mailbox_result body_read(struct account *a, const struct message_info *m, uint64_t at,
				       size_t n, struct buf *out);

/* The stream that holds the bytes of a message whose offset says OFFSET_STREAM. */
MUST_USE enum mailbox_result body_stream_id(struct account *a, const struct message_info *m,
					    uint8_t id[EMAIL_ID_BYTES]);

/* ---- names ---- */

/* Check and normalise ("inbox/x" to "INBOX/x"), in the arena. False: not allowed. */
MUST_USE bool folder_name_normal(struct slice name, struct arena *arena, struct slice *out);

/* ---- upkeep ---- */

/*
 * About how many bytes of fragments are dead: what makes compaction look at one. A key
 * z <bucket> <group> has HINT_GROUP numbers, of fragments group * HINT_GROUP and so on.
 */
#define HINT_GROUP 64u
MUST_USE enum mailbox_result hints_read(struct account *a, uint8_t bucket, uint32_t group,
					uint64_t bytes[HINT_GROUP]);
void hints_write(struct commit *c, uint8_t bucket, uint32_t group, const uint64_t bytes[HINT_GROUP]);

#define FOLD_PARTS SIZE_OF(256u, 4u)		/* journal parts that make us fold at the next maintenance, */
#define FOLD_BYTES (256u << 10)
#define FOLD_PARTS_HARD SIZE_OF(1024u, 8u)	/* and at once, in the commit that passes it */
#define FOLD_BYTES_HARD (4u << 20)
/* Write the journal's changes into ranges and trim it. Nothing is wrong if it fails: it is due again. */
MUST_USE enum mailbox_result state_fold(struct account *a);
/* After a commit: fold if the journal is far too long. The commit stands whatever happens here. */
void state_fold_hard(struct account *a);
static inline bool state_fold_due(const struct state *s, bool hard)
{
	return hard ? s->journal_count > FOLD_PARTS_HARD || s->journal_bytes > FOLD_BYTES_HARD :
		      s->journal_count > FOLD_PARTS || s->journal_bytes > FOLD_BYTES;
}
