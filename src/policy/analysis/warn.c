#include "policy/analysis/warn.h"
#include "policy/analysis/analysis_private.h"

struct warner {
	const struct analysis *a;
	const struct policy *p;
	struct buf *out;
	size_t count;
	bool object_named[POLICY_OBJECTS_MAX + 1], subject_named[POLICY_SUBJECTS_MAX + 1], entered[POLICY_SUBJECTS_MAX + 1];
};

/* The sentence follows; false: enough, or not the user's. */
static bool begin(struct warner *w, struct policy_span span)
{
	if (span.line == 0 || strcmp(w->p->sources[span.source].name, "default") == 0 || w->count >= POLICY_ERRORS_MAX)
		return false;
	w->count++;
	policy_span_text(w->out, w->p, span);
	buf_adds(w->out, ": warning: ");
	return true;
}

static void end(struct warner *w, struct policy_span span)
{
	buf_addc(w->out, '\n');
	policy_span_show(w->out, w->p, span);
}

static void note_rule(struct warner *w, const struct policy_rule *r, bool allow)
{
	for (size_t i = 0; i < r->object_count; i++)
		w->object_named[r->objects[i]] = true;
	for (size_t i = 0; i < r->subject_count && allow; i++)
		w->subject_named[r->subjects[i]] = true;
}

static void note_all(struct warner *w)
{
	const struct policy *p = w->p;

	for (size_t i = 0; i < p->allow_count; i++)
		note_rule(w, &p->allows[i], true);
	for (size_t i = 0; i < p->never_count; i++)
		note_rule(w, &p->nevers[i], false);
	for (size_t i = 0; i < p->expect_count; i++)
		w->object_named[p->expects[i].target.kind != POLICY_OBJECT_NONE ? analysis_lookup(p, &p->expects[i].target) :
										  p->expects[i].object] = true;
	for (size_t i = 0; i < p->use_count; i++)
		for (size_t k = 0; k < p->uses[i].subject_count && !p->uses[i].never; k++)
			w->subject_named[p->uses[i].subjects[k]] = true;
	for (size_t i = 0; i < p->enter_count; i++) {
		w->subject_named[p->enters[i].from] = true;
		w->entered[p->enters[i].to] = true;
	}
}

static bool path_below(const char *tree, const char *path)
{
	size_t n = strlen(tree);

	return strncmp(path, tree, n) == 0 && (n == 1 || path[n] == '/');
}

/* It takes its names out of a larger label: without a rule, that denies them, which may well be meant. */
static bool takes_out(const struct policy *p, const struct policy_object *o)
{
	for (size_t i = 1; i < p->object_count; i++) {
		const struct policy_object *other = &p->objects[i];
		if (other == o || other->class != o->class || other->kind == POLICY_PLACE)
			continue;
		if (o->class == POLICY_FILE ? other->kind == POLICY_TREE && path_below(other->text, o->text) : other->text == NULL)
			return true;
	}
	return false;
}

static void idle_labels(struct warner *w)
{
	for (size_t i = 1; i < w->p->object_count; i++) {
		const struct policy_object *o = &w->p->objects[i];
		if (o->kind == POLICY_SINGLE || w->object_named[i] || takes_out(w->p, o) || !begin(w, o->span))
			continue;
		buf_printf(w->out, "no rule names the label %s, so nobody may do anything with it", policy_object_text(w->p, (uint16_t)i));
		end(w, o->span);
	}
	for (size_t i = 1; i < w->p->subject_count; i++) {
		const struct policy_subject *s = &w->p->subjects[i];
		if (s->kind == POLICY_BY_TICKET && !w->entered[i] && begin(w, s->span)) {
			buf_printf(w->out, "no 'enter ... -> %s' leads here, so nobody can ever be this", policy_subject_text(w->p, (uint16_t)i));
			end(w, s->span);
		} else if (!w->subject_named[i] && begin(w, s->span)) {
			buf_printf(w->out, "%s has no rights: no allow names it", policy_subject_text(w->p, (uint16_t)i));
			end(w, s->span);
		}
	}
}

