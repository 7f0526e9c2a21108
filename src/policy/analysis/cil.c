#include "policy/analysis/cil.h"
#include "policy/analysis/analysis_private.h"
#include "policy/analysis/words.h"

#include <stdio.h>

/*
 * A name without dots. "." is "__", which names of ours hardly have; for those that do (or have an underscore beside a dot) each underscore is "_5f" and the
 * prefix says so, so two names never become one.
 */
static void add_name(struct buf *out, const char *prefix, const char *infix, const char *name)
{
	bool clash = strstr(name, "__") != NULL || strstr(name, "_.") != NULL || strstr(name, "._") != NULL;

	buf_printf(out, "%s%s_%s", prefix, clash ? "x" : "", infix);
	for (; *name != '\0'; name++)
		if (*name == '.')
			buf_adds(out, "__");
		else if (*name == '_' && clash)
			buf_adds(out, "_5f");
		else
			buf_addc(out, (uint8_t)*name);
}

void analysis_cil_type(struct buf *out, const struct policy *p, bool object, uint16_t index)
{
	if (object)
		add_name(out, "o", "", index == 0 ? "" : p->objects[index].name);
	else
		add_name(out, "s", "", index == 0 ? "" : p->subjects[index].name);
}

static void add_use(struct buf *out, const char *prefix, enum policy_use kind, const char *name)
{
	char infix[32];

	(void)snprintf(infix, sizeof(infix), "%s_", policy_use_name(kind));
	add_name(out, prefix, infix, name);
}

static bool is_set(const char *word)
{
	return strcmp(word, "default") == 0 || strcmp(word, "ktime") == 0;
}

static void add_types(struct buf *out, const struct policy *p, bool object, const uint16_t *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			buf_addc(out, ' ');
		analysis_cil_type(out, p, object, list[i]);
	}
}

/* ---- declarations ---- */

static void add_classes(struct buf *out)
{
	for (unsigned c = POLICY_CLASS_NONE + 1; c < POLICY_CLASS_COUNT; c++) {
		buf_printf(out, "(class %s (", policy_class_name(c));
		for (uint32_t left = policy_class_permissions(c); left != 0; left &= left - 1)
			buf_printf(out, "%s%s", left == policy_class_permissions(c) ? "" : " ", policy_permission_name(c, left & -left));
		buf_adds(out, "))\n");
	}
	buf_adds(out, "(class domain (enter))\n(class use (link))\n(classorder (");
	for (unsigned c = POLICY_CLASS_NONE + 1; c < POLICY_CLASS_COUNT; c++)
		buf_printf(out, "%s ", policy_class_name(c));
	buf_adds(out, "domain use))\n");
}

static void add_labels(struct buf *out, const struct policy *p)
{
	buf_adds(out, "\n; subjects\n(type s_)\n");
	for (uint16_t i = 1; i < p->subject_count; i++) {
		buf_adds(out, "(type ");
		analysis_cil_type(out, p, false, i);
		buf_printf(out, ")\t; %s = ", p->subjects[i].name);
		words_subject(out, &p->subjects[i]);
		buf_adds(out, p->subjects[i].trial_until != 0 ? ", on trial\n" : "\n");
	}
	buf_adds(out, "\n; objects\n(type o_)\n");
	for (uint16_t i = 1; i < p->object_count; i++) {
		buf_adds(out, "(type ");
		analysis_cil_type(out, p, true, i);
		buf_printf(out, ")\t; %s = ", p->objects[i].name);
		words_object(out, &p->objects[i]);
		buf_addc(out, '\n');
	}
}

/* Names of `use` rules, each once: a rule's name is new when no rule before it has it. */
static bool first_use(const struct policy *p, size_t rule, size_t name)
{
	const struct policy_use_rule *u = &p->uses[rule];

	for (size_t i = 0; i <= rule; i++)
		for (size_t k = 0; p->uses[i].kind == u->kind && k < (i == rule ? name : p->uses[i].name_count); k++)
			if (strcmp(p->uses[i].names[k], u->names[name]) == 0)
				return false;
	return true;
}

/* A word that is a set is an attribute of all names that the policy knows, and of a type that stands for the rest. */
static void add_use_set(struct buf *out, const struct policy *p, enum policy_use kind, const char *word)
{
	buf_adds(out, "(typeattribute ");
	add_use(out, "a", kind, word);
	buf_adds(out, ")\n(typeattributeset ");
	add_use(out, "a", kind, word);
	buf_adds(out, " (");
	add_use(out, "u", kind, word);
	for (size_t i = 0; i < p->use_count; i++) {
		for (size_t k = 0; k < p->uses[i].name_count && p->uses[i].kind == kind; k++) {
			const char *name = p->uses[i].names[k];
			if (strcmp(name, word) == 0 || !first_use(p, i, k) || !policy_use_covers(kind, word, name))
				continue;
			buf_addc(out, ' ');
			add_use(out, "u", kind, name);
		}
	}
	buf_adds(out, "))\n");
}

