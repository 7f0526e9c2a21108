/* The FTP ALG: what it says, and two TCPs that lose, repeat and cut segments on both sides of it. */
#include "base/test.h"

#include <arpa/inet.h>

#include "base/must.h"
#include "nat64/slow/ftp.h"
#include "nat64/slow/packet.h"

/* -- Two ends of a connection ---------------------------------------------------------------------------------------- */

enum { FIN = 1, SYN = 2, ACK = 16 };

struct end {
	uint32_t first;			/* number of the first byte of its data */
	uint32_t una, nxt;		/* oldest byte without acknowledgement; next to send */
	uint32_t rcv;			/* next expected */
	struct buf out, in;		/* all that it says and heard */
};

struct net {
	struct end end[2];
	struct xlat_ftp ftp;
	struct ftp_host host;
	__be32 client[4];
	uint32_t random;
	unsigned loss;			/* of 100 */
	unsigned largest;		/* bytes of a segment */
	bool no_ports;
	unsigned maps;
};

static uint32_t dice(struct net *n, uint32_t sides)
{
	n->random = n->random * 1664525 + 1013904223;
	return (n->random >> 8) % sides;
}

static int map_port(void *arg, uint16_t port, __be32 *addr4, uint16_t *port4)
{
	struct net *n = arg;

	n->maps++;
	if (n->no_ports)
		return -1;
	*addr4 = htobe32(0xc6336401);
	*port4 = (uint16_t)(port + 1000);
	return 0;
}

static void put_segment(struct buf *b, uint32_t seq, uint32_t ack, uint8_t flags, struct slice options, struct slice data)
{
	buf_reset(b);
	buf_be16(b, 1);
	buf_be16(b, 21);
	buf_be32(b, seq);
	buf_be32(b, ack);
	buf_addc(b, (uint8_t)((20 + options.len) / 4 << 4));
	buf_addc(b, flags);
	buf_be16(b, 1000);
	buf_be32(b, 0);
	buf_add(b, options);
	buf_add(b, data);
	must(b->err == 0);
}

/* A segment reaches an end. */
static void arrive(struct end *e, struct slice s)
{
	uint32_t seq = get32(s.ptr + 4), ack = get32(s.ptr + 8);
	struct slice data = slice_from(s, (s.ptr[12] >> 4) * 4u);

	if ((int32_t)(ack - e->una) > 0) {
		/* Nobody acknowledges what was not sent. */
		ck_assert_int_le((int32_t)(ack - e->nxt), 0);
		e->una = ack;
	}
	uint32_t old = e->rcv - seq;

	if ((int32_t)old < 0 || old >= data.len)
		return;
	buf_add(&e->in, slice_from(data, old));
	e->rcv += (uint32_t)data.len - old;
}

static void through(struct net *n, unsigned from, struct slice segment)
{
	AUTO_BUF struct buf out = BUF_INIT(70000);
	struct ftp_result r;

	ck_assert(ftp_segment(&n->ftp, from, segment, &n->host, &out, &r));
	if (!r.drop && dice(n, 100) >= n->loss) {
		arrive(&n->end[!from], buf_slice(&out));
		if (dice(n, 100) < n->loss)
			arrive(&n->end[!from], buf_slice(&out));
	}
	if (r.answer && dice(n, 100) >= n->loss) {
		put_segment(&out, r.answer_seq, r.answer_ack, ACK, (struct slice){ 0 }, (struct slice){ 0 });
		arrive(&n->end[from], buf_slice(&out));
	}
}

/* An end sends something: new data, old data again, or an acknowledgement alone. */
static void send_some(struct net *n, unsigned from)
{
	struct end *e = &n->end[from];
	AUTO_BUF struct buf b = BUF_INIT(70000);
	uint32_t end = e->first + (uint32_t)e->out.len, at = dice(n, 4) == 0 ? e->una : e->nxt;
	uint32_t bytes = end - at < n->largest ? end - at : 1 + dice(n, n->largest);

	if (bytes > end - at)
		bytes = end - at;
	put_segment(&b, at, e->rcv, ACK, (struct slice){ 0 }, slice_sub(buf_slice(&e->out), at - e->first, at - e->first + bytes));
	if ((int32_t)(at + bytes - e->nxt) > 0)
		e->nxt = at + bytes;
	if (dice(n, 100) >= n->loss)
		through(n, from, buf_slice(&b));
}

