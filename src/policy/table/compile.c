#include "policy/table/compile.h"

#include <errno.h>
#include <stdlib.h>

#include "base/map.h"
#include "policy/table/layout.h"

/* Numbers of one kind of label: subjects or objects. */
struct numbers {
	uint32_t *of;			/* [index in the policy] */
	uint32_t count;			/* numbers in use, with 0 and those that are gone */
	struct policy_label *rows;	/* [count] */
};

struct work {
	struct arena *arena;
	const struct policy *policy;
	const struct policy_head *head;
	uint32_t shift;			/* of a row of cells */
	struct slice previous;
	struct errmsg *why;
	struct numbers subjects, objects;
	struct buf names;
	/* Predicates by subject's number, as two masks of permissions an object; NULL: none. */
	uint32_t (**conditions)[2];
	uint64_t predicate_count;
	struct policy_edge *edges;
	uint32_t edge_count;
};

/* Offset of a text in the names; 0 for none and for "". */
static uint32_t name_add(struct buf *names, const char *text)
{
	size_t at = names->len;

	if (text == NULL || text[0] == '\0')
		return 0;
	buf_add(names, slice_of(text, strlen(text) + 1));
	return (uint32_t)at;
}

/* What a row says, with texts as pointers: from a policy or from the bank before. */
struct definition {
	const char *name, *text, *of;
	uint8_t kind, class;
	uint16_t port;
	const uint8_t *signer, *sha256;
	int64_t trial_until;
};

static const uint8_t no_key[32];

static struct definition of_policy(const struct policy *p, bool object, size_t index)
{
	if (object) {
		const struct policy_object *o = &p->objects[index];
		return (struct definition){ .name = o->name, .text = o->text, .of = o->of, .kind = (uint8_t)o->kind, .class = (uint8_t)o->class,
					    .port = o->port, .signer = no_key, .sha256 = no_key };
	}
	const struct policy_subject *s = &p->subjects[index];
	return (struct definition){ .name = s->name, .text = s->text, .kind = (uint8_t)s->kind, .signer = s->signer != NULL ? s->signer : no_key,
				    .sha256 = s->sha256 != NULL ? s->sha256 : no_key, .trial_until = s->trial_until };
}

static struct definition of_bank(struct slice bank, const struct policy_label *l)
{
	return (struct definition){ .name = bank_text(bank, l->name), .text = bank_text(bank, l->text), .of = bank_text(bank, l->of),
				    .kind = l->kind, .class = l->class, .port = l->port, .signer = l->signer, .sha256 = l->sha256,
				    .trial_until = l->trial_until };
}

static bool text_same(const char *a, const char *b)
{
	return strcmp(a == NULL ? "" : a, b == NULL ? "" : b) == 0;
}

/* The same label under the same definition. A trial is a matter of rights, not of who it is. */
static bool same(const struct definition *a, const struct definition *b)
{
	return a->kind == b->kind && a->class == b->class && a->port == b->port && text_same(a->name, b->name) && text_same(a->text, b->text) &&
	       text_same(a->of, b->of) && memcmp(a->signer, b->signer, 32) == 0 && memcmp(a->sha256, b->sha256, 32) == 0;
}

static void row_write(struct policy_label *row, struct buf *names, const struct definition *d)
{
	*row = (struct policy_label){ .kind = d->kind, .class = d->class, .port = d->port, .name = name_add(names, d->name),
				      .text = name_add(names, d->text), .of = name_add(names, d->of), .trial_until = d->trial_until };
	memcpy(row->signer, d->signer, sizeof(row->signer));
	memcpy(row->sha256, d->sha256, sizeof(row->sha256));
}

struct known {
	struct map_node node;
	struct definition d;
	uint32_t number;
	bool kept;
};

/* Numbers of before by name: at most one of each name is in use. */
static int known_load(struct work *w, bool object, struct map *map, struct known *known, uint32_t count)
{
	const struct policy_label *rows = count == 0 ? NULL : object ? bank_objects(w->previous) : bank_subjects(w->previous);

	for (uint32_t i = 1; i < count; i++) {
		known[i].d = of_bank(w->previous, &rows[i]);
		known[i].number = i;
		if (rows[i].kind != 0 && map_add(map, &known[i].node, map_hash(slice_str(known[i].d.name))) != 0)
			return -ENOMEM;
	}
	return 0;
}

