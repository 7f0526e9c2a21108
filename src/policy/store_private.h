/*
 * The parts of the store: directories and table (store.c), epochs on disk (epoch.c), apply (apply.c), rings and log (records.c), whether copies are as the table (told.c).
 */
#pragma once
#include "policy/bundle.h"
#include "policy/policy_limits.h"
#include "policy/store.h"

struct policy_store {
	uint32_t flags;
	char directory[POLICY_DIRECTORY_BYTES], run[POLICY_DIRECTORY_BYTES];
	int dir_fd, run_fd;		/* of both */
	int table_fd;			/* for reading */
	int held_fd;			/* policy_store_hold; -1 */
	void *image;			/* mapped read-only */
	size_t image_bytes;
	struct policy_table table;
};

/* One process changes the store, or several need it to stay as it is. 0; -EBUSY. Closing the descriptor unlocks. */
enum store_lock_kind {
	STORE_LOCK_WAIT,		/* alone, after whoever has it */
	STORE_LOCK_ALONE,		/* alone and now, or -EBUSY */
	STORE_LOCK_SHARED,		/* beside others that only need the policy to stay, and now, or -EBUSY */
};
MUST_USE int store_lock(const struct policy_store *s, enum store_lock_kind kind, int *fd, struct errmsg *why);

/* --- epoch.c --- */

/* The number that `current` names; 0: there is none. */
MUST_USE int store_current(const struct policy_store *s, uint64_t *epoch, struct errmsg *why);
MUST_USE int store_set_current(const struct policy_store *s, uint64_t epoch, struct errmsg *why);
MUST_USE int store_last_epoch(const struct policy_store *s, uint64_t *epoch, struct errmsg *why);

struct manifest {
	uint64_t epoch, before;		/* before: the one in force when it was applied */
	int64_t time_us;
	char who[64], note[128];
	uint8_t sha256[32];		/* of policy.text */
};
struct signature { uint8_t key[32], bytes[64]; };

/* Text of an epoch in the arena, as it was applied: -EBADMSG when it is not. 0 is the shipped policy. signature may be NULL; all zero: none. */
MUST_USE int store_epoch_text(const struct policy_store *s, struct arena *arena, uint64_t epoch, struct slice *text, struct manifest *m,
			      struct signature *signature, struct errmsg *why);
MUST_USE int store_epoch_write(const struct policy_store *s, const struct manifest *m, struct slice text, const struct signature *signature,
			       struct errmsg *why);
void store_epoch_remove(const struct policy_store *s, uint64_t epoch);
/* Those before the last POLICY_EPOCHS_KEPT, but for these two. */
void store_epochs_prune(const struct policy_store *s, uint64_t keep, uint64_t keep_too);
MUST_USE int store_parse_text(struct arena *arena, struct slice text, const struct policy **out, struct buf *errors);
/* Text of the epoch parsed, or the reason why not. */
MUST_USE int store_epoch_policy(const struct policy_store *s, struct arena *arena, uint64_t epoch, const struct policy **out, struct errmsg *why);

/* --- key.c --- */

MUST_USE int store_keys(const struct policy_store *s, struct arena *arena, struct policy_key **out, size_t *count, struct errmsg *why);
void store_signed_bytes(struct slice text, uint8_t out[POLICY_SIGNED_BYTES]);
bool store_signature_valid(struct slice text, const struct signature *signature);

/* --- told.c --- */

/* All copies have what is in force; or, before they are changed, nobody knows any more. */
void store_told(const struct policy_store *s);
void store_told_forget(const struct policy_store *s);

/* --- store.c --- */

/* Put content in force. The store is locked. */
MUST_USE int store_flip(struct policy_store *s, struct slice bank, struct errmsg *why);