static void net_init(struct net *n, uint32_t seed)
{
	AUTO_BUF struct buf b = BUF_INIT(100);

	*n = (struct net){ .random = seed, .largest = 1000 };
	n->host = (struct ftp_host){ .client6 = n->client, .map = map_port, .arg = n };
	must(inet_pton(AF_INET6, "2001:db8::1", n->client) == 1);
	for (unsigned i = 0; i < 2; i++) {
		n->end[i].first = n->end[i].una = n->end[i].nxt = (i == 0 ? 0xffffff00u : 77777u) + seed + 1;
		buf_init(&n->end[i].out, 1 << 20);
		buf_init(&n->end[i].in, 1 << 20);
	}
	n->end[0].rcv = n->end[1].first;
	n->end[1].rcv = n->end[0].first;
	struct ftp_result r;
	AUTO_BUF struct buf out = BUF_INIT(100);

	ftp_begin(&n->ftp, n->end[0].first - 1);
	put_segment(&b, n->end[0].first - 1, 0, SYN, (struct slice){ 0 }, (struct slice){ 0 });
	ck_assert(ftp_segment(&n->ftp, FTP_CLIENT, buf_slice(&b), &n->host, &out, &r));
	put_segment(&b, n->end[1].first - 1, n->end[0].first, SYN | ACK, (struct slice){ 0 }, (struct slice){ 0 });
	ck_assert(ftp_segment(&n->ftp, FTP_SERVER, buf_slice(&b), &n->host, &out, &r));
	ck_assert_slice_eq(buf_slice(&out), buf_slice(&b));
}

static void net_done(struct net *n)
{
	for (unsigned i = 0; i < 2; i++) {
		buf_done(&n->end[i].out);
		buf_done(&n->end[i].in);
	}
}

/* Until both have all, or it fails. */
static void settle(struct net *n)
{
	for (unsigned round = 0; round < 100000; round++) {
		bool quiet = true;

		for (unsigned i = 0; i < 2; i++)
			quiet &= n->end[i].una == n->end[i].first + (uint32_t)n->end[i].out.len;
		if (quiet)
			return;
		send_some(n, dice(n, 2));
	}
	ck_abort_msg("the connection hangs");
}

/* Says a line on one side, and what the other heard since. */
static struct slice say(struct net *n, unsigned from, const char *text)
{
	size_t before = n->end[!from].in.len;

	buf_adds(&n->end[from].out, text);
	settle(n);
	return slice_from(buf_slice(&n->end[!from].in), before);
}

static void greet(struct net *n)
{
	ck_assert_slice_eq(say(n, FTP_SERVER, "220 hello\r\n"), SLICE("220 hello\r\n"));
}

/* -- What is said ---------------------------------------------------------------------------------------------------- */

START_TEST(rfc6384_6_epsv_becomes_pasv_and_227_becomes_229)
{
	static const struct { const char *command, *reply, *heard; } rows[] = {
		{ "EPSV\r\n", "227 Entering Passive Mode (192,0,2,1,4,1).\r\n", "229 Entering Extended Passive Mode (|||1025|)\r\n" },
		{ "epsv 2\r\n", "227 =192,0,2,1,255,255\r\n", "229 Entering Extended Passive Mode (|||65535|)\r\n" },
		{ "EPSV \r\n", "227 ok 10,0,0,1,0,21 more\r\n", "229 Entering Extended Passive Mode (|||21|)\r\n" },
		{ "EPSV\n", "227 (1,2,3,4,0,0)\r\n", "425 Can't open data connection.\r\n" },
		{ "EPSV\r\n", "227 (1,2,3,4,256,0)\r\n", "425 Can't open data connection.\r\n" },
		{ "EPSV\r\n", "227 none\r\n", "425 Can't open data connection.\r\n" },
		{ "EPSV\r\n", "530 Please login with USER and PASS.\r\n", "530 Please login with USER and PASS.\r\n" },
		{ "EPSV\r\n", "227-a\r\n text\r\n227 (1,2,3,4,1,1)\r\n",
		  "229-Entering Extended Passive Mode\r\n text\r\n229 Entering Extended Passive Mode (|||257|)\r\n" },
	};
	struct net n;

	net_init(&n, 1);
	greet(&n);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ck_assert_slice_eq(say(&n, FTP_CLIENT, rows[i].command), SLICE("PASV\r\n"));
		ck_assert_slice_eq(say(&n, FTP_SERVER, rows[i].reply), slice_str(rows[i].heard));
		ck_assert_slice_eq(say(&n, FTP_CLIENT, "TYPE I\r\n"), SLICE("TYPE I\r\n"));
		ck_assert_slice_eq(say(&n, FTP_SERVER, "200 ok\r\n"), SLICE("200 ok\r\n"));
	}
	net_done(&n);
}
END_TEST

