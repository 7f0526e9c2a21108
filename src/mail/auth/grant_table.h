/*
 * The table of live grants that auth has given.
 *
 * Found by id (logout), by account (revoke all of a user), by account and client (reuse for the next
 * message to the same mailbox), by client (its process died). No I/O: auth.c talks with the store.
 */
#pragma once
#include <stdbool.h>

#include "base/list.h"
#include "base/map.h"
#include "mail/auth/grant.h"

#define GRANT_TABLE_MAX 200000u

struct live_grant {
	struct map_node by_id, by_account;
	struct list of_client;
	struct grant g;
	int64_t until_s;
	uint64_t charged_bytes;		/* of append_bytes_max */
	bool at_store;			/* the store has acknowledged it */
	bool adopted;			/* of an earlier auth process: does its session still live? */
	bool fixed;			/* ends with its time and is never renewed: of a ticket */
	bool revoking;			/* the store is being told that it ends; nobody gets it any more */
	char by[GRANT_ACCOUNT_CHARS + 1];	/* GRANT_SHARED: account of who uses it; empty: not known */
	bool ended;			/* its process is gone: nobody gets it any more */
};

struct grant_table {
	struct map by_id, by_account;
};
void grant_table_done(struct grant_table *t);
/* A copy of g in the table; NULL when memory is short or the table is full. */
struct live_grant *grant_table_add(struct grant_table *t, const struct grant *g, int64_t now_s,
				   struct list *of_client);
void grant_table_del(struct grant_table *t, struct live_grant *l);
struct live_grant *grant_table_find(struct grant_table *t, const uint8_t id[GRANT_ID_BYTES]);
/* First or next grant of an account: start with NULL. */
struct live_grant *grant_table_of(struct grant_table *t, const char *account,
				  struct live_grant *before);
