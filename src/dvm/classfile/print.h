/*
 * A class as text for people, or as one JSON object: what `javap -v -p` shows.
 *
 * Names come from strangers: control characters, quotes and what turns the direction of writing are written as \uXXXX in both forms, broken UTF-8 as \ufffd, and half
 * of a surrogate pair, which JSON readers refuse, as \\uXXXX. So a terminal and a JSON reader get what was in the file, and nothing else happens.
 */
#pragma once
#include "base/buf.h"
#include "dvm/classfile/class.h"

#define CLASS_PRINT_JSON 0x1u
#define CLASS_PRINT_CODE 0x2u		/* instructions, tables and frames of the methods */
#define CLASS_PRINT_CONSTANTS 0x4u	/* the constant pool */
/*
 * What is broken inside an attribute is shown as "malformed", and the rest goes on. The output's size follows from out->max (names may be repeated without end):
 * out->err tells.
 */
void class_print(struct arena *arena, struct buf *out, const struct class_file *c, unsigned flags);
/* Modified UTF-8 as described above, without quotes around it. */
void class_print_escaped(struct buf *out, struct slice text);
/* Names of flags, "public static"; what: 'C' class, 'F' field, 'M' method, 'I' inner class, 'P' parameter, 'O' module, 'R' requires, 'X' exports and opens. */
void class_print_flags(struct buf *out, uint16_t flags, char what);
