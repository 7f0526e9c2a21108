/*
 * Sequences of packets and time on the slow path. Whatever comes, what is sent has the lengths that its headers say, and memory keeps
 * to the limits. (Transport checksums are not judged: they follow from those that came.)
 *
 * Input: mode, MTU of IPv4 / 8; then records: what, its argument; a packet has 16 bits of length first.
 */
#include "base/must.h"
#include "base/reader.h"
#include "nat64/slow/stand.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void judge(const struct stand *t)
{
	const char *w = t->wrong;

	must(w == NULL || (strncmp(w, "IPv", 3) != 0 && strncmp(w, "not", 3) != 0 && strncmp(w, "version", 7) != 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct stand t;
	struct reader r = reader_of(slice_of(data, size));

	stand_init(&t, rd_u8(&r) & 1 ? XLAT_NAT64 : XLAT_SIIT);
	t.mtu4 = t.path4 = rd_u8(&r) * 8u;
	if (t.mtu4 < 68)
		t.mtu4 = t.path4 = 0;
	t.settings.datagrams_max = 32;
	t.settings.bytes_max = 16384;
	t.settings.syns_max = 4;
	stand_configure(&t);
	for (unsigned i = 0; i < 64 && rd_left(&r) > 2 && !r.bad; i++) {
		uint8_t what = rd_u8(&r);

		if (what < 0xf0)
			stand_packet(&t, rd_bytes(&r, rd_be16(&r)));
		else
			stand_wait(&t, rd_be16(&r));
		judge(&t);
		stand_forget(&t);
	}
	stand_wait(&t, 10000);
	judge(&t);
	stand_done(&t);
	return 0;
}
