/*
 * A translator's file, and behind a line of "%%" its file of mappings. What is taken is written out, read again, and must mean
 * the same.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/must.h"
#include "nat64/settings_read.h"
#include "nat64/words.h"

/* The same text is read as each kind of word; what is read is written and read again. */
static void words(struct slice text)
{
	AUTO_BUF struct buf out = BUF_INIT(400), again_text = BUF_INIT(400);
	struct errmsg why = { 0 };
	struct xlat_prefix prefix;
	struct xlat_pool pool, pool_again;
	struct xlat_eam eam;
	struct xlat_bib bib;
	bool ports;

	if (words_pref64(text, &prefix, &why) == 0) {
		words_prefix_text(&out, &prefix);
		must(words_pref64(buf_slice(&out), &prefix, &why) == 0);
	}
	buf_reset(&out);
	if (words_pool(text, &pool, &ports, &why) == 0) {
		words_pool_text(&out, &pool, true);
		must(words_pool(buf_slice(&out), &pool_again, &ports, &why) == 0);
		must(memcmp(&pool, &pool_again, sizeof(pool)) == 0);
	}
	buf_reset(&out);
	if (words_mapping(text, &eam, &why) == 0) {
		words_mapping_text(&out, &eam);
		must(words_mapping(buf_slice(&out), &eam, &why) == 0);
	}
	buf_reset(&out);
	if (words_static(text, &bib, &why) == 0) {
		words_static_text(&out, &bib);
		must(words_static(buf_slice(&out), &bib, &why) == 0);
		words_static_text(&again_text, &bib);
		must(slice_eq(buf_slice(&out), buf_slice(&again_text)));
	}
}

static void shown_again(struct arena *arena, const struct nat64_settings *s)
{
	AUTO_BUF struct buf text = BUF_INIT(16u << 20), again = BUF_INIT(16u << 20), errors = BUF_INIT(1u << 20), json = BUF_INIT(16u << 20);
	struct nat64_settings *t = NULL;

	nat64_settings_yaml(s, &text);
	nat64_settings_json(s, &json);
	must(text.err == 0 && json.err == 0);
	int err = nat64_settings_parse(arena, buf_slice(&text), "f", &t, &errors);
	if (err == -ENOMEM)
		return;
	must(err == 0);
	nat64_settings_yaml(t, &again);
	must(slice_eq(buf_slice(&text), buf_slice(&again)));
	must(memcmp(&s->config, &t->config, sizeof(s->config)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(64u << 20);
	AUTO_BUF struct buf errors = BUF_INIT(1u << 20);
	struct slice all = slice_of(data, size), line, rest = all;
	size_t at = slice_find(all, SLICE("\n%%\n"));
	struct nat64_settings *s = NULL;
	int err = nat64_settings_parse(&arena, slice_head(all, at == SLICE_NPOS ? size : at + 1), "f", &s, &errors);

	must(err == 0 || err == -ENOMEM || (err == -EINVAL && errors.len > 0));
	if (err == 0) {
		must(s->config.prefix_count <= XLAT_PREFIXES_MAX && s->config.pool_count <= XLAT_POOLS_MAX);
		must(s->interface_count <= NAT64_INTERFACES_MAX);
		shown_again(&arena, s);
		if (at != SLICE_NPOS)
			(void)!nat64_compile_file(s, slice_from(all, at + 4), "m", &errors);
	}
	for (unsigned n = 0; n < 64 && rest.len > 0; n++) {
		slice_cut(rest, '\n', &line, &rest);
		words(slice_trim(line));
	}
	return 0;
}
