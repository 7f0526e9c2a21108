#include "policy/analysis/explain.h"
#include "policy/analysis/analysis_private.h"
#include "policy/analysis/words.h"

#include <errno.h>
#include <string.h>

const struct policy_rule *analysis_forbidden(const struct analysis *a, uint16_t subject, uint16_t object, uint32_t permission)
{
	bool goal[POLICY_SUBJECTS_MAX + 1] = { false };
	struct analysis_ways ways;

	goal[subject] = true;
	analysis_ways(a, goal, &ways);
	for (size_t i = 0; i < a->p->never_count; i++) {
		const struct policy_rule *n = &a->p->nevers[i];
		if (n->class != a->p->objects[object].class || (n->permissions & permission) == 0 || !list_has(n->objects, n->object_count, object))
			continue;
		for (size_t k = 0; k < n->subject_count; k++)
			if (n->subjects[k] == subject || (n->by_any_path && ways.next[n->subjects[k]] != 0))
				return n;
	}
	return NULL;
}

const char *analysis_allow_text(struct arena *arena, const struct analysis *a, const struct policy_rule *rule)
{
	AUTO_BUF struct buf b = BUF_INIT(1u << 20);

	buf_adds(&b, "allow ");
	words_subjects(&b, a->p, rule->subjects, rule->subject_count);
	buf_addc(&b, ' ');
	words_permissions(&b, rule->class, rule->permissions);
	buf_addc(&b, ' ');
	words_objects(&b, a->p, rule->objects, rule->object_count);
	if (rule->predicates != 0) {
		buf_adds(&b, " where ");
		words_predicates(&b, rule->predicates);
	}
	return b.err != 0 ? NULL : arena_str(arena, buf_slice(&b));
}

/* ---- what a line opens ---- */

static void add_line(struct arena *arena, struct analysis_texts *t, struct buf *b)
{
	if (t->count < ANALYSIS_OPENS_MAX && b->len > 0)
		t->lines[t->count++] = arena_str(arena, buf_slice(b));
	buf_reset(b);
}

static void who_else(struct buf *b, const struct policy *p, uint16_t subject)
{
	const struct policy_subject *s = &p->subjects[subject];

	switch (s->kind) {
	case POLICY_BY_DIRECTORY:
		buf_printf(b, "%s is every user of the directory", s->name);
		break;
	case POLICY_IN_GROUP:
		buf_printf(b, "%s is every member of the group %s", s->name, s->text);
		break;
	case POLICY_ROOT:
		buf_printf(b, "%s is whoever is root, or the node's own user", s->name);
		break;
	case POLICY_EBPF:
		if (s->text == NULL && s->sha256 == NULL)
			buf_printf(b, "%s is every extension that no other domain fits better", s->name);
		break;
	case POLICY_PROGRAM:
		if (s->text == NULL)
			buf_printf(b, "%s is every program that is run in this domain", s->name);
		break;
	default:
		break;
	}
}

static void what_else(struct buf *b, const struct policy *p, uint16_t object, uint32_t predicates)
{
	const struct policy_object *o = &p->objects[object];
	const char *comma = ", but not what has a label of its own: ";

	switch (o->kind) {
	case POLICY_SINGLE:
		buf_printf(b, "%s is every one, whoever owns it", o->name);
		if (predicates != 0) {
			buf_reset(b);
			buf_printf(b, "%s is every one where ", o->name);
			words_predicates(b, predicates);
		}
		break;
	case POLICY_TREE:
		buf_printf(b, "%s is all below %s", o->name, o->text);
		for (size_t i = 1; i < p->object_count; i++) {
			const struct policy_object *other = &p->objects[i];
			size_t n = strlen(o->text);
			if ((other->kind != POLICY_TREE && other->kind != POLICY_PATH) || other == o || strncmp(other->text, o->text, n) != 0 ||
			    (n > 1 && other->text[n] != '/'))
				continue;
			buf_printf(b, "%s%s", comma, other->text);
			comma = ", ";
		}
		break;
	case POLICY_NIC:
		if (o->text == NULL)
			buf_printf(b, "%s is every interface that has no label of its own", o->name);
		break;
	case POLICY_HOST_PORT:
		if (o->text == NULL || o->port == 0)
			buf_printf(b, "%s is every %s%s%s that has no label of its own", o->name, o->text == NULL ? "host" : "port",
				   o->text == NULL ? "" : " of ", o->text == NULL ? (o->port == 0 ? " and port" : "") : o->text);
		break;
	case POLICY_MESSAGE:
		if (o->text == NULL)
			buf_printf(b, "%s is every message that has no label of its own", o->name);
		break;
	default:
		break;
	}
}

int analysis_opens(struct arena *arena, const struct analysis *a, const uint16_t *subjects, size_t subject_count, const uint16_t *objects,
		   size_t object_count, uint32_t predicates, struct analysis_texts *out)
{
	AUTO_BUF struct buf b = BUF_INIT(65536);
	bool goal[POLICY_SUBJECTS_MAX + 1] = { false };
	struct analysis_ways ways;
	struct analysis_texts t = { arena_array(arena, ANALYSIS_OPENS_MAX + 1, sizeof(*t.lines)), 0 };
	size_t more = 0;

	if (t.lines == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < subject_count; i++) {
		goal[subjects[i]] = true;
		who_else(&b, a->p, subjects[i]);
		add_line(arena, &t, &b);
	}
	for (size_t i = 0; i < object_count; i++) {
		what_else(&b, a->p, objects[i], predicates);
		add_line(arena, &t, &b);
	}
	analysis_ways(a, goal, &ways);
	for (uint16_t s = 1; s < a->subjects; s++) {
		if (goal[s] || ways.next[s] == 0)
			continue;
		if (t.count == ANALYSIS_OPENS_MAX)
			more++;
		buf_printf(&b, "%s can do it, too: ", a->p->subjects[s].name);
		analysis_way_text(&b, a, &ways, s);
		add_line(arena, &t, &b);
	}
	if (more > 0) {
		buf_printf(&b, "%zu more subjects can do it, too", more);
		t.lines[t.count++] = arena_str(arena, buf_slice(&b));
	}
	if (arena->err != 0)
		return -ENOMEM;
	*out = t;
	return 0;
}

