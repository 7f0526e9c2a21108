/* Rules of the packet filter, and their tables, judged for one address and port by walking the rules. */
#include <errno.h>

#include "base/must.h"
#include "spine/extensions/filter_tables.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUF struct buf errors = BUF_INIT(1u << 20);
	AUTO_ARENA struct arena arena = ARENA_INIT(16u << 20);
	const struct filter_rules *rules = NULL;
	struct filter_tables *t = NULL;
	struct errmsg why;

	int err = filter_parse(&arena, slice_of(data, size), "f", &rules, &errors);
	if (err != 0) {
		must(err == -ENOMEM || errors.len > 0);
		return 0;
	}
	must(rules->count <= FILTER_RULES_MAX);
	err = filter_compile(&arena, rules, &t, &why);
	if (err != 0) {
		must(err == -ENOMEM || err == -E2BIG);
		return 0;
	}
	must(t->set_count <= FILTER_SETS_MAX);
	for (unsigned side = 0; side < FILTER_SIDES; side++)
		for (uint32_t port = 0; port < 65536; port += 251) {
			uint64_t class = t->ports[side][port / 4] >> port % 4 * 16 & 0xffff;

			must(class < t->set_count);
			for (size_t i = 0; i < rules->count; i++) {
				const struct filter_entry *e = &rules->entries[i];
				bool fits = e->port_count[side] == 0;

				for (size_t k = 0; k < e->port_count[side]; k++)
					fits |= e->ports[side][k].first <= port && port <= e->ports[side][k].last;
				must((t->sets[class].word[i / 64] >> i % 64 & 1) == fits);
			}
		}
	return 0;
}
