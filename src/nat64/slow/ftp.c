#include "nat64/slow/ftp.h"

#include <arpa/inet.h>

#include "nat64/slow/packet.h"

enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_ACK = 16, TCP_URG = 32 };
enum { OPTION_END = 0, OPTION_NOP = 1, OPTION_SACK = 5, OPTION_TIMESTAMP = 8 };

enum ftp_flags {
	GREETED = 1 << 0,		/* the server's first reply, to no command, was seen */
	PASSING = 1 << 1,		/* TLS: content is not ours to read */
	DISABLED = 1 << 2,		/* by ALGS DISABLE64 */
	STAMPED = 1 << 3,		/* both sides use timestamps; two bits */
};

/* What a reply is the answer to. */
enum kind { PLAIN, PASSIVE /* PASV that was EPSV */, AUTH, ANSWER_STATUS, ANSWER_PARAMETER, ANSWER_NO_PORT, ANSWER_NETWORK };

enum decision {
	LITERAL,			/* the line goes as it is */
	REPLACE,			/* by the text */
	WAIT,				/* too little of it is here to know */
};

static bool at_or_after(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) >= 0;
}

/* Bytes that an edit adds; an unfinished line is only held. */
static int32_t growth(const struct xlat_ftp_edit *e)
{
	return (int32_t)e->new_bytes - (int32_t)e->old_bytes;
}

static bool open_edit(const struct xlat_ftp_side *s, unsigned i)
{
	return s->held && i + 1u == s->edits;
}

static uint32_t end_of(const struct xlat_ftp_edit *e)
{
	return e->at + e->old_bytes;
}

/* Where a byte of the sender stands for the receiver. Within a rewritten line: at its beginning. */
static uint32_t map_seq(const struct xlat_ftp_side *s, uint32_t seq)
{
	int32_t delta = s->base;

	for (unsigned i = 0; i < s->edits; i++) {
		const struct xlat_ftp_edit *e = &s->edit[i];

		if (!at_or_after(seq, e->at + 1))
			break;
		if (open_edit(s, i) || !at_or_after(seq, end_of(e)))
			return e->at + (uint32_t)delta;
		delta += growth(e);
	}
	return seq + (uint32_t)delta;
}

enum rounding { ROUND_DOWN, ROUND_UP, ROUND_HELD };

/*
 * Back: what the receiver says of its numbers, in the sender's. Within a rewritten line down to its beginning or up to its end. HELD: an
 * acknowledgement of all before a held line stands for the held bytes as well.
 */
static uint32_t map_back(const struct xlat_ftp_side *s, uint32_t number, enum rounding round)
{
	int32_t delta = s->base;

	for (unsigned i = 0; i < s->edits; i++) {
		const struct xlat_ftp_edit *e = &s->edit[i];
		uint32_t at = e->at + (uint32_t)delta;

		if (open_edit(s, i))
			return round == ROUND_HELD && number == at ? end_of(e) : number - (uint32_t)delta;
		if (at_or_after(number, at + e->new_bytes)) {
			delta += growth(e);
			continue;
		}
		if (at_or_after(number, at + 1))
			return round == ROUND_UP ? end_of(e) : e->at;
		break;
	}
	return number - (uint32_t)delta;
}

/* A free edit, or NULL while all are needed for retransmissions. */
static struct xlat_ftp_edit *new_edit(struct xlat_ftp_side *s, uint32_t at)
{
	if (s->edits == XLAT_FTP_EDITS) {
		if (!at_or_after(s->acked, end_of(&s->edit[0])))
			return NULL;
		s->base += growth(&s->edit[0]);
		memmove(&s->edit[0], &s->edit[1], sizeof(s->edit[0]) * (XLAT_FTP_EDITS - 1));
		s->edits--;
	}
	struct xlat_ftp_edit *e = &s->edit[s->edits++];

	*e = (struct xlat_ftp_edit){ .at = at };
	return e;
}

static void push(struct xlat_ftp *f, enum kind kind)
{
	if (f->pending == XLAT_FTP_PENDING) {	/* a server that leaves out replies must not stop us */
		memmove(f->kind, f->kind + 1, XLAT_FTP_PENDING - 1);
		f->pending--;
	}
	f->kind[f->pending++] = (uint8_t)kind;
}

