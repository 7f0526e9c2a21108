/* Paths: what is accepted, written back and read again is the same address. */
#include "base/must.h"
#include "base/utf8.h"
#include "mail/smtp/limits.h"
#include "mail/smtp/path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1 << 16);
	struct smtp_path p, again;
	struct slice rest, domain;

	if (smtp_domain_parse(&arena, slice_of(data, size), &domain) == SMTP_PATH_OK)
		must(domain.len > 0 && domain.len <= SMTP_DOMAIN && utf8_is_ascii(domain));
	if (smtp_path_parse(&arena, slice_of(data, size), &p, &rest) != SMTP_PATH_OK)
		return 0;
	must(rest.ptr + rest.len == data + size);
	if (p.null) {
		must(p.text.len == 0);
		return 0;
	}
	must(p.local.len <= SMTP_LOCAL_PART && utf8_valid(p.text));
	must(smtp_address_parse(&arena, p.text, &again) == SMTP_PATH_OK);
	must(slice_eq(p.text, again.text) && slice_eq(p.local, again.local));
	must(slice_eq(p.domain, again.domain));
	return 0;
}
