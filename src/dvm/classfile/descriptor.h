/*
 * Descriptors (JVMS 4.3) and names (4.2), by the strictness of each class-file version as HotSpot applies it.
 */
#pragma once
#include "base/slice.h"

/* One field type at the start of *text: 'B' 'C' 'D' 'F' 'I' 'J' 'S' 'Z' 'L' '[' (all of the array in *type). Cuts it off *text. '\0': no type there. */
char descriptor_next(struct slice *text, struct slice *type);
bool descriptor_field_valid(struct slice text, uint16_t major);
/* "(params)result"; more than 255 words of parameters (this included when !is_static) is not valid. */
bool descriptor_method_valid(struct slice text, bool is_static, uint16_t major);

struct method_shape {
	struct slice parameters;	/* between the brackets */
	struct slice result;		/* "V" or a type */
	uint16_t words;			/* of the parameters, without this */
};
/* Of a valid descriptor; false when it is not. */
MUST_USE bool descriptor_method(struct slice text, struct method_shape *out);
/* Words on the stack of a type: 0 for 'V', 2 for 'J' and 'D', else 1. */
static inline unsigned type_words(char type)
{
	return type == 'V' ? 0 : type == 'J' || type == 'D' ? 2 : 1;
}

/* 4.2.2 unqualified names (methods: also no '<' and '>' but for <init> and <clinit>), 4.2.1 internal binary names ("java/lang/Object"; arrays as descriptors
 * when array is true). Below version 49 a name must be a Java identifier. */
bool name_field_valid(struct slice name, uint16_t major);
bool name_method_valid(struct slice name, uint16_t major);
bool name_class_valid(struct slice name, bool array, uint16_t major);
/* 4.4.7: modified UTF-8, as strict as JVMs are for that version (below 48 less). */
bool utf8_modified_valid(struct slice text, uint16_t major);
