/*
 * A session's view of one folder: which UIDs it was told of, as ranges with the sequence
 * number of their first message. UIDs mostly run in unbroken stretches, so a parked
 * session with a mailbox of 100,000 messages costs a few hundred bytes.
 */
#pragma once
#include "mail/mailbox/internal.h"

struct view_range {
	uint32_t first, last;
	uint32_t seq;			/* of first */
};

struct mailbox {
	struct account *a;
	uint32_t folder;
	struct table *table;		/* held: table->users counts us */
	bool read_only;
	struct view_range *ranges;
	size_t range_count, range_cap;
	uint32_t count;
	uint32_t uidnext;		/* UIDs below were looked at */
	uint64_t synced;		/* account modseq of the last sync */
	uint64_t told_own[8];		/* modseqs of our own stores since */
	unsigned own_count;
	struct uid_range *recent;	/* claimed by this session, ascending */
	size_t recent_count, recent_cap;
	bool behind;			/* expunges are known that the session was not told */
};

/* Remember that the session knows the outcome of its own store. */
void view_own(struct mailbox *m, uint64_t modseq);
bool view_is_own(const struct mailbox *m, uint64_t modseq);
/* The table, loaded; with the lock held. */
MUST_USE enum mailbox_result view_table(struct mailbox *m, struct table **out);

/* Visit the rows that a UID set names. */
struct rows {
	struct table *t;
	const struct uid_ranges *uids;
	size_t range;
	uint32_t at;
	bool inside;
};
static inline struct rows rows_of(struct table *t, const struct uid_ranges *uids)
{
	return (struct rows){ .t = t, .uids = uids };
}
struct message_info *rows_next(struct rows *r);
