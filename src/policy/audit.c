#include "policy/audit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/must.h"

_Static_assert(offsetof(struct policy_ring, next) == 64, "what readers watch has a cache line that the head's facts do not share");
_Static_assert(offsetof(struct policy_record, text) + POLICY_RECORD_TEXT_BYTES <= sizeof(struct policy_record), "");

#define SEQUENCE_BITS 48u
#define SEQUENCE_MASK ((1ull << SEQUENCE_BITS) - 1)
/*
 * A ring's first sequence is its birth in units of 16 microseconds: a ring that is made anew after a reboot begins above all that the one
 * before it gave, unless that one kept up 62,500 records a second. 48 bits of them last until 2112.
 */
#define US_PER_SEQUENCE 16

/* --- decision ids --------------------------------------------------------------------------- */

uint64_t policy_decision_id(uint16_t ring, uint64_t sequence)
{
	return (uint64_t)ring << SEQUENCE_BITS | (sequence & SEQUENCE_MASK);
}

void policy_decision_text(uint64_t id, char out[24])
{
	snprintf(out, 24, "%x-%llx", (unsigned)(id >> SEQUENCE_BITS), (unsigned long long)(id & SEQUENCE_MASK));
}

bool policy_hex(struct slice s, uint64_t max, uint64_t *out)
{
	uint64_t n = 0;

	if (s.len == 0 || s.len > 12)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = ascii_lower(s.ptr[i]);

		if (!ascii_digit(c) && !(c >= 'a' && c <= 'f'))
			return false;
		n = n << 4 | (uint64_t)(ascii_digit(c) ? c - '0' : c - 'a' + 10);
	}
	*out = n;
	return n <= max;
}

bool policy_decision_parse(struct slice text, uint64_t *id)
{
	struct slice ring, sequence;
	uint64_t r, s;

	if (!slice_cut(text, '-', &ring, &sequence) || !policy_hex(ring, UINT16_MAX, &r) ||
	    !policy_hex(sequence, SEQUENCE_MASK, &s))
		return false;
	*id = policy_decision_id((uint16_t)r, s);
	return true;
}

/* --- records -------------------------------------------------------------------------------- */

static const char *const results[POLICY_RESULT_COUNT] = {
	[0] = "?",
	[POLICY_RESULT_DENIED] = "denied",   [POLICY_RESULT_ALLOWED] = "allowed", [POLICY_RESULT_TRIAL] = "trial",
	[POLICY_RESULT_ENTERED] = "entered", [POLICY_RESULT_LEFT] = "left",	  [POLICY_RESULT_TICKET] = "ticket",
	[POLICY_RESULT_APPLIED] = "applied",
};

const char *policy_result_name(uint8_t result)
{
	return result < POLICY_RESULT_COUNT ? results[result] : "?";
}

bool policy_record_valid(const struct policy_record *r)
{
	size_t ends = 0;

	if (r->result == 0 || r->result >= POLICY_RESULT_COUNT || (size_t)r->class >= POLICY_CLASS_COUNT ||
	    r->chain_count > ARRAY_LEN(r->chain) || r->text_bytes > sizeof(r->text))
		return false;
	for (size_t i = 0; i < r->text_bytes; i++)
		ends += r->text[i] == '\0';
	return r->text_bytes == 0 || (ends <= 3 && r->text[r->text_bytes - 1] == '\0');
}

struct policy_record_texts policy_record_texts(const struct policy_record *r)
{
	const char *at = r->text, *end = r->text + r->text_bytes, *got[3] = { "", "", "" };

	for (size_t i = 0; i < ARRAY_LEN(got) && at < end; i++) {
		got[i] = at;
		at += strlen(at) + 1;
	}
	return (struct policy_record_texts){ got[0], got[1], got[2] };
}

/* --- writing -------------------------------------------------------------------------------- */

size_t policy_ring_bytes(uint32_t records)
{
	return sizeof(struct policy_ring) + (size_t)records * sizeof(struct policy_record);
}

static bool records_fit(uint32_t records)
{
	return records != 0 && (records & (records - 1)) == 0 && records <= POLICY_RING_RECORDS_MAX;
}

void policy_ring_format(void *memory, uint32_t records, uint16_t id, const char *name, int64_t now_us)
{
	struct policy_ring *ring = memory;
	uint64_t first = now_us > 0 ? (uint64_t)now_us / US_PER_SEQUENCE & SEQUENCE_MASK : 0;

	must(records_fit(records));
	ring->abi = POLICY_RING_ABI;
	ring->records = records;
	ring->id = id;
	snprintf(ring->name, sizeof(ring->name), "%s", name);
	ring->first = first == 0 ? 1 : first;
	atomic_store_explicit(&ring->next, ring->first, memory_order_relaxed);
	ring->magic = POLICY_RING_MAGIC;
}