static uint32_t known_find(const struct map *map, const struct definition *d)
{
	uint64_t hash = map_hash(slice_str(d->name));

	for (struct map_node *n = map_first(map, hash); n != NULL; n = map_next(n, hash)) {
		struct known *k = container_of(n, struct known, node);
		if (!k->kept && same(&k->d, d)) {
			k->kept = true;
			return k->number;
		}
	}
	return 0;
}

static int number(struct work *w, bool object)
{
	struct numbers *n = object ? &w->objects : &w->subjects;
	size_t label_count = object ? w->policy->object_count : w->policy->subject_count;
	uint32_t max = object ? w->head->objects_max : w->head->subjects_max;
	uint32_t before = w->previous.len == 0 ? 0 : object ? bank_of(w->previous)->objects : bank_of(w->previous)->subjects;
	struct known *known = arena_array(w->arena, before + 1, sizeof(*known));
	struct map map = { 0 };
	int err;

	n->of = arena_array(w->arena, label_count + 1, sizeof(*n->of));
	n->count = MAX(before, 1u);
	if (known == NULL || n->of == NULL || (err = known_load(w, object, &map, known, before)) != 0) {
		map_done(&map);
		return errmsg_set(w->why, -ENOMEM, "numbers of labels");
	}
	for (size_t i = 1; i < label_count; i++) {
		struct definition d = of_policy(w->policy, object, i);
		n->of[i] = known_find(&map, &d);
	}
	map_done(&map);
	for (size_t i = 1; i < label_count; i++)
		if (n->of[i] == 0)
			n->of[i] = n->count++;
	if (n->count > max)
		return errmsg_say(w->why, -E2BIG,
				  "the table in memory has numbers for %u %s, and with those of earlier epochs this policy needs %u; numbers are given "
				  "anew when the machine starts",
				  max - 1, object ? "objects" : "subjects", n->count - 1);
	n->rows = arena_array(w->arena, n->count, sizeof(*n->rows));
	if (n->rows == NULL)
		return errmsg_set(w->why, -ENOMEM, "labels");
	/* Those that are gone keep their names. */
	for (uint32_t i = 1; i < before; i++)
		if (!known[i].kept)
			n->rows[i].name = name_add(&w->names, known[i].d.name);
	for (size_t i = 1; i < label_count; i++) {
		struct definition d = of_policy(w->policy, object, i);
		row_write(&n->rows[n->of[i]], &w->names, &d);
	}
	return 0;
}

static struct policy_cell *row_of(const struct work *w, struct policy_cell *cells, uint16_t subject)
{
	return &cells[(size_t)w->subjects.of[subject] << w->shift];
}

/* The masks of predicates of a subject, made when first asked for. */
static uint32_t (*conditions_of(struct work *w, uint16_t subject))[2]
{
	uint32_t(**at)[2] = &w->conditions[w->subjects.of[subject]];

	if (*at == NULL)
		*at = arena_array(w->arena, w->objects.count, sizeof(**at));
	return *at;
}

static int allow(struct work *w, struct policy_cell *cells, const struct policy_rule *r)
{
	for (size_t s = 0; s < r->subject_count; s++) {
		struct policy_cell *row = row_of(w, cells, r->subjects[s]);
		uint32_t(*conditions)[2] = NULL;
		if (r->predicates != 0 && (conditions = conditions_of(w, r->subjects[s])) == NULL)
			return errmsg_set(w->why, -ENOMEM, "predicates");
		for (size_t o = 0; o < r->object_count; o++) {
			uint32_t object = w->objects.of[r->objects[o]];
			struct policy_cell *cell = &row[object];
			if (r->audit)
				cell->audit |= r->permissions;
			if (conditions == NULL) {
				cell->allow |= r->permissions;
				continue;
			}
			cell->conditional |= r->permissions;
			for (uint32_t i = 0; i < 2; i++)
				if ((r->predicates & (1u << i)) != 0)
					conditions[object][i] |= r->permissions;
		}
	}
	return 0;
}

/* What a trial lets through: all that the class has, without what a `never` of the subject names. Before the rest of the cell is known. */
static void trial(struct work *w, struct policy_cell *cells)
{
	const struct policy *p = w->policy;
	bool any = false;

	for (size_t s = 1; s < p->subject_count; s++) {
		if (p->subjects[s].trial_until == 0)
			continue;
		any = true;
		for (size_t o = 1; o < p->object_count; o++)
			row_of(w, cells, (uint16_t)s)[w->objects.of[o]].trial = policy_class_permissions(p->objects[o].class);
	}
	for (size_t i = 0; any && i < p->never_count; i++) {
		const struct policy_rule *r = &p->nevers[i];
		for (size_t s = 0; s < r->subject_count; s++)
			for (size_t o = 0; o < r->object_count; o++)
				row_of(w, cells, r->subjects[s])[w->objects.of[r->objects[o]]].trial &= ~r->permissions;
	}
}

