/* The parser of grants files. */
#include <errno.h>

#include "base/must.h"
#include "spine/grant.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUF struct buf errors = BUF_INIT(1u << 20);
	AUTO_ARENA struct arena arena = ARENA_INIT(8u << 20);
	const struct grants *g = NULL;
	uint8_t key[32] = { 0 };

	int err = grants_parse(&arena, slice_of(data, size), "f", &g, &errors);
	if (err != 0) {
		must(err == -ENOMEM || errors.len > 0);
		return 0;
	}
	const struct grant *grant = grant_find(g, "a");
	must((grant->verdicts & ~(uint32_t)SPINE_VERDICTS_ALL) == 0);
	must(grant->port_count <= GRANT_PORTS_MAX);
	must(grant->cpu_permille <= 1000 && grant->instructions_max > 0 && grant->memory_bytes_max > 0);
	must(grant->kfuncs != NULL && grant->from != NULL);
	grant_key_trusted(g, key);
	return 0;
}
