/*
 * Names to numbers, and all of a decision, while a writer may be at work.
 *
 * A search runs over a view: the header of the selected bank, copied, then checked against the size of the bank. Each byte behind it is read
 * atomically and within those bounds, so a bank that is being replaced, or that holds anything at all, gives a wrong answer at worst; the answer counts
 * when the generation did not change meanwhile.
 */
#include "policy/language/policy.h"
#include "policy/table/image.h"

struct view {
	const uint8_t *base;
	uint64_t generation;
	struct policy_bank bank;	/* all zero when it is not sound: then nothing is found */
};

static void copy(void *out, const void *from, size_t bytes)
{
	for (size_t i = 0; i < bytes / 8; i++) {
		policy_race_step();
		((policy_half *)out)[i] = __atomic_load_n(&((const policy_half *)from)[i], __ATOMIC_RELAXED);
	}
}

static bool inside(uint32_t offset, uint32_t count, size_t size, uint32_t align, uint32_t bytes)
{
	return offset % align == 0 && offset <= bytes && (uint64_t)count * size <= bytes - offset;
}

static void view_begin(struct view *v, const struct policy_table *t)
{
	v->generation = atomic_load_explicit(&t->head->generation, memory_order_acquire);
	v->base = (const void *)t->bank[POLICY_BANK(v->generation)];
	policy_race_point();
	copy(&v->bank, v->base, sizeof(v->bank));
	policy_race_point();

	const struct policy_bank *b = &v->bank;
	if (b->subjects > t->subjects_max || b->objects > t->objects_max ||
	    !inside(b->subject_rows, b->subjects, sizeof(struct policy_label), 8, t->bank_bytes) ||
	    !inside(b->object_rows, b->objects, sizeof(struct policy_label), 8, t->bank_bytes) ||
	    !inside(b->predicates, b->predicate_count, sizeof(struct policy_predicate_row), 4, t->bank_bytes) ||
	    !inside(b->enters, b->enter_count, sizeof(struct policy_edge), 4, t->bank_bytes) ||
	    !inside(b->names, b->names_bytes, 1, 1, t->bank_bytes))
		v->bank = (struct policy_bank){ 0 };
}

/* Nothing changed since view_begin: what was found counts. */
static bool view_same(const struct view *v, const struct policy_table *t)
{
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&t->head->generation, memory_order_relaxed) == v->generation;
}

static uint32_t word(const struct view *v, size_t offset)
{
	policy_race_step();
	return __atomic_load_n((const uint32_t *)(const void *)(v->base + offset), __ATOMIC_RELAXED);
}

/* A byte of the names; 0 beyond them, so that every text ends. */
static uint8_t name_byte(const struct view *v, uint32_t offset)
{
	return offset < v->bank.names_bytes ? __atomic_load_n(v->base + v->bank.names + offset, __ATOMIC_RELAXED) : 0;
}

/* How many bytes of the text at `offset` are those of s: s.len when it begins with s. */
static size_t common(const struct view *v, uint32_t offset, struct slice s)
{
	size_t i = 0;

	while (i < s.len && s.ptr[i] != '\0' && name_byte(v, offset + (uint32_t)i) == s.ptr[i])
		i++;
	return i;
}

static bool name_is(const struct view *v, uint32_t offset, struct slice s)
{
	return common(v, offset, s) == s.len && name_byte(v, offset + (uint32_t)s.len) == '\0';
}

static bool name_is_nocase(const struct view *v, uint32_t offset, struct slice s)
{
	for (uint32_t i = 0; i < s.len; i++)
		if (s.ptr[i] == '\0' || ascii_lower(name_byte(v, offset + i)) != ascii_lower(s.ptr[i]))
			return false;
	return name_byte(v, offset + (uint32_t)s.len) == '\0';
}

/* The name at a comes before the one at b. */
static bool name_before(const struct view *v, uint32_t a, uint32_t b)
{
	uint8_t x, y;

	do {
		x = name_byte(v, a++);
		y = name_byte(v, b++);
	} while (x == y && x != '\0');
	return x < y;
}

