/*
 * The envelope of a message: what IMAP's ENVELOPE shows, and what SORT and THREAD need
 * (RFC 9051 §7.5.2). Lives in the arena of the tree that it belongs to.
 */
#pragma once
#include "mail/message/address.h"

struct envelope {
	/* Unfolded text; ptr NULL: no such field, empty: present but empty. The last field of a name counts. */
	struct slice date, subject, in_reply_to, message_id;
	struct slice references;	/* RFC 5322 §3.6.4; not shown by IMAP, used by THREAD */
	/* All fields of a name, joined. NULL: absent or empty. */
	struct address *from, *sender, *reply_to, *to, *cc, *bcc;
};
