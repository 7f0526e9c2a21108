/*
 * Statements to a policy: names to indices, class words to all objects of the class, every mistake about what things are.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/suggest.h"
#include "policy/language/tree.h"
#include "spine/inspect/inspect.h"

/* What a name stands for: a subject, a label or a key. */
struct entry {
	const char *name;		/* qualified */
	struct statement *statement;
};

struct entries {
	struct entry *at;
	size_t count;
	const char *kind;		/* "domain or role" */
};

struct resolver {
	struct reading *r;
	struct policy *p;
	struct entries subjects, objects, keys;
	uint16_t singles;		/* objects of SINGLE classes: indices 1..singles */
	uint16_t single_of[POLICY_CLASS_COUNT];
	size_t allow_room, never_room, use_room, enter_room, audit_room, expect_room;
	bool out_of_memory;
};

static void *allocate(struct resolver *v, size_t n, size_t size)
{
	void *memory = arena_array(v->r->arena, n, size);

	if (memory == NULL)
		v->out_of_memory = true;
	return memory;
}

/* Room for one more in an array of the arena: the (possibly moved) array, or NULL. */
static void *grown(struct resolver *v, void *array, size_t count, size_t *room, size_t size)
{
	void *more;

	if (count < *room)
		return array;
	more = allocate(v, *room == 0 ? 16 : 2 * *room, size);
	if (more == NULL)
		return NULL;
	if (count > 0)
		memcpy(more, array, count * size);
	*room = *room == 0 ? 16 : 2 * *room;
	return more;
}

#define wrong(v, span, ...) diag_error(&(v)->r->diag, (span), __VA_ARGS__)

/* --- declarations --------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static const char *qualified(struct resolver *v, uint16_t module, struct slice name)
{
	AUTO_BUF struct buf text = BUF_INIT(2 * POLICY_NAME_BYTES_MAX + 2);
	const char *kept;

	buf_printf(&text, "%s.%.*s", v->r->modules[module], SLICE_FMT(name));
	kept = arena_str(v->r->arena, buf_slice(&text));
	v->out_of_memory |= kept == NULL;
	return kept == NULL ? "" : kept;
}

static void collect(struct resolver *v, struct entries *out, const char *kind, bool (*is)(enum statement_kind), size_t max)
{
	size_t count = 0, kept = 0;

	for (struct statement *s = v->r->first; s != NULL; s = s->next)
		count += is(s->kind);
	*out = (struct entries){ .at = allocate(v, count, sizeof(*out->at)), .kind = kind };
	if (out->at == NULL)
		return;
	for (struct statement *s = v->r->first; s != NULL; s = s->next)
		if (is(s->kind))
			out->at[out->count++] = (struct entry){ qualified(v, s->module, s->name.text), s };
	if (count > 0)
		qsort(out->at, count, sizeof(*out->at), by_name);
	for (size_t i = 0; i < count; i++) {
		struct statement *s = out->at[i].statement;
		if (i > 0 && kept > 0 && strcmp(out->at[kept - 1].name, out->at[i].name) == 0) {
			struct statement *first = out->at[kept - 1].statement;
			/* qsort is not stable: the one that stands first is the one that counts. */
			if (s->id < first->id) {
				out->at[kept - 1].statement = s;
				s = first;
				first = out->at[kept - 1].statement;
			}
			wrong(v, s->name.span, "'%.*s' is declared twice", SLICE_FMT(s->name.text));
			diag_note(&v->r->diag, first->name.span, "it was declared here first");
			continue;
		}
		out->at[kept++] = out->at[i];
	}
	out->count = kept;
	if (kept > max) {
		wrong(v, out->at[max].statement->span, "more than %zu of this kind (%s)", max, kind);
		out->count = max;
	}
}

static bool is_subject(enum statement_kind k)
{
	return k == STATEMENT_DOMAIN || k == STATEMENT_ROLE;
}

static bool is_label(enum statement_kind k)
{
	return k == STATEMENT_LABEL;
}

static bool is_key(enum statement_kind k)
{
	return k == STATEMENT_KEY;
}

/* --- looking names up -------------------------------------------------------------------------------- */

static const struct entry *entry_find(const struct entries *in, const char *name)
{
	struct entry key = { .name = name };

	return in->count == 0 ? NULL : bsearch(&key, in->at, in->count, sizeof(*in->at), by_name);
}

static const char *last_word(const char *name)
{
	const char *dot = strchr(name, '.');

	return dot == NULL ? name : dot + 1;
}

