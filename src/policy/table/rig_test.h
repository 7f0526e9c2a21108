/*
 * Policies and images of tests, made by hand: no parser has a part in them.
 */
#pragma once
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"
#include "policy/table/compile.h"

#define RIG_LABELS 4200
#ifndef RIG_RULES
#define RIG_RULES 512
#endif

struct rig {
	struct arena arena;
	struct policy p;
};

static inline void rig_init(struct rig *r)
{
	arena_init(&r->arena, POLICY_ARENA_BYTES);
	r->p = (struct policy){
		.subjects = arena_array(&r->arena, RIG_LABELS, sizeof(struct policy_subject)), .subject_count = 1,
		.objects = arena_array(&r->arena, RIG_LABELS, sizeof(struct policy_object)), .object_count = 1,
		.allows = arena_array(&r->arena, RIG_RULES, sizeof(struct policy_rule)),
		.nevers = arena_array(&r->arena, RIG_RULES, sizeof(struct policy_rule)),
		.enters = arena_array(&r->arena, RIG_RULES, sizeof(struct policy_enter)),
		.audits = arena_array(&r->arena, RIG_RULES, sizeof(struct policy_audit)),
	};
	must(r->arena.err == 0);
	r->p.subjects[0].name = r->p.objects[0].name = "";
}

static inline void rig_done(struct rig *r)
{
	arena_done(&r->arena);
}

static inline const char *rig_text(struct rig *r, const char *text)
{
	return text == NULL ? NULL : arena_str(&r->arena, slice_str(text));
}

static inline struct policy_subject *rig_subject(struct rig *r, enum policy_subject_kind kind, const char *name, const char *text)
{
	struct policy_subject *s = &r->p.subjects[r->p.subject_count++];

	must(r->p.subject_count <= RIG_LABELS);
	*s = (struct policy_subject){ .name = rig_text(r, name), .kind = kind, .text = rig_text(r, text) };
	return s;
}

static inline struct policy_object *rig_object(struct rig *r, enum policy_class class, enum policy_object_kind kind, const char *name, const char *text)
{
	struct policy_object *o = &r->p.objects[r->p.object_count++];

	must(r->p.object_count <= RIG_LABELS);
	*o = (struct policy_object){ .name = rig_text(r, name), .class = class, .kind = kind, .text = rig_text(r, text) };
	return o;
}

/* Index of a label by its name. */
static inline uint16_t rig_find(const struct rig *r, bool object, const char *name)
{
	for (uint16_t i = 1; i < (object ? r->p.object_count : r->p.subject_count); i++)
		if (strcmp(object ? r->p.objects[i].name : r->p.subjects[i].name, name) == 0)
			return i;
	must(false); /* a test names a label that it made */
	return 0;
}

/* A rule of these subjects and objects, as indices. */
static inline struct policy_rule rig_rule(struct rig *r, const uint16_t *subjects, size_t subject_count, uint32_t permissions, const uint16_t *objects,
					  size_t object_count, uint32_t predicates)
{
	struct policy_rule rule = {
		.subject_count = (uint16_t)subject_count, .object_count = (uint16_t)object_count, .permissions = permissions, .predicates = predicates,
		.subjects = (const void *)arena_dup(&r->arena, slice_of(subjects, subject_count * 2)).ptr,
		.objects = (const void *)arena_dup(&r->arena, slice_of(objects, object_count * 2)).ptr,
		.class = object_count == 0 ? POLICY_CLASS_NONE : r->p.objects[objects[0]].class,
		.id = ++r->p.statement_count,
	};
	return rule;
}

static inline struct policy_rule *rig_allow(struct rig *r, const char *subject, uint32_t permissions, const char *object, uint32_t predicates)
{
	uint16_t s = rig_find(r, false, subject), o = rig_find(r, true, object);
	struct policy_rule *rule = &r->p.allows[r->p.allow_count++];

	*rule = rig_rule(r, &s, 1, permissions, &o, 1, predicates);
	return rule;
}

static inline void rig_never(struct rig *r, const char *subject, uint32_t permissions, const char *object)
{
	uint16_t s = rig_find(r, false, subject), o = rig_find(r, true, object);

	r->p.nevers[r->p.never_count++] = rig_rule(r, &s, 1, permissions, &o, 1, 0);
}

static inline struct policy_enter *rig_enter(struct rig *r, const char *from, const char *to, bool ticket, uint32_t seconds)
{
	struct policy_enter *e = &r->p.enters[r->p.enter_count++];

	*e = (struct policy_enter){ .from = rig_find(r, false, from), .to = rig_find(r, false, to), .ticket = ticket, .seconds = seconds };
	return e;
}

/* An image in memory, with what is in force. */
struct rig_image {
	struct policy_head *head;
	size_t bytes;
	struct policy_table table;
};

static inline struct rig_image rig_image_of(uint32_t subjects_max, uint32_t objects_max, uint32_t rest_bytes_max)
{
	struct rig_image i = { .bytes = policy_image_bytes(subjects_max, objects_max, rest_bytes_max) };
	const char *why;

	must(i.bytes != 0);
	i.head = aligned_alloc(4096, i.bytes);
	must(i.head != NULL);
	memset(i.head, 0, i.bytes);
	policy_image_format(i.head, subjects_max, objects_max, rest_bytes_max, (const uint8_t[16]){ 1 });
	must(policy_table_init(&i.table, i.head, i.bytes, &why) == 0);
	return i;
}

/* Compile after what is in force, into out. */
static inline int rig_compile(struct rig *r, const struct rig_image *i, uint64_t epoch, struct buf *out, struct errmsg *why)
{
	return policy_compile(&r->arena, &r->p, epoch, i->head, policy_bank_in_force(&i->table), out, why);
}

/* Compile and put in force. */
static inline void rig_apply(struct rig *r, struct rig_image *i, uint64_t epoch)
{
	AUTO_BUF struct buf out = BUF_INIT(i->head->bank_bytes);
	struct errmsg why = { 0 };
	const char *text = "";

	int err = rig_compile(r, i, epoch, &out, &why);
	if (err == 0)
		err = policy_image_flip(i->head, buf_slice(&out), &text);
	if (err != 0)
		fprintf(stderr, "apply: %d %s %s\n", err, why.text, text);
	must(err == 0);
}

static inline uint32_t rig_number(const struct rig_image *i, bool object, const char *name)
{
	return object ? policy_object_named(&i->table, slice_str(name)) : policy_subject_named(&i->table, slice_str(name));
}