/* What is asked for, and how a label fits: 0 not at all; the highest rank wins, among equals the first by name. */
struct ask {
	uint8_t kind, class;
	uint16_t port;
	struct slice text, of;
	const uint8_t *signer, *sha256;
};
typedef uint32_t rank_fn(const struct view *v, const struct policy_label *l, const struct ask *ask);

static uint32_t search(const struct policy_table *t, bool object, rank_fn *rank, const struct ask *ask)
{
	struct view v;
	uint32_t best;

	do {
		view_begin(&v, t);
		uint32_t rows = object ? v.bank.object_rows : v.bank.subject_rows, count = object ? v.bank.objects : v.bank.subjects;
		uint32_t best_rank = 0, best_name = 0;
		best = 0;
		for (uint32_t i = 1; i < count; i++) {
			const uint8_t *at = v.base + rows + (size_t)i * sizeof(struct policy_label);
			struct policy_label l;
			copy(&l, at, 16);	/* kind to of; keys only for those who have any */
			if (l.kind == 0 || (ask->kind != 0 && l.kind != ask->kind))
				continue;
			if (l.kind == POLICY_EBPF || l.kind == POLICY_JVM)
				copy(&l, at, sizeof(l));
			uint32_t r = rank(&v, &l, ask);
			if (r > best_rank || (r != 0 && r == best_rank && name_before(&v, l.name, best_name))) {
				best = i;
				best_rank = r;
				best_name = l.name;
			}
		}
	} while (!view_same(&v, t));
	return best;
}

static uint32_t rank_path(const struct view *v, const struct policy_label *l, const struct ask *ask)
{
	if (l->kind == POLICY_PATH)
		return name_is(v, l->text, ask->text) ? (uint32_t)ask->text.len * 2 + 1 : 0;
	if (l->kind != POLICY_TREE)
		return 0;
	uint32_t n = (uint32_t)common(v, l->text, ask->text);
	if (n == 0 || name_byte(v, l->text + n) != '\0')
		return 0;
	/* A tree ends where a segment does; the root's own text ends in its slash. */
	return n == 1 || n == ask->text.len || ask->text.ptr[n] == '/' ? n * 2 : 0;
}

uint32_t policy_object_path(const struct policy_table *t, struct slice path)
{
	const struct ask ask = { .text = path };

	return policy_path_normal(path) && path.len <= POLICY_PATH_BYTES_MAX ? search(t, true, rank_path, &ask) : 0;
}

static uint32_t rank_endpoint(const struct view *v, const struct policy_label *l, const struct ask *ask)
{
	uint32_t rank = 1;

	if (l->text != 0) {
		if (!name_is_nocase(v, l->text, ask->text))
			return 0;
		rank += 2;
	}
	if (l->port != 0) {
		if (l->port != ask->port)
			return 0;
		rank += 1;
	}
	return rank;
}

uint32_t policy_object_endpoint(const struct policy_table *t, struct slice host, uint16_t port)
{
	const struct ask ask = { .kind = POLICY_HOST_PORT, .text = host, .port = port };

	return search(t, true, rank_endpoint, &ask);
}

/* Exact before any. */
static uint32_t rank_text(const struct view *v, const struct policy_label *l, const struct ask *ask)
{
	return l->text == 0 ? 1 : name_is(v, l->text, ask->text) ? 2 : 0;
}

uint32_t policy_object_nic(const struct policy_table *t, struct slice interface)
{
	const struct ask ask = { .kind = POLICY_NIC, .text = interface };

	return search(t, true, rank_text, &ask);
}

static uint32_t rank_message(const struct view *v, const struct policy_label *l, const struct ask *ask)
{
	uint32_t rank = rank_text(v, l, ask);

	if (l->of == 0)
		return rank;
	return rank != 0 && name_is(v, l->of, ask->of) ? rank + 2 : 0;
}

uint32_t policy_object_message(const struct policy_table *t, struct slice extension, struct slice message)
{
	const struct ask ask = { .kind = POLICY_MESSAGE, .text = message, .of = extension };

	return search(t, true, rank_message, &ask);
}

static uint32_t rank_class(const struct view *v, const struct policy_label *l, const struct ask *ask)
{
	return l->class == ask->class;
}