/* The entry that a word in a module means, or NULL. `anywhere`: a single one of that name in another module is meant, too. */
static const struct entry *entry_of(struct resolver *v, const struct entries *in, uint16_t module, struct slice word, bool anywhere)
{
	char name[2 * POLICY_NAME_BYTES_MAX + 2];
	const struct entry *found = NULL;
	size_t length = slice_find_byte(word, '.') == SLICE_NPOS ? strlen(v->r->modules[module]) + 1 : 0;

	if (length + word.len >= sizeof(name))
		return NULL;
	if (length > 0) {
		memcpy(name, v->r->modules[module], length - 1);
		name[length - 1] = '.';
	}
	memcpy(name + length, word.ptr, word.len);
	name[length + word.len] = '\0';
	found = entry_find(in, name);
	if (found != NULL || !anywhere || length == 0)
		return found;
	for (size_t i = 0; i < in->count; i++)
		if (slice_eq(word, slice_str(last_word(in->at[i].name)))) {
			if (found != NULL)
				return NULL;
			found = &in->at[i];
		}
	return found;
}

static void unknown(struct resolver *v, const struct entries *in, const struct word *w, bool classes)
{
	struct suggestion s = { .word = w->text };

	for (size_t i = 0; i < in->count; i++)
		if (strcmp(last_word(in->at[i].name), "") != 0 && slice_eq(w->text, slice_str(last_word(in->at[i].name)))) {
			wrong(v, w->span, "there is no %s '%.*s' in this module; did you mean '%s'?", in->kind, SLICE_FMT(w->text),
			      in->at[i].name);
			return;
		}
	for (size_t i = 0; i < in->count; i++) {
		suggest_try(&s, in->at[i].name);
		suggest_try(&s, last_word(in->at[i].name));
	}
	for (int c = POLICY_CLASS_NONE + 1; classes && c < POLICY_CLASS_COUNT; c++)
		suggest_try(&s, policy_class_name((enum policy_class)c));
	wrong(v, w->span, "there is no %s '%.*s'%s%s%s", in->kind, SLICE_FMT(slice_head(w->text, POLICY_NAME_BYTES_MAX)),
	      s.best == NULL ? "" : "; did you mean '", s.best == NULL ? "" : s.best, s.best == NULL ? "" : "'?");
}

static uint16_t subject_index(const struct resolver *v, const struct entry *e)
{
	return (uint16_t)(1 + (e - v->subjects.at));
}

static uint16_t object_index(const struct resolver *v, const struct entry *e)
{
	return (uint16_t)(1 + v->singles + (e - v->objects.at));
}

/* 0: told. */
static uint16_t find_subject(struct resolver *v, uint16_t module, const struct word *w)
{
	const struct entry *e = entry_of(v, &v->subjects, module, w->text, false);

	if (e == NULL) {
		unknown(v, &v->subjects, w, false);
		return 0;
	}
	return subject_index(v, e);
}

/* --- sets of indices ----------------------------------------------------------------------------------- */

struct indices {
	uint16_t *at;
	size_t count;
};

static int by_number(const void *a, const void *b)
{
	return *(const uint16_t *)a - *(const uint16_t *)b;
}

static void sort_unique(struct indices *set)
{
	size_t kept = 0;

	if (set->count > 1)
		qsort(set->at, set->count, sizeof(*set->at), by_number);
	for (size_t i = 0; i < set->count; i++)
		if (kept == 0 || set->at[kept - 1] != set->at[i])
			set->at[kept++] = set->at[i];
	set->count = kept;
}

static bool has(const struct indices *set, uint16_t n)
{
	return set->count > 0 && bsearch(&n, set->at, set->count, sizeof(n), by_number) != NULL;
}

/* The subjects of a statement, sorted; false: a mistake was told, or no memory. */
static bool subjects_of(struct resolver *v, const struct statement *s, struct indices *out)
{
	struct indices named = { allocate(v, s->subjects.count, sizeof(uint16_t)), 0 };
	bool good = true;

	if (named.at == NULL)
		return false;
	for (size_t i = 0; i < s->subjects.count; i++) {
		uint16_t n = find_subject(v, s->module, &s->subjects.at[i]);
		good &= n != 0;
		if (n != 0)
			named.at[named.count++] = n;
	}
	sort_unique(&named);
	if (!s->any_subject) {
		*out = named;
		return good;
	}
	*out = (struct indices){ allocate(v, v->subjects.count, sizeof(uint16_t)), 0 };
	if (out->at == NULL)
		return false;
	for (size_t i = 1; i <= v->subjects.count; i++)
		if (!has(&named, (uint16_t)i))
			out->at[out->count++] = (uint16_t)i;
	return good;
}