START_TEST(rfc6384_6_epsv_all_and_other_networks_are_refused)
{
	struct net n;

	net_init(&n, 2);
	greet(&n);
	ck_assert_slice_eq(say(&n, FTP_CLIENT, "EPSV ALL\r\n"), SLICE("NOOP\r\n"));
	ck_assert_slice_eq(say(&n, FTP_SERVER, "200 NOOP ok.\r\n"), SLICE("504 Command not implemented for that parameter.\r\n"));
	for (unsigned i = 0; i < 3; i++) {
		static const char *const others[] = { "EPSV 1\r\n", "EPSV 22\r\n", "epsv 3\r\n" };

		ck_assert_slice_eq(say(&n, FTP_CLIENT, others[i]), SLICE("NOOP\r\n"));
		ck_assert_slice_eq(say(&n, FTP_SERVER, "200 ok\r\n"), SLICE("522 Network protocol not supported, use (2)\r\n"));
	}
	ck_assert_slice_eq(say(&n, FTP_CLIENT, "EPSV 2a\r\n"), SLICE("EPSV 2a\r\n"));
	ck_assert_slice_eq(say(&n, FTP_SERVER, "501 what\r\n"), SLICE("501 what\r\n"));
	/* The server ends the connection: no answer of ours hides it. */
	say(&n, FTP_CLIENT, "EPSV ALL\r\n");
	ck_assert_slice_eq(say(&n, FTP_SERVER, "421-Timeout.\r\n421 Bye.\r\n"), SLICE("421-Timeout.\r\n421 Bye.\r\n"));
	net_done(&n);
}
END_TEST

START_TEST(rfc6384_7_eprt_becomes_port_with_a_mapping)
{
	struct net n;

	net_init(&n, 3);
	greet(&n);
	ck_assert_slice_eq(say(&n, FTP_CLIENT, "EPRT |2|2001:db8::1|5282|\r\n"), SLICE("PORT 198,51,100,1,24,138\r\n"));
	ck_assert_slice_eq(say(&n, FTP_SERVER, "200 PORT command successful.\r\n"), SLICE("200 PORT command successful.\r\n"));
	ck_assert_slice_eq(say(&n, FTP_CLIENT, "eprt !2!2001:0db8:0::0:1!1!\r\n"), SLICE("PORT 198,51,100,1,3,233\r\n"));
	ck_assert_slice_eq(say(&n, FTP_SERVER, "200 ok\r\n"), SLICE("200 ok\r\n"));
	ck_assert_uint_eq(n.maps, 2);
	n.no_ports = true;
	ck_assert_slice_eq(say(&n, FTP_CLIENT, "EPRT |2|2001:db8::1|5282|\r\n"), SLICE("NOOP\r\n"));
	ck_assert_slice_eq(say(&n, FTP_SERVER, "200 ok\r\n"), SLICE("425 Can't open data connection.\r\n"));
	net_done(&n);
}
END_TEST

START_TEST(rfc6384_10_what_is_not_translated_passes_unmodified)
{
	static const char *const lines[] = {
		"PASV\r\n", "PORT 1,2,3,4,5,6\r\n", "EPRT |1|192.0.2.1|5282|\r\n", "EPRT |2|2001:db8::2|5282|\r\n", "EPRT |2|2001:db8::1|0|\r\n",
		"EPRT |2|2001:db8::1|65536|\r\n", "EPRT |2|2001:db8::1|5282\r\n", "EPRT |2|2001:db8::1|52x|\r\n", "EPRT\r\n", "EPRT |\r\n",
		"EPSVX\r\n", "EPS\r\n", "\r\n", "HOST ftp.example\r\n", "\377\364\377\362ABOR\r\n", "SITE EPSV\r\n", "EPRT |2|2001:db8::1|5282|x\r\n",
	};
	struct net n;

	net_init(&n, 4);
	greet(&n);
	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		ck_assert_slice_eq(say(&n, FTP_CLIENT, lines[i]), slice_str(lines[i]));
		ck_assert_slice_eq(say(&n, FTP_SERVER, "200 ok\r\n"), SLICE("200 ok\r\n"));
	}
	ck_assert_uint_eq(n.maps, 0);
	/* A 227 for the client's own PASV is left alone (9). */
	say(&n, FTP_CLIENT, "PASV\r\n");
	ck_assert_slice_eq(say(&n, FTP_SERVER, "227 (1,2,3,4,5,6)\r\n"), SLICE("227 (1,2,3,4,5,6)\r\n"));
	net_done(&n);
}
END_TEST

