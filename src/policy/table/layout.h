/*
 * Where the parts of a bank stand. There is one layout for given counts, so checking offsets is comparing them with it.
 */
#pragma once
#include "policy/table/image.h"

struct layout {
	uint64_t subject_rows, object_rows, predicates, enters, names;
};

/* A row of cells for so many objects: the next power of two. */
static inline uint32_t shift_of(uint32_t objects)
{
	uint32_t shift = 0;

	while (((uint64_t)1 << shift) < objects)
		shift++;
	return shift;
}

static inline struct layout layout_of(uint64_t cells, uint64_t subjects, uint64_t objects, uint64_t predicates, uint64_t enters)
{
	struct layout l;

	l.subject_rows = POLICY_CELLS_OFFSET + cells * sizeof(struct policy_cell);
	l.object_rows = l.subject_rows + subjects * sizeof(struct policy_label);
	l.predicates = l.object_rows + objects * sizeof(struct policy_label);
	l.enters = l.predicates + predicates * sizeof(struct policy_predicate_row);
	l.names = l.enters + enters * sizeof(struct policy_edge);
	return l;
}

/* Parts of a bank that does not change, as who compiles or compares has it. policy_bank_valid() held. */
static inline const struct policy_bank *bank_of(struct slice bank)
{
	return (const void *)bank.ptr;
}

static inline const struct policy_cell *bank_cells(struct slice bank)
{
	return (const void *)(bank.ptr + POLICY_CELLS_OFFSET);
}

/* Index of a pair's cell. */
static inline size_t bank_cell(struct slice bank, uint32_t subject, uint32_t object)
{
	return ((size_t)subject << bank_of(bank)->shift) + object;
}

static inline const struct policy_label *bank_subjects(struct slice bank)
{
	return (const void *)(bank.ptr + bank_of(bank)->subject_rows);
}

static inline const struct policy_label *bank_objects(struct slice bank)
{
	return (const void *)(bank.ptr + bank_of(bank)->object_rows);
}

static inline const struct policy_predicate_row *bank_predicates(struct slice bank)
{
	return (const void *)(bank.ptr + bank_of(bank)->predicates);
}

static inline const struct policy_edge *bank_enters(struct slice bank)
{
	return (const void *)(bank.ptr + bank_of(bank)->enters);
}

static inline const char *bank_text(struct slice bank, uint32_t offset)
{
	return (const char *)bank.ptr + bank_of(bank)->names + offset;
}
