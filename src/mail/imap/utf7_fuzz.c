/* What decodes must encode to the same text again: one name, one spelling. */
#include "mail/imap/utf7.h"

#include "base/must.h"
#include "base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUF struct buf decoded = BUF_INIT(1u << 22), encoded = BUF_INIT(1u << 22);

	if (utf7_decode(slice_of(data, size), &decoded)) {
		must(utf8_valid(buf_slice(&decoded)));
		utf7_encode(buf_slice(&decoded), &encoded);
		must(slice_eq(buf_slice(&encoded), slice_of(data, size)));
	}
	buf_reset(&encoded);
	utf7_encode(slice_of(data, size), &encoded);
	return 0;
}