uint32_t policy_object_single(const struct policy_table *t, enum policy_class class)
{
	const struct ask ask = { .kind = POLICY_SINGLE, .class = (uint8_t)class };

	return search(t, true, rank_class, &ask);
}

static uint32_t rank_name(const struct view *v, const struct policy_label *l, const struct ask *ask)
{
	return name_is(v, l->name, ask->text);
}

uint32_t policy_object_named(const struct policy_table *t, struct slice qualified)
{
	const struct ask ask = { .text = qualified };

	return search(t, true, rank_name, &ask);
}

uint32_t policy_subject_named(const struct policy_table *t, struct slice qualified)
{
	const struct ask ask = { .text = qualified };

	return search(t, false, rank_name, &ask);
}

static uint32_t rank_kind(const struct view *v, const struct policy_label *l, const struct ask *ask)
{
	return 1;
}

uint32_t policy_subject_role(const struct policy_table *t, uint8_t kind)
{
	const struct ask ask = { .kind = kind };

	return kind == 0 ? 0 : search(t, false, rank_kind, &ask);
}

/* A group or a role is named always: without its name it is nobody's. */
static uint32_t rank_exact(const struct view *v, const struct policy_label *l, const struct ask *ask)
{
	return l->text != 0 && name_is(v, l->text, ask->text);
}

uint32_t policy_subject_group(const struct policy_table *t, struct slice group)
{
	const struct ask ask = { .kind = POLICY_IN_GROUP, .text = group };

	return search(t, false, rank_exact, &ask);
}

uint32_t policy_subject_service(const struct policy_table *t, struct slice role)
{
	const struct ask ask = { .kind = POLICY_SERVICE, .text = role };

	return search(t, false, rank_exact, &ask);
}

uint32_t policy_subject_program(const struct policy_table *t, struct slice path)
{
	const struct ask ask = { .kind = POLICY_PROGRAM, .text = path };

	return search(t, false, rank_text, &ask);
}

static bool no_key(const uint8_t key[32])
{
	uint8_t any = 0;

	for (size_t i = 0; i < 32; i++)
		any |= key[i];
	return any == 0;
}

/* name is 0 when the label's name is another one. Each of the three that the label asks for must fit. */
static uint32_t rank_code(const struct policy_label *l, const struct ask *ask, uint32_t name)
{
	uint32_t rank = 1;

	if (l->text != 0) {
		if (name == 0)
			return 0;
		rank += name;
	}
	if (!no_key(l->signer)) {
		if (ask->signer == NULL || memcmp(l->signer, ask->signer, 32) != 0)
			return 0;
		rank += 2;
	}
	if (!no_key(l->sha256)) {
		if (ask->sha256 == NULL || memcmp(l->sha256, ask->sha256, 32) != 0)
			return 0;
		rank += 16;
	}
	return rank;
}

static uint32_t rank_ebpf(const struct view *v, const struct policy_label *l, const struct ask *ask)
{
	return rank_code(l, ask, name_is(v, l->text, ask->text) ? 4 : 0);
}

uint32_t policy_subject_ebpf(const struct policy_table *t, struct slice name, const uint8_t signer[32], const uint8_t sha256[32])
{
	const struct ask ask = { .kind = POLICY_EBPF, .text = name, .signer = signer, .sha256 = sha256 };

	return search(t, false, rank_ebpf, &ask);
}

/* Any bytes but a slash for each '*'. */
static bool jar_fits(const struct view *v, uint32_t pattern, struct slice jar)
{
	uint32_t p = pattern, star = 0;
	size_t i = 0, from = 0;

	while (i < jar.len) {
		uint8_t c = name_byte(v, p);
		if (c == '*') {
			star = ++p;
			from = i;
		} else if (c != '\0' && c == jar.ptr[i]) {
			p++;
			i++;
		} else if (star != 0 && jar.ptr[from] != '/') {
			p = star;
			i = ++from;
		} else {
			return false;
		}
	}
	while (name_byte(v, p) == '*')
		p++;
	return name_byte(v, p) == '\0';
}

