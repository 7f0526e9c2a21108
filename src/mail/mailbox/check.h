/*
 * Does an account hold together? For `prickle mail fsck`: everything that its head, ranges,
 * fragments and streams say is compared with the rest, and every byte of every message is read, so that
 * the engine's checksums have been looked at.
 *
 * Works beside sessions and deliveries, in a node that serves: what looks wrong is looked at again with
 * fresh eyes before it is told, since compaction and expunges move things meanwhile. Changes nothing
 * unless it is asked to mend.
 */
#pragma once
#include "mail/mailbox/mailbox.h"

enum check_kind {
	CHECK_HEAD,			/* the account's head: nobody can open the account */
	CHECK_FOLDER,			/* a folder's list of messages, or what it says of itself */
	CHECK_MESSAGE,			/* one message */
	CHECK_TOTALS,			/* counts and sizes: can be mended */
	CHECK_ORPHAN,			/* something that nobody refers to: takes room, can be mended if it is old */
	CHECK_FRAGMENT,			/* a fragment's records */
};

struct check_problem {
	enum check_kind kind;
	struct slice folder;		/* UTF-8; empty when no folder is concerned */
	uint32_t uid;			/* 0: no message is concerned */
	const char *text;		/* a sentence without its end: "the stored bytes fail their checksum" */
	bool mended;
};

/* Borrowed during the call. */
struct check_options {
	bool mend;			/* totals, orphans older than an hour; never at the cost of a message */
	void (*found)(void *arg, const struct check_problem *problem);
	/* Now and then: bytes read of about total in this account. May be NULL. */
	void (*progress)(void *arg, uint64_t done_bytes, uint64_t total_bytes);
	void *arg;
};

struct check_counts {
	uint64_t folders, messages, bytes;
	uint64_t fragments, records, streams;
	uint64_t unmerged;		/* delivered, and no session has looked yet */
	uint64_t damaged_messages;
	uint64_t problems, mended;	/* mended ones are problems, too */
};

/*
 * Check one account; adds to *counts. An account without head is fine: mail may wait for its first
 * session. MAILBOX_OK whatever was found; MAILBOX_UNAVAILABLE, MAILBOX_DENIED, MAILBOX_MEMORY when it
 * could not be looked at to its end. Cost: every message is read once, 64 bytes of memory each.
 */
MUST_USE enum mailbox_result account_check(struct accounts *all, struct engine *engine, struct slice id,
					   const struct check_options *o, struct check_counts *counts);
