#include "policy/language/policy.h"

#include <errno.h>

#include "policy/language/tree.h"

int policy_parse(struct arena *arena, const char *name, struct slice text, policy_import_fn *import, void *arg,
		 const struct policy **out, struct buf *errors)
{
	struct reading r = { .arena = arena, .import = import, .import_arg = arg, .first = NULL };
	struct policy *p = ARENA_NEW(arena, struct policy);
	int err;

	r.last = &r.first;
	r.sources = arena_array(arena, POLICY_SOURCES_MAX, sizeof(*r.sources));
	r.modules = arena_array(arena, POLICY_MODULES_MAX, sizeof(*r.modules));
	if (p == NULL || r.sources == NULL || r.modules == NULL) {
		buf_adds(errors, "the policy does not fit in memory\n");
		return -ENOMEM;
	}
	r.modules[r.module_count++] = "main";
	r.diag = (struct diag){ .sources = r.sources, .out = errors };
	err = reading_source(&r, name, text) ? 0 : -ENOMEM;
	if (err == 0)
		err = reading_resolve(&r, p);
	if (err == 0 && r.diag.errors > 0) {
		if (r.diag.errors > POLICY_ERRORS_MAX)
			buf_printf(errors, "... and %zu more errors\n", r.diag.errors - POLICY_ERRORS_MAX);
		return -EINVAL;
	}
	if (err != 0) {
		buf_adds(errors, "the policy does not fit in memory\n");
		return err;
	}
	p->sources = r.sources;
	p->source_count = r.source_count;
	p->modules = r.modules;
	p->module_count = r.module_count;
	*out = p;
	return 0;
}

void policy_span_text(struct buf *out, const struct policy *p, struct policy_span span)
{
	diag_place(out, p->sources, p->source_count, span);
}

void policy_span_show(struct buf *out, const struct policy *p, struct policy_span span)
{
	diag_show(out, p->sources, p->source_count, span);
}

static const char *last_word(const char *name)
{
	const char *dot = strchr(name, '.');

	return dot == NULL ? name : dot + 1;
}

const char *policy_subject_text(const struct policy *p, uint16_t subject)
{
	const char *word;
	size_t same = 0;

	if (subject >= p->subject_count)
		return "?";
	word = last_word(p->subjects[subject].name);
	for (size_t i = 0; i < p->subject_count; i++)
		same += strcmp(last_word(p->subjects[i].name), word) == 0;
	return same == 1 ? word : p->subjects[subject].name;
}

const char *policy_object_text(const struct policy *p, uint16_t object)
{
	const char *word;
	size_t same = 0;

	if (object >= p->object_count)
		return "?";
	word = last_word(p->objects[object].name);
	for (size_t i = 0; i < p->object_count; i++)
		same += strcmp(last_word(p->objects[i].name), word) == 0;
	return same == 1 ? word : p->objects[object].name;
}

/* The one with this name, or with this last word if there is one only; 0: none or several. */
uint16_t policy_subject_find(const struct policy *p, struct slice name)
{
	uint16_t found = 0;
	size_t same = 0;

	for (size_t i = 1; i < p->subject_count; i++) {
		if (slice_eq(name, slice_str(p->subjects[i].name)))
			return (uint16_t)i;
		if (slice_eq(name, slice_str(last_word(p->subjects[i].name)))) {
			found = (uint16_t)i;
			same++;
		}
	}
	return same == 1 ? found : 0;
}

uint16_t policy_object_find(const struct policy *p, struct slice name)
{
	uint16_t found = 0;
	size_t same = 0;

	for (size_t i = 1; i < p->object_count; i++) {
		if (slice_eq(name, slice_str(p->objects[i].name)))
			return (uint16_t)i;
		if (slice_eq(name, slice_str(last_word(p->objects[i].name)))) {
			found = (uint16_t)i;
			same++;
		}
	}
	return same == 1 ? found : 0;
}

/* default_data.S: the file, put in by the build. */
extern const uint8_t policy_default_begin[] __attribute__((visibility("hidden"))), policy_default_end[] __attribute__((visibility("hidden")));

struct slice policy_default_text(void)
{
	return slice_of(policy_default_begin, (size_t)(policy_default_end - policy_default_begin));
}