START_TEST(rfc6384_11_algs_tells_and_sets_the_status)
{
	static const struct { const char *command, *heard; } rows[] = {
		{ "ALGS STATUS64\r\n", "216 EPSVEPRT\r\n" }, { "ALGS DISABLE64\r\n", "216 NONE\r\n" }, { "algs status64\r\n", "216 NONE\r\n" },
		{ "ALGS\r\n", "504 Command not implemented for that parameter.\r\n" }, { "ALGS ENABLE64\r\n", "216 EPSVEPRT\r\n" },
	};
	struct net n;

	net_init(&n, 5);
	greet(&n);
	for (unsigned i = 0; i < 5; i++) {
		ck_assert_slice_eq(say(&n, FTP_CLIENT, rows[i].command), SLICE("NOOP\r\n"));
		/* Whatever the server thinks of it. */
		ck_assert_slice_eq(say(&n, FTP_SERVER, i % 2 ? "530 Log in first.\r\n" : "200 ok\r\n"), slice_str(rows[i].heard));
		if (i == 2) {
			ck_assert_slice_eq(say(&n, FTP_CLIENT, "EPSV\r\n"), SLICE("EPSV\r\n"));
			say(&n, FTP_SERVER, "229 (|||1|)\r\n");
		}
	}
	ck_assert_slice_eq(say(&n, FTP_CLIENT, "EPSV\r\n"), SLICE("PASV\r\n"));
	net_done(&n);
}
END_TEST

START_TEST(rfc6384_5_after_auth_tls_nothing_is_looked_at)
{
	struct net n;

	net_init(&n, 6);
	greet(&n);
	ck_assert_slice_eq(say(&n, FTP_CLIENT, "AUTH TLS\r\n"), SLICE("AUTH TLS\r\n"));
	ck_assert(!ftp_done(&n.ftp));
	ck_assert_slice_eq(say(&n, FTP_SERVER, "234 go ahead\r\n"), SLICE("234 go ahead\r\n"));
	ck_assert(ftp_done(&n.ftp));
	ck_assert_slice_eq(say(&n, FTP_CLIENT, "EPSV\r\n"), SLICE("EPSV\r\n"));
	ck_assert_slice_eq(say(&n, FTP_SERVER, "227 (1,2,3,4,5,6)\r\n"), SLICE("227 (1,2,3,4,5,6)\r\n"));
	net_done(&n);
	/* Any reply but a refusal; and what is said meanwhile passes. */
	net_init(&n, 10);
	greet(&n);
	ck_assert_slice_eq(say(&n, FTP_CLIENT, "AUTH KERBEROS_V4\r\nEPSV\r\nALGS STATUS64\r\n"),
			   SLICE("AUTH KERBEROS_V4\r\nEPSV\r\nALGS STATUS64\r\n"));
	say(&n, FTP_SERVER, "235 done\r\n");
	ck_assert(ftp_done(&n.ftp));
	net_done(&n);
	/* Refused: all goes on. */
	net_init(&n, 7);
	greet(&n);
	say(&n, FTP_CLIENT, "AUTH TLS\r\n");
	ck_assert_slice_eq(say(&n, FTP_SERVER, "530 Please login with USER and PASS.\r\n"), SLICE("530 Please login with USER and PASS.\r\n"));
	ck_assert_slice_eq(say(&n, FTP_CLIENT, "EPSV\r\n"), SLICE("PASV\r\n"));
	ck_assert(!ftp_done(&n.ftp));
	net_done(&n);
	/* Numbers that have moved stay moved. */
	net_init(&n, 8);
	greet(&n);
	say(&n, FTP_CLIENT, "ALGS STATUS64\r\n");
	say(&n, FTP_SERVER, "200 ok\r\n");
	say(&n, FTP_CLIENT, "AUTH TLS\r\n");
	say(&n, FTP_SERVER, "234 go ahead\r\n");
	ck_assert(!ftp_done(&n.ftp));
	ck_assert_slice_eq(say(&n, FTP_CLIENT, "EPSV\r\n"), SLICE("EPSV\r\n"));
	net_done(&n);
}
END_TEST

