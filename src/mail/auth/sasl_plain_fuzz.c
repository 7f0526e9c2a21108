/* PLAIN and LOGIN responses, and SASLprep of what they carry. */
#include "base/must.h"
#include "base/utf8.h"
#include "mail/auth/sasl.h"
#include "mail/auth/saslprep.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUF struct buf once = BUF_INIT(1u << 20), twice = BUF_INIT(1u << 20);
	struct slice in = slice_of(data, size), authzid, user, password;

	if (sasl_plain_parse(in, &authzid, &user, &password))
		must(authzid.len + user.len + password.len + 2 == size && user.len > 0 &&
		     password.len > 0 && password.len <= AUTH_PASSWORD_BYTES_MAX);
	if (size > 4096 || saslprep(in, &once) != SASLPREP_OK)
		return 0;
	/* What is prepared stays as it is (RFC 3454 §4: NFKC is stable). */
	must(utf8_valid(buf_slice(&once)));
	if (saslprep(buf_slice(&once), &twice) == SASLPREP_OK)
		must(slice_eq(buf_slice(&once), buf_slice(&twice)));
	return 0;
}
