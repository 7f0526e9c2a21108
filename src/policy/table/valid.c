/* What a bank must be before it is put in force. Readers do not rely on it for their safety (lookup.c), only for right answers. */
#include "policy/language/policy.h"
#include "policy/table/image.h"
#include "policy/table/layout.h"

static bool no(const char **why, const char *text)
{
	if (why != NULL)
		*why = text;
	return false;
}

static bool zero(const void *p, size_t bytes)
{
	const uint8_t *at = p;

	return bytes == 0 || (at[0] == 0 && memcmp(at, at + 1, bytes - 1) == 0);
}

/* Absolute, without empty, "." and ".." segments; "/" alone is one. */
bool policy_path_normal(struct slice path)
{
	if (path.len == 0 || path.ptr[0] != '/')
		return false;
	if (path.len == 1)
		return true;
	for (struct slice rest = slice_from(path, 1), segment;;) {
		bool more = slice_cut(rest, '/', &segment, &rest);
		if (segment.len == 0 || slice_eq(segment, SLICE(".")) || slice_eq(segment, SLICE("..")))
			return false;
		if (!more)
			return true;
	}
}

static bool label_valid(struct slice bank, const struct policy_label *l, bool object, const char **why)
{
	uint32_t names_bytes = bank_of(bank)->names_bytes;

	if (l->name >= names_bytes || l->text >= names_bytes || l->of >= names_bytes)
		return no(why, "the name of a label is outside of the names");
	if (l->kind == 0)
		return l->class == 0 && l->port == 0 && l->text == 0 && l->of == 0 && l->trial_until == 0 &&
		       zero(l->signer, sizeof(l->signer)) && zero(l->sha256, sizeof(l->sha256)) ?
		       true : no(why, "a label that is gone has a definition");
	if (l->name == 0)
		return no(why, "a label has no name");
	if (!object)
		return l->kind <= POLICY_BY_TICKET && l->class == 0 ? true : no(why, "a subject is of no known kind");
	if (l->kind > POLICY_PLACE || l->class == POLICY_CLASS_NONE || l->class >= POLICY_CLASS_COUNT)
		return no(why, "an object is of no known kind or class");
	if ((l->kind == POLICY_TREE || l->kind == POLICY_PATH) && !policy_path_normal(slice_str(bank_text(bank, l->text))))
		return no(why, "the path of a label is not absolute, or has '.' or '..'");
	return true;
}

static bool cells_valid(struct slice bank, uint64_t *conditional, const char **why)
{
	const struct policy_bank *b = bank_of(bank);
	const struct policy_cell *cells = bank_cells(bank);
	const struct policy_label *subjects = bank_subjects(bank), *objects = bank_objects(bank);
	uint32_t of_class[POLICY_CLASS_COUNT], of_object[POLICY_OBJECT_NUMBERS_MAX];
	size_t row_bytes = sizeof(*cells) << b->shift;

	for (uint32_t i = 0; i < POLICY_CLASS_COUNT; i++)
		of_class[i] = policy_class_permissions((enum policy_class)i);
	for (uint32_t o = 0; o < b->objects; o++)
		of_object[o] = objects[o].kind == 0 ? 0 : of_class[objects[o].class];
	for (uint32_t s = 0; s < b->subjects; s++) {
		const struct policy_cell *row = &cells[bank_cell(bank, s, 0)];
		if (subjects[s].kind == 0) {
			if (!zero(row, row_bytes))
				return no(why, "a subject that is not there has rights");
			continue;
		}
		if (!zero(&row[b->objects], row_bytes - b->objects * sizeof(*row)))
			return no(why, "there are rights on an object that is not there");
		/* The whole row first, without a branch a cell: nearly always all of it is well. */
		uint32_t foreign = 0, contrary = 0;
		for (uint32_t o = 0; o < b->objects; o++) {
			const struct policy_cell *c = &row[o];
			foreign |= (c->allow | c->audit | c->trial | c->conditional) & ~of_object[o];
			contrary |= (c->conditional & c->allow) | (c->trial & c->allow) | (c->audit & ~(c->allow | c->conditional));
			if (__builtin_expect(c->conditional != 0, 0))
				*conditional += (uint64_t)__builtin_popcount(c->conditional);
		}
		if (foreign != 0)
			return no(why, "a cell has a permission that its class has not");
		if (contrary != 0)
			return no(why, "a cell contradicts itself");
	}
	return true;
}

