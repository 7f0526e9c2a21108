/*
 * An account's folders and messages as sessions see them (IMAP, POP3, later JMAP).
 *
 * How it holds together: the account head object is the only commit point. A change reads
 * the head's state, computes, and submits one guarded operation; if another process was
 * first, it loads what that one did and computes again. So sessions in any number of
 * processes see all changes in one order, that of the account-wide modseq.
 *
 * struct accounts	what a process remembers of accounts, bounded in memory
 * struct account	one session's handle: engine (with its grant), quota, shared state
 * struct mailbox	one selected folder: the session's own numbering of messages
 *
 * All calls may block the calling fiber on the engine; several fibers may work on one
 * account. Outside of fibers (tools, tests) they block the thread. New deliveries join the
 * folder ("merge") inside account_refresh, account_status, mailbox_open and mailbox_sync.
 *
 * Names are UTF-8, levels separated by '/'. "INBOX" is matched without case, also as first
 * level. Whoever needs modified UTF-7 (IMAP4rev1) converts outside.
 */
#pragma once
#include "base/buf.h"
#include "engine/engine.h"
#include "mail/mailbox/types.h"
#include "sys/world.h"

struct accounts;
struct account;
struct mailbox;

/* ---- accounts of this process ---- */

/*
 * buckets     spread of each account: 1 for the embedded engine
 * cache_bytes what to keep of accounts without open handles; those in use are never dropped
 */
struct accounts_options {
	uint8_t buckets;
	size_t cache_bytes;
};
/* 0 or -ENOMEM. world is borrowed for the life of the result. */
MUST_USE int accounts_new(struct world *world, const struct accounts_options *o,
			  struct accounts **out);
/* All handles must be closed. NULL is fine. */
void accounts_free(struct accounts *a);
/* Bytes held now, for metrics. */
size_t accounts_bytes(const struct accounts *a);

/* 0 is no limit. */
struct quota {
	uint64_t bytes_max;
	uint64_t messages_max;
};

/*
 * A handle on an account; makes the account (INBOX alone) when its head does not exist.
 *
 * engine  the calls go through this one: it carries the session's grant. Borrowed.
 * id      ACCOUNT_ID_BYTES lowercase hex digits
 *
 * One engine call when the account is cached, two or three when not. Does not merge.
 */
MUST_USE enum mailbox_result account_open(struct accounts *all, struct engine *engine,
					  struct slice id, struct quota quota,
					  struct account **out);
/* Mailboxes opened through it must be closed before. NULL is fine. */
void account_close(struct account *a);

/* The configured quota changed (auth says so). */
void account_set_quota(struct account *a, struct quota quota);
/* Usage as RFC 9208 STORAGE/MESSAGE want it: bytes (not KiB) and messages, merged ones. */
struct account_usage {
	uint64_t bytes, messages;
	struct quota quota;
};
void account_usage(const struct account *a, struct account_usage *out);

/*
 * Merge new deliveries and load what other processes changed. Two engine calls when nothing
 * is new. The others below do this on their own where IMAP wants fresh answers.
 */
MUST_USE enum mailbox_result account_refresh(struct account *a);

/*
 * fn(arg) soon after something changed in the account or was delivered to it, from any
 * process (also by ourselves). Then call mailbox_sync. 0 or -errno.
 */
MUST_USE int account_watch(struct account *a, void (*fn)(void *arg), void *arg, uint64_t *id);
void account_unwatch(struct account *a, uint64_t id);

/*
 * Names of the account's keywords: bit i of message_info.keywords is names[i]. Valid until
 * the next call on the account; *count <= KEYWORDS_MAX. Matching is without ASCII case.
 */
const struct slice *account_keywords(const struct account *a, size_t *count);
/*
 * Bits for keyword names, making those that are new (one commit). names are RFC 9051
 * flag-keywords, checked by the caller. MAILBOX_LIMIT when the account has 64 already or a
 * name is longer than KEYWORD_BYTES_MAX.
 */
MUST_USE enum mailbox_result account_keyword_bits(struct account *a, const struct slice *names,
						  size_t count, uint64_t *out);
/* The bits of those that exist; unknown names are left out (SEARCH KEYWORD). */
uint64_t account_keyword_known(const struct account *a, const struct slice *names, size_t count);

/* ---- folders ---- */

