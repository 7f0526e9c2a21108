#include "policy/service.h"

#include <errno.h>

#include "policy/floor.h"

#define ERRORS_BYTES 4096u

/* A domain of this role that the policy says itself: one that it imported as shipped, perhaps by an earlier version, takes nothing away. */
static bool is_own(const struct policy *p, uint16_t subject)
{
	return strcmp(p->sources[p->subjects[subject].span.source].name, "default") != 0;
}

static uint16_t service_of(const struct policy *p, const char *role)
{
	for (size_t i = 1; i < p->subject_count; i++)
		if (p->subjects[i].kind == POLICY_SERVICE && strcmp(p->subjects[i].text, role) == 0)
			return (uint16_t)i;
	return 0;
}

/* What the policy in force allows on the thing that is this object in the shipped one: labels may have other names there. */
static uint32_t in_force_allows(const struct analysis *a, uint16_t subject, const struct policy_object *o)
{
	return subject == 0 ? 0 : analysis_right(a, subject, analysis_lookup(analysis_policy(a), o)).allow;
}

static int add_row(struct service_floor *f, const struct policy_rule *r, const struct policy_object *o, uint32_t may, struct errmsg *why)
{
	const struct policy_place *place = o->kind == POLICY_PLACE ? policy_place_find(slice_str(o->text)) : NULL;

	/* Rights in the table (mailboxes) are asked when they are used, not held by the kernel. */
	if (place == NULL && o->class != POLICY_KERNEL)
		return 0;
	if (f->row_count == SERVICE_ROWS_MAX)
		return errmsg_say(why, -E2BIG, "more than %u rows of the shipped policy for one process", (unsigned)SERVICE_ROWS_MAX);
	f->rows[f->row_count++] = (struct service_row){
		.class = o->class, .place = place == NULL ? NULL : place->text, .shipped = r->permissions, .may = may, .line = r->span.line,
	};
	f->narrowed |= may != r->permissions;
	if (o->class == POLICY_KERNEL)
		f->kernel |= may;
	return 0;
}

static bool names(const struct policy_rule *r, uint16_t subject)
{
	for (size_t i = 0; i < r->subject_count; i++)
		if (r->subjects[i] == subject)
			return r->predicates == 0;
	return false;
}

int policy_service_floor(const struct analysis *in_force, const char *role, struct service_floor *out, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	AUTO_BUF struct buf errors = BUF_INIT(ERRORS_BYTES);
	struct service_floor f = { 0 };
	const struct policy *p;
	uint16_t subject, theirs = in_force == NULL ? 0 : service_of(analysis_policy(in_force), role);
	int err = policy_parse(&arena, "default", policy_default_text(), NULL, NULL, &p, &errors);

	if (err != 0)
		return errmsg_say(why, err, "the shipped policy: %s", buf_cstr(&errors));
	if (theirs != 0 && !is_own(analysis_policy(in_force), theirs))
		theirs = 0;
	subject = service_of(p, role);
	if (subject == 0)
		return errmsg_say(why, -ENOENT, "the shipped policy has no domain of the role '%s'", role);
	for (size_t i = 0; err == 0 && i < p->allow_count; i++) {
		const struct policy_rule *r = &p->allows[i];
		for (size_t k = 0; err == 0 && k < r->object_count && names(r, subject); k++) {
			const struct policy_object *o = &p->objects[r->objects[k]];
			uint32_t may = r->permissions & (theirs == 0 ? ~0u : in_force_allows(in_force, theirs, o));
			err = add_row(&f, r, o, may, why);
		}
	}
	f.capabilities = policy_floor_capabilities(f.kernel);
	if (err == 0)
		*out = f;
	return err;
}

uint32_t service_floor_may(const struct service_floor *f, enum policy_class class, const char *place)
{
	uint32_t may = 0;

	for (size_t i = 0; i < f->row_count; i++)
		if (f->rows[i].class == class && f->rows[i].place != NULL && strcmp(f->rows[i].place, place) == 0)
			may |= f->rows[i].may;
	return may;
}

static void warning(const struct policy *p, const struct policy_subject *s, struct buf *sentence, struct buf *warnings)
{
	policy_span_text(warnings, p, s->span);
	buf_printf(warnings, ": warning: %s\n", buf_cstr(sentence));
	policy_span_show(warnings, p, s->span);
}

static void add_missing(struct buf *out, const struct service_row *r)
{
	uint32_t missing = r->shipped & ~r->may;

	for (uint32_t left = missing; left != 0; left &= left - 1)
		buf_printf(out, "%s%s", left != missing ? ", " : out->len == 0 ? "" : "; ", policy_permission_name(r->class, left & -left));
	if (missing != 0)
		buf_printf(out, " %s (default:%u)", r->place == NULL ? policy_class_name(r->class) : r->place, r->line);
}

void policy_service_warn(const struct analysis *a, struct buf *warnings)
{
	const struct policy *p = analysis_policy(a);

	for (size_t i = 1; i < p->subject_count; i++) {
		const struct policy_subject *s = &p->subjects[i];
		AUTO_BUF struct buf missing = BUF_INIT(ERRORS_BYTES), sentence = BUF_INIT(2 * ERRORS_BYTES);
		struct service_floor f = { 0 };
		struct errmsg why;
		int err;

		if (s->kind != POLICY_SERVICE || !is_own(p, (uint16_t)i))
			continue;
		err = policy_service_floor(a, s->text, &f, &why);
		if (err == -ENOENT)
			buf_printf(&sentence, "the node has no process '%s'; 'prickle roles' lists them", s->text);
		for (size_t k = 0; k < f.row_count; k++)
			add_missing(&missing, &f.rows[k]);
		if (missing.len > 0)
			buf_printf(&sentence, "the process '%s' would lack what it needs, and may not start: %s", s->text, buf_cstr(&missing));
		if (sentence.len > 0)
			warning(p, s, &sentence, warnings);
	}
}
