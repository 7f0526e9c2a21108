/*
 * The compiled policy: what a decision reads. One file on each node, mapped read-only by every process that asks; two banks and a
 * generation that selects one. A decision is one look-up in a dense table [subject][object]: no miss, no lock, no call.
 *
 * The table in a bank is as large as its policy: rows for the subjects in use, each as long as the next power of two above the objects. How
 * many and how long is in the generation, so it is read with it, and a table grows by a flip. The file has room for the limits and is sparse:
 * pages that no policy needed are not there.
 *
 *	0		struct policy_head; the rest of the page is zero
 *	bank_offset[0]	struct policy_bank, cells, subjects, objects, predicates, names
 *	bank_offset[1]	the same
 *
 * The file has its full size from birth, belongs to root, and is changed by content only (policy/store.h). Numbers are in host order: the file
 * never leaves the machine. Labels are numbers that stay with their meaning from epoch to epoch (policy/table/compile.h): whoever holds one
 * across a change is judged by the new epoch, and a label whose definition changed is a new number, so the old one is denied.
 *
 * Reading while a writer flips: read the generation (acquire), read the bank that its lowest bit names, read the generation again behind an
 * acquire fence, and begin anew if it changed. The writer fills only the bank that is not selected, after a store of the generation and a full
 * fence, so a reader that saw one generation twice saw one epoch. Who cannot loop denies.
 *
 * A change goes by two flips: first the intersection of the old and the new epoch, in every copy of the node, then the new one. So at any moment
 * each decision comes from one applied epoch or from the intersection of two neighbours, wherever it is made.
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/slice.h"
#include "policy/language/catalogue.h"
#include "policy/language/language_limits.h"
#include "policy/table/table_limits.h"

#define POLICY_IMAGE_MAGIC 0x54504b50u	/* "PKPT" */
#define POLICY_IMAGE_ABI   2u

/* 16 bytes; a bit is a permission of the object's class. */
struct policy_cell {
	uint32_t allow;			/* unconditionally */
	uint32_t audit;			/* record what is allowed, too; what is refused is always recorded */
	/*
	 * Not allowed, but let through and recorded until the subject's trial ends; of a conditional one, when no predicate holds. Without
	 * what a `never` of the subject names. Never of object 0: what has no label is denied in a trial, too.
	 */
	uint32_t trial;
	uint32_t conditional;		/* allowed when one of the predicates holds; disjoint from allow */
};
_Static_assert(sizeof(struct policy_cell) == 16, "");

struct policy_head {
	uint32_t magic, abi;
	uint64_t file_bytes;
	uint32_t bank_offset[2], bank_bytes;
	uint32_t subjects_max, objects_max;	/* powers of two: how many numbers there can be; cells, up to POLICY_CELLS_MAX */
	uint32_t rest_bytes_max;	/* room for predicates, edges and names together */
	uint8_t boot[16];		/* of /proc/sys/kernel/random/boot_id when it was made: numbers of labels hold for one boot */
	uint8_t spare[8];
	_Atomic uint64_t generation;	/* on a cache line of its own; see POLICY_GENERATION */
	uint8_t spare2[56];
};
_Static_assert(sizeof(struct policy_head) == 128, "the generation begins a cache line");

/* Offsets are from the begin of the bank. */
struct policy_bank {
	uint64_t epoch;			/* 0: the shipped policy */
	uint64_t previous;		/* of an intersection: the older epoch; else 0 */
	uint32_t bytes;			/* used */
	uint32_t subjects, objects;	/* numbers in use are below */
	uint32_t cells;			/* offset: struct policy_cell [subjects][1 << shift]; always POLICY_CELLS_OFFSET */
	uint32_t subject_rows;		/* offset: struct policy_label [subjects] */
	uint32_t object_rows;		/* offset: struct policy_label [objects] */
	uint32_t predicates, predicate_count;	/* offset: struct policy_predicate_row, sorted by subject, object, bit */
	uint32_t enters, enter_count;	/* offset: struct policy_edge, sorted by from, to */
	uint32_t names, names_bytes;	/* offset: texts, each with its NUL; offset 0 of them is "" */
	uint32_t shift;			/* the smallest with objects <= 1 << shift */
	uint32_t spare[12];
};
_Static_assert(sizeof(struct policy_bank) == 120, "cells stay aligned");
#define POLICY_CELLS_OFFSET 128u

/* A subject or an object. A number that is not used any more has kind 0 (retired) and its name alone, for records of earlier epochs. */
struct policy_label {
	uint8_t kind;			/* enum policy_subject_kind or policy_object_kind */
	uint8_t class;			/* enum policy_class, of objects */
	uint16_t port;			/* POLICY_HOST_PORT */
	uint32_t name;			/* in names: "mail.user" */
	uint32_t text, of;		/* in names: as in struct policy_subject and policy_object; 0: any */
	uint32_t spare;
	uint8_t signer[32], sha256[32];	/* all zero: none asked */
	int64_t trial_until;		/* seconds since 1970; 0: none */
	uint32_t spare2[2];
};
_Static_assert(sizeof(struct policy_label) == 104, "");