/* ---- explain ---- */

static enum analysis_near nearness(const struct policy_rule *r, uint16_t subject, uint16_t object, uint32_t permission)
{
	bool s = list_has(r->subjects, r->subject_count, subject), o = list_has(r->objects, r->object_count, object);
	bool p = (r->permissions & permission) != 0;

	return s && o && p ? ANALYSIS_NEAR_CONDITION :
	       s && o	   ? ANALYSIS_NEAR_PERMISSION :
	       s && p	   ? ANALYSIS_NEAR_OBJECT :
	       o && p	   ? ANALYSIS_NEAR_SUBJECT :
			     ANALYSIS_NEAR_NOTHING;
}

static void find_rules(const struct analysis *a, uint16_t subject, enum policy_class class, uint16_t object, uint32_t permission,
		       struct analysis_explanation *e)
{
	for (size_t i = 0; i < a->p->allow_count; i++) {
		const struct policy_rule *r = &a->p->allows[i];
		enum analysis_near near = r->class == class ? nearness(r, subject, object, permission) : ANALYSIS_NEAR_NOTHING;
		if (near == ANALYSIS_NEAR_CONDITION) {
			if (e->rule == NULL || (r->predicates == 0 && e->rule->predicates != 0))
				e->rule = r;
			e->predicates |= r->predicates;
		}
		if (near != ANALYSIS_NEAR_NOTHING && (e->nearest == NULL || near < e->near)) {
			e->near = near;
			e->nearest = r;
		}
	}
	if (e->rule != NULL && e->rule->predicates == 0)
		e->predicates = 0;
}

static void find_way(const struct analysis *a, uint16_t subject, uint16_t object, uint32_t permission, struct analysis_explanation *e)
{
	bool goal[POLICY_SUBJECTS_MAX + 1] = { false };
	struct analysis_ways ways;

	for (uint16_t s = 1; s < a->subjects; s++)
		goal[s] = (cell_of(a, s, object)->allow & permission) != 0;
	analysis_ways(a, goal, &ways);
	e->path_count = analysis_way(&ways, subject, e->path, ARRAY_LEN(e->path));
	for (uint16_t s = subject; e->path_count > 0 && ways.next[s] != s; s = ways.next[s])
		e->ticket |= analysis_edge(a, s, ways.next[s])->ticket;
}

int analysis_explain(struct arena *arena, const struct analysis *a, uint16_t subject, enum policy_class class, uint16_t object, uint32_t permission,
		     struct analysis_explanation *out)
{
	struct analysis_explanation e = { 0 };
	const struct policy_rule line = { &subject, 1, class, permission, &object, 1 };

	find_rules(a, subject, class, object, permission, &e);
	if (subject != 0 && subject < a->subjects && object != 0 && object < a->objects && (e.rule == NULL || e.predicates != 0)) {
		find_way(a, subject, object, permission, &e);
		e.never = analysis_forbidden(a, subject, object, permission);
		e.line = analysis_allow_text(arena, a, &line);
		if (e.line == NULL || analysis_opens(arena, a, &subject, 1, &object, 1, 0, &e.opens) != 0)
			return -ENOMEM;
	}
	*out = e;
	return 0;
}

static void add_rule(struct buf *out, const struct analysis *a, const char *word, const struct policy_rule *r, const char *why)
{
	buf_printf(out, "  %-9s ", word);
	policy_span_text(out, a->p, r->span);
	buf_printf(out, "%s\n", why);
	policy_span_show(out, a->p, r->span);
}

void analysis_explain_text(struct buf *out, const struct analysis *a, const struct analysis_explanation *e)
{
	static const char *const near[] = {
		[ANALYSIS_NEAR_NOTHING] = "", [ANALYSIS_NEAR_CONDITION] = "",
		[ANALYSIS_NEAR_PERMISSION] = ": other permissions on this object", [ANALYSIS_NEAR_OBJECT] = ": the same permission on other objects",
		[ANALYSIS_NEAR_SUBJECT] = ": the same permission for others",
	};

	if (e->rule != NULL) {
		add_rule(out, a, "rule", e->rule, e->predicates == 0 ? " allows it" : " allows it under a condition");
	} else {
		buf_adds(out, "  rule      none: nothing allows it, so it is denied\n");
		if (e->nearest != NULL)
			add_rule(out, a, "nearest", e->nearest, near[e->near]);
	}
	if (e->path_count > 1) {
		buf_adds(out, "  way       ");
		for (size_t i = 0; i < MIN(e->path_count, ARRAY_LEN(e->path)); i++)
			buf_printf(out, "%s%s", i == 0 ? "" : " -> ", policy_subject_text(a->p, e->path[i]));
		buf_printf(out, "%s%s\n", e->path_count > ARRAY_LEN(e->path) ? " -> ..." : "", e->ticket ? ", with a ticket" : "");
	}
	if (e->line == NULL)
		return;
	buf_printf(out, "  line      %s\n", e->line);
	if (e->never != NULL)
		add_rule(out, a, "but", e->never, ": this never forbids the line");
	for (size_t i = 0; i < e->opens.count; i++)
		buf_printf(out, "  opens     %s\n", e->opens.lines[i]);
}
