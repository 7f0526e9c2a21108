/*
 * Mail addresses as the directory compares them.
 *
 * An address that a peer wrote and the same address in the directory must become the same
 * bytes. So: the domain is lower case and in A-labels (RFC 5891), a quoted local part loses its
 * quotes, UTF-8 is brought to NFC (RFC 6532 §3.1), and ASCII letters of the local part are folded: a
 * mail system that told Ann from ann would only surprise people (RFC 5321 §2.4 leaves it to
 * us, the final host).
 *
 * Not here: whether anybody lives there (directory.h).
 */
#pragma once
#include "base/arena.h"
#include "mail/directory/limits.h"

struct address {
	struct slice local;		/* canonical; 1..ADDRESS_LOCAL_BYTES_MAX bytes */
	struct slice domain;		/* canonical; or a literal, "[192.0.2.1]" */
	struct slice local_as_written;	/* unquoted and in NFC, case kept; same length as local */
	struct slice text;		/* local "@" domain, canonical and unquoted: the directory's key */
};

/*
 * Parse local@domain (RFC 5321 §4.1.2 Mailbox, RFC 6531 §3.3), without angle brackets or source
 * route. Looser than the RFC in dots ("a..b" is taken: such mailboxes exist) and stricter in that
 * control characters are refused even when quoted.
 *
 * text  borrowed; out's slices live in the arena. False when it is no address, is over a
 *       limit, is not UTF-8, or the arena is full. Time is linear in the text.
 */
MUST_USE bool mail_address_parse(struct arena *arena, struct slice text, struct address *out);

/* The canonical form of a domain name alone; false as above. Literals are refused. */
MUST_USE bool mail_address_domain(struct arena *arena, struct slice text, struct slice *out);

/*
 * Split the local part at its first separator (RFC 5233): "ann+lists" is user "ann", detail
 * "lists" (case kept). False when there is no separator or no user before it; separator 0: none.
 */
bool mail_address_detail(const struct address *a, char separator, struct slice *user, struct slice *detail);
