/*
 * Learning translation prefixes: what router advertisements (RFC 8781) and DNS answers (RFC 7050) say, and for how long.
 *
 * Pure: bytes and a clock in, prefixes out; the sockets are in learn.h. All of it comes from strangers: a length that lies, a
 * name that points to itself or a prefix that no translator can have is told apart by enum pref64_result and changes nothing.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"
#include "nat64/core/config.h"
#include "nat64/nat64_limits.h"

enum pref64_result {
	PREF64_OK,
	PREF64_OTHER,			/* well-formed and not about prefixes */
	PREF64_BAD_LENGTH,		/* something says more, or less, than there is */
	PREF64_BAD_CODE,		/* prefix length code 6 or 7 (RFC 8781 4) */
	PREF64_BAD_PREFIX,		/* bits that no translation prefix has: link-local, multicast, loopback, unspecified, mapped */
	PREF64_BAD_SOURCE,		/* an advertisement from no link-local address, or forwarded (RFC 4861 6.1.2) */
	PREF64_NOT_OURS,		/* a DNS message that answers another question */
	PREF64_NO_PREFIX,		/* a DNS answer without a prefix: NXDOMAIN, no AAAA, no well-known address in them */
	PREF64_SERVER_FAILED,		/* a DNS error: another server or another time */
};

/* Whether a prefix may be one: a length of RFC 6052, a unicast address. Clears bits after the length and sets global_only. */
MUST_USE bool pref64_prefix_make(const uint8_t addr[16], unsigned bits, struct xlat_prefix *out);

/* ---- RFC 8781 ---- */
#define PREF64_OPTION_BYTES 16u
#define PREF64_OPTION_TYPE  38u

/* One option with its type and length octets. lifetime_s: a multiple of 8; 0 takes the prefix back. */
MUST_USE enum pref64_result pref64_option_read(struct slice option, struct xlat_prefix *out, uint32_t *lifetime_s);
/* Append one. The lifetime is rounded up to 8 s and cut to PREF64_LIFETIME_MAX. The prefix has a length of RFC 6052. */
void pref64_option_write(struct buf *out, const struct xlat_prefix *prefix, uint32_t lifetime_s);

/* One announcement: who said what. */
struct pref64_said {
	struct xlat_prefix prefix;
	uint32_t lifetime_s;
	uint32_t ifindex;
	uint8_t router[16];		/* zero when the message does not tell */
};
struct pref64_list {
	struct pref64_said said[PREF64_OPTIONS_MAX];
	size_t count;
	size_t ignored;			/* options that were bad, or too many */
};

/*
 * The body of an RTM_NEWNDUSEROPT message, after struct nlmsghdr: the kernel passes options of a router advertisement that
 * it has checked. PREF64_OK when there is at least one prefix.
 */
MUST_USE enum pref64_result pref64_nduseropt_read(struct slice body, struct pref64_list *out);
/* A router advertisement as a raw ICMPv6 socket gives it (checksum verified); checks of RFC 4861 6.1.2. */
MUST_USE enum pref64_result pref64_advertisement_read(struct slice message, const uint8_t source[16], unsigned hop_limit, uint32_t ifindex,
						      struct pref64_list *out);

/* ---- RFC 7050, 8880 ---- */
/* The AAAA question for ipv4only.arpa: recursion desired, checking not disabled (3: a DNS64 would not synthesize). */
void pref64_question_write(struct buf *out, uint16_t id);
/*
 * An answer to that question. *out gets each prefix once, with the TTL of its record as its lifetime. All six
 * locations of RFC 6052 2.2 are looked at for 192.0.0.170 and .171; an address in which the value stands more than once counts
 * by the other value or not at all (3).
 */
MUST_USE enum pref64_result pref64_answer_read(struct slice message, uint16_t id, struct pref64_list *out);

/* ---- what is known ---- */
enum pref64_origin { PREF64_BY_RA, PREF64_BY_DNS };	/* in order of preference (RFC 8781 5, RFC 9872) */

struct pref64_row {
	struct pref64_said said;
	enum pref64_origin origin;
	int64_t until_ms;		/* INT64_MAX never happens: all lifetimes end */
};
struct pref64_table {
	struct pref64_row row[PREF64_ROWS_MAX];
	size_t count;
	size_t refused;			/* announcements that found the table full */
};

/*
 * Note an announcement: a row of the same origin, router, interface and prefix is renewed; lifetime 0 ends it. When the table is
 * full the announcement is counted and left out: a flood of routers cannot push out the prefix in use.
 */
void pref64_table_put(struct pref64_table *t, const struct pref64_said *said, enum pref64_origin origin, int64_t now_ms);
/* Forget what an origin said (a new DNS answer replaces the one before) or what came by an interface (0: any). */
void pref64_table_forget(struct pref64_table *t, enum pref64_origin origin, uint32_t ifindex);
/* Drop what is over. Returns ms until the next row ends, -1: there is none. */
int64_t pref64_table_expire(struct pref64_table *t, int64_t now_ms);
/* The prefix to use: by origin, then the one that is known for the longest time, so that a second router does not change it. */
MUST_USE bool pref64_table_best(const struct pref64_table *t, struct xlat_prefix *out);