static uint32_t rank_jvm(const struct view *v, const struct policy_label *l, const struct ask *ask)
{
	return rank_code(l, ask, name_is(v, l->text, ask->text) ? 8 : jar_fits(v, l->text, ask->text) ? 4 : 0);
}

uint32_t policy_subject_jvm(const struct policy_table *t, struct slice jar, const uint8_t signer[32], const uint8_t sha256[32])
{
	const struct ask ask = { .kind = POLICY_JVM, .text = jar, .signer = signer, .sha256 = sha256 };

	return search(t, false, rank_jvm, &ask);
}

/* Predicates of one permission, 0: none. Rows are sorted. */
static uint32_t predicates(const struct view *v, uint32_t subject, uint32_t object, uint32_t permission)
{
	uint32_t low = 0, high = v->bank.predicate_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		size_t at = v->bank.predicates + (size_t)middle * sizeof(struct policy_predicate_row);
		struct policy_predicate_row r;
		uint32_t pair = word(v, at);

		memcpy(&r, &pair, sizeof(pair));
		r.permission = word(v, at + offsetof(struct policy_predicate_row, permission));
		if (r.subject == subject && r.object == object && r.permission == permission)
			return word(v, at + offsetof(struct policy_predicate_row, predicates));
		if (r.subject < subject || (r.subject == subject && (r.object < object || (r.object == object && r.permission < permission))))
			low = middle + 1;
		else
			high = middle;
	}
	return 0;
}

struct policy_full policy_cell_full(const struct policy_table *t, uint32_t subject, uint32_t object, uint32_t permission)
{
	struct policy_full out;
	struct view v;

	do {
		out = (struct policy_full){ 0 };
		view_begin(&v, t);
		out.epoch = v.bank.epoch;
		out.previous = v.bank.previous;
		if (subject < v.bank.subjects && object < v.bank.objects) {
			copy(&out.cell, &t->cells[POLICY_BANK(v.generation)][policy_cell_index(t, v.generation, subject, object)], sizeof(out.cell));
			if ((out.cell.conditional & permission) != 0)
				out.predicates = predicates(&v, subject, object, permission);
			copy(&out.trial_until, v.base + v.bank.subject_rows + subject * sizeof(struct policy_label) +
						       offsetof(struct policy_label, trial_until), sizeof(out.trial_until));
		}
	} while (!view_same(&v, t));
	return out;
}

bool policy_edge_find(const struct policy_table *t, uint32_t from, uint32_t to, struct policy_edge *out)
{
	struct policy_edge found;
	struct view v;
	bool is;

	do {
		view_begin(&v, t);
		is = false;
		for (uint32_t low = 0, high = v.bank.enter_count; low < high && !is;) {
			uint32_t middle = low + (high - low) / 2;
			size_t at = v.bank.enters + (size_t)middle * sizeof(struct policy_edge);
			uint32_t words[3] = { word(&v, at), word(&v, at + 4), word(&v, at + 8) };

			memcpy(&found, words, sizeof(found));
			if (found.from == from && found.to == to)
				is = true;
			else if (found.from < from || (found.from == from && found.to < to))
				low = middle + 1;
			else
				high = middle;
		}
	} while (!view_same(&v, t));
	if (is)
		*out = found;
	return is;
}

void policy_label_name(const struct policy_table *t, bool object, uint32_t number, char *out, size_t out_bytes)
{
	struct view v;
	size_t n;

	if (out_bytes == 0)
		return;
	do {
		view_begin(&v, t);
		n = 0;
		if (number != 0 && number < (object ? v.bank.objects : v.bank.subjects)) {
			uint32_t name = word(&v, (object ? v.bank.object_rows : v.bank.subject_rows) +
							 (size_t)number * sizeof(struct policy_label) + offsetof(struct policy_label, name));
			for (uint8_t c; n + 1 < out_bytes && (c = name_byte(&v, name + (uint32_t)n)) != '\0'; n++)
				out[n] = (char)c;
		}
		if (n == 0 && out_bytes > 1)
			out[n++] = '?';
		out[n] = '\0';
	} while (!view_same(&v, t));
}
