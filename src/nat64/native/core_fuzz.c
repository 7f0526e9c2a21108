/*
 * Packets from anybody through a translator of each kind: nothing outside of them is read, the edit is one that can be applied, and what was
 * right (lengths, checksums) is right afterwards.
 *
 * Input: a byte for the kind of translator, then packets: two bytes of length, one of flags, two of MTU, one of segment size, the packet.
 * A flag makes the packet right first (packet_seal), so that the fuzzer need not find checksums.
 */
#include "base/must.h"
#include "base/reader.h"
#include "nat64/native/packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PACKETS_MAX = 24, SEAL = 1 << 0, SLOW = 1 << 1, GSO = 1 << 2, DRY = 1 << 3, HOST = 1 << 4, LATER = 1 << 5 };

static void configure(struct xlat_config *c, unsigned kind)
{
	world_config(c);
	c->hairpin_eam = kind >> 2 & 3;
	c->flags |= kind & 16 ? XLAT_ADMIN_PROHIBITED : 0;
	c->zero_checksum = kind & 32 ? XLAT_ZERO_DROP : XLAT_ZERO_COMPUTE;
	if (kind & 64)
		c->flags &= ~(uint32_t)XLAT_TOS_COPY;
	if (kind & 128)
		world_prefix(c, 0, "64:ff9b:1::", 48, true);
	for (unsigned i = 0; i < XLAT_T_COUNT; i++)
		c->timeout[i] = XLAT_TICKS(60000);
	c->pass4_count = c->pass6_count = 1;
	c->pass4[0] = (struct xlat_net4){ .addr = htobe32(0xc633644d), .mask = 0xffffffff };
	packet_address("2001:db8:1::4d", c->pass6[0].addr);
	memset(c->pass6[0].mask, 0xff, 16);
	switch (kind & 3) {
	case 1:
		c->mode = XLAT_CLAT;
		break;
	case 2:
		c->mode = XLAT_NAT64;
		c->flags |= XLAT_HAIRPIN;
		c->pool[0] = (struct xlat_pool){ .first = 0xc6336401, .count = 1, .port_first = 1024, .port_last = 65535 };
		c->subscriber_bits = 64;
		memset(c->subscriber_mask, 0xff, 8);
		break;
	case 3:
		c->error_pool[0] = (struct xlat_net4){ .addr = htobe32(0xcb007100), .mask = htobe32(0xffffff00) };
		c->error_count = 1;
		c->mtu4 = 1400;
		c->mtu6 = 1400;
		break;
	default:
		break;
	}
}

static void check(const struct xlat *x, struct slice packet, int verdict, bool right)
{
	AUTO_BUF struct buf out = BUF_INIT(70000);

	must(verdict >= 0);
	must(verdict < XLAT_VERDICTS);
	must(x->verdict == (uint32_t)verdict);
	must(x->reason < XLAT_REASONS);
	if (verdict != XLAT_TRANSLATE && verdict != XLAT_ERROR)
		return;
	must(x->flags & XLAT_OURS);
	packet_apply(x, packet, &out);
	if (verdict == XLAT_ERROR)
		must(packet_judge_outer(buf_slice(&out)) == NULL);
	else if (right)
		must(packet_judge(buf_slice(&out)) == NULL);
}

static bool one(struct world *w, struct reader *r)
{
	uint32_t bytes = rd_be16(r);
	uint32_t how = rd_u8(r), mtu = rd_be16(r), gso = rd_u8(r);
	struct slice packet = rd_bytes(r, MIN(bytes, rd_left(r)));

	if (r->bad || packet.len == 0)
		return false;
	buf_reset(&w->in);
	buf_add(&w->in, packet);
	if (how & SEAL)
		packet_seal(w->in.ptr, w->in.len);
	packet = buf_slice(&w->in);
	bool right = packet_judge(packet) == NULL;
	xlat_native_begin(w->n, &w->x, packet);
	w->x.flags = (how & SLOW ? XLAT_FROM_SLOW : 0u) | (how & GSO ? XLAT_GSO : 0u) | (how & DRY ? XLAT_DRY : 0u) | (how & HOST ? XLAT_HOST : 0u);
	w->x.gso_bytes = gso * 8;
	w->x.trail_max = XLAT_TRAIL_MAX;
	int verdict = xlat_native_plan(w->n, &w->x);
	check(&w->x, packet, verdict, right);
	if (how & SLOW)
		must(verdict != XLAT_SLOW);
	verdict = xlat_native_fit(w->n, &w->x, mtu);
	check(&w->x, packet, verdict, right);
	if (how & LATER)
		xlat_native_clock(w->n, xlat_native_control(w->n)->clock_ns + 3000000000);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world w;
	struct xlat_config c;

	if (size == 0)
		return 0;
	configure(&c, data[0]);
	world_open(&w, &c);
	xlat_native_control(w.n)->slow_ifindex = 1;
	struct reader r = reader_of(slice_of(data + 1, size - 1));
	for (unsigned i = 0; i < PACKETS_MAX && one(&w, &r); i++)
		;
	world_close(&w);
	return 0;
}