struct folder_info {
	struct slice name;
	uint32_t id;			/* FOLDER_NONE: nonexistent, only a parent or a subscription */
	bool subscribed;
	bool has_children;
	bool subscribed_below;		/* a descendant is subscribed (CHILDINFO) */
	uint8_t special_use;		/* bits */
	/* The rest is 0 when the folder does not exist. */
	uint32_t uidvalidity, uidnext;
	uint32_t messages, unseen, deleted, recent;
	uint64_t size;			/* bytes of all messages, STATUS SIZE */
	uint64_t deleted_size;
	uint64_t highestmodseq;
};

/*
 * All names: folders, parents that do not exist (id FOLDER_NONE) and subscribed names
 * without folder, in order of bytes with INBOX first. In the arena, a copy of one moment. As fresh as the last
 * refresh; call account_refresh first for LIST ... RETURN (STATUS).
 */
MUST_USE enum mailbox_result account_folders(struct account *a, struct arena *arena,
					     struct folder_info **out, size_t *count);
/*
 * Two lists of names as one, of any accounts: parents that miss are added, each name stands once, and flags of what is below are right when
 * b has none of its own. In the arena; names are borrowed.
 */
MUST_USE enum mailbox_result folder_infos_join(struct arena *arena, const struct folder_info *a, size_t a_count, const struct folder_info *b,
					       size_t b_count, struct folder_info **out, size_t *count);
/* STATUS of one folder, merged first. out->name is in the arena. */
MUST_USE enum mailbox_result account_status(struct account *a, struct slice name,
					    struct arena *arena, struct folder_info *out);
/* RFC 8474 MAILBOXID: append e.g. "F7-1700000000" (id and uidvalidity; never used again). */
void folder_mailboxid(uint32_t id, uint32_t uidvalidity, struct buf *out);
/* RFC 8474 EMAILID: append "M" and 32 hex digits. Also UIDL. */
void message_emailid(const uint8_t email_id[EMAIL_ID_BYTES], struct buf *out);

/* Superior levels that miss are shown as nonexistent parents. *id may be NULL. */
MUST_USE enum mailbox_result folder_create(struct account *a, struct slice name,
					   uint8_t special_use, uint32_t *id);
/*
 * With all descendants. RENAME INBOX x moves INBOX's messages into a new folder x and
 * leaves INBOX empty, its children stay (RFC 9051 §6.3.6). Subscriptions do not move.
 */
MUST_USE enum mailbox_result folder_rename(struct account *a, struct slice from, struct slice to);
/* Messages are gone; descendants stay and the name remains as a nonexistent parent. */
MUST_USE enum mailbox_result folder_delete(struct account *a, struct slice name);
/* By name, existing or not (RFC 9051 §6.3.7). Twice is fine. */
MUST_USE enum mailbox_result folder_subscribe(struct account *a, struct slice name, bool on);

/* ---- one selected folder ---- */

/*
 * Select (or with read_only examine) a folder, merged and synced. A writable select claims
 * the recent messages. Cold cost for 10,000 messages about 2 ms.
 */
MUST_USE enum mailbox_result mailbox_open(struct account *a, struct slice name, bool read_only,
					  struct mailbox **out);
void mailbox_close(struct mailbox *m);

/* Of the folder now; .name in the arena when one is given, else empty. */
void mailbox_status(const struct mailbox *m, struct folder_info *out);
bool mailbox_is_read_only(const struct mailbox *m);

/* The session's numbering: changes in mailbox_sync only. Sequence numbers start at 1. */
uint32_t mailbox_count(const struct mailbox *m);
/* 0 when seq is 0 or above the count. O(log ranges). */
uint32_t mailbox_uid(const struct mailbox *m, uint32_t seq);
/* 0 when the session has no such UID. */
uint32_t mailbox_seq(const struct mailbox *m, uint32_t uid);
/* Sequence number of the first message with at least this UID; count + 1 when none. */
uint32_t mailbox_seq_from(const struct mailbox *m, uint32_t uid);
/* First unseen message's sequence number (SELECT's UNSEEN of rev1), 0 when none. O(messages). */
uint32_t mailbox_first_unseen(struct mailbox *m);
/* This session has it as \Recent. */
bool mailbox_recent(const struct mailbox *m, uint32_t uid);
uint32_t mailbox_recent_count(const struct mailbox *m);

/*
 * The newest state of a message. False when it was expunged (also when this session was
 * not told yet). O(log messages), no engine call while the folder is loaded. *out is a copy.
 */
MUST_USE bool mailbox_message(struct mailbox *m, uint32_t uid, struct message_info *out);