/* What a word of an object list stands for. */
struct meant {
	enum policy_class class;
	bool all;			/* of a NAMED class */
	uint16_t index;
};

static bool object_meant(struct resolver *v, uint16_t module, const struct word *w, struct meant *out)
{
	enum policy_class class = policy_class_find(w->text);
	const struct entry *e;

	if (class != POLICY_CLASS_NONE) {
		*out = (struct meant){ class, !policy_class_is_single(class), v->single_of[class] };
		return true;
	}
	e = entry_of(v, &v->objects, module, w->text, false);
	if (e == NULL) {
		unknown(v, &v->objects, w, true);
		return false;
	}
	*out = (struct meant){ e->statement->thing.class, false, object_index(v, e) };
	return true;
}

/* An `allow` of all files does not open the node's own: those are named one by one. What is forbidden, audited or denied has them. */
static bool class_word_has(const struct statement *s, const struct policy_object *o)
{
	return o->kind != POLICY_PLACE || (s->kind == STATEMENT_EXPECT ? s->expectation == POLICY_EXPECT_DENY : s->kind != STATEMENT_ALLOW);
}

static void all_of_class(const struct resolver *v, const struct statement *s, enum policy_class class, struct indices *out)
{
	for (size_t i = 0; i < v->objects.count; i++)
		if (v->objects.at[i].statement->thing.class == class && class_word_has(s, &v->objects.at[i].statement->thing))
			out->at[out->count++] = (uint16_t)(1 + v->singles + i);
}

/* The permissions of a statement for one class, as a mask; 0: told. */
static uint32_t permissions_of(struct resolver *v, const struct statement *s, enum policy_class class)
{
	uint32_t mask = 0;
	bool good = true;

	for (size_t i = 0; i < s->permissions.count; i++) {
		const struct word *w = &s->permissions.at[i];
		uint32_t bit = policy_permission_find(class, w->text);
		uint32_t all = policy_class_permissions(class);
		struct suggestion near = { .word = w->text };
		AUTO_BUF struct buf names = BUF_INIT(1024);

		mask |= bit;
		if (bit != 0)
			continue;
		good = false;
		for (; all != 0; all &= all - 1) {
			suggest_try(&near, policy_permission_name(class, all & -all));
			buf_printf(&names, "%s%s", names.len == 0 ? "" : ", ", policy_permission_name(class, all & -all));
		}
		if (near.best != NULL)
			wrong(v, w->span, "objects of class '%s' have no permission '%.*s'; did you mean '%s'?", policy_class_name(class),
			      SLICE_FMT(w->text), near.best);
		else
			wrong(v, w->span, "objects of class '%s' have no permission '%.*s'; they have: %s", policy_class_name(class),
			      SLICE_FMT(w->text), buf_cstr(&names));
	}
	return good ? mask : 0;
}

/* --- rules ------------------------------------------------------------------------------------------------ */

static bool add_rule(struct resolver *v, const struct statement *s, const struct indices *subjects, enum policy_class class,
		     uint32_t permissions, const struct indices *objects)
{
	bool never = s->kind == STATEMENT_NEVER;
	struct policy_rule **array = never ? &v->p->nevers : &v->p->allows;
	size_t *count = never ? &v->p->never_count : &v->p->allow_count;
	struct policy_rule *more = grown(v, *array, *count, never ? &v->never_room : &v->allow_room, sizeof(*more));

	if (more == NULL)
		return false;
	*array = more;
	more[(*count)++] = (struct policy_rule){
		.subjects = subjects->at, .subject_count = (uint16_t)subjects->count, .class = class, .permissions = permissions,
		.objects = objects->at, .object_count = (uint16_t)objects->count, .predicates = s->predicates, .audit = s->audit,
		.by_any_path = s->by_any_path, .because = s->because, .span = s->span, .id = s->id,
	};
	return true;
}

static bool add_audit(struct resolver *v, const struct statement *s, const struct indices *subjects, enum policy_class class,
		      uint32_t permissions, const struct indices *objects)
{
	struct policy_audit *more = grown(v, v->p->audits, v->p->audit_count, &v->audit_room, sizeof(*more));

	if (more == NULL)
		return false;
	v->p->audits = more;
	more[v->p->audit_count++] = (struct policy_audit){
		.subjects = subjects->at, .subject_count = (uint16_t)subjects->count, .class = class, .permissions = permissions,
		.objects = objects->at, .object_count = (uint16_t)objects->count, .span = s->span, .id = s->id,
	};
	return true;
}

