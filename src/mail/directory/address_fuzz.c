/* Addresses and domain names as peers write them. */
#include "base/must.h"
#include "base/utf8.h"
#include "mail/directory/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct slice in = slice_of(data, size), domain, again, user, detail;
	struct address a;

	if (mail_address_domain(&arena, in, &domain)) {
		must(domain.len > 0 && domain.len <= ADDRESS_DOMAIN_BYTES_MAX);
		must(utf8_is_ascii(domain));
		must(mail_address_domain(&arena, domain, &again) && slice_eq(domain, again));
	}
	if (!mail_address_parse(&arena, in, &a))
		return 0;
	must(a.local.len > 0 && a.local.len <= ADDRESS_LOCAL_BYTES_MAX);
	must(a.local.len == a.local_as_written.len && utf8_valid(a.local));
	must(a.text.len == a.local.len + 1 + a.domain.len && a.text.len <= ADDRESS_BYTES_MAX);
	if (mail_address_detail(&a, '+', &user, &detail))
		must(user.len > 0 && user.len + 1 + detail.len == a.local.len);
	return 0;
}