int policy_ring_attach(struct policy_ring_writer *w, int fd, struct errmsg *why)
{
	struct policy_ring *ring;
	struct stat st;
	uint32_t records;

	if (fstat(fd, &st) < 0)
		return errmsg_set(why, -errno, "audit ring");
	if (st.st_size < (off_t)sizeof(*ring))
		return errmsg_say(why, -EBADMSG, "audit ring: too short to be one");
	ring = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (ring == MAP_FAILED)
		return errmsg_set(why, -errno, "audit ring: map it");
	records = ring->records;
	if (ring->magic != POLICY_RING_MAGIC || ring->abi != POLICY_RING_ABI || !records_fit(records) ||
	    policy_ring_bytes(records) != (size_t)st.st_size) {
		munmap(ring, (size_t)st.st_size);
		return errmsg_say(why, -EBADMSG, "audit ring: it is none, or of another version of prickle");
	}
	*w = (struct policy_ring_writer){
		.ring = ring,
		.records = (struct policy_record *)(ring + 1),
		.mask = records - 1,
		.id = ring->id,
		.next = atomic_load_explicit(&ring->next, memory_order_relaxed),
	};
	return 0;
}

void policy_ring_detach(struct policy_ring_writer *w)
{
	if (w->ring != NULL)
		munmap(w->ring, policy_ring_bytes(w->mask + 1));
	*w = (struct policy_ring_writer){ 0 };
}

/* A peer may choose the bytes: a NUL would begin the next text. */
static size_t put_text(char *to, struct slice text, size_t max)
{
	size_t n = MIN(text.len, max);

	if (n != 0)
		memcpy(to, text.ptr, n);
	if (n != 0 && memchr(to, 0, n) != NULL)
		for (size_t i = 0; i < n; i++)
			if (to[i] == '\0')
				to[i] = '?';
	to[n] = '\0';
	return n + 1;
}

/* What `who` and `how` are clipped to when all three do not fit; `what` gets the rest, at least 69 bytes. */
#define WHO_BYTES 64u
#define HOW_BYTES 48u

