/* The edited class: what is the same is copied, what is different is written. */
#include <errno.h>

#include "dvm/classfile/edit_private.h"

void edit_attribute_header(struct buf *out, uint16_t name, size_t body_bytes)
{
	buf_be16(out, name);
	buf_be32(out, (uint32_t)body_bytes);
}

static const struct attribute_edit *edited(const struct owner_edit *o, struct slice name)
{
	for (const struct attribute_edit *a = o->attributes; a != NULL; a = a->next)
		if (slice_eq(a->name, name))
			return a;
	return NULL;
}

/* Annotations are added to those that are there: `body` is the attribute's, or empty. */
static int annotations(struct class_edit *e, const struct owner_edit *o, struct slice body, struct buf *out)
{
	uint32_t count = (uint32_t)(body.len >= 2 ? class_be16(body.ptr) : 0) + o->annotation_count;

	if (count > UINT16_MAX)
		return -EFBIG;
	edit_attribute_header(out, edit_utf8(e, SLICE("RuntimeVisibleAnnotations")), 2 + (body.len >= 2 ? body.len - 2 : 0) + o->annotations.len);
	buf_be16(out, (uint16_t)count);
	buf_add(out, slice_from(body, 2));
	buf_add(out, o->annotations);
	return 0;
}

static int code_attribute(struct class_edit *e, const struct class_member *m, const struct owner_edit *o, uint16_t name, struct buf *out, struct errmsg *why)
{
	size_t at = out->len;
	int err;

	edit_attribute_header(out, name, 0);
	err = edit_code(e, m, o, out, why);
	if (err != 0 || out->err != 0)
		return err;
	uint32_t bytes = (uint32_t)(out->len - at - 6);
	for (unsigned i = 0; i < 4; i++)
		out->ptr[at + 2 + i] = (uint8_t)(bytes >> (24 - 8 * i));
	return 0;
}

/* The attributes of a member, or of the class (m NULL). */
static int attributes(struct class_edit *e, const struct class_attributes *list, const struct class_member *m, const struct owner_edit *o, struct buf *out,
		      struct errmsg *why)
{
	static const struct slice visible = SLICE_INIT("RuntimeVisibleAnnotations");
	size_t count_at = out->len;
	bool annotated = o->annotation_count == 0;
	uint32_t count = 0;
	int err = 0;

	buf_be16(out, 0);
	for (uint32_t i = 0; err == 0 && i < list->count; i++) {
		const struct class_attribute *a = &list->at[i];
		struct slice name = pool_utf8(&e->c->pool, a->name);
		const struct attribute_edit *other = edited(o, name);

		if (other != NULL && other->body.ptr == NULL)
			continue;
		count++;
		if (other != NULL) {
			edit_attribute_header(out, a->name, other->body.len);
			buf_add(out, other->body);
		} else if (!annotated && slice_eq(name, visible)) {
			annotated = true;
			err = annotations(e, o, a->body, out);
		} else if (m != NULL && o->pieces != NULL && a == method_code(e->c, m)) {
			err = code_attribute(e, m, o, a->name, out, why);
		} else {
			edit_attribute_header(out, a->name, a->body.len);
			buf_add(out, a->body);
		}
	}
	for (const struct attribute_edit *a = o->attributes; err == 0 && a != NULL; a = a->next)
		if (a->body.ptr != NULL && class_attribute(e->c, list, a->name) == NULL) {
			edit_attribute_header(out, edit_utf8(e, a->name), a->body.len);
			buf_add(out, a->body);
			count++;
		}
	if (err == 0 && !annotated) {
		err = annotations(e, o, SLICE(""), out);
		count++;
	}
	if (count > UINT16_MAX)
		err = -EFBIG;
	if (out->err == 0) {
		out->ptr[count_at] = (uint8_t)(count >> 8);
		out->ptr[count_at + 1] = (uint8_t)count;
	}
	return err;
}