static void pop(struct xlat_ftp *f, unsigned count)
{
	memmove(f->kind, f->kind + count, f->pending - count);
	f->pending = (uint8_t)(f->pending - count);
}

/* -- Commands ---------------------------------------------------------------------------------------------------- */

static const char *const commands[] = { "EPSV", "EPRT", "ALGS", "AUTH" };

/* Index in commands of a word; -1: none; -2: it may become one. */
static int command_of(struct slice word, bool ended)
{
	for (int i = 0; i < 4; i++) {
		struct slice name = slice_str(commands[i]);

		if (slice_eq_nocase(word, name))
			return i;
		if (!ended && word.len < name.len && slice_eq_nocase(word, slice_head(name, word.len)))
			return -2;
	}
	return -1;
}

static bool field(struct slice *rest, uint8_t delimiter, struct slice *out)
{
	return slice_cut(*rest, delimiter, out, rest);
}

/* |2|address|port| of the client itself (RFC 2428 2). */
static bool own_port(struct slice argument, const struct ftp_host *host, uint16_t *port)
{
	struct slice network, address, number;
	char text[INET6_ADDRSTRLEN];
	uint8_t bytes[16];
	uint32_t value;

	if (argument.len < 2 || argument.ptr[0] < 33 || argument.ptr[0] > 126)
		return false;
	uint8_t delimiter = argument.ptr[0];

	argument = slice_from(argument, 1);
	if (!field(&argument, delimiter, &network) || !field(&argument, delimiter, &address) || !field(&argument, delimiter, &number) ||
	    argument.len != 0 || !slice_eq(network, SLICE("2")) || !slice_to_str(address, text, sizeof(text)) ||
	    inet_pton(AF_INET6, text, bytes) != 1 || memcmp(bytes, host->client6, 16) != 0 || !slice_u32(number, &value) || value == 0 ||
	    value > 65535)
		return false;
	*port = (uint16_t)value;
	return true;
}

static enum decision answer(struct xlat_ftp *f, enum kind kind, struct buf *text)
{
	push(f, kind);
	buf_adds(text, "NOOP\r\n");
	return REPLACE;
}

static enum decision eprt(struct xlat_ftp *f, struct slice argument, const struct ftp_host *host, struct buf *text)
{
	uint16_t port, port4;
	__be32 addr4;

	if (!own_port(argument, host, &port)) {
		push(f, PLAIN);
		return LITERAL;
	}
	if (host->map(host->arg, port, &addr4, &port4) != 0)
		return answer(f, ANSWER_NO_PORT, text);
	const uint8_t *a = (const uint8_t *)&addr4;

	push(f, PLAIN);
	buf_printf(text, "PORT %u,%u,%u,%u,%u,%u\r\n", a[0], a[1], a[2], a[3], port4 >> 8, port4 & 255u);
	return REPLACE;
}

static enum decision algs(struct xlat_ftp *f, struct slice argument, struct buf *text)
{
	if (slice_eq_nocase(argument, SLICE("ENABLE64")))
		f->flags &= (uint8_t)~DISABLED;
	else if (slice_eq_nocase(argument, SLICE("DISABLE64")))
		f->flags |= DISABLED;
	else if (!slice_eq_nocase(argument, SLICE("STATUS64")))
		return answer(f, ANSWER_PARAMETER, text);
	return answer(f, ANSWER_STATUS, text);
}

/* EPSV with a network of RFC 2428 2 that is not IPv6. */
static bool other_network(struct slice argument)
{
	for (size_t i = 0; i < argument.len; i++)
		if (!ascii_digit(argument.ptr[i]))
			return false;
	return argument.len > 0 && !slice_eq(argument, SLICE("2"));
}

/* AUTH is not answered yet: what follows may be for the other end's new ears alone (5). */
static bool auth_waits(const struct xlat_ftp *f)
{
	for (unsigned i = 0; i < f->pending; i++)
		if (f->kind[i] == AUTH)
			return true;
	return false;
}

/* A line of the client, or its beginning. */
static enum decision read_command(struct xlat_ftp *f, struct slice line, bool complete, const struct ftp_host *host, struct buf *text)
{
	struct slice word = line, argument = { 0 };
	bool ended = slice_cut(line, ' ', &word, &argument) || complete;