/* Each conditional bit has its row: they are as many, in order, and each names one. */
static bool predicates_valid(struct slice bank, uint64_t conditional, const char **why)
{
	const struct policy_bank *b = bank_of(bank);
	const struct policy_predicate_row *rows = bank_predicates(bank);

	if (conditional != b->predicate_count)
		return no(why, "conditions and predicates do not fit");
	for (uint32_t i = 0; i < b->predicate_count; i++) {
		const struct policy_predicate_row *r = &rows[i], *before = i == 0 ? NULL : &rows[i - 1];
		if (r->subject >= b->subjects || r->object >= b->objects || !(r->permission != 0 && (r->permission & (r->permission - 1)) == 0) ||
		    (bank_cells(bank)[bank_cell(bank, r->subject, r->object)].conditional & r->permission) == 0 ||
		    r->predicates == 0 || (r->predicates & ~POLICY_PREDICATES_ALL) != 0)
			return no(why, "a predicate belongs to nothing");
		if (before != NULL && (before->subject > r->subject ||
				       (before->subject == r->subject &&
					(before->object > r->object || (before->object == r->object && before->permission >= r->permission)))))
			return no(why, "predicates are not in order");
	}
	return true;
}

static bool enters_valid(struct slice bank, const char **why)
{
	const struct policy_bank *b = bank_of(bank);
	const struct policy_edge *edges = bank_enters(bank);

	for (uint32_t i = 0; i < b->enter_count; i++) {
		const struct policy_edge *e = &edges[i], *before = i == 0 ? NULL : &edges[i - 1];
		if (e->from >= b->subjects || e->to >= b->subjects || bank_subjects(bank)[e->from].kind == 0 ||
		    bank_subjects(bank)[e->to].kind == 0 || e->ticket > 1 || e->audit > 1)
			return no(why, "an edge leads nowhere");
		if (before != NULL && (before->from > e->from || (before->from == e->from && before->to >= e->to)))
			return no(why, "edges are not in order");
	}
	return true;
}

bool policy_bank_valid(const struct policy_head *head, struct slice bank, const char **why)
{
	const struct policy_bank *b = bank_of(bank);
	uint64_t conditional = 0;

	if (bank.len < sizeof(*b) || bank.len > head->bank_bytes || b->bytes != bank.len || ((uintptr_t)bank.ptr & 7u) != 0)
		return no(why, "its length is not what it says");
	if (b->subjects == 0 || b->subjects > head->subjects_max || b->objects == 0 || b->objects > head->objects_max ||
	    b->predicate_count > head->rest_bytes_max || b->enter_count > head->rest_bytes_max)
		return no(why, "it has more labels than the table");
	if (b->shift != shift_of(b->objects) || (uint64_t)b->subjects << b->shift > POLICY_CELLS_MAX)
		return no(why, "its table has a size that cannot be");
	struct layout l = layout_of((uint64_t)b->subjects << b->shift, b->subjects, b->objects, b->predicate_count, b->enter_count);
	if (b->cells != POLICY_CELLS_OFFSET || b->subject_rows != l.subject_rows || b->object_rows != l.object_rows ||
	    b->predicates != l.predicates || b->enters != l.enters || b->names != l.names || b->names_bytes == 0 ||
	    l.names + b->names_bytes != bank.len || bank.len - l.predicates > head->rest_bytes_max)
		return no(why, "its parts are not where they belong");
	if (*bank_text(bank, 0) != '\0' || *bank_text(bank, b->names_bytes - 1) != '\0')
		return no(why, "its last name does not end");
	if (!zero(bank_subjects(bank), sizeof(struct policy_label)) || !zero(bank_objects(bank), sizeof(struct policy_label)))
		return no(why, "number 0 is somebody");
	for (uint32_t i = 1; i < b->subjects; i++)
		if (!label_valid(bank, &bank_subjects(bank)[i], false, why))
			return false;
	for (uint32_t i = 1; i < b->objects; i++)
		if (!label_valid(bank, &bank_objects(bank)[i], true, why))
			return false;
	return cells_valid(bank, &conditional, why) && predicates_valid(bank, conditional, why) && enters_valid(bank, why);
}
