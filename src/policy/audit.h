/*
 * The audit: records of decisions in rings of memory, one ring a process, read by the role `audit` (which keeps them in a log), by
 * `prickle policy audit` and `explain`. Writing never waits and never fails: the ring overwrites its oldest records, and readers count what they missed.
 *
 * A ring is a file of the store's run directory: struct policy_ring, then records. Its writer is a stranger to readers: they believe no number in it.
 */
#pragma once
#include <stdatomic.h>

#include "base/errmsg.h"
#include "base/slice.h"
#include "policy/language/catalogue.h"
#include "policy/policy_limits.h"

enum policy_result {
	POLICY_RESULT_DENIED = 1,
	POLICY_RESULT_ALLOWED,		/* audit always */
	POLICY_RESULT_TRIAL,		/* would be denied */
	POLICY_RESULT_ENTERED, POLICY_RESULT_LEFT,	/* domain transfer: subject -> object is the label */
	POLICY_RESULT_TICKET,		/* one was given */
	POLICY_RESULT_APPLIED,		/* a new epoch */
	POLICY_RESULT_COUNT
};

#define POLICY_RECORD_TEXT_BYTES 184u

/* 256 bytes. */
struct policy_record {
	_Atomic uint64_t sequence;	/* of this ring, from 1; written last: odd reads are torn ones */
	uint64_t time_us;		/* since 1970 */
	uint64_t epoch;
	uint32_t subject, object;	/* numbers of labels in this epoch */
	uint32_t permission;
	uint8_t class, result;
	uint8_t chain_count;		/* labels that were entered before, oldest first */
	uint8_t text_bytes;
	uint16_t chain[8];
	uint32_t predicates;		/* that were asked and did not hold */
	uint32_t insn;			/* eBPF: the instruction */
	uint8_t spare[8];
	/* Three texts, each NUL-ended: who ("ann@example.org", "uid 1000", extension), on what ("bob@example.org INBOX", path), how (command) */
	char text[POLICY_RECORD_TEXT_BYTES];
};
_Static_assert(sizeof(struct policy_record) == 256, "");

struct policy_ring {
	uint32_t magic, abi;
	uint32_t records;		/* a power of two */
	uint16_t id;			/* unique among the rings of a store: upper 16 bits of decision ids */
	uint16_t spare;
	char name[32];			/* of the process: "front 0" */
	uint64_t first;			/* sequence of the first record ever */
	uint8_t spare2[8];
	_Atomic uint64_t next;		/* sequence of the next record */
	uint8_t spare3[4096 - 72];
};
_Static_assert(sizeof(struct policy_ring) == 4096, "");

#define POLICY_RING_MAGIC   0x52504b50u	/* "PKPR" */
#define POLICY_RING_ABI	    1u
#define POLICY_RING_RECORDS 4096u	/* of each process: 1 MiB; the role `audit` looks every quarter of a second */

size_t policy_ring_bytes(uint32_t records);
/* Lay out an empty ring in zeroed memory, for who makes the file. records: a power of two up to the maximum; name is clipped. */
void policy_ring_format(void *memory, uint32_t records, uint16_t id, const char *name, int64_t now_us);

/* A decision id: ring and sequence, as people see it: "3-1f20a". Sequences begin at the time of the ring's birth, so ids are not used again. */
uint64_t policy_decision_id(uint16_t ring, uint64_t sequence);
void policy_decision_text(uint64_t id, char out[24]);
MUST_USE bool policy_decision_parse(struct slice text, uint64_t *id);
/* 1 to 12 hexadecimal digits, at most max. */
MUST_USE bool policy_hex(struct slice digits, uint64_t max, uint64_t *out);

struct policy_ring_writer {
	struct policy_ring *ring;
	struct policy_record *records;
	uint32_t mask;
	uint16_t id;
	uint64_t next;			/* ours; the ring's is for readers */
};
/* Map a ring that we were given (descriptor, writable), as its only writer. */
MUST_USE int policy_ring_attach(struct policy_ring_writer *w, int fd, struct errmsg *why);
void policy_ring_detach(struct policy_ring_writer *w);
/* Write one: fields of *r but sequence; texts are clipped. Returns the decision's id. Some 50 ns, no system call. */
uint64_t policy_ring_write(struct policy_ring_writer *w, const struct policy_record *r, struct slice who, struct slice what, struct slice how);

/*
 * Reads with pread: the writer could shorten its file, which would end a reader that had mapped it. Records come in batches.
 */
#define POLICY_RING_BATCH 32u
struct policy_ring_reader {
	int fd;				/* ours */
	uint32_t mask;
	uint16_t id;
	char name[32];
	uint64_t first, next;		/* sequences of its first record ever and of its next, as its writer said when it was opened */
	uint64_t at, lost;		/* the next record to give; how many were overwritten before we came */
	struct policy_record *batch;	/* [POLICY_RING_BATCH] */
	uint32_t batch_at, batch_count;
};
/*
 * Takes over fd on success. Begins at the oldest record that is there. id, name: who gave the ring its file knows them; what it says of itself is its
 * writer's. -EBADMSG: no ring.
 */
MUST_USE int policy_ring_open(struct policy_ring_reader *r, int fd, uint16_t id, const char *name, struct errmsg *why);
void policy_ring_close(struct policy_ring_reader *r);
/* The next record, copied and made safe to read; false: none yet. r->lost grows by what was overwritten. */
bool policy_ring_read(struct policy_ring_reader *r, struct policy_record *out);
/* A record as read from anywhere (ring, log) is sound: texts end, counts are in bounds. */
MUST_USE bool policy_record_valid(const struct policy_record *r);
/* The texts of a record that is sound; "" for those that it lacks. */
struct policy_record_texts { const char *who, *what, *how; };
struct policy_record_texts policy_record_texts(const struct policy_record *r);
const char *policy_result_name(uint8_t result);	/* "denied"; "?" */