START_TEST(replies_keep_their_commands_through_preliminary_ones_and_several_lines)
{
	struct net n;

	net_init(&n, 9);
	ck_assert_slice_eq(say(&n, FTP_SERVER, "120 soon\r\n220-hello\r\n220 wait\r\n"), SLICE("120 soon\r\n220-hello\r\n220 wait\r\n"));
	/* All at once: pipelining. */
	ck_assert_slice_eq(say(&n, FTP_CLIENT, "RETR x\r\nALGS STATUS64\r\nEPSV\r\nNOOP\r\nEPSV\r\n"),
			   SLICE("RETR x\r\nNOOP\r\nPASV\r\nNOOP\r\nPASV\r\n"));
	ck_assert_slice_eq(say(&n, FTP_SERVER, "150-a\r\n150 b\r\n226-c\r\n 226 no\r\n226-d\r\n226 e\r\n200-x\r\n200 y\r\n227 (1,2,3,4,0,9)\r\n200 z\r\n"
					       "227 (1,2,3,4,0,10)\r\n"),
			   SLICE("150-a\r\n150 b\r\n226-c\r\n 226 no\r\n226-d\r\n226 e\r\n216-EPSVEPRT\r\n216 EPSVEPRT\r\n"
				 "229 Entering Extended Passive Mode (|||9|)\r\n200 z\r\n229 Entering Extended Passive Mode (|||10|)\r\n"));
	net_done(&n);
}
END_TEST

START_TEST(a_server_that_leaves_out_replies_does_not_stop_the_alg)
{
	struct net n;

	net_init(&n, 10);
	greet(&n);
	for (unsigned i = 0; i < 40; i++)
		say(&n, FTP_CLIENT, "NOOP\r\n");
	say(&n, FTP_CLIENT, "EPSV\r\n");
	ck_assert_slice_eq(say(&n, FTP_SERVER, "227 (1,2,3,4,0,9)\r\n"), SLICE("229 Entering Extended Passive Mode (|||9|)\r\n"));
	net_done(&n);
}
END_TEST

START_TEST(lines_longer_than_any_command_pass)
{
	AUTO_BUF struct buf line = BUF_INIT(4000);
	struct net n;

	net_init(&n, 11);
	greet(&n);
	for (size_t k = SLOW_FTP_LINE_MAX - 2; k < SLOW_FTP_LINE_MAX + 400; k += k < SLOW_FTP_LINE_MAX + 2 ? 1 : 97)
		for (unsigned largest = 1; largest < 2000; largest *= 3) {
			n.largest = largest;
			buf_reset(&line);
			buf_adds(&line, "EPRT ");
			buf_fill(&line, 'x', k - 5);
			buf_adds(&line, "\r\nEPSV\r\n");
			struct slice heard = say(&n, FTP_CLIENT, buf_cstr(&line));

			ck_assert_uint_eq(heard.len, line.len);
			ck_assert_slice_eq(slice_head(heard, k + 2), slice_head(buf_slice(&line), k + 2));
			ck_assert_slice_eq(slice_from(heard, k + 2), SLICE("PASV\r\n"));
			ck_assert_slice_eq(say(&n, FTP_SERVER, "500 what\r\n530 no\r\n"), SLICE("500 what\r\n530 no\r\n"));
		}
	net_done(&n);
}
END_TEST