struct message_change {
	uint32_t seq, uid;
	uint64_t modseq;
	bool own;			/* by this mailbox's own mailbox_store: told already */
};
/* All in the arena of the call. */
struct mailbox_changes {
	/* Sequence numbers for EXPUNGE, highest first, so that each is right when sent in order. */
	const uint32_t *expunged_seqs;
	size_t expunged_count;
	struct uid_ranges vanished;	/* the same messages by UID */
	uint32_t added;			/* new messages at the end; send EXISTS when > 0 */
	uint32_t exists, recent;	/* afterwards */
	const struct message_change *changed;	/* flags; seq after the expunges; without new ones */
	size_t changed_count;
	uint64_t highestmodseq;
	bool uidvalidity_gone;		/* the folder was deleted: end the selected state */
};

enum mailbox_sync_flags {
	SYNC_EXPUNGES = 1 << 0,		/* may report expunges: not during FETCH, STORE, SEARCH (RFC 9051 §7.5.1) */
	SYNC_LOCAL = 1 << 1,		/* no engine call: what this process knows already */
};
/*
 * Bring the session's numbering up to date and tell what changed since the last sync. Two
 * engine calls when nothing is new (none with SYNC_LOCAL); O(messages) only if something is.
 */
MUST_USE enum mailbox_result mailbox_sync(struct mailbox *m, unsigned flags, struct arena *arena,
					  struct mailbox_changes *out);

/* ---- changes ---- */

enum store_mode { STORE_REPLACE, STORE_ADD, STORE_REMOVE };

struct store_request {
	struct uid_ranges uids;
	enum store_mode mode;
	uint8_t flags;
	uint64_t keywords;
	bool has_unchangedsince;	/* RFC 7162 §3.1.3 */
	uint64_t unchangedsince;
};
struct store_result {
	const uint32_t *modified;	/* UIDs that failed UNCHANGEDSINCE, ascending: MODIFIED */
	size_t modified_count;
	const uint32_t *done;		/* UIDs that exist and passed, ascending (changed or already so) */
	size_t done_count;
	uint64_t modseq;		/* of the messages that really changed */
};
/* One commit, or none when nothing changes. UIDs that are gone are passed over. */
MUST_USE enum mailbox_result mailbox_store(struct mailbox *m, const struct store_request *r,
					   struct arena *arena, struct store_result *out);

/*
 * Expunge messages that have \Deleted; only those in *uids unless it is NULL (UID EXPUNGE,
 * POP3 gives its own set with all = true: \Deleted does not matter then). *uids_gone in the
 * arena (arena may be NULL). The session hears of them at its next mailbox_sync as well.
 */
MUST_USE enum mailbox_result mailbox_expunge(struct mailbox *m, const struct uid_ranges *uids,
					     bool all, struct arena *arena,
					     struct uid_ranges *uids_gone, uint64_t *modseq);

struct copy_result {
	uint32_t uidvalidity;		/* of the destination */
	const uint32_t *from, *to;	/* pairs, ascending: COPYUID */
	size_t count;
	uint64_t modseq;		/* of the expunges, for MOVE: HIGHESTMODSEQ */
};
enum copy_flags {
	COPY_MOVE = 1,
	COPY_WHOLE = 2,			/* all of the session's messages that uids names, or MAILBOX_EXPUNGED */
};
/*
 * COPY, or MOVE with COPY_MOVE: references only, all in one commit; flags are kept.
 * COPY_MESSAGES_MAX at once, else MAILBOX_LIMIT. Copying counts towards the quota. Without COPY_WHOLE
 * messages that others have expunged are passed over, as UID COPY wants it.
 */
MUST_USE enum mailbox_result mailbox_copy(struct mailbox *m, const struct uid_ranges *uids,
					  struct slice to, unsigned flags, struct arena *arena,
					  struct copy_result *out);

/* ---- reading ---- */

/*
 * Append n bytes of a message's body, from `at`, to out; fewer at its end.
 * MAILBOX_EXPUNGED when it is gone, MAILBOX_DAMAGED, MAILBOX_MEMORY (out is full).
 */
MUST_USE enum mailbox_result mailbox_read(struct mailbox *m, const struct message_info *msg,
					  uint64_t at, size_t n, struct buf *out);
/*
 * As mailbox_read, for a walk over many messages: what is stored behind the bytes comes along,
 * so that the neighbours need no engine call. The window is the caller's: zeroed, with
 * .bytes = BUF_INIT(READ_WINDOW_BYTES), released by buf_done(&w.bytes); for one account. It may be
 * kept, since stored bytes never change. It grows only while the walk goes forward in small steps.
 */