uint64_t policy_ring_write(struct policy_ring_writer *w, const struct policy_record *r, struct slice who, struct slice what, struct slice how)
{
	struct policy_record *slot;
	uint64_t sequence = w->next;
	size_t room = POLICY_RECORD_TEXT_BYTES - 3, at = 0;

	if (w->ring == NULL)
		return 0;
	slot = &w->records[sequence & w->mask];
	/* Readers that see the old sequence on both sides of their copy saw no byte of what follows. */
	atomic_store_explicit(&slot->sequence, 0, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	memcpy((char *)slot + sizeof(slot->sequence), (const char *)r + sizeof(r->sequence),
	       offsetof(struct policy_record, text) - sizeof(r->sequence));
	if (who.len + what.len + how.len > room) {
		who = slice_head(who, WHO_BYTES);
		how = slice_head(how, HOW_BYTES);
	}
	at += put_text(slot->text + at, who, room);
	at += put_text(slot->text + at, what, room - who.len - how.len);
	at += put_text(slot->text + at, how, room);
	slot->text_bytes = (uint8_t)at;
	atomic_store_explicit(&slot->sequence, sequence, memory_order_release);
	w->next = sequence + 1;
	atomic_store_explicit(&w->ring->next, w->next, memory_order_release);
	return policy_decision_id(w->id, sequence);
}

/* --- reading -------------------------------------------------------------------------------- */

static bool read_all(int fd, void *to, size_t n, uint64_t at)
{
	return pread(fd, to, n, (off_t)at) == (ssize_t)n;
}

static bool read_next(const struct policy_ring_reader *r, uint64_t *next)
{
	return read_all(r->fd, next, sizeof(*next), offsetof(struct policy_ring, next)) && *next <= SEQUENCE_MASK;
}

int policy_ring_open(struct policy_ring_reader *r, int fd, uint16_t id, const char *name, struct errmsg *why)
{
	AUTO_FREE struct policy_ring *head = malloc(sizeof(*head));
	AUTO_FREE struct policy_record *batch = calloc(POLICY_RING_BATCH, sizeof(*batch));
	struct stat st;
	uint64_t next;

	if (head == NULL || batch == NULL)
		return errmsg_set(why, -ENOMEM, "audit ring");
	if (fstat(fd, &st) < 0)
		return errmsg_set(why, -errno, "audit ring");
	if (!read_all(fd, head, sizeof(*head), 0) || head->magic != POLICY_RING_MAGIC || head->abi != POLICY_RING_ABI ||
	    !records_fit(head->records) || policy_ring_bytes(head->records) != (size_t)st.st_size)
		return errmsg_say(why, -EBADMSG, "audit ring: it is none, or of another version of prickle");
	next = atomic_load_explicit(&head->next, memory_order_relaxed);
	*r = (struct policy_ring_reader){
		.fd = fd,
		.mask = head->records - 1,
		.id = id,
		.first = head->first,
		.next = next,
		.at = MAX(head->first, next > head->records ? next - head->records : 1),
		.batch = TAKE_PTR(batch),
	};
	snprintf(r->name, sizeof(r->name), "%s", name);
	return 0;
}

void policy_ring_close(struct policy_ring_reader *r)
{
	free(r->batch);
	if (r->batch != NULL)
		close(r->fd);
	*r = (struct policy_ring_reader){ .fd = -1 };
}

/*
 * Records [at, at + n) of the ring, n at most to its end. Three reads: a record counts when its sequence is the one we want in the first and in
 * the third, since then the second saw it finished and not yet begun anew.
 */
static bool read_batch(struct policy_ring_reader *r, uint64_t at, uint32_t n, struct policy_record *scratch)
{
	uint64_t offset = sizeof(struct policy_ring) + (at & r->mask) * sizeof(struct policy_record);
	bool before[POLICY_RING_BATCH];
	size_t bytes = n * sizeof(struct policy_record);

	if (!read_all(r->fd, scratch, bytes, offset))
		return false;
	for (uint32_t i = 0; i < n; i++)
		before[i] = atomic_load_explicit(&scratch[i].sequence, memory_order_relaxed) == at + i;
	if (!read_all(r->fd, r->batch, bytes, offset) || !read_all(r->fd, scratch, bytes, offset))
		return false;
	for (uint32_t i = 0; i < n; i++)
		if (!before[i] || atomic_load_explicit(&scratch[i].sequence, memory_order_relaxed) != at + i ||
		    !policy_record_valid(&r->batch[i]))
			r->batch[i].result = 0;
	return true;
}

/* The record was written, or even overwritten. A `next` without it is a lie, which shall not lead us far from where records are. */
static bool is_there(const struct policy_ring_reader *r, uint64_t sequence)
{
	uint64_t got;

	return read_all(r->fd, &got, sizeof(got), sizeof(struct policy_ring) + (sequence & r->mask) * sizeof(struct policy_record)) && got >= sequence &&
	       got <= SEQUENCE_MASK;
}

/* Fill the batch. False: nothing there now. */
static bool fill(struct policy_ring_reader *r)
{
	struct policy_record scratch[POLICY_RING_BATCH];
	uint64_t next, oldest;
	uint32_t n;

	if (!read_next(r, &next))
		return false;
	oldest = next > r->mask ? next - r->mask - 1 : 0;
	if (r->at < oldest) {
		bool there = is_there(r, next - 1);
		uint64_t step = there ? oldest - r->at : MIN(oldest - r->at, r->mask + 1ull);

		r->lost += step;
		r->at += step;
		if (!there)
			return false;
	}
	if (r->at >= next)
		return false;
	n = (uint32_t)MIN(next - r->at, (uint64_t)POLICY_RING_BATCH);
	n = MIN(n, r->mask + 1 - (uint32_t)(r->at & r->mask));
	if (!read_batch(r, r->at, n, scratch))
		return false;
	r->batch_at = 0;
	r->batch_count = n;
	return true;
}

bool policy_ring_read(struct policy_ring_reader *r, struct policy_record *out)
{
	/* At most once around: what is lost on the way is counted, and a writer in a hurry does not keep us. */
	for (uint32_t tries = 0; tries <= r->mask; tries++) {
		const struct policy_record *next;

		if (r->batch_at == r->batch_count && !fill(r))
			return false;
		next = &r->batch[r->batch_at++];
		r->at++;
		if (next->result != 0) {
			memcpy(out, next, sizeof(*out));
			atomic_store_explicit(&out->sequence, r->at - 1, memory_order_relaxed);
			return true;
		}
		r->lost++;
	}
	return false;
}