static void resolve_rule(struct resolver *v, const struct statement *s)
{
	struct indices subjects, except = { allocate(v, s->except.count, sizeof(uint16_t)), 0 };
	struct meant *meant = allocate(v, s->objects.count, sizeof(*meant));
	bool seen[POLICY_CLASS_COUNT] = { false };
	bool any_class = false, good = subjects_of(v, s, &subjects);

	if (meant == NULL || except.at == NULL)
		return;
	for (size_t i = 0; i < s->objects.count; i++) {
		bool known = object_meant(v, s->module, &s->objects.at[i], &meant[i]);
		good &= known;
		any_class |= known && meant[i].all;
	}
	for (size_t i = 0; i < s->except.count; i++) {
		struct meant m;
		if (object_meant(v, s->module, &s->except.at[i], &m) && !m.all)
			except.at[except.count++] = m.index;
		else
			good = false;
	}
	sort_unique(&except);
	for (size_t i = 0; good && i < s->objects.count; i++) {
		enum policy_class class = meant[i].class;
		struct indices objects = { allocate(v, (any_class ? v->objects.count : 0) + s->objects.count, sizeof(uint16_t)), 0 };
		uint32_t permissions = seen[class] ? 0 : permissions_of(v, s, class);
		size_t kept = 0;

		if (objects.at == NULL || permissions == 0)
			continue;
		seen[class] = true;
		for (size_t k = i; k < s->objects.count; k++) {
			if (meant[k].class != class)
				continue;
			if (meant[k].all)
				all_of_class(v, s, class, &objects);
			else
				objects.at[objects.count++] = meant[k].index;
		}
		sort_unique(&objects);
		for (size_t k = 0; k < objects.count; k++)
			if (!has(&except, objects.at[k]))
				objects.at[kept++] = objects.at[k];
		objects.count = kept;
		if (!(s->kind == STATEMENT_AUDIT ? add_audit : add_rule)(v, s, &subjects, class, permissions, &objects))
			return;
	}
}

static enum policy_use use_kind_of(struct resolver *v, const struct statement *s)
{
	struct suggestion near = { .word = s->use_kind.text };

	for (int u = 0; u < POLICY_USE_COUNT; u++) {
		if (slice_eq(s->use_kind.text, slice_str(policy_use_name((enum policy_use)u))))
			return (enum policy_use)u;
		suggest_try(&near, policy_use_name((enum policy_use)u));
	}
	wrong(v, s->use_kind.span, "'%.*s' is nothing that is used; there are helper, kfunc, map-type, program-type and class%s%s%s",
	      SLICE_FMT(slice_head(s->use_kind.text, 63)), near.best == NULL ? "" : "; did you mean '", near.best == NULL ? "" : near.best,
	      near.best == NULL ? "" : "'?");
	return POLICY_USE_COUNT;
}

static bool use_name_known(struct resolver *v, enum policy_use kind, const struct word *w)
{
	struct suggestion near = { .word = w->text };
	int id;

	if (kind == POLICY_USE_PROGRAM_TYPE && !slice_eq(w->text, SLICE("xdp")) && !slice_eq(w->text, SLICE("syscall"))) {
		wrong(v, w->span, "extensions have programs of the types xdp and syscall only");
		return false;
	}
	if (kind != POLICY_USE_HELPER || slice_eq(w->text, SLICE("default")) || slice_eq(w->text, SLICE("ktime")))
		return true;
	id = inspect_helper_id(w->text);
	if (id >= 0 && inspect_helper_grantable(id))
		return true;
	if (id >= 0) {
		wrong(v, w->span, "the helper '%.*s' reaches what is not the extension's: no policy allows it", SLICE_FMT(w->text));
		return false;
	}
	for (int i = 1; i < 64 * INSPECT_HELPER_WORDS; i++)
		if (inspect_helper_name(i) != NULL)
			suggest_try(&near, inspect_helper_name(i));
	wrong(v, w->span, "there is no helper '%.*s' (names are without bpf_)%s%s%s", SLICE_FMT(slice_head(w->text, 63)),
	      near.best == NULL ? "" : "; did you mean '", near.best == NULL ? "" : near.best, near.best == NULL ? "" : "'?");
	return false;
}

