#include "mail/imap/search.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 22);
	struct imap_lex l = { .at = data, .end = data + size, .arena = &arena };
	struct search_program p = { 0 };

	search_parse_return(&l, &p);
	search_parse(&l, (struct search_stars){ 10, 20 }, false, &p);
	return 0;
}
