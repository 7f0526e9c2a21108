/*
 * The IMAP session: what its files share. Outside, only imap_session of session.h is known.
 *
 *	imap.c		reading commands, dispatch, the small commands, IDLE
 *	imap_reply.c	answers and the updates that go before them
 *	imap_rights.c	what the policy says to each command
 *	imap_shared.c	mailboxes of others (imap_shared.h)
 *	imap_acl.c	SETACL ... MYRIGHTS
 *	imap_login.c	LOGIN, AUTHENTICATE, capabilities
 *	imap_folder.c	CREATE ... LIST, STATUS, quota
 *	imap_select.c	SELECT, CLOSE, EXPUNGE, STORE, COPY, MOVE
 *	imap_fetch.c	FETCH
 *	imap_search.c	SEARCH, SORT, THREAD
 *	imap_append.c	APPEND
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "mail/imap/command.h"
#include "mail/mailbox/mailbox.h"
#include "mail/session/authc.h"
#include "mail/session/session.h"

struct imap_shared;

struct imap_session {
	struct session base;
	unsigned state;			/* enum imap_state: one bit */
	bool utf8;			/* names and quoted strings are UTF-8 both ways */
	bool rev2;			/* ENABLE IMAP4rev2 */
	bool condstore, qresync;	/* enabled: MODSEQ in FETCH answers, VANISHED */
	bool has_login;
	bool idling;
	bool changed;			/* the engine told of changes since the last full sync */
	bool watching;
	uint64_t watch_id;
	int64_t idle_since_us;
	uint64_t keywords_told;		/* how many keyword names the client knows */
	struct account *account;	/* the own one */
	struct mailbox *box;
	struct imap_shared *box_shared;	/* of box; NULL: an own mailbox */
	uint32_t box_folder;		/* of box, when it is another's */
	uint32_t rights_told;		/* PERMANENTFLAGS was told with these */
	struct list shared;		/* struct imap_shared; next NULL: none yet */
	char *mailbox_name;		/* of box, UTF-8 */
	struct read_window *window;	/* NULL: not one of sv->imap_readers */
	struct uid_range *saved;	/* "$" (RFC 5182); malloc'd */
	size_t saved_count;
	char *address;			/* of the login */
	uint8_t grant[AUTHC_GRANT_BYTES];
	char idle_tag[IMAP_TAG_BYTES_MAX + 1];
};

/* Where a mailbox that a command names is. */
struct imap_place {
	struct imap_shared *shared;	/* NULL: own, or of nobody who shares with us */
	struct account *account;	/* NULL: of nobody who shares with us */
	struct slice name;		/* in the account */
	struct slice full;		/* as the client sees it */
	struct slice owner;		/* address; empty: own */
	bool own;
	/* The rest is of others' mailboxes alone. */
	uint32_t folder, parent;	/* numbers; FOLDER_NONE: there is none of this name, none above */
	uint32_t rights, parent_rights;	/* that their lists give */
};

/* One command: lives on the fiber's stack. */
struct imap_run {
	struct imap_session *s;
	struct arena arena;		/* everything that lives as long as the command */
	struct buf text;		/* the command as assembled */
	struct buf out;			/* answer lines on their way to the stream */
	struct buf code;		/* the response code of the tagged answer, without brackets */
	struct imap_command c;
	struct imap_place at, target;	/* of the mailboxes that it names, from imap_may on */
	const char *status;		/* "OK", "NO", "BAD"; NULL: answered already */
	const char *message;
	bool full_sync;			/* ask the engine, not only this process */
	bool close;
};

/*
 * Clients often fetch message by message: what came along for one FETCH is kept for the next, in the
 * sessions that fetched last. imap_window_take empties the session's own; keep gives it back.
 */
struct read_window imap_window_take(struct imap_session *s);
void imap_window_keep(struct imap_session *s, struct read_window *w);
void imap_window_drop(struct imap_session *s);

/* Move what is in r->out to the stream (which may wait for the client). */
void imap_send(struct imap_run *r);
/* The tagged answer; code may be NULL (then r->code counts, when it holds something). */
void imap_ok(struct imap_run *r, const char *message);
void imap_no(struct imap_run *r, const char *code, const char *message);
void imap_bad(struct imap_run *r, const char *message);
/* NO or OK from a mailbox result. try_create: NONEXISTENT becomes TRYCREATE. */
void imap_result(struct imap_run *r, enum mailbox_result result, bool try_create,
		 const char *ok_message);
/* Write the tagged line. */
void imap_finish(struct imap_run *r);

/*
 * Updates of the selected mailbox, as untagged answers. expunges: they may be told now
 * (RFC 9051 §7.5.1). full: with what other processes did. Returns false when the session must end.
 */
bool imap_sync(struct imap_run *r, bool expunges, bool full);

