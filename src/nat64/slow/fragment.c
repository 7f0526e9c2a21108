#include "nat64/slow/fragment.h"

#include <errno.h>

int slow_fragment_begin(struct slow_fragmenter *f, struct slice packet, uint32_t id, uint32_t mtu)
{
	*f = (struct slow_fragmenter){ 0 };
	if (packet_read(packet, &f->packet) != XLAT_R_NONE)
		return -EBADMSG;
	const struct packet *p = &f->packet;

	f->id = p->fragment ? p->id : id;
	if (p->bytes.len <= mtu) {
		f->step = IP_BYTES_MAX;
		return 0;
	}
	uint32_t overhead;

	if (p->family == 4) {
		f->head = overhead = p->l4;
	} else {
		if ((p->fragment_at != 0 ? p->fragment_at : p->l4) != IP6_BYTES)
			return -EBADMSG;
		f->head = IP6_BYTES;
		overhead = f->head + FRAGMENT_BYTES;
		f->protocol = p->protocol;
	}
	if (mtu < overhead + 8)
		return -EMSGSIZE;
	f->step = (mtu - overhead) & ~7u;
	return 0;
}

static void finish4(const struct slow_fragmenter *f, uint8_t *ip, uint32_t payload, bool more)
{
	put16(ip + 2, f->head + payload);
	put16(ip + 4, f->id);
	put16(ip + 6, (more ? (uint32_t)IP4_MF : 0) | (f->packet.offset + f->at) / 8);
	packet_sum4(ip);
}

static void finish6(const struct slow_fragmenter *f, uint8_t *ip, uint32_t payload, bool more)
{
	uint8_t *head = ip + IP6_BYTES;

	put16(ip + 4, FRAGMENT_BYTES + payload);
	ip[6] = FRAGMENT_HEADER;
	head[0] = f->protocol;
	head[1] = 0;
	put16(head + 2, (f->packet.offset + f->at) | (more ? 1u : 0));
	put32(head + 4, f->id);
}

bool slow_fragment_next(struct slow_fragmenter *f, struct buf *out)
{
	const struct packet *p = &f->packet;
	uint32_t total = (uint32_t)p->bytes.len - p->l4;

	buf_reset(out);
	if (f->at > total || (f->at == total && f->at != 0) || f->step == 0)
		return false;
	if (f->step == IP_BYTES_MAX) {
		buf_add(out, p->bytes);
		f->step = 0;
		return out->err == 0;
	}
	uint32_t payload = total - f->at < f->step ? total - f->at : f->step;
	bool more = p->more || f->at + payload < total;

	buf_add(out, slice_head(p->bytes, f->head));
	if (p->family == 6)
		buf_fill(out, 0, FRAGMENT_BYTES);
	buf_add(out, slice_sub(p->bytes, p->l4 + f->at, p->l4 + f->at + payload));
	if (out->err != 0)
		return false;
	if (p->family == 4)
		finish4(f, out->ptr, payload, more);
	else
		finish6(f, out->ptr, payload, more);
	f->at += payload;
	return true;
}
