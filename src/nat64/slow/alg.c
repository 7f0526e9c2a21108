/* Control connections: from packets to segments for ftp.c, and back. */
#include <errno.h>

#include "nat64/slow/apply.h"
#include "nat64/slow/ftp.h"
#include "nat64/slow/private.h"

enum { FTP_PORT = 21, TCP_HEAD = 20, TCP_SYN = 2, TCP_RST = 4, TCP_ACK = 16, TCP_URG = 32 };
/* A mapping for a data connection: the server calls at once, but a transfer may be asked for later. */
#define DATA_MAPPING_MS 120000
#define SWEEP_STEPS 16

static bool control_connection(const struct slow *s, struct xlat_session_key *key, enum ftp_side *from)
{
	const struct xlat *x = &s->x;

	if (s->config == NULL || s->config->mode != XLAT_NAT64 || (s->config->flags & XLAT_FTP) == 0 || s->ops.ftp_load == NULL ||
	    x->ip.protocol != XLAT_TCP || x->ip.family == x->to.family || x->ip.fragment_at != 0)
		return false;
	*key = (struct xlat_session_key){ .protocol = XLAT_TCP, .prefix = (uint8_t)x->prefix };
	if (x->ip.family == 6) {
		*from = FTP_CLIENT;
		memcpy(key->src6, x->ip.src, 16);
		key->dst4 = x->to.dst[0];
		key->sport = x->ip.sport;
		key->dport = x->ip.dport;
	} else {
		*from = FTP_SERVER;
		memcpy(key->src6, x->to.dst, 16);
		key->dst4 = x->ip.src[0];
		key->sport = x->to.dport;
		key->dport = x->ip.sport;
	}
	return key->dport == htobe16(FTP_PORT);
}

struct mapping {
	struct slow *s;
	const struct xlat_session_key *key;
	__be32 addr4;			/* of the control connection: the data connection gets the same */
};

static int map_port(void *arg, uint16_t port, __be32 *addr4, uint16_t *port4)
{
	const struct mapping *m = arg;
	struct xlat_call call = { .op = XLAT_CALL_BIB_ADD, .count = XLAT_TICKS(DATA_MAPPING_MS),
				  .bib = { .flags = XLAT_BIB_ALG, .addr4 = m->addr4 } };

	memcpy(call.bib.key.addr6, m->key->src6, 16);
	call.bib.key.port6 = htobe16(port);
	call.bib.key.protocol = XLAT_TCP;
	call.bib.expires = m->s->x.now + XLAT_TICKS(DATA_MAPPING_MS);
	int err = m->s->ops.call(m->s->arg, &call);

	if (err == 0)
		err = call.result;
	if (err != 0 && err != -EEXIST)
		return err;
	if (call.bib.port4 == 0)
		return -ENOENT;
	*addr4 = call.bib.addr4;
	*port4 = be16toh(call.bib.port4);
	return 0;
}

/* Whether the session's packets take the slow path. 0 or negative errno. */
static int hold(struct slow *s, const struct xlat_session_key *key, bool hold)
{
	struct xlat_call call = { .op = XLAT_CALL_ALG, .count = hold, .session = *key };
	int err = s->ops.call(s->arg, &call);

	return err != 0 ? err : call.result;
}

/* Send the segment in s->segment behind the IP header of `translated`, in as many packets as the MTU asks for. */
static void send_segment(struct slow *s, const struct slow_packet *p, struct slice translated, uint32_t ip_bytes)
{
	unsigned family = s->x.to.family;
	uint32_t mtu = slow_mtu(s), head = (s->segment.ptr[12] >> 4) * 4u;
	struct slice data = slice_from(buf_slice(&s->segment), head);
	uint32_t most = mtu > ip_bytes + head + 8 ? mtu - ip_bytes - head : 8;

	for (size_t at = 0;; at += most) {
		struct slice part = slice_sub(data, at, at + most);
		bool last = at + most >= data.len;

		buf_reset(&s->piece);
		buf_add(&s->piece, slice_head(translated, ip_bytes));
		buf_add(&s->piece, slice_head(buf_slice(&s->segment), head));
		buf_add(&s->piece, part);
		if (s->piece.err != 0)
			return;
		uint8_t *ip = s->piece.ptr, *tcp = ip + ip_bytes;

		put32(tcp + 4, get32(tcp + 4) + (uint32_t)at);
		if (!last)
			tcp[13] &= (uint8_t)~(1 | 8);	/* FIN and PSH are the end's */
		if (data.len > most) {
			tcp[13] &= (uint8_t)~TCP_URG;	/* it would point elsewhere */
			put16(tcp + 18, 0);
		}
		if (family == 4) {
			put16(ip + 2, (uint32_t)s->piece.len);
			packet_sum4(ip);
		} else {
			put16(ip + 4, (uint32_t)s->piece.len - IP6_BYTES);
		}
		packet_sum(ip, s->piece.len);
		slow_send(s, family, buf_slice(&s->piece), p->mark, &mtu);
		if (last)
			return;
	}
}

