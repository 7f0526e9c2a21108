/*
 * Every record of format.h from any bytes. First byte: which one. What decodes and is encoded again decodes to the same.
 */
#include "base/must.h"
#include "mail/mailbox/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void journal(struct slice in)
{
	struct reader r = reader_of(in);
	struct change c;
	size_t bytes = 0;

	while (change_next(&r, &c)) {
		struct change ranges = c, items = c;
		struct uid_range range;
		struct change_item item;

		must(c.kind >= CHANGE_ADD && c.kind <= CHANGE_PLACE);
		if (c.kind == CHANGE_FLAGS)
			while (change_range(&ranges, &range))
				must(range.last >= range.first && ++bytes <= in.len);
		else if (c.kind != CHANGE_ADD)
			while (change_item(&items, &item))
				must(item.bucket < BUCKETS_MAX && ++bytes <= in.len);
	}
}

static void folder(struct slice in)
{
	AUTO_BUF struct buf out = BUF_INIT(1u << 20), again = BUF_INIT(1u << 20);
	struct folder f, g;

	if (folder_decode(in, 7, &f) != 0)
		return;
	must(f.id == 7 && f.name[0] != '\0');
	folder_encode(&out, &f);
	int err = folder_decode(buf_slice(&out), 7, &g);
	if (err == 0) {
		folder_encode(&again, &g);
		must(slice_eq(buf_slice(&out), buf_slice(&again)));
		folder_done(&g);
	}
	folder_done(&f);
}

static void message(struct slice in)
{
	AUTO_BUF struct buf out = BUF_INIT(1u << 20), again = BUF_INIT(1u << 20);
	struct reader r = reader_of(in);
	struct message_info m = { .uid = 5 };

	if (!message_decode(&r, &m))
		return;
	must(m.uid == 5 && m.bucket < BUCKETS_MAX);
	message_encode(&out, &m);
	r = reader_of(buf_slice(&out));
	must(message_decode(&r, &m) && rd_end(&r));
	message_encode(&again, &m);
	must(slice_eq(buf_slice(&out), buf_slice(&again)));
}

static void record(struct slice in)
{
	AUTO_BUF struct buf out = BUF_INIT(1u << 20), again = BUF_INIT(1u << 20);
	struct record r;

	if (!record_decode(in, &r))
		return;
	record_encode(&out, &r);
	must(record_decode(buf_slice(&out), &r));
	record_encode(&again, &r);
	must(slice_eq(buf_slice(&out), buf_slice(&again)));
}

static void header(struct slice in)
{
	AUTO_BUF struct buf out = BUF_INIT(1u << 20);
	struct header h;

	if (header_decode(in, &h)) {
		must(h.buckets >= 1 && h.buckets <= BUCKETS_MAX);
		header_encode(&out, &h);
		must(slice_eq(buf_slice(&out), in));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUF struct buf out = BUF_INIT(1u << 20);
	struct slice in = slice_from(slice_of(data, size), 1);
	struct reader r = reader_of(in);
	struct delivery_tries tries;
	struct range_state state;
	struct tombstone stone;
	struct cursor cursor;

	switch (size == 0 ? 0 : data[0]) {
	case 'c':
		if (cursor_decode(in, &cursor))
			cursor_encode(&out, &cursor);
		must(out.len == 0 || slice_eq(buf_slice(&out), in));
		break;
	case 'h':
		header(in);
		break;
	case 'f':
		folder(in);
		break;
	case 'm':
		message(in);
		break;
	case 'r':
		record(in);
		break;
	case 's':
		if (range_state_decode(in, &state))
			range_state_encode(&out, &state);
		must(out.len == 0 || slice_eq(buf_slice(&out), in));
		break;
	case 't':
		if (tries_decode(&r, &tries))
			must(tries.count <= DELIVERY_TRIES_MAX);
		break;
	case 'x':
		if (tombstone_decode(in, &stone))
			tombstone_encode(&out, &stone);
		break;
	default:
		journal(in);
		break;
	}
	must(out.err == 0);
	return 0;
}