/* The bytes of a member as they lie. */
static struct slice member_bytes(const struct class_file *c, const struct class_members *list, uint32_t i)
{
	const struct class_attributes *a = &list->at[i].attributes;
	size_t end = a->offset + 2u;

	if (a->count != 0)
		end = a->at[a->count - 1].offset + 6u + a->at[a->count - 1].body.len;
	return slice_sub(c->bytes, list->at[i].offset, end);
}

static bool changed(const struct owner_edit *o)
{
	return o->has_access || o->name != 0 || o->attributes != NULL || o->pieces != NULL || o->annotation_count != 0;
}

static int members(struct class_edit *e, const struct class_members *list, const struct owner_edit *edits, const struct new_members *more, struct buf *out,
		   struct errmsg *why)
{
	int err = 0;

	if (list->count + more->count > UINT16_MAX)
		return -EFBIG;
	buf_be16(out, (uint16_t)(list->count + more->count));
	for (uint32_t i = 0; err == 0 && i < list->count; i++) {
		const struct class_member *m = &list->at[i];
		const struct owner_edit *o = edits == NULL ? NULL : &edits[i];

		if (o == NULL || !changed(o)) {
			buf_add(out, member_bytes(e->c, list, i));
			continue;
		}
		buf_be16(out, o->has_access ? o->access : m->access_flags);
		buf_be16(out, o->name != 0 ? o->name : m->name);
		buf_be16(out, m->descriptor);
		err = attributes(e, &m->attributes, m, o, out, why);
	}
	for (const struct new_member *m = more->first; m != NULL; m = m->next) {
		buf_be16(out, m->access);
		buf_be16(out, m->name);
		buf_be16(out, m->descriptor);
		buf_be16(out, m->attribute_count);
		buf_add(out, m->attributes);
	}
	return err;
}

/* Everything behind the pool; constants may still be added while it is written. */
static int body(struct class_edit *e, struct buf *out, struct errmsg *why)
{
	const struct class_file *c = e->c;
	int err;

	buf_be16(out, e->class.has_access ? e->class.access : c->access_flags);
	buf_be16(out, c->this_class);
	buf_be16(out, c->super_class);
	buf_be16(out, (uint16_t)class_interfaces(c));
	buf_add(out, c->interfaces);
	err = members(e, &c->fields, e->fields, &e->new_fields, out, why);
	if (err == 0)
		err = members(e, &c->methods, e->methods, &e->new_methods, out, why);
	if (err == 0)
		err = attributes(e, &c->attributes, NULL, &e->class, out, why);
	return err;
}

int edit_write(struct class_edit *e, struct buf *out, uint32_t *dropped, struct errmsg *why)
{
	AUTO_BUF struct buf rest = BUF_INIT(out->max);
	struct errmsg reason = { 0 };
	int err;

	e->dropped = 0;
	err = e->err != 0 ? e->err : body(e, &rest, &reason);
	if (err == 0)
		err = e->err != 0 ? e->err : rest.err == -EMSGSIZE ? -EFBIG : rest.err;
	if (err == 0) {
		buf_be32(out, CLASS_MAGIC);
		buf_be16(out, e->c->minor);
		buf_be16(out, e->c->major);
		buf_be16(out, (uint16_t)e->pool_count);
		buf_add(out, slice_sub(e->c->bytes, 10, e->c->pool.end));
		buf_add(out, buf_slice(&e->pool));
		buf_add(out, buf_slice(&rest));
		err = out->err == -EMSGSIZE ? -EFBIG : out->err;
	}
	buf_done(&e->pool);
	if (dropped != NULL)
		*dropped = e->dropped;
	if (err == 0)
		return 0;
	return errmsg_say(why, err, "%.*s: %s", SLICE_FMT(class_name(e->c)),
			  reason.text[0] != '\0' ? reason.text : err == -EFBIG ? "its constant pool or its members would be more than 65,535" : "memory is short");
}
