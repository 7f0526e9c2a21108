/*
 * Base64, hexadecimal, UTF-8 and snapshots of metrics from any bytes: what decodes encodes to the same text.
 */
#include "base/base64.h"
#include "base/hex.h"
#include "base/metrics.h"
#include "base/must.h"
#include "base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

METRIC_COUNTER(fuzz_count, "fuzz_count", "A number.");
METRIC_GAUGE(fuzz_gauge, "fuzz_gauge", "A number that falls, too.");

static void utf8(struct slice in)
{
	AUTO_BUF struct buf again = BUF_INIT(1u << 20);
	struct slice rest = in;
	uint32_t code;

	must(utf8_valid(in) == (utf8_bad_at(in) >= in.len));
	must(utf8_head(in, 5).len <= 5);
	if (!utf8_valid(in))
		return;
	while (utf8_next(&rest, &code))
		utf8_add(&again, code);
	must(rest.len == 0 && slice_eq(buf_slice(&again), in));
	must(utf8_length(in) <= in.len && (!utf8_is_ascii(in) || utf8_length(in) == in.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUF struct buf raw = BUF_INIT(1u << 20), text = BUF_INIT(1u << 22);
	struct slice in = slice_of(data, size);
	uint64_t number;

	if (base64_decode(&raw, in)) {
		base64_encode(&text, buf_slice(&raw));
		must(slice_eq(buf_slice(&text), in));
	}
	buf_reset(&raw);
	buf_reset(&text);
	if (hex_decode(&raw, in)) {
		hex_encode(&text, buf_slice(&raw));
		must(slice_eq_nocase(buf_slice(&text), in));
	}
	if (hex_parse_u64(in, &number)) {
		buf_reset(&text);
		hex_u64(&text, number);
		must(text.len > 0 && in.len <= 16);
	}
	utf8(in);
	/* A snapshot comes from another process: of the same program, or not. */
	struct metrics_source sources[] = { { .labels = SLICE_INIT("a=\"b\""), .snapshot = in }, { .snapshot = in } };
	buf_reset(&raw);
	metrics_snapshot(&raw);
	if (size > 0 && data[0] == 'm')		/* the fingerprint is right, the rest is any bytes */
		buf_truncate(&raw, 4);
	buf_add(&raw, size > 0 && data[0] == 'm' ? slice_from(in, 1) : SLICE(""));
	sources[1].snapshot = buf_slice(&raw);
	buf_reset(&text);
	must(metrics_text(&text, sources, 2) <= 2 && slice_ends(buf_slice(&text), SLICE("# EOF\n")));
	return 0;
}
