/* Records of the directory as a damaged disk may give them. The first byte says which. */
#include "base/must.h"
#include "mail/directory/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	AUTO_BUF struct buf b = BUF_INIT(1u << 20);
	struct slice in = slice_from(slice_of(data, size), 1);
	struct domain_record d, d2;
	struct user_record u, u2;
	struct alias_record a, a2;

	if (size == 0)
		return 0;
	/* What was read and is written again reads the same. */
	if (data[0] == 'd' && domain_record_decode(in, &d)) {
		domain_record_encode(&b, &d);
		must(domain_record_decode(buf_slice(&b), &d2) && d.quota_bytes == d2.quota_bytes &&
		     slice_eq(d.postmaster, d2.postmaster));
	} else if (data[0] == 'u' && user_record_decode(in, &u)) {
		user_record_encode(&b, &u);
		must(user_record_decode(buf_slice(&b), &u2) && slice_eq(u.hash, u2.hash) &&
		     slice_eq(u.name, u2.name) && u.disabled == u2.disabled && slice_eq(u.groups, u2.groups) &&
		     u.system_user == u2.system_user);
	} else if (data[0] == 'a' && alias_record_decode(&arena, in, &a)) {
		alias_record_encode(&b, &a);
		must(alias_record_decode(&arena, buf_slice(&b), &a2) && a.count == a2.count);
	}
	return 0;
}
