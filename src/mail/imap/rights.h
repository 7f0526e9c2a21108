/*
 * Strings of rights, "lrswipkxtea" (RFC 4314 §2.1, §2.2).
 *
 * A right is one bit: the place of its letter in IMAP_RIGHTS, which is also the number of the permission of the class mailbox
 * (policy/language/catalogue.def), so that a list of rights needs no translation before the policy is asked.
 *
 * The rights of RFC 2086 that are gone, "c" and "d", stand for "kx" and "te" (§2.1.1). They are told as well wherever one of those that they
 * stand for is: an old client looks for nothing else.
 */
#pragma once
#include "base/buf.h"

#define IMAP_RIGHTS	  "lrswipkxtea"
/* The places of its letters. */
enum imap_right {
	IMAP_RIGHT_L = 1u << 0,
	IMAP_RIGHT_R = 1u << 1,
	IMAP_RIGHT_S = 1u << 2,
	IMAP_RIGHT_W = 1u << 3,
	IMAP_RIGHT_I = 1u << 4,
	IMAP_RIGHT_P = 1u << 5,
	IMAP_RIGHT_K = 1u << 6,
	IMAP_RIGHT_X = 1u << 7,
	IMAP_RIGHT_T = 1u << 8,
	IMAP_RIGHT_E = 1u << 9,
	IMAP_RIGHT_A = 1u << 10,
};
#define IMAP_RIGHTS_ALL	  ((1u << (sizeof(IMAP_RIGHTS) - 1)) - 1)

/* What SETACL asks for (RFC 4314 §3.1). */
struct imap_rights_change {
	enum { IMAP_RIGHTS_REPLACE, IMAP_RIGHTS_ADD, IMAP_RIGHTS_REMOVE } how;
	uint32_t rights;
};

/* Letters alone. False: one is no right of ours; the session answers BAD (§3.1). Order and repetition do not matter. Empty: no rights. */
MUST_USE bool imap_rights_parse(struct slice text, uint32_t *out);
/* With "+" or "-" before them, or neither. */
MUST_USE bool imap_rights_change_parse(struct slice text, struct imap_rights_change *out);
/* What `old` becomes. */
uint32_t imap_rights_changed(uint32_t old, const struct imap_rights_change *c);
/* In the order of IMAP_RIGHTS, then "c" and "d". Not quoted: without a right, the caller writes "\"\"". */
void imap_rights_write(struct buf *out, uint32_t rights);