/* The word as rules keep it: helpers that XDP alone has may be written without "xdp_", too. Out of memory: NULL. */
static const char *use_name(struct resolver *v, enum policy_use kind, const struct word *w)
{
	AUTO_BUF struct buf full = BUF_INIT(POLICY_NAME_BYTES_MAX + 8);

	if (kind == POLICY_USE_HELPER && inspect_helper_id(w->text) < 0 && w->text.len <= POLICY_NAME_BYTES_MAX) {
		buf_adds(&full, "xdp_");
		buf_add(&full, w->text);
		if (full.err == 0 && inspect_helper_id(buf_slice(&full)) >= 0)
			return arena_str(v->r->arena, buf_slice(&full));
	}
	return arena_str(v->r->arena, w->text);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void resolve_use(struct resolver *v, const struct statement *s)
{
	enum policy_use kind = use_kind_of(v, s);
	const char **names = allocate(v, s->objects.count, sizeof(*names));
	struct policy_use_rule *more;
	struct indices subjects;
	size_t kept = 0;
	bool good = subjects_of(v, s, &subjects) && kind != POLICY_USE_COUNT;

	for (size_t i = 0; names != NULL && kind != POLICY_USE_COUNT && i < s->objects.count; i++) {
		names[i] = use_name(v, kind, &s->objects.at[i]);
		v->out_of_memory |= names[i] == NULL;
		/* What is never to be used may be what nobody may use anyway. */
		good &= s->kind == STATEMENT_NEVER || names[i] == NULL ? true :
			use_name_known(v, kind, &(struct word){ slice_str(names[i]), s->objects.at[i].span, false });
	}
	for (size_t i = 0; good && s->kind == STATEMENT_ALLOW && i < subjects.count; i++) {
		const struct statement *who = v->subjects.at[subjects.at[i] - 1].statement;
		enum policy_subject_kind wanted = kind == POLICY_USE_CLASS ? POLICY_JVM : POLICY_EBPF;
		if (who->subject_kind != wanted) {
			wrong(v, s->span, "'use %s' is for domains of %s; '%.*s' is none", policy_use_name(kind),
			      wanted == POLICY_JVM ? "jvm code" : "ebpf objects", SLICE_FMT(who->name.text));
			good = false;
		}
	}
	if (s->revocable && kind != POLICY_USE_HELPER)
		wrong(v, s->use_kind.span, "only helpers are checked while an extension runs, so only they can be 'revocable'");
	more = grown(v, v->p->uses, v->p->use_count, &v->use_room, sizeof(*more));
	if (names == NULL || more == NULL || v->out_of_memory || !good)
		return;
	qsort(names, s->objects.count, sizeof(*names), by_text);
	for (size_t i = 0; i < s->objects.count; i++)
		if (kept == 0 || strcmp(names[kept - 1], names[i]) != 0)
			names[kept++] = names[i];
	v->p->uses = more;
	more[v->p->use_count++] = (struct policy_use_rule){
		.subjects = subjects.at, .subject_count = (uint16_t)subjects.count, .kind = kind, .names = names, .name_count = (uint16_t)kept,
		.revocable = s->revocable, .never = s->kind == STATEMENT_NEVER, .because = s->because, .span = s->span, .id = s->id,
	};
}

static void resolve_enter(struct resolver *v, const struct statement *s)
{
	uint16_t from = find_subject(v, s->module, &s->name), to = find_subject(v, s->module, &s->to);
	struct policy_enter *more = grown(v, v->p->enters, v->p->enter_count, &v->enter_room, sizeof(*more));

	if (to == 0 && s->ticket)
		diag_note(&v->r->diag, s->to.span, "what is entered by tickets alone is declared by: role %.*s = principal by ticket",
			  SLICE_FMT(slice_head(s->to.text, POLICY_NAME_BYTES_MAX)));
	if (from == 0 || to == 0 || more == NULL)
		return;
	if (from == to) {
		wrong(v, s->to.span, "'%.*s' is that already", SLICE_FMT(s->to.text));
		return;
	}
	v->p->enters = more;
	more[v->p->enter_count++] = (struct policy_enter){
		.from = from, .to = to, .ticket = s->ticket, .audit = s->audit, .seconds = s->seconds, .because = s->because, .span = s->span,
		.id = s->id,
	};
}

/* --- expectations ------------------------------------------------------------------------------------------- */

/* The class that a bare text names an object of, for a permission: by its form. */
static enum policy_class class_by_form(struct slice permission, struct slice text)
{
	enum policy_class class = text.len > 0 && text.ptr[0] == '/' ? POLICY_FILE :
				  slice_rfind_byte(text, ':') != SLICE_NPOS ? POLICY_ENDPOINT : POLICY_PORT;

	return policy_permission_find(class, permission) != 0 ? class : POLICY_CLASS_NONE;
}

static void add_expect(struct resolver *v, const struct statement *s, const struct policy_expect *e)
{
	struct policy_expect *more = grown(v, v->p->expects, v->p->expect_count, &v->expect_room, sizeof(*more));

	if (more == NULL)
		return;
	v->p->expects = more;
	more[v->p->expect_count] = *e;
	more[v->p->expect_count].what = s->expectation;
	more[v->p->expect_count].because = s->because;
	more[v->p->expect_count].span = s->span;
	more[v->p->expect_count++].id = s->id;
}

/* One subject, one permission, all objects of the statement. */
static void expect_permission(struct resolver *v, const struct statement *s, uint16_t subject, const struct word *permission)
{
	struct policy_expect e = { .subject = subject };
	size_t classes = 0;

	if (s->typed) {
		e.class = s->thing.class;
		e.permission = permission == NULL ? 0 : policy_permission_find(e.class, permission->text);
		e.target = s->thing;
		e.target.text = s->any_text ? NULL : arena_str(v->r->arena, s->text.text);
		e.target.of = s->any_of || s->thing.kind != POLICY_MESSAGE ? NULL : arena_str(v->r->arena, s->of.text);
		if (e.permission == 0)
			wrong(v, permission->span, "objects of class '%s' have no permission '%.*s'", policy_class_name(e.class),
			      SLICE_FMT(permission->text));
		else
			add_expect(v, s, &e);
		return;
	}
	for (size_t i = 0; i < s->objects.count; i++) {
		const struct word *w = &s->objects.at[i];
		struct meant m;

		e = (struct policy_expect){ .subject = subject };
		if (w->string) {
			e.class = class_by_form(permission->text, w->text);
			if (e.class == POLICY_CLASS_NONE || !target_bare(v->r->arena, e.class, w->text, &e.target)) {
				wrong(v, w->span, "to '%.*s' this is no object: a path, host:port, or the name of an interface", SLICE_FMT(permission->text));
				continue;
			}
			e.permission = policy_permission_find(e.class, permission->text);
			add_expect(v, s, &e);
			continue;
		}
		if (!object_meant(v, s->module, w, &m))
			continue;
		e.class = m.class;
		e.permission = policy_permission_find(m.class, permission->text);
		if (e.permission == 0) {
			wrong(v, permission->span, "objects of class '%s' have no permission '%.*s'", policy_class_name(m.class), SLICE_FMT(permission->text));
			continue;
		}
		if (!m.all) {
			e.object = m.index;
			add_expect(v, s, &e);
			continue;
		}
		for (size_t k = 0; k < v->objects.count; k++)
			if (v->objects.at[k].statement->thing.class == m.class && class_word_has(s, &v->objects.at[k].statement->thing)) {
				e.object = (uint16_t)(1 + v->singles + k);
				add_expect(v, s, &e);
			}
	}
	if (s->objects.count > 0)
		return;
	/* `expect static router forward`: all that it may. */
	for (int c = POLICY_CLASS_NONE + 1; c < POLICY_CLASS_COUNT; c++) {
		e = (struct policy_expect){ .subject = subject, .class = (enum policy_class)c };
		e.permission = policy_permission_find(e.class, permission->text);
		if (e.permission == 0)
			continue;
		classes++;
		add_expect(v, s, &e);
	}
	if (classes == 0)
		wrong(v, permission->span, "no class has a permission '%.*s'", SLICE_FMT(permission->text));
}

static void resolve_expect(struct resolver *v, const struct statement *s)
{
	struct indices subjects;
	enum policy_use use = s->use ? use_kind_of(v, s) : POLICY_USE_COUNT;

	if (!subjects_of(v, s, &subjects) || (s->use && use == POLICY_USE_COUNT))
		return;
	for (size_t i = 0; i < subjects.count; i++) {
		for (size_t k = 0; s->use && k < s->objects.count; k++) {
			struct policy_expect e = { .subject = subjects.at[i], .use = use };
			e.use_name = use_name(v, use, &s->objects.at[k]);
			v->out_of_memory |= e.use_name == NULL;
			add_expect(v, s, &e);
		}
		for (size_t k = 0; !s->use && k < s->permissions.count; k++)
			expect_permission(v, s, subjects.at[i], &s->permissions.at[k]);
	}
}

/* --- declarations, filled -------------------------------------------------------------------------------------- */

static const char *text_of(struct resolver *v, const struct statement *s, const struct word *w, bool any)
{
	const char *kept;

	if (any || (w->text.len == 0 && s->kind != STATEMENT_DOMAIN))
		return NULL;
	/* `ebpf object` without a name: the domain's own. */
	kept = arena_str(v->r->arena, w->text.len == 0 ? s->name.text : w->text);
	v->out_of_memory |= kept == NULL;
	return kept;
}

static const uint8_t *signer_of(struct resolver *v, const struct statement *s)
{
	const struct entry *e;

	if (s->signer.text.len == 0)
		return NULL;
	e = entry_of(v, &v->keys, s->module, s->signer.text, true);
	if (e == NULL) {
		unknown(v, &v->keys, &s->signer, false);
		diag_note(&v->r->diag, s->signer.span, "a key is declared by: key %.*s = ed25519 <64 hexadecimal digits>",
			  SLICE_FMT(slice_head(s->signer.text, POLICY_NAME_BYTES_MAX)));
		return NULL;
	}
	return e->statement->key;
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool same_bytes(const uint8_t *a, const uint8_t *b)
{
	return a == b || (a != NULL && b != NULL && memcmp(a, b, 32) == 0);
}

static void fill_subjects(struct resolver *v)
{
	struct policy *p = v->p;

	p->subject_count = v->subjects.count + 1;
	p->subjects = allocate(v, p->subject_count, sizeof(*p->subjects));
	if (p->subjects == NULL)
		return;
	p->subjects[0] = (struct policy_subject){ .name = "unknown" };
	for (size_t i = 1; i < p->subject_count; i++) {
		const struct statement *s = v->subjects.at[i - 1].statement;
		p->subjects[i] = (struct policy_subject){
			.name = v->subjects.at[i - 1].name, .kind = s->subject_kind, .module = s->module, .span = s->span,
			.text = text_of(v, s, &s->text, s->any_text), .signer = signer_of(v, s), .sha256 = s->hash,
		};
		for (size_t k = 1; k < i; k++) {
			const struct policy_subject *a = &p->subjects[k], *b = &p->subjects[i];
			if (a->kind != b->kind || a->kind == POLICY_BY_TICKET || (a->kind == POLICY_PROGRAM && a->text == NULL) ||
			    !same_text(a->text, b->text) || !same_bytes(a->signer, b->signer) || !same_bytes(a->sha256, b->sha256))
				continue;
			wrong(v, s->name.span, "'%s' and '%s' are the same: nobody could tell which of them acts", b->name, a->name);
			diag_note(&v->r->diag, a->span, "this is the other one");
		}
	}
}

static int by_thing(const void *a, const void *b)
{
	const struct policy_object *x = *(const struct policy_object *const *)a, *y = *(const struct policy_object *const *)b;
	int order = (int)x->class - (int)y->class;

	order = order != 0 ? order : (int)x->kind - (int)y->kind;
	order = order != 0 ? order : (int)x->port - (int)y->port;
	order = order != 0 ? order : strcmp(x->text == NULL ? "" : x->text, y->text == NULL ? "" : y->text);
	return order != 0 ? order : strcmp(x->of == NULL ? "" : x->of, y->of == NULL ? "" : y->of);
}

static void fill_objects(struct resolver *v)
{
	struct policy *p = v->p;
	const struct policy_object **sorted;
	size_t n = 1;

	p->object_count = 1u + v->singles + v->objects.count;
	p->objects = allocate(v, p->object_count, sizeof(*p->objects));
	sorted = allocate(v, p->object_count, sizeof(*sorted));
	if (p->objects == NULL || sorted == NULL)
		return;
	p->objects[0] = (struct policy_object){ .name = "unknown" };
	for (int c = POLICY_CLASS_NONE + 1; c < POLICY_CLASS_COUNT; c++)
		if (policy_class_is_single((enum policy_class)c))
			p->objects[n++] = (struct policy_object){ .name = policy_class_name((enum policy_class)c), .class = (enum policy_class)c,
								  .kind = POLICY_SINGLE };
	for (size_t i = 0; i < v->objects.count; i++) {
		const struct statement *s = v->objects.at[i].statement;
		enum policy_class class = policy_class_find(s->class.text);

		if (class != s->thing.class)
			wrong(v, s->class.span, "'%.*s' is not the class of such an object: this is a %s", SLICE_FMT(slice_head(s->class.text, 63)),
			      policy_class_name(s->thing.class));
		if (policy_class_find(s->name.text) != POLICY_CLASS_NONE)
			wrong(v, s->name.span, "'%.*s' is the name of a class; call the label something else", SLICE_FMT(s->name.text));
		sorted[i] = &p->objects[n];
		p->objects[n] = s->thing;
		p->objects[n].name = v->objects.at[i].name;
		p->objects[n].module = s->module;
		p->objects[n].span = s->span;
		p->objects[n].text = text_of(v, s, &s->text, s->any_text);
		p->objects[n].of = s->thing.kind == POLICY_MESSAGE ? text_of(v, s, &s->of, s->any_of) : NULL;
		n++;
	}
	if (v->objects.count > 1)
		qsort(sorted, v->objects.count, sizeof(*sorted), by_thing);
	for (size_t i = 1; i < v->objects.count; i++)
		if (by_thing(&sorted[i - 1], &sorted[i]) == 0) {
			wrong(v, sorted[i]->span, "'%s' and '%s' name the same thing: which label would it have?", sorted[i]->name, sorted[i - 1]->name);
			diag_note(&v->r->diag, sorted[i - 1]->span, "this is the other one");
		}
}

static void apply_limit(struct resolver *v, const struct statement *s)
{
	struct indices subjects;

	if (!subjects_of(v, s, &subjects))
		return;
	for (size_t i = 0; i < subjects.count; i++) {
		struct policy_subject *who = &v->p->subjects[subjects.at[i]];
		if (who->kind != POLICY_EBPF) {
			wrong(v, s->span, "limits are for domains of ebpf objects; '%s' is none", who->name);
			continue;
		}
		if ((s->instructions_max != 0 && who->instructions_max != 0) || (s->cpu_permille != 0 && who->cpu_permille != 0) ||
		    (s->memory_bytes_max != 0 && who->memory_bytes_max != 0))
			wrong(v, s->span, "'%s' has such a limit already: order never matters, so there can be one only", who->name);
		who->instructions_max = MAX(who->instructions_max, s->instructions_max);
		who->cpu_permille = MAX(who->cpu_permille, s->cpu_permille);
		who->memory_bytes_max = MAX(who->memory_bytes_max, s->memory_bytes_max);
		who->unbounded |= s->unbounded;
		who->terminal |= s->terminal;
		who->tail_calls |= s->tail_calls;
	}
}

static void apply_trial(struct resolver *v, const struct statement *s)
{
	struct indices subjects = { 0 };

	if (s->subjects.count > 0 && !subjects_of(v, s, &subjects))
		return;
	for (size_t i = 1; i < v->p->subject_count; i++) {
		struct policy_subject *who = &v->p->subjects[i];
		if (s->subjects.count > 0 ? !has(&subjects, (uint16_t)i) : who->module != s->module)
			continue;
		/* Two trials: the later end holds, whichever stands first. */
		who->trial_until = MAX(who->trial_until, s->trial_until);
	}
}

int reading_resolve(struct reading *r, struct policy *out)
{
	struct resolver v = { .r = r, .p = out };

	for (int c = POLICY_CLASS_NONE + 1; c < POLICY_CLASS_COUNT; c++)
		if (policy_class_is_single((enum policy_class)c))
			v.single_of[c] = ++v.singles;
	collect(&v, &v.subjects, "domain or role", is_subject, POLICY_SUBJECTS_MAX - 1);
	collect(&v, &v.objects, "label or class", is_label, POLICY_OBJECTS_MAX - 1u - v.singles);
	collect(&v, &v.keys, "key", is_key, POLICY_KEYS_MAX);
	if (v.out_of_memory)
		return -ENOMEM;
	fill_subjects(&v);
	fill_objects(&v);
	out->statements = allocate(&v, r->statement_count + 1u, sizeof(*out->statements));
	if (v.out_of_memory)
		return -ENOMEM;
	out->statement_count = r->statement_count;
	for (const struct statement *s = r->first; s != NULL && !v.out_of_memory; s = s->next) {
		out->statements[s->id] = s->span;
		switch (s->kind) {
		case STATEMENT_ALLOW:
		case STATEMENT_NEVER:
		case STATEMENT_AUDIT:
			if (s->use)
				resolve_use(&v, s);
			else
				resolve_rule(&v, s);
			break;
		case STATEMENT_ENTER:
			resolve_enter(&v, s);
			break;
		case STATEMENT_TRIAL:
			apply_trial(&v, s);
			break;
		case STATEMENT_LIMIT:
			apply_limit(&v, s);
			break;
		case STATEMENT_EXPECT:
			resolve_expect(&v, s);
			break;
		case STATEMENT_KEY:
		case STATEMENT_DOMAIN:
		case STATEMENT_ROLE:
		case STATEMENT_LABEL:
			break;
		}
	}
	return v.out_of_memory ? -ENOMEM : 0;
}