static void add_uses(struct buf *out, const struct policy *p)
{
	if (p->use_count > 0)
		buf_adds(out, "\n; what code is linked to\n");
	for (size_t i = 0; i < p->use_count; i++) {
		for (size_t k = 0; k < p->uses[i].name_count; k++) {
			if (!first_use(p, i, k))
				continue;
			buf_adds(out, "(type ");
			add_use(out, "u", p->uses[i].kind, p->uses[i].names[k]);
			buf_adds(out, ")\n");
			if (is_set(p->uses[i].names[k]))
				add_use_set(out, p, p->uses[i].kind, p->uses[i].names[k]);
		}
	}
}

/* What CIL wants to exist: one user, one role, one level. */
static void add_frame(struct buf *out, const struct policy *p)
{
	buf_adds(out, "\n(user prickle)\n(role prickle_r)\n(userrole prickle prickle_r)\n(typeattribute types)\n(typeattributeset types (s_ o_");
	for (uint16_t i = 1; i < p->subject_count; i++) {
		buf_addc(out, ' ');
		analysis_cil_type(out, p, false, i);
	}
	for (uint16_t i = 1; i < p->object_count; i++) {
		buf_addc(out, ' ');
		analysis_cil_type(out, p, true, i);
	}
	for (size_t i = 0; i < p->use_count; i++) {
		for (size_t k = 0; k < p->uses[i].name_count; k++) {
			if (!first_use(p, i, k))
				continue;
			buf_addc(out, ' ');
			add_use(out, "u", p->uses[i].kind, p->uses[i].names[k]);
		}
	}
	buf_adds(out, "))\n(roletype prickle_r types)\n"
		      "(sensitivity s0)\n(sensitivityorder (s0))\n(category c0)\n(categoryorder (c0))\n(sensitivitycategory s0 (c0))\n"
		      "(userlevel prickle (s0))\n(userrange prickle ((s0) (s0)))\n"
		      "(sid kernel)\n(sidorder (kernel))\n(sidcontext kernel (prickle prickle_r s_ ((s0) (s0))))\n");
}

/* ---- rules ---- */

/*
 * One name as it is, several as an attribute of this name. It is expanded when compiled: an attribute that stays costs libsepol a look-up in each
 * decision, for each pair of attributes that the two types have.
 */
static void declare_list(struct buf *out, const char *name, const struct policy *p, bool object, const uint16_t *list, size_t count)
{
	if (count < 2)
		return;
	buf_printf(out, "(typeattribute %s)\n(expandtypeattribute %s true)\n(typeattributeset %s (", name, name, name);
	add_types(out, p, object, list, count);
	buf_adds(out, "))\n");
}

static void add_list(struct buf *out, const char *name, const struct policy *p, bool object, const uint16_t *list, size_t count)
{
	if (count < 2)
		analysis_cil_type(out, p, object, list[0]);
	else
		buf_adds(out, name);
}

static void add_place(struct buf *out, const struct policy *p, struct policy_span span)
{
	if (span.line == 0)
		return;
	buf_adds(out, "; ");
	policy_span_text(out, p, span);
	buf_addc(out, '\n');
}

struct cil_rule {
	const char *kind;		/* "allow" */
	char letter;
	size_t number;
	const uint16_t *subjects;
	size_t subject_count;
	const uint16_t *objects;
	size_t object_count;
	enum policy_class class;
	uint32_t permissions;
};

static void declare_rule(struct buf *out, const struct policy *p, const struct cil_rule *r, char name[2][32])
{
	(void)snprintf(name[0], 32, "%c%zu_s", r->letter, r->number);
	(void)snprintf(name[1], 32, "%c%zu_o", r->letter, r->number);
	declare_list(out, name[0], p, false, r->subjects, r->subject_count);
	declare_list(out, name[1], p, true, r->objects, r->object_count);
}

static void add_rule(struct buf *out, const struct policy *p, const struct cil_rule *r, char name[2][32])
{
	buf_printf(out, "(%s ", r->kind);
	add_list(out, name[0], p, false, r->subjects, r->subject_count);
	buf_addc(out, ' ');
	add_list(out, name[1], p, true, r->objects, r->object_count);
	buf_printf(out, " (%s (", policy_class_name(r->class));
	for (uint32_t left = r->permissions; left != 0; left &= left - 1)
		buf_printf(out, "%s%s", left == r->permissions ? "" : " ", policy_permission_name(r->class, left & -left));
	buf_adds(out, ")))\n");
}