/* Rules in, cells out; each of them is left in its one form: unconditional covers conditional, and only what is let through is audited. */
static int fill(struct work *w, struct policy_cell *cells)
{
	const struct policy *p = w->policy;
	int err;

	trial(w, cells);
	for (size_t i = 0; i < p->allow_count; i++)
		if ((err = allow(w, cells, &p->allows[i])) != 0)
			return err;
	for (size_t i = 0; i < p->audit_count; i++) {
		const struct policy_audit *a = &p->audits[i];
		for (size_t s = 0; s < a->subject_count; s++)
			for (size_t o = 0; o < a->object_count; o++)
				row_of(w, cells, a->subjects[s])[w->objects.of[a->objects[o]]].audit |= a->permissions;
	}
	for (uint32_t s = 1; s < w->subjects.count; s++) {
		struct policy_cell *row = &cells[(size_t)s << w->shift];
		for (uint32_t o = 1; o < w->objects.count; o++) {
			struct policy_cell *c = &row[o];
			c->conditional &= ~c->allow;
			c->trial &= ~c->allow;
			c->audit &= c->allow | c->conditional;
			if (c->conditional != 0)
				w->predicate_count += (uint64_t)__builtin_popcount(c->conditional);
		}
	}
	return 0;
}

static void predicates_write(const struct work *w, const struct policy_cell *cells, struct policy_predicate_row *out)
{
	for (uint32_t s = 1; s < w->subjects.count; s++) {
		const struct policy_cell *row = &cells[(size_t)s << w->shift];
		for (uint32_t o = 1; w->conditions[s] != NULL && o < w->objects.count; o++)
			for (uint32_t left = row[o].conditional; left != 0; left &= left - 1) {
				uint32_t bit = left & -left;
				*out++ = (struct policy_predicate_row){
					.subject = (uint16_t)s, .object = (uint16_t)o, .permission = bit,
					.predicates = ((w->conditions[s][o][0] & bit) != 0 ? 1u : 0) | ((w->conditions[s][o][1] & bit) != 0 ? 2u : 0),
				};
			}
	}
}

static int edge_order(const void *a, const void *b)
{
	const struct policy_edge *x = a, *y = b;
	uint32_t x_end = x->seconds == 0 ? UINT32_MAX : x->seconds, y_end = y->seconds == 0 ? UINT32_MAX : y->seconds;

	if (x->from != y->from)
		return x->from < y->from ? -1 : 1;
	if (x->to != y->to)
		return x->to < y->to ? -1 : 1;
	if (x->ticket != y->ticket)
		return x->ticket < y->ticket ? -1 : 1;
	return x_end > y_end ? -1 : x_end < y_end;
}

/*
 * One edge for each pair. Of several the one without a ticket counts, then the longest: never more than some statement says, and recorded when one
 * of them says so.
 */
static int edges(struct work *w)
{
	const struct policy *p = w->policy;

	w->edges = arena_array(w->arena, p->enter_count + 1, sizeof(*w->edges));
	if (w->edges == NULL)
		return errmsg_set(w->why, -ENOMEM, "edges");
	for (size_t i = 0; i < p->enter_count; i++)
		w->edges[i] = (struct policy_edge){
			.from = (uint16_t)w->subjects.of[p->enters[i].from], .to = (uint16_t)w->subjects.of[p->enters[i].to],
			.seconds = p->enters[i].seconds, .ticket = p->enters[i].ticket, .audit = p->enters[i].audit,
		};
	qsort(w->edges, p->enter_count, sizeof(*w->edges), edge_order);
	for (size_t i = 0; i < p->enter_count; i++) {
		struct policy_edge *last = w->edge_count == 0 ? NULL : &w->edges[w->edge_count - 1];
		if (last != NULL && last->from == w->edges[i].from && last->to == w->edges[i].to)
			last->audit |= w->edges[i].audit;
		else
			w->edges[w->edge_count++] = w->edges[i];
	}
	return 0;
}