/* "(\Seen $x)". */
void imap_write_flags(struct imap_session *s, struct buf *out, const struct message_info *m);
/* "* FLAGS (...)" and PERMANENTFLAGS. */
void imap_write_flag_list(struct imap_run *r);
/* Untagged "* n FETCH (UID u FLAGS (...) [MODSEQ (m)])\r\n" appended to r->out. */
void imap_write_flags_update(struct imap_run *r, uint32_t seq, const struct message_info *m,
			     bool flags, bool modseq);
/* From the time a client asks for mod-sequences, it gets them (RFC 7162 §3.1). */
void imap_enable_condstore(struct imap_run *r);

/* Flags of a command to bits; answers itself and returns false when they cannot be. */
bool imap_flags(struct imap_run *r, struct account *account, const struct flag_list *list, bool make, uint8_t *flags,
		uint64_t *keywords);

/* Walks the messages that a set names, in ascending order; those that the session has. */
struct imap_walk {
	struct imap_session *s;
	struct seqset set;
	bool uids;
	size_t range;
	uint32_t next;			/* next sequence number to look at, within the range */
	uint32_t end;			/* last of the range; 0: begin the next range */
};
void imap_walk_start(struct imap_walk *w, struct imap_run *r, const struct seqset *set, bool uids);
bool imap_walk_next(struct imap_walk *w, uint32_t *seq, uint32_t *uid);
/* All of them as ranges of UIDs in the arena; false (answered NO) without memory. */
bool imap_uid_ranges(struct imap_run *r, const struct seqset *set, bool uids,
		     struct uid_ranges *out);
/* "$" by what it stands for, in the arena of the command. */
void imap_resolve_saved(struct imap_run *r, struct seqset *set, bool *uids);
/* Write UIDs (ascending) as a set. */
void imap_write_uids(struct buf *out, const uint32_t *uids, size_t count);
void imap_write_uid_ranges(struct buf *out, const struct uid_ranges *ranges);

/* The MIME tree of a message: from its summary, or else by reading it. NULL: r->... answered nothing. */
const struct mime *imap_mime(struct imap_run *r, struct arena *arena, const struct message_info *m,
			     struct slice summary, enum mailbox_result *why);

/* The policy lets this command be: true, or NO [NOPERM] is set. STORE's flags are asked for apart, since they come later. */
MUST_USE bool imap_may(struct imap_run *r);
/* Takes out of the request what may not be changed; false (answered) when nothing is left. */
MUST_USE bool imap_may_store(struct imap_run *r, struct store_request *request);
/* Which of these the session has on the selected mailbox; no record. */
uint32_t imap_has(struct imap_session *s, uint32_t permissions);
/* Flags that may be set with these rights. */
uint8_t imap_flags_allowed(uint32_t rights);
/* A mailbox as the policy sees it. */
struct session_object imap_object_at(const struct imap_session *s, const struct imap_place *p);
/* Where a name leads. What is there, and what may be done with it, is asked anew. NO_FOLDER cannot happen. */
enum mailbox_result imap_resolve(struct imap_run *r, struct slice name, struct imap_place *out);
/* Of the selected mailbox: the account that has it. */
struct account *imap_box_account(const struct imap_session *s);
/*
 * When another's mailbox is selected: what the session may do with it now, for imap_has. Before each look at it. False: nobody knows now, so
 * it may do nothing.
 */
bool imap_shared_refresh(struct imap_session *s);
bool imap_has_rights_row(enum imap_name name);

/* Something happened in an account that the session watches; arg is the session. */
void imap_changed(void *arg);
/* Does COPY or MOVE lead to another account, or lose flags there? Then message by message. */
bool imap_copies_apart(struct imap_run *r);
void imap_copy_apart(struct imap_run *r, const struct uid_ranges *uids, bool whole);
void imap_deselect(struct imap_session *s);
void imap_logout(struct imap_session *s);
void imap_write_capabilities(struct imap_session *s, struct buf *out);
enum session_next imap_append(struct imap_run *r, struct imap_literal *literal);

/* The commands. Each sets the tagged answer. */
void imap_do_login(struct imap_run *r);
void imap_do_authenticate(struct imap_run *r);
void imap_do_select(struct imap_run *r);
void imap_do_close(struct imap_run *r);
void imap_do_expunge(struct imap_run *r);
void imap_do_store(struct imap_run *r);
void imap_do_copy(struct imap_run *r);
void imap_do_fetch(struct imap_run *r);
void imap_do_search(struct imap_run *r);
void imap_do_create(struct imap_run *r);
void imap_do_delete(struct imap_run *r);
void imap_do_rename(struct imap_run *r);
void imap_do_subscribe(struct imap_run *r);
void imap_do_list(struct imap_run *r);
void imap_do_lsub(struct imap_run *r);
void imap_do_status(struct imap_run *r);
void imap_do_quota(struct imap_run *r);
void imap_do_acl(struct imap_run *r);
