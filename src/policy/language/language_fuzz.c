/*
 * A policy's file, behind a line of "%%" the file that every import finds, and behind another names as on a command line, one a line. What is taken
 * has sound indices, in order, and means the same again; what is not taken has its errors told.
 */
#include <errno.h>

#include "base/must.h"
#include "policy/language/policy.h"

static int import(void *arg, const char *from, const char *name, struct slice *text, struct errmsg *why)
{
	must(from != NULL && *name != '\0');
	if (name[0] == '-')
		return errmsg_set(why, -ENOENT, "open '%s'", name);
	*text = *(const struct slice *)arg;
	return 0;
}

static void sound_set(const uint16_t *at, size_t count, size_t max)
{
	for (size_t i = 0; i < count; i++) {
		must(at[i] > 0 && at[i] < max);
		must(i == 0 || at[i - 1] < at[i]);
	}
}

static void sound_rules(const struct policy *p, const struct policy_rule *rules, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct policy_rule *r = &rules[i];

		must(r->subject_count > 0 || count == p->never_count);
		must(r->class > POLICY_CLASS_NONE && r->class < POLICY_CLASS_COUNT);
		must(r->permissions != 0 && (r->permissions & ~policy_class_permissions(r->class)) == 0);
		must((r->predicates & ~POLICY_PREDICATES_ALL) == 0);
		must(r->id > 0 && r->id <= p->statement_count);
		sound_set(r->subjects, r->subject_count, p->subject_count);
		sound_set(r->objects, r->object_count, p->object_count);
		for (size_t k = 0; k < r->object_count; k++)
			must(p->objects[r->objects[k]].class == r->class);
	}
}

static void sound(const struct policy *p)
{
	AUTO_BUF struct buf text = BUF_INIT(1u << 20);

	must(p->subject_count >= 1 && p->subject_count <= POLICY_SUBJECTS_MAX && p->object_count <= POLICY_OBJECTS_MAX);
	for (size_t i = 2; i < p->subject_count; i++)
		must(strcmp(p->subjects[i - 1].name, p->subjects[i].name) < 0);
	for (size_t i = 1; i < p->subject_count; i++) {
		must(policy_subject_find(p, slice_str(p->subjects[i].name)) == i);
		must(policy_subject_find(p, slice_str(policy_subject_text(p, (uint16_t)i))) == i);
	}
	for (size_t i = 1; i < p->object_count; i++) {
		must(policy_object_find(p, slice_str(p->objects[i].name)) == i);
		must(*policy_object_text(p, (uint16_t)i) != '\0');
	}
	sound_rules(p, p->allows, p->allow_count);
	sound_rules(p, p->nevers, p->never_count);
	for (size_t i = 0; i < p->use_count; i++) {
		must(p->uses[i].name_count > 0 && p->uses[i].kind < POLICY_USE_COUNT);
		sound_set(p->uses[i].subjects, p->uses[i].subject_count, p->subject_count);
	}
	for (size_t i = 0; i < p->audit_count; i++)
		sound_set(p->audits[i].objects, p->audits[i].object_count, p->object_count);
	for (size_t i = 0; i < p->enter_count; i++)
		must(p->enters[i].from != p->enters[i].to && p->enters[i].from < p->subject_count && p->enters[i].to < p->subject_count);
	for (size_t i = 0; i < p->expect_count; i++) {
		must(p->expects[i].subject > 0 && p->expects[i].subject < p->subject_count && p->expects[i].object < p->object_count);
		must((p->expects[i].class == POLICY_CLASS_NONE) == (p->expects[i].use_name != NULL));
		must(p->expects[i].class == POLICY_CLASS_NONE || p->expects[i].permission != 0);
	}
	for (uint32_t id = 0; id <= p->statement_count && id < 64; id++) {
		policy_span_text(&text, p, p->statements[id]);
		policy_span_show(&text, p, p->statements[id]);
	}
}

static void targets(struct arena *arena, const struct policy *p, struct slice rest)
{
	struct policy_object target;
	struct errmsg why = { 0 };
	struct slice line;
	uint16_t index;

	for (unsigned n = 0; n < 32 && rest.len > 0; n++) {
		slice_cut(rest, '\n', &line, &rest);
		for (int c = POLICY_CLASS_NONE; c < POLICY_CLASS_COUNT; c++) {
			if (policy_target_parse(arena, p, (enum policy_class)c, line, &index, &target, &why))
				must(index < p->object_count && (index != 0 || target.kind != POLICY_OBJECT_NONE));
			else
				must(why.text[0] != '\0');
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(64u << 20);
	AUTO_BUF struct buf errors = BUF_INIT(1u << 20), again = BUF_INIT(1u << 20);
	struct slice all = slice_of(data, size), imported = { 0 }, names = { 0 };
	size_t at = slice_find(all, SLICE("\n%%\n"));
	const struct policy *p = NULL, *same = NULL;
	int err, second;

	if (at != SLICE_NPOS) {
		imported = slice_from(all, at + 4);
		all = slice_head(all, at + 1);
		at = slice_find(imported, SLICE("\n%%\n"));
		names = at == SLICE_NPOS ? (struct slice){ 0 } : slice_from(imported, at + 4);
		imported = slice_head(imported, at == SLICE_NPOS ? imported.len : at + 1);
	}
	err = policy_parse(&arena, "f", all, import, &imported, &p, &errors);
	must(err == 0 || ((err == -EINVAL || err == -ENOMEM || err == -E2BIG) && errors.len > 0));
	if (err == -ENOMEM || arena.used_bytes > 30u << 20)
		return 0;
	second = policy_parse(&arena, "f", all, import, &imported, &same, &again);
	must(second == err && slice_eq(buf_slice(&errors), buf_slice(&again)));
	if (err != 0)
		return 0;
	must(p->allow_count == same->allow_count && p->never_count == same->never_count && p->expect_count == same->expect_count);
	sound(p);
	targets(&arena, p, names);
	return 0;
}
