/* The first message of a SCRAM client, and the exchange that it begins. */
#include "base/must.h"
#include "mail/auth/sasl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t key[SCRAM_KEY_BYTES];
	struct slice in = slice_of(data, size), nothing = { 0 };

	for (unsigned i = 0; i < 4; i++) {
		AUTO_BUF struct buf out = BUF_INIT(AUTH_CHALLENGE_BYTES_MAX);
		struct sasl s;
		enum sasl_verdict v;

		must(sasl_init(&s, (i & 1) != 0 ? SASL_SCRAM_SHA_256_PLUS : SASL_SCRAM_SHA_256,
			       (i & 2) != 0 ? SLICE("exporter") : nothing, nothing,
			       SLICE("server")) == 0);
		v = sasl_step(&s, &in, &out);
		must(v == SASL_ASK_KEYS || v == SASL_REJECTED || v == SASL_MALFORMED);
		if (v == SASL_ASK_KEYS) {
			must(s.first.gs2_header.len + s.first.bare.len == size);
			must(s.user.len > 0 && s.user.len <= AUTH_USER_BYTES_MAX);
			must(sasl_give_keys(&s, SLICE("salt"), 4096, key, key, false, &out) ==
			     SASL_CONTINUE);
			must(slice_starts(buf_slice(&out), SLICE("r=")));
			/* No proof fits these keys. */
			must(sasl_step(&s, &in, &out) != SASL_CONTINUE);
		}
		sasl_done(&s);
	}
	return 0;
}
