/*
 * First line: a charset; then text: valid UTF-8 comes out, whole or in pieces.
 */
#include <unistr.h>

#include "base/must.h"
#include "mail/message/charset.h"
#include "mail/message/transfer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	charset_init();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUF struct buf whole = BUF_INIT(1u << 26), cut = BUF_INIT(1u << 26);
	struct slice name, text;

	(void)slice_cut(slice_of(data, size), '\n', &name, &text);
	const struct charset *cs = charset_find(name);
	charset_to_utf8(cs, &whole, text);
	must(whole.err == 0 && u8_check(whole.ptr, whole.len) == NULL);
	struct charset_conv conv = charset_conv(cs);
	for (size_t i = 0; i < text.len; i += 3)
		charset_feed(&conv, &cut, slice_sub(text, i, MIN(i + 3, text.len)));
	charset_end(&conv, &cut);
	must(cut.err == 0 && u8_check(cut.ptr, cut.len) == NULL);
	must(cs != NULL && !charset_is_utf8(cs) ? true : slice_eq(buf_slice(&whole), buf_slice(&cut)));
	for (unsigned int e = MIME_QUOTED_PRINTABLE; e <= MIME_BASE64; e++) {
		struct transfer t = transfer_of((enum mime_encoding)e);
		buf_reset(&whole);
		buf_reset(&cut);
		transfer_feed(&t, &whole, text);
		transfer_end(&t, &whole);
		t = transfer_of((enum mime_encoding)e);
		for (size_t i = 0; i < text.len; i += 3)
			transfer_feed(&t, &cut, slice_sub(text, i, MIN(i + 3, text.len)));
		transfer_end(&t, &cut);
		must(slice_eq(buf_slice(&whole), buf_slice(&cut)));
	}
	return 0;
}
