/* All lists of an account, and who shares with an identifier, as a damaged disk may give them. */
#include "base/must.h"
#include "mail/directory/shares.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	AUTO_BUF struct buf b = BUF_INIT(1u << 20);
	struct shares s, again;
	struct slice *owners;
	size_t count;

	if (owners_decode(&arena, slice_of(data, size), &owners, &count))
		must(count <= DIRECTORY_ACL_OWNERS_MAX);
	if (!shares_decode(&arena, slice_of(data, size), &s))
		return 0;
	shares_encode(&b, &s);
	must(shares_decode(&arena, buf_slice(&b), &again) && again.count == s.count);
	for (size_t i = 0; i < s.count; i++)
		must(again.items[i].folder == s.items[i].folder && slice_eq(again.items[i].acl, s.items[i].acl));
	return 0;
}
