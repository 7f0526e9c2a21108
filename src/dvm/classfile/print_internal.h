/*
 * One way of writing for both forms: keys and values, objects, lists. As text, objects stand in blocks of lines, and the items of a list on a line each.
 */
#pragma once
#include "dvm/classfile/attribute.h"
#include "dvm/classfile/print.h"

#define SHOW_DEPTH_MAX 256u		/* above what annotations within annotations take (CLASS_ANNOTATION_DEPTH_MAX) */

struct show {
	struct buf *out;
	struct arena *arena;
	const struct class_file *c;
	unsigned flags;
	unsigned depth;
	unsigned line;			/* text: depth of the item whose line we are on; 0: in blocks */
	unsigned block;			/* text: indentation */
	bool started[SHOW_DEPTH_MAX];
	uint8_t closing[SHOW_DEPTH_MAX];
};

static inline bool show_json(const struct show *s)
{
	return (s->flags & CLASS_PRINT_JSON) != 0;
}
/* key NULL: an item of a list. */
void show_object(struct show *s, const char *key);
void show_list(struct show *s, const char *key);
void show_end(struct show *s);
void show_text(struct show *s, const char *key, struct slice text);	/* quoted, escaped */
void show_word(struct show *s, const char *key, const char *word);	/* ours: quoted in JSON alone */
void show_name(struct show *s, const char *key, struct slice name);	/* escaped, quoted in JSON alone */
void show_number(struct show *s, const char *key, int64_t n);
void show_flag(struct show *s, const char *key);			/* key: true */
void show_flags(struct show *s, uint16_t flags, char what);
void show_malformed(struct show *s, const char *key);
/* The class, name or text that index stands for, "owner.name:descriptor" for refs; nothing for index 0. */
void show_constant(struct show *s, const char *key, uint32_t index);
/* That text alone. */
void show_constant_text(struct show *s, struct buf *out, uint32_t index);

void show_pool(struct show *s);
void show_code(struct show *s, const char *key, const struct class_attribute *a);
void show_frames(struct show *s, const char *key, struct slice body);
void show_attributes(struct show *s, const struct class_attributes *list);
void show_attribute(struct show *s, const char *name, enum attribute_kind kind, const struct class_attribute *a);
void show_annotation_attribute(struct show *s, const char *key, enum attribute_kind kind, const struct class_attribute *a);
