/*
 * What must hold: every `never` and every `expect`. A never is compared with each allow, not with the rights that they add up to: so the message
 * has both places, and the cost is rules times nevers of one class.
 */
#include "policy/analysis/analysis_private.h"
#include "policy/analysis/warn.h"
#include "policy/analysis/words.h"

struct checker {
	const struct analysis *a;
	const struct policy *p;
	struct buf *errors;
	size_t count;
};

/* "FILE:LINE:COL: error: " for the first POLICY_ERRORS_MAX; false past them: only counted. */
static bool begin_error(struct checker *c, struct policy_span span)
{
	if (c->count++ >= POLICY_ERRORS_MAX)
		return false;
	policy_span_text(c->errors, c->p, span);
	buf_adds(c->errors, ": error: ");
	return true;
}

static void end_place(struct checker *c, struct policy_span span)
{
	buf_addc(c->errors, '\n');
	policy_span_show(c->errors, c->p, span);
}

static void begin_note(struct checker *c, struct policy_span span)
{
	policy_span_text(c->errors, c->p, span);
	buf_adds(c->errors, ": note: ");
}

static void add_because(struct buf *out, const char *because)
{
	if (because != NULL)
		buf_printf(out, ": \"%s\"", because);
}

static size_t common_count(const uint16_t *a, size_t a_count, const uint16_t *b, size_t b_count)
{
	size_t count = 0;

	for (size_t i = 0, k = 0; i < a_count && k < b_count;) {
		count += a[i] == b[k];
		if (a[i] <= b[k])
			i++;
		else
			k++;
	}
	return count;
}

static void and_others(struct buf *out, size_t count)
{
	if (count > 1)
		buf_printf(out, " (and %zu other%s)", count - 1, count == 2 ? "" : "s");
}

static void breach_objects(struct checker *c, const struct policy_rule *allow, const struct policy_rule *never)
{
	uint16_t object = 0;

	words_permissions(c->errors, allow->class, allow->permissions & never->permissions);
	(void)list_common(allow->objects, allow->object_count, never->objects, never->object_count, &object);
	buf_printf(c->errors, " %s", policy_object_text(c->p, object));
	and_others(c->errors, common_count(allow->objects, allow->object_count, never->objects, never->object_count));
}

static void breach_never(struct checker *c, const struct policy_rule *never)
{
	begin_note(c, never->span);
	buf_adds(c->errors, "breaks this never");
	add_because(c->errors, never->because);
	end_place(c, never->span);
}

static void direct_breach(struct checker *c, const struct policy_rule *allow, const struct policy_rule *never, uint16_t subject)
{
	if (!begin_error(c, allow->span))
		return;
	buf_printf(c->errors, "this allow lets %s", policy_subject_text(c->p, subject));
	and_others(c->errors, common_count(allow->subjects, allow->subject_count, never->subjects, never->subject_count));
	buf_addc(c->errors, ' ');
	breach_objects(c, allow, never);
	end_place(c, allow->span);
	breach_never(c, never);
}

static void path_breach(struct checker *c, const struct policy_rule *allow, const struct policy_rule *never, const struct analysis_ways *ways,
			uint16_t from)
{
	if (!begin_error(c, allow->span))
		return;
	uint16_t last = from;
	while (ways->next[last] != last)
		last = ways->next[last];
	buf_printf(c->errors, "this allow lets %s ", policy_subject_text(c->p, last));
	breach_objects(c, allow, never);
	buf_adds(c->errors, ", and ");
	analysis_way_text(c->errors, c->a, ways, from);
	end_place(c, allow->span);
	for (; ways->next[from] != from; from = ways->next[from]) {
		const struct policy_enter *e = analysis_edge(c->a, from, ways->next[from]);
		begin_note(c, e->span);
		buf_printf(c->errors, "%s may enter %s here", policy_subject_text(c->p, from), policy_subject_text(c->p, ways->next[from]));
		end_place(c, e->span);
	}
	breach_never(c, never);
}

/* The subject of the never that is nearest to one that the allow names, by at least one edge; 0: none. */
static uint16_t nearest(const struct analysis *a, const struct policy_rule *allow, const struct policy_rule *never, struct analysis_ways *ways)
{
	bool goal[POLICY_SUBJECTS_MAX + 1] = { false };
	uint16_t best = 0;

	for (size_t i = 0; i < allow->subject_count; i++)
		goal[allow->subjects[i]] = true;
	analysis_ways(a, goal, ways);
	for (size_t i = 0; i < never->subject_count; i++) {
		uint16_t s = never->subjects[i];
		if (ways->next[s] != 0 && (best == 0 || ways->steps[s] < ways->steps[best]))
			best = s;
	}
	return best;
}

static bool any_reached(const struct policy_rule *allow, const bool *reached)
{
	for (size_t i = 0; i < allow->subject_count; i++)
		if (reached[allow->subjects[i]])
			return true;
	return false;
}

