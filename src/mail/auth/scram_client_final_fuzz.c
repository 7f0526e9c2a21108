/* The final message of a SCRAM client. */
#include "base/must.h"
#include "mail/auth/scram.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* RFC 7677 §3, so that one input is right: the first seed. */
	static const uint8_t salt[16] = { 0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e,
					  0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa, 0x81 };
	static uint8_t stored[SCRAM_KEY_BYTES], server[SCRAM_KEY_BYTES];
	static bool derived;
	AUTO_BUF struct buf out = BUF_INIT(1024);
	struct scram_check check = {
		.gs2_header = SLICE("n,,"),
		.client_bare = SLICE("n=user,r=rOprNGfwEbeRWgbNEkqO"),
		.server_first = SLICE("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
				      "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"),
		.nonce = SLICE("rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"),
	};

	if (!derived)
		derived = scram_derive(SLICE("pencil"), slice_of(salt, sizeof(salt)), 4096, stored,
				       server);
	check.stored_key = stored;
	check.server_key = server;
	if (scram_final(&check, slice_of(data, size), &out) == SCRAM_OK)
		must(slice_eq(slice_of(data, size),
			      SLICE("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
				    "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")));
	else
		must(out.len == 0);
	return 0;
}
