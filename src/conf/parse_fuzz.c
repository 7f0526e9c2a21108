/* The parser of the configuration file, and what hands its result to a role. */
#include <errno.h>
#include <stdlib.h>

#include "base/must.h"
#include "conf/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUF struct buf errors = BUF_INIT(1u << 20);
	AUTO_BUF struct buf bytes = BUF_INIT(1u << 20);
	AUTO_BUF struct buf again = BUF_INIT(1u << 20);
	struct config *c = NULL, *copy = NULL;

	int err = config_parse(slice_of(data, size), "f", &c, &errors);
	if (err != 0) {
		/* The same bytes as what a role might be sent. */
		must(err == -ENOMEM || errors.len > 0);
		if (config_decode(slice_of(data, size), &c) == 0)
			config_free(c);
		return 0;
	}
	config_encode(c, &bytes);
	must(bytes.err == 0);
	must(config_decode(buf_slice(&bytes), &copy) == 0);
	config_encode(copy, &again);
	must(slice_eq(buf_slice(&bytes), buf_slice(&again)));
	config_free(copy);
	config_free(c);
	return 0;
}
