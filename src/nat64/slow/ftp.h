/*
 * The FTP ALG (RFC 6384): an IPv6 client speaks to an IPv4 server with EPSV and EPRT, which many servers do not know.
 *
 * No proxy: segments go on as they are, but for lines that are rewritten, and sequence and acknowledgement numbers (SACK blocks too) move
 * by what that added or took away. TCP's own retransmission stays the only one, so the ALG needs no timer and no buffer of
 * its own: what it remembers is struct xlat_ftp, which the caller keeps in a pinned map, and a rewritten line is made again from there
 * whenever its last byte comes again.
 *
 *	EPSV, EPSV 2	-> PASV; 227 (h,h,h,h,p,p) -> 229 (|||port|). The address in 227 is ignored (section 6: SHOULD).
 *	EPSV ALL	-> 504: a server that heard it would refuse PASV. EPSV with another number -> 522 (6)
 *	EPRT |2|a|p|	-> PORT with a mapping of the NAT64; of another address, network or syntax: passed on as it is (10)
 *	ALGS		STATUS64, ENABLE64, DISABLE64 -> 216 EPSVEPRT, or 216 NONE (11)
 *	AUTH		until its reply commands pass; unless that is 4xx or 5xx, nothing is looked at any more (5)
 *	PASV, PORT and all else pass (9, 10)
 *
 * Answers that are the ALG's own need the server's word as well: in place of the command the server gets NOOP, and its reply, whatever it is,
 * is replaced - section 12 would end the connection after another reply than 200, but servers say 530 before the login -, but for 421, with
 * which the server itself ends. So no segment is invented, replies keep their order, and both sides' numbers stay in step.
 *
 * Lines in parts: a beginning that may become a line to rewrite is held, and acknowledged to its sender by the ALG as soon as all before it was
 * acknowledged by the receiver - else a sender with Nagle's algorithm would wait for ever. It is bounded (SLOW_FTP_LINE_MAX) and part of struct
 * xlat_ftp. It goes out with the first byte that settles what the line is, which the ALG leaves to the receiver to acknowledge.
 * Segments with a gap before them, and what does not fit the memory of edits, are dropped: TCP sends them again.
 */
#pragma once
#include "base/buf.h"
#include "nat64/core/state.h"
#include "nat64/slow/slow_limits.h"


enum ftp_side { FTP_CLIENT, FTP_SERVER };

struct ftp_host {
	const __be32 *client6;		/* 4 words */
	/* A mapping for a data connection of the client: the address and port (host order) that the server may call. 0 or negative errno. */
	int (*map)(void *arg, uint16_t port, __be32 *addr4, uint16_t *port4);
	void *arg;
};

struct ftp_result {
	bool drop;			/* the segment waits for a retransmission */
	bool trimmed;			/* not all of its data went; FIN with it */
	/* An acknowledgement to the sender. */
	bool answer;
	uint32_t answer_seq, answer_ack;
	uint16_t answer_window;
	bool answer_stamped;
	uint32_t answer_stamp, answer_echo;
};

/* Begin with the client's SYN. */
void ftp_begin(struct xlat_ftp *f, uint32_t seq);
/*
 * Take a TCP segment (header and data) of a side. *out gets the segment to send (replaced; its checksum is not valid), unless
 * result->drop. Its length may have changed. False: no TCP header, or the error of *out. Cost: O(bytes).
 */
bool ftp_segment(struct xlat_ftp *f, enum ftp_side from, struct slice segment, const struct ftp_host *host, struct buf *out,
		 struct ftp_result *result);
/* Nothing will be looked at any more, and numbers are equal on both sides: the connection needs no ALG. */
bool ftp_done(const struct xlat_ftp *f);