#define READ_WINDOW_BYTES (256u << 10)
struct read_window {
	struct buf bytes;
	uint64_t at;			/* of bytes, in the fragment */
	uint64_t end;			/* of the last read */
	size_t ahead;
	uint32_t fragment;
	uint8_t bucket;
};
MUST_USE enum mailbox_result mailbox_read_near(struct mailbox *m, const struct message_info *msg,
					       uint64_t at, size_t n, struct read_window *w,
					       struct buf *out);
/*
 * The summaries that were stored with messages; out[i] belongs to msgs[i], empty when there is
 * none. Neighbours in storage cost one engine call together, so ask for some hundred at once.
 */
MUST_USE enum mailbox_result mailbox_summaries(struct mailbox *m, const struct message_info *msgs,
					       size_t count, struct arena *arena,
					       struct slice *out);

/*
 * QRESYNC (RFC 7162 §3.2.5.2): UIDs of `known` (NULL: 1:uidnext-1) expunged after `since`. Below the horizon, where
 * tombstones are gone, all missing UIDs. With known, only those in it.
 */
MUST_USE enum mailbox_result mailbox_vanished(struct mailbox *m, uint64_t since,
					      const struct uid_ranges *known, struct arena *arena,
					      struct uid_ranges *out);

/* ---- APPEND ---- */

struct append;
struct append_meta {
	uint8_t flags;
	uint64_t keywords;
	int64_t internaldate_s;
	int16_t tz_minutes;
	/*
	 * For imports: the email id, EMAIL_ID_BYTES, so that a repetition finds what is there already. The
	 * caller sees that no other message of the account has it. NULL: a random one.
	 */
	const uint8_t *email_id;
};
struct append_result {
	uint32_t uidvalidity;
	const uint32_t *uids;		/* in order of the messages */
	size_t count;
};

/*
 * APPEND and MULTIAPPEND: any number of messages, all or nothing.
 *
 *	append_begin; { append_message; append_write...; append_message_end }...; append_commit
 *
 * The first failure sticks and append_commit returns it; append_abort (also after commit)
 * frees. At most 1 MiB is in memory.
 */
MUST_USE enum mailbox_result append_begin(struct account *a, struct slice folder,
					  struct append **out);
/* size_hint: the literal's size, for the quota check before the bytes come; 0 unknown. */
MUST_USE enum mailbox_result append_message(struct append *ap, const struct append_meta *meta,
					    uint64_t size_hint);
MUST_USE enum mailbox_result append_write(struct append *ap, struct slice bytes);
/* summary: opaque, stored beside; above SUMMARY_BYTES_MAX it is left out. */
MUST_USE enum mailbox_result append_message_end(struct append *ap, struct slice summary);
MUST_USE enum mailbox_result append_commit(struct append *ap, struct arena *arena,
					   struct append_result *out);
void append_abort(struct append *ap);

/*
 * As append_commit, for imports: the UIDs to use (ascending, all >= uidnext, 0 in place of
 * "next"); MAILBOX_CANNOT when they cannot be had.
 */
MUST_USE enum mailbox_result append_commit_uids(struct append *ap, const uint32_t *uids,
						struct arena *arena, struct append_result *out);
/* For imports into a folder that has never had a message: its UIDVALIDITY. */
MUST_USE enum mailbox_result folder_set_uidvalidity(struct account *a, struct slice name,
						    uint32_t uidvalidity, uint32_t uidnext);

/*
 * At the end of an import: no UID below `uidnext` is given from now on, since the other system has
 * used them for messages that are gone. Never lowers it.
 */
MUST_USE enum mailbox_result folder_raise_uidnext(struct account *a, struct slice name, uint32_t uidnext);

/* ---- housekeeping ---- */

/*
 * One small step of upkeep: fold the journal, finish deleted folders, give back the space
 * of expunged messages. *more: call again (soon). Safe while serving and in several
 * processes at once; a crash at any point loses nothing.
 */
MUST_USE enum mailbox_result account_maintain(struct account *a, bool *more);

/*
 * The same for all accounts of the store in turn: one step of one account. Start with a
 * zeroed cursor; *more is false when a round is complete (start again some minutes later).
 * For a role that may touch every account, and for tools. Errors of one account are
 * counted in the cursor and do not end the round.
 */
struct maintain_cursor {
	char account[ACCOUNT_ID_BYTES];	/* the last one that is done */
	bool started;
	uint64_t steps, failed;
};
MUST_USE enum mailbox_result accounts_maintain_step(struct accounts *all, struct engine *engine,
						    struct maintain_cursor *cursor, bool *more);
/* Remove an account with all its objects, the head last; repeat after an interruption. */
MUST_USE enum mailbox_result account_remove(struct engine *engine, struct slice id);
