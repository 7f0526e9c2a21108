/* Lists of rights as a damaged disk may give them: what was read and is written again reads the same. */
#include "base/must.h"
#include "mail/directory/acl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUF struct buf b = BUF_INIT(1u << 20);
	struct acl acl, again;

	if (!acl_decode(slice_of(data, size), &acl))
		return 0;
	acl_encode(&b, &acl);
	must(acl_decode(buf_slice(&b), &again) && again.count == acl.count);
	for (size_t i = 0; i < acl.count; i++) {
		struct slice id = acl.entries[i].identifier;

		must(acl_rights(&again, id) == acl.entries[i].rights);
		must((acl_effective(&acl, id) & ~(acl_rights(&acl, id) | acl_rights(&acl, SLICE(ACL_ANYONE)))) == 0);
		must(acl_set(&acl, id, acl.entries[i].rights));
	}
	return 0;
}