/* Every cut of a line, by hand: the held beginning is acknowledged, and comes with the rest. */
START_TEST(rfc6384_lines_in_parts_are_held_and_acknowledged)
{
	for (size_t cut = 1; cut < 6; cut++) {
		AUTO_BUF struct buf b = BUF_INIT(200), out = BUF_INIT(200);
		struct ftp_result r;
		struct net n;

		net_init(&n, 12);
		greet(&n);
		struct end *c = &n.end[0];
		struct slice line = SLICE("EPSV\r\n");

		put_segment(&b, c->first, c->rcv, ACK, (struct slice){ 0 }, slice_head(line, cut));
		ck_assert(ftp_segment(&n.ftp, FTP_CLIENT, buf_slice(&b), &n.host, &out, &r));
		ck_assert(!r.drop && r.answer && !r.trimmed);
		ck_assert_uint_eq(r.answer_ack, c->first + cut);
		ck_assert_uint_eq(r.answer_seq, c->rcv);
		ck_assert_uint_eq(out.len, 20);
		/* Another life of the daemon: the struct is all there is. */
		struct xlat_ftp copy = n.ftp;

		memset(&n.ftp, 0xaa, sizeof(n.ftp));
		n.ftp = copy;
		for (unsigned again = 0; again < 3; again++) {	/* the rest, lost and sent again */
			put_segment(&b, c->first + (uint32_t)cut, c->rcv, ACK, (struct slice){ 0 }, slice_from(line, cut));
			ck_assert(ftp_segment(&n.ftp, FTP_CLIENT, buf_slice(&b), &n.host, &out, &r));
			ck_assert_slice_eq(slice_from(buf_slice(&out), 20), SLICE("PASV\r\n"));
			ck_assert_uint_eq(get32(out.ptr + 4), c->first);
		}
		ck_assert_uint_eq(n.ftp.pending, 1);
		net_done(&n);
	}
}
END_TEST

/* The ALG must not acknowledge what is on its way: bytes before those that it holds. */
START_TEST(held_bytes_are_acknowledged_with_all_before_them)
{
	AUTO_BUF struct buf b = BUF_INIT(200), out = BUF_INIT(200);
	struct ftp_result r;
	struct net n;

	net_init(&n, 16);
	greet(&n);
	put_segment(&b, n.end[0].first, n.end[0].rcv, ACK, (struct slice){ 0 }, SLICE("NOOP\r\nEP"));
	ck_assert(ftp_segment(&n.ftp, FTP_CLIENT, buf_slice(&b), &n.host, &out, &r));
	ck_assert(!r.answer);
	ck_assert_slice_eq(slice_from(buf_slice(&out), 20), SLICE("NOOP\r\n"));
	put_segment(&b, n.end[1].nxt, n.end[0].first + 6, ACK, (struct slice){ 0 }, (struct slice){ 0 });
	ck_assert(ftp_segment(&n.ftp, FTP_SERVER, buf_slice(&b), &n.host, &out, &r));
	ck_assert_uint_eq(get32(out.ptr + 8), n.end[0].first + 8);
	net_done(&n);
}
END_TEST

START_TEST(rewritten_lines_are_kept_until_they_are_acknowledged)
{
	AUTO_BUF struct buf b = BUF_INIT(200), out = BUF_INIT(200);
	struct ftp_result r;
	struct net n;

	net_init(&n, 17);
	greet(&n);
	uint32_t at = n.end[0].first;
	struct slice line = SLICE("ALGS STATUS64\r\n");

	for (unsigned i = 0; i <= XLAT_FTP_EDITS; i++, at += (uint32_t)line.len) {
		put_segment(&b, at, n.end[0].rcv, ACK | FIN, (struct slice){ 0 }, line);
		b.ptr[13] = i == XLAT_FTP_EDITS ? ACK | FIN : ACK;
		ck_assert(ftp_segment(&n.ftp, FTP_CLIENT, buf_slice(&b), &n.host, &out, &r));
		ck_assert_uint_eq(r.trimmed, i == XLAT_FTP_EDITS);
		ck_assert_uint_eq(out.len, i == XLAT_FTP_EDITS ? 20 : 26);
		ck_assert_uint_eq(get32(out.ptr + 4), n.end[0].first + i * 6);
		ck_assert_uint_eq(out.ptr[13], ACK);
	}
	/* One acknowledged: there is room for one. */
	put_segment(&b, n.end[1].nxt, n.end[0].first + 6, ACK, (struct slice){ 0 }, (struct slice){ 0 });
	ck_assert(ftp_segment(&n.ftp, FTP_SERVER, buf_slice(&b), &n.host, &out, &r));
	ck_assert_uint_eq(get32(out.ptr + 8), n.end[0].first + line.len);
	put_segment(&b, at - (uint32_t)line.len, n.end[0].rcv, ACK, (struct slice){ 0 }, line);
	ck_assert(ftp_segment(&n.ftp, FTP_CLIENT, buf_slice(&b), &n.host, &out, &r));
	ck_assert_slice_eq(slice_from(buf_slice(&out), 20), SLICE("NOOP\r\n"));
	net_done(&n);
}
END_TEST

