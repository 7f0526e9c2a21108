/*
 * The class put together: what is untouched is copied, in the order in which it stood.
 */
#include "dvm/classfile/edit_private.h"

#include <errno.h>

#include "dvm/classfile/classfile_limits.h"

/* An attribute that was set: copied, or left out. NULL: it is as it was. */
static const struct attribute_edit *edited(const struct attribute_edit *list, struct slice name)
{
	while (list != NULL && !slice_eq(list->text, name))
		list = list->next;
	return list;
}

static void attribute_write(struct buf *out, uint16_t name, struct slice body)
{
	buf_be16(out, name);
	buf_be32(out, (uint32_t)body.len);
	buf_add(out, body);
}

/* What else an owner has for its attributes. */
struct changed {
	const struct attribute_edit *edits;
	const struct member_edit *member;	/* NULL: the class */
	struct slice code;			/* a new body of Code; ptr NULL: as it was */
};

/* With the annotations that the method gets. */
static void annotations_write(struct class_edit *e, const struct member_edit *m, struct slice body, struct buf *out)
{
	uint16_t count = body.len < 2 ? 0 : class_be16(body.ptr);

	buf_be16(out, edit_utf8(e, SLICE("RuntimeVisibleAnnotations")));
	buf_be32(out, (uint32_t)((body.len < 2 ? 2 : body.len) + 4u * m->annotation_count));
	if (count + m->annotation_count > 65535)
		edit_fail(e, -EFBIG, "a method would have more than 65,535 annotations");
	buf_be16(out, (uint16_t)(count + m->annotation_count));
	buf_add(out, slice_from(body, 2));
	for (uint32_t i = 0; i < m->annotation_count; i++) {
		buf_be16(out, m->annotations[i]);
		buf_be16(out, 0);
	}
}

static void attributes_write(struct class_edit *e, const struct class_attributes *list, const struct changed *changed, struct buf *out)
{
	const struct member_edit *m = changed->member;
	struct slice annotations = SLICE("RuntimeVisibleAnnotations");
	bool annotated = m == NULL || m->annotation_count == 0;
	size_t count_at = out->len;
	uint32_t count = 0;

	buf_be16(out, 0);
	for (uint32_t i = 0; i < list->count; i++) {
		const struct class_attribute *a = &list->at[i];
		struct slice name = pool_utf8(&e->c->pool, a->name), body = a->body;
		const struct attribute_edit *edit = edited(changed->edits, name);

		if (edit != NULL && edit->body.ptr == NULL)
			continue;
		if (edit != NULL)
			body = edit->body;
		else if (changed->code.ptr != NULL && slice_eq(name, SLICE("Code")))
			body = changed->code;
		count++;
		if (!annotated && slice_eq(name, annotations)) {
			annotations_write(e, m, body, out);
			annotated = true;
		} else {
			attribute_write(out, a->name, body);
		}
	}
	for (const struct attribute_edit *edit = changed->edits; edit != NULL; edit = edit->next) {
		bool there = false;

		for (uint32_t i = 0; i < list->count && !there; i++)
			there = slice_eq(pool_utf8(&e->c->pool, list->at[i].name), edit->text);
		if (there || edit->body.ptr == NULL)
			continue;
		count++;
		if (!annotated && slice_eq(edit->text, annotations)) {
			annotations_write(e, m, edit->body, out);
			annotated = true;
		} else {
			attribute_write(out, edit->name, edit->body);
		}
	}
	if (!annotated) {
		annotations_write(e, m, (struct slice){ 0 }, out);
		count++;
	}
	if (count > 65535)
		edit_fail(e, -EFBIG, "there would be more than 65,535 attributes");
	patch_be16(out, count_at, count);
}