static int compile(struct work *w, uint64_t epoch, struct buf *out)
{
	uint64_t cells;
	int err;

	buf_addc(&w->names, '\0');
	if ((err = number(w, false)) != 0 || (err = number(w, true)) != 0 || (err = edges(w)) != 0)
		return err;
	if (w->names.err != 0)
		return errmsg_set(w->why, w->names.err == -EMSGSIZE ? -E2BIG : w->names.err, "names of labels");
	w->shift = shift_of(w->objects.count);
	cells = (uint64_t)w->subjects.count << w->shift;
	if (cells > POLICY_CELLS_MAX)
		return errmsg_say(w->why, -E2BIG, "a table of %u subjects and %u objects, those of earlier epochs among them, is above the limit of %u cells; "
				  "numbers are given anew when the machine starts", w->subjects.count - 1, w->objects.count - 1, POLICY_CELLS_MAX);
	w->conditions = arena_array(w->arena, w->subjects.count, sizeof(*w->conditions));
	struct layout l = layout_of(cells, w->subjects.count, w->objects.count, 0, 0);
	if (w->conditions == NULL || buf_room(out, l.predicates) == NULL)
		return errmsg_set(w->why, -ENOMEM, "a table of %zu bytes", (size_t)l.predicates);
	buf_fill(out, 0, l.predicates);
	if ((err = fill(w, (void *)(out->ptr + POLICY_CELLS_OFFSET))) != 0)
		return err;

	l = layout_of(cells, w->subjects.count, w->objects.count, w->predicate_count, w->edge_count);
	size_t bytes = l.names + w->names.len;
	if (bytes - l.predicates > w->head->rest_bytes_max)
		return errmsg_say(w->why, -E2BIG,
				  "the table in memory has room for %u bytes of predicates, edges and names, and this policy, with the names of earlier "
				  "epochs, needs %zu; those are forgotten when the machine starts",
				  w->head->rest_bytes_max, bytes - (size_t)l.predicates);
	buf_fill(out, 0, bytes - out->len);
	if (out->err != 0)
		return errmsg_set(w->why, -ENOMEM, "a table of %zu bytes", bytes);
	struct policy_bank *bank = (void *)out->ptr;
	*bank = (struct policy_bank){
		.epoch = epoch, .bytes = (uint32_t)bytes, .subjects = w->subjects.count, .objects = w->objects.count, .cells = POLICY_CELLS_OFFSET,
		.subject_rows = (uint32_t)l.subject_rows, .object_rows = (uint32_t)l.object_rows, .predicates = (uint32_t)l.predicates,
		.predicate_count = (uint32_t)w->predicate_count, .enters = (uint32_t)l.enters, .enter_count = w->edge_count,
		.names = (uint32_t)l.names, .names_bytes = (uint32_t)w->names.len, .shift = w->shift,
	};
	memcpy(out->ptr + l.subject_rows, w->subjects.rows, w->subjects.count * sizeof(struct policy_label));
	memcpy(out->ptr + l.object_rows, w->objects.rows, w->objects.count * sizeof(struct policy_label));
	predicates_write(w, (const void *)(out->ptr + POLICY_CELLS_OFFSET), (void *)(out->ptr + l.predicates));
	memcpy(out->ptr + l.enters, w->edges, w->edge_count * sizeof(struct policy_edge));
	memcpy(out->ptr + l.names, w->names.ptr, w->names.len);
	return 0;
}

int policy_compile(struct arena *arena, const struct policy *p, uint64_t epoch, const struct policy_head *head, struct slice previous,
		   struct buf *out, struct errmsg *why)
{
	struct work w = { .arena = arena, .policy = p, .head = head, .previous = previous, .why = why, .names = BUF_INIT(POLICY_REST_BYTES_MAX) };
	const char *text;

	if (previous.len != 0 && !policy_bank_valid(head, previous, &text))
		return errmsg_say(why, -EBADMSG, "the policy before is damaged: %s", text);
	int err = compile(&w, epoch, out);
	buf_done(&w.names);
	return err;
}

uint32_t policy_number_of(struct slice bank, const struct policy *p, bool object, uint16_t index)
{
	const struct policy_label *rows = object ? bank_objects(bank) : bank_subjects(bank);
	uint32_t count = object ? bank_of(bank)->objects : bank_of(bank)->subjects;
	const char *name = object ? p->objects[index].name : p->subjects[index].name;

	for (uint32_t i = 1; index != 0 && i < count; i++)
		if (rows[i].kind != 0 && strcmp(bank_text(bank, rows[i].name), name) == 0)
			return i;
	return 0;
}