START_TEST(segments_after_a_gap_wait_for_a_retransmission)
{
	AUTO_BUF struct buf b = BUF_INIT(200), out = BUF_INIT(200);
	struct ftp_result r;
	struct net n;

	net_init(&n, 13);
	greet(&n);
	put_segment(&b, n.end[0].first + 1, n.end[0].rcv, ACK, (struct slice){ 0 }, SLICE("PSV\r\n"));
	ck_assert(ftp_segment(&n.ftp, FTP_CLIENT, buf_slice(&b), &n.host, &out, &r));
	ck_assert(r.drop);
	put_segment(&b, n.end[0].first + 1, n.end[0].rcv, ACK | FIN, (struct slice){ 0 }, (struct slice){ 0 });
	ck_assert(ftp_segment(&n.ftp, FTP_CLIENT, buf_slice(&b), &n.host, &out, &r));
	ck_assert(r.drop);
	net_done(&n);
}
END_TEST

START_TEST(rfc2018_sack_blocks_move_with_the_numbers_and_options_stay)
{
	AUTO_BUF struct buf b = BUF_INIT(200), out = BUF_INIT(200), options = BUF_INIT(100);
	struct ftp_result r;
	struct net n;

	net_init(&n, 14);
	greet(&n);
	say(&n, FTP_CLIENT, "EPSV\r\n");
	say(&n, FTP_SERVER, "227 Entering Passive Mode (192,0,2,1,4,1).\r\n");	/* 44 bytes become 47 */
	uint32_t client = n.end[0].rcv, server = n.end[1].nxt;

	ck_assert_uint_eq(client - server, 3);
	buf_add(&options, slice_of("\1\1\10\12\0\0\0\7\0\0\0\11\1\1\5\22", 16));
	buf_be32(&options, client + 10);
	buf_be32(&options, client + 20);
	buf_be32(&options, client - 2);	/* within the rewritten line: nothing of it is sure */
	buf_be32(&options, client - 1);
	put_segment(&b, n.end[0].nxt, client, ACK, buf_slice(&options), (struct slice){ 0 });
	ck_assert(ftp_segment(&n.ftp, FTP_CLIENT, buf_slice(&b), &n.host, &out, &r));
	ck_assert_uint_eq(get32(out.ptr + 8), server);
	ck_assert_slice_eq(slice_sub(buf_slice(&out), 20, 34), slice_head(buf_slice(&options), 14));
	ck_assert_uint_eq(out.ptr[34], 5);
	ck_assert_uint_eq(out.ptr[35], 10);
	ck_assert_uint_eq(get32(out.ptr + 36), server + 10);
	ck_assert_uint_eq(get32(out.ptr + 40), server + 20);
	ck_assert_slice_eq(slice_from(buf_slice(&out), 44), SLICE("\1\1\1\1\1\1\1\1"));
	net_done(&n);
}
END_TEST

START_TEST(a_line_that_ends_with_the_connection_is_none)
{
	AUTO_BUF struct buf b = BUF_INIT(200), out = BUF_INIT(200);
	struct ftp_result r;
	struct net n;

	net_init(&n, 15);
	greet(&n);
	put_segment(&b, n.end[0].first, n.end[0].rcv, ACK | FIN, (struct slice){ 0 }, SLICE("EPS"));
	ck_assert(ftp_segment(&n.ftp, FTP_CLIENT, buf_slice(&b), &n.host, &out, &r));
	ck_assert_uint_eq(out.len, 20);
	ck_assert_uint_eq(get32(out.ptr + 4), n.end[0].first);
	ck_assert(out.ptr[13] & FIN);
	/* The server acknowledges the FIN, the client sees all acknowledged. */
	put_segment(&b, n.end[1].nxt, n.end[0].first + 1, ACK, (struct slice){ 0 }, (struct slice){ 0 });
	ck_assert(ftp_segment(&n.ftp, FTP_SERVER, buf_slice(&b), &n.host, &out, &r));
	ck_assert_uint_eq(get32(out.ptr + 8), n.end[0].first + 4);
	net_done(&n);
}
END_TEST

