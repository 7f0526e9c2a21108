#include "base/must.h"
#include "mail/imap/fetch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 22);
	AUTO_BUF struct buf name = BUF_INIT(1u << 20);
	struct imap_lex l = { .at = data, .end = data + size, .arena = &arena };
	struct fetch_program p;

	fetch_parse(&l, &p);
	for (size_t i = 0; !l.bad && i < p.count; i++)
		fetch_write_name(&p.items[i], &name);
	must(l.bad || p.count == 0 || fetch_wants(&p, p.items[p.count - 1].kind));
	return 0;
}
