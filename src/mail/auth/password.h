/*
 * Password hashes: Argon2id for ours (RFC 9106, libsodium's string form), crypt(5) for those
 * that were imported from another system.
 *
 * All functions here are slow on purpose and may run on a helper thread; none keeps state.
 */
#pragma once
#include "base/buf.h"
#include "mail/auth/limits.h"

#define PASSWORD_MEMORY_BYTES	(64u << 20)
#define PASSWORD_HASH_BYTES_MAX 512u

struct password_cost {
	uint32_t operations;		/* passes over the memory, >= 1 */
	uint32_t memory_bytes;		/* >= 8 KiB; PASSWORD_MEMORY_BYTES but in tests */
};

/* The NUL-ended hash string of a password; false when memory is short. Some 100 ms. */
MUST_USE bool password_hash(struct slice password, struct password_cost cost,
			    char out[PASSWORD_HASH_BYTES_MAX]);

enum password_verdict {
	PASSWORD_WRONG,
	PASSWORD_RIGHT,
	PASSWORD_UNKNOWN_HASH,		/* no such method in libxcrypt, or a damaged string */
};
/*
 * Check a password against a hash of either kind. `raw` is what the client sent: imported hashes are
 * over those bytes; `prepared` is after saslprep: ours are over these. Compared in constant time.
 */
MUST_USE enum password_verdict password_check(const char *hash, struct slice prepared,
					      struct slice raw);

/* True when a hash should be made anew at the next login: imported, or of another cost. */
bool password_outdated(const char *hash, struct password_cost cost);
/* May it be stored as somebody's hash? ($argon2id$..., or a crypt method that we can check.) */
bool password_hash_known(const char *hash);

/* A hash string of this cost that no password fits: checked for users who do not exist. */
void password_dummy(struct password_cost cost, const uint8_t random[48],
		    char out[PASSWORD_HASH_BYTES_MAX]);