static void check_never(struct checker *c, const struct policy_rule *never)
{
	bool reached[POLICY_SUBJECTS_MAX + 1] = { false };
	struct analysis_ways ways;
	uint16_t common;

	/* One search a never, so that an allow costs a look at its subjects. */
	if (never->by_any_path)
		analysis_reach(c->a, never->subjects, never->subject_count, reached);
	for (size_t i = 0; i < c->p->allow_count; i++) {
		const struct policy_rule *allow = &c->p->allows[i];
		if (allow->class != never->class || (allow->permissions & never->permissions) == 0 ||
		    !list_common(allow->objects, allow->object_count, never->objects, never->object_count, &common))
			continue;
		if (list_common(allow->subjects, allow->subject_count, never->subjects, never->subject_count, &common)) {
			direct_breach(c, allow, never, common);
		} else if (any_reached(allow, reached)) {
			common = nearest(c->a, allow, never, &ways);
			if (common != 0)
				path_breach(c, allow, never, &ways, common);
		}
	}
}

static void check_never_use(struct checker *c, const struct policy_use_rule *never)
{
	uint16_t subject;

	for (size_t i = 0; i < c->p->use_count; i++) {
		const struct policy_use_rule *allow = &c->p->uses[i];
		if (allow->never || allow->kind != never->kind ||
		    !list_common(allow->subjects, allow->subject_count, never->subjects, never->subject_count, &subject))
			continue;
		for (size_t k = 0; k < allow->name_count; k++) {
			const char *taken = NULL;
			for (size_t n = 0; n < never->name_count && taken == NULL; n++)
				if (policy_use_covers(allow->kind, allow->names[k], never->names[n]) ||
				    policy_use_covers(allow->kind, never->names[n], allow->names[k]))
					taken = never->names[n];
			if (taken == NULL || !begin_error(c, allow->span))
				continue;
			buf_printf(c->errors, "this allow lets %s use %s %s", policy_subject_text(c->p, subject), policy_use_name(allow->kind), taken);
			if (strcmp(taken, allow->names[k]) != 0)
				buf_printf(c->errors, " (by '%s')", allow->names[k]);
			end_place(c, allow->span);
			begin_note(c, never->span);
			buf_adds(c->errors, "breaks this never");
			add_because(c->errors, never->because);
			end_place(c, never->span);
		}
	}
}

/* ---- expect ---- */

static bool uses(const struct analysis *a, uint16_t subject, enum policy_use kind, const char *name)
{
	const char *const *names;
	size_t count = analysis_uses(a, subject, kind, &names);

	for (size_t i = 0; i < count; i++)
		if (policy_use_covers(kind, names[i], name))
			return true;
	return false;
}

static void expect_failed(struct checker *c, const struct policy_expect *e, const char *what, const char *object, const char *reason)
{
	if (!begin_error(c, e->span))
		return;
	buf_printf(c->errors, "%s: %s", what, policy_subject_text(c->p, e->subject));
	if (e->class == POLICY_CLASS_NONE)
		buf_printf(c->errors, " use %s %s", policy_use_name(e->use), e->use_name);
	else
		buf_printf(c->errors, " %s%s%s", policy_permission_name(e->class, e->permission), *object == '\0' ? "" : " ", object);
	if (reason != NULL)
		buf_printf(c->errors, ": %s", reason);
	add_because(c->errors, e->because);
	end_place(c, e->span);
}

/* Where the right comes from, below the error. */
static void show_rule(struct checker *c, uint16_t subject, uint16_t object, uint32_t permission)
{
	const struct policy_rule *rule;

	if (c->count > POLICY_ERRORS_MAX || analysis_rules(c->a, subject, object, permission, &rule, 1) == 0)
		return;
	begin_note(c, rule->span);
	buf_adds(c->errors, "this allows it");
	end_place(c, rule->span);
}

/*
 * Why a right that is there needs a check while code runs; NULL: it does not. Of extensions, ports and handlers are filled in when they are loaded,
 * and plain redirect (to an index that the program computes) is the one helper that reaches a port past that. Of processes, the kernel holds what
 * the floor can say.
 */
