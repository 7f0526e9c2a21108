/*
 * What mx, front and queue say to auth over their channel, field by field.
 *
 * Written and read by session/authc.c and auth.c only; both are the same program, so there is no
 * version, but each side reads the other's bytes as a stranger's.
 *
 *	peer		u8 service, u8 secure, blob source, blob exporter, blob end-point
 *	login		grant 16, account 16, blob address, blob name, be64 quota bytes, be64 messages
 *			u8 1 for a login by ticket, then be16 from, be16 to (labels of the policy), be64 microseconds since 1970,
 *			blob who; else u8 0
 *	AUTH_LOGIN	peer, blob user, blob password -> u8 result [login]
 *	AUTH_START	peer, blob mechanism, u8 has initial, blob initial -> u8 result,
 *			MORE: be32 exchange, blob challenge; OK: login
 *	AUTH_STEP	be32 exchange, blob response -> as AUTH_START
 *	AUTH_CANCEL	be32 exchange (one-way)
 *	AUTH_LOGOUT	grant 16 (one-way)
 *	AUTH_RCPT	blob address, varint size, varint ahead -> u8 rcpt result,
 *			OK: u8 steady, varint count, each: account 16, grant 16, blob address, blob detail,
 *			be64 room, u8 over quota. `ahead` bytes more are charged to the grants, for
 *			messages that the asker will take on the same answer when it is steady.
 *	AUTH_DELIVERED	account 16, varint bytes (one-way)
 *	AUTH_SENDER	blob user, blob address -> u8 result
 *	AUTH_OPEN	blob client -> u8 enum auth_open_result
 *	AUTH_OPENED	blob client, varint count: open already, told to an auth that starts (one-way)
 *	AUTH_CLOSED	blob client (one-way)
 *	AUTH_TAKE	account 16, u8 enum rate_kind -> u8 1: within the user's rate
 *	AUTH_LIVE	u8 last, grants 16 each: the sessions that a process has, told when its channel
 *			begins, in several messages (one-way)
 *	AUTH_SIGN	key id 8, be16 scheme, blob to be signed -> u8 0 or 1, blob signature
 *
 * Shared mailboxes (RFC 4314). Each begins with who asks: grant 16 of the session's login, blob its address. owner: a blob, empty for the own
 * lists. Answers begin with u8 enum auth_share_result, and go on when it is OK.
 *	AUTH_SHARED	owner, grant 16 that the session has for it or zeros -> account 16, grant 16, blob owner's address,
 *			be64 quota bytes, be64 messages, varint count, each: varint folder, varint rights of who asks
 *	AUTH_SHARERS	-> varint count, each: blob owner's address
 *	AUTH_ACL_GET	owner, be32 folder -> blob list (directory/acl.h)
 *	AUTH_ACL_SET	owner, be32 folder, blob identifier, be32 keep, be32 add -> nothing. Its rights become (old & keep) | add.
 *	AUTH_ACL_FOLDER	owner, be32 folder, be32 parent: made below the parent, whose list it gets; 0: it is gone -> nothing
 * and from auth, one-way:
 *	AUTH_HELLO	u8 flags (AUTH_HELLO_SCRAM)
 *	AUTH_CERT	blob PEM chain
 *	AUTH_FORGET	nothing; the directory or a setting has changed: answers that were kept are old
 */
#pragma once

enum auth_message {
	AUTH_LOGIN = 1,
	AUTH_START,
	AUTH_STEP,
	AUTH_CANCEL,
	AUTH_LOGOUT,
	AUTH_RCPT,
	AUTH_DELIVERED,
	AUTH_SENDER,
	AUTH_OPEN,
	AUTH_OPENED,
	AUTH_CLOSED,
	AUTH_TAKE,
	AUTH_LIVE,
	AUTH_SIGN,
	AUTH_HELLO,
	AUTH_CERT,
	AUTH_FORGET,
	AUTH_SHARED,
	AUTH_SHARERS,
	AUTH_ACL_GET,
	AUTH_ACL_SET,
	AUTH_ACL_FOLDER,
};

#define AUTH_HELLO_SCRAM 1u

/* The numbers of enum authc_result and enum authc_rcpt_result (session/authc.h, which asserts it). */
enum auth_result {
	AUTH_OK,
	AUTH_MORE,
	AUTH_REJECTED,
	AUTH_DISABLED,
	AUTH_SLOW_DOWN,
	AUTH_MALFORMED,
	AUTH_NO_MECHANISM,
	AUTH_NEEDS_TLS,
	AUTH_TEMPORARY,
	AUTH_SESSIONS,
};

enum auth_open_result {
	AUTH_OPEN_OK,
	AUTH_OPEN_TOO_MANY,
	AUTH_OPEN_TOO_FAST,
};

enum auth_rcpt_result {
	AUTH_RCPT_OK,
	AUTH_RCPT_NOT_LOCAL,
	AUTH_RCPT_NO_USER,
	AUTH_RCPT_BAD_ADDRESS,
	AUTH_RCPT_DISABLED,
	AUTH_RCPT_OVER_QUOTA,
	AUTH_RCPT_ALIAS_LOOP,
	AUTH_RCPT_TEMPORARY,
};

/* The numbers of enum authc_share_result. */
enum auth_share_result {
	AUTH_SHARE_OK,
	AUTH_SHARE_NONE,		/* no such owner, or nothing is shared; nobody learns which */
	AUTH_SHARE_DENIED,
	AUTH_SHARE_MALFORMED,		/* the identifier */
	AUTH_SHARE_NO_USER,		/* that the identifier names */
	AUTH_SHARE_OWNER,		/* the identifier is the owner, who is on no list */
	AUTH_SHARE_LIMIT,
	AUTH_SHARE_TEMPORARY,
};

enum auth_service {
	AUTH_IMAP = 1,
	AUTH_POP3,
	AUTH_SUBMISSION,
};