	word = slice_trim(word);
	argument = slice_trim(argument);
	int command = command_of(word, ended);

	if (auth_waits(f)) {
		push(f, PLAIN);
		return LITERAL;
	}
	if (!complete && command != -1)
		return WAIT;
	bool enabled = (f->flags & DISABLED) == 0;

	switch (command) {
	case 0:
		if (enabled && (argument.len == 0 || slice_eq(argument, SLICE("2")))) {
			push(f, PASSIVE);
			buf_adds(text, "PASV\r\n");
			return REPLACE;
		}
		if (enabled && slice_eq_nocase(argument, SLICE("ALL")))
			return answer(f, ANSWER_PARAMETER, text);
		if (enabled && other_network(argument))
			return answer(f, ANSWER_NETWORK, text);
		break;
	case 1:
		if (enabled)
			return eprt(f, argument, host, text);
		break;
	case 2:
		return algs(f, argument, text);
	case 3:
		push(f, AUTH);
		return LITERAL;
	default:
		break;
	}
	push(f, PLAIN);
	return LITERAL;
}

/* -- Replies ----------------------------------------------------------------------------------------------------- */

/* The port of (h1,h2,h3,h4,p1,p2), wherever in the line it stands (RFC 1123 4.1.2.6); 0: none. */
static uint32_t passive_port(struct slice line)
{
	for (size_t from = 0; from < line.len; from++) {
		uint32_t n[6], count = 0;
		size_t at = from;

		if (!ascii_digit(line.ptr[from]) || (from > 0 && ascii_digit(line.ptr[from - 1])))
			continue;
		while (count < 6) {
			size_t begin = at;

			n[count] = 0;
			while (at < line.len && at - begin < 3 && ascii_digit(line.ptr[at]))
				n[count] = n[count] * 10 + (uint32_t)(line.ptr[at++] - '0');
			if (at == begin || n[count] > 255)
				break;
			count++;
			if (count < 6 && (at == line.len || line.ptr[at++] != ','))
				break;
		}
		if (count == 6)
			return n[4] << 8 | n[5];
	}
	return 0;
}

static enum decision own_reply(const struct xlat_ftp *f, enum kind kind, char separator, struct buf *text)
{
	switch (kind) {
	case ANSWER_STATUS:
		buf_printf(text, "216%c%s\r\n", separator, (f->flags & DISABLED) ? "NONE" : "EPSVEPRT");
		return REPLACE;
	case ANSWER_PARAMETER:
		buf_printf(text, "504%cCommand not implemented for that parameter.\r\n", separator);
		return REPLACE;
	case ANSWER_NO_PORT:
		buf_printf(text, "425%cCan't open data connection.\r\n", separator);
		return REPLACE;
	case ANSWER_NETWORK:
		buf_printf(text, "522%cNetwork protocol not supported, use (2)\r\n", separator);
		return REPLACE;
	default:
		return LITERAL;
	}
}

/* To which command a reply with this code belongs: index of f->kind, or -1. 227 belongs to a PASV even if others went unanswered. */
static int command_answered(const struct xlat_ftp *f, uint32_t code)
{
	if (f->pending == 0 || (f->flags & GREETED) == 0)
		return -1;
	for (int i = 0; code == 227 && i < f->pending; i++)
		if (f->kind[i] == PASSIVE)
			return i;
	return 0;
}

static enum decision final_reply(struct xlat_ftp *f, uint32_t code, enum kind kind, int index, struct slice line, struct buf *text)
{
	if (index < 0) {
		if (code != 120)
			f->flags |= GREETED;
		return LITERAL;
	}
	pop(f, (unsigned)index + 1);
	if (kind == AUTH && code < 400)
		f->flags |= PASSING;
	if (kind == PASSIVE && code == 227) {
		uint32_t port = passive_port(slice_from(line, 4));

		if (port == 0)
			return own_reply(f, ANSWER_NO_PORT, ' ', text);
		buf_printf(text, "229 Entering Extended Passive Mode (|||%u|)\r\n", port);
		return REPLACE;
	}
	return own_reply(f, kind, ' ', text);
}

/* A line of the server, or its beginning. */
static enum decision read_reply(struct xlat_ftp *f, struct slice line, bool complete, struct buf *text)
{
	uint32_t code = 0;