struct policy_predicate_row {
	uint16_t subject, object;
	uint32_t permission;		/* one bit */
	uint32_t predicates;		/* enum policy_predicate; one that holds is enough */
};
_Static_assert(sizeof(struct policy_predicate_row) == 12, "");

struct policy_edge {
	uint16_t from, to;
	uint32_t seconds;		/* 0: no end */
	uint8_t ticket, audit;
	uint8_t spare[2];
};
_Static_assert(sizeof(struct policy_edge) == 12, "");

/* A mapped table, as a process holds it. */
struct policy_table {
	const struct policy_head *head;
	const struct policy_cell *cells[2];
	const struct policy_bank *bank[2];
	uint32_t subjects_max, objects_max;
	uint32_t cells_max, bank_bytes;
};

/*
 * Check everything of a mapped image that decisions rely on, so that no content of the banks, now or later, can lead outside of it, and fill
 * *out. 0; -EBADMSG with a sentence. bytes is the size of the mapping, which *out borrows.
 */
MUST_USE int policy_table_init(struct policy_table *out, const void *image, size_t bytes, const char **why);

/*
 * For who makes the file, and tests: the size of an image, 0 when it is above the limits (table_limits.h) or a count is no power of two; and an
 * empty one (all denied, epoch 0) in zeroed memory of that size.
 */
size_t policy_image_bytes(uint32_t subjects_max, uint32_t objects_max, uint32_t rest_bytes_max);
void policy_image_format(void *image, uint32_t subjects_max, uint32_t objects_max, uint32_t rest_bytes_max, const uint8_t boot[16]);
/*
 * Content of one bank (policy_compile, policy_intersect) is sound for an image of this size: offsets, order, texts, numbers. bank.ptr is aligned
 * to 8 bytes.
 */
MUST_USE bool policy_bank_valid(const struct policy_head *head, struct slice bank, const char **why);

/*
 * Put content in force, as the only writer of a mapped image (policy_table_init passed): fill the bank that is not selected, then flip. Readers
 * that began after the return see it. 0; -EBADMSG: the content is not valid, and nothing was changed. 4 MiB: 2 ms.
 */
MUST_USE int policy_image_flip(void *image, struct slice bank, const char **why);
/* Content of the selected bank, for its only writer (others see it change); empty when its length is not believable. */
struct slice policy_bank_in_force(const struct policy_table *t);

/*
 * A generation: which bank, how long its rows of cells are and how many, and a count that makes each a new one. In this order, so that a decision
 * takes it apart with few instructions.
 */
#define POLICY_GENERATION(count, subjects, row, bank) ((uint64_t)(count) << 32 | (uint64_t)(subjects) << 16 | (uint64_t)(row) << 1 | (bank))
#define POLICY_BANK(generation)	    ((uint32_t)(generation) & 1u)
#define POLICY_ROW(generation)	    ((uint32_t)(generation) >> 1 & 0x7fffu)
#define POLICY_SUBJECTS(generation) ((uint32_t)(generation) >> 16)
#define POLICY_COUNT(generation)    ((uint32_t)((generation) >> 32))
_Static_assert(POLICY_OBJECT_NUMBERS_MAX <= 0x7fff && POLICY_SUBJECT_NUMBERS_MAX <= 0xffff, "");

/*
 * Where the race test comes between: a reader that it stops for a while, or for stores of the writer (step: for these alone), and the writer before
 * each store.
 */
#ifdef POLICY_RACE_TEST
void policy_race_point(void);
void policy_race_step(void);
void policy_race_store(void);
#else
#define policy_race_point() ((void)0)
#define policy_race_step()  ((void)0)
#define policy_race_store() ((void)0)
#endif

/*
 * Half a cell at once: relaxed, since the generation orders it, but atomic, since a writer may be at it. (The other way round the compiler would
 * be free to read twice.)
 */
typedef uint64_t __attribute__((may_alias)) policy_half;
#define POLICY_HALF(cell, index) __atomic_load_n(&((const policy_half *)(const void *)(cell))[index], __ATOMIC_RELAXED)

/* Where the cell of a pair is. Numbers that this generation has not: at cell 0, of nobody and nothing, which is empty. Never outside of the bank. */
static inline size_t policy_cell_index(const struct policy_table *t, uint64_t generation, uint32_t subject, uint32_t object)
{
	uint32_t row = POLICY_ROW(generation);
	size_t at = (size_t)subject * row + object;

	return __builtin_expect(subject < POLICY_SUBJECTS(generation) && object < row && at < t->cells_max, 1) ? at : 0;
}