/* Acknowledge to the sender, in its own family, what the ALG holds. */
static void send_answer(struct slow *s, const struct slow_packet *p, const struct ftp_result *r)
{
	const struct xlat_ip *in = &s->x.ip;
	uint32_t head = in->family == 4 ? IP4_BYTES : IP6_BYTES, options = r->answer_stamped ? 12 : 0, mtu = 0;

	buf_reset(&s->piece);
	buf_fill(&s->piece, 0, head + TCP_HEAD + options);
	if (s->piece.err != 0)
		return;
	uint8_t *ip = s->piece.ptr, *tcp = ip + head;

	memcpy(tcp, &in->dport, 2);
	memcpy(tcp + 2, &in->sport, 2);
	put32(tcp + 4, r->answer_seq);
	put32(tcp + 8, r->answer_ack);
	tcp[12] = (uint8_t)((TCP_HEAD + options) / 4 << 4);
	tcp[13] = TCP_ACK;
	put16(tcp + 14, r->answer_window);
	if (r->answer_stamped) {
		memcpy(tcp + 20, (const uint8_t[4]){ 1, 1, 8, 10 }, 4);
		put32(tcp + 24, r->answer_stamp);
		put32(tcp + 28, r->answer_echo);
	}
	if (in->family == 4) {
		ip[0] = 0x45;
		put16(ip + 2, (uint32_t)s->piece.len);
		put16(ip + 6, IP4_DF);
		ip[8] = 64;
		ip[9] = XLAT_TCP;
		memcpy(ip + 12, in->dst, 4);
		memcpy(ip + 16, in->src, 4);
		packet_sum4(ip);
	} else {
		ip[0] = 0x60;
		put16(ip + 4, (uint32_t)s->piece.len - IP6_BYTES);
		ip[6] = XLAT_TCP;
		ip[7] = 64;
		memcpy(ip + 8, in->dst, 16);
		memcpy(ip + 24, in->src, 16);
	}
	packet_sum(ip, s->piece.len);
	slow_send(s, in->family, buf_slice(&s->piece), p->mark, &mtu);
}

bool slow_alg(struct slow *s, const struct slow_packet *p, struct slice translated)
{
	struct xlat_session_key key;
	enum ftp_side from;
	uint32_t ip_bytes = s->x.to.family == 4 ? IP4_BYTES : IP6_BYTES;

	if (!control_connection(s, &key, &from) || translated.len < ip_bytes + TCP_HEAD)
		return false;
	struct slice segment = slice_from(translated, ip_bytes);
	bool begins = from == FTP_CLIENT && (segment.ptr[13] & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	struct xlat_ftp f;

	if (begins) {
		ftp_begin(&f, get32(segment.ptr + 4));
	} else if (s->ops.ftp_load(s->arg, &key, &f) != 0) {
		hold(s, &key, false);	/* began without us: nothing is known of its numbers */
		return false;
	}
	struct mapping m = { .s = s, .key = &key, .addr4 = from == FTP_CLIENT ? s->x.to.src[0] : s->x.ip.dst[0] };
	struct ftp_host host = { .client6 = key.src6, .map = map_port, .arg = &m };
	struct ftp_result r;

	if (!ftp_segment(&f, from, segment, &host, &s->segment, &r) || r.drop)
		return true;
	bool ends = (segment.ptr[13] & TCP_RST) != 0 || ftp_done(&f);
	int err = s->ops.ftp_save(s->arg, &key, ends ? NULL : &f);

	if (begins && (err != 0 || hold(s, &key, true) != 0)) {	/* no room: the connection does without the ALG */
		hold(s, &key, false);
		s->ops.ftp_save(s->arg, &key, NULL);
		return false;
	}
	if (ends && (segment.ptr[13] & TCP_RST) == 0)
		hold(s, &key, false);
	send_segment(s, p, translated, ip_bytes);
	if (r.answer)
		send_answer(s, p, &r);
	return true;
}

void slow_alg_sweep(struct slow *s)
{
	struct xlat_session_key next;

	if (s->ops.ftp_next == NULL)
		return;
	for (unsigned i = 0; i < SWEEP_STEPS; i++) {
		if (s->ops.ftp_next(s->arg, s->sweeping ? &s->swept : NULL, &next) != 0) {
			s->sweeping = false;
			return;
		}
		s->swept = next;
		s->sweeping = true;
		if (hold(s, &next, true) == -ENOENT) {
			s->ops.ftp_save(s->arg, &next, NULL);
			s->sweeping = false;	/* what follows a key that is gone is not defined: begin again with the next call */
			return;
		}
	}
}