START_TEST(rfc6384_5_the_urgent_pointer_keeps_its_sense_or_goes)
{
	static const struct { const char *line; unsigned pointer; bool stays; } rows[] = {
		{ "ABOR\r\n", 6, true }, { "ABOR\r\n", 7, false }, { "EPSV\r\n", 6, false }, { "ABOR\r\nEPSV 2\r\n", 3, false },
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO_BUF struct buf b = BUF_INIT(200), out = BUF_INIT(200);
		struct ftp_result r;
		struct net n;

		net_init(&n, i);
		greet(&n);
		put_segment(&b, n.end[0].nxt, n.end[0].rcv, ACK | 32, (struct slice){ 0 }, slice_str(rows[i].line));
		b.ptr[19] = (uint8_t)rows[i].pointer;
		ck_assert(ftp_segment(&n.ftp, FTP_CLIENT, buf_slice(&b), &n.host, &out, &r));
		ck_assert_msg((out.ptr[13] & 32) == (rows[i].stays ? 32 : 0), "row %u", i);
		ck_assert_uint_eq(out.ptr[19], rows[i].stays ? rows[i].pointer : 0);
		net_done(&n);
	}
}
END_TEST

/* Conversations over bad networks: what both hear is the same as over a good one. */
START_TEST(lost_repeated_and_cut_segments_change_nothing)
{
	static const struct { const char *command, *got, *reply, *heard; } talk[] = {
		{ "USER a\r\n", "USER a\r\n", "331 password\r\n", "331 password\r\n" },
		{ "EPSV\r\n", "PASV\r\n", "227 Entering Passive Mode (192,0,2,1,4,1).\r\n", "229 Entering Extended Passive Mode (|||1025|)\r\n" },
		{ "RETR x\r\n", "RETR x\r\n", "150 here\r\n226 done\r\n", "150 here\r\n226 done\r\n" },
		{ "ALGS STATUS64\r\n", "NOOP\r\n", "200 ok\r\n", "216 EPSVEPRT\r\n" },
		{ "EPRT |2|2001:db8::1|5282|\r\n", "PORT 198,51,100,1,24,138\r\n", "200 fine\r\n", "200 fine\r\n" },
		{ "EPSV ALL\r\n", "NOOP\r\n", "200-a\r\n200 b\r\n", "504-Command not implemented for that parameter.\r\n"
							   "504 Command not implemented for that parameter.\r\n" },
		{ "EPSV 2\r\n", "PASV\r\n", "227 (1,2,3,4,0,5)\r\n", "229 Entering Extended Passive Mode (|||5|)\r\n" },
		{ "EP\r\n", "EP\r\n", "500 what\r\n", "500 what\r\n" },
	};
	static const unsigned largest[] = { 1, 2, 3, 7, 20, 1000 };

	for (uint32_t seed = 0; seed < 300; seed++) {
		struct net n;

		net_init(&n, seed * 77);
		n.loss = seed % 5 * 12;
		n.largest = largest[seed % 6];
		greet(&n);
		for (unsigned round = 0; round < 3; round++)
			for (unsigned i = 0; i < sizeof(talk) / sizeof(talk[0]); i++) {
				unsigned k = (seed + i * 3) % (sizeof(talk) / sizeof(talk[0]));

				ck_assert_slice_eq(say(&n, FTP_CLIENT, talk[k].command), slice_str(talk[k].got));
				ck_assert_slice_eq(say(&n, FTP_SERVER, talk[k].reply), slice_str(talk[k].heard));
			}
		net_done(&n);
	}
}
END_TEST

TEST_MAIN("nat64/ftp", rfc6384_6_epsv_becomes_pasv_and_227_becomes_229, rfc6384_6_epsv_all_and_other_networks_are_refused,
	  rfc6384_7_eprt_becomes_port_with_a_mapping, rfc6384_10_what_is_not_translated_passes_unmodified,
	  rfc6384_11_algs_tells_and_sets_the_status, rfc6384_5_after_auth_tls_nothing_is_looked_at,
	  replies_keep_their_commands_through_preliminary_ones_and_several_lines, a_server_that_leaves_out_replies_does_not_stop_the_alg,
	  lines_longer_than_any_command_pass, rfc6384_lines_in_parts_are_held_and_acknowledged, segments_after_a_gap_wait_for_a_retransmission,
	  held_bytes_are_acknowledged_with_all_before_them, rewritten_lines_are_kept_until_they_are_acknowledged,
	  rfc2018_sack_blocks_move_with_the_numbers_and_options_stay, a_line_that_ends_with_the_connection_is_none,
	  rfc6384_5_the_urgent_pointer_keeps_its_sense_or_goes, lost_repeated_and_cut_segments_change_nothing)
