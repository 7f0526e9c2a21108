/*
 * Address lists of header fields (RFC 5322 §3.4, §4.4, RFC 6532).
 *
 * Mail from the world has every mistake that is possible, and IMAP must show something for
 * each. Where the RFC leaves it open we answer as Dovecot does, since clients know these
 * answers: a missing part is MISSING_MAILBOX or MISSING_DOMAIN, a broken angle address gets the
 * domain SYNTAX_ERROR, a broken route is INVALID_ROUTE, and a comment after an address without a
 * display name is its name. SMTP paths are not parsed here (mail/smtp).
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"

/*
 * One entry of a list. ptr NULL is "absent" (NIL). A group starts with {mailbox: group name, host: NIL} and ends with
 * an entry whose four fields are absent (RFC 9051 §7.5.2).
 */
struct address {
	struct address *next;
	struct slice name;		/* display name, unquoted, encoded-words not decoded */
	struct slice route;		/* "@a,@b" */
	struct slice mailbox;
	struct slice host;
};

/*
 * Parse a field value (folded or not). *out gets the list, NULL when there is none; more than
 * ADDRESS_COUNT_MAX entries are dropped. Strings are copies in the arena. Returns false when the arena is
 * full (*out is then what fitted). Linear time, no recursion.
 */
bool address_parse(struct arena *arena, struct slice value, struct address **out);

/*
 * The list as text, "Name <mailbox@host>, group: a@b;", names quoted where needed: what SEARCH FROM,
 * TO, CC and BCC look into (encoded-words still encoded).
 */
void address_write(struct buf *out, const struct address *list);
