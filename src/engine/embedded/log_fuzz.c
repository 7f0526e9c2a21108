/*
 * Any bytes as the log: opening, replay, rebuild, reading, checking, writing and compaction must stand it.
 *
 * The first byte chooses: a raw segment file; or records whose headers, checksums and block headers we
 * make good, so that the fuzzer reaches what is behind them. Then each record is a type byte, a length of
 * two bytes, and the body.
 */
#include <stdlib.h>

#include "base/must.h"
#include "engine/embedded/embedded.h"
#include "engine/embedded/format.h"
#include "sys/simworld.h"

#define BLOCK 512u
#define SEGMENT (16u * BLOCK)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct writer {
	uint8_t bytes[SEGMENT];
	size_t len;
	uint32_t segment, generation;
};

static void put(struct writer *w, struct slice s)
{
	for (size_t i = 0; i < s.len && w->len < SEGMENT; i++) {
		if (w->len % BLOCK == 0) {
			struct block_header h = { .generation = w->generation,
						  .salt = 7,
						  .segment = w->segment,
						  .number = (uint32_t)(w->len / BLOCK),
						  .block_shift = 9 };

			block_header_write(w->bytes + w->len, &h);
			w->len += BLOCK_HEADER_BYTES;
		}
		w->bytes[w->len++] = s.ptr[i];
	}
}

static void put_record(struct writer *w, uint8_t type, uint64_t lsn, struct slice body)
{
	struct record_header h = { .type = type,
				   .generation = w->generation,
				   .salt = 7,
				   .lsn = lsn,
				   .durable = lsn - 1 };
	uint8_t bytes[RECORD_HEADER_BYTES];

	record_header_write(bytes, &h, body);
	put(w, slice_of(bytes, sizeof(bytes)));
	put(w, body);
}

static void file_make(struct sim *sim, const char *path, struct slice bytes)
{
	struct world *w = sim_world(sim);
	struct iovec iov = { (void *)(uintptr_t)bytes.ptr, bytes.len };
	struct file *f;

	must(w->ops->open(w, path, OPEN_CREATE, &f) == 0);
	must(w->ops->pwritev(w, f, &iov, 1, 0) == 0 && w->ops->allocate(w, f, SEGMENT) == 0);
	w->ops->close(w, f);
}

/* Segment 0 is of generation 1 and listed; segment 1 names it in its manifest. */
static void files_make(struct sim *sim, struct slice in)
{
	static const uint8_t manifest[] = "0123456789abcdef\1\0\0\0\0\1\0\0\0\7\x80\x40\1\x7f";
	struct writer *w = calloc(2, sizeof(*w));
	uint64_t lsn = 1;

	must(w != NULL);
	w[0].generation = 1;
	w[1].generation = 2;
	w[1].segment = 1;
	bool two = (in.ptr[0] & 2) != 0;
	bool own_manifest = (in.ptr[0] & 4) != 0;
	struct reader r = reader_of(slice_from(in, 1));

	put_record(&w[0], RECORD_MANIFEST, lsn++, slice_of("0123456789abcdef\0", 17));
	for (int i = 0; rd_left(&r) > 3 && i < 200; i++) {
		uint8_t type = (uint8_t)(rd_u8(&r) % 5 + 1);
		size_t n = rd_be16(&r) % 600;
		struct slice body = rd_bytes(&r, MIN(n, rd_left(&r)));
		struct writer *to = two && i >= 4 ? &w[1] : &w[0];

		if (two && i == 4 && !own_manifest)
			put_record(to, RECORD_MANIFEST, lsn++,
				   slice_of(manifest, sizeof(manifest) - 1));
		put_record(to, type, lsn++, body);
	}
	file_make(sim, "log/0", slice_of(w[0].bytes, w[0].len));
	if (two && w[1].len > 0)
		file_make(sim, "log/1", slice_of(w[1].bytes, w[1].len));
	free(w);
}

static void use(struct engine *e)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(4u << 20);
	AUTO_BUF struct buf b = BUF_INIT(1u << 20);
	struct slice *names = NULL;
	struct engine_kv *kv = NULL;
	struct engine_step steps[] = { { .kind = STEP_SET, .key = SLICE_INIT("k") },
				       { .kind = STEP_DELETE, .key = SLICE_INIT("a") } };
	struct embedded_report report;
	size_t n = 0, keys = 0;
	bool more;

	if (engine_list(e, SLICE(""), SLICE(""), 20, &arena, &names, &n) != ENGINE_OK)
		n = 0;
	for (size_t i = 0; i < n; i++) {
		struct engine_op op = { names[i], steps, 2, { 0 } };

		buf_reset(&b);
		(void)engine_read(e, names[i], i, 5000, &b);
		(void)engine_keys(e, names[i], SLICE(""), SLICE(""), 20, 5000, &arena, &kv, &keys,
				  &more);
		(void)engine_apply(e, &op);
		op.steps = &(struct engine_step){ .kind = STEP_REMOVE };
		op.count = 1;
		if (i % 2 == 0)
			must(engine_apply(e, &op) != ENGINE_INVALID);
	}
	(void)embedded_check(e, &report, NULL, NULL);
	(void)embedded_compact(e, true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct embedded_options o = {
		.segment_bytes = SEGMENT, .block_bytes = BLOCK, .index = EMBEDDED_MEMORY };
	struct engine *e;

	if (size < 2 || size > 12000)
		return 0;
	struct sim *sim = sim_new(size);
	must(sim != NULL && sim_world(sim)->ops->mkdir(sim_world(sim), "log") == 0);
	if ((data[0] & 1) == 0)
		file_make(sim, "log/0", slice_head(slice_of(data + 1, size - 1), SEGMENT));
	else
		files_make(sim, slice_of(data, size));
	o.read_only = (data[0] & 8) != 0;
	if (embedded_open(sim_world(sim), &o, &e, NULL) == 0) {
		use(e);
		engine_close(e);
		if (embedded_open(sim_world(sim), &o, &e, NULL) == 0)
			engine_close(e);
	}
	sim_free(sim);
	return 0;
}
