/*
 * Paths and addresses of the SMTP envelope (RFC 5321 §4.1.2, RFC 6531 §3.3).
 *
 * An envelope address is not a header address: no comments, no folding, no display name. So
 * this is a parser of its own, small enough to be read against the grammar.
 *
 * Domains come out in the form in which they are looked up: lower case A-labels. The local
 * part comes out as it means (quotes and backslashes removed), because "a b"@x and a\ b@x name
 * the same mailbox; `text` writes it back in the shortest form of the grammar.
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"

struct smtp_path {
	struct slice text;		/* local@domain, canonical; empty for <> ; "postmaster" alone for <Postmaster> */
	struct slice local;		/* unquoted */
	struct slice domain;		/* lower case A-labels, or "[...]"; empty for <> and <Postmaster> */
	bool null;			/* <>, the sender of notices */
	bool literal;			/* the domain is an address literal */
	bool utf8;			/* needs SMTPUTF8: octets above 127 as it came */
};

enum smtp_path_result {
	SMTP_PATH_OK,
	SMTP_PATH_SYNTAX,		/* 501 5.1.3, or 5.1.7 for a sender */
	SMTP_PATH_TOO_LONG,		/* 501 5.1.3 as well */
	SMTP_PATH_BAD_DOMAIN,		/* no domain can look so (IDNA, labels): 501 5.1.2 or 5.1.8 */
	SMTP_PATH_MEMORY,		/* arena full: 452 4.3.1 */
};

/*
 * Read a path in angle brackets at the start of `in`.
 *
 * arena   gets what out points to; lives as long
 * in      "<...>" and whatever follows; borrowed during the call
 * rest    what follows the closing bracket; set on SMTP_PATH_OK only
 *
 * Source routes are read and dropped (§4.1.2, A-d-l "SHOULD BE ignored"). O(bytes).
 */
MUST_USE enum smtp_path_result smtp_path_parse(struct arena *arena, struct slice in,
					       struct smtp_path *out, struct slice *rest);
/* An address without brackets, all of `in`: configuration, header-like uses, AUTH identities. */
MUST_USE enum smtp_path_result smtp_address_parse(struct arena *arena, struct slice in,
						  struct smtp_path *out);
/*
 * A domain name in the form for look-ups: lower case A-labels, checked for label lengths. An
 * underscore is accepted inside labels (hosts have them, RFC 2181 §11), a closing dot is not.
 */
MUST_USE enum smtp_path_result smtp_domain_parse(struct arena *arena, struct slice in,
						 struct slice *out);
/* "[192.0.2.1]" or "[IPv6:...]" or another tagged literal, brackets included (§4.1.3). */
bool smtp_is_address_literal(struct slice in);