	for (size_t i = 0; i < 3; i++) {
		if (i == line.len)
			return complete ? LITERAL : WAIT;
		if (!ascii_digit(line.ptr[i]))
			return LITERAL;
		code = code * 10 + (uint32_t)(line.ptr[i] - '0');
	}
	if (line.len == 3)
		return complete ? LITERAL : WAIT;
	bool first = line.ptr[3] == '-';

	if (f->reply != 0 ? code != f->reply || first : code >= 100 && code < 200 && !first && code != 120)
		return LITERAL;		/* text of a reply of several lines; or a preliminary reply, after which another comes */
	int index = command_answered(f, code);
	enum kind kind = index < 0 ? PLAIN : (enum kind)f->kind[index];
	/* 421: the server ends the connection, whatever it was asked. */
	if (code == 421)
		kind = PLAIN;
	bool ours = kind != AUTH && kind != PLAIN;

	if (!complete && ours)
		return WAIT;
	if (first) {
		f->reply = (uint16_t)code;
		if (kind == PASSIVE && code == 227) {
			buf_adds(text, "229-Entering Extended Passive Mode\r\n");
			return REPLACE;
		}
		return own_reply(f, kind, '-', text);
	}
	f->reply = 0;
	if (code < 200)
		return LITERAL;
	return final_reply(f, code, kind, index, line, text);
}

/* -- Lines of a segment ------------------------------------------------------------------------------------------ */

enum { LINE_VIEW = 256 };		/* of a long line we look at so much */
_Static_assert(SLOW_FTP_LINE_MAX <= XLAT_FTP_TEXT_BYTES, "a held line lies in the text of its edit");

static void store_text(struct xlat_ftp_edit *e, struct slice text)
{
	e->new_bytes = (uint16_t)text.len;
	memcpy(e->text, text.ptr, text.len);
}

/* The beginning of a line, `n` bytes of `bytes`: what becomes of it. Returns the bytes taken; 0: no further. */
static size_t begin_line(struct xlat_ftp *f, enum ftp_side from, const struct ftp_host *host, struct slice bytes)
{
	struct xlat_ftp_side *s = &f->side[from];
	uint8_t view[LINE_VIEW];
	size_t end = slice_find_byte(bytes, '\n');
	bool complete = end != SLICE_NPOS;
	size_t n = complete ? end + 1 : bytes.len;
	struct xlat_ftp_edit *e = s->held ? &s->edit[s->edits - 1] : new_edit(s, s->next);

	if (e == NULL)
		return 0;
	size_t held = s->held ? e->new_bytes : 0, more = n < sizeof(view) - held ? n : sizeof(view) - held;
	struct buf text = BUF_INIT(XLAT_FTP_TEXT_BYTES);

	memcpy(view, e->text, held);
	memcpy(view + held, bytes.ptr, more);
	struct slice line = slice_of(view, held + more);
	bool last_chance = complete || held + n > SLOW_FTP_LINE_MAX;
	enum decision what = from == FTP_CLIENT ? read_command(f, line, last_chance, host, &text) : read_reply(f, line, last_chance, &text);

	if (what == REPLACE && (text.err != 0 || !complete))
		what = LITERAL;		/* memory; or a line without an end: only its sense is lost */
	switch (what) {
	case WAIT:
		s->held = 1;
		e->old_bytes = (uint16_t)(e->old_bytes + n);
		memcpy(e->text + held, bytes.ptr, n);
		e->new_bytes = (uint16_t)(held + n);
		break;
	case REPLACE:
		s->held = 0;
		e->old_bytes = (uint16_t)(e->old_bytes + n);
		store_text(e, buf_slice(&text));
		break;
	case LITERAL:
		if (s->held) {		/* with one byte that its sender still holds, so that it can come again */
			s->held = 0;
			n = 1;
			e->old_bytes++;
			e->text[held] = bytes.ptr[0];
			e->new_bytes = (uint16_t)(held + 1);
			complete = bytes.ptr[0] == '\n';
		} else {
			s->edits--;
		}
		s->in_line = !complete;
		break;
	}
	buf_done(&text);
	return n;
}

