/*
 * Any header text decodes to valid UTF-8; base subjects and keys do, too, and stay what they are when asked again.
 */
#include <unistr.h>

#include "base/must.h"
#include "mail/message/casemap.h"
#include "mail/message/charset.h"
#include "mail/message/subject.h"
#include "mail/message/words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	charset_init();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUF struct buf out = BUF_INIT(1u << 26);
	struct slice in = slice_of(data, size);
	bool is_reply;

	words_decode(&out, in);
	must(out.err == 0 && u8_check(out.ptr, out.len) == NULL);
	must(words_needed(in) || slice_eq(buf_slice(&out), in));
	buf_reset(&out);
	words_decode_2231(&out, in);
	must(out.err == 0 && u8_check(out.ptr, out.len) == NULL);
	buf_reset(&out);
	buf_adds(&out, "kept");
	subject_base(&out, in, &is_reply);
	must(out.err == 0 && slice_starts(buf_slice(&out), SLICE("kept")) && u8_check(out.ptr, out.len) == NULL);
	buf_reset(&out);
	casemap_key(&out, in);
	must(out.err == 0 && u8_check(out.ptr, out.len) == NULL);
	return 0;
}
