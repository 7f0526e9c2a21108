/*
 * The header of a message on its way in: the end is found wherever the chunks are cut, fields add up to
 * the whole, and a completed header has Date and Message-ID.
 */
#include "base/must.h"
#include "mail/smtp/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUF struct buf out = BUF_INIT(1u << 22);
	struct slice in = slice_of(data, size), rest = in;
	struct smtp_header_facts facts, after;
	struct smtp_field field;
	size_t end = 0, again = 0, bytes = 0;

	if (smtp_header_end(in, 0, &end)) {
		must(end <= size);
		/* The same when it came in two pieces. */
		size_t cut = size == 0 ? 0 : data[0] % size;
		if (!smtp_header_end(slice_head(in, cut), 0, &again))
			must(smtp_header_end(in, cut, &again) && again == end);
		else
			must(again == end);
	}
	must(smtp_field_next(&rest, &field) <= smtp_header_starts(in));
	rest = in;
	smtp_header_look(in, &facts);
	while (smtp_field_next(&rest, &field)) {
		must(field.name.len > 0 && field.whole.len > field.name.len);
		bytes += field.whole.len;
	}
	must(bytes + rest.len == size);
	must(!smtp_header_delivered_to(in, SLICE("ann@example.org")) || facts.delivered_to);
	smtp_header_complete(in, 1700000000, SLICE("id"), SLICE("example.org"), &out);
	smtp_header_look(buf_slice(&out), &after);
	must(out.err == 0 && after.date && after.message_id && after.received == facts.received);
	return 0;
}
