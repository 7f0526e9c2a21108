/*
 * What roles tell each other about grants and about themselves, from any bytes.
 */
#include "base/must.h"
#include "base/reader.h"
#include "roles/grants.h"
#include "roles/supervise.h"
#include "roles/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = slice_of(data, size);
	struct reader r = reader_of(in);
	AUTO_BUF struct buf again = BUF_INIT(1u << 22);
	struct supervise_role role;
	enum grants_decode got;
	struct grant g;

	while ((got = grants_decode(&r, &g)) == GRANTS_DECODED) {
		must(g.rights != 0 && g.lifetime_s > 0 && strlen(g.account) == GRANT_ACCOUNT_CHARS);
		grants_encode(&again, &g);
	}
	must(got == GRANTS_BAD || slice_eq(buf_slice(&again), in));
	r = reader_of(in);
	if (supervise_role_decode(&r, &role))
		must(role.role < ROLE_COUNT);
	return 0;
}