static const char *not_static(const struct analysis *a, uint16_t subject, const struct policy_object *o, uint32_t permission, uint32_t conditional)
{
	if ((conditional & permission) != 0)
		return "it depends on the object, which is looked at each time";
	switch (a->p->subjects[subject].kind) {
	case POLICY_EBPF:
		if (o->class == POLICY_PORT && (permission & (POLICY_PORT_REDIRECT | POLICY_PORT_FORWARD)) != 0 &&
		    uses(a, subject, POLICY_USE_HELPER, "redirect"))
			return "it may use the helper redirect, which is checked at run time; redirect_map is not";
		for (size_t i = 0; i < a->p->use_count; i++)
			if (a->p->uses[i].revocable && !a->p->uses[i].never &&
			    list_has(a->p->uses[i].subjects, a->p->uses[i].subject_count, subject))
				return "it has revocable helpers, which are checked at run time";
		return o->class == POLICY_PORT || o->class == POLICY_HANDLER ? NULL : "an extension has no such right at load time";
	case POLICY_PROGRAM:
	case POLICY_SERVICE:
		if (o->class == POLICY_KERNEL || o->class == POLICY_FILE || o->kind == POLICY_PLACE)
			return NULL;
		if (o->class == POLICY_ENDPOINT && o->text == NULL && permission != POLICY_ENDPOINT_SEND)
			return NULL;
		return o->class == POLICY_ENDPOINT ? "the kernel knows ports of TCP, but neither hosts nor datagrams" :
						     "a service looks it up each time";
	case POLICY_JVM:
		return o->class == POLICY_CODE ? NULL : "it is looked up each time";
	default:
		return "a session's rights are looked up each time";
	}
}

static void expect_object(struct checker *c, const struct policy_expect *e, uint16_t object, const char *name)
{
	struct analysis_right right = analysis_right(c->a, e->subject, object);
	bool may = ((right.allow | right.conditional) & e->permission) != 0;

	switch (e->what) {
	case POLICY_EXPECT_ALLOW:
		if (!may)
			expect_failed(c, e, "expected to be allowed", name, object == 0 ? "no label has this name" : "no allow says so");
		break;
	case POLICY_EXPECT_DENY:
		if (may) {
			expect_failed(c, e, "expected to be denied", name, NULL);
			show_rule(c, e->subject, object, e->permission);
		}
		break;
	case POLICY_EXPECT_STATIC: {
		const char *reason = !may ? "it is not allowed at all" :
					    not_static(c->a, e->subject, &c->p->objects[object], e->permission, right.conditional);
		if (reason != NULL)
			expect_failed(c, e, "expected to need no check at run time", name, reason);
		break;
	}
	}
}

static void expect_use(struct checker *c, const struct policy_expect *e)
{
	bool may = uses(c->a, e->subject, e->use, e->use_name);

	if (e->what == POLICY_EXPECT_DENY && may)
		expect_failed(c, e, "expected to be denied", "", NULL);
	else if (e->what != POLICY_EXPECT_DENY && !may)
		expect_failed(c, e, "expected to be allowed", "", "no allow says so");
	else if (e->what == POLICY_EXPECT_STATIC && analysis_use_revocable(c->a, e->subject, e->use, e->use_name))
		expect_failed(c, e, "expected to need no check at run time", "", "it is revocable, so it is checked at run time");
}

/* Nothing named: all of the class, for static all that the subject may. */
static void expect_class(struct checker *c, const struct policy_expect *e)
{
	size_t of_class = 0, had = c->count;

	for (size_t i = 1; i < c->p->object_count && c->count == had; i++) {
		if (c->p->objects[i].class != e->class)
			continue;
		struct analysis_right right = analysis_right(c->a, e->subject, (uint16_t)i);
		if (e->what == POLICY_EXPECT_STATIC && ((right.allow | right.conditional) & e->permission) == 0)
			continue;
		of_class++;
		expect_object(c, e, (uint16_t)i, policy_object_text(c->p, (uint16_t)i));
	}
	if (of_class == 0 && e->what != POLICY_EXPECT_DENY)
		expect_failed(c, e, "expected to be allowed", policy_class_name(e->class),
			      e->what == POLICY_EXPECT_STATIC ? "no allow says so" : "there is no label of this class");
}

static void check_expect(struct checker *c, const struct policy_expect *e)
{
	if (e->class == POLICY_CLASS_NONE)
		expect_use(c, e);
	else if (e->target.kind != POLICY_OBJECT_NONE)
		expect_object(c, e, analysis_lookup(c->p, &e->target), e->target.text != NULL ? e->target.text : "any");
	else if (e->object != 0)
		expect_object(c, e, e->object, policy_object_text(c->p, e->object));
	else
		expect_class(c, e);
}

size_t analysis_check(const struct analysis *a, struct buf *errors, struct buf *warnings)
{
	struct checker c = { a, a->p, errors, 0 };

	for (size_t i = 0; i < a->p->never_count; i++)
		check_never(&c, &a->p->nevers[i]);
	for (size_t i = 0; i < a->p->use_count; i++)
		if (a->p->uses[i].never)
			check_never_use(&c, &a->p->uses[i]);
	for (size_t i = 0; i < a->p->expect_count; i++)
		check_expect(&c, &a->p->expects[i]);
	if (c.count > POLICY_ERRORS_MAX)
		buf_printf(errors, "%zu more are not shown\n", c.count - POLICY_ERRORS_MAX);
	analysis_warn(a, warnings);
	return c.count;
}