/* Read lines of bytes that come for the first time; s->next moves on. */
static void read_lines(struct xlat_ftp *f, enum ftp_side from, const struct ftp_host *host, struct slice bytes)
{
	struct xlat_ftp_side *s = &f->side[from];

	while (bytes.len != 0) {
		size_t n;

		if (f->flags & PASSING && !s->held) {
			n = bytes.len;
		} else if (s->in_line) {
			size_t end = slice_find_byte(bytes, '\n');

			n = end == SLICE_NPOS ? bytes.len : end + 1;
			s->in_line = end == SLICE_NPOS;
		} else {
			n = begin_line(f, from, host, bytes);
		}
		if (n == 0)
			return;
		s->next += (uint32_t)n;
		bytes = slice_from(bytes, n);
	}
}

/* Data from seq up to `stop`, as the receiver gets it. */
static void write_data(const struct xlat_ftp_side *s, uint32_t seq, uint32_t stop, struct slice data, struct buf *out)
{
	uint32_t at = seq;

	for (unsigned i = 0; i < s->edits; i++) {
		const struct xlat_ftp_edit *e = &s->edit[i];

		if (!open_edit(s, i) && at_or_after(at, end_of(e)))
			continue;
		if (at_or_after(e->at, stop))
			break;
		if (at_or_after(e->at, at))
			buf_add(out, slice_sub(data, at - seq, e->at - seq));
		if (open_edit(s, i) || !at_or_after(stop, end_of(e)))
			return;
		buf_add(out, slice_of(e->text, e->new_bytes));
		at = end_of(e);
	}
	if (at_or_after(stop, at + 1))
		buf_add(out, slice_sub(data, at - seq, stop - seq));
}

/* -- Headers ----------------------------------------------------------------------------------------------------- */

/* Blocks that make no sense any more become no-operations with those behind them kept. */
static void move_sack(const struct xlat_ftp_side *s, uint8_t *option, size_t bytes)
{
	size_t kept = 2;

	for (size_t at = 2; at + 8 <= bytes; at += 8) {
		uint32_t left = map_back(s, get32(option + at), ROUND_UP), right = map_back(s, get32(option + at + 4), ROUND_DOWN);

		if (!at_or_after(right, left + 1))
			continue;
		put32(option + kept, left);
		put32(option + kept + 4, right);
		kept += 8;
	}
	if (kept == 2)
		kept = 0;
	else
		option[1] = (uint8_t)kept;
	memset(option + kept, OPTION_NOP, bytes - kept);
}

static void read_options(struct xlat_ftp *f, enum ftp_side from, uint8_t *options, size_t bytes)
{
	for (size_t at = 0; at < bytes && options[at] != OPTION_END;) {
		if (options[at] == OPTION_NOP) {
			at++;
			continue;
		}
		if (at + 1 == bytes || options[at + 1] < 2 || options[at + 1] > bytes - at)
			return;
		size_t length = options[at + 1];

		if (options[at] == OPTION_SACK)
			move_sack(&f->side[!from], options + at, length);
		if (options[at] == OPTION_TIMESTAMP && length == 10) {
			f->stamp[from] = get32(options + at + 2);
			f->flags |= (uint8_t)(STAMPED << from);
		}
		at += length;
	}
}

/*
 * A segment that ends within a line that is held, or was and is rewritten now: its receiver gets the line with the last byte, and
 * acknowledges no part of it. So the ALG does, once all before it has arrived. The last byte stays the receiver's.
 */
static void answer_held(const struct xlat_ftp *f, enum ftp_side from, uint32_t ack, uint32_t stop, struct ftp_result *r)
{
	const struct xlat_ftp_side *s = &f->side[from];

	for (unsigned i = 0; i < s->edits; i++) {
		const struct xlat_ftp_edit *e = &s->edit[i];

		if (!at_or_after(stop, e->at + 1) || (!open_edit(s, i) && at_or_after(stop, end_of(e))) || !at_or_after(s->acked, e->at))
			continue;
		r->answer = true;
		r->answer_seq = ack;
		r->answer_ack = open_edit(s, i) ? s->next : stop;
		r->answer_window = f->window[!from];
		r->answer_stamped = (f->flags & STAMPED * 3) == STAMPED * 3;
		r->answer_stamp = f->stamp[!from];
		r->answer_echo = f->stamp[from];
	}
}