/* Fields or methods; `end` is where the last one ends in the class. */
static void members_write(struct class_edit *e, const struct class_members *list, struct member_edit *const *edits, const struct added_members *added,
			  uint32_t end, const struct buf *scratch, struct buf *out)
{
	if (list->count + added->count > 65535)
		edit_fail(e, -EFBIG, "the class would have more than 65,535 fields or methods");
	buf_be16(out, (uint16_t)(list->count + added->count));
	for (uint32_t i = 0; i < list->count; i++) {
		const struct class_member *m = &list->at[i];
		const struct member_edit *edit = edits[i];
		uint32_t stop = i + 1u < list->count ? list->at[i + 1].offset : end;

		if (edit == NULL) {
			buf_add(out, slice_of(e->c->bytes.ptr + m->offset, stop - m->offset));
			continue;
		}
		buf_be16(out, edit->has_access ? edit->access : m->access_flags);
		buf_be16(out, edit->has_name ? edit->name : m->name);
		buf_be16(out, m->descriptor);
		struct changed changed = { edit->attributes, edit, { 0 } };
		if (edit->code_done)
			changed.code = slice_of(scratch->ptr + edit->code_at, edit->code_len);
		attributes_write(e, &m->attributes, &changed, out);
	}
	for (const struct added_member *m = added->first; m != NULL; m = m->next) {
		buf_be16(out, m->access);
		buf_be16(out, m->name);
		buf_be16(out, m->descriptor);
		buf_be16(out, m->count);
		buf_add(out, m->attributes);
	}
}

static void class_write(struct class_edit *e, const struct buf *scratch, struct buf *out)
{
	const struct class_file *c = e->c;
	size_t begin = out->len;

	buf_add(out, slice_sub(c->bytes, 0, 8));
	buf_be16(out, (uint16_t)e->pool_count);
	buf_add(out, slice_sub(c->bytes, 10, c->pool.end));
	buf_add(out, slice_of(e->added, e->added_len));
	buf_be16(out, e->has_access ? e->access : c->access_flags);
	buf_add(out, slice_sub(c->bytes, c->pool.end + 2, c->fields.offset));
	members_write(e, &c->fields, e->fields, &e->added_fields, c->methods.offset, scratch, out);
	members_write(e, &c->methods, e->methods, &e->added_methods, c->attributes.offset, scratch, out);
	if (e->attributes == NULL) {
		buf_add(out, slice_from(c->bytes, c->attributes.offset));
	} else {
		struct changed changed = { .edits = e->attributes };

		attributes_write(e, &c->attributes, &changed, out);
	}
	if (out->len - begin > CLASS_BYTES_MAX)
		edit_fail(e, -EFBIG, "the class would be too large");
}

int edit_write(struct class_edit *e, struct buf *out, uint32_t *dropped, struct errmsg *why)
{
	AUTO_BUF struct buf scratch = BUF_INIT(4ull * CLASS_BYTES_MAX);
	const struct class_file *c = e->c;
	uint32_t lost = 0;

	for (uint32_t i = 0; i < c->methods.count && e->err == 0; i++) {
		struct member_edit *edit = e->methods[i];

		if (edit == NULL || edit->change_count == 0)
			continue;
		if (edited(edit->attributes, SLICE("Code")) != NULL) {
			edit_fail(e, -EINVAL, "a method's Code is replaced and changed at once");
			break;
		}
		int err = code_rewrite(e, &c->methods.at[i], edit, &scratch, &lost, why);
		if (err != 0)
			return err;
	}
	size_t begin = out->len;
	if (e->err == 0) {
		/* All that may need a constant first: the pool stands before what uses it. */
		for (uint32_t i = 0; i < c->methods.count; i++)
			if (e->methods[i] != NULL && e->methods[i]->annotation_count > 0)
				(void)edit_utf8(e, SLICE("RuntimeVisibleAnnotations"));
		class_write(e, &scratch, out);
	}
	if (e->err != 0) {
		if (out->err == 0)
			buf_truncate(out, begin);
		return errmsg_say(why, e->err, "%s", e->reason);
	}
	if (out->err != 0)
		return errmsg_set(why, out->err == -ENOMEM ? -ENOMEM : -EFBIG, "writing a class");
	if (dropped != NULL)
		*dropped = lost;
	return 0;
}