static void add_allows(struct buf *out, const struct policy *p)
{
	char name[2][32];

	for (size_t i = 0; i < p->allow_count; i++) {
		const struct policy_rule *r = &p->allows[i];
		struct cil_rule rule = { "allow", 'r', i, r->subjects, r->subject_count, r->objects, r->object_count, r->class, r->permissions };
		if (r->object_count == 0)
			continue;
		add_place(out, p, r->span);
		if (r->predicates != 0) {
			buf_adds(out, "; where ");
			words_predicates(out, r->predicates);
			buf_addc(out, '\n');
		}
		declare_rule(out, p, &rule, name);
		add_rule(out, p, &rule, name);
		rule.kind = "auditallow";
		if (r->audit)
			add_rule(out, p, &rule, name);
	}
	for (size_t i = 0; i < p->audit_count; i++) {
		const struct policy_audit *r = &p->audits[i];
		struct cil_rule rule = { "auditallow", 'w', i, r->subjects, r->subject_count, r->objects, r->object_count, r->class, r->permissions };
		if (r->object_count == 0)
			continue;
		add_place(out, p, r->span);
		declare_rule(out, p, &rule, name);
		add_rule(out, p, &rule, name);
	}
}

static size_t reachable(const struct analysis *a, const struct policy_rule *never, uint16_t *list)
{
	bool reached[POLICY_SUBJECTS_MAX + 1] = { false };
	size_t count = 0;

	analysis_reach(a, never->subjects, never->by_any_path ? never->subject_count : 0, reached);
	for (size_t i = 0; i < never->subject_count; i++)
		reached[never->subjects[i]] = true;
	for (uint16_t i = 1; i < a->subjects; i++)
		if (reached[i])
			list[count++] = i;
	return count;
}

static void add_nevers(struct buf *out, const struct analysis *a)
{
	uint16_t subjects[POLICY_SUBJECTS_MAX + 1];
	char name[2][32];

	for (size_t i = 0; i < a->p->never_count; i++) {
		const struct policy_rule *r = &a->p->nevers[i];
		if (r->object_count == 0)
			continue;
		struct cil_rule rule = { "neverallow", 'n', i, subjects, reachable(a, r, subjects), r->objects, r->object_count, r->class,
					 r->permissions };
		add_place(out, a->p, r->span);
		if (r->by_any_path)
			buf_adds(out, "; by any path\n");
		declare_rule(out, a->p, &rule, name);
		add_rule(out, a->p, &rule, name);
	}
}

static void add_use_rules(struct buf *out, const struct policy *p)
{
	for (size_t i = 0; i < p->use_count; i++) {
		const struct policy_use_rule *u = &p->uses[i];
		add_place(out, p, u->span);
		for (size_t s = 0; s < u->subject_count; s++) {
			for (size_t k = 0; k < u->name_count; k++) {
				buf_adds(out, u->never ? "(neverallow " : "(allow ");
				analysis_cil_type(out, p, false, u->subjects[s]);
				buf_addc(out, ' ');
				add_use(out, is_set(u->names[k]) ? "a" : "u", u->kind, u->names[k]);
				buf_printf(out, " (use (link)))%s\n", u->revocable ? "\t; revocable" : "");
			}
		}
	}
}

static void add_edges(struct buf *out, const struct policy *p)
{
	for (size_t i = 0; i < p->enter_count; i++) {
		const struct policy_enter *e = &p->enters[i];
		add_place(out, p, e->span);
		for (unsigned audit = 0; audit <= e->audit; audit++) {
			buf_adds(out, audit ? "(auditallow " : "(allow ");
			analysis_cil_type(out, p, false, e->from);
			buf_addc(out, ' ');
			analysis_cil_type(out, p, false, e->to);
			buf_printf(out, " (domain (enter)))%s\n", e->ticket ? "\t; with ticket" : "");
		}
	}
}

void analysis_cil(struct buf *out, const struct analysis *a)
{
	buf_adds(out, "; A policy of Prickle for SELinux's tools. Compile: secilc -o policy.bin -f /dev/null FILE; then: sesearch -A policy.bin\n"
		      "(handleunknown deny)\n(mls false)\n");
	add_classes(out);
	add_labels(out, a->p);
	add_uses(out, a->p);
	add_frame(out, a->p);
	buf_adds(out, "\n; rules\n");
	add_allows(out, a->p);
	add_use_rules(out, a->p);
	add_edges(out, a->p);
	if (a->p->never_count > 0)
		buf_adds(out, "\n; invariants\n");
	add_nevers(out, a);
}
