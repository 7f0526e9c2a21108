/*
 * A small image made by hand, for tests: a module with two classes and their directories.
 */
#pragma once
#include "base/must.h"
#include "dvm/container/jimage.h"
#include "dvm/container/jimage_hash.h"

struct sample_entry {
	struct slice path;
	struct slice parts[JIMAGE_NAME_PARTS];
	struct slice content;
	uint64_t packed_size, size;	/* 0: stored, of content's length */
};

static inline void sample_u32(struct buf *b, bool big, uint32_t v)
{
	buf_be32(b, big ? v : __builtin_bswap32(v));
}

static inline void sample_attribute(struct buf *b, uint8_t kind, uint32_t v)
{
	if (v == 0)
		return;
	buf_addc(b, (uint8_t)(kind << 3 | 3));
	buf_be32(b, v);
}

/* In contents, "@a.." becomes the location of the first entry, "@b.." of the second; "#module#" what a package's directory says of module "m". */
static inline void sample_image(struct buf *out, bool big, const struct sample_entry *entries, uint32_t count)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	AUTO_BUF struct buf strings = BUF_INIT(1u << 16), locations = BUF_INIT(1u << 16), offsets = BUF_INIT(1u << 16), contents = BUF_INIT(1u << 20);
	struct slice names[32];
	uint32_t at[32] = { 0 }, offset[32] = { 0 };
	struct jimage_hash hash;

	must(count <= 32);
	for (uint32_t i = 0, sum = 0; i < count; i++) {
		names[i] = entries[i].path;
		offset[i] = sum;
		sum += (uint32_t)entries[i].content.len;
	}
	must(jimage_hash_build(&arena, names, count, &hash) == 0);
	buf_add(&strings, SLICE("\0zip\0compact-cp\0m\0"));
	buf_addc(&locations, 0);
	for (uint32_t i = 0; i < hash.length; i++) {
		if (hash.slots[i] == 0) {
			sample_u32(&offsets, big, 0);
			continue;
		}
		const struct sample_entry *e = &entries[hash.slots[i] - 1];
		at[hash.slots[i] - 1] = (uint32_t)locations.len;
		sample_u32(&offsets, big, (uint32_t)locations.len);
		for (uint8_t part = 0; part < JIMAGE_NAME_PARTS; part++) {
			if (e->parts[part].len == 0)
				continue;
			sample_attribute(&locations, (uint8_t)(part + 1), (uint32_t)strings.len);
			buf_add(&strings, e->parts[part]);
			buf_addc(&strings, 0);
		}
		sample_attribute(&locations, 5, offset[hash.slots[i] - 1]);
		sample_attribute(&locations, 6, (uint32_t)e->packed_size);
		sample_attribute(&locations, 7, (uint32_t)(e->size != 0 ? e->size : e->content.len));
		buf_addc(&locations, 0);
	}
	for (uint32_t i = 0; i < count; i++) {
		struct slice c = entries[i].content;
		bool list = c.len >= 4 && c.ptr[0] == '@' && c.len % 4 == 0;
		for (size_t j = 0; list && j < c.len; j += 4)
			sample_u32(&contents, big, at[c.ptr[j + 1] - 'a']);
		bool package = slice_eq(c, SLICE("#module#"));
		if (package) {
			sample_u32(&contents, big, 0);
			sample_u32(&contents, big, 16);	/* "m" behind the first strings */
		}
		if (!list && !package)
			buf_add(&contents, c);
	}
	sample_u32(out, big, 0xcafedada);
	sample_u32(out, big, 0x10000);
	sample_u32(out, big, 0);
	sample_u32(out, big, count);
	sample_u32(out, big, hash.length);
	sample_u32(out, big, (uint32_t)locations.len);
	sample_u32(out, big, (uint32_t)strings.len);
	for (uint32_t i = 0; i < hash.length; i++)
		sample_u32(out, big, (uint32_t)hash.redirects[i]);
	buf_add(out, buf_slice(&offsets));
	buf_add(out, buf_slice(&locations));
	buf_add(out, buf_slice(&strings));
	buf_add(out, buf_slice(&contents));
	must(out->err == 0 && strings.err == 0 && locations.err == 0 && offsets.err == 0 && contents.err == 0);
}

#define SAMPLE_ENTRY(whole, m, p, b, e, bytes)                                                     \
	{ .path = SLICE_INIT(whole), .parts = { SLICE_INIT(m), SLICE_INIT(p), SLICE_INIT(b), SLICE_INIT(e) }, .content = SLICE_INIT(bytes) }
static const struct sample_entry sample_entries[] = {
	SAMPLE_ENTRY("/m/p/A.class", "m", "p", "A", "class", "class A"),
	SAMPLE_ENTRY("/m/p/q/B.class", "m", "p/q", "B", "class", "class B!"),
	SAMPLE_ENTRY("/modules/m/p/q", "modules", "", "m/p/q", "", "@b.."),
	SAMPLE_ENTRY("/modules/m/p", "modules", "", "m/p", "", "@a..@c.."),
	SAMPLE_ENTRY("/modules/m", "modules", "", "m", "", "@d.."),
	SAMPLE_ENTRY("/modules", "", "", "/modules", "", "@e.."),
	SAMPLE_ENTRY("/packages/p", "packages", "", "p", "", "#module#"),
	SAMPLE_ENTRY("/packages/p.q", "packages", "", "p.q", "", "#module#"),
	SAMPLE_ENTRY("/packages", "", "", "/packages", "", "@g..@h.."),
};
