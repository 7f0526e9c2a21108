/*
 * The signer refuses what no TLS server signs. Input: scheme (be16), bytes to sign.
 */
#include "base/must.h"
#include "base/reader.h"
#include "sys/tls_signer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct tls_signer *signer;
	AUTO_BUF struct buf cert = BUF_INIT(1u << 16), key = BUF_INIT(1u << 16), out = BUF_INIT(1u << 16);
	struct reader rd = reader_of(slice_of(data, size));
	enum tls_scheme scheme = (enum tls_scheme)rd_be16(&rd);
	struct slice tbs = rd_rest(&rd);

	if (signer == NULL) {
		must(tls_self_signed("mail.example.org", &cert, &key) == 0);
		must(tls_signer_new(buf_slice(&key), &signer, NULL) == 0);
	}
	if (tls_signer_sign(signer, scheme, tbs, &out) == 0) {
		must(out.len > 0 && (tbs.ptr[64] == 3 || tbs.ptr[0] == 0x20));
		must(scheme == TLS_ECDSA_SHA256 || scheme == TLS_ECDSA_SHA384 || scheme == TLS_ECDSA_SHA512);
	} else {
		must(out.len == 0);
	}
	/* A chain and a key that an operator wrote. */
	struct tls_signer *other = NULL;
	(void)tls_signer_fits(signer, tbs);
	if (tls_signer_new(tbs, &other, NULL) == 0)
		tls_signer_free(other);
	return 0;
}
