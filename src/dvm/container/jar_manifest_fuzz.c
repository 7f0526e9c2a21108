/*
 * A manifest from anybody: every section and attribute that is read is found by its name.
 */
#include "base/must.h"
#include "dvm/container/jar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void find_all(const struct jar_section *s)
{
	for (uint32_t i = 0; i < s->count; i++) {
		struct slice value = jar_attribute(s, s->attributes[i].name);
		must(value.ptr != NULL && slice_eq(value, slice_trim(s->attributes[i].value)));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(4u << 20);
	struct jar_manifest m;
	struct errmsg why;

	if (jar_manifest_parse(&arena, slice_of(data, size), &m, &why) != 0)
		return 0;
	find_all(&m.main);
	for (uint32_t i = 0; i < m.count; i++) {
		must(jar_section(&m, m.sections[i].entry) == &m.sections[i]);
		find_all(&m.sections[i]);
	}
	return 0;
}