void ftp_begin(struct xlat_ftp *f, uint32_t seq)
{
	*f = (struct xlat_ftp){ 0 };
	f->side[FTP_CLIENT] = (struct xlat_ftp_side){ .next = seq + 1, .acked = seq + 1, .known = 1 };
}

/* Data of the segment; its part that is new is read. Returns the end of what may be sent. */
static uint32_t take_data(struct xlat_ftp *f, enum ftp_side from, uint32_t seq, struct slice data, const struct ftp_host *host)
{
	struct xlat_ftp_side *s = &f->side[from];
	uint32_t end = seq + (uint32_t)data.len;

	if (f->flags & PASSING && !s->held) {
		if (at_or_after(end, s->next))
			s->next = end;
		return end;
	}
	if (at_or_after(end, s->next + 1))
		read_lines(f, from, host, slice_from(data, s->next - seq));
	return at_or_after(s->next, end) ? end : s->next;
}

bool ftp_segment(struct xlat_ftp *f, enum ftp_side from, struct slice segment, const struct ftp_host *host, struct buf *out,
		 struct ftp_result *result)
{
	struct xlat_ftp_side *s = &f->side[from], *other = &f->side[!from];

	*result = (struct ftp_result){ 0 };
	buf_reset(out);
	if (segment.len < 20 || (segment.ptr[12] >> 4) * 4u < 20 || (segment.ptr[12] >> 4) * 4u > segment.len)
		return false;
	size_t head = (segment.ptr[12] >> 4) * 4u;
	struct slice data = slice_from(segment, head);
	uint8_t flags = segment.ptr[13];
	uint32_t seq = get32(segment.ptr + 4), ack = get32(segment.ptr + 8);

	if (flags & TCP_SYN) {		/* data with it waits for a segment of its own */
		if (from == FTP_SERVER)
			*s = (struct xlat_ftp_side){ .next = seq + 1, .acked = seq + 1, .known = 1 };
		data.len = 0;
	} else if (s->known && (data.len != 0 || flags & TCP_FIN) && !(f->flags & PASSING && !s->held) && !at_or_after(s->next, seq)) {
		result->drop = true;
		return true;
	}
	buf_add(out, slice_head(segment, head));
	if (out->err != 0)
		return false;
	f->window[from] = get16(segment.ptr + 14);
	read_options(f, from, out->ptr + 20, head - 20);
	uint32_t stop = seq + (uint32_t)data.len;

	if (s->known && !(flags & TCP_SYN)) {
		stop = take_data(f, from, seq, data, host);
		result->trimmed = stop != seq + (uint32_t)data.len;
		if (result->trimmed)
			flags &= (uint8_t)~TCP_FIN;
		if (flags & TCP_FIN && s->held) {	/* a line that will never end is none */
			s->held = 0;
			s->edit[s->edits - 1].new_bytes = 0;
		}
	}
	write_data(s, seq, stop, data, out);
	if (out->err != 0)
		return false;
	uint8_t *tcp = out->ptr;

	/* The urgent pointer keeps its sense, or goes (RFC 6384 5). */
	if (flags & TCP_URG && (!slice_eq(slice_from(buf_slice(out), head), data) || get16(tcp + 18) > data.len)) {
		flags &= (uint8_t)~TCP_URG;
		put16(tcp + 18, 0);
	}
	tcp[13] = flags;
	put32(tcp + 4, map_seq(s, seq));
	if (flags & TCP_ACK) {
		uint32_t back = map_back(other, ack, ROUND_HELD);

		if (other->known && at_or_after(back, other->acked))
			other->acked = back;
		put32(tcp + 8, back);
	}
	if (data.len != 0)
		answer_held(f, from, ack, stop, result);
	return true;
}

bool ftp_done(const struct xlat_ftp *f)
{
	if ((f->flags & PASSING) == 0)
		return false;
	for (unsigned i = 0; i < 2; i++) {
		const struct xlat_ftp_side *s = &f->side[i];
		int32_t delta = s->base;

		for (unsigned k = 0; k < s->edits; k++) {
			delta += growth(&s->edit[k]);
			if (!at_or_after(s->acked, end_of(&s->edit[k])))
				return false;
		}
		if (delta != 0 || s->held)
			return false;
	}
	return true;
}
