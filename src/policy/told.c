/*
 * Whether copies of the table (rows of eBPF extensions) were told of what is in force. An apply tells them itself; but the table is also made anew when
 * the program ships another policy, and after an apply that crashed. RUN/told has the hash of the content that all copies have: both die with the
 * machine's uptime.
 */
#include <errno.h>
#include <sodium.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "policy/disk.h"
#include "policy/store_private.h"
#include "policy/table/compile.h"

#define HASH_BYTES 32u

static void hash_in_force(const struct policy_store *s, uint8_t out[HASH_BYTES])
{
	struct slice bank = policy_bank_in_force(&s->table);

	crypto_hash_sha256(out, bank.ptr, bank.len);
}

void store_told_forget(const struct policy_store *s)
{
	(void)unlinkat(s->run_fd, "told", 0);
}

void store_told(const struct policy_store *s)
{
	uint8_t hash[HASH_BYTES];

	hash_in_force(s, hash);
	/* Failing, they are told once more. */
	(void)!disk_replace(s->run_fd, "told", slice_of(hash, sizeof(hash)), 0644, NULL);
}

/* What is in force is what `current` and this program say, and all copies have it. */
static bool is_told(const struct policy_store *s)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	AUTO_BUF struct buf told = BUF_INIT(64), now = BUF_INIT(s->image_bytes);
	struct slice before = policy_bank_in_force(&s->table);
	const struct policy *p;
	uint8_t hash[HASH_BYTES];
	uint64_t epoch;

	hash_in_force(s, hash);
	return disk_read(s->run_fd, "told", &told, NULL) == 0 && slice_eq(buf_slice(&told), slice_of(hash, sizeof(hash))) &&
	       store_current(s, &epoch, NULL) == 0 && store_epoch_policy(s, &arena, epoch, &p, NULL) == 0 &&
	       policy_compile(&arena, p, epoch, s->table.head, before, &now, NULL) == 0 && slice_eq(buf_slice(&now), before);
}

static int tell(struct policy_store *s, const struct policy_copy *copies, size_t count, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	const struct policy *p;
	AUTO_FD int lock = -1;
	uint64_t epoch;
	int err = store_lock(s, STORE_LOCK_ALONE, &lock, why);

	if (err == 0)
		err = store_current(s, &epoch, why);
	if (err == 0)
		err = store_epoch_policy(s, &arena, epoch, &p, why);
	for (size_t i = 0; i < count && err == 0; i++)
		err = copies[i].update(copies[i].arg, p, &s->table, true, why);
	if (err == 0)
		store_told(s);
	return err;
}

int policy_store_tell(const char *directory, const struct policy_copy *copies, size_t count, struct errmsg *why)
{
	struct policy_store *s;
	int err;

	/* No policy was ever here, so no copy follows one. */
	if (access(directory == NULL ? POLICY_STORE_DEFAULT : directory, F_OK) != 0)
		return 0;
	if (sodium_init() < 0)
		return errmsg_say(why, -EIO, "libsodium finds no randomness");
	/* In the usual case nothing is locked, so nobody waits. */
	if (policy_store_open(directory, 0, &s, NULL) == 0) {
		bool told = is_told(s);

		policy_store_close(s);
		if (told)
			return 0;
	}
	err = policy_store_open(directory, POLICY_STORE_WRITE | POLICY_STORE_NOW, &s, why);
	if (err != 0)
		return err;
	err = tell(s, copies, count, why);
	policy_store_close(s);
	return err;
}
