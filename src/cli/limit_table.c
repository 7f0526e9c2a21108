#include "cli/limit_table.h"

#include "base/attr.h"

const struct limit limit_table[] = {
#define LIMIT(name, value, unit, setting, source, generator)                                       \
	{ LIMITS_MODULE, #name, (uint64_t)(value), unit, setting, source, #generator },
#include "limit_table.inc"
#undef LIMIT
};
const size_t limit_table_count = ARRAY_LEN(limit_table);
