/*
 * What others wrote: a record as a ring has it, a ring, an entry of the log, the text of an epoch, an id of a decision. The first byte chooses.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/must.h"
#include "policy/audit_log.h"
#include "policy/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_texts(const struct policy_record *r)
{
	struct policy_record_texts t = policy_record_texts(r);

	must(strlen(t.who) + strlen(t.what) + strlen(t.how) <= POLICY_RECORD_TEXT_BYTES);
	must(r->chain_count <= ARRAY_LEN(r->chain));
	must(*policy_result_name(r->result) != '?');
}

static void try_record(struct slice bytes)
{
	struct policy_record r;

	if (bytes.len < sizeof(r))
		return;
	memcpy(&r, bytes.ptr, sizeof(r));
	if (policy_record_valid(&r))
		use_texts(&r);
}

/* A ring of 16 records, of which the input is what it is long. */
static void try_ring(struct slice bytes)
{
	static uint8_t image[sizeof(struct policy_ring) + 16 * sizeof(struct policy_record)];
	struct policy_ring_reader r;
	struct policy_record record;
	int fd = memfd_create("ring", MFD_CLOEXEC);
	unsigned count = 0;

	must(fd >= 0);
	memset(image, 0, sizeof(image));
	policy_ring_format(image, 16, 1, "fuzz", 16000);
	/* The head's facts, its `next`, then records: pages of zeros are no work for a fuzzer. */
	if (bytes.len != 0)
		memcpy(image, bytes.ptr, MIN(bytes.len, 72u));
	bytes = slice_from(bytes, 72);
	if (bytes.len != 0)
		memcpy(image + sizeof(struct policy_ring), bytes.ptr, MIN(bytes.len, sizeof(image) - sizeof(struct policy_ring)));
	must(write(fd, image, sizeof(image)) == (ssize_t)sizeof(image));
	if (policy_ring_open(&r, fd, 1, "fuzz", NULL) != 0) {
		close(fd);
		return;
	}
	while (policy_ring_read(&r, &record)) {
		must(policy_record_valid(&record));
		use_texts(&record);
		must(++count <= 16);
	}
	policy_ring_close(&r);
}

static void try_entry(struct slice bytes)
{
	AUTO_BUF struct buf again = BUF_INIT(2 * POLICY_LOG_ENTRY_BYTES_MAX);
	struct policy_entry e;
	size_t n = policy_entry_decode(&e, bytes);

	must(n <= bytes.len);
	if (n == 0)
		return;
	use_texts(&e.record);
	/* Only as long as they must be: the same bytes. */
	policy_entry_encode(&again, &e);
	must(again.err == 0);
	must(again.len <= n);
}

static void try_bundle(struct slice bytes)
{
	AUTO_BUF struct buf again = BUF_INIT(2 * (size_t)POLICY_BUNDLE_BYTES_MAX);
	struct bundle *b = malloc(sizeof(*b)), *c = malloc(sizeof(*c));

	must(b != NULL);
	must(c != NULL);
	if (bundle_read(b, bytes)) {
		bundle_write(&again, b);
		must(bundle_read(c, buf_slice(&again)));
		must(b->count == c->count);
		for (size_t i = 0; i < b->count; i++)
			must(slice_eq(b->sources[i].text, c->sources[i].text));
	}
	free(b);
	free(c);
}

static void try_id(struct slice bytes)
{
	char text[24];
	uint64_t id, same;

	if (!policy_decision_parse(bytes, &id))
		return;
	policy_decision_text(id, text);
	must(policy_decision_parse(slice_str(text), &same));
	must(same == id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const tries[])(struct slice bytes) = { try_record, try_ring, try_entry, try_bundle, try_id };
	struct slice input = slice_of(data, size);

	if (size != 0)
		tries[data[0] % ARRAY_LEN(tries)](slice_from(input, 1));
	return 0;
}