/* The cell of a pair; all zero for numbers outside of the table. Some 1 ns. `*epoch` may be NULL. */
static inline struct policy_cell policy_cell_read(const struct policy_table *t, uint32_t subject, uint32_t object, uint64_t *epoch)
{
	struct policy_cell out = { 0 };
	uint64_t generation, first, second;

	do {
		generation = atomic_load_explicit(&t->head->generation, memory_order_acquire);
		const struct policy_cell *cell = &t->cells[POLICY_BANK(generation)][policy_cell_index(t, generation, subject, object)];
		policy_race_point();
		first = POLICY_HALF(cell, 0);
		policy_race_point();
		second = POLICY_HALF(cell, 1);
		policy_race_step();
		if (epoch != NULL)
			*epoch = __atomic_load_n(&t->bank[POLICY_BANK(generation)]->epoch, __ATOMIC_RELAXED);
		atomic_thread_fence(memory_order_acquire);
	} while (__builtin_expect(atomic_load_explicit(&t->head->generation, memory_order_relaxed) != generation, 0));
	memcpy(&out, &first, sizeof(first));
	memcpy((char *)&out + sizeof(first), &second, sizeof(second));
	return out;
}

enum policy_verdict {
	POLICY_DENIED,
	POLICY_ALLOWED,
	POLICY_ALLOWED_AUDITED,		/* and to be recorded */
	POLICY_CONDITIONAL,		/* ask policy_cell_full() for the predicates and evaluate; when none holds, for the trial */
	POLICY_TRIAL,			/* denied, unless policy_trial_holds() says so now: then it goes on and is recorded */
};

/* One permission bit. The fast path is a load, an AND and a branch. */
static inline enum policy_verdict policy_check(const struct policy_table *t, uint32_t subject, uint32_t object, uint32_t permission)
{
	struct policy_cell cell = policy_cell_read(t, subject, object, NULL);

	if (__builtin_expect((cell.allow & ~cell.audit & permission) != 0, 1))
		return POLICY_ALLOWED;
	if ((cell.allow & permission) != 0)
		return POLICY_ALLOWED_AUDITED;
	if ((cell.conditional & permission) != 0)
		return POLICY_CONDITIONAL;
	return (cell.trial & permission) != 0 ? POLICY_TRIAL : POLICY_DENIED;
}

/* All of a decision in one epoch: cell, predicates, trial. Not for the fast path. */
struct policy_full {
	struct policy_cell cell;
	uint32_t predicates;		/* of this permission */
	int64_t trial_until;		/* of the subject */
	uint64_t epoch, previous;
};
struct policy_full policy_cell_full(const struct policy_table *t, uint32_t subject, uint32_t object, uint32_t permission);
/* What is not allowed goes on and is recorded, now (seconds since 1970). */
static inline bool policy_trial_holds(const struct policy_full *full, uint32_t permission, int64_t now_s)
{
	return (full->cell.trial & permission) != 0 && now_s < full->trial_until;
}

/* Numbers of subjects in use are below this. */
static inline uint32_t policy_table_subjects(const struct policy_table *t)
{
	return MIN(POLICY_SUBJECTS(atomic_load_explicit(&t->head->generation, memory_order_relaxed)), t->subjects_max);
}

/* The edge from one subject to another, or false. O(log edges). */
bool policy_edge_find(const struct policy_table *t, uint32_t from, uint32_t to, struct policy_edge *out);

/*
 * Names to numbers; 0 (denied) when nothing fits. Consistent with one epoch each. Longest match wins: for paths the longest tree or the file
 * itself, else exact before "any" (host before port, extension before message). Paths must be absolute and without empty, "." and ".." segments, else 0.
 */
uint32_t policy_object_path(const struct policy_table *t, struct slice path);
/* Absolute, without empty, "." and ".." segments and without a slash at its end; "/" alone is one. */
bool policy_path_normal(struct slice path);
uint32_t policy_object_endpoint(const struct policy_table *t, struct slice host, uint16_t port);
uint32_t policy_object_nic(const struct policy_table *t, struct slice interface);
uint32_t policy_object_message(const struct policy_table *t, struct slice extension, struct slice message);
uint32_t policy_object_single(const struct policy_table *t, enum policy_class class);
uint32_t policy_object_named(const struct policy_table *t, struct slice qualified);
uint32_t policy_subject_named(const struct policy_table *t, struct slice qualified);
/* Of kind POLICY_BY_DIRECTORY, POLICY_ROOT: there may be several; the first by name. */
uint32_t policy_subject_role(const struct policy_table *t, uint8_t kind);
uint32_t policy_subject_group(const struct policy_table *t, struct slice group);
uint32_t policy_subject_service(const struct policy_table *t, struct slice role);
uint32_t policy_subject_program(const struct policy_table *t, struct slice path);
/* The most exact wins: sha256, name and signer, name, signer, any. NULL: has none. */
uint32_t policy_subject_ebpf(const struct policy_table *t, struct slice name, const uint8_t signer[32], const uint8_t sha256[32]);
uint32_t policy_subject_jvm(const struct policy_table *t, struct slice jar, const uint8_t signer[32], const uint8_t sha256[32]);
/* "mail.user" into out; "?" for what is not there. */
void policy_label_name(const struct policy_table *t, bool object, uint32_t number, char *out, size_t out_bytes);
