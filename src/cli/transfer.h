/*
 * What `prickle mail export` and `import` share: hashes that tell whether all has come over, which
 * users and folders are meant, and the result.
 *
 * A message's hash is SHA-256 of its bytes with every line end as CRLF and its last line ended: it is
 * the same inside and in files with LF, and says that nothing else differs. The hash of many is that
 * of the sorted hashes of (folder, message).
 */
#pragma once
#include <jansson.h>
#include <openssl/evp.h>

#include "cli/mailstore.h"
#include "mail/formats/flags.h"
#include "mail/mailbox/mailbox.h"

#define DIGEST_BYTES	 32u
#define TRANSFER_PIECE	 (256u << 10)
#define PROBLEMS_MAX	 1000u			/* listed; all are counted */

/* ---- hashes ---- */

struct hasher {
	EVP_MD_CTX *md;
	size_t crs;				/* CRs held back: CR CR LF is a line end, too */
	bool any, ended;
	uint64_t bytes;				/* as they came */
};
/* 0 or -ENOMEM. May be begun again after hasher_end; hasher_done frees. */
MUST_USE int hasher_begin(struct hasher *h);
void hasher_add(struct hasher *h, struct slice bytes);
void hasher_end(struct hasher *h, uint8_t out[DIGEST_BYTES]);
void hasher_done(struct hasher *h);
/* SHA-256 of `a`, a NUL and `b`. */
void digest_pair(struct slice a, struct slice b, uint8_t out[DIGEST_BYTES]);

/* Hashes of (folder, message), to become one. */
struct digest_list {
	uint8_t (*list)[DIGEST_BYTES];
	size_t count, cap;
};
MUST_USE bool digest_list_add(struct digest_list *l, struct slice folder, const uint8_t message[DIGEST_BYTES]);
/* Sorts, and appends the hash in hex. */
void digest_list_hex(struct digest_list *l, struct buf *out);
void digest_list_done(struct digest_list *l);

/* ---- one run of a command ---- */

struct transfer {
	struct mailstore *ms;
	struct accounts *accounts;
	bool mbox;
	const char *path;			/* of the other side */
	const char *folder;			/* --folder, or NULL */
	json_t *users;				/* results */
	uint64_t unequal;			/* users whose hashes differ */
	bool told_many;
};

/* One user's part. */
struct transfer_user {
	struct transfer *t;
	const struct mail_user *user;
	struct account *account;
	struct digest_list source, target;
	uint64_t folders, messages, bytes, copied, present, problems;
	uint64_t total;				/* messages, for progress; 0: not known */
	json_t *notes, *problem_list;
	struct hasher hash;
	struct buf piece;			/* of TRANSFER_PIECE */
};

/* Is it meant, by --folder or without? INBOX in any case (RFC 9051 §5.1). */
bool transfer_wants(const struct transfer *t, struct slice folder);

/* Something that did not come over; the run goes on and ends with 1. */
void transfer_problem(struct transfer_user *u, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Something that an operator should know and that is no loss. */
void transfer_note(struct transfer_user *u, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The store or the disk failed: told with what to do next; the exit code to return. */
int transfer_fail(struct transfer_user *u, const char *what, enum mailbox_result r);
int transfer_errno(struct transfer_user *u, int err, const char *fmt, ...) PRINTF_LIKE(3, 4);
void transfer_progress(struct transfer_user *u, const char *verb);

/* The message's hash, as stored, and its bytes to fn (which may be NULL). */
MUST_USE enum mailbox_result transfer_read(struct transfer_user *u, struct mailbox *m, const struct message_info *info,
					   bool (*fn)(void *arg, struct slice bytes), void *arg,
					   uint8_t digest[DIGEST_BYTES]);

/*
 * Both commands: arguments [USER@DOMAIN] PATH with --all, --domain, --folder, --format. `each` is called
 * for every user with the path of that user's mail: PATH for one named user, PATH/USER@DOMAIN else.
 * Returns the exit code: 0, 1 when something differs or failed.
 */
int transfer_main(struct cli *cli, int (*each)(struct transfer_user *u, const char *path));

#define TRANSFER_OPTIONS									\
	{ "all", 'a', NULL, "all users, each in DIR/USER@DOMAIN" },				\
	{ "domain", 'd', "DOMAIN", "all users at this domain, each in DIR/USER@DOMAIN" },	\
	{ "format", 'f', "FORMAT", "maildir or mbox" },						\
	{ "folder", '\0', "NAME", "only this folder, levels parted by /" },			\
	CLI_OPTION_STATE, CLI_OPTION_CONFIG, CLI_OPTION_SOCKET
