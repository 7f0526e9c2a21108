/* Strings of rights: what is written reads the same; a change never makes a right that is none. */
#include "base/must.h"
#include "mail/imap/rights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUF struct buf b = BUF_INIT(100);
	struct imap_rights_change c;
	uint32_t again;

	if (!imap_rights_change_parse(slice_of(data, size), &c))
		return 0;
	must((c.rights & ~IMAP_RIGHTS_ALL) == 0);
	must((imap_rights_changed(IMAP_RIGHTS_ALL, &c) & ~IMAP_RIGHTS_ALL) == 0);
	/* "c" and "d" may say more than was there, as RFC 4314 §2.1.1 wants: never less. */
	imap_rights_write(&b, c.rights);
	must(b.err == 0 && imap_rights_parse(buf_slice(&b), &again) && (c.rights & ~again) == 0);
	return 0;
}