/* What the subject may open at the same port, of any host: Landlock cannot tell them apart. 0: nothing. */
static uint16_t port_opened(const struct analysis *a, uint16_t subject, uint16_t object, uint32_t permissions)
{
	for (size_t i = 1; i < a->objects; i++) {
		const struct policy_object *o = &a->p->objects[i], *taken = &a->p->objects[object];
		struct analysis_right right = analysis_right(a, subject, (uint16_t)i);
		if (o->class == POLICY_ENDPOINT && o->kind != POLICY_PLACE && i != object && (right.allow & permissions) != 0 &&
		    (o->port == taken->port || o->port == 0 || taken->port == 0))
			return (uint16_t)i;
	}
	return 0;
}

static bool has_floor(enum policy_subject_kind kind)
{
	return kind == POLICY_SERVICE || kind == POLICY_PROGRAM || kind == POLICY_JVM;
}

static void floor_gap(struct warner *w, const struct policy_rule *never, uint16_t subject)
{
	const uint32_t tcp = never->permissions & (POLICY_ENDPOINT_CONNECT | POLICY_ENDPOINT_LISTEN);

	for (size_t i = 0; i < never->object_count && tcp != 0; i++) {
		uint16_t opened = port_opened(w->a, subject, never->objects[i], tcp);
		if (opened == 0 || !begin(w, never->span))
			continue;
		buf_printf(w->out, "the floor of %s cannot hold this: it may %s %s, and the kernel knows ports without hosts, so %s is open there, too; checks in the program still deny it",
			   policy_subject_text(w->p, subject), policy_permission_name(POLICY_ENDPOINT, tcp), policy_object_text(w->p, opened),
			   policy_object_text(w->p, never->objects[i]));
		end(w, never->span);
		return;
	}
	for (size_t i = 1; i < w->p->object_count && (never->permissions & POLICY_ENDPOINT_SEND) != 0; i++) {
		if (w->p->objects[i].class != POLICY_KERNEL || (analysis_right(w->a, subject, (uint16_t)i).allow & POLICY_KERNEL_SOCKET) == 0 ||
		    !begin(w, never->span))
			continue;
		buf_printf(w->out, "the floor of %s cannot hold this: it may make sockets, and the kernel does not restrict datagrams; checks in the program still deny it",
			   policy_subject_text(w->p, subject));
		end(w, never->span);
		return;
	}
}

/* What nobody is, nobody may. */
static void locked_out(struct warner *w)
{
	bool root = false, users = false;

	if (w->p->sources == NULL || strcmp(w->p->sources[0].name, "default") == 0)
		return;
	for (size_t i = 1; i < w->p->subject_count; i++) {
		root |= w->p->subjects[i].kind == POLICY_ROOT && w->subject_named[i];
		users |= w->p->subjects[i].kind == POLICY_BY_DIRECTORY && w->subject_named[i];
	}
	if (root && users)
		return;
	w->count++;
	buf_printf(w->out, "%s: warning: %s has rights here, so while this is in force %s; 'import default' gives them what the shipped policy does\n",
		   w->p->sources[0].name, root ? "no role that is 'mapped by directory'" : "no role that is 'principal root'",
		   root ? "no user can read or send mail" :
		   users ? "root cannot use the node's admin socket" : "neither root nor any user can use this node");
}

void analysis_warn(const struct analysis *a, struct buf *warnings)
{
	struct warner w = { .a = a, .p = a->p, .out = warnings };

	note_all(&w);
	locked_out(&w);
	idle_labels(&w);
	for (size_t i = 0; i < a->p->never_count; i++) {
		const struct policy_rule *never = &a->p->nevers[i];
		for (size_t k = 0; k < never->subject_count && never->class == POLICY_ENDPOINT; k++)
			if (has_floor(a->p->subjects[never->subjects[k]].kind))
				floor_gap(&w, never, never->subjects[k]);
	}
}
